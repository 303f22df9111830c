//! Topics and partitions as the core names destinations.

use std::fmt;
use std::sync::Arc;

use otel_ml::messaging::Destination;

type Template = dyn Fn(&str) -> Option<&'static str> + Send + Sync;

/// Tells which topics' names are made from a template.
#[derive(Clone, Default)]
pub(crate) struct Templates(Option<Arc<Template>>);

impl Templates {
    pub(crate) fn new(of: impl Fn(&str) -> Option<&'static str> + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(of)))
    }

    /// `topic`, with its template if it has one.
    pub(crate) fn destination<'a>(&self, topic: &'a str) -> Destination<'a> {
        let named = Destination::named(topic);
        let template = self.0.as_ref().and_then(|of| of(topic));
        template.map_or(named, |template| named.template(template))
    }
}

impl fmt::Debug for Templates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Templates").field(&self.0.is_some()).finish()
    }
}

/// A number as text, without an allocation, and without what `fmt` costs for one of few digits.
#[derive(Clone, Copy)]
pub(crate) struct Number {
    /// At their end; eleven are enough for any `i32`.
    digits: [u8; 11],
    start: usize,
}

impl Number {
    pub(crate) fn new(number: i32) -> Self {
        let mut digits = [b'-'; 11];
        let mut rest = number.unsigned_abs();
        let mut start = digits.len();
        for (at, digit) in digits.iter_mut().enumerate().rev() {
            *digit = b'0' + u8::try_from(rest % 10).unwrap_or_default();
            rest /= 10;
            start = at;
            if rest == 0 {
                break;
            }
        }
        // What is in front of them is a minus.
        let start = start - usize::from(number < 0);
        Self { digits, start }
    }

    pub(crate) fn as_str(&self) -> &str {
        let digits = self.digits.get(self.start..).unwrap_or_default();
        std::str::from_utf8(digits).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_are_text() {
        for number in [0, 7, 1234, i32::MAX, i32::MIN, -1] {
            assert_eq!(Number::new(number).as_str(), number.to_string());
        }
    }
}
