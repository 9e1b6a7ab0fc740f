//! Tests of lists of audit entries: filters and order.

use std::time::Duration;

use omnistack_core::{
    audit::{AuditChain, AuditEntry, AuditFilter, ErrorKind},
    clock::{Clock, Timestamp},
    id::Id,
    identity::{TenantId, UserId},
};
use omnistack_testkit::{TestDatabase, on_each_database};

use super::{Audited, tenant};

async fn record(audited: &Audited, tenant: Option<TenantId>, actor: UserId, action: &str, thing: u32) -> Timestamp {
    let mut entry = AuditEntry::new(action).resource("thing", thing);
    (entry.tenant, entry.actor) = (tenant, Some(actor));
    let mut tx = audited.db().all_tenants().begin().await.unwrap();
    audited.log.record_in(&mut tx, entry).await.unwrap();
    tx.commit().await.unwrap();
    audited.app.clock().clock().now()
}

/// Returns the actions of all entries that match a filter, over all pages.
async fn all(audited: &Audited, filter: &AuditFilter, limit: u32) -> Vec<String> {
    let (mut found, mut cursor) = (Vec::new(), None::<String>);
    loop {
        let page = audited.store.list(filter, limit, cursor.as_deref()).await.unwrap();
        assert!(page.items.len() <= limit as usize);
        found.extend(page.items.into_iter().map(|record| record.action));
        cursor = page.next_cursor;
        if cursor.is_none() {
            return found;
        }
    }
}

on_each_database! {
    async fn filters_and_pages(database: TestDatabase) {
        let audited = Audited::start(database).await;
        let (a, b) = (tenant(), tenant());
        let [alice, bob]: [UserId; 2] = [(); 2].map(|()| Id::new(Clock::system().now()));
        let mut times = Vec::new();
        for (index, (tenant, actor, action, thing)) in [
            (Some(a), alice, "thing.made", 1),
            (Some(a), bob, "thing.changed", 1),
            (Some(b), alice, "Thing.made", 1),
            (None, bob, "app.started", 2),
            (Some(a), alice, "thing_made", 2),
            (Some(a), alice, "thing.deleted", 1),
        ]
        .into_iter()
        .enumerate()
        {
            // Two entries have the same time.
            audited.app.clock().advance(Duration::from_secs(u64::from(index != 2)));
            times.push(record(&audited, tenant, actor, action, thing).await);
        }
        let of_a = || AuditFilter::for_chain(a);
        let everything = AuditFilter::all_chains();
        for (filter, expected) in [
            (of_a(), vec!["thing.deleted", "thing_made", "thing.changed", "thing.made"]),
            (AuditFilter::for_chain(b), vec!["Thing.made"]),
            (AuditFilter::for_chain(AuditChain::App), vec!["app.started"]),
            (AuditFilter::for_chain(tenant()), vec![]),
            (of_a().actor(alice), vec!["thing.deleted", "thing_made", "thing.made"]),
            (of_a().action("thing."), vec!["thing.deleted", "thing.changed", "thing.made"]),
            (of_a().action("thing_"), vec!["thing_made"]),
            (of_a().action("%"), vec![]),
            (of_a().action(""), vec!["thing.deleted", "thing_made", "thing.changed", "thing.made"]),
            (of_a().resource("thing:1"), vec!["thing.deleted", "thing.changed", "thing.made"]),
            (of_a().resource("thing:"), vec![]),
            (of_a().since(times[1]).until(times[5]), vec!["thing_made", "thing.changed"]),
            (of_a().since(times[5]), vec!["thing.deleted"]),
            (everything.clone().actor(bob), vec!["app.started", "thing.changed"]),
            (everything.clone().actor(alice).action("Thing").resource("thing:1"), vec!["Thing.made"]),
        ] {
            for limit in [1, 2, 100] {
                assert_eq!(all(&audited, &filter, limit).await, expected, "{filter:?}");
            }
        }
        let mut found = all(&audited, &everything, 1).await;
        assert_eq!((found[0].as_str(), found[5].as_str()), ("thing.deleted", "thing.made"));
        found.sort_unstable();
        found.dedup();
        assert_eq!(found.len(), 6, "each once, also those of one moment");
    }

    async fn many_at_one_moment_are_listed_once_each(database: TestDatabase) {
        let audited = Audited::start(database).await;
        let (tenant, actor) = (tenant(), Id::new(Clock::system().now()));
        for number in 0..25 {
            record(&audited, Some(tenant), actor, &format!("{number}"), 1).await;
        }
        let expected: Vec<_> = (0..25).rev().map(|number| number.to_string()).collect();
        assert_eq!(all(&audited, &AuditFilter::for_chain(tenant), 4).await, expected);
        // A limit out of range is set to the nearest bound.
        assert_eq!(audited.store.list(&AuditFilter::for_chain(tenant), 0, None).await.unwrap().items.len(), 1);
        for wrong in ["", "x", "W10", "eyJhIjoxfQ"] {
            let error = audited.store.list(&AuditFilter::for_chain(tenant), 4, Some(wrong)).await.unwrap_err();
            assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::Cursor, false), "{wrong}");
        }
    }
}
