//! One suite, variant and condition, ready to be run as often as asked.

use std::fmt;
use std::hint::black_box;
use std::time::{Duration, Instant};

use clap::Parser;
use opentelemetry_sdk::error::OTelSdkError;
use serde::{Deserialize, Serialize};

use crate::condition::{Condition, Exports, Installed};
use crate::layers::Variant;
use crate::suites::{Iterate, Scaled, Suite};

/// Iterations before anything is measured: caches are filled, tables are built.
const WARM_UP: u32 = 300;
/// Rounds of a timing, each of so many iterations of identity and of the variant. They are short:
/// most of them are then over before another program takes the core.
const ROUNDS: u32 = 1_200;
const ITERATIONS_OF_A_ROUND: u32 = 40;
/// As many where all iterations of a round are one operation's, whose own cost is to be small.
const ITERATIONS_OF_AN_OPERATION: u32 = 400;

/// Which subject a measured process is, from its command line.
#[derive(Clone, Copy, Debug, Parser)]
pub struct Choice {
    /// The suite.
    #[arg(long, value_parser = Suite::named)]
    pub suite: &'static Suite,
    /// What is around the measured service.
    #[arg(long)]
    pub variant: Variant,
    /// What is installed.
    #[arg(long)]
    pub condition: Condition,
    /// Measure so many iterations, then twice as many; without it the time is measured.
    #[arg(long)]
    pub iterations: Option<u32>,
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.suite.name, self.variant, self.condition)
    }
}

/// Allocations made on the measuring thread.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Counted {
    /// How many; one that grows in place counts anew.
    pub allocations: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Why a measurement is worth nothing.
#[derive(Debug, thiserror::Error)]
pub enum SubjectError {
    /// Spans are missing, or there are some that should not be.
    #[error("{choice}: {found} spans were exported, not {expected}")]
    Spans {
        /// What was measured.
        choice: Choice,
        /// How many were exported.
        found: u64,
        /// How many iterations should have.
        expected: u64,
    },
    /// The batch processor gave up.
    #[error("spans can't be flushed")]
    Flush(#[from] OTelSdkError),
}

/// A suite's work in one variant under one condition.
pub struct Subject {
    choice: Choice,
    installed: Installed,
    iterate: Iterate,
    expected_spans: u64,
}

impl Subject {
    /// Installs what the condition asks for, builds the service and warms it up.
    #[must_use]
    pub fn new(choice: Choice) -> Self {
        let installed = choice.condition.install(match choice.iterations {
            Some(_) => Exports::Afterwards,
            None => Exports::Meanwhile,
        });
        #[cfg(feature = "peers")]
        if let Some(tracers) = installed.tracers() {
            crate::peers::subscribe(choice.variant, tracers);
        }
        let iterate = (choice.suite.prepare)(choice.variant, choice.condition);
        let mut subject = Self {
            choice,
            installed,
            iterate,
            expected_spans: 0,
        };
        subject.run(Scaled::of(choice.suite).map_or(WARM_UP, |scaled| scaled.warm_up));
        subject
    }

    /// Does the work `iterations` times, as what is measured: callgrind is told this name.
    #[inline(never)]
    pub fn run_measured(&mut self, iterations: u32) {
        self.run(iterations);
        // A last call would become a jump, and callgrind not see this function left.
        black_box(());
    }

    /// Does the work `iterations` times.
    fn run(&mut self, iterations: u32) {
        if self.choice.variant.is_tracing() && self.choice.condition.is_recording() {
            self.expected_spans += (self.choice.suite.spans)(iterations);
        }
        (self.iterate)(iterations);
    }

    /// The ratio of its time to that of identity: the median of alternating rounds.
    pub fn time(&mut self) -> f64 {
        let mut identity = (self.choice.suite.prepare)(Variant::Identity, self.choice.condition);
        identity(WARM_UP);
        let iterations = if (self.choice.suite.spans)(2) == 1 {
            ITERATIONS_OF_AN_OPERATION
        } else {
            ITERATIONS_OF_A_ROUND
        };
        let mut ratios: Vec<f64> = (0..ROUNDS)
            .map(|_| {
                let without = time(|| identity(iterations));
                let with = time(|| self.run(iterations));
                with.as_secs_f64() / without.as_secs_f64()
            })
            .collect();
        ratios.sort_by(f64::total_cmp);
        ratios.get(ratios.len() / 2).copied().unwrap_or(f64::NAN)
    }

    /// Whether every iteration exported the spans that it should have.
    ///
    /// # Errors
    /// When it did not.
    pub fn check(&self) -> Result<(), SubjectError> {
        let found = self.installed.exported()?;
        if found == self.expected_spans {
            return Ok(());
        }
        Err(SubjectError::Spans {
            choice: self.choice,
            found,
            expected: self.expected_spans,
        })
    }
}

impl fmt::Debug for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subject")
            .field("choice", &self.choice)
            .finish_non_exhaustive()
    }
}

fn time(work: impl FnOnce()) -> Duration {
    let start = Instant::now();
    work();
    start.elapsed()
}
