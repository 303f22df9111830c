//! What the providers are told, from code and variables.

use std::time::Duration;

use opentelemetry_sdk::metrics::{Aggregation, Instrument, InstrumentKind, Stream, Temporality};
use opentelemetry_sdk::trace::{Sampler, SpanLimits};

use crate::builder::{Batch, Destination};
use crate::error::InitError;
use crate::otlp::Signal;
use crate::variables::{Variables, wrong};

/// Code over the variable over what is so by default.
pub(crate) fn destinations(
    said: Option<&[Destination]>,
    signal: Signal,
    variables: &Variables,
    by_default: Vec<Destination>,
) -> Result<Vec<Destination>, InitError> {
    if let Some(said) = said {
        return Ok(said.to_vec());
    }
    let name = format!("OTEL_{}_EXPORTER", signal.name());
    let Some(list) = variables.text(&name) else {
        return Ok(by_default);
    };
    let mut destinations = Vec::new();
    for exporter in list.split(',').map(str::trim) {
        match exporter.to_ascii_lowercase().as_str() {
            "none" | "" => {}
            "otlp" => destinations.push(Destination::Otlp),
            "console" => destinations.push(Destination::Console),
            _ => {
                return Err(wrong(
                    &name,
                    exporter,
                    "`otlp`, `console` or `none` is wanted",
                ));
            }
        }
    }
    Ok(destinations)
}

/// OTLP; without it nowhere, for log records that nobody asked for: who writes to files need not
/// say a word of them.
pub(crate) fn logs_by_default(has_otlp: bool, is_logging: bool) -> Vec<Destination> {
    if has_otlp || is_logging {
        vec![Destination::Otlp]
    } else {
        Vec::new()
    }
}

/// Series there may be, if the application says so.
pub(crate) fn cardinality_limit(said: Option<usize>) -> Result<Option<usize>, InitError> {
    match said {
        Some(0) => Err(wrong(
            "Builder::cardinality_limit",
            "0",
            "at least 1 is wanted",
        )),
        said => Ok(said),
    }
}

/// The bounds that the conventions advise, whoever made the instrument; the limit for all.
pub(crate) fn view(instrument: &Instrument, limit: Option<usize>) -> Option<Stream> {
    let advised = otel_ml::semconv::metrics()
        .find(|metric| metric.name == instrument.name())
        .filter(|metric| {
            instrument.kind() == InstrumentKind::Histogram && !metric.boundaries.is_empty()
        });
    if advised.is_none() && limit.is_none() {
        return None;
    }
    let mut stream = Stream::builder();
    if let Some(metric) = advised {
        stream = stream.with_aggregation(Aggregation::ExplicitBucketHistogram {
            boundaries: metric.boundaries.to_vec(),
            record_min_max: true,
        });
    }
    if let Some(limit) = limit {
        stream = stream.with_cardinality_limit(limit);
    }
    stream.build().ok()
}

pub(crate) fn temporality(variables: &Variables) -> Result<Temporality, InitError> {
    let name = "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE";
    let Some(value) = variables.text(name) else {
        return Ok(Temporality::Cumulative);
    };
    match value.to_ascii_lowercase().as_str() {
        "cumulative" => Ok(Temporality::Cumulative),
        "delta" => Ok(Temporality::Delta),
        "lowmemory" => Ok(Temporality::LowMemory),
        _ => Err(wrong(
            name,
            &value,
            "`cumulative`, `delta` or `lowmemory` is wanted",
        )),
    }
}

