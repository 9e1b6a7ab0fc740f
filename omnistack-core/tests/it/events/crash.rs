//! Tests of a process that is killed by SIGKILL after each of its statements in turn, while it handles a request with
//! an idempotency key or dispatches events.
//!
//! The parent process then inspects the database, and acts as the client or as another replica would.

use axum::{body::Body, extract::State, routing::post};
use bytes::Bytes;
use omnistack_core::{
    app::App,
    db::Db,
    events::{DeliveryFilter, DeliveryState, EnqueueJob, Events, ForwardToTopic},
    http::{Error, Json, Response, StatusCode},
    idempotency::Idempotency,
    jobs::{Job, JobContext, Jobs},
    module::{Api, Mount},
    pubsub::{Broker, PubSub},
};
use omnistack_testkit::{
    crash::{CrashChild, CrashCommand},
    on_each_database,
};
use serde_json::json;
use tokio::sync::broadcast;
use tower::ServiceExt as _;
use uuid::Uuid;

use super::*;

/// The variable by which a child gets the idempotency key of its request.
const KEY: &str = "FAILPOINT_KEY";

#[derive(Serialize, Deserialize)]
struct Ordered {
    order: String,
}

impl Event for Ordered {
    const NAME: &'static str = "ordered";

    fn key(&self) -> String {
        self.order.clone()
    }
}

macro_rules! job {
    ($name:ident, $stored:literal) => {
        #[derive(Serialize, Deserialize)]
        struct $name {
            order: String,
        }

        #[async_trait]
        impl Job for $name {
            const NAME: &'static str = $stored;
            type State = ();

            async fn run(self, (): &(), _: &JobContext) -> Result<(), JobError> {
                Ok(())
            }
        }
    };
}

// The job of the request, and the job of the event.
job!(Pack, "pack");
job!(Ship, "ship");

/// A subscriber that books an order in the delivery's transaction.
struct Book;

#[async_trait]
impl Subscriber for Book {
    type Event = Ordered;

    async fn handle(&self, event: Ordered, delivery: &mut Delivery) -> Result<(), JobError> {
        let tx = delivery.tx().await?;
        tx.query("insert into booked (name) values ($1)").bind(event.order).execute().await?;
        Ok(())
    }
}

struct Shop {
    /// Whether orders have subscribers.
    told: bool,
}

impl Module for Shop {
    fn name(&self) -> &'static str {
        "shop"
    }

    fn register(&self, registry: &mut Registry) {
        const ORDERS: &str = "create table orders (name text not null, id text not null)";
        const BOOKED: &str = "create table booked (name text not null)";
        registry
            .migrations(&[
                Migration { name: "0001_orders", postgres: ORDERS, sqlite: ORDERS },
                Migration { name: "0002_booked", postgres: BOOKED, sqlite: BOOKED },
            ])
            .job::<Pack>(|_| Ok(()))
            .job::<Ship>(|_| Ok(()))
            .routes(Mount::public("/orders"), Api::new().hidden("/", post(order)), |ctx| {
                Ok((ctx.get::<Db>()?, ctx.get::<Jobs>()?, ctx.get::<Events>()?))
            })
            .subscribe("book", |_| Ok(Book));
        if self.told {
            registry
                .subscribe("ship", |ctx| Ok(EnqueueJob::new(ctx.get()?, |event: Ordered| Ship { order: event.order })))
                .subscribe("tell", |ctx| Ok(ForwardToTopic::<Ordered>::new(ctx.get()?, "orders")));
        }
    }
}

async fn order(
    State((db, jobs, events)): State<(Db, Jobs, Events)>,
    idempotency: Idempotency,
    name: String,
) -> Result<Response, Error> {
    let id = Uuid::new_v4().to_string();
    let mut tx = db.begin().await?;
    let insert = tx.query("insert into orders (name, id) values ($1, $2)").bind(name.clone()).bind(id.clone());
    insert.execute().await?;
    jobs.enqueue_in(&mut tx, Pack { order: name.clone() }).await?;
    events.publish_in(&mut tx, &Ordered { order: name }).await?;
    idempotency.commit(tx, (StatusCode::CREATED, Json(json!({ "id": id })))).await
}

/// A pub/sub broker that reports each message: in a child to its parent, in the parent to itself.
#[derive(Clone, Default)]
struct ReportingBroker(Arc<Mutex<Vec<String>>>);

#[async_trait]
impl Broker for ReportingBroker {
    async fn publish(&self, topic: &str, message: Bytes) {
        let message: serde_json::Value = serde_json::from_slice(&message).unwrap();
        let told = format!("{topic} {}", message["data"]["order"].as_str().unwrap());
        println!("told {told}");
        self.0.lock().unwrap().push(told);
    }

    async fn subscribe(&self, _: &str) -> broadcast::Receiver<Bytes> {
        broadcast::channel(1).1
    }
}

fn request(name: &str) -> http::Request<Body> {
    let request = http::Request::post("/api/v1/public/orders").header("idempotency-key", name);
    request.body(Body::from(name.to_owned())).unwrap()
}

