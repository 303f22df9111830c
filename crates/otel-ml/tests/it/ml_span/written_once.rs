//! The SDK keeps every copy of an attribute; a fact is on its span once.

use opentelemetry::KeyValue;
use opentelemetry_sdk::trace::SpanData;
use otel_ml::{ErrorType, MlSpan, Outcome, Telemetry, stage};
use otel_ml_semconv::{error, gen_ai, ml};
use otel_ml_testing::{SpanExt, SpansExt, TestTelemetry};

use crate::support::{counter, labels, remote_context, series};

#[track_caller]
fn assert_keys_unique(span: &SpanData) {
    let mut keys: Vec<_> = span.attributes.iter().map(|a| a.key.as_str()).collect();
    keys.sort_unstable();
    let all = keys.len();
    keys.dedup();
    assert_eq!(keys.len(), all, "{:?}", span.attributes);
}

#[test]
fn e22_the_same_fact_a_thousand_times_is_one_attribute_with_the_last_value() {
    let test = TestTelemetry::new();
    stage("s")
        .telemetry(&test.telemetry())
        .in_scope_infallible(|| {
            let span = MlSpan::current();
            for i in 1..=1000_u32 {
                span.output_tokens(u64::from(i))
                    .confidence(f64::from(i) / 1000.0)
                    .model(format!("m{i}"))
                    .finish_reasons([format!("r{i}")])
                    .set("app.step", i64::from(i))
                    .usage_partial();
            }
        });
    let span = test.spans().named("s").clone();
    assert_keys_unique(&span);
    assert_eq!(span.int(gen_ai::USAGE_OUTPUT_TOKENS), 1000);
    assert_eq!(span.double(ml::PREDICTION_CONFIDENCE), 1.0);
    assert_eq!(span.str(ml::MODEL_NAME), "m1000");
    assert_eq!(span.strings(gen_ai::RESPONSE_FINISH_REASONS), ["r1000"]);
    assert_eq!(span.int("app.step"), 1000);
    let labels = labels![ml::MODEL_NAME => "m1000"];
    let confidence = series(&test, &ml::metric::PREDICTION_CONFIDENCE, &labels);
    assert_eq!((confidence.count(), confidence.sum()), (1, 1.0));
}

#[test]
fn a_key_taken_at_the_start_is_not_written_again() {
    let test = TestTelemetry::new();
    stage("s")
        .telemetry(&test.telemetry())
        .attribute(ml::MODEL_NAME, "first")
        .in_scope_infallible(|| {
            MlSpan::current().model("second");
        });
    let span = test.spans().named("s").clone();
    assert_keys_unique(&span);
    assert_eq!(span.str(ml::MODEL_NAME), "first");
}

#[test]
fn what_the_end_writes_is_not_written_again() {
    let test = TestTelemetry::new();
    let running = stage("s").telemetry(&test.telemetry()).start();
    running
        .span()
        .set(error::TYPE, "by hand")
        .set(ml::CANCEL_REASON, "by hand");
    running.finish(Outcome::Cancelled(otel_ml::CancelReason::Deadline));
    let span = test.spans().named("s").clone();
    assert_keys_unique(&span);
    assert_eq!(span.str(error::TYPE), "timeout");
    assert_eq!(span.str(ml::CANCEL_REASON), "deadline");
}

#[test]
fn cache_lookups_are_all_counted_and_the_last_is_on_the_span() {
    let test = TestTelemetry::new();
    stage("s")
        .telemetry(&test.telemetry())
        .in_scope_infallible(|| {
            let span = MlSpan::current();
            span.cache_lookup("features", true)
                .cache_lookup("features", true);
            span.cache_lookup("prompts", false);
        });
    let lookups = |cache: &'static str, hit| {
        let labels = labels![ml::CACHE_NAME => cache, ml::CACHE_HIT => hit];
        counter(&test, &ml::metric::CACHE_LOOKUPS, &labels)
    };
    assert_eq!(
        (lookups("features", true), lookups("prompts", false)),
        (2, 1)
    );
    let span = test.spans().named("s").clone();
    assert_keys_unique(&span);
    assert_eq!(
        (span.str(ml::CACHE_NAME), span.bool(ml::CACHE_HIT)),
        ("prompts", false)
    );
}

