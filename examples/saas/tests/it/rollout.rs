//! Tests of two versions of the app on one database: a rolling update under load and its rollback, and what one version
//! has given out and the other one accepts.

#![cfg(test)]

mod client;
mod handed_out;
mod load;
mod orders;
mod replica;

use std::{
    collections::{BTreeSet, VecDeque},
    net::SocketAddr,
    process::Stdio,
    time::Duration,
};

use omnistack::{
    app::App,
    jobs::{JobFilter, JobState, Jobs},
};
use omnistack_testkit::{TestDatabase, on_each_database};
use serde_json::json;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpStream,
};

use self::{
    client::Call,
    handed_out::HandedOut,
    load::{Load, Rotation},
    orders::{LabelOrder, ORDERS, Release, ShipOrder},
    replica::{Place, Replica},
};

/// Orders that are accepted between two steps of a rollout.
const ORDERS_BETWEEN_STEPS: usize = 20;
/// Longest wait for the effect of a step.
const STEP_TIMEOUT: Duration = Duration::from_secs(60);

async fn expect_soon<T>(what: &str, done: impl Future<Output = T>) -> T {
    tokio::time::timeout(STEP_TIMEOUT, done).await.unwrap_or_else(|_| panic!("{what} did not come"))
}

/// Takes a replica out of the rotation and ends it by SIGTERM, while one of its requests is under way. The request ends
/// well and is an order.
async fn retire(mut replica: Replica, rotation: &Rotation, token: &str, order: &str) {
    let call = Call::post(format!("{ORDERS}/slow"), &json!({ "key": order })).token(token);
    let address = replica.address;
    let slow = tokio::spawn(async move { call.send(address).await });
    replica.wait_for(orders::SLOW_ORDER_BEGUN).await;
    rotation.remove(address).await;
    replica.terminate();
    replica.wait_for(replica::STOPPING).await;
    replica::wait_until_closed(address).await;
    assert!(!slow.is_finished(), "the request waits to be released");
    replica.release().await;
    expect_soon("the response of a request that was under way", slow).await.unwrap().unwrap().expect(202);
    replica.wait_for_end().await;
}

/// Returns the keys of the orders that a job has run for. Panics if it has run twice for one.
async fn ran(app: &App, job: &str) -> BTreeSet<String> {
    let query = app.db().query("select key from rollout_runs where job = $1").bind(job.to_owned());
    let rows: Vec<(String,)> = query.fetch_all().await.unwrap();
    let keys: BTreeSet<String> = rows.iter().map(|(key,)| key.clone()).collect();
    assert_eq!(keys.len(), rows.len(), "{job} ran twice: {rows:?}");
    keys
}

