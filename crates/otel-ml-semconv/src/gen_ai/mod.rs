//! Generative models, embeddings, retrieval, tools and agents: `gen_ai.*`.
//!
//! Content (messages, instructions, documents, arguments) is opt-in everywhere: it is user data.
//! On spans it is a JSON text.

use crate::attribute::attributes;

mod values;

pub mod metric;
pub use values::{
    capture, finish_reason, operation, output_type, provider, response_status, token_type,
};

attributes! {
    source: "semantic-conventions-genai 2026-08-03";

    /// What is done, one of [`operation`]. Required.
    OPERATION_NAME: String, Development = "gen_ai.operation.name";
    /// The provider, one of [`provider`] or a name of one's own. Required on inference and
    /// embeddings.
    PROVIDER_NAME: String, Development = "gen_ai.provider.name";
    /// The kind of output asked for, one of [`output_type`]. Required when asked for.
    OUTPUT_TYPE: String, Development = "gen_ai.output.type";
    /// Which tokens a measurement counts, one of [`token_type`]. Metrics only, required there.
    TOKEN_TYPE: String, Development = "gen_ai.token.type";
    /// The conversation. Required where there is one; never made up.
    CONVERSATION_ID: String, Development = "gen_ai.conversation.id";
    /// The conversation's history was shortened for this request. Recommended.
    CONVERSATION_COMPACTED: Bool, Development = "gen_ai.conversation.compacted";
    /// The index, collection or store that was asked. Required on retrieval where known.
    DATA_SOURCE_ID: String, Development = "gen_ai.data_source.id";
    /// The stored prompt's name. Required where there is one.
    PROMPT_NAME: String, Development = "gen_ai.prompt.name";
    /// The stored prompt's version. Required where there is one.
    PROMPT_VERSION: String, Development = "gen_ai.prompt.version";
    /// Prefix, followed by a variable's name: the value put into the prompt. Opt-in.
    PROMPT_VARIABLE_PREFIX: String, Development = "gen_ai.prompt.variable.";

    /// The model asked for. Required where known.
    REQUEST_MODEL: String, Development = "gen_ai.request.model";
    /// Upper limit of output tokens. Recommended.
    REQUEST_MAX_TOKENS: Int, Development = "gen_ai.request.max_tokens";
    /// Sampling temperature, zero included. Recommended.
    REQUEST_TEMPERATURE: Double, Development = "gen_ai.request.temperature";
    /// Nucleus sampling threshold. Recommended.
    REQUEST_TOP_P: Double, Development = "gen_ai.request.top_p";
    /// How many of the likeliest tokens are considered. Required when asked for.
    REQUEST_TOP_K: Int, Development = "gen_ai.request.top_k";
    /// Penalty on frequent tokens. Recommended.
    REQUEST_FREQUENCY_PENALTY: Double, Development = "gen_ai.request.frequency_penalty";
    /// Penalty on tokens already present. Recommended.
    REQUEST_PRESENCE_PENALTY: Double, Development = "gen_ai.request.presence_penalty";
    /// Texts that end the output. Recommended.
    REQUEST_STOP_SEQUENCES: StringArray, Development = "gen_ai.request.stop_sequences";
    /// Seed of the sampling. Required when asked for.
    REQUEST_SEED: Int, Development = "gen_ai.request.seed";
    /// Alternatives asked for. Required when not 1.
    REQUEST_CHOICE_COUNT: Int, Development = "gen_ai.request.choice.count";
    /// The answer is streamed. Required when true.
    REQUEST_STREAM: Bool, Development = "gen_ai.request.stream";
    /// Where a resumed stream goes on. Required when resuming.
    REQUEST_STREAM_CURSOR: String, Development = "gen_ai.request.stream_cursor";
    /// The effort asked for. Recommended.
    REQUEST_REASONING_LEVEL: String, Development = "gen_ai.request.reasoning.level";
    /// The response this request continues. Recommended.
    REQUEST_PREVIOUS_RESPONSE_ID: String, Development = "gen_ai.request.previous_response.id";
    /// Encodings asked for, of embeddings. Recommended.
    REQUEST_ENCODING_FORMATS: StringArray, Development = "gen_ai.request.encoding_formats";

    /// The model that answered. Recommended.
    RESPONSE_MODEL: String, Development = "gen_ai.response.model";
    /// The response's identifier. Recommended; unbounded, spans only.
    RESPONSE_ID: String, Development = "gen_ai.response.id";
    /// Why each output ended, such as those in [`finish_reason`]. Recommended.
    RESPONSE_FINISH_REASONS: StringArray, Development = "gen_ai.response.finish_reasons";
    /// State of a fetched response, one of [`response_status`]. Recommended.
    RESPONSE_STATUS: String, Development = "gen_ai.response.status";
    /// Seconds from the request to the first chunk of its stream. Recommended when streaming.
    RESPONSE_TIME_TO_FIRST_CHUNK: Double, Development = "gen_ai.response.time_to_first_chunk";

    /// Tokens read, cached ones included. Recommended.
    USAGE_INPUT_TOKENS: Int, Development = "gen_ai.usage.input_tokens";
    /// Tokens written, reasoning included. Recommended.
    USAGE_OUTPUT_TOKENS: Int, Development = "gen_ai.usage.output_tokens";
    /// Of the input tokens, those a cache served. Recommended.
    USAGE_CACHE_READ_INPUT_TOKENS: Int, Development = "gen_ai.usage.cache_read.input_tokens";
    /// Of the input tokens, those put into a cache. Recommended. Called `cache_creation` until
    /// after the pinned version.
    USAGE_CACHE_WRITE_INPUT_TOKENS: Int, Development = "gen_ai.usage.cache_write.input_tokens";
    /// Of the output tokens, those spent on reasoning. Recommended.
    USAGE_REASONING_OUTPUT_TOKENS: Int, Development = "gen_ai.usage.reasoning.output_tokens";

    /// Dimensions of an embedding. Recommended.
    EMBEDDINGS_DIMENSION_COUNT: Int, Development = "gen_ai.embeddings.dimension.count";
    /// Documents asked for. Recommended on retrieval.
    RETRIEVAL_TOP_K: Int, Development = "gen_ai.retrieval.top_k";
    /// The query. Opt-in: content.
    RETRIEVAL_QUERY_TEXT: String, Development = "gen_ai.retrieval.query.text";
    /// Identifiers and scores of what was found. Opt-in: content.
    RETRIEVAL_DOCUMENTS: Any, Development = "gen_ai.retrieval.documents";

    /// The messages given to the model. Opt-in: content.
    INPUT_MESSAGES: Any, Development = "gen_ai.input.messages";
    /// The messages the model gave. Opt-in: content.
    OUTPUT_MESSAGES: Any, Development = "gen_ai.output.messages";
    /// The instructions given apart from the messages. Opt-in: content.
    SYSTEM_INSTRUCTIONS: Any, Development = "gen_ai.system_instructions";

    /// The tool's name. Required on tool calls.
    TOOL_NAME: String, Development = "gen_ai.tool.name";
    /// The tool's kind. Recommended.
    TOOL_TYPE: String, Development = "gen_ai.tool.type";
    /// What the tool is for. Recommended.
    TOOL_DESCRIPTION: String, Development = "gen_ai.tool.description";
    /// The tools offered to the model. Opt-in: content.
    TOOL_DEFINITIONS: Any, Development = "gen_ai.tool.definitions";
    /// The call's identifier. Recommended.
    TOOL_CALL_ID: String, Development = "gen_ai.tool.call.id";
    /// The call's arguments. Opt-in: content.
    TOOL_CALL_ARGUMENTS: Any, Development = "gen_ai.tool.call.arguments";
    /// The call's result. Opt-in: content.
    TOOL_CALL_RESULT: Any, Development = "gen_ai.tool.call.result";

    /// The agent's identifier. Required where known.
    AGENT_ID: String, Development = "gen_ai.agent.id";
    /// The agent's name. Required where known.
    AGENT_NAME: String, Development = "gen_ai.agent.name";
    /// The agent's version. Required where known.
    AGENT_VERSION: String, Development = "gen_ai.agent.version";
    /// What the agent is for. Required where known.
    AGENT_DESCRIPTION: String, Development = "gen_ai.agent.description";
    /// The workflow's name. Required where known.
    WORKFLOW_NAME: String, Development = "gen_ai.workflow.name";

    /// The memory store. Required where known.
    MEMORY_STORE_ID: String, Development = "gen_ai.memory.store.id";
    /// The memory record. Required where there is one.
    MEMORY_RECORD_ID: String, Development = "gen_ai.memory.record.id";
    /// Memory records found or changed. Recommended.
    MEMORY_RECORD_COUNT: Int, Development = "gen_ai.memory.record.count";
    /// The query for memories. Opt-in: content.
    MEMORY_QUERY_TEXT: String, Development = "gen_ai.memory.query.text";
    /// The memory records. Opt-in: content.
    MEMORY_RECORDS: Any, Development = "gen_ai.memory.records";

    /// What was judged. Required on an evaluation's result.
    EVALUATION_NAME: String, Development = "gen_ai.evaluation.name";
    /// The score. Required where the evaluator gives one.
    EVALUATION_SCORE_VALUE: Double, Development = "gen_ai.evaluation.score.value";
    /// The score in words. Required where the evaluator gives one.
    EVALUATION_SCORE_LABEL: String, Development = "gen_ai.evaluation.score.label";
    /// The evaluator's reasons. Recommended.
    EVALUATION_EXPLANATION: String, Development = "gen_ai.evaluation.explanation";
}

/// Environment variable that switches the recording of content on; its values are in [`capture`].
pub const CAPTURE_MESSAGE_CONTENT_ENV: &str = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT";
