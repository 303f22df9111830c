//! The consumer of Kafka: each call sends a message through a broker, receives it by
//! `OtelMlConsumer::recv`, and processes it when it is first polled.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use futures_util::pending;
use http::HeaderMap;
use otel_ml::hooks::AllHooks;
use otel_ml::opentelemetry::trace::SpanKind;
use otel_ml_rdkafka::rdkafka::consumer::{Consumer as _, DefaultConsumerContext};
use otel_ml_rdkafka::rdkafka::message::BorrowedMessage;
use otel_ml_rdkafka::rdkafka::util::DefaultRuntime;
use otel_ml_rdkafka::{OtelMlConsumer, Record};

use crate::hop::{Call, Handler, Hop, Link, Settings, sent_on};
use crate::kafka::{LONG, Route, owned};
use crate::memory::settled;

const TOPIC: &str = "otel-ml-matrix-received";

thread_local! {
    static ROUTE: Route = Route::new(TOPIC);
}

type Consumer<H> = OtelMlConsumer<DefaultConsumerContext, DefaultRuntime, H>;

struct Receiving<H> {
    consumer: Rc<Consumer<H>>,
    handler: Handler,
}

impl<H> Receiving<H>
where
    H: for<'a> AllHooks<Record<BorrowedMessage<'a>>> + 'static,
{
    fn link(consumer: Consumer<H>, handler: Handler) -> Box<dyn Link> {
        ROUTE.with(|route| consumer.assign(&route.end()).unwrap());
        let consumer = Rc::new(consumer);
        Box::new(Self { consumer, handler })
    }
}

impl<H> Link for Receiving<H>
where
    H: for<'a> AllHooks<Record<BorrowedMessage<'a>>> + 'static,
{
    fn call(&mut self, headers: &HeaderMap) -> Call {
        ROUTE.with(|route| route.send(owned(headers)));
        let (consumer, handler) = (Rc::clone(&self.consumer), Arc::clone(&self.handler));
        let is_received = Rc::new(Cell::new(false));
        let received = Rc::clone(&is_received);
        let mut call: Call = Box::pin(async move {
            let message = consumer.recv().await.unwrap();
            received.set(true);
            // Whoever polls next has called.
            pending!();
            let handle = async |_: &BorrowedMessage<'_>| {
                settled(handler(sent_on()).await?).await;
                Ok(())
            };
            message.process(handle).await
        });
        let deadline = Instant::now() + LONG;
        let cx = &mut Context::from_waker(Waker::noop());
        while call.as_mut().poll(cx).is_pending() && !is_received.get() {
            assert!(Instant::now() < deadline, "nothing is received");
            std::thread::park_timeout(Duration::from_millis(1));
        }
        call
    }
}

pub(crate) struct KafkaConsumer;

impl Hop for KafkaConsumer {
    const NAME: &'static str = "kafka consumer";
    const SPAN: (&'static str, SpanKind) = ("process otel-ml-matrix-received", SpanKind::Consumer);
    const DURATION: &'static str = "messaging.process.duration";
    const IN_FLIGHT: Option<&'static str> = None;
    const DROPPED: Option<&'static str> = Some("cancelled");
    const READS_CONTEXT: bool = true;
    const LAST_PARENT_WINS: bool = true;
    const IS_SERVICE: bool = false;

    fn link(settings: Settings, handler: Handler) -> Box<dyn Link> {
        let accepts = settings.accepts;
        let builder = OtelMlConsumer::builder()
            .telemetry(settings.telemetry)
            .filter(move |_: &Record<BorrowedMessage<'_>>| accepts);
        let consumer = ROUTE.with(|route| builder.create(route.config()));
        Receiving::link(consumer.unwrap(), handler)
    }

    fn unit_link(handler: Handler) -> Box<dyn Link> {
        let consumer: OtelMlConsumer = ROUTE.with(|route| route.config().create()).unwrap();
        Receiving::link(consumer, handler)
    }
}
