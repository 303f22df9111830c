//! Answers questions from a folder of text files and shows the trace: `pipeline --help`.

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;
use pipeline::app::{self, Failure};
use pipeline::cli::Args;

fn main() -> ExitCode {
    match app::run(&Args::parse()) {
        Ok(ending) => ending.exit_code(),
        Err(failure) => {
            let hint = match failure {
                Failure::Option(_) => "\n\nFor more information, try '--help'.",
                _ => "",
            };
            if !matches!(failure, Failure::Closed) {
                // Nobody is left to tell when this fails, too.
                let _ = writeln!(std::io::stderr(), "error: {failure}{hint}");
            }
            failure.exit_code()
        }
    }
}
