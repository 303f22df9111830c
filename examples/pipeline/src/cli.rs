//! The command's options.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::builder::{PossibleValuesParser, RangedI64ValueParser, TypedValueParser as _};
use clap::{ColorChoice, Parser};
use otel_ml_sdk::Protocol;
use otel_ml_sdk::log::LogFormat;

use crate::amqp;
use crate::engine::corpus::{Corpus, CorpusError};
use crate::engine::preprocess::Question;
use crate::hops::Stage;
use crate::hops::rerank::Pool;
use crate::openai::LONGEST_USER;
use crate::pipeline::{Hops, Pace};
use crate::telemetry::Collector;

/// Asked when nothing else is.
pub const QUESTION: &str = "How do I wrap a Kafka consumer?";

const PORT: &str = "8080";
const EXAMPLES: &str = "\
Examples:
  pipeline \"When does a span end?\"
  pipeline --corpus ~/notes --slow rerank=200 \"What did we decide about retries?\"
  pipeline --requests 200 --concurrency 16 --json spans.jsonl --metrics metrics.jsonl
  pipeline --serve 8080
  pipeline --amqp \"When does a span end?\"
  pipeline --hops http \"When does a span end?\"
  pipeline --otlp http://localhost:4318 --log json \"When does a span end?\"

Exit status: 0 when all went well, 1 when a request failed or a trace was not as it must be,
2 when an option is wrong. Telemetry that a Collector did not take is told on stderr.";

/// Answers a question from a folder of text files, by eight services that call each other over
/// HTTP, gRPC and Kafka (and AMQP), and shows the trace of it.
#[derive(Debug, Parser)]
#[command(name = "pipeline", version, after_help = EXAMPLES)]
pub struct Args {
    /// What to ask [default: "How do I wrap a Kafka consumer?", unless --requests or --serve is
    /// given]
    #[arg(value_parser = question, conflicts_with = "requests")]
    pub question: Option<String>,

    /// The folder with the text files (.md, .txt, .rst) to answer from [default: this
    /// repository's own documentation]
    #[arg(long, value_name = "DIR")]
    pub corpus: Option<PathBuf>,

    /// Who asks: free, pro and enterprise users get answers of different length [default: one
    /// unnamed user; many who take turns with --requests]
    #[arg(long, value_name = "ID", value_parser = user)]
    pub user: Option<String>,

    /// Slow a stage down by so many milliseconds; can be given for several stages
    #[arg(long, value_name = "STAGE=MS", allow_negative_numbers = true, value_parser = slow)]
    pub slow: Vec<(Stage, Duration)>,

    /// What the services call each other by
    #[arg(long, value_name = "HOPS", value_enum, default_value_t = Hops::Mixed)]
    pub hops: Hops,

    /// Audit each answer: the gateway publishes a job for it, a service of its own processes it,
    /// over RabbitMQ, which is started for it if it is installed [default: where AMQP_URL names
    /// a broker, which is then the one used]
    #[arg(long)]
    pub amqp: bool,

    /// How many milliseconds each token of an answer takes
    #[arg(long, value_name = "MS", default_value_t = 5, allow_negative_numbers = true, value_parser = RangedI64ValueParser::<u64>::new().range(0..=10_000))]
    pub token_delay: u64,

    /// How many batches are reranked at the same time
    #[arg(long, value_name = "N", default_value_t = Pool::default().workers, allow_negative_numbers = true, value_parser = RangedI64ValueParser::<usize>::new().range(1..=64))]
    pub workers: usize,

    /// How many requests are reranked together at most
    #[arg(long, value_name = "N", default_value_t = Pool::default().batch, allow_negative_numbers = true, value_parser = RangedI64ValueParser::<usize>::new().range(1..=128))]
    pub batch: usize,

    /// Send so many requests and show what each stage took, and how long they waited there in a
    /// queue; then check every span of each
    #[arg(long, value_name = "N", help_heading = "Load run", allow_negative_numbers = true, value_parser = RangedI64ValueParser::<usize>::new().range(1..=1_000_000))]
    pub requests: Option<usize>,

    /// How many requests at the same time
    #[arg(long, value_name = "C", default_value_t = 8, requires = "requests", help_heading = "Load run", allow_negative_numbers = true, value_parser = RangedI64ValueParser::<usize>::new().range(1..=100))]
    pub concurrency: usize,

