//! Second hop: what is known about the user, from a store behind a cache.

use std::hash::{Hash as _, Hasher as _};
use std::num::NonZeroUsize;
use std::sync::{Mutex, MutexGuard, PoisonError};

use lru::LruCache;
use rustc_hash::FxHasher;
use serde::{Deserialize, Serialize};

/// The name under which the store offers these features.
pub const FEATURE_VIEW: &str = "user_profile";

/// The features of the view, in the order of [`UserFeatures`]' fields.
pub const FEATURES: [&str; 3] = ["tier", "context_passages", "max_answer_tokens"];

/// What a user has subscribed to.
///
/// # Cardinality
/// Three values: fit for a metric label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tier {
    /// Seven users in ten, and everyone unnamed.
    Free,
    /// One in four.
    Pro,
    /// One in twenty.
    Enterprise,
}

impl Tier {
    /// The value as recorded.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Free => "free",
            Self::Pro => "pro",
            Self::Enterprise => "enterprise",
        }
    }
}

/// The features of one user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserFeatures {
    /// The user's tier.
    pub tier: Tier,
    /// How many passages an answer may draw on.
    pub context_passages: usize,
    /// The longest answer, in tokens.
    pub max_answer_tokens: usize,
}

impl UserFeatures {
    /// This example keeps no user database: the tier follows from the id alone, so the same
    /// user has the same features on every machine and in every run.
    fn of(user_id: &str) -> Self {
        let mut hasher = FxHasher::default();
        user_id.hash(&mut hasher);
        match hasher.finish() % 20 {
            _ if user_id.is_empty() => Self::for_tier(Tier::Free),
            0..14 => Self::for_tier(Tier::Free),
            14..19 => Self::for_tier(Tier::Pro),
            _ => Self::for_tier(Tier::Enterprise),
        }
    }

    fn for_tier(tier: Tier) -> Self {
        let (context_passages, max_answer_tokens) = match tier {
            Tier::Free => (4, 512),
            Tier::Pro => (6, 1_024),
            Tier::Enterprise => (8, 2_048),
        };
        Self {
            tier,
            context_passages,
            max_answer_tokens,
        }
    }
}

/// User features behind a cache of the users seen last.
#[derive(Debug)]
pub struct FeatureStore {
    cache: Mutex<LruCache<String, UserFeatures>>,
}

impl FeatureStore {
    /// A store whose cache holds `capacity` users.
    pub fn new(capacity: NonZeroUsize) -> Self {
        Self {
            cache: Mutex::new(LruCache::new(capacity)),
        }
    }

    /// The features of `user_id` if they are in the cache; white space around it does not
    /// matter, and an empty id is a user of its own.
    pub fn cached(&self, user_id: &str) -> Option<UserFeatures> {
        self.lock().get(user_id.trim()).copied()
    }

    /// The features of `user_id` from the store; from now on they are in the cache.
    pub fn read(&self, user_id: &str) -> UserFeatures {
        let user_id = user_id.trim();
        let features = UserFeatures::of(user_id);
        self.lock().put(user_id.to_owned(), features);
        features
    }

    // A panic elsewhere cannot leave the cache half written.
    fn lock(&self) -> MutexGuard<'_, LruCache<String, UserFeatures>> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store(capacity: usize) -> FeatureStore {
        FeatureStore::new(NonZeroUsize::new(capacity).unwrap())
    }

    #[test]
    fn what_was_read_is_in_the_cache() {
        let store = store(8);
        assert_eq!(store.cached("user-7"), None);
        let features = store.read("user-7");
        assert_eq!(store.cached(" user-7\n"), Some(features));
    }

    #[test]
    fn the_user_not_seen_for_longest_is_forgotten() {
        let store = store(2);
        store.read("a");
        store.read("b");
        assert!(store.cached("a").is_some());
        store.read("c");
        assert!(store.cached("a").is_some());
        assert!(store.cached("b").is_none());
    }

    #[test]
    fn tiers_are_spread_over_users() {
        let store = store(1);
        let count = |tier| {
            let ids = (0..1_000).map(|n| format!("user-{n}"));
            ids.filter(|id| store.read(id).tier == tier).count()
        };
        assert!((600..800).contains(&count(Tier::Free)));
        assert!((180..320).contains(&count(Tier::Pro)));
        assert!((20..90).contains(&count(Tier::Enterprise)));
        assert_eq!(store.read("").tier, Tier::Free);
    }
}
