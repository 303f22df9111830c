//! Jobs to and from a worker in Python that knows no more of tracing than the propagators of
//! OpenTelemetry's official API.
//!
//! It wants that Python, by the variable `OTEL_ML_PYTHON`, and is therefore no part of a plain
//! `cargo test`: `./scripts/test --only python` installs the one and runs the other.

#![cfg(test)]

use std::io::Write as _;
use std::process::{Command, Stdio};

use otel_ml::opentelemetry::baggage::BaggageExt as _;
use otel_ml::opentelemetry::trace::{SpanId, TraceContextExt as _, TraceId};
use otel_ml::opentelemetry::{Context, KeyValue};
use otel_ml::semconv::ml;
use otel_ml::{OtelMlConsumerLayer, stage};
use otel_ml_testing::{SpanExt as _, SpansExt as _, TestTelemetry};
use otel_ml_worker::{Envelope, EnvelopeError, OtelMlProducer};
use serde_json::{Value, json};
use tower::{Layer as _, Service as _, service_fn};

/// What the worker makes of a line: what it read, and the job that it sends in turn.
struct Told {
    read: Value,
    sent: Vec<u8>,
}

/// Gives the worker the lines on its standard input; it answers with one for each.
fn python(lines: &[&[u8]]) -> Vec<Told> {
    let python = std::env::var("OTEL_ML_PYTHON").expect("the variable OTEL_ML_PYTHON");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/python/worker.py");
    let mut child = Command::new(python)
        .arg(script)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("a Python to start");
    let mut input = child.stdin.take().unwrap();
    for line in lines {
        input.write_all(&[line, b"\n".as_slice()].concat()).unwrap();
    }
    drop(input);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", output.status);
    let answers: Vec<Told> = String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(|line| {
            let mut answer: Value = serde_json::from_str(line).unwrap();
            Told {
                read: answer["read"].take(),
                sent: serde_json::to_vec(&answer["sent"]).unwrap(),
            }
        })
        .collect();
    assert_eq!(answers.len(), lines.len());
    answers
}

fn traced(test: &TestTelemetry) -> Context {
    let request = stage("request").telemetry(&test.telemetry()).start();
    let cx = request.context();
    request.finish(otel_ml::Outcome::Ok);
    cx.with_baggage([KeyValue::new("ml.user.tier", "pro,eu")])
}

#[test]
fn a_worker_in_python_continues_the_trace_of_our_envelope() {
    let test = TestTelemetry::new();
    let envelope = {
        let _here = traced(&test).attach();
        let jobs = OtelMlProducer::new("redis", "jobs").telemetry(test.telemetry());
        jobs.send_blocking(json!({"text": "good"}), |envelope| {
            envelope.retry().to_json()
        })
    };
    let told = python(&[&envelope.unwrap()]).remove(0).read;
    let spans = test.spans();
    let send = &spans.named("send jobs").span_context;
    assert_eq!(told["trace_id"], send.trace_id().to_string());
    assert_eq!(told["span_id"], send.span_id().to_string());
    assert_eq!(
        (&told["sampled"], &told["remote"]),
        (&json!(true), &json!(true))
    );
    assert_eq!(told["baggage"], json!({"ml.user.tier": "pro,eu"}));
    assert_eq!(
        (&told["attempt"], &told["payload"]),
        (&json!(2), &json!({"text": "good"}))
    );
    let age = told["age"].as_f64().unwrap();
    assert!((-1.0..60.0).contains(&age), "{age}");
}

#[tokio::test]
async fn our_worker_continues_the_trace_of_an_envelope_from_python() {
    let test = TestTelemetry::new();
    let ours = Envelope::from_context(7, &traced(&test), &test.telemetry());
    let sent = python(&[&ours.to_json().unwrap()]).remove(0);
    let layer = OtelMlConsumerLayer::builder()
        .telemetry(test.telemetry())
        .baggage(["ml.user.tier"])
        .build();
    let mut worker = layer.layer(service_fn(async |envelope: Envelope<u8>| {
        assert_eq!(envelope.payload, 8, "the worker in Python has worked");
        Ok::<_, EnvelopeError>(())
    }));
    let envelope = Envelope::from_json(&sent.sent)
        .unwrap()
        .received_from("redis", "answers");
    worker.call(envelope).await.unwrap();
    let spans = test.spans();
    let process = spans.named("process answers");
    let request = &spans.named("request").span_context;
    assert_eq!(process.span_context.trace_id(), request.trace_id());
    // The worker in Python is in between, with a span id of its own.
    assert_eq!(process.parent_span_id.to_string(), sent.read["own_span_id"]);
    assert_eq!(process.str("ml.user.tier"), "pro,eu");
    assert!(process.double(ml::QUEUE_WAIT_DURATION) >= 0.0);
    assert!(!process.has(ml::MESSAGE_ATTEMPT));
}

#[test]
fn unsampled_stateful_and_missing_traces_pass_through_python_as_they_are() {
    let fields = json!({
        "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-02",
        "tracestate": "ot=th:8,vendor=1",
        "payload": 1,
    });
    let without = json!({"payload": 1, "attempt": 1});
    let lines = [fields, without].map(|line| serde_json::to_vec(&line).unwrap());
    let told = python(&[&lines[0], &lines[1]]);
    let context = |told: &Told| {
        let envelope: Envelope<u8> = Envelope::from_json(&told.sent).unwrap();
        let cx = envelope.context(&otel_ml::Telemetry::global());
        cx.span().span_context().clone()
    };
    let unsampled = context(&told[0]);
    assert_eq!(
        unsampled.trace_id(),
        TraceId::from(0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736)
    );
    // The random flag, which the worker reads and passes on.
    assert_eq!(
        (&told[0].read["flags"], unsampled.trace_flags().to_u8()),
        (&json!(2), 2)
    );
    assert!(!unsampled.is_sampled());
    assert_eq!(unsampled.trace_state().header(), "ot=th:8,vendor=1");
    assert_eq!(context(&told[1]).span_id(), SpanId::INVALID);
}
