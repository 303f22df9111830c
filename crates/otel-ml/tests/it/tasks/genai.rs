use opentelemetry::KeyValue;
use opentelemetry::trace::SpanKind;
use otel_ml::genai::{self, GenAi};
use otel_ml::{MlSpan, Outcome};
use otel_ml_semconv::{error, gen_ai, ml, server};
use otel_ml_testing::{SpanExt, TestTelemetry, assert_tree, assert_types};

use super::{QueueFull, only};
use crate::support::{labels, remote_context, series};

fn base(operation: &'static str) -> Vec<KeyValue> {
    labels![
        gen_ai::OPERATION_NAME => operation, gen_ai::PROVIDER_NAME => "openai",
        gen_ai::REQUEST_MODEL => "gpt-4.1",
    ]
}

/// An operation, its span's name, its labels, and what the span has beside them.
type Case = (
    GenAi,
    &'static str,
    Vec<KeyValue>,
    Option<(&'static str, &'static str)>,
);

#[test]
fn each_operation_has_its_name_kind_attributes_and_labels() {
    let (p, m) = ("openai", "gpt-4.1");
    let cases: [Case; 5] = [
        (genai::chat(p, m), "chat gpt-4.1", base("chat"), None),
        (
            genai::text_completion(p, m),
            "text_completion gpt-4.1",
            base("text_completion"),
            None,
        ),
        (
            genai::embeddings(p, m),
            "embeddings gpt-4.1",
            base("embeddings"),
            None,
        ),
        (genai::rerank(p, m), "rerank gpt-4.1", base("rerank"), None),
        (
            genai::retrieval("docs"),
            "retrieval docs",
            labels![gen_ai::OPERATION_NAME => "retrieval"],
            Some((gen_ai::DATA_SOURCE_ID, "docs")),
        ),
    ];
    for (task, name, labels, more) in cases {
        let test = TestTelemetry::new();
        task.telemetry(&test.telemetry()).in_scope_infallible(|| ());
        let span = only(&test);
        assert_eq!(span.name, name);
        assert_eq!(span.span_kind, SpanKind::Client);
        let mut expected = labels.clone();
        expected.extend(more.map(|(key, value)| KeyValue::new(key, value)));
        let mut attributes = span.attributes.clone();
        attributes.sort_by(|a, b| a.key.as_str().cmp(b.key.as_str()));
        expected.sort_by(|a, b| a.key.as_str().cmp(b.key.as_str()));
        assert_eq!(attributes, expected, "{name}");
        let duration = series(&test, &gen_ai::metric::CLIENT_OPERATION_DURATION, &labels);
        assert_eq!(duration.count(), 1, "{name}");
        assert_eq!(
            test.metrics().names(),
            [gen_ai::metric::CLIENT_OPERATION_DURATION.name]
        );
    }
}

#[test]
fn e22_e32_settings_are_recorded_with_their_types_a_zero_temperature_included() {
    let test = TestTelemetry::new();
    genai::chat("openai", "gpt-4.1")
        .telemetry(&test.telemetry())
        .in_process()
        .server("api.example.com", 443)
        .max_tokens(256)
        .temperature(0.0)
        .top_p(1.0)
        .top_k(40)
        .seed(-7)
        .choice_count(2)
        .stop_sequences(["END"])
        .streaming()
        .retrieval_top_k(5)
        .candidate_count(20)
        .in_scope_infallible(|| ());
    assert_tree!(test.spans(), {
        "chat gpt-4.1" [internal, unset, only_attrs] {
            (gen_ai::OPERATION_NAME) = "chat",
            (gen_ai::PROVIDER_NAME) = "openai",
            (gen_ai::REQUEST_MODEL) = "gpt-4.1",
            (server::ADDRESS) = "api.example.com",
            (server::PORT) = 443,
            (gen_ai::REQUEST_MAX_TOKENS) = 256,
            (gen_ai::REQUEST_TEMPERATURE) = 0.0,
            (gen_ai::REQUEST_TOP_P) = 1.0,
            (gen_ai::REQUEST_TOP_K) = 40,
            (gen_ai::REQUEST_SEED) = -7,
            (gen_ai::REQUEST_CHOICE_COUNT) = 2,
            (gen_ai::REQUEST_STOP_SEQUENCES) = ["END"],
            (gen_ai::REQUEST_STREAM) = true,
            (gen_ai::RETRIEVAL_TOP_K) = 5,
            (ml::RERANK_CANDIDATE_COUNT) = 20,
        }
    });
    assert_types(&test.spans());
    let mut labels = base("chat");
    labels.extend(labels![server::ADDRESS => "api.example.com", server::PORT => 443]);
    assert_eq!(
        series(&test, &gen_ai::metric::CLIENT_OPERATION_DURATION, &labels).count(),
        1
    );
}

