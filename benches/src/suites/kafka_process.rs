//! A Kafka message processed by a service behind the consumer layer, its sender's context
//! read from its headers.

use std::convert::Infallible;
use std::future::ready;
use std::hint::black_box;

use futures_util::FutureExt as _;
use otel_ml_rdkafka::Record;
use otel_ml_rdkafka::carrier::HeadersInjector;
use otel_ml_rdkafka::rdkafka::Timestamp;
use otel_ml_rdkafka::rdkafka::message::OwnedMessage;
use otel_ml_tower::otel_ml::{OtelMlConsumerLayer, Telemetry};
use tower::service_fn;
use tower_layer::Layer as _;
use tower_service::Service;

use super::kafka_inject::{caller, headers};
use super::{Iterate, Row, Suite};
use crate::condition::Condition::{self, B, C};
use crate::layers::Variant::{self, OtelMl, OtelMlSpans};

pub(super) const SUITE: Suite = Suite {
    name: "kafka-process",
    unit: "message",
    is_timed: true,
    rows: &[
        Row::within(OtelMl, B, 12_900, 6),
        Row::within(OtelMlSpans, B, 4_300, 3),
        Row::within(OtelMl, C, 17_500, 13),
        Row::within(OtelMlSpans, C, 10_500, 13),
    ],
    spans: |messages| messages.into(),
    prepare,
};

fn prepare(variant: Variant, condition: Condition) -> Iterate {
    let mut injector = HeadersInjector::new(Some(headers()));
    Telemetry::global().inject(&caller(condition), &mut injector);
    let message = OwnedMessage::new(
        Some(vec![b'x'; 200]),
        None,
        "jobs".to_owned(),
        Timestamp::now(),
        3,
        42,
        injector.into_inner(),
    );
    let handler = service_fn(|record: Record<OwnedMessage>| {
        black_box(&record);
        ready(Ok::<_, Infallible>(()))
    });
    if variant.is_tracing() {
        let layer = OtelMlConsumerLayer::builder().telemetry(variant.telemetry());
        iterate(layer.build().layer(handler), message)
    } else {
        iterate(handler, message)
    }
}

fn iterate<S>(mut service: S, message: OwnedMessage) -> Iterate
where
    S: Service<Record<OwnedMessage>, Response = (), Error = Infallible> + 'static,
{
    Box::new(move |messages| {
        for _ in 0..messages {
            let record = Record::new(message.clone()).consumer_group("scorers");
            let Some(Ok(())) = service.call(record).now_or_never() else {
                unreachable!("a handler that is not ready");
            };
        }
    })
}
