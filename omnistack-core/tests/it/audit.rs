//! Tests of the audit log, on both databases.

#![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

mod chains;
mod export;
mod lists;
mod nightly;
mod retention;
mod routes;
mod tampering;
mod tenants;

use std::time::Duration;

use omnistack_core::{
    audit::{AuditChain, AuditEntry, AuditLog, AuditStore, ChainBreakKind, Error, VerificationReport},
    clock::Clock,
    db::{Db, Dialect},
    id::Id,
    identity::TenantId,
};
use omnistack_testkit::{TestApp, TestDatabase};
use serde_json::json;

/// An app with its audit log and store.
struct Audited {
    app: TestApp,
    log: AuditLog,
    store: AuditStore,
}

impl Audited {
    async fn start(database: TestDatabase) -> Self {
        let app = TestApp::start(database, |app| app).await;
        let (log, store) = (app.app().context().get().unwrap(), app.app().context().get().unwrap());
        Self { app, log, store }
    }

    fn db(&self) -> &Db {
        self.app.db()
    }

    /// Creates a tenant with this many audit entries, one second apart.
    async fn tenant(&self, entries: i64) -> TenantId {
        let tenant = tenant();
        self.add(tenant, entries).await;
        tenant
    }

    async fn add(&self, tenant: TenantId, entries: i64) {
        for number in 1..=entries {
            self.app.clock().advance(Duration::from_secs(1));
            let mut entry = AuditEntry::new(format!("thing.done{number}")).for_tenant(tenant).resource("thing", number);
            entry.actor = Some(Id::new(Clock::system().now()));
            let mut tx = self.db().tenant(tenant).begin().await.unwrap();
            self.log.record_in(&mut tx, entry.details(json!({"number": number, "a": [1.5, null, "é"]}))).await.unwrap();
            tx.commit().await.unwrap();
        }
    }

    /// Runs statements as an attacker with the database password would. `$1` is the tenant.
    async fn tamper(&self, tenant: TenantId, statements: &[&'static str]) {
        let mut tx = self.db().all_tenants().begin().await.unwrap();
        let off: &[&'static str] = match tx.dialect() {
            Dialect::Postgres => &[
                "alter table omni_audit_entries disable trigger user",
                "alter table omni_audit_chains disable trigger user",
            ],
            Dialect::Sqlite => &[
                "drop trigger if exists omni_audit_entries_update",
                "drop trigger if exists omni_audit_entries_delete",
                "drop trigger if exists omni_audit_chains_forward",
                "drop trigger if exists omni_audit_chains_delete",
                "drop trigger if exists omni_audit_entries_insert",
                "drop trigger if exists omni_audit_chains_insert",
            ],
        };
        for sql in off {
            tx.query(*sql).execute().await.unwrap();
        }
        for sql in statements {
            assert!(tx.query(*sql).bind(tenant).execute().await.unwrap() > 0, "{sql}");
        }
        tx.commit().await.unwrap();
    }
}

fn tenant() -> TenantId {
    Id::new(Clock::system().now())
}

/// Returns the sequence number and the kind of the first broken entry.
fn broken(verified: Result<VerificationReport, Error>, chain: impl Into<AuditChain>) -> (i64, ChainBreakKind) {
    match verified {
        Err(Error::Broken(broken)) => {
            assert_eq!(broken.chain, chain.into());
            (broken.sequence, broken.kind)
        }
        other => panic!("{other:?}"),
    }
}
