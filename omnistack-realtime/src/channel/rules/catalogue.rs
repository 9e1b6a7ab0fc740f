//! All rules of an app, and the channels that they allow.

use std::{sync::Arc, time::Duration};

use omnistack_core::{
    http::Error,
    identity::{Identity, UserId},
    realtime::RealtimeChannel,
};
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use utoipa::ToSchema;

use super::{AccessCheck, ChannelAction, ChannelRule};
use crate::channel::{ChannelKey, ChannelOptions};

/// The names of the built-in channels.
const TENANT_CHANNEL: &str = "tenant";
const BROADCAST_CHANNEL: &str = "broadcast";
const OPERATORS_CHANNEL: &str = "operators";
const USER_CHANNEL_PREFIX: &str = "user:";

/// The largest size of a history.
const MAX_HISTORY_MESSAGES: u32 = 10_000;

/// The times for which a history can be kept.
const MIN_HISTORY_TTL: Duration = Duration::from_secs(1);
const MAX_HISTORY_TTL: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// The rules of an app's channels. The first rule whose pattern matches a name applies; a channel without a rule does
/// not exist. Channels belong to the caller's tenant: clients of two tenants that subscribe to `room:1` are in two
/// channels. Four kinds are built in:
///
/// | channel | who may subscribe |
/// |---|---|
/// | `user:{id}` | the user with this id, in all tenants; no API key, and no operator who impersonates the user |
/// | `tenant` | the members of the tenant |
/// | `broadcast` | all signed-in users of all tenants |
/// | `operators` | the operators of the app |
///
/// Only the app publishes in these. Cheap to clone.
///
/// ```
/// use omnistack_realtime::{ChannelRule, Channels};
///
/// let channels = Channels::new()
///     .allow("room:{id}", |caller, _| caller.can("rooms:read"))
///     .rule(ChannelRule::new("job:{id}").subscribe(|_, _| true).latest_value());
/// # let _ = channels;
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct Channels {
    rules: Vec<Arc<ChannelRule>>,
    user: Arc<ChannelRule>,
    tenant: Arc<ChannelRule>,
    broadcast: Arc<ChannelRule>,
    operators: Arc<ChannelRule>,
}

/// A channel that a rule matches. The caller may do in it only what [`check`](Self::check) allows.
#[derive(Debug)]
pub(crate) struct ResolvedChannel {
    pub(crate) key: ChannelKey,
    pub(crate) options: ChannelOptions,
    pub(crate) rule: Arc<ChannelRule>,
    /// The part of the name that the rule's pattern has in braces.
    pub(crate) id: String,
}

/// A mistake in the rules, and its fix.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ChannelProblem {
    pub(crate) what: String,
    pub(crate) fix: &'static str,
}

/// A rule in the table of who may do what.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct ChannelTableRow {
    /// The pattern of the channels' names.
    pub(crate) pattern: String,
    /// The callers who may subscribe.
    pub(crate) subscribe: &'static str,
    /// The callers who may publish, besides the app.
    pub(crate) publish: &'static str,
    /// Number of messages in the history; 0 for none.
    pub(crate) history_size: u32,
    /// Seconds for which the history is kept after its last message; 0 for none.
    pub(crate) history_seconds: u64,
    /// Whether clients get the newest message only.
    pub(crate) latest_value: bool,
    /// Whether the presence of clients is kept.
    pub(crate) presence: bool,
    /// Whether subscribers are told about users who come and go.
    pub(crate) join_leave: bool,
}

impl Channels {
    /// Creates the rules of the built-in channels.
    pub fn new() -> Self {
        // It has the user's notifications about all tenants, which are closed to others who act for the user.
        let is_user = |caller: &Identity, id: &str| caller.require_in_person().is_ok() && caller.user.to_string() == id;
        Self {
            rules: Vec::new(),
            user: built_in("user:{id}", "the user", is_user),
            tenant: built_in(TENANT_CHANNEL, "members of the tenant", |caller, _| caller.tenant.is_some()),
            broadcast: built_in(BROADCAST_CHANNEL, "signed-in users", |_, _| true),
            operators: built_in(OPERATORS_CHANNEL, "operators", |caller, _| caller.operator),
        }
    }

