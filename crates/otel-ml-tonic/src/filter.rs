//! Filters for what is seldom worth a trace.

use otel_ml_tower::RequestHead;
use otel_ml_tower::otel_ml::hooks::Filter;

/// Leaves out the calls of gRPC's health checking protocol.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoHealthChecks;

impl Filter<RequestHead<'_>> for NoHealthChecks {
    fn accepts(&self, request: &RequestHead<'_>) -> bool {
        !request.uri.path().starts_with("/grpc.health.")
    }
}

/// Leaves out the calls by which tools ask what a server has.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoReflection;

impl Filter<RequestHead<'_>> for NoReflection {
    fn accepts(&self, request: &RequestHead<'_>) -> bool {
        !request.uri.path().starts_with("/grpc.reflection.")
    }
}

/// What a server layer records unless told otherwise: all but health checks and reflection.
#[derive(Clone, Copy, Debug, Default)]
pub struct DefaultFilter;

impl Filter<RequestHead<'_>> for DefaultFilter {
    #[inline]
    fn accepts(&self, request: &RequestHead<'_>) -> bool {
        let of_grpc = request.uri.path().strip_prefix("/grpc.");
        of_grpc.is_none_or(|rest| !rest.starts_with("health.") && !rest.starts_with("reflection."))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn health_and_reflection_are_left_out() {
        for (path, wanted) in [
            ("/shop.Cart/Add", true),
            ("/grpc.health.v1.Health/Check", false),
            ("/grpc.health.v1.Health/Watch", false),
            (
                "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
                false,
            ),
            (
                "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
                false,
            ),
            ("/grpc.testing.TestService/UnaryCall", true),
            ("/", true),
        ] {
            let request = http::Request::post(path).body(()).unwrap();
            let head = RequestHead::from(&request);
            assert_eq!(DefaultFilter.accepts(&head), wanted, "{path}");
            let both = NoHealthChecks.and(NoReflection);
            assert_eq!(both.accepts(&head), wanted, "{path}");
        }
    }
}
