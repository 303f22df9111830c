//! One span's life: started, current while its work runs, ended exactly once.

mod builder;
mod end;
mod scoped;

use std::borrow::Cow;
use std::fmt;
use std::time::{Duration, Instant};

use opentelemetry::trace::{SpanContext, SpanKind, TraceContextExt};
use opentelemetry::{Context, ContextGuard};

pub use builder::{Handle, OperationBuilder, Since};
use end::Live;
pub use end::{End, Record};
pub use scoped::{Leave, Scoped};

use crate::instruments::Instruments;
use crate::outcome::{ErrorType, Outcome};
use crate::telemetry::Telemetry;

/// One span, from start to finish, with the clock and the records that belong to it.
///
/// # When it ends
/// Once: by [`finish`](Self::finish), or when dropped (then as
/// [`Cancelled`](Outcome::Cancelled)), or by a panic inside [`scope`](Self::scope) (then as
/// failed with `error.type` = `panic`).
#[must_use = "dropping it ends the span as cancelled"]
pub struct Operation<R: Record = ()> {
    state: State<R>,
}

#[allow(
    clippy::large_enum_variant,
    reason = "a box would cost an allocation for each request that is recorded"
)]
enum State<R> {
    /// It has ended, or never was.
    Over,
    /// Nothing is recorded: there is only a context to run in.
    Passing(Context),
    Live(Live<R>),
}

impl Operation {
    /// Describes an operation of `kind`, named `name` (low cardinality).
    #[inline]
    pub fn builder<'a>(
        telemetry: &'a Telemetry,
        kind: SpanKind,
        name: Cow<'static, str>,
    ) -> OperationBuilder<'a> {
        OperationBuilder {
            telemetry,
            kind,
            name,
            parent: Context::new(),
            links: None,
            handle: Handle::None,
            cap: crate::options::ATTRIBUTE_CAP,
            keeps_record: false,
            since: None,
        }
    }
}

impl<R: Record> Operation<R> {
    /// No operation: [`scope`](Self::scope) runs its work as it is.
    pub const fn none() -> Self {
        Self { state: State::Over }
    }

    /// Work that is not recorded and runs in `cx`, its sender's context.
    pub const fn passing(cx: Context) -> Self {
        Self {
            state: State::Passing(cx),
        }
    }

    /// Moves it out, and leaves none.
    pub const fn take(&mut self) -> Self {
        std::mem::replace(self, Self::none())
    }

    /// Takes the context of work that is not recorded out, and leaves none.
    #[inline]
    pub fn take_passing(&mut self) -> Option<Context> {
        match &mut self.state {
            State::Passing(cx) => {
                let cx = std::mem::take(cx);
                self.state = State::Over;
                Some(cx)
            }
            State::Live(_) | State::Over => None,
        }
    }

    const fn live(&self) -> Option<&Live<R>> {
        match &self.state {
            State::Live(live) => Some(live),
            State::Passing(_) | State::Over => None,
        }
    }

    const fn live_mut(&mut self) -> Option<&mut Live<R>> {
        match &mut self.state {
            State::Live(live) => Some(live),
            State::Passing(_) | State::Over => None,
        }
    }

    /// The context to run the work in; `None` once it has ended.
    #[must_use]
    pub const fn context(&self) -> Option<&Context> {
        match &self.state {
            State::Over => None,
            State::Passing(cx) => Some(cx),
            State::Live(live) => Some(&live.cx),
        }
    }

    /// Its span's context; invalid when there is no span, or once it has ended.
    #[must_use]
    pub fn span_context(&self) -> SpanContext {
        self.context()
            .map_or(SpanContext::NONE, |cx| cx.span().span_context().clone())
    }

    /// Whether its span is recorded.
    #[must_use]
    pub fn is_recording(&self) -> bool {
        self.live().is_some_and(|live| live.recording)
    }

