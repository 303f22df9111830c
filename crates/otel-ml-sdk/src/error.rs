//! What can be wrong with a set-up.

use std::error::Error;
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
/// what to do. `Debug` writes the same, with all that was behind it: that is what people see of a
/// `main` that returns an error.
pub struct InitError {
    kind: ErrorKind,
    message: String,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl InitError {
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            source: None,
        }
    }

    pub(crate) fn because(self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
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

impl fmt::Debug for InitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut said = self.to_string();
        let mut next = self.source().and_then(Error::source);
        while let Some(source) = next {
            let text = source.to_string();
            // Many an error says its source itself.
            if !said.ends_with(&text) {
                said.push_str(": ");
                said.push_str(&text);
            }
            next = source.source();
        }
        f.write_str(&said)
    }
}

impl Error for InitError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

#[cfg(test)]
mod tests {
    use super::{Error, ErrorKind, InitError};

    #[derive(Debug, thiserror::Error)]
    #[error("no key in it")]
    struct NoKey;

    #[derive(Debug, thiserror::Error)]
    #[error("not readable")]
    struct Unreadable(#[source] NoKey);

    #[derive(Debug, thiserror::Error)]
    #[error("not readable: {0}")]
    struct SaysAll(#[source] NoKey);

    #[test]
    fn a_main_that_returns_it_shows_the_message_and_all_behind_it_once() {
        let shown = |source: Option<Box<dyn Error + Send + Sync>>| {
            let error = InitError::new(ErrorKind::Tls, "key.pem: won't do");
            let error = match source {
                Some(source) => error.because(source),
                None => error,
            };
            let error: Box<dyn Error> = Box::new(error);
            format!("Error: {error:?}")
        };
        assert_eq!(shown(None), "Error: key.pem: won't do");
        let whole = "Error: key.pem: won't do: not readable: no key in it";
        assert_eq!(shown(Some(Box::new(Unreadable(NoKey)))), whole);
        assert_eq!(shown(Some(Box::new(SaysAll(NoKey)))), whole);
    }
}
