//! The Collector is there and takes nothing.

use std::time::Duration;

use otel_ml::opentelemetry::KeyValue;
use otel_ml::opentelemetry::metrics::MeterProvider as _;
use otel_ml_sdk::{Batch, Otlp, Protocol, Report};
use serde_json::json;

use crate::hanging::Hanging;
use crate::otelcol::Collector;
use crate::service::{record, serve, write};
use crate::{AT_ONCE, BY_DEFAULT, LONG, all, over_both, patient, to, within};

const SPANS: usize = 1000;
const RECORDS: usize = 700;

/// Records more than the queues hold, and shuts down in the time allowed. The start is over at
/// once, and so is the end where little time is allowed for it.
fn lose(otlp: Otlp, allowed: Duration) -> Report {
    let queue = Batch::new().queue_size(300).batch_size(100).delay(LONG);
    let builder = patient(otlp)
        .span_batches(queue)
        .log_batches(queue)
        .shutdown_within(allowed);
    let guard = within(AT_ONCE, || builder.build().unwrap());
    record(&guard, SPANS);
    write(&guard, RECORDS);
    within(allowed + AT_ONCE, || guard.shutdown())
}

fn assert_all_lost(report: &Report) {
    assert_eq!(report.spans.exported, 0, "{:?}", report.spans);
    assert_eq!(all(report.spans), SPANS as u64);
    assert_eq!(all(report.log_records), RECORDS as u64);
}

#[test]
fn one_that_never_answers_is_not_waited_for_at_the_end() {
    over_both(|protocol| {
        let hanging = Hanging::start();
        let paused = Collector::new().started();
        paused.pause();
        for endpoint in [hanging.endpoint(), paused.endpoint(protocol)] {
            let otlp = to(endpoint, protocol).timeout(LONG);
            let report = lose(otlp, Duration::from_millis(300));
            assert!(!report.in_time, "{report:?}");
            assert_all_lost(&report);
            assert_eq!(report.log_records.exported, 0);
            assert_eq!(report.metric_points.exported, 0);
        }
    });
}

/// The SDK counts what its queues drop by the global meter alone: here there is one instrument.
#[test]
fn metric_points_are_lost_and_counted_as_well() {
    over_both(|protocol| {
        let collector = Collector::new().started();
        collector.pause();
        let otlp = to(collector.endpoint(protocol), protocol).timeout(LONG);
        let builder = patient(otlp).traces_to([]).logs_to([]);
        let builder = builder.shutdown_within(Duration::from_millis(300));
        let guard = within(AT_ONCE, || builder.build().unwrap());
        let meter = guard.meter_provider().unwrap().meter("load");
        let counter = meter.u64_counter("calls").build();
        for call in 0..20 {
            counter.add(1, &[KeyValue::new("call", call)]);
        }
        let report = within(AT_ONCE, || guard.shutdown());
        assert!(!report.in_time, "{report:?}");
        let points = report.metric_points;
        assert_eq!((points.exported, all(points)), (0, 20), "{points:?}");
    });
}

#[test]
fn one_that_never_answers_costs_each_batch_the_time_of_an_export() {
    over_both(|protocol| {
        let hanging = Hanging::start();
        let otlp = to(hanging.endpoint(), protocol).timeout(Duration::from_millis(300));
        let report = lose(otlp, LONG);
        assert!(report.in_time);
        assert_all_lost(&report);
        assert!(report.spans.failed >= 300, "the queue: {:?}", report.spans);
        assert!(report.log_records.failed >= 300, "{report:?}");
    });
}

#[test]
fn one_without_traces_refuses_them_for_good_and_takes_the_rest() {
    over_both(|protocol| {
        let collector = Collector::new().with(|config| {
            let pipelines = config["service"]["pipelines"].as_object_mut().unwrap();
            pipelines.remove("traces");
        });
        let collector = collector.started();
        let guard = patient(to(collector.endpoint(protocol), protocol))
            .build()
            .unwrap();
        serve(&guard);
        let report = within(BY_DEFAULT, || guard.shutdown());
        assert!(report.in_time);
        assert_eq!((report.spans.exported, report.spans.failed), (0, 3));
        assert_eq!(report.log_records.exported, 1);
        let received = collector.received();
        assert_eq!(received.spans.len(), 0);
        assert_eq!(received.records.len(), 1);
        assert!(!received.metrics.is_empty());
    });
}

#[test]
fn one_that_wants_less_at_once_loses_what_is_more() {
    let collector = Collector::new()
        .with(|config| {
            let http = &mut config["receivers"]["otlp"]["protocols"]["http"];
            http["max_request_body_size"] = json!(100);
        })
        .started();
    let http = Protocol::HttpProtobuf;
    let report = lose(to(collector.endpoint(http), http), LONG);
    assert!(report.in_time);
    assert_all_lost(&report);
    assert!(report.spans.failed >= 300, "the queue: {:?}", report.spans);
    assert!(collector.received().spans.is_empty());
}

/// It says that it may be tried again, for as long as it is asked.
#[test]
fn one_that_is_out_of_memory_is_tried_again_but_not_forever() {
    over_both(|protocol| {
        let collector = Collector::new().with(|config| {
            // The program itself takes more.
            config["processors"]["memory_limiter"] =
                json!({"check_interval": "10ms", "limit_mib": 1});
            let traces = &mut config["service"]["pipelines"]["traces"];
            traces["processors"] = json!(["memory_limiter"]);
        });
        let collector = collector.started();
        collector.wait_for("Refusing data");
        let report = lose(to(collector.endpoint(protocol), protocol), LONG);
        assert!(report.in_time);
        assert_all_lost(&report);
        assert!(report.spans.failed >= 300, "the queue: {:?}", report.spans);
        assert!(collector.received().spans.is_empty());
    });
}
