//! Trace context and baggage across a hop: our own W3C propagator, and the choice between
//! it and the propagator that the application has set.

pub(crate) mod baggage;
mod traceparent;
pub(crate) mod tracestate;
mod w3c;

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::{Context, global};
use otel_ml_semconv::ml;

pub use traceparent::{TRACEPARENT_LEN, TraceParent};
pub use w3c::W3cPropagator;

use crate::carrier::{ExtractCarrier, InjectCarrier};

/// Something wrong with the propagation fields of a request or message. It is counted in
/// `ml.propagation.anomalies` and otherwise tolerated: the request goes on without a parent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Anomaly {
    /// A `traceparent` that is not valid.
    Malformed,
    /// More than one `traceparent` where one only is allowed.
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
    /// The one given.
    Given(Box<dyn TextMapPropagator + Send + Sync>),
}

impl Propagation {
    pub(crate) const fn auto() -> Self {
        Self::Auto(GlobalChoice {
            seen: AtomicU64::new(0),
        })
    }

    /// Whether context is passed on even where no tracer is installed.
    pub(crate) fn is_set(&self) -> bool {
        match self {
            Self::Auto(choice) => choice.current() != Global::Unset,
            Self::Given(_) => true,
        }
    }

    pub(crate) fn extract<C: ExtractCarrier>(&self, carrier: &C) -> (Context, Option<Anomaly>) {
        match self {
            Self::Given(propagator) => (
                propagator.extract_with_context(&Context::new(), carrier),
                None,
            ),
            Self::Auto(choice) => extract_by(choice.current(), carrier),
        }
    }

    /// `None` where no propagator was set.
    pub(crate) fn extract_if_set<C: ExtractCarrier>(
        &self,
        carrier: impl FnOnce() -> C,
    ) -> Option<(Context, Option<Anomaly>)> {
        match self {
            Self::Given(_) => Some(self.extract(&carrier())),
            Self::Auto(choice) => match choice.current() {
                Global::Unset => None,
                set => Some(extract_by(set, &carrier())),
            },
        }
    }

    pub(crate) fn inject<C: InjectCarrier>(&self, cx: &Context, carrier: &mut C) {
        match self {
            Self::Auto(choice) if choice.current() == Global::Foreign => {
                global::get_text_map_propagator(|p| p.inject_context(cx, carrier));
            }
            Self::Auto(_) => w3c::inject(cx, carrier),
            Self::Given(propagator) => propagator.inject_context(cx, carrier),
        }
    }
}

fn extract_by<C: ExtractCarrier>(global: Global, carrier: &C) -> (Context, Option<Anomaly>) {
    let fresh = Context::new();
    match global {
        Global::Unset | Global::W3c => w3c::extract(fresh, carrier),
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
            Self::Given(propagator) => write!(f, "Given({propagator:?})"),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Global {
    Unset = 1,
    W3c = 2,
    Foreign = 3,
}

/// What the global propagator is, looked at again when it has changed.
///
/// The API can't be asked for the type. It can be asked for what moves when another
/// propagator is set: its address, and the address of its first field's name (most propagators
/// have no size, and hence no address of their own). The kind is
/// then read from the `Debug` form, a supertrait. A form not known counts as foreign, so this
/// fails safe.
pub(crate) struct GlobalChoice {
    /// The identity, the kind in its lower two bits; zero at first.
    seen: AtomicU64,
}

impl GlobalChoice {
    pub(crate) fn current(&self) -> Global {
        let identity = global::get_text_map_propagator(identity) & !3;
        let seen = self.seen.load(Ordering::Relaxed);
        match (seen & !3 == identity, seen & 3) {
            (true, 1) => Global::Unset,
            (true, 2) => Global::W3c,
            (true, 3) => Global::Foreign,
            _ => self.look(identity),
        }
    }

    #[cold]
    fn look(&self, identity: u64) -> Global {
        let kind = global::get_text_map_propagator(|p| classify(&format!("{p:?}")));
        self.seen.store(identity | kind as u64, Ordering::Relaxed);
        kind
    }
}

fn identity(propagator: &dyn TextMapPropagator) -> u64 {
    let own = std::ptr::from_ref(propagator).addr() as u64;
    let field = propagator.fields().next();
    let field = field.map_or(0, |field| field.as_ptr().addr() as u64);
    // Spread over all bits: the lower two are taken off.
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
    let names = || {
        members
            .split('}')
            .map(|m| m.trim_start_matches([',', ' ']))
            .filter(|m| !m.is_empty())
    };
    let name = |member: &str| {
        member
            .split([' ', '{', '('])
            .next()
            .unwrap_or_default()
            .to_owned()
    };
    let is_ours = |member: &str| {
        matches!(
            &*name(member),
            "TraceContextPropagator" | "BaggagePropagator" | "W3cPropagator"
        )
    };
    let traces = names().any(|m| matches!(&*name(m), "TraceContextPropagator" | "W3cPropagator"));
    if traces && names().all(is_ours) {
        Global::W3c
    } else {
        Global::Foreign
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
    fn only_w3c_is_replaced_by_ours() {
        assert_eq!(kind(&TraceContextPropagator::new()), Global::W3c);
        assert_eq!(kind(&W3cPropagator::new()), Global::W3c);
        let both = || -> Vec<Box<dyn TextMapPropagator + Send + Sync>> {
            vec![
                Box::new(TraceContextPropagator::new()),
                Box::new(BaggagePropagator::new()),
            ]
        };
        assert_eq!(kind(&TextMapCompositePropagator::new(both())), Global::W3c);
        assert_eq!(
            kind(&TextMapCompositePropagator::new(vec![])),
            Global::Foreign
        );
        assert_eq!(kind(&BaggagePropagator::new()), Global::Foreign);
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
}
