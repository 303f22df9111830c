//! What a client span and its metric say of a request and its answer.

use http::{Response, Version};
use http_body::SizeHint;
use otel_ml::Detail;
use otel_ml::opentelemetry::trace::{SpanKind, Status};
use otel_ml::opentelemetry::{KeyValue, Value};
use otel_ml::semconv::metric::boundaries::REQUEST_SECONDS;
use otel_ml_testing::mock::MockBody;
use otel_ml_testing::{
    SpanExt as _, SpansExt as _, TestTelemetry, assert_tree, assert_types, span,
};
use otel_ml_tower::{PeerAddress, ResendCount, UrlTemplate};

use crate::support::{client, exchange, request, status, text};

const URL: &str = "http://models.example:8080/v1/models/7?q=1&sig=abc";
const DURATION: &str = "http.client.request.duration";

#[test]
fn each_detail_level_records_exactly_its_attributes() {
    for detail in [Detail::Minimal, Detail::Standard, Detail::Full] {
        let test = TestTelemetry::new();
        let layer = client(&test).detail(detail).build();
        let request = request(
            "POST",
            URL,
            &[("content-length", "12"), ("user-agent", "x")],
        );
        exchange(&layer, request, status(200));
        let expected = span("POST")
            .kind(SpanKind::Client)
            .unset()
            .only_attrs()
            .attr("http.request.method", "POST")
            .attr(
                "url.full",
                "http://models.example:8080/v1/models/7?q=1&sig=REDACTED",
            )
            .attr("server.address", "models.example")
            .attr("server.port", 8080)
            .attr("http.response.status_code", 200);
        let expected = match detail {
            Detail::Minimal => expected,
            _ => expected.attr("network.protocol.version", "1.1"),
        };
        let expected = match detail {
            Detail::Full => expected.attr("http.request.body.size", 12),
            _ => expected,
        };
        assert_tree(&test.spans(), vec![expected]);
        assert_types(&test.spans());
    }
}

#[test]
fn address_and_port_are_the_targets() {
    for (url, host, address, port) in [
        ("https://models.example/", None, "models.example", 443),
        ("http://models.example/", None, "models.example", 80),
        ("http://[::1]:3000/", None, "::1", 3000),
        ("http://a:b@models.example:1/", None, "models.example", 1),
        ("/relative", Some("models.example:9"), "models.example", 9),
        ("http://target/", Some("other:9"), "target", 80),
    ] {
        let test = TestTelemetry::new();
        let headers: Vec<_> = host.map(|host| ("host", host)).into_iter().collect();
        exchange(
            &client(&test).build(),
            request("GET", url, &headers),
            status(200),
        );
        let spans = test.spans();
        assert_eq!(spans.root().str("server.address"), address, "{url}");
        assert_eq!(spans.root().int("server.port"), port, "{url}");
    }
}

#[test]
fn the_peer_is_recorded_where_the_response_tells_it() {
    for (detail, is_recorded) in [
        (Detail::Minimal, false),
        (Detail::Standard, true),
        (Detail::Full, true),
    ] {
        let test = TestTelemetry::new();
        let mut response = status(200);
        let peer = PeerAddress("[2001:db8::7]:8443".parse().unwrap());
        response.extensions_mut().insert(peer);
        let layer = client(&test).detail(detail).build();
        exchange(&layer, request("GET", URL, &[]), response);
        let spans = test.spans();
        assert_eq!(spans.root().has("network.peer.address"), is_recorded);
        if is_recorded {
            assert_eq!(spans.root().str("network.peer.address"), "2001:db8::7");
            assert_eq!(spans.root().int("network.peer.port"), 8443);
        }
        assert_types(&spans);
    }
}

#[test]
fn e33_credentials_of_the_url_are_redacted() {
    for (url, recorded) in [
        (
            "https://me:secret@host/p?AWSAccessKeyId=k&X-Goog-Signature=s&a",
            "https://REDACTED:REDACTED@host/p?AWSAccessKeyId=REDACTED&X-Goog-Signature=REDACTED&a",
        ),
        ("https://token@host/", "https://REDACTED@host/"),
        ("https://host/p?Sig=kept", "https://host/p?Sig=kept"),
    ] {
        let test = TestTelemetry::new();
        exchange(
            &client(&test).build(),
            request("GET", url, &[]),
            status(200),
        );
        assert_eq!(test.spans().root().str("url.full"), recorded);
    }
}

#[test]
fn a_template_names_the_span_and_the_path_never_does() {
    for (method, template, name) in [
        ("GET", None, "GET"),
        ("GET", Some("/models/{model}"), "GET /models/{model}"),
        ("FOO", None, "HTTP"),
        ("FOO", Some("/models/{model}"), "HTTP /models/{model}"),
    ] {
        let test = TestTelemetry::new();
        let mut request = request(method, URL, &[]);
        request
            .extensions_mut()
            .extend(extension(template.map(UrlTemplate)));
        exchange(&client(&test).build(), request, status(200));
        let spans = test.spans();
        assert_eq!(spans.root().name, name);
        let found = spans.root().attr("url.template").cloned();
        assert_eq!(found, template.map(text));
    }
}

