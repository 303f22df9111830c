use std::fmt;
use std::sync::{Arc, LazyLock};

use http::header::HeaderName;
use otel_ml_tower::RequestHead;
use otel_ml_tower::otel_ml::hooks::{Hooks, SpanAttributes};
use otel_ml_tower::otel_ml::{
    Options, ParentPolicy, option_setters, recorded_headers, semconv::rpc,
};
use tower_layer::Layer;

use super::service::OtelMl;
use crate::filter::DefaultFilter;
use crate::method::Methods;

/// The hooks of a layer that was not told otherwise.
pub type DefaultHooks = Hooks<DefaultFilter, (), ()>;

/// Traces the calls that a server answers.
///
/// It works as it stands, `Server::builder().layer(OtelMlLayer)`, and is configured by
/// [`OtelMlLayer::builder`]. Around a single service it is a named service, too.
///
/// # When it ends
/// A call's span and its duration end with the trailers, which hold the status. An answer
/// whose head has the status ends there; a call that is dropped, because its caller cancels or
/// the connection breaks, ends as cancelled.
#[derive(Clone, Copy, Debug, Default)]
pub struct OtelMlLayer;

impl OtelMlLayer {
    /// A layer with settings of its own.
    pub fn builder() -> OtelMlLayerBuilder {
        OtelMlLayerBuilder {
            options: Options::default(),
            request_metadata: Vec::new(),
            response_metadata: Vec::new(),
            methods: None,
            trace_id_header: None,
            metric_attributes: None,
        }
    }
}

impl<S> Layer<S> for OtelMlLayer {
    type Service = OtelMl<S>;

    fn layer(&self, inner: S) -> OtelMl<S> {
        static DEFAULT: LazyLock<Arc<ServerOptions>> =
            LazyLock::new(|| OtelMlLayer::builder().build().options);
        OtelMl::new(inner, Arc::clone(&DEFAULT))
    }
}

/// A server layer with settings of its own. Made by [`OtelMlLayerBuilder::build`].
#[derive(Debug)]
pub struct ConfiguredOtelMlLayer<H> {
    options: Arc<ServerOptions<H>>,
}

impl<S, H> Layer<S> for ConfiguredOtelMlLayer<H> {
    type Service = OtelMl<S, H>;

    fn layer(&self, inner: S) -> Self::Service {
        OtelMl::new(inner, Arc::clone(&self.options))
    }
}

impl<H> Clone for ConfiguredOtelMlLayer<H> {
    fn clone(&self) -> Self {
        Self {
            options: Arc::clone(&self.options),
        }
    }
}

/// Pushes metric labels.
type MetricAttributes = Arc<dyn for<'a> SpanAttributes<RequestHead<'a>> + Send + Sync>;

/// The settings of a server layer.
pub struct ServerOptions<H = DefaultHooks> {
    pub(super) common: Options<H>,
    pub(super) methods: Methods,
    pub(super) trace_id_header: Option<HeaderName>,
    pub(super) metric_attributes: Option<MetricAttributes>,
}

impl<H: fmt::Debug> fmt::Debug for ServerOptions<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerOptions")
            .field("common", &self.common)
            .field("trace_id_header", &self.trace_id_header)
            .finish_non_exhaustive()
    }
}

/// Settings of a server layer. Setters take and return it by value.
///
/// Hooks are shown the request's head as HTTP has it: the path is `/package.Service/Method`.
#[must_use]
pub struct OtelMlLayerBuilder<H = DefaultHooks> {
    options: Options<H>,
    request_metadata: Vec<String>,
    response_metadata: Vec<String>,
    methods: Option<Vec<String>>,
    trace_id_header: Option<HeaderName>,
    metric_attributes: Option<MetricAttributes>,
}

option_setters!(OtelMlLayerBuilder<> { request_metadata, response_metadata, methods, trace_id_header, metric_attributes });

impl<H> OtelMlLayerBuilder<H> {
    /// For an endpoint open to strangers: every call starts a trace of its own, linked to what
    /// its caller says. The parent policy is then [`ParentPolicy::Link`].
    pub fn public_endpoint(mut self) -> Self {
        self.options.parent = ParentPolicy::Link;
        self
    }

    /// The methods that the server has, as `package.Service/Method`. Calls to others are recorded
    /// as `_OTHER`, under the name `grpc`.
    ///
    /// Without a list they are learnt: a method that was answered by `OK` or by a stream is one of
    /// the server's, up to about 500 of them. Samplers then see `rpc.method` from the second call
    /// on. Until then, and where a call is refused or dropped before its answer, the span has the
    /// caller's word for it and the metric `_OTHER`.
    pub fn methods<T: Into<String>>(mut self, names: impl IntoIterator<Item = T>) -> Self {
        self.methods = Some(names.into_iter().map(Into::into).collect());
        self
    }

    /// Records this metadata of requests as `rpc.request.metadata.{key}`; values of `-bin` keys
    /// in base64, as they are sent. None by default: it may hold credentials.
    pub fn request_metadata<T: Into<String>>(mut self, keys: impl IntoIterator<Item = T>) -> Self {
        self.request_metadata = keys.into_iter().map(Into::into).collect();
        self
    }

    /// Records this metadata of responses, that of the trailers too, as
    /// `rpc.response.metadata.{key}`. None by default.
    pub fn response_metadata<T: Into<String>>(mut self, keys: impl IntoIterator<Item = T>) -> Self {
        self.response_metadata = keys.into_iter().map(Into::into).collect();
        self
    }

    /// Puts the trace id into this metadata of the response, for callers to quote. Off by default.
    pub fn trace_id_header(mut self, name: HeaderName) -> Self {
        self.trace_id_header = Some(name);
        self
    }

    /// Adds labels to `rpc.server.call.duration`.
    ///
    /// # Cardinality
    /// Each distinct set of labels is a time series: push classes, never ids.
    pub fn metric_attributes(
        mut self,
        attributes: impl for<'a> SpanAttributes<RequestHead<'a>> + Send + Sync + 'static,
    ) -> Self {
        self.metric_attributes = Some(Arc::new(attributes));
        self
    }

    /// The layer.
    #[must_use]
    pub fn build(self) -> ConfiguredOtelMlLayer<H> {
        let mut common = self.options;
        common.request_headers =
            recorded_headers(rpc::REQUEST_METADATA_PREFIX, self.request_metadata);
        common.response_headers =
            recorded_headers(rpc::RESPONSE_METADATA_PREFIX, self.response_metadata);
        let methods = self.methods.as_deref();
        ConfiguredOtelMlLayer {
            options: Arc::new(ServerOptions {
                common,
                methods: methods.map_or_else(Methods::default, Methods::listed),
                trace_id_header: self.trace_id_header,
                metric_attributes: self.metric_attributes,
            }),
        }
    }
}

impl<H> fmt::Debug for OtelMlLayerBuilder<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OtelMlLayerBuilder")
            .field("methods", &self.methods)
            .finish_non_exhaustive()
    }
}
