//! Many questions at once, and what became of each.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use futures_util::StreamExt as _;
use otel_ml::opentelemetry::Value;
use otel_ml::opentelemetry::trace::TraceId;
use otel_ml::semconv::gen_ai;
use otel_ml_testing::SpanExt as _;

use crate::asker::{Asked, Asker};
use crate::telemetry::{Ended, Traces};
use crate::verify;

/// Problems that are told one by one; the rest is counted.
const TOLD: usize = 10;
/// Users who take turns when none is named: some come again soon, some are new to the cache.
const USERS: usize = 40;

/// The spans that tell of a service what its requests waited for: their turn, and the batch.
pub const PARTS: [&str; 2] = ["queue_wait", "infer"];

/// What to ask.
#[derive(Clone, Debug)]
pub struct Load {
    /// They take turns.
    pub questions: Vec<String>,
    /// How many requests.
    pub requests: usize,
    /// How many at the same time.
    pub concurrency: usize,
    /// Who asks; many users when none is named.
    pub user: Option<String>,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Report {
    /// What each service measured, and the client.
    pub services: BTreeMap<&'static str, Measured>,
    /// The [`PARTS`] of that, by service and name.
    pub parts: BTreeMap<(&'static str, &'static str), Measured>,
    /// Requests sent.
    pub requests: usize,
    /// Requests without an answer.
    pub failed: usize,
    /// The traces they were sent with.
    pub traces: HashSet<TraceId>,
    /// The first of what was wrong.
    pub problems: Vec<String>,
    /// How much was wrong.
    pub problem_count: usize,
}

/// The requests that a service answered, or parts of them.
#[derive(Clone, Debug, Default)]
pub struct Measured {
    /// How long each took.
    pub durations: Vec<Duration>,
    /// How many failed.
    pub errors: usize,
    /// Tokens that went in.
    pub input_tokens: u64,
    /// Tokens that came out.
    pub output_tokens: u64,
}

/// Sends all requests; `on_done` is called after each.
pub async fn run(asker: &Asker, traces: &Traces, load: &Load, on_done: impl Fn()) -> Report {
    let unfollowed = traces.unfollowed();
    let requests = futures_util::stream::iter(0..load.requests).map(async |number| {
        let question = number.checked_rem(load.questions.len());
        let question = question.and_then(|at| load.questions.get(at));
        let user = match &load.user {
            Some(user) => user.clone(),
            None => format!("user-{}", number % USERS),
        };
        let question = question.map_or("", String::as_str);
        asker.ask(question, &user, |_| {}).await
    });
    let mut asked = std::pin::pin!(requests.buffer_unordered(load.concurrency));
    let mut report = Report::default();
    while let Some(asked) = asked.next().await {
        report.add(asked);
        on_done();
    }
    let strays = traces.unfollowed().saturating_sub(unfollowed);
    if strays > 0 {
        report.complain([format!("{strays} traces belong to no request")]);
    }
    report
}

impl Report {
    fn add(&mut self, asked: Asked) {
        self.requests += 1;
        self.traces.insert(asked.trace);
        self.complain(verify::problems(asked.trace, &asked.spans));
        if let Err(error) = &asked.reply {
            self.failed += 1;
            self.complain([format!("trace {}: {error}", asked.trace)]);
        }
        let whole = self.services.entry(crate::asker::SERVICE).or_default();
        whole.durations.push(asked.took);
        whole.errors += usize::from(asked.reply.is_err());
        if let Ok(reply) = &asked.reply {
            whole.input_tokens += reply.usage.prompt_tokens;
            whole.output_tokens += reply.usage.completion_tokens;
        }
        let mut tokens: BTreeMap<&'static str, (u64, u64)> = BTreeMap::new();
        for ended in &asked.spans {
            // A service may tell the same tokens on several of its spans.
            let (input, output) = tokens.entry(ended.service).or_default();
            *input = (*input).max(count(ended, gen_ai::USAGE_INPUT_TOKENS));
            *output = (*output).max(count(ended, gen_ai::USAGE_OUTPUT_TOKENS));
            if ended.is_request() {
                let measured = self.services.entry(ended.service).or_default();
                measured.add(ended);
            }
            if let Some(part) = PARTS.into_iter().find(|part| ended.span.name == *part) {
                let measured = self.parts.entry((ended.service, part)).or_default();
                measured.add(ended);
            }
        }
        for (service, (input, output)) in tokens {
            let measured = self.services.entry(service).or_default();
            measured.input_tokens += input;
            measured.output_tokens += output;
        }
    }

    fn complain(&mut self, problems: impl IntoIterator<Item = String>) {
        for problem in problems {
            self.problem_count += 1;
            if self.problems.len() < TOLD {
                self.problems.push(problem);
            }
        }
    }

    /// Whether every request was answered and every span is where it belongs.
    pub fn is_fine(&self) -> bool {
        self.problem_count == 0 && self.traces.len() == self.requests
    }
}

fn count(ended: &Ended, key: &str) -> u64 {
    match ended.span.attr(key) {
        Some(Value::I64(count)) => u64::try_from(*count).unwrap_or(0),
        _ => 0,
    }
}

impl Measured {
    fn add(&mut self, ended: &Ended) {
        self.durations.push(ended.span.duration());
        self.errors += usize::from(ended.span.is_error());
    }

    /// The duration that this share (0 to 1) of the requests did not exceed.
    pub fn percentile(&self, share: f64) -> Duration {
        let mut sorted = self.durations.clone();
        sorted.sort_unstable();
        #[expect(
            clippy::cast_possible_truncation,
            reason = "a count times a share is a count"
        )]
        let rank = (sorted.len() as f64 * share).ceil() as usize;
        let at = rank.saturating_sub(1).min(sorted.len().saturating_sub(1));
        sorted.get(at).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_one_of_the_durations() {
        let measured = |millis: &[u64]| Measured {
            durations: millis.iter().map(|ms| Duration::from_millis(*ms)).collect(),
            ..Measured::default()
        };
        let hundred: Vec<u64> = (1..=100).rev().collect();
        for (share, millis) in [(0.5, 50), (0.95, 95), (0.99, 99), (1.0, 100), (0.0, 1)] {
            let found = measured(&hundred).percentile(share);
            assert_eq!(found, Duration::from_millis(millis), "{share}");
        }
        assert_eq!(measured(&[7]).percentile(0.99), Duration::from_millis(7));
        assert_eq!(measured(&[]).percentile(0.5), Duration::ZERO);
    }

    #[test]
    fn problems_are_counted_and_the_first_kept() {
        let mut report = Report::default();
        assert!(report.is_fine());
        report.complain((0..TOLD + 5).map(|n| n.to_string()));
        assert_eq!(
            (report.problems.len(), report.problem_count),
            (TOLD, TOLD + 5)
        );
        assert!(!report.is_fine());
        // Two requests in one trace are mixed up, whatever their spans look like.
        let twice = Report {
            requests: 2,
            traces: HashSet::from([TraceId::from(1)]),
            ..Report::default()
        };
        assert!(!twice.is_fine());
    }
}
