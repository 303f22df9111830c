//! What models hold on to: memory, caches, state.

use std::sync::{Arc, Once};

use otel_ml::opentelemetry::{KeyValue, StringValue};
use otel_ml::semconv::ml;
use otel_ml::{Level, LevelOf, Telemetry};

/// How many bytes something of a model's takes, asked for when metrics are collected; none once
/// it is dropped. What is told before there is a meter provider counts once there is one.
///
/// ```
/// use otel_ml_worker::ModelBytes;
///
/// let weights = ModelBytes::of_weights("cross-encoder");
/// weights.set(90_000_000);
/// let state = ModelBytes::of_state("session-ranker");
/// state.set(4_096);
/// ```
///
/// # Cardinality
/// The model is a metric label.
#[derive(Debug)]
pub struct ModelBytes(Held);

impl ModelBytes {
    /// The memory that its weights take: `ml.model.memory.usage`.
    pub fn of_weights(model: impl Into<StringValue>) -> Self {
        Self(Held::new(LevelOf::ModelMemory, model.into(), None))
    }

    /// What it keeps across requests, such as caches and aggregates: `ml.model.state.size`.
    pub fn of_state(model: impl Into<StringValue>) -> Self {
        Self(Held::new(LevelOf::ModelState, model.into(), None))
    }

    /// Records through `telemetry` in place of that of the operation around, or the global one.
    /// Nothing may have been [`set`](Self::set) yet.
    #[must_use]
    pub fn telemetry(self, telemetry: Telemetry) -> Self {
        Self(self.0.telemetry(telemetry))
    }

    /// It takes so many bytes now.
    pub fn set(&self, bytes: u64) {
        self.0.set(bytes);
    }
}

/// The key-value cache of a model: `ml.kv_cache.usage`, `ml.kv_cache.limit` and
/// `ml.kv_cache.utilization`. Input tokens that came from it are a fact of the request:
/// [`MlSpan::cached_tokens`](otel_ml::MlSpan::cached_tokens).
///
/// ```
/// let cache = otel_ml_worker::KvCache::new("llama", 8_000_000_000);
/// cache.set(2_000_000_000); // after each step, or every so many
/// ```
///
/// Those of one model in a process add up. One with a limit of 0 has neither limit nor utilization.
///
/// # Cardinality
/// The model is a metric label.
#[derive(Debug)]
pub struct KvCache(Held);

impl KvCache {
    /// The cache of `model`, which may hold `limit` bytes.
    pub fn new(model: impl Into<StringValue>, limit: u64) -> Self {
        let limit = (limit > 0).then_some(limit);
        Self(Held::new(LevelOf::KvCache, model.into(), limit))
    }

    /// Records through `telemetry` in place of that of the operation around, or the global one.
    /// Nothing may have been [`set`](Self::set) yet.
    #[must_use]
    pub fn telemetry(self, telemetry: Telemetry) -> Self {
        Self(self.0.telemetry(telemetry))
    }

    /// It holds so many bytes now.
    pub fn set(&self, bytes: u64) {
        self.0.set(bytes);
    }
}

/// What is held, and whose metrics tell it from the first time on that it is set.
#[derive(Debug)]
struct Held {
    telemetry: Telemetry,
    of: LevelOf,
    level: Arc<Level>,
    watched: Once,
}

impl Held {
    fn new(of: LevelOf, model: StringValue, limit: Option<u64>) -> Self {
        let labels = vec![KeyValue::new(ml::MODEL_NAME, model)];
        Self {
            telemetry: Telemetry::current(),
            of,
            level: Arc::new(Level::new(labels, limit)),
            watched: Once::new(),
        }
    }

    fn telemetry(self, telemetry: Telemetry) -> Self {
        Self { telemetry, ..self }
    }

    fn set(&self, bytes: u64) {
        self.level.set(bytes);
        self.watched
            .call_once(|| self.telemetry.watch(self.of, &self.level));
        // Where nothing else is recorded, this is who finds the provider.
        let _ = self.telemetry.instruments();
    }
}
