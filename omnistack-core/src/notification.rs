//! The port for notifications of users.
//!
//! A module registers the kinds of its notifications and notifies users through the [`Notifier`], in the transaction
//! that makes the news true:
//!
//! ```
//! use omnistack_core::{
//!     db::{self, Tx},
//!     identity::{TenantId, UserId},
//!     module::{Module, Registry},
//!     notification::{NewNotification, NotificationPreference, Notifier},
//! };
//!
//! struct Comments;
//!
//! impl Module for Comments {
//!     fn name(&self) -> &'static str {
//!         "comments"
//!     }
//!
//!     fn register(&self, registry: &mut Registry) {
//!         registry.notification_kind("comment.created", "Comments on your projects", NotificationPreference::Both);
//!     }
//! }
//!
//! async fn tell_owner(notifier: &Notifier, tx: &mut Tx, tenant: TenantId, owner: UserId) -> Result<(), db::Error> {
//!     let comment = NewNotification::new(owner, "comment.created", "Ada commented on “Website”")
//!         .tenant(tenant)
//!         .link("/projects/42#comments");
//!     notifier.notify_in(tx, comment).await
//! }
//! ```
//!
//! The feature `realtime` stores and delivers notifications. Without it, none is stored.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::{
    db::{self, Tx},
    identity::{TenantId, UserId},
    module::Registry,
};

/// The ways in which a user gets the notifications of a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum NotificationPreference {
    /// The user sees them in the app, and connected clients get them at once.
    Live,
    /// The user sees them in the app, and gets a mail for each.
    Mail,
    /// The user sees them in the app, connected clients get them at once, and the user gets a mail for each.
    Both,
    /// The user gets none; they are not stored.
    None,
}

impl NotificationPreference {
    /// Returns whether connected clients get a notification at once.
    pub const fn is_live(self) -> bool {
        matches!(self, Self::Live | Self::Both)
    }

    /// Returns whether the user gets a mail for each notification.
    pub const fn is_mailed(self) -> bool {
        matches!(self, Self::Mail | Self::Both)
    }

    /// Returns the name as in JSON, such as `both`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Mail => "mail",
            Self::Both => "both",
            Self::None => "none",
        }
    }
}

/// A kind of notifications, for which users have a preference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NotificationKind {
    /// The name, such as `comment.created`.
    pub name: &'static str,
    /// The title that users see beside their preference, such as `Comments`.
    pub title: &'static str,
    /// The preference of users who have set none.
    pub default_preference: NotificationPreference,
}

/// The kinds of notifications that modules have registered. It is in the [`Context`](crate::module::Context) of every
/// app. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct NotificationKinds(Arc<Mutex<Vec<NotificationKind>>>);

impl NotificationKinds {
    /// Returns the kinds, sorted by name.
    pub fn all(&self) -> Vec<NotificationKind> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns a kind by its name.
    pub fn get(&self, name: &str) -> Option<NotificationKind> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().find(|kind| kind.name == name).copied()
    }

    /// Adds a kind. Returns `false` if there is one of this name.
    fn add(&self, kind: NotificationKind) -> bool {
        let mut kinds = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Err(index) = kinds.binary_search_by(|known| known.name.cmp(kind.name)) else { return false };
        kinds.insert(index, kind);
        true
    }
}

/// A notification to a user.
///
/// ```
/// use omnistack_core::notification::NewNotification;
/// use serde_json::json;
/// # use omnistack_core::{clock::Clock, id::Id};
/// # let now = Clock::system().now();
/// # let (user, tenant) = (Id::new(now), Id::new(now));
/// let done = NewNotification::new(user, "export.finished", "Your export is ready")
///     .tenant(tenant)
///     .body("It has 12,000 rows.")
///     .link("/exports/7")
///     .data(json!({ "export": 7 }))
///     .key("export-7");
/// assert_eq!(done.link.as_deref(), Some("/exports/7"));
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct NewNotification {
    /// The user who gets it.
    pub user: UserId,
    /// The tenant that it is about. The user sees it in this tenant; without a tenant, in all.
    pub tenant: Option<TenantId>,
    /// The name of its kind, as registered by [`Registry::notification_kind`].
    pub kind: String,
    /// A line that says what has happened. Beyond 200 characters it is cut off.
    pub title: String,
    /// More text. Beyond 2,000 characters it is cut off.
    pub body: Option<String>,
    /// The page to open: a path of the app such as `/projects/42`, or a URL. At most 2,000 bytes.
    pub link: Option<String>,
    /// A JSON object for the clients of the app, at most 8 KiB; null for an empty one.
    pub data: Value,
    /// The idempotency key, at most 200 bytes: of the notifications of a user about the same tenant with the same key,
    /// one is stored.
    pub key: Option<String>,
}

