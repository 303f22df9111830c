//! Where an application joins in: filters, names, attributes, labels, bounds.

use std::borrow::Cow;
use std::convert::Infallible;
use std::future::ready;
use std::sync::{Arc, Mutex};

use http::HeaderName;
use http::{Request, Response};
use opentelemetry_sdk::trace::{SamplingDecision, SamplingResult, ShouldSample, SpanLimits};
use otel_ml::opentelemetry::trace::{Link, SpanKind, TraceId, TraceState};
use otel_ml::opentelemetry::{Context, KeyValue};
use otel_ml::{Attributes, Detail, ErrorType, MlSpan};
use otel_ml_testing::mock::{MockBody, MockError};
use otel_ml_testing::{SpanExt as _, SpansExt as _, TestTelemetry};
use otel_ml_tower::{RequestHead, Route};
use tower::{Layer as _, Service as _, service_fn};

use crate::support::{
    UNSAMPLED, client, exchange, get, head_of, poll_frame, request, run, server, status, trace_id,
};

const DURATION: &str = "http.server.request.duration";

#[test]
fn a_name_of_ones_own_where_there_is_one() {
    let name = |parts: &RequestHead<'_>| -> Option<Cow<'static, str>> {
        (parts.uri.path() == "/infer").then(|| "infer".into())
    };
    for (path, expected) in [("/infer", "infer"), ("/other", "POST /other")] {
        let test = TestTelemetry::new();
        let mut request = request("POST", path, &[]);
        request.extensions_mut().insert(Route("/other"));
        exchange(&server(&test).span_name(name).build(), request, status(200));
        assert_eq!(test.spans().root().name, expected);
        let spans = test.spans();
        assert_eq!(spans.root().str("http.route"), "/other");
    }
}

#[test]
fn attributes_of_ones_own_are_on_spans_and_labels_only_where_asked_for() {
    let tenant = |parts: &RequestHead<'_>, to: &mut Attributes| {
        to.push("app.tenant", parts.uri.host().unwrap_or("none").to_owned());
    };
    let class = |_: &RequestHead<'_>, to: &mut Attributes| to.push("app.class", "batch");
    let test = TestTelemetry::new();
    let layer = server(&test)
        .attributes(tenant)
        .metric_attributes(class)
        .build();
    exchange(&layer, request("GET", "http://acme/", &[]), status(200));
    let spans = test.spans();
    assert_eq!(spans.root().str("app.tenant"), "acme");
    assert!(!spans.root().has("app.class"));
    let metrics = test.metrics();
    let keys = metrics
        .histogram(DURATION)
        .with("app.class", "batch")
        .one()
        .label_keys()
        .len();
    assert_eq!(keys, 5, "the four of the conventions and one more");
    let active = metrics.sum("http.server.active_requests");
    assert_eq!(
        active.one().label_keys(),
        ["http.request.method", "url.scheme"]
    );
}

#[test]
fn hooks_of_unsampled_requests_push_no_attributes_and_metrics_still_count() {
    let test = TestTelemetry::new();
    let spans_hook =
        |_: &RequestHead<'_>, _: &mut Attributes| unreachable!("the span is not recorded");
    let labels = |_: &RequestHead<'_>, to: &mut Attributes| to.push("app.class", "batch");
    let layer = server(&test)
        .attributes(spans_hook)
        .metric_attributes(labels)
        .build();
    exchange(&layer, get(&[("traceparent", UNSAMPLED)]), status(200));
    let metrics = test.metrics();
    assert_eq!(
        metrics
            .histogram(DURATION)
            .with("app.class", "batch")
            .count(),
        1
    );
}

