//! A message that stays in the process: the smallest thing that the messaging model takes.

use std::time::SystemTime;

use otel_ml::Telemetry;
use otel_ml::carrier::{ExtractCarrier, Field, InjectCarrier};
use otel_ml::messaging::{Destination, Message};
use otel_ml::opentelemetry::Context;
use otel_ml::opentelemetry::propagation::{Extractor, Injector};
use otel_ml::semconv::ml;

/// Headers in the order in which they were put: names in any case, values of any bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemoryHeaders(Vec<(String, Vec<u8>)>);

impl MemoryHeaders {
    /// Adds a header behind those that are there.
    pub fn push(&mut self, name: impl Into<String>, value: impl Into<Vec<u8>>) {
        self.0.push((name.into(), value.into()));
    }

    fn all<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        let is_named = move |header: &&(String, Vec<u8>)| header.0.eq_ignore_ascii_case(name);
        let values: Vec<_> = self
            .0
            .iter()
            .filter(is_named)
            .map(|(_, value)| &**value)
            .collect();
        values.into_iter()
    }
}

/// A message of the system `memory`.
#[derive(Clone, Debug)]
pub struct MemoryMessage {
    /// The queue it lies in.
    pub queue: String,
    /// What goes with it.
    pub headers: MemoryHeaders,
    /// What it says.
    pub body: Vec<u8>,
    /// When it was sent.
    pub sent_at: Option<SystemTime>,
}

impl MemoryMessage {
    /// A message for `queue`, sent now.
    pub fn new(queue: impl Into<String>, body: impl Into<Vec<u8>>) -> Self {
        Self {
            queue: queue.into(),
            headers: MemoryHeaders::default(),
            body: body.into(),
            sent_at: Some(SystemTime::now()),
        }
    }
}

// === impl MemoryHeaders ===

impl Extractor for MemoryHeaders {
    fn get(&self, key: &str) -> Option<&str> {
        self.all(key)
            .last()
            .and_then(|value| std::str::from_utf8(value).ok())
    }

    fn keys(&self) -> Vec<&str> {
        self.0.iter().map(|(name, _)| name.as_str()).collect()
    }
}

impl ExtractCarrier for MemoryHeaders {
    const TRANSPORT: &'static str = ml::transport::MEMORY;

    fn values(&self, field: Field) -> impl Iterator<Item = &[u8]> {
        self.all(field.name())
    }
}

impl Injector for MemoryHeaders {
    fn set(&mut self, key: &str, value: String) {
        self.0.retain(|(name, _)| !name.eq_ignore_ascii_case(key));
        self.push(key, value);
    }
}

impl InjectCarrier for MemoryHeaders {
    fn replace(&mut self, field: Field, value: &[u8]) {
        self.remove(field);
        self.push(field.name(), value);
    }

    fn remove(&mut self, field: Field) {
        self.0
            .retain(|(name, _)| !name.eq_ignore_ascii_case(field.name()));
    }
}

// === impl MemoryMessage ===

impl Message for MemoryMessage {
    fn system(&self) -> &'static str {
        "memory"
    }

    fn destination(&self) -> Destination<'_> {
        Destination::named(&self.queue)
    }

    fn sender(&self, telemetry: &Telemetry) -> Context {
        telemetry.extract(&self.headers)
    }

    fn sent_at(&self) -> Option<SystemTime> {
        self.sent_at
    }

    fn body_size(&self) -> Option<u64> {
        u64::try_from(self.body.len()).ok()
    }
}
