//! `Idempotency-Key`: a request that is sent again is carried out once (draft-ietf-httpapi-idempotency-key-header).
//!
//! A client that got no answer can't tell whether its request arrived. It sends it again with the same key, and gets the
//! answer of the first, marked `Idempotent-Replayed: true`; meanwhile nothing is ordered, charged or created twice.
//!
//! An [`App`](crate::app::App) puts an [`IdempotencyLayer`] around each of its POST and PATCH routes. A request without the
//! header passes it untouched. For one that has a key, the layer claims the key in the database, lets the handler run, and
//! keeps the answer. A handler that ends with [`Idempotency::commit`] stores its answer in its own transaction, and then not
//! even a process that dies can lose or double its effect. The routes of [`crud`](crate::crud) do.
//!
//! ```
//! use axum::{Router, extract::State, routing::post};
//! use omnistack_core::{
//!     clock::Clock, db::Db,
//!     http::{Error, Idempotency, Json, Response, StatusCode, idempotency::{IdempotencyLayer, IdempotencySettings, MIGRATIONS}},
//! };
//! # use axum::{body::Body, http::Request};
//! # use tower::ServiceExt as _;
//!
//! async fn order(State(db): State<Db>, idempotency: Idempotency) -> Result<Response, Error> {
//!     let mut tx = db.begin().await?;
//!     tx.query("insert into orders (number) select count(*) + 1 from orders").execute().await?;
//!     let (number,): (i64,) = tx.query("select max(number) from orders").fetch_one().await?;
//!     idempotency.commit(tx, (StatusCode::CREATED, Json(number))).await
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let db = Db::memory()?;
//! db.query("create table orders (number bigint not null)").execute().await?;
//! // In a plain axum app; an `App` does these two by itself.
//! db.migrate("idempotency", MIGRATIONS).await?;
//! let layer = IdempotencyLayer::new(db.clone(), Clock::system(), IdempotencySettings::default());
//! let app = Router::new().route("/orders", post(order)).layer(layer).with_state(db);
//!
//! # let request = || Request::post("/orders").header("idempotency-key", "4e7a").body(Body::empty()).unwrap();
//! let first = app.clone().oneshot(request()).await?;
//! assert_eq!((first.status(), first.headers().get("idempotent-replayed")), (StatusCode::CREATED, None));
//! let second = app.oneshot(request()).await?;
//! assert_eq!((second.status(), &second.headers()["idempotent-replayed"]), (StatusCode::CREATED, &"true".parse()?));
//! # Ok(())
//! # }
//! ```
//!
//! # What a key means
//!
//! A key is 1 to 255 visible ASCII characters. It is one caller's, within a tenant, for one method and path; of callers nobody
//! has recognised, one address's. Of all that only a hash is stored. With the key goes a fingerprint: SHA-256 of the method, the
//! path with its query, the content type and the body.
//!
//! | a request with a key | answer |
//! |---|---|
//! | that is new | the handler's |
//! | that was carried out, with the same fingerprint | the same again, with `Idempotent-Replayed: true` |
//! | that was carried out, and its answer is larger than 1 MiB or a stream | 409 `IDEMPOTENCY_ANSWER_NOT_KEPT` |
//! | that is being carried out | the same, if it comes within `IDEMPOTENCY_WAIT`; else 409 `IDEMPOTENCY_IN_PROGRESS` |
//! | with another fingerprint | 409 `IDEMPOTENCY_KEY_REUSED` |
//! | of the wrong form, or sent twice | 400 `IDEMPOTENCY_KEY_INVALID` |
//!
//! Kept are answers below 500, refusals included, other than 408, 425 and 429: after those a request may be sent again with
//! the same key, and is carried out again.
//!
//! # Who may carry it out
//!
//! The claim is a row with an owner and a lease (`IDEMPOTENCY_LEASE`). A live process ends its handler with the lease. Of one that
//! was killed or frozen the claim outlives it, until the lease ends and a retry takes over, by exchanging the owner. Whatever
//! the old owner wakes up to do, its `commit` finds another owner and rolls back. On Linux a process that was killed is known to
//! be dead to others of the same machine and process namespace; a retry there takes over at once.

mod answer;
mod handle;
mod key;
mod layer;
mod process;
mod settings;
mod store;
mod sweep;

pub use handle::Idempotency;
pub use layer::{IdempotencyLayer, Idempotent, IdempotentFuture};
pub use settings::IdempotencySettings;

use std::time::Duration;

use http::{HeaderValue, header};

use super::Error;
use crate::{
    app::{Registry, Shutdown},
    db::{Db, Migrations},
};

/// The table, for use without an [`App`](crate::app::App), which has it among its own.
pub const MIGRATIONS: Migrations = crate::migrations!["0004_idempotency"];

/// Gives an app its layer, and the service that forgets.
pub(crate) fn register(registry: &mut Registry, db: &Db) {
    let Some(settings) = registry.config::<IdempotencySettings>() else {
        return;
    };
    if settings.lease.is_zero() {
        registry.problem("`IDEMPOTENCY_LEASE` is nothing, so every request would be given up at once", "set it to 60s");
    }
    let layer = IdempotencyLayer::new(db.clone(), registry.clock(), settings);
    registry.service("idempotency", {
        let layer = layer.clone();
        move |_| {
            Ok(move |shutdown: Shutdown| {
                let layer = layer.clone();
                async move { Ok(layer.keep(shutdown).await?) }
            })
        }
    });
    registry.provide(layer);
}

/// 409: the request is being carried out. `Retry-After` says when that has ended at the latest.
fn in_progress(left: Duration) -> Error {
    // Rounded up, so that a client that waits as told comes after it.
    let seconds = (left + Duration::from_millis(999)).as_secs().max(1);
    let message = format!(
        "a request with this Idempotency-Key is being carried out, for {seconds} seconds more at the longest; try again then"
    );
    let error = Error::conflict("IDEMPOTENCY_IN_PROGRESS", message);
    error.header(header::RETRY_AFTER, HeaderValue::from(seconds)).detail("retry_after", seconds)
}
