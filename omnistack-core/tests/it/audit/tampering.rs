//! Tests that tampering with the tables is detected.

use omnistack_core::{
    audit::{AuditChain, ChainBreakKind},
    db::Dialect,
};
use omnistack_testkit::{TestDatabase, on_each_database};

use super::{Audited, broken};

/// The statements run on a chain of five entries, and the number and kind of the break they cause.
const CASES: &[(&[&str], i64, ChainBreakKind)] = &[
    // A column is changed.
    (&["update omni_audit_entries set tenant_id = id where tenant_id = $1 and sequence = 3"], 3, ChainBreakKind::Gap),
    (&["update omni_audit_entries set sequence = 99 where tenant_id = $1 and sequence = 3"], 3, ChainBreakKind::Gap),
    (&["update omni_audit_entries set id = tenant_id where tenant_id = $1 and sequence = 3"], 3, ChainBreakKind::Changed),
    (
        &["update omni_audit_entries set at = (select other.at from omni_audit_entries as other where other.tenant_id = $1
           and other.sequence = 1) where tenant_id = $1 and sequence = 3"],
        3,
        ChainBreakKind::Changed,
    ),
    (&["update omni_audit_entries set actor = id where tenant_id = $1 and sequence = 3"], 3, ChainBreakKind::Changed),
    (&["update omni_audit_entries set actor = null where tenant_id = $1 and sequence = 3"], 3, ChainBreakKind::Changed),
    (
        &["update omni_audit_entries set action = 'thing.donE3' where tenant_id = $1 and sequence = 3"],
        3,
        ChainBreakKind::Changed,
    ),
    (&["update omni_audit_entries set action = '' where tenant_id = $1 and sequence = 5"], 5, ChainBreakKind::Changed),
    (
        &["update omni_audit_entries set resource = 'thing:4' where tenant_id = $1 and sequence = 3"],
        3,
        ChainBreakKind::Changed,
    ),
    (&["update omni_audit_entries set resource = null where tenant_id = $1 and sequence = 3"], 3, ChainBreakKind::Changed),
    (&["update omni_audit_entries set details = null where tenant_id = $1 and sequence = 1"], 1, ChainBreakKind::Changed),
    (
        &["update omni_audit_entries set details = ' ' || details where tenant_id = $1 and sequence = 3"],
        3,
        ChainBreakKind::Changed,
    ),
    (
        &["update omni_audit_entries set details = 'no JSON' where tenant_id = $1 and sequence = 3"],
        3,
        ChainBreakKind::Changed,
    ),
    (&["update omni_audit_entries set previous = hash where tenant_id = $1 and sequence = 3"], 3, ChainBreakKind::Previous),
    (&["update omni_audit_entries set hash = previous where tenant_id = $1 and sequence = 3"], 3, ChainBreakKind::Changed),
    // A value is moved from one column to the next.
    (
        &["update omni_audit_entries set action = action || resource, resource = '' where tenant_id = $1 and sequence = 3"],
        3,
        ChainBreakKind::Changed,
    ),
    // An entry is removed.
    (&["delete from omni_audit_entries where tenant_id = $1 and sequence = 1"], 1, ChainBreakKind::Gap),
    (&["delete from omni_audit_entries where tenant_id = $1 and sequence = 3"], 3, ChainBreakKind::Gap),
    (&["delete from omni_audit_entries where tenant_id = $1 and sequence in (2, 3)"], 2, ChainBreakKind::Gap),
    (&["delete from omni_audit_entries where tenant_id = $1 and sequence = 5"], 5, ChainBreakKind::Truncated),
    (&["delete from omni_audit_entries where tenant_id = $1 and sequence > 2"], 3, ChainBreakKind::Truncated),
    (&["delete from omni_audit_entries where tenant_id = $1"], 1, ChainBreakKind::Truncated),
    // An entry is removed and the later ones are renumbered.
    (
        &[
            "delete from omni_audit_entries where tenant_id = $1 and sequence = 3",
            "update omni_audit_entries set sequence = 3 where tenant_id = $1 and sequence = 4",
            "update omni_audit_entries set sequence = 4 where tenant_id = $1 and sequence = 5",
        ],
        3,
        ChainBreakKind::Previous,
    ),
    // Entries are reordered.
    (
        &[
            "update omni_audit_entries set sequence = 9 where tenant_id = $1 and sequence = 2",
            "update omni_audit_entries set sequence = 2 where tenant_id = $1 and sequence = 3",
            "update omni_audit_entries set sequence = 3 where tenant_id = $1 and sequence = 9",
        ],
        2,
        ChainBreakKind::Previous,
    ),
    // An entry is added.
    (
        &["insert into omni_audit_entries (tenant_id, sequence, id, at, action, previous, hash)
           select tenant_id, 6, tenant_id, at, action, hash, hash from omni_audit_entries
           where tenant_id = $1 and sequence = 5"],
        6,
        ChainBreakKind::Changed,
    ),
    // The chain head is changed.
    (&["delete from omni_audit_chains where tenant_id = $1"], 1, ChainBreakKind::Head),
    (&["update omni_audit_chains set hash = previous where tenant_id = $1"], 5, ChainBreakKind::Head),
    (&["update omni_audit_chains set sequence = 4, hash = previous where tenant_id = $1"], 5, ChainBreakKind::Unexpected),
    (&["update omni_audit_chains set sequence = 6 where tenant_id = $1"], 6, ChainBreakKind::Truncated),
    // A checkpoint is forged.
    (&["update omni_audit_chains set checkpoint = 2 where tenant_id = $1"], 1, ChainBreakKind::Unexpected),
    (
        &[
            "update omni_audit_chains set checkpoint = 2, checkpoint_hash = (select hash from omni_audit_entries
             where omni_audit_entries.tenant_id = $1 and omni_audit_entries.sequence = 2) where tenant_id = $1",
            "delete from omni_audit_entries where tenant_id = $1 and sequence <= 2",
        ],
        2,
        ChainBreakKind::Checkpoint,
    ),
];

