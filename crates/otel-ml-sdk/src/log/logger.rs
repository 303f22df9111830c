//! For `log`: the logger, and its installation.

use std::fmt::{self, Write as _};
use std::io::Write as _;

use env_filter::Filter;
use log::kv::{self, Key, Value, VisitSource, VisitValue};
use log::{Log, Metadata, Record};
use opentelemetry_appender_log::OpenTelemetryLogBridge;
use opentelemetry_sdk::logs::{SdkLogger, SdkLoggerProvider};

use super::line::{self, Line, SpanIds};
use super::output::Output;
use super::{LogFormat, Logs, is_of_exporter};
use crate::error::{ErrorKind, InitError};

/// A logger for `log`: lines with the ids of the current span and the record's key-values
/// and, with [`Logs::export`], records for OpenTelemetry. Made by [`Logs::logger`].
///
/// JSON has the keys that `JsonFormat` has for `tracing`, without `spans`. In text, control
/// characters other than line breaks and tabs are escaped.
pub struct Logger {
    format: LogFormat,
    filter: Filter,
    output: Output,
    export: Option<OpenTelemetryLogBridge<SdkLoggerProvider, SdkLogger>>,
}

impl Logs {
    /// The logger, to be called by hand or wrapped. [`install_log`](Self::install_log) installs
    /// it.
    ///
    /// # Errors
    /// When the filter's directives can't be read. Those of `log` are levels and
    /// `target=level`; what only spans of `tracing` have is not among them.
    pub fn logger(&self) -> Result<Logger, InitError> {
        let directives = self.directives();
        let mut filter = env_filter::Builder::new();
        filter
            .try_parse(&directives)
            .map_err(|error| self.unreadable(&directives, error))?;
        Ok(Logger {
            format: self.format,
            filter: filter.build(),
            output: self.output.clone().unwrap_or_default(),
            export: self.provider.as_ref().map(OpenTelemetryLogBridge::new),
        })
    }

    /// Makes these logs the ones of the process for `log`, and its highest level what the
    /// filter lets through.
    ///
    /// ```
    /// use otel_ml_sdk::ErrorKind;
    /// use otel_ml_sdk::log::{LogFormat, Logs};
    ///
    /// let logs = Logs::new(LogFormat::Json).filter("info,my_service=debug");
    /// logs.install_log()?;
    /// assert_eq!(log::max_level(), log::LevelFilter::Debug);
    /// assert_eq!(logs.install_log().unwrap_err().kind(), ErrorKind::AlreadySet);
    /// # Ok::<(), otel_ml_sdk::InitError>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::AlreadySet`] when there is a logger already, and as
    /// [`logger`](Self::logger).
    pub fn install_log(&self) -> Result<(), InitError> {
        let logger = self.logger()?;
        let level = logger.filter.filter();
        log::set_boxed_logger(Box::new(logger)).map_err(|_| taken())?;
        log::set_max_level(level);
        Ok(())
    }
}

/// The error where there is a logger already, as far as it shows.
pub(super) fn check() -> Result<(), InitError> {
    if log::max_level() > log::LevelFilter::Off {
        return Err(taken());
    }
    Ok(())
}

fn taken() -> InitError {
    InitError::new(
        ErrorKind::AlreadySet,
        "a `log` logger is installed already: take out the code that installs it (a `tracing` \
         subscriber set by `init` may do so), or call `Logs::logger` from it",
    )
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.filter.enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        if !self.filter.matches(record) {
            return;
        }
        let line = match self.format {
            LogFormat::Text => Some(as_text(record)),
            LogFormat::Json => as_json(record).ok(),
        };
        if let Some(mut line) = line {
            line.push('\n');
            // Whoever logs can't mend the writer.
            let _ = self.output.clone().write_all(line.as_bytes());
        }
        if let Some(export) = &self.export
            && !is_of_exporter(record.target())
        {
            export.log(record);
        }
    }

    fn flush(&self) {
        let _ = self.output.clone().flush();
    }
}

impl fmt::Debug for Logger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Logger")
            .field("format", &self.format)
            .field("filter", &self.filter)
            .field("export", &self.export.is_some())
            .finish_non_exhaustive()
    }
}

/// The line that `tracing-subscriber` would write.
fn as_text(record: &Record<'_>) -> String {
    let (level, target) = (record.level(), record.target());
    let mut text = format!("{level:>5} {target}: ");
    // A value that fails to show itself ends where it fails.
    let _ = write!(text, "{}", record.args());
    let _ = record.key_values().visit(&mut Text(&mut text));
    if let Some(ids) = SpanIds::current() {
        let _ = write!(text, " {ids}");
    }
    let mut line = line::timestamp();
    line.push(' ');
    for c in text.chars() {
        if c.is_control() && c != '\n' && c != '\t' {
            line.extend(c.escape_default());
        } else {
            line.push(c);
        }
    }
    line
}

struct Text<'t>(&'t mut String);

impl<'kvs> VisitSource<'kvs> for Text<'_> {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), kv::Error> {
        let _ = match value.to_borrowed_str() {
            Some(value) => write!(self.0, " {key}={value:?}"),
            None => write!(self.0, " {key}={value}"),
        };
        Ok(())
    }
}

fn as_json(record: &Record<'_>) -> serde_json::Result<String> {
    let mut line = Line::new(record.level().as_str(), record.target());
    line.field("message", line::text(record.args()));
    let _ = record.key_values().visit(&mut Fields(&mut line));
    line.to_json()
}

struct Fields<'l, 'a>(&'l mut Line<'a>);

impl<'kvs> VisitSource<'kvs> for Fields<'_, '_> {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), kv::Error> {
        let mut json = Json(serde_json::Value::Null);
        let _ = value.visit(&mut json);
        self.0.field(String::from(key.as_str()), json.0);
        Ok(())
    }
}

/// A value of `log` in JSON.
struct Json(serde_json::Value);

impl Json {
    fn set(&mut self, value: impl Into<serde_json::Value>) -> Result<(), kv::Error> {
        self.0 = value.into();
        Ok(())
    }
}

impl VisitValue<'_> for Json {
    fn visit_any(&mut self, value: Value<'_>) -> Result<(), kv::Error> {
        self.set(line::text(value))
    }

    fn visit_null(&mut self) -> Result<(), kv::Error> {
        self.set(())
    }

    fn visit_bool(&mut self, value: bool) -> Result<(), kv::Error> {
        self.set(value)
    }

    fn visit_str(&mut self, value: &str) -> Result<(), kv::Error> {
        self.set(value)
    }

    fn visit_i64(&mut self, value: i64) -> Result<(), kv::Error> {
        self.set(value)
    }

    fn visit_u64(&mut self, value: u64) -> Result<(), kv::Error> {
        self.set(line::integer(value))
    }

    fn visit_i128(&mut self, value: i128) -> Result<(), kv::Error> {
        self.set(line::integer(value))
    }

    fn visit_u128(&mut self, value: u128) -> Result<(), kv::Error> {
        self.set(line::integer(value))
    }

    fn visit_f64(&mut self, value: f64) -> Result<(), kv::Error> {
        self.set(line::float(value))
    }
}
