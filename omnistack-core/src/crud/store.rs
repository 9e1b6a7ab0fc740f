//! The SQL statements of a resource.

use std::{fmt, marker::PhantomData, sync::Arc};

use sqlx::AssertSqlSafe;

use super::{
    ListPage, ListRequest, Resource, ResourceChanged, ResourceHooks, RowChange, RowValues, Scope,
    changes::ChangeDestinations,
    cursor::ListCursor,
    plan_limit::PlanLimit,
    statement::{RowOwner, listing, map_database_error, names, not_found, order},
};
use crate::{
    clock::Clock,
    db::{Arguments, Db, Dialect, Tx},
    events::Events,
    http::{CursorPage, Error, NumberedPage, PageRequest, StatusCode},
    id::Id,
    identity::{Identity, Plan},
    module::{Context, MissingDependency},
    realtime::RealtimeChannel,
};

/// The rows of a resource, read and written for one caller at a time. Cheap to clone.
///
/// Each method is one transaction. The `_in` methods use the caller's transaction, so that a job, an audit entry
/// and a row are written together. They work in the tenant of that transaction, which must be the caller's: begin it
/// with [`begin`](Self::begin) or [`Db::tenant`]. Any other transaction is an error with status 500.
pub struct Crud<R: Resource> {
    pub(super) db: Db,
    clock: Clock,
    hooks: Option<Arc<dyn ResourceHooks<R>>>,
    changes: ChangeDestinations,
    pub(super) plan_limit: Option<PlanLimit>,
    resource: PhantomData<fn() -> R>,
}

impl<R: Resource> Crud<R> {
    /// Creates a repository on a database.
    pub fn new(db: Db, clock: Clock) -> Self {
        Self { db, clock, hooks: None, changes: ChangeDestinations::default(), plan_limit: None, resource: PhantomData }
    }

    /// Creates a repository with the app's database and clock.
    ///
    /// # Errors
    /// [`MissingDependency`] if the app provides no database or no clock.
    pub fn from_ctx(ctx: &Context) -> Result<Self, MissingDependency> {
        Ok(Self::new(ctx.get()?, ctx.get()?))
    }

    /// Adds the app's own code to the transactions in which rows change: checks, further columns, jobs, audit entries.
    /// Later calls replace the hooks.
    ///
    /// ```
    /// # use omnistack_core::{crud::{Crud, Resource, ResourceHooks}, module::{Context, MissingDependency}};
    /// # struct RoomHooks;
    /// # impl<R: Resource> ResourceHooks<R> for RoomHooks {}
    /// fn rooms<Room: Resource>(ctx: &Context) -> Result<Crud<Room>, MissingDependency> {
    ///     Ok(Crud::from_ctx(ctx)?.hooks(RoomHooks))
    /// }
    /// ```
    #[must_use]
    pub fn hooks(mut self, hooks: impl ResourceHooks<R>) -> Self {
        self.hooks = Some(Arc::new(hooks));
        self
    }

    /// Publishes a [`ResourceChanged`] event for each row that is created, updated, deleted or restored, in the same
    /// transaction. After the commit, core forwards it to a topic of [`pubsub`](crate::pubsub) at least once, also
    /// after a crash, and in order for each row. The message has the form that
    /// [`ForwardToTopic`](crate::events::ForwardToTopic) describes. Other subscribers of the event get it as well.
    #[must_use]
    pub fn publish_changes(mut self, events: Events, topic: &'static str) -> Self {
        self.changes.events = Some(events);
        self.changes.topic = Some(topic);
        self
    }

    /// Shows connected clients each change of a row, by an event like that of
    /// [`publish_changes`](Self::publish_changes). Clients get `{"type": "project.created", "id": "…"}` with the
    /// [name](Resource::NAME) of the resource, so that they read what they may see: the members of the tenant in the
    /// channel `tenant`; the owner in the channel `user:ID`, if the rows have [owners](Scope::Owner); all signed-in
    /// users in the channel `broadcast`, if the rows belong to [no tenant](Scope::Global). It needs the module of the
    /// feature `realtime`.
    #[must_use]
    pub fn publish_to_realtime(mut self, events: Events) -> Self {
        self.changes.events = Some(events);
        self.changes.realtime = true;
        self
    }

