//! The hub: the connections of this process, their subscriptions, and the delivery of messages to them.

mod caller_index;
mod channels;
mod connection;
mod connections;
mod drain;
mod identities;
mod limits;
mod meter;
mod operator;
mod outbound;
mod send_lists;
mod service;
mod session;
mod subscriptions;
#[cfg(test)]
mod tests;
mod wheel;

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use omnistack_core::{
    clock::{Clock, Timestamp},
    crypto::Token,
    http::Error,
    realtime::{RealtimeChannel, RealtimeMessage},
    usage::UsageSink,
};

use crate::{
    channel::{ChannelKey, Channels},
    engine::{ControlMessage, Engine, EngineEvents, NewPublication, PresenceEntry},
    procedures::Procedures,
    protocol::{ClientInfo, MembershipPush, Publication, Push, PushContent},
    settings::RealtimeSettings,
    sign_in::SignIn,
};
use channels::{Channel, ChannelTable};
use connection::Connection;
use connections::Connections;
use limits::SignIns;
use meter::MessageMeter;
use send_lists::SendLists;
use wheel::Wheel;

pub(crate) use connection::Transport;
pub(crate) use operator::{ConnectionFilter, ConnectionInfo, HubStats};
pub(crate) use outbound::{OutboundItem, OutboundReader, OutboundSocket};
pub(crate) use session::{Session, SessionOrigin};

/// The settings and services that a hub works with.
pub(crate) struct HubParts {
    pub(crate) settings: RealtimeSettings,
    pub(crate) channels: Channels,
    pub(crate) procedures: Procedures,
    pub(crate) engine: Arc<dyn Engine>,
    pub(crate) clock: Clock,
    /// The version of the app, which clients are told.
    pub(crate) app_version: String,
    pub(crate) usage: UsageSink,
    pub(crate) sign_in: SignIn,
}

/// The hub of this process. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Hub(Arc<HubState>);

struct HubState {
    settings: RealtimeSettings,
    rules: Channels,
    procedures: Procedures,
    engine: Arc<dyn Engine>,
    clock: Clock,
    /// The wall time at which the clock began, as it was known when the hub was created.
    began: Timestamp,
    app_version: String,
    sign_in: SignIn,
    /// The name of this process among the replicas.
    node: String,
    connections: Connections,
    sign_ins: SignIns,
    send_lists: SendLists,
    channels: ChannelTable,
    /// The numbers of connections, and the serial numbers of subscriptions.
    numbers: AtomicU64,
    connection_wheel: Wheel<u64>,
    channel_wheel: Wheel<Arc<Channel>>,
    /// The work that the timer wheel has found due, and that needs the engine or the sign-in.
    chores: Mutex<Chores>,
    /// Counts the changes of identities, so that a sign-in during a change is repeated.
    identity_changes: AtomicU64,
    meter: MessageMeter,
}

/// Work that waits for another service, so that it must not delay pings.
#[derive(Debug, Default)]
struct Chores {
    presence: Vec<PresenceEntry>,
    positions: Vec<Arc<Channel>>,
    reauthentications: Vec<Arc<Connection>>,
}

impl Hub {
    /// Creates a hub, which receives the events of the engine.
    pub(crate) fn new(parts: HubParts) -> Self {
        let HubParts { settings, channels, procedures, engine, clock, app_version, usage, sign_in } = parts;
        let began = clock.now() - clock.elapsed();
        let state = Arc::new(HubState {
            settings,
            rules: channels,
            procedures,
            engine: Arc::clone(&engine),
            clock,
            began,
            app_version,
            sign_in,
            node: Token::random().expose().to_owned(),
            connections: Connections::default(),
            sign_ins: SignIns::default(),
            send_lists: SendLists::default(),
            channels: ChannelTable::default(),
            numbers: AtomicU64::new(1),
            connection_wheel: Wheel::default(),
            channel_wheel: Wheel::default(),
            chores: Mutex::default(),
            identity_changes: AtomicU64::new(0),
            meter: MessageMeter::new(usage),
        });
        engine.attach(Arc::new(HubEvents(Arc::downgrade(&state))), &state.node);
        Self(state)
    }

    /// Returns the name of this process, by which requests of the emulation find the process of their connection.
    pub(crate) fn node(&self) -> &str {
        &self.0.node
    }

    /// Returns the number of changes of identities until now. A caller that is authenticated after this call is
    /// authenticated again if there is a change before its connection is in the hub.
    pub(crate) fn identity_changes(&self) -> u64 {
        self.0.identity_changes.load(Ordering::SeqCst)
    }

