//! Where and how one signal's OTLP is sent: code over variables over defaults.

use std::path::PathBuf;
use std::time::Duration;

use http::{HeaderName, HeaderValue, Uri};

use super::headers::headers;
use super::settings::{Compression, Otlp, Protocol};
use crate::error::{ErrorKind, InitError};
use crate::told::Told;
use crate::variables::{Variables, wrong};

/// What is exported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signal {
    Traces,
    Metrics,
    Logs,
}

impl Signal {
    const fn path(self) -> &'static str {
        match self {
            Self::Traces => "v1/traces",
            Self::Metrics => "v1/metrics",
            Self::Logs => "v1/logs",
        }
    }

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Traces => "TRACES",
            Self::Metrics => "METRICS",
            Self::Logs => "LOGS",
        }
    }
}

/// The settings of one signal's exporter.
#[derive(Clone, Debug)]
pub(crate) struct Resolved {
    #[cfg(feature = "otlp-grpc")]
    pub(crate) signal: Signal,
    pub(crate) protocol: Protocol,
    /// With the signal's path, over HTTP.
    pub(crate) endpoint: Uri,
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    pub(crate) timeout: Duration,
    pub(crate) compression: Compression,
    pub(crate) certificate: Option<PathBuf>,
    pub(crate) client: Option<(PathBuf, PathBuf)>,
    /// What looks wrong but may be meant.
    pub(crate) doubts: Vec<String>,
    pub(crate) told: Told,
}

/// A setting of one signal or of all: its value, and the name by which it was set.
struct Lookup<'a> {
    variables: &'a Variables,
    signal: Signal,
}

impl Lookup<'_> {
    fn text(&self, setting: &str) -> Option<(String, String)> {
        let own = format!("OTEL_EXPORTER_OTLP_{}_{setting}", self.signal.name());
        let common = format!("OTEL_EXPORTER_OTLP_{setting}");
        let (name, value) = self.variables.first(&[own.as_str(), common.as_str()])?;
        Some((name.to_owned(), value))
    }

    fn read<T>(
        &self,
        setting: &str,
        read: impl Fn(&str) -> Option<T>,
        wanted: &str,
    ) -> Result<Option<T>, InitError> {
        let Some((name, value)) = self.text(setting) else {
            return Ok(None);
        };
        read(&value)
            .map(Some)
            .ok_or_else(|| wrong(&name, &value, wanted))
    }
}

impl Resolved {
    /// Where it goes to, for messages.
    pub(crate) fn target(&self) -> String {
        target(&self.endpoint)
    }
}

/// Without the query, which may hold a key.
fn target(endpoint: &Uri) -> String {
    let scheme = endpoint.scheme_str().unwrap_or("http");
    let authority = endpoint.authority().map_or("", |it| it.as_str());
    format!("{scheme}://{authority}{}", endpoint.path())
}

impl Otlp {
    pub(crate) fn resolve(
        &self,
        signal: Signal,
        variables: &Variables,
    ) -> Result<Resolved, InitError> {
        let lookup = Lookup { variables, signal };
        let protocol = match self.protocol {
            Some(protocol) => protocol,
            None => lookup
                .read("PROTOCOL", protocol_named, PROTOCOLS)?
                .unwrap_or(Protocol::by_default()),
        };
        let timeout = match self.timeout {
            Some(timeout) => timeout,
            None => lookup
                .read(
                    "TIMEOUT",
                    millis,
                    "a whole number of milliseconds is wanted",
                )?
                .unwrap_or(Duration::from_secs(10)),
        };
        let compression = match self.compression {
            Some(compression) => compression,
            None => lookup
                .read(
                    "COMPRESSION",
                    compression_named,
                    "`gzip`, `zstd` or `none` is wanted",
                )?
                .unwrap_or_default(),
        };
        let endpoint = self.endpoint_of(protocol, &lookup)?;
        let client = match &self.client {
            Some(client) => Some(client.clone()),
            None => client_files(&lookup)?,
        };
        let certificate = self.certificate.clone();
        let certificate = certificate.or_else(|| Some(lookup.text("CERTIFICATE")?.1.into()));
        Ok(Resolved {
            #[cfg(feature = "otlp-grpc")]
            signal,
            doubts: doubts(protocol, &endpoint),
            protocol,
            headers: headers(lookup.text("HEADERS"), &self.headers)?,
            endpoint,
            timeout,
            compression,
            certificate,
            client,
            told: Told::default(),
        })
    }

