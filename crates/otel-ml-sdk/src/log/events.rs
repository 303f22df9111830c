//! For `tracing`: the two formats, the layers they make, and the global subscriber.

use std::error::Error;
use std::fmt::{self, Write as _};
use std::io::{IsTerminal as _, stderr};
use std::iter::successors;

use opentelemetry_appender_tracing::layer::OpenTelemetryTracingBridge;
use opentelemetry_sdk::logs::SdkLoggerProvider;
use tracing_core::field::{Field, Visit};
use tracing_core::{Dispatch, Event, Subscriber};
use tracing_log::NormalizeEvent as _;
use tracing_subscriber::filter::{EnvFilter, FilterExt as _, FilterFn};
use tracing_subscriber::fmt::format::{Format, Full, Writer};
use tracing_subscriber::fmt::time::SystemTime;
use tracing_subscriber::fmt::{self as lines, FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::{Layer, SubscriberExt as _};
use tracing_subscriber::registry::{LookupSpan, Registry, SpanRef};

use super::line::{self, Line, SpanIds};
use super::{LogFormat, Logs, is_of_exporter};
use crate::error::{ErrorKind, InitError};

/// How many errors an error field shows: the first and those behind it.
const MOST_SOURCES: usize = 8;

/// Lines of text as `tracing-subscriber` writes them, with the ids of the current span at
/// their end: ` trace_id=… span_id=… trace_flags=…`. Without a span, without ids.
///
/// Made from any of its formats; colours are as the layer says.
///
/// ```
/// use otel_ml_sdk::log::TextFormat;
/// use tracing_subscriber::fmt;
/// use tracing_subscriber::layer::SubscriberExt as _;
///
/// let format = fmt::format().compact().with_thread_names(true);
/// let layer = fmt::layer().event_format(TextFormat::from(format));
/// let subscriber = tracing_subscriber::registry().with(layer);
/// # drop(subscriber);
/// ```
#[derive(Clone, Debug)]
pub struct TextFormat<F = Full, T = SystemTime> {
    // The line is made beside the layer's writer, whose colours can't be handed on.
    coloured: Format<F, T>,
    plain: Format<F, T>,
}

impl<F: Clone, T: Clone> From<Format<F, T>> for TextFormat<F, T> {
    fn from(format: Format<F, T>) -> Self {
        Self {
            coloured: format.clone().with_ansi(true),
            plain: format.with_ansi(false),
        }
    }
}

impl Default for TextFormat {
    fn default() -> Self {
        Format::default().into()
    }
}

impl<S, N, F, T> FormatEvent<S, N> for TextFormat<F, T>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    Format<F, T>: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let format = if writer.has_ansi_escapes() {
            &self.coloured
        } else {
            &self.plain
        };
        let Some(ids) = SpanIds::current() else {
            return format.format_event(context, writer, event);
        };
        let mut line = String::new();
        format.format_event(context, Writer::new(&mut line), event)?;
        let text = line.trim_end_matches('\n');
        let end = line.strip_prefix(text).unwrap_or("\n");
        write!(writer, "{text} {ids}{end}")
    }
}

/// One JSON object a line: `timestamp` (RFC 3339, UTC), `level`, `target`, the event's fields
/// (its text is `message`), `spans` (the names of the `tracing` spans around it, outermost
/// first), and where there is a current span `trace_id`, `span_id`, `trace_flags`.
///
/// Integers beyond 64 bits with a sign and floats that are not finite are strings, as is
/// whatever else is neither a number nor a boolean; an error's text has its sources behind it.
/// A field that has the name of one of the line's own keys, or that comes a second time, is
/// written as `field.NAME`.
#[derive(Clone, Copy, Debug, Default)]
pub struct JsonFormat;

impl<S, N> FormatEvent<S, N> for JsonFormat
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        // Where a `LogTracer` made the event from a record of `log`.
        let normalized = event.normalized_metadata();
        let metadata = normalized.as_ref().unwrap_or_else(|| event.metadata());
        let mut line = Line::new(metadata.level().as_str(), metadata.target());
        let spans = context.event_scope().into_iter();
        line.spans(
            spans
                .flat_map(|s| s.from_root())
                .map(|span: SpanRef<'_, S>| span.name()),
        );
        event.record(&mut Fields {
            line: &mut line,
            bridged: normalized.is_some(),
        });
        let json = line.to_json().map_err(|_| fmt::Error)?;
        writeln!(writer, "{json}")
    }
}

struct Fields<'l, 'a> {
    line: &'l mut Line<'a>,
    bridged: bool,
}

impl Fields<'_, '_> {
    fn add(&mut self, field: &Field, value: impl Into<serde_json::Value>) {
        let name = field.name();
        if self.bridged && name.starts_with("log.") {
            return;
        }
        self.line
            .field(name.strip_prefix("r#").unwrap_or(name), value);
    }
}

impl Visit for Fields<'_, '_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field, line::text(format_args!("{value:?}")));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.add(field, line::float(value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, line::integer(value));
    }

    fn record_i128(&mut self, field: &Field, value: i128) {
        self.add(field, line::integer(value));
    }

    fn record_u128(&mut self, field: &Field, value: u128) {
        self.add(field, line::integer(value));
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        // Sources that go round in a ring must end, too.
        let sources = successors(Some(value), |&error| error.source()).take(MOST_SOURCES);
        let mut text = String::new();
        for (nth, error) in sources.enumerate() {
            let between = if nth == 0 { "" } else { ": " };
            let _ = write!(text, "{between}{error}");
        }
        self.add(field, text);
    }
}

