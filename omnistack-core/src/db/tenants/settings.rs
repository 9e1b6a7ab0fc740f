//! Settings of tenants' databases.

use std::time::Duration;

crate::section! {
    /// A database for each tenant.
    pub struct TenantDatabaseSettings {
        /// Where each tenant has a database of its own: `postgres://user:password@host/app_{tenant}` or
        /// `sqlite:data/tenants/{tenant}.db`, of the same kind as `DATABASE_URL`. Unset, all share that one.
        pub url: Option<secrecy::SecretString> = "TENANT_DATABASE_URL";
        /// PostgreSQL: as whom databases are made and removed, by a role with CREATEDB. Unset, the role of `DATABASE_URL` does.
        pub admin_url: Option<secrecy::SecretString> = "TENANT_DATABASE_ADMIN_URL";
        /// Tenants' databases a process has open at most. One that is not in use is closed for another.
        pub open: u32 = "TENANT_DATABASES_OPEN", default "50", range "1"..="10000";
        /// Connections to each at most, two at least.
        pub max_connections: u32 = "TENANT_DATABASE_MAX_CONNECTIONS", default "4", range "2"..="1000";
        /// One nobody has asked for in this time is closed.
        pub idle: Duration = "TENANT_DATABASE_IDLE", default "10m", range "1s"..="1d";
        /// How often all of them are looked through for jobs, events and mails that a crash has left there.
        pub sweep: Duration = "TENANT_DATABASE_SWEEP", default "1m", range "1s"..="1d";
    }
}
