//! Work that runs in an operation.

use std::cell::RefCell;
use std::fmt;
use std::pin::Pin;

use opentelemetry::{Context, ContextGuard};
use pin_project::{pin_project, pinned_drop};

use super::{Operation, Record};

/// Work that is polled in its operation's context, and dropped in it: a future, a stream or a
/// body. What it writes while it is dropped half-way is written to its own operation, which
/// ends after it.
#[pin_project(PinnedDrop)]
pub struct Scoped<T, R: Record> {
    // They are dropped in this order.
    #[pin]
    work: T,
    leave: Leave,
    operation: Operation<R>,
}

impl<T, R: Record> Scoped<T, R> {
    /// Runs `work` in `operation`.
    #[inline]
    pub const fn new(work: T, operation: Operation<R>) -> Self {
        Self {
            work,
            leave: Leave::new(),
            operation,
        }
    }

    /// The work.
    #[inline]
    pub const fn work(&self) -> &T {
        &self.work
    }

    /// The operation.
    #[inline]
    pub const fn operation(&self) -> &Operation<R> {
        &self.operation
    }

    /// The operation.
    #[inline]
    pub fn operation_mut(self: Pin<&mut Self>) -> &mut Operation<R> {
        self.project().operation
    }

    /// The work, and its operation.
    #[inline]
    pub fn parts(self: Pin<&mut Self>) -> (Pin<&mut T>, &mut Operation<R>) {
        let this = self.project();
        (this.work, this.operation)
    }

    /// Polls the work in the operation's context. A panic ends the operation as failed.
    #[inline]
    pub fn poll<U>(self: Pin<&mut Self>, poll: impl FnOnce(Pin<&mut T>) -> U) -> U {
        let (work, operation) = self.parts();
        let entered = operation.enter();
        let result = poll(work);
        entered.leave();
        result
    }
}

#[pinned_drop]
impl<T, R: Record> PinnedDrop for Scoped<T, R> {
    #[inline]
    fn drop(self: Pin<&mut Self>) {
        let this = self.project();
        this.leave.enter(this.operation);
    }
}

thread_local! {
    /// Contexts that work is being dropped in: a guard can't be kept beside the work, which may
    /// be dropped on any thread.
    static ENTERED: RefCell<Vec<ContextGuard>> = const { RefCell::new(Vec::new()) };
}

/// Makes the context of an operation current from the moment its work is dropped until it is
/// dropped itself: a field between the work and the operation.
#[derive(Debug, Default)]
pub struct Leave {
    is_due: bool,
}

impl Leave {
    /// Nothing to leave.
    #[inline]
    #[must_use]
    pub const fn new() -> Self {
        Self { is_due: false }
    }

    /// The work is about to be dropped. Where it came to its end, its operation has, too.
    #[inline]
    pub fn enter<R: Record>(&mut self, operation: &Operation<R>) {
        if let Some(cx) = operation.context() {
            self.attach(cx);
        }
    }

    #[cold]
    fn attach(&mut self, cx: &Context) {
        let attached = cx.clone().attach();
        self.is_due = ENTERED
            .try_with(|entered| entered.borrow_mut().push(attached))
            .is_ok();
    }
}

impl Drop for Leave {
    #[inline]
    fn drop(&mut self) {
        if self.is_due {
            // Let go of outside of the list: with the context others' code may be dropped.
            let _left = ENTERED.try_with(|entered| entered.borrow_mut().pop());
        }
    }
}

impl<T: fmt::Debug, R: Record> fmt::Debug for Scoped<T, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scoped")
            .field("work", &self.work)
            .finish_non_exhaustive()
    }
}
