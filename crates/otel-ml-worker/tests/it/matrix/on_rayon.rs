//! rayon's ways.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;
use std::time::Duration;

use otel_ml_worker::{carry_each, carry_fn, rayon as traced};
use rayon::prelude::*;

use super::forms::Runs::AtOnce;
use super::forms::{Answer, Form, Handed, Work, carried, job};

/// Hands `work` to a spawn of rayon's, which tells nobody what became of it.
fn told(work: impl FnOnce() -> Answer + Send + 'static) -> (impl FnOnce() + Send, Handed) {
    let (teller, told) = mpsc::channel();
    let work = move || {
        let answer = work();
        // Whoever handed it over may be gone.
        let _ = teller.send(answer);
    };
    (work, Handed::Told(told))
}

/// `work`, and what waits until it is over: a thread that does keeps no other from taking it up.
fn elsewhere(
    work: impl FnOnce() -> Answer + Send,
) -> (impl FnOnce() -> Answer + Send, impl FnOnce() + Send) {
    let (ends, over) = mpsc::channel::<()>();
    let work = move || {
        let _ends = ends;
        work()
    };
    let wait = move || {
        let ended = over.recv_timeout(Duration::from_secs(20));
        assert_eq!(ended, Err(mpsc::RecvTimeoutError::Disconnected));
    };
    (work, wait)
}

fn caught(work: impl FnOnce() -> Answer) -> Handed {
    Handed::Done(catch_unwind(AssertUnwindSafe(work)))
}

pub(super) const FORMS: [Form; 5] = [
    carried("rayon::spawn", AtOnce, |place, work| {
        let (work, handed) = told(work.call());
        place.rayon.install(carry_fn(|| traced::spawn(work)));
        handed
    }),
    carried("rayon::join", AtOnce, |place, work| {
        let (work, over) = elsewhere(work.call());
        let join = carry_fn(|| traced::join(over, work).1);
        caught(|| place.rayon.install(join))
    }),
    carried("rayon::scope", AtOnce, |place, work| {
        let (work, over) = elsewhere(work.call());
        let scope = carry_fn(|| {
            let mut answer = Ok(());
            traced::scope(|scope| {
                scope.spawn(|_| answer = work());
                over();
            });
            answer
        });
        caught(|| place.rayon.install(scope))
    }),
    carried("carry_each, parallel iterator", AtOnce, |place, work| {
        let each = carry_each(|work: Work| work.call()());
        let all = vec![work].into_par_iter().map(each);
        caught(|| place.rayon.install(|| all.find_any(|_| true)).unwrap())
    }),
    job("job, rayon", AtOnce, |place, work| {
        let job = place.queue.job("score").wrap(work.call());
        let (job, handed) = told(job);
        place.rayon.spawn(job);
        handed
    }),
];
