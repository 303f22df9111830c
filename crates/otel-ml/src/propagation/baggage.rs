//! The `baggage` field of W3C Baggage.

use opentelemetry::baggage::Baggage;
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

/// Reads the members that are well formed and leaves out the others. `None` for a field that
/// is longer than [`MAX_BYTES`], all its lines together.
pub(crate) fn parse<'a>(lines: impl Iterator<Item = &'a [u8]>) -> Option<Baggage> {
    let mut length = 0;
    let mut baggage = Baggage::new();
    for line in lines {
        length += line.len();
        if length > MAX_BYTES {
            return None;
        }
        let members = std::str::from_utf8(line)
            .into_iter()
            .flat_map(|line| line.split(','));
        for (key, value, metadata) in members.filter_map(member) {
            baggage.insert_with_metadata(key, value, metadata);
        }
    }
    Some(baggage)
}

fn member(text: &str) -> Option<(String, String, &str)> {
    let (pair, metadata) = text.split_once(';').unwrap_or((text, ""));
    let (key, value) = pair.split_once('=')?;
    let key = key.trim();
    let value = percent_decode_str(value.trim()).decode_utf8().ok()?;
    let metadata = metadata.trim();
    let is_valid = !key.is_empty() && is_plain(key) && is_plain(metadata);
    is_valid.then(|| (key.to_owned(), value.into_owned(), metadata))
}

/// Whether a header can hold it as it is.
fn is_plain(text: &str) -> bool {
    text.bytes().all(|b| matches!(b, b' '..=b'~') && b != b',')
}

/// The field's value, or `None` when there is nothing to send. Members that would make
/// the field longer than [`MAX_BYTES`], or that no header can hold, are left out.
pub(crate) fn format(baggage: &Baggage) -> Option<String> {
    let mut list = String::new();
    for (key, (value, metadata)) in baggage {
        if !is_plain(key.as_str()) || !is_plain(metadata.as_str()) {
            continue;
        }
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

    fn read(list: &str) -> Baggage {
        parse(std::iter::once(list.as_bytes())).unwrap()
    }

    #[test]
    fn values_are_decoded_and_metadata_is_kept() {
        let baggage = read("user.tier=pro, note=a%20b%2Cc;ttl=5 ,broken,=x");
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
            let read = read(&field);
            prop_assert_eq!(read.get(&key).unwrap().as_str(), value);
        }

        #[test]
        fn any_text_is_tolerated(list in ".{0,300}") {
            let _ = format(&read(&list));
        }
    }
}
