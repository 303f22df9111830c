//! A mock [`futures_core::Stream`].

use std::pin::Pin;
use std::task::{Context, Poll};

use futures_core::Stream;

use super::{Probe, Script, Step};

/// A stream that answers its polls with the given steps, in order, then with its end.
#[derive(Debug)]
#[must_use = "a stream does nothing unless it is polled"]
pub struct MockStream<T> {
    script: Script<T>,
}

impl<T> MockStream<T> {
    /// An empty stream.
    pub fn new() -> Self {
        Self {
            script: Script::new(),
        }
    }

    /// Then an item.
    pub fn item(self, item: T) -> Self {
        self.then(Step::Ready(item))
    }

    /// Then not ready once; the task is woken at once.
    pub fn pending(self) -> Self {
        self.then(Step::Pending)
    }

    /// Then never ready again, for a stream that is to be dropped mid-way.
    pub fn hang(self) -> Self {
        self.then(Step::Hang)
    }

    /// Then a panic with this message; a poll after it goes on behind it.
    pub fn panic(self, message: impl Into<String>) -> Self {
        self.then(Step::Panic(message.into()))
    }

    /// A look at what is done to this stream.
    #[must_use]
    pub fn probe(&self) -> Probe {
        self.script.probe.clone()
    }

    fn then(mut self, step: Step<T>) -> Self {
        self.script.then(step);
        self
    }
}

// === impl MockStream ===

impl<T> Default for MockStream<T> {
    fn default() -> Self {
        Self::new()
    }
}

// No item is ever pinned: they lie in a queue and are moved out.
impl<T> Unpin for MockStream<T> {}

impl<T> Stream for MockStream<T> {
    type Item = T;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        self.get_mut().script.poll(cx)
    }
}