/// A wrapper sets its default, its user another value.
#[test]
fn a_setting_made_twice_is_one_attribute_and_one_label_with_the_last_value() {
    let test = TestTelemetry::new();
    genai::chat("openai", "gpt-4.1")
        .telemetry(&test.telemetry())
        .temperature(0.7)
        .server("default.example.com", 80)
        .temperature(0.0)
        .server("api.example.com", 443)
        .in_scope_infallible(|| ());
    let span = only(&test);
    let count = |key: &str| {
        span.attributes
            .iter()
            .filter(|a| a.key.as_str() == key)
            .count()
    };
    assert_eq!(span.double(gen_ai::REQUEST_TEMPERATURE), 0.0);
    assert_eq!(span.str(server::ADDRESS), "api.example.com");
    assert_eq!(
        (count(gen_ai::REQUEST_TEMPERATURE), count(server::ADDRESS)),
        (1, 1)
    );
    let mut labels = base("chat");
    labels.extend(labels![server::ADDRESS => "api.example.com", server::PORT => 443]);
    assert_eq!(
        series(&test, &gen_ai::metric::CLIENT_OPERATION_DURATION, &labels).count(),
        1
    );
}

#[test]
fn an_attribute_of_ones_own_doubles_no_key() {
    let test = TestTelemetry::new();
    genai::chat("openai", "gpt-4.1")
        .telemetry(&test.telemetry())
        .attribute(gen_ai::REQUEST_MODEL, "an alias")
        .attribute("app.tenant", "a")
        .attribute("app.tenant", "b")
        .in_scope_infallible(|| ());
    let span = only(&test);
    let count = |key: &str| {
        span.attributes
            .iter()
            .filter(|a| a.key.as_str() == key)
            .count()
    };
    assert_eq!((count("app.tenant"), count(gen_ai::REQUEST_MODEL)), (1, 1));
    assert_eq!(span.str("app.tenant"), "b");
}

#[test]
fn token_counts_become_usage_by_type() {
    let test = TestTelemetry::new();
    let task = genai::chat("openai", "gpt-4.1").telemetry(&test.telemetry());
    task.in_scope_infallible(|| {
        let span = MlSpan::current();
        span.input_tokens(12)
            .output_tokens(7)
            .response_model("gpt-4.1-mini")
            .response_id("r1");
    });
    let usage = |kind: &'static str| {
        let mut labels = base("chat");
        labels
            .extend(labels![gen_ai::RESPONSE_MODEL => "gpt-4.1-mini", gen_ai::TOKEN_TYPE => kind]);
        let point = series(&test, &gen_ai::metric::CLIENT_TOKEN_USAGE, &labels);
        (point.count(), point.sum())
    };
    assert_eq!((usage("input"), usage("output")), ((1, 12.0), (1, 7.0)));
    let mut labels = base("chat");
    labels.extend(labels![gen_ai::RESPONSE_MODEL => "gpt-4.1-mini"]);
    assert_eq!(
        series(&test, &gen_ai::metric::CLIENT_OPERATION_DURATION, &labels).count(),
        1
    );
    let span = only(&test);
    assert_eq!(span.int(gen_ai::USAGE_OUTPUT_TOKENS), 7);
    assert!(!span.has(ml::USAGE_PARTIAL));
}

#[test]
fn a_failure_keeps_the_tokens_that_are_known() {
    let test = TestTelemetry::new();
    let task = genai::chat("openai", "gpt-4.1").telemetry(&test.telemetry());
    let result = task.in_scope(|| {
        MlSpan::current().output_tokens(3).error_transient(true);
        Err::<(), _>(QueueFull)
    });
    assert_eq!(result, Err(QueueFull));
    let span = only(&test);
    assert!(span.is_error() && span.bool(ml::USAGE_PARTIAL) && span.bool(ml::ERROR_TRANSIENT));
    let mut usage = base("chat");
    usage.extend(labels![gen_ai::TOKEN_TYPE => "output"]);
    assert_eq!(
        series(&test, &gen_ai::metric::CLIENT_TOKEN_USAGE, &usage).sum(),
        3.0
    );
    let mut labels = labels![error::TYPE => "QueueFull"];
    labels.extend(base("chat"));
    assert_eq!(
        series(&test, &gen_ai::metric::CLIENT_OPERATION_DURATION, &labels).count(),
        1
    );
}

#[test]
fn e23_unsampled_operations_are_measured_with_all_their_labels() {
    let test = TestTelemetry::new();
    let _attached = remote_context(0).attach();
    let running = genai::chat("openai", "gpt-4.1")
        .telemetry(&test.telemetry())
        .start();
    running
        .span()
        .input_tokens(12)
        .response_model("mini")
        .request_model("ignored");
    running.finish(Outcome::Ok);
    assert!(test.spans().is_empty());
    let mut labels = base("chat");
    labels.extend(labels![gen_ai::RESPONSE_MODEL => "mini"]);
    assert_eq!(
        series(&test, &gen_ai::metric::CLIENT_OPERATION_DURATION, &labels).count(),
        1
    );
    labels.extend(labels![gen_ai::TOKEN_TYPE => "input"]);
    assert_eq!(
        series(&test, &gen_ai::metric::CLIENT_TOKEN_USAGE, &labels).sum(),
        12.0
    );
}
