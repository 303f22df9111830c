//! A pipeline of a test's own, and what it has written.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, BodyStream, Full};
use hyper::body::{Bytes, Incoming};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use pipeline::asker::Asker;
use pipeline::engine::corpus::Corpus;
use pipeline::pipeline::{Hops, Pace, Pipeline};
use pipeline::service::Service;
use pipeline::telemetry::Outputs;
use serde_json::{Value, json};
use tempfile::TempDir;

pub(crate) const QUESTION: &str = "How do I wrap a Kafka consumer?";

const DOCUMENTS: [(&str, &str); 3] = [
    (
        "kafka.md",
        "# Kafka\n\n## Consumers\n\nWrap a Kafka consumer with `OtelMlConsumer::new(inner)` before \
         it is subscribed to any topic. A wrapped consumer reads the trace from the headers of each \
         message, and gives every message a span of its own that lasts until its handler is done. \
         A consumer that reads batches is wrapped the same way, and its span links to each message \
         of the batch.\n\n## Producers\n\nA producer's span ends with the delivery report, not \
         when the message is enqueued.\n",
    ),
    (
        "http.md",
        "# HTTP\n\nAdd the layer to a router and every request gets a span that lasts to the end \
         of its body. A client that goes away early cancels it.\n",
    ),
    (
        "worker.txt",
        "A job's queue wait is measured from its submission until a worker begins with it.\n",
    ),
];

/// Lets nothing be slower than it is.
pub(crate) fn fast() -> Pace {
    Pace::default()
}

/// Gives each token a time.
pub(crate) fn with_tokens_of(delay: Duration) -> Pace {
    Pace {
        token_delay: delay,
        ..Pace::default()
    }
}

pub(crate) fn write_documents(folder: &Path) {
    for (name, text) in DOCUMENTS {
        std::fs::write(folder.join(name), text).unwrap();
    }
}

pub(crate) struct Running {
    pub(crate) asker: Asker,
    pub(crate) outputs: Outputs,
    pipeline: Pipeline,
    folder: TempDir,
}

impl Running {
    pub(crate) async fn start(pace: Pace) -> Self {
        Self::start_by(pace.hops, pace).await
    }

    pub(crate) async fn start_by(hops: Hops, pace: Pace) -> Self {
        let pace = Pace { hops, ..pace };
        let folder = tempfile::tempdir().unwrap();
        write_documents(folder.path());
        let corpus = Arc::new(Corpus::load(folder.path()).unwrap());
        let spans = folder.path().join("spans.jsonl");
        let metrics = folder.path().join("metrics.jsonl");
        let outputs = Outputs::open(Some(&spans), Some(&metrics), None).unwrap();
        let listener = Service::listen(0).await.unwrap();
        let pipeline = Pipeline::start(&corpus, &pace, listener, &outputs)
            .await
            .unwrap();
        Self {
            asker: Asker::new(&outputs, pipeline.address()),
            outputs,
            pipeline,
            folder,
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.pipeline.address()
    }

    /// Stops everything and reads what was written.
    pub(crate) async fn stop(self) -> Written {
        let Self {
            asker,
            outputs,
            pipeline,
            folder,
        } = self;
        drop(asker);
        pipeline.stop(Duration::from_secs(10)).await;
        outputs.finish().1.unwrap();
        Written::read(folder.path())
    }
}

/// The files of a run.
pub(crate) struct Written {
    pub(crate) spans: Vec<Span>,
    pub(crate) metrics: Vec<Value>,
}

/// A span as it was written.
#[derive(Clone, Debug)]
pub(crate) struct Span {
    pub(crate) service: String,
    pub(crate) instance: String,
    pub(crate) trace: String,
    pub(crate) id: String,
    pub(crate) parent: Option<String>,
    pub(crate) name: String,
    pub(crate) kind: u64,
    pub(crate) status: u64,
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) attributes: HashMap<String, Value>,
    pub(crate) links: Vec<String>,
}

pub(crate) const INTERNAL: u64 = 1;
pub(crate) const SERVER: u64 = 2;
pub(crate) const CLIENT: u64 = 3;
pub(crate) const ERROR: u64 = 2;

impl Written {
    pub(crate) fn read(folder: &Path) -> Self {
        Self {
            spans: read_spans(folder),
            metrics: read_lines(folder, "metrics.jsonl"),
        }
    }

    pub(crate) fn of_trace(&self, trace: &str) -> Vec<&Span> {
        let spans: Vec<_> = self.spans.iter().filter(|s| s.trace == trace).collect();
        assert!(!spans.is_empty(), "nothing of trace {trace}");
        spans
    }

    /// The data points of a metric in all services.
    pub(crate) fn points(&self, metric: &str) -> Vec<Value> {
        let metrics = self
            .metrics
            .iter()
            .flat_map(|line| list(&line["resourceMetrics"]))
            .flat_map(|resource| list(&resource["scopeMetrics"]))
            .flat_map(|scope| list(&scope["metrics"]));
        metrics
            .filter(|found| found["name"] == metric)
            .flat_map(|found| {
                let kinds = ["sum", "histogram", "gauge"];
                kinds.map(|kind| list(&found[kind]["dataPoints"])).concat()
            })
            .collect()
    }
}

