//! A request that an axum handler answers.

use axum::Router;
use axum::body::Body;
use axum::extract::Path;
use axum::routing::{MethodRouter, post};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Uri, header};
use otel_ml_axum::OtelMlLayer;
use otel_ml_axum::otel_ml::MlSpan;

use super::{Iterate, Row, Suite};
use crate::condition::Condition::{self, A, B, C, D, P};
use crate::floor::{Floor, fact};
use crate::layers::Identity;
use crate::layers::Variant::{
    self, OtelMl, OtelMlGenai, OtelMlSpans, OtelMlSpansWrapped, OtelMlWrapped,
};
use crate::poll::answer;

pub(super) const SUITE: Suite = Suite {
    name: "http-server",
    unit: "request",
    is_timed: true,
    rows: &[
        Row::within(OtelMl, A, 500, 0),
        Row::within(OtelMlSpans, A, 500, 0),
        Row::within(OtelMl, P, 2_000, 1),
        Row::within(OtelMlSpans, P, 2_000, 1),
        Row::within(OtelMl, B, 5_900, 2).not_yet(6_100),
        Row::within(OtelMlSpans, B, 3_000, 2),
        Row::for_information(Variant::Floor, C),
        Row::within(OtelMl, C, 9_900, 9).not_yet(12_800),
        Row::within(OtelMlSpans, C, 7_000, 9).not_yet(9_900),
        Row::within(OtelMlWrapped, C, 10_600, 10).not_yet(14_200),
        Row::within(OtelMlSpansWrapped, C, 7_700, 10).not_yet(11_300),
        Row::for_information(OtelMlGenai, C),
        Row::within(OtelMl, D, 9_900, 9).not_yet(14_200),
        Row::within(OtelMlSpans, D, 7_000, 9).not_yet(11_050),
    ],
    spans: |requests| requests.into(),
    prepare,
};

const QUESTION: &[u8] = br#"{"input": [0.25, 0.5, 0.75, 1.0], "k": 1234}"#;
const ANSWER: &[u8] = br#"{"label": "positive", "score": 0.934211}"#;

pub(super) fn prepare(variant: Variant, condition: Condition) -> Iterate {
    let mut router = layered(router(handler(variant, condition)), variant).with_state(());
    let mut number = 0;
    Box::new(move |requests| {
        for _ in 0..requests {
            number += 1;
            answer(&mut router, request(number, condition));
        }
    })
}

fn router(handler: MethodRouter) -> Router {
    Router::new().route("/v1/models/{model}/infer", handler)
}

/// Puts a variant's layer on `router`.
pub(super) fn layered(router: Router, variant: Variant) -> Router {
    match variant {
        Variant::Identity => router.layer(Identity),
        Variant::Floor => router.layer(Floor),
        OtelMl | OtelMlGenai | Variant::OtelMlFact => router.layer(OtelMlLayer),
        OtelMlSpans | OtelMlSpansWrapped | OtelMlWrapped => {
            let builder = OtelMlLayer::builder().telemetry(variant.telemetry());
            let builder = if variant.is_wrapped() {
                builder.untouched_up_to(0)
            } else {
                builder
            };
            router.layer(builder.build())
        }
        #[cfg(feature = "peers")]
        peer => crate::peers::http::server(router, peer),
    }
}

/// Where spans are recorded, a handler writes six facts. As none of them asks for a metric
/// of its own, they are the same for a layer without metrics.
pub(super) fn handler(variant: Variant, condition: Condition) -> MethodRouter {
    match variant {
        Variant::Floor => post(infer_with_bare_facts),
        OtelMlGenai => post(infer_gen_ai),
        _ if variant.is_ours() && condition.is_recording() => post(infer_with_facts),
        _ => post(infer),
    }
}

type Answer = ([(header::HeaderName, HeaderValue); 1], &'static [u8]);

async fn infer(Path(model): Path<String>, body: Bytes) -> Answer {
    assert!(
        model.len() + body.len() > QUESTION.len(),
        "a request that says nothing"
    );
    (
        [(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/json"),
        )],
        ANSWER,
    )
}

async fn infer_with_facts(model: Path<String>, body: Bytes) -> Answer {
    let answer = infer(model, body).await;
    let span = MlSpan::current();
    span.provider("acme")
        .request_model("acme-large")
        .max_tokens(256)
        .temperature(0.2);
    span.input_tokens(44).output_tokens(12);
    answer
}

async fn infer_with_bare_facts(model: Path<String>, body: Bytes) -> Answer {
    let answer = infer(model, body).await;
    fact("gen_ai.provider.name", "acme");
    fact("gen_ai.request.model", "acme-large");
    fact("gen_ai.request.max_tokens", 256);
    fact("gen_ai.request.temperature", 0.2);
    fact("gen_ai.usage.input_tokens", 44);
    fact("gen_ai.usage.output_tokens", 12);
    answer
}

async fn infer_gen_ai(model: Path<String>, body: Bytes) -> Answer {
    let answer = infer(model, body).await;
    let span = MlSpan::current();
    span.gen_ai_operation("chat")
        .provider("acme")
        .request_model("acme-large")
        .temperature(0.2);
    span.first_token().input_tokens(44).output_tokens(12);
    answer
}

/// A request of six headers, each with a path of its own.
pub(super) fn request(number: u32, condition: Condition) -> Request<Body> {
    let mut headers = HeaderMap::with_capacity(6);
    headers.insert(
        header::HOST,
        HeaderValue::from_static("inference.example.com:8080"),
    );
    headers.insert(
        header::USER_AGENT,
        HeaderValue::from_static("example-client/1.4.2"),
    );
    headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from_static("44"));
    headers.insert(
        "traceparent",
        HeaderValue::from_static(condition.traceparent()),
    );
    let mut request = Request::new(Body::from(QUESTION));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = uri(format!("/v1/models/m{number:08}/infer"));
    *request.headers_mut() = headers;
    request
}

/// What a suite writes as a URI is one.
pub(super) fn uri(text: String) -> Uri {
    Uri::from_maybe_shared(Bytes::from(text)).unwrap_or_default()
}
