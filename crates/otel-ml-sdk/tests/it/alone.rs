//! Tests that want a process of their own.

use std::process::Command;

/// Runs the test of this name (with its modules), which is ignored otherwise, in a new process
/// with these variables and none of `OTEL_*`. What it wrote to stderr.
pub(crate) fn alone(name: &str, variables: &[(&str, &str)]) -> String {
    let mut command = Command::new(std::env::current_exe().unwrap());
    for (known, _) in std::env::vars_os() {
        let is_known = known.to_string_lossy().to_ascii_uppercase();
        if is_known.starts_with("OTEL_") || is_known.ends_with("_PROXY") {
            command.env_remove(known);
        }
    }
    let child = command
        .args(["--exact", name, "--ignored", "--nocapture"])
        .envs(variables.iter().copied())
        .output()
        .unwrap();
    let out = String::from_utf8_lossy(&child.stdout);
    let errors = String::from_utf8(child.stderr.clone()).unwrap();
    assert!(child.status.success(), "{out}{errors}");
    assert!(out.contains("1 passed"), "{out}");
    errors
}
