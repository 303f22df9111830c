//! `basic.get`: one message at a time, for who asks.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use lapin::options::BasicGetOptions;
use lapin::types::{MessageCount, ShortString};
use lapin::{Channel, Result};
use otel_ml::messaging::receive_one;
use otel_ml::semconv::messaging;
use otel_ml::{Outcome, Since};

use crate::consumer::Receiving;
use crate::{DefaultHooks, OtelMlConsumer, Received};

/// A [`Channel`] whose [`basic_get`](Self::basic_get) is traced. In everything else it is the
/// channel, through `Deref`.
pub struct OtelMlPuller<H = DefaultHooks> {
    pub(crate) inner: Channel,
    pub(crate) receiving: Receiving<H>,
}

impl OtelMlPuller {
    /// Wraps `channel`. [`OtelMlConsumer::builder`] has the settings.
    #[must_use]
    pub fn new(channel: Channel) -> Self {
        OtelMlConsumer::builder().pull(channel)
    }
}

impl<H> OtelMlPuller<H> {
    /// [`Channel::basic_get`] in a `receive {destination}` CLIENT span with a link to the sender,
    /// from the call to its answer. The message is counted as consumed here, and not once more
    /// where it is processed. An empty queue is no message, and records nothing.
    ///
    /// # Errors
    /// Those of the channel, without a span: nothing was received.
    pub async fn basic_get(
        &self,
        queue: ShortString,
        options: BasicGetOptions,
    ) -> Result<Option<Pulled<H>>> {
        let since = Since::now();
        let name = queue.as_str().to_owned();
        let Some(message) = self.inner.basic_get(queue, options).await? else {
            return Ok(None);
        };
        let mut receiving = self.receiving.clone();
        if receiving.origin.queue != name {
            Arc::make_mut(&mut receiving.origin).queue = name;
        }
        let mut received = receiving.received(message.delivery);
        if receiving.is_recorded() {
            let get = messaging::operation::RECEIVE;
            let client = receiving.origin.client();
            let delivery = &received.delivery;
            receive_one(get, &client, delivery, since, &receiving.options).finish(Outcome::Ok);
        }
        received.delivery.set_counted();
        Ok(Some(Pulled {
            received,
            message_count: message.message_count,
        }))
    }

    /// The channel.
    pub const fn get_ref(&self) -> &Channel {
        &self.inner
    }
}

impl<H> Deref for OtelMlPuller<H> {
    type Target = Channel;

    fn deref(&self) -> &Channel {
        &self.inner
    }
}

impl<H> Clone for OtelMlPuller<H> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            receiving: self.receiving.clone(),
        }
    }
}

impl<H> fmt::Debug for OtelMlPuller<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OtelMlPuller")
            .field("origin", &self.receiving.origin)
            .finish_non_exhaustive()
    }
}

/// A message that was asked for, as lapin's `BasicGetMessage` is.
#[derive(Debug)]
pub struct Pulled<H = DefaultHooks> {
    /// The message.
    pub received: Received<H>,
    /// How many are left in the queue.
    pub message_count: MessageCount,
}

impl<H> Deref for Pulled<H> {
    type Target = Received<H>;

    fn deref(&self) -> &Received<H> {
        &self.received
    }
}
