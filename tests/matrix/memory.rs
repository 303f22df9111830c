//! Messages within the process: the consumer layer over a service.

use std::future::{Ready, ready};

use http::HeaderMap;
use otel_ml::OtelMlConsumerLayer;
use otel_ml::opentelemetry::trace::SpanKind;
use otel_ml_e2e::MemoryMessage;
use otel_ml_testing::TestTelemetry;
use tower::{Layer as _, Service, service_fn};

use crate::hop::{Call, Fault, Handler, Hop, Link, Reply, Settings, sent_on};
use crate::setup::check_readiness;

pub(crate) struct Memory;

fn message(headers: &HeaderMap) -> MemoryMessage {
    let mut message = MemoryMessage::new("features", "");
    for (name, value) in headers {
        message.headers.push(name.as_str(), value.as_bytes());
    }
    message
}

/// A message has no answer: one without an end is a handler that does not return.
async fn settled(reply: Reply) {
    if let Reply::Endless = reply {
        std::future::pending::<()>().await;
    }
}

macro_rules! inner {
    ($handler:expr) => {
        service_fn(move |_message: MemoryMessage| {
            let handler = Handler::clone(&$handler);
            async move {
                settled(handler(sent_on()).await?).await;
                Ok::<_, Fault>(())
            }
        })
    };
}

struct Consuming<S>(S);

impl<S> Link for Consuming<S>
where
    S: Service<MemoryMessage, Response = (), Error = Fault, Future: 'static>,
{
    fn call(&mut self, headers: &HeaderMap) -> Call {
        Box::pin(self.0.call(message(headers)))
    }
}

impl Hop for Memory {
    const NAME: &'static str = "memory messages";
    const SPAN: (&'static str, SpanKind) = ("process features", SpanKind::Consumer);
    const DURATION: &'static str = "messaging.process.duration";
    const IN_FLIGHT: Option<&'static str> = None;
    const DROPPED: Option<&'static str> = Some("cancelled");
    const READS_CONTEXT: bool = true;

    fn link(settings: Settings, handler: Handler) -> Box<dyn Link> {
        let accepts = settings.accepts;
        let layer = OtelMlConsumerLayer::builder()
            .telemetry(settings.telemetry)
            .filter(move |_: &MemoryMessage| accepts)
            .build();
        Box::new(Consuming(layer.layer(inner!(handler))))
    }

    fn unit_link(handler: Handler) -> Box<dyn Link> {
        Box::new(Consuming(OtelMlConsumerLayer.layer(inner!(handler))))
    }

    fn readiness() -> Ready<()> {
        let test = TestTelemetry::new();
        let layer = OtelMlConsumerLayer::builder()
            .telemetry(test.telemetry())
            .build();
        check_readiness(&layer, || message(&HeaderMap::new()), || ());
        assert_eq!(test.spans().len(), 2);
        ready(())
    }
}
