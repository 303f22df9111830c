//! A request that a client sends, below a parent that is current.

use std::convert::Infallible;
use std::future::ready;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, header};
use http_body_util::Full;
use otel_ml_tower::OtelMlClientLayer;
use otel_ml_tower::otel_ml::Telemetry;
use otel_ml_tower::otel_ml::carrier::HeaderExtractor;
use tower::service_fn;
use tower_layer::Layer;
use tower_service::Service;

use super::http_server::uri;
use super::{Iterate, Row, Suite};
use crate::condition::Condition::{self, A, B, C, D, P};
use crate::layers::Identity;
use crate::layers::Variant::{self, OtelMl, OtelMlSpans};
#[cfg(feature = "peers")]
use crate::peers::http as peers;
use crate::poll::answer;

pub(super) const SUITE: Suite = Suite {
    name: "http-client",
    unit: "request",
    is_timed: true,
    rows: &[
        Row::for_information(OtelMl, A),
        Row::for_information(OtelMlSpans, A),
        Row::for_information(OtelMl, P),
        Row::for_information(OtelMlSpans, P),
        Row::for_information(OtelMl, B),
        Row::within(OtelMlSpans, B, 3_100, 3),
        Row::for_information(OtelMl, C),
        Row::within(OtelMlSpans, C, 6_300, 8).not_yet(6_800),
        Row::for_information(OtelMl, D),
        Row::for_information(OtelMlSpans, D),
    ],
    spans: |requests| requests.into(),
    prepare,
};

fn prepare(variant: Variant, condition: Condition) -> Iterate {
    let server = service_fn(|_: Request<Full<Bytes>>| {
        ready(Ok::<_, Infallible>(Response::new(Full::new(
            Bytes::from_static(br#"{"label": "positive"}"#),
        ))))
    });
    match variant {
        Variant::Identity => iterate(Identity.layer(server), condition),
        OtelMl => iterate(OtelMlClientLayer.layer(server), condition),
        #[cfg(feature = "peers")]
        Variant::TowerOtel => iterate(peers::client().layer(server), condition),
        #[cfg(feature = "peers")]
        Variant::TowerOtelMetrics => {
            let spans = peers::client().layer(server);
            iterate(peers::client_metrics().layer(spans), condition)
        }
        _ => iterate(
            OtelMlClientLayer::builder()
                .telemetry(variant.telemetry())
                .build()
                .layer(server),
            condition,
        ),
    }
}

fn iterate<S, B>(mut client: S, condition: Condition) -> Iterate
where
    S: Service<Request<Full<Bytes>>, Response = Response<B>, Error = Infallible> + 'static,
    B: http_body::Body,
{
    let mut caller = HeaderMap::new();
    caller.insert(
        "traceparent",
        HeaderValue::from_static(condition.traceparent()),
    );
    let parent = Telemetry::builder()
        .without_metrics()
        .build()
        .extract(&HeaderExtractor::new(&caller));
    let mut number = 0;
    Box::new(move |requests| {
        let _attached = parent.clone().attach();
        for _ in 0..requests {
            number += 1;
            answer(&mut client, request(number));
        }
    })
}

fn request(number: u32) -> Request<Full<Bytes>> {
    let mut request = Request::new(Full::new(Bytes::from_static(br#"{"input": [0.25, 0.5]}"#)));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = uri(format!(
        "http://models.example.com:8080/v1/models/m{number:08}/infer"
    ));
    request
        .headers_mut()
        .insert(header::ACCEPT, HeaderValue::from_static("application/json"));
    request.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    request
}
