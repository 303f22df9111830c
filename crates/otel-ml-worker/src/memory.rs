//! What models hold on to: memory, caches, state.

use std::sync::atomic::{AtomicI64, Ordering};

use otel_ml::opentelemetry::metrics::UpDownCounter;
use otel_ml::opentelemetry::{KeyValue, StringValue};
use otel_ml::semconv::ml;
use otel_ml::{Instruments, Telemetry};

/// How many bytes something of a model's takes, told as they are now; zero when dropped.
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
pub struct ModelBytes {
    telemetry: Telemetry,
    label: [KeyValue; 1],
    which: Which,
    /// What the instrument has been told.
    told: AtomicI64,
}

#[derive(Clone, Copy, Debug)]
enum Which {
    Weights,
    State,
    CacheUsage,
    CacheLimit,
}

impl Which {
    const fn instrument(self, instruments: &Instruments) -> &UpDownCounter<i64> {
        match self {
            Self::Weights => &instruments.ml_model_memory_usage,
            Self::State => &instruments.ml_model_state_size,
            Self::CacheUsage => &instruments.ml_kv_cache_usage,
            Self::CacheLimit => &instruments.ml_kv_cache_limit,
        }
    }
}

impl ModelBytes {
    /// The memory that its weights take: `ml.model.memory.usage`.
    pub fn of_weights(model: impl Into<StringValue>) -> Self {
        Self::new(Which::Weights, model.into())
    }

    /// What it keeps across requests, such as caches and aggregates: `ml.model.state.size`.
    pub fn of_state(model: impl Into<StringValue>) -> Self {
        Self::new(Which::State, model.into())
    }

    fn new(which: Which, model: StringValue) -> Self {
        Self {
            telemetry: Telemetry::current(),
            label: [KeyValue::new(ml::MODEL_NAME, model)],
            which,
            told: AtomicI64::new(0),
        }
    }

    /// Records through `telemetry` in place of that of the operation around, or the global one.
    #[must_use]
    pub fn telemetry(mut self, telemetry: Telemetry) -> Self {
        self.telemetry = telemetry;
        self
    }

    /// It takes so many bytes now.
    ///
    /// What is told before there is a meter provider is lost: install the providers first, or
    /// tell it again.
    pub fn set(&self, bytes: u64) {
        // Weights are told once, so it may not be left to the next time to look for a provider.
        self.tell(bytes, self.telemetry.instruments_now());
    }

    fn tell(&self, bytes: u64, instruments: Option<&Instruments>) {
        let Some(instruments) = instruments else {
            return;
        };
        let now = i64::try_from(bytes).unwrap_or(i64::MAX);
        let difference = now.saturating_sub(self.told.swap(now, Ordering::Relaxed));
        if difference != 0 {
            self.which
                .instrument(instruments)
                .add(difference, &self.label);
        }
    }
}

impl Drop for ModelBytes {
    fn drop(&mut self) {
        if *self.told.get_mut() != 0 {
            self.set(0);
        }
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
/// One for each model in a process: those of two caches add up in usage and limit, but the
/// utilization is that of the one that told it last.
///
/// # Cardinality
/// The model is a metric label.
#[derive(Debug)]
pub struct KvCache {
    usage: ModelBytes,
    limit: ModelBytes,
    bytes: u64,
}

impl KvCache {
    /// The cache of `model`, which may hold `limit` bytes.
    pub fn new(model: impl Into<StringValue>, limit: u64) -> Self {
        let model = model.into();
        Self {
            usage: ModelBytes::new(Which::CacheUsage, model.clone()),
            limit: ModelBytes::new(Which::CacheLimit, model),
            bytes: limit,
        }
    }

    /// Records through `telemetry` in place of that of the operation around, or the global one.
    #[must_use]
    pub fn telemetry(mut self, telemetry: Telemetry) -> Self {
        self.usage.telemetry = telemetry.clone();
        self.limit.telemetry = telemetry;
        self
    }

    /// It holds so many bytes now.
    pub fn set(&self, bytes: u64) {
        // Told again with every step: one look at the usual pace is enough.
        let instruments = self.usage.telemetry.instruments();
        self.limit.tell(self.bytes, instruments);
        self.usage.tell(bytes, instruments);
        if let Some(instruments) = instruments.filter(|_| self.bytes > 0) {
            #[allow(
                clippy::cast_precision_loss,
                reason = "a share needs no more than 52 bits"
            )]
            let share = bytes as f64 / self.bytes as f64;
            instruments
                .ml_kv_cache_utilization
                .record(share, &self.usage.label);
        }
    }
}

impl Drop for KvCache {
    fn drop(&mut self) {
        if *self.usage.told.get_mut() != 0 {
            self.set(0);
        }
    }
}