    /// Returns a row.
    ///
    /// # Errors
    /// 404 if the row does not exist, is deleted or is outside the caller's scope; 403 `TENANT_REQUIRED` if the
    /// resource belongs to tenants and the caller has selected none; the errors of the database.
    pub async fn get(&self, caller: &Identity, id: Id<R>) -> Result<R, Error> {
        let mut tx = self.read(caller).await?;
        let item = self.get_in(&mut tx, caller, id).await?;
        tx.commit().await?;
        Ok(item)
    }

    /// Like [`get`](Self::get), in the caller's transaction.
    ///
    /// # Errors
    /// The errors of [`get`](Self::get).
    pub async fn get_in(&self, tx: &mut Tx, caller: &Identity, id: Id<R>) -> Result<R, Error> {
        self.find_in(tx, caller, id, "").await
    }

    /// Like [`get_in`](Self::get_in). On PostgreSQL it locks the row until the end of the transaction; on SQLite a
    /// transaction that writes is the only one.
    ///
    /// # Errors
    /// The errors of [`get`](Self::get).
    pub async fn get_for_update_in(&self, tx: &mut Tx, caller: &Identity, id: Id<R>) -> Result<R, Error> {
        let lock = if tx.dialect() == Dialect::Postgres { " for update" } else { "" };
        self.find_in(tx, caller, id, lock).await
    }

    async fn find_in(&self, tx: &mut Tx, caller: &Identity, id: Id<R>, lock: &str) -> Result<R, Error> {
        let mut args = Arguments::new(tx.dialect());
        let mut conditions = RowOwner::of::<R>(tx, caller)?.conditions(&mut args);
        conditions.push(format!("id = ${}", args.push(id)));
        if R::SOFT_DELETE {
            conditions.push("deleted_at is null".into());
        }
        let sql = format!("select {} from {} where {}{lock}", names::<R>(), R::TABLE, conditions.join(" and "));
        tx.query(AssertSqlSafe(sql)).args(args).fetch_optional().await?.ok_or_else(not_found::<R>)
    }

    /// Returns a page of the list: with a cursor or with a number, as the request asks for it.
    ///
    /// # Errors
    /// 422 if the cursor is invalid, 503 `SEARCH_TIMEOUT` if a search takes more than three seconds, 403
    /// `TENANT_REQUIRED` as for [`get`](Self::get), and the errors of the database.
    pub async fn list(&self, caller: &Identity, request: &ListRequest<R>) -> Result<ListPage<R>, Error> {
        // An invalid cursor needs no connection.
        let cursor = request.cursor()?;
        let mut tx = self.read(caller).await?;
        let page = self.page_in(&mut tx, caller, request, cursor).await?;
        tx.commit().await?;
        Ok(page)
    }

    /// Like [`list`](Self::list), in the caller's transaction.
    ///
    /// # Errors
    /// The errors of [`list`](Self::list).
    pub async fn list_in(
        &self,
        tx: &mut Tx,
        caller: &Identity,
        request: &ListRequest<R>,
    ) -> Result<ListPage<R>, Error> {
        self.page_in(tx, caller, request, request.cursor()?).await
    }

    async fn page_in(
        &self,
        tx: &mut Tx,
        caller: &Identity,
        request: &ListRequest<R>,
        cursor: Option<ListCursor>,
    ) -> Result<ListPage<R>, Error> {
        let order = order(&request.sort);
        let owner = RowOwner::of::<R>(tx, caller)?;
        let listing = listing::<R>(owner, request, cursor.as_ref(), &order);
        let limit = match request.page {
            PageRequest::Cursor { limit, .. } => limit,
            PageRequest::Numbered { page, page_size } => {
                let page: NumberedPage<R> = listing.page(tx, &names::<R>(), page, page_size).await?;
                return Ok(page.into());
            }
        };
        // One row more than requested shows whether there is a next page.
        let mut items: Vec<R> = listing.first(tx, &names::<R>(), limit + 1).await?;
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let more = items.len() > limit;
        items.truncate(limit);
        let next_cursor = match items.last().filter(|_| more) {
            Some(last) => {
                let last = serde_json::to_value(last).map_err(Error::internal)?;
                let cursor = ListCursor::after(&last, &request.sort);
                Some(
                    cursor
                        .ok_or_else(|| Error::internal("a field of the resource does not have its column's name"))?
                        .encode(),
                )
            }
            None => None,
        };
        let link = next_cursor.as_deref().and_then(|cursor| request.next_link(cursor));
        Ok(ListPage::from(CursorPage { items, next_cursor }).with_link(link))
    }

