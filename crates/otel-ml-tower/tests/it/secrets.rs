//! E33: what may hold a credential is never recorded, unless it is asked for by name.

use http::{Request, Response};
use otel_ml::Detail;
use otel_ml_testing::mock::MockBody;
use otel_ml_testing::{SpanExt as _, SpansExt as _, TestTelemetry, assert_no_secret, assert_types};

use crate::support::{client, exchange, request, server};

const SECRETS: [&str; 7] = [
    "authorization",
    "proxy-authorization",
    "cookie",
    "set-cookie",
    "x-api-key",
    "x-amz-security-token",
    "x-request-id",
];

fn asking() -> Request<()> {
    let secrets = SECRETS.map(|name| (name, "S3CRET"));
    let url = "https://me:S3CRET@host/p?sig=S3CRET&X-Amz-Security-Token=S3CRET&q=1";
    request("POST", url, &secrets)
}

fn answering() -> Response<MockBody> {
    let response = SECRETS.iter().fold(Response::builder(), |response, name| {
        response.header(*name, "S3CRET")
    });
    response.body(MockBody::new().data("S3CRET")).unwrap()
}

#[test]
fn e33_no_header_is_recorded_by_default() {
    for detail in [Detail::Minimal, Detail::Standard, Detail::Full] {
        let test = TestTelemetry::new();
        exchange(&server(&test).detail(detail).build(), asking(), answering());
        exchange(&client(&test).detail(detail).build(), asking(), answering());
        let spans = test.spans();
        assert_eq!(spans.len(), 2);
        assert_no_secret(&spans, &["S3CRET"]);
        let metrics = test.metrics().to_string();
        assert!(!metrics.contains("S3CRET"), "{metrics}");
    }
}

#[test]
fn e33_headers_on_the_list_are_recorded_and_no_others() {
    let allowed = ["X-Request-Id", "x-absent", "not a header name"];
    for is_server in [true, false] {
        let test = TestTelemetry::new();
        let with = |mut request: Request<()>| {
            let more = "second".parse().unwrap();
            request.headers_mut().append("x-request-id", more);
            request
        };
        if is_server {
            let layer = server(&test)
                .request_headers(allowed)
                .response_headers(allowed);
            exchange(&layer.build(), with(asking()), answering());
        } else {
            let layer = client(&test)
                .request_headers(allowed)
                .response_headers(allowed);
            exchange(&layer.build(), with(asking()), answering());
        }
        let spans = test.spans();
        let span = spans.root();
        let header =
            |direction: &str| span.strings(&format!("http.{direction}.header.x-request-id"));
        assert_eq!(header("request"), ["S3CRET", "second"]);
        assert_eq!(header("response"), ["S3CRET"]);
        let recorded = span
            .attributes
            .iter()
            .filter(|a| a.key.as_str().contains(".header."));
        assert_eq!(recorded.count(), 2);
        assert_types(&spans);
        let metrics = test.metrics().to_string();
        assert!(!metrics.contains("S3CRET"), "{metrics}");
    }
}

#[test]
fn e33_baggage_is_recorded_by_name_only() {
    let test = TestTelemetry::new();
    let headers = [("baggage", "ml.user.tier=pro,token=S3CRET")];
    let get = || request("GET", "/", &headers);
    exchange(&server(&test).build(), get(), answering());
    exchange(
        &server(&test).baggage(["ml.user.tier", "absent"]).build(),
        get(),
        answering(),
    );
    let spans = test.spans();
    assert_no_secret(&spans, &["S3CRET"]);
    assert!(!spans[0].has("ml.user.tier"));
    assert_eq!(spans[1].str("ml.user.tier"), "pro");
    assert!(!spans[1].has("absent") && !spans[1].has("token"));
}
