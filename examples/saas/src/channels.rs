//! The channels of the app: who may subscribe and publish.

use omnistack::{
    identity::Identity,
    realtime::{ChannelRule, Channels},
};
use serde_json::{Value, json};

/// Largest text of a chat message, in bytes.
const MAX_CHAT_BYTES: usize = 2000;

/// Returns the rules: chat rooms of a team, its runs, jobs and fixes of code, and the feeds of its files, webhooks,
/// usage and activity.
pub fn channels() -> Channels {
    Channels::new()
        .rule(
            ChannelRule::new("room:{id}")
                .subscribe(|caller, _| caller.can("projects:read"))
                .publish(|caller, _| caller.can("projects:write"))
                .on_publish(chat_message)
                .join_leave(),
        )
        .allow("run:{id}", |caller, _| caller.can("projects:read"))
        .rule(ChannelRule::new("job:{id}").subscribe(|caller, _| caller.can("projects:read")).latest_value())
        .rule(ChannelRule::new("fix:{id}").subscribe(|caller, _| caller.can("fixes:read")).latest_value())
        .allow("files", |caller, _| caller.can("files:read"))
        .allow("webhooks", |caller, _| caller.can("webhooks:read"))
        .allow("usage", |caller, _| caller.can("billing:read"))
        .allow("activity", |caller, _| caller.can("activity:read"))
}

/// Returns the message that the members of a room get: the text, with the author that the client can't choose.
fn chat_message(caller: &Identity, _room: &str, message: Value) -> Result<Value, String> {
    match message["text"].as_str() {
        Some(text) if text.len() <= MAX_CHAT_BYTES => Ok(json!({ "author": caller.user, "text": text })),
        _ => Err(format!("send a text of at most {MAX_CHAT_BYTES} bytes")),
    }
}
