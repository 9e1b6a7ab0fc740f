//! Tests of the outbox relay: jobs, events and audit entries written with a tenant's rows.

use std::time::Duration;

use omnistack_core::{
    ShutdownToken,
    audit::{AuditChain, AuditEntry, AuditFilter, AuditLog, AuditStore},
    db::ErrorKind,
    jobs::{EnqueueError, JobFilter, NewJob},
};
use omnistack_testkit::{TestApp, TestDatabase, on_each_database};
use serde_json::json;

use super::{
    count,
    notes::{CountNote, FULL, NoteWritten, Notes, Records},
    second_process, start, tenant_of,
};

/// Returns the outbox of a tenant's database.
async fn outbox(app: &TestApp, tenant: omnistack_core::identity::TenantId) -> Vec<(String, String)> {
    let mut tx = app.db().tenant(tenant).begin_read().await.unwrap();
    tx.query("select kind, content from omni_tenant_outbox order by seq").fetch_all().await.unwrap()
}

on_each_database! {
    /// The process ends right after the commit, before the relay; or right after the relay, before it is acknowledged.
    async fn a_crash_loses_nothing_and_doubles_nothing(database: TestDatabase) {
        let app = start(database).await;
        let ada = app.user();
        let tenant = tenant_of(&ada);
        ada.post(FULL, json!({ "title": "one" })).await.expect(201);
        // No background service of this process runs, as if it had died.
        assert!(app.jobs().list(&JobFilter::default(), None, 10).await.unwrap().is_empty());
        let waiting = outbox(&app, tenant).await;
        assert_eq!(waiting.iter().map(|(kind, _)| kind.as_str()).collect::<Vec<_>>(), ["jobs", "events"]);

        let (second, told) = second_process(&app);
        second.relay_tenant_outboxes().await.unwrap();
        assert_eq!(outbox(&app, tenant).await, []);
        // The relayed rows were not deleted yet.
        let put_back = async || {
            let mut tx = app.db().tenant(tenant).begin().await.unwrap();
            for (kind, content) in &waiting {
                let put = "insert into omni_tenant_outbox (tenant_id, kind, content, created_at) values ($1, $2, $3, $4)";
                let put = tx.query(put).bind(tenant).bind(kind.as_str()).bind(content.as_str());
                put.bind(app.clock().clock().now()).execute().await.unwrap();
            }
            tx.commit().await.unwrap();
        };
        put_back().await;
        assert_eq!(second.runner().run_until_idle().await.unwrap(), 1);
        assert_eq!(second.dispatcher().run_until_idle().await.unwrap(), 1);
        put_back().await;
        assert_eq!(second.runner().run_until_idle().await.unwrap(), 0);
        assert_eq!(second.dispatcher().run_until_idle().await.unwrap(), 0);
        assert_eq!(outbox(&app, tenant).await, []);
        assert_eq!(told.sorted(), ["event one", "job one"]);
        assert_eq!(count(&app, Some(tenant), "told").await, 1);

        let store: AuditStore = app.app().context().get().unwrap();
        assert_eq!(store.verify(tenant).await.unwrap().entries, 1);
        assert_eq!(store.list(&AuditFilter::for_chain(tenant).action("noted"), 10, None).await.unwrap().items.len(), 1);
        assert_eq!(count(&app, None, "omni_audit_entries").await, 0);
        assert_eq!(store.chains().await.unwrap(), [AuditChain::App, AuditChain::Tenant(tenant)]);
    }

    /// The subscriber commits the tenant's rows and dies before the acknowledgement.
    async fn what_is_told_is_written_once(database: TestDatabase) {
        let app = start(database).await;
        let ada = app.user();
        let tenant = tenant_of(&ada);
        ada.post(FULL, json!({ "title": "one" })).await.expect(201);
        assert_eq!(app.run_events().await, 1);
        let mut tx = app.db().begin().await.unwrap();
        for sql in ["update omni_event_deliveries set state = 'waiting', ended_at = null", "delete from omni_event_lanes"] {
            tx.query(sql).execute().await.unwrap();
        }
        tx.query("insert into omni_event_lanes (subscriber, key, run_at) values ('listener', 'all', 0)").execute().await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(app.run_events().await, 1);
        assert_eq!(count(&app, Some(tenant), "told").await, 1);
        // The delivery is acknowledged and not repeated.
        assert_eq!(app.run_events().await, 0);
        let subscribers = app.events().subscribers().await.unwrap();
        assert!(subscribers.iter().all(|subscriber| subscriber.behind_since.is_none()), "{subscribers:?}");
    }

    /// The relay runs right after the commit, long before its periodic run.
    async fn what_is_committed_is_carried_at_once(database: TestDatabase) {
        let told = Records::default();
        let app = TestApp::start(database.with_tenant_databases(), |app| {
            let app = app.with(Notes::new(told.clone())).set("JOBS_POLL", "1h").set("EVENTS_POLL", "1h");
            app.set("TENANT_DATABASE_SWEEP", "1h")
        });
        let app = app.await;
        let (ada, bob) = (app.user(), app.user());
        let ended = ShutdownToken::new();
        let work = async {
            for (client, title) in [(&ada, "one"), (&bob, "two"), (&ada, "three")] {
                client.post(FULL, json!({ "title": title })).await.expect(201);
            }
            // A key that another transaction is publishing with is checked again shortly, by this clock.
            let mut moments = tokio::time::interval(Duration::from_millis(10));
            let time = async {
                loop {
                    moments.tick().await;
                    app.clock().advance(Duration::from_millis(10));
                }
            };
            tokio::select! {
                () = told.wait_for(6) => {}
                () = time => {}
            }
            ended.cancel();
        };
        tokio::join!(app.app().run_workers(ended.clone()), work);
        let all = ["event one", "event three", "event two", "job one", "job three", "job two"];
        assert_eq!(told.sorted(), all);
    }

    async fn mails_go_out(database: TestDatabase) {
        use omnistack_core::email::Email;
        use omnistack_messaging::email::{Mail, Outbox};
        let database = database.with_tenant_databases();
        let app = TestApp::start(database, |app| app.set("EMAIL_FROM", "shop@example.com").with(Mail::default())).await;
        let tenant = tenant_of(&app.user());
        let outbox: Outbox = app.app().context().get().unwrap();
        let mail = Email::to("ada@example.com").subject("Yours").text("It is ready.").for_tenant(tenant);
        for commit in [false, true] {
            let mut tx = app.db().tenant(tenant).begin().await.unwrap();
            let id = outbox.send_in(&mut tx, &mail).await.unwrap();
            if commit { tx.commit().await.unwrap() } else { tx.rollback().await.unwrap() }
            app.run_jobs().await;
            assert_eq!(outbox.get(id).await.unwrap().is_some(), commit);
        }
        assert_eq!(app.sent_mails().iter().count(), 1);
    }

    async fn what_is_rolled_back_is_not_carried(database: TestDatabase) {
        let app = start(database).await;
        let tenant = tenant_of(&app.user());
        let mut tx = app.db().tenant(tenant).begin().await.unwrap();
        app.jobs().enqueue_in(&mut tx, CountNote { title: "never".into() }).await.unwrap();
        app.events().publish_in(&mut tx, &NoteWritten { title: "never".into() }).await.unwrap();
        tx.rollback().await.unwrap();
        assert_eq!((app.run_jobs().await, app.run_events().await), (0, 0));
    }

    /// Events of one key are in the order of their commits, and a unique job is enqueued once while one waits.
    async fn order_and_keys_hold(database: TestDatabase) {
        let told = Records::default();
        let app = TestApp::start(database.with_tenant_databases(), |app| app.with(Notes::new(told.clone()))).await;
        let tenant = tenant_of(&app.user());
        for number in 0..250 {
            let mut tx = app.db().tenant(tenant).begin().await.unwrap();
            let title = format!("{number:03}");
            app.events().publish_in(&mut tx, &NoteWritten { title: title.clone() }).await.unwrap();
            app.jobs().enqueue_in(&mut tx, NewJob::new(CountNote { title }).unique("one")).await.unwrap();
            tx.commit().await.unwrap();
        }
        app.run_events().await;
        // In the order of delivery, because a table has no order.
        let expected: Vec<_> = (0..250).map(|number| format!("event {number:03}")).collect();
        assert_eq!(told.all(), expected);
        assert_eq!(count(&app, Some(tenant), "told").await, 250);
        assert_eq!(app.run_jobs().await, 1);
    }

    async fn what_can_not_be_exact_is_refused(database: TestDatabase) {
        let app = start(database).await;
        let (tenant, other) = (tenant_of(&app.user()), tenant_of(&app.user()));
        let log: AuditLog = app.app().context().get().unwrap();
        let mut tx = app.db().tenant(tenant).begin().await.unwrap();
        let (jobs, count) = (app.jobs(), |title: &str| CountNote { title: title.into() });
        let batch = jobs.enqueue_batch_in(&mut tx, [count("a")], count("b")).await;
        assert!(matches!(batch, Err(EnqueueError::BatchInTenantDatabase)));
        for entry in [AuditEntry::new("app's"), AuditEntry::new("other's").for_tenant(other)] {
            let refused = log.record_in(&mut tx, entry).await.unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::InvalidValue);
            assert!(refused.to_string().contains("db.main()"), "{refused}");
        }
    }

    /// Memberships are in the app's database, and their audit entries are in the tenant's chain.
    async fn what_the_app_records_of_a_tenant_is_in_its_chain(database: TestDatabase) {
        let app = start(database).await;
        let (ada, other) = (app.user(), tenant_of(&app.user()));
        let tenant = tenant_of(&ada);
        let log: AuditLog = app.app().context().get().unwrap();
        let store: AuditStore = app.app().context().get().unwrap();
        let record = async |action: &str| {
            let mut tx = app.db().app_database().all_tenants().begin().await.unwrap();
            log.record_in(&mut tx, AuditEntry::new(action).for_tenant(tenant)).await.unwrap();
            tx.commit().await.unwrap();
        };
        record("member.added").await;
        // Reading the chain creates the tenant's database.
        let read = async || {
            let page = store.list(&AuditFilter::for_chain(tenant), 10, None).await.unwrap();
            let mut actions: Vec<_> = page.items.into_iter().map(|entry| (entry.sequence, entry.action)).collect();
            actions.sort();
            actions.into_iter().map(|(_, action)| action).collect::<Vec<_>>()
        };
        assert_eq!(read().await, ["member.added"]);
        ada.post(FULL, json!({ "title": "one" })).await.expect(201);
        record("member.left").await;
        assert_eq!(read().await, ["member.added", "noted", "member.left"]);
        assert_eq!(store.verify(tenant).await.unwrap().entries, 3);
        record("member.back").await;
        app.app().relay_tenant_outboxes().await.unwrap();
        assert_eq!(count(&app, None, "omni_tenant_outbox").await, 0);
        assert_eq!(store.verify(tenant).await.unwrap().entries, 4);
        // Verifying a tenant that never existed creates no database.
        assert_eq!(store.verify(other).await.unwrap().entries, 0);
        assert_eq!(app.db().tenant_databases().unwrap().all().await.unwrap(), [tenant]);
    }
}
