//! AMQP's header table as a carrier of the propagation fields. Usable alone, with any channel
//! and consumer of lapin:
//!
//! ```
//! use otel_ml_lapin::carrier::{HeadersExtractor, HeadersInjector};
//! use otel_ml_lapin::lapin::types::FieldTable;
//! use otel_ml_lapin::otel_ml::Telemetry;
//! use otel_ml_lapin::otel_ml::opentelemetry::Context;
//!
//! let telemetry = Telemetry::global();
//! let mut headers = FieldTable::default();
//! telemetry.inject(&Context::current(), &mut HeadersInjector::new(&mut headers));
//! let sender: Context = telemetry.extract(&HeadersExtractor::new(&headers));
//! # let _ = sender;
//! ```

use std::collections::BTreeMap;
use std::fmt;
use std::time::SystemTime;

use lapin::types::{AMQPValue, FieldTable, LongString, ShortString};
use otel_ml::carrier::{ExtractCarrier, Field, InjectCarrier, Only, Repeated};
use otel_ml::messaging::{FIELDS, Found, SENT_AT_SLOT, field_slot, write_sent_at};
use otel_ml::opentelemetry::propagation::{Extractor, Injector};
use otel_ml::semconv::messaging;

pub use otel_ml::messaging::SENT_AT;

/// The bytes of a value that has some: strings of both kinds and byte arrays.
fn bytes(value: &AMQPValue) -> Option<&[u8]> {
    match value {
        AMQPValue::LongString(text) => Some(text.as_bytes()),
        AMQPValue::ShortString(text) => Some(text.as_str().as_bytes()),
        AMQPValue::ByteArray(bytes) => Some(bytes.as_slice()),
        _ => None,
    }
}

/// A message's headers, to read the sender's context from.
///
/// Names match in any case; values are long strings, short strings or byte arrays, and any
/// other is absent. A table holds a name once, but may hold it in several cases: the last
/// valid one counts, which is the one in lower case. Looking the fields up allocates nothing,
/// unless `traceparent` is repeated.
pub struct HeadersExtractor<'a> {
    headers: &'a FieldTable,
    found: Found<'a>,
}

impl<'a> HeadersExtractor<'a> {
    /// Reads from `headers`.
    #[must_use]
    pub fn new(headers: &'a FieldTable) -> Self {
        let mut found = Found::default();
        for (name, value) in headers {
            if let Some(value) = bytes(value) {
                found.see(name.as_str(), value);
            }
        }
        Self { headers, found }
    }

    /// What the header [`SENT_AT`] says, if it is there and can be read.
    #[must_use]
    pub const fn sent_at(&self) -> Option<SystemTime> {
        self.found.sent_at()
    }

    fn all(&self, name: &str) -> impl DoubleEndedIterator<Item = &'a [u8]> {
        let is_it =
            move |(key, _): &(&ShortString, &AMQPValue)| key.as_str().eq_ignore_ascii_case(name);
        let all = self.headers.into_iter().filter(is_it);
        all.filter_map(|(_, value)| bytes(value))
    }
}

impl ExtractCarrier for HeadersExtractor<'_> {
    const TRANSPORT: &'static str = messaging::system::RABBITMQ;
    const REPEATED: Repeated = Repeated::LastWins;

    fn values(&self, field: Field) -> impl Iterator<Item = &[u8]> {
        self.all(field.name())
    }

    fn only(&self, field: Field) -> Only<'_> {
        self.found.only(field)
    }
}

/// For foreign propagators: the last value that is text.
impl Extractor for HeadersExtractor<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        let text = |value| std::str::from_utf8(value).ok();
        self.all(key).filter_map(text).next_back()
    }

    fn keys(&self) -> Vec<&str> {
        self.headers
            .into_iter()
            .map(|(key, _)| key.as_str())
            .collect()
    }
}

impl fmt::Debug for HeadersExtractor<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HeadersExtractor")
            .field("sent_at", &self.sent_at())
            .finish_non_exhaustive()
    }
}

