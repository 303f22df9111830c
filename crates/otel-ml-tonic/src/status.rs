//! gRPC's status: from headers and trailers, from HTTP, and from errors that stand for one.

use std::any::Any;
use std::error::Error;
use std::time::Duration;

use http::StatusCode;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderName};
use otel_ml_tower::otel_ml::semconv::rpc::grpc_status;
use otel_ml_tower::otel_ml::{CancelReason, ErrorType};
use tonic::{Code, ConnectError, Status, TimeoutExpired};

/// The name of `code`.
pub(crate) fn name(code: Code) -> &'static str {
    usize::try_from(i32::from(code))
        .ok()
        .and_then(|code| grpc_status::ALL.get(code).copied())
        .unwrap_or(grpc_status::UNKNOWN)
}

/// Whether this is of gRPC, and not of plain HTTP or of gRPC-Web, whose trailers are in its body.
pub(crate) fn is_grpc(headers: &HeaderMap) -> bool {
    // Among the few names there are: to hash one costs more.
    let found = headers.iter().find(|(name, _)| **name == CONTENT_TYPE);
    found.is_some_and(|(_, kind)| is_grpc_type(kind.as_bytes()))
}

/// Whether this content type is gRPC's.
pub(crate) fn is_grpc_type(kind: &[u8]) -> bool {
    const GRPC: &[u8] = b"application/grpc";
    if kind == GRPC {
        return true;
    }
    let (name, rest) = kind.split_at(GRPC.len().min(kind.len()));
    name.eq_ignore_ascii_case(GRPC) && matches!(rest.first(), None | Some(b'+' | b';' | b' '))
}

/// The status in headers or trailers. Not by [`Status::from_header_map`], which panics where
/// the details are not base64.
pub(crate) fn in_headers(headers: &HeaderMap) -> Option<Code> {
    static GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
    headers
        .get(&GRPC_STATUS)
        .map(|value| Code::from_bytes(value.as_bytes()))
}

/// The status of an answer that has none: what gRPC says an HTTP status stands for.
pub(crate) fn of_http(status: StatusCode) -> Code {
    match status {
        StatusCode::BAD_REQUEST => Code::Internal,
        StatusCode::UNAUTHORIZED => Code::Unauthenticated,
        StatusCode::FORBIDDEN => Code::PermissionDenied,
        StatusCode::NOT_FOUND => Code::Unimplemented,
        StatusCode::TOO_MANY_REQUESTS
        | StatusCode::BAD_GATEWAY
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::GATEWAY_TIMEOUT => Code::Unavailable,
        _ => Code::Unknown,
    }
}

/// How long the caller waits, as `grpc-timeout` says it: up to eight digits and a unit.
pub(crate) fn timeout(headers: &HeaderMap) -> Option<Duration> {
    static GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");
    read_timeout(headers.get(&GRPC_TIMEOUT)?.as_bytes())
}

/// The value of a `grpc-timeout`.
pub(crate) fn read_timeout(value: &[u8]) -> Option<Duration> {
    let (unit, digits) = value.split_last()?;
    if digits.is_empty() || digits.len() > 8 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number: u64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    Some(match unit {
        b'H' => Duration::from_secs(number * 3600),
        b'M' => Duration::from_secs(number * 60),
        b'S' => Duration::from_secs(number),
        b'm' => Duration::from_millis(number),
        b'u' => Duration::from_micros(number),
        b'n' => Duration::from_nanos(number),
        _ => return None,
    })
}

/// What an error says that came in place of a status.
#[derive(Debug, PartialEq)]
pub(crate) enum Failure {
    /// The time was up, before anything else happened.
    Cancelled(CancelReason, Code),
    /// It is a status, or stands for one.
    Status(Code),
    /// There is no status, only a class.
    Class(ErrorType, Code),
}