    /// Creates a row and returns it.
    ///
    /// # Errors
    /// 409 `ALREADY_EXISTS` if a value that must be unique is in use, 402 `PLAN_LIMIT_REACHED` beyond the
    /// [limit](Self::limited_by_plan) of the plan, 422 `VALIDATION_FAILED` for a field that is
    /// [refused](RowValues::refuse), 403 `TENANT_REQUIRED` as for [`get`](Self::get), and the errors of the
    /// [hooks](Self::hooks) and the database.
    pub async fn create(&self, caller: &Identity, new: R::Create) -> Result<R, Error> {
        let plan = self.load_plan(caller).await?;
        let mut tx = self.begin(caller).await?;
        let item = self.create_with_plan_in(&mut tx, caller, new, plan).await?;
        tx.commit().await?;
        Ok(item)
    }

    /// Like [`create`](Self::create), in the caller's transaction.
    ///
    /// # Errors
    /// The errors of [`create`](Self::create).
    pub async fn create_in(&self, tx: &mut Tx, caller: &Identity, new: R::Create) -> Result<R, Error> {
        self.create_with_plan_in(tx, caller, new, None).await
    }

    async fn create_with_plan_in(
        &self,
        tx: &mut Tx,
        caller: &Identity,
        mut new: R::Create,
        plan: Option<Arc<Plan>>,
    ) -> Result<R, Error> {
        let now = self.clock.now();
        let owner = RowOwner::of::<R>(tx, caller)?;
        self.check_plan_limit_in(tx, plan).await?;
        let mut fields = RowValues::new(tx.dialect());
        fields.set("id", Id::<R>::new(now)).set("created_at", now).set("updated_at", now);
        fields.set_if_some("tenant_id", owner.tenant).set_if_some("owner_id", owner.user);
        if let Some(hooks) = &self.hooks {
            hooks.before_create(tx, caller, &mut new, &mut fields).await?;
        }
        R::create(new, &mut fields);
        fields.check()?;
        let numbers: Vec<_> = (1..=fields.columns.len()).map(|number| format!("${number}")).collect();
        let (into, values) = (fields.columns.join(", "), numbers.join(", "));
        let sql = format!("insert into {} ({into}) values ({values}) returning {}", R::TABLE, names::<R>());
        let row: R =
            tx.query(AssertSqlSafe(sql)).args(fields.args).fetch_one().await.map_err(map_database_error::<R>)?;
        if let Some(hooks) = &self.hooks {
            hooks.after_create(tx, caller, &row).await?;
        }
        self.publish(tx, caller, row.id(), RowChange::Created).await?;
        Ok(row)
    }

    /// Updates a row and returns it.
    ///
    /// # Errors
    /// 404 and 403 `TENANT_REQUIRED` as for [`get`](Self::get), 409 `ALREADY_EXISTS` if a value that must be
    /// unique is in use, 422 `VALIDATION_FAILED` for a field that is [refused](RowValues::refuse), and the errors of the
    /// [hooks](Self::hooks) and the database.
    pub async fn update(&self, caller: &Identity, id: Id<R>, change: R::Update) -> Result<R, Error> {
        let mut tx = self.begin(caller).await?;
        let item = self.update_in(&mut tx, caller, id, change).await?;
        tx.commit().await?;
        Ok(item)
    }

