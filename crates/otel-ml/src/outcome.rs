//! How an operation ended, and what that means for its span and its metrics.

use std::any::type_name;
use std::borrow::Cow;

use opentelemetry::trace::SpanKind;
use otel_ml_semconv::error;

/// A low-cardinality class of error: the value of `error.type`.
///
/// Never a message and never a `Debug` form: the value is a metric label.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ErrorType(Cow<'static, str>);

impl ErrorType {
    /// `_OTHER`: an error of which nothing of low cardinality is known.
    pub const OTHER: Self = Self::new(error::OTHER);
    /// `panic`: the observed code panicked.
    pub const PANIC: Self = Self::new("panic");
    /// `timeout`: a deadline passed.
    pub const TIMEOUT: Self = Self::new("timeout");

    /// A class known at compile time.
    #[must_use]
    pub const fn new(class: &'static str) -> Self {
        Self(Cow::Borrowed(class))
    }

    /// A class made at run time.
    ///
    /// # Cardinality
    /// Every distinct value is a new time series: pass a class, not a message.
    #[must_use]
    pub fn from_class(class: String) -> Self {
        Self(Cow::Owned(class))
    }

    /// The last path segment of the name of `E`, without generics:
    /// `my_crate::QueueFull<T>` is `QueueFull`, boxed, shared or borrowed. Where that is `Error`, which
    /// tells nothing, it is the whole path: `std::io::error::Error`. A `dyn` error is `_OTHER`.
    #[must_use]
    pub fn of<E: ?Sized>() -> Self {
        let name = pointee(type_name::<E>());
        let path = name.split(['<', '>']).next().unwrap_or(name);
        let last = path.rsplit("::").next().unwrap_or(path);
        let opaque = name.starts_with("dyn ") || !last.starts_with(char::is_alphabetic);
        match last {
            _ if opaque => Self::OTHER,
            "Error" => Self::new(path),
            last => Self::new(last),
        }
    }

    /// An HTTP status code as a class: `"503"`.
    #[must_use]
    pub fn from_status(status: u16) -> Self {
        let known = match status {
            400 => "400",
            401 => "401",
            403 => "403",
            404 => "404",
            405 => "405",
            408 => "408",
            409 => "409",
            413 => "413",
            422 => "422",
            429 => "429",
            500 => "500",
            501 => "501",
            502 => "502",
            503 => "503",
            504 => "504",
            other => return Self(Cow::Owned(other.to_string())),
        };
        Self::new(known)
    }

    /// The class as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub(crate) fn into_value(self) -> opentelemetry::Value {
        self.0.into()
    }
}

/// The name of the type that `name`, a reference or a smart pointer, points to.
fn pointee(name: &'static str) -> &'static str {
    let inner = [
        "&mut ",
        "&",
        "alloc::boxed::Box<",
        "alloc::sync::Arc<",
        "alloc::rc::Rc<",
    ]
    .iter()
    .find_map(|pointer| name.strip_prefix(pointer));
    inner.map_or(name, pointee)
}

impl From<&'static str> for ErrorType {
    fn from(class: &'static str) -> Self {
        Self::new(class)
    }
}

/// Why an operation ended before it was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CancelReason {
    /// Its future, body, stream or guard was dropped. On a server: the client went away.
    Dropped,
    /// It never began: what held it was dropped, closed or aborted first.
    NeverRun,
    /// The peer reset the stream or closed the connection.
    Reset,
    /// A deadline passed.
    Deadline,
    /// The process is shutting down.
    Shutdown,
}

impl CancelReason {
    /// The value of `ml.cancel.reason`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Dropped => "dropped",
            Self::NeverRun => "never_run",
            Self::Reset => "reset",
            Self::Deadline => "deadline",
            Self::Shutdown => "shutdown",
        }
    }

    /// The `error.type` of an operation for which this end is an error.
    const fn error_type(self) -> ErrorType {
        match self {
            Self::Dropped | Self::NeverRun => ErrorType::new("cancelled"),
            Self::Reset => ErrorType::new("reset"),
            Self::Deadline => ErrorType::TIMEOUT,
            Self::Shutdown => ErrorType::new("shutdown"),
        }
    }
}

