//! What models hold on to.

use otel_ml::Telemetry;
use otel_ml::semconv::{Metric, ml};
use otel_ml_testing::TestTelemetry;
use otel_ml_worker::{KvCache, ModelBytes};

fn sum(test: &TestTelemetry, metric: &Metric, model: &'static str) -> i64 {
    let metrics = test.metrics();
    assert_eq!(metrics.unit(metric.name), metric.unit);
    metrics.sum(metric.name).with(ml::MODEL_NAME, model).int()
}

#[test]
fn bytes_are_told_as_they_are_and_gone_with_what_held_them() {
    let test = TestTelemetry::new();
    let telemetry = test.telemetry();
    let (memory, state) = (ml::metric::MODEL_MEMORY_USAGE, ml::metric::MODEL_STATE_SIZE);
    let weights = ModelBytes::of_weights("a").telemetry(telemetry.clone());
    let other = ModelBytes::of_weights("b").telemetry(telemetry.clone());
    let kept = ModelBytes::of_state("a").telemetry(telemetry.clone());
    for (bytes, others) in [(10, 1), (30, 1), (30, 2), (5, 0)] {
        weights.set(bytes);
        other.set(others);
        kept.set(bytes * 2);
        assert_eq!(sum(&test, &memory, "a"), i64::try_from(bytes).unwrap());
        assert_eq!(sum(&test, &memory, "b"), i64::try_from(others).unwrap());
        assert_eq!(sum(&test, &state, "a"), i64::try_from(bytes).unwrap() * 2);
    }
    // Two copies of a model take twice the memory.
    let copy = ModelBytes::of_weights("a").telemetry(telemetry);
    copy.set(7);
    assert_eq!(sum(&test, &memory, "a"), 12);
    weights.set(u64::MAX);
    drop((weights, other, kept, copy));
    assert_eq!((sum(&test, &memory, "a"), sum(&test, &state, "a")), (0, 0));
}

#[test]
fn a_cache_tells_what_it_holds_of_what_it_may() {
    let test = TestTelemetry::new();
    let cache = KvCache::new("llama", 200).telemetry(test.telemetry());
    let share = || {
        let metrics = test.metrics();
        metrics
            .gauge(ml::metric::KV_CACHE_UTILIZATION.name)
            .with(ml::MODEL_NAME, "llama")
            .double()
    };
    for (bytes, expected) in [(50, 0.25), (200, 1.0), (0, 0.0), (100, 0.5)] {
        cache.set(bytes);
        assert_eq!(
            sum(&test, &ml::metric::KV_CACHE_USAGE, "llama"),
            i64::try_from(bytes).unwrap()
        );
        assert_eq!(sum(&test, &ml::metric::KV_CACHE_LIMIT, "llama"), 200);
        assert_eq!(share(), expected);
    }
    drop(cache);
    assert_eq!(sum(&test, &ml::metric::KV_CACHE_USAGE, "llama"), 0);
    assert_eq!(sum(&test, &ml::metric::KV_CACHE_LIMIT, "llama"), 0);
    assert_eq!(share(), 0.0);
    let boundless = KvCache::new("other", 0).telemetry(test.telemetry());
    boundless.set(5);
    let metrics = test.metrics();
    let shares = metrics.gauge(ml::metric::KV_CACHE_UTILIZATION.name);
    assert!(shares.with(ml::MODEL_NAME, "other").is_empty());
}

#[test]
fn where_nothing_is_installed_nothing_is_told() {
    let off = Telemetry::builder()
        .without_traces()
        .without_metrics()
        .build();
    let cache = KvCache::new("m", 2).telemetry(off);
    cache.set(1);
    drop(cache);
    assert!(format!("{:?}", ModelBytes::of_state("m")).contains("State"));
}
