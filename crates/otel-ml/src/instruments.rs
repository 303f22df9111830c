//! Every metric instrument of the family, made once per [`Telemetry`](crate::Telemetry).

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};

use opentelemetry::KeyValue;
use opentelemetry::metrics::{AsyncInstrument, Counter, Histogram, Meter};
use otel_ml_semconv::{Metric, db, gen_ai, http, messaging, ml, rpc, url};

use crate::label_sets::LabelSets;
use crate::levels::Levels;
use crate::readings::Readings;

/// The labels of one measurement, on the stack.
pub type Labels = smallvec::SmallVec<[KeyValue; 8]>;

/// The instruments, by what they measure. Names, units and boundaries are those of
/// [`otel_ml_semconv`]; each field links to the metric it records.
#[derive(Debug)]
#[non_exhaustive]
pub struct Instruments {
    /// [`http::metric::SERVER_REQUEST_DURATION`]
    pub http_server_request_duration: Histogram<f64>,
    /// The labels that it is recorded with.
    pub http_server_request_labels: LabelSets,
    /// [`http::metric::SERVER_ACTIVE_REQUESTS`]
    pub http_server_active_requests: ActiveRequests,
    /// [`http::metric::CLIENT_REQUEST_DURATION`]
    pub http_client_request_duration: Histogram<f64>,
    /// [`rpc::metric::SERVER_CALL_DURATION`]
    pub rpc_server_call_duration: Histogram<f64>,
    /// [`rpc::metric::CLIENT_CALL_DURATION`]
    pub rpc_client_call_duration: Histogram<f64>,
    /// [`messaging::metric::CLIENT_OPERATION_DURATION`]
    pub messaging_client_operation_duration: Histogram<f64>,
    /// [`messaging::metric::PROCESS_DURATION`]
    pub messaging_process_duration: Histogram<f64>,
    /// [`messaging::metric::CLIENT_SENT_MESSAGES`]
    pub messaging_client_sent_messages: Counter<u64>,
    /// [`messaging::metric::CLIENT_CONSUMED_MESSAGES`]
    pub messaging_client_consumed_messages: Counter<u64>,
    /// [`gen_ai::metric::CLIENT_OPERATION_DURATION`]
    pub gen_ai_client_operation_duration: Histogram<f64>,
    /// [`gen_ai::metric::CLIENT_TOKEN_USAGE`]
    pub gen_ai_client_token_usage: Histogram<u64>,
    /// [`gen_ai::metric::CLIENT_OPERATION_TIME_TO_FIRST_CHUNK`]
    pub gen_ai_client_time_to_first_chunk: Histogram<f64>,
    /// [`gen_ai::metric::CLIENT_OPERATION_TIME_PER_OUTPUT_CHUNK`]
    pub gen_ai_client_time_per_output_chunk: Histogram<f64>,
    /// [`gen_ai::metric::SERVER_REQUEST_DURATION`]
    pub gen_ai_server_request_duration: Histogram<f64>,
    /// [`gen_ai::metric::SERVER_TIME_TO_FIRST_TOKEN`]
    pub gen_ai_server_time_to_first_token: Histogram<f64>,
    /// [`gen_ai::metric::SERVER_TIME_PER_OUTPUT_TOKEN`]
    pub gen_ai_server_time_per_output_token: Histogram<f64>,
    /// [`db::metric::CLIENT_OPERATION_DURATION`]
    pub db_client_operation_duration: Histogram<f64>,
    /// [`db::metric::CLIENT_RESPONSE_RETURNED_ROWS`]
    pub db_client_response_returned_rows: Histogram<u64>,
    /// [`ml::metric::STAGE_DURATION`]
    pub ml_stage_duration: Histogram<f64>,
    /// [`ml::metric::INFERENCE_DURATION`]
    pub ml_inference_duration: Histogram<f64>,
    /// [`ml::metric::QUEUE_WAIT_DURATION`]
    pub ml_queue_wait_duration: Histogram<f64>,
    /// [`ml::metric::CONSUMER_LAG`]
    pub ml_consumer_lag: Readings,
    /// [`ml::metric::CONSUMER_FETCH_QUEUE_SIZE`]
    pub ml_consumer_fetch_queue_size: Readings,
    /// [`ml::metric::BATCH_SIZE`]
    pub ml_batch_size: Histogram<u64>,
    /// [`ml::metric::CACHE_LOOKUPS`]
    pub ml_cache_lookups: Counter<u64>,
    /// [`ml::metric::PREDICTION_CONFIDENCE`]
    pub ml_prediction_confidence: Histogram<f64>,
    /// [`ml::metric::MODEL_LOAD_DURATION`]
    pub ml_model_load_duration: Histogram<f64>,
    /// [`ml::metric::PROPAGATION_ANOMALIES`]
    pub propagation_anomalies: Counter<u64>,
    /// What is asked for when metrics are collected: see [`LevelOf`](crate::LevelOf).
    pub(crate) levels: Arc<Levels>,
}

