//! How an operation ends, and what is recorded then.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use opentelemetry::trace::{SpanKind, Status, TraceContextExt};
use opentelemetry::{Context, Key, KeyValue, Value};
use otel_ml_semconv::{error, gen_ai, ml};

use super::Since;
use crate::facts::{Facts, error_label};
use crate::instruments::{Instruments, Labels};
use crate::outcome::{CancelReason, ErrorType, Outcome};
use crate::shared::Shared;
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

    /// Whether the transport says `key` itself when the operation starts. What a handler writes
    /// under such a key of its own choice is left out: the SDK would keep both.
    fn owns(&self, _key: &str) -> bool {
        false
    }

    /// The error that `outcome` is for a span of `kind`, where a protocol has a rule of its own.
    fn error(&self, outcome: &Outcome, kind: &SpanKind) -> Option<ErrorType> {
        outcome.error(kind)
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
    /// From start to end, for metrics: zero where there are no instruments.
    pub duration: Duration,
    /// Where metrics go; `None` while no meter provider is there.
    pub instruments: Option<&'a Instruments>,
    facts: Option<&'a Facts>,
    model_keys: &'static [&'static str],
    late: Option<&'a mut Labels>,
    name: Option<Cow<'static, str>>,
    is_partial: bool,
}

impl End<'_> {
    /// Whether attributes are kept: make none otherwise.
    #[must_use]
    pub const fn is_recording(&self) -> bool {
        self.late.is_some()
    }

    /// Adds an attribute to the span. A key must not be added twice.
    #[inline]
    pub fn set(&mut self, key: impl Into<Key>, value: impl Into<Value>) {
        if let Some(late) = &mut self.late {
            late.push(KeyValue::new(key, value));
        }
    }

    /// Names the span anew, where only the end tells what it was. Low cardinality.
    pub fn rename(&mut self, name: impl Into<Cow<'static, str>>) {
        self.name = Some(name.into());
    }

    /// `error.type` as a metric label, if the operation failed.
    #[inline]
    #[must_use]
    pub fn error_label(&self) -> Option<KeyValue> {
        error_label(self.error)
    }

    /// Records the GenAI server metrics, if the handler has said which operation it served.
    #[inline]
    pub fn record_gen_ai_server(&self) {
        if let (Some(facts), Some(instruments)) = (&self.facts, self.instruments) {
            let is_ok = *self.outcome == Outcome::Ok;
            let error = self.error_label();
            facts.record_gen_ai_server(instruments, self.duration, error.as_ref(), is_ok);
        }
    }

    /// Says that the answer, and with it the token counts, is incomplete.
    pub(crate) fn mark_partial(&mut self) {
        if !self.is_partial && !self.has_fact(ml::USAGE_PARTIAL) {
            self.is_partial = true;
            self.set(ml::USAGE_PARTIAL, true);
        }
    }

    /// The labels of the model that facts name.
    pub(crate) fn model_labels(&self) -> Labels {
        self.facts
            .map_or_else(Labels::new, |facts| facts.labels(self.model_keys))
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

/// An operation that something is recorded of.
pub(super) struct Live<R> {
    /// Dropped before the context, whose entry can then be used again.
    pub(super) shared: Option<Arc<Shared>>,
    pub(super) cx: Context,
    pub(super) telemetry: Telemetry,
    pub(super) kind: SpanKind,
    /// `None` where nobody will ask how long it took.
    pub(super) started: Option<Instant>,
    pub(super) recording: bool,
    pub(super) record: R,
}

impl<R: Record> Live<R> {
    #[inline]
    pub(super) fn end(&mut self, outcome: &Outcome, at: Option<Since>) {
        // Taken, as a processor that panics below must not be met again while unwinding. `None`
        // where nothing is recorded, and nothing was.
        let Some(started) = self.started.take() else {
            return;
        };
        let error = self.record.error(outcome, &self.kind);
        let mut facts = self.shared.as_deref().map(Shared::finish);
        let mut late = Labels::new();
        let instruments = self.telemetry.instruments();
        let duration = instruments.map_or(Duration::ZERO, |_| match at {
            None => started.elapsed(),
            Some(at) => at.steady.saturating_duration_since(started),
        });
        let mut end = End {
            outcome,
            error: error.as_ref(),
            duration,
            instruments,
            facts: facts.as_ref(),
            model_keys: self.telemetry.model_keys(),
            late: self.recording.then_some(&mut late),
            name: None,
            is_partial: false,
        };
        self.record.record(&mut end);
        if *outcome != Outcome::Ok && end.has_fact(gen_ai::USAGE_OUTPUT_TOKENS) {
            end.mark_partial();
        }
        let name = end.name;
        if let (Some(facts), Some(instruments)) = (&facts, instruments) {
            let error = error_label(error.as_ref());
            let model_keys = self.telemetry.model_keys();
            facts.record(instruments, model_keys, duration, error.as_ref());
        }
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
                facts.list.retain(|(_, fact)| {
                    let is_told = late.iter().any(|known| known.key == fact.key);
                    !is_told && !self.record.owns(fact.key.as_str())
                });
            }
            if let Some(name) = name {
                span.update_name(name);
            }
            span.set_attributes(late.drain(..));
            if let Some(facts) = &mut facts {
                span.set_attributes(facts.list.drain(..).map(|(_, fact)| fact));
            }
            match at {
                None => span.end(),
                Some(at) => span.end_with_timestamp(at.wall),
            }
        }
        if let (Some(facts), Some(shared)) = (facts, &self.shared) {
            shared.give_back(facts);
        }
    }
}
