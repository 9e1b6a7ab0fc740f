//! Tests of deliveries to the subscribers of one app.

use std::time::Duration;

use omnistack_core::{
    db::{Db, Tx},
    events::{DeliveryFilter, DeliveryState, Events, PublishError},
    id::Id,
    identity::TenantId,
    jobs::JobError,
    trace::{TraceContext, with_trace},
};
use omnistack_testkit::on_each_database;
use uuid::Uuid;

use super::*;

async fn count(app: &TestApp, table: &str) -> i64 {
    let sql = sqlx::AssertSqlSafe(format!("select count(*) from {table}"));
    app.db().query(sql).fetch_one::<(i64,)>().await.unwrap().0
}

/// The tenant and trace of each delivery, and whether its transaction is bound to this tenant.
type Seen = Arc<Mutex<Vec<(Option<TenantId>, Option<String>, bool)>>>;

struct Seeing(Seen);

#[async_trait]
impl Subscriber for Seeing {
    type Event = NoteEvent;

    async fn handle(&self, _: NoteEvent, delivery: &mut Delivery) -> Result<(), JobError> {
        let tenant = delivery.tenant();
        let trace = delivery.trace().map(|trace| trace.trace_id().to_owned());
        let same = delivery.tx().await?.tenant() == tenant;
        self.0.lock().unwrap().push((tenant, trace, same));
        Ok(())
    }
}

struct Seer(Seen);

impl Module for Seer {
    fn name(&self) -> &'static str {
        "seer"
    }
    fn register(&self, registry: &mut Registry) {
        let seen = Arc::clone(&self.0);
        registry.subscribe("see", move |_| Ok(Seeing(seen)));
    }
}

/// A subscriber that rolls back what it has written, and records that in another transaction.
struct RollingBack {
    db: Db,
    events: Events,
}

async fn write(tx: &mut Tx, key: &str, text: &str, sequence: i64) -> Result<(), omnistack_core::db::Error> {
    let sql = "insert into written (subscriber, key, text, sequence) values ('rolled back', $1, $2, $3)";
    tx.query(sql).bind(key.to_owned()).bind(text.to_owned()).bind(sequence).execute().await.map(drop)
}

#[async_trait]
impl Subscriber for RollingBack {
    type Event = NoteEvent;

    async fn handle(&self, event: NoteEvent, delivery: &mut Delivery) -> Result<(), JobError> {
        let NoteEvent { key, text } = event;
        if text == "skipped" {
            self.events.skip(&DeliveryFilter::default().id(delivery.id())).await?;
        } else {
            write(delivery.tx().await?, &key, "undone", 1).await?;
        }
        delivery.rollback().await?;
        let mut tx = self.db.begin().await?;
        write(&mut tx, &key, "recorded", 2).await?;
        tx.commit().await?;
        if text == "bad" {
            return Err(JobError::fatal("it is bad"));
        }
        write(delivery.tx().await?, &key, "written afterwards", 3).await?;
        Ok(())
    }
}

struct RollingBackModule;

impl Module for RollingBackModule {
    fn name(&self) -> &'static str {
        "rolling-back"
    }

    fn register(&self, registry: &mut Registry) {
        registry.subscribe("roll_back", |ctx| Ok(RollingBack { db: ctx.get()?, events: ctx.get()? }));
    }
}

