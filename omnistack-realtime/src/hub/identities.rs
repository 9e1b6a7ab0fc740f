//! The changes of identities: the callers of open connections are authenticated again.

use std::{
    collections::HashSet,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use futures_util::{StreamExt as _, stream};
use omnistack_core::{
    BoxError,
    identity::{IDENTITY_CHANGES_TOPIC, IdentityScope},
    pubsub::PubSub,
};
use tokio::sync::broadcast::error::RecvError;

use super::{Hub, connection::Connection, lock, service::MAX_CONCURRENT_CHORES};
use crate::{
    channel::ChannelAction,
    protocol::{CloseCode, UnsubscribeCode},
    sign_in,
};

/// Time after a change before callers are authenticated again. Caches of identities learn of the change by the same
/// message, at about the same time; and changes that follow are handled together.
const SETTLE_TIME: Duration = Duration::from_millis(300);
/// Time after which a caller is authenticated again who could not be authenticated because of an outage.
const RETRY_INTERVAL: Duration = Duration::from_secs(2);

impl Hub {
    /// Authenticates the callers of the connections again whom a change concerns. Connections whose caller is refused
    /// are closed, and subscriptions that are no longer allowed are ended.
    #[cfg(test)]
    pub(super) async fn identity_changed(&self, scope: IdentityScope) {
        self.identities_changed(Some(&HashSet::from([scope]))).await;
    }

    /// Authenticates the callers again whom any of the scopes covers, or all of them.
    async fn identities_changed(&self, scopes: Option<&HashSet<IdentityScope>>) {
        self.0.identity_changes.fetch_add(1, Ordering::SeqCst);
        let mut connections = self.0.connections.all();
        if let Some(scopes) = scopes {
            connections.retain(|connection| {
                connection.caller().is_some_and(|caller| scopes.iter().any(|scope| scope.covers(&caller)))
            });
        }
        self.reauthenticate_all(connections, true).await;
    }

    /// Follows the changes that are published, until the subscription ends.
    pub(super) async fn follow_identity_changes(&self, changes: PubSub) -> Result<(), BoxError> {
        let mut changes = changes.subscribe(IDENTITY_CHANGES_TOPIC).await;
        loop {
            let mut scopes = HashSet::<IdentityScope>::new();
            let mut is_lagging = false;
            let mut message = changes.recv().await;
            // A sign-in between the change and its handling is repeated.
            self.0.identity_changes.fetch_add(1, Ordering::SeqCst);
            let settled = tokio::time::sleep(SETTLE_TIME);
            tokio::pin!(settled);
            loop {
                match message {
                    Ok(text) => {
                        let scope = std::str::from_utf8(&text).ok().and_then(|text| text.parse().ok());
                        if let Some(scope) = scope {
                            scopes.insert(scope);
                        }
                    }
                    Err(RecvError::Lagged(_)) => is_lagging = true,
                    Err(RecvError::Closed) => return Err("the changes of identities have ended".into()),
                }
                message = tokio::select! {
                    () = &mut settled => break,
                    message = changes.recv() => message,
                };
            }
            self.identities_changed((!is_lagging).then_some(&scopes)).await;
        }
    }

    /// Authenticates the callers of connections again. `is_changed` is whether a change was published.
    pub(super) async fn reauthenticate_all(&self, connections: Vec<Arc<Connection>>, is_changed: bool) {
        let calls = stream::iter(connections)
            .map(|connection| async move { self.reauthenticate(&connection, is_changed).await });
        calls.buffer_unordered(MAX_CONCURRENT_CHORES).for_each(|()| async {}).await;
    }

    /// Authenticates the caller of a connection again.
    pub(super) async fn reauthenticate(&self, connection: &Arc<Connection>, is_changed: bool) {
        let (caller, credential) = {
            let state = lock(&connection.state);
            (state.caller.clone(), state.credential.clone())
        };
        let (Some(caller), Some(credential)) = (caller, credential) else { return };
        let identity = match self.0.sign_in.again(&credential).await {
            Ok(identity) => connection.caller_of(identity),
            Err(error) => {
                match sign_in::close_code(&error) {
                    CloseCode::Server | CloseCode::TooManyRequests => self.reauthenticate_later(connection),
                    // The client has a grace period for its refresh, and the token of a cookie is refreshed by other
                    // requests: the connection stays unless there was a change.
                    CloseCode::Expired if !is_changed => {}
                    code => connection.outbound.close(code),
                }
                return;
            }
        };
        if identity == *caller {
            return;
        }
        if identity.user != caller.user {
            connection.outbound.close(CloseCode::InvalidToken);
            return;
        }
        if identity.tenant != caller.tenant {
            // Channels, limits and usage are those of the tenant.
            connection.outbound.close(CloseCode::ForceReconnect);
            return;
        }
        {
            let mut state = lock(&connection.state);
            let is_current = state.caller.as_ref().is_some_and(|present| Arc::ptr_eq(present, &caller));
            if !is_current {
                // Another refresh or authentication is newer.
                return;
            }
            state.caller = Some(Arc::new(identity));
        }
        self.check_subscriptions(connection).await;
    }

    /// Ends the subscriptions that the caller may no longer have. Those that can't be checked now are ended so that the
    /// client subscribes again, which checks them.
    pub(super) async fn check_subscriptions(&self, connection: &Arc<Connection>) {
        let Some(caller) = connection.caller() else { return };
        let subscriptions: Vec<_> = {
            let state = lock(&connection.state);
            state.subscriptions.iter().map(|present| (Arc::clone(&present.channel), present.serial)).collect()
        };
        for (channel, serial) in subscriptions {
            let resolved = self.0.rules.resolve(&caller, channel.key.name());
            let code = match resolved.filter(|resolved| resolved.key == channel.key) {
                None => UnsubscribeCode::Server,
                Some(resolved) => match resolved.check(&caller, ChannelAction::Subscribe).await {
                    Ok(true) => continue,
                    Ok(false) => UnsubscribeCode::Server,
                    Err(error) => {
                        tracing::warn!(target: "omnistack::realtime", ?error, "a subscription can't be checked again");
                        UnsubscribeCode::InsufficientState
                    }
                },
            };
            if let Some(subscription) = self.end_subscription(connection, serial) {
                self.tell_unsubscribed(connection, &subscription, code);
                self.leave(connection, &caller, &subscription).await;
            }
        }
    }

    fn reauthenticate_later(&self, connection: &Connection) {
        let mut state = lock(&connection.state);
        let at = self.now() + RETRY_INTERVAL;
        state.deadlines.reauthentication = at;
        self.schedule_connection(connection.number, &mut state.deadlines, at);
    }
}
