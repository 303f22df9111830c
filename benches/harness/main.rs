//! Measures what `otel-ml` costs, prints it beside its budgets, and fails where one is missed.

mod growth;
mod measure;
mod publish;
mod report;

use std::collections::BTreeSet;
use std::error::Error;
use std::io::{Write, stderr, stdout};
use std::path::Path;
use std::process::{Command, ExitCode};

use clap::Parser;
use otel_ml_bench::condition::Condition;
use otel_ml_bench::layers::Variant;
use otel_ml_bench::suites::{Row, Scaled, Suite};

use crate::growth::{Growths, growths};
use crate::measure::{Effort, Subject, measure};
use crate::publish::{Circumstances, publish};
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
    /// How many processes to time for each row.
    #[arg(long, default_value_t = 5)]
    timed: usize,
    /// Put the table and the plot into the package's folder, to be committed.
    #[arg(long, conflicts_with_all = ["suite", "condition", "no_callgrind"])]
    publish: bool,
    /// What `cargo bench` says and `cargo test` does not.
    #[arg(long, hide = true)]
    bench: bool,
}

impl Options {
    fn suites(&self) -> impl Iterator<Item = &'static Suite> {
        Suite::ALL
            .iter()
            .filter(|suite| self.suite.is_none_or(|chosen| chosen.name == suite.name))
    }

    /// The variable that would name a broker for one of the suites.
    fn missing_broker(&self) -> Option<&'static str> {
        let mut left_out = self.suites().filter(|suite| !suite.can_run());
        left_out.find_map(Suite::broker)
    }

    /// The rows to measure.
    fn rows(&self) -> impl Iterator<Item = (&'static Suite, Row)> {
        let suites = self.suites().filter(|suite| suite.can_run());
        let rows = suites.flat_map(|suite| suite.all_rows().map(move |row| (suite, row)));
        rows.filter(|(_, row)| self.condition.is_none_or(|chosen| chosen == row.condition))
    }

    /// What has to be measured for them: identity too, under each of their conditions, and what
    /// there is more of in a suite also where there is less of it.
    fn subjects(&self) -> Vec<Subject> {
        let subjects = self.rows().flat_map(|(suite, row)| {
            let less = Scaled::of(suite).map_or(suite.name, |scaled| scaled.of);
            let of = move |suite, variant| Subject {
                suite,
                variant,
                condition: row.condition,
            };
            [suite.name, less]
                .into_iter()
                .flat_map(move |suite| [of(suite, Variant::Identity), of(suite, row.variant)])
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
    if let Some(variable) = options.missing_broker() {
        writeln!(
            stderr(),
            "{variable} names no broker: the suites that need it are left out"
        )?;
        if std::env::var("CI").is_ok_and(|ci| ci == "true") {
            return Ok(ExitCode::FAILURE);
        }
    }
    let circumstances = Circumstances::now();
    let effort = Effort {
        with_callgrind: has_valgrind && !options.no_callgrind,
        timed: options.timed,
    };
    let costs = measure(&options.subjects(), effort)?;
    let lines: Vec<Line> = options
        .rows()
        .filter_map(|(suite, row)| Line::new(suite, row, &costs))
        .collect();
    let growths = growths(&lines, |suite, line| {
        let suite = Suite::named(suite).ok()?;
        let row = Row::for_information(line.variant, line.condition);
        Line::new(suite, row, &costs)
    });
    // The measured programs are in the target directory, in the folder of their profile.
    let target = Path::new(env!("CARGO_BIN_EXE_otel-ml-bench-plain"))
        .ancestors()
        .nth(2)
        .unwrap_or(Path::new("target"));
    let file = target.join("otel-ml-bench.json");
    std::fs::write(&file, serde_json::to_string_pretty(&lines)?)?;
    let mut out = stdout();
    writeln!(out, "{}\n\n{}\n", Report(&lines), Growths(&growths))?;
    writeln!(out, "{circumstances}\n")?;
    if options.publish {
        publish(&file, &lines, &growths, &circumstances)?;
    }
    let missed = lines.iter().filter(|line| line.is_missed()).count()
        + growths.iter().filter(|growth| growth.is_missed()).count();
    writeln!(
        out,
        "{} rows, {missed} over budget; as JSON in {}",
        lines.len() + growths.len(),
        file.display()
    )?;
    // Budgets are those of a build with what otel-ml needs: peers switch on features of crates
    // that they share with it.
    Ok(if missed == 0 || cfg!(feature = "peers") {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