    /// Links its span, where that is recorded, to `span`. An invalid one is no link. The sampler
    /// has not seen it: see [`OperationBuilder::is_unlikely`].
    #[inline]
    pub fn link(&self, span: SpanContext) {
        if span.is_valid()
            && let Some(live) = self.live().filter(|live| live.recording)
        {
            live.cx.span().add_link(span, Vec::new());
        }
    }

    /// Time since the start; zero once it has ended.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        let started = self.live().and_then(|live| live.started);
        started.map_or(Duration::ZERO, |started| started.elapsed())
    }

    /// What the transport records at the end, and when the operation started: `None` where
    /// neither a span nor metrics are recorded.
    pub fn record_and_start(&mut self) -> Option<(&mut R, Option<Instant>)> {
        self.live_mut().map(|live| (&mut live.record, live.started))
    }

    /// What the transport records at the end, to be filled in as it becomes known. `None`
    /// where nothing is recorded, and once it has ended.
    pub fn record_mut(&mut self) -> Option<&mut R> {
        self.live_mut().map(|live| &mut live.record)
    }

    pub(crate) fn record_and_instruments(&mut self) -> Option<(&mut R, Option<&Instruments>)> {
        self.live_mut()
            .map(|live| (&mut live.record, live.telemetry.instruments()))
    }

    /// Runs `work` with the operation's context current. A panic ends the operation as
    /// failed and goes on: whoever catches it may drop the operation much later.
    #[inline]
    pub fn scope<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let entered = self.enter();
        let result = work();
        entered.leave();
        result
    }

    /// Makes the operation's context current until the guard [leaves](Entered::leave). A guard
    /// dropped without that is one a panic went past, and ends the operation as failed.
    #[inline]
    pub fn enter(&mut self) -> Entered<'_, R> {
        let attached = self.context().map(|cx| cx.clone().attach());
        Entered {
            operation: Some(self),
            _attached: attached,
        }
    }

    /// Ends it.
    pub fn finish(mut self, outcome: Outcome) {
        self.end(&outcome);
    }

    /// Ends it where only a reference is at hand. Later calls do nothing.
    pub fn end(&mut self, outcome: &Outcome) {
        if let State::Live(live) = &mut self.state {
            live.end(outcome, None);
        }
        self.state = State::Over;
    }

    /// Ends it as of `at`, a moment of its life: where only what came later told how it had
    /// ended.
    pub fn end_as_of(&mut self, at: Since, outcome: &Outcome) {
        if let State::Live(live) = &mut self.state {
            live.end(outcome, Some(at));
        }
        self.state = State::Over;
    }
}

impl<R: Record> Drop for Operation<R> {
    fn drop(&mut self) {
        if let State::Live(live) = &mut self.state {
            let outcome = live.record.dropped();
            live.end(&outcome, None);
        }
    }
}

impl<R: Record> fmt::Debug for Operation<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Operation")
            .field("span", &self.span_context())
            .finish_non_exhaustive()
    }
}

/// Work that runs in an operation's context. Made by [`Operation::enter`].
#[must_use = "dropping it ends the operation as failed"]
pub struct Entered<'a, R: Record> {
    /// Taken when the work is done: until then, whoever drops this is unwinding.
    operation: Option<&'a mut Operation<R>>,
    // Dropped last: what ends the operation does so in its context.
    _attached: Option<ContextGuard>,
}

impl<R: Record> Entered<'_, R> {
    /// The work is done.
    #[inline]
    pub fn leave(mut self) {
        self.operation = None;
    }
}

impl<R: Record> Drop for Entered<'_, R> {
    #[inline]
    fn drop(&mut self) {
        if let Some(operation) = self.operation.take() {
            panicked(operation);
        }
    }
}

/// Apart, as it would be copied to wherever work runs in an operation.
#[cold]
fn panicked<R: Record>(operation: &mut Operation<R>) {
    operation.end(&Outcome::Failed(ErrorType::PANIC));
}

impl<R: Record> fmt::Debug for Entered<'_, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Entered").field(&self.operation).finish()
    }
}
