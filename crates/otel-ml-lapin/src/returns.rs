//! Which publishing a message that came back is of.
//!
//! The broker returns a message before it answers it, and lapin hands what came back to the next
//! answer that it reads. Where one answer is to several messages, or another's comes first, that
//! is the wrong one. So what came back is told by what it says, and a message that may have
//! come back with another's answer is in doubt until the answers that were under way are there.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lapin::types::ShortString;
use otel_ml::messaging::ClientRecord;
use otel_ml::opentelemetry::trace::{SpanId, TraceId};
use otel_ml::semconv::ml;
use otel_ml::{ErrorType, Operation, Outcome, Since};

/// As many are kept in doubt at most, and as many of what came back: with answers that nobody
/// ever looks at, and never drops, it would be ever more.
const MOST: usize = 4_096;

/// What tells a message from others of its channel, as far as anything is recorded of it: two
/// that are alike in this have one span or none, and the same metrics.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Sent {
    pub(crate) sender: (TraceId, SpanId),
    pub(crate) exchange: ShortString,
    pub(crate) routing_key: ShortString,
}

/// What class of error, and whether trying again may help.
pub(crate) type Failure = (ErrorType, Option<bool>);

/// Ends `operation` as failed, now or as of `at`.
pub(crate) fn fail(operation: &mut Operation<ClientRecord>, failure: Failure, at: Option<Since>) {
    let (class, is_transient) = failure;
    let Some(record) = operation.record_mut() else {
        return;
    };
    if let Some(is_transient) = is_transient {
        record.tell(ml::ERROR_TRANSIENT, is_transient);
    }
    let outcome = Outcome::Failed(class);
    match at {
        None => operation.end(&outcome),
        Some(at) => operation.end_as_of(at, &outcome),
    }
}

/// The publishings of a channel that are under way.
#[derive(Default)]
pub(crate) struct Returns(Mutex<Board>);

#[derive(Default)]
struct Board {
    next: u64,
    /// Those whose answer nobody has looked at yet, in order.
    open: VecDeque<u64>,
    /// What came back with another's answer, and is nobody's yet.
    unclaimed: VecDeque<(Sent, Failure, u64)>,
    /// Those that may have come back with another's answer.
    doubtful: VecDeque<Doubtful>,
}

struct Doubtful {
    sent: Sent,
    operation: Operation<ClientRecord>,
    answered: Since,
    /// Once all before this one are answered, it hasn't come back.
    until: u64,
}

impl Returns {
    /// A publishing begins; `sent` is what it would come back as, if it can.
    pub(crate) fn begin(self: &Arc<Self>) -> Ticket {
        let mut board = self.lock();
        let number = board.next;
        board.next += 1;
        board.open.push_back(number);
        Ticket {
            returns: Arc::clone(self),
            number,
            sent: None,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Board> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Returns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Returns").finish_non_exhaustive()
    }
}

/// A publishing that is under way, until this is dropped.
#[derive(Debug)]
pub(crate) struct Ticket {
    returns: Arc<Returns>,
    number: u64,
    /// What it would come back as, if it can.
    pub(crate) sent: Option<Sent>,
}

impl Ticket {
    /// Its answer is there, which is an ack if `is_ack`, and brought what `came` back. Returns
    /// why `operation` has failed, if it came back. Takes the operation while that is in
    /// doubt.
    pub(crate) fn answered(
        mut self,
        is_ack: bool,
        came: Option<(Sent, Failure)>,
        operation: &mut Operation<ClientRecord>,
    ) -> Option<Failure> {
        let sent = self.sent.take();
        let mut ended = None;
        let mut board = self.returns.lock();
        board.close(self.number);
        let mut failure = None;
        if let Some((message, why)) = came {
            if sent.as_ref() == Some(&message) {
                failure = Some(why);
            } else {
                ended = board.hand_over(message, why);
            }
        }
        if let (None, Some(sent)) = (&failure, sent) {
            failure = board.claim(&sent);
            if failure.is_none() && is_ack && !board.open.is_empty() {
                let until = board.next;
                board.doubtful.push_back(Doubtful {
                    sent,
                    operation: operation.take(),
                    answered: Since::now(),
                    until,
                });
            }
        }
        drop(board);
        if let Some((mut doubtful, why)) = ended {
            fail(&mut doubtful.operation, why, Some(doubtful.answered));
        }
        // Dropping it looks at those that are no longer in doubt.
        failure
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut board = self.returns.lock();
        board.close(self.number);
        let over = board.over();
        drop(board);
        for mut doubtful in over {
            doubtful
                .operation
                .end_as_of(doubtful.answered, &Outcome::Ok);
        }
    }
}

impl Board {
    fn close(&mut self, number: u64) {
        if let Ok(at) = self.open.binary_search(&number) {
            self.open.remove(at);
        }
    }

    /// Gives what came back to the one in doubt that it is, or keeps it.
    fn hand_over(&mut self, message: Sent, why: Failure) -> Option<(Doubtful, Failure)> {
        let is_it = |doubtful: &Doubtful| doubtful.sent == message;
        if let Some(at) = self.doubtful.iter().position(is_it) {
            return self.doubtful.remove(at).map(|doubtful| (doubtful, why));
        }
        self.unclaimed.push_back((message, why, self.next));
        None
    }

