//! Second hop: looks up what is known about the user, in a cache before the store.

use std::num::NonZeroUsize;
use std::sync::Arc;

use axum::routing::post;
use axum::{Json, Router, extract::State};
use otel_ml::{MlSpan, db, stage};
use serde::{Deserialize, Serialize};

use super::Hop;
use crate::engine::features::{FEATURE_VIEW, FEATURES, FeatureStore, UserFeatures};

/// How many users the cache holds.
const CACHED_USERS: usize = 1_024;

/// What is asked of this hop; it answers with [`UserFeatures`].
#[derive(Debug, Serialize, Deserialize)]
pub struct Request {
    /// Who asks; empty for an unnamed user.
    pub user: String,
}

/// `POST /features`.
pub fn router(hop: Hop) -> Router {
    let capacity = NonZeroUsize::new(CACHED_USERS).unwrap_or(NonZeroUsize::MIN);
    let store = Arc::new(FeatureStore::new(capacity));
    Router::new()
        .route("/features", post(features))
        .layer(hop.layer())
        .with_state((hop, store))
}

async fn features(
    State((hop, store)): State<(Hop, Arc<FeatureStore>)>,
    // The request's own span; within the stage, `MlSpan::current()` is the stage.
    served: otel_ml_axum::MlSpan,
    Json(request): Json<Request>,
) -> Json<UserFeatures> {
    let work = async {
        hop.wait().await;
        let span = MlSpan::current();
        let count = FEATURES.len() as u64;
        span.feature_view(FEATURE_VIEW).feature_count(count);
        let cached = store.cached(&request.user);
        span.cache_lookup("features", cached.is_some())
            .feature_cache_hits(if cached.is_some() { count } else { 0 });
        cached.unwrap_or_else(|| read(&store, &request.user))
    };
    let features = stage("features").run_infallible(work).await;
    served.user_tier(features.tier.as_str());
    Json(features)
}

fn read(store: &FeatureStore, user: &str) -> UserFeatures {
    let lookup = db::feature_lookup("demo-store", FEATURE_VIEW).in_process();
    lookup.in_scope_infallible(|| {
        MlSpan::current()
            .returned_rows(1)
            .feature_count(FEATURES.len() as u64);
        store.read(user)
    })
}
