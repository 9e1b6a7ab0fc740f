//! A connection of a client to the server.

use std::{collections::HashMap, time::Duration};

use futures_util::{SinkExt as _, StreamExt as _};
use omnistack_core::{BoxError, ExposeSecret as _, SecretString};
use tokio::time::{Interval, MissedTickBehavior, interval, timeout};
use tokio_tungstenite::tungstenite::{self, Message, Utf8Bytes};

use super::{
    COMMAND_TIMEOUT, ClientError, TICK_INTERVAL,
    connection_end::ConnectionEnd,
    driver::{ClientDriver, ClientRequest, ReplySender},
    settings::{TokenFuture, TokenSource},
    socket::ClientSocket,
    subscription::{ChannelUpdate, DroppedSubscription, SubscriptionEnd},
    subscription_state::{NewSubscription, SubscriptionState},
};
use crate::protocol::{
    Command, ConnectRequest, ConnectResult, Method, Push, PushContent, RefreshRequest, Reply, ReplyContent, ReplyError,
    ServerMessage, SubscribeResult, UnsubscribeCode, UnsubscribePush, UnsubscribeRequest, parse_server_frame,
};

/// Name of this client for the server.
const CLIENT_NAME: &str = "omnistack";
/// Seconds beyond the interval of the server's pings, after which a silent server counts as lost.
const PING_GRACE_SECONDS: u32 = 10;
/// Ticks until the function that gets a token is called again after it has failed.
const TOKEN_RETRY_TICKS: u32 = 5;
/// Longest time before the expiry of a token at which it is replaced, in seconds.
const MAX_REFRESH_LEAD_SECONDS: u32 = 30;
/// Longest time for sending the close frame.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// A connection that is being signed in or is open.
pub(super) struct ServerConnection<'a> {
    driver: &'a mut ClientDriver,
    socket: ClientSocket,
    /// The commands without a reply, by their id.
    pending: HashMap<u32, PendingCommand>,
    last_id: u32,
    is_signed_in: bool,
    answers_pings: bool,
    ticks: Interval,
    /// Ticks since the last frame of the server.
    silent_ticks: u32,
    /// The largest number of these. `None` if the server sends no pings.
    max_silent_ticks: Option<u32>,
    /// Ticks until a new token is asked for.
    refresh_in: Option<u32>,
    /// The call of the function that returns it.
    new_token: Option<TokenFuture>,
}

/// A command without a reply.
#[derive(Debug)]
struct PendingCommand {
    purpose: CommandPurpose,
    ticks: u32,
}

/// The purpose of a command.
#[derive(Debug)]
enum CommandPurpose {
    Connect,
    Refresh,
    Subscribe { channel: String, serial: u64 },
    Unsubscribe,
    Request(ReplySender),
}