    fn claim(&mut self, sent: &Sent) -> Option<Failure> {
        let is_it = |(message, ..): &(Sent, Failure, u64)| message == sent;
        let at = self.unclaimed.iter().position(is_it)?;
        self.unclaimed.remove(at).map(|(_, why, _)| why)
    }

    /// Those that haven't come back. What came back of a message whose answer nobody looked
    /// at is forgotten.
    fn over(&mut self) -> Vec<Doubtful> {
        let first = self.open.front().copied().unwrap_or(self.next);
        while let Some((.., until)) = self.unclaimed.front()
            && (*until <= first || self.unclaimed.len() > MOST)
        {
            self.unclaimed.pop_front();
        }
        let mut over = Vec::new();
        while let Some(doubtful) = self.doubtful.front()
            && (doubtful.until <= first || self.doubtful.len() > MOST)
        {
            over.extend(self.doubtful.pop_front());
        }
        over
    }
}

#[cfg(test)]
mod tests {
    use otel_ml::Options;
    use otel_ml::messaging::{Client, Destination, send};
    use otel_ml_testing::{SpanExt as _, TestTelemetry};

    use super::*;

    const WHY: Failure = (ErrorType::new("NO_ROUTE"), Some(false));

    fn sent(number: u64) -> Sent {
        Sent {
            sender: (TraceId::from(1), SpanId::from(number)),
            exchange: ShortString::default(),
            routing_key: "nobody".into(),
        }
    }

    /// A message that can come back, and its operation.
    fn mandatory(
        returns: &Arc<Returns>,
        test: &TestTelemetry,
        number: u64,
    ) -> (Ticket, Operation<ClientRecord>) {
        let options = Options::<()> {
            telemetry: test.telemetry(),
            ..Options::default()
        };
        let client = Client::of("rabbitmq");
        let destination = Destination::named("nobody");
        let operation = send(
            "publish",
            &client,
            &destination,
            None,
            None,
            &options,
            |_| (),
        );
        let mut ticket = returns.begin();
        ticket.sent = Some(sent(number));
        (ticket, operation)
    }

    /// Answers it with what `came` back; whether its span has ended, and failed.
    fn answered(
        test: &TestTelemetry,
        (ticket, mut operation): (Ticket, Operation<ClientRecord>),
        came: Option<u64>,
    ) -> Option<bool> {
        let came = came.map(|number| (sent(number), WHY));
        match ticket.answered(true, came, &mut operation) {
            Some(why) => fail(&mut operation, why, None),
            None => operation.end(&Outcome::Ok),
        }
        test.spans().last().map(|span| span.is_error())
    }

    #[test]
    fn e11_it_came_back_with_an_answer_that_is_looked_at_before_its_own() {
        let (returns, test) = (Arc::new(Returns::default()), TestTelemetry::new());
        let (first, second) = (mandatory(&returns, &test, 1), mandatory(&returns, &test, 2));
        // It may be the second that brings this one back.
        assert_eq!(answered(&test, first, Some(2)), None);
        assert_eq!(test.open_spans().len(), 2);
        assert_eq!(answered(&test, second, None), Some(true));
        let failed: Vec<_> = test.spans().iter().map(|span| span.is_error()).collect();
        assert_eq!(failed, [false, true]);
        assert_eq!(test.open_spans(), [""; 0]);
    }

    #[test]
    fn e11_it_came_back_with_an_answer_that_is_looked_at_after_its_own() {
        let (returns, test) = (Arc::new(Returns::default()), TestTelemetry::new());
        let (first, second) = (mandatory(&returns, &test, 1), mandatory(&returns, &test, 2));
        assert_eq!(answered(&test, first, None), None);
        let then = std::time::SystemTime::now();
        while std::time::SystemTime::now() == then {}
        assert_eq!(answered(&test, second, Some(1)), Some(false));
        let spans = test.spans();
        assert!(spans[0].is_error() && !spans[1].is_error());
        // It ends as of its answer.
        assert!(spans[0].end_time <= then);
        assert_eq!(test.open_spans(), [""; 0]);
    }

    #[test]
    fn e11_an_answer_that_nobody_looks_at_keeps_nothing_open_or_in_mind() {
        let (returns, test) = (Arc::new(Returns::default()), TestTelemetry::new());
        let never = returns.begin();
        for number in 0..2 {
            let (publishing, stray) = (mandatory(&returns, &test, number), Some(number + 100));
            assert_eq!(answered(&test, publishing, stray), None);
        }
        assert_eq!(test.open_spans().len(), 2);
        drop(never);
        assert_eq!(test.open_spans(), [""; 0]);
        assert!(test.spans().iter().all(|span| !span.is_error()));
        let board = returns.lock();
        assert!(board.open.is_empty() && board.unclaimed.is_empty() && board.doubtful.is_empty());
    }

    #[test]
    fn what_is_in_doubt_is_bounded() {
        let (returns, test) = (Arc::new(Returns::default()), TestTelemetry::new());
        let _never = returns.begin();
        for number in 0..MOST as u64 + 10 {
            let publishing = mandatory(&returns, &test, number);
            let _ = answered(&test, publishing, Some(number + 1_000_000));
        }
        assert_eq!(test.open_spans().len(), MOST);
        assert_eq!(returns.lock().unclaimed.len(), MOST);
    }
}
