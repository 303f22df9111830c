//! How calls end, and what is recorded of it on either side.

use futures_util::stream;
use otel_ml_testing::{SpanExt as _, TestTelemetry};
use tonic::{Code, Status};

use crate::support::{
    Handler, Kind, asking, both, call, echo, handler, items, traced, traced_channel, unary,
};

#[tokio::test]
async fn every_kind_of_call_is_one_span_on_either_side() {
    for kind in Kind::ALL {
        let test = TestTelemetry::new();
        let serving = traced(&test, echo()).await;
        let channel = traced_channel(&test, &serving);
        let answer = call(channel, kind, asking(["a", "b", "c"])).await.unwrap();
        assert_eq!(answer.len(), if kind == Kind::Bidi { 3 } else { 1 });
        let (server, client) = both(&test).await;
        assert_eq!(server.parent_span_id, client.span_context.span_id());
        for span in [&server, &client] {
            assert_eq!(span.name, kind.method());
            assert_eq!(span.str("rpc.system.name"), "grpc");
            assert_eq!(span.str("rpc.method"), kind.method());
            assert_eq!(span.str("rpc.status_code"), "OK");
            assert_eq!(span.str("server.address"), "127.0.0.1");
            assert_eq!(span.int("server.port"), i64::from(serving.address.port()));
            assert!(!span.is_error() && !span.has("error.type") && !span.has("ml.cancel.reason"));
            let count = |key| span.attr(key).map(ToString::to_string);
            let three = |is_there: bool| is_there.then(|| "3".to_owned());
            let (asked, answered) = (kind.streams_requests(), kind == Kind::Bidi);
            assert_eq!(count("ml.request.message.count"), three(asked), "{kind:?}");
            assert_eq!(
                count("ml.response.message.count"),
                three(answered),
                "{kind:?}"
            );
        }
        assert_eq!(server.str("network.peer.address"), "127.0.0.1");
        assert!(server.int("network.peer.port") > 0);
    }
}

/// Fails at once: the status is in the head.
fn refusing(code: Code) -> Handler {
    handler(move |_| std::future::ready(Err(Status::new(code, "on purpose"))))
}

/// Answers, and fails then: the status is in the trailers, the HTTP status is 200.
fn failing_late(code: Code) -> Handler {
    handler(move |_| {
        let late = stream::iter([Ok("half".to_owned()), Err(Status::new(code, "late"))]);
        std::future::ready(Ok(items(late)))
    })
}

const SERVER_ERRORS: [Code; 6] = [
    Code::Unknown,
    Code::DeadlineExceeded,
    Code::Unimplemented,
    Code::Internal,
    Code::Unavailable,
    Code::DataLoss,
];

async fn assert_status(kind: Kind, handler: Handler, code: Code, messages: Option<i64>) {
    let test = TestTelemetry::new();
    let serving = traced(&test, handler).await;
    let channel = traced_channel(&test, &serving);
    let error = call(channel, kind, asking(["a"])).await.unwrap_err();
    assert_eq!(error.code(), code);
    let (server, client) = both(&test).await;
    let name = format!("{code:?}");
    let is = |text: &str| text.replace('_', "").eq_ignore_ascii_case(&name);
    for span in [&server, &client] {
        assert!(is(span.str("rpc.status_code")), "{kind:?} {code:?}");
        let count = span.attr("ml.response.message.count");
        // To the server a call that ends as it should is no cut stream, whatever its status.
        if span.is_error() {
            let count = count.map(ToString::to_string);
            assert_eq!(count, messages.map(|count| count.to_string()), "{kind:?}");
        }
    }
    assert!(client.is_error() && is(client.str("error.type")));
    let is_error = SERVER_ERRORS.contains(&code);
    assert_eq!(server.is_error(), is_error, "{code:?}");
    assert_eq!(server.has("error.type"), is_error, "{code:?}");
    if is_error {
        assert!(is(server.str("error.type")));
    }
}

#[tokio::test]
async fn e20_a_status_in_the_head_of_any_kind_of_call() {
    for kind in Kind::ALL {
        for code in [Code::Internal, Code::NotFound] {
            assert_status(kind, refusing(code), code, None).await;
        }
    }
}

#[tokio::test]
async fn e20_e35_a_status_in_the_trailers_after_http_200() {
    for kind in [Kind::ServerStream, Kind::Bidi] {
        for number in 1..17 {
            let code = Code::from_i32(number);
            assert_status(kind, failing_late(code), code, Some(1)).await;
        }
    }
}

#[tokio::test]
async fn e35_a_unary_error_after_an_ok_head() {
    let test = TestTelemetry::new();
    let serving = traced(&test, failing_late(Code::DataLoss)).await;
    let channel = traced_channel(&test, &serving);
    // To the client it is a unary call: the head is fine, a message comes, and then the trailers.
    let answer = unary(channel, Kind::ServerStream, "a").await;
    assert_eq!(answer.unwrap_err().code(), Code::DataLoss);
    let (server, client) = both(&test).await;
    for span in [&server, &client] {
        assert_eq!(span.str("rpc.status_code"), "DATA_LOSS");
        assert_eq!(span.str("error.type"), "DATA_LOSS");
        assert!(span.is_error());
    }
}

#[tokio::test]
async fn e20_six_statuses_are_errors_of_a_server_and_all_of_a_client() {
    for number in 1..17 {
        let code = Code::from_i32(number);
        assert_status(Kind::Unary, refusing(code), code, None).await;
    }
}

#[tokio::test]
async fn a_panic_is_a_panic_without_a_status() {
    for kind in Kind::ALL {
        let test = TestTelemetry::new();
        let serving = traced(
            &test,
            handler(async |_| std::panic::panic_any("on purpose")),
        )
        .await;
        let channel = crate::support::channel(&serving);
        call(channel, kind, asking(["a"])).await.unwrap_err();
        let spans = test.wait_for_spans(1).await;
        assert_eq!(spans[0].str("error.type"), "panic");
        assert!(spans[0].is_error() && !spans[0].has("rpc.status_code"));
        let metrics = test.metrics();
        let point = metrics.histogram("rpc.server.call.duration").one().clone();
        assert_eq!(point.count(), 1);
        assert!(!point.label_keys().contains(&"rpc.status_code"));
    }
}
