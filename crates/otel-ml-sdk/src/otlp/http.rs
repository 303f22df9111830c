//! The client that the exporter sends by, over HTTP.

use std::io::{self, Read as _};
use std::sync::Arc;

use http::header::{CONTENT_ENCODING, CONTENT_TYPE, USER_AGENT};
use http::{HeaderMap, HeaderName, Request, Response, Uri};
use hyper_util::client::proxy::matcher::Matcher;
use opentelemetry_http::{Bytes, HttpClient, HttpError};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message as _;
use reqwest::blocking::Client;
use rustls::{ClientConfig, RootCertStore};

use super::resolve::Resolved;
use super::settings::Compression;
use super::tls;
use crate::error::{ErrorKind, InitError};
use crate::told::Told;

/// A client that sends what was resolved, whatever the exporter reads from the process's
/// environment itself, and tells what the exporter does not: why a request failed, and how
/// much of it was rejected.
#[derive(Debug)]
pub(super) struct Telling {
    client: Client,
    headers: HeaderMap,
    compression: Compression,
    told: Told,
}

#[async_trait::async_trait]
impl HttpClient for Telling {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let result = self.client.send_bytes(self.resolved(request)?).await;
        match &result {
            Ok(response) if response.status().is_success() => {
                if let Some((count, why)) = rejected(response.body()) {
                    self.told.rejected(count, &why);
                }
            }
            Ok(_) => {}
            Err(error) => {
                // Its own text has the URL, which may hold a key.
                let own = error.source().unwrap_or(error.as_ref());
                self.told.failed(own);
            }
        }
        result
    }
}

impl Telling {
    fn resolved(&self, request: Request<Bytes>) -> io::Result<Request<Bytes>> {
        let (mut parts, mut body) = request.into_parts();
        let by_exporter = std::mem::replace(&mut parts.headers, self.headers.clone());
        let mut keep = |name: HeaderName| {
            if let Some(value) = by_exporter.get(&name) {
                parts.headers.insert(name, value.clone());
            }
        };
        keep(CONTENT_TYPE);
        if !self.headers.contains_key(USER_AGENT) {
            keep(USER_AGENT);
        }
        let encoding = by_exporter.get(CONTENT_ENCODING);
        match (
            self.compression,
            encoding.map(|encoding| encoding.as_bytes()),
        ) {
            (Compression::None, Some(b"gzip")) => {
                let mut plain = Vec::new();
                flate2::read::GzDecoder::new(&*body).read_to_end(&mut plain)?;
                body = plain.into();
            }
            (Compression::None, Some(b"zstd")) => body = zstd::decode_all(&*body)?.into(),
            (_, Some(_)) => keep(CONTENT_ENCODING),
            (_, None) => {}
        }
        Ok(Request::from_parts(parts, body))
    }
}

/// How much of an export was not taken though the rest was, and why. The three signals' answers
/// differ in their names alone.
fn rejected(answer: &[u8]) -> Option<(u64, String)> {
    let part = ExportTraceServiceResponse::decode(answer)
        .ok()?
        .partial_success?;
    let count = u64::try_from(part.rejected_spans).ok()?;
    (count > 0).then_some((count, part.error_message))
}

/// The proxy that the client goes by to `endpoint`, as the process's environment says.
pub(crate) fn proxy_for(endpoint: &Uri) -> Option<Uri> {
    let intercept = Matcher::from_system().intercept(endpoint)?;
    Some(intercept.uri().clone())
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
            compression: settings.compression,
            told: settings.told.clone(),
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