/// What `error` says, if it is of a kind that says something. What tonic's client answers is a
/// "transport error" whose sources tell what happened.
pub(crate) fn of_error<E: 'static>(error: &E) -> Option<Failure> {
    let first = as_error(error)?;
    let mut code = None;
    let mut next = Some(first);
    while let Some(error) = next {
        if error.is::<TimeoutExpired>() {
            let deadline = CancelReason::Deadline;
            return Some(Failure::Cancelled(deadline, Code::DeadlineExceeded));
        }
        if error.is::<ConnectError>() {
            let class = ErrorType::of::<ConnectError>();
            return Some(Failure::Class(class, Code::Unavailable));
        }
        if let Some(status) = error.downcast_ref::<Status>() {
            code.get_or_insert(status.code());
        }
        if let Some(h2) = error.downcast_ref::<h2::Error>() {
            let code = *code.get_or_insert_with(|| of_reset(h2));
            if h2.is_remote() || h2.is_io() {
                return Some(Failure::Cancelled(CancelReason::Reset, code));
            }
            // By this side's own hand: tonic's requests have a handle for it.
            if h2.reason() == Some(h2::Reason::CANCEL) {
                return Some(Failure::Cancelled(CancelReason::Dropped, code));
            }
        }
        if let Some(hyper) = error.downcast_ref::<hyper::Error>() {
            // The other side answers pings no more.
            if hyper.is_timeout() {
                let code = code.unwrap_or(Code::Unavailable);
                return Some(Failure::Cancelled(CancelReason::Reset, code));
            }
            // The connection was gone before the request was on it.
            if hyper.is_canceled() {
                code.get_or_insert(Code::Cancelled);
            }
        }
        next = error.source();
    }
    code.map(Failure::Status)
}

/// The errors of tonic, axum, hyper and h2, and whatever tower's layers have put into a box.
fn as_error<E: 'static>(error: &E) -> Option<&(dyn Error + 'static)> {
    fn is<T: Error + 'static>(error: &dyn Any) -> Option<&(dyn Error + 'static)> {
        error.downcast_ref::<T>().map(|error| error as _)
    }
    let error: &dyn Any = error;
    if let Some(boxed) = error.downcast_ref::<Box<dyn Error + Send + Sync>>() {
        return Some(boxed.as_ref());
    }
    is::<Status>(error)
        .or_else(|| is::<tonic::transport::Error>(error))
        .or_else(|| is::<axum::Error>(error))
        .or_else(|| is::<hyper::Error>(error))
        .or_else(|| is::<h2::Error>(error))
}

