//! Clients that go away, and services that do.

use std::convert::Infallible;
use std::io::Write as _;
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::response::sse::{Event, Sse};
use axum::routing::post;
use http::StatusCode;
use otel_ml_testing::opentelemetry::trace::TraceId;
use pipeline::client::Client;
use pipeline::engine::corpus::Corpus;
use pipeline::hops::gateway::{self, Backends, Way};
use pipeline::hops::generate::Generator;
use pipeline::hops::{Hop, embed, features, postprocess, preprocess, rerank, retrieve};
use pipeline::service::Service;
use pipeline::telemetry::Outputs;

use crate::support::{
    CLIENT, ERROR, QUESTION, Running, SERVER, Written, answer, events, fast, one, send, streamed,
    with_tokens_of, write_documents,
};

// One thread a test: a span's end can then not be seen before its request is counted out.

/// Long enough that the rest of an answer takes a second after the client is gone.
const TOKEN: Duration = Duration::from_millis(20);
const LONG: Duration = Duration::from_secs(30);

fn random_trace() -> String {
    format!("{:032x}", fastrand::u128(1..))
}

#[tokio::test]
async fn e16_a_client_gone_in_mid_stream_ends_the_work_and_leaves_what_was_done() {
    let whole = {
        let running = Running::start(fast()).await;
        let asked = running.asker.ask(QUESTION, "", |_| {}).await;
        running.stop().await;
        asked.reply.unwrap().usage.completion_tokens
    };
    let running = Running::start(with_tokens_of(TOKEN)).await;
    let mut gone = Vec::new();
    for _ in 0..20 {
        let trace = random_trace();
        let following = running
            .outputs
            .traces()
            .follow(TraceId::from_hex(&trace).unwrap());
        let mut request = streamed(running.address(), QUESTION);
        let parent = format!("00-{trace}-00f067aa0ba902b7-01");
        request
            .headers_mut()
            .insert("traceparent", parent.parse().unwrap());
        let most = fastrand::usize(1..10);
        let received = events(send(request).await, most).await;
        assert!(
            received
                .iter()
                .all(|event| event.contains("chat.completion.chunk"))
        );
        // Complete: no service works on it any more.
        assert!(!following.spans(LONG).await.is_empty());
        gone.push((trace, received.len() as u64));
    }
    let written = running.stop().await;
    for (trace, received) in gone {
        let spans = written.of_trace(&trace);
        for (service, name) in [
            ("gateway", "POST /v1/chat/completions"),
            ("generate", "POST /generate"),
        ] {
            let span = one(&spans, service, SERVER, name);
            assert_eq!(span.text("error.type"), "cancelled", "{service}");
            assert_eq!(span.text("ml.cancel.reason"), "dropped", "{service}");
            assert_eq!(span.status, ERROR);
            let recorded = span.int("gen_ai.usage.output_tokens");
            assert!(received <= recorded, "{service}: {received} <= {recorded}");
            assert!(recorded < whole, "{service}: {recorded} < {whole}");
        }
        let is_after = spans.iter().any(|span| span.service == "postprocess");
        assert!(!is_after, "nobody waits for the last hop");
    }
    assert_idle(&written);
}

