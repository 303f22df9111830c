//! What variables and code say, and what is said of what won't do.

use opentelemetry::metrics::{Meter, MeterProvider as _};
use opentelemetry::trace::{Span as _, Tracer as _, TracerProvider as _};
use opentelemetry::{Context, Key, KeyValue, Value};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::metrics::InMemoryMetricExporter;
use opentelemetry_sdk::metrics::data::{AggregatedMetrics, MetricData, ResourceMetrics};
use opentelemetry_sdk::trace::{Span, SpanData, SpanProcessor};
use otel_ml_sdk::otel_ml::semconv::metric::boundaries::MODEL_SECONDS;
use otel_ml_sdk::{Batch, Builder, Destination, ErrorKind, builder};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::alone::alone;

pub(crate) type Variables = &'static [(&'static str, &'static str)];

/// Nothing is sent anywhere.
pub(crate) fn quiet(variables: Variables) -> Builder {
    reading(variables).traces_to([]).metrics_to([]).logs_to([])
}

fn reading(variables: Variables) -> Builder {
    builder().variables(move |name| {
        let found = variables.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| (*value).to_owned())
    })
}

/// Keeps the resource that the provider has, and what ends.
#[derive(Clone, Debug, Default)]
struct Keeps(Arc<Mutex<(Option<Resource>, Vec<SpanData>)>>);

impl SpanProcessor for Keeps {
    fn on_start(&self, _span: &mut Span, _cx: &Context) {}

    fn on_end(&self, span: SpanData) {
        self.0.lock().unwrap().1.push(span);
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _timeout: Duration) -> OTelSdkResult {
        Ok(())
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.0.lock().unwrap().0 = Some(resource.clone());
    }
}

fn resource(builder: Builder) -> Resource {
    let keeps = Keeps::default();
    let guard = builder.span_processor(keeps.clone()).build().unwrap();
    drop(guard);
    let resource = keeps.0.lock().unwrap().0.clone();
    resource.unwrap()
}

fn text(resource: &Resource, key: &'static str) -> Option<String> {
    match resource.get(&Key::from_static_str(key))? {
        Value::String(text) => Some(text.as_str().to_owned()),
        other => panic!("{key} is {other:?}"),
    }
}

#[test]
fn code_is_over_variables_over_what_is_found() {
    let variables: Variables = &[
        ("OTEL_SERVICE_NAME", "by-name"),
        (
            "OTEL_RESOURCE_ATTRIBUTES",
            "service.name=by-list,team=a%2Cb,host.name=told,deployment.environment=test",
        ),
    ];
    let by_variables = resource(quiet(variables));
    assert_eq!(text(&by_variables, "service.name").unwrap(), "by-name");
    assert_eq!(text(&by_variables, "team").unwrap(), "a,b");
    assert_eq!(text(&by_variables, "host.name").unwrap(), "told");
    let environment = text(&by_variables, "deployment.environment.name");
    assert_eq!(environment.unwrap(), "test");
    let by_code = resource(
        quiet(variables)
            .service_name("by-code")
            .service_namespace("shop")
            .service_version("1.2")
            .environment("production")
            .attribute(KeyValue::new("team", "c")),
    );
    assert_eq!(text(&by_code, "service.name").unwrap(), "by-code");
    assert_eq!(text(&by_code, "service.namespace").unwrap(), "shop");
    assert_eq!(text(&by_code, "service.version").unwrap(), "1.2");
    assert_eq!(text(&by_code, "team").unwrap(), "c");
    let environment = text(&by_code, "deployment.environment.name");
    assert_eq!(environment.unwrap(), "production");
    assert_eq!(
        by_code.schema_url(),
        Some(otel_ml_sdk::otel_ml::semconv::SCHEMA_URL)
    );
}

#[test]
fn an_instance_has_an_id_and_a_service_a_name_unless_told_otherwise() {
    let found = resource(quiet(&[]));
    assert!(
        text(&found, "service.name")
            .unwrap()
            .starts_with("unknown_service:")
    );
    assert_eq!(text(&found, "service.instance.id").unwrap().len(), 36);
    for arguments in [
        "process.command_args",
        "process.command_line",
        "process.command",
    ] {
        let arguments = Key::from_static_str(arguments);
        assert_eq!(found.get(&arguments), None, "they may be credentials");
    }
    let bare = resource(quiet(&[]).without_detectors());
    assert_eq!(text(&bare, "service.instance.id"), None);
    assert_eq!(text(&bare, "host.name"), None);
}

#[test]
fn a_pod_is_named_in_kubernetes_alone() {
    let host = [("HOSTNAME", "ranker-7"), ("NODE_NAME", "node-1")];
    alone("settings::naming_no_pod", &host);
    let in_kubernetes = [host[0], host[1], ("KUBERNETES_SERVICE_HOST", "10.0.0.1")];
    alone("settings::naming_a_pod", &in_kubernetes);
}

fn found() -> [Option<String>; 2] {
    let builder = builder().traces_to([]).metrics_to([]).logs_to([]);
    let found = resource(builder);
    ["k8s.pod.name", "k8s.node.name"].map(|key| text(&found, key))
}