#[test]
fn a_handler_does_not_write_what_a_hook_or_baggage_wrote() {
    let test = TestTelemetry::new();
    let layer = server(&test)
        .baggage(["ml.user.tier"])
        .attributes(|_: &RequestHead<'_>, to: &mut Attributes| to.push("app.tenant", "acme"))
        .build();
    let handler = async |_request: Request<()>| {
        MlSpan::current()
            .user_tier("free")
            .set("app.tenant", "other")
            .set("url.path", "/elsewhere");
        Ok::<_, Infallible>(status(200))
    };
    let request = get(&[("baggage", "ml.user.tier=pro")]);
    let path = request.uri().path().to_owned();
    drop(run(layer.layer(service_fn(handler)).call(request)));
    let spans = test.spans();
    for (key, value) in [
        ("ml.user.tier", "pro"),
        ("app.tenant", "acme"),
        ("url.path", path.as_str()),
    ] {
        let all = spans.root().attributes.iter();
        assert_eq!(all.filter(|a| a.key.as_str() == key).count(), 1, "{key}");
        assert_eq!(spans.root().str(key), value);
    }
}

#[test]
fn a_handler_writes_what_the_request_does_not_tell() {
    let told = [
        ("host", "models.example:8443"),
        ("user-agent", "probe/1"),
        ("x-forwarded-for", "192.0.2.7"),
        ("content-length", "0"),
    ];
    let handler = async |_request: Request<()>| {
        for (key, value) in [
            ("http.route", "/by/handler"),
            ("url.query", "by=handler"),
            ("server.address", "by.handler"),
            ("client.address", "203.0.113.9"),
            ("network.peer.address", "203.0.113.10"),
            ("user_agent.original", "handler"),
            ("http.request.method_original", "handler"),
        ] {
            MlSpan::current().set(key, value);
        }
        MlSpan::current()
            .set("server.port", 1)
            .set("network.peer.port", 2)
            .set("http.request.body.size", 3);
        Ok::<_, Infallible>(status(200))
    };
    let ask = |headers: &[(&'static str, &'static str)]| {
        let test = TestTelemetry::new();
        let layer = server(&test).detail(Detail::Full).build();
        drop(run(layer.layer(service_fn(handler)).call(get(headers))));
        test.take_spans()
    };
    let free = ask(&[]);
    let root = free.root();
    assert_eq!(root.str("http.route"), "/by/handler");
    assert_eq!(root.str("url.query"), "by=handler");
    assert_eq!(root.str("server.address"), "by.handler");
    assert_eq!(root.str("client.address"), "203.0.113.9");
    assert_eq!(root.str("network.peer.address"), "203.0.113.10");
    assert_eq!(root.str("user_agent.original"), "handler");
    assert_eq!(root.str("http.request.method_original"), "handler");
    let told = ask(&told);
    let root = told.root();
    assert_eq!(root.str("server.address"), "models.example");
    assert_eq!(root.str("client.address"), "192.0.2.7");
    assert_eq!(root.str("user_agent.original"), "probe/1");
    for key in [
        "server.address",
        "server.port",
        "client.address",
        "user_agent.original",
        "http.request.body.size",
    ] {
        let all = root.attributes.iter();
        assert_eq!(all.filter(|a| a.key.as_str() == key).count(), 1, "{key}");
    }
}

#[test]
fn attributes_and_facts_are_bounded() {
    fn crowd(_: &RequestHead<'_>, to: &mut Attributes) {
        for n in 0..1000 {
            to.push(format!("app.{n}"), n);
        }
    }
    // Wider than ours: the SDK has a limit of its own.
    let limits = SpanLimits {
        max_attributes_per_span: 1000,
        ..SpanLimits::default()
    };
    for (cap, from_hook, facts) in [(None, 60, 64), (Some(6), 2, 6), (Some(4), 0, 4)] {
        let test = TestTelemetry::builder().span_limits(limits).build();
        let builder = server(&test).attributes(crowd);
        let layer = match cap {
            Some(cap) => builder.attribute_cap(cap).build(),
            None => builder.build(),
        };
        let handler = async |_request: Request<()>| {
            for n in 0..1000 {
                MlSpan::current().set(format!("fact.{n}"), n);
            }
            Ok::<_, Infallible>(status(200))
        };
        drop(run(layer.layer(service_fn(handler)).call(get(&[]))));
        let spans = test.spans();
        let count = |prefix| {
            let all = spans.root().attributes.iter();
            all.filter(|a| a.key.as_str().starts_with(prefix)).count()
        };
        assert_eq!(
            (count("app."), count("fact.")),
            (from_hook, facts),
            "{cap:?}"
        );
        assert_eq!(spans.root().int("http.response.status_code"), 200);
    }
}

#[derive(Debug)]
struct ModelMissing;

#[test]
fn errors_have_the_class_the_application_gives_or_the_name_of_their_type() {
    let classify = |error: &dyn std::any::Any| {
        let reset = error.is::<MockError>().then_some(ErrorType::new("reset"));
        reset.or(error
            .is::<ModelMissing>()
            .then_some(ErrorType::new("no_model")))
    };
    for (is_classified, of_service, of_body) in [
        (true, "no_model", "reset"),
        (false, "ModelMissing", "MockError"),
    ] {
        let test = TestTelemetry::new();
        let layer = if is_classified {
            server(&test).classify_errors(classify).build()
        } else {
            server(&test).build()
        };
        let fail = |_request| ready(Err::<Response<MockBody>, _>(ModelMissing));
        assert!(run(layer.layer(service_fn(fail)).call(get(&[]))).is_err());
        let body = MockBody::new().error("a message is never a class");
        let mut body = head_of(&layer, get(&[]), Response::new(body)).into_body();
        drop(poll_frame(&mut body));
        let spans = test.spans();
        assert_eq!(spans[0].str("error.type"), of_service);
        assert!(!spans[0].has("http.response.status_code"));
        assert_eq!(spans[1].str("error.type"), of_body);
        assert_eq!(spans[1].int("http.response.status_code"), 200);
        let metrics = test.metrics();
        for class in [of_service, of_body] {
            let duration = metrics.histogram(DURATION).with("error.type", class);
            assert_eq!(duration.count(), 1);
        }
    }
}

#[test]
fn the_trace_id_is_told_in_a_header_when_wanted() {
    let name = HeaderName::from_static("x-trace-id");
    let test = TestTelemetry::new();
    let told = server(&test).trace_id_header(name.clone()).build();
    let answer = || {
        let answer = Response::builder().header("x-trace-id", "from the handler");
        answer.body(MockBody::new()).unwrap()
    };
    let response = head_of(&told, get(&[]), answer());
    let id = test.spans().root().span_context.trace_id().to_string();
    assert_eq!(
        crate::support::values(response.headers(), "x-trace-id"),
        [id]
    );

    let response = head_of(&told, get(&[("traceparent", UNSAMPLED)]), status(200));
    assert_eq!(response.headers()[&name], trace_id().to_string());

    let response = head_of(&server(&test).build(), get(&[]), status(200));
    assert!(response.headers().is_empty());
}

#[derive(Clone, Debug, Default)]
struct Watching(Arc<Mutex<Vec<String>>>);

impl ShouldSample for Watching {
    fn should_sample(
        &self,
        _parent: Option<&Context>,
        _trace: TraceId,
        name: &str,
        _kind: &SpanKind,
        attributes: &[KeyValue],
        _links: &[Link],
    ) -> SamplingResult {
        let mut seen: Vec<_> = attributes.iter().map(|a| a.key.to_string()).collect();
        seen.push(name.to_owned());
        *self.0.lock().unwrap() = seen;
        SamplingResult {
            decision: SamplingDecision::RecordAndSample,
            attributes: Vec::new(),
            trace_state: TraceState::NONE,
        }
    }
}

#[test]
fn a_sampler_sees_what_is_known_at_the_start() {
    let watching = Watching::default();
    let test = TestTelemetry::builder().sampler(watching.clone()).build();
    let hook = |_: &RequestHead<'_>, to: &mut Attributes| to.push("app.tenant", "acme");
    let headers = [
        ("user-agent", "x"),
        ("x-forwarded-for", "203.0.113.9"),
        ("x-a", "1"),
    ];
    let url = "https://host:1/p?q=1";
    let layer = server(&test)
        .attributes(hook)
        .request_headers(["x-a"])
        .build();
    exchange(&layer, request("GET", url, &headers), status(200));
    let seen = std::mem::take(&mut *watching.0.lock().unwrap());
    for key in [
        "http.request.method",
        "url.path",
        "url.query",
        "url.scheme",
        "server.address",
        "server.port",
        "client.address",
        "user_agent.original",
        "http.request.header.x-a",
        "app.tenant",
        "GET",
    ] {
        assert!(
            seen.iter().any(|seen| seen == key),
            "{key} is not among {seen:?}"
        );
    }
    exchange(
        &client(&test).build(),
        request("GET", url, &[]),
        status(200),
    );
    let seen = watching.0.lock().unwrap().clone();
    for key in [
        "http.request.method",
        "url.full",
        "server.address",
        "server.port",
    ] {
        assert!(
            seen.iter().any(|seen| seen == key),
            "{key} is not among {seen:?}"
        );
    }
}