impl Instruments {
    pub(crate) fn new(meter: &Meter) -> Self {
        let levels = Arc::<Levels>::default();
        levels.observe_by(meter);
        Self::with(meter, ActiveRequests::new(meter), levels)
    }

    /// Those of the global meter, if somebody reads what is recorded. The API's no-op meter drops
    /// the callback of an observable instrument at once; an SDK keeps it, unless a view drops the
    /// instrument: hence several are asked.
    pub(crate) fn if_observed(meter: &Meter) -> Option<Self> {
        let (requests, levels) = (ActiveRequests::new(meter), Levels::global());
        let is_observed = levels.observe_by(meter) || requests.is_observed();
        is_observed.then(|| Self::with(meter, requests, Arc::clone(levels)))
    }

    fn with(
        meter: &Meter,
        http_server_active_requests: ActiveRequests,
        levels: Arc<Levels>,
    ) -> Self {
        Self {
            http_server_request_duration: seconds(meter, &http::metric::SERVER_REQUEST_DURATION),
            http_server_request_labels: LabelSets::new(),
            http_server_active_requests,
            http_client_request_duration: seconds(meter, &http::metric::CLIENT_REQUEST_DURATION),
            rpc_server_call_duration: seconds(meter, &rpc::metric::SERVER_CALL_DURATION),
            rpc_client_call_duration: seconds(meter, &rpc::metric::CLIENT_CALL_DURATION),
            messaging_client_operation_duration: seconds(
                meter,
                &messaging::metric::CLIENT_OPERATION_DURATION,
            ),
            messaging_process_duration: seconds(meter, &messaging::metric::PROCESS_DURATION),
            messaging_client_sent_messages: counter(
                meter,
                &messaging::metric::CLIENT_SENT_MESSAGES,
            ),
            messaging_client_consumed_messages: counter(
                meter,
                &messaging::metric::CLIENT_CONSUMED_MESSAGES,
            ),
            gen_ai_client_operation_duration: seconds(
                meter,
                &gen_ai::metric::CLIENT_OPERATION_DURATION,
            ),
            gen_ai_client_token_usage: sizes(meter, &gen_ai::metric::CLIENT_TOKEN_USAGE),
            gen_ai_client_time_to_first_chunk: seconds(
                meter,
                &gen_ai::metric::CLIENT_OPERATION_TIME_TO_FIRST_CHUNK,
            ),
            gen_ai_client_time_per_output_chunk: seconds(
                meter,
                &gen_ai::metric::CLIENT_OPERATION_TIME_PER_OUTPUT_CHUNK,
            ),
            gen_ai_server_request_duration: seconds(
                meter,
                &gen_ai::metric::SERVER_REQUEST_DURATION,
            ),
            gen_ai_server_time_to_first_token: seconds(
                meter,
                &gen_ai::metric::SERVER_TIME_TO_FIRST_TOKEN,
            ),
            gen_ai_server_time_per_output_token: seconds(
                meter,
                &gen_ai::metric::SERVER_TIME_PER_OUTPUT_TOKEN,
            ),
            db_client_operation_duration: seconds(meter, &db::metric::CLIENT_OPERATION_DURATION),
            db_client_response_returned_rows: sizes(
                meter,
                &db::metric::CLIENT_RESPONSE_RETURNED_ROWS,
            ),
            ml_stage_duration: seconds(meter, &ml::metric::STAGE_DURATION),
            ml_inference_duration: seconds(meter, &ml::metric::INFERENCE_DURATION),
            ml_queue_wait_duration: seconds(meter, &ml::metric::QUEUE_WAIT_DURATION),
            ml_consumer_lag: Readings::new(meter, &ml::metric::CONSUMER_LAG),
            ml_consumer_fetch_queue_size: Readings::new(
                meter,
                &ml::metric::CONSUMER_FETCH_QUEUE_SIZE,
            ),
            ml_batch_size: sizes(meter, &ml::metric::BATCH_SIZE),
            ml_cache_lookups: counter(meter, &ml::metric::CACHE_LOOKUPS),
            ml_prediction_confidence: seconds(meter, &ml::metric::PREDICTION_CONFIDENCE),
            ml_model_load_duration: seconds(meter, &ml::metric::MODEL_LOAD_DURATION),
            propagation_anomalies: counter(meter, &ml::metric::PROPAGATION_ANOMALIES),
            levels,
        }
    }
}

