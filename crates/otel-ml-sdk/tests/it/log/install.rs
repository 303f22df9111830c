//! What may be there once only: each test in a process of its own.

use std::process::{Command, Output};

use otel_ml_sdk::ErrorKind;
use otel_ml_sdk::log::{LogFormat, Logs};

/// Runs the test `name` of this file, which is ignored otherwise, with `RUST_LOG` set.
fn alone(name: &str, directives: &str) -> Output {
    let name = format!("log::install::{name}");
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &name, "--ignored", "--nocapture"])
        .env("RUST_LOG", directives)
        .output()
        .unwrap()
}

/// The lines of JSON on stderr of a test that passed.
fn lines(child: &Output) -> Vec<serde_json::Value> {
    let out = String::from_utf8_lossy(&child.stdout);
    let lines = String::from_utf8(child.stderr.clone()).unwrap();
    assert!(child.status.success(), "{out}{lines}");
    assert!(out.contains("1 passed"), "{out}");
    let lines = lines.lines().filter(|line| line.starts_with('{'));
    lines.map(|l| serde_json::from_str(l).unwrap()).collect()
}

#[cfg(feature = "tracing")]
#[test]
fn a_subscriber_is_installed_once() {
    let child = alone("subscribing_twice", "info,it=debug");
    let found = lines(&child);
    let messages: Vec<_> = found.iter().map(|line| &line["message"]).collect();
    assert_eq!(messages, ["of this test", "of another"]);
}

#[cfg(feature = "tracing")]
#[test]
#[ignore = "run by the test above"]
fn subscribing_twice() {
    let logs = Logs::new(LogFormat::Json);
    logs.install_tracing().unwrap();
    let error = logs.install_tracing().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AlreadySet);
    assert!(error.to_string().contains("Logs::layer"), "{error}");
    tracing::debug!("of this test");
    tracing::debug!(target: "other", "left out");
    tracing::info!(target: "other", "of another");
}

#[cfg(feature = "log")]
#[test]
fn a_logger_is_installed_once() {
    let child = alone("logging_twice", "info,it=debug");
    let found = lines(&child);
    let messages: Vec<_> = found.iter().map(|line| &line["message"]).collect();
    assert_eq!(messages, ["of this test", "of another"]);
    assert_eq!(found[0]["tokens"], 12);
}

#[cfg(feature = "log")]
#[test]
#[ignore = "run by the test above"]
fn logging_twice() {
    let logs = Logs::new(LogFormat::Json);
    logs.install_log().unwrap();
    assert_eq!(log::max_level(), log::LevelFilter::Debug);
    let error = logs.install_log().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AlreadySet);
    assert!(error.to_string().contains("Logs::logger"), "{error}");
    log::debug!(tokens = 12; "of this test");
    log::debug!(target: "other", "left out");
    log::info!(target: "other", "of another");
    log::logger().flush();
}

#[test]
fn a_wrong_variable_is_named() {
    let child = alone("installing_by_a_wrong_variable", "it=loud");
    assert_eq!(lines(&child), [serde_json::Value::Null; 0]);
}

#[test]
#[ignore = "run by the test above"]
fn installing_by_a_wrong_variable() {
    let logs = Logs::new(LogFormat::Json);
    #[cfg(feature = "tracing")]
    let error = logs.install_tracing().unwrap_err();
    #[cfg(not(feature = "tracing"))]
    let error = logs.install_log().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Setting);
    assert!(error.to_string().contains("RUST_LOG: `it=loud`"), "{error}");
}

#[cfg(feature = "tracing")]
#[test]
fn info_is_logged_unless_told_otherwise() {
    let child = alone("logging_by_default", " ");
    let found = lines(&child);
    let messages: Vec<_> = found.iter().map(|line| &line["message"]).collect();
    assert_eq!(messages, ["informing"]);
}

#[cfg(feature = "tracing")]
#[test]
#[ignore = "run by the test above"]
fn logging_by_default() {
    Logs::new(LogFormat::Json).install_tracing().unwrap();
    tracing::debug!("left out");
    tracing::info!("informing");
}
