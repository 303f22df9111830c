//! The eight services, a file each: a router, and handlers that record what they do.
//!
//! Every router has the same layer, from [`Hop::layer`]: the span of each request, its metrics,
//! and the trace that it is part of come from there. Handlers add what only they know.

pub mod audit;
pub mod embed;
pub mod features;
pub mod gateway;
pub mod generate;
pub mod postprocess;
pub mod preprocess;
pub mod rerank;
pub mod retrieve;

use std::any::Any;
use std::convert::Infallible;
use std::error::Error as _;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::response::IntoResponse;
use otel_ml::{ErrorType, Telemetry};
use otel_ml_axum::{Axum, OtelMlLayer};
use otel_ml_tower::server::{ConfiguredOtelMlLayer, DefaultHooks};
use tonic::server::NamedService;

use crate::client::{CallError, REQUEST_ID};

/// Whom the models of this pipeline are from.
pub const PROVIDER: &str = "otel-ml-demo";

/// The member of the baggage, and the attribute, that holds the user's tier.
pub const USER_TIER: &str = otel_ml::semconv::ml::USER_TIER;

/// Which of the eight services.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// Takes the question, asks the others.
    Gateway,
    /// Cleans the question up.
    Preprocess,
    /// Knows the user.
    Features,
    /// Turns the question into a vector.
    Embed,
    /// Finds candidates.
    Retrieve,
    /// Puts them in a better order.
    Rerank,
    /// Gives the answer out, token by token.
    Generate,
    /// Tidies it up.
    Postprocess,
}

impl Stage {
    /// All, in the order in which a request meets them.
    pub const ALL: [Self; 8] = [
        Self::Gateway,
        Self::Preprocess,
        Self::Features,
        Self::Embed,
        Self::Retrieve,
        Self::Rerank,
        Self::Generate,
        Self::Postprocess,
    ];

    /// The service's name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::Preprocess => "preprocess",
            Self::Features => "features",
            Self::Embed => "embed",
            Self::Retrieve => "retrieve",
            Self::Rerank => "rerank",
            Self::Generate => "generate",
            Self::Postprocess => "postprocess",
        }
    }
}

/// What every hop is given.
#[derive(Clone, Debug)]
pub struct Hop {
    /// Where its spans and metrics go. A service alone in its process needs none: it uses the
    /// global providers.
    pub telemetry: Telemetry,
    /// How much slower than it could be it is to work.
    pub delay: Duration,
}

impl Hop {
    /// The layer of its router. `.layer(OtelMlLayer)` would do for a service alone in its process.
    pub fn layer(&self) -> ConfiguredOtelMlLayer<DefaultHooks, Axum> {
        OtelMlLayer::builder()
            .telemetry(self.telemetry.clone())
            .baggage([USER_TIER])
            .request_headers([REQUEST_ID.as_str()])
            .classify_errors(class_of)
            .build()
    }

    /// The same for its services that are called by gRPC.
    pub fn grpc_layer(
        &self,
    ) -> otel_ml_tonic::server::ConfiguredOtelMlLayer<otel_ml_tonic::server::DefaultHooks> {
        otel_ml_tonic::OtelMlLayer::builder()
            .telemetry(self.telemetry.clone())
            .baggage([USER_TIER])
            .request_metadata([REQUEST_ID.as_str()])
            .build()
    }

    /// A router with `service`, which is called by gRPC, beside what else is served.
    fn rpc<S>(&self, service: S) -> Router
    where
        S: tower::Service<http::Request<Body>, Error = Infallible>
            + NamedService
            + Clone
            + Send
            + Sync
            + 'static,
        S::Response: IntoResponse,
        S::Future: Send,
    {
        let path = format!("/{}/{{method}}", S::NAME);
        Router::new()
            .route_service(&path, service)
            .layer(self.grpc_layer())
    }

    /// Takes the time that `--slow` asks for.
    pub async fn wait(&self) {
        pause(self.delay).await;
    }
}

/// A timer of nothing would still take a millisecond.
async fn pause(time: Duration) {
    if !time.is_zero() {
        tokio::time::sleep(time).await;
    }
}

/// A body fails with an error of axum's, which holds the one that says something.
fn class_of(error: &dyn Any) -> Option<ErrorType> {
    let source = error.downcast_ref::<axum::Error>()?.source()?;
    source.downcast_ref::<CallError>().map(CallError::class)
}
