//! Log lines that lead to their trace.
//!
//! A line written while a span is current carries its `trace_id`, `span_id` and `trace_flags`:
//! those of the OpenTelemetry `Context`, so it makes no difference whether the span is one of
//! `otel-ml` (a request, a stage, a stream being polled) or one of `tracing` that
//! `tracing-opentelemetry` exports. Where there is no span there are no ids. What is logged in
//! a spawned task has them if the task was given the context
//! (`opentelemetry::context::FutureExt::with_current_context`).
//!
//! For users of `tracing` (feature `tracing`), of `log` (feature `log`), or both, as text or
//! as JSON, to stderr or elsewhere; with [`Logs::export`] the same events also go out as
//! OpenTelemetry log records.
//!
//! ```
//! use otel_ml_sdk::log::{LogFormat, Logs};
//!
//! # let provider = opentelemetry_sdk::logs::SdkLoggerProvider::builder().build();
//! let logs = Logs::new(LogFormat::Json).export(Some(&provider));
//! # #[cfg(feature = "tracing")]
//! logs.install_tracing()?;
//! # #[cfg(feature = "tracing")]
//! tracing::info!(model = "ranker", candidates = 20, "ranked");
//! # #[cfg(feature = "log")]
//! logs.install_log()?;
//! # #[cfg(feature = "log")]
//! log::info!(model = "ranker", candidates = 20; "ranked");
//! # Ok::<(), otel_ml_sdk::InitError>(())
//! ```
//!
//! The second of these lines, with a request around it:
//!
//! ```json
//! {"timestamp":"2026-05-04T10:00:00.123456Z","level":"INFO","target":"shop","message":"ranked","model":"ranker","candidates":20,"trace_id":"0af7651916cd43dd8448eb211c80319c","span_id":"b7ad6b7169203331","trace_flags":"01"}
//! ```
//!
//! and as text:
//!
//! ```text
//! 2026-05-04T10:00:00.123456Z  INFO shop: ranked model="ranker" candidates=20 trace_id=0af7651916cd43dd8448eb211c80319c span_id=b7ad6b7169203331 trace_flags=01
//! ```
//!
//! # What is logged
//! What the filter lets through: directives such as `info,my_crate=debug`, from
//! [`Logs::filter`], else from the variable `RUST_LOG`, else `info`.
//!
//! # What is not exported
//! Events of the crates that exporters are built on (`opentelemetry*`, `h2`, `hyper`,
//! `hyper_util`, `mio`, `reqwest`, `rustls`, `tokio_util`, `tonic`, `tower`, `want`) and of
//! this one: an export that logs would log itself, without end. They are in the lines.

#[cfg(feature = "tracing")]
mod events;
mod line;
#[cfg(feature = "log")]
mod logger;
mod output;

use std::error::Error;
use std::io::Write;

use opentelemetry_sdk::logs::SdkLoggerProvider;

#[cfg(feature = "tracing")]
pub use events::{JsonFormat, TextFormat, export_layer, install_subscriber};
#[cfg(feature = "log")]
pub use logger::Logger;

use crate::error::InitError;
use crate::variables::{Variables, wrong};
use output::Output;

const FILTER_VARIABLE: &str = "RUST_LOG";

/// The crates that exporters are built on; besides, all whose name begins with
/// `opentelemetry`.
const EXPORTERS: [&str; 11] = [
    "h2",
    "hyper",
    "hyper_util",
    "mio",
    "otel_ml_sdk",
    "reqwest",
    "rustls",
    "tokio_util",
    "tonic",
    "tower",
    "want",
];

/// Whether an event of `target` may come from an export.
fn is_of_exporter(target: &str) -> bool {
    let name = target.split_once("::").map_or(target, |(name, _)| name);
    name.starts_with("opentelemetry") || EXPORTERS.contains(&name)
}

/// How a line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LogFormat {
    /// For people: time, level, target, message, `key=value`, ids.
    Text,
    /// For programs: one JSON object a line.
    Json,
}

/// Which logs are kept, in which form, and where they go.
#[derive(Clone, Debug)]
#[must_use = "nothing is logged until it is installed"]
pub struct Logs {
    format: LogFormat,
    directives: Option<String>,
    output: Option<Output>,
    provider: Option<SdkLoggerProvider>,
    /// `None` for the process's own.
    variables: Option<Variables>,
}

impl Logs {
    /// Lines of this form to stderr (text in colours, if that is a terminal and `NO_COLOR` is
    /// not set), filtered by `RUST_LOG`.
    pub const fn new(format: LogFormat) -> Self {
        Self {
            format,
            directives: None,
            output: None,
            provider: None,
            variables: None,
        }
    }

    /// Reads `RUST_LOG` from there.
    pub(crate) fn reading(self, variables: Variables) -> Self {
        Self {
            variables: Some(variables),
            ..self
        }
    }

    /// What is logged, instead of by `RUST_LOG`: directives such as `info,my_crate=debug`.
    pub fn filter(self, directives: impl Into<String>) -> Self {
        Self {
            directives: Some(directives.into()),
            ..self
        }
    }

    /// Writes the lines to `writer`, one call of `write_all` each, without colours. What it
    /// fails to write is lost. It must not log itself.
    pub fn writer(self, writer: impl Write + Send + 'static) -> Self {
        Self {
            output: Some(Output::new(writer)),
            ..self
        }
    }

    /// Sends the events to `provider` as well. `None`: lines only.
    pub fn export(self, provider: Option<&SdkLoggerProvider>) -> Self {
        Self {
            provider: provider.cloned(),
            ..self
        }
    }

    /// Whether [`install`](Self::install) would do, before anything is installed.
    pub(crate) fn check(&self) -> Result<(), InitError> {
        #[cfg(feature = "tracing")]
        {
            events::check()?;
            self.layer::<tracing_subscriber::Registry>().map(drop)?;
        }
        #[cfg(feature = "log")]
        {
            logger::check()?;
            self.logger().map(drop)?;
        }
        Ok(())
    }

    /// Installs it for all that is compiled in: `tracing`, `log` or both.
    pub(crate) fn install(&self) -> Result<(), InitError> {
        #[cfg(feature = "tracing")]
        self.install_tracing()?;
        #[cfg(feature = "log")]
        self.install_log()?;
        Ok(())
    }

    fn directives(&self) -> String {
        let given = self.directives.clone();
        let variables = self.variables.clone();
        let variables = variables.unwrap_or_else(Variables::of_process);
        given
            .or_else(|| variables.text(FILTER_VARIABLE))
            .unwrap_or_else(|| "info".to_owned())
    }

    fn unreadable(
        &self,
        directives: &str,
        error: impl Into<Box<dyn Error + Send + Sync>>,
    ) -> InitError {
        let name = match self.directives {
            Some(_) => "the filter of the logs",
            None => FILTER_VARIABLE,
        };
        let wanted = "directives such as `info,my_crate=debug` are wanted";
        wrong(name, directives, wanted).because(error)
    }
}

#[cfg(test)]
mod tests {
    use super::is_of_exporter;

    #[test]
    fn events_of_exporters_are_told_by_their_crate() {
        for target in [
            "h2::codec::framed_write",
            "hyper_util::client::legacy::pool",
            "opentelemetry-otlp",
            "opentelemetry_sdk",
            "otel_ml_sdk",
            "reqwest::connect",
            "tonic",
        ] {
            assert!(is_of_exporter(target), "{target}");
        }
        for target in [
            "",
            "hyperion",
            "my_service::tonic",
            "otel_ml_tower::server",
            "tower_http::trace::on_response",
        ] {
            assert!(!is_of_exporter(target), "{target}");
        }
    }
}