#[tokio::test]
async fn e16_a_client_gone_before_the_answer_in_one_piece_ends_the_work_too() {
    let running = Running::start(with_tokens_of(TOKEN)).await;
    let trace = random_trace();
    let following = running
        .outputs
        .traces()
        .follow(TraceId::from_hex(&trace).unwrap());
    let body = format!(r#"{{"messages": [{{"role": "user", "content": "{QUESTION}"}}]}}"#);
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: gateway\r\n\
         traceparent: 00-{trace}-00f067aa0ba902b7-01\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let mut connection = TcpStream::connect(running.address()).unwrap();
    connection.write_all((head + &body).as_bytes()).unwrap();
    drop(connection);
    assert!(!following.spans(LONG).await.is_empty());
    let written = running.stop().await;
    let spans = written.of_trace(&trace);
    let span = one(&spans, "gateway", SERVER, "POST /v1/chat/completions");
    assert_eq!(span.text("error.type"), "cancelled");
    assert!(!span.attributes.contains_key("http.response.status_code"));
    assert_idle(&written);
}

fn assert_idle(written: &Written) {
    let active = written.points("http.server.active_requests");
    assert!(!active.is_empty());
    for point in active {
        assert_eq!(point["asInt"], "0", "{point}");
    }
}

/// A gateway with real services behind it, but for the one that generates.
struct WithGenerator {
    gateway: Service,
    outputs: Outputs,
    folder: tempfile::TempDir,
    /// Dropped, they would stop.
    _behind: Vec<Service>,
}

impl WithGenerator {
    async fn start(generate: Router) -> Self {
        let folder = tempfile::tempdir().unwrap();
        write_documents(folder.path());
        let corpus = Arc::new(Corpus::load(folder.path()).unwrap());
        let spans = folder.path().join("spans.jsonl");
        let metrics = folder.path().join("metrics.jsonl");
        let outputs = Outputs::open(Some(&spans), Some(&metrics), None).unwrap();
        let hop = |name| Hop {
            telemetry: outputs.telemetry(name),
            delay: Duration::ZERO,
        };
        let front = hop("gateway");
        let mut behind = Vec::new();
        let mut start = async |router| {
            let listener = Service::listen(0).await.unwrap();
            let service = Service::start(listener, router).unwrap();
            let client = Client::new(&front.telemetry, service.address());
            behind.push(service);
            client
        };
        let other = hop("preprocess");
        let embedder = embed::load(&other, &corpus);
        let index = retrieve::load(&other, &corpus, &embedder);
        let weights = rerank::load(&other);
        let pool = rerank::Pool::default();
        let reranking = rerank::router(other.clone(), Arc::clone(&corpus), weights, pool);
        let backends = Backends {
            audits: None,
            preprocess: start(preprocess::router(other.clone())).await,
            features: start(features::router(other.clone())).await,
            embed: Way::Http(start(embed::router(other.clone(), embedder)).await),
            retrieve: retrieve::Caller::Http(Box::new(
                start(retrieve::router(other.clone(), index)).await,
            )),
            rerank: start(reranking).await,
            generate: Way::Http(start(generate).await),
            postprocess: start(postprocess::router(other.clone(), corpus)).await,
        };
        let listener = Service::listen(0).await.unwrap();
        let gateway = Service::start(listener, gateway::router(front, backends)).unwrap();
        Self {
            gateway,
            outputs,
            folder,
            _behind: behind,
        }
    }

    async fn refusal(generate: Router) -> serde_json::Value {
        let running = Self::start(generate).await;
        let (status, body) = answer(streamed(running.gateway.address(), QUESTION)).await;
        assert_eq!(status, StatusCode::BAD_GATEWAY);
        assert_eq!(body["error"]["type"], "server_error");
        body["error"]["message"].clone()
    }
}

#[tokio::test]
async fn a_generator_that_breaks_off_is_told_to_the_client_and_recorded() {
    let breaking = async || {
        Sse::new(async_stream::stream! {
            for token in ["Wrap", " it"] {
                yield Ok(Event::default().data(format!(r#"{{"token":"{token}"}}"#)));
                tokio::task::yield_now().await;
            }
            yield Err(std::io::Error::other("gone"));
        })
    };
    let running = WithGenerator::start(Router::new().route("/generate", post(breaking))).await;
    let response = send(streamed(running.gateway.address(), QUESTION)).await;
    let received = events(response, usize::MAX).await;
    assert!(received.len() >= 2, "{received:?}");
    assert!(
        received.iter().all(|event| event != "[DONE]"),
        "{received:?}"
    );
    running.gateway.stop(LONG).await;
    running.outputs.finish().1.unwrap();
    let written = Written::read(running.folder.path());
    let spans: Vec<_> = written.spans.iter().collect();
    let span = one(&spans, "gateway", SERVER, "POST /v1/chat/completions");
    assert_eq!(span.text("error.type"), "upstream_cut");
    assert_eq!(span.int("gen_ai.usage.output_tokens"), 2);
    let chat = one(&spans, "gateway", CLIENT, "chat extractive-1");
    assert_eq!(chat.text("error.type"), "CallError");
    assert_eq!(chat.attributes["ml.usage.partial"]["boolValue"], true);
}

#[tokio::test]
async fn a_generator_that_never_begins_is_a_bad_gateway() {
    let silent = async || Sse::new(futures_util::stream::empty::<Result<Event, Infallible>>());
    let told = WithGenerator::refusal(Router::new().route("/generate", post(silent))).await;
    assert_eq!(told, "the answer of /generate broke off");
    let refusing = async || (StatusCode::SERVICE_UNAVAILABLE, "busy");
    let told = WithGenerator::refusal(Router::new().route("/generate", post(refusing))).await;
    assert_eq!(told, "/generate answered 503 Service Unavailable: busy");
}

#[tokio::test]
async fn a_generator_by_itself_answers_in_a_trace_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    write_documents(folder.path());
    let outputs = Outputs::open(None, None, None).unwrap();
    let generator = Generator {
        hop: Hop {
            telemetry: outputs.telemetry("generate"),
            delay: Duration::ZERO,
        },
        corpus: Arc::new(Corpus::load(folder.path()).unwrap()),
        token_delay: Duration::ZERO,
    };
    let router = pipeline::hops::generate::router(generator);
    let service = Service::start(Service::listen(0).await.unwrap(), router).unwrap();
    let request = http::Request::post(format!("http://{}/generate", service.address()))
        .header("content-type", "application/json")
        .body(b"{}".to_vec())
        .unwrap();
    assert_eq!(
        send(request).await.status(),
        StatusCode::UNPROCESSABLE_ENTITY
    );
    assert_eq!(outputs.traces().unfollowed(), 1);
}
