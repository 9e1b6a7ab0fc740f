//! Tests that entries of a chain are numbered without gaps when several transactions record.

use std::time::Duration;

use futures_util::future::join_all;
use omnistack_core::{
    audit::{AuditChain, AuditEntry, AuditLog},
    clock::Clock,
    db::ErrorKind,
    id::Id,
};
use omnistack_testkit::{TestDatabase, on_each_database};
use serde_json::json;
use uuid::Uuid;

use super::{Audited, tenant};

on_each_database! {
    async fn concurrent_writers_give_one_chain(database: TestDatabase) {
        let audited = Audited::start(database).await;
        let (tenant, other) = (tenant(), audited.app.database().open_db());
        let tasks = (0..20).map(|task| {
            let (db, log) = (if task % 2 == 0 { audited.db().clone() } else { other.clone() }, audited.log.clone());
            tokio::spawn(async move {
                for number in 0..5 {
                    // Every kind of transaction that can record for the tenant.
                    let mut tx = match (task + number) % 3 {
                        0 => db.tenant(tenant).begin().await?,
                        1 => db.all_tenants().begin().await?,
                        _ => db.begin().await?,
                    };
                    log.record_in(&mut tx, AuditEntry::new(format!("task{task}.{number}")).for_tenant(tenant)).await?;
                    tokio::task::yield_now().await;
                    tx.commit().await?;
                }
                Ok::<_, omnistack_core::db::Error>(())
            })
        });
        for done in join_all(tasks).await {
            done.unwrap().unwrap();
        }
        let verified = audited.store.verify(tenant).await.unwrap();
        assert_eq!((verified.entries, verified.head.sequence), (100, 100));
    }

    async fn a_chain_is_whole_at_every_moment(database: TestDatabase) {
        let audited = Audited::start(database).await;
        let (tenant, db, log) = (audited.tenant(1).await, audited.app.database().open_db(), audited.log.clone());
        let writer = tokio::spawn(async move {
            for number in 0..60 {
                let mut tx = db.tenant(tenant).begin().await?;
                log.record_in(&mut tx, AuditEntry::new(number.to_string()).for_tenant(tenant)).await?;
                tx.commit().await?;
            }
            Ok::<_, omnistack_core::db::Error>(())
        });
        let (mut checks, clock) = (0, audited.app.clock());
        while !writer.is_finished() || checks < 3 {
            audited.store.verify(tenant).await.unwrap();
            clock.advance(Duration::from_secs(1));
            audited.store.delete_before(clock.clock().now()).await.unwrap();
            audited.store.verify(tenant).await.unwrap();
            checks += 1;
        }
        writer.await.unwrap().unwrap();
        assert!(audited.store.verify(tenant).await.unwrap().head.sequence > 61);
    }

    async fn a_rollback_leaves_no_hole(database: TestDatabase) {
        let audited = Audited::start(database).await;
        let tenant = audited.tenant(2).await;
        for commits in [false, true, false, false, true] {
            let mut tx = audited.db().tenant(tenant).begin().await.unwrap();
            audited.log.record_in(&mut tx, AuditEntry::new("tried").for_tenant(tenant)).await.unwrap();
            if commits { tx.commit().await.unwrap() } else { tx.rollback().await.unwrap() }
        }
        let verified = audited.store.verify(tenant).await.unwrap();
        assert_eq!((verified.entries, verified.head.sequence), (4, 4));
    }

    async fn several_entries_of_one_transaction_follow_one_another(database: TestDatabase) {
        let audited = Audited::start(database).await;
        let (a, b) = (tenant(), tenant());
        let mut tx = audited.db().all_tenants().begin().await.unwrap();
        for tenant in [Some(a), None, Some(b), Some(a), None, Some(a)] {
            let mut entry = AuditEntry::new("told");
            entry.tenant = tenant;
            audited.log.record_in(&mut tx, entry).await.unwrap();
        }
        tx.commit().await.unwrap();
        for (chain, entries) in [(AuditChain::from(a), 3), (b.into(), 1), (AuditChain::App, 2), (tenant().into(), 0)] {
            assert_eq!(audited.store.verify(chain).await.unwrap().entries, entries, "{chain}");
        }
        assert_eq!(audited.store.head(tenant()).await.unwrap(), None);
    }

    async fn what_is_recorded_is_read_back(database: TestDatabase) {
        let audited = Audited::start(database).await;
        let tenant = tenant();
        let details = [
            json!(null),
            json!({"z": 1, "a": {"b": [0.1, -1e300, u64::MAX, i64::MIN]}, "text": "\u{0}\n\"é😀"}),
            json!("text"),
        ];
        for details in &details {
            let entry = AuditEntry::new("é😀'\"; --").for_tenant(tenant).resource("thing", "a:b").details(details.clone());
            let mut tx = audited.db().tenant(tenant).begin().await.unwrap();
            audited.log.record_in(&mut tx, entry).await.unwrap();
            tx.commit().await.unwrap();
        }
        for (number, details) in (1..).zip(&details) {
            let record = audited.store.get(tenant, number).await.unwrap().unwrap();
            assert_eq!((record.sequence, record.tenant, record.actor), (number, Some(tenant), None));
            assert_eq!((record.action.as_str(), record.resource.as_deref()), ("é😀'\"; --", Some("thing:a:b")));
            assert_eq!((record.details.as_ref(), record.at), (Some(details), audited.app.clock().clock().now()));
        }
        assert_eq!(audited.store.get(tenant, 4).await.unwrap(), None);
        assert_eq!(audited.store.verify(tenant).await.unwrap().entries, 3);
    }

    async fn the_nil_id_is_no_tenants(database: TestDatabase) {
        let audited = Audited::start(database).await;
        let mut tx = audited.db().begin().await.unwrap();
        let entry = AuditEntry::new("x").for_tenant(Id::from_uuid(Uuid::nil()));
        assert_eq!(audited.log.record_in(&mut tx, entry).await.unwrap_err().kind(), ErrorKind::InvalidValue);
    }

    async fn a_logged_entry_needs_no_tables(database: TestDatabase) {
        let db = database.open_db();
        let mut tx = db.begin().await.unwrap();
        AuditLog::to_log().record_in(&mut tx, AuditEntry::new("x")).await.unwrap();
        let stored = AuditLog::to_database(Clock::system()).record_in(&mut tx, AuditEntry::new("x")).await.unwrap_err();
        assert_eq!(stored.kind(), ErrorKind::Schema);
    }
}
