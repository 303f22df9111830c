use std::fmt;
use std::sync::{Arc, LazyLock};

use otel_ml::hooks::Hooks;
use otel_ml::{Options, option_setters, recorded_headers, semconv};
use tower_layer::Layer;

use super::service::OtelMlClient;

/// The hooks of a layer that was not told otherwise.
pub type DefaultHooks = Hooks<(), (), ()>;

/// Traces the requests that a service sends, and carries the trace on with them.
///
/// Put it innermost, right around the client: then each attempt of a retry layer is a span
/// of its own, as the conventions ask for (see [`ResendCount`](super::ResendCount)).
///
/// # When it ends
/// A request's span and its duration end with the response's body, read to its end or
/// dropped. A request whose future is dropped ends without an error: giving up is the
/// caller's own choice.
#[derive(Clone, Copy, Debug, Default)]
pub struct OtelMlClientLayer;

impl OtelMlClientLayer {
    /// A layer with settings of its own.
    pub fn builder() -> OtelMlClientLayerBuilder {
        OtelMlClientLayerBuilder {
            options: Options::default(),
            request_headers: Vec::new(),
            response_headers: Vec::new(),
        }
    }
}

impl<S> Layer<S> for OtelMlClientLayer {
    type Service = OtelMlClient<S>;

    fn layer(&self, inner: S) -> OtelMlClient<S> {
        OtelMlClient::new(inner, ClientOptions::shared())
    }
}

/// A client layer with settings of its own. Made by [`OtelMlClientLayerBuilder::build`].
#[derive(Debug)]
pub struct ConfiguredOtelMlClientLayer<H> {
    options: Arc<ClientOptions<H>>,
}

impl<S, H> Layer<S> for ConfiguredOtelMlClientLayer<H> {
    type Service = OtelMlClient<S, H>;

    fn layer(&self, inner: S) -> Self::Service {
        OtelMlClient::new(inner, Arc::clone(&self.options))
    }
}

impl<H> Clone for ConfiguredOtelMlClientLayer<H> {
    fn clone(&self) -> Self {
        Self {
            options: Arc::clone(&self.options),
        }
    }
}

/// The settings of a client layer.
#[derive(Debug)]
pub struct ClientOptions<H = DefaultHooks> {
    pub(crate) common: Options<H>,
}

impl ClientOptions {
    /// The defaults, shared by all that use them.
    #[must_use]
    pub fn shared() -> Arc<Self> {
        static DEFAULT: LazyLock<Arc<ClientOptions>> =
            LazyLock::new(|| OtelMlClientLayer::builder().build().options);
        Arc::clone(&DEFAULT)
    }
}

/// Settings of a client layer. Setters take and return it by value.
///
/// [`parent`](Self::parent) and [`baggage`](Self::baggage) are about what arrives: a client's
/// parent is always the current context, whose baggage is what may be copied.
#[must_use]
pub struct OtelMlClientLayerBuilder<H = DefaultHooks> {
    options: Options<H>,
    request_headers: Vec<String>,
    response_headers: Vec<String>,
}

option_setters!(OtelMlClientLayerBuilder<> { request_headers, response_headers });

impl<H> OtelMlClientLayerBuilder<H> {
    /// Records these request headers as `http.request.header.{name}`. None by default.
    pub fn request_headers<T: Into<String>>(mut self, names: impl IntoIterator<Item = T>) -> Self {
        self.request_headers = names.into_iter().map(Into::into).collect();
        self
    }

    /// Records these response headers as `http.response.header.{name}`. None by default.
    pub fn response_headers<T: Into<String>>(mut self, names: impl IntoIterator<Item = T>) -> Self {
        self.response_headers = names.into_iter().map(Into::into).collect();
        self
    }

    /// The layer.
    #[must_use]
    pub fn build(self) -> ConfiguredOtelMlClientLayer<H> {
        let mut common = self.options;
        common.request_headers =
            recorded_headers(semconv::http::REQUEST_HEADER_PREFIX, self.request_headers);
        common.response_headers =
            recorded_headers(semconv::http::RESPONSE_HEADER_PREFIX, self.response_headers);
        ConfiguredOtelMlClientLayer {
            options: Arc::new(ClientOptions { common }),
        }
    }
}

impl<H> fmt::Debug for OtelMlClientLayerBuilder<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OtelMlClientLayerBuilder")
            .field("request_headers", &self.request_headers)
            .finish_non_exhaustive()
    }
}
