//! Tests of the export of audit chains and its verification without the database.

use std::time::Duration;

use futures_util::{StreamExt as _, TryStreamExt as _};
use omnistack_core::audit::{AuditChain, ChainBreakKind, Error, ErrorKind, verify_export};
use omnistack_testkit::{TestDatabase, on_each_database};
use serde_json::Value;

use super::{Audited, broken, tenant};

/// An export that another program created from the format's description in the book. The format must stay readable.
#[rustfmt::skip]
const BY_THE_BOOK: [&str; 4] = [
    r#"{"type": "chain", "version": 1, "tenant": "01941f29-7c00-7000-8000-000000000001", "after": {"sequence": 0, "hash": "0000000000000000000000000000000000000000000000000000000000000000"}}"#,
    r#"{"type": "entry", "sequence": 1, "id": "01941f29-7c00-7000-8000-000000000011", "at": "2030-01-01T00:00:00.000001Z", "actor": "01941f29-7c00-7000-8000-000000000002", "action": "project.deleted", "resource": "project:17", "details": "{\"name\":\"Apollo – é\"}", "previous": "0000000000000000000000000000000000000000000000000000000000000000", "hash": "4a883e9f70a69ceb48ff349ede170e255a3cf87694ce634c017db940a84f746e"}"#,
    r#"{"type": "entry", "sequence": 2, "id": "01941f29-7c00-7000-8000-000000000012", "at": "2030-01-01T00:00:01Z", "actor": null, "action": "plan.changed", "resource": null, "details": null, "previous": "4a883e9f70a69ceb48ff349ede170e255a3cf87694ce634c017db940a84f746e", "hash": "1ab940e64de9fc57c26fb4344990f8bfba14fa1d7df0f4bee7de1e06ad393170"}"#,
    r#"{"type": "head", "sequence": 2, "hash": "1ab940e64de9fc57c26fb4344990f8bfba14fa1d7df0f4bee7de1e06ad393170"}"#,
];

#[test]
fn an_export_made_by_the_book_is_whole() {
    let verified = verify_export(BY_THE_BOOK).unwrap();
    assert_eq!((verified.entries, verified.head.sequence), (2, 2));
    for (from, to) in [("17", "18"), ("–", "-"), ("000001Z", "000002Z"), ("null", "\"\"")] {
        let changed = BY_THE_BOOK.map(|line| if line.contains("entry") { line.replace(from, to) } else { line.into() });
        verify_export(changed).unwrap_err();
    }
}

async fn export(audited: &Audited, chain: impl Into<AuditChain>) -> Vec<String> {
    audited.store.export(chain).try_collect().await.unwrap()
}

