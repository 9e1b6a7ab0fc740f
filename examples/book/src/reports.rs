//! SQL queries written by hand, together with `crud`.

use omnistack::{
    audit::{AuditEntry, AuditLog},
    db::Sql,
    http::FieldError,
    prelude::*,
};
use saas::projects::{NewProject, Project};

// ANCHOR: transaction
/// Adds a prefix to the name of every project of the caller's tenant and records an audit entry, in one transaction.
/// Returns the number of changed projects.
///
/// # Errors
/// Fails if the caller has no tenant, a name is taken, or the database fails.
pub async fn prefix_all(db: &Db, audit: &AuditLog, caller: &Identity, prefix: String) -> Result<u64, Error> {
    let tenant = caller.require_tenant()?;
    let mut tx = db.tenant(tenant).begin().await?;
    let changed = tx
        .query("update projects set name = $1 || name where tenant_id = $2 and deleted_at is null")
        .bind(prefix)
        .bind(tenant)
        .execute()
        .await?;
    audit.record_in(&mut tx, AuditEntry::new("projects.prefixed").actor(caller)).await?;
    tx.commit().await?;
    Ok(changed)
}
// ANCHOR_END: transaction

// ANCHOR: pair
/// The number of projects created on each day (UTC).
const BY_DAY: Sql = Sql {
    postgres: "select to_char(created_at at time zone 'UTC', 'YYYY-MM-DD') as day, count(*) as projects
               from projects where tenant_id = $1 group by 1 order by 1",
    sqlite: "select substr(created_at, 1, 10) as day, count(*) as projects
             from projects where tenant_id = $1 group by 1 order by 1",
};

/// The number of projects created on one day.
#[derive(Debug, PartialEq, Eq, FromRow)]
pub struct ProjectsPerDay {
    /// The day in UTC, such as `2030-01-31`.
    pub day: String,
    /// The number of projects created on this day.
    pub projects: i64,
}

/// Returns the number of a tenant's projects by the day of their creation.
///
/// # Errors
/// Fails if the database fails.
pub async fn by_day(db: &Db, tenant: TenantId) -> Result<Vec<ProjectsPerDay>, Error> {
    let mut tx = db.tenant(tenant).begin_read().await?;
    let days = tx.query(BY_DAY).bind(tenant).fetch_all().await?;
    tx.commit().await?;
    Ok(days)
}
// ANCHOR_END: pair

// ANCHOR: crud
/// Copies a project and records an audit entry, in one transaction. Returns the copy.
///
/// # Errors
/// Fails if the project does not exist, the name of the copy is taken or too long, or the database fails.
pub async fn copy(
    crud: &Crud<Project>,
    audit: &AuditLog,
    caller: &Identity,
    id: Id<Project>,
) -> Result<Project, Error> {
    let mut tx = crud.begin(caller).await?;
    let original = crud.get_in(&mut tx, caller, id).await?;
    let name = Name::new(format!("Copy of {}", original.name))
        .map_err(|error| Error::invalid([FieldError::new("name", error.to_string())]))?;
    let description = original.description.map(Text::new).transpose().map_err(Error::internal)?;
    let new = NewProject { name, description };
    let copy = crud.create_in(&mut tx, caller, new).await?;
    audit.record_in(&mut tx, AuditEntry::new("project.copied").actor(caller).resource("project", id)).await?;
    tx.commit().await?;
    Ok(copy)
}
// ANCHOR_END: crud
