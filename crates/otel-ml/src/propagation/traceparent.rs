//! The `traceparent` field of W3C Trace Context, level 2, read and written without allocation.

use std::ops::Range;

use opentelemetry::trace::{SpanId, TraceFlags, TraceId};

/// Length of a version 00 `traceparent` in bytes.
pub const TRACEPARENT_LEN: usize = 55;

const SAMPLED_AND_RANDOM: u8 = 0x03;

/// Where the digits of a field lie.
const TRACE_ID: Range<usize> = 3..35;
const SPAN_ID: Range<usize> = 36..52;
const FLAGS: Range<usize> = 53..55;
/// Bytes, of two digits each.
const TRACE_ID_LEN: usize = 16;
const IDS_LEN: usize = TRACE_ID_LEN + 8;

/// The three facts in a `traceparent`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceParent {
    /// The trace, never zero.
    pub trace_id: TraceId,
    /// The caller's span, never zero.
    pub span_id: SpanId,
    /// `sampled` (0x01) and `random` (0x02); other bits are dropped, as level 2 asks for.
    pub flags: TraceFlags,
}

impl TraceParent {
    /// Reads a `traceparent`. `None` when it is not valid by the specification: wrong
    /// length or separators, upper-case or non-hex digits, version `ff`, zero ids.
    /// A higher version is read by its first four fields. White space around it is ignored.
    #[must_use]
    pub fn parse(value: &[u8]) -> Option<Self> {
        let (head, tail) = value.trim_ascii().split_first_chunk::<TRACEPARENT_LEN>()?;
        let [v0, v1, d0, .., d2, f0, f1] = *head;
        if [d0, head[35], d2] != [b'-'; 3] {
            return None;
        }
        let (trace, span) = read_ids(head)?;
        let flags = hex_byte(f0, f1)?;
        let known_form = match [v0, v1] {
            [b'0', b'0'] => tail.is_empty(),
            [b'f', b'f'] => false,
            _ => hex_byte(v0, v1).is_some() && tail.first().is_none_or(|next| *next == b'-'),
        };
        (known_form && trace != 0 && span != 0).then(|| Self {
            trace_id: TraceId::from(trace),
            span_id: SpanId::from(span),
            flags: TraceFlags::new(flags & SAMPLED_AND_RANDOM),
        })
    }

    /// Writes it as version 00.
    #[must_use]
    pub fn format(self) -> [u8; TRACEPARENT_LEN] {
        let mut ids = [0; IDS_LEN];
        ids[..TRACE_ID_LEN].copy_from_slice(&self.trace_id.to_bytes());
        ids[TRACE_ID_LEN..].copy_from_slice(&self.span_id.to_bytes());
        let mut digits = [0; 2 * IDS_LEN];
        for (pair, byte) in digits.as_chunks_mut().0.iter_mut().zip(ids) {
            *pair = hex_digits(byte);
        }
        let mut out = *b"00-00000000000000000000000000000000-0000000000000000-00";
        out[TRACE_ID].copy_from_slice(&digits[..2 * TRACE_ID_LEN]);
        out[SPAN_ID].copy_from_slice(&digits[2 * TRACE_ID_LEN..]);
        out[FLAGS].copy_from_slice(&hex_digits(self.flags.to_u8() & SAMPLED_AND_RANDOM));
        out
    }
}

/// The two ids; `None` where a digit is not a lower-case hex digit.
fn read_ids(head: &[u8; TRACEPARENT_LEN]) -> Option<(u128, u64)> {
    let mut digits = [0; 2 * IDS_LEN];
    digits[..2 * TRACE_ID_LEN].copy_from_slice(&head[TRACE_ID]);
    digits[2 * TRACE_ID_LEN..].copy_from_slice(&head[SPAN_ID]);
    let (ids, all) = hex_bytes(digits);
    let (trace, span) = ids.split_first_chunk()?;
    let span = span.first_chunk()?;
    (all < 16).then(|| (u128::from_be_bytes(*trace), u64::from_be_bytes(*span)))
}

/// The bytes that all the digits stand for, and more than 15 if one of them is none.
// Loops without a branch, kept apart from what makes numbers of the bytes: the compiler then
// takes sixteen digits at a time.
#[inline(never)]
fn hex_bytes(mut digits: [u8; 2 * IDS_LEN]) -> ([u8; IDS_LEN], u8) {
    let mut all = 0;
    for digit in &mut digits {
        *digit = hex_value(*digit);
        all |= *digit;
    }
    let mut bytes = [0; IDS_LEN];
    for (byte, [high, low]) in bytes.iter_mut().zip(digits.as_chunks().0) {
        *byte = high << 4 | low;
    }
    (bytes, all)
}

/// The lower-case digits of `byte`.
const fn hex_digits(byte: u8) -> [u8; 2] {
    const fn digit(nibble: u8) -> u8 {
        nibble + if nibble < 10 { b'0' } else { b'a' - 10 }
    }
    [digit(byte >> 4), digit(byte & 15)]
}

fn hex_byte(high: u8, low: u8) -> Option<u8> {
    let (high, low) = (hex_value(high), hex_value(low));
    ((high | low) < 16).then_some(high << 4 | low)
}

/// What a lower-case digit stands for; for any other byte more than 15.
const fn hex_value(digit: u8) -> u8 {
    let decimal = digit.wrapping_sub(b'0');
    let letter = digit.wrapping_sub(b'a');
    if decimal < 10 {
        decimal
    } else if letter < 6 {
        letter + 10
    } else {
        u8::MAX
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const VALID: &[u8] = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-03";

    #[test]
    fn reads_and_writes_the_same() {
        let parent = TraceParent::parse(VALID).unwrap();
        assert_eq!(
            parent.trace_id.to_string(),
            "4bf92f3577b34da6a3ce929d0e0e4736"
        );
        assert_eq!(parent.span_id.to_string(), "00f067aa0ba902b7");
        assert_eq!(parent.flags.to_u8(), 0x03);
        assert_eq!(parent.format().as_slice(), VALID);
    }

    #[test]
    fn unknown_flags_are_dropped() {
        let parent =
            TraceParent::parse(b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-ff").unwrap();
        assert_eq!(parent.flags.to_u8(), 0x03);
    }

    #[test]
    fn every_byte_that_is_no_lower_case_digit_is_refused() {
        for byte in (0..=u8::MAX).filter(|b| !matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            for at in [0, 1, 3, 18, 19, 34, 36, 51, 53, 54] {
                let mut text = VALID.to_vec();
                text[at] = byte;
                let trimmed_short = text.trim_ascii().len() < TRACEPARENT_LEN;
                assert_eq!(
                    TraceParent::parse(&text),
                    None,
                    "byte {byte:#x} at {at}, {trimmed_short}"
                );
            }
        }
    }

    proptest! {
        #[test]
        fn any_ids_survive(trace in 1u128.., span in 1u64.., flags in 0u8..4) {
            let parent = TraceParent { trace_id: trace.into(), span_id: span.into(), flags: TraceFlags::new(flags) };
            let text = parent.format();
            prop_assert_eq!(std::str::from_utf8(&text).unwrap(), format!("00-{trace:032x}-{span:016x}-{flags:02x}"));
            prop_assert_eq!(TraceParent::parse(&text), Some(parent));
        }

        #[test]
        fn any_bytes_are_tolerated(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = TraceParent::parse(&bytes);
        }
    }
}