#[test]
#[ignore = "run by the test above"]
fn naming_no_pod() {
    assert_eq!(found(), [None, None]);
}

#[test]
#[ignore = "run by the test above"]
fn naming_a_pod() {
    assert_eq!(
        found(),
        ["ranker-7", "node-1"].map(|name| Some(name.to_owned()))
    );
}

#[test]
fn what_will_not_do_is_named_with_what_is_wanted() {
    let cases: &[(Variables, &str, &str)] = &[
        (
            &[("OTEL_SDK_DISABLED", "yes")],
            "OTEL_SDK_DISABLED",
            "`true`",
        ),
        (
            &[("OTEL_RESOURCE_ATTRIBUTES", "alone")],
            "OTEL_RESOURCE_ATTRIBUTES",
            "key=value",
        ),
        (
            &[("OTEL_RESOURCE_ATTRIBUTES", "=x")],
            "OTEL_RESOURCE_ATTRIBUTES",
            "key=value",
        ),
        (
            &[("OTEL_PROPAGATORS", "tracecontext,b3")],
            "OTEL_PROPAGATORS",
            "Builder::propagator",
        ),
        (
            &[("OTEL_TRACES_SAMPLER", "sometimes")],
            "OTEL_TRACES_SAMPLER",
            "`always_on`",
        ),
        (
            &[("OTEL_TRACES_SAMPLER", "xray")],
            "OTEL_TRACES_SAMPLER",
            "`always_on`",
        ),
        (
            &[
                ("OTEL_TRACES_SAMPLER", "traceidratio"),
                ("OTEL_TRACES_SAMPLER_ARG", "2"),
            ],
            "OTEL_TRACES_SAMPLER_ARG",
            "0 to 1",
        ),
        (
            &[("OTEL_BSP_MAX_QUEUE_SIZE", "0")],
            "OTEL_BSP_MAX_QUEUE_SIZE",
            "at least 1",
        ),
        (
            &[("OTEL_BSP_SCHEDULE_DELAY", "0")],
            "OTEL_BSP_SCHEDULE_DELAY",
            "at least 1",
        ),
        (
            &[("OTEL_BSP_SCHEDULE_DELAY", "5s")],
            "OTEL_BSP_SCHEDULE_DELAY",
            "milliseconds",
        ),
        (
            &[("OTEL_SPAN_LINK_COUNT_LIMIT", "-1")],
            "OTEL_SPAN_LINK_COUNT_LIMIT",
            "whole number",
        ),
        (
            &[("OTEL_TRACES_EXPORTER", "zipkin")],
            "OTEL_TRACES_EXPORTER",
            "`otlp`",
        ),
        (
            &[("OTEL_METRICS_EXPORTER", "prometheus")],
            "OTEL_METRICS_EXPORTER",
            "`console`",
        ),
        (
            &[("OTEL_LOGS_EXPORTER", "file")],
            "OTEL_LOGS_EXPORTER",
            "`none`",
        ),
    ];
    for (variables, name, wanted) in cases {
        let exporters = variables
            .iter()
            .any(|(name, _)| name.ends_with("_EXPORTER"));
        let builder = if exporters {
            reading(variables)
        } else {
            quiet(variables)
        };
        let error = builder
            .span_processor(Keeps::default())
            .build()
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Setting, "{name}");
        let message = error.to_string();
        assert!(
            message.contains(name) && message.contains(wanted),
            "{message}"
        );
    }
}

#[test]
fn a_value_for_other_languages_can_be_left_out_or_said_what_it_means() {
    let for_all = |name: &str| match name {
        "OTEL_TRACES_SAMPLER" => Some("xray".to_owned()),
        "OTEL_PROPAGATORS" => Some("tracecontext,b3".to_owned()),
        _ => None,
    };
    let mine = move |name: &str| for_all(name).filter(|value| value != "xray");
    let quiet = || quiet(&[]).span_processor(Keeps::default());
    let reading = || quiet().variables(mine);
    let error = reading().build().unwrap_err().to_string();
    assert!(error.contains("OTEL_PROPAGATORS: `b3`"), "{error}");
    let b3 = || otel_ml_sdk::otel_ml::propagation::W3cPropagator::new();
    assert!(reading().propagator("b3", b3()).build().is_ok());
    let all = quiet().variables(for_all).propagator("b3", b3()).build();
    let error = all.unwrap_err().to_string();
    assert!(error.contains("OTEL_TRACES_SAMPLER: `xray`"), "{error}");
}

#[test]
fn switched_off_nothing_is_there_and_all_goes_on() {
    let guard = reading(&[("OTEL_SDK_DISABLED", "TRUE")]).build().unwrap();
    assert!(guard.tracer_provider().is_none());
    assert!(guard.meter_provider().is_none());
    assert!(guard.logger_provider().is_none());
    assert!(!guard.telemetry().is_tracing());
    assert!(guard.flush(Duration::ZERO));
    assert!(guard.shutdown().in_time);
}

