//! Bounces and complaints: the providers' webhook events that put addresses on the suppression list, and the module
//! with the operator routes for mail suppressions.

mod event;
mod signature;
mod webhook;

pub(crate) use webhook::parse_webhooks;
pub(super) use webhook::{WebhookKeys, register};

use std::time::Duration;

use super::{Address, Suppressions};
use crate::suppression::register_routes;
use event::SuppressionEvent;
use omnistack_core::{
    clock::Clock,
    db::{self, Tx},
    module::{Module, Registry},
};

/// The module with the operator routes for mail suppressions, `/api/v1/admin/email/suppressions`:
/// `.with(EmailApi)`.
///
/// It is separate from the module [`Mail`](crate::email::Mail), because not every app has operators.
///
/// ```
/// use omnistack_core::{app::{App, DevIdentity}, identity::AccessLevel, config::Config};
/// use omnistack_messaging::email::{EmailApi, Mail};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> omnistack_core::Result<()> {
/// # let config = Config::from_pairs([("DATABASE_URL", "sqlite::memory:"), ("DEV_TOKEN", "for-the-example")]);
/// let app = App::builder(config).with(DevIdentity::default()).with(Mail::default()).with(EmailApi).build()?;
/// let list = app.routes().iter().find(|route| route.path == "/api/v1/admin/email/suppressions");
/// assert_eq!(list.map(|route| route.audience), Some(AccessLevel::Admin));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct EmailApi;

impl Module for EmailApi {
    fn name(&self) -> &'static str {
        "email_api"
    }

    fn register(&self, registry: &mut Registry) {
        register_routes::<Address>(registry);
    }
}

/// Retention of the ids of processed webhook events: longer than any provider sends them again.
const EVENT_TTL: Duration = Duration::from_secs(30 * 24 * 3600);

/// Applies the events of a provider in the caller's transaction. Returns the number of suppressed addresses that were
/// added. An event that was applied before is skipped, because an operator may have removed the address since.
async fn apply_events_in(
    tx: &mut Tx,
    clock: &Clock,
    suppressions: &Suppressions,
    provider: &'static str,
    events: &[SuppressionEvent],
) -> Result<u64, db::Error> {
    let mut added = 0;
    for event in events {
        let sql =
            "insert into omni_email_events (provider, id, received_at) values ($1, $2, $3) on conflict do nothing";
        let new = tx.query(sql).bind(provider).bind(event.id.as_str()).bind(clock.now()).execute().await?;
        if new > 0 {
            let detail = event.detail.as_deref();
            added += u64::from(suppressions.add_in(tx, &event.address, event.reason, detail).await?);
        }
    }
    Ok(added)
}

/// Deletes the ids of events that were received longer ago than [`EVENT_TTL`].
pub(super) async fn purge_events_in(tx: &mut Tx, clock: &Clock) -> Result<(), db::Error> {
    let expired = clock.now() - EVENT_TTL;
    tx.query("delete from omni_email_events where received_at < $1").bind(expired).execute().await.map(drop)
}
