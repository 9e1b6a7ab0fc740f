//! The sign-in of a connection, and its refresh.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use omnistack_core::{clock::Timestamp, http::Error, identity::Identity};

use super::{CommandError, ConnectOrigin};
use crate::{
    hub::{
        Hub,
        connection::{Connection, ConnectionPhase, Transport},
        lock, millis,
        subscriptions::{StartedSubscription, SubscriptionRequest},
        wheel::spread,
    },
    protocol::{
        CloseCode, ConnectRequest, ConnectResult, ErrorCode, RecoverRequest, RefreshRequest, RefreshResult,
        ReplyContent, ReplyError, StreamPosition,
    },
    sign_in::{self, Credential},
};

/// Time after the expiry of a token in which the client can refresh it.
const EXPIRY_GRACE: Duration = Duration::from_secs(25);
/// Longest time in which the server carries out a connect command. It is longer than that of the client to send it,
/// because the sign-in is slow when many clients come at once.
const SIGN_IN_WORK_TIMEOUT: Duration = Duration::from_secs(30);

impl Hub {
    /// Signs a connection in, and subscribes it to the channels of its path. If it fails, the connection is closed.
    pub(super) async fn connect(
        &self,
        connection: &Arc<Connection>,
        id: u32,
        request: ConnectRequest,
        origin: ConnectOrigin,
    ) -> Result<(), CloseCode> {
        let Some(_guard) = self.0.sign_ins.begin(self.0.settings.max_sign_ins) else {
            self.refuse(connection, id, ErrorCode::TooManyRequests.into());
            return Err(CloseCode::TooManyRequests);
        };
        let ConnectRequest { token, mut subs, .. } = request;
        {
            let mut state = lock(&connection.state);
            state.phase = ConnectionPhase::SigningIn;
            state.deadlines.ping = self.now() + SIGN_IN_WORK_TIMEOUT;
        }
        let changes = self.identity_changes();
        let signed_in = self.sign_in(&token, origin.caller, &origin.base, origin.identity_changes != changes).await;
        let (identity, credential) = match signed_in {
            Ok(Some(signed_in)) => signed_in,
            Ok(None) => {
                let message = "sign in: send an access token in the connect command";
                self.refuse(connection, id, ErrorCode::Unauthorized.with_message(message));
                return Err(CloseCode::InvalidToken);
            }
            Err(error) => return Err(self.refuse_sign_in(connection, id, &error)),
        };
        let caller = connection.caller_of(identity);
        self.0.connections.sign_in(&caller, &self.0.settings)?;
        let expires_at = credential.expires_at();
        self.keep_caller(connection, Arc::new(caller), credential);
        if self.identity_changes() != changes {
            self.reauthenticate(connection, true).await;
        }

        let mut started = Vec::with_capacity(origin.server_channels.len());
        for name in &origin.server_channels {
            started.push(self.begin_server_subscription(connection, id, name, &mut subs).await?);
        }
        let result = self.connect_result(connection, expires_at, &mut started);
        {
            let mut state = lock(&connection.state);
            state.phase = ConnectionPhase::Connected;
            state.deadlines.ping = self.now() + spread(self.0.settings.ping, connection.number);
        }
        self.reply(connection, id, ReplyContent::Connect(result))?;
        for (_, started) in started {
            self.go_live(connection, started).await;
        }
        Ok(())
    }

    /// Returns the caller of the token, or else the caller of the request that opened the connection. `is_doubtful` is
    /// whether identities have changed since that request.
    async fn sign_in(
        &self,
        token: &str,
        caller: Option<(Identity, Credential)>,
        base: &Credential,
        is_doubtful: bool,
    ) -> Result<Option<(Identity, Credential)>, Error> {
        if !token.is_empty() {
            return self.0.sign_in.refresh(token, base).await.map(Some);
        }
        match caller {
            Some((_, credential)) if is_doubtful => {
                let identity = self.0.sign_in.again(&credential).await?;
                Ok(Some((identity, credential)))
            }
            caller => Ok(caller),
        }
    }

    async fn begin_server_subscription(
        &self,
        connection: &Arc<Connection>,
        id: u32,
        name: &str,
        positions: &mut BTreeMap<String, RecoverRequest>,
    ) -> Result<(String, StartedSubscription), CloseCode> {
        let position = positions.remove(name).filter(|position| position.recover);
        let recover = position.map(|RecoverRequest { epoch, offset, .. }| StreamPosition { offset, epoch });
        let request = SubscriptionRequest { name, recover, must_recover: false, is_server_side: true };
        match self.begin_subscription(connection, request).await {
            Ok(started) => Ok((name.to_owned(), started)),
            Err(CommandError::Close(code)) => Err(code),
            Err(CommandError::Reply(error)) => {
                let code = if error.temporary { CloseCode::Server } else { CloseCode::PermissionDenied };
                self.refuse(connection, id, error);
                Err(code)
            }
        }
    }