    fn endpoint_of(&self, protocol: Protocol, lookup: &Lookup<'_>) -> Result<Uri, InitError> {
        let own = format!("OTEL_EXPORTER_OTLP_{}_ENDPOINT", lookup.signal.name());
        let (name, value, is_whole) = match (&self.endpoint, lookup.text("ENDPOINT")) {
            (Some(endpoint), _) => ("endpoint".to_owned(), endpoint.clone(), false),
            // What is set for one signal is taken as it is.
            (None, Some((name, value))) => {
                let is_whole = name == own;
                (name, value, is_whole)
            }
            (None, None) => {
                let value = format!("http://localhost:{}", protocol.port());
                ("endpoint".to_owned(), value, false)
            }
        };
        let insecure = lookup.read("INSECURE", boolean, "`true` or `false` is wanted")?;
        let mut url = value.clone();
        // gRPC's may be said without a scheme.
        if protocol == Protocol::Grpc && !url.contains("://") {
            let scheme = if insecure == Some(true) {
                "http"
            } else {
                "https"
            };
            url = format!("{scheme}://{url}");
        }
        if url.contains('@') {
            return Err(InitError::new(
                ErrorKind::Setting,
                format!(
                    "{name}: credentials in a URL are not sent: set them as a header, \
                     OTEL_EXPORTER_OTLP_HEADERS=authorization=…"
                ),
            ));
        }
        let uri: Option<Uri> = url.parse().ok();
        let uri = uri.filter(|uri| {
            matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some()
        });
        let uri = match protocol {
            Protocol::HttpProtobuf if !is_whole => {
                uri.and_then(|uri| below(uri, lookup.signal.path()))
            }
            _ => uri,
        };
        uri.ok_or_else(|| {
            wrong(
                &name,
                &value,
                "a URL such as `http://collector:4318` is wanted",
            )
        })
    }
}

/// `path` below that of `base`, whose query stays.
fn below(base: Uri, path: &str) -> Option<Uri> {
    let mut parts = base.into_parts();
    let known = parts.path_and_query.take();
    let known = known.as_ref();
    let folder = known.map_or("", |known| known.path().trim_end_matches('/'));
    let whole = match known.and_then(|known| known.query()) {
        Some(query) => format!("{folder}/{path}?{query}"),
        None => format!("{folder}/{path}"),
    };
    parts.path_and_query = Some(whole.parse().ok()?);
    Uri::from_parts(parts).ok()
}

const PROTOCOLS: &str = "`grpc` or `http/protobuf` is wanted";

fn protocol_named(name: &str) -> Option<Protocol> {
    [Protocol::Grpc, Protocol::HttpProtobuf]
        .into_iter()
        .find(|protocol| protocol.name().eq_ignore_ascii_case(name))
}

fn compression_named(name: &str) -> Option<Compression> {
    match name.to_ascii_lowercase().as_str() {
        "gzip" => Some(Compression::Gzip),
        "zstd" => Some(Compression::Zstd),
        "none" => Some(Compression::None),
        _ => None,
    }
}

fn millis(value: &str) -> Option<Duration> {
    let millis = value.parse().ok().filter(|millis| *millis > 0);
    millis.map(Duration::from_millis)
}

fn boolean(value: &str) -> Option<bool> {
    value.to_ascii_lowercase().parse().ok()
}

fn client_files(lookup: &Lookup<'_>) -> Result<Option<(PathBuf, PathBuf)>, InitError> {
    let certificate = lookup.text("CLIENT_CERTIFICATE");
    match (certificate, lookup.text("CLIENT_KEY")) {
        (None, None) => Ok(None),
        (Some((_, certificate)), Some((_, key))) => Ok(Some((certificate.into(), key.into()))),
        (Some((name, value)), None) => Err(wrong(
            &name,
            &value,
            "OTEL_EXPORTER_OTLP_CLIENT_KEY must be set, too",
        )),
        (None, Some((name, value))) => Err(wrong(
            &name,
            &value,
            "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE must be set, too",
        )),
    }
}

/// A port that by convention speaks the other protocol.
fn doubts(protocol: Protocol, endpoint: &Uri) -> Vec<String> {
    let other = protocol.other();
    if endpoint.port_u16() != Some(other.port()) {
        return Vec::new();
    }
    vec![format!(
        "OTLP goes to {} as {}, but port {} speaks {} by convention: set \
         OTEL_EXPORTER_OTLP_PROTOCOL={} or use port {}",
        target(endpoint),
        protocol.name(),
        other.port(),
        other.name(),
        other.name(),
        protocol.port(),
    )]
}

#[cfg(test)]
mod tests;
