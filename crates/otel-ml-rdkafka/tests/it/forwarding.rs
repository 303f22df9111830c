//! E30: messages sent on.

use otel_ml::opentelemetry::trace::TraceContextExt as _;
use otel_ml_rdkafka::otel_ml;
use otel_ml_testing::{SpansExt as _, TestTelemetry};

use crate::support::rdkafka::message::Message as _;
use crate::support::{Broker, owned, pair, pairs, record, recv, send};

const HOPS: usize = 1_000;

#[tokio::test]
async fn e30_a_thousand_hops_leave_one_parent_and_all_other_headers() {
    let test = TestTelemetry::new();
    let broker = Broker::new();
    let topics = [broker.topic(1).await, broker.topic(1).await];
    let producer = broker.producer(&test);
    let consumers = topics.each_ref().map(|topic| broker.consumer(&test, topic));
    let others = [
        pair("app", "1"),
        ("null".into(), None),
        pair("app", [0xff, 0]),
        pair("", "unnamed"),
    ];
    send(&producer, record(&topics[0]).headers(owned(&others)))
        .await
        .unwrap();
    for hop in 0..HOPS {
        let received = recv(&consumers[hop % 2]).await;
        let sent_on = received.process(async |message| {
            let headers = message.headers().unwrap().detach();
            let record = record(&topics[(hop + 1) % 2]).headers(headers);
            send(&producer, record).await.map_err(|(error, _)| error)
        });
        sent_on.await.unwrap();
    }
    let last = recv(&consumers[HOPS % 2]).await;
    let mut headers = pairs(last.headers().unwrap());
    let parent = headers.pop().unwrap();
    assert_eq!(parent.0, "traceparent");
    assert_eq!(headers, others);
    // One trace, each span below the one before it.
    let spans = test.spans();
    assert_eq!(spans.len(), 2 * HOPS + 1);
    let trace = spans[0].span_context.trace_id();
    assert!(
        spans
            .iter()
            .all(|span| span.span_context.trace_id() == trace)
    );
    assert_eq!(test.open_spans(), [""; 0]);
    let sender = last.sender().span().span_context().span_id();
    let (mut id, mut depth) = (sender, 0);
    while let Some(span) = spans.iter().find(|span| span.span_context.span_id() == id) {
        id = span.parent_span_id;
        depth += 1;
    }
    assert_eq!(depth, spans.len());
    assert_eq!(spans.root().name, format!("send {}", topics[0]));
}
