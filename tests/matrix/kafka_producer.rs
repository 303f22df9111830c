//! The producer of Kafka: each call sends a message to a broker and takes it out again. What is
//! inside a send is the broker's, not a handler's: where rows are about a handler, what a message
//! is made of stands for it (it is asked for its bytes by the send), or who receives it.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use http::HeaderMap;
use otel_ml::hooks::AllHooks;
use otel_ml::messaging::{Message as _, process};
use otel_ml::opentelemetry::context::FutureExt as _;
use otel_ml::opentelemetry::trace::{SpanKind, TraceContextExt as _, TracerProvider as _};
use otel_ml::semconv::kafka;
use otel_ml::{Options, Outcome, Telemetry, stage};
use otel_ml_rdkafka::rdkafka::client::DefaultClientContext;
use otel_ml_rdkafka::rdkafka::error::{KafkaError, RDKafkaErrorCode};
use otel_ml_rdkafka::rdkafka::message::{Headers as _, Message as _, OwnedMessage, ToBytes};
use otel_ml_rdkafka::rdkafka::producer::FutureRecord;
use otel_ml_rdkafka::rdkafka::util::DefaultRuntime;
use otel_ml_rdkafka::{OtelMlProducer, Outgoing, Record};
use otel_ml_testing::matrix::{NotApplicable, Row, Transport};
use otel_ml_testing::{SpanExt as _, SpansExt as _, TestTelemetry, assert_ended_once};
use tracing_subscriber::layer::SubscriberExt as _;

use crate::hop::{
    Call, Handler, Hop, Link, PARENT, SAMPLED, Settings, assert_error, caller, from_afar, headers,
    only, own, poll,
};
use crate::kafka::{LONG, Route, owned};
use crate::memory::settled;
use crate::{ends, outgoing, parents, setup};

const TOPIC: &str = "otel-ml-matrix-sent";

thread_local! {
    static ROUTE: Route = Route::new(TOPIC);
}

pub(crate) fn transport() -> Transport {
    type P = KafkaProducer;
    let transport = Transport::new(P::NAME)
        .cell(Row::Success, ends::success::<P>)
        .cell(Row::InnerError, inner_error)
        .cell(Row::HandlerPanic, panic)
        .cell(Row::PanicCaughtOutside, panic_caught_outside)
        .cell(Row::DroppedUnpolled, ends::dropped_unpolled::<P>)
        .cell(Row::DroppedMidway, dropped_midway)
        .cell(Row::Empty, empty)
        .cell(Row::EndedOnce, ended_once)
        .cell(Row::TraceparentAbsent, parents::absent::<P>)
        .cell(Row::UnsampledParent, parents::unsampled::<P>)
        .cell(Row::Filtered, parents::filtered::<P>)
        .cell(Row::Children, children)
        .cell(Row::ChildrenInstrumented, children_instrumented)
        .cell(Row::Concurrent, concurrent)
        .cell(Row::FactRewritten, parents::fact_rewritten::<P>)
        .cell(Row::SensitiveHeaders, setup::sensitive_headers::<P>)
        .cell(Row::NoSdk, no_sdk)
        .cell(Row::BuiltBeforeProvider, setup::built_before_provider::<P>)
        .cell(Row::ProviderShutDown, setup::provider_shut_down::<P>)
        .cell(Row::ProviderReplaced, setup::provider_replaced::<P>)
        .na(Row::InFlightZero, NotApplicable::NoInFlight)
        .na(Row::PollReady, NotApplicable::NoService);
    outgoing(transport)
}

type Producer<H = otel_ml_rdkafka::DefaultHooks> =
    OtelMlProducer<DefaultClientContext, DefaultRuntime, H>;

fn producer(test: &TestTelemetry) -> Producer {
    let builder = OtelMlProducer::builder().telemetry(test.telemetry());
    ROUTE.with(|route| builder.create(route.config())).unwrap()
}

fn message() -> FutureRecord<'static, str, str> {
    FutureRecord::to(TOPIC).partition(0).payload("a")
}

/// What was sent, at the far side.
fn arrived() -> OwnedMessage {
    ROUTE.with(Route::next)
}

async fn sent(producer: &Producer) -> OwnedMessage {
    producer.send(message(), LONG).await.unwrap();
    arrived()
}

struct Sending<H> {
    producer: Producer<H>,
    handler: Handler,
}

impl<H> Link for Sending<H>
where
    H: for<'a> AllHooks<Outgoing<'a>> + 'static,
{
    fn call(&mut self, headers: &HeaderMap) -> Call {
        let (caller, own) = caller(headers);
        let (producer, handler) = (self.producer.clone(), Arc::clone(&self.handler));
        Box::pin(async move {
            let record = message().headers(owned(&own));
            let sent = producer.send(record, LONG).with_context(caller);
            sent.await.unwrap();
            let message = arrived();
            let mut passed_on = HeaderMap::new();
            for header in message.headers().into_iter().flat_map(|all| all.iter()) {
                let name: http::HeaderName = header.key.parse().unwrap();
                let value = header.value.unwrap_or_default();
                passed_on.append(name, value.try_into().unwrap());
            }
            settled(handler(passed_on).await?).await;
            Ok(())
        })
    }
}

