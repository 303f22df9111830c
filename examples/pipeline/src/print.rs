//! What the command prints: answers, traces and tables.

use std::cmp::Reverse;
use std::io::{self, Write};
use std::time::Duration;

use otel_ml_testing::SpanExt as _;
use otel_ml_testing::waterfall::{Waterfall, WaterfallSpan};

use crate::asker::{Reply, SERVICE};
use crate::hops::Stage;
use crate::load::{Measured, PARTS, Report};
use crate::telemetry::Ended;

/// Services whose share of the time is told by name.
const NAMED: usize = 4;

/// How the trace is drawn.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    /// Columns.
    pub width: usize,
    /// Whether to use colours.
    pub has_color: bool,
}

/// A token, as far as it is fit for a terminal: the documents may hold anything.
///
/// # Errors
/// Those of `out`.
pub fn token(out: &mut impl Write, token: &str) -> io::Result<()> {
    out.write_all(printable(token).as_bytes())?;
    out.flush()
}

/// What follows the text of an answer.
///
/// # Errors
/// Those of `out`.
pub fn sources(out: &mut impl Write, reply: &Reply) -> io::Result<()> {
    if !reply.sources.is_empty() {
        writeln!(out, "\nSources")?;
    }
    for source in &reply.sources {
        let line = format!(
            "  [{}] {}:{}  {}",
            source.number, source.path, source.line, source.heading
        );
        writeln!(out, "{}", printable(line.trim_end()))?;
    }
    let reason = reply.finish_reason.map_or("", |reason| reason.as_str());
    writeln!(
        out,
        "\nconfidence {:.2} · {} tokens in, {} out · finish reason: {reason}",
        reply.confidence, reply.usage.prompt_tokens, reply.usage.completion_tokens,
    )
}

/// The trace, and where its time went.
///
/// # Errors
/// Those of `out`.
pub fn trace(out: &mut impl Write, spans: &[Ended], look: Look) -> io::Result<()> {
    let drawn = spans
        .iter()
        .map(|ended| WaterfallSpan::new(ended.service, &ended.span));
    let waterfall = Waterfall::new(drawn)
        .width(look.width)
        .color(look.has_color);
    write!(out, "\n{waterfall}")?;
    writeln!(out, "time by service: {}", shares(spans))
}

/// The share of each service, the largest first; what none of those behind the gateway took is
/// the gateway's, the client's and the network's.
fn shares(spans: &[Ended]) -> String {
    let root = spans
        .iter()
        .find(|ended| ended.service == SERVICE && ended.span.parent().is_none());
    let whole = root.map_or(Duration::ZERO, |root| root.span.duration());
    let mut left = whole;
    let mut parts = Vec::new();
    for stage in Stage::ALL {
        let served = spans.iter().filter(|ended| {
            let is_behind = ended.service == stage.as_str() && stage != Stage::Gateway;
            is_behind && ended.is_request()
        });
        let time: Duration = served.map(|ended| ended.span.duration()).sum();
        left = left.saturating_sub(time);
        parts.push((time, stage.as_str()));
    }
    parts.push((left, "gateway and network"));
    parts.retain(|(time, _)| !time.is_zero());
    parts.sort_by_key(|(time, _)| Reverse(*time));
    let (named, others) = parts.split_at(parts.len().min(NAMED));
    let share = |(time, name): (Duration, &str)| {
        let share = time.as_secs_f64() * 100.0 / whole.as_secs_f64().max(f64::MIN_POSITIVE);
        format!("{name} {} ({share:.1} %)", human(time))
    };
    let mut told: Vec<String> = named.iter().copied().map(share).collect();
    if !others.is_empty() {
        told.push(share((
            others.iter().map(|(time, _)| *time).sum(),
            "others",
        )));
    }
    told.join(", ")
}

/// What a load run measured, by service, in the order in which a request meets them; below a
/// service what its requests waited for.
///
/// # Errors
/// Those of `out`.
pub fn report(out: &mut impl Write, report: &Report) -> io::Result<()> {
    writeln!(
        out,
        "{:<12} {:>7} {:>10} {:>10} {:>10} {:>7} {:>11} {:>11}",
        "stage", "count", "p50", "p95", "p99", "errors", "tokens in", "tokens out"
    )?;
    let services = std::iter::once(SERVICE).chain(Stage::ALL.map(Stage::as_str));
    let none = Measured::default();
    for service in services {
        row(out, service, report.services.get(service).unwrap_or(&none))?;
        for part in PARTS {
            if let Some(measured) = report.parts.get(&(service, part)) {
                row(out, &format!("  {part}"), measured)?;
            }
        }
    }
    writeln!(out)?;
    let (requests, traces) = (report.requests, report.traces.len());
    if report.is_fine() {
        return writeln!(
            out,
            "{requests} requests, {traces} traces, none mixed, none missing"
        );
    }
    writeln!(
        out,
        "{requests} requests, {traces} traces, {} without an answer, {} problems:",
        report.failed, report.problem_count
    )?;
    for problem in &report.problems {
        writeln!(out, "  {}", printable(problem))?;
    }
    match report.problem_count.saturating_sub(report.problems.len()) {
        0 => Ok(()),
        more => writeln!(out, "  and {more} more"),
    }
}

