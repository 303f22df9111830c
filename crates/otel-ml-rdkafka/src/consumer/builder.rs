//! How a consumer is made.

use std::fmt;
use std::sync::Arc;

use otel_ml::{Options, consumer_setters, option_setters};
use rdkafka::ClientConfig;
use rdkafka::config::{FromClientConfig, FromClientConfigAndContext};
use rdkafka::consumer::{ConsumerContext, DefaultConsumerContext, StreamConsumer};
use rdkafka::error::KafkaResult;
use rdkafka::util::AsyncRuntime;

use super::{OtelMlConsumer, Untold};
use crate::DefaultHooks;
use crate::error::classifier;
use crate::record::Origin;
use crate::topic::Templates;

impl<R: AsyncRuntime> FromClientConfig for OtelMlConsumer<DefaultConsumerContext, R> {
    fn from_config(config: &ClientConfig) -> KafkaResult<Self> {
        OtelMlConsumer::builder().create(config)
    }
}

impl<C, R> FromClientConfigAndContext<C> for OtelMlConsumer<C, R>
where
    C: ConsumerContext + 'static,
    R: AsyncRuntime,
{
    fn from_config_and_context(config: &ClientConfig, context: C) -> KafkaResult<Self> {
        OtelMlConsumer::builder().create_with_context(config, context)
    }
}

/// Settings of a consumer. Setters take and return it by value. Hooks see the message as a
/// [`Record`](crate::Record).
#[must_use]
pub struct OtelMlConsumerBuilder<H = DefaultHooks> {
    pub(super) options: Options<H>,
    pub(super) origin: Origin,
}

option_setters!(OtelMlConsumerBuilder<> { origin });
consumer_setters!(OtelMlConsumerBuilder);

impl<H> OtelMlConsumerBuilder<H> {
    /// Records messages' keys, where they are text. Off by default: keys may name people.
    pub fn message_keys(mut self, recorded: bool) -> Self {
        self.origin.records_keys = recorded;
        self
    }

    /// Tells the template of a topic whose name is made from one, such as `replies-{tenant}` of
    /// `replies-acme`; `None` for one that stands for itself.
    ///
    /// # Cardinality
    /// Such a topic's span name and metric labels have the template, and its own name is on the
    /// span alone.
    pub fn topic_template(
        mut self,
        template: impl Fn(&str) -> Option<&'static str> + Send + Sync + 'static,
    ) -> Self {
        self.origin.templates = Templates::new(template);
        self
    }

    /// `messaging.client.id`, where the consumer isn't made from a configuration that says it.
    pub fn client_id(mut self, id: impl Into<String>) -> Self {
        self.origin.client_id = Some(id.into());
        self
    }

    /// `messaging.consumer.group.name`, where the consumer isn't made from a configuration
    /// that says it.
    pub fn consumer_group(mut self, group: impl Into<String>) -> Self {
        self.origin.group = Some(group.into());
        self
    }

    /// Wraps a consumer that is there already.
    #[must_use]
    pub fn wrap<C, R>(mut self, inner: StreamConsumer<C, R>) -> OtelMlConsumer<C, R, H>
    where
        C: ConsumerContext + 'static,
    {
        self.options.classify_by(classifier());
        OtelMlConsumer {
            inner: Arc::new(inner),
            options: Arc::new(self.options),
            origin: Arc::new(self.origin),
            untold: Untold::default(),
        }
    }

    /// Makes the consumer.
    ///
    /// # Errors
    /// When the configuration is wrong.
    pub fn create<R: AsyncRuntime>(
        self,
        config: &ClientConfig,
    ) -> KafkaResult<OtelMlConsumer<DefaultConsumerContext, R, H>> {
        self.create_with_context(config, DefaultConsumerContext)
    }

    /// Makes the consumer, with a context of the application's.
    ///
    /// # Errors
    /// When the configuration is wrong.
    pub fn create_with_context<C, R>(
        mut self,
        config: &ClientConfig,
        context: C,
    ) -> KafkaResult<OtelMlConsumer<C, R, H>>
    where
        C: ConsumerContext + 'static,
        R: AsyncRuntime,
    {
        let told = |key| config.get(key).map(str::to_owned);
        self.origin.group = self.origin.group.or_else(|| told("group.id"));
        self.origin.client_id = self.origin.client_id.or_else(|| told("client.id"));
        Ok(self.wrap(StreamConsumer::from_config_and_context(config, context)?))
    }
}

impl<H> fmt::Debug for OtelMlConsumerBuilder<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OtelMlConsumerBuilder")
            .field("origin", &self.origin)
            .finish_non_exhaustive()
    }
}
