//! Bodies and streams that do exactly what a test says, and tell what was done to them.
//!
//! ```
//! use otel_ml_testing::mock::MockBody;
//!
//! let body = MockBody::new().data("half an ").pending().data("answer").error("reset");
//! let probe = body.probe();
//! drop(body);
//! assert!(probe.is_dropped());
//! assert_eq!(probe.polls(), 0);
//! ```

mod body;
mod stream;

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll};

pub use self::body::{MockBody, MockError};
pub use self::stream::MockStream;
use crate::fail::fail;

/// Tells what has happened to a mock; stays valid after the mock is gone.
#[derive(Clone, Debug, Default)]
pub struct Probe(Arc<Seen>);

#[derive(Debug, Default)]
struct Seen {
    polls: AtomicUsize,
    polls_after_end: AtomicUsize,
    ended: AtomicBool,
    dropped: AtomicBool,
}

impl Probe {
    /// How often the mock was polled.
    #[must_use]
    pub fn polls(&self) -> usize {
        self.0.polls.load(Ordering::SeqCst)
    }

    /// How often it was polled after it had answered its end.
    #[must_use]
    pub fn polls_after_end(&self) -> usize {
        self.0.polls_after_end.load(Ordering::SeqCst)
    }

    /// Whether it has answered its end (`None`).
    #[must_use]
    pub fn is_ended(&self) -> bool {
        self.0.ended.load(Ordering::SeqCst)
    }

    /// Whether it was dropped.
    #[must_use]
    pub fn is_dropped(&self) -> bool {
        self.0.dropped.load(Ordering::SeqCst)
    }
}

/// The steps of a mock, and its probe.
struct Script<T> {
    steps: VecDeque<Step<T>>,
    probe: Probe,
}

enum Step<T> {
    Ready(T),
    Pending,
    Hang,
    Panic(String),
}

impl<T> Script<T> {
    fn new() -> Self {
        Self {
            steps: VecDeque::new(),
            probe: Probe::default(),
        }
    }

    fn then(&mut self, step: Step<T>) {
        self.steps.push_back(step);
    }

    fn is_done(&self) -> bool {
        self.steps.is_empty()
    }

    fn poll(&mut self, cx: &Context<'_>) -> Poll<Option<T>> {
        let seen = &self.probe.0;
        seen.polls.fetch_add(1, Ordering::SeqCst);
        match self.steps.pop_front() {
            Some(Step::Ready(value)) => Poll::Ready(Some(value)),
            Some(Step::Pending) => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Some(Step::Hang) => {
                self.steps.push_front(Step::Hang);
                Poll::Pending
            }
            Some(Step::Panic(message)) => fail(&message),
            None => {
                if seen.ended.swap(true, Ordering::SeqCst) {
                    seen.polls_after_end.fetch_add(1, Ordering::SeqCst);
                }
                Poll::Ready(None)
            }
        }
    }
}

// === impl Script ===

impl<T> Drop for Script<T> {
    fn drop(&mut self) {
        self.probe.0.dropped.store(true, Ordering::SeqCst);
    }
}

impl<T> fmt::Debug for Script<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Script")
            .field("steps_left", &self.steps.len())
            .field("probe", &self.probe)
            .finish()
    }
}
