//! One span's life: started, current while its work runs, ended exactly once.

use std::borrow::Cow;
use std::fmt;
use std::time::{Duration, Instant};

use opentelemetry::trace::{
    Link, Span, SpanBuilder, SpanContext, SpanKind, Status, TraceContextExt, Tracer,
};
use opentelemetry::{Context, Key, KeyValue, Value};
use otel_ml_semconv::{error, gen_ai, ml};
use smallvec::SmallVec;

use crate::attributes::Attributes;
use crate::facts::{Facts, Shared, error_label};
use crate::instruments::{InFlight, Instruments, Labels};
use crate::outcome::{CancelReason, ErrorType, Outcome};
use crate::telemetry::Telemetry;

/// What a transport records when its operation ends.
pub trait Record {
    /// Adds late attributes to `end` and records metrics. Called once, unless there is neither
    /// a span nor a meter to record to.
    fn record(&mut self, end: &mut End<'_>);

    /// The outcome when the operation is dropped: an error that is already known stays one.
    fn dropped(&self) -> Outcome {
        Outcome::Cancelled(CancelReason::Dropped)
    }
}

impl Record for () {
    fn record(&mut self, _end: &mut End<'_>) {}
}

/// The end of an operation, as its transport sees it.
pub struct End<'a> {
    /// How it ended.
    pub outcome: &'a Outcome,
    /// The error that the outcome is for this kind of span, if it is one.
    pub error: Option<&'a ErrorType>,
    /// From start to end.
    pub duration: Duration,
    /// Where metrics go; `None` while no meter provider is there.
    pub instruments: Option<&'a Instruments>,
    facts: Option<&'a Facts>,
    late: Option<&'a mut Labels>,
    is_partial: bool,
}

impl End<'_> {
    /// Whether attributes are kept: make none otherwise.
    #[must_use]
    pub const fn is_recording(&self) -> bool {
        self.late.is_some()
    }

    /// Adds an attribute to the span. A key must not be added twice.
    pub fn set(&mut self, key: impl Into<Key>, value: impl Into<Value>) {
        if let Some(late) = &mut self.late {
            late.push(KeyValue::new(key, value));
        }
    }

    /// `error.type` as a metric label, if the operation failed.
    #[must_use]
    pub fn error_label(&self) -> Option<KeyValue> {
        error_label(self.error)
    }

    /// Records the GenAI server metrics, if the handler has said which operation it served.
    pub fn record_gen_ai_server(&self) {
        if let (Some(facts), Some(instruments)) = (&self.facts, self.instruments) {
            facts.record_gen_ai_server(instruments, self.duration, self.error_label().as_ref());
        }
    }

    /// Says that the answer, and with it the token counts, is incomplete.
    pub(crate) fn mark_partial(&mut self) {
        if !self.is_partial && !self.has_fact(ml::USAGE_PARTIAL) {
            self.is_partial = true;
            self.set(ml::USAGE_PARTIAL, true);
        }
    }

    pub(crate) const fn facts(&self) -> Option<&Facts> {
        self.facts
    }

    fn has_fact(&self, key: &str) -> bool {
        self.facts.is_some_and(|facts| facts.get(key).is_some())
    }
}

impl fmt::Debug for End<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("End")
            .field("outcome", self.outcome)
            .field("duration", &self.duration)
            .finish_non_exhaustive()
    }
}

/// Whether [`MlSpan::current`](crate::MlSpan::current) finds an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handle {
    /// Never: clients and producers, whose work is done elsewhere.
    None,
    /// While its span is recorded: servers and consumers.
    Recorded,
    /// Also for its metrics alone: stages and model operations.
    Always,
}

/// What an operation starts with.
#[derive(Debug)]
#[must_use]
pub struct OperationBuilder<'a> {
    telemetry: &'a Telemetry,
    kind: SpanKind,
    name: Cow<'static, str>,
    parent: Context,
    links: Vec<Link>,
    handle: Handle,
    cap: usize,
    in_flight: Option<InFlight>,
}

impl<'a> OperationBuilder<'a> {
    /// The parent; a root without it. Links are kept also where the parent is none.
    #[inline]
    pub fn parent(self, parent: Context) -> Self {
        Self { parent, ..self }
    }

    /// A link to `span`, with `attributes` of its own. An invalid span is no link.
    #[inline]
    pub fn link(mut self, span: SpanContext, attributes: Vec<KeyValue>) -> Self {
        if span.is_valid() {
            self.links.push(Link::new(span, attributes, 0));
        }
        self
    }

    /// Whether handlers can write facts to it. [`Handle::None`] if not called.
    #[inline]
    pub fn handle(self, handle: Handle) -> Self {
        Self { handle, ..self }
    }

