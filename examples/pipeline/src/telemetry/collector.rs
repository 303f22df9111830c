//! The Collector that `--otlp` names, and what it did not get.

use std::fmt;

use http::Uri;
use otel_ml_sdk::{Builder, Exported, Otlp, Protocol, Report};

/// The ports that by convention speak gRPC; the second is that of a Collector beside another.
const GRPC_PORTS: [u16; 2] = [4317, 14317];

/// A Collector, and how it is spoken to.
#[derive(Clone, Debug)]
pub struct Collector {
    url: String,
    protocol: Protocol,
}

impl Collector {
    /// The one at `url`, which is looked at when telemetry is set up. Without `protocol` its
    /// port says whether it speaks gRPC or HTTP.
    pub fn new(url: impl Into<String>, protocol: Option<Protocol>) -> Self {
        let url = url.into();
        let port = url.parse().ok().and_then(|url: Uri| url.port_u16());
        let is_grpc = port.is_some_and(|port| GRPC_PORTS.contains(&port));
        let by_port = if is_grpc {
            Protocol::Grpc
        } else {
            Protocol::HttpProtobuf
        };
        Self {
            url,
            protocol: protocol.unwrap_or(by_port),
        }
    }

    /// Lets it have all that `builder` sets up. Of the environment only what says how to send
    /// counts: a sampler, say, would leave nothing to show.
    pub(super) fn receive(&self, builder: Builder) -> Builder {
        let otlp = Otlp::new().endpoint(&self.url).protocol(self.protocol);
        builder.otlp(otlp).variables(|name| {
            let says_how = name.starts_with("OTEL_EXPORTER_OTLP_");
            says_how.then(|| std::env::var(name).ok())?
        })
    }
}

/// What a Collector did not get. Shown as one line that says how much, and why most likely.
#[derive(Clone, Debug)]
pub struct Losses {
    collector: Option<Collector>,
    all: Report,
}

impl Losses {
    pub(super) fn of(collector: Option<Collector>, reports: &[Report]) -> Self {
        let mut all = Report::default();
        all.in_time = reports.iter().all(|report| report.in_time);
        for report in reports {
            add(&mut all.spans, report.spans);
            add(&mut all.metric_points, report.metric_points);
            add(&mut all.log_records, report.log_records);
        }
        Self { collector, all }
    }

    /// Whether nothing was lost.
    pub fn is_empty(&self) -> bool {
        self.all.in_time && self.lost().iter().all(|(count, _)| *count == 0)
    }

    fn lost(&self) -> [(u64, &'static str); 3] {
        let lost = |signal: Exported| signal.failed + signal.dropped;
        [
            (lost(self.all.spans), "spans"),
            (lost(self.all.metric_points), "metric points"),
            (lost(self.all.log_records), "log records"),
        ]
    }

    fn likely_reason(&self) -> &'static str {
        let signals = [self.all.spans, self.all.metric_points, self.all.log_records];
        let any = |count: fn(Exported) -> u64| signals.into_iter().any(|signal| count(signal) > 0);
        let protocol = self.collector.as_ref().map(|collector| collector.protocol);
        if !self.all.in_time {
            "it does not answer"
        } else if any(|signal| signal.exported) && any(|signal| signal.failed) {
            "it was not there all the time, or refused some of it"
        } else if any(|signal| signal.exported) {
            "more came at once than it took"
        } else if protocol == Some(Protocol::Grpc) {
            "no Collector listens there that speaks gRPC (try --otlp-protocol http)"
        } else {
            "no Collector listens there that speaks HTTP (try --otlp-protocol grpc)"
        }
    }
}

impl fmt::Display for Losses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lost = self.lost().into_iter().filter(|(count, _)| *count > 0);
        let lost: Vec<_> = lost
            .map(|(count, what)| format!("{count} {what}"))
            .collect();
        let lost = if lost.is_empty() {
            "an unknown part".to_owned()
        } else {
            lost.join(", ")
        };
        let url = self.collector.as_ref().map_or("", |to| to.url.as_str());
        let reason = self.likely_reason();
        write!(
            f,
            "--otlp: {lost} did not reach {url}, most likely because {reason}"
        )
    }
}

fn add(sum: &mut Exported, one: Exported) {
    sum.exported += one.exported;
    sum.failed += one.failed;
    sum.dropped += one.dropped;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_says_the_protocol_unless_it_is_said() {
        let protocol = |url, said| Collector::new(url, said).protocol;
        for (url, by_port) in [
            ("http://localhost:4317", Protocol::Grpc),
            ("https://collector:14317/", Protocol::Grpc),
            ("localhost:4317", Protocol::Grpc),
            ("http://localhost:4318", Protocol::HttpProtobuf),
            ("http://collector/4317", Protocol::HttpProtobuf),
            ("no url", Protocol::HttpProtobuf),
        ] {
            assert_eq!(protocol(url, None), by_port, "{url}");
            for said in [Protocol::Grpc, Protocol::HttpProtobuf] {
                assert_eq!(protocol(url, Some(said)), said, "{url}");
            }
        }
    }

    fn losses(in_time: bool, spans: (u64, u64, u64)) -> Losses {
        let mut report = Report::default();
        report.in_time = in_time;
        (
            report.spans.exported,
            report.spans.failed,
            report.spans.dropped,
        ) = spans;
        let mut other = Report::default();
        other.in_time = true;
        Losses::of(
            Some(Collector::new("http://c:4318", None)),
            &[report, other],
        )
    }

    #[test]
    fn what_was_lost_is_told_with_the_likely_reason() {
        assert!(losses(true, (9, 0, 0)).is_empty());
        for (losses, told) in [
            (losses(true, (0, 7, 2)), ["9 spans", "no Collector listens"]),
            (
                losses(true, (5, 2, 0)),
                ["2 spans", "not there all the time"],
            ),
            (losses(true, (5, 0, 3)), ["3 spans", "more came at once"]),
            (losses(false, (5, 0, 3)), ["3 spans", "does not answer"]),
            (
                losses(false, (5, 0, 0)),
                ["an unknown part", "does not answer"],
            ),
        ] {
            let line = losses.to_string();
            assert!(!losses.is_empty(), "{line}");
            for part in told.into_iter().chain(["--otlp: ", "http://c:4318"]) {
                assert!(line.contains(part), "no {part} in {line}");
            }
            assert!(!line.contains('\n'));
        }
    }
}
