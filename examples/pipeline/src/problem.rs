//! What a service answers when it can't do what it was asked, in the shape of OpenAI's errors.

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::{StatusCode, Uri};
use serde::{Deserialize, Serialize};

use crate::client::CallError;

/// A refusal.
#[derive(Clone, Debug)]
pub struct Problem {
    status: StatusCode,
    body: ProblemBody,
}

/// A refusal as it is sent.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ProblemBody {
    /// What is wrong.
    pub error: ProblemDetails,
}

/// What is wrong.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ProblemDetails {
    /// For people.
    pub message: String,
    /// Whose mistake it is.
    #[serde(rename = "type")]
    pub kind: String,
    /// For programs.
    pub code: String,
}

impl Problem {
    /// The caller's mistake.
    pub fn invalid(code: &str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, message)
    }

    /// A refusal with `status`.
    pub fn new(status: StatusCode, code: &str, message: impl Into<String>) -> Self {
        let kind = if status.is_server_error() {
            "server_error"
        } else {
            "invalid_request_error"
        };
        let error = ProblemDetails {
            message: message.into(),
            kind: kind.to_owned(),
            code: code.to_owned(),
        };
        Self {
            status,
            body: ProblemBody { error },
        }
    }

    /// What is sent.
    pub fn into_body(self) -> ProblemBody {
        self.body
    }
}

impl ProblemBody {
    /// The message in `answer`, or the answer itself when it is no refusal of ours.
    pub fn message_in(answer: &[u8]) -> String {
        serde_json::from_slice::<Self>(answer).map_or_else(
            |_| String::from_utf8_lossy(answer).trim().to_owned(),
            |problem| problem.error.message,
        )
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        (self.status, Json(self.body)).into_response()
    }
}

impl From<&CallError> for Problem {
    /// What the user did wrong is the user's; all else is a service's.
    fn from(error: &CallError) -> Self {
        match error {
            CallError::Refused {
                status: StatusCode::BAD_REQUEST,
                message,
                ..
            } => Self::invalid("invalid_question", message),
            error => Self::new(
                StatusCode::BAD_GATEWAY,
                "upstream_failed",
                error.to_string(),
            ),
        }
    }
}

/// For a path that nothing is at.
pub async fn unknown_route(uri: Uri) -> Problem {
    let path: String = uri.path().chars().take(128).collect();
    Problem::new(
        StatusCode::NOT_FOUND,
        "unknown_route",
        format!("there is nothing at {path}; ask POST /v1/chat/completions"),
    )
}

/// For a method that is not the route's.
pub async fn wrong_method() -> Problem {
    Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "wrong_method",
        "not with this method; ask POST /v1/chat/completions",
    )
}
