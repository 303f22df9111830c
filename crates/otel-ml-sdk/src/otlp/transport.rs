//! The exporters of opentelemetry-otlp, made from settings.

use opentelemetry_otlp::{LogExporter, MetricExporter, SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::metrics::Temporality;

use super::resolve::Resolved;
use super::settings::{Compression, Protocol};
use super::tls;
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
                    if let Some(compression) = compression(settings.compression) {
                        builder = builder.with_compression(compression);
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
    fn is_https(&self) -> bool {
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

#[cfg(feature = "otlp-grpc")]
mod grpc {
    use tonic::Request;
    use tonic::metadata::MetadataMap;
    use tonic::service::Interceptor;
    use tonic::transport::{Certificate, ClientTlsConfig, Identity};

    use super::{Resolved, tls};
    use crate::error::InitError;

    /// Headers in place of those that the exporter reads from the environment itself.
    pub(super) fn headers(settings: &Resolved) -> impl Interceptor + Clone + Send + Sync + 'static {
        let headers = settings.headers.clone();
        move |mut request: Request<()>| {
            let metadata = std::mem::take(request.metadata_mut());
            let mut all = metadata.into_headers();
            all.extend(headers.iter().cloned());
            *request.metadata_mut() = MetadataMap::from_headers(all);
            Ok(request)
        }
    }

    /// Everything is looked through first: tonic would pass over a file without certificates.
    pub(super) fn tls(settings: &Resolved) -> Result<ClientTlsConfig, InitError> {
        let mut config = match &settings.certificate {
            Some(file) => {
                tls::trusted(file)?;
                ClientTlsConfig::new().ca_certificate(Certificate::from_pem(tls::read(file)?))
            }
            None => ClientTlsConfig::new().with_native_roots(),
        };
        if let Some((certificate, key)) = &settings.client {
            tls::identity(certificate, key)?;
            let pem = (tls::read(certificate)?, tls::read(key)?);
            config = config.identity(Identity::from_pem(pem.0, pem.1));
        }
        Ok(config)
    }
}

#[cfg(feature = "otlp-http")]
mod http {
    use std::sync::Arc;

    use ::http::{HeaderMap, Request, Response};
    use opentelemetry_http::{Bytes, HttpClient, HttpError};
    use reqwest::blocking::Client;
    use rustls::{ClientConfig, RootCertStore};

    use super::{Resolved, tls};
    use crate::error::{ErrorKind, InitError};
    use crate::tally::Cause;

    /// A client that tells why it failed: the exporter says `network error` only.
    #[derive(Debug)]
    pub(super) struct Telling {
        client: Client,
        headers: HeaderMap,
        cause: Cause,
    }

    #[async_trait::async_trait]
    impl HttpClient for Telling {
        async fn send_bytes(
            &self,
            mut request: Request<Bytes>,
        ) -> Result<Response<Bytes>, HttpError> {
            // In place of those that the exporter reads from the environment itself.
            request.headers_mut().extend(self.headers.clone());
            let result = self.client.send_bytes(request).await;
            if let Err(error) = &result {
                // Its own text has the URL, which may hold a key.
                let own = error.source().unwrap_or(error.as_ref());
                self.cause.set(own);
            }
            result
        }
    }

    /// Made on a thread of its own: reqwest's blocking client can't be made inside a runtime.
    pub(super) fn client(settings: &Resolved) -> Result<Telling, InitError> {
        let tls = config(settings)?;
        let timeout = settings.timeout;
        let made = std::thread::spawn(move || {
            Client::builder()
                .tls_backend_preconfigured(tls)
                .redirect(reqwest::redirect::Policy::none())
                .timeout(timeout)
                .build()
        });
        let failed = |why: Box<dyn std::error::Error + Send + Sync>| {
            InitError::new(ErrorKind::System, "no HTTP client for OTLP").because(why)
        };
        match made.join() {
            Ok(Ok(client)) => Ok(Telling {
                client,
                headers: settings.headers.iter().cloned().collect(),
                cause: settings.cause.clone(),
            }),
            Ok(Err(error)) => Err(failed(error.into())),
            Err(_) => Err(failed("its thread panicked".into())),
        }
    }

    fn config(settings: &Resolved) -> Result<ClientConfig, InitError> {
        let wrong = |error: rustls::Error| {
            InitError::new(ErrorKind::Tls, "TLS for OTLP can't be set up").because(error)
        };
        let mut roots = RootCertStore::empty();
        match &settings.certificate {
            Some(file) => roots = tls::trusted(file)?,
            None if settings.is_https() => {
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            }
            None => {}
        }
        let builder = ClientConfig::builder_with_provider(Arc::new(tls::provider()))
            .with_safe_default_protocol_versions()
            .map_err(wrong)?
            .with_root_certificates(roots);
        let Some((certificate, key)) = &settings.client else {
            return Ok(builder.with_no_client_auth());
        };
        let (chain, key) = tls::identity(certificate, key)?;
        builder.with_client_auth_cert(chain, key).map_err(wrong)
    }
}
