//! Names of our own, where OpenTelemetry has none: `ml.*`.
//!
//! Upstream uses nothing under this prefix. Each key says why it is needed and what upstream name
//! it would give way to. Where a key may be a metric label, its values are few and it says so.

use crate::attribute::attributes;

/// What every attribute and metric of this module begins with.
pub const PREFIX: &str = "ml.";

attributes! {
    source: "otel-ml";

    /// The model's name. For what isn't generative; else `gen_ai.request.model`. Metric label.
    MODEL_NAME: String, Development = "ml.model.name";
    /// The model's version: upstream has none. A metric label on request only: every rollout adds
    /// one.
    MODEL_VERSION: String, Development = "ml.model.version";
    /// How weights are quantized (`int8`, `fp8`, `awq`): explains speed and quality.
    MODEL_QUANTIZATION: String, Development = "ml.model.quantization";
    /// Bytes of the weights, on loading spans: explains how long loading takes.
    MODEL_SIZE: Int, Development = "ml.model.size";
    /// What is done to or by the model, such as those in [`operation`]. For what isn't generative;
    /// else `gen_ai.operation.name`. Metric label.
    OPERATION_NAME: String, Development = "ml.operation.name";
    /// One of [`phase`]: the two parts of generating have different limits.
    INFERENCE_PHASE: String, Development = "ml.inference.phase";

    /// The stage of a pipeline, such as those in [`stage`]. For pipelines that aren't agents; else
    /// `gen_ai.workflow.name`. Metric label.
    PIPELINE_STAGE_NAME: String, Development = "ml.pipeline.stage.name";
    /// Stages the pipeline has: tells a short trace from a broken one.
    PIPELINE_STAGE_COUNT: Int, Development = "ml.pipeline.stage.count";
    /// The stage was left out on purpose: a degraded answer is not an error.
    STAGE_SKIPPED: Bool, Development = "ml.stage.skipped";
    /// Why it was left out. Low-cardinality, the caller's choice.
    STAGE_SKIP_REASON: String, Development = "ml.stage.skip_reason";

    /// Characters or elements of the input, never the input. Bytes have upstream names.
    INPUT_SIZE: Int, Development = "ml.input.size";
    /// The input tensor's dimensions: the first thing to look at when a batch fails.
    INPUT_SHAPE: IntArray, Development = "ml.input.shape";
    /// The input tensor's element type, as the framework calls it.
    INPUT_DTYPE: String, Development = "ml.input.dtype";
    /// The smallest element. Opt-in: shows drift and broken scaling.
    INPUT_MIN: Double, Development = "ml.input.min";
    /// The largest element. Opt-in.
    INPUT_MAX: Double, Development = "ml.input.max";
    /// The mean of the elements. Opt-in.
    INPUT_MEAN: Double, Development = "ml.input.mean";
    /// Elements that are not a number: the commonest silent failure.
    INPUT_NAN_COUNT: Int, Development = "ml.input.nan_count";
    /// A class of input the caller chose. Low-cardinality; never the input.
    INPUT_CLASS: String, Development = "ml.input.class";
    /// Characters or elements of the output.
    OUTPUT_SIZE: Int, Development = "ml.output.size";
    /// Results in the output. Rows of a database are `db.response.returned_rows`.
    OUTPUT_COUNT: Int, Development = "ml.output.count";
    /// The model's confidence, 0 to 1. An evaluator's is `gen_ai.evaluation.score.value`.
    PREDICTION_CONFIDENCE: Double, Development = "ml.prediction.confidence";

    /// The batch's identifier: unites the requests a model ran together. Unbounded, spans only.
    BATCH_ID: String, Development = "ml.batch.id";
    /// Requests run together in one forward pass. Messages and database calls have upstream names.
    BATCH_SIZE: Int, Development = "ml.batch.size";
    /// Requests a batch may hold: with the size, how full it was.
    BATCH_MAX_SIZE: Int, Development = "ml.batch.max_size";
    /// Why the batch was closed, one of [`batch_trigger`]. Metric label.
    BATCH_TRIGGER: String, Development = "ml.batch.trigger";

    /// The kind of queue, one of [`queue_system`]. Metric label.
    QUEUE_SYSTEM: String, Development = "ml.queue.system";
    /// The queue's name. A metric label if bounded.
    QUEUE_NAME: String, Development = "ml.queue.name";
    /// Seconds spent waiting before work began: otherwise hidden in the gap between two spans.
    QUEUE_WAIT_DURATION: Double, Development = "ml.queue.wait.duration";

    /// Whether the cache had it. Upstream has names for a provider's prompt cache only. Metric
    /// label.
    CACHE_HIT: Bool, Development = "ml.cache.hit";
    /// Which cache. Metric label.
    CACHE_NAME: String, Development = "ml.cache.name";

    /// Features asked for, by name. Opt-in, with the list's length capped.
    FEATURE_NAMES: StringArray, Development = "ml.feature.names";
    /// Features asked for.
    FEATURE_COUNT: Int, Development = "ml.feature.count";
    /// Of those, how many a cache served.
    FEATURE_CACHE_HIT_COUNT: Int, Development = "ml.feature.cache.hit_count";
    /// Which side of the feature store answered, one of [`feature_store_mode`]. The view is
    /// `db.collection.name`.
    FEATURE_STORE_MODE: String, Development = "ml.feature_store.mode";

    /// Documents a retrieval gave; the number asked for is `gen_ai.retrieval.top_k`.
    RETRIEVAL_DOCUMENT_COUNT: Int, Development = "ml.retrieval.document.count";
    /// Documents given to a reranker: upstream has nothing on reranking.
    RERANK_CANDIDATE_COUNT: Int, Development = "ml.rerank.candidate.count";
    /// Of the documents returned, how many the reranker moved: 0 says it changed nothing.
    RERANK_REORDERED: Int, Development = "ml.rerank.reordered";

    /// Seconds from the request to the first byte or chunk of the answer. For what isn't
    /// generative; else `gen_ai.response.time_to_first_chunk`.
    RESPONSE_TIME_TO_FIRST_CHUNK: Double, Development = "ml.response.time_to_first_chunk";
    /// Chunks of the answer passed on so far: how far a cut stream got.
    RESPONSE_CHUNK_COUNT: Int, Development = "ml.response.chunk.count";
    /// Messages of a stream of requests read, or sent, so far: gRPC has no name for it since its
    /// events, one for each message, are gone.
    REQUEST_MESSAGE_COUNT: Int, Development = "ml.request.message.count";
    /// Messages of a stream of answers passed on so far: how far a cut stream got.
    RESPONSE_MESSAGE_COUNT: Int, Development = "ml.response.message.count";
    /// Bytes of the answer's body passed on so far; `http.response.body.size` is the whole body's.
    RESPONSE_SIZE: Int, Development = "ml.response.size";
    /// The stream ended before its final token usage was known: what is recorded is a lower bound.
    USAGE_PARTIAL: Bool, Development = "ml.usage.partial";

    /// Why the operation ended early, one of [`cancel_reason`]. Beside `error.type` or instead of
    /// it, since giving up is not always a failure.
    CANCEL_REASON: String, Development = "ml.cancel.reason";
    /// Whether the failure is worth a retry, where the caller can tell. Beside `error.type`.
    ERROR_TRANSIENT: Bool, Development = "ml.error.transient";

    /// Which time this delivery is, from 1: tells a retry from a first try.
    MESSAGE_ATTEMPT: Int, Development = "ml.message.attempt";
    /// How often the message has been dead-lettered. Upstream counts deliveries of one broker only.
    MESSAGE_DEAD_LETTER_COUNT: Int, Development = "ml.message.dead_letter_count";
    /// Links left out because of the cap: a batch's trace is then known to be incomplete.
    LINKS_DROPPED: Int, Development = "ml.links.dropped";

    /// What was wrong with a trace header, one of [`propagation_anomaly`]. Metric label.
    PROPAGATION_ANOMALY: String, Development = "ml.propagation.anomaly";
    /// What the header travelled by, such as those in [`transport`]. Metric label.
    PROPAGATION_TRANSPORT: String, Development = "ml.propagation.transport";

    /// The worker that ran the job: a process has many. Spans only.
    WORKER_ID: String, Development = "ml.worker.id";
    /// What the operation cost, in [`COST_CURRENCY`]: upstream has nothing on cost.
    COST_AMOUNT: Double, Development = "ml.cost.amount";
    /// The currency's ISO 4217 code.
    COST_CURRENCY: String, Development = "ml.cost.currency";
    /// The user's plan or cohort. `user.*` is OpenTelemetry's, and has no such key.
    USER_TIER: String, Development = "ml.user.tier";
}