/// What gRPC says a reset stands for.
fn of_reset(error: &h2::Error) -> Code {
    match error.reason() {
        Some(h2::Reason::CANCEL) => Code::Cancelled,
        Some(h2::Reason::REFUSED_STREAM) => Code::Unavailable,
        Some(h2::Reason::ENHANCE_YOUR_CALM) => Code::ResourceExhausted,
        Some(h2::Reason::INADEQUATE_SECURITY) => Code::PermissionDenied,
        Some(
            h2::Reason::NO_ERROR
            | h2::Reason::PROTOCOL_ERROR
            | h2::Reason::INTERNAL_ERROR
            | h2::Reason::FLOW_CONTROL_ERROR
            | h2::Reason::SETTINGS_TIMEOUT
            | h2::Reason::FRAME_SIZE_ERROR
            | h2::Reason::COMPRESSION_ERROR
            | h2::Reason::CONNECT_ERROR,
        ) => Code::Internal,
        _ => Code::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn one(name: &'static str, value: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(name, HeaderValue::from_str(value).unwrap());
        headers
    }

    #[test]
    fn every_code_has_its_name() {
        for code in 0..17 {
            let found = in_headers(&one("grpc-status", &code.to_string())).unwrap();
            assert_eq!(
                name(found),
                grpc_status::ALL[usize::try_from(code).unwrap()]
            );
        }
        for rubbish in ["", "17", "-1", "00", "OK", "999999999999"] {
            let found = in_headers(&one("grpc-status", rubbish)).unwrap();
            assert_eq!(name(found), "UNKNOWN", "{rubbish}");
        }
        assert_eq!(in_headers(&HeaderMap::new()), None);
    }

    #[test]
    fn an_http_status_stands_for_one_of_grpc() {
        for (http, code) in [
            (200, "UNKNOWN"),
            (204, "UNKNOWN"),
            (302, "UNKNOWN"),
            (400, "INTERNAL"),
            (401, "UNAUTHENTICATED"),
            (403, "PERMISSION_DENIED"),
            (404, "UNIMPLEMENTED"),
            (418, "UNKNOWN"),
            (429, "UNAVAILABLE"),
            (500, "UNKNOWN"),
            (502, "UNAVAILABLE"),
            (503, "UNAVAILABLE"),
            (504, "UNAVAILABLE"),
        ] {
            let status = StatusCode::from_u16(http).unwrap();
            assert_eq!(name(of_http(status)), code, "{http}");
        }
    }

    #[test]
    fn grpc_is_told_by_its_content_type() {
        for (kind, expected) in [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("Application/gRPC; charset=utf-8", true),
            ("application/grpc-web", false),
            ("application/grpc-web-text+proto", false),
            ("application/json", false),
            ("application", false),
            ("", false),
        ] {
            assert_eq!(is_grpc(&one("content-type", kind)), expected, "{kind}");
        }
        assert!(!is_grpc(&HeaderMap::new()));
    }

    #[test]
    fn timeouts_are_read_and_rubbish_is_none() {
        let read = |text: &str| timeout(&one("grpc-timeout", text));
        assert_eq!(read("5S"), Some(Duration::from_secs(5)));
        assert_eq!(
            read("99999999H"),
            Some(Duration::from_secs(99_999_999 * 3600))
        );
        assert_eq!(read("250m"), Some(Duration::from_millis(250)));
        for rubbish in ["", "S", "5", "5x", "123456789S", "+5S", "-5S", "5 S"] {
            assert_eq!(read(rubbish), None, "{rubbish}");
        }
    }

    #[test]
    fn the_chain_of_an_error_is_walked() {
        #[derive(Debug)]
        struct Around(Box<dyn Error + Send + Sync>);
        impl std::fmt::Display for Around {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("around")
            }
        }
        impl Error for Around {
            fn source(&self) -> Option<&(dyn Error + 'static)> {
                Some(self.0.as_ref())
            }
        }
        let boxed = |error: Box<dyn Error + Send + Sync>| -> Box<dyn Error + Send + Sync> {
            Box::new(Around(error))
        };
        assert_eq!(
            of_error(&boxed(Box::new(TimeoutExpired(())))),
            Some(Failure::Cancelled(
                CancelReason::Deadline,
                Code::DeadlineExceeded
            ))
        );
        assert_eq!(
            of_error(&boxed(Box::new(ConnectError("refused".into())))),
            Some(Failure::Class("ConnectError".into(), Code::Unavailable))
        );
        assert_eq!(
            of_error(&boxed(Box::new(Status::not_found("x")))),
            Some(Failure::Status(Code::NotFound))
        );
        assert_eq!(of_error(&boxed("nothing known".into())), None);
        assert_eq!(of_error(&std::fmt::Error), None);
    }

    #[test]
    fn a_stream_that_this_side_gave_up_for_an_error_has_the_status_of_it() {
        let status = |reason| of_error(&h2::Error::from(reason));
        assert_eq!(
            status(h2::Reason::FLOW_CONTROL_ERROR),
            Some(Failure::Status(Code::Internal))
        );
        assert_eq!(
            status(h2::Reason::CANCEL),
            Some(Failure::Cancelled(CancelReason::Dropped, Code::Cancelled))
        );
    }

    #[tokio::test]
    async fn a_request_whose_connection_is_gone_was_cancelled() {
        let (near, _far) = tokio::io::duplex(64);
        let near = hyper_util::rt::TokioIo::new(near);
        let (mut sender, connection) = hyper::client::conn::http1::handshake(near).await.unwrap();
        drop(connection);
        let request = http::Request::new(String::new());
        let error = sender.send_request(request).await.unwrap_err();
        assert_eq!(of_error(&error), Some(Failure::Status(Code::Cancelled)));
    }
}