/// How an operation ended.
///
/// | outcome | server, consumer, producer | client, internal |
/// |---|---|---|
/// | `Ok` | status unset | status unset |
/// | `Failed(e)` | Error, `error.type` = e | Error, `error.type` = e |
/// | `Cancelled(Dropped)`, `Cancelled(NeverRun)` | Error, `error.type` = `cancelled` | status unset: the caller's own choice |
/// | `Cancelled(other)` | Error, `error.type` = `reset`, `timeout`, `shutdown` | the same |
///
/// Every cancelled operation also says `ml.cancel.reason`. The status `Ok` is never
/// set: it would be final, and hide an error recorded later.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// It did what it was asked.
    Ok,
    /// It failed.
    Failed(ErrorType),
    /// It ended before it was done.
    Cancelled(CancelReason),
}

impl Outcome {
    /// `Ok`, or `Failed` with the type of the error as its class.
    #[must_use]
    pub fn of<T, E>(result: &Result<T, E>) -> Self {
        match result {
            Ok(_) => Self::Ok,
            Err(_) => Self::Failed(ErrorType::of::<E>()),
        }
    }

    /// The error this outcome is for a span of `kind`, if it is one.
    #[inline]
    #[must_use]
    pub fn error(&self, kind: &SpanKind) -> Option<ErrorType> {
        match self {
            Self::Ok => None,
            other => other.error_of(kind),
        }
    }

    fn error_of(&self, kind: &SpanKind) -> Option<ErrorType> {
        match self {
            Self::Ok => None,
            Self::Failed(error) => Some(error.clone()),
            Self::Cancelled(CancelReason::Dropped | CancelReason::NeverRun)
                if matches!(kind, SpanKind::Client | SpanKind::Internal) =>
            {
                None
            }
            Self::Cancelled(reason) => Some(reason.error_type()),
        }
    }

    /// Why it was cancelled, if it was.
    #[must_use]
    pub const fn cancel_reason(&self) -> Option<CancelReason> {
        match self {
            Self::Cancelled(reason) => Some(*reason),
            Self::Ok | Self::Failed(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct QueueFull<T>(std::marker::PhantomData<T>);

    #[test]
    fn error_type_is_the_last_segment_without_generics() {
        assert_eq!(
            ErrorType::of::<QueueFull<Vec<String>>>().as_str(),
            "QueueFull"
        );
        assert_eq!(
            ErrorType::of::<&std::fmt::Error>().as_str(),
            "core::fmt::Error"
        );
        assert_eq!(
            ErrorType::of::<std::num::ParseIntError>().as_str(),
            "ParseIntError"
        );
        assert_eq!(
            ErrorType::of::<Box<dyn std::error::Error + Send>>(),
            ErrorType::OTHER
        );
        assert_eq!(ErrorType::of::<dyn std::error::Error>(), ErrorType::OTHER);
        assert_eq!(
            ErrorType::of::<Box<std::sync::Arc<std::fmt::Error>>>().as_str(),
            "core::fmt::Error"
        );
        assert_eq!(
            ErrorType::of::<QueueFull<Box<dyn std::error::Error>>>().as_str(),
            "QueueFull"
        );
        assert_eq!(ErrorType::of::<()>(), ErrorType::OTHER);
        assert_eq!(ErrorType::of::<(u8, u8)>(), ErrorType::OTHER);
        assert_eq!(ErrorType::of::<[u8; 4]>(), ErrorType::OTHER);
    }

    #[test]
    fn status_codes_are_classes() {
        assert_eq!(ErrorType::from_status(503).as_str(), "503");
        assert_eq!(ErrorType::from_status(599).as_str(), "599");
    }

    #[test]
    fn a_callers_own_cancellation_is_no_error() {
        let dropped = Outcome::Cancelled(CancelReason::Dropped);
        assert_eq!(dropped.error(&SpanKind::Client), None);
        assert_eq!(dropped.error(&SpanKind::Internal), None);
        assert_eq!(dropped.error(&SpanKind::Server), Some("cancelled".into()));
        assert_eq!(dropped.error(&SpanKind::Consumer), Some("cancelled".into()));
        assert_eq!(dropped.error(&SpanKind::Producer), Some("cancelled".into()));
        let never = Outcome::Cancelled(CancelReason::NeverRun);
        assert_eq!(never.error(&SpanKind::Internal), None);
        assert_eq!(never.error(&SpanKind::Consumer), Some("cancelled".into()));
        let deadline = Outcome::Cancelled(CancelReason::Deadline);
        assert_eq!(deadline.error(&SpanKind::Client), Some(ErrorType::TIMEOUT));
    }
}
