//! What a Collector gets.

use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpListener;

use crate::cli::command;
use crate::sink::{Sink, Texts};
use crate::support::{Written, attributes, read_spans, write_documents};

const REQUESTS: [&str; 8] = [
    "--corpus",
    ".",
    "--token-delay",
    "0",
    "--requests",
    "5",
    "--concurrency",
    "2",
];

#[test]
fn a_collector_gets_what_the_files_hold_and_what_is_logged() {
    let folder = tempfile::tempdir().unwrap();
    write_documents(folder.path());
    let sink = Sink::start();
    let output = command(folder.path(), &REQUESTS)
        .args(["--json", "spans.jsonl", "--metrics", "metrics.jsonl"])
        .args(["--otlp", &sink.url()])
        // How to send is taken from the environment, what to record is not.
        .env("OTEL_EXPORTER_OTLP_HEADERS", "x-tenant=research")
        .env("OTEL_TRACES_SAMPLER", "always_off")
        .env("OTEL_SERVICE_NAME", "someone")
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert_eq!(output.status.code(), Some(0));
    let written = Written::read(folder.path());
    let taken = sink.taken();

    let who = |of: &Texts| {
        [
            of["service.name"].clone(),
            of["service.instance.id"].clone(),
        ]
    };
    let mut sent = BTreeMap::new();
    for (of, ids) in &taken.spans {
        assert_eq!(of["service.namespace"], "otel-ml-demo");
        assert_eq!(of["service.version"], env!("CARGO_PKG_VERSION"));
        assert!(sent.insert(ids.clone(), who(of)).is_none(), "{ids:?} twice");
    }
    let spans = written.spans.iter().map(|span| {
        let ids = (span.trace.clone(), span.id.clone());
        (ids, [span.service.clone(), span.instance.clone()])
    });
    let spans: BTreeMap<_, _> = spans.collect();
    assert_eq!(sent, spans);

    let sent = taken
        .metrics
        .iter()
        .map(|(of, name)| (who(of), name.clone()));
    // What is told of the exporters differs while they end.
    let is_ours = |(_, name): &(_, String)| !name.starts_with("otel.");
    let sent: BTreeSet<_> = sent.filter(is_ours).collect();
    let metrics: BTreeSet<_> = metrics_of(&written).into_iter().filter(is_ours).collect();
    assert_eq!(sent, metrics);
    assert!(
        sent.iter().any(|([service, _], name)| service == "generate"
            && name == "gen_ai.server.time_to_first_token")
    );

    let mut bodies = BTreeMap::new();
    for (of, record) in &taken.records {
        assert_eq!(spans.get(&record.ids), Some(&who(of)), "{record:?}");
        *bodies.entry(record.body.as_str()).or_insert(0) += 1;
    }
    let told = [
        ("request taken", 5),
        ("generation started", 5),
        ("generation finished", 5),
    ];
    assert_eq!(bodies, BTreeMap::from(told));
    assert!(!taken.tenants.is_empty());
    assert!(taken.tenants.iter().all(|tenant| tenant == "research"));
}

fn metrics_of(written: &Written) -> Vec<([String; 2], String)> {
    let mut metrics = Vec::new();
    for resource in written
        .metrics
        .iter()
        .map(|line| &line["resourceMetrics"][0])
    {
        let of = attributes(&resource["resource"]);
        let who = ["service.name", "service.instance.id"]
            .map(|key| of[key]["stringValue"].as_str().unwrap().to_owned());
        for scope in resource["scopeMetrics"].as_array().unwrap() {
            for metric in scope["metrics"].as_array().unwrap() {
                metrics.push((who.clone(), metric["name"].as_str().unwrap().to_owned()));
            }
        }
    }
    metrics
}

#[test]
fn without_a_collector_the_answer_is_there_and_the_loss_is_told() {
    let folder = tempfile::tempdir().unwrap();
    write_documents(folder.path());
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", nobody.local_addr().unwrap());
    drop(nobody);
    let options = [
        "--corpus",
        ".",
        "--token-delay",
        "0",
        "--json",
        "spans.jsonl",
    ];
    let output = command(folder.path(), &options)
        .args(["--otlp", &url, "How do I wrap a Kafka consumer?"])
        .output()
        .unwrap();
    let answer = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{answer}");
    assert!(answer.contains("OtelMlConsumer::new(inner)"), "{answer}");
    let errors = String::from_utf8(output.stderr).unwrap();
    let told: Vec<_> = errors
        .lines()
        .filter(|line| line.starts_with("warning: "))
        .collect();
    let spans = read_spans(folder.path()).len();
    let start = format!("warning: --otlp: {spans} spans, ");
    let end = format!(
        " metric points, 3 log records did not reach {url}, most likely because no Collector listens there"
    );
    assert_eq!(told.len(), 1, "{errors}");
    assert!(
        told[0].starts_with(&start) && told[0].contains(&end),
        "{errors}"
    );
}

#[test]
fn the_environment_alone_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    write_documents(folder.path());
    let sink = Sink::start();
    let output = command(folder.path(), &REQUESTS)
        .args(["--json", "spans.jsonl"])
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", sink.url())
        .env("OTEL_EXPORTER_OTLP_PROTOCOL", "pigeon")
        .env("OTEL_SDK_DISABLED", "true")
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert_eq!(output.status.code(), Some(0));
    assert!(!read_spans(folder.path()).is_empty());
    assert!(sink.taken().spans.is_empty());
}
