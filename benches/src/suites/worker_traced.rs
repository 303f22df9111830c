//! Requests that go through a channel, one by one and in batches, below a parent that is current.

use std::hint::black_box;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};

use http::{HeaderMap, HeaderValue};
use otel_ml_worker::otel_ml::carrier::HeaderExtractor;
use otel_ml_worker::otel_ml::opentelemetry::Context;
use otel_ml_worker::otel_ml::{Outcome, Telemetry};
use otel_ml_worker::{BatchOperation, Queue, Traced, Trigger};

use super::{Iterate, Row, Suite};
use crate::condition::Condition::{self, A, B, C};
use crate::layers::Variant::{self, OtelMl, OtelMlSpans};

/// A request, and where its answer goes to.
type Request = [u64; 4];

const BATCH: u32 = 8;

/// With its wait in a histogram, which hashes its labels each time unless it is bound to them.
const AS_SHIPPED: Row = if cfg!(feature = "bound-instruments") {
    Row::within(OtelMl, C, 500, 1)
} else {
    Row::within(OtelMl, C, 500, 1).not_yet(1_600)
};

/// An item in, and out.
pub(super) const ITEM: Suite = Suite {
    name: "worker-traced",
    unit: "message",
    is_timed: true,
    rows: &[
        Row::for_information(OtelMl, A),
        Row::for_information(OtelMl, B),
        AS_SHIPPED,
        Row::within(OtelMlSpans, C, 500, 1),
    ],
    spans: |_messages| 0,
    prepare: prepare_item,
};

/// Eight requests in, out as a batch, and answered.
pub(super) const BATCHES: Suite = Suite {
    name: "worker-batch",
    unit: "batch of 8",
    is_timed: true,
    rows: &[
        Row::for_information(OtelMl, A),
        Row::for_information(OtelMl, B),
        Row::for_information(OtelMl, C),
        Row::for_information(OtelMlSpans, C),
    ],
    spans: |batches| u64::from(batches) * u64::from(BATCH + 1),
    prepare: prepare_batch,
};

/// The context of a caller elsewhere.
pub(super) fn parent(condition: Condition) -> Context {
    let mut caller = HeaderMap::new();
    caller.insert(
        "traceparent",
        HeaderValue::from_static(condition.traceparent()),
    );
    let telemetry = Telemetry::builder().without_metrics().build();
    telemetry.extract(&HeaderExtractor::new(&caller))
}

fn queue(variant: Variant) -> Queue {
    let queue = Queue::builder("requests").limit(BATCH.into());
    queue.telemetry(variant.telemetry()).build()
}

fn send<T>(sender: &SyncSender<T>, item: T) {
    match sender.try_send(item) {
        Ok(()) => {}
        Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
            unreachable!("there is room for a batch, and somebody who takes it")
        }
    }
}

fn prepare_item(variant: Variant, condition: Condition) -> Iterate {
    let parent = parent(condition);
    if !variant.is_tracing() {
        let (sender, receiver) = sync_channel::<Request>(1);
        return Box::new(move |messages| {
            let _attached = parent.clone().attach();
            for number in 0..messages {
                send(&sender, [number.into(); 4]);
                let _ = black_box(receiver.try_recv());
            }
        });
    }
    let queue = queue(variant);
    let (sender, receiver) = sync_channel::<Traced<Request>>(1);
    Box::new(move |messages| {
        let _attached = parent.clone().attach();
        for number in 0..messages {
            send(&sender, queue.traced([number.into(); 4]));
            let _ = black_box(receiver.try_recv().map(Traced::open));
        }
    })
}

fn prepare_batch(variant: Variant, condition: Condition) -> Iterate {
    let parent = parent(condition);
    if !variant.is_tracing() {
        let (sender, receiver) = sync_channel::<Request>(BATCH as usize);
        return Box::new(move |batches| {
            for number in 0..batches {
                for _ in 0..BATCH {
                    let _attached = parent.clone().attach();
                    send(&sender, [number.into(); 4]);
                }
                let batch: Vec<Request> = receiver.try_iter().collect();
                black_box(batch);
            }
        });
    }
    let queue = queue(variant);
    let batches_of = BatchOperation::builder("requests")
        .telemetry(variant.telemetry())
        .model("m")
        .max_size(BATCH.into());
    let (sender, receiver) = sync_channel::<Traced<Request>>(BATCH as usize);
    Box::new(move |batches| {
        for number in 0..batches {
            for _ in 0..BATCH {
                let _attached = parent.clone().attach();
                send(&sender, queue.traced([number.into(); 4]));
            }
            let waiting = receiver.try_iter().collect();
            let (mut batch, requests) = batches_of.start(Trigger::Size, waiting);
            batch.scope(|| black_box(requests));
            batch.finish(Outcome::Ok);
        }
    })
}
