//! Parts of OmniStack in a plain axum app.

use axum::{
    Router,
    extract::{FromRef, State},
    routing::{get, post},
};
use omnistack::{
    audit::{AuditEntry, AuditLog},
    db::{self, CORE_MIGRATIONS, Dialect},
    email::{
        self, Email, Mailer, Outbox, PurgeMail, SendMail,
        template::{Brand, TemplateOverrides, Templates},
    },
    events::Dispatcher,
    flags::{self, CallerFlags, Flags},
    http::{
        Rate, Response, StatusCode,
        layer::{ClientAddrLayer, ErrorLayer, RequestIdLayer},
    },
    idempotency::{self, IdempotencyLayer, IdempotencySettings},
    identity::{Authenticator, GuardLayer},
    jobs::Runner,
    outbox,
    prelude::*,
    pubsub::PubSub,
    rate_limit::{RateLimitKey, RateLimitLayer},
};

use crate::{
    before::{self, Connection, Pool},
    customers::Customers,
    database,
};

/// The time for which a mail is retried, and for which its state is kept.
const MAIL_RETRIES: Duration = Duration::from_hours(72);
const MAIL_KEPT: Duration = Duration::from_hours(720);

// ANCHOR: job
/// The job that brews what was ordered.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Brew {
    /// The number of the order.
    pub order: i64,
}

#[async_trait]
impl Job for Brew {
    const NAME: &'static str = "shop.brew";
    type State = Pool;

    async fn run(self, pool: &Pool, _: &JobContext) -> Result<(), JobError> {
        before::mark_brewed(pool, self.order).await.map_err(JobError::retry)
    }
}
// ANCHOR_END: job

/// An item was ordered.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ItemOrdered {
    /// The ordered item.
    pub item: String,
}

impl Event for ItemOrdered {
    const NAME: &'static str = "shop.item_ordered";

    fn key(&self) -> String {
        self.item.clone()
    }
}

/// A subscriber that counts how often each item is ordered.
struct CountItems;

#[async_trait]
impl Subscriber for CountItems {
    type Event = ItemOrdered;

    async fn handle(&self, event: ItemOrdered, delivery: &mut Delivery) -> Result<(), JobError> {
        let count = "insert into popular_items (item, orders) values ($1, 1) \
                     on conflict (item) do update set orders = popular_items.orders + 1";
        delivery.tx().await?.query(count).bind(event.item).execute().await?;
        Ok(())
    }
}

// ANCHOR: lend
/// Lends the connection of a transaction to the functions of the shop.
///
/// # Errors
/// 500 if the connection was lost.
pub fn lend(tx: &mut Tx) -> Result<Connection<'_>, Error> {
    let lent = match tx.dialect() {
        Dialect::Postgres => tx.postgres().map(Connection::Postgres),
        Dialect::Sqlite => tx.sqlite().map(Connection::Sqlite),
    };
    lent.ok_or_else(|| Error::internal("the connection to the database was lost"))
}
// ANCHOR_END: lend

// ANCHOR: parts
/// The parts of OmniStack that the shop uses. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Parts {
    /// The shop's own pool.
    pub pool: Pool,
    /// The same database, as OmniStack uses it.
    pub db: Db,
    /// The clock.
    pub clock: Clock,
    /// The job queue.
    pub jobs: Jobs,
    /// The events.
    pub events: Events,
    /// The audit log.
    pub audit: AuditLog,
    /// The mail outbox.
    pub outbox: Outbox,
    /// The feature flags.
    pub flags: Flags,
}

