//! E30: messages sent on.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use otel_ml::messaging::Message as _;
use otel_ml::opentelemetry::trace::TraceContextExt as _;
use otel_ml_rdkafka::carrier::{HeadersExtractor, HeadersInjector};
use otel_ml_rdkafka::{OtelMlProducer, Record, otel_ml};
use otel_ml_testing::{SpansExt as _, TestTelemetry};

use crate::support::rdkafka::Timestamp;
use crate::support::rdkafka::message::{Message as _, OwnedMessage};
use crate::support::{Broker, owned, pair, pairs, record, recv, send, telemetry};

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

/// It would count the waits of all earlier hops as that of the last.
#[tokio::test]
async fn e30_the_time_of_an_earlier_send_is_not_sent_on() {
    let test = TestTelemetry::new();
    let broker = Broker::new();
    let topic = broker.topic(1).await;
    let consumer = broker.consumer(&test, &topic);
    let builder = OtelMlProducer::builder().telemetry(telemetry(&test));
    let first: OtelMlProducer = builder.send_time(true).create(&broker.config()).unwrap();
    send(&first, record(&topic)).await.unwrap();
    let received = recv(&consumer).await;
    let headers = received.headers().unwrap();
    assert!(HeadersExtractor::new(headers).sent_at().is_some());
    let second = broker.producer(&test);
    let record = record(&topic).headers(headers.detach());
    send(&second, record).await.unwrap();
    let forwarded = recv(&consumer).await;
    let names: Vec<_> = pairs(forwarded.headers().unwrap())
        .into_iter()
        .map(|(name, _)| name)
        .collect();
    assert_eq!(names, ["traceparent"]);
}

fn stamped(header: Option<SystemTime>, timestamp: Timestamp) -> Record<OwnedMessage> {
    let mut injector = HeadersInjector::new(None);
    if let Some(time) = header {
        injector.set_sent_at(time);
    }
    let (topic, headers) = ("jobs".to_owned(), injector.into_inner());
    Record::new(OwnedMessage::new(
        None, None, topic, timestamp, 0, 0, headers,
    ))
}

/// Where a foreign client forwards, the header of the hop before is still there.
#[test]
fn e30_a_message_was_sent_at_the_later_of_its_times() {
    let earlier = UNIX_EPOCH + Duration::from_micros(1_763_700_000_123_456);
    let later = earlier + Duration::from_hours(2);
    let sent_at = |header, created: SystemTime| {
        let created = created.duration_since(UNIX_EPOCH).unwrap();
        let created = Timestamp::CreateTime(created.as_millis().try_into().unwrap());
        stamped(Some(header), created).sent_at()
    };
    let in_millis = later - Duration::from_micros(456);
    assert_eq!(sent_at(earlier, later), Some(in_millis));
    assert_eq!(sent_at(later, earlier), Some(later));
    // Of one send the header is the more exact.
    assert_eq!(sent_at(later, later), Some(later));
}

/// The way to the broker would be missing from the wait.
#[test]
fn the_time_of_storing_is_no_time_of_sending() {
    let header = UNIX_EPOCH + Duration::from_micros(1_763_700_000_123_456);
    for timestamp in [
        Timestamp::LogAppendTime(1_763_700_000_999),
        Timestamp::NotAvailable,
        Timestamp::CreateTime(-1),
    ] {
        assert_eq!(stamped(None, timestamp).sent_at(), None, "{timestamp:?}");
        assert_eq!(stamped(Some(header), timestamp).sent_at(), Some(header));
    }
}
