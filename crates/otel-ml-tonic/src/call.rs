//! What a server and a client learn of a call alike.

use std::time::{Duration, Instant};

use bytes::Buf;
use http::header::HeaderMap;
use http::{StatusCode, response};
use otel_ml_tower::Streamed;
use otel_ml_tower::otel_ml::opentelemetry::{Array, KeyValue, Value};
use otel_ml_tower::otel_ml::semconv::{ml, rpc};
use otel_ml_tower::otel_ml::{
    CancelReason, End, ErrorType, Labels, Options, Outcome, RecordedHeader,
};
use tonic::Code;

use crate::messages::Messages;
use crate::status::{self, Failure};

/// The longest time that a request is taken to have been under way.
const ON_ITS_WAY: Duration = Duration::from_millis(100);

/// A call, from the head of its request to the status of its answer.
#[derive(Debug)]
pub(crate) struct Call {
    /// When the caller stops waiting.
    deadline: Option<Instant>,
    /// The status, once it is known.
    pub(crate) code: Option<Code>,
    /// The HTTP status, once the head of an answer has come.
    http: Option<StatusCode>,
    /// The status came with the head: there are no messages.
    pub(crate) is_head_only: bool,
    /// The head is not gRPC's: a proxy's page, most likely.
    pub(crate) is_foreign: bool,
    /// Whether there is a span: without one, nothing of the messages and the metadata is kept.
    is_recorded: bool,
    pub(crate) streamed: Streamed,
    messages: Messages,
    metadata: Vec<KeyValue>,
}

impl Call {
    /// A call that is made. Its clock starts before any other's.
    pub(crate) fn made(request: &HeaderMap) -> Self {
        Self::within(status::timeout(request))
    }

    /// A call that is served. Its caller's clock started earlier, by the time that the request was
    /// under way: a caller that stops waiting is heard of a moment before the time is up here.
    pub(crate) fn served(timeout: Option<&[u8]>) -> Self {
        let timeout = timeout.and_then(status::read_timeout);
        Self::within(timeout.map(|timeout| timeout - (timeout / 10).min(ON_ITS_WAY)))
    }

    fn within(timeout: Option<Duration>) -> Self {
        Self {
            deadline: timeout.and_then(|timeout| Instant::now().checked_add(timeout)),
            code: None,
            http: None,
            is_head_only: false,
            is_foreign: false,
            is_recorded: false,
            streamed: Streamed {
                is_uncounted: true,
                ..Streamed::default()
            },
            messages: Messages::default(),
            metadata: Vec::new(),
        }
    }

    /// There is a span: the messages are counted for it, and metadata kept.
    pub(crate) const fn record_messages(&mut self) {
        self.is_recorded = true;
        self.streamed.is_uncounted = false;
    }

    /// Takes in the head of the answer; whether it is all of it.
    pub(crate) fn head(&mut self, head: &response::Parts, recorded: &[RecordedHeader]) -> bool {
        self.code = status::in_headers(&head.headers);
        self.http = Some(head.status);
        self.is_head_only = self.code.is_some();
        self.add_metadata(&head.headers, recorded);
        self.is_head_only
    }

    pub(crate) fn data<D: Buf>(&mut self, data: &D) {
        if self.is_recorded {
            self.messages.add(data);
        }
    }

    pub(crate) fn trailers(&mut self, trailers: &HeaderMap, recorded: &[RecordedHeader]) {
        self.code = status::in_headers(trailers).or(self.code);
        self.add_metadata(trailers, recorded);
    }

    /// Metadata comes before and after the messages: one key is one attribute.
    fn add_metadata(&mut self, headers: &HeaderMap, recorded: &[RecordedHeader]) {
        if !self.is_recorded {
            return;
        }
        for (key, value) in recorded.iter().filter_map(|one| one.attribute(headers)) {
            let known = self.metadata.iter_mut().find(|known| known.key == key);
            match (known.map(|known| &mut known.value), value) {
                (None, value) => self.metadata.push(KeyValue::new(key, value)),
                (Some(Value::Array(Array::String(all))), Value::Array(Array::String(more))) => {
                    all.extend(more);
                }
                (Some(_), _) => {}
            }
        }
    }

    /// Whether the head of an answer has come.
    pub(crate) const fn is_answered(&self) -> bool {
        self.http.is_some()
    }

