//! The example pipeline, all of it: what its Collector has is what its own files have.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use otel_ml_sdk::Protocol;
use tempfile::TempDir;

use crate::otelcol::Collector;
use crate::over_both;
use crate::received::{Item, Received, assert_same};

#[test]
fn the_collector_has_what_the_pipelines_own_files_have() {
    over_both(|protocol| {
        let collector = Collector::new().started();
        let files = run(&collector, protocol);
        let received = collector.received();

        let spans = by_id(&received.spans);
        assert!(spans.len() > 100, "{} spans", spans.len());
        let written = by_id(&files.spans);
        assert!(spans.keys().eq(written.keys()));
        for (id, span) in &spans {
            assert_same(span, written[id]);
        }
        let kinds = |kind: i32| {
            spans
                .values()
                .filter(|span| span.own["kind"] == kind)
                .count()
        };
        assert!(kinds(2) > 0 && kinds(3) > 0, "servers and clients");

        assert_metrics(&received, &files);
        assert_logs(&received.records, &spans);
    });
}

/// What the pipeline writes into its files while it sends the same to the Collector.
fn run(collector: &Collector, protocol: Protocol) -> Received {
    let folder = TempDir::new().unwrap();
    let [spans, metrics] = ["spans.jsonl", "metrics.jsonl"].map(|name| folder.path().join(name));
    let protocol_name = match protocol {
        Protocol::Grpc => "grpc",
        _ => "http",
    };
    // It reads variables that say how to send.
    let output = Command::new(&*PIPELINE)
        .env_clear()
        .args([
            "--requests",
            "10",
            "--concurrency",
            "4",
            "--token-delay",
            "0",
        ])
        .args(["--otlp", &collector.endpoint(protocol)])
        .args(["--otlp-protocol", protocol_name])
        .arg("--json")
        .arg(&spans)
        .arg("--metrics")
        .arg(&metrics)
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{errors}");
    assert!(!errors.contains("--otlp"), "nothing was lost: {errors}");
    let read = |file: &Path| Received::read(&fs::read_to_string(file).unwrap());
    read(&spans).and(read(&metrics))
}

/// The command: the one that `OTEL_ML_PIPELINE` names, or it is built beside this test.
static PIPELINE: LazyLock<PathBuf> = LazyLock::new(|| {
    if let Some(named) = std::env::var_os("OTEL_ML_PIPELINE") {
        return named.into();
    }
    let test = std::env::current_exe().unwrap();
    let folder = test.ancestors().nth(2).unwrap();
    let target = folder.parent().unwrap();
    let cargo = std::env::var_os("CARGO").expect("run by cargo, or OTEL_ML_PIPELINE is set");
    let is_release = folder.ends_with("release");
    let mut build = Command::new(cargo);
    // Those of this test's package, which some build scripts take for theirs.
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
            build.env_remove(&*name);
        }
    }
    let status = build
        .args(["build", "--locked", "--package", "otel-ml-pipeline"])
        .args(is_release.then_some("--release"))
        .arg("--target-dir")
        .arg(target)
        .status()
        .unwrap();
    assert!(status.success());
    folder
        .join("pipeline")
        .with_extension(std::env::consts::EXE_EXTENSION)
});

fn by_id(spans: &[Item]) -> BTreeMap<&str, &Item> {
    let by_id: BTreeMap<_, _> = spans
        .iter()
        .map(|span| (span.text("spanId"), span))
        .collect();
    assert_eq!(by_id.len(), spans.len(), "one came twice");
    by_id
}

/// All that our crates measured, for each service.
fn assert_metrics(received: &Received, files: &Received) {
    let ours = |from: &Received| {
        let ours = from
            .metrics
            .iter()
            .filter(|metric| metric.scope["name"] == "otel-ml");
        let named = ours.map(|metric| {
            let service = metric.of_resource("service.name").to_string();
            ((service, metric.text("name").to_owned()), metric.timeless())
        });
        let metrics: BTreeMap<_, _> = named.collect();
        assert!(metrics.len() > 10, "{} metrics", metrics.len());
        metrics
    };
    let (received, written) = (ours(received), ours(files));
    assert!(received.keys().eq(written.keys()));
    for (key, metric) in &received {
        assert_same(metric, &written[key]);
    }
}

/// Each line leads to a span of the service that wrote it.
fn assert_logs(records: &[Item], spans: &BTreeMap<&str, &Item>) {
    assert!(!records.is_empty());
    for record in records {
        let span = spans[record.text("spanId")];
        assert_eq!(record.own["traceId"], span.own["traceId"]);
        assert_eq!(record.resource, span.resource);
        assert_eq!(record.resource_schema, span.resource_schema);
    }
}
