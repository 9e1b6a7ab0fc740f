//! Subscriptions: how they begin, from the history to the live messages, and how they end.

use std::{sync::Arc, time::Duration};

use omnistack_core::{clock::Timestamp, http::Error, identity::Identity};
use tokio::sync::oneshot;

use super::{
    Hub,
    channels::{Channel, LinkStep},
    connection::{Connection, ConnectionPhase, Subscription},
    lock,
    session::CommandError,
    wheel::{second_of, spread},
};
use crate::{
    channel::{ChannelAction, ResolvedChannel},
    engine::{HistoryFilter, PresenceEntry},
    protocol::{
        CloseCode, ErrorCode, Publication, Push, PushContent, StreamPosition, SubscribeResult, UnsubscribeCode,
        UnsubscribePush,
    },
};

/// Time for which a channel is received after its last subscriber, so that a client that reconnects finds it.
const CHANNEL_LINGER: Duration = Duration::from_secs(5);

/// A request of a client, or of the path of a connection, to subscribe to a channel.
#[derive(Debug)]
pub(super) struct SubscriptionRequest<'a> {
    pub(super) name: &'a str,
    /// The position up to which the client has the messages.
    pub(super) recover: Option<StreamPosition>,
    /// Whether a position that can't be recovered is an error.
    pub(super) must_recover: bool,
    pub(super) is_server_side: bool,
}

/// A subscription whose messages are kept until its reply is sent.
#[derive(Debug)]
pub(super) struct StartedSubscription {
    channel: Arc<Channel>,
    serial: u64,
    position: StreamPosition,
    pub(super) result: SubscribeResult,
}

/// A subscription of a connection that waits for the engine.
struct RegisteredSubscription {
    channel: Arc<Channel>,
    serial: u64,
    linked: Option<oneshot::Receiver<bool>>,
}

impl Hub {
    /// Begins a subscription. Its messages are kept from now on: after the reply with the result was sent,
    /// [`go_live`](Self::go_live) delivers them.
    pub(super) async fn begin_subscription(
        &self,
        connection: &Arc<Connection>,
        request: SubscriptionRequest<'_>,
    ) -> Result<StartedSubscription, CommandError> {
        let max_channels = self.0.settings.max_channels;
        {
            let state = lock(&connection.state);
            if state.subscription(request.name).is_some() {
                return Err(ErrorCode::AlreadySubscribed.into());
            }
            if state.subscriptions.len() >= usize::try_from(max_channels).unwrap_or(usize::MAX) {
                let message =
                    format!("a connection has at most {max_channels} channels: unsubscribe from others first");
                return Err(ErrorCode::LimitExceeded.with_message(message).into());
            }
        }
        let registered = loop {
            let caller = connection.caller().ok_or(CloseCode::BadRequest)?;
            let resolved = self.0.rules.resolve(&caller, request.name).ok_or(ErrorCode::UnknownChannel)?;
            if !resolved.check(&caller, ChannelAction::Subscribe).await? {
                return Err(ErrorCode::PermissionDenied.into());
            }
            // If the rights of the caller have changed during the check, it is repeated.
            if let Some(registered) = self.register(connection, &caller, &resolved, request.is_server_side)? {
                break registered;
            }
        };
        let serial = registered.serial;
        let started = self.start(registered, &request).await;
        if started.is_err() {
            self.end_subscription(connection, serial);
        } else if !connection.has_subscription(serial) {
            // The caller may no longer subscribe, or was not checked: what was read is not for the client. If it tries
            // again, it is told which.
            return Err(ErrorCode::Internal.into());
        }
        started
    }

    /// Adds a subscription to its connection and its channel. Returns `None` if the caller has changed.
    fn register(
        &self,
        connection: &Arc<Connection>,
        caller: &Arc<Identity>,
        resolved: &ResolvedChannel,
        is_server_side: bool,
    ) -> Result<Option<RegisteredSubscription>, CommandError> {
        let serial = self.next_number();
        let (channel, added) = loop {
            let channel = self.0.channels.get_or_create(&resolved.key, &resolved.options);
            match channel.add(connection, serial) {
                Some(added) => break (channel, added),
                None => self.0.channels.remove(&channel),
            }
        };
        if added.must_link {
            self.link(&channel);
        }
        let mut state = lock(&connection.state);
        let is_ended = state.phase == ConnectionPhase::Ended;
        let is_same_caller = state.caller.as_ref().is_some_and(|present| Arc::ptr_eq(present, caller));
        if is_ended || !is_same_caller {
            drop(state);
            self.leave_channel(connection, &channel, serial);
            return if is_ended { Err(CloseCode::ConnectionClosed.into()) } else { Ok(None) };
        }
        let subscription = Subscription { channel: Arc::clone(&channel), serial, is_server_side, is_present: false };
        state.subscriptions.push(subscription);
        Ok(Some(RegisteredSubscription { channel, serial, linked: added.linked }))
    }

