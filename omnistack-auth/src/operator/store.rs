//! SQL of users and tenants for operators. Transactions are of all tenants.

use omnistack_core::{
    clock::Timestamp,
    crud::{Search, SqlList},
    db::{self, Arguments, Db, Record, Tx},
    http::{Error, NumberedPage},
    identity::{TenantId, UserId},
};
use serde::Deserialize;
use utoipa::ToSchema;

use crate::model::{Membership, Tenant, User, user_columns};

/// A query of all users.
#[derive(Clone, Debug)]
pub(crate) struct UserQuery {
    /// The text to search in names and email addresses, ignoring case.
    pub(crate) text: Option<String>,
    pub(crate) operator: Option<bool>,
    pub(crate) active: Option<bool>,
    pub(crate) sort: UserSort,
    pub(crate) page: PageNumber,
}

/// A query of all tenants.
#[derive(Clone, Debug)]
pub(crate) struct TenantQuery {
    /// The text to search in names and slugs, ignoring case.
    pub(crate) text: Option<String>,
    pub(crate) personal: Option<bool>,
    pub(crate) suspended: Option<bool>,
    pub(crate) sort: TenantSort,
    pub(crate) page: PageNumber,
}

/// A numbered page: the number, beginning with 1, and the number of rows per page.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PageNumber {
    pub(crate) number: u32,
    pub(crate) size: u32,
}

/// The order of a list of users.
#[derive(Clone, Copy, Debug, Default, Deserialize, ToSchema)]
pub(crate) enum UserSort {
    #[serde(rename = "created_at")]
    Oldest,
    #[default]
    #[serde(rename = "-created_at")]
    Newest,
    #[serde(rename = "email")]
    Email,
    #[serde(rename = "-email")]
    EmailDescending,
    #[serde(rename = "name")]
    Name,
    #[serde(rename = "-name")]
    NameDescending,
}

/// The order of a list of tenants.
#[derive(Clone, Copy, Debug, Default, Deserialize, ToSchema)]
pub(crate) enum TenantSort {
    #[serde(rename = "created_at")]
    Oldest,
    #[default]
    #[serde(rename = "-created_at")]
    Newest,
    #[serde(rename = "name")]
    Name,
    #[serde(rename = "-name")]
    NameDescending,
}

/// The parts of the list query that differ between users and tenants.
struct ListSql<'a> {
    columns: &'static str,
    table: &'static str,
    searched: [&'static str; 2],
    text: Option<&'a str>,
    conditions: Vec<&'static str>,
    order: &'static str,
}

impl ListSql<'_> {
    async fn page<T: Record>(self, db: &Db, page: PageNumber) -> Result<NumberedPage<T>, Error> {
        let Self { columns, table, searched, text, conditions, order } = self;
        let conditions = |_: &mut Arguments| Ok(conditions.iter().map(|&condition| condition.to_owned()).collect());
        let search = text.and_then(|text| Search::new(table, searched, text));
        let listing = SqlList::new(table, order, conditions).search(search);
        let mut tx = db.all_tenants().begin_read().await?;
        let page = listing.page(&mut tx, columns, page.number, page.size).await?;
        tx.commit().await?;
        Ok(page)
    }
}

/// Returns a page of users.
pub(crate) async fn users(db: &Db, wanted: &UserQuery) -> Result<NumberedPage<User>, Error> {
    let operator = wanted.operator.map(|yes| if yes { "operator" } else { "not operator" });
    let active = wanted.active.map(|yes| if yes { "disabled_at is null" } else { "disabled_at is not null" });
    let list = ListSql {
        columns: user_columns!(),
        table: "omni_users",
        searched: ["name", "email"],
        text: wanted.text.as_deref(),
        conditions: operator.into_iter().chain(active).collect(),
        order: match wanted.sort {
            UserSort::Oldest => "created_at, id",
            UserSort::Newest => "created_at desc, id desc",
            UserSort::Email => "email, id",
            UserSort::EmailDescending => "email desc, id desc",
            UserSort::Name => "name, id",
            UserSort::NameDescending => "name desc, id desc",
        },
    };
    list.page(db, wanted.page).await
}

/// Returns a page of tenants.
pub(crate) async fn tenants(db: &Db, wanted: &TenantQuery) -> Result<NumberedPage<Tenant>, Error> {
    let personal = wanted.personal.map(|yes| if yes { "personal_of is not null" } else { "personal_of is null" });
    let suspended = wanted.suspended.map(|yes| if yes { "suspended_at is not null" } else { "suspended_at is null" });
    let list = ListSql {
        columns: "id, name, slug, personal_of, suspended_at, delete_at, created_at, updated_at",
        table: "omni_tenants",
        searched: ["name", "slug"],
        text: wanted.text.as_deref(),
        conditions: personal.into_iter().chain(suspended).collect(),
        order: match wanted.sort {
            TenantSort::Oldest => "created_at, id",
            TenantSort::Newest => "created_at desc, id desc",
            TenantSort::Name => "name, id",
            TenantSort::NameDescending => "name desc, id desc",
        },
    };
    list.page(db, wanted.page).await
}

pub(crate) async fn user(tx: &mut Tx, id: UserId) -> Result<Option<User>, db::Error> {
    tx.query(concat!("select ", user_columns!(), " from omni_users where id = $1")).bind(id).fetch_optional().await
}

/// Returns the memberships of a user, at most 200.
pub(crate) async fn memberships(tx: &mut Tx, user: UserId) -> Result<Vec<Membership>, db::Error> {
    let sql = "select t.id as tenant_id, t.name, t.slug, m.role, m.created_at from omni_members m \
               join omni_tenants t on t.id = m.tenant_id where m.user_id = $1 order by m.created_at, t.id limit 200";
    tx.query(sql).bind(user).fetch_all().await
}

/// Ends an operator's impersonations.
pub(crate) async fn end_impersonations(tx: &mut Tx, actor: UserId, now: Timestamp) -> Result<(), db::Error> {
    let sql = "update omni_sessions set ended_at = $2 where actor_id = $1 and ended_at is null";
    tx.query(sql).bind(actor).bind(now).execute().await?;
    Ok(())
}

pub(crate) async fn suspend(tx: &mut Tx, id: TenantId, at: Option<Timestamp>, now: Timestamp) -> Result<(), db::Error> {
    let sql = "update omni_tenants set suspended_at = $2, updated_at = $3 where id = $1";
    tx.query(sql).bind(id).bind(at).bind(now).execute().await?;
    Ok(())
}
