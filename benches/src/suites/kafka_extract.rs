//! The sender's context read from a Kafka message that has one more header.

use std::hint::black_box;

use otel_ml_rdkafka::carrier::{HeadersExtractor, HeadersInjector};
use otel_ml_tower::otel_ml::Telemetry;

use super::kafka_inject::{caller, headers};
use super::{Iterate, Row, Suite};
use crate::condition::Condition::{self, C};
use crate::layers::Variant::{self, OtelMl};

pub(super) const SUITE: Suite = Suite {
    name: "kafka-extract",
    unit: "message",
    is_timed: false,
    rows: &[Row::within(OtelMl, C, 1_450, 1)],
    spans: |_messages| 0,
    prepare,
};

fn prepare(variant: Variant, condition: Condition) -> Iterate {
    let telemetry = Telemetry::global();
    let mut injector = HeadersInjector::new(Some(headers()));
    telemetry.inject(&caller(condition), &mut injector);
    let headers = injector.into_inner().unwrap_or_default();
    if !variant.is_tracing() {
        return Box::new(move |messages| {
            for _ in 0..messages {
                black_box(headers.as_borrowed());
            }
        });
    }
    Box::new(move |messages| {
        for _ in 0..messages {
            let carrier = HeadersExtractor::new(black_box(headers.as_borrowed()));
            black_box(telemetry.extract(&carrier));
        }
    })
}
