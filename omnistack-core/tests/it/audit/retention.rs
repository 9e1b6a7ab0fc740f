//! Tests of retention: old entries are deleted and the chain stays valid.

use std::time::Duration;

use omnistack_core::{
    audit::{AuditChain, AuditEntry, AuditFilter, ChainBreakKind, Error},
    clock::Timestamp,
};
use omnistack_testkit::{TestDatabase, on_each_database};
use serde_json::json;

use super::{Audited, broken, tenant};

fn ago(audited: &Audited, seconds: u64) -> Timestamp {
    audited.app.clock().clock().now() - Duration::from_secs(seconds)
}

on_each_database! {
    async fn what_is_left_is_whole(database: TestDatabase) {
        let audited = Audited::start(database).await;
        let (untouched, tenant) = (audited.tenant(2).await, audited.tenant(10).await);
        assert_eq!(audited.store.delete_before_in_chain(tenant, ago(&audited, 100)).await.unwrap(), 0);
        assert_eq!(audited.store.verify(tenant).await.unwrap().entries, 10);

        // The newest entry is zero seconds old, so the entries of 9 to 7 seconds ago are deleted.
        assert_eq!(audited.store.delete_before_in_chain(tenant, ago(&audited, 6)).await.unwrap(), 3);
        let verified = audited.store.verify(tenant).await.unwrap();
        assert_eq!((verified.entries, verified.head.sequence), (8, 11), "seven, and one that says so");
        let newest = audited.store.get(tenant, 11).await.unwrap().unwrap();
        assert_eq!((newest.action.as_str(), &newest.details.unwrap()["through"]), ("audit.entries_deleted", &json!(3)));
        assert_eq!(audited.store.get(tenant, 3).await.unwrap(), None);
        assert_eq!(audited.store.delete_before_in_chain(tenant, ago(&audited, 6)).await.unwrap(), 0, "once is enough");

        audited.add(tenant, 2).await;
        assert_eq!(audited.store.verify(tenant).await.unwrap().entries, 10);
        assert_eq!(audited.store.delete_before_in_chain(tenant, ago(&audited, 0)).await.unwrap(), 9, "the other explanation too");
        audited.app.clock().advance(Duration::from_secs(1));
        // A time in the future is limited to the clock's time. Otherwise this would delete every entry.
        assert_eq!(audited.store.delete_before_in_chain(tenant, ago(&audited, 0) + Duration::from_hours(1)).await.unwrap(), 2);
        let verified = audited.store.verify(tenant).await.unwrap();
        assert_eq!((verified.entries, verified.head.sequence), (1, 15));
        audited.add(tenant, 1).await;
        assert_eq!(audited.store.verify(tenant).await.unwrap().entries, 2);
        assert_eq!(audited.store.verify(untouched).await.unwrap().entries, 2);
    }

    async fn more_than_one_transaction_removes(database: TestDatabase) {
        let audited = Audited::start(database).await;
        let tenant = tenant();
        let mut tx = audited.db().tenant(tenant).begin().await.unwrap();
        for number in 0..5_100 {
            audited.log.record_in(&mut tx, AuditEntry::new(number.to_string()).for_tenant(tenant)).await.unwrap();
        }
        tx.commit().await.unwrap();
        audited.app.clock().advance(Duration::from_secs(1));
        assert_eq!(audited.store.delete_before(ago(&audited, 0)).await.unwrap(), 5_100);
        let verified = audited.store.verify(tenant).await.unwrap();
        assert_eq!((verified.entries, verified.head.sequence), (2, 5_102), "one that says so a transaction");
    }

    async fn every_chain_is_retained_and_a_broken_one_is_kept(database: TestDatabase) {
        let audited = Audited::start(database).await;
        let tenants = [audited.tenant(4).await, audited.tenant(4).await, audited.tenant(4).await];
        let mut tx = audited.db().begin().await.unwrap();
        audited.log.record_in(&mut tx, AuditEntry::new("app.started")).await.unwrap();
        tx.commit().await.unwrap();
        audited.tamper(tenants[1], &["update omni_audit_entries set action = 'x' where tenant_id = $1 and sequence = 2"]).await;
        audited.app.clock().advance(Duration::from_secs(1));
        let refused = audited.store.delete_before(ago(&audited, 0)).await.unwrap_err();
        assert!(matches!(&refused, Error::Broken(broken) if broken.chain == tenants[1].into() && broken.sequence == 2), "{refused}");
        for chain in [AuditChain::from(tenants[0]), tenants[2].into(), AuditChain::App] {
            assert_eq!(audited.store.verify(chain).await.unwrap().entries, 1, "{chain}");
        }
        let kept = audited.store.list(&AuditFilter::for_chain(tenants[1]), 10, None).await.unwrap();
        assert_eq!(kept.items.len(), 4, "as evidence");
    }

    async fn tampering_after_retention_is_found(database: TestDatabase) {
        for (statements, sequence, why) in [
            (&["update omni_audit_entries set resource = null where tenant_id = $1 and sequence = 4"][..], 4, ChainBreakKind::Changed),
            (&["delete from omni_audit_entries where tenant_id = $1 and sequence = 4"], 4, ChainBreakKind::Gap),
            (&["update omni_audit_chains set checkpoint_hash = hash where tenant_id = $1"], 4, ChainBreakKind::Previous),
            (&["update omni_audit_chains set checkpoint = 2 where tenant_id = $1"], 3, ChainBreakKind::Gap),
            (
                &[
                    "update omni_audit_chains set checkpoint = 4, checkpoint_hash = (select hash from omni_audit_entries
                     where omni_audit_entries.tenant_id = $1 and omni_audit_entries.sequence = 4) where tenant_id = $1",
                    "delete from omni_audit_entries where tenant_id = $1 and sequence = 4",
                ],
                4,
                ChainBreakKind::Checkpoint,
            ),
        ] {
            let audited = Audited::start(match database.dialect() {
                omnistack_core::db::Dialect::Sqlite => TestDatabase::sqlite(),
                omnistack_core::db::Dialect::Postgres => TestDatabase::postgres(),
            })
            .await;
            let tenant = audited.tenant(6).await;
            assert_eq!(audited.store.delete_before_in_chain(tenant, ago(&audited, 2)).await.unwrap(), 3);
            audited.tamper(tenant, statements).await;
            assert_eq!(broken(audited.store.verify(tenant).await, tenant), (sequence, why), "{statements:?}");
        }
    }
}
