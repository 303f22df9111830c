//! Attribute values in tests.

use opentelemetry::{Array, StringValue, Value};

/// What a test may write for the value of an attribute or a label.
///
/// All integers become OpenTelemetry integers, all strings strings: `12` and `"12"`
/// and `12.0` stay three different values.
pub trait IntoValue {
    /// The OpenTelemetry value.
    fn into_value(self) -> Value;
}

macro_rules! into_value {
    ($($from:ty => |$value:ident| $to:expr;)+) => {
        $(impl IntoValue for $from {
            fn into_value(self) -> Value {
                let $value = self;
                $to
            }
        })+
    };
}

into_value! {
    Value => |value| value;
    bool => |value| Value::Bool(value);
    i32 => |value| Value::I64(value.into());
    i64 => |value| Value::I64(value);
    u16 => |value| Value::I64(value.into());
    u32 => |value| Value::I64(value.into());
    f64 => |value| Value::F64(value);
    &str => |value| Value::String(value.to_owned().into());
    String => |value| Value::String(value.into());
    Vec<&str> => |value| strings(&value);
    Vec<i64> => |value| Value::Array(Array::I64(value));
    Vec<f64> => |value| Value::Array(Array::F64(value));
}

impl<const N: usize> IntoValue for [&str; N] {
    fn into_value(self) -> Value {
        strings(&self)
    }
}

impl<const N: usize> IntoValue for [i64; N] {
    fn into_value(self) -> Value {
        Value::Array(Array::I64(self.into()))
    }
}

fn strings(values: &[&str]) -> Value {
    let values = values
        .iter()
        .map(|value| StringValue::from((*value).to_owned()));
    Value::Array(Array::String(values.collect()))
}

/// A value in a form that tells its type: `12` is an integer, `12.0` a float, `"12"`
/// a string.
pub(crate) fn show(value: &Value) -> String {
    match value {
        Value::Bool(value) => format!("{value}"),
        Value::I64(value) => format!("{value}"),
        Value::F64(value) => format!("{value:?}"),
        Value::String(value) => format!("{:?}", value.as_str()),
        Value::Array(Array::Bool(values)) => format!("{values:?}"),
        Value::Array(Array::I64(values)) => format!("{values:?}"),
        Value::Array(Array::F64(values)) => format!("{values:?}"),
        Value::Array(Array::String(values)) => {
            let values: Vec<&str> = values.iter().map(|value| value.as_str()).collect();
            format!("{values:?}")
        }
        other => format!("{other:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shown_form_tells_the_type() {
        let cases = [
            (12.into_value(), "12"),
            (12.0.into_value(), "12.0"),
            ("12".into_value(), "\"12\""),
            (true.into_value(), "true"),
            ("true".into_value(), "\"true\""),
            (["a", "b"].into_value(), "[\"a\", \"b\"]"),
            ([1, 2].into_value(), "[1, 2]"),
            (vec![1.0].into_value(), "[1.0]"),
            (f64::NAN.into_value(), "NaN"),
        ];
        for (value, shown) in cases {
            assert_eq!(show(&value), shown);
        }
    }
}
