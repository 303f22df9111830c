//! The ways to hand work over, all of the same work.

use std::future::pending;
use std::sync::mpsc;
use std::thread;

use futures_util::{Stream, StreamExt, stream};
use otel_ml_worker::{
    JoinSet, Queue, carry, carry_fn, carry_stream, spawn, spawn_blocking, spawn_thread,
};
use tokio::runtime::Handle;
use tokio::task::{JoinError, JoinHandle, yield_now};

use crate::support::{Diary, Refused};

pub(super) type Answer = Result<(), Refused>;

/// A way to hand work over.
#[derive(Clone, Copy)]
pub(super) struct Form {
    pub(super) name: &'static str,
    pub(super) runs: Runs,
    /// Whether it is a job of the queue, with a span.
    pub(super) is_job: bool,
    pub(super) hand_over: fn(&Place, Work) -> Handed,
}

/// What can still be done about work that was handed over.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Runs {
    /// A task of tokio's: it can be stopped whenever it waits.
    AsTask,
    /// On tokio's blocking threads: it can be called back until it begins.
    Blocking,
    /// At once, on a thread: nothing stops it.
    AtOnce,
}

/// Where work may be handed to.
#[derive(Clone)]
pub(super) struct Place {
    pub(super) tokio: Handle,
    #[cfg(feature = "rayon")]
    pub(super) rayon: std::sync::Arc<rayon::ThreadPool>,
    pub(super) queue: Queue,
}

/// What the work does once it runs, in whatever form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Act {
    Return,
    Fail,
    Panic,
    /// Hand the same work over once more, in the same form, and return.
    Nest,
    /// Wait for ever, if it is a task.
    Wait,
}

/// Work that notes where it runs and where it is dropped.
#[derive(Clone)]
pub(super) struct Work {
    pub(super) act: Act,
    pub(super) diary: Diary,
    pub(super) form: Form,
    pub(super) place: Place,
    /// Where what it hands over goes to.
    pub(super) handed: mpsc::Sender<Handed>,
}

impl Work {
    fn begin(&self) {
        self.diary.note("ran");
        if self.act == Act::Nest {
            let inner = Self {
                act: Act::Return,
                ..self.clone()
            };
            let inner = (self.form.hand_over)(&self.place, inner);
            self.handed.send(inner).unwrap();
        }
    }

    fn end(&self) -> Answer {
        self.diary.note("ran");
        match self.act {
            Act::Fail => Err(Refused),
            Act::Panic => panic!("on purpose"),
            Act::Return | Act::Nest | Act::Wait => Ok(()),
        }
    }

    pub(super) fn call(self) -> impl FnOnce() -> Answer + Send + 'static {
        let noted = self.diary.drops();
        move || {
            let _noted = noted;
            self.begin();
            self.end()
        }
    }

    pub(super) fn task(self) -> impl Future<Output = Answer> + Send + 'static {
        let noted = self.diary.drops();
        async move {
            let _noted = noted;
            self.begin();
            yield_now().await;
            if self.act == Act::Wait {
                pending::<()>().await;
            }
            self.end()
        }
    }

    pub(super) fn stream(self) -> impl Stream<Item = Answer> + Send + Unpin + 'static {
        Box::pin(stream::once(self.task()))
    }
}

/// Work that was handed over.
pub(super) enum Handed {
    Task(JoinHandle<Answer>),
    Set(JoinSet<Answer>),
    Thread(thread::JoinHandle<Answer>),
    /// Told by the work itself; nothing comes of one that panics.
    #[cfg(feature = "rayon")]
    Told(mpsc::Receiver<Answer>),
    Done(thread::Result<Answer>),
}

/// What became of it.
#[derive(Debug, PartialEq)]
pub(super) enum End {
    Answered(Answer),
    Panicked,
    Aborted,
}

impl Handed {
    pub(super) fn abort(&mut self) {
        match self {
            Self::Task(task) => task.abort(),
            Self::Set(set) => set.abort_all(),
            _ => panic!("there is no handle that aborts it"),
        }
    }

    pub(super) async fn end(self) -> End {
        let joined = |joined: Result<Answer, JoinError>| match joined {
            Ok(answer) => End::Answered(answer),
            Err(error) if error.is_panic() => End::Panicked,
            Err(_) => End::Aborted,
        };
        let caught = |caught: thread::Result<Answer>| caught.map_or(End::Panicked, End::Answered);
        match self {
            Self::Task(task) => joined(task.await),
            Self::Set(mut set) => joined(set.join_next().await.unwrap()),
            Self::Thread(thread) => caught(thread.join()),
            #[cfg(feature = "rayon")]
            Self::Told(told) => told
                .recv_timeout(std::time::Duration::from_secs(20))
                .map_or(End::Panicked, End::Answered),
            Self::Done(result) => caught(result),
        }
    }
}

