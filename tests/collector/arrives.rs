//! A service's telemetry arrives as it was recorded.

use otel_ml::opentelemetry::KeyValue;
use otel_ml::opentelemetry::trace::SpanContext;
use otel_ml::semconv::{SCHEMA_URL, ml};
use otel_ml_sdk::file::FileExporter;
use otel_ml_sdk::{Compression, Guard, Otlp};
use otel_ml_testing::opentelemetry_sdk::logs::SimpleLogProcessor;
use otel_ml_testing::opentelemetry_sdk::trace::SimpleSpanProcessor;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::otelcol::Collector;
use crate::received::{Item, Received, assert_same};
use crate::service::{caller, cause, serve};
use crate::{over_both, patient, to};

/// What the Collector received and what our own file has of the same run, with the requests
/// that were served.
struct Run {
    received: Received,
    file: Received,
    requests: [SpanContext; 2],
}

fn run(collector: &Collector, otlp: Otlp) -> Run {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("telemetry.jsonl");
    let file = FileExporter::builder(&path).open().unwrap();
    let guard = patient(otlp)
        .service_name("ranker")
        .service_version("2.1.0")
        .environment("test")
        .attribute(KeyValue::new("replicas", 3))
        .span_processor(SimpleSpanProcessor::new(file.spans()))
        .log_processor(SimpleLogProcessor::new(file.logs()))
        .metric_exporter(file.metrics())
        .build()
        .unwrap();
    let requests = serve(&guard);
    assert_exported(guard);
    Run {
        received: collector.received(),
        file: Received::read(&std::fs::read_to_string(path).unwrap()),
        requests,
    }
}

fn assert_exported(guard: Guard) {
    let report = guard.shutdown();
    assert!(report.in_time);
    assert_eq!((report.spans.exported, report.log_records.exported), (3, 1));
    assert!(report.metric_points.exported > 0);
    for counts in [report.spans, report.metric_points, report.log_records] {
        assert_eq!((counts.failed, counts.dropped), (0, 0));
    }
}

#[test]
fn as_our_own_file_has_it() {
    over_both(|protocol| {
        let collector = Collector::new().started();
        let run = run(&collector, to(collector.endpoint(protocol), protocol));
        assert_eq!((run.received.spans.len(), run.file.spans.len()), (3, 3));
        for span in &run.received.spans {
            assert_same(span, run.file.span(span.text("name")));
        }
        assert_eq!((run.received.records.len(), run.file.records.len()), (1, 1));
        assert_same(&run.received.records[0], &run.file.records[0]);
        // Two readers don't collect at the same time.
        let ours = |from: &Received| {
            let all = from.metrics.iter().map(Item::timeless);
            let ours = all.filter(|metric| metric.scope["name"] == "otel-ml");
            ours.collect::<Vec<_>>()
        };
        let metrics = ours(&run.received);
        assert!(metrics.len() > 2, "{metrics:?}");
        assert_eq!(metrics.len(), ours(&run.file).len());
        for metric in metrics {
            assert_same(&metric, &run.file.metric(metric.text("name")).timeless());
        }
    });
}

#[test]
fn as_it_was_recorded() {
    over_both(|protocol| {
        let collector = Collector::new().started();
        let run = run(&collector, to(collector.endpoint(protocol), protocol));
        let Run {
            received, requests, ..
        } = &run;
        for item in received.spans.iter().chain(&received.metrics) {
            assert_of_the_service(item);
        }
        assert_of_the_service(&received.records[0]);

        let [answered, failed] = requests.each_ref();
        let span = received.span("POST /rank");
        assert_id(span, answered);
        assert_eq!(span.own["traceId"], hex(caller().trace_id()));
        assert_eq!(span.own["parentSpanId"], hex(caller().span_id()));
        assert_eq!(span.own["traceState"], "vendor=1");
        assert_eq!(span.own["kind"], 2);
        assert_eq!(span.own["status"], Value::Null, "unset");
        assert_types(span);
        assert_link_and_event(span);

        let span = received.span("POST /embed");
        assert_id(span, failed);
        assert_eq!(span.own["parentSpanId"], Value::Null);
        assert_eq!(span.own["kind"], 2);
        assert_eq!(span.own["status"], json!({"code": 2}));
        assert_eq!(span.attribute("error.type"), &text("timeout"));

        let span = received.span("rerank");
        assert_eq!(span.own["traceId"], hex(answered.trace_id()));
        assert_eq!(span.own["parentSpanId"], hex(answered.span_id()));
        assert_eq!(span.own["kind"], 1);
        for span in &received.spans {
            assert_eq!(span.scope, otel_ml_scope());
            assert_eq!(span.scope_schema, SCHEMA_URL);
        }
        assert_log(&received.records[0], answered);
        assert_stage_metric(received.metric(ml::metric::STAGE_DURATION.name));
    });
}

#[test]
fn compressed() {
    over_both(|protocol| {
        for compression in [Compression::Gzip, Compression::Zstd] {
            let collector = Collector::new().started();
            let otlp = to(collector.endpoint(protocol), protocol).compression(compression);
            let run = run(&collector, otlp);
            assert_eq!(run.received.span_ids(), run.file.span_ids());
            assert_eq!(run.received.records, run.file.records);
        }
    });
}

