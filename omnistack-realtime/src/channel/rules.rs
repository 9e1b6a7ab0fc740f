//! The rules of channels: who may subscribe and publish, and what is kept.

mod catalogue;
mod pattern;
#[cfg(test)]
mod tests;

use std::{fmt, time::Duration};

use async_trait::async_trait;
use omnistack_core::{http::Error, identity::Identity};
use serde_json::Value;

use super::ChannelOptions;
use pattern::ChannelPattern;

pub use catalogue::Channels;
pub(crate) use catalogue::{ChannelTableRow, ResolvedChannel};

/// An action of a client in a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ChannelAction {
    /// Subscribing, which delivers the messages.
    Subscribe,
    /// Publishing a message.
    Publish,
    /// Reading the history.
    History,
    /// Reading the presence, or its numbers.
    Presence,
}

/// A check that needs the database or another service. See [`ChannelRule::subscribe_if`].
///
/// ```
/// use omnistack_core::{async_trait, db::Db, http::Error, identity::Identity};
/// use omnistack_realtime::{ChannelAccess, ChannelAction, ChannelRule};
///
/// /// The members of a room.
/// struct RoomMembers(Db);
///
/// #[async_trait]
/// impl ChannelAccess for RoomMembers {
///     async fn allows(&self, caller: &Identity, id: &str, _: ChannelAction) -> Result<bool, Error> {
///         let tenant = caller.require_tenant()?;
///         let mut tx = self.0.tenant(tenant).begin_read().await?;
///         let sql = "select room from room_members where tenant_id = $1 and room = $2 and user_id = $3";
///         let query = tx.query(sql).bind(tenant).bind(id).bind(caller.user);
///         Ok(query.fetch_optional::<(String,)>().await?.is_some())
///     }
/// }
///
/// fn rooms(db: Db) -> ChannelRule {
///     ChannelRule::new("room:{id}").subscribe_if(RoomMembers(db))
/// }
/// ```
#[async_trait]
pub trait ChannelAccess: Send + Sync + 'static {
    /// Returns whether the caller may do this in the channel. `id` is the part of its name that the pattern has in
    /// braces.
    ///
    /// # Errors
    /// The client gets a temporary error, and tries again.
    async fn allows(&self, caller: &Identity, id: &str, action: ChannelAction) -> Result<bool, Error>;
}

/// A rule for the channels of a pattern. It refuses everything that is not allowed.
///
/// ```
/// use std::time::Duration;
/// use omnistack_realtime::ChannelRule;
/// use serde_json::json;
///
/// let rooms = ChannelRule::new("room:{id}")
///     .subscribe(|caller, _| caller.can("rooms:read"))
///     .publish(|caller, _| caller.can("rooms:write"))
///     .on_publish(|caller, _, message| match message["text"].as_str() {
///         Some(text) if text.len() <= 2000 => Ok(json!({ "author": caller.user, "text": text })),
///         _ => Err("send a text of at most 2000 bytes".to_owned()),
///     })
///     .history(100, Duration::from_secs(7 * 24 * 60 * 60))
///     .join_leave();
/// # let _ = rooms;
/// ```
#[must_use]
pub struct ChannelRule {
    text: String,
    pattern: Result<ChannelPattern, &'static str>,
    options: ChannelOptions,
    subscribe: AccessCheck,
    publish: AccessCheck,
    on_publish: Option<PublishHook>,
}

type PublishHook = Box<dyn Fn(&Identity, &str, Value) -> Result<Value, String> + Send + Sync>;

/// The check of an action.
enum AccessCheck {
    Refused,
    Function(Box<dyn Fn(&Identity, &str) -> bool + Send + Sync>),
    Lookup(Box<dyn ChannelAccess>),
    /// A check of the built-in channels, with its text in the table.
    BuiltIn(&'static str, fn(&Identity, &str) -> bool),
}

impl ChannelRule {
    /// Creates a rule that refuses everything. A pattern is text with at most one part in braces, such as `room:{id}`;
    /// the part stands for one or more characters other than `:` and `/`. A wrong pattern is a problem of the build.
    pub fn new(pattern: impl Into<String>) -> Self {
        let text = pattern.into();
        Self {
            pattern: ChannelPattern::parse(&text),
            text,
            options: ChannelOptions::default(),
            subscribe: AccessCheck::Refused,
            publish: AccessCheck::Refused,
            on_publish: None,
        }
    }

