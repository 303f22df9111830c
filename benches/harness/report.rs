//! What was measured, beside what it may cost.

use std::collections::BTreeMap;
use std::fmt;

use comfy_table::presets::ASCII_MARKDOWN;
use comfy_table::{CellAlignment, Table};
use otel_ml_bench::condition::Condition;
use otel_ml_bench::layers::Variant;
use otel_ml_bench::suites::{Row, Suite};
use serde::Serialize;

use crate::measure::{Cost, Subject};

/// How far a mean of allocations may lie above a whole number: what is done once in 64
/// iterations, and a table that grows.
pub(crate) const NOW_AND_THEN: f64 = 0.06;

/// How far instructions may lie above their budget: counts repeat within 0.2 %, but what a
/// build inlines differs by a percent or two.
const BUILDS_DIFFER: f64 = 1.02;

/// A line of the report. All that is added is added over identity.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Line {
    pub(crate) suite: &'static str,
    pub(crate) variant: Variant,
    pub(crate) condition: Condition,
    pub(crate) added_instructions: Option<f64>,
    pub(crate) added_allocations: f64,
    pub(crate) added_bytes: f64,
    /// Time in that of identity: the median, the least and the most of the processes.
    pub(crate) wall_ratio: Option<f64>,
    pub(crate) wall_interval: Option<[f64; 2]>,
    budget_instructions: Option<u32>,
    budget_allocations: Option<u32>,
    /// Instructions from which on a run fails: above the budget where it is not met yet.
    ceiling_instructions: Option<u32>,
    pub(crate) identity_instructions: Option<f64>,
    pub(crate) identity_allocations: f64,
    #[serde(skip)]
    pub(crate) unit: &'static str,
}

impl Line {
    /// The line of a row; `None` when it or its identity was not measured.
    pub(crate) fn new(
        suite: &'static Suite,
        row: Row,
        costs: &BTreeMap<Subject, Cost>,
    ) -> Option<Self> {
        let of = |variant| {
            costs.get(&Subject {
                suite: suite.name,
                variant,
                condition: row.condition,
            })
        };
        let (cost, identity) = (of(row.variant)?, of(Variant::Identity)?);
        let wall = |at: usize| cost.wall.get(at).copied();
        Some(Self {
            suite: suite.name,
            variant: row.variant,
            condition: row.condition,
            added_instructions: cost
                .instructions
                .zip(identity.instructions)
                .map(|(ours, theirs)| round(ours - theirs)),
            added_allocations: round(cost.allocations - identity.allocations),
            added_bytes: round(cost.bytes - identity.bytes),
            wall_ratio: wall(cost.wall.len() / 2).map(round),
            wall_interval: wall(0)
                .zip(cost.wall.last())
                .map(|(least, most)| [round(least), round(*most)]),
            budget_instructions: row.budget.map(|budget| budget.instructions),
            budget_allocations: row.budget.map(|budget| budget.allocations),
            ceiling_instructions: row.budget.map(|budget| budget.ceiling),
            identity_instructions: identity.instructions.map(round),
            identity_allocations: round(identity.allocations),
            unit: suite.unit,
        })
    }

    /// Whether it costs so much that the run fails. What was not measured is not missed.
    pub(crate) fn is_missed(&self) -> bool {
        self.is_over(self.ceiling_instructions)
    }

    fn is_over(&self, instructions: Option<u32>) -> bool {
        let instructions = self.added_instructions.zip(instructions);
        let allocations = self.budget_allocations;
        instructions.is_some_and(|(added, budget)| added > f64::from(budget) * BUILDS_DIFFER)
            || allocations
                .is_some_and(|budget| self.added_allocations > f64::from(budget) + NOW_AND_THEN)
    }

    fn cells(&self) -> Vec<String> {
        let whole = |value: Option<f64>| {
            value.map_or_else(|| "-".to_owned(), |value| format!("{value:.0}"))
        };
        let of = |budget: Option<u32>| {
            budget.map_or_else(|| "-".to_owned(), |budget| budget.to_string())
        };
        let wall = match (self.wall_ratio, self.wall_interval) {
            (Some(ratio), Some([least, most])) => format!("{ratio:.2} ({least:.2}-{most:.2})"),
            _ => "-".to_owned(),
        };
        let verdict = match self.budget_instructions {
            None => "",
            Some(_) if self.is_missed() => "MISSED",
            Some(_) if self.is_over(self.budget_instructions) => "over, below its ceiling",
            Some(_) if self.added_instructions.is_none() => "allocs met",
            Some(_) => "met",
        };
        vec![
            format!("{} (per {})", self.suite, self.unit),
            self.condition.to_string(),
            self.variant.to_string(),
            whole(self.added_instructions),
            of(self.budget_instructions),
            format!("{:.2}", self.added_allocations),
            of(self.budget_allocations),
            whole(Some(self.added_bytes)),
            wall,
            verdict.to_owned(),
            format!(
                "{} / {:.2}",
                whole(self.identity_instructions),
                self.identity_allocations
            ),
        ]
    }
}

/// Two decimals: what the next ones say is noise.
fn round(value: f64) -> f64 {
    // Adding zero takes the sign off a negative one.
    (value * 100.0).round() / 100.0 + 0.0
}

/// The lines as a table.
pub(crate) struct Report<'a>(pub(crate) &'a [Line]);

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new();
        table.load_style(ASCII_MARKDOWN);
        table.set_header([
            "suite",
            "cond",
            "variant",
            "+instr",
            "budget",
            "+allocs",
            "budget",
            "+bytes",
            "time / identity",
            "verdict",
            "identity: instr / allocs",
        ]);
        table.add_rows(self.0.iter().map(Line::cells));
        for column in 3..8 {
            if let Some(column) = table.column_mut(column) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        write!(f, "{table}")
    }
}
