//! The environment, read by name.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use crate::error::{ErrorKind, InitError};

type Source = dyn Fn(&str) -> Option<String> + Send + Sync;

/// Where variables come from: the process, unless a test says otherwise. An empty value counts
/// as none, as the specification has it.
#[derive(Clone)]
pub(crate) struct Variables(Arc<Source>);

impl Variables {
    pub(crate) fn of_process() -> Self {
        Self::from(|name: &str| {
            std::env::var_os(name).map(|value| value.to_string_lossy().into_owned())
        })
    }

    pub(crate) fn from(source: impl Fn(&str) -> Option<String> + Send + Sync + 'static) -> Self {
        Self(Arc::new(source))
    }

    pub(crate) fn text(&self, name: &str) -> Option<String> {
        let value = (self.0)(name)?;
        let value = value.trim();
        (!value.is_empty()).then(|| value.to_owned())
    }

    /// The first of `names` that is set, and its value.
    pub(crate) fn first<'a>(&self, names: &[&'a str]) -> Option<(&'a str, String)> {
        names
            .iter()
            .find_map(|name| self.text(name).map(|value| (*name, value)))
    }

    pub(crate) fn number<T: FromStr>(&self, name: &str) -> Result<Option<T>, InitError> {
        let Some(value) = self.text(name) else {
            return Ok(None);
        };
        value
            .parse()
            .map(Some)
            .map_err(|_| wrong(name, &value, "a whole number is wanted"))
    }

    pub(crate) fn millis(&self, name: &str) -> Result<Option<Duration>, InitError> {
        let millis: Option<u64> = self.number(name).map_err(|_| {
            let value = self.text(name).unwrap_or_default();
            wrong(name, &value, "a whole number of milliseconds is wanted")
        })?;
        Ok(millis.map(Duration::from_millis))
    }

    /// `true` or `false`, in any case of letters.
    pub(crate) fn flag(&self, name: &str) -> Result<Option<bool>, InitError> {
        let Some(value) = self.text(name) else {
            return Ok(None);
        };
        match value.to_ascii_lowercase().as_str() {
            "true" => Ok(Some(true)),
            "false" => Ok(Some(false)),
            _ => Err(wrong(name, &value, "`true` or `false` is wanted")),
        }
    }
}

impl fmt::Debug for Variables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Variables")
    }
}

/// The error of a variable or setting whose value won't do.
pub(crate) fn wrong(name: &str, value: &str, wanted: &str) -> InitError {
    InitError::new(
        ErrorKind::Setting,
        format!("{name}: `{value}` won't do: {wanted}"),
    )
}
