//! What every transport must get right, over real HTTP/2 connections: server and client, each
//! for the four kinds of calls. One test in a program of its own: some cells set the global
//! providers.

#![cfg(test)]

#[path = "it/support.rs"]
#[allow(dead_code, reason = "shared with the other tests")]
mod support;
#[path = "matrix/world.rs"]
mod world;

#[path = "matrix/ends.rs"]
mod ends;
#[path = "matrix/parents.rs"]
mod parents;
#[path = "matrix/setup.rs"]
mod setup;

use std::io::Write as _;

use otel_ml_testing::matrix::{Matrix, NotApplicable, Row, Transport};
use support::Kind;
use world::{Side, Tested};

macro_rules! cells {
    ($transport:expr, $tested:expr, $($row:ident => $check:path),+ $(,)?) => {{
        let tested: Tested = $tested;
        $transport$(.cell(Row::$row, move || $check(tested)))+
    }};
}

fn column(tested: Tested) -> Transport {
    let name = format!("{:?} {:?}", tested.side, tested.kind);
    let transport = cells!(
        Transport::new(name), tested,
        Success => ends::success,
        InnerError => ends::inner_error,
        HandlerPanic => ends::handler_panic,
        PanicCaughtOutside => ends::panic_caught_outside,
        DroppedUnpolled => ends::dropped_unpolled,
        DroppedMidway => ends::dropped_midway,
        Empty => ends::empty,
        EndedOnce => ends::ended_once,
        TraceparentAbsent => parents::absent,
        UnsampledParent => parents::unsampled,
        Filtered => parents::filtered,
        Children => parents::children,
        ChildrenInstrumented => parents::children_instrumented,
        Concurrent => parents::concurrent,
        FactRewritten => parents::fact_rewritten,
        NoSdk => setup::no_sdk,
        BuiltBeforeProvider => setup::built_before_provider,
        ProviderShutDown => setup::provider_shut_down,
        ProviderReplaced => setup::provider_replaced,
        PollReady => setup::poll_ready,
        SensitiveHeaders => setup::sensitive_headers,
    );
    let transport = transport.na(Row::InFlightZero, NotApplicable::NoInFlight);
    match tested.side {
        Side::Server => cells!(
            transport, tested,
            TraceparentMalformed => parents::malformed,
            TraceparentDuplicate => parents::duplicate,
            TraceparentFuture => parents::future_version,
        ),
        Side::Client => [
            Row::TraceparentMalformed,
            Row::TraceparentDuplicate,
            Row::TraceparentFuture,
        ]
        .into_iter()
        .fold(transport, |transport, row| {
            transport.na(row, NotApplicable::Outgoing)
        }),
    }
}

#[tokio::test]
async fn all_kinds_of_calls_get_every_row_right_over_the_wire() {
    let mut matrix = Matrix::new();
    for side in [Side::Server, Side::Client] {
        for kind in Kind::ALL {
            matrix = matrix.transport(column(Tested { side, kind }));
        }
    }
    let report = matrix.run().await;
    // Past the capture of test output: the table is wanted also when all is well.
    writeln!(std::io::stdout(), "{report}").expect("a place to print to");
    report.assert_passed();
}
