//! Parts of the SQL statements of a resource.

use super::{
    Column, ListRequest, Resource, Scope, Search, SqlList,
    cursor::{ID, ListCursor, invalid_cursor},
    list::SortKey,
    resource::columns,
};
use crate::{
    db::{self, Arguments, Tx},
    http::{Error, FieldError},
    identity::{Identity, TenantId, UserId},
};

/// The tenant and the user that rows belong to, as the [`Scope`] requires.
#[derive(Clone, Copy)]
pub(super) struct RowOwner {
    pub(super) tenant: Option<TenantId>,
    pub(super) user: Option<UserId>,
}

impl RowOwner {
    /// Returns the tenant of the transaction and the caller as the owner of rows.
    ///
    /// # Errors
    /// 403 `TENANT_REQUIRED` if the resource belongs to tenants and the caller has selected none; 500 if the
    /// transaction is not one of the caller's tenant.
    pub(super) fn of<R: Resource>(tx: &Tx, caller: &Identity) -> Result<Self, Error> {
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
    pub(super) fn conditions(self, args: &mut Arguments) -> Vec<String> {
        let tenant = self.tenant.map(|tenant| format!("tenant_id = ${}", args.push(tenant)));
        let user = self.user.map(|user| format!("owner_id = ${}", args.push(user)));
        tenant.into_iter().chain(user).collect()
    }
}

pub(super) fn names<R: Resource>() -> String {
    columns::<R>().iter().map(|column| column.name).collect::<Vec<_>>().join(", ")
}

pub(super) fn listing<'a, R: Resource>(
    owner: RowOwner,
    request: &'a ListRequest<R>,
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

pub(super) fn order(sort: &[SortKey]) -> String {
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

pub(super) fn not_found<R: Resource>() -> Error {
    Error::not_found(format_args!("this {}", R::NAME))
}

/// Converts a database error. A violated unique constraint becomes 409 `ALREADY_EXISTS`, and a violated `check`
/// constraint 422 `INVALID_VALUE`. Both name the columns that are part of the constraint's name.
pub(super) fn map_database_error<R: Resource>(error: db::Error) -> Error {
    let (kind, constraint) = (error.kind(), error.constraint().unwrap_or_default().to_owned());
    let problem = match kind {
        db::ErrorKind::Unique => "is taken",
        db::ErrorKind::Check => "is not allowed",
        _ => return error.into(),
    };
    let is_named = |column: &&Column| constraint.contains(&format!("_{}_", column.name));
    let columns = R::COLUMNS.iter().filter(is_named);
    let fields: Vec<_> = columns.map(|column| FieldError::new(column.name, problem)).collect();
    let error = if kind == db::ErrorKind::Unique {
        let message = format!("another {} with the same value exists", R::NAME);
        Error::conflict("ALREADY_EXISTS", message).with_source(error)
    } else {
        error.into()
    };
    if fields.is_empty() { error } else { error.with_detail("fields", fields) }
}