on_each_database! {
    async fn an_event_is_told_exactly_when_its_transaction_commits(database: TestDatabase) {
        let (one, other) = (Writer::new("one"), Writer::new("other"));
        let app = start(database, |app| app.with(one.clone()).with(other.clone())).await;
        let events = app.events();
        let mut tx = app.db().begin().await.unwrap();
        events.publish_in(&mut tx, &NoteEvent::new("k", "never")).await.unwrap();
        tx.rollback().await.unwrap();
        assert_eq!(app.run_events().await, 0);
        let mut tx = app.db().begin().await.unwrap();
        let id = events.publish_in(&mut tx, &NoteEvent::new("k", "first")).await.unwrap();
        if app.database().url().starts_with("postgres") {
            assert_eq!(app.run_events().await, 0, "not committed");
        }
        tx.commit().await.unwrap();
        events.publish(&NoteEvent::new("k", "second")).await.unwrap();
        assert_eq!(app.run_events().await, 4);
        for writer in [&one, &other] {
            assert_eq!(writer.take_texts(), ["first", "second"]);
            assert_eq!(written(&app, writer.name, "k").await, ["first", "second"]);
        }
        let done = events.deliveries(&DeliveryFilter::default().id(id), None, 10).await.unwrap();
        assert_eq!(done.len(), 2);
        assert!(done.iter().all(|delivery| delivery.state == DeliveryState::Done && delivery.attempt == 1));
        assert_eq!(app.run_events().await, 0);
        assert_eq!(count(&app, "omni_event_lanes").await, 0);
    }

    async fn an_event_nobody_subscribes_to_is_not_stored(database: TestDatabase) {
        let app = start(database, |app| app).await;
        app.events().publish(&NoteEvent::new("k", "unheard")).await.unwrap();
        assert_eq!(count(&app, "omni_events").await, 0);
    }

    async fn an_event_belongs_to_the_tenant_of_its_transaction(database: TestDatabase) {
        let seen = Seen::default();
        let app = start(database, |app| app.with(Seer(Arc::clone(&seen)))).await;
        let tenant = Id::from_uuid(Uuid::new_v4());
        let mut tx = app.db().tenant(tenant).begin().await.unwrap();
        let (events, noted) = (app.events(), NoteEvent::new("k", "theirs"));
        with_trace(TraceContext::new(TRACE), events.publish_in(&mut tx, &noted)).await.unwrap();
        tx.commit().await.unwrap();
        app.events().publish(&NoteEvent::new("k", "nobody's")).await.unwrap();
        app.run_events().await;
        assert_eq!(*seen.lock().unwrap(), [(Some(tenant), Some(TRACE[3..35].into()), true), (None, None, true)]);
    }

    async fn a_subscriber_can_roll_back_and_record_its_error_elsewhere(database: TestDatabase) {
        let app = start(database, |app| app.with(RollingBackModule)).await;
        for text in ["good", "bad"] {
            app.events().publish(&NoteEvent::new(text, text)).await.unwrap();
        }
        app.run_events().await;
        assert_eq!(written(&app, "rolled back", "good").await, ["recorded", "written afterwards"]);
        assert_eq!(written(&app, "rolled back", "bad").await, ["recorded"]);
        let deliveries = app.events().deliveries(&DeliveryFilter::subscriber("roll_back"), None, 10).await.unwrap();
        let state = |key: &str| deliveries.iter().find(|delivery| delivery.key == key).unwrap().state;
        assert_eq!((state("good"), state("bad")), (DeliveryState::Done, DeliveryState::Dead));
    }

    async fn what_was_taken_over_can_not_be_rolled_back(database: TestDatabase) {
        let app = start(database, |app| app.with(RollingBackModule)).await;
        let id = app.events().publish(&NoteEvent::new("skipped", "skipped")).await.unwrap();
        app.run_events().await;
        assert_eq!(written(&app, "rolled back", "skipped").await, [""; 0]);
        let found = app.events().deliveries(&DeliveryFilter::default().id(id), None, 10).await.unwrap();
        assert_eq!(found[0].state, DeliveryState::Skipped);
    }

    async fn a_failure_holds_back_its_key_alone(database: TestDatabase) {
        let failing = Writer::with_decision("failing", |text, attempt| match text {
            "bad" if attempt < 3 => Err(JobError::retry("no luck")),
            _ => Ok(()),
        });
        let fine = Writer::new("fine");
        let app = start(database, |app| app.with(failing.clone()).with(fine.clone())).await;
        for (key, text) in [("a", "bad"), ("a", "after"), ("b", "good")] {
            app.events().publish(&NoteEvent::new(key, text)).await.unwrap();
        }
        assert_eq!(app.run_events().await, 5);
        assert_eq!(fine.take_texts().len(), 3);
        let mut told = failing.take_texts();
        told.sort_unstable();
        assert_eq!(told, ["bad", "good"]);
        assert_eq!(written(&app, "failing", "a").await, [""; 0], "what a failed attempt wrote is not there");
        let waiting = app.events().deliveries(&DeliveryFilter::subscriber("failing").key("a"), None, 10).await.unwrap();
        assert_eq!(waiting[1].error.as_deref(), Some("no luck"));
        // The delays are ten and then twenty seconds, with a jitter of a fifth.
        for (pause, attempts) in [(7, 0), (5, 1), (15, 0), (9, 2)] {
            app.clock().advance(Duration::from_secs(pause));
            assert_eq!(app.run_events().await, attempts, "{pause}");
        }
        assert_eq!(written(&app, "failing", "a").await, ["bad", "after"]);
    }

    async fn each_way_to_fail_is_stored(database: TestDatabase) {
        struct Hang;
        #[async_trait]
        impl Subscriber for Hang {
            type Event = NoteEvent;
            // Longer than it takes a database to begin a transaction. If the transaction can't begin, no attempt is
            // counted.
            const TIMEOUT: Duration = Duration::from_secs(2);
            const MAX_ATTEMPTS: u32 = 1;
            async fn handle(&self, event: NoteEvent, delivery: &mut Delivery) -> Result<(), JobError> {
                let tx = delivery.tx().await?;
                let write = "insert into written (subscriber, key, text) values ('hang', 'k', $1)";
                tx.query(write).bind(event.text.clone()).execute().await?;
                match event.text.as_str() {
                    "hang" => std::future::pending().await,
                    "panic" => panic!("no manners"),
                    "snooze" => Err(JobError::snooze(Duration::from_secs(60))),
                    _ => Err(JobError::fatal("no hope: \0")),
                }
            }
        }
        struct Hanging;
        impl Module for Hanging {
            fn name(&self) -> &'static str {
                "hanging"
            }
            fn register(&self, registry: &mut Registry) {
                registry.subscribe("hang", |_| Ok(Hang));
            }
        }
        let app = start(database, |app| app.with(Hanging)).await;
        let ways = [
            ("hang", DeliveryState::Dead, 1, Some("took longer than 2s")),
            ("panic", DeliveryState::Dead, 1, Some("panicked: no manners")),
            ("snooze", DeliveryState::Waiting, 0, None),
            ("fatal", DeliveryState::Dead, 1, Some("no hope: \u{fffd}")),
        ];
        for (how, state, attempt, error) in ways {
            app.events().publish(&NoteEvent::new(how, how)).await.unwrap();
            assert_eq!(app.run_events().await, 1);
            let found = app.events().deliveries(&DeliveryFilter::default().key(how), None, 1).await.unwrap();
            assert_eq!((found[0].state, found[0].attempt, found[0].error.as_deref()), (state, attempt, error), "{how}");
        }
        assert_eq!(count(&app, "written").await, 0);
        app.clock().advance(Duration::from_secs(60));
        assert_eq!(app.run_events().await, 1, "the one that snoozed");
    }

    async fn what_all_are_done_with_is_forgotten(database: TestDatabase) {
        let failing = Writer::with_decision("failing", |text, _| if text == "bad" { Err(JobError::fatal("no")) } else { Ok(()) });
        let app = start(database, |app| app.with(failing).with(Writer::new("fine"))).await;
        let mut tx = app.db().begin().await.unwrap();
        let many: Vec<_> = (0..1200).map(|n| NoteEvent::new("many", n.to_string())).collect();
        app.events().publish_all_in(&mut tx, &many).await.unwrap();
        app.events().publish_in(&mut tx, &NoteEvent::new("bad", "bad")).await.unwrap();
        tx.commit().await.unwrap();
        app.db().query("update omni_event_deliveries set state = 'done', ended_at = $1 where key = 'many'")
            .bind(app.clock().clock().now().as_micros()).execute().await.unwrap();
        app.run_events().await;
        app.clock().advance(Duration::from_secs(24 * 60 * 60));
        assert_eq!(app.app().dispatcher().purge().await.unwrap(), 0);
        app.clock().advance(Duration::from_secs(1));
        assert_eq!(app.app().dispatcher().purge().await.unwrap(), 2401);
        assert_eq!((count(&app, "omni_events").await, count(&app, "omni_event_deliveries").await), (1, 1));
        assert_eq!(app.events().skip(&DeliveryFilter::default()).await.unwrap(), 1);
        app.clock().advance(Duration::from_secs(24 * 60 * 60 + 1));
        assert_eq!(app.app().dispatcher().purge().await.unwrap(), 1);
        assert_eq!((count(&app, "omni_events").await, count(&app, "omni_event_deliveries").await), (0, 0));
    }

    async fn what_is_too_large_is_refused(database: TestDatabase) {
        let app = start(database, |app| app.with(Writer::new("w"))).await;
        let large = app.events().publish(&NoteEvent::new("k", "x".repeat(300_000))).await;
        assert!(matches!(large, Err(PublishError::TooLarge { name: "noted", bytes }) if bytes > 300_000));
        let long = app.events().publish(&NoteEvent::new(&"k".repeat(501), "")).await;
        assert!(matches!(long, Err(PublishError::KeyTooLong { bytes: 501, .. })));
        assert!(app.events().publish(&NoteEvent::new("\0", "")).await.is_err() || app.database().url().starts_with("sqlite"));
        app.events().publish(&NoteEvent::new("k", "a NUL: \0")).await.unwrap();
        app.run_events().await;
    }

    async fn listeners_are_told_after_the_commit(database: TestDatabase) {
        let app = start(database, |app| app).await;
        let events: Events = app.events();
        let mut heard = events.subscribe::<NoteEvent>();
        let mut tx = app.db().begin().await.unwrap();
        events.publish_in(&mut tx, &NoteEvent::new("k", "never")).await.unwrap();
        tx.rollback().await.unwrap();
        let mut tx = app.db().begin().await.unwrap();
        events.publish_in(&mut tx, &NoteEvent::new("k", "heard")).await.unwrap();
        assert!(heard.try_recv().is_err());
        tx.commit().await.unwrap();
        assert_eq!(heard.try_recv().unwrap().text, "heard");
    }
}
