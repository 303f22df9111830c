//! RabbitMQ: the broker that `AMQP_URL` names, or one that is started, and the way to it.

use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use otel_ml_lapin::lapin::options::ConfirmSelectOptions;
use otel_ml_lapin::lapin::{self, Channel, Connection, ConnectionProperties};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

/// The variable that names a broker.
pub const URL: &str = "AMQP_URL";

/// Where Debian's package has it. The script that runs it is this repository's.
const PROGRAM: &str = "/usr/lib/rabbitmq/bin/rabbitmq-server";
const RUNNER: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../scripts/services.d/rabbitmq-run.sh"
);
/// How long a broker may take to start.
const START: Duration = Duration::from_secs(120);
/// The ports that a broker takes besides its own, so many above it.
const OTHERS: [u16; 2] = [20_000, 20_001];

/// A broker.
#[derive(Debug)]
pub struct Broker {
    url: String,
    /// Ends with this.
    _own: Option<Own>,
}

/// A broker that nobody else uses.
#[derive(Debug)]
struct Own {
    process: Child,
    _folder: TempDir,
}

impl Broker {
    /// The one that `AMQP_URL` names, else one that is started, in a folder of its own that goes
    /// with it.
    ///
    /// # Errors
    /// When RabbitMQ is not installed, or does not start.
    pub async fn new() -> io::Result<Self> {
        if let Ok(url) = std::env::var(URL) {
            return Ok(Self { url, _own: None });
        }
        if !Path::new(PROGRAM).exists() {
            return Err(io::Error::new(
                io::ErrorKind::NotFound,
                "RabbitMQ is not installed: name a broker by AMQP_URL, or install one \
                 (Debian: apt-get install --no-install-recommends rabbitmq-server)",
            ));
        }
        let folder = TempDir::new()?;
        let port = free_port().ok_or(io::ErrorKind::AddrInUse)?;
        let process = Command::new("bash")
            .arg(RUNNER)
            .arg(folder.path())
            .arg(port.to_string())
            // Its input ends with this process, however that ends, and it with its input.
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Ctrl-C is for this process, which still has answers to audit.
            .process_group(0)
            .spawn()?;
        let mut own = Own {
            process,
            _folder: folder,
        };
        let url = format!("amqp://{}:{port}/%2f", Ipv4Addr::LOCALHOST);
        let deadline = Instant::now() + START;
        while let Err(error) = Connection::connect(&url, ConnectionProperties::default()).await {
            if own.process.try_wait()?.is_some() || Instant::now() > deadline {
                return Err(io::Error::other(format!(
                    "RabbitMQ does not start: {error}"
                )));
            }
            sleep(Duration::from_millis(100)).await;
        }
        let own = Some(own);
        Ok(Self { url, _own: own })
    }

    /// A connection that comes back when it is lost, and a channel of it on which the broker
    /// confirms what it takes.
    ///
    /// # Errors
    /// When the broker does not answer.
    pub async fn connect(&self, name: &str) -> lapin::Result<(Connection, Channel)> {
        let properties = ConnectionProperties::default()
            .with_connection_name(name.into())
            .enable_auto_recover();
        let connection = Connection::connect(&self.url, properties).await?;
        let channel = connection.create_channel().await?;
        let options = ConfirmSelectOptions::default();
        channel.confirm_select(options).await?;
        Ok((connection, channel))
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        let _ = self.process.wait();
    }
}

/// One that nobody listens on, nor on those above it that a broker takes, too.
fn free_port() -> Option<u16> {
    let is_free = |port: u16| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
    (0..100)
        .map(|_| fastrand::u16(20_000..30_000))
        .find(|port| is_free(*port) && OTHERS.iter().all(|by| is_free(port + by)))
}
