//! Every row of the report can be measured, and exports the spans that it should.

use std::process::Command;

use otel_ml_bench::layers::Variant;
use otel_ml_bench::suites::{Scaled, Suite};

#[test]
fn every_row_exports_its_spans() {
    for suite in Suite::ALL.iter().filter(|suite| suite.can_run()) {
        // A long warm-up shows in the counts of the bench alone, and takes too long here.
        if Scaled::of(suite).is_some_and(|scaled| scaled.warm_up > 10_000) {
            continue;
        }
        for row in suite.all_rows() {
            for variant in [Variant::Identity, row.variant] {
                let mut program = Command::new(env!("CARGO_BIN_EXE_otel-ml-bench-counted"));
                program.args(["--suite", suite.name, "--variant", &variant.to_string()]);
                program.args([
                    "--condition",
                    &row.condition.to_string(),
                    "--iterations",
                    "10",
                ]);
                let output = program.output().unwrap();
                let errors = String::from_utf8_lossy(&output.stderr);
                assert!(
                    output.status.success(),
                    "{} {variant} {}: {errors}",
                    suite.name,
                    row.condition
                );
            }
        }
    }
}

#[test]
fn an_unknown_suite_is_told_which_there_are() {
    let error = Suite::named("http").unwrap_err();
    assert!(
        error.contains("http-server") && error.contains("mlspan"),
        "{error}"
    );
}
