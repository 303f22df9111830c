//! The headers that go with every export.

use http::{HeaderName, HeaderValue};
use percent_encoding::percent_decode_str;

use crate::error::{ErrorKind, InitError};

/// Those of a variable, given with its name, and then those of code. Of two with one name the
/// last counts.
pub(super) fn headers(
    by_variable: Option<(String, String)>,
    in_code: &[(String, String)],
) -> Result<Vec<(HeaderName, HeaderValue)>, InitError> {
    let mut headers: Vec<(HeaderName, HeaderValue)> = Vec::new();
    let mut set = |name: &str, value: &str| {
        let mut parsed = HeaderValue::try_from(value).ok()?;
        parsed.set_sensitive(true);
        let name = HeaderName::try_from(name).ok()?;
        headers.retain(|(known, _)| *known != name);
        headers.push((name, parsed));
        Some(())
    };
    if let Some((setting, list)) = by_variable {
        for (at, pair) in list.split(',').enumerate() {
            if pair.trim().is_empty() {
                continue;
            }
            let pair = pair.split_once('=').and_then(|(name, value)| {
                let value = percent_decode_str(value.trim()).decode_utf8_lossy();
                set(name.trim(), &value)
            });
            if pair.is_none() {
                return Err(no_header(&setting, at));
            }
        }
    }
    for (at, (name, value)) in in_code.iter().enumerate() {
        set(name, value).ok_or_else(|| no_header("Otlp::header", at))?;
    }
    Ok(headers)
}

/// Nothing of what was said is repeated: it may be a credential.
fn no_header(setting: &str, at: usize) -> InitError {
    InitError::new(
        ErrorKind::Setting,
        format!(
            "{setting}: number {} won't do: `name=value` pairs of headers are wanted, separated by \
             commas and percent-encoded",
            at + 1
        ),
    )
}
