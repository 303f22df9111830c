//! A broker of a test's own: a process that is killed with the test.

use std::fs::{self, File};
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use otel_ml_e2e::{Running, free_port};
use otel_ml_rdkafka::rdkafka::ClientConfig;
use otel_ml_rdkafka::rdkafka::consumer::{BaseConsumer, Consumer as _};
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
        let port = free_port(&[5_000]);
        let controller = port + 5_000;
        let folder = TempDir::new().unwrap();
        let data = folder.path().join("data");
        let settings = include_str!("../../scripts/services.d/kafka.properties")
            .replace("19092", &port.to_string())
            .replace("19193", &controller.to_string())
            .replace("@DATA@", data.to_str().unwrap());
        fs::write(folder.path().join("server.properties"), settings).unwrap();
        let mut broker = Self {
            folder,
            port,
            running: None,
        };
        let formatted = Self::java("kafka.tools.StorageTool")
            .args([
                "format",
                "--cluster-id",
                "b3RlbC1tbC10ZXN0cy0xMg",
                "--config",
            ])
            .arg(broker.settings())
            .output()
            .unwrap();
        assert!(formatted.status.success(), "{formatted:?}");
        broker.start();
        broker
    }

    pub(crate) fn start(&mut self) {
        assert!(self.running.is_none(), "it runs");
        let log = File::create(self.folder.path().join("log")).unwrap();
        let process = Self::java("kafka.Kafka")
            .arg(self.settings())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        self.running = Some(Running::new(process, "KILL"));
        let client: BaseConsumer = self.config().create().unwrap();
        let deadline = Instant::now() + LONG;
        while client.fetch_metadata(None, Duration::from_secs(1)).is_err() {
            assert!(Instant::now() < deadline, "the broker does not answer");
        }
    }

    /// Stops it where it is: from now on it answers nobody.
    pub(crate) fn pause(&self) {
        let running = self.running.as_ref().expect("it runs");
        let stopped = Command::new("kill")
            .args(["-STOP", &running.id().to_string()])
            .status();
        assert!(stopped.unwrap().success());
    }

    /// Ends it as `kill -9` does.
    pub(crate) fn kill(&mut self) {
        let mut running = self.running.take().expect("it runs");
        assert!(running.is_running(), "it ended by itself");
    }

    pub(crate) fn bootstrap(&self) -> String {
        format!("{}:{}", Ipv4Addr::LOCALHOST, self.port)
    }

    pub(crate) fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", self.bootstrap());
        config
    }

    fn settings(&self) -> PathBuf {
        self.folder.path().join("server.properties")
    }

    fn java(class: &str) -> Command {
        let jars = std::env::var("OTEL_ML_KAFKA_JARS")
            .expect("OTEL_ML_KAFKA_JARS names a folder: ./scripts/test --only kafka");
        let mut java = Command::new("java");
        java.args(["-Xms128m", "-Xmx512m", "-cp", &format!("{jars}/*"), class]);
        java
    }
}
