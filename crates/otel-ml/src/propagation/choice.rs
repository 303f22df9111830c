//! What the application's global propagator is.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};

use opentelemetry::global;
use opentelemetry::propagation::TextMapPropagator;

use super::w3c::Carries;

/// What the global propagator is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Global {
    Unset,
    /// W3C's, and of its two parts the ones it carries: who sets Trace Context alone does not
    /// want baggage sent to others.
    W3c(Carries),
    Foreign,
}

/// The one that was seen last: its identity, and its code in the lower three bits; zero at first.
static SEEN: AtomicU64 = AtomicU64::new(0);

thread_local! {
    /// How often this thread has asked.
    static USES: Cell<u32> = const { Cell::new(0) };
}

impl Global {
    /// The first uses of a thread each look for one that is not set yet, ...
    const EAGER: u32 = 64;
    /// ... the later ones now and then.
    const PACE_WHILE_UNSET: u32 = 16;
    /// One that was set is looked at again on every so many uses of a thread.
    const PACE: u32 = 64;

    /// What it is, or was a few uses of this thread ago: to look takes a lock that all threads
    /// share, and applications set it once.
    #[inline]
    pub(super) fn current() -> Self {
        let uses = USES.get();
        USES.set(uses.wrapping_add(1));
        let is_due = |known| match known {
            Self::Unset => uses < Self::EAGER || uses.is_multiple_of(Self::PACE_WHILE_UNSET),
            Self::W3c(_) | Self::Foreign => uses.is_multiple_of(Self::PACE),
        };
        match Self::of_code(SEEN.load(Ordering::Relaxed)) {
            Some(known) if !is_due(known) => known,
            _ => Self::look(),
        }
    }

    /// What it is now.
    ///
    /// The API can't be asked for the type. It can be asked for what moves when another
    /// propagator is set: its address, and the address of its first field's name (most
    /// propagators have no size, and hence no address of their own). The kind is
    /// then read from the `Debug` form, a supertrait. A form not known counts as foreign, so
    /// this fails safe.
    #[inline(never)]
    pub(super) fn look() -> Self {
        let identity = global::get_text_map_propagator(identity) & !7;
        let seen = SEEN.load(Ordering::Relaxed);
        match Self::of_code(seen) {
            Some(known) if seen & !7 == identity => known,
            _ => Self::read(identity),
        }
    }

    #[cold]
    fn read(identity: u64) -> Self {
        let kind = global::get_text_map_propagator(|p| classify(&format!("{p:?}")));
        SEEN.store(identity | kind.code(), Ordering::Relaxed);
        kind
    }

    const fn code(self) -> u64 {
        match self {
            Self::Unset => 1,
            Self::W3c(Carries::Both) => 2,
            Self::W3c(Carries::TraceContext) => 3,
            Self::W3c(Carries::Baggage) => 4,
            Self::Foreign => 5,
        }
    }

    const fn of_code(seen: u64) -> Option<Self> {
        match seen & 7 {
            1 => Some(Self::Unset),
            2 => Some(Self::W3c(Carries::Both)),
            3 => Some(Self::W3c(Carries::TraceContext)),
            4 => Some(Self::W3c(Carries::Baggage)),
            5 => Some(Self::Foreign),
            _ => None,
        }
    }
}

fn identity(propagator: &dyn TextMapPropagator) -> u64 {
    let own = std::ptr::from_ref(propagator).addr() as u64;
    let field = propagator.fields().next();
    let field = field.map_or(0, |field| field.as_ptr().addr() as u64);
    // Spread over all bits: the lower three are taken off.
    (own.rotate_left(32) ^ field).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

fn classify(debug: &str) -> Global {
    if debug.starts_with("NoopTextMapPropagator") {
        return Global::Unset;
    }
    let members = match debug.strip_prefix("TextMapCompositePropagator { propagators: [") {
        Some(list) => list.split_once(']').map_or("", |(members, _)| members),
        None => debug,
    };
    let members = members
        .split('}')
        .map(|member| member.trim_start_matches([',', ' ']))
        .filter(|member| !member.is_empty());
    let mut all: Option<Carries> = None;
    for member in members {
        let Some(carries) = carried_by(member) else {
            return Global::Foreign;
        };
        all = Some(all.map_or(carries, |all| all.and(carries)));
    }
    all.map_or(Global::Foreign, Global::W3c)
}

/// `None` for a propagator other than W3C's.
fn carried_by(member: &str) -> Option<Carries> {
    let name = member.split([' ', '{', '(']).next()?;
    match name {
        "TraceContextPropagator" => Some(Carries::TraceContext),
        "BaggagePropagator" => Some(Carries::Baggage),
        "W3cPropagator" => [Carries::Both, Carries::TraceContext, Carries::Baggage]
            .into_iter()
            .find(|carries| member.contains(&format!("{carries:?}"))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry::propagation::TextMapCompositePropagator;
    use opentelemetry_sdk::propagation::{BaggagePropagator, TraceContextPropagator};

    use super::super::W3cPropagator;
    use super::*;

    #[derive(Debug)]
    struct TraceContextWithFilter;

    fn kind(propagator: &dyn TextMapPropagator) -> Global {
        classify(&format!("{propagator:?}"))
    }

    #[test]
    fn only_w3c_is_replaced_by_ours_and_by_no_more_of_it() {
        type Members = Vec<Box<dyn TextMapPropagator + Send + Sync>>;
        let composite = |members: Members| kind(&TextMapCompositePropagator::new(members));
        let (trace_context, baggage) = (TraceContextPropagator::new, BaggagePropagator::new);
        let both = Global::W3c(Carries::Both);
        let (first, second) = (
            Global::W3c(Carries::TraceContext),
            Global::W3c(Carries::Baggage),
        );
        assert_eq!(kind(&trace_context()), first);
        assert_eq!(kind(&baggage()), second);
        assert_eq!(kind(&W3cPropagator::new()), both);
        assert_eq!(kind(&W3cPropagator::trace_context_only()), first);
        assert_eq!(kind(&W3cPropagator::baggage_only()), second);
        let sdk = composite(vec![Box::new(trace_context()), Box::new(baggage())]);
        assert_eq!(sdk, both);
        let mixed: Members = vec![
            Box::new(W3cPropagator::baggage_only()),
            Box::new(trace_context()),
        ];
        assert_eq!(composite(mixed), both);
        assert_eq!(composite(vec![Box::new(W3cPropagator::new())]), both);
        assert_eq!(
            composite(vec![Box::new(W3cPropagator::trace_context_only())]),
            first
        );
        assert_eq!(composite(vec![]), Global::Foreign);
        assert_eq!(
            classify(&format!("{TraceContextWithFilter:?}")),
            Global::Foreign
        );
        assert_eq!(
            classify(
                "TextMapCompositePropagator { propagators: [TraceContextPropagator { _private: () }, B3], fields: [] }"
            ),
            Global::Foreign
        );
        assert_eq!(classify(""), Global::Foreign);
    }

    #[test]
    fn each_kind_is_told_by_its_code() {
        for kind in [
            Global::Unset,
            Global::W3c(Carries::Both),
            Global::W3c(Carries::TraceContext),
            Global::W3c(Carries::Baggage),
            Global::Foreign,
        ] {
            assert_eq!(Global::of_code(!7 | kind.code()), Some(kind));
        }
        assert_eq!(Global::of_code(0), None);
    }
}
