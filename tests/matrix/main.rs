//! Every transport × what every transport must get right, run as one test and printed as a
//! table. One test in a program of its own: some cells set the global providers.

#![cfg(test)]

mod amqp;
mod ends;
mod grpc;
mod hop;
mod http_client;
mod http_server;
mod kafka;
mod kafka_consumer;
mod kafka_producer;
mod memory;
mod parents;
mod setup;

use std::io::Write as _;

use hop::Hop;
use memory::Messages;
use otel_ml_e2e::MemoryMessage;
use otel_ml_testing::matrix::{Matrix, NotApplicable, Row, Transport};
use otel_ml_worker::Envelope;

fn transport<H: Hop>() -> Transport {
    let transport = Transport::new(H::NAME)
        .cell(Row::Success, ends::success::<H>)
        .cell(Row::InnerError, ends::inner_error::<H>)
        .cell(Row::HandlerPanic, ends::handler_panic::<H>)
        .cell(Row::DroppedUnpolled, ends::dropped_unpolled::<H>)
        .cell(Row::DroppedMidway, ends::dropped_midway::<H>)
        .cell(Row::Empty, ends::empty::<H>)
        .cell(Row::EndedOnce, ends::ended_once::<H>)
        .cell(Row::PanicCaughtOutside, ends::panic_caught_outside::<H>)
        .cell(Row::TraceparentAbsent, parents::absent::<H>)
        .cell(Row::UnsampledParent, parents::unsampled::<H>)
        .cell(Row::Filtered, parents::filtered::<H>)
        .cell(Row::Children, parents::children::<H>)
        .cell(
            Row::ChildrenInstrumented,
            parents::children_instrumented::<H>,
        )
        .cell(Row::Concurrent, parents::concurrent::<H>)
        .cell(Row::FactRewritten, parents::fact_rewritten::<H>)
        .cell(Row::SensitiveHeaders, setup::sensitive_headers::<H>)
        .cell(Row::NoSdk, setup::no_sdk::<H>)
        .cell(Row::BuiltBeforeProvider, setup::built_before_provider::<H>)
        .cell(Row::ProviderShutDown, setup::provider_shut_down::<H>)
        .cell(Row::ProviderReplaced, setup::provider_replaced::<H>);
    let transport = if H::IS_SERVICE {
        transport.cell(Row::PollReady, H::readiness)
    } else {
        transport.na(Row::PollReady, NotApplicable::NoService)
    };
    let transport = match H::IN_FLIGHT {
        Some(_) => transport.cell(Row::InFlightZero, ends::in_flight::<H>),
        None => transport.na(Row::InFlightZero, NotApplicable::NoInFlight),
    };
    if H::READS_CONTEXT {
        transport
            .cell(Row::TraceparentMalformed, parents::malformed::<H>)
            .cell(Row::TraceparentDuplicate, parents::duplicate::<H>)
            .cell(Row::TraceparentFuture, parents::future_version::<H>)
    } else {
        outgoing(transport)
    }
}

/// Of a transport that reads no context.
fn outgoing(transport: Transport) -> Transport {
    [
        Row::TraceparentMalformed,
        Row::TraceparentDuplicate,
        Row::TraceparentFuture,
    ]
    .into_iter()
    .fold(transport, |transport, row| {
        transport.na(row, NotApplicable::Outgoing)
    })
}

#[tokio::test]
async fn every_transport_gets_every_row_right() {
    let report = Matrix::new()
        .transport(transport::<http_server::HttpServer>())
        .transport(transport::<http_client::HttpClient>())
        .transport(transport::<grpc::GrpcServer>())
        .transport(transport::<grpc::GrpcClient>())
        .transport(transport::<Messages<MemoryMessage>>())
        .transport(transport::<Messages<Envelope<()>>>())
        .transport(transport::<kafka::Kafka>())
        .transport(transport::<kafka_consumer::KafkaConsumer>())
        .transport(kafka_producer::transport())
        .transport(transport::<amqp::Amqp<false>>())
        .transport(transport::<amqp::Amqp<true>>())
        .run()
        .await;
    // Past the capture of test output: the table is wanted also when all is well.
    writeln!(std::io::stdout(), "{report}").expect("a place to print to");
    report.assert_passed();
}