    /// The most attributes that a hook may push, and the most facts a handler may write.
    #[inline]
    pub fn attribute_cap(self, cap: usize) -> Self {
        Self { cap, ..self }
    }

    /// Counts the operation as in flight until it has ended.
    #[inline]
    pub fn in_flight(self, in_flight: Option<InFlight>) -> Self {
        Self { in_flight, ..self }
    }

    /// Starts the span. `attributes` is called before the sampler decides, so that it sees
    /// them; below a parent that is not sampled only when the span is recorded all the same.
    pub fn start<R: Record>(
        self,
        record: R,
        attributes: impl FnOnce(&mut Attributes),
    ) -> Operation<R> {
        let Self {
            telemetry,
            kind,
            name,
            parent,
            links,
            handle,
            cap,
            in_flight,
        } = self;
        let off = Telemetry::off();
        let telemetry = if parent.is_telemetry_suppressed() {
            &off
        } else {
            telemetry
        };
        let mut live = Live {
            cx: parent,
            telemetry: telemetry.clone(),
            kind,
            started: None,
            recording: false,
            has_entry: false,
            in_flight,
            record,
        };
        let mut taken = SmallVec::new();
        if let Some(tracer) = telemetry.tracer() {
            let mut builder = SpanBuilder::from_name(name).with_kind(live.kind.clone());
            if !links.is_empty() {
                builder.links = Some(links);
            }
            let (has_parent, is_sampled) = {
                let span = live.cx.span();
                let parent = span.span_context();
                (parent.is_valid(), parent.is_sampled())
            };
            let is_unlikely = has_parent && !is_sampled;
            let fill = || {
                let mut buffer = Attributes::new(cap);
                attributes(&mut buffer);
                taken = buffer.taken();
                buffer.into_vec()
            };
            let span = if is_unlikely {
                let mut span = tracer.build_with_context(builder, &live.cx);
                if span.is_recording() {
                    span.set_attributes(fill());
                }
                span
            } else {
                builder.attributes = Some(fill());
                tracer.build_with_context(builder, &live.cx)
            };
            live.recording = span.is_recording();
            // An invalid span (provider shut down) or an unsampled one must not hide the
            // parent: it says all there is to pass on, its random flag included.
            if live.recording || (span.span_context().is_valid() && !has_parent) {
                live.cx = live.cx.with_span(span);
            }
        }
        let is_observed = live.recording || telemetry.instruments().is_some();
        live.started = is_observed.then(Instant::now);
        let wanted = match handle {
            Handle::None => false,
            Handle::Recorded => live.recording,
            Handle::Always => is_observed,
        };
        if let Some(started) = live.started.filter(|_| wanted) {
            let span = live.cx.clone();
            live.cx = span.with_value(Shared::new(
                span.clone(),
                live.recording,
                telemetry.clone(),
                started,
                taken,
                cap,
            ));
            live.has_entry = true;
        }
        Operation { live: Some(live) }
    }
}

/// One span, from start to finish, with the clock and the records that belong to it.
///
/// # When it ends
/// Once: by [`finish`](Self::finish), or when dropped (then as
/// [`Cancelled`](Outcome::Cancelled)), or by a panic inside [`scope`](Self::scope) (then as
/// failed with `error.type` = `panic`).
#[must_use = "dropping it ends the span as cancelled"]
pub struct Operation<R: Record = ()> {
    live: Option<Live<R>>,
}

struct Live<R> {
    cx: Context,
    telemetry: Telemetry,
    kind: SpanKind,
    /// `None` where nobody will ask how long it took.
    started: Option<Instant>,
    recording: bool,
    has_entry: bool,
    in_flight: Option<InFlight>,
    record: R,
}

impl Operation {
    /// Describes an operation of `kind`, named `name` (low cardinality).
    #[inline]
    pub fn builder<'a>(
        telemetry: &'a Telemetry,
        kind: SpanKind,
        name: Cow<'static, str>,
    ) -> OperationBuilder<'a> {
        OperationBuilder {
            telemetry,
            kind,
            name,
            parent: Context::new(),
            links: Vec::new(),
            handle: Handle::None,
            cap: crate::options::ATTRIBUTE_CAP,
            in_flight: None,
        }
    }
}

impl<R: Record> Operation<R> {
    /// The context to run the work in; `None` once it has ended.
    #[must_use]
    pub fn context(&self) -> Option<&Context> {
        self.live.as_ref().map(|live| &live.cx)
    }

    /// Its span's context; invalid when there is no span, or once it has ended.
    #[must_use]
    pub fn span_context(&self) -> SpanContext {
        self.context()
            .map_or(SpanContext::NONE, |cx| cx.span().span_context().clone())
    }

