//! E32: every instrument has the name, unit, boundaries and number type of its definition.

use std::sync::Arc;

use opentelemetry::KeyValue;
use otel_ml::{Instruments, Level, LevelOf, Telemetry};
use otel_ml_semconv::{Instrument, Metric, db, gen_ai, http, messaging, ml, url};
use otel_ml_testing::{Number, TestTelemetry};

type Row = (Metric, fn(&Instruments));

/// Measures once with each instrument, beside the metric that it is to be.
macro_rules! rows {
    ($($metric:expr => $name:ident . $measure:ident($value:expr);)+) => {
        [$(($metric, |it| it.$name.$measure($value, &[]))),+]
    };
}

fn rows() -> [Row; 23] {
    rows! {
        http::metric::SERVER_REQUEST_DURATION => http_server_request_duration.record(1.0);
        http::metric::CLIENT_REQUEST_DURATION => http_client_request_duration.record(1.0);
        messaging::metric::CLIENT_OPERATION_DURATION => messaging_client_operation_duration.record(1.0);
        messaging::metric::PROCESS_DURATION => messaging_process_duration.record(1.0);
        messaging::metric::CLIENT_SENT_MESSAGES => messaging_client_sent_messages.add(1);
        messaging::metric::CLIENT_CONSUMED_MESSAGES => messaging_client_consumed_messages.add(1);
        gen_ai::metric::CLIENT_OPERATION_DURATION => gen_ai_client_operation_duration.record(1.0);
        gen_ai::metric::CLIENT_TOKEN_USAGE => gen_ai_client_token_usage.record(1);
        gen_ai::metric::CLIENT_OPERATION_TIME_TO_FIRST_CHUNK => gen_ai_client_time_to_first_chunk.record(1.0);
        gen_ai::metric::CLIENT_OPERATION_TIME_PER_OUTPUT_CHUNK => gen_ai_client_time_per_output_chunk.record(1.0);
        gen_ai::metric::SERVER_REQUEST_DURATION => gen_ai_server_request_duration.record(1.0);
        gen_ai::metric::SERVER_TIME_TO_FIRST_TOKEN => gen_ai_server_time_to_first_token.record(1.0);
        gen_ai::metric::SERVER_TIME_PER_OUTPUT_TOKEN => gen_ai_server_time_per_output_token.record(1.0);
        db::metric::CLIENT_OPERATION_DURATION => db_client_operation_duration.record(1.0);
        db::metric::CLIENT_RESPONSE_RETURNED_ROWS => db_client_response_returned_rows.record(1);
        ml::metric::STAGE_DURATION => ml_stage_duration.record(1.0);
        ml::metric::INFERENCE_DURATION => ml_inference_duration.record(1.0);
        ml::metric::QUEUE_WAIT_DURATION => ml_queue_wait_duration.record(1.0);
        ml::metric::BATCH_SIZE => ml_batch_size.record(1);
        ml::metric::CACHE_LOOKUPS => ml_cache_lookups.add(1);
        ml::metric::PREDICTION_CONFIDENCE => ml_prediction_confidence.record(1.0);
        ml::metric::MODEL_LOAD_DURATION => ml_model_load_duration.record(1.0);
        ml::metric::PROPAGATION_ANOMALIES => propagation_anomalies.add(1);
    }
}

#[test]
fn each_instrument_is_the_metric_of_its_definition() {
    for (metric, measure) in rows() {
        let test = TestTelemetry::new();
        measure(test.telemetry().instruments().unwrap());
        let metrics = test.metrics();
        assert_eq!(metrics.names(), [metric.name]);
        assert_eq!(metrics.unit(metric.name), metric.unit, "{}", metric.name);
        match metric.instrument {
            Instrument::Histogram => {
                let point = metrics.histogram(metric.name).one();
                assert_eq!(point.bounds(), metric.boundaries, "{}", metric.name);
            }
            Instrument::Counter => {
                assert!(metrics.is_monotonic(metric.name), "{}", metric.name);
                assert_eq!(metrics.sum(metric.name).int(), 1);
            }
            Instrument::UpDownCounter | Instrument::Gauge => {
                panic!("{} is a level, which metrics ask for", metric.name)
            }
        }
    }
}

#[test]
fn requests_in_flight_are_told_apart_by_method_and_scheme() {
    let test = TestTelemetry::new();
    let telemetry = test.telemetry();
    let active = &telemetry.instruments().unwrap().http_server_active_requests;
    let metric = http::metric::SERVER_ACTIVE_REQUESTS;
    let count = |method: &str, scheme: &str| {
        let metrics = test.metrics();
        let requests = metrics.sum(metric.name).with(http::REQUEST_METHOD, method);
        requests.with(url::SCHEME, scheme).int()
    };
    let [a, b] = ["GET", "GET"].map(|method| active.enter(method, "https"));
    let c = active.enter("BREW", "gopher");
    assert_eq!((count("GET", "https"), count("_OTHER", "http")), (2, 1));
    assert_eq!(test.metrics().unit(metric.name), metric.unit);
    assert!(!test.metrics().is_monotonic(metric.name));
    drop((a, c));
    assert_eq!((count("GET", "https"), count("_OTHER", "http")), (1, 0));
    drop(b);
    test.metrics().sum(metric.name).assert_zero();
}

