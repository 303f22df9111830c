//! Measures what `otel-ml` costs, prints it beside its budgets, and fails where one is missed.

mod measure;
mod report;

use std::collections::BTreeSet;
use std::error::Error;
use std::io::{Write, stderr, stdout};
use std::path::Path;
use std::process::{Command, ExitCode};

use clap::Parser;
use otel_ml_bench::condition::Condition;
use otel_ml_bench::layers::Variant;
use otel_ml_bench::suites::{Row, Suite};

use crate::measure::{Subject, measure};
use crate::report::{Line, Report};

/// Instructions, allocations and time that otel-ml adds, against its budgets.
#[derive(Debug, Parser)]
#[command(name = "cargo bench -p otel-ml-bench --")]
struct Options {
    /// Only this suite.
    #[arg(long, value_parser = Suite::named)]
    suite: Option<&'static Suite>,
    /// Only this condition.
    #[arg(long)]
    condition: Option<Condition>,
    /// Leave instructions out: allocations and times alone.
    #[arg(long)]
    no_callgrind: bool,
    /// What `cargo bench` says and `cargo test` does not.
    #[arg(long, hide = true)]
    bench: bool,
}

impl Options {
    /// The rows to measure.
    fn rows(&self) -> impl Iterator<Item = (&'static Suite, &'static Row)> {
        let suites = Suite::ALL
            .iter()
            .filter(|suite| self.suite.is_none_or(|chosen| chosen.name == suite.name));
        let rows = suites.flat_map(|suite| suite.rows.iter().map(move |row| (suite, row)));
        rows.filter(|(_, row)| self.condition.is_none_or(|chosen| chosen == row.condition))
    }

    /// What has to be measured for them: identity too, under each of their conditions.
    fn subjects(&self) -> Vec<Subject> {
        let subjects = self.rows().flat_map(|(suite, row)| {
            let of = |variant| Subject {
                suite: suite.name,
                variant,
                condition: row.condition,
            };
            [of(Variant::Identity), of(row.variant)]
        });
        subjects.collect::<BTreeSet<_>>().into_iter().collect()
    }
}

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let options = Options::parse();
    if !options.bench {
        writeln!(
            stderr(),
            "nothing is measured in a test: run cargo bench -p otel-ml-bench"
        )?;
        return Ok(ExitCode::SUCCESS);
    }
    let has_valgrind = Command::new("valgrind")
        .arg("--version")
        .output()
        .is_ok_and(|output| output.status.success());
    if !options.no_callgrind && !has_valgrind {
        writeln!(
            stderr(),
            "valgrind is not installed: instructions are left out"
        )?;
        if std::env::var("CI").is_ok_and(|ci| ci == "true") {
            return Ok(ExitCode::FAILURE);
        }
    }
    let costs = measure(&options.subjects(), has_valgrind && !options.no_callgrind)?;
    let lines: Vec<Line> = options
        .rows()
        .filter_map(|(suite, row)| Line::new(suite, row, &costs))
        .collect();
    let missed = lines.iter().filter(|line| line.is_missed()).count();
    // The measured programs are in the target directory, in the folder of their profile.
    let target = Path::new(env!("CARGO_BIN_EXE_otel-ml-bench-plain"))
        .ancestors()
        .nth(2)
        .unwrap_or(Path::new("target"));
    let file = target.join("otel-ml-bench.json");
    std::fs::write(&file, serde_json::to_string_pretty(&lines)?)?;
    writeln!(stdout(), "{}", Report(&lines))?;
    writeln!(
        stdout(),
        "{} rows, {missed} over budget; as JSON in {}",
        lines.len(),
        file.display()
    )?;
    Ok(if missed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
