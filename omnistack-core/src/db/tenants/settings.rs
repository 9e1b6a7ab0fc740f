//! Settings of tenant databases.

use std::time::Duration;

crate::settings! {
    /// A database for each tenant.
    pub struct TenantDatabaseSettings {
        /// URL template of the tenant databases: `postgres://user:password@host/app_{tenant}` or
        /// `sqlite:data/tenants/{tenant}.db`, of the same kind as `DATABASE_URL`. If unset, all tenants share the
        /// database of `DATABASE_URL`.
        pub url: Option<secrecy::SecretString> = "TENANT_DATABASE_URL";
        /// PostgreSQL: URL of a role with CREATEDB that creates and removes databases. If unset, the role of
        /// `DATABASE_URL` does.
        pub admin_url: Option<secrecy::SecretString> = "TENANT_DATABASE_ADMIN_URL";
        /// Most tenant databases that a process has open. At the limit, one that is not in use is closed before
        /// another is opened.
        pub open: u32 = "TENANT_DATABASES_OPEN", default "50", range "1"..="10000";
        /// Most connections to each tenant database; at least two.
        pub max_connections: u32 = "TENANT_DATABASE_MAX_CONNECTIONS", default "4", range "2"..="1000";
        /// A tenant database that has not been used for this long is closed.
        pub idle: Duration = "TENANT_DATABASE_IDLE", default "10m", range "1s"..="1d";
        /// Interval at which all tenant databases are searched for jobs, events and emails that were left there by a
        /// crash.
        pub sweep: Duration = "TENANT_DATABASE_SWEEP", default "1m", range "1s"..="1d";
    }
}
