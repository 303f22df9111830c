//! CPU time of clients with a broker: by bare clients and by ours, in alternating rounds.

use std::error::Error;
use std::fmt::Write as _;
use std::time::Duration;

use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::metrics::{ManualReader, SdkMeterProvider};
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider, SpanData, SpanExporter};
use otel_ml_tower::otel_ml::Telemetry;

/// How often each is measured.
pub const ROUNDS: usize = 21;

/// Throws spans away.
#[derive(Debug)]
struct Discard;

impl SpanExporter for Discard {
    async fn export(&self, _batch: Vec<SpanData>) -> OTelSdkResult {
        Ok(())
    }
}

/// What is measured, with its providers, for the life of the program, so that no thread ends,
/// and takes its count along, while something is measured.
#[derive(Debug)]
pub struct Subject {
    /// What it is called.
    pub name: &'static str,
    /// Whether the inner clients are to do the work.
    pub is_bare: bool,
    /// What the wrapped ones record through.
    pub telemetry: Telemetry,
    _kept: (SdkTracerProvider, SdkMeterProvider),
}

impl Subject {
    fn new(name: &'static str, sampler: Sampler, has_metrics: bool) -> Self {
        let tracers = SdkTracerProvider::builder()
            .with_sampler(sampler)
            .with_batch_exporter(Discard)
            .build();
        let reader = ManualReader::builder().build();
        let meters = SdkMeterProvider::builder().with_reader(reader).build();
        let builder = Telemetry::builder().tracer_provider(&tracers);
        let telemetry = match has_metrics {
            true => builder.meter_provider(&meters).build(),
            false => builder.without_metrics().build(),
        };
        Self {
            name,
            is_bare: false,
            telemetry,
            _kept: (tracers, meters),
        }
    }

    /// One whose inner clients are to do the work.
    #[must_use]
    pub fn bare(name: &'static str) -> Self {
        Self {
            is_bare: true,
            ..Self::new(name, Sampler::AlwaysOff, false)
        }
    }

    /// All of them, the bare one first.
    #[must_use]
    pub fn all() -> [Self; 5] {
        [
            Self::bare("bare"),
            Self::new("unsampled, spans only", Sampler::AlwaysOff, false),
            Self::new("unsampled", Sampler::AlwaysOff, true),
            Self::new("sampled, spans only", Sampler::AlwaysOn, false),
            Self::new("sampled", Sampler::AlwaysOn, true),
        ]
    }
}

/// Measures each of `variants`, the first of which is the bare one and whose names are `names`,
/// by `round`, which returns the cost of each thing in `what`; returns a report.
///
/// # Errors
/// When a round comes to one.
pub fn compare<V, const N: usize>(
    what: [&str; N],
    names: &[&str],
    variants: &[V],
    mut round: impl FnMut(&V) -> Result<[f64; N], Box<dyn Error>>,
) -> Result<String, Box<dyn Error>> {
    let mut results: Vec<_> = variants
        .iter()
        .zip(names)
        .map(|(variant, name)| (variant, name, [const { Vec::new() }; N]))
        .collect();
    // The first round warms everything up. Each begins with another variant: what one leaves
    // behind is not always the same one's.
    for number in 0..=ROUNDS {
        for (variant, _, result) in &mut results {
            let costs = round(variant)?;
            if number > 0 {
                for (list, cost) in result.iter_mut().zip(costs) {
                    list.push(cost);
                }
            }
        }
        results.rotate_left(1);
    }
    // As they are named, from the bare one on.
    let rotated = (ROUNDS + 1) % results.len();
    results.rotate_right(rotated);
    let mut report = String::new();
    let bare = results.first().map(|(_, _, bare)| bare.clone());
    let bare = bare.unwrap_or([const { Vec::new() }; N]);
    for (_, name, result) in results {
        for ((what, list), bare) in what.iter().zip(result).zip(&bare) {
            let ratios = list.iter().zip(bare).map(|(ours, bare)| ours / bare - 1.0);
            let [ratio, low, high] = median(ratios.collect());
            let [nanoseconds, ..] = median(list);
            writeln!(
                report,
                "{what:8} {name:22} {nanoseconds:7.0} ns  {:+6.1} % [{:+.1}, {:+.1}]",
                ratio * 100.0,
                low * 100.0,
                high * 100.0,
            )?;
        }
    }
    Ok(report)
}

/// Nanoseconds of CPU that all threads of this process have had.
///
/// # Errors
/// Where the system doesn't tell.
pub fn cpu() -> Result<u64, Box<dyn Error>> {
    let mut total = 0;
    for task in std::fs::read_dir("/proc/self/task")? {
        // One that has ended meanwhile.
        let Ok(statistics) = std::fs::read_to_string(task?.path().join("schedstat")) else {
            continue;
        };
        let on_cpu = statistics.split(' ').next().unwrap_or_default();
        total += on_cpu.parse::<u64>()?;
    }
    Ok(total)
}

/// Nanoseconds of each of `count`, which had `total` together.
#[must_use]
pub fn each(total: u64, count: usize) -> f64 {
    Duration::from_nanos(total).as_secs_f64() * 1e9 / count as f64
}

/// The median, and an interval that holds it with 95 % or more: order statistics.
fn median(mut values: Vec<f64>) -> [f64; 3] {
    values.sort_by(f64::total_cmp);
    let count = values.len();
    // For 21 values, the 6th and the 16th.
    let reach = count.isqrt() + 1;
    let at = |index: usize| values.get(index).copied().unwrap_or(f64::NAN);
    let middle = count / 2;
    [
        at(middle),
        at(middle.saturating_sub(reach)),
        at(middle + reach),
    ]
}
