//! Notifications, each with its occasion, so that an app can replace the source of one of them.

use omnistack_messaging::email::template::{Notification, Template};
use serde::Serialize;

/// A notification about an account or a tenant.
#[derive(Serialize)]
#[serde(transparent)]
pub(super) struct AccountNotification {
    content: Notification,
    #[serde(skip)]
    occasion: &'static str,
}

impl AccountNotification {
    pub(super) fn new(occasion: &'static str, content: Notification) -> Self {
        Self { content, occasion }
    }
}

impl Template for AccountNotification {
    const NAME: &'static str = Notification::NAME;
    const SOURCES: &'static [(&'static str, &'static str)] = Notification::SOURCES;

    fn sample() -> Self {
        Self { content: Notification::sample(), occasion: "password_changed" }
    }

    fn occasion(&self) -> Option<&'static str> {
        Some(self.occasion)
    }
}
