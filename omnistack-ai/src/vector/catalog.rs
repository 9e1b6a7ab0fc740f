//! The SQL of collections.

use omnistack_core::{
    clock::Timestamp,
    db::{self, Tx},
    identity::TenantId,
};

use super::model::{VectorCollection, VectorCollectionId};

const COLUMNS_FROM: &str = "select id, name, dimensions, model, created_at from omni_ai_vector_collections";

/// The columns of [`COLUMNS_FROM`].
type CollectionRow = (VectorCollectionId, String, i64, Option<String>, Timestamp);

fn collection((id, name, dimensions, model, created_at): CollectionRow) -> VectorCollection {
    let dimensions = u32::try_from(dimensions).unwrap_or(0);
    VectorCollection { id, name, dimensions, model, points: None, created_at }
}

pub(super) async fn find(tx: &mut Tx, tenant: TenantId, name: &str) -> Result<Option<VectorCollection>, db::Error> {
    let sql = sqlx::AssertSqlSafe(format!("{COLUMNS_FROM} where tenant_id = $1 and name = $2"));
    let row: Option<CollectionRow> = tx.query(sql).bind(tenant).bind(name.to_owned()).fetch_optional().await?;
    Ok(row.map(collection))
}

/// Returns collections in the order of their names, after a name.
pub(super) async fn list(
    tx: &mut Tx,
    tenant: TenantId,
    after: &str,
    limit: u32,
) -> Result<Vec<VectorCollection>, db::Error> {
    let sql = sqlx::AssertSqlSafe(format!("{COLUMNS_FROM} where tenant_id = $1 and name > $2 order by name limit $3"));
    let select = tx.query(sql).bind(tenant).bind(after.to_owned()).bind(i64::from(limit));
    let rows: Vec<CollectionRow> = select.fetch_all().await?;
    Ok(rows.into_iter().map(collection).collect())
}

pub(super) async fn count(tx: &mut Tx, tenant: TenantId) -> Result<u64, db::Error> {
    let sql = "select count(*) from omni_ai_vector_collections where tenant_id = $1";
    let (count,): (i64,) = tx.query(sql).bind(tenant).fetch_one().await?;
    Ok(count.unsigned_abs())
}

/// Inserts a collection. Returns `false` if its name exists.
pub(super) async fn insert(tx: &mut Tx, tenant: TenantId, new: &VectorCollection) -> Result<bool, db::Error> {
    let sql = "insert into omni_ai_vector_collections (id, tenant_id, name, dimensions, model, created_at)
        values ($1, $2, $3, $4, $5, $6) on conflict (tenant_id, name) do nothing";
    let insert = tx.query(sql).bind(new.id).bind(tenant).bind(new.name.clone()).bind(i64::from(new.dimensions));
    Ok(insert.bind(new.model.clone()).bind(new.created_at).execute().await? > 0)
}

pub(super) async fn delete(tx: &mut Tx, tenant: TenantId, id: VectorCollectionId) -> Result<bool, db::Error> {
    let sql = "delete from omni_ai_vector_collections where tenant_id = $1 and id = $2";
    let deleted = tx.query(sql).bind(tenant).bind(id).execute().await?;
    let sql = "delete from omni_ai_vector_documents where tenant_id = $1 and collection_id = $2";
    tx.query(sql).bind(tenant).bind(id).execute().await?;
    Ok(deleted > 0)
}
