//! Running the measured programs and reading what they say.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::{fmt, fs, io, thread};

use indicatif::ProgressBar;
use otel_ml_bench::Counted;
use otel_ml_bench::condition::Condition;
use otel_ml_bench::layers::Variant;
use otel_ml_bench::suites::Suite;

/// Iterations: so many, and twice as many. The difference leaves out the start.
const ITERATIONS: u32 = 1_500;
/// Processes that are timed: memory lies differently in each.
const TIMED: usize = 5;

const PLAIN: &str = env!("CARGO_BIN_EXE_otel-ml-bench-plain");
const COUNTED: &str = env!("CARGO_BIN_EXE_otel-ml-bench-counted");

/// What a process measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Subject {
    pub(crate) suite: &'static str,
    pub(crate) variant: Variant,
    pub(crate) condition: Condition,
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.suite, self.variant, self.condition)
    }
}

/// What one iteration costs.
#[derive(Clone, Debug)]
pub(crate) struct Cost {
    /// `None` without callgrind.
    pub(crate) instructions: Option<f64>,
    pub(crate) allocations: f64,
    pub(crate) bytes: f64,
    /// Time over that of the bare service: a ratio for each process, in order.
    pub(crate) wall: Vec<f64>,
}

/// Why a subject could not be measured.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MeasureError {
    #[error("{0}: the program can't be run")]
    Run(Subject, #[source] io::Error),
    #[error("{0}: {1}")]
    Failed(Subject, String),
    #[error("{0}: what callgrind wrote can't be read")]
    Callgrind(Subject, #[source] io::Error),
}

/// Measures each of `subjects`: counts on every core, then times, one after the other.
pub(crate) fn measure(
    subjects: &[Subject],
    with_callgrind: bool,
) -> Result<BTreeMap<Subject, Cost>, MeasureError> {
    let progress = ProgressBar::new(2 * subjects.len() as u64);
    let left = Mutex::new(subjects.iter());
    let next = || left.lock().ok()?.next().copied();
    let count_all = || -> Result<Vec<(Subject, Cost)>, MeasureError> {
        let mut counted = Vec::new();
        while let Some(subject) = next() {
            counted.push((subject, count(subject, with_callgrind)?));
            progress.inc(1);
        }
        Ok(counted)
    };
    let mut costs = BTreeMap::new();
    thread::scope(|scope| {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let threads: Vec<_> = (0..cores).map(|_| scope.spawn(count_all)).collect();
        for thread in threads {
            costs.extend(
                thread
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic))?,
            );
        }
        Ok(())
    })?;
    for (subject, cost) in &mut costs {
        if !Suite::named(subject.suite).is_ok_and(|suite| suite.is_timed) {
            continue;
        }
        cost.wall = (0..TIMED)
            .map(|_| time(*subject))
            .collect::<Result<_, _>>()?;
        cost.wall.sort_by(f64::total_cmp);
        progress.inc(1);
    }
    progress.finish_and_clear();
    Ok(costs)
}

fn count(subject: Subject, with_callgrind: bool) -> Result<Cost, MeasureError> {
    let (once, twice) = (
        allocations(subject, ITERATIONS)?,
        allocations(subject, 2 * ITERATIONS)?,
    );
    let instructions = if with_callgrind {
        Some(each(
            instructions(subject, ITERATIONS)?,
            instructions(subject, 2 * ITERATIONS)?,
        ))
    } else {
        None
    };
    Ok(Cost {
        instructions,
        allocations: each(once.allocations, twice.allocations),
        bytes: each(once.bytes, twice.bytes),
        wall: Vec::new(),
    })
}

/// What one iteration adds, from the sums of [`ITERATIONS`] and of twice as many.
#[allow(clippy::cast_precision_loss, reason = "sums stay far below 2^52")]
fn each(once: u64, twice: u64) -> f64 {
    (twice as f64 - once as f64) / f64::from(ITERATIONS)
}

fn allocations(subject: Subject, iterations: u32) -> Result<Counted, MeasureError> {
    let mut command = Command::new(COUNTED);
    let output = run(
        subject,
        command.args(["--iterations", &iterations.to_string()]),
    )?;
    serde_json::from_str(&output).map_err(|error| MeasureError::Failed(subject, error.to_string()))
}

/// The instructions of the main thread.
fn instructions(subject: Subject, iterations: u32) -> Result<u64, MeasureError> {
    let folder = tempfile::tempdir().map_err(|error| MeasureError::Callgrind(subject, error))?;
    let file = folder.path().join("out");
    let mut command = Command::new("valgrind");
    command.args(["--tool=callgrind", "--separate-threads=yes", "--quiet"]);
    command
        .arg(format!("--callgrind-out-file={}", file.display()))
        .arg(PLAIN);
    run(
        subject,
        command.args(["--iterations", &iterations.to_string()]),
    )?;
    let main_thread = fs::read_to_string(Path::new(&format!("{}-01", file.display())));
    let main_thread = main_thread.map_err(|error| MeasureError::Callgrind(subject, error))?;
    let totals = main_thread
        .lines()
        .rev()
        .find_map(|line| line.strip_prefix("totals:")?.trim().parse().ok());
    totals.ok_or_else(|| MeasureError::Failed(subject, "callgrind wrote no totals".into()))
}

fn time(subject: Subject) -> Result<f64, MeasureError> {
    let output = run(subject, &mut Command::new(PLAIN))?;
    output
        .trim()
        .parse()
        .map_err(|_| MeasureError::Failed(subject, format!("no ratio: {output}")))
}

/// Runs a measured program and gives what it prints.
fn run(subject: Subject, command: &mut Command) -> Result<String, MeasureError> {
    command.args(["--suite", subject.suite]);
    command.args([
        "--variant",
        &subject.variant.to_string(),
        "--condition",
        &subject.condition.to_string(),
    ]);
    let output = command
        .output()
        .map_err(|error| MeasureError::Run(subject, error))?;
    if !output.status.success() {
        return Err(MeasureError::Failed(
            subject,
            String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        ));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
