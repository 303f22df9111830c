//! What a Collector took in part, and metric points that never got there: lost, and counted.

use std::time::{Duration, Instant};

use opentelemetry::KeyValue;
use opentelemetry::metrics::MeterProvider as _;
use opentelemetry::trace::{Tracer as _, TracerProvider as _};
use opentelemetry_proto::tonic::common::v1::{AnyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value;
use otel_ml_sdk::{Builder, Guard, Protocol};

use super::sink::{Manners, Sink};
use super::{LONG, PROTOCOLS, patient, sending, sending_within, within};

fn count(guard: &Guard, calls: std::ops::Range<i64>) {
    let meter = guard.meter_provider().unwrap().meter("test");
    let counter = meter.u64_counter("calls").build();
    for call in calls {
        counter.add(1, &[KeyValue::new("call", call)]);
    }
}

/// Metrics alone: each series is one point of an export. It ends before an export is
/// given up.
fn counting(sink: &Sink, protocol: Protocol) -> Builder {
    sending_within(LONG, sink.endpoint(), protocol)
        .traces_to([])
        .logs_to([])
        .metric_interval(LONG)
        .shutdown_within(Duration::from_millis(100))
}

#[test]
fn metric_points_that_are_under_way_at_the_end_are_lost_and_counted() {
    for protocol in PROTOCOLS {
        let sink = Sink::start(protocol, Manners::Hangs);
        let guard = counting(&sink, protocol).build().unwrap();
        count(&guard, 0..3);
        let report = within(move || guard.shutdown());
        assert!(!report.in_time, "{protocol:?}");
        let points = report.metric_points;
        assert_eq!((points.exported, points.failed, points.waiting), (0, 0, 0));
        assert_eq!(points.dropped, 3, "{protocol:?}");
    }
}

#[test]
fn metric_points_for_which_no_export_is_left_are_lost_and_counted() {
    for protocol in PROTOCOLS {
        let sink = Sink::start(protocol, Manners::Hangs);
        let guard = counting(&sink, protocol).build().unwrap();
        count(&guard, 0..3);
        assert!(!guard.flush(Duration::ZERO));
        let under_way = || guard.report().metric_points.waiting == 3;
        let deadline = Instant::now() + LONG;
        while !under_way() {
            assert!(Instant::now() < deadline, "{:?}", guard.report());
            std::thread::yield_now();
        }
        // They come too late for that export, and the next one never begins.
        count(&guard, 3..5);
        let report = within(move || guard.shutdown());
        assert!(!report.in_time, "{protocol:?}");
        let points = report.metric_points;
        assert_eq!((points.exported, points.failed), (0, 0));
        assert_eq!(points.dropped, 3 + 5, "{protocol:?}");
    }
}

#[test]
fn metric_points_that_were_exported_are_not_lost() {
    for protocol in PROTOCOLS {
        let sink = Sink::start(protocol, Manners::Takes);
        let guard = counting(&sink, protocol)
            .shutdown_within(LONG)
            .build()
            .unwrap();
        count(&guard, 0..3);
        let report = within(move || guard.shutdown());
        assert!(report.in_time, "{protocol:?}");
        let points = report.metric_points;
        assert_eq!((points.exported, points.failed, points.dropped), (3, 0, 0));
    }
}

/// gRPC's exporter does not tell.
#[test]
fn what_a_collector_takes_in_part_is_counted_as_lost_over_http() {
    let protocol = Protocol::HttpProtobuf;
    let sink = Sink::start(protocol, Manners::TakesInPart);
    let guard = patient(sending(&sink, protocol)).build().unwrap();
    let tracer = guard.tracer_provider().unwrap().tracer("test");
    for _ in 0..3 {
        drop(tracer.start("work"));
    }
    let report = within(move || guard.shutdown());
    assert_eq!((report.spans.exported, report.spans.failed), (2, 1));
    assert_eq!(report.metric_points.failed, 1);
    let taken = sink.taken();
    let exported = taken
        .metrics
        .iter()
        .flat_map(|request| &request.resource_metrics)
        .flat_map(|resource| &resource.scope_metrics)
        .flat_map(|scope| &scope.metrics)
        .find(|metric| metric.name == "otel.sdk.exporter.span.exported");
    let Some(Data::Sum(sum)) = &exported.unwrap().data else {
        panic!("no sum: {exported:?}");
    };
    let mut counts: Vec<_> = sum
        .data_points
        .iter()
        .map(|point| {
            let labels = point.attributes.iter();
            let error = labels.clone().find(|label| label.key == "error.type");
            (error.and_then(|error| error.value.clone()), point.value)
        })
        .collect();
    counts.sort_by_key(|(error, _)| error.is_some());
    let rejected = AnyValue {
        value: Some(any_value::Value::StringValue("rejected".to_owned())),
    };
    assert_eq!(
        counts,
        [
            (None, Some(Value::AsInt(2))),
            (Some(rejected), Some(Value::AsInt(1)))
        ]
    );
}
