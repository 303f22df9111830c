//! W3C Trace Context (level 2) and Baggage, strict as the specification has it.

use std::borrow::Cow;
use std::sync::LazyLock;

use opentelemetry::Context;
use opentelemetry::baggage::BaggageExt;
use opentelemetry::propagation::text_map_propagator::FieldIter;
use opentelemetry::propagation::{Extractor, Injector, TextMapPropagator};
use opentelemetry::trace::{SpanContext, TraceContextExt, TraceState};

use super::tracestate::{ParsedState, RawTraceState};
use super::{Anomaly, TraceParent, baggage, tracestate};
use crate::carrier::{ExtractCarrier, Field, InjectCarrier, Only, Repeated};

/// W3C Trace Context and Baggage as one OpenTelemetry propagator, or one of the two alone.
///
/// What it does that the SDK's does not: it refuses repeated and malformed `traceparent`
/// fields, joins `tracestate` fields sent in several lines, keeps lists with level-2 keys,
/// keeps the `random` flag, and sends no empty `tracestate`.
///
/// ```
/// use otel_ml::propagation::W3cPropagator;
/// use otel_ml::opentelemetry::propagation::TextMapPropagator;
///
/// let propagator = W3cPropagator::new();
/// assert_eq!(propagator.fields().collect::<Vec<_>>(), ["traceparent", "tracestate", "baggage"]);
/// let propagator = W3cPropagator::trace_context_only();
/// assert_eq!(propagator.fields().collect::<Vec<_>>(), ["traceparent", "tracestate"]);
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct W3cPropagator {
    pub(super) carries: Carries,
}

impl W3cPropagator {
    /// Trace Context and Baggage.
    #[must_use]
    pub const fn new() -> Self {
        let carries = Carries::Both;
        Self { carries }
    }

    /// Trace Context alone: `baggage` is not looked at, neither on the way in nor out.
    #[must_use]
    pub const fn trace_context_only() -> Self {
        let carries = Carries::TraceContext;
        Self { carries }
    }

    /// Baggage alone: `traceparent` and `tracestate` are not looked at, so that a trace ends
    /// where it leaves the process.
    #[must_use]
    pub const fn baggage_only() -> Self {
        let carries = Carries::Baggage;
        Self { carries }
    }
}

/// Which of the two specifications' fields are read and written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Carries {
    #[default]
    Both,
    TraceContext,
    Baggage,
}

impl Carries {
    /// What two propagators carry, one after the other.
    pub(super) fn and(self, other: Self) -> Self {
        if self == other { self } else { Self::Both }
    }
}

impl TextMapPropagator for W3cPropagator {
    fn inject_context(&self, cx: &Context, injector: &mut dyn Injector) {
        inject(cx, &mut AnyInjector(injector), self.carries);
    }

    fn extract_with_context(&self, cx: &Context, extractor: &dyn Extractor) -> Context {
        extract(cx.clone(), &AnyExtractor(extractor), self.carries).0
    }

    fn fields(&self) -> FieldIter<'_> {
        // Each has strings of its own: their address tells one from another.
        static BOTH: LazyLock<[String; 3]> = LazyLock::new(|| Field::ALL.map(named));
        static TRACE_CONTEXT: LazyLock<[String; 2]> =
            LazyLock::new(|| [Field::TraceParent, Field::TraceState].map(named));
        static BAGGAGE: LazyLock<[String; 1]> = LazyLock::new(|| [Field::Baggage].map(named));
        FieldIter::new(match self.carries {
            Carries::Both => BOTH.as_slice(),
            Carries::TraceContext => TRACE_CONTEXT.as_slice(),
            Carries::Baggage => BAGGAGE.as_slice(),
        })
    }
}

fn named(field: Field) -> String {
    field.name().to_owned()
}

/// Adds what `carrier` holds to `base`. Without a valid field `base` comes back as it was.
#[inline]
pub(crate) fn extract<C: ExtractCarrier>(
    base: Context,
    carrier: &C,
    carries: Carries,
) -> (Context, Option<Anomaly>) {
    let (parent, mut anomaly) = match carries {
        Carries::Baggage => (None, None),
        _ => parent(carrier),
    };
    let mut cx = match parent {
        Some(parent) => with_parent(&base, parent, carrier),
        None => base,
    };
    if carries == Carries::TraceContext {
        return (cx, anomaly);
    }
    let baggage = match carrier.only(Field::Baggage) {
        Only::Nothing => return (cx, anomaly),
        Only::One(line) => baggage::parse(std::iter::once(line)),
        Only::Several => baggage::parse(carrier.values(Field::Baggage)),
    };
    match baggage {
        None => anomaly = anomaly.or(Some(Anomaly::Oversized)),
        Some(baggage) if baggage.is_empty() => {}
        Some(baggage) => cx = cx.with_baggage(baggage),
    }
    (cx, anomaly)
}