impl<'a> ServerConnection<'a> {
    pub(super) fn new(driver: &'a mut ClientDriver, socket: ClientSocket) -> Self {
        let mut ticks = interval(TICK_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ticks.reset();
        Self {
            driver,
            socket,
            pending: HashMap::new(),
            last_id: 0,
            is_signed_in: false,
            answers_pings: false,
            ticks,
            silent_ticks: 0,
            max_silent_ticks: None,
            refresh_in: None,
            new_token: None,
        }
    }

    /// Signs in, begins the subscriptions, and exchanges messages until the connection ends.
    pub(super) async fn exchange(mut self) -> ConnectionEnd {
        let end = self.run().await;
        if let ConnectionEnd::Final(error) = &end {
            // Set before the pending commands are dropped, which look for it.
            _ = self.driver.end.set(error.clone());
        }
        // A close frame, or the confirmation of the server's. A connection that was lost takes neither.
        _ = timeout(CLOSE_TIMEOUT, self.socket.close(None)).await;
        end
    }

    async fn run(&mut self) -> ConnectionEnd {
        if let Err(end) = self.sign_in().await {
            return end;
        }
        loop {
            // Each request waits for its reply, so requests can't keep the socket from being read for long.
            let step = tokio::select! {
                biased;
                () = self.driver.closing.cancelled() => Err(ConnectionEnd::Final(ClientError::ClientClosed)),
                token = next_token(&mut self.new_token) => self.refresh(token).await,
                _ = self.ticks.tick() => self.tick().await,
                Some(dropped) = self.driver.drops.recv() => self.drop_subscription(&dropped).await,
                Some(request) = self.driver.requests.recv(), if self.is_signed_in => self.carry_out(request).await,
                message = self.socket.next() => self.receive(message).await,
            };
            if let Err(end) = step {
                return end;
            }
        }
    }

    async fn sign_in(&mut self) -> Result<(), ConnectionEnd> {
        let token = self.driver.token.as_ref().map(|token| token.expose_secret().to_owned());
        let request = ConnectRequest {
            token: token.unwrap_or_default(),
            name: CLIENT_NAME.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ..ConnectRequest::default()
        };
        self.command(Method::Connect(request), CommandPurpose::Connect).await
    }

    /// Sends a command whose reply is awaited.
    async fn command(&mut self, method: Method, purpose: CommandPurpose) -> Result<(), ConnectionEnd> {
        self.last_id = self.last_id.wrapping_add(1).max(1);
        let id = self.last_id;
        self.pending.insert(id, PendingCommand { purpose, ticks: 0 });
        self.send(Command { id, method: Some(method) }).await
    }

    async fn send(&mut self, command: Command) -> Result<(), ConnectionEnd> {
        // JSON is UTF-8.
        let Ok(text) = Utf8Bytes::try_from(command.encode()) else { return Ok(()) };
        match timeout(COMMAND_TIMEOUT, self.socket.send(Message::Text(text))).await {
            Ok(sent) => sent.map_err(ConnectionEnd::from),
            Err(_) => Err(ConnectionEnd::lost("the server does not read")),
        }
    }

    async fn receive(&mut self, message: Option<Result<Message, tungstenite::Error>>) -> Result<(), ConnectionEnd> {
        self.silent_ticks = 0;
        match message {
            Some(Ok(Message::Text(frame))) => self.read(frame.as_str()).await,
            Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => Ok(()),
            Some(Ok(Message::Binary(_))) => Err(ConnectionEnd::protocol("it has sent a binary frame")),
            Some(Ok(Message::Close(frame))) => Err(ConnectionEnd::of_close_frame(frame)),
            Some(Err(error)) => Err(error.into()),
            None => Err(ConnectionEnd::lost("cut off")),
        }
    }

    async fn read(&mut self, frame: &str) -> Result<(), ConnectionEnd> {
        for message in parse_server_frame(frame) {
            match message {
                Ok(ServerMessage::Ping) if self.answers_pings => self.send(Command { id: 0, method: None }).await?,
                Ok(ServerMessage::Ping) => {}
                Ok(ServerMessage::Reply(reply)) => self.settle(reply).await?,
                Ok(ServerMessage::Push(push)) => self.take_push(push).await?,
                Err(error) => return Err(ConnectionEnd::protocol(error.to_string())),
            }
        }
        Ok(())
    }

    async fn settle(&mut self, reply: Reply) -> Result<(), ConnectionEnd> {
        // A reply that comes too late is not awaited any more.
        let Some(pending) = self.pending.remove(&reply.id) else { return Ok(()) };
        match (pending.purpose, reply.content) {
            (CommandPurpose::Request(sender), ReplyContent::Error(error)) => _ = sender.send(Err(error.into())),
            (CommandPurpose::Request(sender), content) => _ = sender.send(Ok(content)),
            (CommandPurpose::Unsubscribe, _) => {}
            (CommandPurpose::Subscribe { channel, serial }, ReplyContent::Subscribe(result)) => {
                self.go_live(&channel, serial, result).await?;
            }
            (CommandPurpose::Subscribe { channel, serial }, ReplyContent::Error(error)) => {
                self.refuse(&channel, serial, error);
            }
            (CommandPurpose::Connect, ReplyContent::Connect(result)) => self.signed_in(&result).await?,
            (CommandPurpose::Refresh, ReplyContent::Refresh(result)) => self.plan_refresh(result.expires, result.ttl),
            (CommandPurpose::Connect | CommandPurpose::Refresh, ReplyContent::Error(error)) => {
                return Err(ConnectionEnd::of_refusal(error));
            }
            _ => return Err(ConnectionEnd::protocol("a reply is that of another command")),
        }
        Ok(())
    }

    async fn signed_in(&mut self, result: &ConnectResult) -> Result<(), ConnectionEnd> {
        self.is_signed_in = true;
        self.answers_pings = result.pong;
        self.max_silent_ticks = (result.ping > 0).then(|| result.ping.saturating_add(PING_GRACE_SECONDS));
        self.plan_refresh(result.expires, result.ttl);
        self.driver.is_token_new = false;
        self.driver.backoff.reset();
        if let Some(connected) = self.driver.connected.take() {
            // A caller that does not wait any more has dropped the client.
            _ = connected.send(());
        }
        let channels: Vec<_> = self.driver.subscriptions.keys().cloned().collect();
        for channel in channels {
            self.subscribe(&channel).await?;
        }
        Ok(())
    }

    fn plan_refresh(&mut self, expires: bool, ttl: u32) {
        let can_refresh = expires && matches!(self.driver.token_source, TokenSource::Function(_));
        self.refresh_in = can_refresh.then(|| refresh_delay(ttl));
    }

    async fn refresh(&mut self, token: Result<String, BoxError>) -> Result<(), ConnectionEnd> {
        self.new_token = None;
        match token {
            Ok(token) => {
                self.driver.token = Some(SecretString::from(token.as_str()));
                self.command(Method::Refresh(RefreshRequest { token }), CommandPurpose::Refresh).await
            }
            Err(error) => {
                tracing::warn!(target: "omnistack::realtime", %error, "a realtime client gets no access token");
                self.refresh_in = Some(TOKEN_RETRY_TICKS);
                Ok(())
            }
        }
    }

    async fn carry_out(&mut self, request: ClientRequest) -> Result<(), ConnectionEnd> {
        match request {
            // The caller has given up.
            ClientRequest::Command { reply, .. } if reply.is_closed() => Ok(()),
            ClientRequest::Command { method, reply } => self.command(method, CommandPurpose::Request(reply)).await,
            ClientRequest::Subscribe(request) if request.ready.is_closed() => Ok(()),
            ClientRequest::Subscribe(request) => self.add_subscription(request).await,
        }
    }

    async fn add_subscription(&mut self, request: NewSubscription) -> Result<(), ConnectionEnd> {
        if let Some(earlier) = self.driver.subscriptions.get(&request.channel) {
            if !earlier.is_dropped() {
                _ = request.ready.send(Err(ClientError::AlreadySubscribed));
                return Ok(());
            }
            self.unsubscribe(&request.channel).await?;
        }
        let (channel, state) = SubscriptionState::new(request);
        self.driver.subscriptions.insert(channel.clone(), state);
        self.subscribe(&channel).await
    }

    async fn subscribe(&mut self, channel: &str) -> Result<(), ConnectionEnd> {
        let Some(state) = self.driver.subscriptions.get_mut(channel) else { return Ok(()) };
        let purpose = CommandPurpose::Subscribe { channel: channel.to_owned(), serial: state.serial() };
        let request = state.begin(channel);
        self.command(Method::Subscribe(request), purpose).await
    }

    /// Removes a subscription, and unsubscribes from its channel. Returns the subscription.
    async fn unsubscribe(&mut self, channel: &str) -> Result<Option<SubscriptionState>, ConnectionEnd> {
        let Some(state) = self.driver.subscriptions.remove(channel) else { return Ok(None) };
        if state.is_at_server() {
            let request = UnsubscribeRequest { channel: channel.to_owned() };
            self.command(Method::Unsubscribe(request), CommandPurpose::Unsubscribe).await?;
        }
        Ok(Some(state))
    }

    async fn drop_subscription(&mut self, dropped: &DroppedSubscription) -> Result<(), ConnectionEnd> {
        if self.subscription(&dropped.channel, dropped.serial).is_some() {
            self.unsubscribe(&dropped.channel).await?;
        }
        Ok(())
    }

    fn subscription(&mut self, channel: &str, serial: u64) -> Option<&mut SubscriptionState> {
        self.driver.subscriptions.get_mut(channel).filter(|state| state.serial() == serial)
    }

    async fn go_live(&mut self, channel: &str, serial: u64, result: SubscribeResult) -> Result<(), ConnectionEnd> {
        let is_slow = self.subscription(channel, serial).is_some_and(|state| !state.go_live(result));
        if is_slow { self.end_slow(channel).await } else { Ok(()) }
    }

    fn refuse(&mut self, channel: &str, serial: u64, error: ReplyError) {
        let Some(state) = self.subscription(channel, serial) else { return };
        if error.temporary {
            state.try_later();
        } else if let Some(state) = self.driver.subscriptions.remove(channel) {
            state.refuse(error);
        }
    }

    async fn take_push(&mut self, push: Push) -> Result<(), ConnectionEnd> {
        let Push { channel, content } = push;
        let update = match content {
            PushContent::Pub(publication) => ChannelUpdate::Message(publication),
            PushContent::Join(push) => ChannelUpdate::Joined(push.info),
            PushContent::Leave(push) => ChannelUpdate::Left(push.info),
            PushContent::Unsubscribe(push) => {
                self.end_by_server(&channel, push);
                return Ok(());
            }
            PushContent::Disconnect(push) => {
                let code = u16::try_from(push.code).unwrap_or_default();
                return Err(ConnectionEnd::of_code(code, &push.reason));
            }
            // The server subscribes clients by the path of their connection only.
            PushContent::Subscribe(_) | PushContent::Message(_) => return Ok(()),
        };
        let is_slow = self.driver.subscriptions.get_mut(&channel).is_some_and(|state| !state.receive(update));
        if is_slow { self.end_slow(&channel).await } else { Ok(()) }
    }

    fn end_by_server(&mut self, channel: &str, push: UnsubscribePush) {
        if push.code >= UnsubscribeCode::InsufficientState.number() {
            if let Some(state) = self.driver.subscriptions.get_mut(channel) {
                state.try_later();
            }
        } else if let Some(state) = self.driver.subscriptions.remove(channel) {
            state.end(SubscriptionEnd::Server { code: push.code, reason: push.reason });
        }
    }

    /// Ends a subscription whose app reads too slowly.
    async fn end_slow(&mut self, channel: &str) -> Result<(), ConnectionEnd> {
        if let Some(state) = self.unsubscribe(channel).await? {
            state.end(SubscriptionEnd::Failed(ClientError::SlowSubscription));
        }
        Ok(())
    }

    /// Does the work of a second.
    async fn tick(&mut self) -> Result<(), ConnectionEnd> {
        self.silent_ticks = self.silent_ticks.saturating_add(1);
        if self.max_silent_ticks.is_some_and(|max| self.silent_ticks > max) {
            return Err(ConnectionEnd::lost("the server sends no pings"));
        }
        self.check_pending()?;
        match &mut self.refresh_in {
            Some(0) => {
                self.refresh_in = None;
                if let TokenSource::Function(token) = &self.driver.token_source {
                    self.new_token = Some(token());
                }
            }
            Some(ticks) => *ticks -= 1,
            None => {}
        }
        if !self.is_signed_in {
            return Ok(());
        }
        let subscriptions = self.driver.subscriptions.iter_mut();
        let due: Vec<_> = subscriptions.filter_map(|(channel, state)| state.tick().then(|| channel.clone())).collect();
        for channel in due {
            self.subscribe(&channel).await?;
        }
        Ok(())
    }

    /// Forgets commands whose reply is late. Fails for those without which the connection can't go on.
    fn check_pending(&mut self) -> Result<(), ConnectionEnd> {
        let max_ticks = COMMAND_TIMEOUT.as_secs();
        let mut is_stuck = false;
        self.pending.retain(|_, pending| {
            pending.ticks += 1;
            let is_late = u64::from(pending.ticks) > max_ticks;
            // The caller of a command has its own timeout.
            is_stuck |= is_late && !matches!(pending.purpose, CommandPurpose::Request(_));
            !is_late
        });
        if is_stuck { Err(ConnectionEnd::lost("no reply in time")) } else { Ok(()) }
    }
}

/// Waits for the new token. Never returns if none was asked for.
async fn next_token(new_token: &mut Option<TokenFuture>) -> Result<String, BoxError> {
    match new_token {
        Some(token) => token.await,
        None => std::future::pending().await,
    }
}

/// Returns the seconds after which a token is replaced that expires in `ttl` seconds.
fn refresh_delay(ttl: u32) -> u32 {
    ttl.saturating_sub((ttl / 5).clamp(1, MAX_REFRESH_LEAD_SECONDS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_replaced_before_they_expire() {
        for (ttl, expected) in [(0, 0), (1, 0), (2, 1), (10, 8), (60, 48), (900, 870), (u32::MAX, u32::MAX - 30)] {
            assert_eq!(refresh_delay(ttl), expected, "{ttl}");
        }
    }
}
