//! What is known of an operation while it runs.

use std::time::Duration;

use opentelemetry::{Key, KeyValue, StringValue, Value};
use otel_ml_semconv::{error, gen_ai, ml};

use crate::instruments::{Instruments, Labels};

/// Facts that metrics need, kept also for an operation whose span is not recorded.
const FOR_METRICS: [&str; 14] = [
    ml::OPERATION_NAME,
    ml::MODEL_NAME,
    ml::MODEL_VERSION,
    ml::PREDICTION_CONFIDENCE,
    gen_ai::OPERATION_NAME,
    gen_ai::PROVIDER_NAME,
    gen_ai::REQUEST_MODEL,
    gen_ai::RESPONSE_MODEL,
    gen_ai::USAGE_INPUT_TOKENS,
    gen_ai::USAGE_OUTPUT_TOKENS,
    ml::PIPELINE_STAGE_NAME,
    ml::BATCH_SIZE,
    ml::BATCH_TRIGGER,
    otel_ml_semconv::db::RESPONSE_RETURNED_ROWS,
];

/// A key and its hash, which for the keys of setters is made at compile time: telling two of
/// them apart costs no comparison of text.
pub(crate) struct FactKey {
    hash: u64,
    key: Key,
    /// Whether metrics need it.
    pub(crate) is_for_metrics: bool,
}

impl FactKey {
    pub(crate) const fn known(key: &'static str) -> Self {
        let hash = hash(key);
        let mut is_for_metrics = false;
        let mut rest = FOR_METRICS.as_slice();
        while let [first, others @ ..] = rest {
            is_for_metrics |= self::hash(first) == hash;
            rest = others;
        }
        Self {
            hash,
            key: Key::from_static_str(key),
            is_for_metrics,
        }
    }

    pub(crate) fn new(key: Key) -> Self {
        Self {
            hash: hash(key.as_str()),
            is_for_metrics: FOR_METRICS.contains(&key.as_str()),
            key,
        }
    }
}

/// FNV-1a.
const fn hash(text: &str) -> u64 {
    let mut rest = text.as_bytes();
    let mut hash = 0xcbf2_9ce4_8422_2325;
    while let [byte, tail @ ..] = rest {
        hash = (hash ^ *byte as u64).wrapping_mul(0x0100_0000_01b3);
        rest = tail;
    }
    hash
}

/// A fact, and the hash of its key.
type Fact = (u64, KeyValue);

/// Facts by key. Each is written to the span once, at the end: the SDK would keep every copy.
#[derive(Default)]
pub(crate) struct Facts {
    pub(crate) list: Vec<Fact>,
    /// Whether a fact was written under a key of the handler's own choice.
    pub(crate) has_custom: bool,
    /// Keys that the span got at its start.
    taken: Vec<Key>,
    cap: usize,
    pub(crate) first_token: Option<Duration>,
    finished: bool,
}

impl Facts {
    /// What is kept for the next operation is no longer than this.
    const MOST_ROOM: usize = 32;

    /// Starts anew with what was cleared.
    #[inline]
    pub(crate) fn begin(&mut self, taken: Vec<Key>, cap: usize) {
        self.taken = taken;
        self.cap = cap;
        self.has_custom = false;
        self.first_token = None;
        self.finished = false;
    }

    pub(crate) fn clear(&mut self) {
        self.taken = Vec::new();
        self.list.clear();
        self.list.shrink_to(Self::MOST_ROOM);
    }

    pub(crate) const fn is_finished(&self) -> bool {
        self.finished
    }

    /// All that was written. It is over: nothing is taken any more.
    #[inline]
    pub(crate) fn finish(&mut self) -> Self {
        let over = Self {
            finished: true,
            ..Self::default()
        };
        std::mem::replace(self, over)
    }

    /// Takes the memory of a list that is not needed any more.
    #[inline]
    pub(crate) fn give_back(&mut self, used: Self) {
        self.list = used.list;
        self.list.clear();
    }

    pub(crate) fn set(&mut self, key: &FactKey, value: Value) {
        if self.finished || (!self.taken.is_empty() && self.is_taken(key)) {
            return;
        }
        let is_same = |(known, fact): &&mut Fact| *known == key.hash && fact.key == key.key;
        if let Some((_, known)) = self.list.iter_mut().find(is_same) {
            known.value = value;
        } else if self.list.len() < self.cap {
            self.list
                .push((key.hash, KeyValue::new(key.key.clone(), value)));
        }
    }

