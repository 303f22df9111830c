//! What is measured, one file per suite.

mod grpc_client;
mod grpc_server;
mod http_client;
mod http_server;
mod http_stream;
mod kafka_extract;
mod kafka_inject;
mod kafka_process;
mod mlspan;
mod worker_spawn;
mod worker_traced;

use std::fmt;

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
    /// Whether it has a bare counterpart to be timed against.
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
        mlspan::SUITE,
        worker_spawn::SPAWN,
        worker_spawn::JOB,
        worker_traced::ITEM,
        worker_traced::BATCHES,
        kafka_inject::SUITE,
        kafka_extract::SUITE,
        kafka_process::SUITE,
        grpc_server::SUITE,
        grpc_client::SUITE,
    ];

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

    const fn for_information(variant: Variant, condition: Condition) -> Self {
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
