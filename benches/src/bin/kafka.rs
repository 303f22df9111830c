//! CPU time of a message that is sent and received, by bare clients and by ours, in
//! alternating rounds. Beside them bare clients with a header as long as a context, which is
//! written and read: what passing a context on costs, whoever does it. By the broker that
//! `KAFKA_BOOTSTRAP` names, whose own time is then not counted; else by one inside the process,
//! which dilutes what is measured.

use std::error::Error;
use std::fmt::Write as _;
use std::hint::black_box;
use std::io::{Write as _, stdout};
use std::time::Duration;

use futures_util::future::try_join_all;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::metrics::{ManualReader, SdkMeterProvider};
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider, SpanData, SpanExporter};
use otel_ml_rdkafka::otel_ml::Telemetry;
use otel_ml_rdkafka::rdkafka::consumer::Consumer as _;
use otel_ml_rdkafka::rdkafka::error::{KafkaError, KafkaResult};
use otel_ml_rdkafka::rdkafka::message::{Header, Headers as _, Message as _, OwnedHeaders};
use otel_ml_rdkafka::rdkafka::mocking::MockCluster;
use otel_ml_rdkafka::rdkafka::producer::FutureRecord;
use otel_ml_rdkafka::rdkafka::{ClientConfig, Offset, TopicPartitionList};
use otel_ml_rdkafka::{OtelMlConsumer, OtelMlProducer};

/// As long as a `traceparent` is.
const HEADER: Header<'_, &[u8; 55]> = Header {
    key: "traceparent",
    value: Some(b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"),
};
const ROUNDS: usize = 21;
const MESSAGES: usize = 20_000;
const WIDTH: usize = 1_000;
const SIZE: usize = 200;
const LONG: Duration = Duration::from_secs(60);

/// Throws spans away.
#[derive(Debug)]
struct Discard;

impl SpanExporter for Discard {
    async fn export(&self, _batch: Vec<SpanData>) -> OTelSdkResult {
        Ok(())
    }
}

/// What is around the bare clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Around {
    Nothing,
    Header,
    OtelMl,
}

/// One variant: its clients and providers, for the life of the program, so that no thread
/// ends, and takes its count along, while something is measured.
struct Variant {
    name: &'static str,
    around: Around,
    producer: OtelMlProducer,
    consumer: OtelMlConsumer,
    _kept: (SdkTracerProvider, SdkMeterProvider),
}

impl Variant {
    fn new(
        name: &'static str,
        around: Around,
        sampler: Sampler,
        has_metrics: bool,
        config: &ClientConfig,
    ) -> KafkaResult<Self> {
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
        let producer = OtelMlProducer::builder().telemetry(telemetry.clone());
        let consumer = OtelMlConsumer::builder().telemetry(telemetry);
        Ok(Self {
            name,
            around,
            producer: producer.create(config)?,
            consumer: consumer.create(config)?,
            _kept: (tracers, meters),
        })
    }

    /// CPU nanoseconds of a sent and of a received message.
    async fn round(&self, topic: &str) -> Result<[f64; 2], Box<dyn Error>> {
        let payload = vec![b'x'; SIZE];
        let record = || -> FutureRecord<'_, str, [u8]> {
            FutureRecord::to(topic).partition(0).payload(&payload)
        };
        let bare = self.producer.get_ref();
        let first = bare.send(record(), LONG).await;
        let first = first.map_err(|(error, _)| error)?;
        let before = cpu()?;
        for _ in 0..MESSAGES / WIDTH {
            let sent = match self.around {
                Around::Nothing => {
                    try_join_all((0..WIDTH).map(|_| bare.send(record(), LONG))).await
                }
                Around::Header => {
                    let with_header = || record().headers(OwnedHeaders::new().insert(HEADER));
                    try_join_all((0..WIDTH).map(|_| bare.send(with_header(), LONG))).await
                }
                Around::OtelMl => {
                    try_join_all((0..WIDTH).map(|_| self.producer.send(record(), LONG))).await
                }
            };
            sent.map_err(|(error, _)| error)?;
        }
        let sent = cpu()?.saturating_sub(before);

