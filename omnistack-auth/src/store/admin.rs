//! Users and tenants as operators see them: all of them, so transactions are of all tenants.

use omnistack_core::{
    clock::Timestamp,
    db::{Args, Db, Error, Sql, Tx},
    identity::{TenantId, UserId},
};
use sqlx::AssertSqlSafe;

use crate::model::{Membership, Tenant, User, user_columns};

/// Which of a list.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    /// In the names, whatever the case.
    pub(crate) text: Option<String>,
    /// By a column that is null or isn't, or a flag.
    pub(crate) filters: Vec<&'static str>,
    pub(crate) order: &'static str,
    pub(crate) page: u32,
    pub(crate) page_size: u32,
}

impl Wanted {
    /// The condition, of these columns.
    fn conditions(&self, columns: &[&str], args: &mut Args) -> String {
        let mut conditions: Vec<String> = self.filters.iter().map(|&filter| filter.to_owned()).collect();
        if let Some(text) = &self.text {
            let number = args.push(format!("%{}%", escaped(&text.to_lowercase())));
            let any: Vec<_> =
                columns.iter().map(|column| format!("lower({column}) like ${number} escape '!'")).collect();
            conditions.push(format!("({})", any.join(" or ")));
        }
        if conditions.is_empty() { "1 = 1".into() } else { conditions.join(" and ") }
    }
}

/// Text that stands for itself in `like … escape '!'`.
fn escaped(text: &str) -> String {
    text.chars().flat_map(|c| ['%', '_', '!'].contains(&c).then_some('!').into_iter().chain([c])).collect()
}

async fn page<T: omnistack_core::db::Record>(
    db: &Db,
    wanted: &Wanted,
    (columns, table, searched): (&str, &str, &[&str]),
) -> Result<(Vec<T>, u64), Error> {
    let (mut counted, mut args) = (Args::new(db.dialect()), Args::new(db.dialect()));
    let conditions = wanted.conditions(searched, &mut counted);
    let same = wanted.conditions(searched, &mut args);
    let (limit, offset) =
        (args.push(i64::from(wanted.page_size)), args.push(i64::from(wanted.page - 1) * i64::from(wanted.page_size)));
    // Composed of column names, fixed conditions and numbers.
    let count = AssertSqlSafe(format!("select count(*) from {table} where {conditions}"));
    let order = wanted.order;
    let list = AssertSqlSafe(format!(
        "select {columns} from {table} where {same} order by {order} limit ${limit} offset ${offset}"
    ));
    let mut tx = db.all_tenants().read().await?;
    let (total,): (i64,) = tx.query(count).args(counted).fetch_one().await?;
    let items = tx.query(list).args(args).fetch_all().await?;
    tx.commit().await?;
    Ok((items, u64::try_from(total).unwrap_or(0)))
}

pub(crate) async fn users(db: &Db, wanted: &Wanted) -> Result<(Vec<User>, u64), Error> {
    page(db, wanted, (user_columns!(), "users", &["name", "email"])).await
}

pub(crate) async fn tenants(db: &Db, wanted: &Wanted) -> Result<(Vec<Tenant>, u64), Error> {
    let columns = "id, name, slug, personal_of, suspended_at, delete_at, created_at, updated_at";
    page(db, wanted, (columns, "tenants", &["name", "slug"])).await
}

pub(crate) async fn user(tx: &mut Tx, id: UserId) -> Result<Option<User>, Error> {
    tx.query(concat!("select ", user_columns!(), " from users where id = $1")).bind(id).fetch_optional().await
}

/// Where a user is a member, at most 200.
pub(crate) async fn memberships(tx: &mut Tx, user: UserId) -> Result<Vec<Membership>, Error> {
    let sql = "select t.id as tenant_id, t.name, t.slug, m.role, m.created_at from members m \
               join tenants t on t.id = m.tenant_id where m.user_id = $1 order by m.created_at, t.id limit 200";
    tx.query(sql).bind(user).fetch_all().await
}

/// Lets operators who change operators wait for each other; those there are.
pub(crate) async fn operators(tx: &mut Tx) -> Result<Vec<UserId>, Error> {
    let sql = Sql {
        postgres: "select id from users where operator and disabled_at is null order by id for no key update",
        sqlite: "select id from users where operator and disabled_at is null",
    };
    let all: Vec<(UserId,)> = tx.query(sql).fetch_all().await?;
    Ok(all.into_iter().map(|(id,)| id).collect())
}

pub(crate) async fn set_user(
    tx: &mut Tx,
    id: UserId,
    operator: bool,
    disabled_at: Option<Timestamp>,
    now: Timestamp,
) -> Result<(), Error> {
    let sql = "update users set operator = $2, disabled_at = $3, updated_at = $4 where id = $1";
    tx.query(sql).bind(id).bind(operator).bind(disabled_at).bind(now).execute().await?;
    Ok(())
}

/// Ends the sessions in which an operator acts as others; whose they are.
pub(crate) async fn end_acting(tx: &mut Tx, actor: UserId, now: Timestamp) -> Result<Vec<UserId>, Error> {
    let sql = "update sessions set ended_at = $2 where actor_id = $1 and ended_at is null returning user_id";
    let ended: Vec<(UserId,)> = tx.query(sql).bind(actor).bind(now).fetch_all().await?;
    Ok(ended.into_iter().map(|(id,)| id).collect())
}

pub(crate) async fn suspend(tx: &mut Tx, id: TenantId, at: Option<Timestamp>, now: Timestamp) -> Result<(), Error> {
    let sql = "update tenants set suspended_at = $2, updated_at = $3 where id = $1";
    tx.query(sql).bind(id).bind(at).bind(now).execute().await?;
    Ok(())
}
