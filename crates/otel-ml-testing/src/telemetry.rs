//! Where this crate meets `otel-ml`.

use otel_ml::Telemetry;

use crate::setup::TestTelemetry;

impl TestTelemetry {
    /// A handle for layers, stages and operations that records into this one, with the
    /// default propagator. For another propagator use [`Telemetry::builder`] with
    /// [`tracer_provider`](Self::tracer_provider) and
    /// [`meter_provider`](Self::meter_provider).
    #[must_use]
    pub fn telemetry(&self) -> Telemetry {
        Telemetry::builder()
            .tracer_provider(self.tracer_provider())
            .meter_provider(self.meter_provider())
            .build()
    }
}
