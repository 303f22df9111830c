//! E32: every instrument has the name, unit, boundaries and number type of its definition.

use std::sync::Arc;

use opentelemetry::KeyValue;
use otel_ml::{Instruments, QueueLevel};
use otel_ml_semconv::{Instrument, Metric, db, gen_ai, http, messaging, ml, url};
use otel_ml_testing::TestTelemetry;

type Row = (Metric, fn(&Instruments));

/// Measures once with each instrument, beside the metric that it is to be.
macro_rules! rows {
    ($($metric:expr => $name:ident . $measure:ident($value:expr);)+) => {
        [$(($metric, |it| it.$name.$measure($value, &[]))),+]
    };
}

fn rows() -> [Row; 28] {
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
        ml::metric::MODEL_MEMORY_USAGE => ml_model_memory_usage.add(1);
        ml::metric::MODEL_STATE_SIZE => ml_model_state_size.add(1);
        ml::metric::KV_CACHE_USAGE => ml_kv_cache_usage.add(1);
        ml::metric::KV_CACHE_LIMIT => ml_kv_cache_limit.add(1);
        ml::metric::KV_CACHE_UTILIZATION => ml_kv_cache_utilization.record(1.0);
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
            Instrument::UpDownCounter => {
                assert!(!metrics.is_monotonic(metric.name), "{}", metric.name);
                assert_eq!(metrics.sum(metric.name).int(), 1);
            }
            Instrument::Gauge => assert_eq!(metrics.gauge(metric.name).double(), 1.0),
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
    let all_one =
        |point: &&otel_ml_testing::NumberPoint| point.value() == otel_ml_testing::Number::Int(1);
    assert!(requests.points().iter().all(all_one));
}

#[test]
fn queues_with_the_same_labels_are_one_series_and_those_that_are_gone_are_empty() {
    let test = TestTelemetry::new();
    let telemetry = test.telemetry();
    let queues = &telemetry.instruments().unwrap().ml_queues;
    let level = |name: &'static str, limit| {
        let labels = vec![KeyValue::new(ml::QUEUE_NAME, name)];
        let level = Arc::new(QueueLevel::new(labels, limit));
        queues.watch(&level);
        level
    };
    let (size, limit) = (ml::metric::QUEUE_SIZE, ml::metric::QUEUE_LIMIT);
    let of = |name| {
        let metrics = test.metrics();
        metrics.sum(size.name).with(ml::QUEUE_NAME, name).int()
    };
    let (a, b, c) = (
        level("one", Some(4)),
        level("one", Some(5)),
        level("two", None),
    );
    a.enter();
    a.enter();
    b.enter();
    assert_eq!((of("one"), of("two")), (3, 0));
    let metrics = test.metrics();
    assert_eq!(metrics.unit(size.name), size.unit);
    assert!(!metrics.is_monotonic(size.name));
    assert_eq!(
        metrics.gauge(limit.name).with(ml::QUEUE_NAME, "one").int(),
        9
    );
    assert_eq!(metrics.unit(limit.name), limit.unit);
    assert!(
        metrics
            .gauge(limit.name)
            .with(ml::QUEUE_NAME, "two")
            .is_empty()
    );
    drop(a);
    b.leave();
    assert_eq!((of("one"), of("two")), (0, 0));
    c.enter();
    assert_eq!(of("two"), 1);
    drop((b, c));
    test.metrics().sum(size.name).assert_zero();
}