/// The headers of a message to be published, to write a context into, as long strings.
///
/// What is there already is replaced, in whatever case it is written; all other headers stay as
/// they are. lapin's table can't lose an entry: where one has to go the table is made anew,
/// once, without it.
pub struct HeadersInjector<'a> {
    headers: &'a mut FieldTable,
    /// A bit for each of [`FIELDS`] that is there under its own name, …
    there: u8,
    /// … and for each that is there in another case.
    odd: u8,
}

impl<'a> HeadersInjector<'a> {
    /// Writes into `headers`.
    #[must_use]
    #[inline]
    pub fn new(headers: &'a mut FieldTable) -> Self {
        let (mut there, mut odd) = (0, 0);
        for name in headers.inner().keys() {
            let name = name.as_str();
            if let Some(slot) = field_slot(name) {
                let is_own = FIELDS.get(slot).is_some_and(|known| *known == name);
                *(if is_own { &mut there } else { &mut odd }) |= 1 << slot;
            }
        }
        Self {
            headers,
            there,
            odd,
        }
    }

    /// Writes [`SENT_AT`], in place of one that is there.
    pub fn set_sent_at(&mut self, time: SystemTime) {
        self.write(SENT_AT_SLOT, write_sent_at(time).into_bytes());
    }

    /// Takes [`SENT_AT`] away: a message that is sent on has a send time of its own.
    pub fn remove_sent_at(&mut self) {
        self.take_away(1 << SENT_AT_SLOT);
    }

    #[inline]
    fn write(&mut self, slot: usize, value: Vec<u8>) {
        if self.odd & (1 << slot) != 0 {
            self.take_away(1 << slot);
        }
        if let Some(name) = FIELDS.get(slot) {
            self.insert(name, value);
            self.there |= 1 << slot;
        }
    }

    #[inline]
    fn insert(&mut self, name: &str, value: Vec<u8>) {
        // The longest name that AMQP has is one of 255 bytes: a longer one can't be sent.
        if let Ok(name) = ShortString::try_new(name) {
            let value = AMQPValue::LongString(LongString::from(value));
            self.headers.insert(name, value);
        }
    }

    #[inline]
    fn take_away(&mut self, slots: u8) {
        if (self.there | self.odd) & slots != 0 {
            self.retain(|name| field_slot(name).is_none_or(|slot| slots & (1 << slot) == 0));
            self.there &= !slots;
            self.odd &= !slots;
        }
    }

    fn retain(&mut self, keeps: impl Fn(&str) -> bool) {
        let all = self.headers.inner().iter();
        let kept: BTreeMap<_, _> = all
            .filter(|(name, _)| keeps(name.as_str()))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        *self.headers = kept.into();
    }
}

impl InjectCarrier for HeadersInjector<'_> {
    #[inline]
    fn replace(&mut self, field: Field, value: &[u8]) {
        self.write(field as usize, value.to_vec());
    }

    #[inline]
    fn remove(&mut self, field: Field) {
        self.take_away(1 << field as usize);
    }

    #[inline]
    fn remove_all(&mut self, fields: &[Field]) {
        let slots = fields.iter().map(|field| 1 << *field as usize);
        self.take_away(slots.fold(0, |all, slot: u8| all | slot));
    }
}

impl Injector for HeadersInjector<'_> {
    fn set(&mut self, key: &str, value: String) {
        if let Some(slot) = field_slot(key) {
            return self.write(slot, value.into_bytes());
        }
        let is_it = |name: &ShortString| name.as_str().eq_ignore_ascii_case(key);
        if self.headers.inner().keys().any(is_it) {
            self.retain(|name| !name.eq_ignore_ascii_case(key));
        }
        self.insert(key, value.into_bytes());
    }
}

impl fmt::Debug for HeadersInjector<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HeadersInjector")
            .field("headers", &self.headers.inner().len())
            .finish_non_exhaustive()
    }
}