/// Waits until a job has run for so many orders, and returns their keys.
async fn wait_until_run(app: &App, job: &str, orders: usize) -> BTreeSet<String> {
    let look = async {
        loop {
            let keys = ran(app, job).await;
            if keys.len() >= orders {
                return keys;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    expect_soon(job, look).await
}

#[tokio::test]
async fn the_program_completes_a_request_after_sigterm_and_ends_well() {
    const CONTINUE: &str = "HTTP/1.1 100 Continue\r\n\r\n";
    let place = Place::new(TestDatabase::sqlite());
    let mut process = place.program().stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
    let address = async {
        while let Some(line) = lines.next_line().await.unwrap() {
            if let Some((_, address)) = line.split_once("http://") {
                return address.trim().parse::<SocketAddr>().unwrap();
            }
        }
        panic!("the program has ended")
    };
    let address = expect_soon("the address", address).await;

    // The program asks for the body, so the request has reached its handler.
    let body = r#"{"email":"ada@example.com","password":"not the password"}"#;
    let head = format!(
        "POST /api/v1/public/auth/login HTTP/1.1\r\nhost: app.example\r\ncontent-type: application/json\r\n\
         content-length: {}\r\nexpect: 100-continue\r\n\r\n",
        body.len()
    );
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut asked = [0; CONTINUE.len()];
    expect_soon("the request for the body", stream.read_exact(&mut asked)).await.unwrap();
    assert_eq!(String::from_utf8_lossy(&asked), CONTINUE);

    replica::terminate(&process);
    replica::wait_until_closed(address).await;
    stream.write_all(body.as_bytes()).await.unwrap();
    let mut response = String::new();
    expect_soon("the response", stream.read_to_string(&mut response)).await.unwrap();
    assert!(response.starts_with("HTTP/1.1 401 "), "{response}");
    replica::wait_for_end(&mut process).await;
}

on_each_database! {
    async fn a_rolling_update_and_its_rollback_fail_no_request_and_lose_no_job(database: TestDatabase) {
        let place = Place::new(database);
        place.migrate(Release::Old).await;
        let rotation = Rotation::default();
        let mut replicas = VecDeque::new();
        for _ in 0..2 {
            let replica = Replica::start(&place, Release::Old).await;
            rotation.add(replica.address);
            replicas.push_back(replica);
        }
        let token = client::sign_up(replicas[0].address, "ada@example.com").await;
        let load = Load::start(&rotation, &token);
        load.wait_for_orders(ORDERS_BETWEEN_STEPS).await;

        // The old version continues on the new schema.
        place.migrate(Release::New).await;
        load.wait_for_orders(ORDERS_BETWEEN_STEPS).await;
        let mut slow_orders = BTreeSet::new();
        for (number, release) in [Release::New, Release::New, Release::Old, Release::Old].into_iter().enumerate() {
            let replica = Replica::start(&place, release).await;
            rotation.add(replica.address);
            replicas.push_back(replica);
            load.wait_for_orders(ORDERS_BETWEEN_STEPS).await;
            let order = format!("slow-{number}");
            retire(replicas.pop_front().unwrap(), &rotation, &token, &order).await;
            slow_orders.insert(order);
            load.wait_for_orders(ORDERS_BETWEEN_STEPS).await;
        }
        let report = load.end().await;
        assert!(report.failures.is_empty(), "{:#?}", report.failures);
        for release in [Release::Old, Release::New] {
            let accepted = report.orders.iter().filter(|(_, by)| *by == release).count();
            assert!(accepted >= ORDERS_BETWEEN_STEPS, "{release:?}: {accepted} orders");
        }

        // Only the old version runs now. It leaves the job that it does not know, and runs the one behind it.
        let app = place.app(Release::New);
        let jobs: Jobs = app.context().get().unwrap();
        let left = jobs.enqueue(LabelOrder { key: "left".to_owned() }).await.unwrap().id;
        jobs.enqueue(ShipOrder { key: "behind".to_owned() }).await.unwrap();
        let mut shipped: BTreeSet<String> = report.orders.iter().map(|(key, _)| key.clone()).collect();
        shipped.extend(slow_orders);
        shipped.insert("behind".to_owned());
        assert_eq!(wait_until_run(&app, "orders.ship", shipped.len()).await, shipped);
        let (job, failures) = jobs.get(left).await.unwrap().unwrap();
        assert_eq!((job.state, job.attempt, failures.len()), (JobState::Ready, 0, 0));

        // Orders that the new version accepted have a label, also those whose job was left by the rollback.
        let newest = Replica::start(&place, Release::New).await;
        let by_new = report.orders.iter().filter(|(_, by)| *by == Release::New).map(|(key, _)| key.clone());
        let mut labelled: BTreeSet<String> = by_new.collect();
        // The rollback has retired the new replicas during these two orders.
        labelled.extend(["slow-2", "slow-3", "left"].map(str::to_owned));
        assert_eq!(wait_until_run(&app, "orders.label", labelled.len()).await, labelled);
        for replica in replicas.into_iter().chain([newest]) {
            replica.terminate();
            replica.wait_for_end().await;
        }
        assert_eq!((ran(&app, "orders.ship").await, ran(&app, "orders.label").await), (shipped, labelled));
        for name in ["orders.ship", "orders.label"] {
            for state in JobState::ALL.into_iter().filter(|state| *state != JobState::Done) {
                let filter = JobFilter { name: Some(name.to_owned()), ..JobFilter::default() }.state(state);
                assert!(jobs.list(&filter, None, 1).await.unwrap().is_empty(), "{name}: {state:?}");
            }
        }
    }

    async fn what_one_version_has_given_out_is_valid_in_the_other(database: TestDatabase) {
        let place = Place::new(database);
        place.migrate(Release::New).await;
        let old = Replica::start(&place, Release::Old).await;
        let new = Replica::start(&place, Release::New).await;
        let mut by_old = HandedOut::by(old.address, "ada").await;
        let mut by_new = HandedOut::by(new.address, "eva").await;
        by_old.check_at(new.address).await;
        by_new.check_at(old.address).await;
        // Nothing of it was in the memory of the process that gave it out.
        for replica in [old, new] {
            replica.terminate();
            replica.wait_for_end().await;
        }
        for release in [Release::New, Release::Old] {
            let replica = Replica::start(&place, release).await;
            by_old.check_at(replica.address).await;
            by_new.check_at(replica.address).await;
            replica.terminate();
            replica.wait_for_end().await;
        }
    }
}
