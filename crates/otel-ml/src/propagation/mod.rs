//! Trace context and baggage across a hop: our own W3C propagator, and the choice between
//! it and the propagator that the application has set.

pub(crate) mod baggage;
mod traceparent;
pub(crate) mod tracestate;
mod w3c;

use std::any::Any;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::TraceContextExt;
use opentelemetry::{Context, global};
use otel_ml_semconv::ml;

pub use traceparent::{TRACEPARENT_LEN, TraceParent};
use w3c::Carries;
pub use w3c::W3cPropagator;

use crate::carrier::{ExtractCarrier, Field, InjectCarrier};

/// Something wrong with the propagation fields of a request or message. It is counted in
/// `ml.propagation.anomalies` and otherwise tolerated: the request goes on without a parent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Anomaly {
    /// A `traceparent` that is not valid.
    Malformed,
    /// More than one `traceparent`: the parent is unknown or, where headers can only be added,
    /// the last valid one.
    Duplicate,
    /// A message older than the parent policy's age: linked, not continued.
    Stale,
    /// A `baggage` longer than 8192 bytes.
    Oversized,
}

impl Anomaly {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => ml::propagation_anomaly::MALFORMED,
            Self::Duplicate => ml::propagation_anomaly::DUPLICATE,
            Self::Stale => ml::propagation_anomaly::STALE,
            Self::Oversized => ml::propagation_anomaly::OVERSIZED,
        }
    }
}

/// Which propagator is used.
pub(crate) enum Propagation {
    /// Ours, unless the global one is something other than W3C.
    Auto(GlobalChoice),
    /// Ours, by choice.
    Ours(Carries),
    /// The one given.
    Given(Box<dyn TextMapPropagator + Send + Sync>),
}

impl Propagation {
    pub(crate) const fn auto() -> Self {
        Self::Auto(GlobalChoice {
            seen: AtomicU64::new(0),
        })
    }

    /// What was given. Ours is known again: it reads and writes carriers without a detour,
    /// takes stale fields away and counts what is wrong.
    pub(crate) fn given(propagator: impl TextMapPropagator + Send + Sync + 'static) -> Self {
        match (&propagator as &dyn Any).downcast_ref::<W3cPropagator>() {
            Some(ours) => Self::Ours(ours.carries),
            None => Self::Given(Box::new(propagator)),
        }
    }

    /// Whether context is passed on even where no tracer is installed.
    pub(crate) fn is_set(&self) -> bool {
        match self {
            Self::Auto(choice) => choice.current() != Global::Unset,
            Self::Ours(_) | Self::Given(_) => true,
        }
    }

    #[inline]
    pub(crate) fn extract<C: ExtractCarrier>(&self, carrier: &C) -> (Context, Option<Anomaly>) {
        match self {
            Self::Given(propagator) => (
                propagator.extract_with_context(&Context::new(), carrier),
                None,
            ),
            Self::Ours(carries) => w3c::extract(Context::new(), carrier, *carries),
            Self::Auto(choice) => extract_by(choice.current(), carrier),
        }
    }

    /// `None` where no propagator was set.
    pub(crate) fn extract_if_set<C: ExtractCarrier>(
        &self,
        carrier: impl FnOnce() -> C,
    ) -> Option<(Context, Option<Anomaly>)> {
        match self {
            Self::Ours(_) | Self::Given(_) => Some(self.extract(&carrier())),
            Self::Auto(choice) => match choice.current() {
                Global::Unset => None,
                set => Some(extract_by(set, &carrier())),
            },
        }
    }

    pub(crate) fn inject<C: InjectCarrier>(&self, cx: &Context, carrier: &mut C) {
        match self {
            Self::Auto(choice) => match choice.current() {
                Global::Unset => w3c::inject(cx, carrier, Carries::Both),
                Global::W3c(carries) => w3c::inject(cx, carrier, carries),
                Global::Foreign => {
                    global::get_text_map_propagator(|p| inject_by(p, cx, carrier));
                }
            },
            Self::Ours(carries) => w3c::inject(cx, carrier, *carries),
            Self::Given(propagator) => inject_by(propagator.as_ref(), cx, carrier),
        }
    }
}

