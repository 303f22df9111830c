use opentelemetry::logs::{AnyValue, LogRecord as _, Logger as _, LoggerProvider as _, Severity};
use opentelemetry::trace::{TraceContextExt as _, Tracer as _, TracerProvider as _};
use opentelemetry::{Context, KeyValue};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::resource::v1::Resource;
use otel_ml_sdk::{Compression, Guard, Otlp, Protocol};

use super::sink::{Manners, Sink};
use super::{LONG, PROTOCOLS, patient, sending, sending_to};

fn text<'a>(resource: &'a Resource, key: &str) -> Option<&'a str> {
    let attribute = resource.attributes.iter().find(|known| known.key == key)?;
    match attribute.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => Some(text),
        _ => None,
    }
}

/// A span, a log record inside it, and a stage with its metric. The span's ids.
fn record(guard: &Guard) -> (Vec<u8>, Vec<u8>) {
    let tracer = guard.tracer_provider().unwrap().tracer("test");
    let cx = Context::new().with_span(tracer.start("work"));
    let span = cx.span().span_context().clone();
    {
        let _attached = cx.clone().attach();
        let logger = guard.logger_provider().unwrap().logger("test");
        let mut line = logger.create_log_record();
        line.set_severity_number(Severity::Warn);
        line.set_body(AnyValue::from("running late"));
        logger.emit(line);
        otel_ml::stage("rerank")
            .telemetry(guard.telemetry())
            .in_scope_infallible(|| ());
    }
    cx.span().end();
    (
        span.trace_id().to_bytes().to_vec(),
        span.span_id().to_bytes().to_vec(),
    )
}

#[test]
fn all_signals_arrive_with_their_resource() {
    for protocol in PROTOCOLS {
        let sink = Sink::start(protocol, Manners::Takes);
        let guard = patient(sending(&sink, protocol))
            .service_name("ranker")
            .environment("test")
            .attribute(KeyValue::new("team", "search"))
            .build()
            .unwrap();
        let (trace, span) = record(&guard);
        let report = guard.shutdown();
        assert!(report.in_time);
        assert_eq!((report.spans.exported, report.spans.failed), (2, 0));
        assert_eq!(report.log_records.exported, 1);
        assert!(report.metric_points.exported > 0);

        let taken = sink.taken();
        let traces = &taken.traces[0].resource_spans[0];
        let metrics = &taken.metrics.last().unwrap().resource_metrics[0];
        let logs = &taken.logs[0].resource_logs[0];
        for resource in [&traces.resource, &metrics.resource, &logs.resource] {
            let resource = resource.as_ref().unwrap();
            assert_eq!(text(resource, "service.name"), Some("ranker"));
            assert_eq!(text(resource, "deployment.environment.name"), Some("test"));
            assert_eq!(text(resource, "team"), Some("search"));
            assert_eq!(text(resource, "telemetry.sdk.name"), Some("opentelemetry"));
            for found in ["host.name", "os.type", "service.instance.id"] {
                assert!(text(resource, found).is_some(), "{found}");
            }
        }
        assert_eq!(traces.schema_url, otel_ml::semconv::SCHEMA_URL);
        let spans: Vec<_> = traces.scope_spans.iter().flat_map(|it| &it.spans).collect();
        let work = spans.iter().find(|it| it.name == "work").unwrap();
        let stage = spans.iter().find(|it| it.name == "rerank").unwrap();
        assert_eq!((&work.trace_id, &work.span_id), (&trace, &span));
        assert_eq!((&stage.trace_id, &stage.parent_span_id), (&trace, &span));
        let line = &logs.scope_logs[0].log_records[0];
        assert_eq!((&line.trace_id, &line.span_id), (&trace, &span));
        let scope = metrics.scope_metrics.iter().find(|scope| {
            let names = scope.metrics.iter().map(|metric| metric.name.as_str());
            names.collect::<Vec<_>>().contains(&"ml.stage.duration")
        });
        assert_eq!(scope.unwrap().schema_url, otel_ml::semconv::SCHEMA_URL);
    }
}

#[test]
fn headers_and_compression_are_as_told() {
    for protocol in PROTOCOLS {
        for (compression, encoding) in [
            (Compression::Gzip, Some("gzip")),
            (Compression::Zstd, Some("zstd")),
            (Compression::None, None),
        ] {
            let sink = Sink::start(protocol, Manners::Takes);
            let otlp = Otlp::new()
                .endpoint(sink.endpoint())
                .protocol(protocol)
                .compression(compression)
                .header("x-tenant", "research");
            let guard = patient(sending(&sink, protocol))
                .otlp(otlp)
                .build()
                .unwrap();
            record(&guard);
            guard.shutdown();
            let taken = sink.taken();
            assert!(taken.headers.len() >= 3, "{protocol:?} {compression:?}");
            assert!(taken.headers.iter().all(|it| it["x-tenant"] == "research"));
            match encoding {
                None => assert!(taken.encodings.is_empty()),
                Some(encoding) => {
                    assert!(taken.encodings.len() >= 3, "{protocol:?} {encoding}");
                    assert!(taken.encodings.iter().all(|known| known == encoding));
                }
            }
        }
    }
}

/// How a key is given where a Collector is reached by a URL alone.
#[test]
fn a_query_goes_along_with_the_path_of_the_signal() {
    let protocol = Protocol::HttpProtobuf;
    let sink = Sink::start(protocol, Manners::Takes);
    let endpoint = format!("{}/?key=secret", sink.endpoint());
    let guard = patient(sending_to(endpoint, protocol)).build().unwrap();
    record(&guard);
    assert!(guard.shutdown().in_time);
    assert_eq!(sink.taken().traces.len(), 1);
    assert_eq!(sink.taken().queries, ["key=secret"; 3]);
}

#[test]
fn a_flush_exports_what_waits() {
    for protocol in PROTOCOLS {
        let sink = Sink::start(protocol, Manners::Takes);
        let guard = patient(sending(&sink, protocol)).build().unwrap();
        record(&guard);
        let waiting = guard.report().spans;
        assert_eq!((waiting.waiting, waiting.dropped), (2, 0));
        assert!(guard.flush(LONG));
        assert_eq!(guard.report().spans.waiting, 0);
        assert_eq!(guard.report().spans.exported, 2);
        assert_eq!(sink.taken().traces.len(), 1);
    }
}

#[test]
fn what_exporters_did_is_a_metric() {
    for protocol in PROTOCOLS {
        let sink = Sink::start(protocol, Manners::Takes);
        let guard = patient(sending(&sink, protocol)).build().unwrap();
        record(&guard);
        guard.shutdown();
        let taken = sink.taken();
        let scopes = taken
            .metrics
            .iter()
            .flat_map(|request| &request.resource_metrics)
            .flat_map(|resource| &resource.scope_metrics);
        let names: Vec<_> = scopes
            .flat_map(|scope| &scope.metrics)
            .map(|metric| metric.name.as_str())
            .collect();
        assert!(
            names.contains(&"otel.sdk.exporter.span.exported"),
            "{names:?}"
        );
        assert!(
            names.contains(&"otel.sdk.exporter.log.exported"),
            "{names:?}"
        );
    }
}
