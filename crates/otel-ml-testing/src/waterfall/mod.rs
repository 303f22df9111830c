//! Traces as a picture in the terminal.
//!
//! Every bar starts and ends where its span did, to an eighth of a column. `*` marks the
//! longest chain: the spans the trace was waiting for, and the line below says where its
//! time went.
//!
//! ```
//! use opentelemetry::trace::{Tracer as _, TracerProvider as _};
//! use otel_ml_testing::TestTelemetry;
//! use otel_ml_testing::waterfall::{Waterfall, WaterfallSpan};
//!
//! let test = TestTelemetry::new();
//! let tracer = test.tracer_provider().tracer("demo");
//! tracer.in_span("answer", |_cx| tracer.in_span("rerank", |_cx| ()));
//! let spans = test.spans();
//! let waterfall = Waterfall::new(spans.iter().map(|span| WaterfallSpan::new("demo", span)));
//! println!("{}", waterfall.width(100).color(false));
//! ```

mod bar;
mod chain;
mod hang;
mod paint;
mod span;
mod trace;

use std::fmt;

pub use self::span::WaterfallSpan;

/// Spans to be drawn; `Display` draws them, each trace by itself.
///
/// The spans of several services, each with its own providers, are given together.
#[derive(Clone, Debug)]
#[must_use = "a waterfall is drawn by displaying it"]
pub struct Waterfall {
    spans: Vec<WaterfallSpan>,
    width: usize,
    has_color: bool,
    max_spans: usize,
}

impl Waterfall {
    /// 100 columns, no colours, at most 200 spans a trace.
    pub fn new(spans: impl IntoIterator<Item = WaterfallSpan>) -> Self {
        Self {
            spans: spans.into_iter().collect(),
            width: 100,
            has_color: false,
            max_spans: 200,
        }
    }

    /// How many columns a line may take; at least 60.
    pub fn width(mut self, columns: usize) -> Self {
        self.width = columns.max(60);
        self
    }

    /// Whether to use ANSI colours. With them bars start as exactly as they end.
    pub fn color(mut self, has_color: bool) -> Self {
        self.has_color = has_color;
        self
    }

    /// How many spans of a trace are drawn: first the longest chain, then errors, then
    /// what took longest. The rest is counted where it would be.
    pub fn max_spans(mut self, spans: usize) -> Self {
        self.max_spans = spans.max(1);
        self
    }
}

// === impl Waterfall ===

impl fmt::Display for Waterfall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut traces: Vec<(_, Vec<&WaterfallSpan>)> = Vec::new();
        for span in &self.spans {
            match traces.iter_mut().find(|(trace, _)| *trace == span.trace) {
                Some((_, spans)) => spans.push(span),
                None => traces.push((span.trace, vec![span])),
            }
        }
        traces.sort_by_key(|(_, spans)| spans.iter().map(|span| span.start).min());
        for (number, (_, spans)) in traces.into_iter().enumerate() {
            if number > 0 {
                writeln!(f)?;
            }
            paint::draw(spans, self, f)?;
        }
        Ok(())
    }
}
