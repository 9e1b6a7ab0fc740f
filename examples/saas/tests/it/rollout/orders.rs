//! A module in two versions. The newer one has another migration and another job.

#![cfg(test)]

use std::sync::Arc;

use axum::{
    extract::State,
    routing::{get, post},
};
use omnistack::{
    db::{Migration, Migrations},
    http::StatusCode,
    prelude::*,
};
use serde_json::{Value, json};
use tokio::sync::Notify;

/// The path of the routes.
pub(super) const ORDERS: &str = "/api/v1/app/orders";
/// The line that a replica prints when a slow order has begun.
pub(super) const SLOW_ORDER_BEGUN: &str = "a slow order has begun";

const ORDERS_MIGRATION: Migration = Migration {
    name: "0001_orders",
    postgres: "create table rollout_orders (key text primary key);
               create table rollout_runs (key text not null, job text not null);",
    sqlite: "create table rollout_orders (key text primary key) strict;
             create table rollout_runs (key text not null, job text not null) strict;",
};
const LABELS_MIGRATION: Migration = Migration {
    name: "0002_labels",
    postgres: "alter table rollout_orders add column label text;",
    sqlite: "alter table rollout_orders add column label text;",
};
const OLD_MIGRATIONS: Migrations = &[ORDERS_MIGRATION];
const NEW_MIGRATIONS: Migrations = &[ORDERS_MIGRATION, LABELS_MIGRATION];

/// A version of the app.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Release {
    Old,
    New,
}

impl Release {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Old => "old",
            Self::New => "new",
        }
    }

    pub(super) fn named(name: &str) -> Self {
        [Self::Old, Self::New].into_iter().find(|release| release.name() == name).unwrap()
    }
}

/// The module. A slow order waits for `gate`.
pub(super) struct Orders {
    pub(super) release: Release,
    pub(super) gate: Arc<Notify>,
}

#[derive(Clone)]
pub(super) struct OrderState {
    release: Release,
    gate: Arc<Notify>,
    db: Db,
    jobs: Jobs,
}

impl Module for Orders {
    fn name(&self) -> &'static str {
        "orders"
    }

    fn register(&self, registry: &mut Registry) {
        let (release, gate) = (self.release, Arc::clone(&self.gate));
        let api = Api::new()
            .hidden("/", post(create))
            .hidden("/slow", post(create_slowly))
            .hidden("/release", get(show_release));
        registry
            .migrations(if release == Release::New { NEW_MIGRATIONS } else { OLD_MIGRATIONS })
            .job::<ShipOrder>(|ctx| ctx.get::<Db>())
            .routes(Mount::app("/orders"), api, move |ctx| {
                Ok(OrderState { release, gate, db: ctx.get()?, jobs: ctx.get()? })
            });
        if release == Release::New {
            registry.job::<LabelOrder>(|ctx| ctx.get::<Db>());
        }
    }
}

#[derive(Deserialize, Validate)]
struct NewOrder {
    #[garde(length(chars, max = 100))]
    key: String,
}

async fn show_release(State(state): State<OrderState>) -> Json<Value> {
    Json(json!({ "release": state.release.name() }))
}

async fn create(
    State(state): State<OrderState>,
    Json(NewOrder { key }): Json<NewOrder>,
) -> Result<(StatusCode, Json<Value>), Error> {
    state.accept(&key).await
}

async fn create_slowly(
    State(state): State<OrderState>,
    Json(NewOrder { key }): Json<NewOrder>,
) -> Result<(StatusCode, Json<Value>), Error> {
    println!("{SLOW_ORDER_BEGUN}");
    state.gate.notified().await;
    state.accept(&key).await
}

impl OrderState {
    /// Stores an order with its jobs, in one transaction.
    async fn accept(&self, key: &str) -> Result<(StatusCode, Json<Value>), Error> {
        let mut tx = self.db.begin().await?;
        tx.query("insert into rollout_orders (key) values ($1)").bind(key.to_owned()).execute().await?;
        self.jobs.enqueue_in(&mut tx, ShipOrder { key: key.to_owned() }).await?;
        if self.release == Release::New {
            self.jobs.enqueue_in(&mut tx, LabelOrder { key: key.to_owned() }).await?;
        }
        tx.commit().await?;
        Ok((StatusCode::ACCEPTED, Json(json!({ "release": self.release.name() }))))
    }
}

async fn record_run(db: &Db, key: &str, job: &str) -> Result<(), JobError> {
    let insert = db.query("insert into rollout_runs (key, job) values ($1, $2)");
    insert.bind(key.to_owned()).bind(job.to_owned()).execute().await?;
    Ok(())
}

/// A job of both versions.
#[derive(Serialize, Deserialize)]
pub(super) struct ShipOrder {
    pub(super) key: String,
}

#[async_trait]
impl Job for ShipOrder {
    const NAME: &'static str = "orders.ship";
    type State = Db;

    async fn run(self, db: &Db, _: &JobContext) -> Result<(), JobError> {
        record_run(db, &self.key, Self::NAME).await
    }
}

/// A job that only the new version knows. It uses the new column.
#[derive(Serialize, Deserialize)]
pub(super) struct LabelOrder {
    pub(super) key: String,
}

#[async_trait]
impl Job for LabelOrder {
    const NAME: &'static str = "orders.label";
    type State = Db;

    async fn run(self, db: &Db, _: &JobContext) -> Result<(), JobError> {
        let update = db.query("update rollout_orders set label = 'new' where key = $1");
        update.bind(self.key.clone()).execute().await?;
        record_run(db, &self.key, Self::NAME).await
    }
}
