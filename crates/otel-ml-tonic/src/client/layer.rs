use std::fmt;
use std::sync::{Arc, LazyLock};

use otel_ml_tower::otel_ml::hooks::Hooks;
use otel_ml_tower::otel_ml::{Options, option_setters, recorded_headers, semconv::rpc};
use tonic::transport::Endpoint;
use tower_layer::Layer;

use super::service::OtelMlClient;
use crate::method::Methods;
use crate::target::Target;

/// The hooks of a layer that was not told otherwise.
pub type DefaultHooks = Hooks<(), (), ()>;

/// Traces the calls that a client makes, and carries the trace on with them.
///
/// Around a [`Channel`](tonic::transport::Channel) it knows the server by
/// [`for_endpoint`](Self::for_endpoint): the channel itself adds it to requests further in.
/// A retry layer belongs inside: a call is one span, with all its attempts.
///
/// # When it ends
/// A call's span and its duration end with the trailers, which hold the status, or when the
/// response is dropped. A call that its caller drops ends without an error: giving up is the
/// caller's own choice.
#[derive(Clone, Copy, Debug, Default)]
pub struct OtelMlClientLayer;

impl OtelMlClientLayer {
    /// A layer with settings of its own.
    pub fn builder() -> OtelMlClientLayerBuilder {
        OtelMlClientLayerBuilder {
            options: Options::default(),
            request_metadata: Vec::new(),
            response_metadata: Vec::new(),
            target: None,
            methods: None,
        }
    }

    /// A layer for channels to `endpoint`: with `server.address` and `server.port`.
    ///
    /// ```
    /// use otel_ml_tonic::OtelMlClientLayer;
    /// use tonic::transport::Endpoint;
    /// use tower::ServiceBuilder;
    ///
    /// # async fn connect() {
    /// let endpoint = Endpoint::from_static("http://127.0.0.1:50051");
    /// let layer = OtelMlClientLayer::for_endpoint(&endpoint);
    /// let channel = ServiceBuilder::new().layer(layer).service(endpoint.connect_lazy());
    /// # let _ = channel;
    /// # }
    /// ```
    #[must_use]
    pub fn for_endpoint(endpoint: &Endpoint) -> ConfiguredOtelMlClientLayer<DefaultHooks> {
        Self::builder().endpoint(endpoint).build()
    }
}

impl<S> Layer<S> for OtelMlClientLayer {
    type Service = OtelMlClient<S>;

    fn layer(&self, inner: S) -> OtelMlClient<S> {
        static DEFAULT: LazyLock<Arc<ClientOptions>> =
            LazyLock::new(|| OtelMlClientLayer::builder().build().options);
        OtelMlClient::new(inner, Arc::clone(&DEFAULT))
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
    pub(super) common: Options<H>,
    pub(super) target: Option<Target>,
    /// Those that calls are made of, where they were listed.
    pub(super) methods: Option<Methods>,
}

/// Settings of a client layer. Setters take and return it by value.
///
/// [`parent`](Self::parent) and [`baggage`](Self::baggage) are about what arrives: a client's
/// parent is always the current context, whose baggage is what may be copied.
#[must_use]
pub struct OtelMlClientLayerBuilder<H = DefaultHooks> {
    options: Options<H>,
    request_metadata: Vec<String>,
    response_metadata: Vec<String>,
    target: Option<Target>,
    methods: Option<Vec<String>>,
}

option_setters!(OtelMlClientLayerBuilder<> { request_metadata, response_metadata, target, methods });

impl<H> OtelMlClientLayerBuilder<H> {
    /// The server is the one that `endpoint` names. For a Unix socket, whose path an endpoint
    /// doesn't tell, use [`target`](Self::target).
    pub fn endpoint(self, endpoint: &Endpoint) -> Self {
        let uri = endpoint.uri();
        // The stand-in that tonic has for a socket's path.
        if uri.host() == Some("tonic") && uri.port().is_none() {
            return self;
        }
        self.target(&uri.to_string())
    }

    /// The server as gRPC's clients name it: `host:port`, `dns:///host:port`, `unix:///path`.
    /// What names several servers is recorded as it is.
    pub fn target(mut self, target: &str) -> Self {
        self.target = Target::parse(target);
        self
    }

    /// The methods that are called, as `package.Service/Method`. Calls to others are recorded as
    /// `_OTHER`, under the name `grpc`: for clients that call what somebody else names, such as
    /// proxies. Without a list every method is recorded as it is called.
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

    /// The layer.
    #[must_use]
    pub fn build(self) -> ConfiguredOtelMlClientLayer<H> {
        let mut common = self.options;
        common.request_headers =
            recorded_headers(rpc::REQUEST_METADATA_PREFIX, self.request_metadata);
        common.response_headers =
            recorded_headers(rpc::RESPONSE_METADATA_PREFIX, self.response_metadata);
        ConfiguredOtelMlClientLayer {
            options: Arc::new(ClientOptions {
                common,
                target: self.target,
                methods: self.methods.as_deref().map(Methods::listed),
            }),
        }
    }
}

impl<H> fmt::Debug for OtelMlClientLayerBuilder<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OtelMlClientLayerBuilder")
            .field("target", &self.target)
            .finish_non_exhaustive()
    }
}
