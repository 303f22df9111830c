//! What may be there once only: each test in a process of its own.

use otel_ml_sdk::ErrorKind;
use otel_ml_sdk::log::{LogFormat, Logs};

/// The lines of JSON that the test `name` of this file writes, with `RUST_LOG` set.
fn lines(name: &str, directives: &str) -> Vec<serde_json::Value> {
    let name = format!("log::install::{name}");
    let lines = crate::alone::alone(&name, &[("RUST_LOG", directives)]);
    let lines = lines.lines().filter(|line| line.starts_with('{'));
    lines.map(|l| serde_json::from_str(l).unwrap()).collect()
}

#[cfg(feature = "tracing")]
#[test]
fn a_subscriber_is_installed_once() {
    let found = lines("subscribing_twice", "info,it=debug");
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
    let found = lines("logging_twice", "info,it=debug");
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
    let found = lines("installing_by_a_wrong_variable", "it=loud");
    assert_eq!(found, [serde_json::Value::Null; 0]);
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
    let given = |name: &str| (name == "RUST_LOG").then(|| "it=silent".to_owned());
    let error = otel_ml_sdk::builder().variables(given).log(logs).init();
    let error = error.unwrap_err().to_string();
    assert!(error.contains("RUST_LOG: `it=silent`"), "{error}");
}

#[cfg(feature = "tracing")]
#[test]
fn info_is_logged_unless_told_otherwise() {
    let found = lines("logging_by_default", " ");
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

#[cfg(feature = "tracing")]
#[test]
fn the_filter_is_read_from_the_variables_that_were_given() {
    let found = lines("filtering_by_given_variables", "off");
    let messages: Vec<_> = found.iter().map(|line| &line["message"]).collect();
    assert_eq!(messages, ["asked for"]);
}

#[cfg(feature = "tracing")]
#[test]
#[ignore = "run by the test above"]
fn filtering_by_given_variables() {
    let given = |name: &str| (name == "RUST_LOG").then(|| "it=debug".to_owned());
    let builder = otel_ml_sdk::builder().variables(given);
    let builder = builder.traces_to([]).metrics_to([]).logs_to([]);
    let guard = builder.log(Logs::new(LogFormat::Json)).init().unwrap();
    tracing::debug!("asked for");
    tracing::info!(target: "other", "left out");
    drop(guard);
}
