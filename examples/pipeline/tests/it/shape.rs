//! What the gateway answers looks like OpenAI's.

use serde_json::{Value, json};

use crate::support::{QUESTION, Running, answer, events, fast, post, send};

#[tokio::test]
async fn an_answer_in_one_piece() {
    let running = Running::start(fast()).await;
    let parts = json!([{"type": "text", "text": QUESTION}, {"type": "image_url"}]);
    let request = json!({
        "model": "extractive-1", "temperature": 0, "user": "me", "seed": 1,
        "messages": [{"role": "system", "content": "Be kind."}, {"role": "user", "content": parts}],
    });
    let (status, body) = answer(post(running.address(), request.to_string())).await;
    assert_eq!(status, http::StatusCode::OK);
    assert_eq!(body["object"], "chat.completion");
    assert!(body["id"].as_str().unwrap().starts_with("chatcmpl-"));
    assert!(body["created"].as_u64().unwrap() > 1_700_000_000);
    let choice = &body["choices"][0];
    assert_eq!(choice["message"]["role"], "assistant");
    assert_eq!(choice["finish_reason"], "stop");
    let text = choice["message"]["content"].as_str().unwrap();
    assert!(text.contains("OtelMlConsumer::new(inner)"), "{text}");
    let usage = &body["usage"];
    let count = |key: &str| usage[key].as_u64().unwrap();
    assert_eq!(
        count("total_tokens"),
        count("prompt_tokens") + count("completion_tokens")
    );
    assert_eq!(body["sources"][0]["path"], "kafka.md");
    assert!(body["confidence"].as_f64().unwrap() > 0.3);

    let written = running.stop().await;
    let gateway = written
        .spans
        .iter()
        .find(|s| s.name == "POST /v1/chat/completions")
        .unwrap();
    assert_eq!(
        gateway.double("gen_ai.request.temperature"),
        0.0,
        "zero is a value"
    );
    // Who asks and what is nobody else's business.
    let all = format!("{:?}", written.spans);
    assert!(!all.contains("wrap a Kafka") && !all.contains("Be kind"));
}

#[tokio::test]
async fn a_stream_is_the_answer_token_by_token() {
    let running = Running::start(fast()).await;
    let mut request = json!({"stream": true, "max_tokens": 5, "messages": [{"role": "user", "content": QUESTION}]});
    let response = send(post(running.address(), request.to_string())).await;
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let received = events(response, usize::MAX).await;
    let (last, chunks) = received.split_last().unwrap();
    assert_eq!(last, "[DONE]");
    let chunks: Vec<Value> = chunks
        .iter()
        .map(|c| serde_json::from_str(c).unwrap())
        .collect();
    assert!(
        chunks
            .iter()
            .all(|chunk| chunk["object"] == "chat.completion.chunk")
    );
    assert!(
        chunks
            .iter()
            .all(|chunk| chunk["id"] == chunks[0]["id"] && chunk["choices"][0]["index"] == 0)
    );
    assert_eq!(chunks[0]["choices"][0]["delta"]["role"], "assistant");
    let texts: Vec<_> = chunks
        .iter()
        .filter_map(|c| c["choices"][0]["delta"]["content"].as_str())
        .collect();
    assert_eq!(texts.len(), 5);
    assert!(
        chunks[..5]
            .iter()
            .all(|chunk| chunk["choices"][0]["finish_reason"].is_null())
    );
    assert_eq!(chunks.len(), 6);
    assert_eq!(chunks[5]["choices"][0]["finish_reason"], "length");
    assert_eq!(chunks[5]["sources"][0]["path"], "kafka.md");
    assert!(
        chunks.iter().all(|chunk| chunk["usage"].is_null()),
        "not asked for"
    );

    request["stream_options"] = json!({"include_usage": true});
    let response = send(post(running.address(), request.to_string())).await;
    let received = events(response, usize::MAX).await;
    let usage: Value = serde_json::from_str(&received[received.len() - 2]).unwrap();
    assert_eq!(usage["choices"], json!([]));
    assert_eq!(usage["usage"]["completion_tokens"], 5);
    running.stop().await;
}