pub(crate) fn sampler(variables: &Variables) -> Result<Sampler, InitError> {
    let name = "OTEL_TRACES_SAMPLER";
    let Some(value) = variables.text(name) else {
        return Ok(Sampler::ParentBased(Box::new(Sampler::AlwaysOn)));
    };
    let ratio = || {
        let argument = "OTEL_TRACES_SAMPLER_ARG";
        let text = variables.text(argument).unwrap_or_else(|| "1".to_owned());
        let ratio: Option<f64> = text.parse().ok();
        let ratio = ratio.filter(|ratio| (0.0..=1.0).contains(ratio));
        ratio.ok_or_else(|| wrong(argument, &text, "a number from 0 to 1 is wanted"))
    };
    let lower = value.to_ascii_lowercase();
    let (root, is_parent_based) = match lower.strip_prefix("parentbased_") {
        Some(root) => (root, true),
        None => (lower.as_str(), false),
    };
    let root = match root {
        "always_on" => Sampler::AlwaysOn,
        "always_off" => Sampler::AlwaysOff,
        "traceidratio" => Sampler::TraceIdRatioBased(ratio()?),
        _ => {
            return Err(wrong(
                name,
                &value,
                "`always_on`, `always_off`, `traceidratio`, or one of these after `parentbased_` \
                 is wanted",
            ));
        }
    };
    Ok(if is_parent_based {
        Sampler::ParentBased(Box::new(root))
    } else {
        root
    })
}

pub(crate) fn limits(variables: &Variables) -> Result<SpanLimits, InitError> {
    let mut limits = SpanLimits::default();
    for (name, limit) in [
        (
            "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT",
            &mut limits.max_attributes_per_span,
        ),
        (
            "OTEL_SPAN_EVENT_COUNT_LIMIT",
            &mut limits.max_events_per_span,
        ),
        ("OTEL_SPAN_LINK_COUNT_LIMIT", &mut limits.max_links_per_span),
        (
            "OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT",
            &mut limits.max_attributes_per_event,
        ),
        (
            "OTEL_LINK_ATTRIBUTE_COUNT_LIMIT",
            &mut limits.max_attributes_per_link,
        ),
    ] {
        if let Some(said) = variables.number(name)? {
            *limit = said;
        }
    }
    Ok(limits)
}

/// How something waits for its export.
#[derive(Clone, Copy)]
pub(crate) struct Queue {
    pub(crate) queue_size: usize,
    pub(crate) batch_size: usize,
    pub(crate) delay: Duration,
}

impl Queue {
    pub(crate) fn read(
        said: &Batch,
        prefix: &str,
        delay: Duration,
        variables: &Variables,
    ) -> Result<Self, InitError> {
        let number = |said: Option<usize>, setting: &str, default| -> Result<usize, InitError> {
            let name = format!("{prefix}_{setting}");
            let number = match said {
                Some(said) => said,
                None => variables.number(&name)?.unwrap_or(default),
            };
            if number == 0 {
                return Err(wrong(&name, "0", "at least 1 is wanted"));
            }
            Ok(number)
        };
        let queue_size = number(said.queue_size, "MAX_QUEUE_SIZE", 2048)?;
        let batch_size = number(said.batch_size, "MAX_EXPORT_BATCH_SIZE", 512)?;
        let delay = match said.delay {
            Some(said) => said,
            None => variables
                .millis(&format!("{prefix}_SCHEDULE_DELAY"))?
                .unwrap_or(delay),
        };
        if delay.is_zero() {
            let name = format!("{prefix}_SCHEDULE_DELAY");
            return Err(wrong(&name, "0", "at least 1 millisecond is wanted"));
        }
        Ok(Self {
            queue_size,
            batch_size: batch_size.min(queue_size),
            delay,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{Destination, Signal, Variables, destinations, logs_by_default};

    #[test]
    fn log_records_go_by_otlp_if_there_is_any_or_they_are_asked_for() {
        for (has_otlp, is_logging, expected) in [
            (true, true, 1),
            (true, false, 1),
            (false, true, 1),
            (false, false, 0),
        ] {
            let by_default = || logs_by_default(has_otlp, is_logging);
            let to = |said: Option<&[Destination]>, variable: Option<&'static str>| {
                let variables = Variables::from(move |_| variable.map(str::to_owned));
                let to = destinations(said, Signal::Logs, &variables, by_default());
                to.unwrap().len()
            };
            assert_eq!(to(None, None), expected);
            assert_eq!(to(None, Some("none")), 0);
            assert_eq!(to(None, Some("otlp,console")), 2);
            assert_eq!(to(Some(&[]), Some("otlp")), 0);
        }
    }
}
