//! The command itself.

use std::io::{BufRead as _, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use crate::support::{Written, write_documents};

/// The command in `folder`, with these options. Of the environment nothing is left to chance.
pub(crate) fn command(folder: &Path, options: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pipeline"));
    command.env_clear().current_dir(folder).args(options);
    command
}

fn run(folder: &Path, options: &[&str]) -> Output {
    command(folder, options).output().unwrap()
}

/// The command while it serves, writing its spans into `spans.jsonl`.
pub(crate) struct Serving {
    pub(crate) address: SocketAddr,
    /// What it says that curl is to send.
    pub(crate) body: String,
    child: Child,
}

impl Serving {
    pub(crate) fn start(folder: &Path, options: &[&str]) -> Self {
        let always = ["--corpus", ".", "--token-delay", "0", "--serve", "0"];
        let mut child = command(folder, &[&always[..], options].concat())
            .args(["--json", "spans.jsonl"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let listening = lines.next().unwrap().unwrap();
        let address = listening.strip_prefix("listening on http://").unwrap();
        let curl = lines.next().unwrap().unwrap();
        Self {
            address: address.split(',').next().unwrap().parse().unwrap(),
            body: curl.split('\'').nth(1).unwrap().to_owned(),
            child,
        }
    }

    /// Ends it as a service manager would.
    pub(crate) fn stop(self) -> Output {
        // The shell's own: a small system has no other.
        let stopped = Command::new("sh")
            .args(["-c", &format!("kill {}", self.child.id())])
            .status()
            .unwrap();
        assert!(stopped.success());
        self.child.wait_with_output().unwrap()
    }
}

#[test]
fn a_wrong_option_is_named_and_nothing_is_done() {
    let folder = tempfile::tempdir().unwrap();
    write_documents(folder.path());
    std::fs::create_dir(folder.path().join("empty")).unwrap();
    std::fs::write(folder.path().join("none.list"), "# nothing\n").unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    for (options, told) in [
        (
            &["--corpus", "nowhere"][..],
            "--corpus: the corpus folder nowhere does not exist",
        ),
        (&["--corpus", "empty"], "--corpus: no text file in"),
        (
            &["--corpus", "kafka.md"],
            "--corpus: the corpus kafka.md is not a folder",
        ),
        (
            &["--corpus", ".", "--json", "."],
            "--json: . cannot be written",
        ),
        (
            &["--corpus", ".", "--metrics", "no/where"],
            "--metrics: no/where cannot be written",
        ),
        (
            &["--corpus", ".", "--json", "x", "--metrics", "./x"],
            "--metrics: the same file",
        ),
        (
            &["--corpus", ".", "--serve", &port],
            &format!(
                "error: port {port} is taken: name another, or `--serve 0` for any free one\n"
            ),
        ),
        (
            &["--corpus", ".", "--requests", "1", "--questions", "gone"],
            "--questions: the questions in gone",
        ),
        (
            &[
                "--corpus",
                ".",
                "--requests",
                "1",
                "--questions",
                "none.list",
            ],
            "--questions: no question",
        ),
        (
            &["--corpus", ".", "--otlp", "nonsense"],
            "--otlp: endpoint: `nonsense` won't do: a URL such as",
        ),
        (&["--slow", "nothing=1"], "--slow"),
        (&["--requests", "0"], "--requests"),
    ] {
        let output = run(folder.path(), options);
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{options:?}: {error}");
        assert!(error.contains(told), "{options:?}: {error}");
        assert!(output.stdout.is_empty(), "{options:?}");
        // A port that is taken is no option to look up.
        let is_port = options.contains(&"--serve");
        assert_eq!(error.contains("--help"), !is_port, "{options:?}: {error}");
    }
}

#[test]
fn a_question_is_answered_and_its_trace_drawn() {
    let folder = tempfile::tempdir().unwrap();
    write_documents(folder.path());
    let question = "How do I wrap a Kafka consumer?";
    let options = [
        "--corpus",
        ".",
        "--token-delay",
        "0",
        "--color",
        "never",
        question,
    ];
    let output = run(folder.path(), &options);
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{text}");
    for told in [
        question,
        "OtelMlConsumer::new(inner)",
        "[1] kafka.md:5",
        "confidence 0.",
        "9 services",
        "* longest chain: ",
        "time by service: ",
    ] {
        assert!(text.contains(told), "no {told} in\n{text}");
    }
    assert_eq!(
        text.matches("trace ").count() - text.matches("the trace ").count(),
        1
    );
    assert!(!text.contains('\u{1b}'), "no colours");
}

#[test]
fn asked_how_to_wrap_a_kafka_consumer_it_names_the_crate_that_does() {
    let folder = tempfile::tempdir().unwrap();
    let output = run(folder.path(), &["--token-delay", "0"]);
    let text = String::from_utf8(output.stdout).unwrap();
    let (answer, sources) = text.split_once("\nSources\n").unwrap();
    assert!(
        answer.contains("To wrap a Kafka consumer, create an `OtelMlConsumer`"),
        "{text}"
    );
    assert!(
        sources.contains("] crates/otel-ml-rdkafka/README.md:"),
        "{text}"
    );
}

#[test]
fn a_load_run_ends_with_a_table_and_checks_itself() {
    let folder = tempfile::tempdir().unwrap();
    write_documents(folder.path());
    std::fs::write(
        folder.path().join("questions.list"),
        "Why wrap a consumer?\n",
    )
    .unwrap();
    let options = [
        "--corpus",
        ".",
        "--token-delay",
        "0",
        "--requests",
        "20",
        "--concurrency",
        "4",
    ];
    let files = [
        "--questions",
        "questions.list",
        "--json",
        "spans.jsonl",
        "--metrics",
        "metrics.jsonl",
    ];
    let slow = ["--slow", "rerank=30"];
    let output = run(folder.path(), &[&options[..], &files, &slow].concat());
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(
        text.contains("20 requests, 20 traces, none mixed, none missing"),
        "{text}"
    );
    for stage in ["gateway", "preprocess", "generate", "postprocess"] {
        let row = text.lines().find(|line| line.starts_with(stage)).unwrap();
        assert!(row.split_whitespace().any(|cell| cell == "20"), "{row}");
    }
    // What was waited for stands below whom it was waited for.
    let mut rows = text.lines().skip_while(|line| !line.starts_with("rerank"));
    for name in ["rerank", "  queue_wait", "  infer"] {
        let row = rows.next().unwrap();
        assert!(row.starts_with(name), "{text}");
        assert_eq!(row.split_whitespace().nth(1), Some("20"), "{row}");
    }
    let written = Written::read(folder.path());
    let slowed = written
        .spans
        .iter()
        .filter(|span| span.service == "rerank" && span.name == "rerank");
    let slowed: Vec<_> = slowed.collect();
    assert_eq!(slowed.len(), 20);
    assert!(
        slowed
            .iter()
            .all(|span| span.end - span.start >= 30_000_000)
    );
}

#[test]
fn it_serves_until_it_is_told_to_stop_and_then_writes_everything() {
    let folder = tempfile::tempdir().unwrap();
    write_documents(folder.path());
    let serving = Serving::start(folder.path(), &["--metrics", "metrics.jsonl"]);
    let (address, body) = (serving.address, serving.body.clone());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let received = runtime.block_on(async {
        let response = crate::support::send(crate::support::post(address, body)).await;
        crate::support::events(response, usize::MAX).await
    });
    assert_eq!(received.last().unwrap(), "[DONE]");
    drop(runtime);

    assert_eq!(serving.stop().status.code(), Some(0));
    let written = Written::read(folder.path());
    assert!(
        written
            .spans
            .iter()
            .any(|span| span.service == "postprocess")
    );
    assert_eq!(
        written.metrics.len(),
        8,
        "a line for each service that has measured something"
    );
}
