//! What is measured, one file per suite.

mod amqp_clients;
mod amqp_extract;
mod amqp_inject;
mod grpc_client;
mod grpc_server;
mod http_client;
mod http_server;
mod http_stream;
mod kafka_clients;
mod kafka_extract;
mod kafka_inject;
mod kafka_process;
mod mlspan;
mod scaled;
mod worker_spawn;
mod worker_traced;

use std::fmt;

use clap::ValueEnum;

use crate::condition::Condition;
use crate::layers::Variant;

/// Does a suite's work so many times.
pub type Iterate = Box<dyn FnMut(u32)>;

/// Work that is measured in several variants and under several conditions.
pub struct Suite {
    /// Its name on the command line and in the report.
    pub name: &'static str,
    /// What an iteration is.
    pub unit: &'static str,
    /// Whether it has a counterpart in identity to be timed against.
    pub is_timed: bool,
    /// What is measured.
    pub rows: &'static [Row],
    /// How many spans that many recorded iterations export.
    pub spans: fn(u32) -> u64,
    /// Makes the work ready.
    pub prepare: fn(Variant, Condition) -> Iterate,
}

impl Suite {
    /// All of them.
    pub const ALL: &'static [Self] = &[
        http_server::SUITE,
        http_client::SUITE,
        http_stream::SUITE,
        mlspan::WRITE,
        mlspan::STAGE,
        mlspan::GENAI,
        scaled::ROUTES.suite,
        scaled::HEADERS.suite,
        scaled::UPTIME.suite,
        worker_spawn::SPAWN,
        worker_spawn::JOB,
        worker_traced::ITEM,
        worker_traced::BATCHES,
        kafka_inject::SUITE,
        kafka_extract::SUITE,
        kafka_process::SUITE,
        kafka_clients::SEND,
        kafka_clients::RECEIVE,
        amqp_clients::PUBLISH,
        amqp_clients::RECEIVE,
        amqp_inject::SUITE,
        amqp_extract::SUITE,
        grpc_server::SUITE,
        grpc_client::SUITE,
    ];

    /// What is measured of it: ours, and its peers with the feature for them.
    pub fn all_rows(&self) -> impl Iterator<Item = Row> {
        #[cfg(feature = "peers")]
        let peers = crate::peers::of(self.name);
        #[cfg(not(feature = "peers"))]
        let peers: &[Variant] = &[];
        let conditions: &[Condition] = match Scaled::of(self) {
            Some(_) => &[Condition::C],
            None => Condition::value_variants(),
        };
        let peers = conditions.iter().flat_map(move |condition| {
            peers
                .iter()
                .map(move |peer| Row::for_information(*peer, *condition))
        });
        self.rows.iter().copied().chain(peers)
    }

    /// The variable that names the broker it needs, where it needs one.
    #[must_use]
    pub fn broker(&self) -> Option<&'static str> {
        let names = [amqp_clients::PUBLISH.name, amqp_clients::RECEIVE.name];
        names.contains(&self.name).then_some(amqp_clients::BROKER)
    }

    /// Whether it can be run here: the broker it needs, if any, is named.
    #[must_use]
    pub fn can_run(&self) -> bool {
        self.broker()
            .is_none_or(|variable| std::env::var_os(variable).is_some())
    }

    /// The suite of that name.
    ///
    /// # Errors
    /// When there is none: the message names those there are.
    pub fn named(name: &str) -> Result<&'static Self, String> {
        let known = || {
            Self::ALL
                .iter()
                .map(|suite| suite.name)
                .collect::<Vec<_>>()
                .join(", ")
        };
        Self::ALL
            .iter()
            .find(|suite| suite.name == name)
            .ok_or_else(|| format!("suites are {}", known()))
    }
}

impl fmt::Debug for Suite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Suite")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// A suite that is another one with more of something: what it adds may not grow with it.
#[derive(Debug)]
pub struct Scaled {
    /// The suite.
    pub suite: Suite,
    /// The name of the one with less.
    pub of: &'static str,
    /// Iterations before anything is measured.
    pub warm_up: u32,
    /// Instructions by which it may cost more, where that is not met yet; else it may cost no
    /// more than the one with less, or grow as the peer does that grows least.
    pub not_yet: Option<u32>,
}

impl Scaled {
    /// All of them.
    pub const ALL: &'static [Self] = &[scaled::ROUTES, scaled::HEADERS, scaled::UPTIME];

    /// What there is more of in `suite`; `None` for one that is not scaled.
    #[must_use]
    pub fn of(suite: &Suite) -> Option<&'static Self> {
        Self::ALL
            .iter()
            .find(|scaled| scaled.suite.name == suite.name)
    }
}

/// A line of the report.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// What is around the measured service.
    pub variant: Variant,
    /// What is installed.
    pub condition: Condition,
    /// The most it may cost; `None` where it is for information.
    pub budget: Option<Budget>,
}

impl Row {
    const fn within(
        variant: Variant,
        condition: Condition,
        instructions: u32,
        allocations: u32,
    ) -> Self {
        Self {
            variant,
            condition,
            budget: Some(Budget {
                instructions,
                allocations,
                ceiling: instructions,
            }),
        }
    }

    /// The budget is not met yet: until it is, the row may not cost more than `ceiling`.
    const fn not_yet(self, ceiling: u32) -> Self {
        let Some(budget) = self.budget else {
            return self;
        };
        Self {
            budget: Some(Budget { ceiling, ..budget }),
            ..self
        }
    }

    /// A row without a budget.
    #[must_use]
    pub const fn for_information(variant: Variant, condition: Condition) -> Self {
        Self {
            variant,
            condition,
            budget: None,
        }
    }
}

/// The most that an iteration may cost over identity.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    /// Instructions.
    pub instructions: u32,
    /// Allocations.
    pub allocations: u32,
    /// Instructions from which on a run fails: the budget, or what the row costs today and a
    /// little more where the budget is not met yet.
    pub ceiling: u32,
}
