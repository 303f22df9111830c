//! Messages of a broker that lives in memory.

mod batch;
mod batch_hooks;
mod client;
mod context;
mod destinations;
mod ends;
mod hooks;
mod lateness;
mod metrics;
mod parenting;
mod processed;
mod queue_wait;

use std::time::{Duration, SystemTime};

use opentelemetry::Context;
use otel_ml::messaging::{Destination, Message};
use otel_ml::{Attributes, Detail, Options, Telemetry};
use otel_ml_semconv::kafka;
use otel_ml_testing::TestTelemetry;

use crate::carriers::Records;
use crate::support::traceparent;

const SYSTEM: &str = "memory";
const PAYLOAD: &str = "the payload of the message";

/// A message on its way to a consumer.
#[derive(Clone, Debug)]
struct Letter {
    destination: Destination<'static>,
    headers: Records,
    sent_at: Option<SystemTime>,
    attempt: u32,
    group: Option<&'static str>,
    body: &'static str,
    is_counted: bool,
    offset: i64,
}

impl Letter {
    fn to(destination: Destination<'static>) -> Self {
        Self {
            destination,
            headers: Records::default(),
            sent_at: None,
            attempt: 1,
            group: None,
            body: PAYLOAD,
            is_counted: false,
            offset: 42,
        }
    }

    /// To the topic `jobs`, of the sampled sender of [`remote`](crate::support::remote) and with
    /// baggage.
    fn traced() -> Self {
        let mut letter = Self::to(Destination::named("jobs"));
        letter.headers = Records::default()
            .with("traceparent", traceparent("01"))
            .with("baggage", "tier=pro");
        letter
    }

    /// Sent so long ago.
    fn aged(self, age: Duration) -> Self {
        Self {
            sent_at: Some(SystemTime::now() - age),
            ..self
        }
    }
}

impl Message for Letter {
    fn system(&self) -> &'static str {
        SYSTEM
    }

    fn destination(&self) -> Destination<'_> {
        self.destination
    }

    fn sender(&self, telemetry: &Telemetry) -> Context {
        telemetry.extract(&self.headers)
    }

    fn sent_at(&self) -> Option<SystemTime> {
        self.sent_at
    }

    fn attempt(&self) -> u32 {
        self.attempt
    }

    fn consumer_group(&self) -> Option<&str> {
        self.group
    }

    fn body_size(&self) -> Option<u64> {
        Some(self.body.len() as u64)
    }

    fn is_counted(&self) -> bool {
        self.is_counted
    }

    fn attributes(&self, _detail: Detail, to: &mut Attributes) {
        to.push(kafka::OFFSET, self.offset);
    }
}

fn options(test: &TestTelemetry) -> Options {
    Options {
        telemetry: test.telemetry(),
        ..Options::default()
    }
}

/// The error of a handler.
#[derive(Debug, PartialEq)]
struct Rejected(&'static str);

impl std::fmt::Display for Rejected {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0)
    }
}
