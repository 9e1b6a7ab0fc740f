//! Tests of several publishers and dispatchers on one database.

use omnistack_core::{
    ShutdownToken,
    app::App,
    clock::{Clock, MockClock, Timestamp},
    events::{DeliveryFilter, DeliveryState, Dispatcher, Events},
};
use omnistack_testkit::on_each_database;
use tokio::{sync::Notify, task::JoinHandle};

use super::*;

/// Starts one of several apps on a database.
async fn replica(database: &TestDatabase, clock: Clock, module: impl Module, settings: &[(&str, &str)]) -> App {
    let builder = App::builder(database.config()).clock(clock).with(Table).with(module);
    let app = settings.iter().fold(builder, |app, (name, value)| app.set(*name, *value)).build().unwrap();
    app.migrate().await.unwrap();
    app
}

fn deliver(dispatcher: &Dispatcher) -> (ShutdownToken, JoinHandle<()>) {
    let (dispatcher, shutdown) = (dispatcher.clone(), ShutdownToken::new());
    let asked = shutdown.clone();
    (shutdown, tokio::spawn(async move { dispatcher.run(asked).await.unwrap() }))
}

async fn end((shutdown, running): (ShutdownToken, JoinHandle<()>)) {
    shutdown.cancel();
    expect_soon("the end of a dispatcher", running).await.unwrap();
}