/// Names of spans; the first word of a name where more follows.
pub mod span {
    /// A model is loaded: followed by a space and the model's name.
    pub const LOAD_MODEL: &str = "ml.load_model";
    /// Its weights are read or made, a child of loading.
    pub const INIT_WEIGHTS: &str = "ml.init_weights";
}

/// Values of [`OPERATION_NAME`]; others are allowed, if they are few.
pub mod operation {
    crate::attribute::values! {
        /// A prediction, classification or regression.
        PREDICT = "predict";
        /// Documents are put in a better order.
        RERANK = "rerank";
        /// Vectors are made.
        EMBED = "embed";
        /// Input is made ready.
        PREPROCESS = "preprocess";
        /// Output is made ready.
        POSTPROCESS = "postprocess";
    }
}

/// Values of [`INFERENCE_PHASE`].
pub mod phase {
    crate::attribute::values! {
        /// The prompt is read, up to the first token: bound by computation.
        PREFILL = "prefill";
        /// The tokens after it are made: bound by memory.
        DECODE = "decode";
    }
}

/// Values of [`PIPELINE_STAGE_NAME`]; others are allowed, if they are few.
pub mod stage {
    crate::attribute::values! {
        /// Input is made ready.
        PREPROCESS = "preprocess";
        /// Features are fetched.
        FEATURES = "features";
        /// Vectors are made.
        EMBED = "embed";
        /// Documents are looked up.
        RETRIEVE = "retrieve";
        /// They are put in a better order.
        RERANK = "rerank";
        /// The answer is made.
        GENERATE = "generate";
        /// The answer is made ready.
        POSTPROCESS = "postprocess";
    }
}

