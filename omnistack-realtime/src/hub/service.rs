//! The work of each second: pings, deadlines, presence, and the comparison of positions.

use std::{mem, sync::Arc, time::Duration};

use futures_util::{TryStreamExt as _, stream};
use omnistack_core::{
    BoxError, ShutdownToken,
    clock::Timestamp,
    http::{Error, StatusCode},
    pubsub::PubSub,
};

use super::{
    Chores, Hub,
    channels::Channel,
    connection::{Connection, ConnectionPhase, ConnectionState, Deadlines, Transport},
    lock,
    session::REAUTHENTICATION_INTERVAL,
    wheel::second_of,
};
use crate::{
    engine::{HistoryFilter, PresenceEntry},
    protocol::{CloseCode, TextFrame},
};

/// The time between two ticks.
const TICK_INTERVAL: Duration = Duration::from_secs(1);
/// Time that a message may be on its way to this process, after which it counts as lost.
const MESSAGE_TRAVEL_TIME: Duration = Duration::from_secs(1);
/// Calls of other services at the same time.
pub(super) const MAX_CONCURRENT_CHORES: usize = 64;
/// Clients whose presence is refreshed by one call.
const PRESENCE_BATCH: usize = 512;

impl Hub {
    /// Runs the timer wheel and follows the changes of identities, until the app shuts down.
    ///
    /// # Errors
    /// An error if the subscription to the changes ends.
    pub(crate) async fn run(&self, changes: PubSub, shutdown: ShutdownToken) -> Result<(), BoxError> {
        tokio::select! {
            () = self.run_ticks() => Ok(()),
            result = self.follow_identity_changes(changes) => result,
            () = shutdown.cancelled() => Ok(()),
        }
    }

    async fn run_ticks(&self) {
        let mut interval = tokio::time::interval(TICK_INTERVAL);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut chores: Option<tokio::task::JoinHandle<()>> = None;
        let mut attended = self.0.clock.elapsed();
        loop {
            tokio::select! {
                _ = interval.tick() => {}
                // Only a test moves the clock.
                () = self.0.clock.moved_since(attended) => {}
            }
            attended = self.0.clock.elapsed();
            self.attend(self.now());
            // Pings go on while another service is slow.
            if chores.as_ref().is_none_or(tokio::task::JoinHandle::is_finished) {
                let hub = self.clone();
                chores = Some(tokio::spawn(async move { hub.do_chores().await }));
            }
        }
    }

    /// Does all that is due at a time, and waits until it is done.
    #[cfg(test)]
    pub(super) async fn tick(&self, now: Timestamp) {
        self.attend(now);
        self.do_chores().await;
    }

    /// Attends to the connections and channels that are due. What needs another service becomes a chore.
    fn attend(&self, now: Timestamp) {
        for (second, numbers) in self.0.connection_wheel.take_due(now) {
            for connection in self.0.connections.of(numbers) {
                self.attend_connection(&connection, second, now);
            }
        }
        for (second, channels) in self.0.channel_wheel.take_due(now) {
            for channel in channels {
                self.attend_channel(&channel, second, now);
            }
        }
        self.0.meter.record(self.wall_time());
    }

    fn attend_connection(&self, connection: &Arc<Connection>, second: i64, now: Timestamp) {
        let mut state = lock(&connection.state);
        if state.deadlines.scheduled != second || state.phase == ConnectionPhase::Ended {
            return;
        }
        state.deadlines.scheduled = i64::MAX;
        if connection.outbound.close_code().is_some() {
            // The client may never read the end, as over SSE: its presence is not refreshed until then.
            return;
        }
        if let Some(code) = state.deadlines.missed(state.phase, now) {
            drop(state);
            connection.outbound.close(code);
            return;
        }
        if state.phase == ConnectionPhase::Connected {
            let settings = &self.0.settings;
            if now >= state.deadlines.ping {
                state.deadlines.ping = now + settings.ping;
                if connection.transport() == Transport::WebSocket {
                    state.deadlines.pong = Some(now + settings.pong_timeout);
                }
                connection.outbound.push(TextFrame::ping());
                let tenant = state.caller.as_ref().and_then(|caller| caller.tenant);
                self.0.meter.used(tenant, connection.outbound.take_delivered());
            }
            if state.deadlines.presence.is_some_and(|at| now >= at) {
                let entries = state.present(connection);
                state.deadlines.presence = (!entries.is_empty()).then(|| now + self.presence_refresh());
                lock(&self.0.chores).presence.extend(entries);
            }
        }
        if now >= state.deadlines.reauthentication {
            state.deadlines.reauthentication = now + REAUTHENTICATION_INTERVAL;
            lock(&self.0.chores).reauthentications.push(Arc::clone(connection));
        }
        let at = state.deadlines.earliest();
        self.schedule_connection(connection.number, &mut state.deadlines, at);
    }

