use std::sync::{Arc, LazyLock};

use tower_layer::Layer;

use super::service::OtelMlConsumer;
use crate::hooks::Hooks;
use crate::options::Options;

/// The hooks of a layer that was not told otherwise.
pub type DefaultHooks = Hooks<(), (), ()>;

/// Traces the processing of messages by a `Service<M>`, `M` being any transport's
/// [`Message`](super::Message).
///
/// # When it ends
/// The span of a message ends with the service's future: with its result, when it panics,
/// or when it is dropped, then as cancelled.
#[derive(Clone, Copy, Debug, Default)]
pub struct OtelMlConsumerLayer;

impl OtelMlConsumerLayer {
    /// A layer with settings of its own.
    pub fn builder() -> OtelMlConsumerLayerBuilder {
        OtelMlConsumerLayerBuilder {
            options: Options::default(),
        }
    }
}

impl<S> Layer<S> for OtelMlConsumerLayer {
    type Service = OtelMlConsumer<S, DefaultHooks>;

    fn layer(&self, inner: S) -> Self::Service {
        static DEFAULT: LazyLock<Arc<Options>> = LazyLock::new(Arc::default);
        OtelMlConsumer::new(inner, Arc::clone(&DEFAULT))
    }
}

/// A consumer layer with settings of its own. Made by [`OtelMlConsumerLayerBuilder::build`].
#[derive(Debug)]
pub struct ConfiguredOtelMlConsumerLayer<H> {
    options: Arc<Options<H>>,
}

impl<S, H> Layer<S> for ConfiguredOtelMlConsumerLayer<H> {
    type Service = OtelMlConsumer<S, H>;

    fn layer(&self, inner: S) -> Self::Service {
        OtelMlConsumer::new(inner, Arc::clone(&self.options))
    }
}

impl<H> Clone for ConfiguredOtelMlConsumerLayer<H> {
    fn clone(&self) -> Self {
        Self {
            options: Arc::clone(&self.options),
        }
    }
}

/// Settings of a consumer layer. Setters take and return it by value.
#[derive(Debug)]
#[must_use]
pub struct OtelMlConsumerLayerBuilder<H = DefaultHooks> {
    options: Options<H>,
}

crate::option_setters!(OtelMlConsumerLayerBuilder<> {});

crate::consumer_setters!(OtelMlConsumerLayerBuilder);

impl<H> OtelMlConsumerLayerBuilder<H> {
    /// The layer.
    #[must_use]
    pub fn build(self) -> ConfiguredOtelMlConsumerLayer<H> {
        ConfiguredOtelMlConsumerLayer {
            options: Arc::new(self.options),
        }
    }
}
