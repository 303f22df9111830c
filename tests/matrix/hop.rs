//! What the rows know of a transport.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{self, Poll, Waker};

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, LocalBoxFuture};
use http::HeaderMap;
use otel_ml::Telemetry;
use otel_ml::carrier::{HeaderExtractor, HeaderInjector};
use otel_ml::opentelemetry::Context;
use otel_ml::opentelemetry::trace::SpanKind;
use otel_ml_testing::opentelemetry_sdk::trace::SpanData;
use otel_ml_testing::{HistogramPoint, SpanExt as _, TestTelemetry};

pub(crate) const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
pub(crate) const PARENT: &str = "b7ad6b7169203331";
pub(crate) const SAMPLED: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
pub(crate) const UNSAMPLED: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";

/// What fails in the inner service. The very same one must come out.
#[derive(Clone, Debug)]
pub(crate) struct Fault(pub(crate) Arc<str>);

/// What the inner service answers.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Reply {
    /// Nothing: no body.
    Empty,
    /// Something short.
    Short,
    /// Something, and then never an end.
    Endless,
}

/// The inner service. It is given the headers that its next hop would get from it, or, on
/// a client, that it was sent with.
pub(crate) type Handler =
    Arc<dyn Fn(HeaderMap) -> BoxFuture<'static, Result<Reply, Fault>> + Send + Sync>;

pub(crate) struct Settings {
    pub(crate) telemetry: Telemetry,
    /// What the filter answers.
    pub(crate) accepts: bool,
}

/// A transport.
pub(crate) trait Hop: 'static {
    /// The name of its column.
    const NAME: &'static str;
    /// The name and kind of its span.
    const SPAN: (&'static str, SpanKind);
    /// Its duration's metric.
    const DURATION: &'static str;
    /// Its in-flight metric.
    const IN_FLIGHT: Option<&'static str>;
    /// The `error.type` of a call that was dropped.
    const DROPPED: Option<&'static str>;
    /// Whether it reads the context that comes with a call: then handlers write facts to it.
    const READS_CONTEXT: bool;
    /// Whether of several `traceparent`s the last one counts, and not none.
    const LAST_PARENT_WINS: bool = false;
    /// Whether it is a service; else a call begins when it is first polled, as an async
    /// function does.
    const IS_SERVICE: bool = true;

    /// The transport's layer, with settings of its own, over `handler`.
    fn link(settings: Settings, handler: Handler) -> Box<dyn Link>;

    /// The layer as it stands.
    fn unit_link(handler: Handler) -> Box<dyn Link>;

    /// Checks that readiness is the inner service's, which is never cloned.
    fn readiness() -> std::future::Ready<()> {
        unreachable!("it is no service");
    }
}

/// An inner service behind a layer.
pub(crate) trait Link {
    /// One call to its end. The layer has been called when this returns.
    fn call(&mut self, headers: &HeaderMap) -> Call;
}

pub(crate) type Call = LocalBoxFuture<'static, Result<(), Fault>>;

/// A handler from an async closure.
pub(crate) fn handler<F, Fut>(handle: F) -> Handler
where
    F: Fn(HeaderMap) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Reply, Fault>> + Send + 'static,
{
    Arc::new(move |passed_on| handle(passed_on).boxed())
}

pub(crate) fn answering(reply: Reply) -> Handler {
    handler(move |_| std::future::ready(Ok(reply)))
}

/// The transport over `handler`, recording into `test`.
pub(crate) fn link<H: Hop>(test: &TestTelemetry, handler: Handler) -> Box<dyn Link> {
    let settings = Settings {
        telemetry: test.telemetry(),
        accepts: true,
    };
    H::link(settings, handler)
}

/// What a service would send on from where it runs now.
pub(crate) fn sent_on() -> HeaderMap {
    let mut headers = HeaderMap::new();
    let telemetry = Telemetry::builder()
        .without_traces()
        .without_metrics()
        .build();
    telemetry.inject(&Context::current(), &mut HeaderInjector(&mut headers));
    headers
}

/// Who calls with `headers`, as the context that is current then, and what else they say.
pub(crate) fn caller(headers: &HeaderMap) -> (Context, HeaderMap) {
    let caller = if headers.contains_key("traceparent") {
        let telemetry = Telemetry::builder().without_traces().without_metrics();
        telemetry.build().extract(&HeaderExtractor::new(headers))
    } else {
        Context::current()
    };
    let mut own = headers.clone();
    for field in ["traceparent", "tracestate", "baggage"] {
        own.remove(field);
    }
    (caller, own)
}

/// What came out at the far side of one call.
pub(crate) async fn passed_on<H: Hop>(settings: Settings, headers: &HeaderMap) -> HeaderMap {
    let seen = Arc::new(Mutex::new(None));
    let keep = Arc::clone(&seen);
    let handler = handler(move |passed_on| {
        *keep.lock().unwrap() = Some(passed_on);
        std::future::ready(Ok(Reply::Short))
    });
    H::link(settings, handler).call(headers).await.unwrap();
    let passed_on = seen.lock().unwrap().take();
    passed_on.expect("the handler was called")
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

/// The transport's own span, of which there is one.
pub(crate) fn only<H: Hop>(test: &TestTelemetry) -> SpanData {
    let own = own::<H>(test);
    let [span] = own.as_slice() else {
        unreachable!("{} spans of the transport, expected one", own.len());
    };
    span.clone()
}

/// All of the transport's own spans.
pub(crate) fn own<H: Hop>(test: &TestTelemetry) -> Vec<SpanData> {
    let (name, kind) = H::SPAN;
    let is_own = |span: &SpanData| span.name == name && span.span_kind == kind;
    test.spans().into_iter().filter(is_own).collect()
}

/// The one call that was counted.
pub(crate) fn counted<H: Hop>(test: &TestTelemetry) -> HistogramPoint {
    let point = test.metrics().histogram(H::DURATION).one().clone();
    assert_eq!(point.count(), 1);
    point
}

/// The span and the metric of the one call say that it failed, or both that it did not.
pub(crate) fn assert_error<H: Hop>(test: &TestTelemetry, error: Option<&str>) {
    let span = only::<H>(test);
    let on_span = span.attr("error.type").map(ToString::to_string);
    assert_eq!(on_span.as_deref(), error);
    assert_eq!(span.is_error(), error.is_some());
    let point = counted::<H>(test);
    let mut labels = point.labels().iter();
    let label = labels.find(|label| label.key.as_str() == "error.type");
    let label = label.map(|label| label.value.to_string());
    assert_eq!(label.as_deref(), error);
}

pub(crate) fn poll<F: Future + ?Sized>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut task::Context::from_waker(Waker::noop()))
}