#[test]
fn every_method_and_scheme_has_a_series_of_its_own() {
    let test = TestTelemetry::new();
    let telemetry = test.telemetry();
    let active = &telemetry.instruments().unwrap().http_server_active_requests;
    let methods = || http::method::ALL.iter().copied().chain(["nonsense"]);
    let entered: Vec<_> = methods()
        .flat_map(|method| ["http", "https"].map(|scheme| active.enter(method, scheme)))
        .collect();
    let metrics = test.metrics();
    let requests = metrics.sum(http::metric::SERVER_ACTIVE_REQUESTS.name);
    assert_eq!(requests.points().len(), entered.len());
    let all_one = |point: &&otel_ml_testing::NumberPoint| point.value() == Number::Int(1);
    assert!(requests.points().iter().all(all_one));
}

/// The value of a level's metric for what is called `name`, if it has one.
fn told(test: &TestTelemetry, metric: &Metric, name: &'static str) -> Option<Number> {
    let metrics = test.metrics();
    if !metrics.has(metric.name) {
        return None;
    }
    assert_eq!(metrics.unit(metric.name), metric.unit);
    let points = match metric.instrument {
        Instrument::Gauge => metrics.gauge(metric.name).with("name", name),
        _ => {
            assert!(!metrics.is_monotonic(metric.name), "{}", metric.name);
            metrics.sum(metric.name).with("name", name)
        }
    };
    let points = points.points();
    assert!(points.len() < 2, "{points:?}");
    points.first().map(|point| point.value())
}

fn watched(
    telemetry: &Telemetry,
    of: LevelOf,
    name: &'static str,
    limit: Option<u64>,
) -> Arc<Level> {
    let level = Arc::new(Level::new(vec![KeyValue::new("name", name)], limit));
    telemetry.watch(of, &level);
    level
}

const QUEUE: [Metric; 2] = [ml::metric::QUEUE_SIZE, ml::metric::QUEUE_LIMIT];
const CACHE: [Metric; 2] = [ml::metric::KV_CACHE_USAGE, ml::metric::KV_CACHE_LIMIT];

#[test]
fn levels_with_the_same_labels_are_one_series_and_those_that_are_gone_are_nothing() {
    for (of, [now, limit]) in [(LevelOf::Queue, QUEUE), (LevelOf::KvCache, CACHE)] {
        let test = TestTelemetry::new();
        let telemetry = test.telemetry();
        let level = |name, limit| watched(&telemetry, of, name, limit);
        let of = |name| (told(&test, &now, name), told(&test, &limit, name));
        let int = |number| Some(Number::Int(number));
        let (a, b) = (level("one", Some(4)), level("one", Some(5)));
        let c = level("two", None);
        a.add(2);
        b.set(1);
        assert_eq!((of("one"), of("two")), ((int(3), int(9)), (int(0), None)));
        drop(a);
        b.add(-1);
        c.set(u64::MAX);
        assert_eq!(of("one"), (int(0), int(5)));
        assert_eq!(of("two"), (int(i64::MAX), None));
        drop((b, c));
        assert_eq!((of("one"), of("two")), ((int(0), int(0)), (int(0), None)));
    }
}

#[test]
fn each_kind_of_level_has_metrics_of_its_own() {
    let test = TestTelemetry::new();
    let telemetry = test.telemetry();
    let memory = watched(&telemetry, LevelOf::ModelMemory, "m", None);
    let state = watched(&telemetry, LevelOf::ModelState, "m", None);
    let cache = watched(&telemetry, LevelOf::KvCache, "m", Some(8));
    let boundless = watched(&telemetry, LevelOf::KvCache, "n", Some(0));
    for (level, bytes) in [(&memory, 1), (&state, 2), (&cache, 6), (&boundless, 7)] {
        level.set(bytes);
    }
    let of = |metric: Metric| told(&test, &metric, "m");
    assert_eq!(of(ml::metric::MODEL_MEMORY_USAGE), Some(Number::Int(1)));
    assert_eq!(of(ml::metric::MODEL_STATE_SIZE), Some(Number::Int(2)));
    assert_eq!(of(ml::metric::KV_CACHE_USAGE), Some(Number::Int(6)));
    let utilization = ml::metric::KV_CACHE_UTILIZATION;
    assert_eq!(of(utilization), Some(Number::Double(0.75)));
    assert_eq!(told(&test, &utilization, "n"), Some(Number::Double(0.0)));
    assert!(!test.metrics().has(ml::metric::QUEUE_SIZE.name));
}

#[test]
fn without_metrics_no_level_is_kept() {
    let off = Telemetry::builder().without_metrics().build();
    let level = watched(&off, LevelOf::ModelMemory, "m", None);
    assert_eq!(Arc::weak_count(&level), 0);
}