/// Returns the app of a child process, which is killed as its environment says, or `None` if this is not a child.
fn child(told: bool) -> Option<(App, String)> {
    let child = CrashChild::from_env()?;
    let builder = child.builder().with(Shop { told });
    let app = builder.replace(PubSub::new(ReportingBroker::default())).build().unwrap();
    child.kill_after_statement(app.db(), |_| true);
    Some((app, child.variable(KEY)))
}

#[tokio::test]
#[ignore = "a child process of other tests"]
async fn child_that_answers() {
    let Some((app, key)) = child(false) else { return };
    let answer = app.service().oneshot(request(&key)).await.unwrap();
    assert_eq!(answer.status(), StatusCode::CREATED);
}

#[tokio::test]
#[ignore = "a child process of other tests"]
async fn child_that_delivers() {
    let Some((app, _)) = child(true) else { return };
    assert_eq!(app.dispatcher().run_until_idle().await.unwrap(), 3);
}

/// Runs a child that is killed after this many statements. Returns whether it was killed, and the number of its
/// reports.
async fn run(app: &TestApp, child: &str, statement: usize, key: &str) -> (bool, usize) {
    let end = CrashCommand::new(app, &format!("events::crash::{child}"), statement).env(KEY, key).run().await;
    (end.was_killed, end.stdout.matches(&format!("told orders {key}")).count())
}

async fn count(app: &TestApp, sql: &'static str, name: &str) -> i64 {
    app.db().query(sql).bind(name.to_owned()).fetch_one::<(i64,)>().await.unwrap().0
}

on_each_database! {
    async fn a_request_with_a_key_killed_after_any_statement_is_carried_out_once(database: TestDatabase) {
        let app = TestApp::start(database, |app| app.with(Shop { told: false })).await;
        let mut deaths = 0;
        loop {
            let key = format!("order-{deaths}-");
            let (died, _) = run(&app, "child_that_answers", deaths + 1, &key).await;
            // The claim of the dead process expires.
            app.clock().advance(Duration::from_secs(61));
            let answer = app.app().service().oneshot(request(&key)).await.unwrap();
            assert_eq!(answer.status(), StatusCode::CREATED, "after {deaths}");
            let replayed = answer.headers().contains_key("idempotent-replayed");
            let body = axum::body::to_bytes(answer.into_body(), 1000).await.unwrap();
            let answered: serde_json::Value = serde_json::from_slice(&body).unwrap();
            let ids = app.db().query("select id from orders where name = $1").bind(key.clone());
            let ids: Vec<(String,)> = ids.fetch_all().await.unwrap();
            assert_eq!(ids, [(answered["id"].as_str().unwrap().to_owned(),)], "after {deaths}");
            let packed = app.unfinished_jobs::<Pack>().await.into_iter().filter(|pack| pack.order == key).count();
            assert_eq!(packed, 1, "after {deaths}");
            assert_eq!(count(&app, "select count(*) from omni_events where key = $1", &key).await, 1);
            assert_eq!(count(&app, "select count(*) from omni_event_deliveries where key = $1", &key).await, 1);
            if !died {
                assert!(replayed);
                break;
            }
            deaths += 1;
        }
        assert!(deaths >= 8, "{deaths}");
        // Each of these events is delivered.
        app.run_events().await;
        let (booked,): (i64,) = app.db().query("select count(*) from booked").fetch_one().await.unwrap();
        assert_eq!(booked, i64::try_from(deaths + 1).unwrap());
    }

    async fn a_dispatcher_killed_after_any_statement_keeps_its_promise(database: TestDatabase) {
        let telling = ReportingBroker::default();
        let publisher = PubSub::new(telling.clone());
        let app = TestApp::start(database, |app| app.with(Shop { told: true }).replace(publisher)).await;
        let mut deaths = 0;
        loop {
            let key = format!("order-{deaths}-");
            app.events().publish(&Ordered { order: key.clone() }).await.unwrap();
            let (died, told) = run(&app, "child_that_delivers", deaths + 1, &key).await;
            // The leases of the dead process expire.
            app.clock().advance(Duration::from_secs(60));
            app.run_events().await;
            assert_eq!(count(&app, "select count(*) from booked where name = $1", &key).await, 1, "after {deaths}");
            let shipped = app.unfinished_jobs::<Ship>().await.into_iter().filter(|ship| ship.order == key).count();
            assert_eq!(shipped, 1, "after {deaths}");
            let told = told + telling.0.lock().unwrap().drain(..).filter(|said| *said == format!("orders {key}")).count();
            assert!((1..=2).contains(&told), "after {deaths}: {told}");
            let filter = DeliveryFilter::default().key(&key).state(DeliveryState::Done);
            assert_eq!(app.events().deliveries(&filter, None, 10).await.unwrap().len(), 3);
            let (lanes,): (i64,) = app.db().query("select count(*) from omni_event_lanes").fetch_one().await.unwrap();
            assert_eq!(lanes, 0, "after {deaths}");
            if !died {
                break;
            }
            deaths += 1;
        }
        assert!(deaths >= 30, "{deaths}");
    }
}