pub(crate) fn read_spans(folder: &Path) -> Vec<Span> {
    let lines = read_lines(folder, "spans.jsonl");
    lines.iter().flat_map(spans_of).collect()
}

fn read_lines(folder: &Path, name: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(folder.join(name)).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn spans_of(line: &Value) -> Vec<Span> {
    let mut spans = Vec::new();
    for resource in list(&line["resourceSpans"]) {
        let of_service = attributes(&resource["resource"]);
        let told = |key: &str| of_service[key]["stringValue"].as_str().unwrap().to_owned();
        for scope in list(&resource["scopeSpans"]) {
            for span in list(&scope["spans"]) {
                let text = |key: &str| span[key].as_str().unwrap().to_owned();
                spans.push(Span {
                    service: told("service.name"),
                    instance: told("service.instance.id"),
                    trace: text("traceId"),
                    id: text("spanId"),
                    parent: span["parentSpanId"].as_str().map(str::to_owned),
                    name: text("name"),
                    kind: span["kind"].as_u64().unwrap(),
                    status: span["status"]["code"].as_u64().unwrap_or(0),
                    start: text("startTimeUnixNano").parse().unwrap(),
                    end: text("endTimeUnixNano").parse().unwrap(),
                    attributes: attributes(&span),
                    links: list(&span["links"])
                        .iter()
                        .map(|link| link["spanId"].as_str().unwrap().to_owned())
                        .collect(),
                });
            }
        }
    }
    spans
}

pub(crate) fn attributes(of: &Value) -> HashMap<String, Value> {
    let key = |attribute: &Value| attribute["key"].as_str().unwrap().to_owned();
    list(&of["attributes"])
        .into_iter()
        .map(|attribute| (key(&attribute), attribute["value"].clone()))
        .collect()
}

fn list(value: &Value) -> Vec<Value> {
    value.as_array().cloned().unwrap_or_default()
}

impl Span {
    pub(crate) fn int(&self, key: &str) -> u64 {
        let value = self.attributes.get(key);
        let value = value.unwrap_or_else(|| panic!("no {key} on {} {}", self.service, self.name));
        let text = value["intValue"].as_str();
        let text = text.unwrap_or_else(|| panic!("{key} is {value}, not an integer"));
        text.parse().unwrap()
    }

    pub(crate) fn double(&self, key: &str) -> f64 {
        let value = self.attributes.get(key);
        let value = value.unwrap_or_else(|| panic!("no {key} on {} {}", self.service, self.name));
        let number = value["doubleValue"].as_f64();
        number.unwrap_or_else(|| panic!("{key} is {value}, not a double"))
    }

    pub(crate) fn text(&self, key: &str) -> &str {
        let value = self.attributes.get(key);
        let value = value.unwrap_or_else(|| panic!("no {key} on {} {}", self.service, self.name));
        value["stringValue"].as_str().unwrap()
    }
}

/// The one span that fits.
pub(crate) fn one<'a>(spans: &[&'a Span], service: &str, kind: u64, name: &str) -> &'a Span {
    let fits = |span: &&&Span| span.service == service && span.kind == kind && span.name == name;
    let found: Vec<_> = spans.iter().filter(fits).collect();
    assert_eq!(found.len(), 1, "{service} {name} of kind {kind}");
    found[0]
}

/// A request by a client that traces nothing.
pub(crate) async fn send(request: Request<Vec<u8>>) -> Response<Incoming> {
    let client = Client::builder(TokioExecutor::new())
        // Each request on a connection of its own, closed with its answer.
        .pool_max_idle_per_host(0)
        .build_http::<Full<Bytes>>();
    let request = request.map(|body| Full::from(Bytes::from(body)));
    client.request(request).await.unwrap()
}

pub(crate) fn post(address: SocketAddr, body: impl Into<Vec<u8>>) -> Request<Vec<u8>> {
    let uri = format!("http://{address}/v1/chat/completions");
    Request::post(uri).body(body.into()).unwrap()
}

pub(crate) fn streamed(address: SocketAddr, question: &str) -> Request<Vec<u8>> {
    let body = json!({"stream": true, "messages": [{"role": "user", "content": question}]});
    post(address, body.to_string())
}

/// The status and the answer, which has to be JSON.
pub(crate) async fn answer(request: Request<Vec<u8>>) -> (StatusCode, Value) {
    let response = send(request).await;
    let status = response.status();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    let text = String::from_utf8_lossy(&body);
    let json = serde_json::from_slice(&body);
    (status, json.unwrap_or_else(|_| panic!("no JSON: {text}")))
}

/// Reads up to `most` events of a stream, then lets go of it.
pub(crate) async fn events(response: Response<Incoming>, most: usize) -> Vec<String> {
    let mut body = BodyStream::new(response.into_body());
    let mut events = Vec::new();
    let mut text = String::new();
    while events.len() < most
        && let Some(frame) = body.next().await
    {
        let Ok(frame) = frame else { break };
        text.push_str(std::str::from_utf8(frame.data_ref().unwrap()).unwrap());
        while let Some((event, rest)) = text.split_once("\n\n") {
            events.push(event.strip_prefix("data: ").unwrap().to_owned());
            text = rest.to_owned();
        }
    }
    events
}