fn parent<C: ExtractCarrier>(carrier: &C) -> (Option<TraceParent>, Option<Anomaly>) {
    match carrier.only(Field::TraceParent) {
        Only::Nothing => (None, None),
        Only::One(value) => match TraceParent::parse(value) {
            None => (None, Some(Anomaly::Malformed)),
            found => (found, None),
        },
        Only::Several if C::REPEATED == Repeated::Refuse => (None, Some(Anomaly::Duplicate)),
        Only::Several => {
            let values = carrier.values(Field::TraceParent);
            match values.filter_map(TraceParent::parse).last() {
                None => (None, Some(Anomaly::Malformed)),
                found => (found, Some(Anomaly::Duplicate)),
            }
        }
    }
}

#[inline]
fn with_parent<C: ExtractCarrier>(base: &Context, parent: TraceParent, carrier: &C) -> Context {
    let remote = |state| {
        let span = SpanContext::new(parent.trace_id, parent.span_id, parent.flags, true, state);
        base.with_remote_span_context(span)
    };
    if carrier.only(Field::TraceState) == Only::Nothing {
        return remote(TraceState::NONE);
    }
    let state = tracestate::join(carrier, Field::TraceState);
    match state
        .as_deref()
        .map_or(ParsedState::None, tracestate::parse)
    {
        ParsedState::None => remote(TraceState::NONE),
        ParsedState::Known(state) => remote(state),
        ParsedState::Raw(list) => remote(TraceState::NONE).with_value(RawTraceState {
            trace_id: parent.trace_id,
            list,
        }),
    }
}

/// Writes `cx` into `carrier`, in place of whatever it held. A context without a valid
/// span leaves the carrier's parent alone: there is nothing to put in its place.
pub(crate) fn inject<C: InjectCarrier>(cx: &Context, carrier: &mut C, carries: Carries) {
    let span = cx.span();
    let span = span.span_context();
    if span.is_valid() && carries != Carries::Baggage {
        let parent = TraceParent {
            trace_id: span.trace_id(),
            span_id: span.span_id(),
            flags: span.trace_flags(),
        };
        carrier.replace(Field::TraceParent, &parent.format());
        let list = match tracestate::format(span.trace_state()) {
            Some(list) => Some(Cow::Owned(list)),
            None => {
                let raw = cx.get::<RawTraceState>();
                let raw = raw.filter(|raw| raw.trace_id == span.trace_id());
                raw.map(|raw| Cow::Borrowed(&*raw.list))
            }
        };
        match list {
            Some(list) => carrier.replace(Field::TraceState, list.as_bytes()),
            None if cx.baggage().is_empty() => {
                return carrier.remove_all(&[Field::TraceState, Field::Baggage]);
            }
            None => carrier.remove(Field::TraceState),
        }
    }
    if carries == Carries::TraceContext {
        return;
    }
    let baggage = Some(cx.baggage()).filter(|baggage| !baggage.is_empty());
    match baggage.and_then(baggage::format) {
        Some(list) => carrier.replace(Field::Baggage, list.as_bytes()),
        None if span.is_valid() => carrier.remove(Field::Baggage),
        None => {}
    }
}

struct AnyExtractor<'a>(&'a dyn Extractor);

impl Extractor for AnyExtractor<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys()
    }
}

impl ExtractCarrier for AnyExtractor<'_> {
    const TRANSPORT: &'static str = "any";

    fn values(&self, field: Field) -> impl Iterator<Item = &[u8]> {
        self.0
            .get_all(field.name())
            .into_iter()
            .flatten()
            .map(str::as_bytes)
    }
}

struct AnyInjector<'a>(&'a mut dyn Injector);

impl Injector for AnyInjector<'_> {
    fn set(&mut self, key: &str, value: String) {
        self.0.set(key, value);
    }
}

impl InjectCarrier for AnyInjector<'_> {
    fn replace(&mut self, field: Field, value: &[u8]) {
        self.0
            .set(field.name(), String::from_utf8_lossy(value).into_owned());
    }

    /// The API's injectors can only set.
    fn remove(&mut self, _field: Field) {}
}
