//! Messages, whatever carries them, and what two brokers add.

/// Messages sent, received, processed and settled: `messaging.*`.
///
/// An attribute that is equal for all messages of a batch is set on the span, else on the links.
pub mod messaging {
    use crate::attribute::attributes;

    attributes! {
        source: "semantic-conventions 1.45.0, messaging";

        /// The broker, one of [`system`]. Required.
        SYSTEM_NAME: String, Development = "messaging.system.name";
        /// The operation as the broker's users call it, such as those in [`operation`]. Required.
        OPERATION_NAME: String, Development = "messaging.operation.name";
        /// The operation's kind, one of [`operation_type`]. Required where one fits.
        OPERATION_TYPE: String, Development = "messaging.operation.type";
        /// The topic, queue or exchange. Required where known and, as a metric label, bounded.
        DESTINATION_NAME: String, Development = "messaging.destination.name";
        /// The template the destination's name was made from. Required where there is one.
        DESTINATION_TEMPLATE: String, Development = "messaging.destination.template";
        /// The destination has no name of its own. Set when true.
        DESTINATION_ANONYMOUS: Bool, Development = "messaging.destination.anonymous";
        /// The destination goes away with its users. Set when true.
        DESTINATION_TEMPORARY: Bool, Development = "messaging.destination.temporary";
        /// The partition, as text. Recommended.
        DESTINATION_PARTITION_ID: String, Development = "messaging.destination.partition.id";
        /// The subscription a message came through. Required where there is one.
        DESTINATION_SUBSCRIPTION_NAME: String, Development =
            "messaging.destination.subscription.name";
        /// Messages in the batch. Required on batch operations, never set on others.
        BATCH_MESSAGE_COUNT: Int, Development = "messaging.batch.message_count";
        /// The consumer group. Required where there is one.
        CONSUMER_GROUP_NAME: String, Development = "messaging.consumer.group.name";
        /// This client's name at the broker. Recommended.
        CLIENT_ID: String, Development = "messaging.client.id";
        /// The message's identifier. Recommended for a single message; unbounded, spans only.
        MESSAGE_ID: String, Development = "messaging.message.id";
        /// The conversation or correlation identifier. Recommended; unbounded, spans only.
        MESSAGE_CONVERSATION_ID: String, Development = "messaging.message.conversation_id";
        /// Bytes of the payload. Opt-in.
        MESSAGE_BODY_SIZE: Int, Development = "messaging.message.body.size";
        /// Bytes of payload and metadata. Opt-in.
        MESSAGE_ENVELOPE_SIZE: Int, Development = "messaging.message.envelope.size";
    }

    /// Values of [`SYSTEM_NAME`].
    pub mod system {
        crate::attribute::values! {
            /// Apache Kafka.
            KAFKA = "kafka";
            /// RabbitMQ.
            RABBITMQ = "rabbitmq";
        }
    }

    /// Values of [`OPERATION_TYPE`]; each comment names the span kind.
    pub mod operation_type {
        crate::attribute::values! {
            /// A message is made and given its context: PRODUCER.
            CREATE = "create";
            /// Messages go to the broker: PRODUCER, or CLIENT if they had contexts of their own.
            SEND = "send";
            /// Messages are asked for: CLIENT.
            RECEIVE = "receive";
            /// Messages are handled: CONSUMER.
            PROCESS = "process";
            /// The broker is told how it went: CLIENT.
            SETTLE = "settle";
        }
    }

    /// Values of [`OPERATION_NAME`] this family uses. Upstream leaves them to the instrumentation.
    pub mod operation {
        crate::attribute::values! {
            /// One message is made for a later send.
            CREATE = "create";
            /// Kafka's producing.
            SEND = "send";
            /// AMQP's producing.
            PUBLISH = "publish";
            /// Kafka's asking for records.
            POLL = "poll";
            /// Asking for messages, elsewhere.
            RECEIVE = "receive";
            /// A handler runs.
            PROCESS = "process";
            /// A handler runs, as AMQP calls it.
            CONSUME = "consume";
            /// Kafka's offset is moved on.
            COMMIT = "commit";
            /// Taken and done.
            ACK = "ack";
            /// Not done; back or away.
            NACK = "nack";
            /// Refused.
            REJECT = "reject";
        }
    }

    /// Metrics of messaging clients.
    pub mod metric {
        use crate::metric::{boundaries::REQUEST_SECONDS, metrics};

        metrics! {
            source: "semantic-conventions 1.45.0, messaging";

            "Time a messaging operation takes, processing excepted."
            /// Labels: system and operation; where they apply operation type, destination, group,
            /// partition, error type, server address and port.
            CLIENT_OPERATION_DURATION: Histogram, Development =
                "messaging.client.operation.duration", "s",
                REQUEST_SECONDS;

            "Time a handler takes for a message or a batch."
            /// Labels: as the operation's duration, without the operation type.
            PROCESS_DURATION: Histogram, Development =
                "messaging.process.duration", "s", REQUEST_SECONDS;

            "Messages handed to the broker, failed attempts included."
            /// Labels: as the operation's duration, without the group.
            CLIENT_SENT_MESSAGES: Counter, Development =
                "messaging.client.sent.messages", "{message}";

            "Messages delivered to this client, once each delivery."
            /// Labels: as the operation's duration.
            CLIENT_CONSUMED_MESSAGES: Counter, Development =
                "messaging.client.consumed.messages", "{message}";
        }
    }
}

/// What Kafka adds: `kafka.*`.
pub mod kafka {
    use crate::attribute::attributes;

    attributes! {
        source: "semantic-conventions 1.45.0, kafka";

        /// The cluster's identifier. Recommended where known.
        CLUSTER_ID: String, Development = "kafka.cluster.id";
        /// The record's key, where it is text. Recommended; unbounded, spans only.
        MESSAGE_KEY: String, Development = "kafka.message.key";
        /// The record has no value. Set when true.
        MESSAGE_TOMBSTONE: Bool, Development = "kafka.message.tombstone";
        /// The record's offset in its partition. Recommended for a single record.
        OFFSET: Int, Development = "kafka.offset";
    }
}

/// What RabbitMQ adds: `rabbitmq.*`.
pub mod rabbitmq {
    use crate::attribute::attributes;

    attributes! {
        source: "semantic-conventions 1.45.0, rabbitmq";

        /// The routing key. Required where not empty.
        DESTINATION_ROUTING_KEY: String, Development = "rabbitmq.destination.routing_key";
        /// The delivery's number on its channel. Required on consumers.
        MESSAGE_DELIVERY_TAG: Int, Development = "rabbitmq.message.delivery_tag";
    }

    /// A producer's destination when exchange and routing key are both empty.
    pub const DEFAULT_DESTINATION: &str = "amq.default";
}
