//! Whether the connections of the app's processes fit the limits of a PostgreSQL server.

use crate::{
    config::Config,
    db::{Db, DbSettings, Dialect, Error, TenantDatabaseSettings},
};

/// The limits of the server for the role and the database of `DATABASE_URL`, and the connections in use.
const LIMITS: &str = "select current_setting('max_connections')::bigint,
        current_setting('superuser_reserved_connections')::bigint
            + coalesce(current_setting('reserved_connections', true), '0')::bigint,
        (select rolconnlimit::bigint from pg_roles where rolname = current_user),
        (select datconnlimit::bigint from pg_database where datname = current_database()),
        (select count(*) from pg_stat_activity where backend_type = 'client backend')";

/// The connections that a server has for the app.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ConnectionsBudget {
    /// Most connections of each process.
    pool: i64,
    /// Most connections of all processes.
    limit: i64,
    in_use: i64,
    /// Most connections of each process to tenant databases.
    to_tenants: i64,
}

impl ConnectionsBudget {
    /// Reads the limits of the server. Returns `None` for SQLite.
    pub(super) async fn read(db: &Db, settings: &DbSettings, config: &Config) -> Result<Option<Self>, Error> {
        if db.dialect() != Dialect::Postgres {
            return Ok(None);
        }
        let (max, reserved, role, database, in_use): (i64, i64, i64, i64, i64) = db.query(LIMITS).fetch_one().await?;
        // A limit of -1 is none.
        let limits = [max - reserved, role, database].into_iter().filter(|limit| *limit >= 0);
        let tenants = db.tenant_databases().and_then(|_| config.read_settings::<TenantDatabaseSettings>().ok());
        let to_tenants = tenants.map_or(0, |tenants| i64::from(tenants.open) * i64::from(tenants.max_connections));
        let limit = limits.min().unwrap_or(max);
        Ok(Some(Self { pool: i64::from(pool_size(db, settings)), limit, in_use, to_tenants }))
    }

    /// Returns whether one process fits.
    pub(super) fn fits(self) -> bool {
        self.pool <= self.limit
    }

    /// Returns the line of `doctor`, with what to do if there are too few connections.
    pub(super) fn text(self) -> String {
        let Self { pool, limit, in_use, to_tenants } = self;
        let processes = limit / pool.max(1);
        let enough = match processes {
            0 => format!(
                "fewer than one process may use\n                     fix: set DATABASE_MAX_CONNECTIONS to {limit} or \
                 less, or raise `max_connections` of the server"
            ),
            1 => "enough for one process; a rolling update, which runs two at once, may be refused connections".into(),
            2 | 3 => format!("enough for {processes} processes, so for one replica during a rolling update"),
            _ => format!("enough for {processes} processes, so for {} replicas during a rolling update", processes / 2),
        };
        let tenants = match to_tenants {
            0 => String::new(),
            _ => format!(
                "; tenant databases on the same server take up to {to_tenants} more for each process \
                 (TENANT_DATABASES_OPEN times TENANT_DATABASE_MAX_CONNECTIONS)"
            ),
        };
        format!("{pool} for each process, the server has {limit} ({in_use} in use): {enough}{tenants}")
    }
}

/// Returns the most connections of the pool, which the program may have opened itself.
fn pool_size(db: &Db, settings: &DbSettings) -> u32 {
    #[cfg(feature = "postgres")]
    if let Some(pool) = db.postgres() {
        return pool.options().get_max_connections();
    }
    #[cfg(not(feature = "postgres"))]
    let _ = db;
    settings.max_connections
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_says_how_many_processes_fit() {
        for (pool, limit, expected) in [
            (10, 97, "enough for 9 processes, so for 4 replicas"),
            (40, 97, "enough for 2 processes, so for one replica"),
            (60, 97, "enough for one process"),
            (98, 97, "set DATABASE_MAX_CONNECTIONS to 97 or less"),
        ] {
            let budget = ConnectionsBudget { pool, limit, in_use: 3, to_tenants: 0 };
            let text = budget.text();
            assert!(text.contains(expected), "{text}");
            assert_eq!(budget.fits(), pool <= limit);
        }
        let tenants = ConnectionsBudget { pool: 10, limit: 97, in_use: 3, to_tenants: 200 };
        assert!(tenants.text().contains("up to 200 more"));
    }
}
