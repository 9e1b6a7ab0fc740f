//! Tests of row-level security of the audit log, on PostgreSQL.

use omnistack_core::{
    audit::{AuditChain, AuditEntry},
    db::{ErrorKind, Tx},
    identity::TenantId,
};
use omnistack_testkit::TestDatabase;

use super::{Audited, tenant};

async fn record(audited: &Audited, tx: &mut Tx, tenant: Option<TenantId>) -> Result<(), omnistack_core::db::Error> {
    let mut entry = AuditEntry::new("seen");
    entry.tenant = tenant;
    audited.log.record_in(tx, entry).await
}

async fn count(tx: &mut Tx, sql: &'static str) -> i64 {
    let (count,): (i64,) = tx.query(sql).fetch_one().await.unwrap();
    count
}

#[tokio::test]
async fn every_transaction_records_and_reads_its_own_only() {
    const ENTRIES: &str = "select count(*) from omni_audit_entries";
    let audited = Audited::start(TestDatabase::postgres()).await;
    let (a, b) = (audited.tenant(2).await, audited.tenant(3).await);
    let db = audited.db();

    // A transaction of a tenant records in the tenant's chain and the app's, and reads only its own entries.
    let mut tx = db.tenant(a).begin().await.unwrap();
    record(&audited, &mut tx, Some(a)).await.unwrap();
    record(&audited, &mut tx, None).await.unwrap();
    assert_eq!(count(&mut tx, ENTRIES).await, 3);
    assert_eq!(count(&mut tx, "select count(*) from omni_audit_chains").await, 2, "its own and the app's");
    let refused = record(&audited, &mut tx, Some(b)).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Other, "{refused}");
    drop(tx);

    // A transaction without a tenant records in any chain and reads nothing.
    let mut tx = db.begin().await.unwrap();
    for tenant in [Some(a), Some(b), None, Some(tenant())] {
        record(&audited, &mut tx, tenant).await.unwrap();
    }
    assert_eq!(count(&mut tx, ENTRIES).await, 0);
    for sql in ["update omni_audit_entries set action = 'x'", "delete from omni_audit_entries"] {
        assert_eq!(tx.query(sql).execute().await.unwrap(), 0, "{sql}");
    }
    tx.commit().await.unwrap();

    // A transaction for all tenants records in any chain and reads everything.
    let mut tx = db.all_tenants().begin().await.unwrap();
    record(&audited, &mut tx, Some(b)).await.unwrap();
    assert_eq!(count(&mut tx, ENTRIES).await, 2 + 3 + 4 + 1);
    tx.commit().await.unwrap();
    for (chain, entries) in [(AuditChain::from(a), 3), (b.into(), 5), (AuditChain::App, 1)] {
        assert_eq!(audited.store.verify(chain).await.unwrap().entries, entries, "{chain}");
    }
}

#[tokio::test]
async fn an_entry_put_past_the_log_is_refused_or_found() {
    let audited = Audited::start(TestDatabase::postgres()).await;
    let (a, b) = (audited.tenant(2).await, audited.tenant(2).await);
    let forge = "insert into omni_audit_entries (tenant_id, sequence, id, at, action, previous, hash)
                 values ($1, 3, $1, '2030-01-01', 'forged', '', '')";
    let mut tx = audited.db().tenant(a).begin().await.unwrap();
    let refused = tx.query(forge).bind(b).execute().await.unwrap_err();
    assert!(refused.to_string().contains("row-level security"), "{refused}");
    drop(tx);
    audited.db().query(forge).bind(b).execute().await.unwrap();
    assert!(audited.store.verify(b).await.is_err());
    assert!(audited.store.verify(a).await.is_ok());
}

#[tokio::test]
async fn two_that_wait_for_each_other_are_told() {
    let audited = Audited::start(TestDatabase::postgres()).await;
    let (a, b) = (tenant(), tenant());
    let [mut first, mut second] = [audited.db().begin().await.unwrap(), audited.db().begin().await.unwrap()];
    record(&audited, &mut first, Some(a)).await.unwrap();
    record(&audited, &mut second, Some(b)).await.unwrap();
    // The rejected transaction ends, so that the other can continue.
    let end = async |mut tx: Tx, tenant| match record(&audited, &mut tx, Some(tenant)).await {
        Ok(()) => tx.commit().await,
        refused => refused,
    };
    let (first, second) = tokio::join!(end(first, b), end(second, a));
    let refused = first.and(second).unwrap_err();
    assert!(refused.kind() == ErrorKind::Conflict && refused.is_retryable(), "{refused}");
    let entries = [audited.store.verify(a).await.unwrap().entries, audited.store.verify(b).await.unwrap().entries];
    assert_eq!(entries, [1, 1], "one transaction, whole");
}
