//! What can be wrong with a set-up.

use std::fmt;

/// What kind of thing is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A setting, in code or in a variable, that can't be read or does not fit the others.
    Setting,
    /// A part that was asked for is not compiled in.
    Feature,
    /// A file that can't be opened or written.
    File,
    /// A certificate or key that can't be read.
    Tls,
    /// Something that may be there once only is there already: a `tracing` subscriber, a
    /// `log` logger.
    AlreadySet,
    /// The operating system refused a thread or a runtime.
    System,
}

/// Why the set-up failed. The message names the setting at fault, what was wrong with it, and
/// what to do.
#[derive(Debug)]
pub struct InitError {
    kind: ErrorKind,
    message: String,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl InitError {
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            source: None,
        }
    }

    pub(crate) fn because(
        self,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self {
            source: Some(source.into()),
            ..self
        }
    }

    /// What kind of thing is wrong.
    #[must_use]
    pub const fn kind(&self) -> ErrorKind {
        self.kind
    }
}

impl fmt::Display for InitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.source {
            Some(source) => write!(f, ": {source}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for InitError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}