/// A distribution of real numbers; most are durations in seconds.
fn seconds(meter: &Meter, metric: &Metric) -> Histogram<f64> {
    meter
        .f64_histogram(metric.name)
        .with_unit(metric.unit)
        .with_description(metric.description)
        .with_boundaries(metric.boundaries.to_vec())
        .build()
}

fn sizes(meter: &Meter, metric: &Metric) -> Histogram<u64> {
    meter
        .u64_histogram(metric.name)
        .with_unit(metric.unit)
        .with_description(metric.description)
        .with_boundaries(metric.boundaries.to_vec())
        .build()
}

fn counter(meter: &Meter, metric: &Metric) -> Counter<u64> {
    meter
        .u64_counter(metric.name)
        .with_unit(metric.unit)
        .with_description(metric.description)
        .build()
}

const SCHEMES: [&str; 2] = ["http", "https"];
const METHODS: usize = http::method::ALL.len() + 1;
const COMBINATIONS: usize = SCHEMES.len() * METHODS;

/// Requests in flight, by method and scheme. Counting one is an atomic addition; the
/// instrument asks for the numbers when metrics are collected.
#[derive(Debug)]
pub struct ActiveRequests {
    counts: Arc<Counts>,
}

#[derive(Debug)]
struct Counts {
    now: [AtomicI64; COMBINATIONS],
    ever: AtomicU32,
}

const _: () = assert!(
    COMBINATIONS <= 32,
    "`Counts::ever` has a bit for each combination"
);

impl ActiveRequests {
    fn new(meter: &Meter) -> Self {
        let counts = Arc::new(Counts {
            now: [const { AtomicI64::new(0) }; COMBINATIONS],
            ever: AtomicU32::new(0),
        });
        let metric = http::metric::SERVER_ACTIVE_REQUESTS;
        let observed = Arc::clone(&counts);
        meter
            .i64_observable_up_down_counter(metric.name)
            .with_unit(metric.unit)
            .with_description(metric.description)
            .with_callback(move |observer| observed.observe(observer))
            .build();
        Self { counts }
    }

    fn is_observed(&self) -> bool {
        Arc::strong_count(&self.counts) > 1
    }

    /// Counts one request until the guard is dropped.
    ///
    /// A method that is not one of [`http::method::ALL`] counts as `_OTHER`, a scheme other
    /// than `https` as `http`.
    #[inline]
    pub fn enter(&self, method: &str, scheme: &str) -> InFlight {
        let method = http::method::ALL
            .iter()
            .position(|known| *known == method)
            .unwrap_or(METHODS - 1);
        let index = method * SCHEMES.len() + usize::from(scheme == "https");
        let bit = 1 << index;
        if self.counts.ever.load(Ordering::Relaxed) & bit == 0 {
            self.counts.ever.fetch_or(bit, Ordering::Relaxed);
        }
        self.counts.add(index, 1);
        InFlight {
            counts: Arc::clone(&self.counts),
            index,
        }
    }
}

impl Counts {
    fn add(&self, index: usize, delta: i64) {
        if let Some(count) = self.now.get(index) {
            count.fetch_add(delta, Ordering::Relaxed);
        }
    }

    fn observe(&self, observer: &dyn AsyncInstrument<i64>) {
        let ever = self.ever.load(Ordering::Relaxed);
        for (index, count) in self
            .now
            .iter()
            .enumerate()
            .filter(|(index, _)| ever & (1 << index) != 0)
        {
            let method = http::method::ALL
                .get(index / SCHEMES.len())
                .copied()
                .unwrap_or(http::method::OTHER);
            let scheme = SCHEMES
                .get(index % SCHEMES.len())
                .copied()
                .unwrap_or_default();
            let labels = [
                KeyValue::new(http::REQUEST_METHOD, method),
                KeyValue::new(url::SCHEME, scheme),
            ];
            observer.observe(count.load(Ordering::Relaxed), &labels);
        }
    }
}

/// One request in flight; dropping it counts it out.
#[derive(Debug)]
#[must_use = "dropping it counts the request out"]
pub struct InFlight {
    counts: Arc<Counts>,
    index: usize,
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.counts.add(self.index, -1);
    }
}
