//! One table of what every transport must get right: rows × transports.
//!
//! A transport brings one check per [`Row`]. All checks of all transports run, also
//! after a failure, and the table shows every cell.
//!
//! ```
//! use otel_ml_testing::matrix::{Matrix, NotApplicable, Row, Transport};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! let mut queue = Transport::new("queue");
//! for row in Row::ALL {
//!     queue = match row {
//!         Row::PollReady => queue.na(row, NotApplicable::NoService),
//!         _ => queue.cell(row, async || { /* drive the transport, assert */ }),
//!     };
//! }
//! let report = Matrix::new().transport(queue).run().await;
//! println!("{report}");
//! report.assert_passed();
//! # }
//! ```

mod report;
mod row;

use std::any::Any;
use std::fmt;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::LocalBoxFuture;

pub use self::report::Report;
use self::report::{Column, Mark};
pub use self::row::{NotApplicable, Row};

/// How long one cell may take, unless set by [`Matrix::deadline`].
const DEADLINE: Duration = Duration::from_secs(30);

type Check = Box<dyn Fn() -> LocalBoxFuture<'static, Result<(), String>>>;

/// The transports to be checked.
#[derive(Debug)]
#[must_use = "a matrix checks nothing until it is run"]
pub struct Matrix {
    transports: Vec<Transport>,
    deadline: Duration,
}

/// A transport and its checks.
#[must_use = "a transport is not checked until a matrix has it"]
pub struct Transport {
    name: String,
    cells: Vec<(Row, Cell)>,
}

enum Cell {
    Check(Check),
    NotApplicable(NotApplicable),
}

/// What a check may answer: nothing, or a result whose error is shown.
pub trait Verdict {
    /// The failure in words, if it is one.
    fn verdict(self) -> Result<(), String>;
}

impl Matrix {
    /// A matrix without transports.
    pub fn new() -> Self {
        Self {
            transports: Vec::new(),
            deadline: DEADLINE,
        }
    }

    /// Adds a column.
    pub fn transport(mut self, transport: Transport) -> Self {
        self.transports.push(transport);
        self
    }

    /// How long one check may take before it counts as failed. Default: 30 s.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Runs every check, one after the other, on the current task. A panic, an error
    /// and a passed deadline fail the cell alone. Needs a tokio runtime with its clock on.
    pub async fn run(&self) -> Report {
        let mut columns = Vec::with_capacity(self.transports.len());
        for transport in &self.transports {
            let mut marks = Vec::with_capacity(Row::ALL.len());
            for row in Row::ALL {
                marks.push((row, self.mark(transport, row).await));
            }
            columns.push(Column {
                name: transport.name.clone(),
                marks,
            });
        }
        Report::new(columns)
    }

    async fn mark(&self, transport: &Transport, row: Row) -> Mark {
        let mut cells = transport.cells.iter().filter(|(of, _)| *of == row);
        match (cells.next(), cells.next()) {
            (None, _) => Mark::Failed("there is no check".into()),
            (Some(_), Some(_)) => Mark::Failed("there is more than one check".into()),
            (Some((_, Cell::NotApplicable(why))), None) if row.exceptions().contains(why) => {
                Mark::NotApplicable(*why)
            }
            (Some((_, Cell::NotApplicable(why))), None) => {
                Mark::Failed(format!("may not be left out because {why}"))
            }
            (Some((_, Cell::Check(check))), None) => {
                // The closure itself may panic too: it is called within the future.
                let run = AssertUnwindSafe(async { check().await }).catch_unwind();
                match tokio::time::timeout(self.deadline, run).await {
                    Ok(Ok(Ok(()))) => Mark::Passed,
                    Ok(Ok(Err(error))) => Mark::Failed(error),
                    Ok(Err(panic)) => Mark::Failed(message(panic.as_ref())),
                    Err(_) => Mark::Failed(format!("not done after {:?}", self.deadline)),
                }
            }
        }
    }
}

impl Transport {
    /// A transport without checks.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            cells: Vec::new(),
        }
    }

    /// The check of one row. It fails by panicking, or by returning an error.
    pub fn cell<F, Fut>(mut self, row: Row, check: F) -> Self
    where
        F: Fn() -> Fut + 'static,
        Fut: Future<Output: Verdict> + 'static,
    {
        let check = move || check().map(Verdict::verdict).boxed_local();
        self.cells.push((row, Cell::Check(Box::new(check))));
        self
    }

    /// Leaves a row out, for one of the reasons [`Row::exceptions`] lists; any other
    /// fails the cell.
    pub fn na(mut self, row: Row, why: NotApplicable) -> Self {
        self.cells.push((row, Cell::NotApplicable(why)));
        self
    }
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    format!("panicked: {}", text.unwrap_or("(no text)"))
}

// === impl Matrix ===

impl Default for Matrix {
    fn default() -> Self {
        Self::new()
    }
}

// === impl Transport ===

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transport")
            .field("name", &self.name)
            .field("cells", &self.cells.len())
            .finish()
    }
}

// === impl Verdict ===

impl Verdict for () {
    fn verdict(self) -> Result<(), String> {
        Ok(())
    }
}

impl<E: fmt::Display> Verdict for Result<(), E> {
    fn verdict(self) -> Result<(), String> {
        self.map_err(|error| error.to_string())
    }
}
