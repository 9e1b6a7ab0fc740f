//! Tests of the audit log's HTTP routes.

use omnistack_core::audit::{AuditApi, AuditEntry, AuditLog};
use omnistack_testkit::{TestApp, TestDatabase, on_each_database};

use super::tenant;

on_each_database! {
    async fn operators_list_entries(database: TestDatabase) {
        let app = TestApp::start(database, |app| app.with(AuditApi)).await;
        let (log, tenant): (AuditLog, _) = (app.app().context().get().unwrap(), tenant());
        let admin = app.operator();
        for (number, of) in [(1, Some(tenant)), (2, None), (3, Some(tenant))] {
            let mut entry = AuditEntry::new("thing.done").actor(admin.identity().unwrap()).resource("thing", number);
            entry.tenant = of;
            app.clock().advance(std::time::Duration::from_secs(60));
            let mut tx = app.db().begin().await.unwrap();
            log.record_in(&mut tx, entry).await.unwrap();
            tx.commit().await.unwrap();
        }
        let actor = admin.identity().unwrap().user;
        for (query, expected) in [
            (String::new(), &[3, 2, 1][..]),
            (format!("tenant={tenant}"), &[3, 1]),
            ("tenant=app".into(), &[2]),
            (format!("actor={actor}&action=thing."), &[3, 2, 1]),
            ("action=other".into(), &[]),
            ("resource=thing:2".into(), &[2]),
            ("since=2030-01-01T00:02:00Z".into(), &[3, 2]),
            ("until=2030-01-01T00:02:00Z".into(), &[1]),
        ] {
            let page = admin.get(format!("/api/v1/admin/audit?{query}")).await.expect(200).json();
            let found: Vec<_> = page["items"].as_array().unwrap().iter().map(|item| item["resource"].clone()).collect();
            assert_eq!(found, expected.iter().map(|number| format!("thing:{number}")).collect::<Vec<_>>(), "{query}");
        }
        let first = admin.get("/api/v1/admin/audit?limit=2").await.expect(200).json();
        let cursor = first["next_cursor"].as_str().unwrap();
        let second = admin.get(format!("/api/v1/admin/audit?limit=2&cursor={cursor}")).await.expect(200).json();
        assert_eq!((second["items"].as_array().unwrap().len(), second.get("next_cursor")), (1, None));
        assert_eq!((&second["items"][0]["sequence"], second["items"][0]["hash"].as_str().unwrap().len()), (&1.into(), 64));
        for query in ["tenant=x", "actor=x", "since=yesterday", "limit=0", "limit=101", "cursor=x", "page=1", "q=x"] {
            let field = query.split('=').next().unwrap();
            let refused = admin.get(format!("/api/v1/admin/audit?{query}")).await.expect(422).json();
            assert_eq!(refused["error"]["details"]["fields"][0]["field"], field, "{refused}");
        }
        app.user().get("/api/v1/admin/audit").await.expect(403);
        app.anonymous().get("/api/v1/admin/audit").await.expect(401);
    }
}
