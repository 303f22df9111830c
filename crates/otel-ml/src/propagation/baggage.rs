//! The `baggage` field of W3C Baggage.

use opentelemetry::baggage::{Baggage, KeyValueMetadata};
use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};

/// Longest field that is read or written, in bytes: what the specification asks every
/// platform to carry. A longer one that arrives is dropped whole, and counted.
pub(crate) const MAX_BYTES: usize = 8192;

/// Everything but the value characters of the specification, and `%` itself.
const ENCODED: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b',')
    .add(b';')
    .add(b'\\')
    .add(b'%');

/// Reads the members that are well formed and leaves out the others.
pub(crate) fn parse(list: &str) -> Baggage {
    Baggage::from_iter(list.split(',').filter_map(member))
}

fn member(text: &str) -> Option<KeyValueMetadata> {
    let (pair, metadata) = text.split_once(';').unwrap_or((text, ""));
    let (key, value) = pair.split_once('=')?;
    let key = key.trim();
    let value = percent_decode_str(value.trim()).decode_utf8().ok()?;
    if key.is_empty() {
        return None;
    }
    Some(KeyValueMetadata::new(
        key.to_owned(),
        value.into_owned(),
        metadata.trim(),
    ))
}

/// The field's value, or `None` when there is nothing to send. Members that would make
/// the field longer than [`MAX_BYTES`] are left out.
pub(crate) fn format(baggage: &Baggage) -> Option<String> {
    let mut list = String::new();
    for (key, (value, metadata)) in baggage {
        let before = list.len();
        if before > 0 {
            list.push(',');
        }
        list.push_str(key.as_str());
        list.push('=');
        list.extend(utf8_percent_encode(value.as_str(), ENCODED));
        if !metadata.as_str().is_empty() {
            list.push(';');
            list.push_str(metadata.as_str());
        }
        if list.len() > MAX_BYTES {
            list.truncate(before);
        }
    }
    (!list.is_empty()).then_some(list)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn values_are_decoded_and_metadata_is_kept() {
        let baggage = parse("user.tier=pro, note=a%20b%2Cc;ttl=5 ,broken,=x");
        assert_eq!(baggage.get("user.tier").unwrap().as_str(), "pro");
        assert_eq!(baggage.get("note").unwrap().as_str(), "a b,c");
        assert_eq!(
            baggage.get_with_metadata("note").unwrap().1.as_str(),
            "ttl=5"
        );
        assert_eq!(baggage.len(), 2);
    }

    #[test]
    fn what_does_not_fit_is_left_out() {
        let mut baggage = Baggage::new();
        let _ = baggage.insert("k", " ".repeat(4000));
        assert_eq!(format(&baggage), None);
        assert_eq!(format(&Baggage::new()), None);
    }

    proptest! {
        #[test]
        fn any_value_survives(key in "[a-z][a-z0-9._-]{0,20}", value in ".{1,100}") {
            let mut baggage = Baggage::new();
            let _ = baggage.insert(key.clone(), value.clone());
            let field = format(&baggage).unwrap();
            prop_assert!(field.is_ascii());
            let read = parse(&field);
            prop_assert_eq!(read.get(&key).unwrap().as_str(), value);
        }

        #[test]
        fn any_text_is_tolerated(list in ".{0,300}") {
            let _ = format(&parse(&list));
        }
    }
}
