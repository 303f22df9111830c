//! A small service, as it is written with otel-ml.

use otel_ml::opentelemetry::logs::{
    AnyValue, LogRecord as _, Logger as _, LoggerProvider as _, Severity,
};
use otel_ml::opentelemetry::trace::{
    SpanContext, SpanId, SpanKind, TraceContextExt as _, TraceFlags, TraceId, TraceState,
    Tracer as _, TracerProvider as _,
};
use otel_ml::opentelemetry::{Array, Context, InstrumentationScope, KeyValue, Value};
use otel_ml::semconv::SCHEMA_URL;
use otel_ml::{ErrorType, Handle, MlSpan, Operation, Outcome};
use otel_ml_sdk::Guard;

/// Who asked: a service elsewhere.
pub(crate) fn caller() -> SpanContext {
    remote(0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c, 0xb7ad)
}

/// What the request has to do with, in another trace.
pub(crate) fn cause() -> SpanContext {
    remote(0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736, 0x00f0)
}

fn remote(trace: u128, span: u64) -> SpanContext {
    SpanContext::new(
        TraceId::from(trace),
        SpanId::from(span),
        TraceFlags::SAMPLED,
        true,
        TraceState::from_key_value([("vendor", "1")]).unwrap(),
    )
}

/// One request that is answered, with a stage, an event and a log line inside, and one that
/// fails. The span contexts of the two requests.
pub(crate) fn serve(guard: &Guard) -> [SpanContext; 2] {
    let request = |name: &'static str| {
        Operation::builder(guard.telemetry(), SpanKind::Server, name.into())
            .handle(Handle::Recorded)
    };
    let mut answered = request("POST /rank")
        .parent(Context::new().with_remote_span_context(caller()))
        .link(cause(), vec![KeyValue::new("attempt", 2)])
        .start(|| (), |to| to.push("http.request.method", "POST"));
    let mut failed = request("POST /embed").start(|| (), |_| ());
    let ids = [answered.span_context(), failed.span_context()];
    answered.scope(|| {
        write_facts();
        let current = Context::current();
        let event = vec![KeyValue::new("index", 0)];
        current.span().add_event("first_token", event);
        log(guard);
        otel_ml::stage("rerank")
            .telemetry(guard.telemetry())
            .in_scope_infallible(|| MlSpan::current().candidate_count(20).clone());
    });
    answered.finish(Outcome::Ok);
    failed.scope(|| ());
    failed.finish(Outcome::Failed(ErrorType::TIMEOUT));
    ids
}

/// Facts of every type that there is.
fn write_facts() {
    MlSpan::current()
        .model("cross-encoder")
        .input_tokens(7)
        .confidence(0.25)
        .cache_lookup("answers", false)
        .finish_reasons(["stop", "length"])
        .input_shape(&[8, 384])
        .set("test.largest", i64::MAX)
        .set("test.zero", 0)
        .set("test.whole", 2.0)
        .set("test.nan", f64::NAN)
        .set("test.empty", "")
        .set("test.doubles", Value::Array(Array::F64(vec![0.5, 1.0])))
        .set("test.bools", Value::Array(Array::Bool(vec![true, false])));
}

fn log(guard: &Guard) {
    let scope = InstrumentationScope::builder("ranker")
        .with_version("2.1.0")
        .with_schema_url(SCHEMA_URL)
        .build();
    let logger = guard.logger_provider().unwrap().logger_with_scope(scope);
    let mut line = logger.create_log_record();
    line.set_severity_number(Severity::Warn);
    line.set_severity_text("WARN");
    line.set_body(AnyValue::from("running late"));
    line.add_attribute("queue", 3);
    line.add_attribute("ratio", 0.5);
    logger.emit(line);
}

/// Records `count` spans that have nothing to say, each a trace of its own. Their ids.
pub(crate) fn record(guard: &Guard, count: usize) -> Vec<String> {
    let tracer = guard.tracer_provider().unwrap().tracer("load");
    let ids = (0..count).map(|_| {
        let cx = Context::new();
        let cx = cx.with_span(tracer.start_with_context("work", &Context::new()));
        cx.span().span_context().span_id().to_string()
    });
    ids.collect()
}

/// Writes `count` log records.
pub(crate) fn write(guard: &Guard, count: usize) {
    let logger = guard.logger_provider().unwrap().logger("load");
    for _ in 0..count {
        let mut line = logger.create_log_record();
        line.set_body(AnyValue::from("working"));
        logger.emit(line);
    }
}
