//! Where and how OTLP is sent, as said in code.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// How OTLP travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Protocol {
    /// gRPC, by convention on port 4317. Needs the feature `otlp-grpc`.
    Grpc,
    /// Protobuf over HTTP, by convention on port 4318. Needs the feature `otlp-http`.
    HttpProtobuf,
}

impl Protocol {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Grpc => "grpc",
            Self::HttpProtobuf => "http/protobuf",
        }
    }

    pub(super) const fn port(self) -> u16 {
        match self {
            Self::Grpc => 4317,
            Self::HttpProtobuf => 4318,
        }
    }

    pub(super) const fn other(self) -> Self {
        match self {
            Self::Grpc => Self::HttpProtobuf,
            Self::HttpProtobuf => Self::Grpc,
        }
    }

    /// What is compiled in; `http/protobuf` where both are, as the specification has it.
    pub(super) const fn by_default() -> Self {
        if cfg!(feature = "otlp-http") {
            Self::HttpProtobuf
        } else {
            Self::Grpc
        }
    }
}

/// How what is sent is compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Compression {
    /// Not at all.
    #[default]
    None,
    /// gzip.
    Gzip,
    /// Zstandard.
    Zstd,
}

/// Where and how OTLP is sent. What is not said here is as the `OTEL_EXPORTER_OTLP_*` variables
/// say, or as the specification has it.
///
/// ```
/// use std::time::Duration;
/// use otel_ml_sdk::{Compression, Otlp, Protocol};
///
/// let otlp = Otlp::new()
///     .protocol(Protocol::Grpc)
///     .endpoint("http://collector:4317")
///     .header("x-tenant", "research")
///     .compression(Compression::Gzip)
///     .timeout(Duration::from_secs(5));
/// # let _ = otlp;
/// ```
#[derive(Clone, Default)]
#[must_use]
pub struct Otlp {
    pub(super) protocol: Option<Protocol>,
    pub(super) endpoint: Option<String>,
    pub(super) headers: Vec<(String, String)>,
    pub(super) timeout: Option<Duration>,
    pub(super) compression: Option<Compression>,
    pub(super) certificate: Option<PathBuf>,
    pub(super) client: Option<(PathBuf, PathBuf)>,
}

impl fmt::Debug for Otlp {
    /// Headers by name alone: their values may be credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let headers: Vec<_> = self.headers.iter().map(|(name, _)| name).collect();
        f.debug_struct("Otlp")
            .field("protocol", &self.protocol)
            .field("headers", &headers)
            .finish_non_exhaustive()
    }
}

impl Otlp {
    /// Nothing said.
    pub fn new() -> Self {
        Self::default()
    }

    /// gRPC or HTTP.
    pub fn protocol(self, protocol: Protocol) -> Self {
        Self {
            protocol: Some(protocol),
            ..self
        }
    }

    /// The Collector's address with its scheme: `http://collector:4318`. Over HTTP `/v1/traces`
    /// and the like are added.
    pub fn endpoint(self, endpoint: impl Into<String>) -> Self {
        Self {
            endpoint: Some(endpoint.into()),
            ..self
        }
    }

    /// Sends a header (gRPC: metadata) with every export. Of two with one name the last counts.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// How long one export may take, retries included; an attempt begun just before its end may
    /// take as long again. 10 seconds by default.
    pub fn timeout(self, timeout: Duration) -> Self {
        Self {
            timeout: Some(timeout),
            ..self
        }
    }

    /// How what is sent is compressed. Not at all by default. Over gRPC, [`Compression::None`]
    /// can't take back what the process's own variable says: that is an error.
    pub fn compression(self, compression: Compression) -> Self {
        Self {
            compression: Some(compression),
            ..self
        }
    }

    /// A file of certificates (PEM) to trust, in place of the system's.
    pub fn certificate(self, file: impl Into<PathBuf>) -> Self {
        Self {
            certificate: Some(file.into()),
            ..self
        }
    }

    /// The client's own certificate and key (PEM files), for mutual TLS.
    pub fn client_certificate(
        self,
        certificate: impl Into<PathBuf>,
        key: impl Into<PathBuf>,
    ) -> Self {
        Self {
            client: Some((certificate.into(), key.into())),
            ..self
        }
    }
}