/// What `propagator` writes replaces what a forwarded carrier held of it.
fn inject_by<C: InjectCarrier>(propagator: &dyn TextMapPropagator, cx: &Context, carrier: &mut C) {
    let has_span = cx.span().span_context().is_valid();
    for name in propagator.fields() {
        let field = Field::ALL.into_iter().find(|field| field.name() == name);
        if let Some(field) = field.filter(|field| has_span || *field == Field::Baggage) {
            carrier.remove(field);
        }
    }
    propagator.inject_context(cx, carrier);
}

#[inline]
fn extract_by<C: ExtractCarrier>(global: Global, carrier: &C) -> (Context, Option<Anomaly>) {
    let fresh = Context::new();
    match global {
        Global::Unset => w3c::extract(fresh, carrier, Carries::Both),
        Global::W3c(carries) => w3c::extract(fresh, carrier, carries),
        Global::Foreign => (
            global::get_text_map_propagator(|p| p.extract_with_context(&fresh, carrier)),
            None,
        ),
    }
}

impl fmt::Debug for Propagation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto(choice) => write!(f, "Auto({:?})", choice.current()),
            Self::Ours(carries) => write!(f, "Ours({carries:?})"),
            Self::Given(propagator) => write!(f, "Given({propagator:?})"),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Global {
    Unset,
    /// W3C's, and of its two parts the ones it carries: who sets Trace Context alone does not
    /// want baggage sent to others.
    W3c(Carries),
    Foreign,
}

impl Global {
    const fn code(self) -> u64 {
        match self {
            Self::Unset => 1,
            Self::W3c(Carries::Both) => 2,
            Self::W3c(Carries::TraceContext) => 3,
            Self::W3c(Carries::Baggage) => 4,
            Self::Foreign => 5,
        }
    }
}

/// What the global propagator is, looked at again when it has changed.
///
/// The API can't be asked for the type. It can be asked for what moves when another
/// propagator is set: its address, and the address of its first field's name (most propagators
/// have no size, and hence no address of their own). The kind is
/// then read from the `Debug` form, a supertrait. A form not known counts as foreign, so this
/// fails safe.
pub(crate) struct GlobalChoice {
    /// The identity, the kind's code in its lower three bits; zero at first.
    seen: AtomicU64,
}

impl GlobalChoice {
    pub(crate) fn current(&self) -> Global {
        let identity = global::get_text_map_propagator(identity) & !7;
        let seen = self.seen.load(Ordering::Relaxed);
        match (seen & !7 == identity, seen & 7) {
            (true, 1) => Global::Unset,
            (true, 2) => Global::W3c(Carries::Both),
            (true, 3) => Global::W3c(Carries::TraceContext),
            (true, 4) => Global::W3c(Carries::Baggage),
            (true, 5) => Global::Foreign,
            _ => self.look(identity),
        }
    }

    #[cold]
    fn look(&self, identity: u64) -> Global {
        let kind = global::get_text_map_propagator(|p| classify(&format!("{p:?}")));
        self.seen.store(identity | kind.code(), Ordering::Relaxed);
        kind
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
    fn the_choice_is_looked_up_by_its_code() {
        for kind in [
            Global::Unset,
            Global::W3c(Carries::Both),
            Global::W3c(Carries::TraceContext),
            Global::W3c(Carries::Baggage),
            Global::Foreign,
        ] {
            let identity = global::get_text_map_propagator(identity) & !7;
            let choice = GlobalChoice {
                seen: AtomicU64::new(identity | kind.code()),
            };
            assert_eq!(choice.current(), kind);
        }
    }
}
