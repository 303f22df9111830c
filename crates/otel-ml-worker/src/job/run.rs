//! What does a job: a future, a stream or a closure.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{self, Poll, ready};

use futures_core::Stream;
use otel_ml::opentelemetry::Context;
use otel_ml::{Operation, Outcome, TellOutcome};
use pin_project::{pin_project, pinned_drop};

use super::{Job, JobRecord};
use crate::carry::{attach_anywhere, poll_and_drop};

/// How far a job is.
enum State {
    Waiting(Job),
    Begun {
        operation: Operation<JobRecord>,
        /// The context, which outlives the operation: a stream may go on after its first error.
        cx: Context,
    },
    /// It has ended, and what did the work is gone.
    Over,
}

impl State {
    fn begin(&mut self) {
        if matches!(self, Self::Waiting(_))
            && let Self::Waiting(job) = std::mem::replace(self, Self::Over)
        {
            let operation = job.begin();
            let cx = operation.context().cloned().unwrap_or_default();
            *self = Self::Begun { operation, cx };
        }
    }

    /// Runs `work` in the context of the job.
    fn scope<T>(&mut self, work: impl FnOnce() -> T) -> T {
        match self {
            Self::Begun { operation, .. } if operation.context().is_some() => operation.scope(work),
            Self::Begun { cx, .. } => {
                let _attached = attach_anywhere(cx);
                work()
            }
            Self::Waiting(_) | Self::Over => work(),
        }
    }

    fn end(&mut self, outcome: &Outcome) {
        if let Self::Begun { operation, .. } = self {
            operation.end(outcome);
        }
    }

    fn yielded(&mut self) {
        if let Self::Begun { operation, .. } = self
            && let Some(record) = operation.record_mut()
        {
            *record.items.get_or_insert(0) += 1;
        }
    }

    /// Drops what does the work: it ends as never run, or as cancelled.
    fn drop_with(&mut self, drop_work: impl FnOnce()) {
        match std::mem::replace(self, Self::Over) {
            Self::Waiting(job) => job.never_run(drop_work),
            Self::Begun { mut operation, cx } => match attach_anywhere(&cx) {
                Some(_attached) => operation.scope(drop_work),
                None => drop_work(),
            },
            Self::Over => drop_work(),
        }
    }
}

/// The future or stream of a [`Job`].
///
/// # Cancel safety
/// That of the inner one, which is also dropped in the job's context. Dropped before its first
/// poll the job has never run; dropped later it ends as cancelled. A future that is polled after
/// its end waits forever; a stream does then what the inner one does, in the job's context.
#[pin_project(PinnedDrop)]
#[must_use = "it does nothing unless polled"]
pub struct RunJob<F, O> {
    #[pin]
    work: Option<F>,
    state: State,
    outcome: O,
}

impl<F, O> RunJob<F, O> {
    pub(super) const fn new(job: Job, work: F, outcome: O) -> Self {
        Self {
            work: Some(work),
            state: State::Waiting(job),
            outcome,
        }
    }
}

impl<F: Future, O: TellOutcome<F::Output>> Future for RunJob<F, O> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        this.state.begin();
        let value = ready!(this.state.scope(|| poll_and_drop(this.work, cx)));
        this.state.end(&this.outcome.tell(&value));
        Poll::Ready(value)
    }
}

impl<S: Stream, O: TellOutcome<S::Item>> Stream for RunJob<S, O> {
    type Item = S::Item;

    fn poll_next(self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<Option<S::Item>> {
        let mut this = self.project();
        this.state.begin();
        let item = ready!(this.state.scope(|| {
            let stream = this.work.as_mut().as_pin_mut();
            stream.map_or(Poll::Ready(None), |stream| stream.poll_next(cx))
        }));
        match &item {
            None => this.state.end(&Outcome::Ok),
            Some(item) => match this.outcome.tell(item) {
                Outcome::Ok => this.state.yielded(),
                failed => this.state.end(&failed),
            },
        }
        Poll::Ready(item)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.work.as_ref().map_or((0, Some(0)), Stream::size_hint)
    }
}

#[pinned_drop]
impl<F, O> PinnedDrop for RunJob<F, O> {
    fn drop(self: Pin<&mut Self>) {
        let mut this = self.project();
        if this.work.is_some() {
            this.state.drop_with(|| this.work.set(None));
        }
    }
}

impl<F: fmt::Debug, O> fmt::Debug for RunJob<F, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunJob")
            .field("work", &self.work)
            .finish_non_exhaustive()
    }
}

/// A closure that is a job.
pub(super) struct Deferred<F>(Option<(Job, F)>);

impl<F> Deferred<F> {
    pub(super) const fn new(job: Job, work: F) -> Self {
        Self(Some((job, work)))
    }

    pub(super) fn call<T>(mut self, outcome: &impl TellOutcome<T>) -> T
    where
        F: FnOnce() -> T,
    {
        let Some((job, work)) = self.0.take() else {
            unreachable!("it is taken by value, here or by the drop");
        };
        let mut operation = job.begin();
        let value = operation.scope(work);
        operation.end(&outcome.tell(&value));
        value
    }
}

impl<F> Drop for Deferred<F> {
    fn drop(&mut self) {
        if let Some((job, work)) = self.0.take() {
            job.never_run(|| drop(work));
        }
    }
}
