//! Events as messages to connected clients.

use std::{fmt, marker::PhantomData};

use async_trait::async_trait;

use super::{Delivery, Event, Subscriber};
use crate::{
    http::Error,
    jobs::JobError,
    module::Registry,
    realtime::{RealtimeMessage, RealtimePublisher},
};

/// The subscriber that sends a message to connected clients for each event, once and in order by the event's key.
/// [`Registry::publish_to_realtime`] registers it.
pub struct ForwardToRealtime<E, F> {
    realtime: RealtimePublisher,
    message: F,
    event: PhantomData<fn(E)>,
}

impl<E: Event, F> ForwardToRealtime<E, F>
where
    F: Fn(&E, &Delivery) -> Option<RealtimeMessage> + Send + Sync + 'static,
{
    /// Creates the subscriber. It sends nothing for an event for which `message` returns `None`.
    pub fn new(realtime: RealtimePublisher, message: F) -> Self {
        Self { realtime, message, event: PhantomData }
    }
}

impl<E, F> fmt::Debug for ForwardToRealtime<E, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ForwardToRealtime").field(&self.realtime).finish()
    }
}

#[async_trait]
impl<E: Event, F> Subscriber for ForwardToRealtime<E, F>
where
    F: Fn(&E, &Delivery) -> Option<RealtimeMessage> + Send + Sync + 'static,
{
    type Event = E;

    async fn handle(&self, event: E, delivery: &mut Delivery) -> Result<(), JobError> {
        let Some(message) = (self.message)(&event, delivery) else { return Ok(()) };
        deliver_once(&self.realtime, message, delivery, Self::MAX_ATTEMPTS).await
    }
}

/// Sends a message of an event to connected clients, once in all attempts of the delivery. After a refusal, and after
/// `max_attempts`, the message is dropped: as a dead letter, it would hold back all later ones.
pub(crate) fn deliver_once<'p>(
    realtime: &'p RealtimePublisher,
    mut message: RealtimeMessage,
    delivery: &Delivery,
    max_attempts: u32,
) -> impl Future<Output = Result<(), JobError>> + Send + use<'p> {
    let (event, subscriber) = (delivery.id(), delivery.subscriber().to_owned());
    let is_last = delivery.attempt() >= max_attempts;
    message.key.get_or_insert_with(|| format!("{event}/{subscriber}"));
    async move {
        let channel = message.channel.name().to_owned();
        match realtime.send(message).await {
            Ok(()) => Ok(()),
            Err(error) if may_pass(&error) && !is_last => Err(error.into()),
            Err(error) => {
                tracing::error!(target: "omnistack::realtime", %error, channel, subscriber, %event,
                    "a message to connected clients is dropped");
                Ok(())
            }
        }
    }
}

fn may_pass(error: &Error) -> bool {
    error.status().is_server_error()
}

impl Registry {
    /// Sends a message to connected clients for each event of a type, once and in order by the event's key. For an
    /// event for which `message` returns `None`, it sends nothing. `subscriber` is stored with each delivery, as in
    /// [`subscribe`](Self::subscribe). Without the module of the feature `realtime`, nothing is stored or sent.
    ///
    /// ```
    /// use omnistack_core::{events::Event, module::Registry, realtime::{RealtimeChannel, RealtimeMessage}};
    /// use serde::{Deserialize, Serialize};
    ///
    /// #[derive(Serialize, Deserialize)]
    /// struct OrderPaid { order: u64 }
    ///
    /// impl Event for OrderPaid {
    ///     const NAME: &'static str = "order.paid";
    ///
    ///     fn key(&self) -> String {
    ///         self.order.to_string()
    ///     }
    /// }
    ///
    /// fn register(registry: &mut Registry) {
    ///     registry.publish_to_realtime("live-orders", |event: &OrderPaid, delivery| {
    ///         let channel = RealtimeChannel::of_tenant(delivery.tenant()?, "orders").ok()?;
    ///         RealtimeMessage::new(channel, event).ok()
    ///     });
    /// }
    /// ```
    pub fn publish_to_realtime<E: Event>(
        &mut self,
        subscriber: &'static str,
        message: impl Fn(&E, &Delivery) -> Option<RealtimeMessage> + Send + Sync + 'static,
    ) -> &mut Self {
        self.subscribe_if(subscriber, |ctx| {
            let realtime = ctx.get::<RealtimePublisher>()?;
            Ok(realtime.is_enabled().then(|| ForwardToRealtime::new(realtime, message)))
        })
    }
}
