//! What carries the propagation fields across a hop.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::fmt;

use http::header::{HeaderMap, HeaderName, HeaderValue};
use opentelemetry::propagation::{Extractor, Injector};

use crate::propagation::{TRACEPARENT_LEN, tracestate};

/// A propagation field of W3C Trace Context and Baggage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Field {
    /// `traceparent`
    TraceParent,
    /// `tracestate`
    TraceState,
    /// `baggage`
    Baggage,
}

impl Field {
    /// All fields that are read, and replaced on the way out.
    pub const ALL: [Self; 3] = [Self::TraceParent, Self::TraceState, Self::Baggage];

    /// The field's name, lower case.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::TraceParent => "traceparent",
            Self::TraceState => "tracestate",
            Self::Baggage => "baggage",
        }
    }

    const fn header(self) -> &'static HeaderName {
        static TRACE_PARENT: HeaderName = HeaderName::from_static("traceparent");
        static TRACE_STATE: HeaderName = HeaderName::from_static("tracestate");
        static BAGGAGE: HeaderName = HeaderName::from_static("baggage");
        match self {
            Self::TraceParent => &TRACE_PARENT,
            Self::TraceState => &TRACE_STATE,
            Self::Baggage => &BAGGAGE,
        }
    }
}

/// What several `traceparent` values in one carrier mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeated {
    /// The parent is unknown: none is used. The rule of HTTP and gRPC.
    Refuse,
    /// The last valid one counts. The rule of append-only headers, such as Kafka's.
    LastWins,
}

/// A carrier that the fields are read from.
///
/// Implementations never panic; a value that can't be read is absent.
pub trait ExtractCarrier: Extractor {
    /// The transport's name in `ml.propagation.transport`: `http`, `kafka`, ….
    const TRANSPORT: &'static str;
    /// What several `traceparent` values mean here.
    const REPEATED: Repeated = Repeated::Refuse;

    /// The raw values of `field`, in the order of the carrier. Names match in any case.
    fn values(&self, field: Field) -> impl Iterator<Item = &[u8]>;

    /// The only value of `field`, as far as there is one.
    fn only(&self, field: Field) -> Only<'_> {
        let mut values = self.values(field);
        match (values.next(), values.next()) {
            (None, _) => Only::Nothing,
            (Some(value), None) => Only::One(value),
            (Some(_), Some(_)) => Only::Several,
        }
    }
}

/// How many values a field has, and the value if it is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Only<'a> {
    /// None.
    Nothing,
    /// This one.
    One(&'a [u8]),
    /// More than one.
    Several,
}

/// A carrier that the fields are written to.
pub trait InjectCarrier: Injector {
    /// Puts `value` in place of all values that `field` has.
    fn replace(&mut self, field: Field, value: &[u8]);

    /// Takes all values of `field` away.
    fn remove(&mut self, field: Field);

    /// Takes all values of `fields` away.
    fn remove_all(&mut self, fields: &[Field]) {
        for field in fields {
            self.remove(*field);
        }
    }
}

/// Headers of HTTP and gRPC that are read from.
pub struct HeaderExtractor<'a> {
    inner: opentelemetry_http::HeaderExtractor<'a>,
    /// What one pass over the headers finds of each field: it costs less than three look-ups
    /// by hash, most of which find nothing.
    found: [Only<'a>; Field::ALL.len()],
    joined_state: OnceCell<Option<String>>,
}

impl<'a> HeaderExtractor<'a> {
    /// Reads from `headers`.
    #[must_use]
    pub fn new(headers: &'a HeaderMap) -> Self {
        Self::scan(headers, |_, _| {})
    }

    /// Reads from `headers`, and hands all that are none of its fields to `other`: for who wants
    /// something of them, too, and needs no pass of its own.
    #[inline]
    #[must_use]
    pub fn scan(headers: &'a HeaderMap, mut other: impl FnMut(&'a str, &'a HeaderValue)) -> Self {
        let mut found = [Only::Nothing; Field::ALL.len()];
        for (name, value) in headers {
            let name = name.as_str();
            let Some(at) = Field::ALL.iter().position(|field| field.name() == name) else {
                other(name, value);
                continue;
            };
            if let Some(found) = found.get_mut(at) {
                *found = match found {
                    Only::Nothing => Only::One(value.as_bytes()),
                    _ => Only::Several,
                };
            }
        }
        Self {
            inner: opentelemetry_http::HeaderExtractor(headers),
            found,
            joined_state: OnceCell::new(),
        }
    }

    fn is_repeated(&self, field: Field, key: &str) -> bool {
        key.eq_ignore_ascii_case(field.name()) && self.only(field) == Only::Several
    }
}

