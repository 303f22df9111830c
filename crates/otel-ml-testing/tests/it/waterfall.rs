use std::borrow::Cow;
use std::time::{Duration, SystemTime};

use opentelemetry::trace::{
    SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState,
};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};
use otel_ml_testing::waterfall::{Waterfall, WaterfallSpan};

/// A span of trace `1`; times in milliseconds.
fn span(name: &'static str, id: u64, parent: u64, start: u64, end: u64) -> SpanData {
    let at = |ms| SystemTime::UNIX_EPOCH + Duration::from_secs(1_000) + Duration::from_millis(ms);
    SpanData {
        span_context: SpanContext::new(
            TraceId::from(1),
            SpanId::from(id),
            TraceFlags::SAMPLED,
            false,
            TraceState::default(),
        ),
        parent_span_id: SpanId::from(parent),
        parent_span_is_remote: false,
        span_kind: SpanKind::Internal,
        name: Cow::Borrowed(name),
        start_time: at(start),
        end_time: at(end),
        attributes: Vec::new(),
        dropped_attributes_count: 0,
        events: SpanEvents::default(),
        links: SpanLinks::default(),
        status: Status::Unset,
        instrumentation_scope: InstrumentationScope::builder("test").build(),
    }
}

trait With: Sized {
    fn with<V: Into<opentelemetry::Value>>(self, key: &'static str, value: V) -> Self;
}

impl With for SpanData {
    fn with<V: Into<opentelemetry::Value>>(mut self, key: &'static str, value: V) -> Self {
        self.attributes.push(KeyValue::new(key, value));
        self
    }
}

fn drawn(spans: &[(&str, SpanData)], options: impl FnOnce(Waterfall) -> Waterfall) -> String {
    let spans = spans
        .iter()
        .map(|(service, span)| WaterfallSpan::new(*service, span));
    format!("\n{}", options(Waterfall::new(spans)))
}

fn pipeline() -> Vec<(&'static str, SpanData)> {
    vec![
        ("gateway", span("POST /v1/chat/completions", 1, 0, 0, 1000)),
        ("gateway", span("POST", 2, 1, 20, 180)),
        (
            "features",
            span("GET /features", 3, 2, 40, 160)
                .with("ml.cache.hit", true)
                .with("ml.feature.count", 3),
        ),
        ("gateway", span("POST", 4, 1, 200, 960)),
        (
            "generate",
            span("chat extractive", 5, 4, 220, 950)
                .with("gen_ai.request.model", "asked")
                .with("gen_ai.response.model", "extractive")
                .with("ml.model.version", "3")
                .with("gen_ai.usage.input_tokens", 812)
                .with("gen_ai.usage.output_tokens", 96)
                .with("ml.prediction.confidence", 0.875),
        ),
        (
            "rerank",
            span("rerank", 6, 4, 230, 610)
                .with("error.type", "timeout")
                .with("ml.rerank.candidate.count", 20),
        ),
    ]
}

#[test]
fn a_trace_is_drawn_true_to_its_times() {
    // The bars have 36 cells for 1,000 ms: 27.8 ms a cell, 3.5 ms an eighth of one.
    let expected = "
trace 00000000000000000000000000000001 · 1.00 s · 6 spans · 4 services · 1 error
gateway   POST /v1/chat/completions * ████████████████████████████████████  1.00 s
gateway   ├─ POST                   * ▕█████▌                               160 ms
features  │  └─ GET /features       *  ▐███▊                                120 ms  cache hit · 3 features
gateway   └─ POST                   *        ███████████████████████████▌   760 ms
generate     ├─ chat extractive     *        ▕██████████████████████████▎   730 ms  extractive 3 · 812→96 tokens
             │                                                                      confidence 0.88
rerank       └─ rerank                        ██████████████                380 ms  ✗ timeout · 20 candidates
* longest chain: chat extractive 730 ms (73 %), GET /features 120 ms (12 %), 3 more
";
    assert_eq!(
        drawn(&pipeline(), |waterfall| waterfall.width(120)),
        expected
    );
}

#[test]
fn a_narrow_terminal_cuts_names_and_wraps_facts() {
    let expected = "
trace 00000000000000000000000000000001 · 1.00 s · 6 spans · 4 services · 1 error
gateway   POST /v1/chat/comp… * ██████████████  1.00 s
gateway   ├─ POST             * ██▌             160 ms
features  │  └─ GET /features * ▐█▎             120 ms  cache hit · 3 features
gateway   └─ POST             *   ▕██████████▌  760 ms
generate     ├─ chat extract… *    ██████████▎  730 ms  extractive 3
             │                                          812→96 tokens
             │                                          confidence 0.88
rerank       └─ rerank             █████▌       380 ms  ✗ timeout
                                                        20 candidates
* longest chain: chat extractive 730 ms (73 %), 4 more
";
    assert_eq!(
        drawn(&pipeline(), |waterfall| waterfall.width(80)),
        expected
    );
}

#[test]
fn what_is_left_out_is_counted_where_it_would_be() {
    let expected = "
trace 00000000000000000000000000000001 · 1.00 s · 6 spans · 4 services · 1 error
gateway   POST /v1/chat/comp… * ██████████████  1.00 s
gateway   ├─ POST             *   ▕██████████▌  760 ms
generate  │  ├─ chat extract… *    ██████████▎  730 ms  extractive 3
          │  │                                          812→96 tokens
          │  │                                          confidence 0.88
          │  └─ … 1 more
          └─ … 2 more
* longest chain: chat extractive 730 ms (73 %), 4 more
";
    let some = |waterfall: Waterfall| waterfall.width(80).max_spans(3);
    assert_eq!(drawn(&pipeline(), some), expected);
    let mut spans = pipeline();
    spans.push(("other", span("root", 9, 0, 0, 1)));
    let text = drawn(&spans, |waterfall| waterfall.width(80).max_spans(5));
    assert!(text.contains("\n          … 1 more\n"), "{text}");
    assert!(text.contains("2 roots"), "{text}");
}

#[test]
fn e25_odd_traces_are_drawn_as_extra_roots_with_a_note() {
    let mut other = span("consume", 0, 0, 0, 10);
    other.span_context = SpanContext::new(
        TraceId::from(2),
        SpanId::from(1),
        TraceFlags::SAMPLED,
        false,
        TraceState::default(),
    );
    let spans = [
        ("worker", other),
        ("a", span("first", 1, 0, 0, 40)),
        ("a", span("lost", 2, 77, 50, 100)),
        ("b", span("skewed", 3, 2, 45, 60)),
        ("b", span("outlives", 4, 2, 90, 120)),
        ("b", span("instant", 5, 2, 70, 70)),
        ("c", span("ring one", 6, 7, 60, 65)),
        ("c", span("ring two\u{1b}[31m", 7, 6, 61, 64)),
        (
            "c",
            span("長い名前が切られるはずです、そう思います", 8, 6, 63, 64),
        ),
    ];
    let expected = "
trace 00000000000000000000000000000002 · 10.0 ms · 1 span · 1 service
worker  consume * ████████████████████████████████████████████████████████████████████████ 10.0 ms
* longest chain: consume 10.0 ms (100 %)

trace 00000000000000000000000000000001 · 120 ms · 8 spans · 3 services · 3 roots
a  first                            * ███████▍               40.0 ms
a  lost                             *          █████████▍    50.0 ms  parent is not here
b  ├─ skewed                        *         ███            15.0 ms  starts 5.00 ms before its par…
b  ├─ instant                                     ▕             0 ns
b  └─ outlives                      *                 ▐█████ 30.0 ms
c  ring one                                      ▉           5.00 ms  parents form a ring
c  ├─ ring two\u{fffd}[31m                              ▌           3.00 ms
c  └─ 長い名前が切られるはずです、…              │           1.00 ms
* longest chain: first 40.0 ms (33 %), lost 30.0 ms (25 %), skewed 10.0 ms (8 %), 1 more
";
    assert_eq!(drawn(&spans, |waterfall| waterfall), expected);
}

#[test]
fn colours_mark_the_chain_and_errors_and_make_bars_exact() {
    let mut failed = span("late", 2, 1, 12, 83);
    failed.status = Status::error("no");
    let spans = [("a", span("root", 1, 0, 0, 100)), ("b", failed)];
    let text = drawn(&spans, |waterfall| waterfall.color(true).width(60));
    let bold = "\u{1b}[1m";
    let (red, yellow) = ("\u{1b}[1m\u{1b}[31m", "\u{1b}[1m\u{1b}[33m");
    let (inverse_red, dim, reset) = ("\u{1b}[1m\u{1b}[7m\u{1b}[31m", "\u{1b}[2m", "\u{1b}[0m");
    let lines: Vec<&str> = text.lines().skip(2).collect();
    // Of 240 eighths of cells the second bar takes those from 29 (3 × 8 + 5) to 199.
    assert_eq!(
        lines,
        [
            format!(
                "{dim}a{reset}  {bold}root   {reset} {yellow}*{reset} {yellow}{}{reset}  100 ms",
                "█".repeat(30)
            ),
            format!(
                "{dim}b{reset}  {bold}└─ late{reset} {yellow}*{reset}    \
                 {inverse_red}▋{reset}{red}{}▉     {reset} 71.0 ms  {red}✗ error{reset}",
                "█".repeat(20)
            ),
            format!("{yellow}* longest chain: late 71.0 ms (71 %), root 29.0 ms (29 %){reset}"),
        ]
    );
}

#[test]
fn facts_are_picked_by_key_and_type() {
    let facts = |span: SpanData| WaterfallSpan::new("s", &span).facts;
    let base = || span("s", 1, 0, 0, 1);
    assert_eq!(facts(base().with("ml.model.name", "ranker")), ["ranker"]);
    assert_eq!(facts(base().with("ml.model.version", "7")), ["7"]);
    let input = base().with("gen_ai.usage.input_tokens", 5);
    assert_eq!(facts(input), ["5 tokens in"]);
    let output = base().with("gen_ai.usage.output_tokens", 5);
    assert_eq!(facts(output), ["5 tokens out"]);
    assert!(facts(base().with("gen_ai.usage.output_tokens", "5")).is_empty());
    let batch = base().with("ml.cache.hit", false).with("ml.batch.size", 8);
    assert_eq!(facts(batch), ["cache miss", "batch of 8"]);
    let counts = base()
        .with("ml.retrieval.document.count", 1)
        .with("ml.response.chunk.count", 2);
    assert_eq!(facts(counts), ["1 document", "2 chunks"]);
    let skipped = base()
        .with("ml.stage.skipped", true)
        .with("ml.stage.skip_reason", "overload");
    assert_eq!(facts(skipped), ["skipped: overload"]);
    assert!(facts(base().with("ml.stage.skipped", false)).is_empty());
    assert_eq!(WaterfallSpan::new("s", &base()).error, None);
}

#[test]
fn e25_ten_thousand_generations_are_drawn() {
    let spans: Vec<_> = (1..=10_000)
        .map(|id| ("deep", span("level", id, id - 1, id, 30_000 - id)))
        .collect();
    let text = drawn(&spans, |waterfall| waterfall);
    assert_eq!(text.matches("* ").count(), 201, "200 spans and the chain");
    assert!(text.contains("[199] level"), "{text}");
    assert!(text.contains("… 9800 more"), "{text}");
    let all = drawn(&spans, |waterfall| waterfall.max_spans(usize::MAX));
    assert_eq!(all.lines().count(), 10_003);
    assert!(all.contains("[9999] level"));
}

#[test]
fn nothing_is_drawn_for_no_spans() {
    assert_eq!(drawn(&[], |waterfall| waterfall), "\n");
}
