//! A context written into the headers of an AMQP message that has one of its own.

use std::hint::black_box;

use otel_ml_lapin::carrier::HeadersInjector;
use otel_ml_lapin::lapin::types::{AMQPValue, FieldTable};
use otel_ml_tower::otel_ml::Telemetry;

use super::kafka_inject::caller;
use super::{Iterate, Row, Suite};
use crate::condition::Condition::{self, C};
use crate::layers::Variant::{self, OtelMl};

pub(super) const SUITE: Suite = Suite {
    name: "amqp-inject",
    unit: "message",
    is_timed: true,
    rows: &[Row::within(OtelMl, C, 1_050, 2)],
    spans: |_messages| 0,
    prepare,
};

/// As an application makes them.
pub(super) fn headers() -> FieldTable {
    let mut headers = FieldTable::default();
    headers.insert("app".into(), AMQPValue::LongString("value".into()));
    headers
}

fn prepare(variant: Variant, condition: Condition) -> Iterate {
    if !variant.is_tracing() {
        return Box::new(|messages| {
            for _ in 0..messages {
                black_box(headers());
            }
        });
    }
    let telemetry = Telemetry::global();
    let cx = caller(condition);
    Box::new(move |messages| {
        for _ in 0..messages {
            let mut headers = headers();
            telemetry.inject(&cx, &mut HeadersInjector::new(&mut headers));
            black_box(headers);
        }
    })
}
