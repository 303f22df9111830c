//! Whether costs grow: with routes, with headers, with the requests that came before.

use std::fmt;

use comfy_table::presets::ASCII_MARKDOWN;
use comfy_table::{CellAlignment, Table};
use otel_ml_bench::condition::Condition;
use otel_ml_bench::layers::Variant;
use otel_ml_bench::suites::Scaled;

use crate::report::{Line, NOW_AND_THEN};

/// Counts vary by so much of what is added: where text lies, what a hash meets.
const COUNTS_VARY: f64 = 0.02;

/// What a variant adds where there is more of something, beside what it adds where there is less.
#[derive(Debug)]
pub(crate) struct Growth {
    scaled: &'static Scaled,
    variant: Variant,
    condition: Condition,
    added: f64,
    instructions: f64,
    allocations: f64,
    /// Instructions by which it may grow: none, or as the peer that grows least.
    budget: f64,
}

/// The growth in each of `lines` that is of a scaled suite. `less` finds the line of a suite.
pub(crate) fn growths<'a>(
    lines: &'a [Line],
    less: impl Fn(&'static str, &Line) -> Option<Line> + 'a,
) -> Vec<Growth> {
    let mut growths: Vec<Growth> = lines
        .iter()
        .filter_map(|line| {
            let scaled = Scaled::ALL
                .iter()
                .find(|scaled| scaled.suite.name == line.suite)?;
            let less = less(scaled.of, line)?;
            let added = less.added_instructions?;
            Some(Growth {
                scaled,
                variant: line.variant,
                condition: line.condition,
                added,
                instructions: line.added_instructions? - added,
                allocations: line.added_allocations - less.added_allocations,
                budget: 0.0,
            })
        })
        .collect();
    let least: Vec<f64> = growths
        .iter()
        .map(|growth| {
            let peers = growths.iter().filter(|peer| {
                !peer.variant.is_ours()
                    && (peer.scaled.suite.name, peer.condition)
                        == (growth.scaled.suite.name, growth.condition)
            });
            peers
                .map(|peer| peer.instructions)
                .reduce(f64::min)
                .unwrap_or(0.0)
        })
        .collect();
    for (growth, least) in growths.iter_mut().zip(least) {
        growth.budget = least.max(0.0);
    }
    growths
}

impl Growth {
    /// Whether it grows so much that the run fails. A peer may.
    pub(crate) fn is_missed(&self) -> bool {
        self.variant.is_ours() && self.is_over(self.scaled.not_yet.map_or(self.budget, f64::from))
    }

    fn allowed(&self, budget: f64) -> f64 {
        COUNTS_VARY.mul_add(self.added, budget)
    }

    fn is_over(&self, budget: f64) -> bool {
        self.instructions > self.allowed(budget) || self.allocations > NOW_AND_THEN
    }

    fn cells(&self) -> Vec<String> {
        let verdict = match self.variant.is_ours() {
            false => "",
            true if self.is_missed() => "MISSED",
            true if self.is_over(self.budget) => "over, below its ceiling",
            true => "met",
        };
        vec![
            self.scaled.suite.name.to_owned(),
            self.condition.to_string(),
            self.variant.to_string(),
            format!("{:.0}", self.added),
            // Adding zero takes the sign off a negative one.
            format!("{:+.0}", self.instructions.round() + 0.0),
            format!("{:+.2}", self.allocations + 0.0),
            format!("{:.0}", self.allowed(self.budget)),
            verdict.to_owned(),
        ]
    }
}

/// The growths as a table.
pub(crate) struct Growths<'a>(pub(crate) &'a [Growth]);

impl fmt::Display for Growths<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new();
        table.load_style(ASCII_MARKDOWN);
        table.set_header([
            "suite",
            "cond",
            "variant",
            "+instr with less",
            "grows by instr",
            "by allocs",
            "allowed",
            "verdict",
        ]);
        table.add_rows(self.0.iter().map(Growth::cells));
        for column in 3..7 {
            if let Some(column) = table.column_mut(column) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        write!(f, "{table}")
    }
}
