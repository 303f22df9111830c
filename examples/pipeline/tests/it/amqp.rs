//! The audit behind the answer, over RabbitMQ: the broker that `AMQP_URL` names, or one that is
//! started. Only who asks for it by name runs it: `./scripts/test --only rabbitmq`.

use otel_ml_testing::SpanExt as _;
use pipeline::hops::audit;
use pipeline::pipeline::{Hops, Pace};
use pipeline::verify;

use crate::support::{QUESTION, Running};

async fn audited(hops: Hops) {
    let pace = Pace {
        audits: true,
        hops,
        ..Pace::default()
    };
    let running = Running::start(pace).await;
    let asked = running.asker.ask(QUESTION, "", |_| ()).await;
    let reply = asked.reply.unwrap();
    // The trace that is shown is whole, with what comes behind the answer.
    assert_eq!(verify::problems(asked.trace, &asked.spans), [""; 0]);
    let named = |name: &str| {
        let mut found = asked.spans.iter().filter(|ended| ended.span.name == name);
        let ended = found.next().unwrap_or_else(|| panic!("no span '{name}'"));
        assert!(found.next().is_none(), "more than one '{name}'");
        ended
    };
    let way = [
        ("gateway", "publish audit-jobs"),
        (audit::SERVICE, "process audit-jobs"),
        (audit::SERVICE, "ack audit-jobs"),
    ];
    for pair in way.windows(2) {
        let [(_, from), (service, to)] = pair else {
            continue;
        };
        let (from, to) = (&named(from).span, named(to));
        assert_eq!(to.span.parent(), Some(from.span_context.span_id()));
        assert_eq!(to.service, *service);
    }
    let published = &named("publish audit-jobs").span;
    assert!(published.has("messaging.destination.template") && !published.is_error());
    let processed = &named("process audit-jobs").span;
    assert!(processed.double("ml.queue.wait.duration") >= 0.0);
    assert_eq!(processed.str("ml.user.tier"), "free");
    let stage = &named("audit").span;
    let told = stage.double("ml.prediction.confidence");
    assert!((told - f64::from(reply.confidence)).abs() < 1e-6);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "it needs RabbitMQ: ./scripts/test --only rabbitmq"]
async fn an_answer_is_audited_in_its_trace() {
    for hops in [Hops::Http, Hops::Mixed] {
        audited(hops).await;
    }
}
