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
        let (version, rest) = head.split_first_chunk::<2>()?;
        let version = hex_byte(*version)?;
        let known_form = match version {
            0xff => false,
            0 => tail.is_empty(),
            _ => tail.first().is_none_or(|next| *next == b'-'),
        };
        if !known_form {
            return None;
        }
        let rest = rest.strip_prefix(b"-")?;
        let (trace_high, rest) = hex_u64(rest)?;
        let (trace_low, rest) = hex_u64(rest)?;
        let rest = rest.strip_prefix(b"-")?;
        let (span, rest) = hex_u64(rest)?;
        let flags = hex_byte(*rest.strip_prefix(b"-")?.first_chunk::<2>()?)?;

        let trace = (u128::from(trace_high) << 64) | u128::from(trace_low);
        (trace != 0 && span != 0).then(|| Self {
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

/// The reverse of [`hex_digits`]; `None` unless all eight are lower-case digits.
const fn hex_u32(digits: [u8; 8]) -> Option<u32> {
    let text = u64::from_be_bytes(digits);
    let letters = (text & (ONES * 0x40)) >> 6;
    let nibbles = (text & (ONES * 0x0f)) + letters * 9;
    if nibbles & (ONES * 0xf0) != 0 {
        return None;
    }
    let is_letter = ((nibbles + ONES * 6) >> 4) & ONES;
    if nibbles + ONES * 0x30 + is_letter * 0x27 != text {
        return None;
    }
    let pairs = (nibbles | (nibbles >> 4)) & 0x00ff_00ff_00ff_00ff;
    let quads = (pairs | (pairs >> 8)) & 0x0000_ffff_0000_ffff;
    #[allow(
        clippy::cast_possible_truncation,
        reason = "the upper half was folded into the lower"
    )]
    Some((quads | (quads >> 16)) as u32)
}

fn hex_u64(text: &[u8]) -> Option<(u64, &[u8])> {
    let (high, rest) = text.split_first_chunk::<8>()?;
    let (low, rest) = rest.split_first_chunk::<8>()?;
    Some((
        (u64::from(hex_u32(*high)?) << 32) | u64::from(hex_u32(*low)?),
        rest,
    ))
}

const fn hex_byte([high, low]: [u8; 2]) -> Option<u8> {
    match hex_u32([b'0', b'0', b'0', b'0', b'0', b'0', high, low]) {
        #[allow(clippy::cast_possible_truncation, reason = "two digits make one byte")]
        Some(byte) => Some(byte as u8),
        None => None,
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
