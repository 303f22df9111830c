//! Trace context and baggage across a hop: our own W3C propagator, and the choice between
//! it and the propagator that the application has set.

pub(crate) mod baggage;
mod choice;
mod traceparent;
pub(crate) mod tracestate;
mod w3c;

use std::any::Any;
use std::cell::Cell;
use std::fmt;

use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::TraceContextExt;
use opentelemetry::{Context, global};
use otel_ml_semconv::ml;

use choice::Global;
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

thread_local! {
    /// Whether what is read now was read before.
    static IS_READ_AGAIN: Cell<bool> = const { Cell::new(false) };
}

/// Runs `read`, which reads what was read before: what is wrong with it was counted then.
pub(crate) fn read_again<T>(read: impl FnOnce() -> T) -> T {
    struct Restored(bool);

    impl Drop for Restored {
        fn drop(&mut self) {
            IS_READ_AGAIN.set(self.0);
        }
    }

    let _restored = Restored(IS_READ_AGAIN.replace(true));
    read()
}

/// Whether an anomaly that is found now was counted before.
pub(crate) fn is_read_again() -> bool {
    IS_READ_AGAIN.get()
}

/// Which propagator is used.
pub(crate) enum Propagation {
    /// Ours, unless the global one is something other than W3C.
    Auto,
    /// Ours, by choice.
    Ours(Carries),
    /// The one given.
    Given(Box<dyn TextMapPropagator + Send + Sync>),
}

impl Propagation {
    pub(crate) const fn auto() -> Self {
        Self::Auto
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
            Self::Auto => Global::current() != Global::Unset,
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
            Self::Auto => extract_by(Global::current(), carrier),
        }
    }

    /// `None` where no propagator was set.
    pub(crate) fn extract_if_set<C: ExtractCarrier>(
        &self,
        carrier: impl FnOnce() -> C,
    ) -> Option<(Context, Option<Anomaly>)> {
        match self {
            Self::Ours(_) | Self::Given(_) => Some(self.extract(&carrier())),
            Self::Auto => match Global::current() {
                Global::Unset => None,
                set => Some(extract_by(set, &carrier())),
            },
        }
    }

    /// Looks at the global propagator, whether it is time to or not.
    pub(crate) fn look_now(&self) {
        if matches!(self, Self::Auto) {
            Global::look();
        }
    }

    pub(crate) fn inject<C: InjectCarrier>(&self, cx: &Context, carrier: &mut C) {
        match self {
            Self::Auto => match Global::current() {
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
            Self::Auto => write!(f, "Auto({:?})", Global::current()),
            Self::Ours(carries) => write!(f, "Ours({carries:?})"),
            Self::Given(propagator) => write!(f, "Given({propagator:?})"),
        }
    }
}
