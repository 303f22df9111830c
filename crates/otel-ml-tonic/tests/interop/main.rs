//! Python's grpcio with OpenTelemetry's own instrumentation, as client and as server of ours.
//! Each side exports by its official SDK to a file of its own, and the two are compared.
//!
//! It wants the pinned peers, by the variable `OTEL_ML_PYTHON`, and is therefore no part of a
//! plain `cargo test`: `./scripts/test --only python` installs the one and runs the other.

#![cfg(test)]

#[path = "../it/support.rs"]
#[allow(dead_code, reason = "shared with the other tests")]
mod support;

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};

use futures_util::TryStreamExt as _;
use opentelemetry_sdk::trace::SdkTracerProvider;
use otel_ml_sdk::file::FileExporter;
use otel_ml_tonic::otel_ml::{Telemetry, stage};
use otel_ml_tonic::{OtelMlClientLayer, OtelMlLayer};
use serde_json::Value;
use support::{Asked, Echo, Kind, answers, asking, call, handler, serve};
use tempfile::TempDir;
use tonic::transport::{Channel, Endpoint};
use tower::Layer as _;

const SERVER: &str = "server";
const CLIENT: &str = "client";

/// A span as either side has written it.
#[derive(Debug)]
struct Span {
    name: String,
    kind: String,
    trace: String,
    id: String,
    parent: Option<String>,
    status: Option<String>,
}

fn lines(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap();
    let lines = text.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// The spans of Python's console exporter.
fn of_python(path: &Path) -> Vec<Span> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let hex = |value: &Value| Some(text(value)?.trim_start_matches("0x").to_owned());
    let spans = lines(path).into_iter().map(|span| Span {
        name: text(&span["name"]).unwrap(),
        kind: text(&span["kind"])
            .unwrap()
            .to_lowercase()
            .replace("spankind.", ""),
        trace: hex(&span["context"]["trace_id"]).unwrap(),
        id: hex(&span["context"]["span_id"]).unwrap(),
        parent: hex(&span["parent_id"]),
        status: None,
    });
    spans.collect()
}

/// The spans of our file exporter.
fn of_rust(path: &Path) -> Vec<Span> {
    let mut spans = Vec::new();
    for line in lines(path) {
        let scopes = line["resourceSpans"].as_array().unwrap().iter();
        let scopes = scopes.flat_map(|one| one["scopeSpans"].as_array().unwrap());
        for span in scopes.flat_map(|scope| scope["spans"].as_array().unwrap()) {
            let text = |key: &str| span[key].as_str().map(str::to_owned);
            let attributes = span["attributes"].as_array().into_iter().flatten();
            let status = { attributes }.find(|one| one["key"] == "rpc.status_code");
            spans.push(Span {
                name: text("name").unwrap(),
                kind: match span["kind"].as_u64() {
                    Some(2) => SERVER.to_owned(),
                    Some(3) => CLIENT.to_owned(),
                    _ => "internal".to_owned(),
                },
                trace: text("traceId").unwrap(),
                id: text("spanId").unwrap(),
                parent: text("parentSpanId").filter(|id| !id.is_empty()),
                status: status.map(|one| one["value"]["stringValue"].as_str().unwrap().to_owned()),
            });
        }
    }
    spans
}

fn one<'a>(spans: &'a [Span], kind: &str) -> &'a Span {
    let mut found = spans.iter().filter(|span| span.kind == kind);
    let span = found
        .next()
        .unwrap_or_else(|| panic!("no {kind} span in {spans:?}"));
    assert!(
        found.next().is_none(),
        "more than one {kind} span in {spans:?}"
    );
    span
}

/// Our side, writing to a file.
struct Rust {
    folder: TempDir,
    provider: SdkTracerProvider,
    telemetry: Telemetry,
}