fn extension<T: Clone + Send + Sync + 'static>(value: Option<T>) -> http::Extensions {
    let mut extensions = http::Extensions::new();
    value.and_then(|value| extensions.insert(value));
    extensions
}

#[test]
fn a_resent_request_says_how_often() {
    for (count, recorded) in [
        (None, None),
        (Some(0), None),
        (Some(1), Some(1)),
        (Some(7), Some(7)),
    ] {
        let test = TestTelemetry::new();
        let mut request = request("GET", URL, &[]);
        request
            .extensions_mut()
            .extend(extension(count.map(ResendCount)));
        exchange(&client(&test).build(), request, status(200));
        let spans = test.spans();
        let found = spans.root().attr("http.request.resend_count").cloned();
        assert_eq!(found, recorded.map(Value::I64));
    }
}

#[test]
fn e34_an_unknown_method_is_other_with_its_original() {
    let test = TestTelemetry::new();
    exchange(
        &client(&test).build(),
        request("FOO", URL, &[]),
        status(200),
    );
    let spans = test.spans();
    assert_eq!(spans.root().str("http.request.method"), "_OTHER");
    assert_eq!(spans.root().str("http.request.method_original"), "FOO");
}

#[test]
fn e34_the_version_is_the_answers() {
    let test = TestTelemetry::new();
    let mut response = status(200);
    *response.version_mut() = Version::HTTP_2;
    exchange(&client(&test).build(), request("GET", URL, &[]), response);
    let spans = test.spans();
    assert_eq!(spans.root().str("network.protocol.version"), "2");
    let metrics = test.metrics();
    let duration = metrics.histogram(DURATION);
    assert_eq!(duration.with("network.protocol.version", "2").count(), 1);
}

#[test]
fn to_a_client_4xx_and_5xx_are_errors() {
    for (code, error) in [
        (200, None),
        (304, None),
        (400, Some("400")),
        (404, Some("404")),
        (429, Some("429")),
        (451, Some("451")),
        (503, Some("503")),
    ] {
        let test = TestTelemetry::new();
        exchange(
            &client(&test).build(),
            request("GET", URL, &[]),
            status(code),
        );
        let spans = test.spans();
        let span = spans.root();
        assert_eq!(span.int("http.response.status_code"), i64::from(code));
        assert_eq!(span.attr("error.type").cloned(), error.map(text), "{code}");
        let expected = match error {
            Some(_) => Status::error(""),
            None => Status::Unset,
        };
        assert_eq!(span.status, expected, "{code}");
    }
}

#[test]
fn the_duration_has_the_conventions_labels_and_no_others() {
    for (code, template, error) in [
        (200, None, None),
        (200, Some("/v1/models/{model}"), None),
        (404, None, Some("404")),
    ] {
        let test = TestTelemetry::new();
        let mut request = request("POST", URL, &[]);
        request
            .extensions_mut()
            .extend(extension(template.map(UrlTemplate)));
        exchange(&client(&test).build(), request, status(code));
        let expected = [
            error.map(|error| KeyValue::new("error.type", error)),
            Some(KeyValue::new("http.request.method", "POST")),
            Some(KeyValue::new("http.response.status_code", i64::from(code))),
            Some(KeyValue::new("network.protocol.version", "1.1")),
            Some(KeyValue::new("server.address", "models.example")),
            Some(KeyValue::new("server.port", 8080)),
            template.map(|template| KeyValue::new("url.template", template)),
        ];
        let expected: Vec<_> = expected.into_iter().flatten().collect();
        let metrics = test.metrics();
        assert_eq!(metrics.names(), [DURATION]);
        assert_eq!(metrics.unit(DURATION), "s");
        let point = metrics.histogram(DURATION).one().clone();
        assert_eq!(point.labels(), expected);
        assert_eq!(point.bounds(), REQUEST_SECONDS);
        assert_eq!(point.count(), 1);
    }
}

#[test]
fn e18_an_answers_body_is_part_of_the_request() {
    let test = TestTelemetry::new();
    let body = MockBody::new().data("half an ").data("answer");
    exchange(
        &client(&test).build(),
        request("GET", URL, &[]),
        Response::new(body),
    );
    let spans = test.spans();
    assert_eq!(spans.root().int("ml.response.chunk.count"), 2);
    assert_eq!(spans.root().int("ml.response.size"), 14);
    assert!(spans.root().double("ml.response.time_to_first_chunk") >= 0.0);
    assert_types(&spans);
}

#[test]
fn an_answer_of_known_small_length_is_no_stream() {
    for (length, is_counted) in [(14, false), (16 * 1024, false), (16 * 1024 + 1, true)] {
        let test = TestTelemetry::new();
        let body = MockBody::new()
            .data("half an ")
            .data("answer")
            .sized(SizeHint::with_exact(length));
        exchange(
            &client(&test).build(),
            request("GET", URL, &[]),
            Response::new(body),
        );
        let spans = test.spans();
        assert_eq!(spans.root().has("ml.response.chunk.count"), is_counted);
        assert_eq!(spans.root().has("ml.response.size"), is_counted);
        let to_first = "ml.response.time_to_first_chunk";
        assert_eq!(spans.root().has(to_first), is_counted, "{length}");
    }
}
