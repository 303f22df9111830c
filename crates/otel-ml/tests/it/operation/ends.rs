//! However it comes to its end, it ends once, is measured, and is no longer in flight.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, SystemTime};

use opentelemetry::Context;
use opentelemetry::trace::{SpanContext, SpanKind, TraceContextExt};
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SdkTracerProvider, Span, SpanData, SpanProcessor};
use otel_ml::{
    End, ErrorType, Handle, InFlight, MlSpan, Operation, Outcome, Record, Since, Telemetry,
};
use otel_ml_semconv::{error, http};
use otel_ml_testing::{SpanExt, SpansExt, TestTelemetry, assert_ended_once};

use super::{DROPPED, Ends, PANICKED};
use crate::support::series;

type Way = fn(Operation<Serving>);

fn panics(operation: &mut Operation<Serving>) {
    let caught = catch_unwind(AssertUnwindSafe(|| {
        operation.scope(|| panic!("on purpose"))
    }));
    assert!(caught.is_err());
}

/// Ways to end, and the outcome that each is.
const WAYS: [(&str, Way, Outcome); 9] = [
    ("finished", |op| op.finish(Outcome::Ok), Outcome::Ok),
    ("dropped", drop, DROPPED),
    (
        "ended twice",
        |mut op| {
            op.end(&Outcome::Ok);
            op.end(&PANICKED);
        },
        Outcome::Ok,
    ),
    (
        "ended, then finished",
        |mut op| {
            op.end(&PANICKED);
            op.finish(Outcome::Ok);
        },
        PANICKED,
    ),
    (
        "finished after work",
        |mut op| {
            op.scope(|| ());
            op.scope(|| ());
            op.finish(Outcome::Ok);
        },
        Outcome::Ok,
    ),
    // Whoever catches the panic may hold on to the operation, or finish it as if nothing was.
    (
        "panicked, dropped later",
        |mut op| {
            panics(&mut op);
            assert!(!std::thread::panicking());
        },
        PANICKED,
    ),
    (
        "panicked, finished later",
        |mut op| {
            panics(&mut op);
            op.finish(Outcome::Ok);
        },
        PANICKED,
    ),
    (
        "panicked in a later part of the work",
        |mut op| {
            op.scope(|| ());
            panics(&mut op);
            op.scope(|| ());
        },
        PANICKED,
    ),
    (
        "dropped while another panic unwinds",
        |op| {
            let caught = catch_unwind(AssertUnwindSafe(|| {
                let _op = op;
                panic!("elsewhere");
            }));
            assert!(caught.is_err());
        },
        DROPPED,
    ),
];

/// Ends, and a request in flight until then.
struct Serving(Ends, Option<InFlight>);

impl Record for Serving {
    fn record(&mut self, end: &mut End<'_>) {
        drop(self.1.take());
        self.0.record(end);
    }
}

fn start(telemetry: &Telemetry, ends: &Ends) -> Operation<Serving> {
    let in_flight = telemetry
        .instruments()
        .map(|it| it.http_server_active_requests.enter("GET", "https"));
    Operation::builder(telemetry, SpanKind::Server, "work".into())
        .handle(Handle::Recorded)
        .start(|| Serving(ends.clone(), in_flight), |_| ())
}

#[test]
fn e15_every_way_ends_once_is_measured_and_leaves_nothing_in_flight() {
    for (name, way, outcome) in WAYS {
        let (test, ends) = (TestTelemetry::new(), Ends::default());
        let active = http::metric::SERVER_ACTIVE_REQUESTS.name;
        let operation = start(&test.telemetry(), &ends);
        assert_eq!(test.metrics().sum(active).int(), 1, "{name}");
        assert_eq!(test.open_spans(), ["work"], "{name}");
        way(operation);

        let spans = test.spans();
        assert_ended_once(&spans);
        assert_eq!(spans.len(), 1, "{name}");
        assert!(test.open_spans().is_empty(), "{name}");
        assert_eq!(spans[0].int("late"), 1, "{name}");
        let told = ends.told();
        assert_eq!(told.len(), 1, "{name}");
        assert_eq!(told[0].outcome, outcome, "{name}");
        assert!(told[0].is_recording, "{name}");
        test.metrics().sum(active).assert_zero();
        let labels: Vec<_> = told[0]
            .error
            .iter()
            .map(|e| opentelemetry::KeyValue::new(error::TYPE, e.as_str().to_owned()))
            .collect();
        let measured = series(&test, &http::metric::SERVER_REQUEST_DURATION, &labels);
        assert_eq!(measured.count(), 1, "{name}");
    }
}

