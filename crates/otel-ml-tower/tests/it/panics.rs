//! E15: panics, caught outside, with the future alive or gone by then.

use std::convert::Infallible;
use std::future::ready;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;

use http::{Request, Response};
use otel_ml::Attributes;
use otel_ml_testing::mock::MockBody;
use otel_ml_testing::{SpanExt as _, SpansExt as _, TestTelemetry, assert_ended_once};
use otel_ml_tower::RequestHead;
use tower::{Layer, Service as _, service_fn};

use crate::support::{
    client, current_span, exchange, get, poll, poll_frame, run, server, status, yield_once,
};

/// Where it panics.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Place {
    Call,
    FirstPoll,
    LaterPoll,
    FirstFrame,
    LaterFrame,
}

const PLACES: [Place; 5] = [
    Place::Call,
    Place::FirstPoll,
    Place::LaterPoll,
    Place::FirstFrame,
    Place::LaterFrame,
];

type Answer = Result<Response<MockBody>, Infallible>;

fn handler(place: Place, request: Request<()>) -> Pin<Box<dyn Future<Output = Answer>>> {
    assert!(place != Place::Call, "broken {place:?}");
    drop(request);
    Box::pin(async move {
        assert!(place != Place::FirstPoll, "broken {place:?}");
        yield_once().await;
        assert!(place != Place::LaterPoll, "broken {place:?}");
        let body = MockBody::new();
        let body = if place == Place::LaterFrame {
            body.data("ab")
        } else {
            body
        };
        Ok(Response::new(
            body.panic(format!("broken {place:?}"))
                .data("on")
                .without_eos(),
        ))
    })
}

fn message(payload: Box<dyn std::any::Any + Send>) -> String {
    *payload
        .downcast::<String>()
        .expect("the panic's own message")
}

/// Drives an exchange within one `catch_unwind`: all of it is dropped by the unwinding.
macro_rules! unwound {
    ($layer:expr, $place:expr) => {{
        let mut service = $layer.layer(service_fn(move |request| handler($place, request)));
        let exchange = AssertUnwindSafe(|| {
            let mut body = run(service.call(get(&[]))).unwrap().into_body();
            while !matches!(poll_frame(&mut body), std::task::Poll::Ready(None)) {}
        });
        message(catch_unwind(exchange).unwrap_err())
    }};
}

/// Drives an exchange and catches around each poll, as a runtime does: what panicked is
/// dropped later, when nothing unwinds any more.
macro_rules! caught {
    ($layer:expr, $place:expr, $when_caught:expr) => {{
        let mut service = $layer.layer(service_fn(move |request| handler($place, request)));
        let call = AssertUnwindSafe(|| Box::pin(service.call(get(&[]))));
        match catch_unwind(call) {
            Err(payload) => {
                $when_caught();
                message(payload)
            }
            Ok(mut future) => loop {
                match catch_unwind(AssertUnwindSafe(|| poll(future.as_mut()))) {
                    Err(payload) => {
                        $when_caught();
                        drop(future);
                        break message(payload);
                    }
                    Ok(std::task::Poll::Pending) => {}
                    Ok(std::task::Poll::Ready(response)) => {
                        let mut body = response.unwrap().into_body();
                        break loop {
                            let frame = AssertUnwindSafe(|| poll_frame(&mut body).is_ready());
                            if let Err(payload) = catch_unwind(frame) {
                                $when_caught();
                                // Whoever polls on gets what the inner body has.
                                assert!(poll_frame(&mut body).is_ready());
                                drop(body);
                                break message(payload);
                            }
                        };
                    }
                }
            },
        }
    }};
}

fn assert_panicked(test: &TestTelemetry, place: Place, side: &str) {
    let spans = test.spans();
    assert_ended_once(&spans);
    let span = spans.root();
    assert!(span.is_error(), "{place:?}");
    assert_eq!(span.str("error.type"), "panic", "{place:?}");
    assert!(!span.has("ml.cancel.reason"), "{place:?}");
    let is_answered = matches!(place, Place::FirstFrame | Place::LaterFrame);
    assert_eq!(
        span.has("http.response.status_code"),
        is_answered,
        "{place:?}"
    );
    let metrics = test.metrics();
    let duration = metrics.histogram(&format!("http.{side}.request.duration"));
    let point = duration.with("error.type", "panic").one().clone();
    assert_eq!(point.count(), 1, "{place:?}");
    let has_status = point.label_keys().contains(&"http.response.status_code");
    assert_eq!(has_status, is_answered, "{place:?}");
    assert!(test.open_spans().is_empty());
    if side == "server" {
        metrics.sum("http.server.active_requests").assert_zero();
    }
    assert!(
        !current_span().is_valid(),
        "{place:?}: the context stayed attached"
    );
}

