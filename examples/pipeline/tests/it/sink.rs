//! A Collector in the process: takes OTLP over HTTP and keeps it.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::routing::post;
use http::HeaderMap;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message as _;

/// What has arrived, each with the attributes of its resource.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    pub(crate) spans: Vec<(Texts, SpanIds)>,
    /// The names of metrics.
    pub(crate) metrics: Vec<(Texts, String)>,
    pub(crate) records: Vec<(Texts, Record)>,
    /// The values of the header `x-tenant`, one for each request.
    pub(crate) tenants: Vec<String>,
}

pub(crate) type Texts = HashMap<String, String>;
/// Trace and span, in hexadecimal.
pub(crate) type SpanIds = (String, String);

#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) ids: SpanIds,
    pub(crate) body: String,
}

pub(crate) struct Sink {
    address: SocketAddr,
    taken: Arc<Mutex<Taken>>,
    _runtime: tokio::runtime::Runtime,
}

impl Sink {
    pub(crate) fn start() -> Self {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0");
        let listener = runtime.block_on(listener).unwrap();
        let address = listener.local_addr().unwrap();
        let taken = Arc::new(Mutex::default());
        let app = Router::new()
            .route("/v1/{signal}", post(take))
            .layer(DefaultBodyLimit::disable())
            .with_state(Arc::clone(&taken));
        runtime.spawn(axum::serve(listener, app).into_future());
        Self {
            address,
            taken,
            _runtime: runtime,
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn taken(self) -> Taken {
        std::mem::take(&mut self.taken.lock().unwrap())
    }
}

async fn take(
    State(taken): State<Arc<Mutex<Taken>>>,
    Path(signal): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) {
    let mut taken = taken.lock().unwrap();
    if let Some(tenant) = headers.get("x-tenant") {
        taken.tenants.push(tenant.to_str().unwrap().to_owned());
    }
    match signal.as_str() {
        "traces" => taken.add_spans(ExportTraceServiceRequest::decode(body).unwrap()),
        "metrics" => taken.add_metrics(ExportMetricsServiceRequest::decode(body).unwrap()),
        "logs" => taken.add_records(ExportLogsServiceRequest::decode(body).unwrap()),
        other => panic!("{other}"),
    }
}

impl Taken {
    fn add_spans(&mut self, request: ExportTraceServiceRequest) {
        for resource in request.resource_spans {
            let of = texts(resource.resource);
            let scopes = resource.scope_spans.into_iter();
            let ids = scopes.flat_map(|scope| scope.spans).map(|span| {
                let (trace, span) = (hex(&span.trace_id), hex(&span.span_id));
                (of.clone(), (trace, span))
            });
            self.spans.extend(ids);
        }
    }

    fn add_metrics(&mut self, request: ExportMetricsServiceRequest) {
        for resource in request.resource_metrics {
            let of = texts(resource.resource);
            let scopes = resource.scope_metrics.into_iter();
            let metrics = scopes.flat_map(|scope| scope.metrics);
            self.metrics
                .extend(metrics.map(|metric| (of.clone(), metric.name)));
        }
    }

    fn add_records(&mut self, request: ExportLogsServiceRequest) {
        for resource in request.resource_logs {
            let of = texts(resource.resource);
            let scopes = resource.scope_logs.into_iter();
            let records = scopes.flat_map(|scope| scope.log_records).map(|record| {
                let ids = (hex(&record.trace_id), hex(&record.span_id));
                let body = text(record.body).unwrap();
                (of.clone(), Record { ids, body })
            });
            self.records.extend(records);
        }
    }
}

fn texts(resource: Option<Resource>) -> Texts {
    let attributes = resource.unwrap().attributes.into_iter();
    attributes
        .filter_map(|KeyValue { key, value, .. }| Some((key, text(value)?)))
        .collect()
}

fn text(value: Option<AnyValue>) -> Option<String> {
    match value?.value? {
        Value::StringValue(text) => Some(text),
        _ => None,
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
