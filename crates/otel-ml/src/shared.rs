//! The entry of an operation in its `Context`, found there by type.

use std::cell::RefCell;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use opentelemetry::{Context, Key, Value};

use crate::facts::{FactKey, Facts};
use crate::telemetry::Telemetry;

/// What a `Context` holds of an operation.
pub(crate) struct Entry(Arc<Shared>);

/// What code that runs in an operation reaches of it.
pub(crate) struct Shared {
    /// The operation's context without its entry, so that the two don't hold each other.
    span: Context,
    pub(crate) telemetry: Telemetry,
    started: Instant,
    recording: bool,
    facts: Mutex<Facts>,
}

/// What an operation starts with.
pub(crate) struct Start {
    pub(crate) span: Context,
    pub(crate) recording: bool,
    pub(crate) telemetry: Telemetry,
    pub(crate) started: Instant,
    /// Keys that the span has already.
    pub(crate) taken: Vec<Key>,
    /// The most facts that it takes.
    pub(crate) cap: usize,
}

thread_local! {
    /// Those whose operation is over, for the next ones on this thread: their list of facts is
    /// there already, and their memory is neither given back nor copied to.
    static SPARE: RefCell<Vec<Arc<Shared>>> = const { RefCell::new(Vec::new()) };
}

/// How many of them a thread keeps.
const MOST_SPARE: usize = 64;

impl Entry {
    /// The nearest operation in `cx`.
    #[inline]
    pub(crate) fn find(cx: &Context) -> Option<&Arc<Shared>> {
        cx.get::<Self>().map(|entry| &entry.0)
    }

    /// `cx` with the entry of an operation that starts, and what the entry holds.
    #[inline]
    pub(crate) fn add(start: Start) -> (Context, Arc<Shared>) {
        let spare = SPARE.try_with(|spare| spare.borrow_mut().pop());
        let mut shared = spare.ok().flatten().unwrap_or_default();
        let cx = start.span.clone();
        match Arc::get_mut(&mut shared) {
            Some(unused) => unused.begin(start),
            None => {
                let mut new = Shared::default();
                new.begin(start);
                shared = Arc::new(new);
            }
        }
        (cx.with_value(Self(Arc::clone(&shared))), shared)
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        // A handle that is still somewhere keeps what it refers to.
        let Some(shared) = Arc::get_mut(&mut self.0) else {
            return;
        };
        shared.clear();
        let _gone = SPARE.try_with(|spare| {
            let mut spare = spare.borrow_mut();
            if spare.len() < MOST_SPARE {
                spare.push(Arc::clone(&self.0));
            }
        });
    }
}

impl Default for Shared {
    fn default() -> Self {
        Self {
            span: Context::new(),
            telemetry: Telemetry::off(),
            started: Instant::now(),
            recording: false,
            facts: Mutex::default(),
        }
    }
}

impl Shared {
    #[inline]
    fn begin(&mut self, start: Start) {
        self.span = start.span;
        self.telemetry = start.telemetry;
        self.started = start.started;
        self.recording = start.recording;
        let facts = self.facts.get_mut().unwrap_or_else(PoisonError::into_inner);
        facts.begin(start.taken, start.cap);
    }

    /// Lets go of all that it held, which may end spans.
    fn clear(&mut self) {
        self.span = Context::new();
        self.telemetry = Telemetry::off();
        let facts = self.facts.get_mut().unwrap_or_else(PoisonError::into_inner);
        facts.clear();
    }

    pub(crate) const fn span_context(&self) -> &Context {
        &self.span
    }

    pub(crate) fn is_recording(&self) -> bool {
        self.recording && !self.lock().is_finished()
    }

    pub(crate) fn is_finished(&self) -> bool {
        self.lock().is_finished()
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Sets a fact, if it ends up anywhere: `value` is not called otherwise.
    #[inline]
    pub(crate) fn set(&self, key: &FactKey, value: impl FnOnce() -> Value) {
        if self.recording || key.is_for_metrics {
            // The caller's code, which may write to this operation itself: not under the lock.
            let value = value();
            self.lock().set(key, value);
        }
    }

    pub(crate) fn set_custom(&self, key: Key, value: impl FnOnce() -> Value) {
        let key = FactKey::new(key);
        self.lock().has_custom = true;
        self.set(&key, value);
    }

    pub(crate) fn first_token(&self) {
        let elapsed = self.elapsed();
        self.lock().first_token.get_or_insert(elapsed);
    }

    /// The facts, out of the lock: what is done with them runs code of others, which may ask for
    /// their owner. From now on none is taken.
    #[inline]
    pub(crate) fn finish(&self) -> Facts {
        self.lock().finish()
    }

    /// Keeps the memory of a list for the next operation.
    #[inline]
    pub(crate) fn give_back(&self, facts: Facts) {
        self.lock().give_back(facts);
    }

    /// A panic while the lock was held can't leave a list in two minds.
    #[inline]
    fn lock(&self) -> MutexGuard<'_, Facts> {
        self.facts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(taken: Vec<Key>) -> (Context, Arc<Shared>) {
        Entry::add(Start {
            span: Context::new(),
            recording: true,
            telemetry: Telemetry::off(),
            started: Instant::now(),
            taken,
            cap: 8,
        })
    }

    #[test]
    fn what_serves_again_holds_nothing_of_the_operation_before() {
        let (cx, shared) = add(vec!["app.taken".into()]);
        shared.set_custom("app.own".into(), || 1.into());
        shared.first_token();
        let used = Arc::as_ptr(&shared);
        assert_eq!(shared.finish().list.len(), 1);
        drop((shared, cx));

        let (_cx, shared) = add(Vec::new());
        assert_eq!(Arc::as_ptr(&shared), used);
        assert!(!shared.is_finished());
        {
            let facts = shared.lock();
            assert!(!facts.has_custom && facts.first_token.is_none() && facts.list.is_empty());
        }
        shared.set_custom("app.taken".into(), || 2.into());
        assert_eq!(shared.finish().list.len(), 1);
    }

    #[test]
    fn what_somebody_still_holds_does_not_serve_again() {
        let (cx, kept) = add(Vec::new());
        drop(cx);
        for _ in 0..2 * MOST_SPARE {
            let (_cx, shared) = add(Vec::new());
            assert!(!Arc::ptr_eq(&shared, &kept));
        }
        assert!(SPARE.with_borrow(|spare| spare.len()) <= MOST_SPARE);
    }
}
