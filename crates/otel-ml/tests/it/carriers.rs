//! A carrier as brokers have it: named values in order, nothing unique, nothing text.

use opentelemetry::propagation::{Extractor, Injector};
use otel_ml::carrier::{ExtractCarrier, Field, InjectCarrier, Repeated};

/// Append-only headers whose last valid `traceparent` counts.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Records(pub(crate) Vec<(String, Option<Vec<u8>>)>);

impl Records {
    pub(crate) fn with(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.0.push((name.into(), Some(value.as_ref().to_vec())));
        self
    }

    pub(crate) fn with_null(mut self, name: &str) -> Self {
        self.0.push((name.into(), None));
        self
    }

    /// The values of `name` that are text.
    pub(crate) fn texts(&self, name: &str) -> Vec<&str> {
        self.bytes(name)
            .filter_map(|value| std::str::from_utf8(value).ok())
            .collect()
    }

    fn bytes(&self, name: &str) -> impl Iterator<Item = &[u8]> {
        self.0
            .iter()
            .filter(move |(known, _)| known.eq_ignore_ascii_case(name))
            .filter_map(|(_, value)| value.as_deref())
    }
}

impl Extractor for Records {
    fn get(&self, key: &str) -> Option<&str> {
        self.texts(key).last().copied()
    }

    fn keys(&self) -> Vec<&str> {
        self.0.iter().map(|(name, _)| name.as_str()).collect()
    }

    fn get_all(&self, key: &str) -> Option<Vec<&str>> {
        Some(self.texts(key)).filter(|values| !values.is_empty())
    }
}

impl ExtractCarrier for Records {
    const TRANSPORT: &'static str = "memory";
    const REPEATED: Repeated = Repeated::LastWins;

    fn values(&self, field: Field) -> impl Iterator<Item = &[u8]> {
        self.bytes(field.name())
    }
}

impl Injector for Records {
    fn set(&mut self, key: &str, value: String) {
        self.0.retain(|(name, _)| !name.eq_ignore_ascii_case(key));
        self.0.push((key.into(), Some(value.into_bytes())));
    }
}

impl InjectCarrier for Records {
    fn replace(&mut self, field: Field, value: &[u8]) {
        self.remove(field);
        self.0.push((field.name().into(), Some(value.to_vec())));
    }

    fn remove(&mut self, field: Field) {
        self.0
            .retain(|(name, _)| !name.eq_ignore_ascii_case(field.name()));
    }
}
