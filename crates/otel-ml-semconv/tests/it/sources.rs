//! Reads the crate's own source, so that a constant can't stay out of the registry.

use std::{collections::BTreeSet, fs, path::Path};

use otel_ml_semconv::{attributes, metrics, ml};

use crate::{is_upstream, state};

/// One `NAME: Kind, Stability = "key"` of a declaring macro.
struct Declaration {
    name: String,
    stability: &'static str,
    key: String,
}

/// The source without its comments.
fn code() -> String {
    fn read(folder: &Path, into: &mut String) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                read(&path, into);
            } else {
                let text = fs::read_to_string(path).unwrap();
                for line in text.lines().filter(|line| !line.trim().starts_with("//")) {
                    into.push_str(line);
                    into.push('\n');
                }
            }
        }
    }
    let mut code = String::new();
    read(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("src"),
        &mut code,
    );
    code
}

fn declarations(code: &str) -> Vec<Declaration> {
    let mut found = Vec::new();
    for stability in ["Stable", "Development"] {
        for (at, mark) in code.match_indices(&format!(", {stability} =")) {
            let line = code[..at].rsplit('\n').next().unwrap();
            let name = line.trim().split(':').next().unwrap();
            let key = code[at + mark.len()..].trim_start().strip_prefix('"');
            found.push(Declaration {
                name: name.to_owned(),
                stability,
                key: key.unwrap().split('"').next().unwrap().to_owned(),
            });
        }
    }
    found
}

#[test]
fn every_declared_constant_is_in_the_registry() {
    let code = code();
    let mut declared: Vec<_> = declarations(&code).into_iter().map(|d| d.key).collect();
    let mut listed: Vec<_> = attributes()
        .map(|attribute| attribute.key.to_owned())
        .chain(metrics().map(|metric| metric.name.to_owned()))
        .collect();
    assert!(listed.len() > 200);
    declared.sort();
    listed.sort();
    assert_eq!(declared, listed);
}

#[test]
fn every_literal_that_is_a_name_is_a_declared_one() {
    let code = code();
    let declared: BTreeSet<_> = declarations(&code).into_iter().map(|d| d.key).collect();
    let spans = [ml::span::LOAD_MODEL, ml::span::INIT_WEIGHTS];
    for literal in code
        .lines()
        .flat_map(|line| line.split('"').skip(1).step_by(2))
    {
        let ours = literal.starts_with(ml::PREFIX) && literal != ml::PREFIX;
        let upstream = literal.contains('.') && is_upstream(literal);
        if (ours || upstream) && !spans.contains(&literal) {
            assert!(declared.contains(literal), "{literal} is not declared");
        }
    }
}

#[test]
fn a_constant_is_called_as_its_key_without_the_namespace() {
    let namespaces: BTreeSet<_> = [
        "CLIENT",
        "DB",
        "DEPLOYMENT",
        "ERROR",
        "EXCEPTION",
        "GEN_AI",
        "HTTP",
        "KAFKA",
        "MESSAGING",
        "ML",
        "NETWORK",
        "OTEL",
        "RABBITMQ",
        "RPC",
        "SERVER",
        "SERVICE",
        "URL",
        "USER",
        "USER_AGENT",
    ]
    .into();
    for Declaration { name, key, .. } in declarations(&code()) {
        let family = if key.ends_with('.') { "_PREFIX" } else { "" };
        let name = name.strip_suffix(family).expect("a family is a prefix");
        let expected = key.trim_end_matches('.').replace('.', "_").to_uppercase();
        let namespace = expected
            .strip_suffix(name)
            .and_then(|rest| rest.strip_suffix('_'));
        assert!(
            namespace.is_some_and(|namespace| namespaces.contains(namespace)),
            "{key} is called {name}"
        );
    }
}

#[test]
fn the_stated_stability_of_a_metric_is_the_published_one() {
    for Declaration { stability, key, .. } in declarations(&code()) {
        if !metrics().any(|metric| metric.name == key) {
            continue;
        }
        let expected = match state("metrics", &key) {
            Some("stable") => "Stable",
            _ => "Development",
        };
        assert_eq!(stability, expected, "{key}");
    }
}
