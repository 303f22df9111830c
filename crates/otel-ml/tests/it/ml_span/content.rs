//! Prompts and answers: off unless switched on, and then as the conventions describe them.

use std::process::Command;

use otel_ml::{MlSpan, Telemetry, genai};
use otel_ml_semconv::gen_ai;
use otel_ml_testing::{SpanExt, SpansExt, TestTelemetry, assert_no_secret};
use serde_json::{Value, json};

const SECRET: &str = "the user's own words";

fn telemetry(test: &TestTelemetry) -> otel_ml::TelemetryBuilder {
    Telemetry::builder()
        .tracer_provider(test.tracer_provider())
        .meter_provider(test.meter_provider())
}

fn contents() -> [(&'static str, Value); 3] {
    let parts = json!([
        { "type": "text", "content": SECRET },
        { "type": "tool_call", "id": "c1", "name": "search", "arguments": { "q": SECRET } },
    ]);
    [
        (
            gen_ai::INPUT_MESSAGES,
            json!([{ "role": "user", "parts": parts }]),
        ),
        (
            gen_ai::OUTPUT_MESSAGES,
            json!([{ "role": "assistant", "parts": parts, "finish_reason": "stop" }]),
        ),
        (
            gen_ai::SYSTEM_INSTRUCTIONS,
            json!([{ "type": "text", "content": SECRET }]),
        ),
    ]
}

fn chat(telemetry: &Telemetry) {
    let [input, output, instructions] = contents().map(|(_, json)| json.to_string());
    genai::chat("openai", "m")
        .telemetry(telemetry)
        .in_scope_infallible(|| {
            MlSpan::current()
                .input_messages(|| input)
                .output_messages(|| output)
                .system_instructions(|| instructions);
        });
}

/// Holds the parts of `value` against the members that the schemas require.
fn assert_shape(key: &str, value: &Value) {
    let file: Value =
        serde_json::from_str(include_str!("../../data/genai-content-shapes.json")).unwrap();
    let shape = &file["shapes"][key];
    let has = |object: &Value, required: &Value| {
        for member in required.as_array().unwrap() {
            assert!(
                object.get(member.as_str().unwrap()).is_some(),
                "{key}: {member} of {object}"
            );
        }
    };
    for item in value.as_array().unwrap() {
        has(item, &shape["message"]);
        let parts = item
            .get("parts")
            .map_or_else(|| vec![item], |p| p.as_array().unwrap().iter().collect());
        for part in parts {
            let kind = part["type"].as_str().unwrap();
            has(part, &shape["parts"][kind]);
        }
    }
}

#[test]
fn e33_content_is_not_recorded_and_not_even_made_unless_switched_on() {
    let test = TestTelemetry::new();
    for telemetry in [
        telemetry(&test).capture_content(false).build(),
        test.telemetry(),
    ] {
        assert!(!telemetry.captures_content());
        genai::chat("openai", "m")
            .telemetry(&telemetry)
            .in_scope_infallible(|| {
                MlSpan::current()
                    .input_messages(|| panic!("made"))
                    .output_messages(|| panic!("made"))
                    .system_instructions(|| panic!("made"));
            });
        chat(&telemetry);
    }
    assert_eq!(test.spans().len(), 4);
    assert_no_secret(&test.spans(), &[SECRET]);
}

#[test]
fn content_is_json_text_of_the_shape_that_the_schemas_require() {
    let test = TestTelemetry::new();
    let telemetry = telemetry(&test).capture_content(true).build();
    assert!(telemetry.captures_content());
    chat(&telemetry);
    let span = test.spans().named("chat m").clone();
    for (key, expected) in contents() {
        let recorded: Value = serde_json::from_str(span.str(key)).unwrap();
        assert_eq!(recorded, expected);
        assert_shape(key, &recorded);
    }
}

#[test]
fn content_is_not_made_where_the_span_is_not_recorded() {
    let test = TestTelemetry::builder().always_off().build();
    let telemetry = telemetry(&test).capture_content(true).build();
    genai::chat("openai", "m")
        .telemetry(&telemetry)
        .in_scope_infallible(|| {
            MlSpan::current().input_messages(|| panic!("made"));
        });
}

const EXPECTED: &str = "OTEL_ML_TEST_CAPTURES_CONTENT";

/// Run by the test below in processes with an environment of their own.
#[test]
fn the_environment_of_this_process_decides() {
    let expected = std::env::var(EXPECTED).is_ok_and(|value| value == "true");
    assert_eq!(Telemetry::builder().build().captures_content(), expected);
    assert_eq!(Telemetry::global().captures_content(), expected);
    assert!(
        Telemetry::builder()
            .capture_content(true)
            .build()
            .captures_content()
    );
    assert!(
        !Telemetry::builder()
            .capture_content(false)
            .build()
            .captures_content()
    );
}

#[test]
fn content_is_switched_on_by_the_standard_variable() {
    let cases = [
        ("true", true),
        ("TRUE", true),
        ("SPAN_ONLY", true),
        ("span_and_event", true),
        ("EVENT_ONLY", false),
        ("NO_CONTENT", false),
        ("false", false),
        ("", false),
        ("yes", false),
    ];
    for (value, expected) in cases {
        let child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "ml_span::content::the_environment_of_this_process_decides",
            ])
            .env(gen_ai::CAPTURE_MESSAGE_CONTENT_ENV, value)
            .env(EXPECTED, expected.to_string())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&child.stdout);
        assert!(
            child.status.success() && said.contains("1 passed"),
            "{value:?}: {said}"
        );
    }
}
