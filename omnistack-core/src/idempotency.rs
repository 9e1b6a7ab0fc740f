//! Idempotency keys: a request that is retried with the same `Idempotency-Key` is carried out once
//! (draft-ietf-httpapi-idempotency-key-header).
//!
//! A client that got no response does not know whether its request arrived. It retries the request with the same key,
//! and gets the response of the first request, marked `Idempotent-Replayed: true`; nothing is ordered, charged or
//! created twice.
//!
//! An [`App`](crate::app::App) puts an [`IdempotencyLayer`] around each of its POST and PATCH routes. A request
//! without the header passes unchanged. For a request with a key, the layer claims the key in the database, runs the
//! handler, and stores the response. A handler that ends with [`Idempotency::commit`] stores its response in its own
//! transaction; then not even a crash can lose or repeat the effect. The routes of [`crud`](crate::crud) do so.
//!
//! ```
//! use axum::{Router, extract::State, routing::post};
//! use omnistack_core::{clock::Clock, db::Db, http::{Error, Json, Response, StatusCode}, idempotency::{Idempotency, IdempotencyLayer, IdempotencySettings, MIGRATIONS}};
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
//! // In a plain axum app. An `App` does both itself.
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
//! A key consists of 1 to 255 visible ASCII characters. It is valid for one caller and tenant, one method and one
//! path; for callers who are not signed in, for one client address. Only a hash of all this is stored. With the key a
//! fingerprint is stored: the SHA-256 of the method, the path with its query, the content type and the body.
//!
//! | a request with a key | response |
//! |---|---|
//! | that is new | the handler's response |
//! | that was carried out, with the same fingerprint | the stored response, with `Idempotent-Replayed: true` |
//! | that was carried out, and its response is larger than 1 MiB or a stream | 409 `IDEMPOTENCY_RESPONSE_NOT_STORED` |
//! | that is in progress | the stored response, if it is ready within `IDEMPOTENCY_WAIT`; else 409 `IDEMPOTENCY_IN_PROGRESS` |
//! | with another fingerprint | 409 `IDEMPOTENCY_KEY_REUSED` |
//! | that is malformed, or sent twice | 400 `IDEMPOTENCY_KEY_INVALID` |
//!
//! Responses with a status below 500 are stored, including errors, except 408, 425 and 429: after those, a retry with
//! the same key is carried out again.
//!
//! # Claims and leases
//!
//! A claim is a row with an owner and a lease (`IDEMPOTENCY_LEASE`). A running process ends its handler when the
//! lease ends. If the process was killed or is frozen, the claim remains until the lease ends and a retry takes over,
//! which replaces the owner. If the old process continues later, its `commit` finds another owner and rolls back. On
//! Linux, other processes of the same machine and process namespace can tell that a process was killed; there a retry
//! takes over at once.

mod expiry;
mod handle;
mod key;
mod layer;
mod process;
mod settings;
mod store;
mod stored_response;

pub use handle::Idempotency;
pub use layer::IdempotencyLayer;
pub use settings::IdempotencySettings;

use std::time::Duration;

use http::{HeaderMap, HeaderValue, header};

use crate::{
    ShutdownToken,
    db::{Db, Migrations},
    http::Error,
    module::{Module, Registry},
};

/// Migrations of the table of keys, for use without an [`App`](crate::app::App), which includes them.
pub const MIGRATIONS: Migrations = crate::migrations!["0001_idempotency"];

/// Module of the app's idempotency layer, and of the service that deletes expired keys.
pub(crate) struct IdempotencyModule;

impl Module for IdempotencyModule {
    fn name(&self) -> &'static str {
        "core"
    }

    fn register(&self, registry: &mut Registry) {
        let (Some(settings), Some(db)) = (registry.config::<IdempotencySettings>(), registry.provided::<Db>()) else {
            return;
        };
        let layer = IdempotencyLayer::new(db, registry.clock(), settings);
        registry.provide(layer.clone()).background_service("idempotency", move |_| {
            Ok(move |shutdown: ShutdownToken| {
                let layer = layer.clone();
                async move { Ok(layer.run_sweeper(shutdown).await?) }
            })
        });
    }
}

/// Returns the `Idempotency-Key` of a request, or `None` without one. It is for handlers behind
/// [`Mount::without_idempotency`](crate::module::Mount::without_idempotency) that store keys themselves, because their
/// body is too large for memory.
///
/// # Errors
/// Fails with 400 `IDEMPOTENCY_KEY_INVALID` if the key is malformed or sent twice.
pub fn read_key(headers: &HeaderMap) -> Result<Option<String>, Error> {
    if headers.contains_key(key::HEADER) { key::read(headers).map(Some) } else { Ok(None) }
}

/// Returns the 409 error for a request that is in progress. `Retry-After` contains the seconds until its lease ends.
fn in_progress(left: Duration) -> Error {
    // Rounded up, so that a client that waits this long retries after the end of the lease.
    let seconds = (left + Duration::from_millis(999)).as_secs().max(1);
    let message = format!("a request with this Idempotency-Key is in progress; try again in {seconds} seconds");
    let error = Error::conflict("IDEMPOTENCY_IN_PROGRESS", message);
    error.with_header(header::RETRY_AFTER, HeaderValue::from(seconds)).with_detail("retry_after", seconds)
}
