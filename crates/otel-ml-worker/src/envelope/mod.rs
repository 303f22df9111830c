//! Work that leaves the process.

mod error;
mod fields;
mod wire;

use std::borrow::Cow;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use otel_ml::Telemetry;
use otel_ml::carrier::ExtractCarrier;
use otel_ml::messaging::{Destination, Message};
use otel_ml::opentelemetry::Context;
use otel_ml::semconv::ml;
use serde::Serialize;
use serde::de::DeserializeOwned;

pub use error::{EnvelopeError, EnvelopeErrorKind};
use fields::Fields;
use wire::Scalar;

/// The names in the wire form that are not the propagator's.
const PAYLOAD: &str = "payload";
const SUBMITTED: &str = "submitted_at_ms";
const ATTEMPT: &str = "attempt";
const RESERVED: [&str; 3] = [PAYLOAD, SUBMITTED, ATTEMPT];

/// A job on its way to another process: its payload, the trace it is part of, when it was
/// submitted, and which attempt this is. For job tables, Redis lists, remote workers, and queues
/// like Celery's and Ray's.
///
/// # Wire form
/// A map, in JSON or any other format of serde's that describes itself:
///
/// ```json
/// {
///   "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-03",
///   "tracestate": "vendor=1",
///   "baggage": "ml.user.tier=pro",
///   "submitted_at_ms": 1795254000000,
///   "attempt": 1,
///   "payload": {"text": "good"}
/// }
/// ```
///
/// | name | type | when it is missing or of another type |
/// |---|---|---|
/// | `traceparent`, `tracestate`, `baggage` | text, as in HTTP headers; left out where there is none | no parent, no baggage |
/// | `submitted_at_ms` | whole number: milliseconds since 1970-01-01 UTC | the wait and the age are not known |
/// | `attempt` | whole number from 1 | 1 |
/// | `payload` | anything | an error |
///
/// The trace fields lie at the top, so that in any language the map itself is what a W3C
/// propagator reads from and writes to. Other fields that are text are kept for a propagator that
/// knows them; all others are ignored. This form is stable: a change is a new name.
///
/// A queue that takes text only beside its payload (Celery's headers, the fields of a Redis
/// stream) is given [`headers`](Self::headers).
///
/// ```
/// use otel_ml_worker::Envelope;
///
/// let line = Envelope::new(vec![0.25, 0.5]).to_json()?;
/// // in another process
/// let envelope: Envelope<Vec<f64>> = Envelope::from_json(&line)?;
/// assert_eq!((envelope.payload.len(), envelope.attempt()), (2, 1));
/// # Ok::<(), otel_ml_worker::EnvelopeError>(())
/// ```
///
/// The worker's side is [`OtelMlConsumerLayer`](otel_ml::OtelMlConsumerLayer) over a
/// `Service<Envelope<T>>`: a `process {queue}` span, whose parent is the sender; a later attempt,
/// or one that is over age, is a trace of its own with a link.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Envelope<T> {
    /// What is to be worked on.
    pub payload: T,
    fields: Fields,
    submitted: Option<SystemTime>,
    attempt: u32,
    system: &'static str,
    queue: Cow<'static, str>,
}

impl<T> Envelope<T> {
    /// An envelope with the current context, submitted now, for the first time. The sending has
    /// no span: see [`OtelMlProducer`](crate::OtelMlProducer).
    pub fn new(payload: T) -> Self {
        Self::from_context(payload, &Context::current(), &Telemetry::current())
    }

    /// The same with a context that isn't the current one, written by the propagator of
    /// `telemetry`.
    pub fn from_context(payload: T, cx: &Context, telemetry: &Telemetry) -> Self {
        let mut fields = Fields::default();
        telemetry.inject(cx, &mut fields);
        Self {
            submitted: Some(SystemTime::now()),
            ..Self::of(payload, fields, None, None)
        }
    }

    /// A payload and the [`headers`](Self::headers) that came with it. Names that mean nothing
    /// are kept for the propagator; values that can't be read are as if they were not there.
    pub fn from_headers<K, V>(payload: T, headers: impl IntoIterator<Item = (K, V)>) -> Self
    where
        K: Into<String>,
        V: Into<String>,
    {
        let (mut fields, mut attempt, mut submitted) = (Fields::default(), None, None);
        for (name, value) in headers {
            let (name, value) = (name.into(), value.into());
            match name.as_str() {
                PAYLOAD => {}
                ATTEMPT => attempt = Scalar::Text(value).number(),
                SUBMITTED => submitted = Scalar::Text(value).number(),
                _ => fields.push(name, value),
            }
        }
        Self::of(payload, fields, attempt, submitted)
    }

