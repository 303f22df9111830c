//! The command: starts the pipeline, asks it, and leaves nothing unwritten.

use std::io::{self, Write as _};
use std::pin::pin;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anstream::AutoStream;
use clap::ColorChoice;
use indicatif::{ProgressBar, ProgressStyle};
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use crate::asker::Asker;
use crate::cli::{Args, QUESTION};
use crate::engine::corpus::Corpus;
use crate::engine::questions;
use crate::load::{self, Load};
use crate::pipeline::Pipeline;
use crate::print::{self, Look};
use crate::service::Service;
use crate::telemetry::{Outputs, logs};

/// How long requests may still take once the command is to end.
const PATIENCE: Duration = Duration::from_secs(3);
const OTHER_WIDTH: usize = 120;

/// Why the command did not do what it was asked.
#[derive(Debug, Error)]
pub enum Failure {
    /// An option is wrong.
    #[error("{0}")]
    Option(String),
    /// The port can't be listened on.
    #[error("{0}")]
    Port(String),
    /// Something else went wrong.
    #[error("{0}")]
    Other(String),
    /// Nobody reads what is printed any more.
    #[error("the output was closed")]
    Closed,
}

/// How the command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Well.
    Fine,
    /// Something that was asked for did not work out; it was told.
    Wrong,
    /// By a signal.
    Interrupted,
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::Closed,
            _ => Self::Other(error.to_string()),
        }
    }
}

impl Failure {
    fn option(name: &str, error: impl std::fmt::Display) -> Self {
        Self::Option(format!("{name}: {error}"))
    }

    /// The exit status.
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::Option(_) | Self::Port(_) => 2,
            Self::Other(_) => 1,
            Self::Closed => 0,
        })
    }
}

impl Ending {
    /// The exit status.
    pub fn exit_code(self) -> ExitCode {
        ExitCode::from(match self {
            Self::Fine => 0,
            Self::Wrong => 1,
            Self::Interrupted => 130,
        })
    }
}

/// Does what `args` say.
///
/// # Errors
/// When an option is wrong, or something else is that makes going on useless.
pub fn run(args: &Args) -> Result<Ending, Failure> {
    let corpus = args.corpus();
    let corpus = Arc::new(corpus.map_err(|error| Failure::option("--corpus", error))?);
    let load = load_of(args, &corpus)?;
    let outputs = Outputs::open(
        args.json.as_deref(),
        args.metrics.as_deref(),
        args.collector(),
    );
    let outputs = outputs.map_err(|error| Failure::Option(error.to_string()))?;
    if let (Some(json), Some(metrics)) = (&args.json, &args.metrics)
        && same_file::is_same_file(json, metrics)?
    {
        return Err(Failure::option("--metrics", "the same file as --json"));
    }
    let logs = logs::install(&outputs, args.log);
    logs.map_err(|error| Failure::option("--log", error))?;
    let runtime = tokio::runtime::Runtime::new()?;
    let result = runtime.block_on(work(args, load, &corpus, &outputs));
    // Whatever is still running ends here, and with it its spans.
    runtime.shutdown_timeout(PATIENCE);
    let (losses, written) = outputs.finish();
    if !losses.is_empty() {
        // The answer is there all the same; and a closed stderr has nobody to tell it to.
        let _ = writeln!(io::stderr(), "warning: {losses}");
    }
    let ending = result?;
    written.map_err(|error| Failure::Other(error.to_string()))?;
    Ok(ending)
}

fn load_of(args: &Args, corpus: &Corpus) -> Result<Option<Load>, Failure> {
    let Some(requests) = args.requests else {
        return Ok(None);
    };
    let questions = match &args.questions {
        Some(file) => {
            questions::read(file).map_err(|error| Failure::option("--questions", error))?
        }
        None => questions::generate(corpus, requests, args.seed),
    };
    Ok(Some(Load {
        questions,
        requests,
        concurrency: args.concurrency,
        user: args.user.clone(),
    }))
}

