//! Kafka's headers as carriers of the propagation fields. Usable alone, with any producer and
//! consumer of rdkafka:
//!
//! ```
//! use otel_ml_rdkafka::carrier::{HeadersExtractor, HeadersInjector};
//! use otel_ml_rdkafka::otel_ml::Telemetry;
//! use otel_ml_rdkafka::otel_ml::opentelemetry::Context;
//! use otel_ml_rdkafka::rdkafka::message::OwnedHeaders;
//!
//! let telemetry = Telemetry::global();
//! let mut injector = HeadersInjector::new(Some(OwnedHeaders::new()));
//! telemetry.inject(&Context::current(), &mut injector);
//! if let Some(headers) = injector.into_inner() {
//!     let sender: Context = telemetry.extract(&HeadersExtractor::new(&headers));
//! #   let _ = sender;
//! }
//! ```

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::SystemTime;

use otel_ml::carrier::{ExtractCarrier, Field, InjectCarrier, Only, Repeated};
use otel_ml::messaging::{FIELDS, Found, SENT_AT_SLOT, field_slot, write_sent_at};
use otel_ml::opentelemetry::propagation::{Extractor, Injector};
use otel_ml::semconv::messaging;
use rdkafka::message::{Header, Headers, OwnedHeaders};

pub use otel_ml::messaging::SENT_AT;

/// How many headers with names that can't be read a message may have before the rest of its
/// headers is left unread.
const MAX_UNREADABLE: usize = 16;

/// Calls `visit` with every header, in order; returns whether all could be read.
///
/// rdkafka panics on a name that is not UTF-8, which any producer may send. (Only unsafe code
/// could look at the bytes before it does.)
fn visit<'a, H: Headers>(headers: &'a H, mut visit: impl FnMut(Header<'a, &'a [u8]>)) -> bool {
    let count = headers.count();
    let mut next = 0;
    let mut unreadable = 0;
    while next < count {
        let read = catch_unwind(AssertUnwindSafe(|| {
            while next < count {
                let header = headers.try_get(next);
                next += 1;
                header.into_iter().for_each(&mut visit);
            }
        }));
        if read.is_ok() {
            break;
        }
        next += 1;
        unreadable += 1;
        if unreadable > MAX_UNREADABLE {
            break;
        }
    }
    unreadable == 0
}

/// A message's headers, to read the sender's context from.
///
/// Headers of Kafka can only be added, and forwarding a message adds a second `traceparent`:
/// the last valid one counts. Names match in any case; a null value is absent. Looking the
/// fields up allocates nothing, unless `traceparent` is repeated.
pub struct HeadersExtractor<'a, H> {
    headers: &'a H,
    found: Found<'a>,
}

impl<'a, H: Headers> HeadersExtractor<'a, H> {
    /// Reads from `headers`: [`BorrowedHeaders`](rdkafka::message::BorrowedHeaders) or
    /// [`OwnedHeaders`].
    #[must_use]
    pub fn new(headers: &'a H) -> Self {
        let mut found = Found::default();
        visit(headers, |header| {
            if let Some(value) = header.value {
                found.see(header.key, value);
            }
        });
        Self { headers, found }
    }

    /// What the header [`SENT_AT`] says; the last one that can be read.
    #[must_use]
    pub const fn sent_at(&self) -> Option<SystemTime> {
        self.found.sent_at()
    }

    fn all(&self, is: impl Fn(&str) -> bool) -> Vec<Header<'a, &'a [u8]>> {
        let mut all = Vec::new();
        visit(self.headers, |header| {
            if is(header.key) {
                all.push(header);
            }
        });
        all
    }
}

impl<H: Headers> ExtractCarrier for HeadersExtractor<'_, H> {
    const TRANSPORT: &'static str = messaging::system::KAFKA;
    const REPEATED: Repeated = Repeated::LastWins;

    fn values(&self, field: Field) -> impl Iterator<Item = &[u8]> {
        self.all(|name| name.eq_ignore_ascii_case(field.name()))
            .into_iter()
            .filter_map(|header| header.value)
    }

    fn only(&self, field: Field) -> Only<'_> {
        self.found.only(field)
    }
}

/// For foreign propagators: the last value that is text.
impl<H: Headers> Extractor for HeadersExtractor<'_, H> {
    fn get(&self, key: &str) -> Option<&str> {
        let text = |header: Header<'_, _>| std::str::from_utf8(header.value?).ok();
        self.all(|name| name.eq_ignore_ascii_case(key))
            .into_iter()
            .filter_map(text)
            .next_back()
    }

    fn keys(&self) -> Vec<&str> {
        self.all(|_| true)
            .into_iter()
            .map(|header| header.key)
            .collect()
    }
}

impl<H> fmt::Debug for HeadersExtractor<'_, H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HeadersExtractor")
            .field("sent_at", &self.found.sent_at())
            .finish_non_exhaustive()
    }
}

