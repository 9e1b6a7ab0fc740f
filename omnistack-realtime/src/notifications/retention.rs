//! Deletes old notifications, and those of deleted users.

use std::time::Duration;

use async_trait::async_trait;
use omnistack_core::{
    db,
    events::{Delivery, Subscriber, UserDeleted},
    jobs::{Job, JobContext, JobError},
};
use serde::{Deserialize, Serialize};

use super::store::{self, MAX_DELETIONS_PER_TRANSACTION, NotificationStore};

/// The time for which notifications are kept.
#[derive(Clone, Debug)]
pub(super) struct NotificationRetention {
    pub(super) store: NotificationStore,
    pub(super) keep: Duration,
}

/// The job that deletes notifications whose retention has ended. It runs every night.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct PurgeNotifications {}

#[async_trait]
impl Job for PurgeNotifications {
    const NAME: &'static str = "realtime.purge_notifications";

    type State = NotificationRetention;

    async fn run(self, retention: &NotificationRetention, _: &JobContext) -> Result<(), JobError> {
        let before = retention.store.clock.now() - retention.keep;
        let mut all = 0;
        loop {
            let mut tx = retention.store.begin_job().await?;
            let deleted = store::delete_created_before(&mut tx, before).await?;
            tx.commit().await?;
            all += deleted;
            if deleted < u64::from(MAX_DELETIONS_PER_TRANSACTION) {
                break;
            }
        }
        tracing::debug!(target: "omnistack::realtime", deleted = all, "old notifications were deleted");
        Ok(())
    }
}

/// The subscriber that deletes the notifications and the preferences of a deleted user.
#[derive(Debug)]
pub(super) struct DeleteUserNotifications(pub(super) NotificationStore);

#[async_trait]
impl Subscriber for DeleteUserNotifications {
    type Event = UserDeleted;

    async fn handle(&self, event: UserDeleted, _: &mut Delivery) -> Result<(), JobError> {
        self.delete(&event).await?;
        Ok(())
    }
}

impl DeleteUserNotifications {
    /// Deletes in transactions of its own, since the rows are about several tenants and may be many.
    async fn delete(&self, event: &UserDeleted) -> Result<(), db::Error> {
        loop {
            let mut tx = self.0.begin_job().await?;
            let deleted = store::delete_of_user(&mut tx, event.user).await?;
            let sql = "delete from omni_notification_preferences where user_id = $1";
            tx.query(sql).bind(event.user).execute().await?;
            tx.commit().await?;
            if deleted < u64::from(MAX_DELETIONS_PER_TRANSACTION) {
                return Ok(());
            }
        }
    }
}