    /// Whether its span is recorded.
    #[must_use]
    pub fn is_recording(&self) -> bool {
        self.live.as_ref().is_some_and(|live| live.recording)
    }

    /// Time since the start; zero once it has ended.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        let started = self.live.as_ref().and_then(|live| live.started);
        started.map_or(Duration::ZERO, |started| started.elapsed())
    }

    /// What the transport records at the end, and when the operation started: `None` where
    /// neither a span nor metrics are recorded.
    pub fn record_and_start(&mut self) -> Option<(&mut R, Option<Instant>)> {
        self.live
            .as_mut()
            .map(|live| (&mut live.record, live.started))
    }

    /// What the transport records at the end, to be filled in as it becomes known.
    pub fn record_mut(&mut self) -> Option<&mut R> {
        self.live.as_mut().map(|live| &mut live.record)
    }

    pub(crate) fn record_and_instruments(&mut self) -> Option<(&mut R, Option<&Instruments>)> {
        self.live
            .as_mut()
            .map(|live| (&mut live.record, live.telemetry.instruments()))
    }

    /// Runs `work` with the operation's context current. A panic ends the operation as
    /// failed and goes on: whoever catches it may drop the operation much later.
    #[inline]
    pub fn scope<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let Some(cx) = self.context() else {
            return work();
        };
        let _attached = cx.clone().attach();
        let mut unwind = OnUnwind(Some(self));
        let result = work();
        unwind.0 = None;
        result
    }

    /// Ends it.
    pub fn finish(mut self, outcome: Outcome) {
        self.end(&outcome);
    }

    /// Ends it where only a reference is at hand. Later calls do nothing.
    pub fn end(&mut self, outcome: &Outcome) {
        if let Some(live) = self.live.take() {
            live.end(outcome);
        }
    }
}

impl<R: Record> Live<R> {
    fn end(mut self, outcome: &Outcome) {
        // Nothing is recorded, and nothing was.
        let Some(duration) = self.started.map(|started| started.elapsed()) else {
            return;
        };
        let error = outcome.error(&self.kind);
        let entry = if self.has_entry {
            self.cx.get::<Shared>()
        } else {
            None
        };
        let mut facts = entry.map(Shared::finish);
        let mut late = Labels::new();
        let instruments = self.telemetry.instruments();
        let mut end = End {
            outcome,
            error: error.as_ref(),
            duration,
            instruments,
            facts: facts.as_deref(),
            late: self.recording.then_some(&mut late),
            is_partial: false,
        };
        self.record.record(&mut end);
        if *outcome != Outcome::Ok && end.has_fact(gen_ai::USAGE_OUTPUT_TOKENS) {
            end.mark_partial();
        }
        if let (Some(facts), Some(instruments)) = (&facts, instruments) {
            facts.record(instruments, duration, error_label(error.as_ref()).as_ref());
        }
        // Before the span is exported: whoever sees the span sees the gauge without it.
        drop(self.in_flight.take());
        if self.recording {
            let span = self.cx.span();
            if let Some(reason) = outcome.cancel_reason() {
                late.push(KeyValue::new(ml::CANCEL_REASON, reason.as_str()));
            }
            if let Some(error) = error {
                late.push(KeyValue::new(error::TYPE, error.into_value()));
                span.set_status(Status::error(""));
            }
            if let Some(facts) = facts.as_mut().filter(|facts| facts.has_custom) {
                facts
                    .list
                    .retain(|(_, fact)| late.iter().all(|known| known.key != fact.key));
            }
            let told = facts
                .iter_mut()
                .flat_map(|facts| facts.list.drain(..))
                .map(|(_, fact)| fact);
            span.set_attributes(late.drain(..).chain(told));
            // Span processors run in here, and may ask for the facts' owner.
            drop(facts);
            span.end();
        }
    }
}

impl<R: Record> Drop for Operation<R> {
    fn drop(&mut self) {
        if let Some(live) = self.live.take() {
            let outcome = live.record.dropped();
            live.end(&outcome);
        }
    }
}

impl<R: Record> fmt::Debug for Operation<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Operation")
            .field("span", &self.span_context())
            .finish_non_exhaustive()
    }
}

/// Ends the operation when unwinding past it; disarmed by taking the reference out.
struct OnUnwind<'a, R: Record>(Option<&'a mut Operation<R>>);

impl<R: Record> Drop for OnUnwind<'_, R> {
    fn drop(&mut self) {
        if let Some(operation) = self.0.take() {
            operation.end(&Outcome::Failed(ErrorType::PANIC));
        }
    }
}