        let inner = self.consumer.get_ref();
        let mut from = TopicPartitionList::new();
        from.add_partition_offset(topic, 0, Offset::Offset(first.offset))?;
        inner.assign(&from)?;
        inner.recv().await?;
        let before = cpu()?;
        for _ in 0..MESSAGES {
            if self.around != Around::OtelMl {
                let message = inner.recv().await?;
                black_box(message.payload().map_or(0, <[u8]>::len));
                if self.around == Around::Header {
                    black_box(message.headers().and_then(|headers| headers.try_get(0)));
                }
            } else {
                let received = self.consumer.recv().await?;
                let handled = received.process(async |message| {
                    Ok::<_, KafkaError>(message.payload().map_or(0, <[u8]>::len))
                });
                black_box(handled.await?);
            }
        }
        let received = cpu()?.saturating_sub(before);
        inner.unassign()?;
        let each = |total: u64| Duration::from_nanos(total).as_secs_f64() * 1e9 / MESSAGES as f64;
        Ok([each(sent), each(received)])
    }
}

/// Nanoseconds of CPU that all threads of this process have had.
fn cpu() -> Result<u64, Box<dyn Error>> {
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

fn main() -> Result<(), Box<dyn Error>> {
    let named = std::env::var("KAFKA_BOOTSTRAP").ok();
    let mock = match &named {
        Some(_) => None,
        None => Some(MockCluster::new(1)?),
    };
    let bootstrap = match (&mock, named) {
        (Some(mock), _) => mock.bootstrap_servers(),
        (None, named) => named.unwrap_or_default(),
    };
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", bootstrap)
        .set("group.id", "otel-ml-bench")
        .set("fetch.wait.max.ms", "10")
        .set("linger.ms", "5");
    let topic = format!("otel-ml-bench-{}", std::process::id());
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    // Consumers begin a task of their own.
    let _runtime = runtime.enter();
    let variant = |name, around, sampler, has_metrics| {
        Variant::new(name, around, sampler, has_metrics, &config)
    };
    let variants = [
        variant("bare", Around::Nothing, Sampler::AlwaysOff, false)?,
        variant(
            "bare, with a header",
            Around::Header,
            Sampler::AlwaysOff,
            false,
        )?,
        variant(
            "unsampled, spans only",
            Around::OtelMl,
            Sampler::AlwaysOff,
            false,
        )?,
        variant("unsampled", Around::OtelMl, Sampler::AlwaysOff, true)?,
        variant(
            "sampled, spans only",
            Around::OtelMl,
            Sampler::AlwaysOn,
            false,
        )?,
        variant("sampled", Around::OtelMl, Sampler::AlwaysOn, true)?,
    ];
    let mut results: Vec<_> = variants
        .iter()
        .map(|variant| (variant, [Vec::new(), Vec::new()]))
        .collect();
    // The first round warms everything up. Each begins with another variant: what one leaves
    // behind is not always the same one's.
    for number in 0..=ROUNDS {
        for (variant, result) in &mut results {
            let costs = runtime.block_on(variant.round(&topic))?;
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
    let mut report = format!(
        "CPU of a {SIZE} byte message, median of {ROUNDS} alternating rounds of {MESSAGES}\n"
    );
    let bare = results.first().map(|(_, bare)| bare.clone());
    let bare = bare.unwrap_or_default();
    for (variant, result) in results {
        for ((what, list), bare) in ["sent", "received"].iter().zip(result).zip(&bare) {
            let ratios = list.iter().zip(bare).map(|(ours, bare)| ours / bare - 1.0);
            let [ratio, low, high] = median(ratios.collect());
            let [nanoseconds, ..] = median(list);
            writeln!(
                report,
                "{what:8} {:22} {nanoseconds:7.0} ns  {:+6.1} % [{:+.1}, {:+.1}]",
                variant.name,
                ratio * 100.0,
                low * 100.0,
                high * 100.0,
            )?;
        }
    }
    write!(stdout(), "{report}")?;
    Ok(())
}
