//! Where the client, the server and the peer are told, and rubbish that tells nothing.

use otel_ml::Detail;
use otel_ml::opentelemetry::Value;
use otel_ml_testing::{SpanExt as _, SpansExt as _, TestTelemetry};
use otel_ml_tower::PeerAddress;

use crate::support::{exchange, get, request, server, status, text};

const PROXIED: &str = "http://inner:8080/predict";

#[test]
fn forwarded_says_who_and_where() {
    type Case<'a> = (
        &'a [(&'a str, &'a str)],
        Option<&'a str>,
        (&'a str, Option<i64>),
        &'a str,
    );
    let cases: [Case<'_>; 8] = [
        (&[], None, ("inner", Some(8080)), "http"),
        (
            &[("forwarded", "for=203.0.113.9;host=shop.example;proto=https")],
            Some("203.0.113.9"),
            ("shop.example", None),
            "https",
        ),
        (
            &[(
                "forwarded",
                "For=\"[2001:db8::1]:4711\";Host=\"shop.example:444\", for=10.0.0.1",
            )],
            Some("2001:db8::1"),
            ("shop.example", Some(444)),
            "http",
        ),
        (
            &[
                ("x-forwarded-for", "203.0.113.9, 10.0.0.1"),
                ("x-forwarded-host", "shop.example:444, inner"),
                ("x-forwarded-proto", "HTTPS"),
            ],
            Some("203.0.113.9"),
            ("shop.example", Some(444)),
            "https",
        ),
        (
            &[
                ("forwarded", "for=203.0.113.9"),
                ("x-forwarded-for", "198.51.100.1"),
                ("x-forwarded-proto", "https"),
            ],
            Some("203.0.113.9"),
            ("inner", Some(8080)),
            "https",
        ),
        (
            &[("forwarded", "for=unknown;proto=gopher;host=")],
            None,
            ("inner", Some(8080)),
            "http",
        ),
        (
            &[("x-forwarded-for", " , "), ("x-forwarded-host", "")],
            None,
            ("inner", Some(8080)),
            "http",
        ),
        (
            &[("x-forwarded-for", "203.0.113.9:4711")],
            Some("203.0.113.9"),
            ("inner", Some(8080)),
            "http",
        ),
    ];
    for (headers, client, (host, port), scheme) in cases {
        let test = TestTelemetry::new();
        let request = request("GET", PROXIED, headers);
        exchange(&server(&test).build(), request, status(200));
        let spans = test.spans();
        let span = spans.root();
        let found = span.attr("client.address").cloned();
        assert_eq!(found, client.map(text), "{headers:?}");
        assert_eq!(span.str("server.address"), host, "{headers:?}");
        let found = span.attr("server.port").cloned();
        assert_eq!(found, port.map(Value::I64), "{headers:?}");
        assert_eq!(span.str("url.scheme"), scheme, "{headers:?}");
    }
}

#[test]
fn the_host_header_names_the_server_where_the_target_does_not() {
    let test = TestTelemetry::new();
    let request = get(&[("host", "[::1]:3000")]);
    exchange(&server(&test).build(), request, status(200));
    let spans = test.spans();
    assert_eq!(spans.root().str("server.address"), "::1");
    assert_eq!(spans.root().int("server.port"), 3000);
}

#[test]
fn a_proxy_tells_the_client_and_the_socket_tells_the_peer() {
    let test = TestTelemetry::new();
    let mut request = get(&[("x-forwarded-for", "203.0.113.9")]);
    let peer = PeerAddress("[::1]:55123".parse().unwrap());
    request.extensions_mut().insert(peer);
    exchange(&server(&test).build(), request, status(200));
    let spans = test.spans();
    assert_eq!(spans.root().str("client.address"), "203.0.113.9");
    assert_eq!(spans.root().str("network.peer.address"), "::1");
    assert_eq!(spans.root().int("network.peer.port"), 55123);
}

#[test]
fn e02_rubbish_in_a_header_is_absent() {
    let absent = [
        "user_agent.original",
        "server.address",
        "http.request.body.size",
    ];
    for (length, host) in [
        (&b"-5"[..], &b"\xff\xfe"[..]),
        (b"12 apples", b"\xc3"),
        (b"99999999999999999999", b""),
        (b"", b":80"),
    ] {
        let test = TestTelemetry::new();
        let mut request = get(&[]);
        let headers = request.headers_mut();
        headers.insert(
            "user-agent",
            http::HeaderValue::from_bytes(b"\xff").unwrap(),
        );
        headers.insert("host", http::HeaderValue::from_bytes(host).unwrap());
        headers.insert(
            "content-length",
            http::HeaderValue::from_bytes(length).unwrap(),
        );
        headers.insert(
            "traceparent",
            http::HeaderValue::from_bytes(b"\xff").unwrap(),
        );
        let layer = server(&test).detail(Detail::Full).build();
        exchange(&layer, request, status(200));
        let spans = test.spans();
        for key in absent {
            assert_eq!(
                spans.root().attr(key),
                None,
                "{key} of {length:?}, {host:?}"
            );
        }
    }
}
