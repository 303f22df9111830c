//! The sender's context read from the headers of an AMQP message that has one more.

use std::hint::black_box;

use otel_ml_lapin::carrier::{HeadersExtractor, HeadersInjector};
use otel_ml_tower::otel_ml::Telemetry;

use super::amqp_inject::headers;
use super::kafka_inject::caller;
use super::{Iterate, Row, Suite};
use crate::condition::Condition::{self, C};
use crate::layers::Variant::{self, OtelMl};

pub(super) const SUITE: Suite = Suite {
    name: "amqp-extract",
    unit: "message",
    is_timed: false,
    rows: &[Row::within(OtelMl, C, 1_150, 1)],
    spans: |_messages| 0,
    prepare,
};

fn prepare(variant: Variant, condition: Condition) -> Iterate {
    let telemetry = Telemetry::global();
    let mut headers = headers();
    telemetry.inject(&caller(condition), &mut HeadersInjector::new(&mut headers));
    if !variant.is_tracing() {
        return Box::new(move |messages| {
            for _ in 0..messages {
                black_box(&headers);
            }
        });
    }
    Box::new(move |messages| {
        for _ in 0..messages {
            let carrier = HeadersExtractor::new(black_box(&headers));
            black_box(telemetry.extract(&carrier));
        }
    })
}
