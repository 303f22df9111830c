//! Well-known values of the `gen_ai.*` attributes.

/// Values of [`OPERATION_NAME`](super::OPERATION_NAME).
///
/// Upstream has none for reranking: see [`ml::operation::RERANK`](crate::ml::operation::RERANK).
pub mod operation {
    crate::attribute::values! {
        /// A chat answer is generated.
        CHAT = "chat";
        /// Content of several kinds is generated.
        GENERATE_CONTENT = "generate_content";
        /// A text is continued.
        TEXT_COMPLETION = "text_completion";
        /// Vectors are made.
        EMBEDDINGS = "embeddings";
        /// Documents are looked up.
        RETRIEVAL = "retrieval";
        /// A response made in the background is fetched.
        FETCH_RESPONSE = "fetch_response";
        /// An agent is made.
        CREATE_AGENT = "create_agent";
        /// An agent is called.
        INVOKE_AGENT = "invoke_agent";
        /// A tool runs.
        EXECUTE_TOOL = "execute_tool";
        /// A workflow runs.
        INVOKE_WORKFLOW = "invoke_workflow";
        /// An agent plans.
        PLAN = "plan";
        /// Memories are looked up.
        SEARCH_MEMORY = "search_memory";
        /// Memories are added.
        CREATE_MEMORY = "create_memory";
        /// Memories are changed.
        UPDATE_MEMORY = "update_memory";
        /// Memories are added or changed.
        UPSERT_MEMORY = "upsert_memory";
        /// Memories are removed.
        DELETE_MEMORY = "delete_memory";
        /// A memory store is made.
        CREATE_MEMORY_STORE = "create_memory_store";
        /// A memory store is removed.
        DELETE_MEMORY_STORE = "delete_memory_store";
    }
}

/// Values of [`PROVIDER_NAME`](super::PROVIDER_NAME); a provider missing here takes a name of its
/// own.
pub mod provider {
    crate::attribute::values! {
        /// OpenAI.
        OPENAI = "openai";
        /// Google, whichever endpoint.
        GCP_GEN_AI = "gcp.gen_ai";
        /// Google Vertex AI.
        GCP_VERTEX_AI = "gcp.vertex_ai";
        /// Google Gemini.
        GCP_GEMINI = "gcp.gemini";
        /// Anthropic.
        ANTHROPIC = "anthropic";
        /// Cohere.
        COHERE = "cohere";
        /// Azure AI Inference.
        AZURE_AI_INFERENCE = "azure.ai.inference";
        /// Azure OpenAI.
        AZURE_AI_OPENAI = "azure.ai.openai";
        /// IBM watsonx.ai.
        IBM_WATSONX_AI = "ibm.watsonx.ai";
        /// AWS Bedrock.
        AWS_BEDROCK = "aws.bedrock";
        /// Perplexity.
        PERPLEXITY = "perplexity";
        /// xAI.
        X_AI = "x_ai";
        /// DeepSeek.
        DEEPSEEK = "deepseek";
        /// Groq.
        GROQ = "groq";
        /// Mistral AI.
        MISTRAL_AI = "mistral_ai";
        /// Moonshot AI.
        MOONSHOT_AI = "moonshot_ai";
    }
}

/// Values of [`OUTPUT_TYPE`](super::OUTPUT_TYPE).
pub mod output_type {
    crate::attribute::values! {
        /// Plain text.
        TEXT = "text";
        /// JSON, with or without a schema.
        JSON = "json";
        /// A picture.
        IMAGE = "image";
        /// Speech.
        SPEECH = "speech";
    }
}

/// Values of [`TOKEN_TYPE`](super::TOKEN_TYPE).
pub mod token_type {
    crate::attribute::values! {
        /// Tokens read.
        INPUT = "input";
        /// Tokens written.
        OUTPUT = "output";
    }
}

/// Values of [`RESPONSE_FINISH_REASONS`](super::RESPONSE_FINISH_REASONS) that the schema of output
/// messages knows; a provider's own are allowed.
pub mod finish_reason {
    crate::attribute::values! {
        /// The model was done, or met a stop sequence.
        STOP = "stop";
        /// The token limit was met.
        LENGTH = "length";
        /// A filter stepped in.
        CONTENT_FILTER = "content_filter";
        /// The model asks for a tool.
        TOOL_CALL = "tool_call";
        /// The conversation was shortened.
        COMPACTION = "compaction";
        /// Generation failed.
        ERROR = "error";
    }
}

/// Values of [`RESPONSE_STATUS`](super::RESPONSE_STATUS).
pub mod response_status {
    crate::attribute::values! {
        /// Not begun.
        QUEUED = "queued";
        /// Being made.
        IN_PROGRESS = "in_progress";
        /// Done.
        COMPLETED = "completed";
        /// Ended short of its end.
        INCOMPLETE = "incomplete";
        /// Ended by an error.
        FAILED = "failed";
        /// Ended on request.
        CANCELLED = "cancelled";
    }
}

/// Values of [`CAPTURE_MESSAGE_CONTENT_ENV`](super::CAPTURE_MESSAGE_CONTENT_ENV).
pub mod capture {
    crate::attribute::values! {
        /// Content is recorded nowhere. The default.
        NO_CONTENT = "NO_CONTENT";
        /// On spans.
        SPAN_ONLY = "SPAN_ONLY";
        /// On events.
        EVENT_ONLY = "EVENT_ONLY";
        /// On both.
        SPAN_AND_EVENT = "SPAN_AND_EVENT";
    }
}
