//! Requests that end before they are done: the client has gone, or the connection changes.

use std::cell::Cell;
use std::convert::Infallible;
use std::future::{pending, ready};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame};
use otel_ml::MlSpan;
use otel_ml_testing::mock::MockBody;
use otel_ml_testing::{SpanExt as _, SpansExt as _, TestTelemetry, assert_ended_once, assert_tree};
use tower::{Layer as _, Service as _, service_fn};

use crate::support::{get, head_of, poll, poll_frame, request, run, server};

const DURATION: &str = "http.server.request.duration";
const ACTIVE: &str = "http.server.active_requests";

fn assert_cancelled(test: &TestTelemetry, status: Option<i64>) {
    let spans = test.spans();
    assert_ended_once(&spans);
    let span = spans.root();
    assert!(span.is_error());
    assert_eq!(span.str("error.type"), "cancelled");
    assert_eq!(span.str("ml.cancel.reason"), "dropped");
    assert_eq!(
        span.attr("http.response.status_code").cloned(),
        status.map(Into::into)
    );
    assert!(test.open_spans().is_empty());
    let metrics = test.metrics();
    let duration = metrics.histogram(DURATION).with("error.type", "cancelled");
    assert_eq!(duration.count(), 1);
    let has_status = duration
        .one()
        .label_keys()
        .contains(&"http.response.status_code");
    assert_eq!(has_status, status.is_some());
    metrics.sum(ACTIVE).assert_zero();
}

#[test]
fn e16_dropped_before_the_first_poll() {
    let test = TestTelemetry::new();
    let was_polled = Cell::new(false);
    let mut service = server(&test).build().layer(service_fn(|_request| async {
        was_polled.set(true);
        Ok::<_, Infallible>(Response::new(MockBody::new()))
    }));
    drop(service.call(get(&[])));
    assert!(!was_polled.get());
    assert_cancelled(&test, None);
}

/// Writes a last fact, to the operation it finds, while the handler is being dropped.
struct OnDrop;

impl Drop for OnDrop {
    fn drop(&mut self) {
        MlSpan::current().output_tokens(8);
    }
}

#[test]
fn e16_dropped_in_the_handler_keeps_what_was_learnt() {
    let test = TestTelemetry::new();
    let handler = async |_request: Request<()>| {
        let span = MlSpan::current();
        span.gen_ai_operation("chat")
            .provider("mine")
            .request_model("m");
        span.input_tokens(12).output_tokens(7);
        let _on_drop = OnDrop;
        pending::<Result<Response<MockBody>, Infallible>>().await
    };
    let mut service = server(&test).build().layer(service_fn(handler));
    {
        let mut future = pin!(service.call(get(&[])));
        assert!(poll(future.as_mut()).is_pending());
        assert!(poll(future.as_mut()).is_pending());
        assert_eq!(test.metrics().sum(ACTIVE).int(), 1);
    }
    assert_cancelled(&test, None);
    assert_tree!(test.spans(), {
        "GET" [server, error] {
            "gen_ai.usage.input_tokens" = 12,
            "gen_ai.usage.output_tokens" = 8,
            "ml.usage.partial" = true,
        }
    });
    let metrics = test.metrics();
    let served = metrics.histogram("gen_ai.server.request.duration");
    assert_eq!(served.with("error.type", "cancelled").count(), 1);
}

/// A body that has its last word when it is dropped.
struct LastWord {
    _on_drop: OnDrop,
}

impl Body for LastWord {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Pending
    }
}

#[test]
fn e16_a_body_may_write_while_it_is_dropped() {
    let test = TestTelemetry::new();
    let handler = async |_request: Request<()>| {
        let _on_drop = OnDrop;
        Ok::<_, Infallible>(Response::new(LastWord { _on_drop }))
    };
    let mut service = server(&test).build().layer(service_fn(handler));
    drop(run(service.call(get(&[]))).unwrap());
    assert_cancelled(&test, Some(200));
    let spans = test.spans();
    assert_eq!(spans.root().int("gen_ai.usage.output_tokens"), 8);
}