    /// Lets the callers subscribe to the channels of a pattern for whom the function returns true; short for a
    /// [`rule`](Self::rule) with [`ChannelRule::subscribe`].
    pub fn allow(
        self,
        pattern: impl Into<String>,
        allows: impl Fn(&Identity, &str) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.rule(ChannelRule::new(pattern).subscribe(allows))
    }

    /// Adds a rule.
    pub fn rule(mut self, rule: ChannelRule) -> Self {
        self.rules.push(Arc::new(rule));
        self
    }

    /// Returns the channel that the caller means by a name, or `None` if it is no channel: no rule matches, or the
    /// caller has selected no tenant.
    pub(crate) fn resolve(&self, caller: &Identity, name: &str) -> Option<ResolvedChannel> {
        let (channel, rule, id) = match name {
            TENANT_CHANNEL => (RealtimeChannel::tenant(caller.tenant?), &self.tenant, ""),
            BROADCAST_CHANNEL => (RealtimeChannel::broadcast(), &self.broadcast, ""),
            OPERATORS_CHANNEL => (RealtimeChannel::operators(), &self.operators, ""),
            _ => match name.strip_prefix(USER_CHANNEL_PREFIX) {
                Some(id) => (user_channel(name, id)?, &self.user, id),
                None => {
                    let channel = RealtimeChannel::of_tenant(caller.tenant?, name).ok()?;
                    let (rule, id) = self.app_rule(name)?;
                    (channel, rule, id)
                }
            },
        };
        Some(ResolvedChannel {
            key: ChannelKey::new(&channel),
            options: rule.options.clone(),
            rule: Arc::clone(rule),
            id: id.to_owned(),
        })
    }

    /// Returns the options of a channel in which the app publishes, or `None` if no rule matches it, so that no client
    /// can ever get its messages.
    pub(crate) fn options_of(&self, channel: &RealtimeChannel) -> Option<ChannelOptions> {
        let rule = match (channel.tenant_id(), channel.name()) {
            (Some(_), TENANT_CHANNEL) => Some(&self.tenant),
            (Some(_), name) => self.app_rule(name).map(|(rule, _)| rule),
            (None, BROADCAST_CHANNEL) => Some(&self.broadcast),
            (None, OPERATORS_CHANNEL) => Some(&self.operators),
            (None, _) => Some(&self.user),
        };
        rule.map(|rule| rule.options.clone())
    }

    /// Returns all rules in the order in which they apply.
    pub(crate) fn table(&self) -> Vec<ChannelTableRow> {
        let built_in = [&self.user, &self.tenant, &self.broadcast, &self.operators];
        built_in.into_iter().chain(&self.rules).map(|rule| rule.table_row()).collect()
    }

    /// Returns the mistakes in the rules of the app.
    pub(crate) fn problems(&self) -> Vec<ChannelProblem> {
        let mut problems = Vec::new();
        for (index, rule) in self.rules.iter().enumerate() {
            problems.extend(rule.problem());
            let same = self.rules[..index].iter().find(|other| rule.pattern.is_ok() && other.pattern == rule.pattern);
            problems.extend(same.map(|same| ChannelProblem {
                what: format!("the channel rules `{}` and `{}` have the same channels", same.text, rule.text),
                fix: "join them in one rule",
            }));
        }
        problems
    }

    fn app_rule<'a>(&self, name: &'a str) -> Option<(&Arc<ChannelRule>, &'a str)> {
        self.rules.iter().find_map(|rule| Some((rule, rule.pattern.as_ref().ok()?.id(name)?)))
    }
}

impl Default for Channels {
    fn default() -> Self {
        Self::new()
    }
}

