//! Rows about how a call ends.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http::HeaderMap;
use otel_ml::MlSpan;
use otel_ml_testing::{SpanExt as _, TestTelemetry, assert_ended_once, assert_types};

use crate::hop::{
    Fault, Handler, Hop, PARENT, Reply, SAMPLED, TRACE, answering, assert_error, from_afar,
    handler, link, only, own, poll,
};

pub(crate) async fn success<H: Hop>() {
    let test = TestTelemetry::new();
    let mut link = link::<H>(&test, answering(Reply::Short));
    link.call(&from_afar(SAMPLED)).await.unwrap();
    let span = only::<H>(&test);
    assert_eq!(span.span_context.trace_id().to_string(), TRACE);
    assert_eq!(span.parent_span_id.to_string(), PARENT);
    assert!(!span.has("ml.cancel.reason"));
    assert_error::<H>(&test, None);
    assert_types(&test.spans());
}

fn faulty(fault: &Fault) -> Handler {
    let fault = fault.clone();
    handler(move |_| std::future::ready(Err(fault.clone())))
}

pub(crate) async fn inner_error<H: Hop>() {
    let test = TestTelemetry::new();
    let fault = Fault("the very one".into());
    let mut link = link::<H>(&test, faulty(&fault));
    let passed_on = link.call(&HeaderMap::new()).await.unwrap_err();
    assert!(Arc::ptr_eq(&passed_on.0, &fault.0));
    assert_error::<H>(&test, Some("Fault"));
}

fn panicking() -> Handler {
    handler(async |_| {
        tokio::task::yield_now().await;
        std::panic::panic_any("on purpose")
    })
}

/// The whole call is unwound.
pub(crate) async fn handler_panic<H: Hop>() {
    let test = TestTelemetry::new();
    let mut link = link::<H>(&test, panicking());
    let unwound = catch_unwind(AssertUnwindSafe(|| {
        let mut call = link.call(&HeaderMap::new());
        while poll(call.as_mut()).is_pending() {}
    }));
    assert_eq!(unwound.unwrap_err().downcast_ref(), Some(&"on purpose"));
    assert_error::<H>(&test, Some("panic"));
    assert!(!only::<H>(&test).has("ml.cancel.reason"));
}

/// The poll is unwound; the call is dropped later, by a program that goes on.
pub(crate) async fn panic_caught_outside<H: Hop>() {
    let test = TestTelemetry::new();
    let mut link = link::<H>(&test, panicking());
    let mut call = link.call(&HeaderMap::new());
    assert!(poll(call.as_mut()).is_pending());
    let caught = catch_unwind(AssertUnwindSafe(|| poll(call.as_mut())));
    assert_eq!(caught.unwrap_err().downcast_ref(), Some(&"on purpose"));
    assert_error::<H>(&test, Some("panic"));
    drop(call);
    assert_error::<H>(&test, Some("panic"));
    assert!(!only::<H>(&test).has("ml.cancel.reason"));
}

pub(crate) async fn dropped_unpolled<H: Hop>() {
    let test = TestTelemetry::new();
    let was_run = Arc::new(AtomicBool::new(false));
    let run = Arc::clone(&was_run);
    let handler = handler(move |_| {
        let run = Arc::clone(&run);
        async move {
            run.store(true, Ordering::SeqCst);
            Ok(Reply::Short)
        }
    });
    drop(link::<H>(&test, handler).call(&HeaderMap::new()));
    assert!(!was_run.load(Ordering::SeqCst));
    if !H::IS_SERVICE {
        assert!(test.spans().is_empty() && test.open_spans().is_empty());
        assert!(!test.metrics().has(H::DURATION));
        return;
    }
    assert_error::<H>(&test, H::DROPPED);
    assert_eq!(only::<H>(&test).str("ml.cancel.reason"), "dropped");
}

fn hanging() -> Handler {
    handler(async |_| {
        MlSpan::current().output_tokens(7);
        std::future::pending().await
    })
}

pub(crate) async fn dropped_midway<H: Hop>() {
    let test = TestTelemetry::new();
    let mut call = link::<H>(&test, hanging()).call(&HeaderMap::new());
    assert!(poll(call.as_mut()).is_pending());
    drop(call);
    assert_error::<H>(&test, H::DROPPED);
    let span = only::<H>(&test);
    assert_eq!(span.str("ml.cancel.reason"), "dropped");
    if H::READS_CONTEXT {
        assert_eq!(span.int("gen_ai.usage.output_tokens"), 7);
        assert!(span.bool("ml.usage.partial"));
    }

    // In the middle of the answer, where there is one.
    let test = TestTelemetry::new();
    let mut call = link::<H>(&test, answering(Reply::Endless)).call(&HeaderMap::new());
    assert!(poll(call.as_mut()).is_pending());
    drop(call);
    assert_error::<H>(&test, H::DROPPED);
}

pub(crate) async fn empty<H: Hop>() {
    let test = TestTelemetry::new();
    let mut link = link::<H>(&test, answering(Reply::Empty));
    link.call(&HeaderMap::new()).await.unwrap();
    assert_error::<H>(&test, None);
    let span = only::<H>(&test);
    assert!(!span.has("ml.response.chunk.count") && !span.has("ml.cancel.reason"));
}

/// A call for each way to end.
async fn all_ends<H: Hop>(test: &TestTelemetry) {
    let none = HeaderMap::new();
    assert!(
        link::<H>(test, answering(Reply::Short))
            .call(&none)
            .await
            .is_ok()
    );
    assert!(
        link::<H>(test, answering(Reply::Empty))
            .call(&none)
            .await
            .is_ok()
    );
    assert!(
        link::<H>(test, faulty(&Fault("x".into())))
            .call(&none)
            .await
            .is_err()
    );
    drop(link::<H>(test, hanging()).call(&none));
    for handler in [hanging(), answering(Reply::Endless)] {
        let mut call = link::<H>(test, handler).call(&none);
        assert!(poll(call.as_mut()).is_pending());
    }
    let mut call = link::<H>(test, panicking()).call(&none);
    assert!(poll(call.as_mut()).is_pending());
    assert!(catch_unwind(AssertUnwindSafe(|| poll(call.as_mut()))).is_err());
}

pub(crate) async fn ended_once<H: Hop>() {
    let test = TestTelemetry::new();
    all_ends::<H>(&test).await;
    assert_ended_once(&test.spans());
    // One of them is never polled.
    let begun = if H::IS_SERVICE { 7 } else { 6 };
    assert_eq!(own::<H>(&test).len(), begun);
    assert!(test.open_spans().is_empty());
    let counted = test.metrics().histogram(H::DURATION).count();
    assert_eq!(counted, begun as u64);
}

pub(crate) async fn in_flight<H: Hop>() {
    let metric = H::IN_FLIGHT.expect("a row of transports that have one");
    let test = TestTelemetry::new();
    let mut call = link::<H>(&test, hanging()).call(&HeaderMap::new());
    assert_eq!(test.metrics().sum(metric).int(), 1);
    assert!(poll(call.as_mut()).is_pending());
    assert_eq!(test.metrics().sum(metric).int(), 1);
    drop(call);
    test.metrics().sum(metric).assert_zero();
    all_ends::<H>(&test).await;
    test.metrics().sum(metric).assert_zero();
}
