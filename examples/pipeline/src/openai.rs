//! The shapes of OpenAI's chat completions, as far as the gateway speaks them.

use std::time::SystemTime;

use http::StatusCode;
use serde::{Deserialize, Serialize};

use crate::engine::compose::Source;
use crate::engine::generate::FinishReason;
use crate::hops::generate::MODEL;
use crate::problem::Problem;

/// A longer name of a user is refused (bytes): it would only fill the cache.
pub const LONGEST_USER: usize = 256;

/// A question. Fields of OpenAI's that are not here are taken and ignored.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ChatRequest {
    /// The model; the only one there is, if not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The conversation. The last message of the user is answered.
    pub messages: Vec<Message>,
    /// Whether to answer token by token.
    #[serde(default)]
    pub stream: bool,
    /// What a stream holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream_options: Option<StreamOptions>,
    /// The longest answer, in tokens.
    #[serde(
        default,
        alias = "max_completion_tokens",
        skip_serializing_if = "Option::is_none"
    )]
    pub max_tokens: Option<u64>,
    /// Recorded; an extractive model has nothing to vary.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
    /// How many answers: 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub n: Option<u64>,
    /// Who asks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
}

/// What somebody said.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Message {
    /// Who.
    pub role: String,
    /// What.
    pub content: Content,
}

/// What was said, in one piece or several.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Content {
    /// In one piece.
    Text(String),
    /// In several.
    Parts(Vec<Part>),
}

/// A piece of a message. Pieces that hold no text are passed over.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Part {
    /// Its text.
    #[serde(default)]
    pub text: Option<String>,
}

impl Default for Content {
    fn default() -> Self {
        Self::Text(String::new())
    }
}

/// What a stream holds.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct StreamOptions {
    /// Whether the last chunk says how many tokens it took.
    #[serde(default)]
    pub include_usage: bool,
}

/// How many tokens it took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Tokens that went in.
    pub prompt_tokens: u64,
    /// Tokens that came out.
    pub completion_tokens: u64,
    /// Both.
    pub total_tokens: u64,
}

/// An answer, or a chunk of one.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Completion {
    /// Its name, the same in all chunks.
    pub id: String,
    /// `chat.completion` or `chat.completion.chunk`.
    pub object: String,
    /// When it was begun, in seconds since 1970.
    pub created: u64,
    /// The model that answered.
    pub model: String,
    /// One, or none in the chunk that tells the usage.
    pub choices: Vec<Choice>,
    /// How many tokens it took.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// What is quoted; not one of OpenAI's fields.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sources: Option<Vec<Source>>,
    /// How far to trust it, from 0 to 1; not one of OpenAI's fields.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confidence: Option<f32>,
}

/// The answer itself.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Choice {
    /// 0.
    pub index: u64,
    /// The whole of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<Message>,
    /// What a chunk adds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delta: Option<Delta>,
    /// Why it ended, once it has.
    #[serde(default)]
    pub finish_reason: Option<FinishReason>,
}

/// What a chunk adds.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Delta {
    /// Who speaks, in the first chunk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// The next token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
}

impl ChatRequest {
    /// Reads a request.
    ///
    /// # Errors
    /// When it is no JSON, not a request, or asks for what there is not.
    pub fn parse(body: &[u8]) -> Result<Self, Problem> {
        let request: Self = serde_json::from_slice(body).map_err(|error| {
            Problem::invalid("invalid_json", format!("the body is no request: {error}"))
        })?;
        request.check()?;
        Ok(request)
    }

    fn check(&self) -> Result<(), Problem> {
        if let Some(model) = self.model.as_deref().filter(|model| *model != MODEL) {
            let model: String = model.chars().take(64).collect();
            return Err(Problem::new(
                StatusCode::NOT_FOUND,
                "model_not_found",
                format!("model: there is no model '{model}', only '{MODEL}'"),
            ));
        }
        let mistake = if self.max_tokens == Some(0) {
            "max_tokens: must be at least 1"
        } else if !self.temperature.is_none_or(|t| (0.0..=2.0).contains(&t)) {
            "temperature: must be from 0 to 2"
        } else if !matches!(self.n, None | Some(1)) {
            "n: must be 1"
        } else if self.user().len() > LONGEST_USER {
            "user: must not be longer than 256 bytes"
        } else if !self.messages.iter().any(|message| message.role == "user") {
            "messages: there is none whose role is 'user'"
        } else {
            return Ok(());
        };
        Err(Problem::invalid("invalid_value", mistake))
    }

    /// Who asks; empty when it isn't said.
    pub fn user(&self) -> &str {
        self.user.as_deref().unwrap_or_default()
    }

    /// The user's last message.
    pub fn question(&self) -> String {
        let mut of_user = self
            .messages
            .iter()
            .filter(|message| message.role == "user");
        match of_user.next_back().map(|message| &message.content) {
            None => String::new(),
            Some(Content::Text(text)) => text.clone(),
            Some(Content::Parts(parts)) => {
                let texts: Vec<&str> = parts.iter().filter_map(|p| p.text.as_deref()).collect();
                texts.join("\n")
            }
        }
    }

    /// Whether a stream is to tell the usage.
    pub fn includes_usage(&self) -> bool {
        self.stream_options
            .is_some_and(|options| options.include_usage)
    }
}

impl Usage {
    /// From both counts.
    pub fn new(prompt_tokens: u64, completion_tokens: u64) -> Self {
        Self {
            prompt_tokens,
            completion_tokens,
            total_tokens: prompt_tokens + completion_tokens,
        }
    }
}

impl Completion {
    /// An answer without anything in it yet.
    pub fn new(id: String, object: &str) -> Self {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        Self {
            id,
            object: object.to_owned(),
            created: now.map_or(0, |since| since.as_secs()),
            model: MODEL.to_owned(),
            choices: Vec::new(),
            usage: None,
            sources: None,
            confidence: None,
        }
    }

    /// The same with `delta`.
    pub fn with_delta(&self, delta: Delta, finish_reason: Option<FinishReason>) -> Self {
        let choice = Choice {
            index: 0,
            message: None,
            delta: Some(delta),
            finish_reason,
        };
        Self {
            choices: vec![choice],
            ..self.clone()
        }
    }
}

impl Message {
    /// A message of `role`.
    pub fn new(role: &str, text: String) -> Self {
        Self {
            role: role.to_owned(),
            content: Content::Text(text),
        }
    }
}
