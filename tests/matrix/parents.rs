//! Rows about what is above a call, below it and beside it.

use http::HeaderMap;
use otel_ml::{MlSpan, Telemetry, stage};
use otel_ml_testing::opentelemetry::trace::TracerProvider as _;
use otel_ml_testing::{
    SpanExt as _, SpansExt as _, TestTelemetry, assert_one_trace, assert_parents_present,
};
use tracing_subscriber::layer::SubscriberExt as _;

use crate::hop::{
    Hop, PARENT, Reply, SAMPLED, Settings, TRACE, UNSAMPLED, answering, from_afar, handler,
    headers, link, only, own, passed_on, poll,
};

/// A call with these headers starts a trace, and they are counted as `anomaly`.
async fn refused<H: Hop>(pairs: &[(&'static str, &str)], anomaly: &str) {
    let test = TestTelemetry::new();
    let mut link = link::<H>(&test, answering(Reply::Short));
    link.call(&headers(pairs)).await.unwrap();
    let span = only::<H>(&test);
    assert_eq!(span.parent(), None, "{pairs:?}");
    assert!(span.links.is_empty(), "{pairs:?}");
    assert_ne!(span.span_context.trace_id().to_string(), TRACE);
    let metrics = test.metrics();
    let counted = metrics.sum("ml.propagation.anomalies");
    assert_eq!(counted.with("ml.propagation.anomaly", anomaly).int(), 1);
}

pub(crate) async fn malformed<H: Hop>() {
    for traceparent in [
        "",
        "00",
        "00-0-0-01",
        &SAMPLED.to_uppercase(),
        &format!("{SAMPLED}-"),
    ] {
        refused::<H>(&[("traceparent", traceparent)], "malformed").await;
    }
}

pub(crate) async fn duplicate<H: Hop>() {
    let twice = [("traceparent", UNSAMPLED), ("traceparent", SAMPLED)];
    if !H::LAST_PARENT_WINS {
        return refused::<H>(&twice, "duplicate").await;
    }
    let test = TestTelemetry::new();
    let mut link = link::<H>(&test, answering(Reply::Short));
    link.call(&headers(&twice)).await.unwrap();
    assert_eq!(only::<H>(&test).parent_span_id.to_string(), PARENT);
    let metrics = test.metrics();
    let counted = metrics.sum("ml.propagation.anomalies");
    assert_eq!(counted.with("ml.propagation.anomaly", "duplicate").int(), 1);
}

pub(crate) async fn future_version<H: Hop>() {
    let test = TestTelemetry::new();
    let traceparent = format!("cc-{TRACE}-{PARENT}-01-what-may-come");
    let mut link = link::<H>(&test, answering(Reply::Short));
    link.call(&headers(&[("traceparent", &traceparent)]))
        .await
        .unwrap();
    let span = only::<H>(&test);
    assert_eq!(span.span_context.trace_id().to_string(), TRACE);
    assert_eq!(span.parent_span_id.to_string(), PARENT);
    assert!(!test.metrics().has("ml.propagation.anomalies"));
}

pub(crate) async fn absent<H: Hop>() {
    let test = TestTelemetry::new();
    let mut link = link::<H>(&test, answering(Reply::Short));
    link.call(&from_afar(SAMPLED)).await.unwrap();
    link.call(&HeaderMap::new()).await.unwrap();
    let spans = own::<H>(&test);
    assert_eq!(spans[0].span_context.trace_id().to_string(), TRACE);
    assert_ne!(spans[1].span_context.trace_id().to_string(), TRACE);
    assert_eq!(spans[1].parent(), None);
    assert!(spans[1].links.is_empty());
    assert!(!test.metrics().has("ml.propagation.anomalies"));
}

pub(crate) async fn unsampled<H: Hop>() {
    let test = TestTelemetry::new();
    let settings = Settings {
        telemetry: test.telemetry(),
        accepts: true,
    };
    let sent = from_afar(UNSAMPLED);
    assert_eq!(passed_on::<H>(settings, &sent).await, sent);
    assert!(test.spans().is_empty() && test.open_spans().is_empty());
    assert_eq!(test.metrics().histogram(H::DURATION).count(), 1);
}

pub(crate) async fn filtered<H: Hop>() {
    let test = TestTelemetry::new();
    let settings = Settings {
        telemetry: test.telemetry(),
        accepts: false,
    };
    let sent = from_afar(SAMPLED);
    assert_eq!(passed_on::<H>(settings, &sent).await, sent);
    assert!(test.spans().is_empty() && test.open_spans().is_empty());
    assert!(!test.metrics().has(H::DURATION));
    if let Some(metric) = H::IN_FLIGHT {
        assert!(!test.metrics().has(metric));
    }
}

pub(crate) async fn children<H: Hop>() {
    let test = TestTelemetry::new();
    let telemetry = test.telemetry();
    let handler = handler(move |_| {
        let telemetry = telemetry.clone();
        async move {
            let outer = stage("outer").telemetry(&telemetry);
            let inner = async {
                let pause = tokio::task::yield_now();
                stage("inner").run_infallible(pause).await;
            };
            outer.run_infallible(inner).await;
            Ok(Reply::Short)
        }
    });
    link::<H>(&test, handler)
        .call(&from_afar(SAMPLED))
        .await
        .unwrap();
    let spans = test.spans();
    assert_one_trace(&spans);
    assert_parents_present(&spans);
    let span = only::<H>(&test);
    assert_eq!(spans.children_of(&span), [spans.named("outer")]);
    assert_eq!(
        spans.children_of(spans.named("outer")),
        [spans.named("inner")]
    );
    assert_eq!(spans.len(), 3);
}

#[tracing::instrument(skip_all)]
async fn instrumented(telemetry: Telemetry) {
    tokio::task::yield_now().await;
    MlSpan::current().output_tokens(7);
    let inner = stage("inner").telemetry(&telemetry);
    inner.run_infallible(tokio::task::yield_now()).await;
}

pub(crate) async fn children_instrumented<H: Hop>() {
    let test = TestTelemetry::new();
    let tracer = test.tracer_provider().tracer("tracing");
    let subscriber = tracing_subscriber::registry();
    let subscriber = subscriber.with(tracing_opentelemetry::layer().with_tracer(tracer));
    let _tracing = tracing::subscriber::set_default(subscriber);
    let telemetry = test.telemetry();
    let handler = handler(move |_| {
        let work = instrumented(telemetry.clone());
        async {
            work.await;
            Ok(Reply::Short)
        }
    });
    link::<H>(&test, handler)
        .call(&from_afar(SAMPLED))
        .await
        .unwrap();
    let spans = test.spans();
    assert_one_trace(&spans);
    let span = only::<H>(&test);
    assert_eq!(spans.children_of(&span), [spans.named("instrumented")]);
    let inner = spans.children_of(spans.named("instrumented"));
    assert_eq!(inner, [spans.named("inner")]);
    if H::READS_CONTEXT {
        assert_eq!(span.int("gen_ai.usage.output_tokens"), 7);
    }
}

/// Calls in traces 1 and 2, polled in turn.
pub(crate) async fn concurrent<H: Hop>() {
    let test = TestTelemetry::new();
    let telemetry = test.telemetry();
    let handler = handler(move |passed_on: HeaderMap| {
        let telemetry = telemetry.clone();
        let number = passed_on["traceparent"].to_str().unwrap()[34..35]
            .parse()
            .unwrap();
        async move {
            for _ in 0..3 {
                MlSpan::current().input_tokens(number);
                let step = stage(format!("step {number}")).telemetry(&telemetry);
                step.run_infallible(tokio::task::yield_now()).await;
            }
            Ok(Reply::Short)
        }
    });
    let mut link = link::<H>(&test, handler);
    let parent = |number| format!("00-{number:032x}-{PARENT}-01");
    let mut calls = [1, 2].map(|number| link.call(&headers(&[("traceparent", &parent(number))])));
    for _ in 0..3 {
        for call in &mut calls {
            assert!(poll(call.as_mut()).is_pending());
        }
    }
    for call in calls {
        call.await.unwrap();
    }
    let spans = test.spans();
    assert_parents_present(&spans);
    let own = own::<H>(&test);
    assert_eq!((own.len(), spans.len()), (2, 8));
    for number in [1_u8, 2] {
        let is_of = format!("{number:032x}");
        let span = own
            .iter()
            .find(|span| span.span_context.trace_id().to_string() == is_of);
        let span = span.expect("a span in the caller's trace");
        let children = spans.children_of(span);
        assert_eq!(children, spans.all_named(&format!("step {number}")));
        assert_eq!(children.len(), 3);
        if H::READS_CONTEXT {
            assert_eq!(span.int("gen_ai.usage.input_tokens"), i64::from(number));
        }
    }
}

/// A client's facts are those of the operation around it.
pub(crate) async fn fact_rewritten<H: Hop>() {
    let test = TestTelemetry::new();
    let handler = handler(async |_| {
        for count in 0..1000 {
            MlSpan::current().output_tokens(count);
        }
        Ok(Reply::Short)
    });
    let mut link = link::<H>(&test, handler);
    let telemetry = test.telemetry();
    let around = stage("around").telemetry(&telemetry);
    around
        .run(async { link.call(&HeaderMap::new()).await })
        .await
        .unwrap();
    let spans = test.spans();
    let key = "gen_ai.usage.output_tokens";
    let all = spans.iter().flat_map(|span| &span.attributes);
    assert_eq!(
        all.filter(|attribute| attribute.key.as_str() == key)
            .count(),
        1
    );
    let told = if H::READS_CONTEXT {
        H::SPAN.0
    } else {
        "around"
    };
    assert_eq!(spans.named(told).int(key), 999);
}
