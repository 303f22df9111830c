//! A way to hand work over, on a runtime, and what has to hold whichever way it goes.

#[cfg(feature = "rayon")]
use std::sync::Arc;
use std::sync::mpsc;

use otel_ml::opentelemetry::trace::{SpanId, TraceId};
use otel_ml::semconv::{error, ml};
use otel_ml_testing::{
    SpanExt, SpansExt, TestTelemetry, assert_ended_once, assert_parents_present, assert_types,
};
use tokio::runtime::{Builder, Runtime};
use tokio::task::yield_now;

use super::forms::{Act, End, Form, Handed, Place, Work};
use crate::support::{Diary, in_request, jobs, span_here, trace_here, waits, within_reason};

/// A form on a runtime, with all that it needs.
pub(super) struct Case {
    pub(super) form: Form,
    pub(super) test: TestTelemetry,
    pub(super) runtime: Runtime,
    pub(super) place: Place,
    pub(super) diary: Diary,
    pub(super) handed: mpsc::Receiver<Handed>,
    pub(super) work: Work,
    pub(super) name: String,
}

/// How a job's span ended: what `error.type` is, and `ml.cancel.reason`.
pub(super) type Ended = (Option<&'static str>, Option<&'static str>);

impl Case {
    pub(super) fn new(form: Form, act: Act, mut builder: Builder) -> Self {
        let test = TestTelemetry::new();
        let runtime = builder.enable_all().build().unwrap();
        let place = Place {
            tokio: runtime.handle().clone(),
            #[cfg(feature = "rayon")]
            rayon: Arc::new(
                rayon::ThreadPoolBuilder::new()
                    .num_threads(4)
                    .panic_handler(drop)
                    .build()
                    .unwrap(),
            ),
            queue: jobs(&test).limit(9).build(),
        };
        let diary = Diary::default();
        let (handed, inner) = mpsc::channel();
        let work = Work {
            act,
            diary: diary.clone(),
            form,
            place: place.clone(),
            handed,
        };
        let kind = runtime.handle().runtime_flavor();
        Self {
            name: format!("{}, {act:?}, {kind:?}", form.name),
            form,
            test,
            runtime,
            place,
            diary,
            handed: inner,
            work,
        }
    }

    /// Hands the work over in a request of its own; the request's span.
    pub(super) fn hand_over(&self) -> (Handed, SpanId) {
        in_request(&self.test, || {
            let handed = (self.form.hand_over)(&self.place, self.work.clone());
            (handed, span_here())
        })
    }

    pub(super) fn end_of(&self, handed: Handed) -> End {
        self.runtime.block_on(within_reason(handed.end()))
    }

    /// Waits until the work has begun.
    pub(super) fn wait_for_begin(&self) {
        self.runtime.block_on(within_reason(async {
            while self.diary.is_empty() {
                yield_now().await;
            }
        }));
    }

    /// All that ran or was dropped did so in the right span, which ended as it is to; nothing is
    /// left behind.
    #[track_caller]
    pub(super) fn check(&self, request: SpanId, ran: bool, ended: Ended) {
        let name = &self.name;
        let spans = self.test.spans();
        assert_ended_once(&spans);
        assert_types(&spans);
        assert_parents_present(&spans);
        assert!(self.test.open_spans().is_empty(), "{name}");
        let works = if self.work.act == Act::Nest { 2 } else { 1 };
        let mut expected = vec![request];
        if self.form.is_job {
            let jobs = spans.all_named("score");
            assert_eq!(jobs.len(), works, "{name}");
            expected = jobs.iter().map(|job| job.span_context.span_id()).collect();
            for job in jobs {
                let of = |key| job.has(key).then(|| job.str(key));
                assert_eq!((of(error::TYPE), of(ml::CANCEL_REASON)), ended, "{name}");
                assert_eq!(job.is_error(), ended.0.is_some(), "{name}");
                let parent = job.parent_span_id;
                assert!(parent == request || expected.contains(&parent), "{name}");
                assert!(job.double(ml::QUEUE_WAIT_DURATION) >= 0.0, "{name}");
            }
            // A wait counts where it was followed by work.
            let counted = waits(&self.test).map_or(0, |wait| wait.count());
            assert_eq!(counted, if ran { works as u64 } else { 0 }, "{name}");
        } else {
            let spans = spans.iter().filter(|span| span.name != "request");
            assert_eq!(spans.count(), 0, "{name} makes no span");
        }
        let noted = self.diary.take();
        let dropped = noted.iter().filter(|(what, _)| *what == "dropped").count();
        assert_eq!(dropped, works, "{name}: {noted:?}");
        assert_eq!(noted.len() > dropped, ran, "{name}: {noted:?}");
        for (what, span) in noted {
            assert!(expected.contains(&span), "{name}: {what} in {span}");
        }
        assert_eq!(self.place.queue.size(), 0, "{name}");
        assert_eq!(trace_here(), TraceId::INVALID, "{name}");
        #[cfg(feature = "rayon")]
        for left in self.place.rayon.broadcast(|_| trace_here()) {
            assert_eq!(left, TraceId::INVALID, "{name}");
        }
    }

    /// The same where the runtime is still there, and no thread of it keeps a context.
    #[track_caller]
    pub(super) fn check_all(&self, request: SpanId, ran: bool, ended: Ended) {
        self.check(request, ran, ended);
        let task = self.runtime.spawn(async { trace_here() });
        let blocking = self.runtime.spawn_blocking(trace_here);
        let left = self
            .runtime
            .block_on(async { (task.await, blocking.await) });
        let left = (left.0.unwrap(), left.1.unwrap());
        assert_eq!(left, (TraceId::INVALID, TraceId::INVALID), "{}", self.name);
    }
}