async fn until(what: &str, app: &App, sql: &'static str, count: i64) {
    let look = async {
        while app.db().query(sql).fetch_one::<(i64,)>().await.unwrap().0 != count {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    expect_soon(what, look).await;
}

/// A subscriber that signals its start, waits to be released, and then uses its transaction.
#[derive(Clone, Default)]
struct GatedSubscriber {
    begun: Arc<Notify>,
    leave: Arc<Notify>,
}

#[async_trait]
impl Subscriber for GatedSubscriber {
    type Event = NoteEvent;
    const TIMEOUT: Duration = Duration::from_secs(25);

    async fn handle(&self, event: NoteEvent, delivery: &mut Delivery) -> Result<(), JobError> {
        self.begun.notify_one();
        self.leave.notified().await;
        let tx = delivery.tx().await?;
        let write = "insert into written (subscriber, key, text) values ('held', $1, $2)";
        tx.query(write).bind(event.key).bind(event.text).execute().await?;
        Ok(())
    }
}

struct Holding(GatedSubscriber);

impl Module for Holding {
    fn name(&self) -> &'static str {
        "holding"
    }

    fn register(&self, registry: &mut Registry) {
        let held = self.0.clone();
        registry.subscribe("held", move |_| Ok(held));
    }
}

on_each_database! {
    async fn a_keys_events_come_in_the_order_of_their_commits(database: TestDatabase) {
        const EACH: usize = 25;
        let writer = Writer::new("w");
        // On SQLite other processes can't notify a dispatcher, so it polls.
        let poll = if database.url().starts_with("sqlite") { "5ms" } else { "1h" };
        let mut apps = Vec::new();
        for _ in 0..3 {
            apps.push(replica(&database, Clock::system(), writer.clone(), &[("EVENTS_POLL", poll)]).await);
        }
        let running: Vec<_> = apps.iter().map(|app| deliver(app.dispatcher())).collect();
        let mut publishing = Vec::new();
        for number in 0..EACH {
            for key in ["a", "b", "c"] {
                let app = &apps[number % apps.len()];
                let (db, events) = (app.db().clone(), app.context().get::<Events>().unwrap());
                publishing.push(tokio::spawn(async move {
                    let event = NoteEvent::new(key, format!("{key} {number}"));
                    let mut tx = db.begin().await.unwrap();
                    events.publish_in(&mut tx, &event).await.unwrap();
                    // Only one delivery of a key runs at a time, so this is the order of the commits.
                    let place = "insert into ledger (key, text, place) select $1, $2, count(*) from ledger where key = $1";
                    tx.query(place).bind(event.key).bind(event.text).execute().await.unwrap();
                    for _ in 0..number * 7 % 20 {
                        tokio::task::yield_now().await;
                    }
                    tx.commit().await.unwrap();
                }));
            }
        }
        for published in publishing {
            expect_soon("a commit", published).await.unwrap();
        }
        let all = i64::try_from(EACH * 3).unwrap();
        until("every delivery", &apps[0], "select count(*) from omni_event_deliveries where state = 'done'", all).await;
        until("the lanes' end", &apps[0], "select count(*) from omni_event_lanes", 0).await;
        for running in running {
            end(running).await;
        }
        let told = writer.take_texts();
        assert_eq!(told.len(), EACH * 3, "each once");
        for key in ["a", "b", "c"] {
            let ledger = apps[0].db().query("select text from ledger where key = $1 order by place").bind(key.to_owned());
            let committed: Vec<(String,)> = ledger.fetch_all().await.unwrap();
            let committed: Vec<_> = committed.into_iter().map(|(text,)| text).collect();
            let delivered: Vec<_> = told.iter().filter(|text| text.starts_with(key)).cloned().collect();
            assert_eq!(delivered, committed);
        }
    }

    async fn a_lane_that_becomes_due_while_others_are_claimed_is_delivered(database: TestDatabase) {
        let clock = Clock::system();
        let app = replica(&database, clock.clone(), Writer::new("w"), &[("EVENTS_POLL", "1h")]).await;
        let events = app.context().get::<Events>().unwrap();
        for key in ["due", "postponed"] {
            events.publish(&NoteEvent::new(key, key)).await.unwrap();
        }
        // As if a dispatcher had checked the lane while an event was being published.
        let soon = clock.now() + Duration::from_millis(300);
        let postpone = app.db().query("update omni_event_lanes set run_at = $1 where key = 'postponed'");
        postpone.bind(soon.as_micros()).execute().await.unwrap();
        let running = deliver(app.dispatcher());
        until("both deliveries", &app, "select count(*) from omni_event_deliveries where state = 'done'", 2).await;
        end(running).await;
    }

    async fn one_frozen_past_its_lease_writes_nothing(database: TestDatabase) {
        let clock = MockClock::at("2030-01-01T12:00:00Z".parse::<Timestamp>().unwrap());
        let (frozen, other) = (GatedSubscriber::default(), GatedSubscriber::default());
        let first = replica(&database, clock.clock(), Holding(frozen.clone()), &[]).await;
        let second = replica(&database, clock.clock(), Holding(other.clone()), &[]).await;
        let events = first.context().get::<Events>().unwrap();
        events.publish(&NoteEvent::new("k", "once")).await.unwrap();
        let dispatcher = first.dispatcher().clone();
        let running = tokio::spawn(async move { dispatcher.run_until_idle().await.unwrap() });
        expect_soon("the first attempt", frozen.begun.notified()).await;
        assert_eq!(second.dispatcher().run_until_idle().await.unwrap(), 0, "it is leased");
        clock.advance(Duration::from_secs(41));
        other.leave.notify_one();
        assert_eq!(second.dispatcher().run_until_idle().await.unwrap(), 1);
        frozen.leave.notify_one();
        assert_eq!(expect_soon("its end", running).await.unwrap(), 1);
        let (count,): (i64,) = first.db().query("select count(*) from written").fetch_one().await.unwrap();
        assert_eq!(count, 1);
        let delivery = events.deliveries(&DeliveryFilter::default(), None, 1).await.unwrap().remove(0);
        assert_eq!((delivery.attempt, delivery.error), (2, None));
    }

    async fn one_that_kills_its_process_is_a_dead_letter_in_the_end(database: TestDatabase) {
        let held = GatedSubscriber::default();
        let app = replica(&database, Clock::system(), Holding(held.clone()), &[]).await;
        let events = app.context().get::<Events>().unwrap();
        events.publish(&NoteEvent::new("k", "deadly")).await.unwrap();
        // As after this many crashes: each attempt is counted at its start.
        app.db().query("update omni_event_deliveries set attempt = 10").execute().await.unwrap();
        assert_eq!(app.dispatcher().run_until_idle().await.unwrap(), 1);
        let delivery = events.deliveries(&DeliveryFilter::default(), None, 1).await.unwrap().remove(0);
        assert_eq!(delivery.state, DeliveryState::Dead);
        assert!(delivery.error.unwrap().contains("ended without a result"));
    }

    async fn what_a_drain_cuts_short_is_given_back_uncounted(database: TestDatabase) {
        let held = GatedSubscriber::default();
        let app = replica(&database, Clock::system(), Holding(held.clone()), &[("EVENTS_DRAIN", "20ms")]).await;
        let events = app.context().get::<Events>().unwrap();
        let running = deliver(app.dispatcher());
        events.publish(&NoteEvent::new("k", "cut")).await.unwrap();
        expect_soon("the attempt", held.begun.notified()).await;
        end(running).await;
        let delivery = events.deliveries(&DeliveryFilter::default(), None, 1).await.unwrap().remove(0);
        assert_eq!(delivery.attempt, 0);
        held.leave.notify_one();
        assert_eq!(app.dispatcher().run_until_idle().await.unwrap(), 1);
    }
}
