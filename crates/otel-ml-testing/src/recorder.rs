//! The span processor behind [`TestTelemetry`](crate::TestTelemetry).

use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use opentelemetry::Context;
use opentelemetry::trace::{Span as _, SpanContext, SpanId, TraceId};
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{Span, SpanData, SpanProcessor};
use tokio::sync::watch;

/// Keeps every ended span. What it holds is shared by its clones and outlives the
/// provider: the SDK's in-memory exporter forgets everything at shutdown, which is
/// just when a test wants to look.
#[derive(Clone, Debug)]
pub(crate) struct Recorder {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    ended: Condvar,
    finished: watch::Sender<usize>,
}

#[derive(Debug, Default)]
struct State {
    finished: Vec<SpanData>,
    open: HashMap<(TraceId, SpanId), String>,
}

impl Recorder {
    pub(crate) fn new() -> Self {
        Self {
            shared: Arc::new(Shared {
                state: Mutex::default(),
                ended: Condvar::new(),
                finished: watch::Sender::new(0),
            }),
        }
    }

    pub(crate) fn finished(&self) -> Vec<SpanData> {
        self.lock().finished.clone()
    }

    pub(crate) fn take(&self) -> Vec<SpanData> {
        let mut state = self.lock();
        self.shared.finished.send_replace(0);
        std::mem::take(&mut state.finished)
    }

    pub(crate) fn open(&self) -> Vec<String> {
        let mut names: Vec<String> = self.lock().open.values().cloned().collect();
        names.sort_unstable();
        names
    }

    /// Blocks until `count` spans have ended; `false` when `deadline` came first.
    pub(crate) fn block_until(&self, count: usize, deadline: Duration) -> bool {
        let (_state, waited) = self
            .shared
            .ended
            .wait_timeout_while(self.lock(), deadline, |state| state.finished.len() < count)
            .unwrap_or_else(PoisonError::into_inner);
        !waited.timed_out()
    }

    /// Waits until `count` spans have ended; `false` when `deadline` came first.
    pub(crate) async fn until(&self, count: usize, deadline: Duration) -> bool {
        let mut finished = self.shared.finished.subscribe();
        let enough = finished.wait_for(|&ended| ended >= count);
        tokio::time::timeout(deadline, enough).await.is_ok()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A poisoned lock means that a test failed elsewhere; the spans are still good.
        self.shared
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl SpanProcessor ===

impl SpanProcessor for Recorder {
    fn on_start(&self, span: &mut Span, _cx: &Context) {
        let key = key(span.span_context());
        let name = span.exported_data().map(|data| data.name.into_owned());
        self.lock().open.insert(key, name.unwrap_or_default());
    }

    fn on_end(&self, span: SpanData) {
        let mut state = self.lock();
        state.open.remove(&key(&span.span_context));
        if span.span_context.is_sampled() {
            state.finished.push(span);
        }
        // Under the lock: of two spans that end at once, the later count must win.
        self.shared.finished.send_replace(state.finished.len());
        drop(state);
        self.shared.ended.notify_all();
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _timeout: Duration) -> OTelSdkResult {
        Ok(())
    }
}

fn key(context: &SpanContext) -> (TraceId, SpanId) {
    (context.trace_id(), context.span_id())
}