    fn connect_result(
        &self,
        connection: &Connection,
        expires_at: Option<Timestamp>,
        started: &mut [(String, StartedSubscription)],
    ) -> ConnectResult {
        let subs = started.iter_mut().map(|(name, started)| (name.clone(), std::mem::take(&mut started.result)));
        let (session, node) = match &connection.emulation {
            Some(emulation) => (emulation.session.expose().to_owned(), self.0.node.clone()),
            None => (String::new(), String::new()),
        };
        ConnectResult {
            client: connection.id.to_string(),
            version: self.0.app_version.clone(),
            expires: expires_at.is_some(),
            ttl: self.ttl(expires_at),
            data: None,
            subs: subs.collect(),
            ping: u32::try_from(self.0.settings.ping.as_secs()).unwrap_or(u32::MAX),
            // Each pong over SSE would be a request.
            pong: connection.transport() == Transport::WebSocket,
            session,
            node,
            time: millis(self.wall_time()),
        }
    }

    /// Replaces the token of a connection by a later one of the same user in the same tenant.
    pub(super) async fn refresh(
        &self,
        connection: &Arc<Connection>,
        request: RefreshRequest,
    ) -> Result<ReplyContent, CommandError> {
        let (caller, base) = {
            let state = lock(&connection.state);
            (state.caller.clone(), state.credential.clone())
        };
        let (Some(caller), Some(base)) = (caller, base) else { return Err(CloseCode::ConnectionClosed.into()) };
        let changes = self.identity_changes();
        let (identity, credential) = match self.0.sign_in.refresh(&request.token, &base).await {
            Ok(signed_in) => signed_in,
            Err(error) => {
                return Err(match sign_in::close_code(&error) {
                    CloseCode::Expired => ErrorCode::TokenExpired.into(),
                    CloseCode::TooManyRequests => ErrorCode::TooManyRequests.into(),
                    CloseCode::Server => ErrorCode::Internal.into(),
                    code => code.into(),
                });
            }
        };
        if identity.user != caller.user || identity.tenant != caller.tenant {
            return Err(CloseCode::InvalidToken.into());
        }
        let expires_at = credential.expires_at();
        let identity = connection.caller_of(identity);
        let is_changed = identity != *caller;
        self.keep_caller(connection, if is_changed { Arc::new(identity) } else { caller }, credential);
        if self.identity_changes() != changes {
            self.reauthenticate(connection, true).await;
        }
        if is_changed {
            self.check_subscriptions(connection).await;
        }
        Ok(ReplyContent::Refresh(RefreshResult {
            client: connection.id.to_string(),
            version: self.0.app_version.clone(),
            expires: expires_at.is_some(),
            ttl: self.ttl(expires_at),
        }))
    }

    /// Stores the caller of a connection, with the credential that authenticates it again.
    fn keep_caller(&self, connection: &Connection, caller: Arc<Identity>, credential: Credential) {
        let remaining = credential.expires_at().map(|expires_at| expires_at.duration_since(self.wall_time()));
        let expiry = remaining.map(|remaining| self.now() + remaining + EXPIRY_GRACE);
        let mut state = lock(&connection.state);
        if state.phase == ConnectionPhase::Ended {
            return;
        }
        self.0.connections.set_caller(connection.number, state.caller.as_deref(), &caller);
        state.caller = Some(caller);
        state.credential = Some(Arc::new(credential));
        state.deadlines.expiry = expiry;
        let at = state.deadlines.earliest();
        self.schedule_connection(connection.number, &mut state.deadlines, at);
    }

    fn ttl(&self, expires_at: Option<Timestamp>) -> u32 {
        let seconds = expires_at.map_or(0, |expires_at| expires_at.duration_since(self.wall_time()).as_secs());
        u32::try_from(seconds).unwrap_or(u32::MAX)
    }

    /// Tells the client why it can't connect.
    fn refuse(&self, connection: &Connection, id: u32, error: ReplyError) {
        // A queue that is full closes the connection as well.
        _ = self.reply(connection, id, ReplyContent::Error(error));
    }

    /// Tells the client why it can't sign in. A token that is not valid is told by the code alone.
    fn refuse_sign_in(&self, connection: &Connection, id: u32, error: &Error) -> CloseCode {
        let code = sign_in::close_code(error);
        let reply: ReplyError = match code {
            CloseCode::InvalidToken => return code,
            CloseCode::Expired => ErrorCode::TokenExpired.into(),
            CloseCode::TooManyRequests => ErrorCode::TooManyRequests.into(),
            CloseCode::PermissionDenied => {
                let message = format!("the sign-in was refused with {}", error.code());
                ErrorCode::PermissionDenied.with_message(message)
            }
            _ => ErrorCode::Internal.into(),
        };
        self.refuse(connection, id, reply);
        code
    }
}
