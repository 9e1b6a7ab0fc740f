//! The SQL statements of a resource.

use std::{fmt, marker::PhantomData, sync::Arc};

use sqlx::AssertSqlSafe;

use super::{
    Column, ListRequest, Resource, ResourceChanged, RowChange, RowValues, Scope, Search, SqlList,
    changes::ChangeDestinations,
    cursor::{ID, ListCursor, invalid_cursor},
    list::SortKey,
    plan_limit::PlanLimit,
    resource::columns,
};
use crate::{
    clock::Clock,
    db::{self, Arguments, Db, Tx},
    events::Events,
    http::{CursorPage, Error, FieldError, NumberedPage, PageRequest, StatusCode},
    id::Id,
    identity::{Identity, Plan, TenantId, UserId},
    jobs::{Job, Jobs, NewJob},
    module::{Context, MissingDependency},
    realtime::RealtimeChannel,
};

/// The rows of a resource, read and written for one caller at a time. Cheap to clone.
///
/// Each method is one transaction. The `_in` methods use the caller's transaction, so that a job, an audit entry
/// and a row are written together. They work in the tenant of that transaction, which must be the caller's: begin it
/// with [`begin`](Self::begin) or [`Db::tenant`]. Any other transaction is an error with status 500.
pub struct Crud<R> {
    pub(super) db: Db,
    clock: Clock,
    on_create: Option<CreationJob<R>>,
    changes: ChangeDestinations,
    pub(super) plan_limit: Option<PlanLimit>,
    resource: PhantomData<fn() -> R>,
}

/// Creates the job that is enqueued with a new row.
type CreationJob<R> = (Jobs, Arc<dyn Fn(&R) -> NewJob + Send + Sync>);

impl<R: Resource> Crud<R> {
    /// Creates a repository on a database.
    pub fn new(db: Db, clock: Clock) -> Self {
        Self {
            db,
            clock,
            on_create: None,
            changes: ChangeDestinations::default(),
            plan_limit: None,
            resource: PhantomData,
        }
    }

    /// Creates a repository with the app's database and clock.
    ///
    /// # Errors
    /// [`MissingDependency`] if the app provides no database or no clock.
    pub fn from_ctx(ctx: &Context) -> Result<Self, MissingDependency> {
        Ok(Self::new(ctx.get()?, ctx.get()?))
    }

    /// Enqueues a job with every new row, in the same transaction: either both are stored or neither. The job
    /// belongs to the caller's tenant.
    #[must_use]
    pub fn enqueue_on_create<J: Job>(mut self, jobs: Jobs, job: impl Fn(&R) -> J + Send + Sync + 'static) -> Self {
        self.on_create = Some((jobs, Arc::new(move |row| NewJob::new(job(row)))));
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
        let mut args = Arguments::new(tx.dialect());
        let mut conditions = RowOwner::of::<R>(tx, caller)?.conditions(&mut args);
        conditions.push(format!("id = ${}", args.push(id)));
        if R::SOFT_DELETE {
            conditions.push("deleted_at is null".into());
        }
        let sql = format!("select {} from {} where {}", names::<R>(), R::TABLE, conditions.join(" and "));
        tx.query(AssertSqlSafe(sql)).args(args).fetch_optional().await?.ok_or_else(not_found::<R>)
    }

    /// Returns a cursor page of the list.
    ///
    /// # Errors
    /// 422 if the cursor is invalid, 503 `SEARCH_TIMEOUT` if a search takes more than three seconds, 500 if the
    /// request is for a numbered page, 403 `TENANT_REQUIRED` as for [`get`](Self::get), and the errors of the
    /// database.
    pub async fn list(&self, caller: &Identity, request: &ListRequest) -> Result<CursorPage<R>, Error> {
        let PageRequest::Cursor { limit, cursor } = &request.page else {
            return Err(Error::internal("`list` can't return a numbered page; use `numbered`"));
        };
        let cursor = cursor.as_deref().map(|cursor| ListCursor::decode(cursor, &request.sort)).transpose()?;
        let mut tx = self.read(caller).await?;
        let order = order(&request.sort);
        // One row more than requested shows whether there is a next page.
        let owner = RowOwner::of::<R>(&tx, caller)?;
        let listing = listing::<R>(owner, request, cursor.as_ref(), &order);
        let mut items: Vec<R> = listing.first(&mut tx, &names::<R>(), limit + 1).await?;
        tx.commit().await?;
        let limit = usize::try_from(*limit).unwrap_or(usize::MAX);
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
        Ok(CursorPage { items, next_cursor })
    }

    /// Returns a numbered page of the list, with the total.
    ///
    /// # Errors
    /// 503 `SEARCH_TIMEOUT` if a search takes more than three seconds, 500 if the request is for a cursor page,
    /// 403 `TENANT_REQUIRED` as for [`get`](Self::get), and the errors of the database.
    pub async fn list_page(&self, caller: &Identity, request: &ListRequest) -> Result<NumberedPage<R>, Error> {
        let PageRequest::Numbered { page, page_size } = request.page else {
            return Err(Error::internal("`numbered` can't return a cursor page; use `list`"));
        };
        let mut tx = self.read(caller).await?;
        let order = order(&request.sort);
        let owner = RowOwner::of::<R>(&tx, caller)?;
        let listing = listing::<R>(owner, request, None, &order);
        let page = listing.page(&mut tx, &names::<R>(), page, page_size).await?;
        tx.commit().await?;
        Ok(page)
    }

