//! What a line says: the ids of its span, and its form in JSON.

use std::borrow::Cow;
use std::fmt::{self, Write as _};
use std::time::SystemTime;

use chrono::{DateTime, SecondsFormat, Utc};
use opentelemetry::trace::TraceContextExt as _;
use opentelemetry::{Context, SpanId, TraceFlags, TraceId};
use serde::ser::{Serialize, SerializeMap as _, Serializer};
use serde_json::Value;

/// The keys a line writes itself. A field of such a name gets another one, with a span or
/// without: a reader must not take it for the line's own.
const OWN: [&str; 7] = [
    "timestamp",
    "level",
    "target",
    "spans",
    "trace_id",
    "span_id",
    "trace_flags",
];

/// The span that is current where a line is written.
pub(super) struct SpanIds {
    trace: TraceId,
    span: SpanId,
    flags: TraceFlags,
}

impl SpanIds {
    /// `None` where no span is.
    pub(super) fn current() -> Option<Self> {
        Context::map_current(|context| {
            let span = context.span();
            let ids = span.span_context();
            ids.is_valid().then(|| Self {
                trace: ids.trace_id(),
                span: ids.span_id(),
                flags: ids.trace_flags(),
            })
        })
    }
}

impl fmt::Display for SpanIds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { trace, span, flags } = self;
        write!(f, "trace_id={trace} span_id={span} trace_flags={flags:02x}")
    }
}

/// The time as RFC 3339 has it, in UTC.
pub(super) fn timestamp() -> String {
    DateTime::<Utc>::from(SystemTime::now()).to_rfc3339_opts(SecondsFormat::Micros, true)
}

/// A line in JSON: one object, its fields beside the line's own keys.
pub(super) struct Line<'a> {
    level: &'static str,
    target: &'a str,
    spans: Vec<&'static str>,
    fields: Vec<(Cow<'static, str>, Value)>,
}

impl<'a> Line<'a> {
    pub(super) const fn new(level: &'static str, target: &'a str) -> Self {
        Self {
            level,
            target,
            spans: Vec::new(),
            fields: Vec::new(),
        }
    }

    /// The names of the spans of `tracing` around it, outermost first.
    #[cfg(feature = "tracing")]
    pub(super) fn spans(&mut self, names: impl Iterator<Item = &'static str>) {
        self.spans.extend(names);
    }

    /// Adds a field. One whose name is taken is written as `field.NAME`; if that is taken as
    /// well, the first one stays.
    pub(super) fn field(&mut self, name: impl Into<Cow<'static, str>>, value: impl Into<Value>) {
        let mut name = name.into();
        if OWN.contains(&&*name) || self.has(&name) {
            name = format!("field.{name}").into();
        }
        if !self.has(&name) {
            self.fields.push((name, value.into()));
        }
    }

    fn has(&self, name: &str) -> bool {
        self.fields.iter().any(|(taken, _)| taken == name)
    }

    pub(super) fn to_json(&self) -> serde_json::Result<String> {
        serde_json::to_string(self)
    }
}

impl Serialize for Line<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("timestamp", &timestamp())?;
        map.serialize_entry("level", self.level)?;
        map.serialize_entry("target", self.target)?;
        for (name, value) in &self.fields {
            map.serialize_entry(name, value)?;
        }
        if !self.spans.is_empty() {
            map.serialize_entry("spans", &self.spans)?;
        }
        if let Some(ids) = SpanIds::current() {
            map.serialize_entry("trace_id", &format_args!("{}", ids.trace))?;
            map.serialize_entry("span_id", &format_args!("{}", ids.span))?;
            map.serialize_entry("trace_flags", &format_args!("{:02x}", ids.flags))?;
        }
        map.end()
    }
}

/// A number where 64 bits with a sign hold it, as in an exported log record; else its digits.
pub(super) fn integer<N: TryInto<i64> + fmt::Display + Copy>(value: N) -> Value {
    value
        .try_into()
        .map_or_else(|_| text(value), |number: i64| number.into())
}

/// JSON has no word for what is not finite.
pub(super) fn float(value: f64) -> Value {
    if value.is_finite() {
        value.into()
    } else {
        text(value)
    }
}

/// What `value` shows; where that breaks off, as far as it came. (`to_string` would panic.)
pub(super) fn text(value: impl fmt::Display) -> Value {
    let mut text = String::new();
    let _ = write!(text, "{value}");
    text.into()
}
