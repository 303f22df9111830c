//! What else may come: none of it is more than a refusal.

use http::{Method, Request, StatusCode};
use serde_json::{Value, json};

use crate::support::{Running, SERVER, answer, fast, one, post, send};

fn ask(content: &str) -> String {
    json!({"messages": [{"role": "user", "content": content}]}).to_string()
}

#[tokio::test]
async fn a_bad_request_gets_a_clear_answer() {
    let running = Running::start(fast()).await;
    let with = |key: &str, value: Value| {
        let mut request: Value = serde_json::from_str(&ask("Why?")).unwrap();
        request[key] = value;
        request.to_string()
    };
    let long_question = "why ".repeat(1_000);
    for (body, status, code, told) in [
        ("{", 400, "invalid_json", "no request"),
        ("", 400, "invalid_json", "no request"),
        ("[]", 400, "invalid_json", "no request"),
        ("{}", 400, "invalid_json", "messages"),
        (
            r#"{"messages": [], "stream": true}"#,
            400,
            "invalid_value",
            "role is 'user'",
        ),
        (
            r#"{"messages": [{"role": "user"}]}"#,
            400,
            "invalid_json",
            "content",
        ),
        (&ask(""), 400, "invalid_question", "empty"),
        (&ask(" \n "), 400, "invalid_question", "empty"),
        (&ask("?!"), 400, "invalid_question", "no word"),
        (&ask(&long_question), 400, "invalid_question", "shorten"),
        (
            &with("model", json!("gpt-9")),
            404,
            "model_not_found",
            "gpt-9",
        ),
        (
            &with("max_tokens", json!(0)),
            400,
            "invalid_value",
            "max_tokens",
        ),
        (
            &with("max_tokens", json!(-1)),
            400,
            "invalid_json",
            "no request",
        ),
        (
            &with("temperature", json!(3)),
            400,
            "invalid_value",
            "temperature",
        ),
        (&with("n", json!(2)), 400, "invalid_value", "n:"),
        (
            &with("stream", json!("yes")),
            400,
            "invalid_json",
            "boolean",
        ),
        (
            &with("user", json!("u".repeat(300))),
            400,
            "invalid_value",
            "user",
        ),
    ] {
        let (got, answer) = answer(post(running.address(), body)).await;
        assert_eq!(got.as_u16(), status, "{body}: {answer}");
        assert_eq!(answer["error"]["code"], code, "{body}: {answer}");
        assert_eq!(answer["error"]["type"], "invalid_request_error");
        let message = answer["error"]["message"].as_str().unwrap();
        assert!(message.contains(told), "{body}: {message}");
    }
    let (status, answer) = answer(post(running.address(), vec![b' '; 3 << 20])).await;
    assert_eq!(
        (status, answer["error"]["code"].as_str()),
        (StatusCode::PAYLOAD_TOO_LARGE, Some("invalid_body"))
    );

    let written = running.stop().await;
    let served = written
        .spans
        .iter()
        .filter(|s| s.kind == SERVER && s.service == "gateway");
    // A client's mistake is no error of the server's.
    assert!(served.clone().count() == 18 && served.clone().all(|span| span.status == 0));
}

#[tokio::test]
async fn other_routes_and_methods_are_refused_and_health_is_not_recorded() {
    let running = Running::start(fast()).await;
    let request = |method: Method, path: &str| {
        let uri = format!("http://{}{path}", running.address());
        Request::builder()
            .method(method)
            .uri(uri)
            .body(Vec::new())
            .unwrap()
    };
    let (status, body) = answer(request(Method::GET, "/v1/nothing")).await;
    assert_eq!(
        (status, &body["error"]["code"]),
        (StatusCode::NOT_FOUND, &json!("unknown_route"))
    );
    let (status, body) = answer(request(Method::GET, "/v1/chat/completions")).await;
    assert_eq!(
        (status, &body["error"]["code"]),
        (StatusCode::METHOD_NOT_ALLOWED, &json!("wrong_method"))
    );
    assert_eq!(
        send(request(Method::GET, "/healthz")).await.status(),
        StatusCode::OK
    );

    let written = running.stop().await;
    let names: Vec<_> = written
        .spans
        .iter()
        .filter(|s| s.kind == SERVER)
        .map(|s| &s.name)
        .collect();
    // No route, no path in the name.
    assert_eq!(names, ["GET", "GET /v1/chat/completions"]);
}

#[tokio::test]
async fn headers_of_a_broken_trace_are_passed_over_and_counted() {
    let running = Running::start(fast()).await;
    let broken = [
        "",
        "x",
        "00-0-0-01",
        "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    ];
    for value in broken {
        let mut request = post(running.address(), ask("How do I wrap a consumer?"));
        request
            .headers_mut()
            .insert("traceparent", value.parse().unwrap());
        request
            .headers_mut()
            .insert("baggage", "%%%=,;;".parse().unwrap());
        let (status, body) = answer(request).await;
        assert_eq!(status, StatusCode::OK, "{value}: {body}");
    }
    let mut request = post(running.address(), ask("How do I wrap a consumer?"));
    let not_text = http::HeaderValue::from_bytes(b"\xff\xfe").unwrap();
    for name in [
        "traceparent",
        "tracestate",
        "baggage",
        "x-request-id",
        "forwarded",
        "user-agent",
    ] {
        request.headers_mut().insert(name, not_text.clone());
    }
    assert_eq!(answer(request).await.0, StatusCode::OK);

    let written = running.stop().await;
    let gateways: Vec<_> = written
        .spans
        .iter()
        .filter(|s| s.service == "gateway" && s.kind == SERVER)
        .collect();
    assert_eq!(gateways.len(), 5);
    for gateway in gateways {
        assert_eq!(gateway.parent, None, "a trace of its own");
        let spans = written.of_trace(&gateway.trace);
        one(&spans, "generate", SERVER, "POST /generate");
    }
    let counted = written.points("ml.propagation.anomalies");
    assert!(!counted.is_empty());
}

#[tokio::test]
async fn an_unsampled_caller_is_answered_and_nothing_is_recorded() {
    let running = Running::start(fast()).await;
    let mut request = post(running.address(), ask("How do I wrap a consumer?"));
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";
    request
        .headers_mut()
        .insert("traceparent", parent.parse().unwrap());
    assert_eq!(answer(request).await.0, StatusCode::OK);
    let written = running.stop().await;
    assert!(written.spans.iter().all(|span| span.kind != SERVER));
    let served = written.points("http.server.request.duration").len();
    assert_eq!(served, 8, "measured all the same");
}

#[tokio::test(flavor = "multi_thread")]
async fn any_bytes_get_an_answer() {
    let running = Running::start(fast()).await;
    let good = ask("How do I wrap a consumer?").into_bytes();
    let mut random = fastrand::Rng::with_seed(7);
    for _ in 0..200 {
        let mut bytes = good.clone();
        for _ in 0..random.usize(1..6) {
            let at = random.usize(..bytes.len());
            bytes[at] = random.u8(..);
        }
        bytes.truncate(random.usize(..=good.len()));
        let (status, body) = answer(post(running.address(), bytes)).await;
        let is_refused = status == StatusCode::BAD_REQUEST && body["error"]["message"].is_string();
        assert!(is_refused || status == StatusCode::OK, "{status}: {body}");
    }
    running.stop().await;
}
