//! Holds every constant of the crate against the facts in `tests/data`.

#![cfg(test)]

mod attributes;
mod metrics;
mod sources;
mod values;

use std::sync::LazyLock;

use serde_json::Value;

/// Every name of semantic conventions 1.45.0.
static NAMES: LazyLock<Value> =
    LazyLock::new(|| parse(include_str!("../data/semconv-1.45.0-names.json")));
/// Types of semantic conventions 1.44.0.
static TYPES: LazyLock<Value> =
    LazyLock::new(|| parse(include_str!("../data/semconv-1.44.0-types.json")));
/// The GenAI conventions.
static GEN_AI: LazyLock<Value> =
    LazyLock::new(|| parse(include_str!("../data/semconv-genai-2026-08-03.json")));

fn parse(json: &str) -> Value {
    serde_json::from_str(json).expect("a fact file is JSON")
}

/// The texts of a JSON list.
fn texts(list: &Value) -> Vec<&str> {
    let items = list.as_array().expect("a fact is a list").iter();
    items
        .map(|item| item.as_str().expect("a fact is a text"))
        .collect()
}

/// The state of an attribute or metric in 1.45.0: `stable`, `development` or `deprecated`.
fn state(kind: &str, name: &str) -> Option<&'static str> {
    ["stable", "development", "deprecated"]
        .into_iter()
        .find(|state| texts(&NAMES[kind][*state]).contains(&name))
}

/// Whether upstream uses `name` for anything.
fn is_upstream(name: &str) -> bool {
    ["attributes", "metrics", "events"]
        .into_iter()
        .any(|kind| state(kind, name).is_some())
        || texts(&GEN_AI["attributes"]).contains(&name)
        || texts(&GEN_AI["metrics"]).contains(&name)
}
