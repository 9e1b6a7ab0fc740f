//! The session of a connection: its commands, strictly in order.

mod commands;
mod connect;
mod emulation;

use std::{
    fmt,
    net::IpAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use omnistack_core::{
    crypto::Token,
    http::{Error, StatusCode},
    id::Id,
    identity::Identity,
};
use tokio::runtime::Handle;

use super::{
    Hub, Transport,
    connection::{Connection, ConnectionPhase, ConnectionState, Deadlines, Emulation},
    limits::{CommandDecision, CommandRate},
    lock,
    outbound::{Outbound, OutboundReader},
    wheel::spread,
};
use crate::{
    protocol::{CloseCode, Command, ErrorCode, Method, PING, Reply, ReplyContent, ReplyError, parse_frame},
    sign_in::Credential,
};

/// Time between two authentications of a caller whose rights have not changed, in case the message about a change was
/// lost.
pub(super) const REAUTHENTICATION_INTERVAL: Duration = Duration::from_secs(15 * 60);

/// The origin of a session: the request that opened the connection.
#[derive(Debug)]
pub(crate) struct SessionOrigin {
    pub(crate) transport: Transport,
    pub(crate) address: Option<IpAddr>,
    /// The credential of the request. It selects the tenant, also for a token in the connect command.
    pub(crate) base: Credential,
    /// The caller, if the request has signed in by a header, a cookie or a ticket.
    pub(crate) caller: Option<(Identity, Credential)>,
    /// The number of changes of identities before the caller was authenticated.
    pub(crate) identity_changes: u64,
    /// The channels that the connection subscribes to when it has signed in, by its path.
    pub(crate) server_channels: Vec<String>,
}

/// The session of a connection. The connection ends when it is dropped.
pub(crate) struct Session {
    hub: Hub,
    connection: Arc<Connection>,
    /// The part that the connect command needs.
    origin: Option<ConnectOrigin>,
}

/// The part of the origin that is needed until the sign-in.
#[derive(Debug)]
struct ConnectOrigin {
    base: Credential,
    caller: Option<(Identity, Credential)>,
    server_channels: Vec<String>,
    /// The number of changes of identities before the caller was authenticated.
    identity_changes: u64,
}

/// The failure of a command: an error that the client is told, or the end of the connection.
#[derive(Debug)]
pub(super) enum CommandError {
    Reply(ReplyError),
    Close(CloseCode),
}

impl Session {
    /// Opens a session. The reader receives what is to be sent on the connection. Fails with the code with which the
    /// connection is to be closed if there are too many connections, or the process shuts down.
    pub(crate) fn open(hub: &Hub, origin: SessionOrigin) -> Result<(Self, OutboundReader), CloseCode> {
        let SessionOrigin { transport, address, base, caller, identity_changes, server_channels } = origin;
        let settings = &hub.0.settings;
        let (number, now, opened_at) = (hub.next_number(), hub.now(), hub.wall_time());
        let deadlines = Deadlines {
            scheduled: i64::MAX,
            ping: now + settings.sign_in_timeout,
            pong: None,
            expiry: None,
            presence: None,
            reauthentication: now + spread(REAUTHENTICATION_INTERVAL, number),
        };
        let emulation = match transport {
            Transport::WebSocket => None,
            Transport::Sse => Some(Box::new(Emulation { session: Token::random(), inbox: Mutex::default() })),
        };
        let state = ConnectionState {
            phase: ConnectionPhase::Unauthenticated,
            caller: None,
            credential: None,
            subscriptions: Vec::new(),
            rate: CommandRate::default(),
            deadlines,
        };
        let connection = Arc::new(Connection {
            number,
            id: Id::new(opened_at),
            address,
            opened_at,
            outbound: Arc::new(Outbound::new(usize::try_from(settings.queue.as_u64()).unwrap_or(usize::MAX))),
            emulation,
            state: Mutex::new(state),
        });
        hub.0.connections.open(&connection, settings)?;
        hub.0.meter.opened();
        {
            let mut state = lock(&connection.state);
            let at = state.deadlines.earliest();
            hub.schedule_connection(number, &mut state.deadlines, at);
        }
        let reader = OutboundReader::new(Arc::clone(&connection.outbound));
        let origin = Some(ConnectOrigin { base, caller, server_channels, identity_changes });
        Ok((Self { hub: hub.clone(), connection, origin }, reader))
    }

    /// Executes the commands of a frame, one after another. Replies go to the queue of the connection. Fails with the
    /// code with which the connection is closed after what waits in the queue.
    pub(crate) async fn handle(&mut self, frame: &str) -> Result<(), CloseCode> {
        let result = self.execute_frame(frame).await;
        if let Err(code) = result {
            self.connection.outbound.close(code);
        }
        result
    }

    /// Accepts the pong that the client owes, without the work for a command. Returns false for all other frames, which
    /// are to be passed to [`handle`](Self::handle).
    pub(crate) fn accept_pong(&self, frame: &str) -> bool {
        frame.as_bytes() == PING && self.connection.take_pong()
    }

    /// Returns the id of the connection, which other clients see.
    #[cfg(test)]
    pub(crate) fn client(&self) -> String {
        self.connection.id.to_string()
    }

    async fn execute_frame(&mut self, frame: &str) -> Result<(), CloseCode> {
        self.hub.check_size(frame)?;
        for command in parse_frame(frame) {
            let command = command.map_err(|_| CloseCode::BadRequest)?;
            // The first frame of an event stream is executed before the stream is read.
            if self.connection.transport() == Transport::WebSocket {
                self.connection.outbound.room().await;
            }
            if let Some(code) = self.connection.outbound.close_code() {
                return Err(code);
            }
            if self.connection.is_connected() {
                self.hub.execute(&self.connection, command).await?;
                continue;
            }
            let Command { id, method: Some(Method::Connect(request)) } = command else {
                return Err(CloseCode::BadRequest);
            };
            let origin = self.origin.take().filter(|_| id > 0).ok_or(CloseCode::BadRequest)?;
            self.hub.0.meter.received();
            self.hub.connect(&self.connection, id, request, origin).await?;
        }
        Ok(())
    }
}

impl Hub {
    /// Executes the commands of a frame of a connection that has signed in.
    async fn execute_later_frame(&self, connection: &Arc<Connection>, frame: &str) -> Result<(), CloseCode> {
        self.check_size(frame)?;
        for command in parse_frame(frame) {
            let command = command.map_err(|_| CloseCode::BadRequest)?;
            connection.outbound.room().await;
            if let Some(code) = connection.outbound.close_code() {
                return Err(code);
            }
            self.execute(connection, command).await?;
        }
        Ok(())
    }

    fn check_size(&self, frame: &str) -> Result<(), CloseCode> {
        let is_small = u64::try_from(frame.len()).is_ok_and(|size| size <= self.0.settings.max_message.as_u64());
        if is_small { Ok(()) } else { Err(CloseCode::BadRequest) }
    }

    /// Decides whether the rate limit allows another command.
    fn decide(&self, connection: &Connection) -> CommandDecision {
        lock(&connection.state).rate.decide(&self.0.settings.message_rate, self.0.clock.elapsed())
    }

    /// Sends the reply to a command.
    fn reply(&self, connection: &Connection, id: u32, content: ReplyContent) -> Result<(), CloseCode> {
        if connection.outbound.push(Reply { id, content }.encode()) {
            self.0.meter.sent(1);
            return Ok(());
        }
        Err(connection.outbound.close_code().unwrap_or(CloseCode::Slow))
    }

    /// Ends a connection: its subscriptions, its presence, and its place in the limits.
    fn end(&self, connection: &Arc<Connection>) {
        connection.outbound.close(CloseCode::ConnectionClosed);
        let (caller, subscriptions) = {
            let mut state = lock(&connection.state);
            state.phase = ConnectionPhase::Ended;
            state.credential = None;
            (state.caller.take(), std::mem::take(&mut state.subscriptions))
        };
        let is_draining = self.0.connections.remove(connection, caller.as_deref());
        self.0.meter.ended();
        self.0.meter.used(caller.as_ref().and_then(|caller| caller.tenant), connection.outbound.take_delivered());
        if is_draining {
            // The timer wheel has ended.
            self.0.meter.record(self.wall_time());
        }
        for subscription in &subscriptions {
            self.leave_channel(connection, &subscription.channel, subscription.serial);
        }
        let Some(caller) = caller else { return };
        if !subscriptions.iter().any(|subscription| subscription.is_present) {
            return;
        }
        // Without a runtime the process ends, and the presence expires.
        if let Ok(runtime) = Handle::try_current() {
            let (hub, connection) = (self.clone(), Arc::clone(connection));
            runtime.spawn(async move {
                for subscription in &subscriptions {
                    hub.leave(&connection, &caller, subscription).await;
                }
            });
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.hub.end(&self.connection);
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Session").field(&self.connection.id).finish()
    }
}

impl From<ErrorCode> for CommandError {
    fn from(code: ErrorCode) -> Self {
        Self::Reply(code.into())
    }
}

impl From<ReplyError> for CommandError {
    fn from(error: ReplyError) -> Self {
        Self::Reply(error)
    }
}

impl From<CloseCode> for CommandError {
    fn from(code: CloseCode) -> Self {
        Self::Close(code)
    }
}

/// The failure of the engine or of a rule of the app. The client tries again.
impl From<Error> for CommandError {
    fn from(error: Error) -> Self {
        if error.status() == StatusCode::SERVICE_UNAVAILABLE {
            tracing::debug!(target: "omnistack::realtime", %error, "a command has failed");
        } else {
            tracing::error!(target: "omnistack::realtime", ?error, "a command has failed");
        }
        Self::Reply(ErrorCode::Internal.into())
    }
}