impl ExtractCarrier for HeaderExtractor<'_> {
    const TRANSPORT: &'static str = "http";

    fn values(&self, field: Field) -> impl Iterator<Item = &[u8]> {
        self.inner
            .0
            .get_all(field.header())
            .iter()
            .map(HeaderValue::as_bytes)
    }

    fn only(&self, field: Field) -> Only<'_> {
        self.found
            .get(field as usize)
            .copied()
            .unwrap_or(Only::Nothing)
    }
}

/// For foreign propagators, which ask for one value only: a repeated `traceparent` is
/// absent, and several `tracestate` lines are the one list they stand for.
impl Extractor for HeaderExtractor<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        if self.is_repeated(Field::TraceParent, key) {
            return None;
        }
        if self.is_repeated(Field::TraceState, key) {
            let join = || tracestate::join(self, Field::TraceState).map(Cow::into_owned);
            return self.joined_state.get_or_init(join).as_deref();
        }
        self.inner.get(key)
    }

    fn keys(&self) -> Vec<&str> {
        self.inner.0.keys().map(HeaderName::as_str).collect()
    }

    fn get_all(&self, key: &str) -> Option<Vec<&str>> {
        self.inner.get_all(key)
    }
}

impl fmt::Debug for HeaderExtractor<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.inner.0.keys()).finish()
    }
}

/// Headers of HTTP and gRPC that are written to.
#[derive(Debug)]
pub struct HeaderInjector<'a>(pub &'a mut HeaderMap);

impl InjectCarrier for HeaderInjector<'_> {
    fn replace(&mut self, field: Field, value: &[u8]) {
        // Checking a value whose length is known is quicker by half.
        let value = match <&[u8; TRACEPARENT_LEN]>::try_from(value) {
            Ok(parent) => HeaderValue::from_bytes(parent),
            Err(_) => HeaderValue::from_bytes(value),
        };
        if let Ok(value) = value {
            self.0.insert(field.header().clone(), value);
        }
    }

    fn remove(&mut self, field: Field) {
        self.remove_all(&[field]);
    }

    fn remove_all(&mut self, fields: &[Field]) {
        // A look at a few names costs less than the hashes by which they would be found.
        let is_field = |name: &HeaderName| fields.iter().any(|field| name == field.header());
        if self.0.len() > 8 || self.0.keys().any(is_field) {
            for field in fields {
                self.0.remove(field.header());
            }
        }
    }
}

impl Injector for HeaderInjector<'_> {
    fn set(&mut self, key: &str, value: String) {
        opentelemetry_http::HeaderInjector(self.0).set(key, value);
    }

    fn reserve(&mut self, additional: usize) {
        self.0.reserve(additional);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn e01_replacing_leaves_one_value_and_the_others_alone() {
        let mut headers = HeaderMap::new();
        headers.append("traceparent", HeaderValue::from_static("old"));
        headers.append("traceparent", HeaderValue::from_static("older"));
        headers.append("x-other", HeaderValue::from_static("kept"));
        let mut injector = HeaderInjector(&mut headers);
        injector.replace(Field::TraceParent, b"new");
        injector.replace(Field::Baggage, b"not\na header");
        injector.remove(Field::TraceState);
        let carrier = HeaderExtractor::new(&headers);
        let all: Vec<_> = carrier.values(Field::TraceParent).collect();
        assert_eq!(all, [b"new"]);
        assert_eq!(headers.len(), 2);
    }

    #[test]
    fn e01_removing_takes_a_field_out_of_few_headers_and_of_many() {
        for others in [0, 1, 7, 8, 20] {
            let mut headers = HeaderMap::new();
            for n in 0..others {
                let name = HeaderName::try_from(format!("x-other-{n}")).unwrap();
                headers.insert(name, HeaderValue::from_static("kept"));
            }
            headers.append("tracestate", HeaderValue::from_static("a=1"));
            headers.append("tracestate", HeaderValue::from_static("b=2"));
            let mut injector = HeaderInjector(&mut headers);
            injector.remove(Field::TraceState);
            injector.remove(Field::Baggage);
            assert_eq!(headers.len(), others);
            assert!(!headers.contains_key("tracestate"));
        }
    }

    #[test]
    fn foreign_propagators_see_no_repeated_parent() {
        let mut headers = HeaderMap::new();
        headers.append("traceparent", HeaderValue::from_static("a"));
        assert_eq!(HeaderExtractor::new(&headers).get("TraceParent"), Some("a"));
        headers.append("traceparent", HeaderValue::from_static("b"));
        assert_eq!(HeaderExtractor::new(&headers).get("traceparent"), None);
    }

    #[test]
    fn foreign_propagators_see_several_state_lines_as_one() {
        let mut headers = HeaderMap::new();
        headers.append("tracestate", HeaderValue::from_static("a=1"));
        headers.append("tracestate", HeaderValue::from_static("b=2"));
        assert_eq!(
            HeaderExtractor::new(&headers).get("tracestate"),
            Some("a=1,b=2")
        );
    }
}
