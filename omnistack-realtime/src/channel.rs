//! Channels: their keys, their options, and the rules of who may do what.

mod rules;

use std::{fmt, sync::Arc, time::Duration};

use omnistack_core::realtime::RealtimeChannel;

pub use rules::{ChannelAccess, ChannelAction, ChannelRule, Channels};
pub(crate) use rules::{ChannelTableRow, ResolvedChannel};

/// The key of a channel: its tenant and its name, as `TENANT/room:42`, or `-/user:ID` without a tenant. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ChannelKey {
    key: Arc<str>,
    /// The beginning of the name in `key`.
    name: usize,
}

impl ChannelKey {
    /// Returns the key of a channel.
    pub(crate) fn new(channel: &RealtimeChannel) -> Self {
        let tenant = channel.tenant_id().map(|tenant| tenant.uuid().simple().to_string());
        let tenant = tenant.as_deref().unwrap_or("-");
        Self { key: format!("{tenant}/{}", channel.name()).into(), name: tenant.len() + 1 }
    }

    /// Returns the key as another replica has sent it, or `None` if it is none.
    #[cfg(feature = "redis")]
    pub(crate) fn parse(key: &str) -> Option<Self> {
        let name = key.find('/')? + 1;
        Some(Self { key: key.into(), name })
    }

    /// Returns the whole key.
    pub(crate) fn as_str(&self) -> &str {
        &self.key
    }

    /// Returns the name that clients use.
    pub(crate) fn name(&self) -> &str {
        self.key.get(self.name..).unwrap_or_default()
    }
}

impl fmt::Display for ChannelKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.key)
    }
}

/// The options of the channels of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ChannelOptions {
    /// Number of messages in the history; 0 for none.
    pub history_size: u32,
    /// Time for which the history of a channel is kept after its last message.
    pub history_ttl: Duration,
    /// Whether clients that subscribe get the newest message, and slow clients may miss older ones: for progress and
    /// counters.
    pub latest_value: bool,
    /// Whether the presence of clients is kept.
    pub presence: bool,
    /// Whether subscribers are told about users who come and go.
    pub join_leave: bool,
}

impl Default for ChannelOptions {
    fn default() -> Self {
        Self {
            history_size: 300,
            history_ttl: Duration::from_secs(24 * 60 * 60),
            latest_value: false,
            presence: false,
            join_leave: false,
        }
    }
}