#[test]
fn every_way_is_measured_also_where_the_span_is_not_recorded() {
    for (name, way, outcome) in WAYS {
        let test = TestTelemetry::builder().always_off().build();
        let ends = Ends::default();
        way(start(&test.telemetry(), &ends));
        assert!(test.spans().is_empty(), "{name}");
        let told = ends.told();
        assert_eq!((told.len(), &told[0].outcome), (1, &outcome), "{name}");
        assert!(!told[0].is_recording, "{name}");
        let metrics = test.metrics();
        assert_eq!(
            metrics
                .histogram(http::metric::SERVER_REQUEST_DURATION.name)
                .count(),
            1
        );
        metrics
            .sum(http::metric::SERVER_ACTIVE_REQUESTS.name)
            .assert_zero();
    }
}

#[test]
fn where_nothing_is_installed_there_is_nothing_to_record() {
    let telemetry = Telemetry::builder()
        .without_traces()
        .without_metrics()
        .build();
    for (name, way, _) in WAYS {
        let ends = Ends::default();
        way(start(&telemetry, &ends));
        assert_eq!(ends.told(), [], "{name}");
    }
}

/// A transport that has seen the failure before its body was dropped.
struct Failed;

impl Record for Failed {
    fn record(&mut self, _end: &mut End<'_>) {}

    fn dropped(&self) -> Outcome {
        Outcome::Failed(ErrorType::from_status(503))
    }
}

#[test]
fn e16_an_error_that_is_known_when_it_is_dropped_stays_one() {
    let test = TestTelemetry::new();
    drop(
        Operation::builder(&test.telemetry(), SpanKind::Server, "work".into())
            .start(|| Failed, |_| ()),
    );
    let span = test.spans().named("work").clone();
    assert_eq!(span.str(error::TYPE), "503");
    assert!(!span.has("ml.cancel.reason"));
}

#[test]
fn e15_the_panic_goes_on_with_its_own_message() {
    let test = TestTelemetry::new();
    let mut operation = start(&test.telemetry(), &Ends::default());
    let payload = catch_unwind(AssertUnwindSafe(|| {
        operation.scope(|| panic!("the message"))
    }))
    .unwrap_err();
    assert_eq!(payload.downcast_ref::<&str>(), Some(&"the message"));
    let span = test.spans().named("work").clone();
    assert!(span.is_error());
    assert_eq!(span.str(error::TYPE), "panic");
    assert!(!span.has("ml.cancel.reason"));
}

#[test]
fn the_context_is_current_inside_and_only_there() {
    let test = TestTelemetry::new();
    let mut operation = start(&test.telemetry(), &Ends::default());
    let span = operation.span_context();
    assert!(span.is_valid());
    assert!(!Context::current().has_active_span());
    operation.scope(|| {
        assert_eq!(*Context::current().span().span_context(), span);
        assert!(MlSpan::current().is_recording());
    });
    assert!(!Context::current().has_active_span());
    operation.finish(Outcome::Ok);
}

#[test]
fn after_its_end_there_is_nothing_left_of_it() {
    let test = TestTelemetry::new();
    let mut operation = start(&test.telemetry(), &Ends::default());
    assert!(operation.record_mut().is_some());
    operation.end(&Outcome::Ok);
    assert!(operation.context().is_none());
    assert!(operation.record_mut().is_none());
    assert!(!operation.is_recording());
    assert_eq!(operation.span_context(), SpanContext::NONE);
    assert_eq!(operation.elapsed(), Duration::ZERO);
    assert!(!operation.scope(|| Context::current().has_active_span()));
}

#[test]
fn the_measured_duration_is_that_of_the_span() {
    let test = TestTelemetry::new();
    start(&test.telemetry(), &Ends::default()).finish(Outcome::Ok);
    let span = test.spans().named("work").duration().as_secs_f64();
    let measured = series(&test, &http::metric::SERVER_REQUEST_DURATION, &[]).sum();
    assert!((span - measured).abs() < 0.05, "{span} {measured}");
}

#[test]
fn one_whose_outcome_is_told_later_ends_as_of_then() {
    let test = TestTelemetry::new();
    let mut operation = start(&test.telemetry(), &Ends::default());
    let before = SystemTime::now();
    let then = Since::now();
    let after = SystemTime::now();
    // Until even a coarse clock has moved on.
    while SystemTime::now() <= after + Duration::from_millis(1) {}
    operation.end_as_of(then, &PANICKED);
    operation.end(&Outcome::Ok);
    let spans = test.spans();
    assert_ended_once(&spans);
    let span = spans.named("work");
    assert!((before..=after).contains(&span.end_time));
    assert_eq!(span.str(error::TYPE), "panic");
    let metrics = test.metrics();
    let measured = metrics.histogram(http::metric::SERVER_REQUEST_DURATION.name);
    let most = after.duration_since(span.start_time).unwrap();
    assert!(measured.one().sum() < (most + Duration::from_millis(1)).as_secs_f64());
}

/// Asks the operation's own handle while its span starts and ends.
#[derive(Debug)]
struct Curious;

impl SpanProcessor for Curious {
    fn on_start(&self, _span: &mut Span, cx: &Context) {
        MlSpan::from_context(cx).set("k", 1_i64);
        MlSpan::current().set("k", 1_i64);
    }

