//! Against the RabbitMQ that `AMQP_URL` names.

#![cfg(test)]

mod consuming;
mod parents;
mod publishing;
mod returned;
mod settling;
mod support;