    /// Creates a row and returns it.
    ///
    /// # Errors
    /// 409 `ALREADY_EXISTS` if a value that must be unique is in use, 402 `PLAN_LIMIT_REACHED` beyond the
    /// [limit](Self::limited_by_plan) of the plan, 403 `TENANT_REQUIRED` as for [`get`](Self::get), and the errors of the
    /// database.
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
        new: R::Create,
        plan: Option<Arc<Plan>>,
    ) -> Result<R, Error> {
        let now = self.clock.now();
        let owner = RowOwner::of::<R>(tx, caller)?;
        self.check_plan_limit_in(tx, plan).await?;
        let mut fields = RowValues::new(tx.dialect());
        fields.set("id", Id::<R>::new(now)).set("created_at", now).set("updated_at", now);
        fields.set_if_some("tenant_id", owner.tenant).set_if_some("owner_id", owner.user);
        R::create(new, &mut fields);
        let numbers: Vec<_> = (1..=fields.columns.len()).map(|number| format!("${number}")).collect();
        let (into, values) = (fields.columns.join(", "), numbers.join(", "));
        let sql = format!("insert into {} ({into}) values ({values}) returning {}", R::TABLE, names::<R>());
        let row = tx.query(AssertSqlSafe(sql)).args(fields.args).fetch_one().await.map_err(map_database_error::<R>)?;
        if let Some((jobs, job)) = &self.on_create {
            let job = caller.tenant.into_iter().fold(job(&row), NewJob::tenant);
            jobs.enqueue_in(tx, job).await?;
        }
        self.publish(tx, caller, row.id(), RowChange::Created).await?;
        Ok(row)
    }

    /// Updates a row and returns it.
    ///
    /// # Errors
    /// 404 and 403 `TENANT_REQUIRED` as for [`get`](Self::get), 409 `ALREADY_EXISTS` if a value that must be
    /// unique is in use, and the errors of the database.
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
    pub async fn update_in(&self, tx: &mut Tx, caller: &Identity, id: Id<R>, change: R::Update) -> Result<R, Error> {
        let mut fields = RowValues::new(tx.dialect());
        R::update(change, &mut fields);
        if fields.columns.is_empty() {
            return self.get_in(tx, caller, id).await;
        }
        fields.set("updated_at", self.clock.now());
        let row = self.set(tx, caller, id, fields, R::SOFT_DELETE.then_some("deleted_at is null")).await?;
        self.publish(tx, caller, id, RowChange::Updated).await?;
        Ok(row)
    }

    /// Deletes a row. With soft delete it can be restored.
    ///
    /// # Errors
    /// 404 and 403 `TENANT_REQUIRED` as for [`get`](Self::get), and the errors of the database.
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
        if R::SOFT_DELETE {
            let now = self.clock.now();
            let mut fields = RowValues::new(tx.dialect());
            fields.set("deleted_at", now).set("updated_at", now);
            self.set(tx, caller, id, fields, Some("deleted_at is null")).await?;
        } else {
            let mut args = Arguments::new(tx.dialect());
            let mut conditions = RowOwner::of::<R>(tx, caller)?.conditions(&mut args);
            conditions.push(format!("id = ${}", args.push(id)));
            let sql = format!("delete from {} where {}", R::TABLE, conditions.join(" and "));
            if tx.query(AssertSqlSafe(sql)).args(args).execute().await.map_err(map_database_error::<R>)? == 0 {
                return Err(not_found::<R>());
            }
        }
        self.publish(tx, caller, id, RowChange::Deleted).await
    }

    /// Restores a deleted row and returns it. A row that is not deleted is returned unchanged.
    ///
    /// # Errors
    /// 404 if the row does not exist or is outside the caller's scope, 403 `TENANT_REQUIRED` as for
    /// [`get`](Self::get), 409 `ALREADY_EXISTS` if a value that must be unique is in use, 402 `PLAN_LIMIT_REACHED` beyond
    /// the [limit](Self::limited_by_plan) of the plan, and the errors of the database.
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
        let RowValues { columns, mut args } = fields;
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

/// The tenant and the user that rows belong to, as the [`Scope`] requires.
#[derive(Clone, Copy)]
struct RowOwner {
    tenant: Option<TenantId>,
    user: Option<UserId>,
}

impl RowOwner {
    /// Returns the tenant of the transaction and the caller as the owner of rows.
    ///
    /// # Errors
    /// 403 `TENANT_REQUIRED` if the resource belongs to tenants and the caller has selected none; 500 if the
    /// transaction is not one of the caller's tenant.
    fn of<R: Resource>(tx: &Tx, caller: &Identity) -> Result<Self, Error> {
        if R::SCOPE == Scope::Global {
            return Ok(Self { tenant: None, user: None });
        }
        let tenant = caller.require_tenant()?;
        if tx.tenant() != Some(tenant) {
            let message = format!(
                "the transaction for {} is not one of the caller's tenant {tenant}; begin it with `Crud::begin`",
                R::TABLE
            );
            return Err(Error::internal(message));
        }
        Ok(Self { tenant: Some(tenant), user: (R::SCOPE == Scope::Owner).then_some(caller.user) })
    }