    /// Lets the callers subscribe for whom the function returns true; its second argument is the part of the channel's
    /// name that the pattern has in braces. They may also read the history and the presence, if they are kept.
    pub fn subscribe(mut self, allows: impl Fn(&Identity, &str) -> bool + Send + Sync + 'static) -> Self {
        self.subscribe = AccessCheck::Function(Box::new(allows));
        self
    }

    /// Lets the callers subscribe whom the check allows to, as with [`subscribe`](Self::subscribe). The check is asked
    /// for each of the actions.
    pub fn subscribe_if(mut self, check: impl ChannelAccess) -> Self {
        self.subscribe = AccessCheck::Lookup(Box::new(check));
        self
    }

    /// Lets the clients publish for whom the function returns true, whether they subscribe or not. Only the app
    /// publishes in the channels of a rule without it.
    pub fn publish(mut self, allows: impl Fn(&Identity, &str) -> bool + Send + Sync + 'static) -> Self {
        self.publish = AccessCheck::Function(Box::new(allows));
        self
    }

    /// Lets the clients publish whom the check allows to, as with [`publish`](Self::publish).
    pub fn publish_if(mut self, check: impl ChannelAccess) -> Self {
        self.publish = AccessCheck::Lookup(Box::new(check));
        self
    }

    /// Checks or changes what clients publish. The text of an error is the message that the client gets. Messages of
    /// the app are not passed to it.
    pub fn on_publish(
        mut self,
        hook: impl Fn(&Identity, &str, Value) -> Result<Value, String> + Send + Sync + 'static,
    ) -> Self {
        self.on_publish = Some(Box::new(hook));
        self
    }

    /// Keeps this many messages of a channel, for this time after the last of them. The default is 300 messages for a
    /// day. At most 10,000 messages are kept, for 30 days.
    pub fn history(mut self, size: u32, ttl: Duration) -> Self {
        self.options.history_size = size;
        self.options.history_ttl = ttl;
        self.options.latest_value = false;
        self
    }

    /// Keeps no messages. A client that was disconnected then can't recover what it has missed, and is not told.
    pub fn without_history(mut self) -> Self {
        self.options.history_size = 0;
        self.options.latest_value = false;
        self
    }

    /// Keeps the newest message only. A client gets it when it subscribes, and may miss older ones: use it for progress
    /// and counters.
    pub fn latest_value(mut self) -> Self {
        self.options.history_size = 1;
        self.options.latest_value = true;
        self
    }

    /// Keeps the presence, which clients that may subscribe can read.
    pub fn presence(mut self) -> Self {
        self.options.presence = true;
        self
    }

    /// Keeps the presence, and tells subscribers about users who come and go.
    pub fn join_leave(mut self) -> Self {
        self.options.join_leave = true;
        self.presence()
    }

    fn check_of(&self, action: ChannelAction) -> &AccessCheck {
        match action {
            ChannelAction::Subscribe | ChannelAction::History | ChannelAction::Presence => &self.subscribe,
            ChannelAction::Publish => &self.publish,
        }
    }
}

impl AccessCheck {
    async fn allows(&self, caller: &Identity, id: &str, action: ChannelAction) -> Result<bool, Error> {
        match self {
            Self::Refused => Ok(false),
            Self::Function(allows) => Ok(allows(caller, id)),
            Self::Lookup(check) => check.allows(caller, id, action).await,
            Self::BuiltIn(_, allows) => Ok(allows(caller, id)),
        }
    }

    /// Returns the callers in the table of channels.
    fn label(&self) -> &'static str {
        match self {
            Self::Refused => "no client",
            Self::Function(_) => "rule of the app",
            Self::Lookup(_) => "lookup of the app",
            Self::BuiltIn(label, _) => label,
        }
    }
}

impl fmt::Debug for ChannelRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChannelRule")
            .field("pattern", &self.text)
            .field("subscribe", &self.subscribe.label())
            .field("publish", &self.publish.label())
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}