#[test]
fn e15_a_servers_panic_ends_the_span_once_and_goes_on() {
    for place in PLACES {
        let test = TestTelemetry::new();
        let message = unwound!(server(&test).build(), place);
        assert_eq!(message, format!("broken {place:?}"));
        assert_panicked(&test, place, "server");

        let test = TestTelemetry::new();
        let when_caught = || assert_panicked(&test, place, "server");
        let message = caught!(server(&test).build(), place, when_caught);
        assert_eq!(message, format!("broken {place:?}"));
        assert_panicked(&test, place, "server");
    }
}

#[test]
fn e15_a_clients_panic_ends_the_span_once_and_goes_on() {
    for place in PLACES {
        let test = TestTelemetry::new();
        let message = unwound!(client(&test).build(), place);
        assert_eq!(message, format!("broken {place:?}"));
        assert_panicked(&test, place, "client");

        let test = TestTelemetry::new();
        let when_caught = || assert_panicked(&test, place, "client");
        let message = caught!(client(&test).build(), place, when_caught);
        assert_eq!(message, format!("broken {place:?}"));
        assert_panicked(&test, place, "client");
    }
}

#[test]
fn e15_an_answer_given_for_a_panic_outside_is_not_the_spans() {
    let test = TestTelemetry::new();
    let layer = server(&test).build();
    let mut service = layer.layer(service_fn(|request| handler(Place::FirstPoll, request)));
    // What a layer such as `CatchPanicLayer` does, outside of ours.
    let response = catch_unwind(AssertUnwindSafe(|| run(service.call(get(&[])))))
        .map(|response| response.unwrap().status())
        .unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(response, 500);
    assert_panicked(&test, Place::FirstPoll, "server");
}

#[test]
fn e15_a_panic_turned_into_an_answer_inside_is_an_ordinary_5xx() {
    let test = TestTelemetry::new();
    let mut service = server(&test)
        .build()
        .layer(service_fn(|_request: Request<()>| {
            let answer = catch_unwind(|| -> Response<MockBody> { std::panic::panic_any("inside") });
            let answer = answer.unwrap_or_else(|_| crate::support::status(500));
            ready(Ok::<_, Infallible>(answer))
        }));
    drop(run(service.call(get(&[]))));
    let spans = test.spans();
    assert_eq!(spans.root().str("error.type"), "500");
    assert_eq!(spans.root().int("http.response.status_code"), 500);
}

fn panics(_: &RequestHead<'_>, _: &mut Attributes) {
    std::panic::panic_any("in the hook")
}

/// A hook is asked in the request: its panic goes on. A span that has started has its end.
#[test]
fn e15_a_panic_of_a_hook_goes_on_and_ends_the_span_that_has_started() {
    for is_started in [true, false] {
        let test = TestTelemetry::new();
        let layer = server(&test);
        let caught = catch_unwind(AssertUnwindSafe(|| {
            if is_started {
                let layer = layer.metric_attributes(panics).build();
                exchange(&layer, get(&[]), status(200));
            } else {
                let layer = layer.attributes(panics).build();
                exchange(&layer, get(&[]), status(200));
            }
        }));
        assert_eq!(caught.unwrap_err().downcast_ref(), Some(&"in the hook"));
        assert!(test.open_spans().is_empty());
        let spans = test.spans();
        assert_eq!(spans.len(), usize::from(is_started));
        assert_ended_once(&spans);
        for span in spans {
            assert!(span.is_error());
            assert_eq!(span.str("error.type"), "panic");
        }
        assert!(!current_span().is_valid());
    }
}

#[derive(Debug)]
struct Refused;

/// The error itself is on its way to whoever is to handle it.
#[test]
fn e15_a_panic_of_a_classifier_does_not_stand_in_an_errors_way() {
    let test = TestTelemetry::new();
    let layer = server(&test)
        .classify_errors(|_| std::panic::panic_any("in the classifier"))
        .build();
    let fail = |_request| ready(Err::<Response<MockBody>, _>(Refused));
    assert!(run(layer.layer(service_fn(fail)).call(get(&[]))).is_err());
    assert_eq!(test.spans().root().str("error.type"), "Refused");
}
