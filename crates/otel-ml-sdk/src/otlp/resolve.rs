//! Where and how one signal's OTLP is sent: code over variables over defaults.

use std::path::PathBuf;
use std::time::Duration;

use http::{HeaderName, HeaderValue, Uri};
use percent_encoding::percent_decode_str;

use super::settings::{Compression, Otlp, Protocol};
use crate::error::{ErrorKind, InitError};
use crate::tally::Cause;
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
    pub(crate) cause: Cause,
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
        let scheme = self.endpoint.scheme_str().unwrap_or("http");
        let authority = self.endpoint.authority().map_or("", |it| it.as_str());
        format!("{scheme}://{authority}{}", self.endpoint.path())
    }
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
            doubts: doubts(protocol, &endpoint),
            protocol,
            headers: self.headers_of(&lookup)?,
            endpoint,
            timeout,
            compression,
            certificate,
            client,
            cause: Cause::default(),
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
        if protocol == Protocol::HttpProtobuf && !is_whole {
            url = format!("{}/{}", url.trim_end_matches('/'), lookup.signal.path());
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
        uri.filter(|uri| matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some())
            .ok_or_else(|| {
                wrong(
                    &name,
                    &value,
                    "a URL such as `http://collector:4318` is wanted",
                )
            })
    }

    fn headers_of(&self, lookup: &Lookup<'_>) -> Result<Vec<(HeaderName, HeaderValue)>, InitError> {
        let mut headers: Vec<(HeaderName, HeaderValue)> = Vec::new();
        let mut set = |name: &str, value: &str| {
            let mut parsed = HeaderValue::try_from(value).ok()?;
            parsed.set_sensitive(true);
            let name = HeaderName::try_from(name).ok()?;
            headers.retain(|(known, _)| *known != name);
            headers.push((name, parsed));
            Some(())
        };
        if let Some((setting, list)) = lookup.text("HEADERS") {
            for (at, pair) in list.split(',').enumerate() {
                if pair.trim().is_empty() {
                    continue;
                }
                let pair = pair.split_once('=').and_then(|(name, value)| {
                    let value = percent_decode_str(value.trim()).decode_utf8_lossy();
                    set(name.trim(), &value)
                });
                if pair.is_none() {
                    return Err(no_header(&setting, at));
                }
            }
        }
        for (at, (name, value)) in self.headers.iter().enumerate() {
            set(name, value).ok_or_else(|| no_header("Otlp::header", at))?;
        }
        Ok(headers)
    }
}