struct KafkaProducer;

impl Hop for KafkaProducer {
    const NAME: &'static str = "kafka producer";
    const SPAN: (&'static str, SpanKind) = ("send otel-ml-matrix-sent", SpanKind::Producer);
    const DURATION: &'static str = "messaging.client.operation.duration";
    const IN_FLIGHT: Option<&'static str> = None;
    const DROPPED: Option<&'static str> = Some("cancelled");
    const READS_CONTEXT: bool = false;
    const IS_SERVICE: bool = false;

    fn link(settings: Settings, handler: Handler) -> Box<dyn Link> {
        let accepts = settings.accepts;
        let builder = OtelMlProducer::builder()
            .telemetry(settings.telemetry)
            .filter(move |_: &Outgoing<'_>| accepts);
        let producer = ROUTE.with(|route| builder.create(route.config()));
        let producer: Producer<_> = producer.unwrap();
        Box::new(Sending { producer, handler })
    }

    fn unit_link(handler: Handler) -> Box<dyn Link> {
        let producer: OtelMlProducer = ROUTE.with(|route| route.config().create()).unwrap();
        Box::new(Sending { producer, handler })
    }
}

/// The broker has no such partition.
async fn refused(producer: &Producer) {
    let (error, message) = producer
        .send(message().partition(1_000), LONG)
        .await
        .unwrap_err();
    let code = RDKafkaErrorCode::UnknownPartition;
    assert_eq!(error, KafkaError::MessageProduction(code));
    assert_eq!(message.payload(), Some(b"a".as_slice()));
}

async fn inner_error() {
    let test = TestTelemetry::new();
    refused(&producer(&test)).await;
    assert_error::<KafkaProducer>(&test, Some("UnknownPartition"));
}

/// Bytes that can be had once: not for the send itself.
struct Once(Cell<bool>);

impl ToBytes for Once {
    fn to_bytes(&self) -> &[u8] {
        if self.0.replace(true) {
            std::panic::panic_any("on purpose");
        }
        b"a"
    }
}

/// The whole send is unwound.
async fn panic() {
    let test = TestTelemetry::new();
    let producer = producer(&test);
    let bytes = Once(Cell::new(false));
    let unwound = catch_unwind(AssertUnwindSafe(|| {
        let record: FutureRecord<'_, str, Once> = FutureRecord::to(TOPIC).payload(&bytes);
        let mut send = Box::pin(producer.send(record, LONG));
        while poll(send.as_mut()).is_pending() {}
    }));
    assert_eq!(unwound.unwrap_err().downcast_ref(), Some(&"on purpose"));
    assert_error::<KafkaProducer>(&test, Some("panic"));
}

/// The poll is unwound; the send is dropped later, by a program that goes on.
async fn panic_caught_outside() {
    let test = TestTelemetry::new();
    let producer = producer(&test);
    let bytes = Once(Cell::new(false));
    let record: FutureRecord<'_, str, Once> = FutureRecord::to(TOPIC).payload(&bytes);
    let mut send = Box::pin(producer.send(record, LONG));
    let caught = catch_unwind(AssertUnwindSafe(|| poll(send.as_mut()).is_ready()));
    assert_eq!(caught.unwrap_err().downcast_ref(), Some(&"on purpose"));
    assert_error::<KafkaProducer>(&test, Some("panic"));
    drop(send);
    assert_error::<KafkaProducer>(&test, Some("panic"));
    assert!(!only::<KafkaProducer>(&test).has("ml.cancel.reason"));
}

/// Given up before its answer; stored all the same.
fn abandoned(producer: &Producer) -> OwnedMessage {
    let mut send = Box::pin(producer.send(message(), LONG));
    assert!(poll(send.as_mut()).is_pending());
    drop(send);
    arrived()
}

async fn dropped_midway() {
    let test = TestTelemetry::new();
    abandoned(&producer(&test));
    assert_error::<KafkaProducer>(&test, Some("cancelled"));
    let span = only::<KafkaProducer>(&test);
    assert_eq!(span.str("ml.cancel.reason"), "dropped");
}

/// Neither key nor payload nor headers.
async fn empty() {
    let test = TestTelemetry::new();
    let record: FutureRecord<'_, str, str> = FutureRecord::to(TOPIC).partition(0);
    producer(&test).send(record, LONG).await.unwrap();
    assert_eq!(arrived().payload(), None);
    assert_error::<KafkaProducer>(&test, None);
    assert!(only::<KafkaProducer>(&test).bool(kafka::MESSAGE_TOMBSTONE));
}

async fn ended_once() {
    let test = TestTelemetry::new();
    let producer = producer(&test);
    sent(&producer).await;
    refused(&producer).await;
    abandoned(&producer);
    drop(producer.send(message(), LONG));
    let delivering = producer.send_result(message()).map_err(|(error, _)| error);
    delivering.unwrap().await.unwrap().unwrap();
    drop(producer.send_result(message()));
    for _ in 0..2 {
        arrived();
    }
    let bytes = Once(Cell::new(false));
    let record: FutureRecord<'_, str, Once> = FutureRecord::to(TOPIC).payload(&bytes);
    let mut send = Box::pin(producer.send(record, LONG));
    assert!(catch_unwind(AssertUnwindSafe(|| poll(send.as_mut()).is_ready())).is_err());
    drop(send);
    // One is never polled.
    assert_eq!(own::<KafkaProducer>(&test).len(), 6);
    assert_ended_once(&test.spans());
    assert!(test.open_spans().is_empty());
    let counted = test.metrics().histogram(KafkaProducer::DURATION).count();
    assert_eq!(counted, 6);
}

/// Who receives `message` does some work.
fn handled(telemetry: &Telemetry, message: OwnedMessage) {
    let options: Options = Options {
        telemetry: telemetry.clone(),
        ..Options::default()
    };
    let mut processing = process(&Record::new(message), &options);
    processing.scope(|| stage("inner").in_scope_infallible(|| ()));
    processing.finish(Outcome::Ok);
}

async fn children() {
    let test = TestTelemetry::new();
    let (caller, _) = caller(&from_afar(SAMPLED));
    let message = sent(&producer(&test)).with_context(caller).await;
    handled(&test.telemetry(), message);
    let spans = test.spans();
    let processed = spans.children_of(&only::<KafkaProducer>(&test));
    assert_eq!(processed, [spans.named("process otel-ml-matrix-sent")]);
    assert_eq!(spans.children_of(processed[0]), [spans.named("inner")]);
    assert_eq!(spans.len(), 3);
}

#[tracing::instrument(skip_all)]
async fn instrumented(producer: &Producer) -> OwnedMessage {
    tokio::task::yield_now().await;
    sent(producer).await
}

async fn children_instrumented() {
    let test = TestTelemetry::new();
    let tracer = test.tracer_provider().tracer("tracing");
    let subscriber = tracing_subscriber::registry();
    let subscriber = subscriber.with(tracing_opentelemetry::layer().with_tracer(tracer));
    let _tracing = tracing::subscriber::set_default(subscriber);
    let message = instrumented(&producer(&test)).await;
    handled(&test.telemetry(), message);
    let spans = test.spans();
    let sent = only::<KafkaProducer>(&test);
    assert_eq!(
        spans.children_of(spans.named("instrumented")),
        [spans.named(&sent.name)]
    );
    let processed = [spans.named("process otel-ml-matrix-sent")];
    assert_eq!(spans.children_of(&sent), processed);
}

/// Sends in traces 1 and 2, under way at the same time.
async fn concurrent() {
    let test = TestTelemetry::new();
    let producer = producer(&test);
    let mut sends = [1, 2].map(|number| {
        let parent = format!("00-{number:032x}-{PARENT}-01");
        let (caller, _) = caller(&headers(&[("traceparent", &parent)]));
        Box::pin(producer.send(message(), LONG).with_context(caller))
    });
    for send in &mut sends {
        assert!(poll(send.as_mut()).is_pending());
    }
    for send in sends {
        send.await.unwrap();
    }
    // Each message has its own.
    let telemetry = test.telemetry();
    let carried = [arrived(), arrived()].map(|message| {
        let sender = Record::new(message).sender(&telemetry);
        let sender = sender.span().span_context().clone();
        (sender.trace_id(), sender.span_id())
    });
    let sent = own::<KafkaProducer>(&test).into_iter().map(|span| {
        assert_eq!(span.parent_span_id.to_string(), PARENT);
        (span.span_context.trace_id(), span.span_context.span_id())
    });
    let mut sent: Vec<_> = sent.collect();
    sent.sort_unstable_by_key(|(trace, _)| trace.to_bytes());
    assert_eq!(sent, carried);
    let traces = carried.map(|(trace, _)| u128::from_be_bytes(trace.to_bytes()));
    assert_eq!(traces, [1, 2]);
}

async fn no_sdk() {
    let telemetry = Telemetry::builder().build();
    assert!(!telemetry.is_tracing() && telemetry.instruments().is_none());
    let unit: OtelMlProducer = ROUTE.with(|route| route.config().create()).unwrap();
    let builder = OtelMlProducer::builder().telemetry(telemetry);
    let built: Producer = ROUTE.with(|route| builder.create(route.config())).unwrap();
    for producer in [unit, built] {
        assert!(sent(&producer).await.headers().is_none());
        refused(&producer).await;
    }
}
