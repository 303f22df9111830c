//! The layer beside others.

use otel_ml_sdk::log::LogFormat;
use tracing::info;
use tracing::subscriber::with_default;
use tracing_subscriber::layer::{Layer, SubscriberExt as _};
use tracing_subscriber::registry::Registry;

use super::support::logs;

type Boxed<S> = Box<dyn Layer<S> + Send + Sync>;

#[test]
fn a_layer_that_may_be_missing_does_not_silence_the_lines() {
    let (logs, captured) = logs(LogFormat::Json);
    let before: Option<Boxed<_>> = None;
    with_default(
        Registry::default().with(before).with(logs.layer().unwrap()),
        || {
            info!("first");
        },
    );
    let after: Option<Boxed<_>> = None;
    with_default(
        Registry::default().with(logs.layer().unwrap()).with(after),
        || {
            info!("second");
        },
    );
    let all: Vec<Boxed<_>> = vec![logs.layer().unwrap().boxed()];
    with_default(Registry::default().with(all), || info!("third"));
    for message in ["first", "second", "third"] {
        captured.saying(message);
    }
}
