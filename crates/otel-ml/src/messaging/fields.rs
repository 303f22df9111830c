//! The header names in messages that are ours to write, whatever broker carries them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::carrier::{Field, Only};

/// The header that tells when a message was sent, in milliseconds since 1970, with three places
/// behind a point: `1700000000123.456`. Whole milliseconds are read, too. Producers write it on
/// request; consumers read it whenever it is there.
pub const SENT_AT: &str = "otel-ml-sent-at";

/// The names that are ours to write: the fields', and the send time's behind them.
pub const FIELDS: [&str; Field::ALL.len() + 1] = ["traceparent", "tracestate", "baggage", SENT_AT];

/// Where in [`FIELDS`] the send time is.
pub const SENT_AT_SLOT: usize = Field::ALL.len();

/// Where in [`FIELDS`] `name` is: the fields in any case, the send time as it is.
#[inline]
#[must_use]
pub fn field_slot(name: &str) -> Option<usize> {
    // Most headers are none, and told by their length.
    let slot = match name.len() {
        11 => Field::TraceParent as usize,
        10 => Field::TraceState as usize,
        7 => Field::Baggage as usize,
        15 => return (name == SENT_AT).then_some(SENT_AT_SLOT),
        _ => return None,
    };
    let known = *FIELDS.get(slot)?;
    // Nearly all write them as they are: a look at the bytes tells so sooner.
    (name == known || name.eq_ignore_ascii_case(known)).then_some(slot)
}

/// What a message's headers say in [`FIELDS`], found in one pass over them: for carriers.
#[derive(Clone, Copy, Debug)]
pub struct Found<'a> {
    values: [Only<'a>; Field::ALL.len()],
    sent_at: Option<SystemTime>,
}

impl Default for Found<'_> {
    fn default() -> Self {
        Self {
            values: [Only::Nothing; Field::ALL.len()],
            sent_at: None,
        }
    }
}

impl<'a> Found<'a> {
    /// There is a header called `name`, which is `value`, behind those that were seen before. The
    /// last one counts; that there are several is told of `traceparent` alone, whose values
    /// may be invalid.
    #[inline]
    pub fn see(&mut self, name: &str, value: &'a [u8]) {
        let Some(slot) = field_slot(name) else {
            return;
        };
        let Some(found) = self.values.get_mut(slot) else {
            self.sent_at = read_sent_at(value).or(self.sent_at);
            return;
        };
        let is_repeated = *found != Only::Nothing && slot == Field::TraceParent as usize;
        *found = if is_repeated {
            Only::Several
        } else {
            Only::One(value)
        };
    }

    /// The value of `field`, if it is one.
    #[inline]
    #[must_use]
    pub fn only(&self, field: Field) -> Only<'a> {
        let found = self.values.get(field as usize).copied();
        found.unwrap_or(Only::Nothing)
    }

    /// What [`SENT_AT`] says; the last one that can be read.
    #[must_use]
    pub const fn sent_at(&self) -> Option<SystemTime> {
        self.sent_at
    }
}

/// What [`SENT_AT`] says for `time`.
#[must_use]
pub fn write_sent_at(time: SystemTime) -> String {
    let since_1970 = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    // Whole ones would have a message wait before it was sent.
    let behind_the_point = since_1970.subsec_micros() % 1_000;
    format!("{}.{behind_the_point:03}", since_1970.as_millis())
}

/// The time that [`SENT_AT`] says; `None` for what is no time.
#[must_use]
pub fn read_sent_at(value: &[u8]) -> Option<SystemTime> {
    let number = |digits: &str| -> Option<u64> {
        let is_one = digits.bytes().all(|byte| byte.is_ascii_digit());
        digits.parse().ok().filter(|_| is_one)
    };
    let text = std::str::from_utf8(value).ok()?;
    let (whole, places) = text.split_once('.').unwrap_or((text, "000"));
    let micros = number(places).filter(|_| places.len() == 3)?;
    let since_1970 = Duration::from_millis(number(whole)?) + Duration::from_micros(micros);
    UNIX_EPOCH.checked_add(since_1970)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_in_any_case() {
        for (slot, name) in FIELDS.into_iter().enumerate() {
            assert_eq!(field_slot(name), Some(slot));
        }
        assert_eq!(field_slot("TraceParent"), Some(0));
        assert_eq!(field_slot("BAGGAGE"), Some(2));
        assert_eq!(field_slot("Otel-Ml-Sent-At"), None);
        assert_eq!(field_slot("traceparenu"), None);
    }

    #[test]
    fn times_are_read_as_written_and_rubbish_is_none() {
        for (micros, text) in [
            (1_700_000_000_123_456, "1700000000123.456"),
            (1_700_000_000_120_007, "1700000000120.007"),
            (0, "0.000"),
        ] {
            let time = UNIX_EPOCH + Duration::from_micros(micros);
            assert_eq!(write_sent_at(time), text);
            assert_eq!(read_sent_at(text.as_bytes()), Some(time));
        }
        let whole = UNIX_EPOCH + Duration::from_millis(1_700_000_000_123);
        assert_eq!(read_sent_at(b"1700000000123"), Some(whole));
        for rubbish in [
            "",
            ".",
            "-1",
            "+1",
            "1.5",
            "1.+12",
            "1.0000",
            "1.000.000",
            ".123",
            "99999999999999999999",
            "\u{663}",
            "\u{663}.\u{663}0",
        ] {
            assert_eq!(read_sent_at(rubbish.as_bytes()), None, "{rubbish}");
        }
        assert_eq!(read_sent_at(b"\xff"), None);
        assert!(read_sent_at(u64::MAX.to_string().as_bytes()) > Some(SystemTime::now()));
    }
}
