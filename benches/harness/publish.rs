//! What is committed of a run: a table of all it measured, under what it was measured, a plot.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::{self, Write};
use std::fs;
use std::path::Path;
use std::process::Command;

use clap::ValueEnum;
use comfy_table::Table;
use comfy_table::presets::ASCII_MARKDOWN;
use otel_ml_bench::condition::Condition;
use otel_ml_bench::plot::plot;
use otel_ml_bench::suites::Suite;

use crate::growth::{Growth, Growths};
use crate::report::Line;

const BEGIN: &str = "<!-- measured -->\n";
const END: &str = "<!-- end of measured -->\n";

/// When, with what and beside what was measured.
#[derive(Debug)]
pub(crate) struct Circumstances {
    date: String,
    tools: String,
    versions: String,
    load: String,
}

impl Circumstances {
    /// Those of now, before anything is measured.
    pub(crate) fn now() -> Self {
        let peers = if cfg!(feature = "peers") {
            &["--features", "peers"][..]
        } else {
            &[]
        };
        let tree = "tree --locked --offline --prefix none --depth 1 --package otel-ml-bench";
        let tree: Vec<&str> = tree.split(' ').chain(peers.iter().copied()).collect();
        let tree = said_by(env!("CARGO"), &tree);
        let mut versions: Vec<_> = tree
            .lines()
            .filter(|line| !line.contains('(') && MEASURED.iter().any(|name| line.contains(name)))
            .map(|line| line.replacen(" v", " ", 1))
            .collect();
        versions.dedup();
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            date: said_by("date", &["--utc", "+%F %H:%M UTC"]),
            tools: [
                said_by("rustc", &["--version"]),
                said_by("valgrind", &["--version"]),
                format!("{cores} cores"),
            ]
            .join(", "),
            versions: versions.join(", "),
            load: fs::read_to_string("/proc/loadavg")
                .ok()
                .and_then(|load| load.split(' ').next().map(str::to_owned))
                .unwrap_or_default(),
        }
    }
}

/// Parts of the names of the crates whose versions are told.
const MEASURED: [&str; 5] = [
    "opentelemetry",
    "tower-otel",
    "tower-http",
    "tracing",
    "axum",
];

/// The first lines of what a program prints; nothing where it can't be run.
fn said_by(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    output.map_or_else(
        |_| String::new(),
        |output| String::from_utf8_lossy(&output.stdout).trim().to_owned(),
    )
}

impl fmt::Display for Circumstances {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "Measured {} with {}.", self.date, self.tools)?;
        writeln!(f, "Beside: {}.", self.versions)?;
        write!(
            f,
            "Load average before the first timing: {}. Load disturbs times, not counts.",
            self.load
        )
    }
}

/// Writes the table into the package's README and the plot beside it.
pub(crate) fn publish(
    json: &Path,
    lines: &[Line],
    growths: &[Growth],
    circumstances: &Circumstances,
) -> Result<(), Box<dyn Error>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = fs::read_to_string(folder.join("README.md"))?;
    let (before, rest) = readme.split_once(BEGIN).ok_or("README.md: no begin")?;
    let (_, after) = rest.split_once(END).ok_or("README.md: no end")?;
    let mut text = format!("{circumstances}\n");
    for suite in Suite::ALL {
        let lines: Vec<&Line> = lines
            .iter()
            .filter(|line| line.suite == suite.name)
            .collect();
        if !lines.is_empty() {
            write!(
                text,
                "\n**{}**, per {}\n\n{}\n",
                suite.name,
                suite.unit,
                overview(&lines)
            )?;
        }
    }
    write!(text, "\n**Growth**\n\n{}\n", Growths(growths))?;
    let readme = format!("{before}{BEGIN}\n{text}\n{END}{after}");
    fs::write(folder.join("README.md"), readme)?;
    fs::write(folder.join("plot.svg"), plot(&fs::read_to_string(json)?)?)?;
    Ok(())
}

/// A suite's lines: a row for each variant, a column for each condition.
fn overview(lines: &[&Line]) -> Table {
    let measured = |condition: &&Condition| lines.iter().any(|line| line.condition == **condition);
    let conditions: Vec<_> = Condition::value_variants()
        .iter()
        .filter(measured)
        .collect();
    let mut variants: BTreeMap<usize, _> = BTreeMap::new();
    for line in lines {
        let first = lines.iter().position(|other| other.variant == line.variant);
        variants.insert(first.unwrap_or_default(), line.variant);
    }
    let mut table = Table::new();
    table.load_style(ASCII_MARKDOWN);
    let header = conditions.iter().map(|condition| condition.to_string());
    table.set_header([String::new()].into_iter().chain(header));
    let of = |condition| lines.iter().find(|line| line.condition == condition);
    let identity = conditions.iter().map(|condition| {
        of(**condition).map_or_else(String::new, |line| {
            let instructions = line.identity_instructions.unwrap_or_default();
            format!("{instructions:.0} / {:.0}", line.identity_allocations)
        })
    });
    table.add_row(["identity".to_owned()].into_iter().chain(identity));
    for variant in variants.into_values() {
        let cells = conditions.iter().map(|condition| {
            let mut of_variant = lines.iter().filter(|line| line.variant == variant);
            of_variant
                .find(|line| line.condition == **condition)
                .map_or_else(String::new, |line| cell(line))
        });
        table.add_row([variant.to_string()].into_iter().chain(cells));
    }
    table
}

fn cell(line: &Line) -> String {
    let instructions = line.added_instructions.unwrap_or_default().round() + 0.0;
    let (allocations, bytes) = (line.added_allocations, line.added_bytes.round());
    let counts = format!("+{instructions} / {allocations} / {bytes}");
    match (line.wall_ratio, line.wall_interval) {
        (Some(ratio), Some([least, most])) => {
            format!("{counts} [{ratio:.2}, {least:.2}-{most:.2}]")
        }
        _ => counts,
    }
}
