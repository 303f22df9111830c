//! What code writes that finds its operation through the context, and operations of its own.

use std::borrow::Cow;
use std::hint::black_box;

use otel_ml_tower::otel_ml::opentelemetry::trace::SpanKind;
use otel_ml_tower::otel_ml::{Handle, MlSpan, Operation, Telemetry, genai, stage};

use super::{Iterate, Row, Suite};
use crate::condition::Condition::{self, A, B, C, D, P};
use crate::layers::Variant::{self, OtelMl, OtelMlSpans};
#[cfg(feature = "peers")]
use crate::peers::spans;

/// A fact written, over nothing done.
pub(super) const WRITE: Suite = Suite {
    name: "mlspan",
    unit: "write",
    is_timed: false,
    rows: &[
        Row::for_information(OtelMl, A),
        Row::for_information(OtelMl, P),
        Row::for_information(OtelMl, B),
        Row::for_information(OtelMl, C),
        Row::for_information(OtelMl, D),
    ],
    spans: |_writes| 1,
    prepare: prepare_write,
};

/// A stage that does nothing.
pub(super) const STAGE: Suite = Suite {
    name: "mlspan-stage",
    unit: "stage",
    is_timed: false,
    rows: STAGES,
    spans: |stages| stages.into(),
    prepare: prepare_stage,
};

/// A GenAI operation with four facts at its start and three at its end.
pub(super) const GENAI: Suite = Suite {
    name: "mlspan-genai",
    unit: "operation",
    is_timed: false,
    rows: OPERATIONS,
    spans: |operations| operations.into(),
    prepare: prepare_genai,
};

/// What a stage costs, and a little more.
const STAGES: &[Row] = &[
    Row::within(OtelMl, A, 180, 0).not_yet(215),
    Row::within(OtelMlSpans, A, 215, 0).not_yet(240),
    Row::within(OtelMl, P, 180, 0).not_yet(215),
    Row::within(OtelMlSpans, P, 215, 0).not_yet(240),
    Row::within(OtelMl, B, 5_900, 8).not_yet(6_150),
    Row::within(OtelMlSpans, B, 3_050, 5).not_yet(3_200),
    Row::within(OtelMl, C, 6_900, 8).not_yet(7_150),
    Row::within(OtelMlSpans, C, 5_450, 8).not_yet(5_650),
    Row::within(OtelMl, D, 7_050, 8).not_yet(7_300),
    Row::within(OtelMlSpans, D, 5_600, 8).not_yet(5_800),
];

/// What a GenAI operation costs, and a little more.
const OPERATIONS: &[Row] = &[
    Row::within(OtelMl, A, 680, 0).not_yet(730),
    Row::within(OtelMlSpans, A, 750, 0).not_yet(800),
    Row::within(OtelMl, P, 680, 0).not_yet(730),
    Row::within(OtelMlSpans, P, 750, 0).not_yet(800),
    Row::within(OtelMl, B, 15_750, 8),
    Row::within(OtelMlSpans, B, 4_600, 5),
    Row::within(OtelMl, C, 17_000, 8),
    Row::within(OtelMlSpans, C, 8_150, 8).not_yet(8_350),
    Row::within(OtelMl, D, 17_000, 8),
    Row::within(OtelMlSpans, D, 8_150, 8).not_yet(8_400),
];

fn each(mut work: impl FnMut(u64) + 'static) -> Iterate {
    Box::new(move |times| (0..times).for_each(|number| work(black_box(number.into()))))
}

fn prepare_write(variant: Variant, _condition: Condition) -> Iterate {
    let telemetry = match variant {
        Variant::Identity => return each(|number| _ = black_box(number)),
        #[cfg(feature = "peers")]
        Variant::TracingOpentelemetry => return Box::new(spans::writes),
        _ => Telemetry::global(),
    };
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

fn prepare_stage(variant: Variant, _condition: Condition) -> Iterate {
    match variant {
        Variant::Identity => each(|number| _ = black_box(number)),
        OtelMl => each(|number| _ = stage("rerank").in_scope_infallible(|| black_box(number))),
        #[cfg(feature = "peers")]
        Variant::TracingOpentelemetry => each(spans::stage),
        _ => {
            let telemetry = variant.telemetry();
            each(move |number| {
                _ = stage("rerank")
                    .telemetry(&telemetry)
                    .in_scope_infallible(|| black_box(number));
            })
        }
    }
}

fn prepare_genai(variant: Variant, _condition: Condition) -> Iterate {
    let generate = |number| {
        let span = MlSpan::current();
        span.response_model("acme-large-2026-08")
            .input_tokens(44)
            .output_tokens(black_box(number));
    };
    let chat = || {
        genai::chat("acme", "acme-large")
            .max_tokens(256)
            .temperature(0.2)
    };
    match variant {
        Variant::Identity => each(|number| _ = black_box(number)),
        OtelMl => each(move |number| chat().in_scope_infallible(|| generate(number))),
        #[cfg(feature = "peers")]
        Variant::TracingOpentelemetry => each(spans::genai),
        _ => {
            let telemetry = variant.telemetry();
            each(move |number| {
                chat()
                    .telemetry(&telemetry)
                    .in_scope_infallible(|| generate(number));
            })
        }
    }
}
