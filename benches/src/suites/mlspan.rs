//! A fact written by code that finds its operation through the context.

use std::borrow::Cow;
use std::hint::black_box;

use otel_ml_tower::otel_ml::opentelemetry::trace::SpanKind;
use otel_ml_tower::otel_ml::{Handle, MlSpan, Operation, Telemetry};

use super::{Iterate, Row, Suite};
use crate::condition::Condition::{self, A, B, C};
use crate::layers::Variant::{self, OtelMl};

pub(super) const SUITE: Suite = Suite {
    name: "mlspan",
    unit: "write",
    is_timed: false,
    rows: &[
        Row::for_information(OtelMl, A),
        Row::for_information(OtelMl, B),
        Row::for_information(OtelMl, C),
    ],
    spans: |_writes| 1,
    prepare,
};

fn prepare(variant: Variant, _condition: Condition) -> Iterate {
    if !variant.is_tracing() {
        return Box::new(|writes| {
            for number in 0..writes {
                black_box(u64::from(number));
            }
        });
    }
    let telemetry = Telemetry::global();
    Box::new(move |writes| {
        let operation =
            Operation::builder(&telemetry, SpanKind::Internal, Cow::Borrowed("generate"));
        operation
            .handle(Handle::Recorded)
            .start(|| (), |_attributes| {})
            .scope(|| {
                for number in 0..writes {
                    MlSpan::current().output_tokens(black_box(number.into()));
                }
            });
    })
}
