//! The scripts that run in Redis.

use omnistack_core::redis::Script;

pub(super) static PUBLISH: Script =
    Script::new(concat!(include_str!("../lua/epoch.lua"), include_str!("../lua/publish.lua")));
pub(super) static HISTORY: Script =
    Script::new(concat!(include_str!("../lua/epoch.lua"), include_str!("../lua/history.lua")));
pub(super) static FORGET: Script = Script::new(include_str!("../lua/forget.lua"));
pub(super) static KEEP: Script =
    Script::new(concat!(include_str!("../lua/presence.lua"), include_str!("../lua/keep.lua")));
pub(super) static LEAVE: Script =
    Script::new(concat!(include_str!("../lua/presence.lua"), include_str!("../lua/leave.lua")));
pub(super) static CLIENTS: Script =
    Script::new(concat!(include_str!("../lua/presence.lua"), include_str!("../lua/clients.lua")));
pub(super) static COUNT: Script =
    Script::new(concat!(include_str!("../lua/presence.lua"), include_str!("../lua/count.lua")));
pub(super) static PROBE: Script = Script::new(include_str!("../lua/probe.lua"));
pub(super) static SEND: Script = Script::new(include_str!("../lua/send.lua"));
