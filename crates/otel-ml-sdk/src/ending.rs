//! Flushing and shutting down, in the time there is.

use std::sync::mpsc;
use std::time::Duration;

use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::logs::SdkLoggerProvider;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use opentelemetry_sdk::trace::SdkTracerProvider;

/// How long it may take to count which metrics were lost: the callbacks of instruments are the
/// application's.
pub(crate) const COUNTED_WITHIN: Duration = Duration::from_millis(250);

#[derive(Clone, Debug, Default)]
pub(crate) struct Providers {
    pub(crate) tracers: Option<SdkTracerProvider>,
    pub(crate) meters: Option<SdkMeterProvider>,
    pub(crate) loggers: Option<SdkLoggerProvider>,
}

impl Providers {
    pub(crate) fn flush(&self) -> bool {
        let tracers = self.tracers.as_ref().map(SdkTracerProvider::force_flush);
        let loggers = self.loggers.as_ref().map(SdkLoggerProvider::force_flush);
        let meters = self.meters.as_ref().map(SdkMeterProvider::force_flush);
        [tracers, loggers, meters]
            .iter()
            .all(|result| !matches!(result, Some(Err(_))))
    }

    /// Whether it was in time. Metrics last: they tell what became of the others.
    pub(crate) fn shut_down(&self, longest: Duration) -> bool {
        // One that hangs must not cost the others their last export.
        let most = longest.mul_f64(0.75);
        let (tracers, loggers) = std::thread::scope(|scope| {
            let tracers = scope.spawn(|| {
                let tracers = self.tracers.as_ref();
                tracers.is_none_or(|it| is_in_time(&it.shutdown_with_timeout(most)))
            });
            let loggers = self.loggers.as_ref();
            let loggers = loggers.is_none_or(|it| is_in_time(&it.shutdown_with_timeout(most)));
            (tracers.join().unwrap_or(false), loggers)
        });
        let meters = self.meters.as_ref();
        let meters = meters.is_none_or(|it| is_in_time(&it.shutdown_with_timeout(longest)));
        tracers && loggers && meters
    }
}

/// Other errors than of time are no reason to say that something was out of it. The providers
/// wrap those of their processors as text.
fn is_in_time(result: &OTelSdkResult) -> bool {
    match result {
        Err(OTelSdkError::Timeout(_)) => false,
        Err(OTelSdkError::InternalFailure(text)) => !text.contains("Timeout"),
        _ => true,
    }
}

/// Runs `work` where it may block, and waits for what it says for no longer than `longest`.
/// False when it took longer; it then goes on alone.
pub(crate) fn on_a_thread(longest: Duration, work: impl FnOnce() -> bool + Send + 'static) -> bool {
    let (done, wait) = mpsc::channel();
    let thread = std::thread::Builder::new().name("otel-ml-shutdown".to_owned());
    let spawned = thread.spawn(move || {
        // Nobody may be waiting any more.
        let _ = done.send(work());
    });
    spawned.is_ok() && wait.recv_timeout(longest) == Ok(true)
}
