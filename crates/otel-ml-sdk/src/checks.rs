//! What is looked at before telemetry goes on its way.

use std::net::{TcpStream, ToSocketAddrs as _};
use std::time::Duration;

use opentelemetry::propagation::{TextMapCompositePropagator, TextMapPropagator};
use otel_ml::TelemetryBuilder;
use otel_ml::propagation::W3cPropagator;

use crate::error::InitError;
use crate::otlp::Resolved;
#[cfg(feature = "otlp-http")]
use crate::otlp::{Protocol, proxy_for};
use crate::say::say_once;
use crate::variables::{Variables, wrong};

/// How long it is tried to reach a Collector before it is said to be out of reach.
const REACHED_WITHIN: Duration = Duration::from_secs(2);

pub(crate) type Propagator = Box<dyn TextMapPropagator + Send + Sync>;

/// What `OTEL_PROPAGATORS` asks for.
pub(crate) struct Propagators {
    all: Vec<Propagator>,
    /// Ours, if it is all there is.
    ours: Option<W3cPropagator>,
}

impl Propagators {
    /// Reads the variable: ours, for trace context and baggage, if it says nothing.
    pub(crate) fn read(
        variables: &Variables,
        mut named: Vec<(String, Propagator)>,
    ) -> Result<Self, InitError> {
        let variable = "OTEL_PROPAGATORS";
        let list = variables
            .text(variable)
            .unwrap_or_else(|| "tracecontext,baggage".to_owned());
        let mut wanted: Vec<&str> = Vec::new();
        for name in list.split(',').map(str::trim) {
            if !matches!(name, "" | "none") && !wanted.contains(&name) {
                wanted.push(name);
            }
        }
        let is_w3c = |name: &str| matches!(name, "tracecontext" | "baggage");
        let mut ours = match (
            wanted.contains(&"tracecontext"),
            wanted.contains(&"baggage"),
        ) {
            (true, true) => Some(W3cPropagator::new()),
            (true, false) => Some(W3cPropagator::trace_context_only()),
            (false, true) => Some(W3cPropagator::baggage_only()),
            (false, false) => None,
        };
        let is_ours = wanted.iter().all(|name| is_w3c(name));
        let only = ours.filter(|_| is_ours);
        let mut all: Vec<Propagator> = Vec::new();
        for name in wanted {
            if is_w3c(name) {
                // One does what both names ask for.
                all.extend(ours.take().map(|ours| Box::new(ours) as Propagator));
                continue;
            }
            let Some(at) = named.iter().position(|(known, _)| known == name) else {
                let known = "`tracecontext`, `baggage`, `none` or a name given to \
                             `Builder::propagator` is wanted";
                return Err(wrong(variable, name, known));
            };
            all.push(named.swap_remove(at).1);
        }
        Ok(Self { all, ours: only })
    }

    /// Whether nothing is to be passed on.
    pub(crate) fn is_none(&self) -> bool {
        self.all.is_empty()
    }

    /// For the API. Of nothing it is one that passes nothing on: without any, otel-ml would use
    /// its own.
    pub(crate) fn composite(self) -> TextMapCompositePropagator {
        TextMapCompositePropagator::new(self.all)
    }

    pub(crate) fn add_to(self, telemetry: TelemetryBuilder) -> TelemetryBuilder {
        match self.ours {
            Some(ours) => telemetry.propagator(ours),
            None => telemetry.propagator(self.composite()),
        }
    }
}

pub(crate) fn tell_doubts(endpoints: &[Resolved]) {
    for doubt in endpoints.iter().flat_map(|endpoint| &endpoint.doubts) {
        say_once(doubt);
    }
}

/// Says, when it is known, which Collectors can't be reached. Start-up doesn't wait for it.
pub(crate) fn reach(endpoints: &[Resolved]) {
    let mut first_stops: Vec<FirstStop> = Vec::new();
    for endpoint in endpoints {
        let stop = FirstStop::of(endpoint);
        if !first_stops.contains(&stop) {
            first_stops.push(stop);
        }
    }
    for stop in first_stops {
        // Without a thread to look on it shows with the first export.
        let _ = std::thread::Builder::new()
            .name("otel-ml-reach".to_owned())
            .spawn(move || {
                if !stop.is_reached() {
                    say_once(&stop.missing());
                }
            });
    }
}

/// Where a connection goes to first.
#[derive(PartialEq, Eq)]
struct FirstStop {
    host: String,
    port: u16,
    is_proxy: bool,
}

impl FirstStop {
    fn of(settings: &Resolved) -> Self {
        let proxy = proxy(settings);
        let is_proxy = proxy.is_some();
        let uri = proxy.as_ref().unwrap_or(&settings.endpoint);
        let by_scheme = match uri.scheme_str() {
            Some("https") => 443,
            Some("socks4" | "socks4a" | "socks5" | "socks5h") => 1080,
            _ => 80,
        };
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
        Self {
            host: host.to_owned(),
            port: uri.port_u16().unwrap_or(by_scheme),
            is_proxy,
        }
    }

    fn is_reached(&self) -> bool {
        let found = (self.host.as_str(), self.port).to_socket_addrs();
        let reached = |address| TcpStream::connect_timeout(&address, REACHED_WITHIN).is_ok();
        found.is_ok_and(|mut found| found.any(reached))
    }

    fn missing(&self) -> String {
        let Self { host, port, .. } = self;
        if self.is_proxy {
            return format!(
                "the proxy {host}:{port}, by which OTLP is sent, can't be reached: set HTTP_PROXY, \
                 HTTPS_PROXY or ALL_PROXY to one that can, or name the Collector's host in NO_PROXY; \
                 until then telemetry is lost"
            );
        }
        format!(
            "no Collector can be reached at {host}:{port}: start one there, or set \
             OTEL_EXPORTER_OTLP_ENDPOINT; until then telemetry is lost"
        )
    }
}

/// The one that the exporter's client uses: only HTTP's does.
fn proxy(settings: &Resolved) -> Option<http::Uri> {
    #[cfg(feature = "otlp-http")]
    if settings.protocol == Protocol::HttpProtobuf {
        return proxy_for(&settings.endpoint);
    }
    #[cfg(not(feature = "otlp-http"))]
    let _ = settings;
    None
}