    /// Like [`update`](Self::update), in the caller's transaction.
    ///
    /// # Errors
    /// The errors of [`update`](Self::update).
    pub async fn update_in(
        &self,
        tx: &mut Tx,
        caller: &Identity,
        id: Id<R>,
        mut change: R::Update,
    ) -> Result<R, Error> {
        let mut fields = RowValues::new(tx.dialect());
        let before = match &self.hooks {
            Some(hooks) => {
                let row = self.get_for_update_in(tx, caller, id).await?;
                hooks.before_update(tx, caller, &row, &mut change, &mut fields).await?;
                Some(row)
            }
            None => None,
        };
        R::update(change, &mut fields);
        fields.check()?;
        if fields.columns.is_empty() {
            return self.get_in(tx, caller, id).await;
        }
        fields.set("updated_at", self.clock.now());
        let row = self.set(tx, caller, id, fields, R::SOFT_DELETE.then_some("deleted_at is null")).await?;
        if let (Some(hooks), Some(before)) = (&self.hooks, &before) {
            hooks.after_update(tx, caller, before, &row).await?;
        }
        self.publish(tx, caller, id, RowChange::Updated).await?;
        Ok(row)
    }

    /// Deletes a row. With soft delete it can be restored.
    ///
    /// # Errors
    /// 404 and 403 `TENANT_REQUIRED` as for [`get`](Self::get), and the errors of the [hooks](Self::hooks) and the
    /// database.
    pub async fn delete(&self, caller: &Identity, id: Id<R>) -> Result<(), Error> {
        let mut tx = self.begin(caller).await?;
        self.delete_in(&mut tx, caller, id).await?;
        Ok(tx.commit().await?)
    }

    /// Like [`delete`](Self::delete), in the caller's transaction.
    ///
    /// # Errors
    /// The errors of [`delete`](Self::delete).
    pub async fn delete_in(&self, tx: &mut Tx, caller: &Identity, id: Id<R>) -> Result<(), Error> {
        let row = if R::SOFT_DELETE {
            let now = self.clock.now();
            let mut fields = RowValues::new(tx.dialect());
            fields.set("deleted_at", now).set("updated_at", now);
            self.set(tx, caller, id, fields, Some("deleted_at is null")).await?
        } else {
            let mut args = Arguments::new(tx.dialect());
            let mut conditions = RowOwner::of::<R>(tx, caller)?.conditions(&mut args);
            conditions.push(format!("id = ${}", args.push(id)));
            let conditions = conditions.join(" and ");
            let sql = format!("delete from {} where {conditions} returning {}", R::TABLE, names::<R>());
            let row = tx.query(AssertSqlSafe(sql)).args(args).fetch_optional().await;
            row.map_err(map_database_error::<R>)?.ok_or_else(not_found::<R>)?
        };
        if let Some(hooks) = &self.hooks {
            hooks.after_delete(tx, caller, &row).await?;
        }
        self.publish(tx, caller, id, RowChange::Deleted).await
    }

    /// Restores a deleted row and returns it. A row that is not deleted is returned unchanged.
    ///
    /// # Errors
    /// 404 if the row does not exist or is outside the caller's scope, 403 `TENANT_REQUIRED` as for
    /// [`get`](Self::get), 409 `ALREADY_EXISTS` if a value that must be unique is in use, 402 `PLAN_LIMIT_REACHED` beyond
    /// the [limit](Self::limited_by_plan) of the plan, and the errors of the [hooks](Self::hooks) and the database.
    pub async fn restore(&self, caller: &Identity, id: Id<R>) -> Result<R, Error> {
        let plan = self.load_plan(caller).await?;
        let mut tx = self.begin(caller).await?;
        let item = self.restore_with_plan_in(&mut tx, caller, id, plan).await?;
        tx.commit().await?;
        Ok(item)
    }

    /// Like [`restore`](Self::restore), in the caller's transaction.
    ///
    /// # Errors
    /// The errors of [`restore`](Self::restore).
    pub async fn restore_in(&self, tx: &mut Tx, caller: &Identity, id: Id<R>) -> Result<R, Error> {
        self.restore_with_plan_in(tx, caller, id, None).await
    }

