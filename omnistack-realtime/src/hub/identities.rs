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
use tokio::{sync::broadcast::error::RecvError, task::JoinSet};

use super::{Hub, connection::Connection, lock, service::MAX_CONCURRENT_CHORES, wheel::spread};
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
/// Longest time until all callers are authenticated again after messages between replicas may have been lost.
const DOUBT_INTERVAL: Duration = Duration::from_secs(120);
/// Changes that are handled at the same time. The change of a large tenant must not hold up a sign-out.
const MAX_CONCURRENT_CHANGES: usize = 16;

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
        let connections = match scopes {
            Some(scopes) => self.0.connections.covered(scopes),
            None => self.0.connections.all(),
        };
        self.reauthenticate_all(connections, true).await;
    }

    /// Follows the changes that are published, until the subscription ends.
    pub(super) async fn follow_identity_changes(&self, changes: PubSub) -> Result<(), BoxError> {
        let mut changes = changes.subscribe(IDENTITY_CHANGES_TOPIC).await;
        // After a failure of this service, changes may have been missed.
        self.doubt_identities();
        let mut handling = JoinSet::new();
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
            while handling.try_join_next().is_some() {}
            if handling.len() >= MAX_CONCURRENT_CHANGES {
                handling.join_next().await;
            }
            let hub = self.clone();
            handling.spawn(async move { hub.identities_changed((!is_lagging).then_some(&scopes)).await });
        }
    }

    /// Makes all callers due for another authentication, because messages about changes may have been lost. They are
    /// spread, so that the database does not get them all at once.
    pub(super) fn doubt_identities(&self) {
        self.0.identity_changes.fetch_add(1, Ordering::SeqCst);
        for connection in self.0.connections.all() {
            let at = self.now() + spread(DOUBT_INTERVAL, connection.number);
            let mut state = lock(&connection.state);
            if at < state.deadlines.reauthentication {
                state.deadlines.reauthentication = at;
                self.schedule_connection(connection.number, &mut state.deadlines, at);
            }
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
        while !self.try_reauthenticate(connection, is_changed).await {}
    }

    /// Authenticates the caller of a connection again. Returns false if another authentication or a refresh has ended
    /// meanwhile, which may have begun before the change: then it is to be repeated.
    async fn try_reauthenticate(&self, connection: &Arc<Connection>, is_changed: bool) -> bool {
        let (caller, credential) = {
            let state = lock(&connection.state);
            (state.caller.clone(), state.credential.clone())
        };
        let (Some(caller), Some(credential)) = (caller, credential) else { return true };
        let identity = match self.0.sign_in.again(&credential).await {
            Ok(identity) => connection.caller_of(identity),
            Err(_) if !connection.has_credential(&credential) => return false,
            Err(error) => {
                match sign_in::close_code(&error) {
                    CloseCode::Server | CloseCode::TooManyRequests => self.reauthenticate_later(connection),
                    // The client has a grace period for its refresh, and the token of a cookie is refreshed by other
                    // requests: the connection stays unless there was a change.
                    CloseCode::Expired if !is_changed => {}
                    code => connection.outbound.close(code),
                }
                return true;
            }
        };
        let code = {
            let mut state = lock(&connection.state);
            let (Some(present), Some(present_credential)) = (&state.caller, &state.credential) else { return true };
            if !Arc::ptr_eq(present, &caller) || !Arc::ptr_eq(present_credential, &credential) {
                return false;
            }
            if identity == *caller {
                return true;
            }
            if identity.user != caller.user {
                Some(CloseCode::InvalidToken)
            } else if identity.tenant != caller.tenant {
                // Channels, limits and usage are those of the tenant.
                Some(CloseCode::ForceReconnect)
            } else {
                self.0.connections.set_caller(connection.number, Some(&caller), &identity);
                state.caller = Some(Arc::new(identity));
                None
            }
        };
        if let Some(code) = code {
            connection.outbound.close(code);
            return true;
        }
        self.check_subscriptions(connection).await;
        true
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