    /// Waits until the engine delivers the messages, and reads the history.
    async fn start(
        &self,
        registered: RegisteredSubscription,
        request: &SubscriptionRequest<'_>,
    ) -> Result<StartedSubscription, CommandError> {
        let RegisteredSubscription { channel, serial, linked } = registered;
        if let Some(linked) = linked
            && !linked.await.unwrap_or(false)
        {
            return Err(ErrorCode::Internal.with_message("the channel can't be reached now; try again").into());
        }
        let (result, position) = self.read_start(&channel, request.recover.as_ref()).await?;
        if request.must_recover && result.was_recovering && !result.recovered {
            return Err(ErrorCode::UnrecoverablePosition.into());
        }
        Ok(StartedSubscription { channel, serial, position, result })
    }

    /// Reads what a subscriber begins with: what it has missed since its position, or the newest message in a
    /// latest-value channel. Missed messages are complete, or else there are none and the result says so.
    async fn read_start(
        &self,
        channel: &Channel,
        recover: Option<&StreamPosition>,
    ) -> Result<(SubscribeResult, StreamPosition), Error> {
        let options = &channel.options;
        let was_recovering = recover.is_some();
        if options.history_size == 0 {
            let result = SubscribeResult { was_recovering, ..SubscribeResult::default() };
            return Ok((result, StreamPosition::default()));
        }
        let limit = self.recovery_limit();
        let filter = match recover {
            _ if options.latest_value => HistoryFilter { limit: Some(1), since: None, reverse: true },
            Some(from) => HistoryFilter { limit: Some(limit + 1), since: Some(from.offset), reverse: false },
            None => HistoryFilter { limit: Some(0), ..HistoryFilter::default() },
        };
        let page = self.0.engine.history(&channel.key, filter, options).await?;
        let (mut publications, position) = (page.publications, page.position);
        let recovered = if options.latest_value {
            let is_up_to_date = recover == Some(&position);
            if is_up_to_date {
                publications.clear();
            }
            was_recovering && (is_up_to_date || !publications.is_empty())
        } else {
            let is_complete = recover.is_some_and(|from| {
                from.epoch == position.epoch && is_complete(&publications, from.offset, position.offset)
            });
            let recovered =
                is_complete && publications.len() <= limit && self.fitting(&publications) == publications.len();
            if !recovered {
                publications.clear();
            }
            recovered
        };
        let result = SubscribeResult {
            recoverable: true,
            positioned: true,
            epoch: position.epoch.clone(),
            offset: position.offset,
            publications,
            recovered,
            was_recovering,
            ..SubscribeResult::default()
        };
        Ok((result, position))
    }

    /// Returns the largest number of messages in a reply.
    pub(super) fn recovery_limit(&self) -> usize {
        usize::try_from(self.0.settings.recovery_limit).unwrap_or(usize::MAX)
    }

    /// Returns how many of the messages fit in a reply: half of the queue is left for live messages.
    pub(super) fn fitting(&self, publications: &[Arc<Publication>]) -> usize {
        /// Size of a message in a reply besides its data: the ids of its user and its client, its offset and its time.
        const OVERHEAD_BYTES: usize = 192;
        let limit = self.0.settings.queue.as_u64() / 2;
        let mut bytes = 0_u64;
        let fits = |publication: &&Arc<Publication>| {
            let size = publication.data.get().len() + OVERHEAD_BYTES;
            bytes = bytes.saturating_add(u64::try_from(size).unwrap_or(u64::MAX));
            bytes <= limit
        };
        publications.iter().take_while(fits).count()
    }

    /// Delivers the messages of a subscription whose reply was sent, and tells others that the client has come.
    pub(super) async fn go_live(&self, connection: &Arc<Connection>, started: StartedSubscription) {
        let StartedSubscription { channel, serial, position, .. } = started;
        let lost = channel.go_live(connection, serial, &position);
        self.tell_lost(lost);
        self.check_position_soon(&channel, spread(self.0.settings.position_check, serial));
        if channel.options.presence {
            self.join(connection, &channel, serial).await;
        }
    }

    /// Ends a subscription whose subscriber has missed messages. The client subscribes again; with subscriptions that
    /// the server made, it has to connect again.
    pub(super) fn end_lost_subscription(&self, connection: &Arc<Connection>, serial: u64) {
        let Some(subscription) = connection.take_subscription(serial) else { return };
        self.tell_unsubscribed(connection, &subscription, UnsubscribeCode::InsufficientState);
        self.release_channel(&subscription.channel);
    }

    /// Tells the client that the server has ended a subscription.
    pub(super) fn tell_unsubscribed(
        &self,
        connection: &Connection,
        subscription: &Subscription,
        code: UnsubscribeCode,
    ) {
        if subscription.is_server_side {
            let is_lost = code == UnsubscribeCode::InsufficientState;
            connection.outbound.close(if is_lost { CloseCode::InsufficientState } else { CloseCode::PermissionDenied });
            return;
        }
        let push = UnsubscribePush { code: code.number(), reason: code.reason().to_owned() };
        let push =
            Push { channel: subscription.channel.key.name().to_owned(), content: PushContent::Unsubscribe(push) };
        if connection.outbound.push(push.encode()) {
            self.0.meter.sent(1);
        }
    }

