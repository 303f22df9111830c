//! A Kafka message processed by a service behind the consumer layer, its sender's context
//! read from its headers.

use std::convert::Infallible;
use std::future::{Ready, ready};
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
use crate::condition::Condition::{self, A, B, C};
use crate::layers::Variant::{self, OtelMl, OtelMlSpans};

pub(super) const SUITE: Suite = Suite {
    name: "kafka-process",
    unit: "message",
    is_timed: true,
    rows: &[
        Row::for_information(OtelMl, A),
        // There is no floor by hand to set these by: they hold what it costs, and a little room.
        Row::within(OtelMl, B, 12_600, 5),
        Row::within(OtelMlSpans, B, 4_300, 4),
        Row::within(OtelMl, C, 17_200, 12),
        Row::within(OtelMlSpans, C, 10_200, 12),
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
    if variant.is_tracing() {
        let layer = OtelMlConsumerLayer::builder().telemetry(variant.telemetry());
        let service = layer
            .build()
            .layer(service_fn(handle::<Record<OwnedMessage>>));
        let record = |message: OwnedMessage| Record::new(message).consumer_group("scorers");
        iterate(service, record, message)
    } else {
        iterate(
            service_fn(handle::<OwnedMessage>),
            |message| message,
            message,
        )
    }
}

fn handle<M>(message: M) -> Ready<Result<(), Infallible>> {
    black_box(&message);
    ready(Ok(()))
}

fn iterate<S, M>(
    mut service: S,
    received: impl Fn(OwnedMessage) -> M + 'static,
    message: OwnedMessage,
) -> Iterate
where
    S: Service<M, Response = (), Error = Infallible> + 'static,
{
    Box::new(move |messages| {
        for _ in 0..messages {
            let message = received(message.clone());
            let Some(Ok(())) = service.call(message).now_or_never() else {
                unreachable!("a handler that is not ready");
            };
        }
    })
}
