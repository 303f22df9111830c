//! What is known of the last request, and the exporter does not say.

use std::sync::{Arc, Mutex, PoisonError};

/// The most characters of a Collector's own words that are repeated.
#[cfg(feature = "otlp-http")]
const MOST_WORDS: usize = 200;

/// Shared by whoever sends and whoever counts.
#[derive(Clone, Debug, Default)]
pub(crate) struct Told(Arc<Mutex<Last>>);

/// The last request.
#[derive(Debug, Default)]
pub(crate) struct Last {
    /// Why it failed, or was rejected in part.
    pub(crate) why: Option<String>,
    /// How much was not taken though the rest was.
    pub(crate) rejected: u64,
}

impl Told {
    /// It failed by `error`, and all that is behind that.
    #[cfg(feature = "otlp-http")]
    pub(crate) fn failed(&self, error: &dyn std::error::Error) {
        let mut text = error.to_string();
        let mut source = error.source();
        while let Some(error) = source {
            let behind = error.to_string();
            if !text.contains(&behind) {
                text = format!("{text}: {behind}");
            }
            source = error.source();
        }
        self.set(Last {
            why: Some(text),
            rejected: 0,
        });
    }

    /// So many were not taken; `words` are the Collector's own.
    #[cfg(feature = "otlp-http")]
    pub(crate) fn rejected(&self, count: u64, words: &str) {
        let words: String = words.escape_debug().take(MOST_WORDS).collect();
        self.set(Last {
            why: (!words.is_empty()).then_some(words),
            rejected: count,
        });
    }

    #[cfg(feature = "otlp-http")]
    fn set(&self, last: Last) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = last;
    }

    pub(crate) fn take(&self) -> Last {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
