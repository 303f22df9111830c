//! The measured process with an allocator that counts for each thread.

use std::error::Error;
use std::io::{Write, stdout};

use allocation_counter::measure;
use clap::Parser;
use otel_ml_bench::{Choice, Counted, Subject};

fn main() -> Result<(), Box<dyn Error>> {
    let choice = Choice::parse();
    let mut subject = Subject::new(choice);
    let iterations = choice.iterations.unwrap_or_default();
    let counted = [iterations, 2 * iterations].map(|iterations| {
        let info = measure(|| subject.run_measured(iterations));
        Counted {
            allocations: info.count_total,
            bytes: info.bytes_total,
        }
    });
    subject.check()?;
    writeln!(stdout(), "{}", serde_json::to_string(&counted)?)?;
    Ok(())
}