impl Rust {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = FileExporter::builder(folder.path().join("rust.jsonl"));
        let provider = SdkTracerProvider::builder()
            .with_simple_exporter(file.open().unwrap().spans())
            .build();
        let telemetry = Telemetry::builder().tracer_provider(&provider);
        Self {
            telemetry: telemetry.without_metrics().build(),
            provider,
            folder,
        }
    }

    fn python_file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn channel(
        &self,
        address: SocketAddr,
    ) -> otel_ml_tonic::client::OtelMlClient<Channel, otel_ml_tonic::client::DefaultHooks> {
        let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
        let layer = OtelMlClientLayer::builder().telemetry(self.telemetry.clone());
        layer
            .endpoint(&endpoint)
            .build()
            .layer(endpoint.connect_lazy())
    }

    fn spans(&self) -> Vec<Span> {
        self.provider.shutdown().unwrap();
        of_rust(&self.folder.path().join("rust.jsonl"))
    }
}

fn python() -> Command {
    let python = std::env::var("OTEL_ML_PYTHON")
        .expect("OTEL_ML_PYTHON is unset: eval \"$(./scripts/services up python)\"");
    let mut command = Command::new(python);
    command.arg(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/interop/peer.py"
    ));
    // Whatever is set outside, each side samples and passes on as it does by default.
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("OTEL_")) {
        command.env_remove(name);
    }
    command
}

/// A server in Python, until it is dropped.
struct PythonServer {
    address: SocketAddr,
    process: Child,
    input: Option<ChildStdin>,
}

impl PythonServer {
    fn start(spans: &Path) -> Self {
        let mut command = python();
        command.arg("serve").arg(spans);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn().unwrap();
        let mut port = String::new();
        let mut output = BufReader::new(process.stdout.take().unwrap());
        output.read_line(&mut port).unwrap();
        let port: u16 = port.trim().parse().expect("the server's port");
        Self {
            address: ([127, 0, 0, 1], port).into(),
            input: process.stdin.take(),
            process,
        }
    }

    fn stop(mut self) {
        let mut input = self.input.take().unwrap();
        input.flush().unwrap();
        drop(input);
        assert!(self.process.wait().unwrap().success());
    }
}

impl Drop for PythonServer {
    fn drop(&mut self) {
        // Where a test has failed; a second time it has no effect.
        let _ = self.process.kill();
    }
}

/// A call by Python's client; what it was answered.
async fn python_calls(spans: &Path, address: SocketAddr, kind: Kind) -> Result<String, String> {
    let mut command = python();
    command.arg("call").arg(spans);
    command.args([address.to_string(), format!("{kind:?}")]);
    let output = tokio::task::spawn_blocking(move || command.output().unwrap());
    let output = output.await.unwrap();
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    Ok(String::from_utf8(output.stdout).unwrap().trim().to_owned())
}

fn assert_child(child: &Span, parent: &Span) {
    assert_eq!(child.trace, parent.trace, "{child:?} {parent:?}");
    assert_eq!(
        child.parent.as_ref(),
        Some(&parent.id),
        "{child:?} {parent:?}"
    );
}

#[tokio::test]
async fn pythons_server_continues_our_trace() {
    for kind in Kind::ALL {
        let rust = Rust::new();
        let file = rust.python_file("python.jsonl");
        let server = PythonServer::start(&file);
        let around = stage("around").telemetry(&rust.telemetry);
        let channel = rust.channel(server.address);
        let request = asking(["a", "b", "c"]);
        let answer = around.run(call(channel, kind, request)).await.unwrap();
        server.stop();
        let ours = rust.spans();
        let client = one(&ours, CLIENT);
        assert_child(client, one(&ours, "internal"));
        assert_eq!(client.name, kind.method());
        assert_eq!(client.status.as_deref(), Some("OK"));
        let sent = format!("00-{}-{}-01", client.trace, client.id);
        assert!(answer.iter().all(|text| *text == sent), "{answer:?}");
        let python = of_python(&file);
        assert_child(one(&python, SERVER), client);
    }
}

