//! The rows of a tenant in its exports: the tenant itself, members, roles, invitations and API keys, without secrets.

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use omnistack_core::{
    BoxError,
    clock::Timestamp,
    db::{Db, Record},
    identity::{TenantId, UserId},
    module::Registry,
    tenant_export::ExportRows,
};
use serde::Serialize;
use uuid::Uuid;

#[derive(Serialize, omnistack_core::db::FromRow)]
struct TenantRecord {
    id: TenantId,
    name: String,
    slug: String,
    created_at: Timestamp,
    updated_at: Timestamp,
}

#[derive(Serialize, omnistack_core::db::FromRow)]
struct MemberRecord {
    user_id: UserId,
    email: Option<String>,
    name: String,
    role: String,
    created_at: Timestamp,
}

#[derive(Serialize, omnistack_core::db::FromRow)]
struct RoleRecord {
    name: String,
    permissions: String,
    created_at: Timestamp,
    updated_at: Timestamp,
}

#[derive(Serialize, omnistack_core::db::FromRow)]
struct InvitationRecord {
    id: Uuid,
    email: String,
    role: String,
    invited_by: Option<UserId>,
    created_at: Timestamp,
    expires_at: Timestamp,
}

#[derive(Serialize, omnistack_core::db::FromRow)]
struct ApiKeyRecord {
    id: Uuid,
    user_id: UserId,
    name: String,
    hint: String,
    scopes: String,
    created_at: Timestamp,
    last_used_at: Option<Timestamp>,
    expires_at: Option<Timestamp>,
}

/// Adds the rows to the exports of tenants.
pub(crate) fn register(registry: &mut Registry) {
    add::<TenantRecord>(
        registry,
        "tenant",
        "select id, name, slug, created_at, updated_at from omni_tenants where id = $1",
    );
    add::<MemberRecord>(
        registry,
        "members",
        "select m.user_id, u.email, u.name, m.role, m.created_at from omni_members m join omni_users u on u.id = m.user_id \
         where m.tenant_id = $1 order by m.created_at, m.user_id",
    );
    add::<RoleRecord>(
        registry,
        "roles",
        "select name, permissions, created_at, updated_at from omni_roles where tenant_id = $1 order by name",
    );
    add::<InvitationRecord>(
        registry,
        "invitations",
        "select id, email, role, invited_by, created_at, expires_at from omni_invitations where tenant_id = $1 order by id",
    );
    add::<ApiKeyRecord>(
        registry,
        "api-keys",
        "select id, user_id, name, hint, scopes, created_at, last_used_at, expires_at from omni_api_keys \
         where tenant_id = $1 order by id",
    );
}

fn add<T: Record + Serialize + 'static>(registry: &mut Registry, name: &'static str, sql: &'static str) {
    registry.tenant_export(name, move |ctx| {
        // Accounts are in the app's own database for all tenants.
        let db = ctx.get::<Db>()?.app_database();
        Ok(move |tenant| rows::<T>(db.clone(), tenant, sql))
    });
}

/// Returns the rows of a statement. A tenant has few of each kind, so they are read at once.
fn rows<T: Record + Serialize + 'static>(db: Db, tenant: TenantId, sql: &'static str) -> ExportRows {
    let read = async move {
        let mut tx = db.tenant(tenant).begin_read().await?;
        let rows: Vec<T> = tx.query(sql).bind(tenant).fetch_all().await?;
        tx.commit().await?;
        let rows: Vec<_> = rows.iter().map(|row| serde_json::to_value(row).map_err(BoxError::from)).collect();
        Ok::<_, BoxError>(stream::iter(rows))
    };
    stream::once(read).try_flatten().boxed()
}
