//! Other processes: brokers of a test's own, and peers in Python.

use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::Value;

/// A process, and another that ends it when the test ends without doing so.
#[derive(Debug)]
pub struct Running {
    process: Child,
    watchdog: Child,
}

impl Running {
    /// Watches `process`; it ends by `signal`, such as `KILL`.
    ///
    /// # Panics
    /// Where there is no `sh`.
    #[must_use]
    pub fn new(process: Child, signal: &str) -> Self {
        // Its input ends when the test does, however that happens.
        let watchdog = Command::new("sh")
            .args(["-c", "read -r _; kill -s \"$1\" \"$0\""])
            .arg(process.id().to_string())
            .arg(signal)
            .stdin(Stdio::piped())
            .spawn()
            .expect("sh is there");
        Self { process, watchdog }
    }

    /// The process's id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.process.try_wait(), Ok(None))
    }
}

impl Drop for Running {
    /// Ends it, and waits for it; it may have ended by itself.
    fn drop(&mut self) {
        drop(self.watchdog.stdin.take());
        for child in [&mut self.watchdog, &mut self.process] {
            let _ = child.wait();
        }
    }
}

/// A port that nobody listens on now, and on none of those that lie by `others` above it, all
/// below the range from which others are given out.
///
/// # Panics
/// Where there is none.
#[must_use]
pub fn free_port(others: &[u16]) -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    /// What lies above one port may be next to each other, and must not be another's.
    const STEP: u32 = 8;
    let is_free = |port: u16| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
    // Not the same for two tests at once, in one process or in several.
    let start = std::process::id().wrapping_mul(16);
    let number = |_| start.wrapping_add(NEXT.fetch_add(STEP, Ordering::Relaxed)) % 5_000;
    let mut ports = (0..5_000)
        .map(number)
        .filter_map(|number| u16::try_from(20_000 + number).ok());
    let free = ports.find(|port| is_free(*port) && others.iter().all(|by| is_free(port + by)));
    free.expect("a free port")
}

/// What a peer in Python, `script` in `scripts/services.d`, says became of it: a line of JSON.
///
/// # Panics
/// Where there is no `OTEL_ML_PYTHON`, and where the peer fails.
#[must_use]
pub fn python(script: &str, arguments: &[&str]) -> Value {
    let python = std::env::var_os("OTEL_ML_PYTHON")
        .expect("OTEL_ML_PYTHON names an interpreter: eval \"$(scripts/services up python)\"");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/services.d");
    let output = Command::new(python)
        // Leaves nothing compiled behind.
        .arg("-B")
        .arg(folder.join(script))
        .args(arguments)
        .output()
        .expect("the peer runs");
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).expect("a line of JSON")
}

/// The only span of that kind among those that a peer has told.
///
/// # Panics
/// Where there is none, or more.
#[must_use]
pub fn of_kind<'a>(told: &'a Value, kind: &str) -> &'a Value {
    let spans = told["spans"].as_array().expect("a list of spans");
    let mut of_kind = spans.iter().filter(|span| span["kind"] == kind);
    let span = of_kind.next();
    assert!(of_kind.next().is_none(), "{told}");
    span.unwrap_or_else(|| panic!("no {kind} span in {told}"))
}

/// A name that no other test has, nor any run before.
#[must_use]
pub fn unique(what: &str) -> String {
    let now = std::time::SystemTime::now();
    let now = now
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    format!("{what}-{}-{}", std::process::id(), now.as_nanos())
}