/// `replace` statements, which only `SQLite` has. They fire no trigger for the replaced row.
const REPLACING: &[&str] = &[
    "insert or replace into omni_audit_entries select tenant_id, sequence, id, at, actor, 'x', resource, details, previous, hash
     from omni_audit_entries where tenant_id = $1 and sequence = 2",
    "replace into omni_audit_entries select * from omni_audit_entries where tenant_id = $1 and sequence = 3",
    "update or replace omni_audit_entries set sequence = 2 where tenant_id = $1 and sequence = 1",
    "insert or replace into omni_audit_chains select tenant_id, 1, previous, hash, 0, checkpoint_hash from omni_audit_chains
     where tenant_id = $1",
    "update or replace omni_audit_chains set tenant_id = $1 where tenant_id = zeroblob(16)",
];

on_each_database! {
    async fn whatever_is_changed_is_found(database: TestDatabase) {
        let audited = Audited::start(database).await;
        let untouched = audited.tenant(5).await;
        for (statements, sequence, why) in CASES {
            let tenant = audited.tenant(5).await;
            assert_eq!(audited.store.verify(tenant).await.unwrap().entries, 5);
            audited.tamper(tenant, statements).await;
            assert_eq!(broken(audited.store.verify(tenant).await, tenant), (*sequence, *why), "{statements:?}");
        }
        assert_eq!(audited.store.verify(untouched).await.unwrap().entries, 5);
    }

    async fn a_value_that_cannot_be_read_is_found(database: TestDatabase) {
        let audited = Audited::start(database).await;
        let moment = match audited.db().dialect() {
            Dialect::Postgres => "update omni_audit_entries set at = 'infinity' where tenant_id = $1 and sequence = 3",
            Dialect::Sqlite => "update omni_audit_entries set at = 'yesterday' where tenant_id = $1 and sequence = 3",
        };
        let tenant = audited.tenant(5).await;
        audited.tamper(tenant, &[moment]).await;
        let (sequence, why) = broken(audited.store.verify(tenant).await, tenant);
        assert!(sequence == 3 && matches!(why, ChainBreakKind::Unreadable | ChainBreakKind::Changed), "{sequence} {why:?}");
        // The first break is reported.
        audited.tamper(tenant, &["update omni_audit_entries set resource = null where tenant_id = $1 and sequence = 2"]).await;
        assert_eq!(broken(audited.store.verify(tenant).await, tenant), (2, ChainBreakKind::Changed));
    }

    async fn a_chain_that_was_rewritten_is_known_by_a_head_kept_elsewhere(database: TestDatabase) {
        let audited = Audited::start(database).await;
        let tenant = audited.tenant(5).await;
        let kept = audited.store.head(tenant).await.unwrap().unwrap();
        assert_eq!(audited.store.verify(tenant).await.unwrap().head, kept);
        assert_eq!(audited.store.get(tenant, 5).await.unwrap().unwrap().hash, kept.hash);
        let back = ["delete from omni_audit_entries where tenant_id = $1", "delete from omni_audit_chains where tenant_id = $1"];
        audited.tamper(tenant, &back).await;
        audited.add(tenant, 6).await;
        assert_eq!(audited.store.verify(tenant).await.unwrap().entries, 6, "whole in itself");
        assert_ne!(audited.store.get(tenant, 5).await.unwrap().unwrap().hash, kept.hash);
    }

    async fn a_log_without_any_chain_does_not_verify(database: TestDatabase) {
        let audited = Audited::start(database).await;
        assert_eq!(audited.store.chains().await.unwrap(), [AuditChain::App]);
        assert_eq!(audited.store.verify(AuditChain::App).await.unwrap().entries, 0, "nothing was recorded yet");
        assert_eq!(audited.store.head(AuditChain::App).await.unwrap(), None);
        let tenant = audited.tenant(2).await;
        let emptied = ["delete from omni_audit_entries where tenant_id = $1", "delete from omni_audit_chains where $1 is not null"];
        audited.tamper(tenant, &emptied).await;
        assert_eq!(audited.store.chains().await.unwrap(), [AuditChain::App]);
        assert_eq!(broken(audited.store.verify(AuditChain::App).await, AuditChain::App), (1, ChainBreakKind::Head));
        let state = audited.store.chain_state(AuditChain::App).await.unwrap();
        assert!(!state.intact && state.problem.unwrap().contains("missing"));
    }

    async fn the_database_refuses_to_change_entries(database: TestDatabase) {
        let audited = Audited::start(database).await;
        let tenant = audited.tenant(3).await;
        for sql in [
            "update omni_audit_entries set action = 'x' where tenant_id = $1",
            "delete from omni_audit_entries where tenant_id = $1",
            "delete from omni_audit_chains where tenant_id = $1",
            "update omni_audit_chains set sequence = 1 where tenant_id = $1",
            "insert into omni_audit_entries select * from omni_audit_entries where tenant_id = $1 and sequence = 2
             on conflict (tenant_id, sequence) do update set action = 'x'",
        ]
        .into_iter()
        .chain(if audited.db().dialect() == Dialect::Sqlite { REPLACING } else { &[] }.iter().copied())
        {
            for all in [false, true] {
                let mut tx = if all {
                    audited.db().all_tenants().begin().await.unwrap()
                } else {
                    audited.db().tenant(tenant).begin().await.unwrap()
                };
                let refused = tx.query(sql).bind(tenant).execute().await.unwrap_err();
                assert!(refused.to_string().contains("audit entries are only ever added"), "{sql}: {refused}");
            }
        }
        assert_eq!(audited.store.verify(tenant).await.unwrap().entries, 3);
    }
}
