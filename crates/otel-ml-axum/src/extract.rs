use std::convert::Infallible;
use std::ops::Deref;

use axum::extract::FromRequestParts;
use http::request::Parts;
use otel_ml_tower::otel_ml;

/// The request's operation as a handler's argument. It never rejects a request: where
/// nothing is recorded, every call on it does nothing.
///
/// It is [`otel_ml::MlSpan::current`] as an extractor, and derefs to it. That one is no extractor:
/// in a file that uses both, write the argument as `span: otel_ml_axum::MlSpan`.
///
/// ```
/// use otel_ml_axum::MlSpan;
///
/// async fn predict(span: MlSpan) -> &'static str {
///     span.model("fraud").confidence(0.93);
///     "ok"
/// }
/// # let _: axum::Router = axum::Router::new().route("/predict", axum::routing::post(predict));
/// ```
#[derive(Clone, Debug, Default)]
pub struct MlSpan(otel_ml::MlSpan);

impl MlSpan {
    /// That of the request around the current code, where it is no argument.
    #[must_use]
    pub fn current() -> Self {
        Self(otel_ml::MlSpan::current())
    }
}

impl<S: Sync> FromRequestParts<S> for MlSpan {
    type Rejection = Infallible;

    async fn from_request_parts(_parts: &mut Parts, _state: &S) -> Result<Self, Infallible> {
        Ok(Self::current())
    }
}

impl Deref for MlSpan {
    type Target = otel_ml::MlSpan;

    fn deref(&self) -> &otel_ml::MlSpan {
        &self.0
    }
}
