//! The exporters of opentelemetry-otlp, made from settings.

use opentelemetry_otlp::{LogExporter, MetricExporter, SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::metrics::Temporality;

#[cfg(feature = "otlp-grpc")]
use super::grpc;
#[cfg(feature = "otlp-http")]
use super::http;
use super::resolve::Resolved;
use super::settings::{Compression, Protocol};
use crate::error::{ErrorKind, InitError};

/// Makes exporters, and keeps what they share.
#[derive(Debug, Default)]
pub(crate) struct Transport {
    /// gRPC's connections live on threads of their own: an application's runtime may be
    /// single-threaded, and blocked by the very shutdown that waits for them.
    #[cfg(feature = "otlp-grpc")]
    runtime: Option<tokio::runtime::Runtime>,
}

macro_rules! exporters {
    ($($name:ident -> $exporter:ident $(, $argument:ident: $type:ty => $with:ident)?;)+) => { $(
        pub(crate) fn $name(
            &mut self,
            settings: &Resolved,
            $($argument: $type,)?
        ) -> Result<$exporter, InitError> {
            let builder = $exporter::builder();
            $(let builder = builder.$with($argument);)?
            match settings.protocol {
                #[cfg(feature = "otlp-grpc")]
                Protocol::Grpc => {
                    use opentelemetry_otlp::WithTonicConfig as _;
                    let _in_runtime = self.runtime()?.enter();
                    let mut builder = builder
                        .with_tonic()
                        .with_endpoint(settings.endpoint.to_string())
                        .with_timeout(settings.timeout)
                        .with_interceptor(grpc::headers(settings));
                    match compression(settings.compression) {
                        Some(compression) => builder = builder.with_compression(compression),
                        None => grpc::check_uncompressed(settings.signal)?,
                    }
                    if settings.is_https() {
                        builder = builder.with_tls_config(grpc::tls(settings)?);
                    }
                    builder.build().map_err(refused)
                }
                #[cfg(feature = "otlp-http")]
                Protocol::HttpProtobuf => {
                    use opentelemetry_otlp::WithHttpConfig as _;
                    let mut builder = builder
                        .with_http()
                        .with_http_client(http::client(settings)?)
                        .with_protocol(opentelemetry_otlp::Protocol::HttpBinary)
                        .with_endpoint(settings.endpoint.to_string())
                        .with_timeout(settings.timeout);
                    if let Some(compression) = compression(settings.compression) {
                        builder = builder.with_compression(compression);
                    }
                    builder.build().map_err(refused)
                }
                #[cfg(not(all(feature = "otlp-grpc", feature = "otlp-http")))]
                missing => Err(not_compiled_in(missing)),
            }
        }
    )+ };
}

impl Transport {
    exporters! {
        spans -> SpanExporter;
        metrics -> MetricExporter, temporality: Temporality => with_temporality;
        logs -> LogExporter;
    }

    #[cfg(feature = "otlp-grpc")]
    fn runtime(&mut self) -> Result<&tokio::runtime::Runtime, InitError> {
        if self.runtime.is_none() {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(1)
                .thread_name("otel-ml-otlp")
                .enable_all()
                .build();
            let refused = |error| {
                InitError::new(ErrorKind::System, "no thread for OTLP's connections").because(error)
            };
            self.runtime = Some(runtime.map_err(refused)?);
        }
        let missing = || InitError::new(ErrorKind::System, "no thread for OTLP's connections");
        self.runtime.as_ref().ok_or_else(missing)
    }
}

#[cfg(feature = "otlp-grpc")]
impl Drop for Transport {
    /// Ends the connections without waiting: this may run where blocking is not allowed.
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Resolved {
    pub(super) fn is_https(&self) -> bool {
        self.endpoint.scheme_str() == Some("https")
    }
}

const fn compression(wanted: Compression) -> Option<opentelemetry_otlp::Compression> {
    match wanted {
        Compression::None => None,
        Compression::Gzip => Some(opentelemetry_otlp::Compression::Gzip),
        Compression::Zstd => Some(opentelemetry_otlp::Compression::Zstd),
    }
}

fn refused(error: opentelemetry_otlp::ExporterBuildError) -> InitError {
    InitError::new(ErrorKind::Setting, "the OTLP exporter refuses its settings").because(error)
}

#[cfg(not(all(feature = "otlp-grpc", feature = "otlp-http")))]
fn not_compiled_in(protocol: Protocol) -> InitError {
    let feature = match protocol {
        Protocol::Grpc => "otlp-grpc",
        Protocol::HttpProtobuf => "otlp-http",
    };
    InitError::new(
        ErrorKind::Feature,
        format!(
            "OTLP was asked for over {protocol:?}, which is not compiled in: enable the feature `{feature}` of otel-ml-sdk"
        ),
    )
}
