//! Whether a trace is what a question must leave: all of it, and nothing of another's.

use std::collections::HashMap;

use otel_ml::opentelemetry::trace::{SpanId, SpanKind, TraceId};
use otel_ml::opentelemetry::{Array, Value};
use otel_ml::semconv::{http as keys, messaging, rpc, url};
use otel_ml_testing::SpanExt as _;

use crate::asker;
use crate::client::REQUEST_ID;
use crate::hops::{Stage, audit};
use crate::telemetry::Ended;

/// What is wrong with `spans`, which should be all of the trace that was `expected` before
/// the request was sent; empty when nothing is.
pub fn problems(expected: TraceId, spans: &[Ended]) -> Vec<String> {
    let trace = Trace::new(expected, spans);
    let mut problems = trace.foreign();
    problems.extend(trace.roots());
    problems.extend(trace.parents());
    problems.extend(trace.services());
    problems.extend(trace.pairs());
    problems.extend(trace.audits());
    for problem in &mut problems {
        *problem = format!("trace {expected}: {problem}");
    }
    problems
}

struct Trace<'a> {
    expected: TraceId,
    spans: &'a [Ended],
    by_id: HashMap<SpanId, &'a Ended>,
}

impl<'a> Trace<'a> {
    fn new(expected: TraceId, spans: &'a [Ended]) -> Self {
        let ids = spans.iter().map(|ended| (id(ended), ended));
        Self {
            expected,
            spans,
            by_id: ids.collect(),
        }
    }

    /// Spans of another trace, or of another request: each service wrote down which request it
    /// was told, by a header of its own.
    fn foreign(&self) -> Vec<String> {
        let mut problems = Vec::new();
        for ended in self.spans {
            let trace = ended.span.span_context.trace_id();
            if trace != self.expected {
                problems.push(format!("{} is of trace {trace}", name(ended)));
            }
            if ended.span.span_kind == SpanKind::Server {
                let told = request_id(ended);
                if told.as_deref() != Some(&self.expected.to_string()) {
                    problems.push(format!("{} is of request {told:?}", name(ended)));
                }
            }
        }
        problems
    }

    fn roots(&self) -> Option<String> {
        let roots: Vec<_> = self
            .spans
            .iter()
            .filter(|e| e.span.parent().is_none())
            .collect();
        let is_ours =
            |root: &Ended| root.service == asker::SERVICE && root.span.name == asker::ROOT;
        match roots.as_slice() {
            [root] if is_ours(root) => None,
            roots => {
                let names: Vec<_> = roots.iter().map(|root| name(root)).collect();
                Some(format!("roots are {names:?}"))
            }
        }
    }

    fn parents(&self) -> Vec<String> {
        let missing = self.spans.iter().filter(|ended| {
            let parent = ended.span.parent();
            parent.is_some_and(|parent| !self.by_id.contains_key(&parent))
        });
        missing
            .map(|ended| format!("the parent of {} is missing", name(ended)))
            .collect()
    }

    /// Each service has served exactly one request, by whatever it came.
    fn services(&self) -> Vec<String> {
        let mut problems = Vec::new();
        for stage in Stage::ALL {
            let served = self.spans.iter().filter(|ended| ended.is_request());
            let served = served
                .filter(|ended| ended.service == stage.as_str())
                .count();
            if served != 1 {
                problems.push(format!("{} has served {served} requests", stage.as_str()));
            }
        }
        problems
    }

    /// Each request sent was served by another service, each one served was sent.
    fn pairs(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let mut answered: HashMap<SpanId, usize> = HashMap::new();
        for served in self.of_kind(&SpanKind::Server) {
            let parent = served.span.parent().and_then(|id| self.by_id.get(&id));
            match parent {
                Some(sent) if is_sent(sent) && sent.service != served.service => {
                    *answered.entry(id(sent)).or_default() += 1;
                }
                _ => problems.push(format!("{} was sent by none", name(served))),
            }
        }
        for sent in self.spans.iter().filter(|ended| is_sent(ended)) {
            let served = answered.get(&id(sent)).copied().unwrap_or(0);
            if served != 1 {
                problems.push(format!("{} was served {served} times", name(sent)));
            }
        }
        problems
    }

    /// Each answer that was told of was audited once.
    fn audits(&self) -> Vec<String> {
        let published = self.of_kind(&SpanKind::Producer);
        let published: Vec<_> = published
            .filter(|ended| ended.span.str(messaging::OPERATION_NAME) == "publish")
            .collect();
        let problem = |published: &Ended| {
            let processed = self.of_kind(&SpanKind::Consumer).filter(|ended| {
                ended.service == audit::SERVICE && ended.span.parent() == Some(id(published))
            });
            let count = processed.count();
            (count != 1).then(|| format!("{} was processed {count} times", name(published)))
        };
        published
            .iter()
            .filter_map(|ended| problem(ended))
            .collect()
    }

    fn of_kind(&self, kind: &SpanKind) -> impl Iterator<Item = &'a Ended> {
        let kind = kind.clone();
        self.spans.iter().filter(move |e| e.span.span_kind == kind)
    }
}

/// An HTTP request or a gRPC call; the call of a model is a CLIENT span, too.
fn is_sent(ended: &Ended) -> bool {
    let is_request = ended.span.has(url::FULL) || ended.span.has(rpc::METHOD);
    ended.span.span_kind == SpanKind::Client && is_request
}

fn request_id(ended: &Ended) -> Option<String> {
    let key = |prefix| format!("{prefix}{REQUEST_ID}");
    let of_http = ended.span.attr(&key(keys::REQUEST_HEADER_PREFIX));
    match of_http.or_else(|| ended.span.attr(&key(rpc::REQUEST_METADATA_PREFIX)))? {
        Value::Array(Array::String(values)) => values.first().map(ToString::to_string),
        _ => None,
    }
}

fn id(ended: &Ended) -> SpanId {
    ended.span.span_context.span_id()
}

fn name(ended: &Ended) -> String {
    format!("{} '{}'", ended.service, ended.span.name)
}