/// Values of [`BATCH_TRIGGER`].
pub mod batch_trigger {
    crate::attribute::values! {
        /// The batch was full.
        SIZE = "size";
        /// Its time was up.
        TIMEOUT = "timeout";
        /// Its budget of tokens or bytes was used up.
        BUDGET = "budget";
        /// The batcher was shutting down.
        DRAIN = "drain";
    }
}

/// Values of [`QUEUE_SYSTEM`].
pub mod queue_system {
    crate::attribute::values! {
        /// A Kafka topic.
        KAFKA = "kafka";
        /// A RabbitMQ queue.
        RABBITMQ = "rabbitmq";
        /// A pool of workers within the process.
        TASK = "task";
        /// A batcher.
        BATCH = "batch";
        /// Requests waiting for a server.
        HTTP = "http";
    }
}

/// Values of [`FEATURE_STORE_MODE`].
pub mod feature_store_mode {
    crate::attribute::values! {
        /// Current values, by key.
        ONLINE = "online";
        /// History, for training and batches.
        OFFLINE = "offline";
    }
}

/// Values of [`CANCEL_REASON`].
pub mod cancel_reason {
    crate::attribute::values! {
        /// Whoever held the future, stream or body dropped it; nothing more is known.
        DROPPED = "dropped";
        /// It never began.
        NEVER_RUN = "never_run";
        /// The peer reset the stream or closed the connection.
        RESET = "reset";
        /// A deadline passed.
        DEADLINE = "deadline";
        /// The program was shutting down.
        SHUTDOWN = "shutdown";
    }
}

/// Values of [`PROPAGATION_ANOMALY`].
pub mod propagation_anomaly {
    crate::attribute::values! {
        /// The header can't be read.
        MALFORMED = "malformed";
        /// The header is there more than once.
        DUPLICATE = "duplicate";
        /// The parent is too old to be one.
        STALE = "stale";
        /// The header is longer than allowed.
        OVERSIZED = "oversized";
    }
}

