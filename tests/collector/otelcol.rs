//! A Collector of a test's own: a process that is killed with the test.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Instant;

use otel_ml_sdk::Protocol;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::LONG;
use crate::received::Received;

/// What the Collector logs once its ports are open.
const READY: &str = "Everything is ready";

/// A Collector on ports of its own, which stay the same from one start to the next.
///
/// Whatever it has acknowledged is in its file: nothing is batched or buffered on the way. So
/// even a Collector that was killed tells what it had.
pub(crate) struct Collector {
    folder: TempDir,
    config: Value,
    grpc: u16,
    http: u16,
    /// How often it was started.
    lives: u32,
    running: Option<Running>,
}

struct Running {
    process: Child,
    log: Receiver<String>,
}

impl Collector {
    /// One that is not started yet.
    pub(crate) fn new() -> Self {
        let (grpc, http) = (free_port(), free_port());
        let endpoint = |port: u16| format!("{}:{port}", Ipv4Addr::LOCALHOST);
        let pipeline = json!({"receivers": ["otlp"], "processors": [], "exporters": ["file"]});
        let config = json!({
            "receivers": {"otlp": {"protocols": {
                "grpc": {"endpoint": endpoint(grpc)},
                "http": {"endpoint": endpoint(http)},
            }}},
            "processors": {},
            // Where it rotates it doesn't buffer.
            "exporters": {"file": {"path": "", "rotation": {"max_megabytes": 1000}}},
            "service": {
                "pipelines": {"traces": pipeline, "metrics": pipeline, "logs": pipeline},
                "telemetry": {"metrics": {"level": "none"}},
            },
        });
        Self {
            folder: TempDir::new().unwrap(),
            config,
            grpc,
            http,
            lives: 0,
            running: None,
        }
    }

    /// With its configuration changed.
    pub(crate) fn with(mut self, change: impl FnOnce(&mut Value)) -> Self {
        change(&mut self.config);
        self
    }

    /// With `tls`, the settings of a server's side, for both protocols.
    pub(crate) fn with_tls(self, tls: &Value) -> Self {
        self.with(|config| {
            let protocols = &mut config["receivers"]["otlp"]["protocols"];
            protocols["grpc"]["tls"] = tls.clone();
            protocols["http"]["tls"] = tls.clone();
        })
    }

    /// Started, and accepting.
    pub(crate) fn started(mut self) -> Self {
        self.start();
        self
    }

    pub(crate) fn start(&mut self) {
        assert!(self.running.is_none(), "it runs");
        self.lives += 1;
        self.config["exporters"]["file"]["path"] = json!(self.file(self.lives));
        let config = self.folder.path().join("config.yaml");
        // All JSON is YAML.
        fs::write(&config, self.config.to_string()).unwrap();
        let mut process = Command::new(binary())
            .arg("--config")
            .arg(config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = lines(process.stderr.take().unwrap());
        let running = self.running.insert(Running { process, log });
        running.wait_for(READY);
    }

    /// Waits for the Collector to log `text`.
    pub(crate) fn wait_for(&self, text: &str) {
        self.running.as_ref().expect("it runs").wait_for(text);
    }

    /// Ends it as `kill -9` does.
    pub(crate) fn kill(&mut self) {
        self.running.take().expect("it runs");
    }

    /// Stops it as it stands: the system still takes connections for it, and nobody answers.
    pub(crate) fn pause(&self) {
        let id = self.running.as_ref().expect("it runs").process.id();
        let paused = Command::new("kill")
            .args(["-STOP", &id.to_string()])
            .status();
        assert!(paused.unwrap().success());
    }

    pub(crate) const fn port(&self, protocol: Protocol) -> u16 {
        match protocol {
            Protocol::Grpc => self.grpc,
            _ => self.http,
        }
    }

    pub(crate) fn endpoint(&self, protocol: Protocol) -> String {
        format!("http://{}:{}", Ipv4Addr::LOCALHOST, self.port(protocol))
    }

    pub(crate) fn secure_endpoint(&self, protocol: Protocol) -> String {
        format!("https://{}:{}", Ipv4Addr::LOCALHOST, self.port(protocol))
    }

    /// What it was sent, in all its lives.
    pub(crate) fn received(&self) -> Received {
        (1..=self.lives)
            .map(|life| self.received_in(life))
            .fold(Received::default(), Received::and)
    }

    /// What it was sent after its start number `life`, the first being 1.
    pub(crate) fn received_in(&self, life: u32) -> Received {
        // There is no file before there is something to write.
        let lines = fs::read_to_string(self.file(life)).unwrap_or_default();
        Received::read(&lines)
    }

    fn file(&self, life: u32) -> PathBuf {
        self.folder.path().join(format!("received-{life}.jsonl"))
    }
}

impl Running {
    fn wait_for(&self, text: &str) {
        let deadline = Instant::now() + LONG;
        let mut seen = String::new();
        while let Ok(line) = self
            .log
            .recv_timeout(deadline.saturating_duration_since(Instant::now()))
        {
            if line.contains(text) {
                return;
            }
            seen += &line;
            seen.push('\n');
        }
        panic!("the Collector does not say {text:?}, but:\n{seen}");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn binary() -> PathBuf {
    std::env::var_os("OTEL_ML_OTELCOL")
        .expect("OTEL_ML_OTELCOL names the Collector's binary: ./scripts/test --only collector")
        .into()
}

/// The lines of a Collector's log. They are read to the end, whoever takes them: a pipe that is
/// full stops its writer.
fn lines(log: ChildStderr) -> Receiver<String> {
    let (send, lines) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(log).lines().map_while(Result::ok) {
            let _ = send.send(line);
        }
    });
    lines
}

/// A port that nobody listens on, and that the system gives to no outgoing connection: a client
/// that looks for a Collector which is down could come to sit on its port.
pub(crate) fn free_port() -> u16 {
    const FIRST: u16 = 15_000;
    const COUNT: u16 = 17_000;
    static TAKEN: AtomicU16 = AtomicU16::new(0);
    // Other runs of the tests start elsewhere.
    let start = u16::try_from(std::process::id() * 64 % u32::from(COUNT)).unwrap();
    loop {
        let next = start + TAKEN.fetch_add(1, Ordering::Relaxed);
        let port = FIRST + next % COUNT;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}
