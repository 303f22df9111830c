use std::fmt;
use std::marker::PhantomData;
use std::sync::{Arc, LazyLock};

use http::header::HeaderName;
use otel_ml::hooks::{Hooks, SpanAttributes};
use otel_ml::{Options, ParentPolicy, option_setters, recorded_headers, semconv};
use tower_layer::Layer;

use super::service::{OtelMl, Tower};
use crate::body::UNTOUCHED_UP_TO;
use crate::filter::DefaultFilter;
use crate::request::RequestHead;

/// The hooks of a layer that was not told otherwise.
pub type DefaultHooks = Hooks<DefaultFilter, (), ()>;

/// Traces the requests that a service answers.
///
/// It works as it stands, `.layer(OtelMlLayer)`, and is configured by
/// [`OtelMlLayer::builder`].
///
/// # When it ends
/// A request's span and its duration end with the response's body: see
/// [`InstrumentedBody`](crate::InstrumentedBody). An answer without a body, or with one of
/// known small length, ends at its head; an upgraded connection ends at the `101`.
#[derive(Clone, Copy, Debug, Default)]
pub struct OtelMlLayer;

impl OtelMlLayer {
    /// A layer with settings of its own.
    pub fn builder() -> OtelMlLayerBuilder {
        OtelMlLayerBuilder {
            options: Options::default(),
            request_headers: Vec::new(),
            response_headers: Vec::new(),
            untouched_up_to: UNTOUCHED_UP_TO,
            trace_id_header: None,
            metric_attributes: None,
            framework: PhantomData,
        }
    }
}

impl<S> Layer<S> for OtelMlLayer {
    type Service = OtelMl<S>;

    fn layer(&self, inner: S) -> OtelMl<S> {
        OtelMl::new(inner, ServerOptions::shared())
    }
}

/// A server layer with settings of its own. Made by [`OtelMlLayerBuilder::build`].
pub struct ConfiguredOtelMlLayer<H, W = Tower> {
    options: Arc<ServerOptions<H>>,
    framework: PhantomData<fn() -> W>,
}

impl<S, H, W> Layer<S> for ConfiguredOtelMlLayer<H, W> {
    type Service = OtelMl<S, H, W>;

    fn layer(&self, inner: S) -> Self::Service {
        OtelMl::new(inner, Arc::clone(&self.options))
    }
}

impl<H, W> Clone for ConfiguredOtelMlLayer<H, W> {
    fn clone(&self) -> Self {
        Self {
            options: Arc::clone(&self.options),
            framework: PhantomData,
        }
    }
}

impl<H: fmt::Debug, W> fmt::Debug for ConfiguredOtelMlLayer<H, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConfiguredOtelMlLayer")
            .field("options", &self.options)
            .finish()
    }
}

/// Pushes metric labels.
type MetricAttributes = Arc<dyn for<'a> SpanAttributes<RequestHead<'a>> + Send + Sync>;

/// The settings of a server layer.
pub struct ServerOptions<H = DefaultHooks> {
    pub(crate) common: Options<H>,
    pub(crate) untouched_up_to: u64,
    pub(crate) trace_id_header: Option<HeaderName>,
    pub(crate) metric_attributes: Option<MetricAttributes>,
}

impl ServerOptions {
    /// The defaults, shared by all that use them.
    #[must_use]
    pub fn shared() -> Arc<Self> {
        static DEFAULT: LazyLock<Arc<ServerOptions>> =
            LazyLock::new(|| OtelMlLayer::builder().build_options());
        Arc::clone(&DEFAULT)
    }
}

impl<H: fmt::Debug> fmt::Debug for ServerOptions<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerOptions")
            .field("common", &self.common)
            .field("untouched_up_to", &self.untouched_up_to)
            .field("trace_id_header", &self.trace_id_header)
            .finish_non_exhaustive()
    }
}

/// Settings of a server layer. Setters take and return it by value.
#[must_use]
pub struct OtelMlLayerBuilder<H = DefaultHooks, W = Tower> {
    options: Options<H>,
    request_headers: Vec<String>,
    response_headers: Vec<String>,
    untouched_up_to: u64,
    trace_id_header: Option<HeaderName>,
    metric_attributes: Option<MetricAttributes>,
    framework: PhantomData<fn() -> W>,
}

option_setters!(OtelMlLayerBuilder<W> { request_headers, response_headers, untouched_up_to, trace_id_header, metric_attributes, framework });

impl<H, W> OtelMlLayerBuilder<H, W> {
    /// For an endpoint open to strangers: every request starts a trace of its own, linked to
    /// what its caller says, so that callers choose neither trace ids nor sampling. The parent
    /// policy is then [`ParentPolicy::Link`].
    pub fn public_endpoint(mut self) -> Self {
        self.options.parent = ParentPolicy::Link;
        self
    }

    /// Records these request headers as `http.request.header.{name}`. None by default: they
    /// may hold credentials.
    pub fn request_headers<T: Into<String>>(mut self, names: impl IntoIterator<Item = T>) -> Self {
        self.request_headers = names.into_iter().map(Into::into).collect();
        self
    }

    /// Records these response headers as `http.response.header.{name}`. None by default.
    pub fn response_headers<T: Into<String>>(mut self, names: impl IntoIterator<Item = T>) -> Self {
        self.response_headers = names.into_iter().map(Into::into).collect();
        self
    }

    /// Bodies of known length up to `bytes` are passed on untouched, and their span ends at
    /// the head. 16 KiB by default; with 0 every body is watched to its end.
    pub fn untouched_up_to(mut self, bytes: u64) -> Self {
        self.untouched_up_to = bytes;
        self
    }

    /// Puts the trace id into this response header, for callers to quote. Off by default.
    pub fn trace_id_header(mut self, name: HeaderName) -> Self {
        self.trace_id_header = Some(name);
        self
    }

    /// Adds labels to `http.server.request.duration`.
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

    /// The same settings for another framework: how an integration makes its builder.
    pub fn for_framework<V>(self) -> OtelMlLayerBuilder<H, V> {
        OtelMlLayerBuilder {
            options: self.options,
            request_headers: self.request_headers,
            response_headers: self.response_headers,
            untouched_up_to: self.untouched_up_to,
            trace_id_header: self.trace_id_header,
            metric_attributes: self.metric_attributes,
            framework: PhantomData,
        }
    }

    /// The layer.
    #[must_use]
    pub fn build(self) -> ConfiguredOtelMlLayer<H, W> {
        ConfiguredOtelMlLayer {
            options: self.build_options(),
            framework: PhantomData,
        }
    }

    fn build_options(self) -> Arc<ServerOptions<H>> {
        let mut common = self.options;
        common.request_headers =
            recorded_headers(semconv::http::REQUEST_HEADER_PREFIX, self.request_headers);
        common.response_headers =
            recorded_headers(semconv::http::RESPONSE_HEADER_PREFIX, self.response_headers);
        Arc::new(ServerOptions {
            common,
            untouched_up_to: self.untouched_up_to,
            trace_id_header: self.trace_id_header,
            metric_attributes: self.metric_attributes,
        })
    }
}

impl<H, W> fmt::Debug for OtelMlLayerBuilder<H, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OtelMlLayerBuilder")
            .field("untouched_up_to", &self.untouched_up_to)
            .finish_non_exhaustive()
    }
}
