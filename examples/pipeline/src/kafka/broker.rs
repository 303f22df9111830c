//! The broker, and the topics that a run has on it. It is the one that `KAFKA_BOOTSTRAP` names,
//! else one inside the process; the topics are a run's own, so that of two on one broker neither
//! answers the other's requests.

use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use otel_ml::Telemetry;
use otel_ml_rdkafka::rdkafka::admin::{
    AdminClient, AdminOptions, NewTopic, TopicReplication, TopicResult,
};
use otel_ml_rdkafka::rdkafka::client::DefaultClientContext;
use otel_ml_rdkafka::rdkafka::consumer::Consumer as _;
use otel_ml_rdkafka::rdkafka::error::{KafkaError, KafkaResult};
use otel_ml_rdkafka::rdkafka::mocking::MockCluster;
use otel_ml_rdkafka::rdkafka::producer::DefaultProducerContext;
use otel_ml_rdkafka::rdkafka::{ClientConfig, Offset, TopicPartitionList};
use otel_ml_rdkafka::{OtelMlConsumer, OtelMlProducer};

/// How long the broker may take for what a start needs.
const START: Duration = Duration::from_secs(10);

/// A broker, the way to it, and the topics that this run has on it.
pub struct Broker {
    config: ClientConfig,
    /// Lives as long as this does.
    mock: Option<Rc<MockCluster<'static, DefaultProducerContext>>>,
    /// What the names of this run's topics end with.
    run: String,
}

fn new_run() -> String {
    format!("{:08x}", fastrand::u32(..))
}

impl Broker {
    /// The one that `KAFKA_BOOTSTRAP` names, else one inside the process.
    ///
    /// # Errors
    /// When the latter can't be made.
    pub fn new() -> KafkaResult<Self> {
        let named = std::env::var("KAFKA_BOOTSTRAP").ok();
        let mock = match &named {
            Some(_) => None,
            None => Some(Rc::new(MockCluster::new(1)?)),
        };
        let inside = || mock.as_ref().map(|mock| mock.bootstrap_servers());
        let bootstrap = named.or_else(inside).unwrap_or_default();
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", bootstrap)
            // One question at a time is not to wait for a second, neither here nor there.
            .set("linger.ms", "0");
        let run = new_run();
        Ok(Self { config, mock, run })
    }

    /// The same broker for another run.
    #[must_use]
    pub fn for_another_run(&self) -> Self {
        Self {
            config: self.config.clone(),
            mock: self.mock.clone(),
            run: new_run(),
        }
    }

    /// This run's topic for what `template` stands for.
    pub(super) fn topic(&self, template: &str) -> String {
        format!("{template}-{}", self.run)
    }

    /// Makes this run's `topics`.
    ///
    /// # Errors
    /// When the broker does not answer, or refuses.
    pub async fn make(&self, topics: Topics) -> KafkaResult<()> {
        let names = topics.all().map(|template| self.topic(template));
        if let Some(mock) = &self.mock {
            return names
                .iter()
                .try_for_each(|name| mock.create_topic(name, 1, 1));
        }
        let topics = names
            .each_ref()
            .map(|name| NewTopic::new(name, 1, TopicReplication::Fixed(1)));
        let made = self.admin()?.create_topics(&topics, &AdminOptions::new());
        answered(made.await?)
    }

    /// Takes this run's `topics` away again: nobody else knows them.
    ///
    /// # Errors
    /// When the broker does not answer, or refuses.
    pub async fn remove(&self, topics: Topics) -> KafkaResult<()> {
        // One inside the process goes with it.
        if self.mock.is_some() {
            return Ok(());
        }
        let names = topics.all().map(|template| self.topic(template));
        let names = names.each_ref().map(String::as_str);
        let removed = self.admin()?.delete_topics(&names, &AdminOptions::new());
        answered(removed.await?)
    }

    fn admin(&self) -> KafkaResult<AdminClient<DefaultClientContext>> {
        self.config.create()
    }

    /// A producer that writes down when it sends.
    pub(super) fn producer(
        &self,
        telemetry: &Telemetry,
        topics: Topics,
    ) -> KafkaResult<OtelMlProducer> {
        OtelMlProducer::builder()
            .telemetry(telemetry.clone())
            .topic_template(move |topic| topics.template_of(topic))
            .send_time(true)
            .create(&self.config)
    }

    /// A consumer of what is sent from now on to the one of `topics` that `template` stands for.
    pub(super) fn consumer(
        &self,
        telemetry: &Telemetry,
        topics: Topics,
        template: &str,
    ) -> KafkaResult<OtelMlConsumer> {
        let topic = self.topic(template);
        let mut config = self.config.clone();
        config
            .set("group.id", template)
            .set("enable.auto.commit", "false")
            .set("fetch.wait.max.ms", "10");
        let consumer: OtelMlConsumer = OtelMlConsumer::builder()
            .telemetry(telemetry.clone())
            .topic_template(move |topic| topics.template_of(topic))
            .queue_wait_span(true)
            .create(&config)?;
        let (_, end) = consumer.fetch_watermarks(&topic, 0, START)?;
        let mut from_now = TopicPartitionList::new();
        from_now.add_partition_offset(&topic, 0, Offset::Offset(end))?;
        consumer.assign(&from_now)?;
        Ok(consumer)
    }
}

/// What the broker has said of each topic.
fn answered(topics: Vec<TopicResult>) -> KafkaResult<()> {
    let refusal = topics.into_iter().find_map(Result::err);
    refusal.map_or(Ok(()), |(_, refused)| Err(KafkaError::AdminOp(refused)))
}

impl fmt::Debug for Broker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Broker")
            .field("is_mock", &self.mock.is_some())
            .field("run", &self.run)
            .finish_non_exhaustive()
    }
}

/// Where requests and their replies go: what the names of their topics begin with, whoever's
/// they are.
#[derive(Clone, Copy, Debug)]
pub struct Topics {
    /// Requests.
    pub requests: &'static str,
    /// Replies.
    pub replies: &'static str,
}

impl Topics {
    const fn all(self) -> [&'static str; 2] {
        [self.requests, self.replies]
    }

    fn template_of(self, topic: &str) -> Option<&'static str> {
        let mut all = self.all().into_iter();
        all.find(|template| topic.starts_with(template))
    }
}
