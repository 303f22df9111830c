//! The rows of the matrix.

use std::fmt;

use self::NotApplicable::{InMemory, NoInFlight, NoService, Outgoing};

/// One thing every transport must get right.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Row {
    /// All goes well: one span, no error, the duration recorded.
    Success,
    /// The inner service answers an error, which is passed on as it is.
    InnerError,
    /// The handler panics: an error of type `panic`, and the panic goes on.
    HandlerPanic,
    /// The call's future is dropped before it was polled.
    DroppedUnpolled,
    /// The call, or its body, is dropped before its end.
    DroppedMidway,
    /// An empty body, poll or message.
    Empty,
    /// A `traceparent` that breaks the specification counts as none.
    TraceparentMalformed,
    /// Without a `traceparent` a new trace starts, never that of the previous call.
    TraceparentAbsent,
    /// More than one `traceparent`.
    TraceparentDuplicate,
    /// A `traceparent` of a version still to come is read as far as it is known.
    TraceparentFuture,
    /// Below an unsampled parent nothing is recorded; the context, its baggage and its
    /// tracestate are passed on.
    UnsampledParent,
    /// What the filter leaves out is not recorded, but passed on.
    Filtered,
    /// Without an SDK the call works and nothing is recorded.
    NoSdk,
    /// A layer that was built first records once the provider is there.
    BuiltBeforeProvider,
    /// Two calls at once keep their own spans and facts.
    Concurrent,
    /// Whatever ends first, the span ends exactly once.
    EndedOnce,
    /// The in-flight instrument is back at zero after success, error, panic and drop.
    InFlightZero,
    /// Spans the handler starts are children of the transport's.
    Children,
    /// The same under `#[tracing::instrument]`.
    ChildrenInstrumented,
    /// Readiness is the inner service's, and it is the polled one that is called, not a
    /// clone.
    PollReady,
    /// Sensitive headers are never recorded.
    SensitiveHeaders,
    /// After the provider was shut down calls work and the remote parent is passed on.
    ProviderShutDown,
    /// A new provider is used by what is built with it.
    ProviderReplaced,
    /// A panic that a layer outside catches still ends the span as one.
    PanicCaughtOutside,
    /// A fact written 1,000 times is one attribute, with the last value.
    FactRewritten,
}

/// Why a row does not apply to a transport.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum NotApplicable {
    /// It sends the context and never reads one.
    Outgoing,
    /// No instrument counts what it has in flight.
    NoInFlight,
    /// It is not a service, so it has no readiness.
    NoService,
    /// It hands the context over in memory, without headers.
    InMemory,
}

impl Row {
    /// All rows, in the order in which they are printed.
    pub const ALL: [Self; 25] = [
        Self::Success,
        Self::InnerError,
        Self::HandlerPanic,
        Self::DroppedUnpolled,
        Self::DroppedMidway,
        Self::Empty,
        Self::TraceparentMalformed,
        Self::TraceparentAbsent,
        Self::TraceparentDuplicate,
        Self::TraceparentFuture,
        Self::UnsampledParent,
        Self::Filtered,
        Self::NoSdk,
        Self::BuiltBeforeProvider,
        Self::Concurrent,
        Self::EndedOnce,
        Self::InFlightZero,
        Self::Children,
        Self::ChildrenInstrumented,
        Self::PollReady,
        Self::SensitiveHeaders,
        Self::ProviderShutDown,
        Self::ProviderReplaced,
        Self::PanicCaughtOutside,
        Self::FactRewritten,
    ];

    /// A short name for people.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::Success => "ok",
            Self::InnerError => "inner error",
            Self::HandlerPanic => "panic in the handler",
            Self::DroppedUnpolled => "dropped before the first poll",
            Self::DroppedMidway => "dropped mid-way",
            Self::Empty => "empty",
            Self::TraceparentMalformed => "malformed traceparent",
            Self::TraceparentAbsent => "absent traceparent",
            Self::TraceparentDuplicate => "duplicate traceparent",
            Self::TraceparentFuture => "future-version traceparent",
            Self::UnsampledParent => "unsampled parent, still propagated",
            Self::Filtered => "filtered",
            Self::NoSdk => "no SDK installed",
            Self::BuiltBeforeProvider => "layer built before the provider",
            Self::Concurrent => "two at once don't mix",
            Self::EndedOnce => "ended exactly once",
            Self::InFlightZero => "in-flight back to 0",
            Self::Children => "children parent correctly",
            Self::ChildrenInstrumented => "the same under #[instrument]",
            Self::PollReady => "poll_ready passes, inner not cloned",
            Self::SensitiveHeaders => "sensitive headers not recorded",
            Self::ProviderShutDown => "provider shut down",
            Self::ProviderReplaced => "provider replaced",
            Self::PanicCaughtOutside => "panic with CatchPanic outside",
            Self::FactRewritten => "same fact written 1,000 times",
        }
    }

    /// The only reasons for which a transport may leave this row out.
    #[must_use]
    pub const fn exceptions(self) -> &'static [NotApplicable] {
        match self {
            Self::TraceparentMalformed | Self::TraceparentDuplicate | Self::TraceparentFuture => {
                &[Outgoing, InMemory]
            }
            Self::TraceparentAbsent => &[Outgoing],
            Self::InFlightZero => &[NoInFlight],
            Self::PollReady => &[NoService],
            Self::SensitiveHeaders => &[InMemory],
            _ => &[],
        }
    }
}

impl NotApplicable {
    /// The reason in words.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Outgoing => "it sends the context and never reads one",
            NoInFlight => "no instrument counts what it has in flight",
            NoService => "it is not a service, so it has no readiness",
            InMemory => "it hands the context over in memory, without headers",
        }
    }
}

// === impl Row ===

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.title())
    }
}

impl fmt::Display for NotApplicable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.reason())
    }
}
