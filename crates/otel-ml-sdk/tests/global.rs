//! What `init` does to the whole process: one test, as there is one process.
#![cfg(test)]
#![cfg(all(feature = "otlp-http", feature = "tracing", feature = "log"))]

use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value;
use otel_ml_sdk::log::{LogFormat, Logs};
use otel_ml_sdk::{Batch, ErrorKind, Otlp, Protocol};
use prost::Message;

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A path, and what was sent there.
type Body = (String, Vec<u8>);

/// A Collector's bodies, by path.
#[derive(Clone, Default)]
struct Taken(Arc<Mutex<Vec<Body>>>);

impl Taken {
    fn all<M: Message + Default>(&self, path: &str) -> Vec<M> {
        let taken = self.0.lock().unwrap();
        let bodies = taken.iter().filter(|(known, _)| known == path);
        bodies
            .map(|(_, body)| M::decode(body.as_slice()).unwrap())
            .collect()
    }
}

fn collector(taken: Taken) -> (tokio::runtime::Runtime, String) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let listener = runtime
        .block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))
        .unwrap();
    let address = listener.local_addr().unwrap();
    let take = move |uri: axum::http::Uri, body: axum::body::Bytes| {
        let taken = taken.clone();
        async move {
            let body = (uri.path().to_owned(), body.to_vec());
            taken.0.lock().unwrap().push(body);
        }
    };
    let app = axum::Router::new().fallback(take);
    runtime.spawn(async move { axum::serve(listener, app).await });
    (runtime, format!("http://{address}"))
}

#[test]
fn init_sets_up_the_whole_program() {
    let (taken, lines) = (Taken::default(), Lines::default());
    let (_runtime, endpoint) = collector(taken.clone());
    let long = Batch::new().delay(Duration::from_secs(60));
    let builder = || {
        otel_ml_sdk::builder()
            .variables(|_| None)
            .service_name("ranker")
            .otlp(
                Otlp::new()
                    .protocol(Protocol::HttpProtobuf)
                    .endpoint(&endpoint),
            )
            .log_batches(long)
            .log(
                Logs::new(LogFormat::Json)
                    .filter("info")
                    .writer(lines.clone()),
            )
    };
    // A queue of one that waits long: what is more is dropped.
    let guard = builder()
        .span_batches(long.queue_size(1).batch_size(1))
        .init()
        .unwrap();
    assert_eq!(otel_ml_sdk::otel_ml::selfcheck(), []);
    otel_ml_sdk::otel_ml::stage("rerank").in_scope_infallible(|| {
        tracing::info!(candidates = 20, "ranking");
        log::warn!("slow");
    });
    for _ in 0..50_000 {
        otel_ml_sdk::otel_ml::stage("busy").in_scope_infallible(|| ());
    }

    // A second one finds the logs taken, and leaves the first one alone.
    let meters = || format!("{:?}", otel_ml_sdk::otel_ml::Telemetry::global());
    let before = meters();
    let second = builder().init().unwrap_err();
    assert_eq!(meters(), before);
    assert_eq!(second.kind(), ErrorKind::AlreadySet, "{second}");

    let report = guard.shutdown();
    assert!(report.in_time);
    let spans = report.spans;
    assert_eq!(spans.exported + spans.failed + spans.dropped, 50_001);
    assert_eq!(report.log_records.exported, 2);

    let traces: Vec<ExportTraceServiceRequest> = taken.all("/v1/traces");
    let arrived: Vec<_> = traces
        .iter()
        .flat_map(|request| &request.resource_spans)
        .flat_map(|resource| &resource.scope_spans)
        .flat_map(|scope| &scope.spans)
        .collect();
    assert_eq!(arrived.len() as u64, spans.exported);
    let stage = arrived.iter().find(|span| span.name == "rerank").unwrap();

    let logs: Vec<ExportLogsServiceRequest> = taken.all("/v1/logs");
    let records: Vec<_> = logs
        .iter()
        .flat_map(|request| &request.resource_logs)
        .flat_map(|resource| &resource.scope_logs)
        .flat_map(|scope| &scope.log_records)
        .collect();
    assert_eq!(records.len(), 2);
    for record in records {
        assert_eq!(record.trace_id, stage.trace_id);
        assert_eq!(record.span_id, stage.span_id);
    }
    let lines = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    let hex = |id: &[u8]| {
        id.iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>()
    };
    for message in ["ranking", "slow"] {
        let line = lines.lines().find(|line| line.contains(message)).unwrap();
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(line["trace_id"], hex(&stage.trace_id));
        assert_eq!(line["span_id"], hex(&stage.span_id));
    }

    // The SDK's own count of what its queue dropped.
    let metrics: Vec<ExportMetricsServiceRequest> = taken.all("/v1/metrics");
    let dropped: i64 = metrics
        .iter()
        .flat_map(|request| &request.resource_metrics)
        .flat_map(|resource| &resource.scope_metrics)
        .flat_map(|scope| &scope.metrics)
        .filter(|metric| metric.name == "otel.sdk.processor.span.processed")
        .filter_map(|metric| match &metric.data {
            Some(Data::Sum(sum)) => Some(sum),
            _ => None,
        })
        .flat_map(|sum| &sum.data_points)
        .filter(|point| {
            point
                .attributes
                .iter()
                .any(|label| label.key == "error.type")
        })
        .map(|point| match point.value {
            Some(Value::AsInt(count)) => count,
            _ => 0,
        })
        .sum();
    assert_eq!(u64::try_from(dropped), Ok(spans.dropped));
}
