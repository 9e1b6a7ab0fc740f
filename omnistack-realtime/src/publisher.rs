//! Publishing to connected clients from the app: now, or with a transaction.
//!
//! A message of a transaction is stored as an event with the channel as its key, so that it is delivered exactly if the
//! transaction commits, and in the order of the commits. The id of the event is the idempotency key: a second attempt
//! of a delivery publishes nothing.
//!
//! Messages in channels that no rule of the app matches are not stored: no client can get them. The feeds of other
//! modules send many of these.

use async_trait::async_trait;
use omnistack_core::{
    db::{self, Tx},
    events::{Delivery, Event, Events, PublishError, Subscriber},
    http::Error,
    jobs::JobError,
    module::Registry,
    realtime::{PublishRealtime, RealtimeChannel, RealtimeMessage, RealtimePublisher},
};
use serde::{Deserialize, Serialize};

use crate::{channel::ChannelKey, hub::Hub};

/// Name of the subscriber that publishes the messages of transactions.
const SUBSCRIBER: &str = "realtime.publish";

/// Registers the publisher, and the subscriber that publishes the messages of transactions.
pub(crate) fn register(registry: &mut Registry) {
    registry
        .provide_from(|ctx| {
            Ok(RealtimePublisher::new(HubPublisher { hub: ctx.get::<Hub>()?, events: ctx.get::<Events>()? }))
        })
        .subscribe(SUBSCRIBER, |ctx| Ok(PublishCommitted { hub: ctx.get::<Hub>()? }));
}

/// The publisher of the app.
struct HubPublisher {
    hub: Hub,
    events: Events,
}

#[async_trait]
impl PublishRealtime for HubPublisher {
    async fn publish(&self, message: RealtimeMessage) -> Result<(), Error> {
        self.hub.publish(message, None).await
    }

    async fn publish_in(&self, tx: &mut Tx, message: RealtimeMessage) -> Result<(), db::Error> {
        if !self.hub.has_channel(&message.channel) {
            return Ok(());
        }
        match self.events.publish_in(tx, &RealtimePublication(message)).await {
            Ok(_) => Ok(()),
            Err(PublishError::Database(error)) => Err(error),
            Err(error) => Err(db::Error::new(db::ErrorKind::Other, error.into())),
        }
    }

    fn has_channel(&self, channel: &RealtimeChannel) -> bool {
        self.hub.has_channel(channel)
    }
}

/// The event that a transaction with a message to connected clients has committed.
#[derive(Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct RealtimePublication(RealtimeMessage);

impl Event for RealtimePublication {
    const NAME: &'static str = "realtime.publication";

    fn key(&self) -> String {
        ChannelKey::new(&self.0.channel).as_str().to_owned()
    }
}

/// The subscriber that publishes the messages of transactions.
struct PublishCommitted {
    hub: Hub,
}

#[async_trait]
impl Subscriber for PublishCommitted {
    type Event = RealtimePublication;

    async fn handle(&self, event: RealtimePublication, delivery: &mut Delivery) -> Result<(), JobError> {
        let mut message = event.0;
        let id = delivery.id();
        let is_last = delivery.attempt() >= Self::MAX_ATTEMPTS;
        let channel = message.channel.name().to_owned();
        message.key.get_or_insert_with(|| id.to_string());
        match self.hub.publish(message, None).await {
            Ok(()) => Ok(()),
            Err(error) if error.status().is_server_error() && !is_last => Err(error.into()),
            // As a dead letter, it would hold back all later messages of the channel.
            Err(error) => {
                tracing::error!(target: "omnistack::realtime", %error, channel, event = %id, "a message is dropped");
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::engine::IDEMPOTENCY_TTL;

    #[test]
    fn the_key_of_a_message_outlives_the_attempts_to_deliver_it() {
        // A wait is up to a fifth longer than its backoff.
        let waits = (1..PublishCommitted::MAX_ATTEMPTS).map(|attempt| PublishCommitted::backoff(attempt) * 6 / 5);
        let longest = waits.sum::<Duration>() + PublishCommitted::TIMEOUT * PublishCommitted::MAX_ATTEMPTS;
        assert!(longest < IDEMPOTENCY_TTL, "{longest:?}");
    }
}