impl NewNotification {
    /// Creates a notification without a tenant, which the user sees in all tenants.
    pub fn new(user: UserId, kind: impl Into<String>, title: impl Into<String>) -> Self {
        Self {
            user,
            tenant: None,
            kind: kind.into(),
            title: title.into(),
            body: None,
            link: None,
            data: Value::Null,
            key: None,
        }
    }

    /// Sets the tenant that it is about. The user sees it in this tenant only.
    #[must_use]
    pub fn tenant(mut self, tenant: TenantId) -> Self {
        self.tenant = Some(tenant);
        self
    }

    /// Sets more text.
    #[must_use]
    pub fn body(mut self, body: impl Into<String>) -> Self {
        self.body = Some(body.into());
        self
    }

    /// Sets the page to open: a path of the app such as `/projects/42`, or a URL.
    #[must_use]
    pub fn link(mut self, link: impl Into<String>) -> Self {
        self.link = Some(link.into());
        self
    }

    /// Sets a JSON object for the clients of the app.
    #[must_use]
    pub fn data(mut self, data: Value) -> Self {
        self.data = data;
        self
    }

    /// Sets the idempotency key: of the notifications of a user about the same tenant with the same key, one is stored.
    #[must_use]
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }
}

/// Delivery of notifications to users, as implemented by a module.
#[async_trait]
pub trait Notify: Send + Sync + 'static {
    /// Stores a notification in the transaction, and delivers it after the commit.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidValue`](db::ErrorKind::InvalidValue) if the kind is not registered, the title is empty, or
    /// the link, the data or the key is not valid; the errors of the database. The caller must roll back then.
    async fn notify_in(&self, tx: &mut Tx, notification: NewNotification) -> Result<(), db::Error>;
}

/// The handle that notifies users. It is in the [`Context`](crate::module::Context) of every app; without the module of
/// `omnistack-realtime` it stores and delivers nothing. Cheap to clone.
#[derive(Clone)]
pub struct Notifier(Option<Arc<dyn Notify>>);

impl Notifier {
    /// Creates a handle.
    pub fn new(notify: impl Notify) -> Self {
        Self(Some(Arc::new(notify)))
    }

    /// Creates a handle that notifies no user.
    pub const fn disabled() -> Self {
        Self(None)
    }

    /// Returns whether notifications are stored and delivered.
    pub const fn is_enabled(&self) -> bool {
        self.0.is_some()
    }

    /// Notifies a user, according to the user's preference for the kind. The notification is stored in the
    /// transaction; the user gets it after the commit, and never if the transaction is rolled back. A notification
    /// about a tenant needs a transaction of this tenant, or one that is not limited to a tenant.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidValue`](db::ErrorKind::InvalidValue) if the kind is not registered, the title is empty, the
    /// tenant is not that of the transaction, or the link, the data or the key is not valid; the errors of the
    /// database. Roll back the transaction then.
    pub async fn notify_in(&self, tx: &mut Tx, notification: NewNotification) -> Result<(), db::Error> {
        match &self.0 {
            Some(notify) => notify.notify_in(tx, notification).await,
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Notifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Notifier").field(&self.is_enabled()).finish()
    }
}

impl Registry {
    /// Adds a kind of notifications. `name` is stored with each notification and with the preferences of users, so it
    /// must not change. `title` is shown to users beside their preference; `preference` applies to users who have set
    /// none.
    pub fn notification_kind(
        &mut self,
        name: &'static str,
        title: &'static str,
        preference: NotificationPreference,
    ) -> &mut Self {
        let kind = NotificationKind { name, title, default_preference: preference };
        if let Some(kinds) = self.provided::<NotificationKinds>()
            && !kinds.add(kind)
        {
            let what = format!("the kind of notifications `{name}` is registered twice");
            self.report_problem(what, "give one of them another name");
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn preferences_have_the_names_of_their_json() {
        for (preference, name, is_live, is_mailed) in [
            (NotificationPreference::Live, "live", true, false),
            (NotificationPreference::Mail, "mail", false, true),
            (NotificationPreference::Both, "both", true, true),
            (NotificationPreference::None, "none", false, false),
        ] {
            assert_eq!(serde_json::to_value(preference).unwrap(), name);
            assert_eq!(preference.as_str(), name);
            assert_eq!((preference.is_live(), preference.is_mailed()), (is_live, is_mailed), "{name}");
        }
    }

    #[test]
    fn kinds_are_sorted_and_unique() {
        let kinds = NotificationKinds::default();
        let kind = |name| NotificationKind { name, title: "Title", default_preference: NotificationPreference::Live };
        assert!(kinds.add(kind("b")) && kinds.add(kind("a")) && !kinds.add(kind("b")));
        assert_eq!(kinds.all().iter().map(|kind| kind.name).collect::<Vec<_>>(), ["a", "b"]);
        assert!(kinds.get("a").is_some() && kinds.get("c").is_none());
    }
}
