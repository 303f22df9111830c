//! Where the set-up itself speaks: to the application's log, or to stderr where there is none.

use std::io::Write as _;
use std::sync::{Mutex, PoisonError};

/// What is said once, for messages about things there are few of: several set-ups in one
/// process meet the same Collector.
pub(crate) fn say_once(message: &str) {
    static SAID: Mutex<Vec<String>> = Mutex::new(Vec::new());
    {
        let mut said = SAID.lock().unwrap_or_else(PoisonError::into_inner);
        if said.iter().any(|known| known == message) {
            return;
        }
        said.push(message.to_owned());
    }
    say(message);
}

/// Says `message` to whoever runs the application.
pub(crate) fn say(message: &str) {
    #[cfg(feature = "tracing")]
    if tracing_core::dispatcher::has_been_set() {
        tracing::warn!(target: "otel_ml_sdk", "{message}");
        return;
    }
    #[cfg(feature = "log")]
    if log::max_level() >= log::LevelFilter::Warn {
        log::warn!(target: "otel_ml_sdk", "{message}");
        return;
    }
    // A closed stderr is no reason to fail.
    let _ = writeln!(std::io::stderr(), "otel-ml-sdk: {message}");
}
