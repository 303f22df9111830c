use std::collections::HashSet;

use otel_ml_semconv::{Attribute, Stability, ValueType, attribute_type, attributes, ml};

use crate::{GEN_AI, NAMES, TYPES, state, texts};

/// Names of 1.45.0 that had another one in 1.44.0, whose types are the ones known.
const RENAMED: &[(&str, &str)] = &[
    ("messaging.system", "messaging.system.name"),
    ("messaging.kafka.offset", "kafka.offset"),
    ("messaging.kafka.message.key", "kafka.message.key"),
    (
        "messaging.kafka.message.tombstone",
        "kafka.message.tombstone",
    ),
    ("messaging.kafka.cluster.id", "kafka.cluster.id"),
    (
        "messaging.rabbitmq.destination.routing_key",
        "rabbitmq.destination.routing_key",
    ),
    (
        "messaging.rabbitmq.message.delivery_tag",
        "rabbitmq.message.delivery_tag",
    ),
    ("rpc.response.status_code", "rpc.status_code"),
];

const NEW_IN_1_45: &str = "new in 1.45.0, so without a type in 1.44.0";
const NEW_IN_GEN_AI: &str = "younger than 1.44.0; typed by the GenAI registry";

/// Types that differ from 1.44.0 or are younger, each with the reason.
const TYPE_DELTAS: &[(&str, &str, &str)] = &[
    ("http.request.body.content", "any", NEW_IN_1_45),
    ("http.response.body.content", "any", NEW_IN_1_45),
    ("gen_ai.conversation.compacted", "boolean", NEW_IN_GEN_AI),
    ("gen_ai.memory.query.text", "string", NEW_IN_GEN_AI),
    ("gen_ai.memory.record.count", "int", NEW_IN_GEN_AI),
    ("gen_ai.memory.record.id", "string", NEW_IN_GEN_AI),
    ("gen_ai.memory.records", "any", NEW_IN_GEN_AI),
    ("gen_ai.memory.store.id", "string", NEW_IN_GEN_AI),
    ("gen_ai.prompt.variable", "template[string]", NEW_IN_GEN_AI),
    ("gen_ai.prompt.version", "string", NEW_IN_GEN_AI),
    (
        "gen_ai.request.previous_response.id",
        "string",
        NEW_IN_GEN_AI,
    ),
    ("gen_ai.request.reasoning.level", "string", NEW_IN_GEN_AI),
    ("gen_ai.request.stream_cursor", "string", NEW_IN_GEN_AI),
    ("gen_ai.response.status", "string", NEW_IN_GEN_AI),
    ("gen_ai.retrieval.top_k", "int", NEW_IN_GEN_AI),
    (
        "gen_ai.request.top_k",
        "int",
        "double in 1.44.0, int in the GenAI conventions since",
    ),
    (
        "gen_ai.usage.cache_write.input_tokens",
        "int",
        "renamed from cache_creation, which is int in 1.44.0",
    ),
];

/// GenAI names the model of 2026-08-03 doesn't have, each with the one it has and the reason.
const GEN_AI_DELTAS: &[(&str, &str, &str)] = &[(
    "gen_ai.usage.cache_write.input_tokens",
    "gen_ai.usage.cache_creation.input_tokens",
    "renamed after 2026-08-03 by semantic-conventions-genai#440",
)];

fn is_gen_ai(key: &str) -> bool {
    key.starts_with("gen_ai.")
}

fn upstream() -> impl Iterator<Item = &'static Attribute> {
    attributes().filter(|attribute| !attribute.key.starts_with(ml::PREFIX))
}

/// The type published for `name` in the 1.44.0 file, under the name it had there.
fn type_in_1_44(name: &str) -> Option<&'static str> {
    let old = RENAMED.iter().find(|(_, new)| *new == name);
    TYPES["attributes"][old.map_or(name, |(old, _)| old)]["type"].as_str()
}

fn value_type(published: &str) -> ValueType {
    match published {
        "string" => ValueType::String,
        "int" => ValueType::Int,
        "double" => ValueType::Double,
        "boolean" => ValueType::Bool,
        "string[]" => ValueType::StringArray,
        "any" => ValueType::Any,
        values if values.starts_with("enum:") => ValueType::String,
        other => panic!("no value type for {other}"),
    }
}

