//! A steady load on the replicas of a rotation.

#![cfg(test)]

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use omnistack::ShutdownToken;
use serde_json::json;
use tokio::{
    sync::{RwLock, watch},
    task::JoinSet,
};

use super::{
    client::{Call, FullResponse, SendError},
    expect_soon,
    orders::{ORDERS, Release},
};

/// Clients of the load.
const CLIENTS: usize = 6;

/// A replica that gets requests.
#[derive(Debug)]
struct Target {
    address: SocketAddr,
    /// Whether it is in the rotation. Each request to it holds this for reading.
    in_rotation: RwLock<bool>,
}

/// The replicas that get requests, as a load balancer knows them.
#[derive(Clone, Debug, Default)]
pub(super) struct Rotation {
    targets: Arc<Mutex<Vec<Arc<Target>>>>,
    next: Arc<AtomicUsize>,
}

impl Rotation {
    pub(super) fn add(&self, address: SocketAddr) {
        let target = Target { address, in_rotation: RwLock::new(true) };
        self.targets.lock().unwrap().push(Arc::new(target));
    }

    /// Takes a replica out, and waits for the requests that were sent to it before.
    pub(super) async fn remove(&self, address: SocketAddr) {
        let removed = {
            let mut targets = self.targets.lock().unwrap();
            let index = targets.iter().position(|target| target.address == address).unwrap();
            targets.remove(index)
        };
        *expect_soon("the end of the requests under way", removed.in_rotation.write()).await = false;
    }

    fn pick(&self) -> Arc<Target> {
        let targets = self.targets.lock().unwrap();
        Arc::clone(&targets[self.next.fetch_add(1, Ordering::Relaxed) % targets.len()])
    }

    /// Sends a request to one of the replicas: to another one if it does not listen any more, and again if the app says
    /// so.
    async fn send(&self, call: &Call) -> Result<FullResponse, String> {
        loop {
            let target = self.pick();
            let in_rotation = target.in_rotation.read().await;
            if !*in_rotation {
                continue;
            }
            match call.send(target.address).await {
                Ok(response) if response.is_put_off() => {}
                Ok(response) => return Ok(response),
                Err(SendError::Refused) => {}
                Err(SendError::Lost(reason)) => return Err(reason),
            }
            tokio::task::yield_now().await;
        }
    }
}

/// The accepted and the failed requests of a load.
#[derive(Debug, Default)]
pub(super) struct LoadReport {
    /// The keys of the orders that were accepted, and the version that accepted each.
    pub(super) orders: Vec<(String, Release)>,
    /// The requests that failed.
    pub(super) failures: Vec<String>,
}

/// A load that runs until it is ended.
pub(super) struct Load {
    clients: JoinSet<LoadReport>,
    accepted: watch::Receiver<usize>,
    ended: ShutdownToken,
}

impl Load {
    /// Starts clients of the user with this access token.
    pub(super) fn start(rotation: &Rotation, token: &str) -> Self {
        let (count, accepted) = watch::channel(0);
        let ended = ShutdownToken::new();
        let mut clients = JoinSet::new();
        for number in 0..CLIENTS {
            clients.spawn(client(number, rotation.clone(), token.to_owned(), count.clone(), ended.clone()));
        }
        Self { clients, accepted, ended }
    }

    /// Waits until so many further orders were accepted.
    pub(super) async fn wait_for_orders(&self, orders: usize) {
        let mut accepted = self.accepted.clone();
        let wanted = *accepted.borrow() + orders;
        _ = expect_soon("further orders", accepted.wait_for(|count| *count >= wanted)).await.unwrap();
    }

    /// Ends the load after the requests that are under way.
    pub(super) async fn end(self) -> LoadReport {
        self.ended.cancel();
        let reports = expect_soon("the end of the clients", self.clients.join_all()).await;
        let mut all = LoadReport::default();
        for report in reports {
            all.orders.extend(report.orders);
            all.failures.extend(report.failures);
        }
        all
    }
}

/// Sends orders, with an idempotency key each, and reads between them.
async fn client(
    number: usize,
    rotation: Rotation,
    token: String,
    accepted: watch::Sender<usize>,
    ended: ShutdownToken,
) -> LoadReport {
    let mut report = LoadReport::default();
    let mut order = 0;
    while !ended.is_cancelled() {
        order += 1;
        let key = format!("order-{number}-{order}");
        let call = Call::post(ORDERS, &json!({ "key": key })).token(&token).header("idempotency-key", key.clone());
        match rotation.send(&call).await {
            Ok(response) if response.status.as_u16() == 202 => {
                let release = Release::named(response.json()["release"].as_str().unwrap());
                report.orders.push((key, release));
                accepted.send_modify(|count| *count += 1);
            }
            Ok(response) => report.failures.push(response.to_string()),
            Err(reason) => report.failures.push(reason),
        }
        for path in ["/api/v1/app/users/me", "/api/v1/app/projects?limit=5", "/api/v1/app/orders/release"] {
            match rotation.send(&Call::get(path).token(&token)).await {
                Ok(response) if response.status.as_u16() == 200 => {}
                Ok(response) => report.failures.push(response.to_string()),
                Err(reason) => report.failures.push(reason),
            }
        }
    }
    report
}
