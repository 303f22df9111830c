//! An envelope as a map, in any format of serde's that describes itself.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{
    self, Deserialize, Deserializer, EnumAccess, IgnoredAny, MapAccess, SeqAccess, Visitor,
};
use serde::ser::{Serialize, SerializeMap, Serializer};

use super::fields::Fields;
use super::{ATTEMPT, Envelope, PAYLOAD, SUBMITTED};

impl<T: Serialize> Serialize for Envelope<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let submitted = self.submitted_ms();
        let entries = self.fields.len() + 2 + usize::from(submitted.is_some());
        let mut map = serializer.serialize_map(Some(entries))?;
        for (name, value) in self.fields.iter() {
            map.serialize_entry(name, value)?;
        }
        if let Some(submitted) = submitted {
            map.serialize_entry(SUBMITTED, &submitted)?;
        }
        map.serialize_entry(ATTEMPT, &self.attempt)?;
        map.serialize_entry(PAYLOAD, &self.payload)?;
        map.end()
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Envelope<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(EnvelopeVisitor(PhantomData))
    }
}

struct EnvelopeVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for EnvelopeVisitor<T> {
    type Value = Envelope<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an envelope with a {PAYLOAD}")
    }

    /// Only the payload can be wrong: what else can't be read is as if it were not there.
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut payload = None;
        let (mut fields, mut attempt, mut submitted) = (Fields::default(), None, None);
        while let Some(name) = map.next_key()? {
            let Scalar::Text(name) = name else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            if name == PAYLOAD {
                if payload.is_some() {
                    return Err(de::Error::duplicate_field(PAYLOAD));
                }
                payload = Some(map.next_value()?);
                continue;
            }
            let value: Scalar = map.next_value()?;
            match name.as_str() {
                ATTEMPT => attempt = value.number(),
                SUBMITTED => submitted = value.number(),
                _ => {
                    if let Scalar::Text(value) = value {
                        fields.push(name, value);
                    }
                }
            }
        }
        let payload = payload.ok_or_else(|| de::Error::missing_field(PAYLOAD))?;
        Ok(Envelope::of(payload, fields, attempt, submitted))
    }
}

/// A value that is text or a whole number; any other is skipped.
pub(super) enum Scalar {
    Text(String),
    Number(u64),
    Other,
}

impl Scalar {
    /// Text counts where it is a number: maps of text alone are carriers, too.
    pub(super) fn number(&self) -> Option<u64> {
        match self {
            Self::Text(text) => text.parse().ok(),
            Self::Number(number) => Some(*number),
            Self::Other => None,
        }
    }
}

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ScalarVisitor)
    }
}

struct ScalarVisitor;

impl<'de> Visitor<'de> for ScalarVisitor {
    type Value = Scalar;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }

    fn visit_str<E>(self, text: &str) -> Result<Scalar, E> {
        Ok(Scalar::Text(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Scalar, E> {
        Ok(Scalar::Text(text))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Scalar, E> {
        Ok(Scalar::Number(number))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Scalar, E> {
        Ok(u64::try_from(number).map_or(Scalar::Other, Scalar::Number))
    }

    /// Not every language tells `1.0` from `1`.
    fn visit_f64<E>(self, number: f64) -> Result<Scalar, E> {
        let is_whole = number.fract() == 0.0 && (0.0..9e15).contains(&number);
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "it was looked at just now"
        )]
        let whole = is_whole.then_some(number as u64);
        Ok(whole.map_or(Scalar::Other, Scalar::Number))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Scalar, E> {
        Ok(Scalar::Other)
    }

    fn visit_unit<E>(self) -> Result<Scalar, E> {
        Ok(Scalar::Other)
    }

    fn visit_none<E>(self) -> Result<Scalar, E> {
        Ok(Scalar::Other)
    }

    fn visit_bytes<E>(self, _: &[u8]) -> Result<Scalar, E> {
        Ok(Scalar::Other)
    }

    fn visit_u128<E>(self, number: u128) -> Result<Scalar, E> {
        Ok(u64::try_from(number).map_or(Scalar::Other, Scalar::Number))
    }

    fn visit_i128<E>(self, number: i128) -> Result<Scalar, E> {
        Ok(u64::try_from(number).map_or(Scalar::Other, Scalar::Number))
    }

    fn visit_some<D: Deserializer<'de>>(self, value: D) -> Result<Scalar, D::Error> {
        Scalar::deserialize(value)
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, value: D) -> Result<Scalar, D::Error> {
        Scalar::deserialize(value)
    }

    /// What CBOR has tags for.
    fn visit_enum<A: EnumAccess<'de>>(self, value: A) -> Result<Scalar, A::Error> {
        IgnoredAny.visit_enum(value)?;
        Ok(Scalar::Other)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Scalar, A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Scalar::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Scalar, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Scalar::Other)
    }
}
