//! Services with a queue between them, such as tower's `Buffer`.

use std::task::{Context, Poll};

use otel_ml::MlSpan;
use otel_ml::semconv::ml;
use tower_layer::Layer;
use tower_service::Service;

use crate::carry::Carried;
use crate::queue::Queue;
use crate::traced::Traced;

/// Keeps the trace through a `Buffer`, or any other middleware that hands requests to another
/// task: [`capture`](Self::capture) goes outside it, [`restore`](Self::restore) inside.
///
/// In between, a request `R` is a [`Traced<R>`]. The time in the buffer is recorded as that of
/// its [`Queue`], and as `ml.queue.wait.duration` (s, double) of the operation that the request
/// came from, unless that one tells the wait of a message or job already. The inner service is called, and its future is polled and dropped, in the context
/// of the caller.
///
/// ```
/// use otel_ml_worker::{BufferLayers, Queue};
/// use tower::buffer::BufferLayer;
/// use tower::{ServiceBuilder, ServiceExt, service_fn};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let buffer = BufferLayers::new(Queue::builder("model").limit(64).build());
/// let service = ServiceBuilder::new()
///     .layer(buffer.capture())
///     .layer(BufferLayer::new(64))
///     .layer(buffer.restore())
///     .service(service_fn(async |text: &'static str| Ok::<_, std::io::Error>(text.len())));
/// assert_eq!(service.oneshot("four").await.unwrap(), 4);
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct BufferLayers {
    queue: Queue,
}

impl BufferLayers {
    /// The layers around the buffer that `queue` stands for.
    #[must_use]
    pub const fn new(queue: Queue) -> Self {
        Self { queue }
    }

    /// Goes outside the buffer: notes the caller's context, and the time.
    #[must_use]
    pub fn capture(&self) -> CaptureLayer {
        CaptureLayer {
            queue: self.queue.clone(),
        }
    }

    /// Goes inside the buffer: brings the caller's context back.
    #[must_use]
    pub const fn restore(&self) -> RestoreLayer {
        RestoreLayer
    }
}

/// Goes outside a buffer. Made by [`BufferLayers::capture`].
#[derive(Clone, Debug)]
pub struct CaptureLayer {
    queue: Queue,
}

impl<S> Layer<S> for CaptureLayer {
    type Service = Capture<S>;

    fn layer(&self, inner: S) -> Capture<S> {
        Capture {
            inner,
            queue: self.queue.clone(),
        }
    }
}

/// Goes inside a buffer. Made by [`BufferLayers::restore`].
#[derive(Clone, Copy, Debug)]
pub struct RestoreLayer;

impl<S> Layer<S> for RestoreLayer {
    type Service = Restore<S>;

    fn layer(&self, inner: S) -> Restore<S> {
        Restore { inner }
    }
}

/// The service outside a buffer. Made by [`CaptureLayer`].
#[derive(Clone, Debug)]
pub struct Capture<S> {
    inner: S,
    queue: Queue,
}

impl<S: Service<Traced<R>>, R> Service<R> for Capture<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: R) -> S::Future {
        self.inner.call(self.queue.traced(request))
    }
}

/// The service inside a buffer. Made by [`RestoreLayer`].
#[derive(Clone, Debug)]
pub struct Restore<S> {
    inner: S,
}

impl<S: Service<R>, R> Service<Traced<R>> for Restore<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = Carried<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Traced<R>) -> Self::Future {
        let opened = request.open();
        MlSpan::from_context(&opened.context)
            .set(ml::QUEUE_WAIT_DURATION, opened.wait.as_secs_f64());
        let inner = {
            let _attached = opened.attach();
            self.inner.call(opened.item)
        };
        Carried::new(opened.context, inner)
    }
}
