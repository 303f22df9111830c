//! The memory of an operation that is over serves the next one, and nothing else of it does.

use opentelemetry::trace::SpanKind;
use otel_ml::{End, Handle, MlSpan, Operation, Outcome, Record, Telemetry, genai, stage};
use otel_ml_semconv::{Metric, gen_ai, ml};
use otel_ml_testing::{SpanExt, SpansExt, TestTelemetry};

use crate::support::{labels, remote_context, series};

/// One after the other on this thread, so that each is given what the one before it had.
fn one_after_the_other(telemetry: &Telemetry, name: &'static str, write: impl FnOnce(&MlSpan)) {
    stage(name)
        .telemetry(telemetry)
        .in_scope_infallible(|| write(&MlSpan::current()));
}

#[test]
fn the_next_operation_starts_without_the_facts_of_the_one_before() {
    let test = TestTelemetry::new();
    let telemetry = test.telemetry();
    one_after_the_other(&telemetry, "first", |span| {
        for n in 0..50 {
            span.set(format!("app.{n}"), n);
        }
        span.model("fraud").confidence(0.9).first_token();
    });
    one_after_the_other(&telemetry, "second", |span| {
        span.output_tokens(7);
    });
    let spans = test.spans();
    assert_eq!(spans.named("first").str(ml::MODEL_NAME), "fraud");
    let second = spans.named("second");
    let keys: Vec<_> = second.attributes.iter().map(|a| a.key.as_str()).collect();
    assert_eq!(keys, [ml::PIPELINE_STAGE_NAME, gen_ai::USAGE_OUTPUT_TOKENS]);
}

#[test]
fn facts_kept_for_metrics_alone_are_measured_once() {
    let test = TestTelemetry::new();
    let telemetry = test.telemetry();
    let _unsampled = remote_context(0).attach();
    one_after_the_other(&telemetry, "first", |span| {
        span.model("fraud").confidence(0.9);
    });
    one_after_the_other(&telemetry, "second", |_| ());
    assert!(test.spans().is_empty());
    let labels = labels![ml::MODEL_NAME => "fraud"];
    let confidence = series(&test, &ml::metric::PREDICTION_CONFIDENCE, &labels);
    assert_eq!(confidence.count(), 1);
}

#[test]
fn a_key_taken_from_one_operation_is_free_in_the_next() {
    let test = TestTelemetry::new();
    let telemetry = test.telemetry();
    stage("first")
        .telemetry(&telemetry)
        .attribute(ml::MODEL_NAME, "its own")
        .in_scope_infallible(|| ());
    one_after_the_other(&telemetry, "second", |span| {
        span.model("fraud");
    });
    assert_eq!(test.spans().named("second").str(ml::MODEL_NAME), "fraud");
}

#[test]
fn a_handle_that_is_kept_never_reaches_a_later_operation() {
    let test = TestTelemetry::new();
    let telemetry = test.telemetry();
    let mut kept = MlSpan::default();
    one_after_the_other(&telemetry, "first", |span| kept = span.clone());
    let of_first = kept.span_context();
    one_after_the_other(&telemetry, "second", |span| {
        kept.model("late");
        span.input_size(1);
        assert_ne!(span.span_context(), of_first);
    });
    assert!(!kept.is_recording());
    assert_eq!(kept.span_context(), of_first);
    for span in test.spans().iter() {
        assert!(!span.has(ml::MODEL_NAME), "{span:?}");
    }
}

#[test]
fn a_context_that_is_kept_never_reaches_a_later_operation() {
    let test = TestTelemetry::new();
    let telemetry = test.telemetry();
    let first = stage("first").telemetry(&telemetry).start();
    let kept = first.context();
    first.finish(Outcome::Ok);
    one_after_the_other(&telemetry, "second", |_| {
        MlSpan::from_context(&kept).model("late");
    });
    for span in test.spans().iter() {
        assert!(!span.has(ml::MODEL_NAME), "{span:?}");
    }
}

#[test]
fn an_operation_within_another_has_facts_of_its_own() {
    let test = TestTelemetry::new();
    let telemetry = test.telemetry();
    for _ in 0..2 {
        one_after_the_other(&telemetry, "outer", |outer| {
            genai::chat("acme", "large").in_scope_infallible(|| {
                MlSpan::current().output_tokens(3);
            });
            outer.input_size(1);
        });
    }
    for span in test.spans().iter() {
        let is_outer = span.name == "outer";
        assert_eq!(span.has(ml::INPUT_SIZE), is_outer, "{span:?}");
        assert_eq!(span.has(gen_ai::USAGE_OUTPUT_TOKENS), !is_outer, "{span:?}");
    }
}

#[test]
fn handles_that_are_kept_reach_none_of_many_later_operations() {
    // More than a thread keeps spare ones, so that each of those has served again.
    const MANY: usize = 200;
    let test = TestTelemetry::new();
    let telemetry = test.telemetry();
    let mut kept_handle = MlSpan::default();
    one_after_the_other(&telemetry, "first", |span| kept_handle = span.clone());
    let first = stage("first").telemetry(&telemetry).start();
    let kept_context = first.context();
    first.finish(Outcome::Ok);
    let write_late = || {
        for late in [&kept_handle, &MlSpan::from_context(&kept_context)] {
            late.model("late").set("app.late", true).first_token();
            assert!(!late.is_recording());
        }
    };
    for _ in 0..MANY {
        one_after_the_other(&telemetry, "later", |_| write_late());
    }
    let all_at_once: Vec<_> = (0..MANY)
        .map(|_| stage("later").telemetry(&telemetry).start())
        .collect();
    write_late();
    let ids: std::collections::HashSet<_> = all_at_once
        .iter()
        .map(|one| {
            MlSpan::from_context(&one.context())
                .span_context()
                .unwrap()
                .span_id()
        })
        .collect();
    assert_eq!(ids.len(), MANY, "no two share an entry");
    for one in all_at_once {
        one.finish(Outcome::Ok);
    }
    write_late();
    let spans = test.spans();
    assert_eq!(spans.all_named("later").len(), 2 * MANY);
    for span in spans.iter() {
        let keys: Vec<_> = span.attributes.iter().map(|a| a.key.as_str()).collect();
        assert_eq!(keys, [ml::PIPELINE_STAGE_NAME], "{span:?}");
    }
}

#[test]
fn the_first_token_of_one_operation_is_not_that_of_the_next() {
    let test = TestTelemetry::new();
    let telemetry = test.telemetry();
    for has_token in [true, false] {
        let mut served = Operation::builder(&telemetry, SpanKind::Server, "serve".into())
            .handle(Handle::Always)
            .start(|| Served, |_| ());
        served.scope(|| {
            let span = MlSpan::current();
            span.gen_ai_operation("chat");
            if has_token {
                span.first_token();
            }
        });
        served.finish(Outcome::Ok);
    }
    let count = |metric: &Metric| test.metrics().histogram(metric.name).one().count();
    assert_eq!(count(&gen_ai::metric::SERVER_REQUEST_DURATION), 2);
    assert_eq!(count(&gen_ai::metric::SERVER_TIME_TO_FIRST_TOKEN), 1);
}

/// A server operation, as a transport records it.
struct Served;

impl Record for Served {
    fn record(&mut self, end: &mut End<'_>) {
        end.record_gen_ai_server();
    }
}
