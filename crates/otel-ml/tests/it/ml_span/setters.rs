//! E32: every setter writes its key with the type that the registry gives it.

use std::collections::HashSet;

use opentelemetry::{KeyValue, Value};
use otel_ml::{MlSpan, stage};
use otel_ml_semconv::{attribute_type, db, gen_ai, ml};
use otel_ml_testing::{IntoValue, SpansExt, TestTelemetry, assert_types};

type Write = fn(&MlSpan);

struct Row {
    write: Write,
    expected: Vec<KeyValue>,
}

/// A setter, and what it is to leave on the span.
macro_rules! rows {
    ($($name:ident($($argument:expr),*) => { $($key:expr => $value:expr),+ };)+) => { vec![$(Row {
        write: |span| { span.$name($($argument),*); },
        expected: vec![$(KeyValue::new($key, IntoValue::into_value($value))),+],
    }),+] };
}

fn rows() -> Vec<Row> {
    let mut rows = texts();
    rows.extend(integers());
    rows.extend(others());
    rows
}

fn texts() -> Vec<Row> {
    rows! {
        model("m") => { ml::MODEL_NAME => "m" };
        model_version("3") => { ml::MODEL_VERSION => "3" };
        quantization("int8") => { ml::MODEL_QUANTIZATION => "int8" };
        operation("predict") => { ml::OPERATION_NAME => "predict" };
        inference_phase("decode") => { ml::INFERENCE_PHASE => "decode" };
        input_class("long") => { ml::INPUT_CLASS => "long" };
        input_dtype("f32") => { ml::INPUT_DTYPE => "f32" };
        user_tier("pro") => { ml::USER_TIER => "pro" };
        gen_ai_operation("chat") => { gen_ai::OPERATION_NAME => "chat" };
        provider("openai") => { gen_ai::PROVIDER_NAME => "openai" };
        request_model("a") => { gen_ai::REQUEST_MODEL => "a" };
        response_model("b") => { gen_ai::RESPONSE_MODEL => "b" };
        response_id("r1") => { gen_ai::RESPONSE_ID => "r1" };
        conversation_id("c1") => { gen_ai::CONVERSATION_ID => "c1" };
        data_source("docs") => { gen_ai::DATA_SOURCE_ID => "docs" };
        feature_view("users") => { db::COLLECTION_NAME => "users" };
        worker("w1") => { ml::WORKER_ID => "w1" };
        batch_id("b1") => { ml::BATCH_ID => "b1" };
        batch_trigger("size") => { ml::BATCH_TRIGGER => "size" };
    }
}

fn integers() -> Vec<Row> {
    rows! {
        input_size(1) => { ml::INPUT_SIZE => 1 };
        output_size(2) => { ml::OUTPUT_SIZE => 2 };
        output_count(3) => { ml::OUTPUT_COUNT => 3 };
        batch_size(4) => { ml::BATCH_SIZE => 4 };
        batch_max_size(5) => { ml::BATCH_MAX_SIZE => 5 };
        input_nan_count(6) => { ml::INPUT_NAN_COUNT => 6 };
        input_tokens(7) => { gen_ai::USAGE_INPUT_TOKENS => 7 };
        output_tokens(0) => { gen_ai::USAGE_OUTPUT_TOKENS => 0 };
        cached_tokens(8) => { gen_ai::USAGE_CACHE_READ_INPUT_TOKENS => 8 };
        reasoning_tokens(9) => { gen_ai::USAGE_REASONING_OUTPUT_TOKENS => 9 };
        max_tokens(10) => { gen_ai::REQUEST_MAX_TOKENS => 10 };
        top_k(11) => { gen_ai::REQUEST_TOP_K => 11 };
        choice_count(12) => { gen_ai::REQUEST_CHOICE_COUNT => 12 };
        feature_count(13) => { ml::FEATURE_COUNT => 13 };
        feature_cache_hits(14) => { ml::FEATURE_CACHE_HIT_COUNT => 14 };
        document_count(15) => { ml::RETRIEVAL_DOCUMENT_COUNT => 15 };
        retrieval_top_k(16) => { gen_ai::RETRIEVAL_TOP_K => 16 };
        candidate_count(17) => { ml::RERANK_CANDIDATE_COUNT => 17 };
        reordered(18) => { ml::RERANK_REORDERED => 18 };
        embedding_dimension(19) => { gen_ai::EMBEDDINGS_DIMENSION_COUNT => 19 };
        returned_rows(20) => { db::RESPONSE_RETURNED_ROWS => 20 };
        stage_count(u64::MAX) => { ml::PIPELINE_STAGE_COUNT => i64::MAX };
        seed(-1) => { gen_ai::REQUEST_SEED => -1 };
    }
}