    async fn restore_with_plan_in(
        &self,
        tx: &mut Tx,
        caller: &Identity,
        id: Id<R>,
        plan: Option<Arc<Plan>>,
    ) -> Result<R, Error> {
        let mut fields = RowValues::new(tx.dialect());
        fields.set("deleted_at", None::<crate::clock::Timestamp>).set("updated_at", self.clock.now());
        match self.set(tx, caller, id, fields, Some("deleted_at is not null")).await {
            Err(error) if error.status() == StatusCode::NOT_FOUND => self.get_in(tx, caller, id).await,
            restored => {
                let row = restored?;
                // The row counts already.
                self.check_restored_in(tx, plan).await?;
                if let Some(hooks) = &self.hooks {
                    hooks.after_restore(tx, caller, &row).await?;
                }
                self.publish(tx, caller, id, RowChange::Restored).await?;
                Ok(row)
            }
        }
    }

    /// Publishes the change of a row, if changes are published.
    async fn publish(&self, tx: &mut Tx, caller: &Identity, id: Id<R>, change: RowChange) -> Result<(), Error> {
        let ChangeDestinations { events: Some(events), topic, realtime } = &self.changes else { return Ok(()) };
        let tenant = tx.tenant().filter(|_| R::SCOPE != Scope::Global);
        let channel = realtime.then(|| match (R::SCOPE, tenant) {
            (Scope::Owner, _) => RealtimeChannel::user(caller.user),
            (_, Some(tenant)) => RealtimeChannel::tenant(tenant),
            (_, None) => RealtimeChannel::broadcast(),
        });
        let (resource, topic) = (R::NAME.to_owned(), topic.map(ToOwned::to_owned));
        events.publish_in(tx, &ResourceChanged { resource, id: id.uuid(), change, tenant, topic, channel }).await?;
        Ok(())
    }

    async fn set(
        &self,
        tx: &mut Tx,
        caller: &Identity,
        id: Id<R>,
        fields: RowValues,
        only: Option<&str>,
    ) -> Result<R, Error> {
        let RowValues { columns, mut args, .. } = fields;
        let set: Vec<_> = columns.iter().zip(1..).map(|(column, number)| format!("{column} = ${number}")).collect();
        let mut conditions = RowOwner::of::<R>(tx, caller)?.conditions(&mut args);
        conditions.push(format!("id = ${}", args.push(id)));
        conditions.extend(only.map(Into::into));
        let (set, conditions) = (set.join(", "), conditions.join(" and "));
        let sql = format!("update {} set {set} where {conditions} returning {}", R::TABLE, names::<R>());
        let item = tx.query(AssertSqlSafe(sql)).args(args).fetch_optional().await.map_err(map_database_error::<R>)?;
        item.ok_or_else(not_found::<R>)
    }

    async fn read(&self, caller: &Identity) -> Result<Tx, Error> {
        Ok(match R::SCOPE {
            Scope::Global => self.db.begin_read().await?,
            Scope::Tenant | Scope::Owner => self.db.tenant(caller.require_tenant()?).begin_read().await?,
        })
    }

    /// Begins a transaction that may write the caller's rows, for the `_in` methods.
    ///
    /// # Errors
    /// 403 `TENANT_REQUIRED` as for [`get`](Self::get), and the errors of the database.
    pub async fn begin(&self, caller: &Identity) -> Result<Tx, Error> {
        Ok(match R::SCOPE {
            Scope::Global => self.db.begin().await?,
            Scope::Tenant | Scope::Owner => self.db.tenant(caller.require_tenant()?).begin().await?,
        })
    }
}

impl<R: Resource> Clone for Crud<R> {
    fn clone(&self) -> Self {
        Self {
            db: self.db.clone(),
            clock: self.clock.clone(),
            hooks: self.hooks.clone(),
            changes: self.changes.clone(),
            plan_limit: self.plan_limit.clone(),
            resource: PhantomData,
        }
    }
}

impl<R: Resource> fmt::Debug for Crud<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Crud").field("table", &R::TABLE).finish_non_exhaustive()
    }
}
