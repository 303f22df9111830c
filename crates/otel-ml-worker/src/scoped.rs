//! Work that is polled, and dropped, through something that makes a context current.

use std::future::Future;
use std::pin::Pin;
use std::task::{self, Poll};

use otel_ml::opentelemetry::Context;
use otel_ml::{Operation, Record};
use pin_project::{pin_project, pinned_drop};

use crate::carry::{attach_anywhere, poll_and_drop};

/// What runs work in a context of its own.
pub(crate) trait Scope {
    /// Runs `work` in it; a panic ends what it stands for.
    fn scope<T>(&mut self, work: impl FnOnce() -> T) -> T;

    /// The context; `None` once it is over.
    fn context(&self) -> Option<&Context>;
}

impl<R: Record> Scope for Operation<R> {
    fn scope<T>(&mut self, work: impl FnOnce() -> T) -> T {
        self.scope(work)
    }

    fn context(&self) -> Option<&Context> {
        self.context()
    }
}

/// Runs `work` through `scope`. Done or not, it is also dropped there.
pub(crate) fn run_in<S: Scope, F: Future>(scope: &mut S, work: F) -> Scoped<'_, S, F> {
    Scoped {
        cx: scope.context().cloned().unwrap_or_default(),
        scope,
        work: Some(work),
    }
}

/// The future of [`run_in`].
#[pin_project(PinnedDrop)]
pub(crate) struct Scoped<'a, S: Scope, F> {
    scope: &'a mut S,
    /// The context, also once a panic has ended `scope`.
    cx: Context,
    #[pin]
    work: Option<F>,
}

impl<S: Scope, F: Future> Future for Scoped<'_, S, F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        this.scope.scope(|| poll_and_drop(this.work, cx))
    }
}

#[pinned_drop]
impl<S: Scope, F> PinnedDrop for Scoped<'_, S, F> {
    fn drop(self: Pin<&mut Self>) {
        let mut this = self.project();
        if this.work.is_none() {
            return;
        }
        match attach_anywhere(this.cx) {
            Some(_attached) => this.scope.scope(|| this.work.set(None)),
            None => this.work.set(None),
        }
    }
}
