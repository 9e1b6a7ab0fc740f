//! The module [`Realtime`].

use omnistack_core::module::{Module, Registry};

use crate::{
    admin,
    channel::{ChannelTableRow, Channels},
    feeds, hub, notifications, publisher,
    settings::RealtimeSettings,
    sign_in, transport,
};

/// The module of messages to connected clients: `.with(Realtime::from_env().channels(channels))`. See the
/// [crate's documentation](crate).
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct Realtime {
    channels: Channels,
}

impl Realtime {
    /// Creates the module, which reads its settings. It has the built-in channels only.
    pub fn from_env() -> Self {
        Self::default()
    }

    /// Sets the rules of the app's channels.
    pub fn channels(mut self, channels: Channels) -> Self {
        self.channels = channels;
        self
    }
}

impl Module for Realtime {
    fn name(&self) -> &'static str {
        "realtime"
    }

    fn register(&self, registry: &mut Registry) {
        let Some(settings) = registry.config::<RealtimeSettings>() else { return };
        for problem in self.channels.problems() {
            registry.report_problem(problem.what, problem.fix);
        }
        for row in self.channels.table() {
            registry.doctor_line("channel", doctor_text(&row));
        }
        sign_in::register(registry);
        hub::register(registry, &settings, self.channels.clone());
        transport::register(registry, &settings);
        publisher::register(registry);
        feeds::register(registry);
        notifications::register(registry);
        admin::register(registry, self.channels.clone());
    }
}

/// Returns the text that the command `doctor` prints about the channels of a rule.
fn doctor_text(row: &ChannelTableRow) -> String {
    let ChannelTableRow { pattern, subscribe, publish, history_size, latest_value, presence, .. } = row;
    let history = match history_size {
        _ if *latest_value => "the newest message".to_owned(),
        0 => "no history".to_owned(),
        size => format!("{size} messages"),
    };
    let presence = if *presence { ", presence" } else { "" };
    format!("{pattern}: subscribe {subscribe}, publish {publish}, {history}{presence}")
}
