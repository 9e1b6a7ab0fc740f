//! The rows of a table in exports of tenants, read page by page.

use std::vec;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde::Serialize;
use serde_json::Value;
use sqlx::AssertSqlSafe;

use super::ExportRows;
use crate::{
    BoxError,
    db::{Arguments, Db, Record},
    id::TenantId,
};

/// Rows that one query reads.
const ROWS_PER_PAGE: usize = 500;

/// A row of a table in exports of tenants: the columns that the tenant gets. See
/// [`Registry::tenant_export_table`](crate::module::Registry::tenant_export_table).
pub trait ExportRow: Record + Serialize + 'static {
    /// The statement that reads the rows of the tenant `$1`, up to its last condition:
    /// `select name, moons from planets where tenant_id = $1`.
    const SELECT: &'static str;
    /// The columns by which a row is found within its tenant. The rows are read in their order, so they must not be null,
    /// and the table should have an index of `tenant_id` and them.
    const KEY: &'static [&'static str];

    /// Adds the values of the columns in [`KEY`](Self::KEY), in their order.
    fn push_key(&self, values: &mut Arguments);
}

/// The place of the next page.
enum PagePosition<R> {
    Start,
    After(R),
    End,
}

type Page = stream::Iter<vec::IntoIter<Result<Value, BoxError>>>;

/// Returns the rows of a tenant.
pub(crate) fn table_rows<R: ExportRow>(db: Db, tenant: TenantId) -> ExportRows {
    let pages = stream::try_unfold(PagePosition::Start, move |position| read_page::<R>(db.clone(), tenant, position));
    pages.try_flatten().boxed()
}

async fn read_page<R: ExportRow>(
    db: Db,
    tenant: TenantId,
    position: PagePosition<R>,
) -> Result<Option<(Page, PagePosition<R>)>, BoxError> {
    let last = match position {
        PagePosition::Start => None,
        PagePosition::After(last) => Some(last),
        PagePosition::End => return Ok(None),
    };
    let mut tx = db.tenant(tenant).begin_read().await?;
    let mut values = Arguments::new(tx.dialect());
    values.push(tenant);
    if let Some(last) = &last {
        last.push_key(&mut values);
    }
    // The names of the table and of the columns are those of the module.
    let sql = AssertSqlSafe(statement(R::SELECT, R::KEY, last.is_none()));
    let mut rows: Vec<R> = tx.query(sql).args(values).fetch_all().await?;
    tx.commit().await?;
    let page: Vec<_> = rows.iter().map(|row| serde_json::to_value(row).map_err(BoxError::from)).collect();
    let next = match rows.pop() {
        Some(last) if page.len() == ROWS_PER_PAGE => PagePosition::After(last),
        _ => PagePosition::End,
    };
    Ok(Some((stream::iter(page), next)))
}

/// Returns the statement of the first page, or of a page after a key.
fn statement(select: &str, key: &[&str], is_first: bool) -> String {
    let columns = key.join(", ");
    let after = if is_first {
        String::new()
    } else {
        let values: Vec<_> = (2..).take(key.len()).map(|number| format!("${number}")).collect();
        format!(" and ({columns}) > ({})", values.join(", "))
    };
    format!("{select}{after} order by {columns} limit {ROWS_PER_PAGE}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_begins_after_the_key_of_the_page_before() {
        let select = "select name from planets where tenant_id = $1";
        let first = statement(select, &["star", "name"], true);
        assert_eq!(first, format!("{select} order by star, name limit 500"));
        let next = statement(select, &["star", "name"], false);
        assert_eq!(next, format!("{select} and (star, name) > ($2, $3) order by star, name limit 500"));
    }
}
