//! Stores notifications, and delivers them as their user prefers.

use std::time::Duration;

use async_trait::async_trait;
use omnistack_core::{
    clock::Timestamp,
    db::{self, Tx},
    jobs::{Job, JobContext, JobError, Jobs, NewJob},
    notification::{NewNotification, NotificationKinds, NotificationPreference, Notify},
    realtime::{RealtimeChannel, RealtimePublisher},
};
use serde::{Deserialize, Serialize};

use super::{
    mail::SendNotificationMail,
    model::{NotificationId, NotificationMessage, NotificationRow, UserNotification, checked, invalid},
    preferences::StoredPreferences,
    store::{self, NotificationStore},
};

/// The notifications of users. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct NotificationService {
    pub(super) store: NotificationStore,
    pub(super) jobs: Jobs,
    pub(super) realtime: RealtimePublisher,
    pub(super) kinds: NotificationKinds,
    /// The time after which notifications are put into a digest; `None` for no digests.
    pub(super) digest_after: Option<Duration>,
}

#[async_trait]
impl Notify for NotificationService {
    async fn notify_in(&self, tx: &mut Tx, notification: NewNotification) -> Result<(), db::Error> {
        let notification = checked(notification)?;
        if self.kinds.get(&notification.kind).is_none() {
            let kind = &notification.kind;
            return Err(invalid(format!(
                "the kind of notifications `{kind}` is not registered; call `registry.notification_kind` in the module"
            )));
        }
        if tx.tenant().is_some() && notification.tenant.is_some_and(|tenant| tx.tenant() != Some(tenant)) {
            return Err(invalid(
                "a transaction of a tenant can't notify about another tenant; use one that is not limited to a tenant",
            ));
        }
        let created_at = self.store.clock.now();
        let new = StoreNotification { id: NotificationId::new(created_at), created_at, notification };
        if !tx.in_tenant_database() {
            return self.store_in(tx, new).await;
        }
        // Users are in the app's own database, to which the job is relayed.
        let tenant = tx.tenant();
        let job = tenant.into_iter().fold(NewJob::new(new), NewJob::tenant);
        self.jobs.enqueue_in(tx, job).await?;
        Ok(())
    }
}

impl NotificationService {
    /// Stores a notification, and delivers it after the commit. Does nothing if the user wants none of the kind, if it
    /// was stored before, or if the user has one about the same tenant with its key.
    async fn store_in(&self, tx: &mut Tx, new: StoreNotification) -> Result<(), db::Error> {
        let StoreNotification { id, created_at, notification } = new;
        let preferences = StoredPreferences::find(tx, notification.user).await?;
        // A job of another version of the app may have a kind that this one doesn't know.
        let preference = self.kinds.get(&notification.kind).map(|kind| preferences.of_kind(&kind));
        let preference = preference.unwrap_or(NotificationPreference::Live);
        if preference == NotificationPreference::None {
            return Ok(());
        }
        let is_in_digest = preferences.digest && !preference.is_mailed();
        let digest_at = self.digest_after.filter(|_| is_in_digest).map(|after| created_at + after);
        if !store::insert(tx, id, &notification, created_at, digest_at).await? {
            return Ok(());
        }
        let (user, tenant) = (notification.user, notification.tenant);
        if preference.is_live() {
            let notification = as_stored(id, created_at, notification);
            let message = NotificationMessage::Created { notification: &notification };
            self.realtime.publish_in(tx, RealtimeChannel::user(user), &message).await?;
        }
        if preference.is_mailed() {
            let job = tenant.into_iter().fold(NewJob::new(SendNotificationMail { id }), NewJob::tenant);
            self.jobs.enqueue_in(tx, job).await?;
        }
        Ok(())
    }
}

/// Returns a new notification as its user sees it.
fn as_stored(id: NotificationId, created_at: Timestamp, new: NewNotification) -> UserNotification {
    let NewNotification { tenant: tenant_id, kind, title, body, link, data, .. } = new;
    let data = data.to_string();
    NotificationRow { id, tenant_id, kind, title, body, link, data, created_at, read_at: None }.into()
}

/// The job that stores a notification that a transaction in a tenant database has left.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct StoreNotification {
    id: NotificationId,
    created_at: Timestamp,
    notification: NewNotification,
}

#[async_trait]
impl Job for StoreNotification {
    const NAME: &'static str = "realtime.store_notification";

    type State = NotificationService;

    async fn run(self, service: &NotificationService, _: &JobContext) -> Result<(), JobError> {
        let mut tx = service.store.begin_job().await?;
        service.store_in(&mut tx, self).await?;
        tx.commit().await?;
        Ok(())
    }
}
