//! The notifications as their user reads them.

use omnistack_core::{
    http::{CursorPage, Error, FieldError},
    identity::Identity,
    realtime::RealtimeChannel,
};

use super::{
    deliver::NotificationService,
    model::{NotificationId, NotificationMessage, UserNotification},
    store,
};

/// Largest number of unread notifications that are counted.
const MAX_COUNTED_NOTIFICATIONS: u32 = 1_000;

impl NotificationService {
    /// Returns a page of the caller's notifications, newest first.
    ///
    /// # Errors
    /// 422 if the cursor is none of this list.
    pub(super) async fn page(
        &self,
        caller: &Identity,
        is_unread: bool,
        cursor: Option<&str>,
        limit: u32,
    ) -> Result<CursorPage<UserNotification>, Error> {
        let before = cursor.map(str::parse::<NotificationId>).transpose();
        let before = before
            .map_err(|_| Error::invalid([FieldError::new("cursor", "must be the `next_cursor` of a previous page")]))?;
        let mut tx = self.store.begin_read(caller).await?;
        let mut rows = store::newest(&mut tx, caller, is_unread, before, limit + 1).await?;
        tx.commit().await?;
        let most = usize::try_from(limit).unwrap_or(usize::MAX);
        let more = rows.len() > most;
        rows.truncate(most);
        let next_cursor = rows.last().filter(|_| more).map(|last| last.id.to_string());
        Ok(CursorPage { items: rows.into_iter().map(UserNotification::from).collect(), next_cursor })
    }

    /// Returns the number of the caller's unread notifications, at most [`MAX_COUNTED_NOTIFICATIONS`].
    pub(super) async fn unread_count(&self, caller: &Identity) -> Result<u64, Error> {
        let mut tx = self.store.begin_read(caller).await?;
        let count = store::count_unread(&mut tx, caller, MAX_COUNTED_NOTIFICATIONS).await?;
        tx.commit().await?;
        Ok(count)
    }

    /// Marks a notification as read, and tells the caller's other clients. Does nothing if it was read before.
    ///
    /// # Errors
    /// 404 if the caller has no such notification in the selected tenant.
    pub(super) async fn mark_read(&self, caller: &Identity, id: NotificationId) -> Result<UserNotification, Error> {
        let mut tx = self.store.begin(caller).await?;
        let row = match store::mark_read(&mut tx, caller, id, self.store.clock.now()).await? {
            Some(row) => {
                let message = NotificationMessage::Read { id };
                self.realtime.publish_in(&mut tx, RealtimeChannel::user(caller.user), &message).await?;
                Some(row)
            }
            None => store::find(&mut tx, caller, id).await?,
        };
        tx.commit().await?;
        row.map(UserNotification::from).ok_or_else(|| Error::not_found("the notification"))
    }

    /// Marks all notifications that the caller sees as read, and tells the caller's other clients. Returns the number
    /// of those that were unread.
    pub(super) async fn mark_all_read(&self, caller: &Identity) -> Result<u64, Error> {
        let mut tx = self.store.begin(caller).await?;
        let read = store::mark_all_read(&mut tx, caller, self.store.clock.now()).await?;
        if read > 0 {
            let message = NotificationMessage::AllRead { tenant_id: caller.tenant };
            self.realtime.publish_in(&mut tx, RealtimeChannel::user(caller.user), &message).await?;
        }
        tx.commit().await?;
        Ok(read)
    }
}