    fn attend_channel(&self, channel: &Arc<Channel>, second: i64, now: Timestamp) {
        {
            let mut state = lock(&channel.state);
            if state.scheduled != Some(second) {
                return;
            }
            state.scheduled = None;
        }
        if channel.begin_unlink() {
            self.link(channel);
            return;
        }
        if channel.options.history_size > 0 && channel.subscriber_count() > 0 {
            lock(&self.0.chores).positions.push(Arc::clone(channel));
            self.schedule_channel(channel, now + self.0.settings.position_check);
        }
    }

    /// Makes a connection due at a time, unless it is due earlier.
    pub(super) fn schedule_connection(&self, number: u64, deadlines: &mut Deadlines, at: Timestamp) {
        let second = second_of(at);
        if second < deadlines.scheduled {
            deadlines.scheduled = second;
            self.0.connection_wheel.add(second, number);
        }
    }

    async fn do_chores(&self) {
        let Chores { presence, positions, reauthentications } = mem::take(&mut *lock(&self.0.chores));
        for entries in presence.chunks(PRESENCE_BATCH) {
            if let Err(error) = self.0.engine.refresh(entries, self.0.settings.presence_ttl).await {
                tracing::debug!(target: "omnistack::realtime", %error, "the presence of clients can't be refreshed");
                break;
            }
        }
        let positions = stream::iter(positions.into_iter().map(Ok));
        let checked = positions.try_for_each_concurrent(MAX_CONCURRENT_CHORES, |channel| async move {
            self.check_position(&channel).await
        });
        // Each channel comes again. To wait for each of them during an outage would delay all other chores.
        if let Err(error) = checked.await {
            tracing::debug!(target: "omnistack::realtime", %error, "the positions of channels can't be compared");
        }
        self.reauthenticate_all(reauthentications, false).await;
    }

    /// Compares what the subscribers of a channel have got with the engine's position. Fails if the engine can't be
    /// reached.
    async fn check_position(&self, channel: &Arc<Channel>) -> Result<(), Error> {
        if channel.has_doubt() {
            self.tell_lost(channel.settle_doubt());
            return Ok(());
        }
        let Some(newest) = channel.newest_position() else { return Ok(()) };
        let filter = HistoryFilter { limit: Some(0), ..HistoryFilter::default() };
        let page = match self.0.engine.history(&channel.key, filter, &channel.options).await {
            Ok(page) => page,
            Err(error) if error.status() == StatusCode::SERVICE_UNAVAILABLE => return Err(error),
            Err(_) => return Ok(()),
        };
        self.tell_lost(channel.compare_position(&newest, &page.position));
        if channel.has_doubt() {
            self.check_position_soon(channel, MESSAGE_TRAVEL_TIME);
        }
        Ok(())
    }
}

impl ConnectionState {
    /// Returns the client in the channels in which it is present.
    fn present(&self, connection: &Connection) -> Vec<PresenceEntry> {
        let Some(caller) = &self.caller else { return Vec::new() };
        let info = connection.client_info(caller);
        let present = self.subscriptions.iter().filter(|subscription| subscription.is_present);
        present
            .map(|subscription| PresenceEntry { channel: subscription.channel.key.clone(), info: info.clone() })
            .collect()
    }
}

impl Deadlines {
    /// Returns the code with which a connection is closed that has missed a deadline.
    fn missed(&self, phase: ConnectionPhase, now: Timestamp) -> Option<CloseCode> {
        match phase {
            ConnectionPhase::Unauthenticated => return (now >= self.ping).then_some(CloseCode::Stale),
            // The client has done its part, so that it may come again.
            ConnectionPhase::SigningIn => return (now >= self.ping).then_some(CloseCode::Server),
            ConnectionPhase::Connected | ConnectionPhase::Ended => {}
        }
        if self.expiry.is_some_and(|expiry| now >= expiry) {
            return Some(CloseCode::Expired);
        }
        self.pong.is_some_and(|pong| now >= pong).then_some(CloseCode::NoPong)
    }
}
