//! The SQL of the contact form.

use std::time::Duration;

use uuid::Uuid;

use super::{ContactMessage, ContactMessageId, ContactStatus};
use omnistack_core::{
    clock::Timestamp,
    db::{self, Db, Tx},
    id::Id,
};

#[derive(omnistack_core::db::FromRow)]
struct ContactMessageRow {
    id: ContactMessageId,
    reference: String,
    name: String,
    email: String,
    subject: Option<String>,
    phone: Option<String>,
    company: Option<String>,
    message: String,
    extra_fields: String,
    source: Option<String>,
    locale: String,
    address: Option<String>,
    status: String,
    created_at: Timestamp,
    updated_at: Timestamp,
}

impl ContactMessageRow {
    fn read(self) -> ContactMessage {
        ContactMessage {
            id: self.id,
            reference: self.reference,
            name: self.name,
            email: self.email,
            subject: self.subject,
            phone: self.phone,
            company: self.company,
            message: self.message,
            extra_fields: serde_json::from_str(&self.extra_fields).unwrap_or_default(),
            source: self.source,
            locale: self.locale,
            address: self.address,
            status: ContactStatus::from_stored(&self.status),
            created_at: self.created_at,
            updated_at: self.updated_at,
        }
    }
}

pub(super) async fn insert(tx: &mut Tx, message: &ContactMessage) -> Result<(), db::Error> {
    // A map of texts, numbers and booleans always serializes.
    let extra_fields = serde_json::to_string(&message.extra_fields).unwrap_or_else(|_| "{}".into());
    tx.query(
        "insert into omni_contact_messages (id, reference, name, email, subject, phone, company, message, extra_fields, source,
         locale, address, status, created_at, updated_at)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)",
    )
    .bind(message.id)
    .bind(message.reference.as_str())
    .bind(message.name.as_str())
    .bind(message.email.as_str())
    .bind(message.subject.clone())
    .bind(message.phone.clone())
    .bind(message.company.clone())
    .bind(message.message.as_str())
    .bind(extra_fields)
    .bind(message.source.clone())
    .bind(message.locale.as_str())
    .bind(message.address.clone())
    .bind(message.status.as_str())
    .bind(message.created_at)
    .bind(message.updated_at)
    .execute()
    .await?;
    Ok(())
}

/// Returns at most `limit` messages, the newest first: those before `before`, if it is given, and only those with
/// `status`, if it is given.
pub(super) async fn list(
    db: &Db,
    status: Option<ContactStatus>,
    before: Option<ContactMessageId>,
    limit: u32,
) -> Result<Vec<ContactMessage>, db::Error> {
    // Larger than every id.
    let before = before.unwrap_or_else(|| Id::from_uuid(Uuid::max()));
    let rows: Vec<ContactMessageRow> = match status {
        None => {
            db.query(
                "select id, reference, name, email, subject, phone, company, message, extra_fields, source, locale, address,
                 status, created_at, updated_at from omni_contact_messages where id < $1 order by id desc limit $2",
            )
            .bind(before)
            .bind(i64::from(limit))
            .fetch_all()
            .await?
        }
        Some(status) => {
            db.query(
                "select id, reference, name, email, subject, phone, company, message, extra_fields, source, locale, address,
                 status, created_at, updated_at from omni_contact_messages where status = $1 and id < $2
                 order by id desc limit $3",
            )
            .bind(status.as_str())
            .bind(before)
            .bind(i64::from(limit))
            .fetch_all()
            .await?
        }
    };
    Ok(rows.into_iter().map(ContactMessageRow::read).collect())
}

pub(super) async fn get(db: &Db, id: ContactMessageId) -> Result<Option<ContactMessage>, db::Error> {
    let row: Option<ContactMessageRow> = db
        .query(
            "select id, reference, name, email, subject, phone, company, message, extra_fields, source, locale, address,
             status, created_at, updated_at from omni_contact_messages where id = $1",
        )
        .bind(id)
        .fetch_optional()
        .await?;
    Ok(row.map(ContactMessageRow::read))
}

/// Sets the status if it is still `from`. Returns whether it was changed.
pub(super) async fn set_status(
    tx: &mut Tx,
    id: ContactMessageId,
    from: ContactStatus,
    to: ContactStatus,
    now: Timestamp,
) -> Result<bool, db::Error> {
    let changed = tx
        .query("update omni_contact_messages set status = $3, updated_at = $4 where id = $1 and status = $2")
        .bind(id)
        .bind(from.as_str())
        .bind(to.as_str())
        .bind(now)
        .execute()
        .await?;
    Ok(changed > 0)
}

pub(super) async fn remove(tx: &mut Tx, id: ContactMessageId) -> Result<bool, db::Error> {
    Ok(tx.query("delete from omni_contact_messages where id = $1").bind(id).execute().await? > 0)
}

/// Deletes messages that were sent longer ago than `keep`. Returns how many.
pub(super) async fn purge(db: &Db, keep: Duration, now: Timestamp) -> Result<u64, db::Error> {
    db.query("delete from omni_contact_messages where created_at < $1").bind(now - keep).execute().await
}
