//! What class of error an error of lapin's is.

use lapin::protocol::{AMQPError, AMQPErrorKind, AMQPHardError, AMQPSoftError};
use lapin::{Error, ErrorKind};
use otel_ml::{ErrorClassifier, ErrorType};

/// The name that the protocol has for the code of `error`, and whether trying again may help.
pub(crate) const fn of_protocol(error: &AMQPErrorKind) -> (&'static str, bool) {
    match error {
        AMQPErrorKind::Soft(error) => match error {
            AMQPSoftError::CONTENTTOOLARGE => ("CONTENT_TOO_LARGE", false),
            AMQPSoftError::NOROUTE => ("NO_ROUTE", false),
            AMQPSoftError::NOCONSUMERS => ("NO_CONSUMERS", true),
            AMQPSoftError::ACCESSREFUSED => ("ACCESS_REFUSED", false),
            AMQPSoftError::NOTFOUND => ("NOT_FOUND", false),
            AMQPSoftError::RESOURCELOCKED => ("RESOURCE_LOCKED", true),
            AMQPSoftError::PRECONDITIONFAILED => ("PRECONDITION_FAILED", false),
        },
        AMQPErrorKind::Hard(error) => match error {
            AMQPHardError::CONNECTIONFORCED => ("CONNECTION_FORCED", true),
            AMQPHardError::INVALIDPATH => ("INVALID_PATH", false),
            AMQPHardError::FRAMEERROR => ("FRAME_ERROR", false),
            AMQPHardError::SYNTAXERROR => ("SYNTAX_ERROR", false),
            AMQPHardError::COMMANDINVALID => ("COMMAND_INVALID", false),
            AMQPHardError::CHANNELERROR => ("CHANNEL_ERROR", false),
            AMQPHardError::UNEXPECTEDFRAME => ("UNEXPECTED_FRAME", false),
            AMQPHardError::RESOURCEERROR => ("RESOURCE_ERROR", true),
            AMQPHardError::NOTALLOWED => ("NOT_ALLOWED", false),
            AMQPHardError::NOTIMPLEMENTED => ("NOT_IMPLEMENTED", false),
            AMQPHardError::INTERNALERROR => ("INTERNAL_ERROR", true),
        },
    }
}

/// The same of the code that came with a message that was returned.
pub(crate) fn of_returned(error: Option<&AMQPError>) -> (ErrorType, Option<bool>) {
    error.map_or((ErrorType::OTHER, None), |error| {
        let (name, is_transient) = of_protocol(error.kind());
        (ErrorType::new(name), Some(is_transient))
    })
}

/// What operations on a channel that is closed come to.
pub(crate) const CLOSED: ErrorType = ErrorType::new("InvalidChannelState");

/// `error.type` of `error`: what the protocol calls the code of an error of the broker's, such as
/// `PRECONDITION_FAILED`; else the name of its [`ErrorKind`], such as `IOError`,
/// `MissingHeartbeatError`, or `InvalidChannelState` for a channel that is closed.
///
/// ```
/// use otel_ml_lapin::error_type;
/// use otel_ml_lapin::lapin::ErrorKind;
///
/// let error = ErrorKind::MissingHeartbeatError.into();
/// assert_eq!(error_type(&error).as_str(), "MissingHeartbeatError");
/// ```
#[must_use]
pub fn error_type(error: &Error) -> ErrorType {
    ErrorType::new(match error.kind() {
        ErrorKind::ProtocolError(error) => of_protocol(error.kind()).0,
        ErrorKind::InvalidChannelState(..) => return CLOSED,
        ErrorKind::InvalidConnectionState(_) => "InvalidConnectionState",
        ErrorKind::InvalidChannel(_) => "InvalidChannel",
        ErrorKind::IOError(_) => "IOError",
        ErrorKind::RuntimeShutdownError(_) => "RuntimeShutdownError",
        ErrorKind::MissingHeartbeatError => "MissingHeartbeatError",
        ErrorKind::ParsingError(_) => "ParsingError",
        ErrorKind::SerialisationError(_) => "SerialisationError",
        ErrorKind::ChannelsLimitReached => "ChannelsLimitReached",
        ErrorKind::InvalidProtocolVersion(_) => "InvalidProtocolVersion",
        ErrorKind::AuthProviderError(_) => "AuthProviderError",
        ErrorKind::FutureCompleted => "FutureCompleted",
        ErrorKind::NoDefaultRuntime => "NoDefaultRuntime",
        _ => return ErrorType::OTHER,
    })
}

/// Whether trying again, on a new connection perhaps, may help.
pub(crate) fn is_transient(error: &Error) -> bool {
    match error.kind() {
        ErrorKind::ProtocolError(error) => of_protocol(error.kind()).1,
        _ => error.can_be_recovered(),
    }
}

/// What is known of lapin's errors.
pub(crate) fn classifier() -> ErrorClassifier {
    ErrorClassifier::new(|error| error.downcast_ref().map(error_type))
}
