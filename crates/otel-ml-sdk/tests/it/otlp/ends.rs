//! Shutdown comes to an end, and what was lost is counted.

use std::net::TcpListener;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use opentelemetry::logs::{Logger as _, LoggerProvider as _};
use opentelemetry::trace::{Tracer as _, TracerProvider as _};
use otel_ml_sdk::{Batch, Exported, Guard, Protocol, Report};

use super::sink::{Manners, Sink};
use super::{LONG, PROTOCOLS, patient, sending, sending_to, within};

const SPANS: u64 = 1000;

fn record(guard: &Guard) {
    let tracer = guard.tracer_provider().unwrap().tracer("test");
    for _ in 0..SPANS {
        drop(tracer.start("work"));
    }
}

fn all(spans: Exported) -> u64 {
    spans.exported + spans.failed + spans.dropped
}

/// Nobody listens there: the port was free a moment ago.
fn nowhere() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

fn shut_down(endpoint: String, protocol: Protocol, allowed: Duration) -> Report {
    within(move || {
        let guard = patient(sending_to(endpoint, protocol))
            .span_batches(Batch::new().queue_size(600).batch_size(100).delay(LONG))
            .shutdown_within(allowed)
            .build()
            .unwrap();
        record(&guard);
        guard.shutdown()
    })
}

#[test]
fn with_no_collector_there_everything_is_lost_and_counted() {
    for protocol in PROTOCOLS {
        let report = shut_down(nowhere(), protocol, LONG);
        assert!(report.in_time, "{protocol:?}");
        assert_eq!(report.spans.exported, 0);
        assert!(report.spans.failed > 0);
        assert_eq!(all(report.spans), SPANS);
    }
}

#[test]
fn a_collector_that_refuses_costs_the_spans_and_no_time() {
    for protocol in PROTOCOLS {
        let sink = Sink::start(protocol, Manners::Rejects);
        let report = shut_down(sink.endpoint(), protocol, LONG);
        assert!(report.in_time, "{protocol:?}");
        assert_eq!(report.spans.exported, 0);
        assert_eq!(all(report.spans), SPANS);
    }
}

#[test]
fn a_collector_that_never_answers_is_not_waited_for() {
    for protocol in PROTOCOLS {
        let sink = Sink::start(protocol, Manners::Hangs);
        let report = shut_down(sink.endpoint(), protocol, Duration::from_millis(200));
        assert!(!report.in_time, "{protocol:?}");
        assert_eq!(report.spans.exported, 0);
        assert_eq!(all(report.spans), SPANS);
    }
}

#[test]
fn a_healthy_collector_gets_all_that_fits_the_queue() {
    for protocol in PROTOCOLS {
        let sink = Sink::start(protocol, Manners::Takes);
        let report = shut_down(sink.endpoint(), protocol, LONG);
        assert!(report.in_time);
        assert!(report.spans.exported >= 600, "{:?}", report.spans);
        assert_eq!(report.spans.failed, 0);
        assert_eq!(all(report.spans), SPANS);
        let taken = sink.taken();
        let spans = taken
            .traces
            .iter()
            .flat_map(|request| &request.resource_spans);
        let spans = spans.flat_map(|resource| &resource.scope_spans);
        let arrived: usize = spans.map(|scope| scope.spans.len()).sum();
        assert_eq!(arrived as u64, report.spans.exported);
    }
}

#[test]
fn it_ends_on_a_runtime_of_one_thread() {
    for protocol in PROTOCOLS {
        let sink = Sink::start(protocol, Manners::Takes);
        let endpoint = sink.endpoint();
        let report = within(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let guard = patient(sending_to(endpoint, protocol)).build().unwrap();
                drop(guard.tracer_provider().unwrap().tracer("t").start("work"));
                guard.shutdown()
            })
        });
        assert!(report.in_time, "{protocol:?}");
        assert_eq!(report.spans.exported, 1);
    }
}

#[test]
fn it_ends_while_a_panic_unwinds() {
    for protocol in PROTOCOLS {
        let sink = Sink::start(protocol, Manners::Takes);
        let builder = patient(sending(&sink, protocol));
        within(move || {
            let caught = catch_unwind(AssertUnwindSafe(|| {
                let guard = builder.build().unwrap();
                drop(guard.tracer_provider().unwrap().tracer("t").start("work"));
                panic!("the application");
            }));
            assert!(caught.is_err());
        });
        assert_eq!(sink.taken().traces.len(), 1, "{protocol:?}");
    }
}

#[test]
fn what_is_recorded_after_the_end_is_not_missed_by_anyone() {
    let sink = Sink::start(Protocol::HttpProtobuf, Manners::Takes);
    let guard = patient(sending(&sink, Protocol::HttpProtobuf))
        .build()
        .unwrap();
    let tracers = guard.tracer_provider().unwrap().clone();
    let loggers = guard.logger_provider().unwrap().clone();
    guard.shutdown();
    drop(tracers.tracer("t").start("late"));
    assert!(tracers.shutdown().is_err());
    assert!(loggers.shutdown().is_err());
}

#[test]
fn a_destination_that_hangs_costs_the_others_nothing() {
    let (hanging, healthy) = (
        Sink::start(Protocol::HttpProtobuf, Manners::Hangs),
        Sink::start(Protocol::HttpProtobuf, Manners::Takes),
    );
    let traces = format!("{}/v1/traces", hanging.endpoint());
    let logs = format!("{}/v1/logs", healthy.endpoint());
    let report = within(move || {
        let builder = otel_ml_sdk::builder()
            .variables(move |name| match name {
                "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT" => Some(traces.clone()),
                "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT" => Some(logs.clone()),
                "OTEL_METRICS_EXPORTER" => Some("NONE".to_owned()),
                "OTEL_EXPORTER_OTLP_PROTOCOL" => Some("HTTP/protobuf".to_owned()),
                _ => None,
            })
            .shutdown_within(Duration::from_secs(1));
        let guard = patient(builder).build().unwrap();
        drop(guard.tracer_provider().unwrap().tracer("t").start("work"));
        let logger = guard.logger_provider().unwrap().logger("t");
        logger.emit(logger.create_log_record());
        guard.shutdown()
    });
    assert!(!report.in_time);
    assert_eq!(report.spans.exported, 0);
    assert_eq!(report.log_records.exported, 1);
    assert_eq!(healthy.taken().logs.len(), 1);
}
