//! What is looked at before telemetry goes on its way.

use std::net::{TcpStream, ToSocketAddrs as _};
use std::time::Duration;

use opentelemetry::propagation::{TextMapCompositePropagator, TextMapPropagator};
use otel_ml::propagation::W3cPropagator;

use crate::error::InitError;
use crate::otlp::Resolved;
use crate::say::say_once;
use crate::variables::{Variables, wrong};

/// How long it is tried to reach a Collector before it is said to be out of reach.
const REACHED_WITHIN: Duration = Duration::from_secs(2);

pub(crate) type Propagator = Box<dyn TextMapPropagator + Send + Sync>;

/// The propagator that `OTEL_PROPAGATORS` asks for: ours, for trace context and baggage, if it
/// says nothing; `None` for `none`.
pub(crate) fn propagator(
    variables: &Variables,
    mut named: Vec<(String, Propagator)>,
) -> Result<Option<TextMapCompositePropagator>, InitError> {
    let name = "OTEL_PROPAGATORS";
    let list = variables
        .text(name)
        .unwrap_or_else(|| "tracecontext,baggage".to_owned());
    let mut chosen: Vec<Propagator> = Vec::new();
    let mut has_w3c = false;
    let mut seen: Vec<&str> = Vec::new();
    for wanted in list
        .split(',')
        .map(str::trim)
        .filter(|wanted| *wanted != "none")
    {
        if wanted.is_empty() || seen.contains(&wanted) {
            continue;
        }
        seen.push(wanted);
        match wanted {
            "tracecontext" | "baggage" if has_w3c => {}
            "tracecontext" | "baggage" => {
                has_w3c = true;
                chosen.push(Box::new(W3cPropagator::new()));
            }
            _ => match named.iter().position(|(known, _)| known == wanted) {
                Some(at) => chosen.push(named.swap_remove(at).1),
                None => {
                    let known = "`tracecontext`, `baggage`, `none` or a name given to \
                                 `Builder::propagator` is wanted";
                    return Err(wrong(name, wanted, known));
                }
            },
        }
    }
    Ok((!chosen.is_empty()).then(|| TextMapCompositePropagator::new(chosen)))
}

pub(crate) fn tell_doubts(endpoints: &[Resolved]) {
    for doubt in endpoints.iter().flat_map(|endpoint| &endpoint.doubts) {
        say_once(doubt);
    }
}

/// Says, when it is known, which Collectors can't be reached. Start-up doesn't wait for it.
pub(crate) fn reach(endpoints: &[Resolved]) {
    let mut addresses: Vec<(String, u16)> = Vec::new();
    for Resolved { endpoint, .. } in endpoints {
        let port = if endpoint.scheme_str() == Some("https") {
            443
        } else {
            80
        };
        let host = endpoint.host().unwrap_or_default().trim_matches(['[', ']']);
        let address = (host.to_owned(), endpoint.port_u16().unwrap_or(port));
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    for (host, port) in addresses {
        let look = move || {
            let found = (host.as_str(), port).to_socket_addrs();
            let reached = found.map(|mut found| {
                found.any(|address| TcpStream::connect_timeout(&address, REACHED_WITHIN).is_ok())
            });
            if !reached.unwrap_or(false) {
                say_once(&format!(
                    "no Collector can be reached at {host}:{port}: start one there, or set \
                     OTEL_EXPORTER_OTLP_ENDPOINT; until then telemetry is lost"
                ));
            }
        };
        // Without a thread to look on it shows with the first export.
        let _ = std::thread::Builder::new()
            .name("otel-ml-reach".to_owned())
            .spawn(look);
    }
}
