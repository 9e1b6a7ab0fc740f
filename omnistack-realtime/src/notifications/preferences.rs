//! The preferences of users: how they get the notifications of each kind, and whether they get digests.

use std::collections::BTreeMap;

use omnistack_core::{
    clock::Timestamp,
    db::{self, Tx},
    http::{Error, FieldError},
    identity::UserId,
    notification::{NotificationKind, NotificationKinds, NotificationPreference},
};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::{deliver::NotificationService, store};

/// The stored preferences of a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct StoredPreferences {
    /// Whether the user gets digests.
    pub(super) digest: bool,
    /// The preferences by the name of their kind. Other kinds have their defaults.
    pub(super) kinds: BTreeMap<String, NotificationPreference>,
}

impl Default for StoredPreferences {
    fn default() -> Self {
        Self { digest: true, kinds: BTreeMap::new() }
    }
}

impl StoredPreferences {
    /// Returns the preferences of a user, or the defaults if the user has set none.
    pub(super) async fn find(tx: &mut Tx, user: UserId) -> Result<Self, db::Error> {
        let sql = "select digest, kinds from omni_notification_preferences where user_id = $1";
        let row: Option<(bool, String)> = tx.query(sql).bind(user).fetch_optional().await?;
        Ok(row.map_or_else(Self::default, |(digest, kinds)| Self { digest, kinds: read_kinds(&kinds) }))
    }

    async fn save(&self, tx: &mut Tx, user: UserId, now: Timestamp) -> Result<(), db::Error> {
        let sql = "insert into omni_notification_preferences (user_id, digest, kinds, updated_at)
                   values ($1, $2, $3, $4) on conflict (user_id) do update
                   set digest = excluded.digest, kinds = excluded.kinds, updated_at = excluded.updated_at";
        let kinds: BTreeMap<&str, &str> =
            self.kinds.iter().map(|(kind, preference)| (kind.as_str(), preference.as_str())).collect();
        let kinds =
            serde_json::to_string(&kinds).map_err(|error| db::Error::new(db::ErrorKind::Other, error.into()))?;
        tx.query(sql).bind(user).bind(self.digest).bind(kinds).bind(now).execute().await.map(drop)
    }

    /// Returns the preference for a kind.
    pub(super) fn of_kind(&self, kind: &NotificationKind) -> NotificationPreference {
        self.kinds.get(kind.name).copied().unwrap_or(kind.default_preference)
    }
}

/// Reads the preferences of a row. Those that a later release has added are left out.
fn read_kinds(json: &str) -> BTreeMap<String, NotificationPreference> {
    let kinds: BTreeMap<String, Value> = serde_json::from_str(json).unwrap_or_default();
    kinds.into_iter().filter_map(|(kind, preference)| Some((kind, serde_json::from_value(preference).ok()?))).collect()
}

/// The preference of a user for a kind of notifications.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct KindPreference {
    /// The name of the kind, such as `comment.created`.
    kind: &'static str,
    /// The title of the kind.
    title: &'static str,
    /// The user's preference.
    preference: NotificationPreference,
    /// The preference of users who have set none.
    default: NotificationPreference,
}

/// The preferences of the caller.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct NotificationPreferences {
    /// Whether unread notifications that were not mailed are sent as one mail after a while.
    digest: bool,
    /// The preferences for each kind of the app, by name.
    kinds: Vec<KindPreference>,
}

impl NotificationPreferences {
    fn new(stored: &StoredPreferences, kinds: &NotificationKinds) -> Self {
        let view = |kind: NotificationKind| KindPreference {
            kind: kind.name,
            title: kind.title,
            preference: stored.of_kind(&kind),
            default: kind.default_preference,
        };
        Self { digest: stored.digest, kinds: kinds.all().into_iter().map(view).collect() }
    }
}

impl NotificationService {
    /// Returns the preferences of a user.
    pub(super) async fn preferences(&self, user: UserId) -> Result<NotificationPreferences, Error> {
        // Preferences belong to no tenant.
        let mut tx = self.store.db.begin_read().await?;
        let stored = StoredPreferences::find(&mut tx, user).await?;
        tx.commit().await?;
        Ok(NotificationPreferences::new(&stored, &self.kinds))
    }

    /// Replaces the preferences of a user. Kinds that are not listed get their defaults. Notifications that wait for a
    /// digest are removed from it if the user wants none.
    ///
    /// # Errors
    /// 422 if a kind is not registered or is listed twice.
    pub(super) async fn set_preferences(
        &self,
        user: UserId,
        digest: bool,
        choices: Vec<(String, NotificationPreference)>,
    ) -> Result<NotificationPreferences, Error> {
        let mut stored = StoredPreferences { digest, kinds: BTreeMap::new() };
        let mut problems = Vec::new();
        for (at, (kind, preference)) in choices.into_iter().enumerate() {
            let field = format!("kinds[{at}].kind");
            if self.kinds.get(&kind).is_none() {
                problems.push(FieldError::new(field, "is not a kind of notifications of this app"));
            } else if stored.kinds.insert(kind, preference).is_some() {
                problems.push(FieldError::new(field, "is listed twice"));
            }
        }
        if !problems.is_empty() {
            return Err(Error::invalid(problems));
        }
        // A user's notifications that wait for a digest are about several tenants.
        let mut tx = self.store.db.all_tenants().begin().await?;
        stored.save(&mut tx, user, self.store.clock.now()).await?;
        if !digest {
            store::cancel_digest(&mut tx, user).await?;
        }
        tx.commit().await?;
        Ok(NotificationPreferences::new(&stored, &self.kinds))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn preferences_of_a_later_release_are_left_out() {
        let kinds = read_kinds(r#"{ "a": "none", "b": "push", "c": 7 }"#);
        assert_eq!(kinds.into_iter().collect::<Vec<_>>(), [("a".to_owned(), NotificationPreference::None)]);
        assert!(read_kinds("not JSON").is_empty());
    }
}
