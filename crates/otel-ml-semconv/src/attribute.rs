//! What an attribute is, and the macros that declare keys, values and their registry in one line.

/// The type an attribute's value has when it is recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ValueType {
    /// Text.
    String,
    /// A signed 64-bit integer.
    Int,
    /// A 64-bit floating point number.
    Double,
    /// True or false.
    Bool,
    /// A list of texts.
    StringArray,
    /// A list of integers.
    IntArray,
    /// Structured content; on spans a JSON text.
    Any,
}

/// How far a name can be relied upon.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stability {
    /// Neither name nor type changes any more.
    Stable,
    /// May still be renamed; a release that does so says it first in its changelog.
    Development,
}

/// One attribute of the registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Attribute {
    /// The key as recorded, or, ending in a dot, the prefix of a family of keys.
    pub key: &'static str,
    /// The type of the value.
    pub value_type: ValueType,
    /// How far the name can be relied upon.
    pub stability: Stability,
}

impl Attribute {
    /// Whether `key` stands for a family of keys, such as one per header name.
    #[must_use]
    pub fn is_prefix(&self) -> bool {
        self.key.ends_with('.')
    }

    /// Whether `key` is this attribute, or a member of this family.
    #[must_use]
    pub fn matches(&self, key: &str) -> bool {
        if self.is_prefix() {
            key.len() > self.key.len() && key.starts_with(self.key)
        } else {
            key == self.key
        }
    }
}

/// Declares the attribute keys of a namespace and lists them in `ATTRIBUTES`.
///
/// The last paragraph of every key's documentation is made from the same tokens as its registry
/// entry, so the two can't disagree.
macro_rules! attributes {
    (
        source: $source:literal;
        $($(#[$doc:meta])+ $name:ident: $value_type:ident, $stability:ident = $key:literal;)+
    ) => {
        $(
            $(#[$doc])+
            #[doc = ""]
            #[doc = concat!(
                "Type: ", stringify!($value_type), ". Stability: ", stringify!($stability),
                ". Source: ", $source, "."
            )]
            pub const $name: &str = $key;
        )+

        pub(crate) const ATTRIBUTES: &[$crate::Attribute] = &[
            $($crate::Attribute {
                key: $name,
                value_type: $crate::ValueType::$value_type,
                stability: $crate::Stability::$stability,
            },)+
        ];
    };
}

/// Declares the well-known values of an attribute and lists them in `ALL`.
macro_rules! values {
    ($($(#[$doc:meta])+ $name:ident = $value:literal;)+) => {
        $($(#[$doc])+ pub const $name: &str = $value;)+

        /// Every value of this module, in the order above.
        pub const ALL: &[&str] = &[$($name),+];
    };
}

pub(crate) use {attributes, values};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_holds_its_members_and_not_its_bare_prefix() {
        let headers = Attribute {
            key: "http.request.header.",
            value_type: ValueType::StringArray,
            stability: Stability::Stable,
        };
        assert!(headers.matches("http.request.header.content-type"));
        assert!(!headers.matches("http.request.header."));
        assert!(!headers.matches("http.request.header"));
        assert!(!headers.matches("http.response.header.content-type"));
    }
}