#[tokio::test]
async fn an_error_of_pythons_server_is_told() {
    for kind in Kind::ALL {
        let rust = Rust::new();
        let file = rust.python_file("python.jsonl");
        let server = PythonServer::start(&file);
        let answer = call(rust.channel(server.address), kind, asking(["fail"])).await;
        assert_eq!(answer.unwrap_err().code(), tonic::Code::NotFound);
        server.stop();
        let ours = rust.spans();
        let client = one(&ours, CLIENT);
        assert_eq!(client.status.as_deref(), Some("NOT_FOUND"));
        assert_child(one(&of_python(&file), SERVER), client);
    }
}

/// Python sends the flags `03`: sampled, and a random id.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn our_server_continues_pythons_trace_and_passes_its_flags_on() {
    for kind in Kind::ALL {
        let rust = Rust::new();
        let (near, far) = (
            rust.python_file("near.jsonl"),
            rust.python_file("far.jsonl"),
        );
        let behind = PythonServer::start(&far);
        let channel = rust.channel(behind.address);
        // Asks Python's server in turn, and answers which traceparent that one got.
        let handler = handler(move |asked: Asked| {
            let channel = channel.clone();
            async move {
                let received = asked.metadata.get("traceparent").unwrap().clone();
                assert!(received.to_str().unwrap().ends_with("-03"), "{received:?}");
                let texts: Vec<String> = asked.messages.try_collect().await?;
                assert!(!texts.is_empty());
                Ok(answers(call(channel, Kind::Unary, asking(["a"])).await?))
            }
        });
        let layer = OtelMlLayer::builder().telemetry(rust.telemetry.clone());
        let serving = serve(layer.build(), Echo::new(handler)).await;
        let answer = python_calls(&near, serving.address, kind).await.unwrap();
        serving.stop().await;
        behind.stop();
        let (near, ours, far) = (of_python(&near), rust.spans(), of_python(&far));
        let (server, client) = (one(&ours, SERVER), one(&ours, CLIENT));
        assert_child(one(&near, CLIENT), one(&near, "internal"));
        assert_child(server, one(&near, CLIENT));
        assert_child(client, server);
        assert_child(one(&far, SERVER), client);
        assert_eq!(server.name, kind.method());
        assert_eq!(server.status.as_deref(), Some("OK"));
        assert_eq!(answer, format!("00-{}-{}-03", client.trace, client.id));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pythons_client_is_told_our_errors() {
    for kind in Kind::ALL {
        let rust = Rust::new();
        let near = rust.python_file("near.jsonl");
        let handler = handler(async |_| Err(tonic::Status::internal("on purpose")));
        let layer = OtelMlLayer::builder().telemetry(rust.telemetry.clone());
        let serving = serve(layer.build(), Echo::new(handler)).await;
        let error = python_calls(&near, serving.address, kind)
            .await
            .unwrap_err();
        assert!(error.contains("StatusCode.INTERNAL"), "{error}");
        serving.stop().await;
        let ours = rust.spans();
        let server = one(&ours, SERVER);
        assert_eq!(server.status.as_deref(), Some("INTERNAL"));
        assert_child(server, one(&of_python(&near), CLIENT));
    }
}

/// Nothing of one run is in another's: the ids are made anew.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ids_differ_from_run_to_run() {
    let mut traces = std::collections::HashSet::new();
    for _ in 0..2 {
        let rust = Rust::new();
        let near = rust.python_file("near.jsonl");
        let layer = OtelMlLayer::builder().telemetry(rust.telemetry.clone());
        let serving = serve(layer.build(), Echo::new(support::echo())).await;
        python_calls(&near, serving.address, Kind::Unary)
            .await
            .unwrap();
        serving.stop().await;
        assert!(traces.insert(one(&rust.spans(), SERVER).trace.clone()));
    }
}