    /// Publishes a message. `info` is the client that has published it. Does nothing if the app has no such channel.
    ///
    /// # Errors
    /// 503 if the message can't be stored in the channel's history.
    pub(crate) async fn publish(&self, message: RealtimeMessage, info: Option<ClientInfo>) -> Result<(), Error> {
        let Some(options) = self.0.rules.options_of(&message.channel) else { return Ok(()) };
        let data = serde_json::value::to_raw_value(&message.data).map_err(Error::internal)?;
        let publication = NewPublication { data, info, key: message.key, time: millis(self.wall_time()) };
        self.0.engine.publish(&ChannelKey::new(&message.channel), publication, &options).await?;
        Ok(())
    }

    /// Returns whether a rule of the app matches a channel.
    pub(crate) fn has_channel(&self, channel: &RealtimeChannel) -> bool {
        self.0.rules.options_of(channel).is_some()
    }

    /// Returns the time for deadlines. It does not jump with the wall time, which would close connections that are well,
    /// or leave them without pings.
    fn now(&self) -> Timestamp {
        self.0.began + self.0.clock.elapsed()
    }

    /// Returns the time that is stored and shown.
    fn wall_time(&self) -> Timestamp {
        self.0.clock.now()
    }

    fn next_number(&self) -> u64 {
        self.0.numbers.fetch_add(1, Ordering::Relaxed)
    }

    /// Ends the subscriptions of subscribers that have missed messages. Their clients subscribe again, and recover.
    fn tell_lost(&self, lost: Vec<channels::LostSubscriber>) {
        for (connection, serial) in lost {
            self.end_lost_subscription(&connection, serial);
        }
    }

    /// Makes the channel due for a comparison with the engine's position.
    fn check_position_soon(&self, channel: &Arc<Channel>, within: Duration) {
        if channel.options.history_size > 0 {
            self.schedule_channel(channel, self.now() + within);
        }
    }
}

impl std::fmt::Debug for Hub {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hub").field("node", &self.0.node).finish_non_exhaustive()
    }
}

/// A receiver that passes the events of the engine to the hub, as long as there is one.
struct HubEvents(Weak<HubState>);

impl HubEvents {
    fn hub(&self) -> Option<Hub> {
        self.0.upgrade().map(Hub)
    }
}

impl EngineEvents for HubEvents {
    fn publication(&self, channel: &ChannelKey, publication: Arc<Publication>, epoch: &str) {
        let Some(hub) = self.hub() else { return };
        let Some(channel) = hub.0.channels.get(channel) else { return };
        let offset = publication.offset;
        let push = Push { channel: channel.key.name().to_owned(), content: PushContent::Pub(publication) };
        let delivery = channel.deliver(offset, epoch, &push.encode());
        hub.0.meter.sent(delivery.count);
        hub.tell_lost(delivery.lost);
        if delivery.is_doubtful {
            hub.check_position_soon(&channel, Duration::ZERO);
        }
    }

    fn membership(&self, channel: &ChannelKey, info: ClientInfo, is_join: bool) {
        let Some(hub) = self.hub() else { return };
        let Some(channel) = hub.0.channels.get(channel).filter(|channel| channel.options.join_leave) else { return };
        let push = MembershipPush { info };
        let content = if is_join { PushContent::Join(push) } else { PushContent::Leave(push) };
        let push = Push { channel: channel.key.name().to_owned(), content };
        hub.0.meter.sent(channel.notify(&push.encode()));
    }

    fn control(&self, message: ControlMessage) {
        let Some(hub) = self.hub() else { return };
        match message {
            ControlMessage::Disconnect { user, tenant, client, code } => {
                hub.disconnect_here(user.as_deref(), tenant.as_deref(), client.as_deref(), operator::close_code(code));
            }
            ControlMessage::Commands { node, session, caller, data } => {
                if node == hub.0.node {
                    hub.commands(&session, &caller, data);
                }
            }
        }
    }

    fn messages_lost(&self, channel: Option<&ChannelKey>) {
        let Some(hub) = self.hub() else { return };
        let channels: Vec<_> = match channel {
            Some(key) => hub.0.channels.get(key).into_iter().collect(),
            None => {
                hub.doubt_identities();
                hub.0.channels.all()
            }
        };
        for channel in channels {
            hub.check_position_soon(&channel, Duration::ZERO);
        }
    }
}

/// Locks a mutex. A panic of another thread while it was locked has left no state that could not be used.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns the milliseconds since 1970, the form of times in the protocol.
fn millis(time: Timestamp) -> i64 {
    time.as_micros() / 1000
}
