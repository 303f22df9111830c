//! Metrics of GenAI clients and model servers.

use crate::metric::{boundaries::MODEL_SECONDS, metrics};

metrics! {
    source: "semantic-conventions-genai 2026-08-03";

    "Tokens an operation read or wrote."
    /// Labels: operation, provider, token type; where they apply request model, response model,
    /// server address and port.
    CLIENT_TOKEN_USAGE: Histogram, Development = "gen_ai.client.token.usage", "{token}",
        &[
            1.0, 4.0, 16.0, 64.0, 256.0, 1024.0, 4096.0, 16384.0, 65536.0, 262_144.0, 1_048_576.0,
            4_194_304.0, 16_777_216.0, 67_108_864.0,
        ];

    "Time an operation takes, to the last chunk and with retries."
    /// Labels: operation; where they apply provider, request model, response model, error type,
    /// server address and port.
    CLIENT_OPERATION_DURATION: Histogram, Development =
        "gen_ai.client.operation.duration", "s", MODEL_SECONDS;

    "Time from the request to the first chunk of a streamed answer."
    /// Labels: as the token usage, without the token type.
    CLIENT_OPERATION_TIME_TO_FIRST_CHUNK: Histogram, Development =
        "gen_ai.client.operation.time_to_first_chunk", "s", MODEL_SECONDS;

    "Time between two chunks of a streamed answer."
    /// Labels: as the token usage, without the token type.
    CLIENT_OPERATION_TIME_PER_OUTPUT_CHUNK: Histogram, Development =
        "gen_ai.client.operation.time_per_output_chunk", "s", MODEL_SECONDS;

    "Time a model server spends on a request."
    /// Labels: operation, provider; where they apply request model, response model, error type,
    /// server address and port.
    SERVER_REQUEST_DURATION: Histogram, Development =
        "gen_ai.server.request.duration", "s", MODEL_SECONDS;

    "Time a model server takes to the first token of an answer that succeeds, queueing included."
    /// Labels: as the request's duration, without the error type.
    SERVER_TIME_TO_FIRST_TOKEN: Histogram, Development = "gen_ai.server.time_to_first_token", "s",
        &[
            0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5,
            10.0,
        ];

    "Time a model server takes for each token after the first of an answer that succeeds."
    /// Labels: as the request's duration, without the error type.
    SERVER_TIME_PER_OUTPUT_TOKEN: Histogram, Development =
        "gen_ai.server.time_per_output_token", "s",
        &[0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5];
}