    /// All but the payload, as text: names, and values that are numbers as digits.
    pub fn headers(&self) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
        let fields = self.fields.iter();
        let fields = fields.map(|(name, value)| (name.into(), value.into()));
        let submitted = self.submitted_ms();
        fields
            .chain(submitted.map(|ms| (SUBMITTED.into(), ms.to_string().into())))
            .chain([(ATTEMPT.into(), self.attempt.to_string().into())])
    }

    fn of(payload: T, fields: Fields, attempt: Option<u64>, submitted: Option<u64>) -> Self {
        let submitted = submitted.and_then(|ms| UNIX_EPOCH.checked_add(Duration::from_millis(ms)));
        let attempt = attempt.map_or(1, |attempt| u32::try_from(attempt).unwrap_or(u32::MAX));
        Self {
            payload,
            fields,
            submitted,
            attempt: attempt.max(1),
            system: ml::queue_system::TASK,
            queue: Cow::Borrowed(""),
        }
    }

    fn submitted_ms(&self) -> Option<u64> {
        let since = self.submitted?.duration_since(UNIX_EPOCH).ok()?;
        u64::try_from(since.as_millis()).ok()
    }

    /// Says where it was taken from: `messaging.system.name` (`redis`, `celery`; `task` if not
    /// called) and `messaging.destination.name`. Not part of the wire form.
    ///
    /// # Cardinality
    /// Both are metric labels, and the queue is part of the span's name.
    pub fn received_from(self, system: &'static str, queue: impl Into<Cow<'static, str>>) -> Self {
        Self {
            system,
            queue: queue.into(),
            ..self
        }
    }

    /// The same job for another attempt, submitted now. It keeps the context of its first sender:
    /// later attempts link to it.
    pub fn retry(self) -> Self {
        Self {
            attempt: self.attempt.saturating_add(1),
            submitted: Some(SystemTime::now()),
            ..self
        }
    }

    /// Another payload in the same envelope.
    pub fn map<U>(self, map: impl FnOnce(T) -> U) -> Envelope<U> {
        Envelope {
            payload: map(self.payload),
            fields: self.fields,
            submitted: self.submitted,
            attempt: self.attempt,
            system: self.system,
            queue: self.queue,
        }
    }

    /// Which attempt this is, from 1.
    #[must_use]
    pub const fn attempt(&self) -> u32 {
        self.attempt
    }

    /// When it was submitted, to the millisecond once it has been on the wire.
    #[must_use]
    pub const fn submitted(&self) -> Option<SystemTime> {
        self.submitted
    }

    /// The sender's context, as a fresh one: what the fields say, and nothing of the current one.
    #[must_use]
    pub fn context(&self, telemetry: &Telemetry) -> Context {
        telemetry.extract(&self.fields)
    }
}

impl<T: Serialize> Envelope<T> {
    /// The envelope as JSON.
    ///
    /// # Errors
    /// When the payload can't be written as JSON.
    pub fn to_json(&self) -> Result<Vec<u8>, EnvelopeError> {
        serde_json::to_vec(self).map_err(EnvelopeError::writing)
    }
}

impl<T: DeserializeOwned> Envelope<T> {
    /// The envelope that `json` is.
    ///
    /// # Errors
    /// When it is no JSON, or its payload is no `T`. A field that can't be read is no error.
    pub fn from_json(json: &[u8]) -> Result<Self, EnvelopeError> {
        serde_json::from_slice(json).map_err(EnvelopeError::reading)
    }
}

impl<T> Message for Envelope<T> {
    fn system(&self) -> &'static str {
        self.system
    }

    fn transport(&self) -> &'static str {
        Fields::TRANSPORT
    }

    fn destination(&self) -> Destination<'_> {
        Destination::named(&self.queue)
    }

    fn sender(&self, telemetry: &Telemetry) -> Context {
        self.context(telemetry)
    }

    fn sent_at(&self) -> Option<SystemTime> {
        self.submitted
    }

    fn attempt(&self) -> u32 {
        self.attempt
    }
}