    fn on_end(&self, _span: SpanData) {
        assert!(!MlSpan::current().set("k", 1_i64).is_recording());
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _timeout: Duration) -> OTelSdkResult {
        Ok(())
    }
}

#[test]
fn e37_a_span_processor_may_use_the_handle() {
    let provider = SdkTracerProvider::builder()
        .with_span_processor(Curious)
        .build();
    let telemetry = Telemetry::builder()
        .tracer_provider(&provider)
        .without_metrics()
        .build();
    let (done, wait) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let operation = start(&telemetry, &Ends::default());
        let _attached = operation.context().cloned().unwrap().attach();
        operation.finish(Outcome::Ok);
        done.send(()).unwrap();
    });
    assert_eq!(wait.recv_timeout(Duration::from_secs(10)), Ok(()));
}

/// Panics whenever a span ends.
#[derive(Debug)]
struct Panics;

impl SpanProcessor for Panics {
    fn on_start(&self, _span: &mut Span, _cx: &Context) {}

    fn on_end(&self, _span: SpanData) {
        panic!("a broken processor");
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _timeout: Duration) -> OTelSdkResult {
        Ok(())
    }
}

/// Met again while unwinding, the processor's panic would end the process.
#[test]
fn e15_a_span_processor_that_panics_is_met_once() {
    let provider = SdkTracerProvider::builder()
        .with_span_processor(Panics)
        .build();
    let telemetry = Telemetry::builder()
        .tracer_provider(&provider)
        .without_metrics()
        .build();
    let ends = Ends::default();
    let operation = start(&telemetry, &ends);
    let caught = catch_unwind(AssertUnwindSafe(|| operation.finish(Outcome::Ok)));
    assert!(caught.is_err());
    assert_eq!(ends.told().len(), 1);
}

/// Asks for the operation that it is the record of.
struct AsksBack;

impl Record for AsksBack {
    fn record(&mut self, _end: &mut End<'_>) {
        assert!(!MlSpan::current().is_recording());
        MlSpan::current().output_tokens(9);
    }
}

/// After a panic the record is made in the operation's context: no lock is held then.
#[test]
fn e15_a_record_may_ask_for_its_operation() {
    let test = TestTelemetry::new();
    let telemetry = test.telemetry();
    let mut operation = Operation::builder(&telemetry, SpanKind::Internal, "x".into())
        .handle(Handle::Always)
        .start(|| AsksBack, |_| ());
    let caught = catch_unwind(AssertUnwindSafe(|| {
        operation.scope(|| {
            MlSpan::current().output_tokens(7);
            panic!("on purpose")
        })
    }));
    assert!(caught.is_err());
    let spans = test.spans();
    assert_eq!(spans.root().int("gen_ai.usage.output_tokens"), 7);
}
