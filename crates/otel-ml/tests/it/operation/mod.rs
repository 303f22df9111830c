//! One span's life.

mod ends;
mod outcomes;
mod start;

use std::sync::{Arc, Mutex};

use otel_ml::{CancelReason, End, ErrorType, Outcome, Record};

/// Keeps what it was told at the end, and measures as a server does.
#[derive(Clone, Debug, Default)]
struct Ends(Arc<Mutex<Vec<Told>>>);

#[derive(Clone, Debug, PartialEq)]
struct Told {
    outcome: Outcome,
    error: Option<ErrorType>,
    is_recording: bool,
}

impl Ends {
    fn told(&self) -> Vec<Told> {
        self.0.lock().unwrap().clone()
    }
}

impl Record for Ends {
    fn record(&mut self, end: &mut End<'_>) {
        self.0.lock().unwrap().push(Told {
            outcome: end.outcome.clone(),
            error: end.error.cloned(),
            is_recording: end.is_recording(),
        });
        end.set("late", 1_i64);
        if let Some(instruments) = end.instruments {
            let labels: Vec<_> = end.error_label().into_iter().collect();
            instruments
                .http_server_request_duration
                .record(end.duration.as_secs_f64(), &labels);
        }
    }
}

const DROPPED: Outcome = Outcome::Cancelled(CancelReason::Dropped);
const PANICKED: Outcome = Outcome::Failed(ErrorType::PANIC);