fn others() -> Vec<Row> {
    rows! {
        confidence(0.93) => { ml::PREDICTION_CONFIDENCE => 0.93 };
        temperature(0.0) => { gen_ai::REQUEST_TEMPERATURE => 0.0 };
        top_p(1.0) => { gen_ai::REQUEST_TOP_P => 1.0 };
        frequency_penalty(-0.5) => { gen_ai::REQUEST_FREQUENCY_PENALTY => -0.5 };
        presence_penalty(0.5) => { gen_ai::REQUEST_PRESENCE_PENALTY => 0.5 };
        feature_names(["age", "city"]) => { ml::FEATURE_NAMES => ["age", "city"] };
        finish_reasons(["stop"]) => { gen_ai::RESPONSE_FINISH_REASONS => ["stop"] };
        stop_sequences(["\n", "END"]) => { gen_ai::REQUEST_STOP_SEQUENCES => ["\n", "END"] };
        input_shape(&[1, 3, 224]) => { ml::INPUT_SHAPE => [1, 3, 224] };
        input_range(-1.0, 2.5) => { ml::INPUT_MIN => -1.0, ml::INPUT_MAX => 2.5 };
        cache_lookup("features", false) => { ml::CACHE_NAME => "features", ml::CACHE_HIT => false };
        error_transient(true) => { ml::ERROR_TRANSIENT => true };
        cost(0.25, "USD") => { ml::COST_AMOUNT => 0.25, ml::COST_CURRENCY => "USD" };
        usage_partial() => { ml::USAGE_PARTIAL => true };
        set("app.tenant", "a") => { "app.tenant" => "a" };
    }
}

/// The attributes of a stage in which `write` was called, without the stage's own.
fn written(write: Write) -> Vec<KeyValue> {
    let test = TestTelemetry::new();
    stage("s")
        .telemetry(&test.telemetry())
        .in_scope_infallible(|| write(&MlSpan::current()));
    assert_types(&test.spans());
    let mut attributes = test.spans().named("s").attributes.clone();
    attributes.retain(|attribute| attribute.key.as_str() != ml::PIPELINE_STAGE_NAME);
    attributes
}

#[test]
fn e32_each_setter_writes_its_key_and_type() {
    for row in rows() {
        assert_eq!(written(row.write), row.expected);
    }
}

#[test]
fn every_key_is_of_the_registry_and_of_one_setter() {
    let keys: Vec<_> = rows()
        .iter()
        .flat_map(|row| &row.expected)
        .map(|attribute| attribute.key.to_string())
        .filter(|key| key != "app.tenant")
        .collect();
    let unknown: Vec<_> = keys
        .iter()
        .filter(|key| attribute_type(key).is_none())
        .collect();
    assert!(unknown.is_empty(), "{unknown:?}");
    assert_eq!(keys.iter().collect::<HashSet<_>>().len(), keys.len());
    assert!(keys.len() > 55);
}

#[test]
fn a_stage_left_out_is_told_to_the_operation_around() {
    let test = TestTelemetry::new();
    otel_ml::model::load("m")
        .telemetry(&test.telemetry())
        .in_scope_infallible(|| {
            MlSpan::current().skipped(ml::stage::RERANK, "budget");
        });
    let span = test.spans().named("ml.load_model m").clone();
    let expected = [
        KeyValue::new(ml::PIPELINE_STAGE_NAME, "rerank"),
        KeyValue::new(ml::STAGE_SKIPPED, true),
        KeyValue::new(ml::STAGE_SKIP_REASON, "budget"),
    ];
    for attribute in expected {
        assert!(span.attributes.contains(&attribute), "{attribute:?}");
    }
    assert_types(&test.spans());
}

#[test]
fn text_may_be_borrowed_owned_or_shared() {
    let test = TestTelemetry::new();
    stage("s")
        .telemetry(&test.telemetry())
        .in_scope_infallible(|| {
            let span = MlSpan::current();
            span.model(String::from("owned"));
            span.worker(std::sync::Arc::<str>::from("shared"));
            span.feature_names(vec![String::from("a")]);
        });
    let span = test.spans().named("s").clone();
    let text = |key: &str| match span.attributes.iter().find(|a| a.key.as_str() == key) {
        Some(KeyValue {
            value: Value::String(text),
            ..
        }) => text.to_string(),
        other => panic!("{other:?}"),
    };
    assert_eq!(
        (text(ml::MODEL_NAME), text(ml::WORKER_ID)),
        ("owned".into(), "shared".into())
    );
}
