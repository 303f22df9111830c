//! Items of queues.

use std::borrow::Cow;
use std::time::Duration;

use otel_ml::opentelemetry::{Context, ContextGuard};

use crate::job::Job;
use crate::queue::Ticket;

/// An item of any queue or channel, with the context in which it was put in, and the time.
///
/// Made by [`Queue::traced`](crate::Queue::traced), or by [`Traced::new`] for a queue that has no name. Opened, it
/// tells how long it waited, and `ml.queue.wait.duration` is recorded. Dropped unopened, it has
/// left the queue without being worked on: no wait is recorded, and the `queue_wait` span, where
/// there is one, says `ml.cancel.reason` = `never_run`.
///
/// ```
/// use otel_ml_worker::Traced;
///
/// let (sender, receiver) = std::sync::mpsc::channel();
/// sender.send(Traced::new(vec![0.25, 0.5])).unwrap();
///
/// let input = receiver.recv().unwrap().open();
/// let _current = input.attach(); // what starts from here on is part of the sender's trace
/// assert_eq!(input.item.len(), 2);
/// ```
#[derive(Debug)]
#[must_use = "an item that is dropped was not worked on"]
pub struct Traced<T> {
    item: T,
    ticket: Ticket,
}

impl<T> Traced<T> {
    /// An item with the current context and the time, for a queue that has no name.
    pub fn new(item: T) -> Self {
        Self::with(Ticket::unnamed(), item)
    }

    #[inline]
    pub(crate) const fn with(ticket: Ticket, item: T) -> Self {
        Self { item, ticket }
    }

    /// The item, to look at while it waits: has its caller gone, which batch does it fit in?
    pub const fn get_ref(&self) -> &T {
        &self.item
    }

    /// The item, to change while it waits.
    pub const fn get_mut(&mut self) -> &mut T {
        &mut self.item
    }

    /// The context in which it was put in.
    #[must_use]
    pub const fn context(&self) -> &Context {
        &self.ticket.cx
    }

    /// The same place in the queue for another item.
    pub fn map<U>(self, map: impl FnOnce(T) -> U) -> Traced<U> {
        Traced {
            item: map(self.item),
            ticket: self.ticket,
        }
    }

    /// Takes it out of the queue: it is being worked on from now.
    #[inline]
    #[must_use]
    pub fn open(self) -> Opened<T> {
        let Self { item, mut ticket } = self;
        let wait = ticket.open();
        Opened {
            item,
            context: std::mem::take(&mut ticket.cx),
            wait,
        }
    }

    /// Takes the item out, and makes what is done with it a job: its span tells the wait.
    ///
    /// # Cardinality
    /// The name is a span's name: of low cardinality.
    pub fn job(self, name: impl Into<Cow<'static, str>>) -> (T, Job) {
        (self.item, Job::new(self.ticket, name.into()))
    }

    pub(crate) fn into_parts(self) -> (T, Ticket) {
        (self.item, self.ticket)
    }

    pub(crate) const fn ticket(&self) -> &Ticket {
        &self.ticket
    }
}

/// What a [`Traced`] held.
#[derive(Debug)]
#[non_exhaustive]
pub struct Opened<T> {
    /// The item.
    pub item: T,
    /// The context in which it was put into the queue.
    pub context: Context,
    /// How long it waited. Never negative.
    pub wait: Duration,
}

impl<T> Opened<T> {
    /// Makes its context the current one of this thread, until the guard is dropped. For code
    /// that awaits, wrap the future: `otel_ml::opentelemetry::context::FutureExt::with_context`.
    pub fn attach(&self) -> ContextGuard {
        self.context.clone().attach()
    }
}
