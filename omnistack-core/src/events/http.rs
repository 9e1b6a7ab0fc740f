//! Deliveries, for operators: `/api/v1/admin/events`.

#![expect(unused_qualifications, reason = "what the macros make of a query's type")]

use axum::extract::State;
use garde::Validate;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;

use super::{DeliveryFilter, DeliveryInfo, DeliveryState, EventId, Events, SubscriberInfo};
use crate::{
    app::{Api, Mount, Registry},
    http::{Error, FieldProblem, Json, Page, Query},
};

pub(crate) fn register(registry: &mut Registry) {
    let api =
        Api::new().routes(routes!(list)).routes(routes!(subscribers)).routes(routes!(retry)).routes(routes!(skip));
    registry.routes(Mount::admin("/events"), api, |ctx| ctx.get::<Events>());
}

/// Which deliveries to list.
#[derive(Debug, Deserialize, Validate, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ListQuery {
    /// Of this event.
    #[garde(skip)]
    #[param(value_type = Option<String>, format = "uuid")]
    id: Option<EventId>,
    /// For this subscriber.
    #[garde(length(max = 200))]
    subscriber: Option<String>,
    /// With this key.
    #[garde(length(max = 500))]
    key: Option<String>,
    /// In this state.
    #[garde(skip)]
    state: Option<DeliveryState>,
    /// At most this many.
    #[garde(range(min = 1, max = 100))]
    #[param(minimum = 1, maximum = 100)]
    limit: Option<u32>,
    /// What the page before said comes next.
    #[garde(length(max = 300))]
    cursor: Option<String>,
}

/// Lists deliveries, those of the newest events first.
#[utoipa::path(get, path = "/deliveries", operation_id = "list_event_deliveries", params(ListQuery),
    responses((status = 200, body = Page<DeliveryInfo>)))]
async fn list(State(events): State<Events>, Query(query): Query<ListQuery>) -> Result<Json<Page<DeliveryInfo>>, Error> {
    let ListQuery { id, subscriber, key, state, limit, cursor } = query;
    let limit = limit.unwrap_or(20);
    let filter = DeliveryFilter { id, subscriber, key, state };
    let before = cursor.as_deref().map(read_cursor).transpose()?;
    let mut items = events.deliveries(&filter, before, limit + 1).await?;
    let more = items.len() > usize::try_from(limit).unwrap_or(usize::MAX);
    items.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    let next_cursor = items.last().filter(|_| more).map(|last| format!("{}.{}", last.sequence, last.subscriber));
    Ok(Json(Page { items, next_cursor }))
}

fn read_cursor(cursor: &str) -> Result<(i64, &str), Error> {
    let read = cursor.split_once('.').and_then(|(sequence, subscriber)| Some((sequence.parse().ok()?, subscriber)));
    read.ok_or_else(|| Error::invalid([FieldProblem::new("cursor", "is none that a page gave")]))
}

/// Shows how far each subscriber is.
#[utoipa::path(get, path = "/subscribers", operation_id = "list_event_subscribers",
    responses((status = 200, body = Vec<SubscriberInfo>)))]
async fn subscribers(State(events): State<Events>) -> Result<Json<Vec<SubscriberInfo>>, Error> {
    Ok(Json(events.subscribers().await?))
}

/// Which deliveries to change: those of a subscriber of which everything said is true.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
struct DeliverySelection {
    /// For this subscriber.
    #[garde(length(min = 1, max = 200))]
    #[schema(pattern = "^[^\\x00]*$")]
    subscriber: String,
    /// Of this event.
    #[garde(skip)]
    #[serde(default)]
    #[schema(value_type = Option<String>, format = "uuid")]
    id: Option<EventId>,
    /// With this key.
    #[garde(length(max = 500))]
    #[schema(pattern = "^[^\\x00]*$")]
    #[serde(default)]
    key: Option<String>,
    /// All of the subscriber's, when nothing else is said.
    #[garde(skip)]
    #[serde(default)]
    all: bool,
}

impl DeliverySelection {
    fn filter(self) -> Result<DeliveryFilter, Error> {
        let Self { subscriber, id, key, all } = self;
        if id.is_none() && key.is_none() && !all {
            return Err(Error::invalid([FieldProblem::new(
                "all",
                "must be true when nothing else says which deliveries",
            )]));
        }
        Ok(DeliveryFilter { id, subscriber: Some(subscriber), key, state: None })
    }
}

/// How many deliveries were changed.
#[derive(Serialize, ToSchema)]
struct DeliveriesChanged {
    /// Deliveries changed.
    changed: u64,
}

/// Delivers dead letters again.
#[utoipa::path(post, path = "/retry", operation_id = "retry_event_deliveries", request_body = DeliverySelection,
    responses((status = 200, body = DeliveriesChanged)))]
async fn retry(
    State(events): State<Events>,
    Json(selection): Json<DeliverySelection>,
) -> Result<Json<DeliveriesChanged>, Error> {
    Ok(Json(DeliveriesChanged { changed: events.retry(&selection.filter()?).await? }))
}

/// Gives up dead letters; what comes after them in their keys goes on.
#[utoipa::path(post, path = "/skip", operation_id = "skip_event_deliveries", request_body = DeliverySelection,
    responses((status = 200, body = DeliveriesChanged)))]
async fn skip(
    State(events): State<Events>,
    Json(selection): Json<DeliverySelection>,
) -> Result<Json<DeliveriesChanged>, Error> {
    let filter = selection.filter()?.state(DeliveryState::Dead);
    Ok(Json(DeliveriesChanged { changed: events.skip(&filter).await? }))
}