/// Values of [`PROPAGATION_TRANSPORT`]; others are allowed, if they are few.
pub mod transport {
    crate::attribute::values! {
        /// HTTP headers.
        HTTP = "http";
        /// gRPC metadata.
        GRPC = "grpc";
        /// Kafka record headers.
        KAFKA = "kafka";
        /// AMQP headers.
        RABBITMQ = "rabbitmq";
        /// The envelope of a job.
        TASK = "task";
        /// Messages within the process.
        MEMORY = "memory";
    }
}

/// Metrics of our own.
///
/// Cost has none: a metric's unit is fixed and a currency isn't, so an application defines it.
pub mod metric {
    use crate::metric::{boundaries::MODEL_SECONDS, metrics};

    metrics! {
        source: "otel-ml";

        "Time a stage of a pipeline takes."
        /// Labels: stage; where they apply model and error type; on request model version.
        STAGE_DURATION: Histogram, Development = "ml.stage.duration", "s", MODEL_SECONDS;

        "Time a model that isn't generative takes."
        /// Labels: operation, model; where it applies error type; on request model version.
        INFERENCE_DURATION: Histogram, Development = "ml.inference.duration", "s", MODEL_SECONDS;

        "Time between being queued and being worked on."
        /// Labels: queue system; the queue's name if bounded.
        QUEUE_WAIT_DURATION: Histogram, Development = "ml.queue.wait.duration", "s", MODEL_SECONDS;

        "Requests waiting in a queue."
        /// Labels: as the waiting time.
        QUEUE_SIZE: UpDownCounter, Development = "ml.queue.size", "{request}";

        "Requests a queue can hold."
        /// Labels: as the waiting time.
        QUEUE_LIMIT: Gauge, Development = "ml.queue.limit", "{request}";

        "Messages of a partition that a consumer has still to come to."
        /// Labels: messaging system, destination, partition, group. Upstream has no metric for it.
        CONSUMER_LAG: Gauge, Development = "ml.consumer.lag", "{message}";

        "Messages that a consumer has fetched ahead and not yet handed out."
        /// Labels: as the lag. Upstream has no metric for it.
        CONSUMER_FETCH_QUEUE_SIZE: Gauge, Development = "ml.consumer.fetch_queue.size", "{message}";

        "Requests run together in one batch."
        /// Labels: trigger; where it applies model.
        BATCH_SIZE: Histogram, Development = "ml.batch.size", "{request}",
            &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0];

        "Look-ups in a cache."
        /// Labels: cache, hit or not. The hit rate is left to the backend.
        CACHE_LOOKUPS: Counter, Development = "ml.cache.lookups", "{lookup}";

        "Confidence of predictions, from 0 to 1."
        /// Labels: model; on request model version.
        PREDICTION_CONFIDENCE: Histogram, Development = "ml.prediction.confidence", "1",
            &[
                0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75,
                0.8, 0.85, 0.9, 0.95, 1.0,
            ];

        "Time loading a model takes."
        /// Labels: model; where it applies error type.
        MODEL_LOAD_DURATION: Histogram, Development = "ml.model.load.duration", "s", MODEL_SECONDS;

        "Memory a model's weights take."
        /// Labels: model. A device's memory is upstream's `hw.gpu.memory.usage`.
        MODEL_MEMORY_USAGE: UpDownCounter, Development = "ml.model.memory.usage", "By";

        "State a model keeps across requests, such as caches and aggregates."
        /// Labels: model.
        MODEL_STATE_SIZE: UpDownCounter, Development = "ml.model.state.size", "By";

        "Memory a key-value cache holds."
        /// Labels: model.
        KV_CACHE_USAGE: UpDownCounter, Development = "ml.kv_cache.usage", "By";

        "Memory a key-value cache may hold."
        /// Labels: model.
        KV_CACHE_LIMIT: UpDownCounter, Development = "ml.kv_cache.limit", "By";

        "Share of a key-value cache in use, from 0 to 1."
        /// Labels: model.
        KV_CACHE_UTILIZATION: Gauge, Development = "ml.kv_cache.utilization", "1";

        "Trace headers something was wrong with."
        /// Labels: anomaly, transport.
        PROPAGATION_ANOMALIES: Counter, Development = "ml.propagation.anomalies", "{header}";
    }
}
