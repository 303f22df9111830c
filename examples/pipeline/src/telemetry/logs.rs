//! What the services log: lines on stderr, and log records for the Collector.

use otel_ml_sdk::InitError;
use otel_ml_sdk::log::{LogFormat, Logs, export_layer, install_subscriber};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};

use super::Outputs;

/// Writes what is logged as lines of this form, if any, and sends it to the Collector, if there
/// is one.
///
/// A service that is alone in its process needs [`Logs::install_tracing`] only. Here one
/// subscriber serves all, and the module that logs says whose log record it is: that of
/// `pipeline::hops::generate` is the service `generate`'s.
///
/// # Errors
/// When `RUST_LOG` can't be read, or a subscriber is there already.
pub fn install(outputs: &Outputs, lines: Option<LogFormat>) -> Result<(), InitError> {
    let mut layers = Vec::new();
    if let Some(format) = lines {
        layers.push(Logs::new(format).layer()?.boxed());
    }
    for (service, guard) in &outputs.services {
        if let Some(provider) = guard.logger_provider() {
            let module = format!("pipeline::hops::{service}");
            let own = Targets::new().with_target(module, LevelFilter::INFO);
            layers.push(export_layer(provider).with_filter(own).boxed());
        }
    }
    if layers.is_empty() {
        return Ok(());
    }
    install_subscriber(tracing_subscriber::registry().with(layers))
}
