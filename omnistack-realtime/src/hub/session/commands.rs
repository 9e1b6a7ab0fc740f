//! The commands of a connection that has signed in.

use std::{collections::BTreeMap, sync::Arc};

use omnistack_core::{http::Error, identity::Identity};
use serde_json::Value;

use super::{CommandDecision, CommandError};
use crate::{
    channel::{ChannelAction, ResolvedChannel},
    engine::{HistoryFilter, NewPublication},
    hub::{
        Hub,
        connection::{Connection, Transport},
        lock, millis,
        subscriptions::SubscriptionRequest,
    },
    protocol::{
        CloseCode, Command, EmptyResult, ErrorCode, HistoryRequest, HistoryResult, Method, PresenceRequest,
        PresenceResult, PublishRequest, ReplyContent, RpcRequest, RpcResult, StreamPosition, SubscribeRequest,
        UnsubscribeRequest,
    },
    settings::MAX_PRESENCE_CLIENTS,
};

/// The bit of a subscribe command's flag for the error 112 in place of a subscription that is not recovered.
const MUST_RECOVER_FLAG: i64 = 2;

impl Hub {
    /// Executes a command, and sends its reply. Fails with the code with which the connection is to be closed.
    pub(super) async fn execute(&self, connection: &Arc<Connection>, command: Command) -> Result<(), CloseCode> {
        let Command { id, method } = command;
        if id == 0 && method.is_none() {
            return connection.accept_pong();
        }
        self.0.meter.received();
        let is_message = matches!(method, Some(Method::Send(_)));
        if id == 0 && !is_message {
            return Err(CloseCode::BadRequest);
        }
        let result = match self.decide(connection) {
            CommandDecision::Admitted => self.execute_method(connection, id, method).await,
            CommandDecision::Refused => Err(ErrorCode::TooManyRequests.into()),
            CommandDecision::Abused => Err(CloseCode::TooManyRequests.into()),
        };
        let content = match result {
            Ok(Some(content)) => content,
            Ok(None) => return Ok(()),
            Err(CommandError::Reply(error)) => ReplyContent::Error(error),
            Err(CommandError::Close(code)) => return Err(code),
        };
        // A message without an id has no reply, whatever becomes of it.
        if id == 0 { Ok(()) } else { self.reply(connection, id, content) }
    }

    /// Executes a command. Returns its result, or `None` if its reply was sent or there is none.
    async fn execute_method(
        &self,
        connection: &Arc<Connection>,
        id: u32,
        method: Option<Method>,
    ) -> Result<Option<ReplyContent>, CommandError> {
        match method {
            Some(Method::Subscribe(request)) => self.subscribe(connection, id, request).await.map(|()| None),
            Some(Method::Unsubscribe(request)) => self.unsubscribe(connection, request).await.map(Some),
            Some(Method::Publish(request)) => self.publish_of_client(connection, request).await.map(Some),
            Some(Method::Presence(request)) => self.presence(connection, request).await.map(Some),
            Some(Method::PresenceStats(request)) => self.presence_stats(connection, request).await.map(Some),
            Some(Method::History(request)) => self.history(connection, request).await.map(Some),
            Some(Method::Refresh(request)) => self.refresh(connection, request).await.map(Some),
            Some(Method::Connect(_)) => {
                Err(ErrorCode::BadRequest.with_message("the connection is connected already").into())
            }
            Some(Method::Rpc(request)) => self.call_procedure(connection, request).await.map(Some),
            Some(Method::SubRefresh(_)) => Err(ErrorCode::BadRequest
                .with_message("subscriptions do not expire: there is nothing to refresh")
                .into()),
            // The app receives messages of clients in channels only.
            Some(Method::Send(_)) => Ok(None),
            None => Err(ErrorCode::MethodNotFound.into()),
        }
    }

    async fn subscribe(
        &self,
        connection: &Arc<Connection>,
        id: u32,
        request: SubscribeRequest,
    ) -> Result<(), CommandError> {
        let SubscribeRequest { channel, recover, epoch, offset, flag, .. } = request;
        let request = SubscriptionRequest {
            name: &channel,
            recover: recover.then_some(StreamPosition { offset, epoch }),
            must_recover: flag & MUST_RECOVER_FLAG != 0,
            is_server_side: false,
        };
        let mut started = self.begin_subscription(connection, request).await?;
        let result = std::mem::take(&mut started.result);
        self.reply(connection, id, ReplyContent::Subscribe(result))?;
        self.go_live(connection, started).await;
        Ok(())
    }

    async fn call_procedure(
        &self,
        connection: &Arc<Connection>,
        request: RpcRequest,
    ) -> Result<ReplyContent, CommandError> {
        let caller = connection.caller().ok_or(CloseCode::ConnectionClosed)?;
        let data = request.data.map_or(Ok(Value::Null), |data| serde_json::from_str(data.get()));
        let data = data.map_err(|_| ErrorCode::BadRequest)?;
        let result = self.0.procedures.call(&request.method, (*caller).clone(), data).await?;
        let data = serde_json::value::to_raw_value(&result).map_err(Error::internal)?;
        Ok(ReplyContent::Rpc(RpcResult { data: Some(data) }))
    }

