//! Prefill and decode.

use std::panic::{AssertUnwindSafe, catch_unwind};

use otel_ml::opentelemetry::trace::{SpanId, TraceContextExt};
use otel_ml::semconv::{error, gen_ai, ml};
use otel_ml::{ErrorType, MlSpan, Outcome, stage};
use otel_ml_testing::{SpanExt, SpansExt, TestTelemetry, assert_ended_once, assert_tree};
use otel_ml_worker::Phases;

use crate::support::{in_request, jobs, span_here};

/// A step loop over so many tokens, in a job that says what it does.
fn generate(test: &TestTelemetry, tokens: &[u64], end: fn(Phases)) {
    let job = jobs(test).build().job("generate");
    job.wrap_infallible(|| {
        MlSpan::current()
            .gen_ai_operation("chat")
            .provider("openai")
            .request_model("m");
        let mut phases = Phases::start();
        for count in tokens {
            phases.scope(|| stage("step").in_scope_infallible(|| ()));
            phases.tokens(*count);
        }
        end(phases);
    })();
}

#[test]
fn the_first_token_ends_the_prefill_and_starts_the_decode() {
    let test = TestTelemetry::new();
    generate(&test, &[1, 2, 0, 3], |phases| {
        assert_eq!(phases.output_tokens(), 6);
        phases.span().set("last", true);
        phases.finish(Outcome::Ok);
    });
    assert_ended_once(&test.spans());
    assert_tree!(test.spans(), {
        "generate" [unset] { (gen_ai::USAGE_OUTPUT_TOKENS) = 6 } => [
            "prefill" [internal, unset] { (ml::INFERENCE_PHASE) = "prefill" } => ["step"],
            "decode" [internal, unset] {
                (ml::INFERENCE_PHASE) = "decode",
                (gen_ai::USAGE_OUTPUT_TOKENS) = 6,
                "last" = true,
            } => ["step", "step", "step"],
        ],
    });
    let spans = test.spans();
    assert!(spans.named("prefill").end_time <= spans.named("decode").start_time);
    let metrics = test.metrics();
    for metric in [
        gen_ai::metric::SERVER_TIME_TO_FIRST_TOKEN,
        gen_ai::metric::SERVER_TIME_PER_OUTPUT_TOKEN,
        gen_ai::metric::SERVER_REQUEST_DURATION,
    ] {
        let point = metrics.histogram(metric.name).one();
        assert_eq!(point.count(), 1, "{}", metric.name);
        let model = point
            .labels()
            .iter()
            .find(|l| l.key.as_str() == gen_ai::REQUEST_MODEL);
        assert_eq!(model.unwrap().value.as_str(), "m");
    }
    for phase in ["prefill", "decode"] {
        let stages = metrics.histogram(ml::metric::STAGE_DURATION.name);
        assert_eq!(stages.with(ml::PIPELINE_STAGE_NAME, phase).one().count(), 1);
    }
}

#[test]
fn a_failure_ends_the_phase_in_which_it_happens() {
    let test = TestTelemetry::new();
    generate(&test, &[], |phases| {
        phases.finish(Outcome::Failed(ErrorType::new("out_of_memory")));
    });
    generate(&test, &[1], |phases| {
        phases.finish(Outcome::Failed(ErrorType::TIMEOUT));
    });
    generate(&test, &[1], drop);
    let phases = test
        .spans()
        .into_iter()
        .filter(|s| s.name != "generate" && s.name != "step");
    let mut phases: Vec<_> = phases.collect();
    for span in &mut phases {
        span.parent_span_id = SpanId::INVALID;
    }
    assert_tree!(phases, {
        "prefill" [error] { (error::TYPE) = "out_of_memory" },
        "prefill" [unset],
        "decode" [error] { (error::TYPE) = "timeout", (gen_ai::USAGE_OUTPUT_TOKENS) = 1 },
        "prefill" [unset],
        "decode" [unset] { (ml::CANCEL_REASON) = "dropped", (ml::USAGE_PARTIAL) = true },
    });
}

#[test]
fn e15_a_panic_in_a_step_ends_the_phase() {
    let test = TestTelemetry::new();
    in_request(&test, || {
        let mut phases = Phases::start();
        phases.token();
        assert!(catch_unwind(AssertUnwindSafe(|| phases.scope(|| panic!("on purpose")))).is_err());
        drop(phases);
    });
    assert_ended_once(&test.spans());
    assert_eq!(test.spans().named("decode").str(error::TYPE), "panic");
}

#[test]
fn phases_go_on_where_they_began_whoever_steps_them() {
    let test = TestTelemetry::new();
    let mut phases = in_request(&test, Phases::start);
    // On the thread of the step loop, which is in no request.
    let (context, here) = (phases.context(), phases.scope(span_here));
    assert_eq!(context.span().span_context().span_id(), here);
    phases.token();
    assert_ne!(phases.scope(span_here), here);
    assert_eq!(span_here(), SpanId::INVALID);
    phases.finish(Outcome::Ok);
    assert_tree!(test.spans(), { "request" => ["prefill", "decode"] });
}

#[test]
fn e21_a_long_answer_keeps_its_counts_and_nothing_else() {
    let test = TestTelemetry::new();
    in_request(&test, || {
        let mut phases = Phases::start();
        for _ in 0..100_000 {
            phases.token();
        }
        phases.finish(Outcome::Ok);
    });
    let spans = test.spans();
    assert_eq!(spans.len(), 3);
    let decode = spans.named("decode");
    assert_eq!(decode.int(gen_ai::USAGE_OUTPUT_TOKENS), 100_000);
    assert_eq!(decode.attributes.len(), 3);
    assert!(decode.events.events.is_empty());
}
