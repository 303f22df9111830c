//! The measured process: for instructions (under callgrind) and for time.

use std::error::Error;
use std::io::{Write, stdout};

use clap::Parser;
use otel_ml_bench::{Choice, Subject};

fn main() -> Result<(), Box<dyn Error>> {
    let choice = Choice::parse();
    let mut subject = Subject::new(choice);
    match choice.iterations {
        Some(iterations) => {
            subject.run_measured(iterations);
            subject.run_measured(2 * iterations);
        }
        None => writeln!(stdout(), "{}", subject.time())?,
    }
    Ok(subject.check()?)
}