async fn work(
    args: &Args,
    load: Option<Load>,
    corpus: &Arc<Corpus>,
    outputs: &Outputs,
) -> Result<Ending, Failure> {
    let listener = listen(args.serve).await?;
    let mut interrupted = pin!(interrupted()?);
    let pipeline = Pipeline::start(corpus, &args.pace(), listener, outputs).await?;
    let asker = Asker::new(outputs, pipeline.address());
    let wanted = async {
        let mut ending = Ending::Fine;
        if let Some(question) = args.single_question() {
            ending = ask(args, &asker, question).await?;
        }
        if let Some(load) = &load {
            ending = run_load(load, &asker, outputs).await?;
        }
        if args.serve.is_some() {
            announce(&pipeline)?;
            std::future::pending::<()>().await;
        }
        Ok(ending)
    };
    let result = tokio::select! {
        result = wanted => result,
        () = &mut interrupted => Ok(match args.serve {
            Some(_) => Ending::Fine,
            None => Ending::Interrupted,
        }),
    };
    // Its idle connections would keep the services waiting.
    drop(asker);
    pipeline.stop(PATIENCE).await;
    result
}

async fn listen(port: Option<u16>) -> Result<TcpListener, Failure> {
    let listener = Service::listen(port.unwrap_or(0)).await;
    listener.map_err(|error| match port {
        Some(port) => Failure::Port(port_failure(port, &error)),
        None => error.into(),
    })
}

fn port_failure(port: u16, error: &io::Error) -> String {
    let what = match error.kind() {
        io::ErrorKind::AddrInUse => format!("port {port} is taken"),
        _ => format!("port {port} can't be had ({error})"),
    };
    format!("{what}: name another, or `--serve 0` for any free one")
}

/// Ctrl-C or SIGTERM.
fn interrupted() -> io::Result<impl Future<Output = ()>> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

async fn ask(args: &Args, asker: &Asker, question: &str) -> Result<Ending, Failure> {
    let look = look(args);
    let mut out = io::stdout();
    writeln!(out, "{question}\n")?;
    let mut printed = Ok(());
    let on_token = |token: &str| {
        if printed.is_ok() {
            printed = print::token(&mut io::stdout(), token);
        }
    };
    let user = args.user.as_deref().unwrap_or_default();
    let asked = asker.ask(question, user, on_token).await;
    printed?;
    writeln!(out)?;
    let ending = match &asked.reply {
        Ok(reply) => {
            print::sources(&mut out, reply)?;
            Ending::Fine
        }
        Err(error) => {
            writeln!(out, "no answer: {error}")?;
            Ending::Wrong
        }
    };
    print::trace(&mut out, &asked.spans, look)?;
    Ok(ending)
}

fn look(args: &Args) -> Look {
    let width = terminal_size::terminal_size().map(|(width, _)| usize::from(width.0));
    let choice = match args.color {
        ColorChoice::Auto => AutoStream::choice(&io::stdout()),
        ColorChoice::Always => anstream::ColorChoice::Always,
        ColorChoice::Never => anstream::ColorChoice::Never,
    };
    Look {
        width: args.width.or(width).unwrap_or(OTHER_WIDTH),
        has_color: choice != anstream::ColorChoice::Never,
    }
}

async fn run_load(load: &Load, asker: &Asker, outputs: &Outputs) -> Result<Ending, Failure> {
    let length = u64::try_from(load.requests).unwrap_or(u64::MAX);
    let style = "{bar:40} {pos}/{len} requests, {per_sec}, {eta} left";
    let style =
        ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar());
    let progress = ProgressBar::new(length).with_style(style);
    let report = load::run(asker, outputs.traces(), load, || progress.inc(1)).await;
    progress.finish_and_clear();
    print::report(&mut io::stdout(), &report)?;
    Ok(if report.is_fine() {
        Ending::Fine
    } else {
        Ending::Wrong
    })
}

fn announce(pipeline: &Pipeline) -> Result<(), Failure> {
    let address = pipeline.address();
    let mut out = io::stdout();
    writeln!(
        out,
        "listening on http://{address}, until Ctrl-C\n\
         curl -N http://{address}/v1/chat/completions -d \
         '{{\"stream\": true, \"messages\": [{{\"role\": \"user\", \"content\": \"{QUESTION}\"}}]}}'"
    )?;
    Ok(out.flush()?)
}