    #[cold]
    fn is_taken(&self, key: &FactKey) -> bool {
        self.taken.contains(&key.key)
    }

    pub(crate) fn get(&self, key: &str) -> Option<&Value> {
        let mut facts = self.list.iter().map(|(_, fact)| fact);
        facts
            .find(|fact| fact.key.as_str() == key)
            .map(|fact| &fact.value)
    }

    fn text(&self, key: &str) -> Option<StringValue> {
        match self.get(key) {
            Some(Value::String(text)) => Some(text.clone()),
            _ => None,
        }
    }

    pub(crate) fn integer(&self, key: &str) -> Option<u64> {
        match self.get(key) {
            Some(Value::I64(number)) => u64::try_from(*number).ok(),
            _ => None,
        }
    }

    fn number(&self, key: &str) -> Option<f64> {
        match self.get(key) {
            Some(Value::F64(number)) => Some(*number),
            _ => None,
        }
    }

    /// The labels among `keys` that are known.
    pub(crate) fn labels(&self, keys: &[&'static str]) -> Labels {
        keys.iter()
            .filter_map(|key| self.text(key).map(|value| KeyValue::new(*key, value)))
            .collect()
    }

    /// The metrics that follow from facts alone, whatever kind of operation they were written
    /// to; a model labels them by `model_keys`.
    pub(crate) fn record(
        &self,
        instruments: &Instruments,
        model_keys: &[&'static str],
        duration: Duration,
        error: Option<&KeyValue>,
    ) {
        if self.list.is_empty() {
            return;
        }
        if let Some(confidence) = self.number(ml::PREDICTION_CONFIDENCE) {
            instruments
                .ml_prediction_confidence
                .record(confidence, &self.labels(model_keys));
        }
        if let Some(size) = self.integer(ml::BATCH_SIZE) {
            let labels = self.labels(&[ml::MODEL_NAME, ml::BATCH_TRIGGER]);
            instruments.ml_batch_size.record(size, &labels);
        }
        if self.get(ml::OPERATION_NAME).is_some() && self.get(ml::MODEL_NAME).is_some() {
            let mut labels = self.labels(&[ml::OPERATION_NAME]);
            labels.extend(self.labels(model_keys));
            labels.extend(error.cloned());
            instruments
                .ml_inference_duration
                .record(duration.as_secs_f64(), &labels);
        }
    }

    /// The GenAI server metrics, for a server operation whose handler has said that it served one.
    pub(crate) fn record_gen_ai_server(
        &self,
        instruments: &Instruments,
        duration: Duration,
        error: Option<&KeyValue>,
        is_ok: bool,
    ) {
        if self.get(gen_ai::OPERATION_NAME).is_none() {
            return;
        }
        let mut labels = self.labels(&[
            gen_ai::OPERATION_NAME,
            gen_ai::PROVIDER_NAME,
            gen_ai::REQUEST_MODEL,
            gen_ai::RESPONSE_MODEL,
        ]);
        // Of what went well alone: a call that was given up is no error, and not done either.
        if is_ok && let Some(first) = self.first_token {
            instruments
                .gen_ai_server_time_to_first_token
                .record(first.as_secs_f64(), &labels);
            if let Some(tokens) = self
                .integer(gen_ai::USAGE_OUTPUT_TOKENS)
                .filter(|tokens| *tokens > 1)
            {
                let decode = duration.saturating_sub(first).as_secs_f64();
                #[allow(
                    clippy::cast_precision_loss,
                    reason = "token counts stay far below 2^52"
                )]
                let per_token = decode / (tokens - 1) as f64;
                instruments
                    .gen_ai_server_time_per_output_token
                    .record(per_token, &labels);
            }
        }
        labels.extend(error.cloned());
        instruments
            .gen_ai_server_request_duration
            .record(duration.as_secs_f64(), &labels);
    }
}

/// The label of an error.
pub(crate) fn error_label(error: Option<&crate::ErrorType>) -> Option<KeyValue> {
    error.map(|error| KeyValue::new(error::TYPE, error.clone().into_value()))
}