impl Parts {
    /// Creates the tables of the parts, and the parts. Returns them with what runs in the background.
    ///
    /// # Errors
    /// The errors of the database.
    pub async fn start(pool: &Pool, clock: Clock, mailer: Mailer) -> omnistack::Result<(Self, Runner, Dispatcher)> {
        let db = database(pool);
        for (history, tables) in [
            ("core", CORE_MIGRATIONS),
            ("idempotency", idempotency::MIGRATIONS),
            ("messaging", outbox::MIGRATIONS),
            ("email", email::MIGRATIONS),
            ("flags", flags::MIGRATIONS),
        ] {
            db.migrate(history, tables).await?;
        }
        let jobs = Jobs::new(db.clone(), clock.clone());
        let events = Events::new(db.clone(), clock.clone());
        let audit = AuditLog::to_database(clock.clone());
        let templates = TemplateOverrides::new(db.clone(), clock.clone(), Templates::new(Brand::new("Shop")));
        let outbox = Outbox::new(db.clone(), clock.clone(), jobs.clone(), templates);
        let flags = Flags::in_database(db.clone(), audit.clone(), PubSub::default(), clock.clone());
        flags.refresh().await?;

        let worker = outbox.worker(mailer, MAIL_RETRIES, MAIL_KEPT);
        let runner = Runner::builder(jobs.clone())
            .job::<Brew>(pool.clone())
            .job::<SendMail>(worker.clone())
            .job::<PurgeMail>(worker)
            .cron(Cron::new("17 4 * * *", PurgeMail::default()))
            .build()?;
        let dispatcher = Dispatcher::builder(events.clone()).subscribe("shop.count_items", CountItems).build()?;
        let parts = Self { pool: pool.clone(), db, clock, jobs, events, audit, outbox, flags };
        Ok((parts, runner, dispatcher))
    }
}
// ANCHOR_END: parts

impl FromRef<Parts> for Flags {
    fn from_ref(parts: &Parts) -> Self {
        parts.flags.clone()
    }
}

// ANCHOR: router
/// Returns the routes of the shop, with layers of OmniStack. The last layer is the outermost.
pub fn router(parts: Parts) -> Router {
    let (db, clock) = (parts.db.clone(), parts.clock.clone());
    let guard = GuardLayer::new(AccessLevel::App, Authenticator::new(Customers::new(parts.pool.clone())));
    let orders = Router::new()
        .route("/orders", post(place_order))
        .layer(IdempotencyLayer::new(db, clock.clone(), IdempotencySettings::default()))
        .layer(guard);
    Router::new()
        .route("/", get(page))
        .merge(orders)
        .layer(RateLimitLayer::new(Rate::per_minute(60), RateLimitKey::Address, clock.clone()))
        .layer(ClientAddrLayer::default())
        .layer(ErrorLayer::new(clock.clone()))
        .layer(RequestIdLayer::new(clock))
        .with_state(parts)
}
// ANCHOR_END: router

async fn page(flags: CallerFlags) -> &'static str {
    if flags.is_on("new-shop") { "the new shop" } else { "the shop" }
}

// ANCHOR: order
/// Places an order: the old statement, a job, an event, a mail and an audit entry are one transaction, and so is the
/// stored response for a request that is sent again.
async fn place_order(
    State(parts): State<Parts>,
    caller: Identity,
    idempotency: Idempotency,
    item: String,
) -> Result<Response, Error> {
    let customer = caller.user.number().ok_or_else(|| Error::not_found("the customer"))?;
    let customer = before::customer(&parts.pool, customer).await.map_err(db::Error::from)?;
    let customer = customer.ok_or_else(|| Error::not_found("the customer"))?;

    let mut tx = parts.db.begin().await?;
    let order = before::insert_order(lend(&mut tx)?, customer.id, &item).await.map_err(db::Error::from)?;
    parts.jobs.enqueue_in(&mut tx, Brew { order }).await?;
    parts.events.publish_in(&mut tx, &ItemOrdered { item: item.clone() }).await?;
    let mail = Email::to(customer.email).subject("Your order").text(format!("We brew your {item}."));
    parts.outbox.send_in(&mut tx, &mail).await?;
    parts.audit.record_in(&mut tx, AuditEntry::new("order.placed").resource("order", order)).await?;
    idempotency.commit(tx, (StatusCode::CREATED, order.to_string())).await
}
// ANCHOR_END: order
