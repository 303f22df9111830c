//! The consumer layer over a service of messages: those of this process, and envelopes of jobs.

use std::future::{Ready, ready};
use std::marker::PhantomData;

use http::HeaderMap;
use otel_ml::OtelMlConsumerLayer;
use otel_ml::messaging::Message;
use otel_ml::opentelemetry::trace::SpanKind;
use otel_ml_e2e::MemoryMessage;
use otel_ml_testing::TestTelemetry;
use otel_ml_worker::Envelope;
use tower::{Layer as _, Service, service_fn};

use crate::hop::{Call, Fault, Handler, Hop, Link, Reply, Settings, sent_on};
use crate::setup::check_readiness;

/// A transport whose messages are `M`.
pub(crate) struct Messages<M>(PhantomData<M>);

/// A message for `features` with these headers.
pub(crate) trait Received: Message + 'static {
    const NAME: &'static str;

    fn with(headers: &HeaderMap) -> Self;
}

impl Received for MemoryMessage {
    const NAME: &'static str = "memory messages";

    fn with(headers: &HeaderMap) -> Self {
        let mut message = Self::new("features", "");
        for (name, value) in headers {
            message.headers.push(name.as_str(), value.as_bytes());
        }
        message
    }
}

impl Received for Envelope<()> {
    const NAME: &'static str = "envelopes of jobs";

    fn with(headers: &HeaderMap) -> Self {
        let text = headers.iter().filter_map(|(name, value)| {
            let value = value.to_str().ok()?;
            Some((name.as_str(), value))
        });
        Self::from_headers((), text).received_from("redis", "features")
    }
}

/// A message has no answer: one without an end is a handler that does not return.
pub(crate) async fn settled(reply: Reply) {
    if let Reply::Endless = reply {
        std::future::pending::<()>().await;
    }
}

macro_rules! inner {
    ($handler:expr) => {
        service_fn(move |_message: M| {
            let handler = Handler::clone(&$handler);
            async move {
                settled(handler(sent_on()).await?).await;
                Ok::<_, Fault>(())
            }
        })
    };
}

struct Consuming<S, M>(S, PhantomData<M>);

impl<S, M: Received> Link for Consuming<S, M>
where
    S: Service<M, Response = (), Error = Fault, Future: 'static>,
{
    fn call(&mut self, headers: &HeaderMap) -> Call {
        Box::pin(self.0.call(M::with(headers)))
    }
}

impl<M: Received> Hop for Messages<M> {
    const NAME: &'static str = M::NAME;
    const SPAN: (&'static str, SpanKind) = ("process features", SpanKind::Consumer);
    const DURATION: &'static str = "messaging.process.duration";
    const IN_FLIGHT: Option<&'static str> = None;
    const DROPPED: Option<&'static str> = Some("cancelled");
    const READS_CONTEXT: bool = true;

    fn link(settings: Settings, handler: Handler) -> Box<dyn Link> {
        let accepts = settings.accepts;
        let layer = OtelMlConsumerLayer::builder()
            .telemetry(settings.telemetry)
            .filter(move |_: &M| accepts)
            .build();
        Box::new(Consuming(layer.layer(inner!(handler)), PhantomData::<M>))
    }

    fn unit_link(handler: Handler) -> Box<dyn Link> {
        Box::new(Consuming(
            OtelMlConsumerLayer.layer(inner!(handler)),
            PhantomData::<M>,
        ))
    }

    fn readiness() -> Ready<()> {
        let test = TestTelemetry::new();
        let layer = OtelMlConsumerLayer::builder()
            .telemetry(test.telemetry())
            .build();
        check_readiness(&layer, || M::with(&HeaderMap::new()), || ());
        assert_eq!(test.spans().len(), 2);
        ready(())
    }
}
