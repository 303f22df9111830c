//! A context written into a Kafka message that has one header of its own.

use std::hint::black_box;

use otel_ml_rdkafka::carrier::HeadersInjector;
use otel_ml_rdkafka::rdkafka::message::{Header, OwnedHeaders};
use otel_ml_tower::otel_ml::Telemetry;
use otel_ml_tower::otel_ml::carrier::HeaderExtractor;
use otel_ml_tower::otel_ml::opentelemetry::Context;

use super::{Iterate, Row, Suite};
use crate::condition::Condition::{self, C};
use crate::layers::Variant::{self, OtelMl};

pub(super) const SUITE: Suite = Suite {
    name: "kafka-inject",
    unit: "message",
    is_timed: true,
    rows: &[Row::within(OtelMl, C, 850, 0)],
    spans: |_messages| 0,
    prepare,
};

/// As an application makes them.
pub(super) fn headers() -> OwnedHeaders {
    OwnedHeaders::new().insert(Header {
        key: "app",
        value: Some("value"),
    })
}

/// The context of a caller under `condition`.
pub(super) fn caller(condition: Condition) -> Context {
    let mut headers = http::HeaderMap::new();
    let parent = http::HeaderValue::from_static(condition.traceparent());
    headers.insert("traceparent", parent);
    let telemetry = Telemetry::builder().without_metrics().build();
    telemetry.extract(&HeaderExtractor::new(&headers))
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
            let mut injector = HeadersInjector::new(Some(headers()));
            telemetry.inject(&cx, &mut injector);
            black_box(injector.into_inner());
        }
    })
}
