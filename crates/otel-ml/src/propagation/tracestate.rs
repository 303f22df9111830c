//! The `tracestate` field of W3C Trace Context, level 2.

use std::borrow::Cow;
use std::sync::Arc;

use opentelemetry::trace::{TraceId, TraceState};

use crate::carrier::{ExtractCarrier, Field, Only};

const MAX_MEMBERS: usize = 32;

/// A valid list that the API's [`TraceState`] refuses (its key rules are those of level 1).
/// It travels beside the span context, in the OpenTelemetry `Context`, and belongs to one trace.
#[derive(Debug)]
pub(crate) struct RawTraceState {
    pub(crate) trace_id: TraceId,
    pub(crate) list: Arc<str>,
}

/// What a `tracestate` field holds.
#[derive(Debug)]
pub(crate) enum ParsedState {
    /// Nothing, or a list that is not valid and therefore dropped whole.
    None,
    Known(TraceState),
    Raw(Arc<str>),
}

/// A field's text; its lines joined where it was sent in several, as list fields are.
pub(crate) fn join<C: ExtractCarrier>(carrier: &C, field: Field) -> Option<Cow<'_, str>> {
    match carrier.only(field) {
        Only::Nothing => None,
        Only::One(line) => std::str::from_utf8(line).ok().map(Cow::Borrowed),
        Only::Several => {
            let lines: Vec<&[u8]> = carrier.values(field).collect();
            String::from_utf8(lines.join(&b',')).ok().map(Cow::Owned)
        }
    }
}

pub(crate) fn parse(list: &str) -> ParsedState {
    let Some(members) = members(list) else {
        return ParsedState::None;
    };
    if members.is_empty() {
        return ParsedState::None;
    }
    match TraceState::from_key_value(members.iter().copied()) {
        Ok(state) => ParsedState::Known(state),
        Err(_) => ParsedState::Raw(write(members.into_iter()).into()),
    }
}

/// The field's value, or `None` when there is nothing to send.
#[inline]
pub(crate) fn format(state: &TraceState) -> Option<String> {
    // Most often: told at a look.
    if *state == TraceState::NONE {
        return None;
    }
    let list = write(state.into_iter());
    (!list.is_empty()).then_some(list)
}

fn write<'a>(members: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let mut list = String::new();
    for (key, value) in members {
        if !list.is_empty() {
            list.push(',');
        }
        list.push_str(key);
        list.push('=');
        list.push_str(value);
    }
    list
}

/// The first 32 members in order (the newest: each hop adds its own in front), or `None` when
/// one of them is not valid.
fn members(list: &str) -> Option<Vec<(&str, &str)>> {
    let mut members = Vec::new();
    for member in list
        .split(',')
        .map(|member| member.trim_matches([' ', '\t']))
    {
        if member.is_empty() {
            continue;
        }
        let (key, value) = member.split_once('=')?;
        if !valid_key(key) || !valid_value(value) {
            return None;
        }
        if members.len() == MAX_MEMBERS {
            break;
        }
        members.push((key, value));
    }
    Some(members)
}

fn valid_key(key: &str) -> bool {
    let starts_right = key
        .bytes()
        .next()
        .is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let goes_on = |b: u8| {
        b.is_ascii_lowercase()
            || b.is_ascii_digit()
            || matches!(b, b'_' | b'-' | b'*' | b'/' | b'@')
    };
    starts_right && key.len() <= 256 && key.bytes().all(goes_on)
}

fn valid_value(value: &str) -> bool {
    let printable = |b: u8| matches!(b, b' '..=b'~') && b != b',' && b != b'=';
    !value.is_empty() && value.len() <= 256 && !value.ends_with(' ') && value.bytes().all(printable)
}

#[cfg(test)]
mod tests {
    use http::header::{HeaderMap, HeaderValue};
    use proptest::prelude::*;

    use super::*;
    use crate::carrier::HeaderExtractor;

    #[test]
    fn lists_the_api_knows_and_lists_it_refuses() {
        assert!(
            matches!(parse("foo=1,bar=2"), ParsedState::Known(s) if s.header() == "foo=1,bar=2")
        );
        assert!(
            matches!(parse("foo@@bar=1, bar=2"), ParsedState::Raw(s) if &*s == "foo@@bar=1,bar=2")
        );
        assert!(matches!(parse("foo=,bar=2"), ParsedState::None));
        assert!(matches!(parse(""), ParsedState::None));
        assert!(matches!(parse(" , "), ParsedState::None));
    }

    #[test]
    fn several_lines_are_one_list() {
        let mut headers = HeaderMap::new();
        for line in [b"a=1".as_slice(), b"", b"b=2,c=3"] {
            headers.append("tracestate", HeaderValue::from_bytes(line).unwrap());
        }
        headers.append("baggage", HeaderValue::from_bytes(b"\xff").unwrap());
        let carrier = HeaderExtractor::new(&headers);
        let joined = join(&carrier, Field::TraceState).unwrap();
        assert!(matches!(parse(&joined), ParsedState::Known(s) if s.header() == "a=1,b=2,c=3"));
        assert_eq!(join(&carrier, Field::Baggage), None);
        assert_eq!(join(&carrier, Field::TraceParent), None);
    }

    #[test]
    fn the_33rd_member_is_left_out() {
        let list = |n: usize| {
            (0..n)
                .map(|i| format!("k{i}=v"))
                .collect::<Vec<_>>()
                .join(",")
        };
        assert!(matches!(parse(&list(32)), ParsedState::Known(_)));
        assert!(matches!(parse(&list(33)), ParsedState::Known(s) if s.header() == list(32)));
    }

    proptest! {
        #[test]
        fn any_text_is_tolerated_and_what_is_kept_is_stable(list in ".{0,300}") {
            let kept = match parse(&list) {
                ParsedState::None => return Ok(()),
                ParsedState::Known(state) => state.header(),
                ParsedState::Raw(raw) => raw.to_string(),
            };
            let again = match parse(&kept) {
                ParsedState::None => String::new(),
                ParsedState::Known(state) => state.header(),
                ParsedState::Raw(raw) => raw.to_string(),
            };
            prop_assert_eq!(kept, again);
        }
    }
}
