//! The propagation fields of an envelope: a map from text to text.

use otel_ml::carrier::{ExtractCarrier, Field, InjectCarrier};
use otel_ml::opentelemetry::propagation::{Extractor, Injector};
use otel_ml::semconv::ml;

use super::RESERVED;

/// Fields in the order in which they came: names in any case.
///
/// JSON lets a name come twice. Both are kept: a doubled `traceparent` then counts as none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Fields(Vec<(String, String)>);

impl Fields {
    pub(super) fn push(&mut self, name: String, value: String) {
        self.0.push((name, value));
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }

    pub(super) const fn len(&self) -> usize {
        self.0.len()
    }

    fn all<'a, 'n>(&'a self, name: &'n str) -> impl Iterator<Item = &'a str> + use<'a, 'n> {
        self.iter()
            .filter(move |(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }

    fn take_away(&mut self, name: &str) {
        self.0
            .retain(|(known, _)| !known.eq_ignore_ascii_case(name));
    }
}

impl Extractor for Fields {
    fn get(&self, key: &str) -> Option<&str> {
        let mut values = self.all(key);
        let value = values.next()?;
        let is_doubled_parent =
            values.next().is_some() && key.eq_ignore_ascii_case(Field::TraceParent.name());
        (!is_doubled_parent).then_some(value)
    }

    fn keys(&self) -> Vec<&str> {
        self.iter().map(|(name, _)| name).collect()
    }
}

impl ExtractCarrier for Fields {
    const TRANSPORT: &'static str = ml::transport::TASK;

    fn values(&self, field: Field) -> impl Iterator<Item = &[u8]> {
        self.all(field.name()).map(str::as_bytes)
    }
}

impl Injector for Fields {
    fn set(&mut self, key: &str, value: String) {
        self.take_away(key);
        if !RESERVED.contains(&key) {
            self.push(key.to_owned(), value);
        }
    }
}

impl InjectCarrier for Fields {
    fn replace(&mut self, field: Field, value: &[u8]) {
        self.take_away(field.name());
        // What a propagator writes is text.
        if let Ok(value) = std::str::from_utf8(value) {
            self.push(field.name().to_owned(), value.to_owned());
        }
    }

    fn remove(&mut self, field: Field) {
        self.take_away(field.name());
    }
}
