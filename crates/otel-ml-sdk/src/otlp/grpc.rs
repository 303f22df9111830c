//! What is set beside the exporter's own builder, over gRPC.

use tonic::Request;
use tonic::metadata::MetadataMap;
use tonic::service::Interceptor;
use tonic::transport::{Certificate, ClientTlsConfig, Identity};

use super::resolve::{Resolved, Signal};
use super::tls;
use crate::error::InitError;
use crate::variables::{Variables, wrong};

/// What was resolved, in place of the headers that the exporter reads from the process's
/// environment itself.
pub(super) fn headers(settings: &Resolved) -> impl Interceptor + Clone + Send + Sync + 'static {
    let headers = settings.headers.clone();
    move |mut request: Request<()>| {
        let by_exporter = std::mem::take(request.metadata_mut()).into_headers();
        let mut all: http::HeaderMap = headers.iter().cloned().collect();
        if let Some(agent) = by_exporter.get(http::header::USER_AGENT) {
            all.entry(http::header::USER_AGENT)
                .or_insert_with(|| agent.clone());
        }
        *request.metadata_mut() = MetadataMap::from_headers(all);
        Ok(request)
    }
}

/// The exporter can't be told not to compress: it then does as the process's environment says.
pub(super) fn check_uncompressed(signal: Signal) -> Result<(), InitError> {
    let own = format!("OTEL_EXPORTER_OTLP_{}_COMPRESSION", signal.name());
    let process = Variables::of_process();
    for name in [own.as_str(), "OTEL_EXPORTER_OTLP_COMPRESSION"] {
        let Some(value) = process.text(name) else {
            continue;
        };
        match value.to_ascii_lowercase().as_str() {
            "none" => return Ok(()),
            "gzip" | "zstd" => {
                let fix = format!(
                    "no compression is asked for, but over gRPC the process's own variable can't \
                     be overruled: unset it, set {own}=none, or send over HTTP"
                );
                return Err(wrong(name, &value, &fix));
            }
            _ => {}
        }
    }
    Ok(())
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
