//! Hooks: an app's own code in the transactions of a resource.

use async_trait::async_trait;

use super::{Resource, RowValues};
use crate::{db::Tx, http::Error, identity::Identity};

/// An app's own code that runs in the transactions in which rows of a resource change, for
/// [`Crud::hooks`](super::Crud::hooks).
///
/// Each method does nothing unless it is implemented. If one returns an error, the transaction is rolled back and the
/// caller gets the error. What a method writes with `tx`, such as a job, an event or an audit entry, is stored
/// together with the row or not at all. While the transaction is open, use only `tx` and no other connection of the
/// database.
///
/// The hooks run in the routes and in each call of [`Crud`](super::Crud), also in the methods that end in `_in`.
///
/// ```
/// use async_trait::async_trait;
/// use omnistack_core::{
///     audit::{AuditEntry, AuditLog},
///     crud::{Resource, ResourceHooks},
///     db::Tx,
///     http::Error,
///     identity::Identity,
/// };
///
/// /// Records each new row in the audit log.
/// struct RecordNewRows {
///     audit: AuditLog,
/// }
///
/// #[async_trait]
/// impl<R: Resource> ResourceHooks<R> for RecordNewRows {
///     async fn after_create(&self, tx: &mut Tx, caller: &Identity, row: &R) -> Result<(), Error> {
///         let entry = AuditEntry::new(format!("{}.created", R::NAME)).actor(caller).resource(R::NAME, row.id());
///         self.audit.record_in(tx, entry).await?;
///         Ok(())
///     }
/// }
/// ```
#[async_trait]
pub trait ResourceHooks<R: Resource>: Send + Sync + 'static {
    /// Runs before [`Resource::create`]. It may change the request, set columns that `create` does not set, and
    /// [refuse](RowValues::refuse) the row. A value that it sets takes precedence over that of `create`.
    ///
    /// # Errors
    /// The error that the caller gets; the row is not created.
    async fn before_create(
        &self,
        tx: &mut Tx,
        caller: &Identity,
        new: &mut R::Create,
        fields: &mut RowValues,
    ) -> Result<(), Error> {
        let _ = (tx, caller, new, fields);
        Ok(())
    }

    /// Runs after a row was created.
    ///
    /// # Errors
    /// The error that the caller gets; the row is not created.
    async fn after_create(&self, tx: &mut Tx, caller: &Identity, row: &R) -> Result<(), Error> {
        let _ = (tx, caller, row);
        Ok(())
    }

    /// Runs before [`Resource::update`], with the row as it is. On PostgreSQL the row is locked until the end of the
    /// transaction. It may change the request, set columns that `update` does not set, and
    /// [refuse](RowValues::refuse) the change.
    ///
    /// # Errors
    /// The error that the caller gets; the row stays unchanged.
    async fn before_update(
        &self,
        tx: &mut Tx,
        caller: &Identity,
        row: &R,
        change: &mut R::Update,
        fields: &mut RowValues,
    ) -> Result<(), Error> {
        let _ = (tx, caller, row, change, fields);
        Ok(())
    }

    /// Runs after a row was updated. A request that changes no column does not reach it.
    ///
    /// # Errors
    /// The error that the caller gets; the row stays unchanged.
    async fn after_update(&self, tx: &mut Tx, caller: &Identity, before: &R, row: &R) -> Result<(), Error> {
        let _ = (tx, caller, before, row);
        Ok(())
    }

    /// Runs after a row was deleted, with or without soft delete. It can refuse the deletion by an error.
    ///
    /// # Errors
    /// The error that the caller gets; the row is not deleted.
    async fn after_delete(&self, tx: &mut Tx, caller: &Identity, row: &R) -> Result<(), Error> {
        let _ = (tx, caller, row);
        Ok(())
    }

    /// Runs after a deleted row was restored. What [`before_create`](Self::before_create) checks against other rows
    /// has to be checked here too, since those may have changed meanwhile.
    ///
    /// # Errors
    /// The error that the caller gets; the row stays deleted.
    async fn after_restore(&self, tx: &mut Tx, caller: &Identity, row: &R) -> Result<(), Error> {
        let _ = (tx, caller, row);
        Ok(())
    }
}