    /// Returns the conditions for the owner's rows. They are part of every statement, since SQLite has no row-level
    /// security.
    fn conditions(self, args: &mut Arguments) -> Vec<String> {
        let tenant = self.tenant.map(|tenant| format!("tenant_id = ${}", args.push(tenant)));
        let user = self.user.map(|user| format!("owner_id = ${}", args.push(user)));
        tenant.into_iter().chain(user).collect()
    }
}

fn names<R: Resource>() -> String {
    columns::<R>().iter().map(|column| column.name).collect::<Vec<_>>().join(", ")
}

fn listing<'a, R: Resource>(
    owner: RowOwner,
    request: &'a ListRequest,
    cursor: Option<&'a ListCursor>,
    order: &'a str,
) -> SqlList<'a> {
    let conditions = move |args: &mut Arguments| {
        let mut conditions = owner.conditions(args);
        conditions.extend(request.conditions(&columns::<R>(), args));
        if let Some(cursor) = cursor {
            conditions.push(after(cursor, &request.sort, args)?);
        }
        Ok(conditions)
    };
    let searched = R::COLUMNS.iter().filter(|column| column.searches).map(|column| column.name);
    let search = request.search.as_deref().and_then(|text| Search::new(R::TABLE, searched, text));
    let search = search.map(|search| owner.tenant.into_iter().fold(search, Search::in_tenant));
    SqlList::new(R::TABLE, order, conditions).search(search)
}

/// Returns the sort keys with the id as the last one, which makes the order total. The id has the direction of
/// the key before it.
fn keys(sort: &[SortKey]) -> Vec<SortKey> {
    let descending = sort.last().is_some_and(|key| key.descending);
    sort.iter().copied().chain([SortKey { column: ID, descending }]).collect()
}

fn order(sort: &[SortKey]) -> String {
    let key = |key: SortKey| format!("{}{}", key.column.name, if key.descending { " desc" } else { "" });
    keys(sort).into_iter().map(key).collect::<Vec<_>>().join(", ")
}

/// Returns the condition for the rows after a cursor. If all keys have the same direction it is a row comparison,
/// which an index serves. Otherwise it is one alternative for each key, and a bound on the first key, from which
/// the index is read.
fn after(cursor: &ListCursor, sort: &[SortKey], args: &mut Arguments) -> Result<String, Error> {
    let keys = keys(sort);
    let mut numbers = Vec::new();
    for (key, value) in keys.iter().zip(&cursor.k) {
        numbers.push(key.column.kind.bind_json(value, args).ok_or_else(invalid_cursor)?);
    }
    let compare = |key: &SortKey| if key.descending { "<" } else { ">" };
    if keys.iter().all(|key| key.descending == keys[0].descending) {
        let columns: Vec<_> = keys.iter().map(|key| key.column.name).collect();
        let values: Vec<_> = numbers.iter().map(|number| format!("${number}")).collect();
        return Ok(format!("({}) {} ({})", columns.join(", "), compare(&keys[0]), values.join(", ")));
    }
    let alternatives: Vec<_> = (0..keys.len())
        .map(|at| {
            let equal = keys[..at].iter().zip(&numbers).map(|(key, number)| format!("{} = ${number}", key.column.name));
            let beyond = format!("{} {} ${}", keys[at].column.name, compare(&keys[at]), numbers[at]);
            format!("({})", equal.chain([beyond]).collect::<Vec<_>>().join(" and "))
        })
        .collect();
    let bound = format!("{} {}= ${}", keys[0].column.name, compare(&keys[0]), numbers[0]);
    Ok(format!("{bound} and ({})", alternatives.join(" or ")))
}

fn not_found<R: Resource>() -> Error {
    Error::not_found(format_args!("this {}", R::NAME))
}

/// Converts a database error. A violated unique constraint becomes 409 `ALREADY_EXISTS` that names the columns.
fn map_database_error<R: Resource>(error: db::Error) -> Error {
    if error.kind() != db::ErrorKind::Unique {
        return error.into();
    }
    let constraint = error.constraint().unwrap_or_default().to_owned();
    let named = |column: &&Column| constraint.contains(&format!("_{}_", column.name));
    let taken: Vec<_> =
        R::COLUMNS.iter().filter(named).map(|column| FieldError::new(column.name, "is taken")).collect();
    let error =
        Error::conflict("ALREADY_EXISTS", format!("another {} with the same value exists", R::NAME)).with_source(error);
    if taken.is_empty() { error } else { error.with_detail("fields", taken) }
}

impl<R> Clone for Crud<R> {
    fn clone(&self) -> Self {
        Self {
            db: self.db.clone(),
            clock: self.clock.clone(),
            on_create: self.on_create.clone(),
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