fn hex(id: impl ToString) -> Value {
    id.to_string().into()
}

fn text(text: &str) -> Value {
    json!({"stringValue": text})
}

fn otel_ml_scope() -> Value {
    json!({"name": "otel-ml", "version": env!("CARGO_PKG_VERSION")})
}

fn assert_id(span: &Item, context: &SpanContext) {
    assert_eq!(span.own["traceId"], hex(context.trace_id()));
    assert_eq!(span.own["spanId"], hex(context.span_id()));
}

fn assert_of_the_service(item: &Item) {
    for (key, value) in [
        ("service.name", text("ranker")),
        ("service.version", text("2.1.0")),
        ("deployment.environment.name", text("test")),
        ("replicas", json!({"intValue": "3"})),
        ("telemetry.sdk.language", text("rust")),
    ] {
        assert_eq!(item.of_resource(key), &value, "{key}");
    }
    for found in ["service.instance.id", "host.name", "process.pid"] {
        assert_ne!(item.of_resource(found), &Value::Null, "{found}");
    }
    assert_eq!(item.resource_schema, SCHEMA_URL);
}

/// Each type stays what it was: no number becomes a text, no whole double an integer.
fn assert_types(span: &Item) {
    for (key, value) in [
        ("ml.model.name", text("cross-encoder")),
        ("gen_ai.usage.input_tokens", json!({"intValue": "7"})),
        ("ml.prediction.confidence", json!({"doubleValue": 0.25})),
        ("ml.cache.hit", json!({"boolValue": false})),
        (
            "gen_ai.response.finish_reasons",
            json!({"arrayValue": {"values": [text("stop"), text("length")]}}),
        ),
        (
            "ml.input.shape",
            json!({"arrayValue": {"values": [{"intValue": "8"}, {"intValue": "384"}]}}),
        ),
        ("test.largest", json!({"intValue": i64::MAX.to_string()})),
        ("test.zero", json!({"intValue": "0"})),
        ("test.whole", json!({"doubleValue": 2})),
        ("test.nan", json!({"doubleValue": "NaN"})),
        ("test.empty", text("")),
        (
            "test.doubles",
            json!({"arrayValue": {"values": [{"doubleValue": 0.5}, {"doubleValue": 1}]}}),
        ),
        (
            "test.bools",
            json!({"arrayValue": {"values": [{"boolValue": true}, {"boolValue": false}]}}),
        ),
        ("http.request.method", text("POST")),
    ] {
        assert_eq!(span.attribute(key), &value, "{key}");
    }
}

fn assert_link_and_event(span: &Item) {
    let links = span.own["links"].as_array().unwrap();
    assert_eq!(links.len(), 1);
    assert_eq!(links[0]["traceId"], hex(cause().trace_id()));
    assert_eq!(links[0]["spanId"], hex(cause().span_id()));
    assert_eq!(links[0]["traceState"], "vendor=1");
    let attempt = json!([{"key": "attempt", "value": {"intValue": "2"}}]);
    assert_eq!(links[0]["attributes"], attempt);
    let events = span.own["events"].as_array().unwrap();
    assert_eq!(events.len(), 1);
    assert_eq!(events[0]["name"], "first_token");
    let index = json!([{"key": "index", "value": {"intValue": "0"}}]);
    assert_eq!(events[0]["attributes"], index);
}

/// The line leads to the request it was written in.
fn assert_log(line: &Item, request: &SpanContext) {
    assert_id(line, request);
    assert_eq!(line.own["flags"], 1);
    assert_eq!(line.own["body"], text("running late"));
    assert_eq!(line.own["severityNumber"], 13);
    assert_eq!(line.own["severityText"], "WARN");
    assert_eq!(line.attribute("queue"), &json!({"intValue": "3"}));
    assert_eq!(line.attribute("ratio"), &json!({"doubleValue": 0.5}));
    let scope = json!({"name": "ranker", "version": "2.1.0"});
    assert_eq!(line.scope, scope);
    assert_eq!(line.scope_schema, SCHEMA_URL);
}

fn assert_stage_metric(metric: &Item) {
    assert_eq!(metric.scope, otel_ml_scope());
    assert_eq!(metric.scope_schema, SCHEMA_URL);
    assert_eq!(metric.own["unit"], "s");
    let points = metric.own["histogram"]["dataPoints"].as_array().unwrap();
    assert_eq!(points.len(), 1);
    assert_eq!(points[0]["count"], "1");
    let labels = json!([{"key": "ml.pipeline.stage.name", "value": text("rerank")}]);
    assert_eq!(points[0]["attributes"], labels);
    let bounds = points[0]["explicitBounds"].as_array().unwrap();
    let bounds: Vec<f64> = bounds.iter().map(|it| it.as_f64().unwrap()).collect();
    assert_eq!(bounds, ml::metric::STAGE_DURATION.boundaries);
}