    /// Ends a subscription. Returns it, unless it has ended already.
    pub(super) fn end_subscription(&self, connection: &Connection, serial: u64) -> Option<Subscription> {
        let subscription = connection.take_subscription(serial)?;
        self.leave_channel(connection, &subscription.channel, serial);
        Some(subscription)
    }

    /// Removes a subscriber from a channel.
    pub(super) fn leave_channel(&self, connection: &Connection, channel: &Arc<Channel>, serial: u64) {
        if channel.remove(connection, serial) {
            self.release_channel(channel);
        }
    }

    fn release_channel(&self, channel: &Arc<Channel>) {
        if channel.subscriber_count() == 0 {
            self.schedule_channel(channel, self.now() + CHANNEL_LINGER);
        }
    }

    /// Makes a channel due at a time, unless it is due earlier.
    pub(super) fn schedule_channel(&self, channel: &Arc<Channel>, at: Timestamp) {
        let second = second_of(at);
        let mut state = lock(&channel.state);
        if state.scheduled.is_none_or(|scheduled| second < scheduled) {
            state.scheduled = Some(second);
            self.0.channel_wheel.add(second, Arc::clone(channel));
        }
    }

    /// Starts the task that changes the link of a channel. It is a task, because a connection that ends must not stop
    /// it halfway.
    pub(super) fn link(&self, channel: &Arc<Channel>) {
        let (hub, channel) = (self.clone(), Arc::clone(channel));
        tokio::spawn(async move { hub.change_link(&channel).await });
    }

    async fn change_link(&self, channel: &Arc<Channel>) {
        loop {
            match channel.next_link_step() {
                LinkStep::Subscribe => match self.0.engine.subscribe(&channel.key).await {
                    Ok(()) => channel.set_linked(true),
                    Err(error) => {
                        tracing::warn!(target: "omnistack::realtime", %error, "a channel can't be subscribed to");
                        channel.fail_link();
                        return;
                    }
                },
                LinkStep::Unsubscribe => {
                    self.0.engine.unsubscribe(&channel.key).await;
                    channel.set_linked(false);
                }
                LinkStep::Done => return,
                LinkStep::Remove => {
                    self.0.channels.remove(channel);
                    return;
                }
            }
        }
    }

    async fn join(&self, connection: &Arc<Connection>, channel: &Channel, serial: u64) {
        let entry = {
            let mut state = lock(&connection.state);
            let Some(caller) = state.caller.clone() else { return };
            let subscription = state.subscriptions.iter_mut().find(|subscription| subscription.serial == serial);
            let Some(subscription) = subscription else { return };
            subscription.is_present = true;
            let refresh_at = self.now() + self.presence_refresh();
            let at = *state.deadlines.presence.get_or_insert(refresh_at);
            self.schedule_connection(connection.number, &mut state.deadlines, at);
            PresenceEntry { channel: channel.key.clone(), info: connection.client_info(&caller) }
        };
        let ttl = self.0.settings.presence_ttl;
        if let Err(error) = self.0.engine.join(&entry, ttl, channel.options.join_leave).await {
            tracing::debug!(target: "omnistack::realtime", %error, "a client's presence can't be stored");
        }
    }

    /// Removes a client from the presence of a channel, if it is there.
    pub(super) async fn leave(&self, connection: &Connection, caller: &Identity, subscription: &Subscription) {
        if !subscription.is_present {
            return;
        }
        let channel = &subscription.channel;
        let entry = PresenceEntry { channel: channel.key.clone(), info: connection.client_info(caller) };
        if let Err(error) = self.0.engine.leave(&entry, channel.options.join_leave).await {
            tracing::debug!(target: "omnistack::realtime", %error, "a client's presence can't be removed");
        }
    }

    /// Returns the time between two refreshes of the presence: two of them may fail within its TTL.
    pub(super) fn presence_refresh(&self) -> Duration {
        self.0.settings.presence_ttl * 5 / 12
    }
}

/// Returns whether the messages are all of those after `from` up to `to`.
fn is_complete(publications: &[Arc<Publication>], from: u64, to: u64) -> bool {
    from <= to && publications.iter().map(|publication| publication.offset).eq(from + 1..=to)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missed_messages_are_complete_or_not_recovered() {
        let publication = |offset: &u64| {
            let data = serde_json::value::to_raw_value("x").unwrap();
            Arc::new(Publication { data, offset: *offset, info: None, time: 0 })
        };
        let table: [(&[u64], u64, u64, bool); 8] = [
            (&[], 0, 0, true),
            (&[], 7, 7, true),
            (&[8, 9], 7, 9, true),
            (&[9], 7, 9, false),
            (&[8], 7, 9, false),
            (&[8, 10], 7, 10, false),
            (&[], 7, 9, false),
            (&[], 9, 7, false),
        ];
        for (offsets, from, to, expected) in table {
            let publications: Vec<_> = offsets.iter().map(publication).collect();
            assert_eq!(is_complete(&publications, from, to), expected, "{offsets:?} from {from} to {to}");
        }
    }
}
