//! tonic's interceptors, for where the context is to be passed on and nothing else is wanted.

use otel_ml_tower::otel_ml::Telemetry;
use otel_ml_tower::otel_ml::opentelemetry::Context;
use tonic::service::Interceptor;
use tonic::{Request, Status};

use crate::carrier::{MetadataExtractor, MetadataInjector};

/// Puts the current context into the metadata of what a client sends.
///
/// **[`OtelMlClientLayer`](crate::OtelMlClientLayer) is the better choice**: an interceptor is
/// called before the call and never hears how it went. It makes no span, so the server's span
/// becomes the child of whatever runs here; no duration, no status, no metric is recorded.
///
/// ```
/// use otel_ml_tonic::OtelMlClientInterceptor;
/// use tonic::service::Interceptor as _;
///
/// let request = tonic::Request::new(());
/// assert!(OtelMlClientInterceptor::default().call(request).is_ok());
/// ```
#[derive(Clone, Debug, Default)]
pub struct OtelMlClientInterceptor {
    telemetry: Telemetry,
}

impl OtelMlClientInterceptor {
    /// Passes context on as `telemetry` does, in place of the global propagator.
    #[must_use]
    pub const fn new(telemetry: Telemetry) -> Self {
        Self { telemetry }
    }
}

impl Interceptor for OtelMlClientInterceptor {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let mut carrier = MetadataInjector(request.metadata_mut());
        self.telemetry.inject(&Context::current(), &mut carrier);
        Ok(request)
    }
}

/// Reads the sender's context from the metadata of what a server gets, and leaves it in the
/// request's extensions as [`SenderContext`].
///
/// **[`OtelMlLayer`](crate::OtelMlLayer) is the better choice**: an interceptor returns before
/// the handler runs, so it can neither make the context current nor record anything. A handler
/// has to take it and attach it by itself.
///
/// ```
/// use otel_ml_tonic::{OtelMlInterceptor, SenderContext};
/// use tonic::service::Interceptor as _;
///
/// let request = OtelMlInterceptor::default().call(tonic::Request::new(()))?;
/// let sender = request.extensions().get::<SenderContext>().cloned().unwrap_or_default();
/// let _attached = sender.0.attach();
/// # Ok::<(), tonic::Status>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct OtelMlInterceptor {
    telemetry: Telemetry,
}

impl OtelMlInterceptor {
    /// Reads context as `telemetry` does, in place of the global propagator.
    #[must_use]
    pub const fn new(telemetry: Telemetry) -> Self {
        Self { telemetry }
    }
}

impl Interceptor for OtelMlInterceptor {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let sender = self
            .telemetry
            .extract(&MetadataExtractor::new(request.metadata()));
        request.extensions_mut().insert(SenderContext(sender));
        Ok(request)
    }
}

/// The context that came with a request, as [`OtelMlInterceptor`] leaves it in its extensions.
#[derive(Clone, Debug, Default)]
pub struct SenderContext(pub Context);
