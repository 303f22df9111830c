//! A response body that ends its operation when it ends.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Buf;
use http::header::{CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue};
use http::response;
use http_body::{Body, Frame, SizeHint};
use otel_ml::semconv::ml;
use otel_ml::{End, Operation, Options, Outcome, Record, Scoped};
use pin_project::pin_project;

use crate::request::content_length;

/// Bodies of known length up to this many bytes are passed on untouched, unless set.
pub(crate) const UNTOUCHED_UP_TO: u64 = 16 * 1024;

/// What a transport on top of HTTP makes of a response's body.
pub trait Exchange: Record {
    /// The settings it was made with.
    type Hooks;

    /// The settings it was made with.
    fn options(&self) -> &Options<Self::Hooks>;

    /// Takes in the head of the answer. Says whether the head ends the exchange, whatever
    /// body follows.
    fn head(&mut self, head: &response::Parts) -> bool;

    /// Takes in the head of an answer whose body is watched to its end.
    fn watched(&mut self, _head: &response::Parts) {}

    /// The response header that the trace id is put into.
    fn trace_id_header(&self) -> Option<&HeaderName> {
        None
    }

    /// Bodies of known length up to this many bytes are passed on untouched.
    fn untouched_up_to(&self) -> u64;

    /// The chunks of bodies of known length up to this many bytes are not counted: how they
    /// arrive tells nothing.
    fn uncounted_up_to(&self) -> u64 {
        self.untouched_up_to()
    }

    /// Counts what the body yields.
    fn streamed(&mut self) -> &mut Streamed;

    /// Takes in a piece of the body: gRPC counts the messages in it.
    fn data<D: Buf>(&mut self, _data: &D) {}

    /// The outcome when the exchange, or its body, fails with `error`.
    fn failed<E: 'static>(&mut self, error: &E) -> Outcome {
        Outcome::Failed(self.options().error_type(error))
    }

    /// Takes in the trailers: gRPC has its status there.
    fn trailers(&mut self, trailers: &HeaderMap);

    /// The outcome when the body ends as it should.
    fn outcome(&self) -> Outcome;
}

/// Which body type a response gets.
pub trait WrapBody<B: Body, X: Exchange> {
    /// The response's new body.
    type Body: Body;

    /// Passes a body on.
    fn untouched(body: B) -> Self::Body;

    /// Passes a body on that ends its operation.
    fn wrapped(body: InstrumentedBody<B, X>) -> Self::Body;
}

/// What a streamed body has yielded so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct Streamed {
    /// Data frames.
    pub chunks: u64,
    /// Bytes in them.
    pub bytes: u64,
    /// From the operation's start to the first of them.
    pub time_to_first_chunk: Option<Duration>,
    /// The bytes that the head has announced.
    pub announced: Option<u64>,
    /// Whether nothing is told of it.
    pub is_uncounted: bool,
}

impl Streamed {
    /// Takes in the length that the head announces.
    pub(crate) fn announce(&mut self, headers: &HeaderMap) {
        let length = headers.get(CONTENT_LENGTH).map(HeaderValue::as_bytes);
        let length = length.and_then(content_length);
        self.announced = length.and_then(|length| u64::try_from(length).ok());
    }

    /// Whether all that was announced has come. HTTP/1 servers ask for no more then, whether or
    /// not the body has said that this was its end.
    pub(crate) fn is_whole(&self) -> bool {
        self.announced.is_some_and(|length| self.bytes >= length)
    }

    /// Adds what is known of the body to the span. A body that was not watched adds nothing.
    pub fn record(&self, end: &mut End<'_>) {
        let Some(first) = self.time_to_first_chunk.filter(|_| end.is_recording()) else {
            return;
        };
        end.set(ml::RESPONSE_TIME_TO_FIRST_CHUNK, first.as_secs_f64());
        end.set(
            ml::RESPONSE_CHUNK_COUNT,
            i64::try_from(self.chunks).unwrap_or(i64::MAX),
        );
        end.set(
            ml::RESPONSE_SIZE,
            i64::try_from(self.bytes).unwrap_or(i64::MAX),
        );
    }
}

/// A body that belongs to an operation, or a body passed on untouched.
///
/// Frames, trailers, size hint and end of stream are the inner body's.
///
/// # When it ends
/// The operation ends with the last frame (also when the inner body says that it was the
/// last before it is asked again), with the trailers, with an error, or, when the body is
/// dropped before any of these, as cancelled: unless as much had come as the `Content-Length`
/// announced, which is all that an HTTP/1 server asks for.
#[pin_project]
pub struct InstrumentedBody<B, X: Exchange> {
    #[pin]
    inner: Scoped<B, X>,
}

impl<B: Body, X: Exchange> InstrumentedBody<B, X> {
    /// Passes `inner` on.
    pub const fn untouched(inner: B) -> Self {
        Self::new(inner, Operation::none())
    }

    /// Runs `inner` in `operation`, and ends it with `inner`.
    pub const fn new(inner: B, operation: Operation<X>) -> Self {
        let inner = Scoped::new(inner, operation);
        Self { inner }
    }
}

impl<B, X> Body for InstrumentedBody<B, X>
where
    B: Body,
    B::Error: 'static,
    X: Exchange,
{
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let mut inner = self.project().inner;
        let frame = ready!(inner.as_mut().poll(|inner| inner.poll_frame(cx)));
        let (inner, operation) = inner.parts();
        let Some((exchange, started)) = operation.record_and_start() else {
            // What only ran in its sender's context has no end to record: it has come to it.
            if !matches!(&frame, Some(Ok(frame)) if frame.is_data()) {
                operation.take_passing();
            }
            return Poll::Ready(frame);
        };
        let end = match &frame {
            Some(Ok(frame)) => {
                let trailers = frame.trailers_ref();
                let streamed = exchange.streamed();
                if let Some(data) = frame.data_ref() {
                    streamed.bytes += data.remaining() as u64;
                    if !streamed.is_uncounted {
                        streamed.chunks += 1;
                        streamed.time_to_first_chunk.get_or_insert_with(|| {
                            started.map_or(Duration::ZERO, |started| started.elapsed())
                        });
                    }
                    exchange.data(data);
                }
                if let Some(trailers) = trailers {
                    exchange.trailers(trailers);
                }
                // hyper asks no more once this is true.
                let is_last = trailers.is_some() || inner.is_end_stream();
                is_last.then(|| exchange.outcome())
            }
            Some(Err(error)) => Some(exchange.failed(error)),
            None => Some(exchange.outcome()),
        };
        if let Some(outcome) = end {
            operation.end(&outcome);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.work().is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.work().size_hint()
    }
}

impl<B: fmt::Debug, X: Exchange> fmt::Debug for InstrumentedBody<B, X> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InstrumentedBody")
            .field("inner", &self.inner)
            .finish_non_exhaustive()
    }
}

/// Whether a body may be passed on untouched: nothing of it is still to come, or so little
/// that its head tells as much as its end. Up to nothing means nothing at all: behind no data
/// there may be trailers.
pub fn is_small<B: Body>(body: &B, up_to: u64) -> bool {
    let is_short = || {
        let length = body.size_hint().exact();
        length.is_some_and(|length| length <= up_to)
    };
    body.is_end_stream() || (up_to > 0 && is_short())
}
