//! Inserts rows for the benchmark and the test of lists.

use omnistack::{
    db::{Db, Sql},
    identity::TenantId,
};

/// Inserts projects of a tenant. One in ten belongs to other tenants, one in fifty is deleted, and the seventh is
/// named `Needle`.
pub(crate) const PROJECTS: Sql = Sql {
    postgres: "insert into projects (id, tenant_id, name, description, created_at, updated_at, deleted_at)
        select gen_random_uuid(), case when n % 10 = 9 then gen_random_uuid() else $3 end,
            case n when 7 then 'Needle' else 'Project ' || n end,
            case n % 3 when 0 then 'What the team works on in quarter ' || n % 4 end,
            to_timestamp(1893456000 + n), to_timestamp(1893456000), case n % 50 when 0 then to_timestamp(1893456000) end
        from generate_series($1, $2) as n",
    sqlite: "with recursive numbers (n) as (select $1 union all select n + 1 from numbers where n < $2)
        insert into projects (id, tenant_id, name, description, created_at, updated_at, deleted_at)
        select randomblob(16), case when n % 10 = 9 then randomblob(16) else $3 end,
            case n when 7 then 'Needle' else 'Project ' || n end,
            case n % 3 when 0 then 'What the team works on in quarter ' || n % 4 end,
            strftime('%Y-%m-%dT%H:%M:%S.000000Z', 1893456000 + n, 'unixepoch'), '2030-01-01T00:00:00.000000Z',
            case n % 50 when 0 then '2030-01-01T00:00:00.000000Z' end
        from numbers",
};

/// Inserts users. The seventh is named `Needle`.
const USERS: Sql = Sql {
    postgres: "insert into omni_users (id, email, name, operator, created_at, updated_at)
        select gen_random_uuid(), 'user' || n || '@example.com', case n when 7 then 'Needle' else 'User ' || n end, false,
            to_timestamp(1893456000 + n), to_timestamp(1893456000)
        from generate_series($1, $2) as n where $3::uuid is not null",
    sqlite: "with recursive numbers (n) as (select $1 union all select n + 1 from numbers where n < $2)
        insert into omni_users (id, email, name, operator, created_at, updated_at)
        select randomblob(16), 'user' || n || '@example.com', case n when 7 then 'Needle' else 'User ' || n end, 0,
            strftime('%Y-%m-%dT%H:%M:%S.000000Z', 1893456000 + n, 'unixepoch'), '2030-01-01T00:00:00.000000Z'
        from numbers where $3 is not null",
};

/// Inserts tenants. The seventh is named `Needle`.
const TENANTS: Sql = Sql {
    postgres: "insert into omni_tenants (id, name, slug, created_at, updated_at)
        select gen_random_uuid(), case n when 7 then 'Needle' else 'Tenant ' || n end, 'tenant-' || n,
            to_timestamp(1893456000 + n), to_timestamp(1893456000)
        from generate_series($1 / 10 + 1, $2 / 10) as n where $3::uuid is not null",
    sqlite: "with recursive numbers (n) as (select $1 / 10 + 1 union all select n + 1 from numbers where n < $2 / 10)
        insert into omni_tenants (id, name, slug, created_at, updated_at)
        select randomblob(16), case n when 7 then 'Needle' else 'Tenant ' || n end, 'tenant-' || n,
            strftime('%Y-%m-%dT%H:%M:%S.000000Z', 1893456000 + n, 'unixepoch'), '2030-01-01T00:00:00.000000Z'
        from numbers where $3 is not null",
};

/// Inserts audit entries of a tenant, without valid hashes. Only the seventh has the action `needle.found`.
const AUDIT: Sql = Sql {
    postgres: "insert into omni_audit_entries (tenant_id, sequence, id, at, actor, action, resource, previous, hash)
        select $3, n, gen_random_uuid(), to_timestamp(1893456000 + n), gen_random_uuid(),
            case when n = 7 then 'needle.found' when n % 2 = 0 then 'project.created' else 'project.changed' end,
            'project:' || n, '\\x00', '\\x00'
        from generate_series($1, $2) as n",
    sqlite: "with recursive numbers (n) as (select $1 union all select n + 1 from numbers where n < $2)
        insert into omni_audit_entries (tenant_id, sequence, id, at, actor, action, resource, previous, hash)
        select $3, n, randomblob(16), strftime('%Y-%m-%dT%H:%M:%S.000000Z', 1893456000 + n, 'unixepoch'), randomblob(16),
            case when n = 7 then 'needle.found' when n % 2 = 0 then 'project.created' else 'project.changed' end,
            'project:' || n, x'00', x'00'
        from numbers",
};

/// Inserts finished jobs. The seventh is dead, belongs to the tenant, and has the queue and the name `needle`.
const JOBS: Sql = Sql {
    postgres: "insert into omni_jobs (id, name, queue, payload, state, rank, run_at, max_attempts, tenant, created_at, finished_at)
        select gen_random_uuid(), case n when 7 then 'needle' else 'nothing' end, case n when 7 then 'needle' else 'default' end,
            'null', case n when 7 then 'dead' else 'done' end, n, n, 1, case n when 7 then $3 end, n, n
        from generate_series($1, $2) as n",
    sqlite: "with recursive numbers (n) as (select $1 union all select n + 1 from numbers where n < $2)
        insert into omni_jobs (id, name, queue, payload, state, rank, run_at, max_attempts, tenant, created_at, finished_at)
        select randomblob(16), case n when 7 then 'needle' else 'nothing' end, case n when 7 then 'needle' else 'default' end,
            'null', case n when 7 then 'dead' else 'done' end, n, n, 1, case n when 7 then $3 end, n, n
        from numbers",
};

/// Most rows that a statement inserts, so that it ends within the time limit of statements. A multiple of 10.
const MAX_ROWS_PER_STATEMENT: usize = 5_000;

/// Adds the rows with these numbers to each table, and a tenth of them to tenants.
pub(crate) async fn add(db: &Db, tenant: TenantId, from: i64, to: i64) {
    for rows in [PROJECTS, USERS, TENANTS, AUDIT, JOBS] {
        for first in (from..=to).step_by(MAX_ROWS_PER_STATEMENT) {
            let last = to.min(first + i64::try_from(MAX_ROWS_PER_STATEMENT).unwrap() - 1);
            let mut tx = db.all_tenants().begin().await.unwrap();
            tx.query(rows).bind(first).bind(last).bind(tenant).execute().await.unwrap();
            tx.commit().await.unwrap();
        }
    }
    match db.postgres() {
        Some(pool) => {
            let mut connection = pool.acquire().await.unwrap();
            sqlx::query("set statement_timeout = 0").execute(&mut *connection).await.unwrap();
            sqlx::query("vacuum analyze").execute(&mut *connection).await.unwrap();
            connection.close().await.unwrap();
        }
        None => _ = db.query("pragma wal_checkpoint(truncate)").execute().await.unwrap(),
    }
}
