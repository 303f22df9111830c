//! The lines of `--log`.

use std::collections::HashMap;

use serde_json::{Value, json};

use crate::cli::{Serving, command};
use crate::support::{answer, post, read_spans, write_documents};

const QUESTION: &str = "How do I wrap a Kafka consumer?";
const OPTIONS: [&str; 7] = [
    "--corpus",
    ".",
    "--token-delay",
    "0",
    "--json",
    "spans.jsonl",
    QUESTION,
];

/// The lines, of which each must be JSON and lead to a span of the service that wrote it.
fn lines_of_spans(folder: &std::path::Path, stderr: &[u8]) -> Vec<Value> {
    let spans = read_spans(folder).into_iter();
    let services: HashMap<_, _> = spans
        .map(|span| ((span.trace, span.id), span.service))
        .collect();
    let text = str::from_utf8(stderr).unwrap();
    let lines = text.lines().map(|line| {
        let line: Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"));
        let told = |key: &str| line[key].as_str().unwrap().to_owned();
        let service = services.get(&(told("trace_id"), told("span_id")));
        let service = service.unwrap_or_else(|| panic!("no span for {line}"));
        assert_eq!(told("target"), format!("pipeline::hops::{service}"));
        line
    });
    lines.collect()
}

#[test]
fn a_line_leads_to_the_span_of_the_service_that_logs() {
    let folder = tempfile::tempdir().unwrap();
    write_documents(folder.path());
    let output = command(folder.path(), &OPTIONS)
        .args(["--log", "json"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0));
    let lines = lines_of_spans(folder.path(), &output.stderr);
    let messages: Vec<_> = lines.iter().map(|line| &line["message"]).collect();
    let told = ["request taken", "generation started", "generation finished"];
    assert_eq!(messages, told);
    assert_eq!(lines[0]["question_characters"], QUESTION.len());
    assert!(lines[1]["input_tokens"].as_u64().unwrap() > 0);
    assert!(lines[2]["output_tokens"].as_u64().unwrap() > 0);
    let all = String::from_utf8(output.stderr).unwrap();
    assert!(
        !all.contains("Kafka"),
        "what is asked is nobody else's business"
    );
}

#[test]
fn lines_are_text_unless_told_otherwise_and_none_unless_wanted() {
    let folder = tempfile::tempdir().unwrap();
    write_documents(folder.path());
    let logged = |options: &[&str]| {
        let mut command = command(folder.path(), &OPTIONS);
        let output = command.args(options).output().unwrap();
        assert_eq!(output.status.code(), Some(0));
        String::from_utf8(output.stderr).unwrap()
    };
    let text = logged(&["--log"]);
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.len(), 3, "{text}");
    assert!(
        lines[0].contains(" INFO pipeline::hops::gateway: request taken"),
        "{text}"
    );
    assert!(
        lines.iter().all(|line| line.contains(" trace_id=")),
        "{text}"
    );
    assert_eq!(logged(&["--log", "text"]).lines().count(), 3);
    assert_eq!(logged(&[]), "");
}

#[test]
fn a_refusal_is_logged_where_it_happens_and_where_it_arrives() {
    let folder = tempfile::tempdir().unwrap();
    write_documents(folder.path());
    let serving = Serving::start(folder.path(), &["--log", "json"]);
    let request = json!({"messages": [{"role": "user", "content": "???"}]});
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (status, _) = runtime.block_on(answer(post(serving.address, request.to_string())));
    assert_eq!(status, http::StatusCode::BAD_REQUEST);
    let output = serving.stop();
    assert_eq!(output.status.code(), Some(0));
    let lines = lines_of_spans(folder.path(), &output.stderr);
    let told = lines.iter().map(|line| {
        let told = |key: &str| line[key].as_str().unwrap();
        (told("level"), told("target"), told("message"))
    });
    let told: Vec<_> = told.collect();
    let (gateway, preprocess) = ("pipeline::hops::gateway", "pipeline::hops::preprocess");
    assert_eq!(
        told,
        [
            ("INFO", gateway, "request taken"),
            ("WARN", preprocess, "question refused"),
            ("INFO", gateway, "request refused"),
        ]
    );
    assert!(
        lines
            .iter()
            .all(|line| line["trace_id"] == lines[0]["trace_id"])
    );
}