fn row(out: &mut impl Write, name: &str, measured: &Measured) -> io::Result<()> {
    let count = |tokens: u64| match tokens {
        0 => "-".to_owned(),
        tokens => tokens.to_string(),
    };
    writeln!(
        out,
        "{name:<12} {:>7} {:>10} {:>10} {:>10} {:>7} {:>11} {:>11}",
        measured.durations.len(),
        human(measured.percentile(0.50)),
        human(measured.percentile(0.95)),
        human(measured.percentile(0.99)),
        measured.errors,
        count(measured.input_tokens),
        count(measured.output_tokens),
    )
}

fn human(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    match seconds {
        1.0.. => format!("{seconds:.2} s"),
        0.001.. => format!("{:.1} ms", seconds * 1e3),
        _ => format!("{:.0} µs", seconds * 1e6),
    }
}

fn printable(text: &str) -> String {
    let is_safe = |c: char| !c.is_control() || matches!(c, '\n' | '\t');
    text.chars()
        .map(|c| if is_safe(c) { c } else { '\u{fffd}' })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use otel_ml::opentelemetry::trace::{
        SpanKind, TraceContextExt as _, Tracer as _, TracerProvider as _,
    };
    use otel_ml::opentelemetry::{Context, KeyValue};
    use otel_ml::semconv::messaging;
    use otel_ml_testing::TestTelemetry;

    use super::*;
    use crate::hops::retrieve::TOPICS;
    use crate::kafka::Topics;

    fn told(print: impl FnOnce(&mut Vec<u8>) -> io::Result<()>) -> String {
        let mut out = Vec::new();
        print(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn what_documents_hold_cannot_steer_the_terminal() {
        let text = told(|out| token(out, "a\u{1b}[2J\tb\nc\r"));
        assert_eq!(text, "a\u{fffd}[2J\tb\nc\u{fffd}");
    }

    #[test]
    fn a_bad_report_says_what_is_wrong() {
        let bad = Report {
            requests: 3,
            failed: 1,
            problems: vec!["trace 7: no answer".to_owned()],
            problem_count: 4,
            ..Report::default()
        };
        let text = told(|out| report(out, &bad));
        for line in [
            "3 requests, 0 traces, 1 without an answer, 4 problems:",
            "  trace 7: no answer",
            "  and 3 more",
        ] {
            assert!(text.lines().any(|found| found == line), "{text}");
        }
    }

    #[test]
    fn a_service_asked_by_kafka_has_its_share_as_those_asked_by_http() {
        let test = TestTelemetry::new();
        let tracer = test.tracer_provider().tracer("test");
        let at = |ms| SystemTime::UNIX_EPOCH + Duration::from_millis(ms);
        let mut spans = Vec::new();
        let mut record = |service, kind, topic, parent: &Context, start, end| {
            let topic = KeyValue::new(messaging::DESTINATION_TEMPLATE, topic);
            let span = tracer
                .span_builder("span")
                .with_kind(kind)
                .with_attributes([topic])
                .with_start_time(at(start));
            let cx = parent.with_span(span.start_with_context(&tracer, parent));
            cx.span().end_with_timestamp(at(end));
            let span = test.spans().pop().unwrap();
            spans.push(Ended { service, span });
            cx
        };
        let Topics { requests, replies } = TOPICS;
        let ask = record(SERVICE, SpanKind::Internal, "", &Context::new(), 0, 1000);
        let gateway = record("gateway", SpanKind::Server, "", &ask, 0, 1000);
        let send = record("gateway", SpanKind::Producer, requests, &gateway, 0, 1);
        record("retrieve", SpanKind::Consumer, requests, &send, 10, 410);
        record("gateway", SpanKind::Consumer, replies, &send, 410, 420);
        record("rerank", SpanKind::Server, "", &gateway, 500, 700);
        assert_eq!(
            shares(&spans),
            "retrieve 400.0 ms (40.0 %), gateway and network 400.0 ms (40.0 %), \
             rerank 200.0 ms (20.0 %)"
        );
    }

    #[test]
    fn times_have_a_unit_that_fits() {
        let human = |micros| human(Duration::from_micros(micros));
        assert_eq!(human(0), "0 µs");
        assert_eq!(human(999), "999 µs");
        assert_eq!(human(1_500), "1.5 ms");
        assert_eq!(human(1_500_000), "1.50 s");
    }
}