    async fn unsubscribe(
        &self,
        connection: &Arc<Connection>,
        request: UnsubscribeRequest,
    ) -> Result<ReplyContent, CommandError> {
        let serial = lock(&connection.state).subscription(&request.channel).map(|subscription| subscription.serial);
        let ended = serial.and_then(|serial| self.end_subscription(connection, serial));
        if let (Some(subscription), Some(caller)) = (ended, connection.caller()) {
            self.leave(connection, &caller, &subscription).await;
        }
        Ok(ReplyContent::Unsubscribe(EmptyResult {}))
    }

    async fn publish_of_client(
        &self,
        connection: &Arc<Connection>,
        request: PublishRequest,
    ) -> Result<ReplyContent, CommandError> {
        let (caller, channel) = self.allowed(connection, &request.channel, ChannelAction::Publish).await?;
        let data = request.data.ok_or_else(|| ErrorCode::BadRequest.with_message("a message needs `data`"))?;
        let refused = |message: String| ErrorCode::PermissionDenied.with_message(message);
        let data = channel.on_publish(&caller, data).map_err(refused)?;
        let info = Some(connection.client_info(&caller));
        let publication = NewPublication { data, info, key: None, time: millis(self.wall_time()) };
        self.0.engine.publish(&channel.key, publication, &channel.options).await?;
        Ok(ReplyContent::Publish(EmptyResult {}))
    }

    async fn presence(
        &self,
        connection: &Arc<Connection>,
        request: PresenceRequest,
    ) -> Result<ReplyContent, CommandError> {
        let channel = self.with_presence(connection, &request.channel).await?;
        let clients = self.0.engine.presence(&channel.key, MAX_PRESENCE_CLIENTS).await?;
        let presence: BTreeMap<_, _> = clients.into_iter().map(|info| (info.client.clone(), info)).collect();
        Ok(ReplyContent::Presence(PresenceResult { presence }))
    }

    async fn presence_stats(
        &self,
        connection: &Arc<Connection>,
        request: PresenceRequest,
    ) -> Result<ReplyContent, CommandError> {
        let channel = self.with_presence(connection, &request.channel).await?;
        Ok(ReplyContent::PresenceStats(self.0.engine.presence_stats(&channel.key).await?))
    }

    async fn with_presence(&self, connection: &Arc<Connection>, name: &str) -> Result<ResolvedChannel, CommandError> {
        let (_, channel) = self.allowed(connection, name, ChannelAction::Presence).await?;
        if channel.options.presence {
            return Ok(channel);
        }
        let message = "the channel keeps no presence: its rule needs `.presence()`";
        Err(ErrorCode::NotAvailable.with_message(message).into())
    }

    async fn history(
        &self,
        connection: &Arc<Connection>,
        request: HistoryRequest,
    ) -> Result<ReplyContent, CommandError> {
        let HistoryRequest { channel, limit, since, reverse } = request;
        let (_, channel) = self.allowed(connection, &channel, ChannelAction::History).await?;
        if channel.options.history_size == 0 {
            let message = "the channel keeps no history: its rule needs `.history(size, ttl)`";
            return Err(ErrorCode::NotAvailable.with_message(message).into());
        }
        let max = self.recovery_limit();
        let limit = usize::try_from(limit).map_or(max, |limit| limit.min(max));
        let offset = since.as_ref().map(|position| position.offset);
        let filter = HistoryFilter { limit: Some(limit), since: offset, reverse };
        let page = self.0.engine.history(&channel.key, filter, &channel.options).await?;
        let StreamPosition { offset, epoch } = page.position;
        if since.is_some_and(|since| !since.epoch.is_empty() && since.epoch != epoch) {
            return Err(ErrorCode::UnrecoverablePosition.into());
        }
        let mut publications = page.publications;
        let fitting = self.fitting(&publications);
        publications.truncate(fitting);
        Ok(ReplyContent::History(HistoryResult { publications, epoch, offset }))
    }

    /// Returns the caller and the channel, if the caller may do this in it.
    async fn allowed(
        &self,
        connection: &Connection,
        name: &str,
        action: ChannelAction,
    ) -> Result<(Arc<Identity>, ResolvedChannel), CommandError> {
        let caller = connection.caller().ok_or(CloseCode::ConnectionClosed)?;
        let channel = self.0.rules.resolve(&caller, name).ok_or(ErrorCode::UnknownChannel)?;
        if channel.check(&caller, action).await? {
            Ok((caller, channel))
        } else {
            Err(ErrorCode::PermissionDenied.into())
        }
    }
}

impl Connection {
    /// Handles the pong of a client. Fails if the client owes none.
    fn accept_pong(&self) -> Result<(), CloseCode> {
        if self.take_pong() || self.transport() == Transport::Sse { Ok(()) } else { Err(CloseCode::BadRequest) }
    }
}
