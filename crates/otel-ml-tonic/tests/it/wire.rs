//! What goes over the wire, and what is made of what comes from it.

use std::sync::{Arc, Mutex};

use otel_ml_testing::{SpanExt as _, TestTelemetry};
use otel_ml_tonic::otel_ml::carrier::HeaderExtractor;
use otel_ml_tonic::otel_ml::opentelemetry::context::FutureExt as _;
use tonic::metadata::MetadataMap;

use crate::support::{
    Asked, Handler, Kind, PARENT, SAMPLED, TRACE, UNSAMPLED, answers, asking, call, channel,
    handler, plain, traced, traced_channel, with,
};

type Seen = Arc<Mutex<Option<MetadataMap>>>;

/// Keeps the metadata that it was sent.
fn keeping() -> (Seen, Handler) {
    let seen = Seen::default();
    let keep = Arc::clone(&seen);
    let handler = handler(move |asked: Asked| {
        *keep.lock().unwrap() = Some(asked.metadata);
        std::future::ready(Ok(answers(["x"])))
    });
    (seen, handler)
}

fn caller(
    test: &TestTelemetry,
    traceparent: &str,
) -> otel_ml_tonic::otel_ml::opentelemetry::Context {
    let pairs = [
        ("traceparent", traceparent),
        ("tracestate", "ot=th:8;rv:9,vendor@sys=1"),
        ("baggage", "user.tier=pro"),
    ];
    let headers: http::HeaderMap = pairs
        .into_iter()
        .map(|(name, value)| {
            let name = http::HeaderName::from_static(name);
            (name, value.parse().unwrap())
        })
        .collect();
    test.telemetry().extract(&HeaderExtractor::new(&headers))
}

#[tokio::test]
async fn e23_an_unsampled_parent_is_passed_on_with_all_it_carries() {
    for kind in Kind::ALL {
        let test = TestTelemetry::new();
        let (seen, handler) = keeping();
        let serving = plain(handler).await;
        let channel = traced_channel(&test, &serving);
        let cx = caller(&test, UNSAMPLED);
        let request = asking(["a"]);
        call(channel, kind, request).with_context(cx).await.unwrap();
        let metadata = seen.lock().unwrap().take().unwrap();
        assert_eq!(metadata.get("traceparent").unwrap(), UNSAMPLED);
        assert_eq!(
            metadata.get("tracestate").unwrap(),
            "ot=th:8;rv:9,vendor@sys=1"
        );
        assert_eq!(metadata.get("baggage").unwrap(), "user.tier=pro");
        assert!(test.spans().is_empty() && test.open_spans().is_empty());
    }
}

#[tokio::test]
async fn e01_a_client_replaces_what_was_there_and_sends_one_of_each() {
    let test = TestTelemetry::new();
    let (seen, handler) = keeping();
    let serving = plain(handler).await;
    let stale = [
        (
            "traceparent",
            "00-11111111111111111111111111111111-1111111111111111-01",
        ),
        (
            "traceparent",
            "00-22222222222222222222222222222222-2222222222222222-01",
        ),
        ("tracestate", "stale=1"),
    ];
    let channel = traced_channel(&test, &serving);
    let cx = caller(&test, SAMPLED);
    let request = with(asking(["a"]), stale);
    call(channel, Kind::Unary, request)
        .with_context(cx)
        .await
        .unwrap();
    let metadata = seen.lock().unwrap().take().unwrap();
    let span = test.wait_for_spans(1).await.remove(0);
    let sent: Vec<_> = metadata.get_all("traceparent").iter().collect();
    let own = format!("00-{TRACE}-{}-01", span.span_context.span_id());
    assert_eq!(sent, [own.as_str()]);
    assert_eq!(span.parent_span_id.to_string(), PARENT);
    let states: Vec<_> = metadata.get_all("tracestate").iter().collect();
    assert_eq!(states, ["ot=th:8;rv:9,vendor@sys=1"]);
}

/// What peers in other languages send: sampled and random.
#[tokio::test]
async fn flags_beyond_sampled_are_accepted_and_kept() {
    let test = TestTelemetry::new();
    let (seen, far) = keeping();
    let far = plain(far).await;
    let near = handler({
        let channel = traced_channel(&test, &far);
        move |_| {
            let channel = channel.clone();
            async move {
                call(channel, Kind::Unary, asking(["b"])).await?;
                Ok(answers(["x"]))
            }
        }
    });
    let near = traced(&test, near).await;
    let random = format!("00-{TRACE}-{PARENT}-03");
    let request = with(asking(["a"]), [("traceparent", random.as_str())]);
    call(channel(&near), Kind::Unary, request).await.unwrap();
    let metadata = seen.lock().unwrap().take().unwrap();
    let sent = metadata.get("traceparent").unwrap().to_str().unwrap();
    assert!(
        sent.starts_with(&format!("00-{TRACE}-")) && sent.ends_with("-03"),
        "{sent}"
    );
    let spans = test.wait_for_spans(2).await;
    assert!(
        spans
            .iter()
            .all(|span| span.span_context.trace_id().to_string() == TRACE)
    );
}

#[tokio::test]
async fn rubbish_in_the_metadata_starts_a_trace_and_is_counted() {
    for (traceparent, anomaly) in [
        (vec!["rubbish"], "malformed"),
        (vec![SAMPLED, SAMPLED], "duplicate"),
    ] {
        let test = TestTelemetry::new();
        let serving = traced(&test, keeping().1).await;
        let pairs = traceparent.iter().map(|value| ("traceparent", *value));
        let request = with(asking(["a"]), pairs);
        call(channel(&serving), Kind::Unary, request).await.unwrap();
        let span = test.wait_for_spans(1).await.remove(0);
        assert_eq!(span.parent(), None);
        let metrics = test.metrics();
        let counted = metrics.sum("ml.propagation.anomalies");
        let counted = counted.with("ml.propagation.anomaly", anomaly);
        assert_eq!(counted.with("ml.propagation.transport", "grpc").int(), 1);
    }
}