impl Logs {
    /// The layer of `tracing-subscriber` that writes the lines and, with
    /// [`export`](Self::export), sends the events on. Its filter is its own: it doesn't decide
    /// which spans another layer of the subscriber sees.
    ///
    /// A layer that may be missing beside it is an `Option`. An empty `Vec` of layers, anywhere in
    /// a subscriber, makes `tracing-subscriber` take it that nobody wants anything: no line is
    /// written then.
    ///
    /// ```
    /// use otel_ml_sdk::log::{LogFormat, Logs, install_subscriber};
    /// use otel_ml_sdk::otel_ml::opentelemetry::global;
    /// use tracing_subscriber::filter::LevelFilter;
    /// use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
    ///
    /// // Spans of `tracing` are exported, too, and the lines in them carry their ids.
    /// let spans = tracing_opentelemetry::layer().with_tracer(global::tracer("shop"));
    /// let subscriber = tracing_subscriber::registry()
    ///     .with(Logs::new(LogFormat::Json).layer()?)
    ///     .with(spans.with_filter(LevelFilter::INFO));
    /// install_subscriber(subscriber)?;
    /// # Ok::<(), otel_ml_sdk::InitError>(())
    /// ```
    ///
    /// # Errors
    /// When the filter's directives can't be read.
    pub fn layer<S>(&self) -> Result<impl Layer<S> + use<S>, InitError>
    where
        S: Subscriber + for<'a> LookupSpan<'a> + Send + Sync,
    {
        let colours = self.output.is_none() && stderr().is_terminal();
        let output = self.output.clone().unwrap_or_default();
        let line = lines::layer().with_writer(move || output.clone());
        let line = match self.format {
            // Left alone, the layer heeds NO_COLOR.
            LogFormat::Text if colours => line.event_format(TextFormat::default()).boxed(),
            LogFormat::Text => line
                .with_ansi(false)
                .event_format(TextFormat::default())
                .boxed(),
            LogFormat::Json => line.with_ansi(false).event_format(JsonFormat).boxed(),
        };
        let mut layers = vec![line.with_filter(self.env_filter()?).boxed()];
        if let Some(provider) = &self.provider {
            let filter = self.env_filter()?.and(not_of_exporters());
            let bridge = OpenTelemetryTracingBridge::new(provider);
            layers.push(bridge.with_filter(filter).boxed());
        }
        Ok(layers)
    }

    /// Makes these logs the ones of the process for `tracing`: a subscriber of
    /// [`layer`](Self::layer) alone. For more layers build one and give it to
    /// [`install_subscriber`].
    ///
    /// ```
    /// use otel_ml_sdk::ErrorKind;
    /// use otel_ml_sdk::log::{LogFormat, Logs};
    ///
    /// let logs = Logs::new(LogFormat::Json).filter("info,my_service=debug");
    /// logs.install_tracing()?;
    /// assert_eq!(logs.install_tracing().unwrap_err().kind(), ErrorKind::AlreadySet);
    /// # Ok::<(), otel_ml_sdk::InitError>(())
    /// ```
    ///
    /// # Errors
    /// As [`layer`](Self::layer) and [`install_subscriber`].
    pub fn install_tracing(&self) -> Result<(), InitError> {
        install_subscriber(Registry::default().with(self.layer()?))
    }

    fn env_filter(&self) -> Result<EnvFilter, InitError> {
        let directives = self.directives();
        EnvFilter::builder()
            .parse(&directives)
            .map_err(|error| self.unreadable(&directives, error))
    }
}

/// The layer that sends events to `provider`, with the ids of the current span. Events of the
/// crates that exporters are built on are left out: an export that logs would log itself,
/// without end. They are in the lines.
///
/// ```
/// use opentelemetry_sdk::logs::SdkLoggerProvider;
/// use otel_ml_sdk::log::{TextFormat, export_layer};
/// use tracing_subscriber::fmt;
/// use tracing_subscriber::layer::SubscriberExt as _;
///
/// let provider = SdkLoggerProvider::builder().build();
/// let subscriber = tracing_subscriber::registry()
///     .with(fmt::layer().event_format(TextFormat::default()))
///     .with(export_layer(&provider));
/// # drop(subscriber);
/// ```
pub fn export_layer<S>(provider: &SdkLoggerProvider) -> impl Layer<S> + use<S>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    OpenTelemetryTracingBridge::new(provider).with_filter(not_of_exporters())
}

fn not_of_exporters() -> FilterFn {
    FilterFn::new(|metadata| !is_of_exporter(metadata.target()))
}

/// Makes `subscriber` the one of the process.
///
/// # Errors
/// [`ErrorKind::AlreadySet`] when there is one already.
pub fn install_subscriber(subscriber: impl Into<Dispatch>) -> Result<(), InitError> {
    tracing::dispatcher::set_global_default(subscriber.into()).map_err(|_| taken())
}

/// The error where there is a subscriber already.
pub(super) fn check() -> Result<(), InitError> {
    if tracing::dispatcher::has_been_set() {
        return Err(taken());
    }
    Ok(())
}

fn taken() -> InitError {
    InitError::new(
        ErrorKind::AlreadySet,
        "a `tracing` subscriber is installed already: add `Logs::layer` to that one, or take out \
         the code that installs it",
    )
}
