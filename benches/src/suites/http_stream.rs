//! One chunk of a streamed response: an iteration is a chunk, a run is one response.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::Router;
use axum::body::Body;
use axum::extract::Path;
use axum::routing::{MethodRouter, post};
use bytes::Bytes;
use http_body::Frame;
use otel_ml_axum::otel_ml::MlSpan;

use super::http_server::{layered, request, uri};
use super::{Iterate, Row, Suite};
use crate::condition::Condition::{self, A, B, C, D, P};
use crate::layers::Variant::{self, OtelMl, OtelMlFact, OtelMlSpans};
use crate::poll::answer;

/// What is allowed where nothing is recorded: a branch or two.
const A_BRANCH: u32 = 10;
const RECORDED: u32 = 320;
const WITH_A_FACT: u32 = RECORDED + 280;

pub(super) const SUITE: Suite = Suite {
    name: "http-stream",
    unit: "chunk",
    is_timed: true,
    rows: &[
        Row::within(OtelMl, A, A_BRANCH, 0),
        Row::within(OtelMlSpans, A, A_BRANCH, 0),
        Row::for_information(OtelMl, P),
        Row::for_information(OtelMlSpans, P),
        Row::for_information(OtelMl, B),
        // Below an unsampled caller each chunk runs in its context: a call made from the stream
        // must not start a trace of its own.
        Row::within(OtelMlSpans, B, A_BRANCH, 0).not_yet(RECORDED),
        Row::within(OtelMl, C, RECORDED, 0),
        Row::within(OtelMlSpans, C, RECORDED, 0),
        Row::within(OtelMlFact, C, WITH_A_FACT, 0),
        Row::within(OtelMl, D, RECORDED, 0),
        Row::within(OtelMlSpans, D, RECORDED, 0),
    ],
    spans: |_chunks| 1,
    prepare,
};

fn prepare(variant: Variant, condition: Condition) -> Iterate {
    let handler: MethodRouter = if variant == OtelMlFact {
        post(generate_with_facts)
    } else {
        post(generate)
    };
    let router = Router::new().route("/v1/streams/{chunks}", handler);
    let mut router = layered(router, variant).with_state(());
    Box::new(move |chunks| {
        let mut request = request(0, condition);
        *request.uri_mut() = uri(format!("/v1/streams/{chunks:08}"));
        answer(&mut router, request);
    })
}

async fn generate(Path(chunks): Path<u32>) -> Body {
    Body::new(Chunks {
        left: chunks,
        span: None,
    })
}

async fn generate_with_facts(Path(chunks): Path<u32>) -> Body {
    Body::new(Chunks {
        left: chunks,
        span: Some(MlSpan::current()),
    })
}

/// As many chunks as were asked for, with the tokens so far written as each is made.
struct Chunks {
    left: u32,
    span: Option<MlSpan>,
}

impl http_body::Body for Chunks {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        self.left -= 1;
        if let Some(span) = &self.span {
            span.output_tokens(self.left.into());
        }
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(
            b"data: {\"token\": \"hello\"}\n\n",
        )))))
    }
}