pub(super) const fn carried(
    name: &'static str,
    runs: Runs,
    hand_over: fn(&Place, Work) -> Handed,
) -> Form {
    Form {
        name,
        runs,
        is_job: false,
        hand_over,
    }
}

pub(super) const fn job(
    name: &'static str,
    runs: Runs,
    hand_over: fn(&Place, Work) -> Handed,
) -> Form {
    Form {
        name,
        runs,
        is_job: true,
        hand_over,
    }
}

use Runs::{AsTask, AtOnce, Blocking};

pub(super) fn all() -> Vec<Form> {
    #[cfg_attr(not(feature = "rayon"), allow(unused_mut))]
    let mut all = FORMS.to_vec();
    #[cfg(feature = "rayon")]
    all.extend(super::on_rayon::FORMS);
    all
}

const FORMS: [Form; 17] = [
    carried("spawn", AsTask, |place, work| {
        let _entered = place.tokio.enter();
        Handed::Task(spawn(work.task()))
    }),
    carried("spawn_blocking", Blocking, |place, work| {
        let _entered = place.tokio.enter();
        Handed::Task(spawn_blocking(work.call()))
    }),
    carried("spawn_thread", AtOnce, |_, work| {
        Handed::Thread(spawn_thread(work.call()))
    }),
    carried("JoinSet::spawn", AsTask, |place, work| {
        let _entered = place.tokio.enter();
        let mut set = JoinSet::new();
        set.spawn(work.task());
        Handed::Set(set)
    }),
    carried("JoinSet::spawn_blocking", Blocking, |place, work| {
        let _entered = place.tokio.enter();
        let mut set = JoinSet::new();
        set.spawn_blocking(work.call());
        Handed::Set(set)
    }),
    carried("JoinSet::spawn_on", AsTask, |place, work| {
        let mut set = JoinSet::new();
        set.spawn_on(work.task(), &place.tokio);
        Handed::Set(set)
    }),
    carried("JoinSet::spawn_blocking_on", Blocking, |place, work| {
        let mut set = JoinSet::new();
        set.spawn_blocking_on(work.call(), &place.tokio);
        Handed::Set(set)
    }),
    carried("carry", AsTask, |place, work| {
        Handed::Task(place.tokio.spawn(carry(work.task())))
    }),
    carried("carry_stream", AsTask, |place, work| {
        let mut items = carry_stream(work.stream());
        Handed::Task(
            place
                .tokio
                .spawn(async move { items.next().await.unwrap() }),
        )
    }),
    carried("carry_fn, scoped thread", AtOnce, |_, work| {
        let work = carry_fn(work.call());
        Handed::Done(thread::scope(|scope| scope.spawn(work).join()))
    }),
    job("job, task", AsTask, |place, work| {
        let job = place.queue.job("score").run(work.task());
        Handed::Task(place.tokio.spawn(job))
    }),
    job("job, JoinSet", AsTask, |place, work| {
        let mut set = JoinSet::new();
        let job = place.queue.job("score").run(work.task());
        set.spawn_on(job, &place.tokio);
        Handed::Set(set)
    }),
    job("job, blocking thread", Blocking, |place, work| {
        let job = place.queue.job("score").wrap(work.call());
        Handed::Task(place.tokio.spawn_blocking(job))
    }),
    job("job, thread", AtOnce, |place, work| {
        let job = place.queue.job("score").wrap(work.call());
        Handed::Thread(thread::spawn(job))
    }),
    job("job, scoped thread", AtOnce, |place, work| {
        let job = place.queue.job("score").wrap(work.call());
        Handed::Done(thread::scope(|scope| scope.spawn(job).join()))
    }),
    job("job, stream in a task", AsTask, |place, work| {
        let mut items = place.queue.job("score").stream(work.stream());
        Handed::Task(place.tokio.spawn(async move {
            let first = items.next().await.unwrap();
            if first.is_ok() {
                assert_eq!(items.next().await, None);
            }
            first
        }))
    }),
    job(
        "item of a channel, pool of one's own",
        AtOnce,
        |place, work| {
            let (sender, receiver) = mpsc::channel();
            sender.send(place.queue.traced(work.call())).unwrap();
            Handed::Thread(thread::spawn(move || {
                let (work, job) = receiver.recv().unwrap().job("score");
                job.wrap(work)()
            }))
        },
    ),
];