/// The headers of a message to be sent, to write a context into.
///
/// rdkafka can only append: what is there already is replaced by building the headers anew
/// without it, once, all others in order, their null values and duplicates intact. Where
/// nothing has to be replaced a field costs one append. Headers with a name that rdkafka can't
/// read are never built anew, as that one would be lost: the new value is then the last one,
/// which is the one that readers take, and what was to be removed stays.
pub struct HeadersInjector {
    headers: Option<OwnedHeaders>,
    is_readable: bool,
    /// A bit for each of [`FIELDS`] that is in the headers.
    there: u8,
    /// A bit for each that they are to lose.
    lost: u8,
    /// What is to come in their place.
    instead: Vec<(usize, Vec<u8>)>,
}

impl HeadersInjector {
    /// Writes into `headers`; they are made when there is something to write.
    #[must_use]
    pub fn new(headers: Option<OwnedHeaders>) -> Self {
        let mut there = 0;
        let is_readable = headers.as_ref().is_none_or(|headers| {
            visit(headers, |header| {
                there |= field_slot(header.key).map_or(0, |slot| 1 << slot);
            })
        });
        Self {
            headers,
            is_readable,
            there,
            lost: 0,
            instead: Vec::new(),
        }
    }

    /// The headers with what was written; `None` where there were none and nothing was.
    #[must_use]
    #[inline]
    pub fn into_inner(mut self) -> Option<OwnedHeaders> {
        if self.lost != 0 {
            self.rebuild();
        }
        self.headers
    }

    fn rebuild(&mut self) {
        let lost = self.lost;
        self.retain(|name| field_slot(name).is_none_or(|slot| lost & (1 << slot) == 0));
        for (slot, value) in std::mem::take(&mut self.instead) {
            self.append(slot, &value);
        }
    }

    /// Writes [`SENT_AT`], in place of one that is there.
    pub fn set_sent_at(&mut self, time: SystemTime) {
        self.write(SENT_AT_SLOT, write_sent_at(time).as_bytes());
    }

    /// Takes [`SENT_AT`] away: a message that is sent on has a send time of its own.
    pub fn remove_sent_at(&mut self) {
        self.take_away(SENT_AT_SLOT);
    }

    #[inline]
    fn write(&mut self, slot: usize, value: &[u8]) {
        if self.there & (1 << slot) == 0 || !self.is_readable {
            self.there |= 1 << slot;
            self.append(slot, value);
        } else {
            self.take_away(slot);
            self.instead.push((slot, value.to_vec()));
        }
    }

    #[inline]
    fn take_away(&mut self, slot: usize) {
        self.take_all_away(1 << slot);
    }

    #[inline]
    fn take_all_away(&mut self, slots: u8) {
        if self.there & slots != 0 && self.is_readable {
            self.lost |= self.there & slots;
            self.instead.retain(|(slot, _)| slots & (1 << slot) == 0);
        }
    }

    fn append(&mut self, slot: usize, value: &[u8]) {
        if let Some(name) = FIELDS.get(slot) {
            self.append_named(name, value);
        }
    }

    fn append_named(&mut self, name: &str, value: &[u8]) {
        let headers = self.headers.take().unwrap_or_default();
        let value = Some(value);
        self.headers = Some(headers.insert(Header { key: name, value }));
    }

    /// Takes the headers away whose names `keeps` refuses, if there are any.
    fn retain(&mut self, keeps: impl Fn(&str) -> bool) {
        let Some(headers) = self.headers.as_ref().filter(|_| self.is_readable) else {
            return;
        };
        let mut count = 0;
        visit(headers, |header| count += usize::from(keeps(header.key)));
        if count == headers.count() {
            return;
        }
        let mut kept = Some(OwnedHeaders::new_with_capacity(count + FIELDS.len()));
        visit(headers, |header| {
            if keeps(header.key) {
                kept = kept.take().map(|kept| kept.insert(header));
            }
        });
        self.headers = kept;
    }
}

impl InjectCarrier for HeadersInjector {
    #[inline]
    fn replace(&mut self, field: Field, value: &[u8]) {
        self.write(field as usize, value);
    }

    #[inline]
    fn remove(&mut self, field: Field) {
        self.take_away(field as usize);
    }

    #[inline]
    fn remove_all(&mut self, fields: &[Field]) {
        let slots = fields.iter().map(|field| 1 << *field as usize);
        self.take_all_away(slots.fold(0, |all, slot: u8| all | slot));
    }
}

impl Injector for HeadersInjector {
    fn set(&mut self, key: &str, value: String) {
        if let Some(slot) = field_slot(key) {
            return self.write(slot, value.as_bytes());
        }
        self.retain(|name| !name.eq_ignore_ascii_case(key));
        self.append_named(key, value.as_bytes());
    }
}

impl fmt::Debug for HeadersInjector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HeadersInjector")
            .field("headers", &self.headers.as_ref().map(Headers::count))
            .finish_non_exhaustive()
    }
}
