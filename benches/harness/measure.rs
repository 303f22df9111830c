//! Running the measured programs and reading what they say.

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Mutex;
use std::{fmt, fs, io, thread};

use indicatif::ProgressBar;
use otel_ml_bench::Counted;
use otel_ml_bench::condition::Condition;
use otel_ml_bench::layers::Variant;
use otel_ml_bench::suites::Suite;

/// Iterations: so many, and twice as many. The difference leaves out what comes once.
const ITERATIONS: u32 = 1_500;
/// What callgrind counts, by the end of its name: what stands before it differs between compilers.
const MEASURED: &str = "*run_measured";

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
    /// Time over that of identity: a ratio for each process, in order.
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

/// How to measure.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Effort {
    pub(crate) with_callgrind: bool,
    /// How many processes are timed for each subject: memory lies differently in each.
    pub(crate) timed: usize,
}

/// Measures each of `subjects`: times one after the other, then counts on every core.
pub(crate) fn measure(
    subjects: &[Subject],
    effort: Effort,
) -> Result<BTreeMap<Subject, Cost>, MeasureError> {
    let progress = ProgressBar::new(2 * subjects.len() as u64);
    let mut walls = BTreeMap::new();
    for subject in subjects {
        progress.inc(1);
        if subject.variant == Variant::Identity
            || !Suite::named(subject.suite).is_ok_and(|suite| suite.is_timed)
        {
            continue;
        }
        let ratios: Result<Vec<_>, _> = (0..effort.timed).map(|_| time(*subject)).collect();
        let mut ratios = ratios?;
        ratios.sort_by(f64::total_cmp);
        walls.insert(*subject, ratios);
    }
    // The last are those with the longest warm-up: none of them should be left for the end.
    let left = Mutex::new(subjects.iter().rev());
    let next = || left.lock().ok()?.next().copied();
    let count_all = || -> Result<Vec<(Subject, Cost)>, MeasureError> {
        let mut counted = Vec::new();
        while let Some(subject) = next() {
            counted.push((subject, count(subject, effort.with_callgrind)?));
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
    for (subject, wall) in walls {
        if let Some(cost) = costs.get_mut(&subject) {
            cost.wall = wall;
        }
    }
    progress.finish_and_clear();
    Ok(costs)
}

fn count(subject: Subject, with_callgrind: bool) -> Result<Cost, MeasureError> {
    let [once, twice] = allocations(subject)?;
    let instructions = if with_callgrind {
        let [once, twice] = instructions(subject)?;
        Some(each(once, twice))
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

fn allocations(subject: Subject) -> Result<[Counted; 2], MeasureError> {
    let mut command = Command::new(COUNTED);
    let output = run(
        subject,
        command.args(["--iterations", &ITERATIONS.to_string()]),
    )?;
    serde_json::from_str(&output).map_err(|error| MeasureError::Failed(subject, error.to_string()))
}

/// The instructions of the main thread, for once and for twice as many iterations: callgrind
/// starts anew at each entry of what is measured, and writes a file when it is left.
fn instructions(subject: Subject) -> Result<[u64; 2], MeasureError> {
    let folder = tempfile::tempdir().map_err(|error| MeasureError::Callgrind(subject, error))?;
    let file = folder.path().join("out");
    let mut command = Command::new("valgrind");
    command.args(["--tool=callgrind", "--separate-threads=yes", "--quiet"]);
    command.arg(format!("--zero-before={MEASURED}"));
    command.arg(format!("--dump-after={MEASURED}"));
    command
        .arg(format!("--callgrind-out-file={}", file.display()))
        .arg(PLAIN);
    run(
        subject,
        command.args(["--iterations", &ITERATIONS.to_string()]),
    )?;
    let total = |dump: u32| {
        let main_thread = fs::read_to_string(format!("{}.{dump}-01", file.display()));
        let main_thread = main_thread.map_err(|error| MeasureError::Callgrind(subject, error))?;
        let totals = main_thread
            .lines()
            .rev()
            .find_map(|line| line.strip_prefix("totals:")?.trim().parse().ok());
        totals.ok_or_else(|| MeasureError::Failed(subject, "callgrind wrote no totals".into()))
    };
    Ok([total(1)?, total(2)?])
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
