//! What can be wrong with an envelope.

use std::error::Error;
use std::fmt;

/// Bytes that are no envelope, or a payload that can't be written.
#[derive(Debug)]
pub struct EnvelopeError {
    kind: EnvelopeErrorKind,
    source: serde_json::Error,
}

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EnvelopeErrorKind {
    /// The bytes are no JSON, or not all of it.
    Syntax,
    /// The payload is missing, is there twice, or isn't what is asked for; or it can't be written
    /// as JSON.
    Payload,
}

impl EnvelopeError {
    /// What is wrong.
    #[must_use]
    pub const fn kind(&self) -> EnvelopeErrorKind {
        self.kind
    }

    pub(super) fn reading(source: serde_json::Error) -> Self {
        let kind = match source.classify() {
            serde_json::error::Category::Data => EnvelopeErrorKind::Payload,
            _ => EnvelopeErrorKind::Syntax,
        };
        Self { kind, source }
    }

    pub(super) const fn writing(source: serde_json::Error) -> Self {
        Self {
            kind: EnvelopeErrorKind::Payload,
            source,
        }
    }
}

impl fmt::Display for EnvelopeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            EnvelopeErrorKind::Syntax => "the envelope is no JSON",
            EnvelopeErrorKind::Payload => "the payload of the envelope does not fit",
        })
    }
}

impl Error for EnvelopeError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.source)
    }
}