on_each_database! {
    async fn an_export_is_checked_offline(database: TestDatabase) {
        let audited = Audited::start(database).await;
        let tenant = audited.tenant(5).await;
        let lines = export(&audited, tenant).await;
        assert!(lines.len() == 7 && lines.iter().all(|line| line.ends_with('\n') && line.matches('\n').count() == 1));
        let verified = verify_export(&lines).unwrap();
        assert_eq!(verified, audited.store.verify(tenant).await.unwrap());
        assert_eq!(verify_export(lines.concat().lines()).unwrap(), verified, "as the lines of a file");
        let entry: Value = serde_json::from_str(&lines[3]).unwrap();
        assert_eq!((&entry["sequence"], &entry["action"]), (&3.into(), &"thing.done3".into()));

        // Each line is removed, doubled, or moved after the next.
        for index in 0..lines.len() {
            let mut changed = lines.clone();
            changed.remove(index);
            verify_export(&changed).unwrap_err();
            changed = lines.clone();
            changed.insert(index, lines[index].clone());
            verify_export(&changed).unwrap_err();
            changed = lines.clone();
            changed.swap(index, (index + 1) % lines.len());
            verify_export(&changed).unwrap_err();
        }
        // Each value of each line is changed.
        for (index, line) in lines.iter().enumerate() {
            let Value::Object(fields) = serde_json::from_str(line).unwrap() else { panic!("{line}") };
            for (name, value) in &fields {
                let others: Vec<Value> = match value {
                    Value::Number(number) => vec![(number.as_i64().unwrap() + 1).into(), Value::Null],
                    Value::String(text) if name == "at" => vec![text.replace("2030", "2031").into()],
                    Value::String(text) => {
                        let flipped = if text.ends_with('0') { "1" } else { "0" };
                        vec![format!("{}{flipped}", &text[..text.len() - 1]).into(), Value::Null]
                    }
                    _ => vec![Value::Null, "x".into()],
                };
                for other in others {
                    let mut fields = fields.clone();
                    fields.insert(name.clone(), other);
                    let mut changed = lines.clone();
                    changed[index] = Value::Object(fields).to_string();
                    assert!(verify_export(&changed).is_err(), "{name} of {line}");
                }
            }
            let mut fields = fields.clone();
            fields.insert("more".into(), true.into());
            let mut changed = lines.clone();
            changed[index] = Value::Object(fields).to_string();
            assert!(verify_export(&changed).is_err(), "{line}");
        }
        let mut renamed = lines.clone();
        renamed[2] = renamed[2].replace("thing.done2", "thing.done3");
        assert_eq!(broken(verify_export(&renamed), tenant), (2, ChainBreakKind::Changed));
        let mut cut = lines.clone();
        cut.drain(4..6);
        assert_eq!(broken(verify_export(&cut), tenant), (4, ChainBreakKind::Truncated));
        let error = verify_export(&lines[..6]).unwrap_err();
        assert_eq!(error.to_string(), "line 7 of the export is missing: it contains the head");
    }

    async fn long_empty_and_retained_chains_are_exported(database: TestDatabase) {
        let audited = Audited::start(database).await;
        assert_eq!(verify_export(export(&audited, tenant()).await).unwrap().entries, 0);
        assert_eq!(verify_export(export(&audited, AuditChain::App).await).unwrap().entries, 0);

        let tenant = tenant();
        let mut tx = audited.db().tenant(tenant).begin().await.unwrap();
        for number in 0..1_200 {
            let entry = omnistack_core::audit::AuditEntry::new(format!("{number}")).for_tenant(tenant);
            audited.log.record_in(&mut tx, entry).await.unwrap();
        }
        tx.commit().await.unwrap();
        assert_eq!(verify_export(export(&audited, tenant).await).unwrap().entries, 1_200);
        assert_eq!(audited.store.verify(tenant).await.unwrap().entries, 1_200);

        // Entries recorded during the export are not in it. Entries deleted during the export make it fail.
        let mut running = Box::pin(audited.store.export(tenant));
        let mut lines = vec![running.next().await.unwrap().unwrap()];
        audited.add(tenant, 3).await;
        lines.extend(running.try_collect::<Vec<_>>().await.unwrap());
        assert_eq!(verify_export(lines).unwrap().entries, 1_200);
        let mut running = Box::pin(audited.store.export(tenant));
        running.next().await.unwrap().unwrap();
        audited.app.clock().advance(Duration::from_secs(1));
        let now = audited.app.clock().clock().now();
        assert_eq!(audited.store.delete_before(now).await.unwrap(), 1_203);
        let error = running.try_collect::<Vec<_>>().await.unwrap_err();
        assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::Retained, true));
        assert!(matches!(error, Error::DeletedDuringExport(chain) if chain == tenant.into()));

        audited.add(tenant, 3).await;
        let lines = export(&audited, tenant).await;
        assert_eq!(verify_export(&lines).unwrap().entries, 4);
        // Without the entry that records the deletion of older entries.
        let unexplained: Vec<_> = lines.iter().filter(|line| !line.contains("audit.entries_deleted")).collect();
        verify_export(unexplained).unwrap_err();
    }
}
