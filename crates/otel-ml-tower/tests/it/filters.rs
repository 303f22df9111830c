//! Which requests are recorded.

use otel_ml::hooks::Filter as _;
use otel_ml_testing::TestTelemetry;
use otel_ml_tower::{NoHealthChecks, NoStaticFiles, RequestHead};

use crate::support::{client, exchange, request, server, status};

const DURATION: &str = "http.server.request.duration";

#[test]
fn health_checks_and_static_files_are_left_out_by_default() {
    for (method, path, is_recorded) in [
        ("GET", "/healthz", false),
        ("GET", "/internal/ready", false),
        ("GET", "/metrics", false),
        ("GET", "/assets/app.js", false),
        ("HEAD", "/favicon.ico", false),
        ("POST", "/upload/cat.png", true),
        ("GET", "/models/v1.5", true),
        ("GET", "/", true),
    ] {
        let test = TestTelemetry::new();
        exchange(
            &server(&test).build(),
            request(method, path, &[]),
            status(200),
        );
        assert_eq!(test.spans().len(), usize::from(is_recorded), "{path}");
        assert_eq!(test.metrics().has(DURATION), is_recorded, "{path}");
        assert_eq!(
            test.metrics().has("http.server.active_requests"),
            is_recorded
        );
    }
}

#[test]
fn a_filter_of_ones_own_takes_the_place_of_the_default() {
    let not_internal = |parts: &RequestHead<'_>| !parts.uri.path().starts_with("/internal");
    for (path, own, with_health, everything) in [
        ("/healthz", true, false, true),
        ("/internal/x", false, false, true),
        ("/app.js", true, true, true),
        ("/x", true, true, true),
    ] {
        let test = TestTelemetry::new();
        let layer = server(&test).filter(not_internal).build();
        exchange(&layer, request("GET", path, &[]), status(200));
        assert_eq!(test.take_spans().len(), usize::from(own), "{path}");
        let layer = server(&test)
            .filter(not_internal.and(NoHealthChecks))
            .build();
        exchange(&layer, request("GET", path, &[]), status(200));
        assert_eq!(test.take_spans().len(), usize::from(with_health), "{path}");
        let layer = server(&test).filter(NoStaticFiles.or(())).build();
        exchange(&layer, request("GET", path, &[]), status(200));
        assert_eq!(test.take_spans().len(), usize::from(everything), "{path}");
    }
}

#[test]
fn a_clients_requests_are_all_recorded_by_default() {
    let test = TestTelemetry::new();
    exchange(
        &client(&test).build(),
        request("GET", "http://h/healthz", &[]),
        status(200),
    );
    assert_eq!(test.spans().len(), 1);
}