#[test]
fn a_signal_that_goes_nowhere_has_no_provider() {
    let none: Variables = &[
        ("OTEL_TRACES_EXPORTER", "none"),
        ("OTEL_METRICS_EXPORTER", "none"),
        ("OTEL_LOGS_EXPORTER", "none"),
    ];
    let guard = reading(none).build().unwrap();
    assert!(guard.tracer_provider().is_none());
    assert!(guard.meter_provider().is_none());
    assert!(guard.logger_provider().is_none());
    let guard = reading(none)
        .metrics_to([Destination::Console])
        .build()
        .unwrap();
    assert!(guard.meter_provider().is_some());
}

#[test]
fn the_sampler_is_the_one_asked_for() {
    for (variables, is_recorded) in [
        (&[] as Variables, true),
        (&[("OTEL_TRACES_SAMPLER", "always_off")], false),
        (&[("OTEL_TRACES_SAMPLER", "parentbased_always_on")], true),
        (
            &[
                ("OTEL_TRACES_SAMPLER", "parentbased_traceidratio"),
                ("OTEL_TRACES_SAMPLER_ARG", "0"),
            ],
            false,
        ),
    ] {
        let guard = quiet(variables)
            .span_processor(Keeps::default())
            .build()
            .unwrap();
        let tracer = guard.tracer_provider().unwrap().tracer("test");
        assert_eq!(
            tracer.start("work").is_recording(),
            is_recorded,
            "{variables:?}"
        );
    }
}

#[test]
fn limits_of_a_span_are_as_told() {
    let keeps = Keeps::default();
    let variables: Variables = &[("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "2")];
    let guard = quiet(variables)
        .span_processor(keeps.clone())
        .build()
        .unwrap();
    let mut span = guard
        .tracer_provider()
        .unwrap()
        .tracer("test")
        .start("work");
    span.set_attributes((0..5).map(|n| KeyValue::new(format!("k{n}"), n)));
    span.end();
    let kept = keeps.0.lock().unwrap();
    assert_eq!(kept.1[0].attributes.len(), 2);
    assert_eq!(kept.1[0].dropped_attributes_count, 3);
}

#[test]
fn a_queue_of_nothing_is_refused_in_code_too() {
    let error = builder()
        .variables(|_| None)
        .traces_to([Destination::Console])
        .metrics_to([])
        .logs_to([])
        .span_batches(Batch::new().queue_size(0))
        .build()
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Setting);
}

#[test]
fn a_limit_of_no_series_is_refused() {
    let error = quiet(&[]).metrics_to([Destination::Console]);
    let error = error.cardinality_limit(0).build().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Setting);
    let message = error.to_string();
    assert!(message.contains("cardinality_limit") && message.contains("at least 1"));
}

fn exported(limit: Option<usize>, record: impl Fn(&Meter)) -> Vec<ResourceMetrics> {
    let exporter = InMemoryMetricExporter::default();
    let builder = quiet(&[]).metric_exporter(exporter.clone());
    let builder = match limit {
        Some(limit) => builder.cardinality_limit(limit),
        None => builder,
    };
    let guard = builder.build().unwrap();
    record(&guard.meter_provider().unwrap().meter("somebody elses"));
    assert!(guard.flush(Duration::from_secs(10)));
    exporter.get_finished_metrics().unwrap()
}

#[test]
fn whoever_made_a_histogram_it_has_the_advised_bounds() {
    let metrics = exported(None, |meter| {
        let histogram = meter
            .f64_histogram("gen_ai.server.request.duration")
            .build();
        histogram.record(0.3, &[]);
        meter.f64_histogram("my.own").build().record(0.3, &[]);
    });
    let bounds = |name: &str| {
        let scopes = metrics.iter().flat_map(ResourceMetrics::scope_metrics);
        let metric = scopes
            .flat_map(|scope| scope.metrics())
            .find(|metric| metric.name() == name)
            .unwrap();
        let AggregatedMetrics::F64(MetricData::Histogram(histogram)) = metric.data() else {
            panic!("{name} is no histogram of doubles");
        };
        let point = histogram.data_points().next().unwrap();
        point.bounds().collect::<Vec<_>>()
    };
    assert_eq!(bounds("gen_ai.server.request.duration"), MODEL_SECONDS);
    assert_ne!(bounds("my.own"), MODEL_SECONDS);
}

#[test]
fn the_series_of_an_instrument_are_limited() {
    let metrics = exported(Some(3), |meter| {
        let counter = meter.u64_counter("calls").build();
        for user in 0..20 {
            counter.add(1, &[KeyValue::new("user", user)]);
        }
    });
    let scopes = metrics.iter().flat_map(ResourceMetrics::scope_metrics);
    let metric = scopes.flat_map(|scope| scope.metrics()).next().unwrap();
    let AggregatedMetrics::U64(MetricData::Sum(sum)) = metric.data() else {
        panic!("no sum");
    };
    assert!(sum.data_points().count() <= 5);
    assert_eq!(
        sum.data_points().map(|point| point.value()).sum::<u64>(),
        20
    );
    let is_overflow = |label: &KeyValue| label.key.as_str() == "otel.metric.overflow";
    assert!(
        sum.data_points()
            .any(|point| point.attributes().any(is_overflow))
    );
}
