//! A server and a client, of which one has the layer.

use http::HeaderMap;
use otel_ml_testing::opentelemetry::trace::SpanKind;
use otel_ml_testing::opentelemetry_sdk::trace::SpanData;
use otel_ml_testing::{HistogramPoint, SpanExt as _, TestTelemetry};
use otel_ml_tonic::otel_ml::Telemetry;
use otel_ml_tonic::otel_ml::carrier::{HeaderExtractor, HeaderInjector};
use otel_ml_tonic::otel_ml::opentelemetry::Context;
use otel_ml_tonic::otel_ml::opentelemetry::context::FutureExt as _;
use otel_ml_tonic::{OtelMlClientLayer, OtelMlLayer, RequestHead};
use tonic::Status;
use tower::Layer as _;

use crate::support::{Echo, Handler, Kind, Serving, asking, call, channel, plain, serve};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Server,
    Client,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Tested {
    pub(crate) side: Side,
    pub(crate) kind: Kind,
}

impl Tested {
    pub(crate) const fn duration(self) -> &'static str {
        match self.side {
            Side::Server => "rpc.server.call.duration",
            Side::Client => "rpc.client.call.duration",
        }
    }

    /// Its own spans, once there are so many.
    pub(crate) async fn own(self, test: &TestTelemetry, count: usize) -> Vec<SpanData> {
        let kind = match self.side {
            Side::Server => SpanKind::Server,
            Side::Client => SpanKind::Client,
        };
        for total in 1.. {
            let mut spans = test.wait_for_spans(total).await;
            spans.retain(|span| span.span_kind == kind && span.name == self.kind.method());
            if spans.len() >= count {
                assert_eq!(spans.len(), count);
                return spans;
            }
        }
        unreachable!("the loop has no end")
    }

    pub(crate) async fn only(self, test: &TestTelemetry) -> SpanData {
        self.own(test, 1).await.remove(0)
    }

    /// The span and the metric of the one call say that it failed, or both that it did not.
    pub(crate) async fn assert_error(self, test: &TestTelemetry, error: Option<&str>) -> SpanData {
        let span = self.only(test).await;
        let on_span = span.attr("error.type").map(ToString::to_string);
        assert_eq!(on_span.as_deref(), error);
        assert_eq!(span.is_error(), error.is_some());
        let point = test.metrics().histogram(self.duration()).one().clone();
        assert_eq!(point.count(), 1);
        assert_eq!(label(&point, "error.type").as_deref(), error);
        span
    }
}

fn label(point: &HistogramPoint, key: &str) -> Option<String> {
    let mut labels = point.labels().iter();
    let label = labels.find(|label| label.key.as_str() == key);
    label.map(|label| label.value.to_string())
}

pub(crate) struct World {
    tested: Tested,
    serving: Serving,
    telemetry: Telemetry,
    accepts: bool,
}

impl World {
    pub(crate) async fn new(tested: Tested, test: &TestTelemetry, handler: Handler) -> Self {
        Self::with(tested, test.telemetry(), true, handler).await
    }

    pub(crate) async fn with(
        tested: Tested,
        telemetry: Telemetry,
        accepts: bool,
        handler: Handler,
    ) -> Self {
        let serving = match tested.side {
            Side::Client => plain(handler).await,
            Side::Server => {
                let layer = OtelMlLayer::builder()
                    .telemetry(telemetry.clone())
                    .filter(move |_: &RequestHead<'_>| accepts)
                    .build();
                serve(layer, Echo::new(handler)).await
            }
        };
        Self {
            tested,
            serving,
            telemetry,
            accepts,
        }
    }

    /// One call to its end.
    pub(crate) async fn call(&self, headers: &HeaderMap) -> Result<Vec<String>, Status> {
        self.call_by(headers, async |channel, kind, request| match channel {
            Either::Plain(channel) => call(channel, kind, request).await,
            Either::Traced(channel) => call(channel, kind, request).await,
        })
        .await
    }

    /// One call, made by `call`. To a client, the caller's context is the one that is current.
    pub(crate) async fn call_by<T>(
        &self,
        headers: &HeaderMap,
        call: impl AsyncFnOnce(Either, Kind, tonic::Request<crate::support::Items>) -> T,
    ) -> T {
        let mut request = asking(["a"]);
        let mut sent = headers.clone();
        let mut current = Context::current();
        let channel = channel(&self.serving);
        let channel = match self.tested.side {
            Side::Server => Either::Plain(channel),
            Side::Client => {
                if headers.contains_key("traceparent") {
                    current = self.telemetry.extract(&HeaderExtractor::new(headers));
                }
                for field in ["traceparent", "tracestate", "baggage"] {
                    sent.remove(field);
                }
                let accepts = self.accepts;
                let layer = OtelMlClientLayer::builder()
                    .telemetry(self.telemetry.clone())
                    .filter(Accepts(accepts))
                    .build();
                Either::Traced(layer.layer(channel))
            }
        };
        *request.metadata_mut() = tonic::metadata::MetadataMap::from_headers(sent);
        call(channel, self.tested.kind, request)
            .with_context(current)
            .await
    }
}

/// A filter that can be named.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Accepts(bool);

impl otel_ml_tonic::otel_ml::hooks::Filter<RequestHead<'_>> for Accepts {
    fn accepts(&self, _request: &RequestHead<'_>) -> bool {
        self.0
    }
}

type Hooks = otel_ml_tonic::otel_ml::hooks::Hooks<Accepts, (), ()>;

#[derive(Clone)]
pub(crate) enum Either {
    Plain(tonic::transport::Channel),
    Traced(otel_ml_tonic::client::OtelMlClient<tonic::transport::Channel, Hooks>),
}

pub(crate) fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        headers.append(*name, value.parse().unwrap());
    }
    headers
}

/// A caller's context, whole.
pub(crate) fn from_afar(traceparent: &str) -> HeaderMap {
    headers(&[
        ("traceparent", traceparent),
        ("tracestate", "ot=th:8;rv:9,vendor@sys=1"),
        ("baggage", "user.tier=pro"),
    ])
}

/// What a service would send on from where it runs now.
pub(crate) fn sent_on() -> HeaderMap {
    let mut headers = HeaderMap::new();
    let telemetry = Telemetry::builder().without_traces().without_metrics();
    let mut carrier = HeaderInjector(&mut headers);
    telemetry.build().inject(&Context::current(), &mut carrier);
    headers
}
