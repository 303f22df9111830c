//! The metrics of a model server, from what its handler has said.

use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::trace::SpanKind;
use otel_ml::{End, ErrorType, Handle, MlSpan, Operation, Outcome, Record};
use otel_ml_semconv::{error, gen_ai};
use otel_ml_testing::TestTelemetry;

use crate::support::{labels, series};

struct Server;

impl Record for Server {
    fn record(&mut self, end: &mut End<'_>) {
        end.record_gen_ai_server();
    }
}

fn serve(test: &TestTelemetry, outcome: Outcome, handler: impl FnOnce(&MlSpan)) {
    let mut operation = Operation::builder(&test.telemetry(), SpanKind::Server, "POST".into())
        .handle(Handle::Recorded)
        .start(|| Server, |_| ());
    operation.scope(|| handler(&MlSpan::current()));
    operation.finish(outcome);
}

fn base() -> Vec<KeyValue> {
    labels![
        gen_ai::OPERATION_NAME => "chat", gen_ai::PROVIDER_NAME => "own",
        gen_ai::REQUEST_MODEL => "m", gen_ai::RESPONSE_MODEL => "m-2",
    ]
}

fn served(span: &MlSpan) {
    span.gen_ai_operation("chat")
        .provider("own")
        .request_model("m")
        .response_model("m-2");
}

#[test]
fn without_an_operation_there_are_none() {
    let test = TestTelemetry::new();
    serve(&test, Outcome::Ok, |span| {
        span.first_token().output_tokens(7).provider("own");
    });
    assert_eq!(test.metrics().names(), [""; 0]);
}

#[test]
fn a_success_has_a_duration_and_with_tokens_their_times() {
    let test = TestTelemetry::new();
    serve(&test, Outcome::Ok, |span| {
        served(span);
        span.first_token().output_tokens(7).first_token();
    });
    let metrics = [
        gen_ai::metric::SERVER_REQUEST_DURATION,
        gen_ai::metric::SERVER_TIME_TO_FIRST_TOKEN,
        gen_ai::metric::SERVER_TIME_PER_OUTPUT_TOKEN,
    ];
    let [duration, first, each] = metrics.map(|metric| series(&test, &metric, &base()));
    assert_eq!([duration.count(), first.count(), each.count()], [1; 3]);
    let in_all = each.sum().mul_add(6.0, first.sum());
    assert!(
        (in_all - duration.sum()).abs() < 1e-6,
        "{in_all} {}",
        duration.sum()
    );
}

#[test]
fn the_first_token_is_the_first_that_was_marked() {
    let (test, mut marked) = (TestTelemetry::new(), Duration::ZERO);
    serve(&test, Outcome::Ok, |span| {
        served(span);
        span.first_token();
        marked = span.elapsed();
        while span.elapsed() <= marked {}
        span.first_token();
    });
    let first = series(&test, &gen_ai::metric::SERVER_TIME_TO_FIRST_TOKEN, &base());
    assert!(first.sum() <= marked.as_secs_f64());
}

#[test]
fn what_is_not_known_is_not_measured() {
    for (mark, tokens, has_first, has_each) in [
        (false, Some(7), false, false),
        (true, None, true, false),
        (true, Some(1), true, false),
        (true, Some(0), true, false),
        (true, Some(2), true, true),
    ] {
        let test = TestTelemetry::new();
        serve(&test, Outcome::Ok, |span| {
            served(span);
            if mark {
                span.first_token();
            }
            if let Some(tokens) = tokens {
                span.output_tokens(tokens);
            }
        });
        let metrics = test.metrics();
        assert_eq!(
            metrics.has(gen_ai::metric::SERVER_TIME_TO_FIRST_TOKEN.name),
            has_first
        );
        assert_eq!(
            metrics.has(gen_ai::metric::SERVER_TIME_PER_OUTPUT_TOKEN.name),
            has_each
        );
        assert!(metrics.has(gen_ai::metric::SERVER_REQUEST_DURATION.name));
    }
}

#[test]
fn a_failure_has_a_duration_alone() {
    let test = TestTelemetry::new();
    serve(&test, Outcome::Failed(ErrorType::TIMEOUT), |span| {
        served(span);
        span.first_token().output_tokens(7);
    });
    let mut labels = labels![error::TYPE => "timeout"];
    labels.extend(base());
    assert_eq!(
        series(&test, &gen_ai::metric::SERVER_REQUEST_DURATION, &labels).count(),
        1
    );
    assert_eq!(
        test.metrics().names(),
        [gen_ai::metric::SERVER_REQUEST_DURATION.name]
    );
}
