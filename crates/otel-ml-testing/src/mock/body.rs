//! A mock [`http_body::Body`].

use std::error::Error;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};

use super::{Probe, Script, Step};

/// A body that answers its polls with the given steps, in order, then with its end.
///
/// [`is_end_stream`](Body::is_end_stream) is true once no step is left, and the size
/// is unknown, unless set otherwise.
#[derive(Debug)]
#[must_use = "a body does nothing unless it is polled"]
pub struct MockBody {
    script: Script<Result<Frame<Bytes>, MockError>>,
    tells_end: bool,
    size: SizeHint,
}

impl MockBody {
    /// An empty body.
    pub fn new() -> Self {
        Self {
            script: Script::new(),
            tells_end: true,
            size: SizeHint::default(),
        }
    }

    /// Then a data frame.
    pub fn data(self, data: impl Into<Bytes>) -> Self {
        self.then(Step::Ready(Ok(Frame::data(data.into()))))
    }

    /// Then the trailers.
    pub fn trailers(self, trailers: HeaderMap) -> Self {
        self.then(Step::Ready(Ok(Frame::trailers(trailers))))
    }

    /// Then an error.
    pub fn error(self, message: impl Into<String>) -> Self {
        self.then(Step::Ready(Err(MockError(message.into()))))
    }

    /// Then not ready once; the task is woken at once.
    pub fn pending(self) -> Self {
        self.then(Step::Pending)
    }

    /// Then never ready again, for a body that is to be dropped mid-way.
    pub fn hang(self) -> Self {
        self.then(Step::Hang)
    }

    /// Then a panic with this message; a poll after it goes on behind it.
    pub fn panic(self, message: impl Into<String>) -> Self {
        self.then(Step::Panic(message.into()))
    }

    /// Never says of itself that it is at its end: only a poll tells.
    pub fn without_eos(mut self) -> Self {
        self.tells_end = false;
        self
    }

    /// What [`Body::size_hint`] answers, whatever was polled.
    pub fn sized(mut self, size: SizeHint) -> Self {
        self.size = size;
        self
    }

    /// A look at what is done to this body.
    #[must_use]
    pub fn probe(&self) -> Probe {
        self.script.probe.clone()
    }

    fn then(mut self, step: Step<Result<Frame<Bytes>, MockError>>) -> Self {
        self.script.then(step);
        self
    }
}

/// The error of a [`MockBody`], with the message it was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MockError(String);

// === impl MockBody ===

impl Default for MockBody {
    fn default() -> Self {
        Self::new()
    }
}

impl Body for MockBody {
    type Data = Bytes;
    type Error = MockError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, MockError>>> {
        self.get_mut().script.poll(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.tells_end && self.script.is_done()
    }

    fn size_hint(&self) -> SizeHint {
        self.size
    }
}

// === impl MockError ===

impl fmt::Display for MockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for MockError {}
