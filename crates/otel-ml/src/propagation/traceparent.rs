//! The `traceparent` field of W3C Trace Context, level 2, read and written without allocation.

use opentelemetry::trace::{SpanId, TraceFlags, TraceId};

/// Length of a version 00 `traceparent` in bytes.
pub const TRACEPARENT_LEN: usize = 55;

const SAMPLED_AND_RANDOM: u8 = 0x03;
const ONES: u64 = 0x0101_0101_0101_0101;

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
        let trace = (
            Digits::at(head, 3),
            Digits::at(head, 11),
            Digits::at(head, 19),
            Digits::at(head, 27),
        );
        let span = (Digits::at(head, 36), Digits::at(head, 44));
        // One test for all of them: a field that is not valid is the exception.
        let wrong = trace.0.wrong | trace.1.wrong | trace.2.wrong | trace.3.wrong;
        if wrong | span.0.wrong | span.1.wrong != 0 || [d0, head[35], d2] != [b'-'; 3] {
            return None;
        }
        let (version, flags) = (hex_byte(v0, v1)?, hex_byte(f0, f1)?);
        let known_form = match version {
            0xff => false,
            0 => tail.is_empty(),
            _ => tail.first().is_none_or(|next| *next == b'-'),
        };
        let trace = (u128::from(trace.0.and(trace.1)) << 64) | u128::from(trace.2.and(trace.3));
        let span = span.0.and(span.1);
        (known_form && trace != 0 && span != 0).then(|| Self {
            trace_id: TraceId::from(trace),
            span_id: SpanId::from(span),
            flags: TraceFlags::new(flags & SAMPLED_AND_RANDOM),
        })
    }

    /// Writes it as version 00.
    #[must_use]
    pub fn format(self) -> [u8; TRACEPARENT_LEN] {
        let [
            t0,
            t1,
            t2,
            t3,
            t4,
            t5,
            t6,
            t7,
            t8,
            t9,
            ta,
            tb,
            tc,
            td,
            te,
            tf,
        ] = self.trace_id.to_bytes();
        let [s0, s1, s2, s3, s4, s5, s6, s7] = self.span_id.to_bytes();
        let groups = [
            [t0, t1, t2, t3],
            [t4, t5, t6, t7],
            [t8, t9, ta, tb],
            [tc, td, te, tf],
            [s0, s1, s2, s3],
            [s4, s5, s6, s7],
        ];
        let mut out = *b"00-00000000000000000000000000000000-0000000000000000-00";
        for (group, at) in groups.into_iter().zip([3, 11, 19, 27, 36, 44]) {
            if let Some(target) = out.get_mut(at..at + 8) {
                target.copy_from_slice(&hex_digits(u32::from_be_bytes(group)));
            }
        }
        let [.., high, low] = &mut out;
        let digits = hex_digits(u32::from(self.flags.to_u8() & SAMPLED_AND_RANDOM));
        [*high, *low] = [digits[6], digits[7]];
        out
    }
}

/// Eight lower-case digits of `value`, all at once: one nibble a byte, then `0..9` and
/// `a..f` told apart by the carry of adding six.
const fn hex_digits(value: u32) -> [u8; 8] {
    let mut spread = value as u64;
    spread = (spread | (spread << 16)) & 0x0000_ffff_0000_ffff;
    spread = (spread | (spread << 8)) & 0x00ff_00ff_00ff_00ff;
    spread = (spread | (spread << 4)) & (ONES * 0x0f);
    let letters = ((spread + ONES * 6) >> 4) & ONES;
    (spread + ONES * 0x30 + letters * 0x27).to_be_bytes()
}

const fn hex_byte(high: u8, low: u8) -> Option<u8> {
    match (hex_digit(high), hex_digit(low)) {
        (Some(high), Some(low)) => Some(high << 4 | low),
        _ => None,
    }
}

const fn hex_digit(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

/// Eight digits that were read.
#[derive(Clone, Copy)]
struct Digits {
    value: u32,
    /// Zero if all of them were lower-case digits.
    wrong: u64,
}

impl Digits {
    /// The reverse of [`hex_digits`].
    #[inline(always)]
    const fn read(digits: [u8; 8]) -> Self {
        let text = u64::from_be_bytes(digits);
        let letters = (text >> 6) & ONES;
        let nibbles = (text & (ONES * 0x0f)) + letters * 9;
        let is_letter = ((nibbles + ONES * 6) >> 4) & ONES;
        let written = nibbles + ONES * 0x30 + is_letter * 0x27;
        let pairs = (nibbles | (nibbles >> 4)) & 0x00ff_00ff_00ff_00ff;
        let quads = (pairs | (pairs >> 8)) & 0x0000_ffff_0000_ffff;
        #[allow(
            clippy::cast_possible_truncation,
            reason = "the upper half was folded into the lower"
        )]
        let value = (quads | (quads >> 16)) as u32;
        Self {
            value,
            wrong: (nibbles & (ONES * 0xf0)) | (written ^ text),
        }
    }

    #[inline(always)]
    fn at(head: &[u8; TRACEPARENT_LEN], at: usize) -> Self {
        match head.get(at..).and_then(<[u8]>::first_chunk) {
            Some(digits) => Self::read(*digits),
            None => Self { value: 0, wrong: 1 },
        }
    }

    #[inline(always)]
    fn and(self, low: Self) -> u64 {
        (u64::from(self.value) << 32) | u64::from(low.value)
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