    /// A file with one question a line, which take turns [default: questions made from the corpus]
    #[arg(
        long,
        value_name = "FILE",
        requires = "requests",
        help_heading = "Load run"
    )]
    pub questions: Option<PathBuf>,

    /// Which questions are made from the corpus: the same number gives the same ones
    #[arg(
        long,
        value_name = "NUMBER",
        default_value_t = 1,
        allow_negative_numbers = true,
        value_parser = seed,
        requires = "requests",
        conflicts_with = "questions",
        help_heading = "Load run"
    )]
    pub seed: u64,

    /// Keep running for other clients (curl) on this port of 127.0.0.1, until Ctrl-C; 0 for any
    /// free port
    #[arg(long, value_name = "PORT", allow_negative_numbers = true, num_args = 0..=1, default_missing_value = PORT)]
    pub serve: Option<u16>,

    /// Write every span to this file as it ends, as OTLP/JSON lines
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub json: Option<PathBuf>,

    /// Write all metrics to this file at the end, as OTLP/JSON lines
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub metrics: Option<PathBuf>,

    /// Send spans, metrics and log records to the OpenTelemetry Collector at this URL as well;
    /// headers, certificates and the like are as the OTEL_EXPORTER_OTLP_* variables say. Metrics
    /// are sent at the end
    #[arg(long, value_name = "URL", help_heading = "Output")]
    pub otlp: Option<String>,

    /// How it is spoken to [default: grpc on ports 4317 and 14317, http on others]
    #[arg(
        long,
        value_name = "PROTOCOL",
        requires = "otlp",
        help_heading = "Output",
        value_parser = PossibleValuesParser::new(["grpc", "http"]).map(protocol)
    )]
    pub otlp_protocol: Option<Protocol>,

    /// Write what the services log to stderr, each line with the ids of its trace and span;
    /// RUST_LOG says what is logged [default format: text]
    #[arg(long, value_name = "FORMAT", num_args = 0..=1, default_missing_value = "text", help_heading = "Output", value_parser = PossibleValuesParser::new(["text", "json"]).map(log_format))]
    pub log: Option<LogFormat>,

    /// How many columns the trace is drawn in [default: those of the terminal, else 120]
    #[arg(long, value_name = "COLUMNS", help_heading = "Output", allow_negative_numbers = true, value_parser = RangedI64ValueParser::<usize>::new().range(60..=500))]
    pub width: Option<usize>,

    /// Whether to use colours
    #[arg(long, value_name = "WHEN", default_value_t = ColorChoice::Auto, help_heading = "Output")]
    pub color: ColorChoice,
}

impl Args {
    /// The Collector that gets all telemetry.
    pub fn collector(&self) -> Option<Collector> {
        let url = self.otlp.as_ref()?;
        Some(Collector::new(url, self.otlp_protocol))
    }

    /// What to ask, if anything is to be asked alone.
    pub fn single_question(&self) -> Option<&str> {
        let is_only = self.requests.is_none() && self.serve.is_none();
        self.question
            .as_deref()
            .or_else(|| is_only.then_some(QUESTION))
    }

    /// How slow the pipeline is to be.
    pub fn pace(&self) -> Pace {
        Pace {
            hops: self.hops,
            audits: self.amqp || std::env::var_os(amqp::URL).is_some(),
            token_delay: Duration::from_millis(self.token_delay),
            stages: self.slow.iter().copied().collect(),
            reranking: Pool {
                workers: self.workers,
                batch: self.batch,
            },
        }
    }

    /// The text files to answer from.
    ///
    /// # Errors
    /// When there are none.
    pub fn corpus(&self) -> Result<Corpus, CorpusError> {
        match &self.corpus {
            Some(folder) => Corpus::load(folder),
            None => own_documentation(),
        }
    }
}

/// The documentation of the repository that this example is part of.
fn own_documentation() -> Result<Corpus, CorpusError> {
    let repository = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
    let repository = std::path::absolute(repository).unwrap_or_else(|_| repository.to_owned());
    Corpus::load_where(&repository, |path| {
        let parts: Vec<_> = path.iter().map(|part| part.to_string_lossy()).collect();
        let parts: Vec<&str> = parts.iter().map(AsRef::as_ref).collect();
        matches!(
            parts.as_slice(),
            ["README.md" | "CHANGELOG.md" | "CONTRIBUTING.md"]
                | ["docs", ..]
                | ["crates" | "examples", _, "README.md"]
        )
    })
}

