//! What a consumer was handed, and its processing.

use std::fmt;
use std::future::Future;
use std::ops::Deref;
use std::sync::Arc;

use lapin::message::Delivery;
use otel_ml::Options;
use otel_ml::hooks::AllHooks;
use otel_ml::messaging::{Message as _, process_by};
use otel_ml::opentelemetry::Context;

use crate::{DefaultHooks, OtelMlDelivery};

/// A message that was received, with its sender's context.
///
/// It derefs to [`OtelMlDelivery`], and by that to lapin's `Delivery`: whatever takes a `&Delivery`
/// takes it, too.
pub struct Received<H = DefaultHooks> {
    pub(crate) delivery: OtelMlDelivery,
    pub(crate) options: Arc<Options<H>>,
}

impl<H> Received<H> {
    /// Runs `handler` on the message in a `process {destination}` CONSUMER span, which is the
    /// sender's child and is linked to it; where a span is active, a child of that one, linked
    /// to the sender (see [`ParentPolicy`](otel_ml::ParentPolicy)). The sender's baggage is
    /// there in any case.
    ///
    /// Processing does not settle: see [`ack`](OtelMlDelivery::ack). Handle a message twice, and
    /// there are two spans.
    ///
    /// # When it ends
    /// With the handler: with its result, when it panics (the panic goes on), or when the
    /// future is dropped, then as cancelled. Dropped before its first poll it records nothing.
    /// A channel that closes while the handler runs doesn't end it: the handler does, and its
    /// settling fails.
    ///
    /// # Errors
    /// The handler's.
    pub async fn process<'s, T, E, F, Fut>(&'s self, handler: F) -> Result<T, E>
    where
        F: FnOnce(&'s OtelMlDelivery) -> Fut,
        Fut: Future<Output = Result<T, E>>,
        E: 'static,
        H: AllHooks<OtelMlDelivery>,
    {
        let handler = || {
            // For what settles it behind the handler.
            self.delivery.processed.get_or_init(Context::current);
            handler(&self.delivery)
        };
        process_by(&self.delivery, &self.options, handler).await
    }

    /// What its sender put into it: empty where it put nothing, never the current context.
    #[must_use]
    pub fn sender(&self) -> Context {
        self.delivery.sender(&self.options.telemetry)
    }

    /// The message with its sender's context, for a service behind the core's
    /// [`OtelMlConsumerLayer`](otel_ml::OtelMlConsumerLayer).
    #[must_use]
    pub fn into_delivery(self) -> OtelMlDelivery {
        self.delivery
    }

    /// lapin's delivery itself.
    #[must_use]
    pub fn into_inner(self) -> Delivery {
        self.delivery.into_inner()
    }
}

impl<H> Deref for Received<H> {
    type Target = OtelMlDelivery;

    fn deref(&self) -> &OtelMlDelivery {
        &self.delivery
    }
}

impl<H> fmt::Debug for Received<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.delivery.fmt(f)
    }
}
