//! Whom a batch is linked to, and who is linked to it.

use otel_ml::Outcome;
use otel_ml::opentelemetry::Context;
use otel_ml::opentelemetry::trace::{SpanContext, TraceContextExt, TraceFlags, TraceState};
use otel_ml::semconv::ml;
use otel_ml_testing::opentelemetry_sdk::trace::Sampler;
use otel_ml_testing::{SpanExt, SpansExt, TestTelemetry};
use otel_ml_worker::{BatchOperation, Trigger};

use crate::batch::{inbox, links, requests};
use crate::support::{in_request, remote};

#[test]
fn e05_over_128_links_the_others_are_counted() {
    let test = TestTelemetry::new();
    let queue = inbox(&test).build();
    let batches = BatchOperation::builder("classify");
    let (batch, _items) = batches.start(Trigger::Size, requests(&test, &queue, 200));
    batch.finish(Outcome::Ok);
    let spans = test.spans();
    let batch = spans.named("batch classify");
    assert_eq!(
        (links(batch).len(), batch.int(ml::LINKS_DROPPED)),
        (128, 72)
    );
    assert_eq!(batch.int(ml::BATCH_SIZE), 200);
    let infers = spans.all_named("infer");
    assert_eq!(infers.len(), 200);
    assert!(
        infers
            .iter()
            .all(|span| links(span) == [batch.span_context.clone()])
    );
}

#[test]
fn e05_over_128_links_the_sampled_ones_are_kept() {
    let test = TestTelemetry::new();
    let queue = inbox(&test).build();
    let waiting = (1..=200_u64).map(|number| {
        let flags = TraceFlags::new(u8::from(number > 100));
        let span = SpanContext::new(9.into(), number.into(), flags, true, TraceState::NONE);
        let _caller = Context::new().with_remote_span_context(span).attach();
        queue.traced(number)
    });
    let waiting: Vec<_> = waiting.collect();
    let batches = BatchOperation::builder("classify");
    batches.start(Trigger::Size, waiting).0.finish(Outcome::Ok);
    let spans = test.spans();
    let batch = spans.named("batch classify");
    let is_sampled: Vec<_> = links(batch).iter().map(SpanContext::is_sampled).collect();
    assert_eq!(is_sampled.iter().filter(|sampled| **sampled).count(), 100);
    assert_eq!((is_sampled.len(), batch.int(ml::LINKS_DROPPED)), (128, 72));
}

#[test]
fn a_request_with_several_items_is_linked_once_and_one_without_a_trace_not_at_all() {
    let test = TestTelemetry::new();
    let queue = inbox(&test).build();
    let mut waiting = in_request(&test, || vec![queue.traced(0), queue.traced(1)]);
    waiting.push(queue.traced(2));
    let batches = BatchOperation::builder("classify");
    let (batch, items) = batches.start(Trigger::Timeout, waiting);
    assert_eq!(items, [0, 1, 2]);
    batch.finish(Outcome::Ok);
    let spans = test.spans();
    assert_eq!(links(spans.named("batch classify")).len(), 1);
    assert_eq!(spans.all_named("infer").len(), 3);
}

#[test]
fn a_batcher_that_is_part_of_some_trace_does_not_draw_its_batches_into_it() {
    let test = TestTelemetry::new();
    let queue = inbox(&test).build();
    let waiting = requests(&test, &queue, 1);
    let here = remote(1);
    let _first_request = here.clone().attach();
    let batches = BatchOperation::builder("classify");
    batches.start(Trigger::Drain, waiting).0.finish(Outcome::Ok);
    let spans = test.spans();
    let batch = spans.named("batch classify");
    let ambient = here.span().span_context().clone();
    assert_ne!(batch.span_context.trace_id(), ambient.trace_id());
    assert_eq!(links(batch)[1], ambient);
    assert_eq!(batch.str(ml::BATCH_TRIGGER), "drain");
}

#[test]
fn e23_a_request_recorded_below_a_caller_that_is_not_sampled_leads_to_its_batch() {
    let test = TestTelemetry::builder().sampler(Sampler::AlwaysOn).build();
    let queue = inbox(&test).build();
    let waiting = {
        let _caller = remote(0).attach();
        vec![queue.traced(0)]
    };
    let batches = BatchOperation::builder("classify");
    batches.start(Trigger::Size, waiting).0.finish(Outcome::Ok);
    let spans = test.spans();
    let batch = &spans.named("batch classify").span_context;
    assert_eq!(links(spans.named("infer")), std::slice::from_ref(batch));
}