#[test]
fn every_key_is_upstream_and_not_deprecated() {
    for attribute in upstream().filter(|attribute| !is_gen_ai(attribute.key)) {
        let published = if attribute.is_prefix() {
            // The list of 1.45.0 leaves key families out.
            let fact = &TYPES["attributes"][attribute.key.trim_end_matches('.')]["stable"];
            fact.as_bool()
                .map(|stable| if stable { "stable" } else { "development" })
        } else {
            state("attributes", attribute.key)
        };
        let expected = match attribute.stability {
            Stability::Stable => "stable",
            Stability::Development => "development",
        };
        assert_eq!(published, Some(expected), "{}", attribute.key);
    }
}

#[test]
fn every_gen_ai_key_is_in_the_model_or_a_stated_delta() {
    let model = texts(&GEN_AI["attributes"]);
    for attribute in upstream().filter(|attribute| is_gen_ai(attribute.key)) {
        let name = attribute.key.trim_end_matches('.');
        let stated = GEN_AI_DELTAS.iter().any(|(new, ..)| *new == name);
        assert_ne!(model.contains(&name), stated, "{name}");
        assert_eq!(attribute.stability, Stability::Development, "{name}");
    }
    for (new, old, reason) in GEN_AI_DELTAS {
        assert!(model.contains(old), "{old}: {reason}");
        assert!(attribute_type(old).is_none(), "{old} is {new} now");
    }
}

#[test]
fn every_type_is_the_published_one() {
    for attribute in upstream() {
        let name = attribute.key.trim_end_matches('.');
        let delta = TYPE_DELTAS.iter().find(|(key, ..)| *key == name);
        let published = delta
            .map(|(_, published, _)| *published)
            .or_else(|| type_in_1_44(name))
            .unwrap_or_else(|| panic!("no type published for {name}"));
        let template = published
            .strip_prefix("template[")
            .and_then(|inner| inner.strip_suffix(']'));
        assert_eq!(attribute.is_prefix(), template.is_some(), "{name}");
        let expected = value_type(template.unwrap_or(published));
        assert_eq!(attribute.value_type, expected, "{name}");
    }
}

#[test]
fn no_stated_exception_is_stale() {
    for (key, published, reason) in TYPE_DELTAS {
        assert_ne!(type_in_1_44(key), Some(*published), "{key}: {reason}");
        let known = upstream().any(|attribute| attribute.key.trim_end_matches('.') == *key);
        assert!(known, "{key}: {reason}");
    }
    for (old, new) in RENAMED {
        assert_eq!(state("attributes", old), Some("deprecated"), "{old}");
        assert!(attribute_type(new).is_some(), "{new}");
    }
}

#[test]
fn nothing_of_ours_collides_with_upstream() {
    let ours: Vec<_> = attributes()
        .filter(|attribute| attribute.key.starts_with(ml::PREFIX))
        .collect();
    assert!(ours.len() > 40);
    for kind in ["attributes", "metrics", "events"] {
        for state in ["stable", "development", "deprecated"] {
            for name in texts(&NAMES[kind][state]) {
                assert!(!format!("{name}.").starts_with(ml::PREFIX), "{name}");
            }
        }
    }
    for kind in ["attributes", "metrics"] {
        for name in texts(&GEN_AI[kind]) {
            assert!(!name.starts_with(ml::PREFIX), "{name}");
        }
    }
    for attribute in &ours {
        assert_eq!(attribute.stability, Stability::Development);
        let namespace = format!("{}.", attribute.key);
        for other in &ours {
            assert!(!other.key.starts_with(&namespace), "{namespace} is a key");
        }
    }
}

#[test]
fn no_key_is_listed_twice() {
    let mut seen = HashSet::new();
    for attribute in attributes() {
        assert!(seen.insert(attribute.key), "{}", attribute.key);
    }
}

#[test]
fn types_are_found_by_key_and_by_family() {
    use otel_ml_semconv::{gen_ai, http};

    assert_eq!(
        attribute_type(gen_ai::USAGE_INPUT_TOKENS),
        Some(ValueType::Int)
    );
    assert_eq!(attribute_type(ml::INPUT_SHAPE), Some(ValueType::IntArray));
    assert_eq!(
        attribute_type("http.request.header.x-request-id"),
        Some(ValueType::StringArray)
    );
    assert_eq!(attribute_type(http::REQUEST_HEADER_PREFIX), None);
    assert_eq!(attribute_type("http.request"), None);
    assert_eq!(attribute_type("latency_ms"), None);
}