fn question(text: &str) -> Result<String, String> {
    match Question::parse(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

fn user(id: &str) -> Result<String, String> {
    if id.len() > LONGEST_USER {
        return Err(format!("longer than {LONGEST_USER} bytes"));
    }
    Ok(id.to_owned())
}

fn seed(text: &str) -> Result<u64, String> {
    let wrong = |_| format!("not a whole number from 0 to {}", u64::MAX);
    text.parse().map_err(wrong)
}

fn protocol(name: String) -> Protocol {
    match name.as_str() {
        "grpc" => Protocol::Grpc,
        _ => Protocol::HttpProtobuf,
    }
}

fn log_format(name: String) -> LogFormat {
    match name.as_str() {
        "json" => LogFormat::Json,
        _ => LogFormat::Text,
    }
}

fn slow(text: &str) -> Result<(Stage, Duration), String> {
    let (name, time) = text
        .split_once('=')
        .ok_or("write a stage and milliseconds: rerank=200")?;
    let stage = Stage::ALL.into_iter().find(|stage| stage.as_str() == name);
    let stage = stage.ok_or_else(|| {
        let names = Stage::ALL.map(Stage::as_str).join(", ");
        format!("there is no stage '{name}', only {names}")
    })?;
    let time = time.parse().ok().filter(|time| *time <= 600_000);
    let time = time.ok_or("the time is milliseconds, from 0 to 600000")?;
    Ok((stage, Duration::from_millis(time)))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    fn parse(options: &[&str]) -> Result<Args, String> {
        let all = std::iter::once("pipeline").chain(options.iter().copied());
        Args::try_parse_from(all).map_err(|error| error.to_string())
    }

    #[test]
    fn the_options_fit_together() {
        Args::command().debug_assert();
    }

    #[test]
    fn a_question_is_asked_unless_something_else_is_to_be_done() {
        let question = |options: &[&str]| {
            let args = parse(options).unwrap();
            args.single_question().map(str::to_owned)
        };
        assert_eq!(question(&[]).as_deref(), Some(QUESTION));
        assert_eq!(question(&["Why?"]).as_deref(), Some("Why?"));
        assert_eq!(question(&["--serve"]), None);
        assert_eq!(question(&["--requests", "2"]), None);
        assert_eq!(question(&["--serve", "0", "Why?"]).as_deref(), Some("Why?"));
    }

    #[test]
    fn stages_are_slowed_down_by_name() {
        let args = parse(&["--slow", "rerank=200", "--slow", "embed=0"]).unwrap();
        let pace = args.pace();
        assert_eq!(
            pace.stages.get(&Stage::Rerank),
            Some(&Duration::from_millis(200))
        );
        assert_eq!(pace.stages.len(), 2);
    }

    #[test]
    fn a_mistake_is_told_with_the_option_at_fault() {
        for (options, told) in [
            (
                &["--slow", "cook=5"][..],
                "'--slow <STAGE=MS>': there is no stage 'cook', only gateway, preprocess",
            ),
            (&["--slow", "rerank"], "'--slow <STAGE=MS>': write a stage"),
            (
                &["--slow", "rerank=soon"],
                "'--slow <STAGE=MS>': the time is milliseconds",
            ),
            (
                &["--slow", "rerank=-1"],
                "'--slow <STAGE=MS>': the time is milliseconds",
            ),
            (
                &["--requests", "0"],
                "'--requests <N>': 0 is not in 1..=1000000",
            ),
            (
                &["--requests", "9", "--concurrency", "0"],
                "'--concurrency <C>': 0 is not in",
            ),
            (&["--concurrency", "9"], "--requests <N>"),
            (&["--serve", "70000"], "'--serve [<PORT>]'"),
            (
                &["--serve", "-1"],
                "'--serve [<PORT>]': -1 is not in 0..=65535",
            ),
            (
                &["--token-delay", "-1"],
                "'--token-delay <MS>': -1 is not in 0..=10000",
            ),
            (
                &["--requests", "-1"],
                "'--requests <N>': -1 is not in 1..=1000000",
            ),
            (
                &["--requests", "9", "--concurrency", "-1"],
                "'--concurrency <C>': -1 is not in 1..=100",
            ),
            (&["--workers", "-1"], "'--workers <N>': -1 is not in 1..=64"),
            (&["--batch", "-1"], "'--batch <N>': -1 is not in 1..=128"),
            (
                &["--width", "-1"],
                "'--width <COLUMNS>': -1 is not in 60..=500",
            ),
            (
                &["--requests", "9", "--seed", "-1"],
                "'--seed <NUMBER>': not a whole number from 0 to 18446744073709551615",
            ),
            (&["--slow", "-1"], "'--slow <STAGE=MS>': write a stage"),
            (&["--width", "3"], "'--width <COLUMNS>'"),
            (&["--token-delay", "x"], "'--token-delay <MS>'"),
            (&["--workers", "0"], "'--workers <N>': 0 is not in 1..=64"),
            (&["--batch", "129"], "'--batch <N>': 129 is not in 1..=128"),
            (&["--color", "green"], "'--color <WHEN>'"),
            (&[" "], "'[QUESTION]': the question is empty"),
            (&["Why?", "--requests", "3"], "cannot be used with"),
            (&["--otlp"], "'--otlp <URL>'"),
            (&["--otlp-protocol", "grpc"], "--otlp <URL>"),
            (
                &["--otlp", "x", "--otlp-protocol", "udp"],
                "'--otlp-protocol <PROTOCOL>'",
            ),
            (&["--log", "xml"], "'--log [<FORMAT>]'"),
            (&["--hops", "carrier-pigeon"], "'--hops <HOPS>'"),
            (&["--bogus"], "--bogus"),
        ] {
            let error = parse(options).unwrap_err();
            assert!(error.contains(told), "{options:?}: {error}");
        }
    }
}