#[test]
fn e16_dropped_mid_stream_keeps_chunks_and_tokens() {
    for read in 0..3 {
        let test = TestTelemetry::new();
        let handler = async |_request: Request<()>| {
            MlSpan::current().output_tokens(read);
            let body = MockBody::new().data("ab").data("cd").hang();
            Ok::<_, Infallible>(Response::new(body))
        };
        let mut service = server(&test).build().layer(service_fn(handler));
        let response = run(service.call(get(&[]))).unwrap();
        let mut body = response.into_body();
        for _ in 0..read {
            assert!(poll_frame(&mut body).is_ready());
        }
        if read == 2 {
            assert!(poll_frame(&mut body).is_pending());
        }
        drop(body);
        assert_cancelled(&test, Some(200));
        let spans = test.spans();
        let read = i64::try_from(read).unwrap();
        assert_eq!(spans.root().int("gen_ai.usage.output_tokens"), read);
        assert!(spans.root().bool("ml.usage.partial"));
        let chunks = spans.root().attr("ml.response.chunk.count").cloned();
        assert_eq!(chunks, (read > 0).then(|| read.into()));
        let bytes = spans.root().attr("ml.response.size").cloned();
        assert_eq!(bytes, (read > 0).then(|| (2 * read).into()));
    }
}

#[test]
fn e18_an_unread_body_ends_when_it_is_dropped() {
    let test = TestTelemetry::new();
    let body = MockBody::new().data("never read");
    let probe = body.probe();
    drop(head_of(
        &server(&test).build(),
        get(&[]),
        Response::new(body),
    ));
    assert_eq!(probe.polls(), 0);
    assert_cancelled(&test, Some(200));
}

#[test]
fn e16_a_5xx_whose_body_is_dropped_stays_an_error() {
    let test = TestTelemetry::new();
    let response = Response::builder()
        .status(503)
        .body(MockBody::new().data("busy"));
    drop(head_of(&server(&test).build(), get(&[]), response.unwrap()));
    let spans = test.spans();
    assert!(spans.root().is_error());
    assert_eq!(spans.root().str("error.type"), "503");
    assert_eq!(spans.root().int("http.response.status_code"), 503);
}

#[test]
fn e19_an_upgrade_ends_at_the_101_and_its_body_goes_on() {
    for (method, status) in [("GET", 101), ("CONNECT", 200)] {
        let test = TestTelemetry::new();
        let body = MockBody::new().data("tunnelled").data("more").hang();
        let response = Response::builder().status(status).body(body).unwrap();
        let request = request(method, "host:443", &[]);
        let mut body = head_of(&server(&test).build(), request, response).into_body();
        let spans = test.spans();
        assert_eq!(
            spans.root().int("http.response.status_code"),
            i64::from(status)
        );
        assert!(!spans.root().is_error());
        assert!(!spans.root().has("ml.cancel.reason"));
        test.metrics().sum(ACTIVE).assert_zero();
        assert!(poll_frame(&mut body).is_ready());
        drop(body);
        assert_eq!(test.spans().len(), 1);
        assert_eq!(test.metrics().histogram(DURATION).count(), 1);
    }
}

#[test]
fn e19_a_refused_connect_is_an_answer_like_any_other() {
    let test = TestTelemetry::new();
    let body = MockBody::new().data("no such host");
    let response = Response::builder().status(502).body(body).unwrap();
    let request = request("CONNECT", "host:443", &[]);
    let mut body = head_of(&server(&test).build(), request, response).into_body();
    assert!(test.spans().is_empty());
    assert!(poll_frame(&mut body).is_ready());
    let spans = test.spans();
    assert_eq!(spans.root().name, "CONNECT");
    assert_eq!(spans.root().str("error.type"), "502");
}

#[test]
fn e19_an_upgrade_keeps_what_the_connection_needs() {
    #[derive(Clone, PartialEq, Debug)]
    struct OnUpgrade(u8);
    let test = TestTelemetry::new();
    let mut service = server(&test)
        .build()
        .layer(service_fn(|mut request: Request<()>| {
            let upgrade = request.extensions_mut().remove::<OnUpgrade>().unwrap();
            let response = Response::builder()
                .status(101)
                .header("upgrade", "websocket")
                .extension(upgrade)
                .body(MockBody::new());
            ready(Ok::<_, Infallible>(response.unwrap()))
        }));
    let mut request = get(&[]);
    request.extensions_mut().insert(OnUpgrade(7));
    let response = run(service.call(request)).unwrap();
    assert_eq!(response.extensions().get(), Some(&OnUpgrade(7)));
    assert_eq!(response.headers()["upgrade"], "websocket");
}
