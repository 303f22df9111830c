//! Without a broker: headers, and deliveries as one would bring them.

#![cfg(test)]

mod deliveries;
mod headers;
mod unrecorded;

use otel_ml_lapin::OtelMlDelivery;
use otel_ml_lapin::lapin::message::Delivery;
use otel_ml_lapin::lapin::types::{AMQPValue, FieldTable, ShortString};
use otel_ml_lapin::lapin::{BasicProperties, Consumer};

pub(crate) const SAMPLED: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
pub(crate) const UNSAMPLED: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";

pub(crate) fn short(text: &str) -> ShortString {
    ShortString::try_new(text).unwrap()
}

pub(crate) fn long(text: &str) -> AMQPValue {
    AMQPValue::LongString(text.into())
}

pub(crate) fn table(entries: &[(&str, AMQPValue)]) -> FieldTable {
    let mut table = FieldTable::default();
    for (name, value) in entries {
        table.insert(short(name), value.clone());
    }
    table
}

/// From the queue `jobs`, by the default exchange.
pub(crate) fn delivered(headers: FieldTable, redelivered: bool) -> OtelMlDelivery {
    let mut delivery = Delivery::mock(7, short(""), short("jobs"), redelivered, b"x".to_vec());
    delivery.properties = BasicProperties::default().with_headers(headers);
    OtelMlDelivery::new(delivery).queue("jobs")
}

/// Users move them from thread to thread, and share them.
const _: () = {
    const fn is_shared<T: Send + Sync>() {}
    is_shared::<OtelMlDelivery>();
    is_shared::<otel_ml_lapin::Received>();
    is_shared::<otel_ml_lapin::Confirming>();
    is_shared::<otel_ml_lapin::OtelMlProducer>();
    is_shared::<otel_ml_lapin::OtelMlConsumer>();
    is_shared::<otel_ml_lapin::OtelMlPuller>();
    is_shared::<Consumer>();
};