    /// Whether the answer says that there is no such method.
    pub(crate) fn is_unimplemented(&self) -> bool {
        let known = if self.is_head_only {
            self.code
        } else {
            self.fallback()
        };
        known == Some(Code::Unimplemented)
    }

    /// What an answer without a status stands for.
    fn fallback(&self) -> Option<Code> {
        self.http.map(status::of_http)
    }

    /// The status; `None` while nothing has come that stands for one.
    pub(crate) fn status(&self) -> Option<Code> {
        self.code.or_else(|| self.fallback())
    }

    /// Whether the status never came, though all seemed well: the stream was cut.
    pub(crate) fn is_cut(&self) -> bool {
        self.code.is_none() && self.http == Some(StatusCode::OK)
    }

    /// Whether the caller has stopped waiting.
    pub(crate) fn is_overdue(&self) -> bool {
        self.deadline
            .is_some_and(|deadline| deadline <= Instant::now())
    }

    /// The outcome of a call that was dropped.
    pub(crate) fn dropped(&self) -> Outcome {
        Outcome::Cancelled(if self.is_overdue() {
            CancelReason::Deadline
        } else {
            CancelReason::Dropped
        })
    }

    /// The outcome of a call that failed with `error`; `rule` says what a status is.
    pub(crate) fn failed<H, E: 'static>(
        &mut self,
        options: &Options<H>,
        error: &E,
        rule: impl FnOnce(&Self, Code) -> Outcome,
    ) -> Outcome {
        let class = options.error_type(error);
        let is_classified = class != ErrorType::of::<E>();
        let failure = status::of_error(error);
        let (outcome, code) = match failure {
            None => (Outcome::Failed(class.clone()), Code::Unknown),
            Some(Failure::Status(code)) => (rule(self, code), code),
            Some(Failure::Class(class, code)) => (Outcome::Failed(class), code),
            Some(Failure::Cancelled(reason, code)) => (Outcome::Cancelled(reason), code),
        };
        self.code = Some(code);
        if is_classified {
            Outcome::Failed(class)
        } else {
            outcome
        }
    }

    /// The status as recorded; `None` where there was none, as after a panic.
    fn recorded(&self, outcome: &Outcome) -> Option<&'static str> {
        let code = match outcome {
            Outcome::Cancelled(CancelReason::Deadline) => Some(Code::DeadlineExceeded),
            Outcome::Cancelled(CancelReason::Dropped) => Some(Code::Cancelled),
            Outcome::Failed(error) if *error == ErrorType::PANIC => None,
            _ => self.status(),
        };
        code.map(status::name)
    }

    /// The labels of the call's duration.
    pub(crate) fn labels(&self, method: impl Into<Value>, end: &End<'_>) -> Labels {
        let mut labels = Labels::new();
        labels.push(KeyValue::new(rpc::SYSTEM_NAME, rpc::system::GRPC));
        labels.push(KeyValue::new(rpc::METHOD, method));
        labels.extend(
            self.recorded(end.outcome)
                .map(|status| KeyValue::new(rpc::STATUS_CODE, status)),
        );
        labels.extend(end.error_label());
        labels
    }

    /// Adds what is known of the answer to the span.
    pub(crate) fn record(&mut self, end: &mut End<'_>) {
        if let Some(status) = self.recorded(end.outcome) {
            end.set(rpc::STATUS_CODE, status);
        }
        for KeyValue { key, value, .. } in self.metadata.drain(..) {
            end.set(key, value);
        }
        // One message is a unary call's answer, most often: its count says nothing.
        let count = self.messages.count();
        let is_stream = self.is_answered() && !self.is_head_only;
        if count > 1 || (is_stream && *end.outcome != Outcome::Ok) {
            end.set(ml::RESPONSE_MESSAGE_COUNT, whole(count));
            end.set(ml::RESPONSE_SIZE, whole(self.streamed.bytes));
            if let Some(first) = self.streamed.time_to_first_chunk {
                end.set(ml::RESPONSE_TIME_TO_FIRST_CHUNK, first.as_secs_f64());
            }
        }
    }
}

/// A status that is an error, by its name.
pub(crate) fn failed_with(code: Code) -> Outcome {
    Outcome::Failed(ErrorType::new(status::name(code)))
}

pub(crate) fn whole(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
