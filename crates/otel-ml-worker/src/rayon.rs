//! rayon's ways to start work, in the context of who starts it.
//!
//! `ThreadPool::install` and `ThreadPool::spawn` take a closure of [`carry_fn`], parallel
//! iterators one of [`carry_each`](crate::carry_each):
//!
//! ```
//! use otel_ml_worker::{carry_each, carry_fn};
//! use rayon::prelude::*;
//!
//! let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
//! let squares: Vec<u32> = pool.install(carry_fn(|| {
//!     [1, 2, 3].par_iter().map(carry_each(|n: &u32| n * n)).collect()
//! }));
//! assert_eq!(squares, [1, 4, 9]);
//! ```
//!
//! A [`Job`](crate::Job) makes such a closure, too.

use std::fmt;

use crate::carry::{CarriedFn, carry_fn};

/// [`rayon::spawn`] in the current context.
pub fn spawn(work: impl FnOnce() + Send + 'static) {
    rayon::spawn(carry_fn(work));
}

/// [`rayon::join`] in the current context.
pub fn join<A, B, RA, RB>(a: A, b: B) -> (RA, RB)
where
    A: FnOnce() -> RA + Send,
    B: FnOnce() -> RB + Send,
    RA: Send,
    RB: Send,
{
    rayon::join(carry_fn(a), carry_fn(b))
}

/// [`rayon::scope`] in the current context: the closure, and what it spawns by the
/// [`Scope`] that it is given.
///
/// ```
/// let mut halves = [0, 0];
/// let [left, right] = &mut halves;
/// otel_ml_worker::rayon::scope(|scope| {
///     scope.spawn(|_| *left = 1);
///     scope.spawn(|_| *right = 2);
/// });
/// assert_eq!(halves, [1, 2]);
/// ```
pub fn scope<'scope, T, F>(work: F) -> T
where
    F: FnOnce(&Scope<'_, 'scope>) -> T + Send,
    T: Send,
{
    let work = CarriedFn::new(work);
    rayon::scope(|inner| work.call(|work| work(&Scope { inner })))
}

/// A scope of rayon's that spawns in the context of who spawns. Made by [`scope`].
#[derive(Clone, Copy)]
pub struct Scope<'a, 'scope> {
    inner: &'a rayon::Scope<'scope>,
}

impl<'scope> Scope<'_, 'scope> {
    /// [`rayon::Scope::spawn`] in the current context.
    pub fn spawn(&self, work: impl FnOnce(&Scope<'_, 'scope>) + Send + 'scope) {
        let work = CarriedFn::new(work);
        self.inner
            .spawn(move |inner| work.call(|work| work(&Scope { inner })));
    }
}

impl fmt::Debug for Scope<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Scope").field(&self.inner).finish()
    }
}
