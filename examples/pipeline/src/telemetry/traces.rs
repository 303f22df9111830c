//! Traces while they run: which of them are complete, and the spans of those that are followed.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use opentelemetry_sdk::trace::SpanData;
use otel_ml::opentelemetry::trace::{SpanKind, TraceId};
use otel_ml::semconv::messaging;
use otel_ml_testing::SpanExt as _;
use tokio::sync::oneshot;

use crate::hops::retrieve;

/// A span that has ended.
#[derive(Clone, Debug)]
pub struct Ended {
    /// The service that recorded it.
    pub service: &'static str,
    /// What it recorded.
    pub span: SpanData,
}

impl Ended {
    /// Whether it is what its service was asked for, by HTTP or by Kafka: replies are messages,
    /// too.
    pub fn is_request(&self) -> bool {
        match self.span.span_kind {
            SpanKind::Server => true,
            SpanKind::Consumer => {
                let topic = self.span.attr(messaging::DESTINATION_TEMPLATE);
                topic.is_some_and(|topic| topic.as_str() == retrieve::TOPICS.requests)
            }
            _ => false,
        }
    }
}

/// The traces that have spans open, in any of the services.
///
/// All services are in one process here, so it is known when a trace is complete: when none of
/// its spans is open any more, and each message that was sent has been processed. Nothing is kept of a trace that nobody follows.
#[derive(Debug, Default)]
pub struct Traces(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    live: HashMap<TraceId, Live>,
    unfollowed: usize,
}

#[derive(Debug, Default)]
struct Live {
    open: usize,
    follower: Option<Follower>,
}

#[derive(Debug)]
struct Follower {
    ended: Vec<Ended>,
    /// Messages that were sent and are still to be processed, by a span that is not yet open.
    awaited: usize,
    is_complete: oneshot::Sender<()>,
}

impl Traces {
    /// Keeps the spans of `trace` that end from now on.
    pub fn follow(self: &Arc<Self>, trace: TraceId) -> Following {
        let (is_complete, completion) = oneshot::channel();
        self.lock().live.entry(trace).or_default().follower = Some(Follower {
            ended: Vec::new(),
            awaited: 0,
            is_complete,
        });
        Following {
            traces: Arc::clone(self),
            trace,
            completion,
        }
    }

    /// How many traces came to their end without being followed, nor linked to others.
    pub fn unfollowed(&self) -> usize {
        self.lock().unfollowed
    }

    pub(super) fn started(&self, trace: TraceId) {
        self.lock().live.entry(trace).or_default().open += 1;
    }

    pub(super) fn ended(&self, ended: Ended) {
        let mut state = self.lock();
        let trace = ended.span.span_context.trace_id();
        let Entry::Occupied(mut entry) = state.live.entry(trace) else {
            return;
        };
        let live = entry.get_mut();
        live.open = live.open.saturating_sub(1);
        let is_complete = live.open == 0;
        match &mut live.follower {
            Some(follower) => {
                match ended.span.span_kind {
                    SpanKind::Producer if !ended.span.is_error() => follower.awaited += 1,
                    SpanKind::Consumer => {
                        follower.awaited = follower.awaited.saturating_sub(1);
                    }
                    _ => {}
                }
                follower.ended.push(ended);
                if is_complete && follower.awaited == 0 {
                    // The spans stay until the follower takes them.
                    let (told, _) = oneshot::channel();
                    let tell = std::mem::replace(&mut follower.is_complete, told);
                    let _ = tell.send(());
                }
            }
            None if is_complete => {
                entry.remove();
                // A batch is a trace of its own, and belongs to the requests it links to.
                state.unfollowed += usize::from(ended.span.links.is_empty());
            }
            None => {}
        }
    }

    // A panic elsewhere cannot leave a count half written.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A trace whose spans are kept.
#[derive(Debug)]
pub struct Following {
    traces: Arc<Traces>,
    trace: TraceId,
    completion: oneshot::Receiver<()>,
}

impl Following {
    /// The spans once none is open any more; after `patience` those that have ended so far.
    pub async fn spans(mut self, patience: Duration) -> Vec<Ended> {
        let _ = tokio::time::timeout(patience, &mut self.completion).await;
        let live = self.traces.lock().live.remove(&self.trace);
        let follower = live.and_then(|live| live.follower);
        follower.map(|follower| follower.ended).unwrap_or_default()
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        let mut state = self.traces.lock();
        if let Entry::Occupied(mut entry) = state.live.entry(self.trace) {
            entry.get_mut().follower = None;
            if entry.get().open == 0 {
                entry.remove();
            }
        }
    }
}