impl ChannelRule {
    fn table_row(&self) -> ChannelTableRow {
        let ChannelOptions { history_size, history_ttl, latest_value, presence, join_leave } = self.options;
        ChannelTableRow {
            pattern: self.text.clone(),
            subscribe: self.subscribe.label(),
            publish: self.publish.label(),
            history_size,
            history_seconds: if history_size == 0 { 0 } else { history_ttl.as_secs() },
            latest_value,
            presence,
            join_leave,
        }
    }

    fn problem(&self) -> Option<ChannelProblem> {
        let text = &self.text;
        let pattern = match &self.pattern {
            Ok(pattern) => pattern,
            Err(wrong) => {
                let what = format!("the channel pattern `{text}` is wrong: {wrong}");
                let fix = "write letters, digits and `:_-./` with at most one part in braces, such as `room:{id}`";
                return Some(ChannelProblem { what, fix });
            }
        };
        let ChannelOptions { history_size, history_ttl, .. } = self.options;
        let is_history_allowed = history_size == 0
            || (history_size <= MAX_HISTORY_MESSAGES && (MIN_HISTORY_TTL..=MAX_HISTORY_TTL).contains(&history_ttl));
        let is_built_in = [TENANT_CHANNEL, BROADCAST_CHANNEL, OPERATORS_CHANNEL].contains(&text.as_str())
            || pattern.prefix().starts_with(USER_CHANNEL_PREFIX);
        if is_built_in {
            let what = format!("the channels of the rule `{text}` are built in");
            let fix = "choose a name other than `user:…`, `tenant`, `broadcast` and `operators`";
            Some(ChannelProblem { what, fix })
        } else if !is_history_allowed {
            let what = format!("the history of the channel rule `{text}` is too large, too long or too short");
            Some(ChannelProblem { what, fix: "keep at most 10,000 messages, for a second to 30 days" })
        } else if self.on_publish.is_some() && matches!(self.publish, AccessCheck::Refused) {
            let what = format!("no client can publish by the rule `{text}`, so its `on_publish` is not called");
            Some(ChannelProblem { what, fix: "add `.publish(…)`, or remove `.on_publish(…)`" })
        } else {
            None
        }
    }
}

impl ResolvedChannel {
    /// Returns whether the caller may do this in the channel. Whether the history or the presence are kept is in the
    /// options.
    ///
    /// # Errors
    /// The errors of the app's [`ChannelAccess`](super::ChannelAccess).
    pub(crate) async fn check(&self, caller: &Identity, action: ChannelAction) -> Result<bool, Error> {
        self.rule.check_of(action).allows(caller, &self.id, action).await
    }

    /// Returns the data that is published for a client: what the client has sent, or what the rule's hook makes of it.
    ///
    /// # Errors
    /// The message for the client, if the hook refuses the data.
    pub(crate) fn on_publish(&self, caller: &Identity, data: Box<RawValue>) -> Result<Box<RawValue>, String> {
        let Some(hook) = &self.rule.on_publish else { return Ok(data) };
        let data = serde_json::from_str(data.get()).map_err(|error| format!("the data can't be read: {error}"))?;
        let data = hook(caller, &self.id, data)?;
        to_raw_value(&data).map_err(|error| format!("the data can't be written: {error}"))
    }
}

fn built_in(pattern: &str, callers: &'static str, allows: fn(&Identity, &str) -> bool) -> Arc<ChannelRule> {
    Arc::new(ChannelRule { subscribe: AccessCheck::BuiltIn(callers, allows), ..ChannelRule::new(pattern) })
}

/// Returns the channel of a user. Only the canonical form of the id is a name: the others would be further names of the
/// same channel.
fn user_channel(name: &str, id: &str) -> Option<RealtimeChannel> {
    let user: UserId = id.parse().ok()?;
    Some(RealtimeChannel::user(user)).filter(|channel| channel.name() == name)
}
