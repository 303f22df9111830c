//! What the README says that no example of it runs.

use otel_ml_sdk::{builder, otel_ml};

use crate::alone::alone;

const README: &str = include_str!("../../README.md");
const MANIFEST: &str = include_str!("../../Cargo.toml");

#[test]
fn it_depends_on_this_version_and_on_features_there_are() {
    let line = README
        .lines()
        .find(|line| line.starts_with("otel-ml-sdk = {"));
    let quoted: Vec<&str> = line.unwrap().split('"').skip(1).step_by(2).collect();
    let (version, features) = quoted.split_first().unwrap();
    let (own, _patch) = env!("CARGO_PKG_VERSION").rsplit_once('.').unwrap();
    assert_eq!(*version, own);
    assert_eq!(features, ["otlp-http", "tracing"]);
    for feature in features {
        assert!(MANIFEST.contains(&format!("\n{feature} = [")), "{feature}");
    }
    assert!(MANIFEST.contains("\ndefault = []\n"));
}

const CAPTURE: &str = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT";

#[test]
fn content_is_recorded_if_the_process_says_so() {
    alone("readme::recording_no_content", &[]);
    alone("readme::recording_no_content", &[(CAPTURE, "EVENT_ONLY")]);
    for value in ["true", "SPAN_ONLY", "SPAN_AND_EVENT"] {
        alone("readme::recording_content", &[(CAPTURE, value)]);
    }
}

fn captures() -> bool {
    let nowhere = builder().traces_to([]).metrics_to([]).logs_to([]);
    // It is the process that is asked.
    let guard = nowhere.variables(|_| None).build().unwrap();
    guard.telemetry().captures_content()
}

#[test]
#[ignore = "run by the test above"]
fn recording_no_content() {
    assert!(!captures());
    let telemetry = otel_ml::Telemetry::builder().capture_content(true).build();
    assert!(telemetry.captures_content());
}

#[test]
#[ignore = "run by the test above"]
fn recording_content() {
    assert!(captures());
}