/// Nothing of what was said is repeated: it may be a credential.
fn no_header(setting: &str, at: usize) -> InitError {
    InitError::new(
        ErrorKind::Setting,
        format!(
            "{setting}: number {} won't do: `name=value` pairs of headers are wanted, separated by \
             commas and percent-encoded",
            at + 1
        ),
    )
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
        "OTLP goes to {endpoint} as {}, but port {} speaks {} by convention: set \
         OTEL_EXPORTER_OTLP_PROTOCOL={} or use port {}",
        protocol.name(),
        other.port(),
        other.name(),
        other.name(),
        protocol.port(),
    )]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    fn resolve(otlp: &Otlp, set: &'static [(&str, &str)]) -> Result<Resolved, InitError> {
        let variables = Variables::from(|name: &str| {
            let found = set.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        });
        otlp.resolve(Signal::Traces, &variables)
    }

    fn message(set: &'static [(&str, &str)]) -> String {
        let error = resolve(&Otlp::new(), set).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Setting);
        error.to_string()
    }

    #[test]
    fn code_is_over_the_signals_variable_over_the_common_one() {
        let set = &[
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "100"),
            ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "200"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://a:1"),
        ];
        let by_variables = resolve(&Otlp::new(), set).unwrap();
        assert_eq!(by_variables.protocol, Protocol::Grpc);
        assert_eq!(by_variables.timeout, Duration::from_millis(200));
        assert_eq!(by_variables.compression, Compression::Gzip);
        assert_eq!(by_variables.endpoint, "http://a:1");
        let code = Otlp::new()
            .protocol(Protocol::HttpProtobuf)
            .endpoint("https://b/otlp/")
            .timeout(Duration::from_secs(1))
            .compression(Compression::None);
        let by_code = resolve(&code, set).unwrap();
        assert_eq!(by_code.protocol, Protocol::HttpProtobuf);
        assert_eq!(by_code.endpoint, "https://b/otlp/v1/traces");
        assert_eq!(by_code.timeout, Duration::from_secs(1));
        assert_eq!(by_code.compression, Compression::None);
    }

    #[test]
    fn the_signals_own_http_endpoint_is_taken_as_it_is() {
        let set = &[
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://a:1/in"),
        ];
        assert_eq!(
            resolve(&Otlp::new(), set).unwrap().endpoint,
            "http://a:1/in"
        );
    }

    #[test]
    fn grpc_without_a_scheme_is_secure_unless_told() {
        let secure = &[
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "a:4317"),
        ];
        assert_eq!(
            resolve(&Otlp::new(), secure).unwrap().endpoint,
            "https://a:4317"
        );
        let plain = &[
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "a:4317"),
            ("OTEL_EXPORTER_OTLP_INSECURE", "true"),
        ];
        assert_eq!(
            resolve(&Otlp::new(), plain).unwrap().endpoint,
            "http://a:4317"
        );
    }

    #[test]
    fn headers_are_decoded_and_the_last_of_a_name_counts() {
        let set = &[(
            "OTEL_EXPORTER_OTLP_HEADERS",
            "authorization=Bearer%20x, x-a=1,,X-A=2",
        )];
        let headers = resolve(&Otlp::new().header("x-b", "3"), set)
            .unwrap()
            .headers;
        let headers: Vec<_> = headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.to_str().unwrap()))
            .collect();
        assert_eq!(
            headers,
            [("authorization", "Bearer x"), ("x-a", "2"), ("x-b", "3")]
        );
    }

    #[test]
    fn what_is_wrong_is_named_with_what_is_wanted() {
        for (set, name, wanted) in [
            (
                &[("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json")],
                "OTEL_EXPORTER_OTLP_PROTOCOL",
                "`grpc`",
            ),
            (
                &[("OTEL_EXPORTER_OTLP_ENDPOINT", "collector")],
                "OTEL_EXPORTER_OTLP_ENDPOINT",
                "URL",
            ),
            (
                &[("OTEL_EXPORTER_OTLP_TIMEOUT", "10s")],
                "OTEL_EXPORTER_OTLP_TIMEOUT",
                "milliseconds",
            ),
            (
                &[("OTEL_EXPORTER_OTLP_COMPRESSION", "br")],
                "OTEL_EXPORTER_OTLP_COMPRESSION",
                "`gzip`",
            ),
            (
                &[("OTEL_EXPORTER_OTLP_HEADERS", "a b=c")],
                "OTEL_EXPORTER_OTLP_HEADERS",
                "name=value",
            ),
            (
                &[("OTEL_EXPORTER_OTLP_TIMEOUT", "0")],
                "OTEL_EXPORTER_OTLP_TIMEOUT",
                "milliseconds",
            ),
            (
                &[("OTEL_EXPORTER_OTLP_HEADERS", "alone")],
                "OTEL_EXPORTER_OTLP_HEADERS",
                "name=value",
            ),
            (
                &[("OTEL_EXPORTER_OTLP_CLIENT_KEY", "k")],
                "OTEL_EXPORTER_OTLP_CLIENT_KEY",
                "CLIENT_CERTIFICATE",
            ),
        ] {
            let message = message(set);
            assert!(
                message.contains(name) && message.contains(wanted),
                "{message}"
            );
        }
    }

    #[test]
    fn no_credential_is_in_a_message() {
        for set in [
            &[("OTEL_EXPORTER_OTLP_HEADERS", "bad name=secret")],
            &[("OTEL_EXPORTER_OTLP_HEADERS", "authorization: Bearer secret")],
            &[(
                "OTEL_EXPORTER_OTLP_HEADERS",
                "authorization: Basic secret==",
            )],
            &[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://me:secret@host:4318")],
        ] {
            let message = message(set);
            assert!(!message.contains("secret"), "{message}");
        }
        let otlp = Otlp::new().header("authorization", "secret");
        assert!(!format!("{otlp:?}").contains("secret"));
        let resolved = resolve(&otlp, &[]).unwrap();
        assert!(!format!("{resolved:?}").contains("secret"));
    }

    #[test]
    fn a_port_of_the_other_protocol_is_doubted() {
        let grpc = Otlp::new().protocol(Protocol::Grpc);
        let doubted = resolve(&grpc.clone().endpoint("http://a:4318"), &[]).unwrap();
        assert!(doubted.doubts[0].contains("OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf"));
        assert!(
            resolve(&grpc.endpoint("http://a:4317"), &[])
                .unwrap()
                .doubts
                .is_empty()
        );
    }
}
