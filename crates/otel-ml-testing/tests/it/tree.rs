use opentelemetry::KeyValue;
use opentelemetry::trace::{
    Span as _, SpanContext, SpanId, SpanKind, Status, TraceContextExt as _, TraceFlags, TraceId,
    TraceState, Tracer as _, TracerProvider as _,
};
use opentelemetry_sdk::trace::SpanData;
use otel_ml_testing::{ExpectedSpan, SpansExt as _, TestTelemetry, assert_tree, span};

use crate::message_of;

fn answer() -> Vec<SpanData> {
    let test = TestTelemetry::new();
    let tracer = test.tracer_provider().tracer("t");
    let server = tracer
        .span_builder("POST /generate")
        .with_kind(SpanKind::Server)
        .start(&tracer);
    let cx = opentelemetry::Context::new().with_span(server);
    cx.span()
        .set_attribute(KeyValue::new("gen_ai.usage.output_tokens", 12));
    cx.span().set_status(Status::error("cancelled"));
    cx.span().add_event("first_token", Vec::new());
    for (name, tokens) in [("chat m", 5), ("chat m", 7)] {
        let mut child = tracer
            .span_builder(name)
            .with_kind(SpanKind::Client)
            .start_with_context(&tracer, &cx);
        child.set_attribute(KeyValue::new("tokens", tokens));
        child.set_attribute(KeyValue::new("temperature", 0.0));
        child.end();
    }
    cx.span().end();
    test.spans()
}

#[test]
fn equal_trees_agree_whatever_the_order_of_siblings() {
    assert_tree!(answer(), {
        "POST /generate" [server, error] { "gen_ai.usage.output_tokens" = 12 } => [
            "chat m" [client, unset] { "tokens" = 7, "temperature" = 0.0 },
            "chat m" [client],
        ]
    });
    // The first, vague one must not take the only span that fits the second.
    assert_tree!(answer(), {
        "POST /generate" => [ "chat m", ("chat m".to_owned()) [only_attrs] { "tokens" = 5, "temperature" = 0.0 } ],
    });
    assert_tree!(answer(), { "POST /generate"[any_children] });
}

#[test]
fn a_difference_is_shown_line_by_line() {
    let message = message_of(|| {
        assert_tree!(answer(), {
            "POST /generate" [client, unset] {
                "gen_ai.usage.output_tokens" = "12",
                "error.type" = "cancelled",
            } => [
                "chat m" { "tokens" = 7.0 },
                "rerank" [internal] => [ "score" ],
                "chat m" { "tokens" = 5 },
            ]
        });
    });
    let expected = "\
the spans are not as expected (- expected, + actual):
-  \"POST /generate\" [client, unset]
-      gen_ai.usage.output_tokens = \"12\"
-      error.type = \"cancelled\"
+  \"POST /generate\" [server, error]
+      gen_ai.usage.output_tokens = 12
     \"chat m\"
-        tokens = 7.0
-    \"rerank\" [internal]
-      \"score\"
+        tokens = 7
     \"chat m\"
         tokens = 5
all spans:
";
    assert!(message.starts_with(expected), "{message}");
}

#[track_caller]
fn refuses(expected: ExpectedSpan, line: &str) {
    let message = message_of(|| assert_tree(&answer(), vec![expected]));
    assert!(message.contains(line), "{message}");
}

#[test]
fn each_thing_that_can_be_asked_is_compared() {
    let root = || span("POST /generate").any_children();
    assert_tree(
        &answer(),
        vec![
            root()
                .error()
                .events(["first_token"])
                .no_attr("x")
                .parent(SpanId::INVALID),
        ],
    );
    refuses(root().ok(), "-  \"POST /generate\" [ok]");
    refuses(
        root().only_attrs(),
        "+      gen_ai.usage.output_tokens = 12",
    );
    refuses(
        root().no_attr("gen_ai.usage.output_tokens"),
        "+      gen_ai.usage.output_tokens = 12",
    );
    refuses(
        root().parent(SpanId::from(1)),
        "-      parent 0000000000000001",
    );
    refuses(
        root().trace(TraceId::from(1)),
        "-      trace 00000000000000000000000000000001",
    );
    refuses(root().events::<&str>([]), "+      event \"first_token\"");
    refuses(span("POST /generate"), "+    \"chat m\" [client]");
    refuses(span("GET /"), "+  \"POST /generate\" [server]");
    let link = SpanContext::new(
        TraceId::from(3),
        SpanId::from(4),
        TraceFlags::SAMPLED,
        true,
        TraceState::default(),
    );
    refuses(
        root().links([&link]),
        "-      link 00000000000000000000000000000003/0000000000000004",
    );
}

#[test]
fn links_are_compared_by_id() {
    let test = TestTelemetry::new();
    let tracer = test.tracer_provider().tracer("t");
    let first = tracer.start("first").span_context().clone();
    let mut second = tracer.start("second");
    second.add_link(first.clone(), Vec::new());
    second.end();
    let trace = test.spans().named("second").span_context.trace_id();
    assert_tree(
        &test.spans(),
        vec![
            span("second").links([&first]).trace(trace),
            span("first").links([]),
        ],
    );
}

#[test]
fn an_attribute_that_was_set_twice_is_not_there_once() {
    let test = TestTelemetry::new();
    let mut twice = test.tracer_provider().tracer("t").start("s");
    twice.set_attribute(KeyValue::new("n", 1));
    twice.set_attribute(KeyValue::new("n", 1));
    twice.end();
    let message = message_of(|| assert_tree!(test.spans(), { "s" { "n" = 1 } }));
    assert!(
        message.contains("       n = 1\n+      n = 1\n"),
        "{message}"
    );
}

#[test]
fn no_spans_are_not_a_tree() {
    let message = message_of(|| assert_tree!(Vec::<SpanData>::new(), { "s" => [ "t" ] }));
    assert!(message.contains("-  \"s\"\n-    \"t\"\n"), "{message}");
    assert_tree!(Vec::<SpanData>::new(), {});
}
