//! A broker of a test's own: a process that ends with the test.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use otel_ml_e2e::{Running, free_port};
use tempfile::TempDir;

use crate::LONG;

/// A broker on a port of its own, which stays the same from one start to the next, and so
/// does its data.
pub(crate) struct Broker {
    folder: TempDir,
    port: u16,
    running: Option<Running>,
}

impl Broker {
    /// Started, and answering.
    pub(crate) fn started() -> Self {
        let mut broker = Self {
            folder: TempDir::new().unwrap(),
            // The runner takes these, too.
            port: free_port(&[20_000, 20_001]),
            running: None,
        };
        broker.start();
        broker
    }

    pub(crate) fn start(&mut self) {
        assert!(self.running.is_none(), "it runs");
        let runner = std::env::var_os("OTEL_ML_RABBITMQ")
            .expect("OTEL_ML_RABBITMQ names a runner: ./scripts/test --only rabbitmq");
        let log = File::create(self.folder.path().join("out")).unwrap();
        let process = Command::new("bash")
            .arg(runner)
            .arg(self.folder.path())
            .arg(self.port.to_string())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        self.running = Some(Running::new(process, "TERM"));
        let deadline = Instant::now() + 2 * LONG;
        while !self.greets() {
            assert!(Instant::now() < deadline, "the broker does not answer");
            std::thread::park_timeout(Duration::from_millis(50));
        }
    }

    /// It answers who speaks its protocol: the port is open before it does.
    fn greets(&self) -> bool {
        let Ok(mut stream) = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)) else {
            return false;
        };
        let mut first = [0];
        let timeout = stream.set_read_timeout(Some(Duration::from_secs(5)));
        timeout.is_ok()
            && stream.write_all(b"AMQP\0\0\x09\x01").is_ok()
            && stream.read_exact(&mut first).is_ok()
            && first == [1]
    }

    /// Ends it as `kill -9` does.
    pub(crate) fn kill(&mut self) {
        let mut running = self.running.take().expect("it runs");
        assert!(running.is_running(), "it ended by itself");
        // The process that is the broker: its runner ends with it.
        let pid = fs::read_to_string(self.folder.path().join("beam.pid")).unwrap();
        let killed = Command::new("kill").args(["-KILL", pid.trim()]).status();
        assert!(killed.unwrap().success());
    }

    /// Ends it in order, as an operator does.
    pub(crate) fn stop(&mut self) {
        let mut running = self.running.take().expect("it runs");
        assert!(running.is_running(), "it ended by itself");
    }

    pub(crate) fn url(&self) -> String {
        format!("amqp://{}:{}/%2f", Ipv4Addr::LOCALHOST, self.port)
    }
}