#[test]
fn facts_that_are_measured_are_measured_once_with_their_labels() {
    let test = TestTelemetry::new();
    let running = stage("s").telemetry(&test.telemetry()).start();
    running
        .span()
        .operation("predict")
        .model("fraud")
        .model_version("3")
        .confidence(0.25)
        .batch_size(8)
        .batch_trigger(ml::batch_trigger::SIZE);
    running.finish(Outcome::Failed(ErrorType::TIMEOUT));
    let model = labels![ml::MODEL_NAME => "fraud"];
    assert_eq!(
        series(&test, &ml::metric::PREDICTION_CONFIDENCE, &model).sum(),
        0.25
    );
    let batch = labels![ml::MODEL_NAME => "fraud", ml::BATCH_TRIGGER => "size"];
    assert_eq!(series(&test, &ml::metric::BATCH_SIZE, &batch).sum(), 8.0);
    let inference = labels![
        ml::OPERATION_NAME => "predict", ml::MODEL_NAME => "fraud",
        error::TYPE => "timeout",
    ];
    assert_eq!(
        series(&test, &ml::metric::INFERENCE_DURATION, &inference).count(),
        1
    );
}

#[test]
fn the_version_of_a_model_is_a_label_on_request() {
    let test = TestTelemetry::new();
    let telemetry = Telemetry::builder()
        .tracer_provider(test.tracer_provider())
        .meter_provider(test.meter_provider())
        .label_model_version()
        .build();
    let running = stage("s").telemetry(&telemetry).start();
    let facts = running.span();
    facts.operation("predict").model("fraud").model_version("3");
    facts.confidence(0.25);
    running.finish(Outcome::Ok);
    let version = || KeyValue::new(ml::MODEL_VERSION, "3");
    let model = || KeyValue::new(ml::MODEL_NAME, "fraud");
    for (metric, own) in [
        (&ml::metric::PREDICTION_CONFIDENCE, None),
        (
            &ml::metric::INFERENCE_DURATION,
            Some((ml::OPERATION_NAME, "predict")),
        ),
        (
            &ml::metric::STAGE_DURATION,
            Some((ml::PIPELINE_STAGE_NAME, "s")),
        ),
    ] {
        let mut labels = vec![model(), version()];
        labels.extend(own.map(|(key, value)| KeyValue::new(key, value)));
        assert_eq!(series(&test, metric, &labels).count(), 1, "{}", metric.name);
    }
}

#[test]
fn a_cache_looked_up_after_the_end_is_not_counted() {
    let test = TestTelemetry::new();
    let running = stage("s").telemetry(&test.telemetry()).start();
    let facts = running.span();
    facts.cache_lookup("features", true);
    running.finish(Outcome::Ok);
    facts.cache_lookup("features", true);
    let labels = labels![ml::CACHE_NAME => "features", ml::CACHE_HIT => true];
    assert_eq!(counter(&test, &ml::metric::CACHE_LOOKUPS, &labels), 1);
}

#[test]
fn e23_facts_for_metrics_are_kept_where_the_span_is_not_sampled() {
    let test = TestTelemetry::new();
    let _attached = remote_context(0).attach();
    stage("s")
        .telemetry(&test.telemetry())
        .in_scope_infallible(|| {
            let span = MlSpan::current();
            assert!(!span.is_recording());
            span.model("fraud")
                .operation("predict")
                .confidence(0.5)
                .cache_lookup("c", true);
            span.set("app.tenant", "a").input_size(4);
        });
    assert!(test.spans().is_empty());
    let stage = labels![ml::PIPELINE_STAGE_NAME => "s", ml::MODEL_NAME => "fraud"];
    assert_eq!(
        series(&test, &ml::metric::STAGE_DURATION, &stage).count(),
        1
    );
    let inference = labels![ml::OPERATION_NAME => "predict", ml::MODEL_NAME => "fraud"];
    assert_eq!(
        series(&test, &ml::metric::INFERENCE_DURATION, &inference).count(),
        1
    );
    let model = labels![ml::MODEL_NAME => "fraud"];
    assert_eq!(
        series(&test, &ml::metric::PREDICTION_CONFIDENCE, &model).count(),
        1
    );
    let lookups = labels![ml::CACHE_NAME => "c", ml::CACHE_HIT => true];
    assert_eq!(counter(&test, &ml::metric::CACHE_LOOKUPS, &lookups), 1);
}

#[test]
fn facts_without_their_labels_make_no_inference_metric() {
    let test = TestTelemetry::new();
    stage("s")
        .telemetry(&test.telemetry())
        .in_scope_infallible(|| {
            MlSpan::current().model("fraud");
        });
    stage("t")
        .telemetry(&test.telemetry())
        .in_scope_infallible(|| {
            MlSpan::current().operation("predict");
        });
    assert!(!test.metrics().has(ml::metric::INFERENCE_DURATION.name));
    assert!(!test.metrics().has(ml::metric::PREDICTION_CONFIDENCE.name));
}
