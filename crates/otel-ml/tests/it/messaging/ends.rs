//! However a handler comes to its end, the span ends once and processing is measured.

use std::future::{Future, pending};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use futures_util::FutureExt;
use otel_ml::{ErrorType, OtelMlConsumerLayer};
use otel_ml_semconv::{error, messaging, ml};
use otel_ml_testing::{
    SpanExt, SpansExt, TestTelemetry, assert_ended_once, assert_no_secret, assert_types,
};
use tower::{Layer, Service, service_fn};

use super::{Letter, PAYLOAD, Rejected, SYSTEM};
use crate::support::{labels, series};

type Handled = Pin<Box<dyn Future<Output = Result<(), Rejected>>>>;

/// Gives `handler` a message, and the future that comes of it to `drive`.
fn consume(handler: fn() -> Handled, drive: fn(Handled)) -> TestTelemetry {
    let test = TestTelemetry::new();
    let layer = OtelMlConsumerLayer::builder()
        .telemetry(test.telemetry())
        .build();
    let mut service = layer.layer(service_fn(move |_: Letter| handler()));
    let outcome = catch_unwind(AssertUnwindSafe(|| service.call(Letter::traced())));
    if let Ok(future) = outcome {
        drive(Box::pin(future));
    }
    test
}

fn finish(future: Handled) {
    assert!(future.now_or_never().is_some());
}

fn poll_and_drop(mut future: Handled) {
    assert!(future.as_mut().now_or_never().is_none());
}

fn catch_and_drop_later(mut future: Handled) {
    let caught = catch_unwind(AssertUnwindSafe(|| future.as_mut().now_or_never()));
    assert!(caught.is_err());
    drop(future);
}

#[test]
fn e15_e17_every_way_a_handler_ends() {
    type Case = (
        &'static str,
        fn() -> Handled,
        fn(Handled),
        Option<&'static str>,
    );
    let cases: [Case; 7] = [
        ("ok", || Box::pin(async { Ok(()) }), finish, None),
        (
            "failed",
            || Box::pin(async { Err(Rejected("full")) }),
            finish,
            Some("Rejected"),
        ),
        (
            "panicked",
            || Box::pin(async { panic!("x") }),
            catch_and_drop_later,
            Some("panic"),
        ),
        ("panicked in call", || panic!("x"), drop, Some("panic")),
        (
            "never polled",
            || Box::pin(async { Ok(()) }),
            drop,
            Some("cancelled"),
        ),
        (
            "dropped half-way",
            || Box::pin(pending()),
            poll_and_drop,
            Some("cancelled"),
        ),
        (
            "dropped with a panic elsewhere",
            || Box::pin(pending()),
            |future| {
                let unwound = catch_unwind(AssertUnwindSafe(|| {
                    let _future = future;
                    panic!("elsewhere");
                }));
                assert!(unwound.is_err());
            },
            Some("cancelled"),
        ),
    ];
    for (case, handler, drive, expected) in cases {
        let test = consume(handler, drive);
        let spans = test.spans();
        assert_ended_once(&spans);
        assert_types(&spans);
        assert_no_secret(&spans, &[PAYLOAD]);
        let span = spans.named("process jobs");
        assert!(test.open_spans().is_empty(), "{case}");
        assert_eq!(span.is_error(), expected.is_some(), "{case}");
        assert_eq!(
            span.has(error::TYPE).then(|| span.str(error::TYPE)),
            expected,
            "{case}"
        );
        assert_eq!(
            span.has(ml::CANCEL_REASON),
            expected == Some("cancelled"),
            "{case}"
        );
        let mut labels = labels![
            messaging::SYSTEM_NAME => SYSTEM, messaging::OPERATION_NAME => "process",
            messaging::DESTINATION_NAME => "jobs",
        ];
        if let Some(expected) = expected {
            labels.insert(0, opentelemetry::KeyValue::new(error::TYPE, expected));
        }
        let duration = series(&test, &messaging::metric::PROCESS_DURATION, &labels);
        assert_eq!(duration.count(), 1, "{case}");
    }
}

#[test]
fn errors_are_told_apart_by_a_classifier() {
    let layer = |test: &TestTelemetry| {
        OtelMlConsumerLayer::builder()
            .telemetry(test.telemetry())
            .classify_errors(|error| {
                let rejected = error.downcast_ref::<Rejected>()?;
                (rejected.0 == "full").then_some(ErrorType::new("queue_full"))
            })
    };
    for (message, expected) in [("full", "queue_full"), ("other", "Rejected")] {
        let test = TestTelemetry::new();
        let mut service = layer(&test)
            .build()
            .layer(service_fn(move |_: Letter| async move {
                Err::<(), _>(Rejected(message))
            }));
        let result = service.call(Letter::traced()).now_or_never().unwrap();
        assert_eq!(result, Err(Rejected(message)));
        assert_eq!(
            test.spans().named("process jobs").str(error::TYPE),
            expected
        );
    }
}

/// Neither `Clone` nor always ready.
struct Choosy {
    asked: Arc<AtomicUsize>,
}

impl Service<Letter> for Choosy {
    type Response = i64;
    type Error = Rejected;
    type Future = std::future::Ready<Result<i64, Rejected>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Rejected>> {
        match self.asked.fetch_add(1, Ordering::Relaxed) {
            0 => Poll::Pending,
            1 => Poll::Ready(Ok(())),
            _ => Poll::Ready(Err(Rejected("closed"))),
        }
    }

    fn call(&mut self, letter: Letter) -> Self::Future {
        std::future::ready(Ok(letter.offset))
    }
}

#[test]
fn readiness_answers_and_errors_are_the_inner_services() {
    let test = TestTelemetry::new();
    let layer = OtelMlConsumerLayer::builder()
        .telemetry(test.telemetry())
        .build();
    let mut service = layer.layer(Choosy {
        asked: Arc::default(),
    });
    let mut cx = Context::from_waker(std::task::Waker::noop());
    assert!(service.poll_ready(&mut cx).is_pending());
    assert_eq!(service.poll_ready(&mut cx), Poll::Ready(Ok(())));
    assert_eq!(service.call(Letter::traced()).now_or_never(), Some(Ok(42)));
    assert_eq!(
        service.poll_ready(&mut cx),
        Poll::Ready(Err(Rejected("closed")))
    );
    assert_eq!(service.get_ref().asked.load(Ordering::Relaxed), 3);
    assert_eq!(service.get_mut().asked.load(Ordering::Relaxed), 3);
    assert_eq!(service.into_inner().asked.load(Ordering::Relaxed), 3);
    assert_eq!(test.spans().len(), 1);
}

#[test]
fn the_layer_as_it_stands_does_nothing_where_nothing_is_installed() {
    let mut service = OtelMlConsumerLayer.layer(service_fn(|letter: Letter| async move {
        Ok::<_, Rejected>(letter.offset)
    }));
    let mut clone = service.clone();
    assert_eq!(service.call(Letter::traced()).now_or_never(), Some(Ok(42)));
    assert_eq!(clone.call(Letter::traced()).now_or_never(), Some(Ok(42)));
}
