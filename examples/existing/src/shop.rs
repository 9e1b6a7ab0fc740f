//! The shop as a module of an app.

use axum::extract::State;
use omnistack::{
    audit::{AuditEntry, AuditLog},
    db,
    email::{Email, Outbox},
    http::{Response, StatusCode},
    prelude::*,
    webhook::{WebhookEvent, WebhookPublisher},
};
use utoipa_axum::routes;

use crate::{
    before::{self, Pool},
    plain::{Brew, lend},
};

/// The module of the shop, with routes under `/api/v1/app/orders`.
#[derive(Clone, Debug)]
pub struct Shop {
    pool: Pool,
}

impl Shop {
    /// Creates the module.
    pub fn new(pool: Pool) -> Self {
        Self { pool }
    }
}

// ANCHOR: module
impl Module for Shop {
    fn name(&self) -> &'static str {
        "shop"
    }

    fn register(&self, registry: &mut Registry) {
        let (pool, brewing) = (self.pool.clone(), self.pool.clone());
        registry.job::<Brew>(move |_| Ok(brewing)).webhook_event::<OrderPlaced>().routes(
            Mount::app("/orders").permissions("orders"),
            Api::new().routes(routes!(list, place)),
            move |ctx| {
                Ok(ShopState {
                    pool,
                    db: ctx.get()?,
                    jobs: ctx.get()?,
                    outbox: ctx.get()?,
                    audit: ctx.get()?,
                    webhooks: ctx.get()?,
                })
            },
        );
    }
}
// ANCHOR_END: module

/// The state of the handlers. Cheap to clone.
#[derive(Clone, Debug)]
struct ShopState {
    pool: Pool,
    db: Db,
    jobs: Jobs,
    outbox: Outbox,
    audit: AuditLog,
    webhooks: WebhookPublisher,
}

/// An order was placed.
#[derive(Debug, Serialize, ToSchema)]
pub struct OrderPlaced {
    /// The number of the order.
    pub order: i64,
    /// The ordered item.
    pub item: String,
}

impl WebhookEvent for OrderPlaced {
    const TYPE: &'static str = "order.placed";
    const DESCRIPTION: &'static str = "The customer has placed an order.";

    fn example() -> Self {
        Self { order: 7, item: "tea".to_owned() }
    }
}

/// A new order.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewOrder {
    /// The ordered item.
    #[garde(length(chars, min = 1, max = 100))]
    #[schema(min_length = 1, max_length = 100)]
    item: String,
}

/// An order of the customer.
#[derive(Debug, Serialize, ToSchema)]
struct PlacedOrder {
    /// The number of the order.
    id: i64,
    /// The ordered item.
    item: String,
    /// Whether it is ready.
    brewed: bool,
}

/// Returns the number of the customer who calls.
fn customer(caller: &Identity) -> Result<i64, Error> {
    caller.user.number().ok_or_else(|| Error::not_found("the customer"))
}

/// List the orders
#[utoipa::path(get, path = "/", operation_id = "list_orders", responses((status = 200, body = Vec<PlacedOrder>)))]
async fn list(State(shop): State<ShopState>, caller: Identity) -> Result<Json<Vec<PlacedOrder>>, Error> {
    let orders = before::orders(&shop.pool, customer(&caller)?).await.map_err(db::Error::from)?;
    let orders = orders.into_iter().map(|order| PlacedOrder { id: order.id, item: order.item, brewed: order.brewed });
    Ok(Json(orders.collect()))
}

// ANCHOR: place
/// Place an order
#[utoipa::path(post, path = "/", operation_id = "place_order", request_body = NewOrder, responses((status = 201, body = PlacedOrder)))]
async fn place(
    State(shop): State<ShopState>,
    caller: Identity,
    idempotency: Idempotency,
    Json(new): Json<NewOrder>,
) -> Result<Response, Error> {
    let (tenant, item) = (caller.require_tenant()?, new.item);
    let customer = before::customer(&shop.pool, customer(&caller)?).await.map_err(db::Error::from)?;
    let customer = customer.ok_or_else(|| Error::not_found("the customer"))?;

    let mut tx = shop.db.tenant(tenant).begin().await?;
    let order = before::insert_order(lend(&mut tx)?, customer.id, &item).await.map_err(db::Error::from)?;
    shop.jobs.enqueue_in(&mut tx, Brew { order }).await?;
    shop.webhooks.publish_in(&mut tx, &OrderPlaced { order, item: item.clone() }).await?;
    let mail = Email::to(customer.email).for_tenant(tenant).subject("Your order").text(format!("We brew your {item}."));
    shop.outbox.send_in(&mut tx, &mail).await?;
    shop.audit.record_in(&mut tx, AuditEntry::new("order.placed").actor(&caller).resource("order", order)).await?;
    idempotency.commit(tx, (StatusCode::CREATED, Json(PlacedOrder { id: order, item, brewed: false }))).await
}
// ANCHOR_END: place
