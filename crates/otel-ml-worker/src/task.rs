//! tokio's and the standard library's ways to start work, in the context of who starts it.

use std::fmt;
use std::future::Future;
use std::ops::{Deref, DerefMut};

use tokio::runtime::Handle;
use tokio::task::{AbortHandle, JoinHandle, LocalSet};

use crate::carry::{carry, carry_fn};

/// [`tokio::spawn`] in the current context.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// // Spans that the task starts are children of what is active here.
/// let task = otel_ml_worker::spawn(async { 42 });
/// assert_eq!(task.await.unwrap(), 42);
/// # }
/// ```
///
/// # Panics
/// As `tokio::spawn`: outside a runtime.
#[track_caller]
pub fn spawn<F>(work: F) -> JoinHandle<F::Output>
where
    F: Future<Output: Send + 'static> + Send + 'static,
{
    tokio::spawn(carry(work))
}

/// [`tokio::task::spawn_blocking`] in the current context.
///
/// # Panics
/// As `tokio::task::spawn_blocking`: outside a runtime.
#[track_caller]
pub fn spawn_blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> JoinHandle<T> {
    tokio::task::spawn_blocking(carry_fn(work))
}

/// [`std::thread::spawn`] in the current context. For a named or a scoped thread, wrap the
/// closure by [`carry_fn`].
///
/// # Panics
/// As `std::thread::spawn`: when the system has no thread to give.
#[track_caller]
pub fn spawn_thread<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> std::thread::JoinHandle<T> {
    std::thread::spawn(carry_fn(work))
}

/// A [`tokio::task::JoinSet`] whose tasks run in the context in which they were spawned.
///
/// It derefs to tokio's for everything but spawning.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let mut set = otel_ml_worker::JoinSet::new();
/// set.spawn(async { 42 });
/// assert_eq!(set.join_next().await.unwrap().unwrap(), 42);
/// # }
/// ```
pub struct JoinSet<T>(tokio::task::JoinSet<T>);

impl<T> JoinSet<T> {
    /// An empty set.
    #[must_use]
    pub fn new() -> Self {
        Self(tokio::task::JoinSet::new())
    }

    /// tokio's own set, with all its tasks.
    #[must_use]
    pub fn into_inner(self) -> tokio::task::JoinSet<T> {
        self.0
    }
}

impl<T: Send + 'static> JoinSet<T> {
    /// [`tokio::task::JoinSet::spawn`] in the current context.
    ///
    /// # Panics
    /// Outside a runtime.
    #[track_caller]
    pub fn spawn(&mut self, work: impl Future<Output = T> + Send + 'static) -> AbortHandle {
        self.0.spawn(carry(work))
    }

    /// [`tokio::task::JoinSet::spawn_on`] in the current context.
    #[track_caller]
    pub fn spawn_on(
        &mut self,
        work: impl Future<Output = T> + Send + 'static,
        handle: &Handle,
    ) -> AbortHandle {
        self.0.spawn_on(carry(work), handle)
    }

    /// [`tokio::task::JoinSet::spawn_blocking`] in the current context.
    ///
    /// # Panics
    /// Outside a runtime.
    #[track_caller]
    pub fn spawn_blocking(&mut self, work: impl FnOnce() -> T + Send + 'static) -> AbortHandle {
        self.0.spawn_blocking(carry_fn(work))
    }

    /// [`tokio::task::JoinSet::spawn_blocking_on`] in the current context.
    #[track_caller]
    pub fn spawn_blocking_on(
        &mut self,
        work: impl FnOnce() -> T + Send + 'static,
        handle: &Handle,
    ) -> AbortHandle {
        self.0.spawn_blocking_on(carry_fn(work), handle)
    }
}

impl<T: 'static> JoinSet<T> {
    /// [`tokio::task::JoinSet::spawn_local`] in the current context.
    ///
    /// # Panics
    /// Outside a `LocalSet`.
    #[track_caller]
    pub fn spawn_local(&mut self, work: impl Future<Output = T> + 'static) -> AbortHandle {
        self.0.spawn_local(carry(work))
    }

    /// [`tokio::task::JoinSet::spawn_local_on`] in the current context.
    #[track_caller]
    pub fn spawn_local_on(
        &mut self,
        work: impl Future<Output = T> + 'static,
        local: &LocalSet,
    ) -> AbortHandle {
        self.0.spawn_local_on(carry(work), local)
    }
}

// Not derived: that asks of `T` what tokio's own doesn't.
impl<T> Default for JoinSet<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> fmt::Debug for JoinSet<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl<T> Deref for JoinSet<T> {
    type Target = tokio::task::JoinSet<T>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl<T> DerefMut for JoinSet<T> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.0
    }
}
