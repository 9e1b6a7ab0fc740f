//! Operator routes for the suppressions of a channel: `/api/v1/admin/email/suppressions` and
//! `/api/v1/admin/sms/suppressions`.

#![expect(unused_qualifications, reason = "the derive macros for queries generate qualified paths")]

use axum::{extract::State, http::StatusCode};
use garde::Validate;
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::UtoipaMethodRouter, routes};

use super::{Recipient, Suppression, SuppressionReason, SuppressionStore, register_migrations};
use omnistack_core::{
    audit::{AuditEntry, AuditLog},
    clock::{Clock, Timestamp},
    db::Db,
    http::{CursorPage, Error, ErrorEnvelope, FieldError, Json, PageRequest, Path, Query},
    identity::Identity,
    module::{Api, Mount, Registry},
    text::Text,
};

/// State of the operator routes. The handlers are the same for every channel, because a handler with an OpenAPI
/// description can't be generic.
#[derive(Clone, Debug)]
struct SuppressionRoutes {
    log: AuditLog,
    store: SuppressionStore,
    kind: &'static str,
    suppressed: &'static str,
    released: &'static str,
    /// Returns the key of a recipient, or what is wrong with it.
    key: fn(&str) -> Result<String, String>,
}

impl SuppressionRoutes {
    fn entry(&self, action: &'static str, caller: &Identity, recipient: &str) -> AuditEntry {
        AuditEntry::new(action).actor(caller).for_app().resource(self.kind, recipient)
    }
}

/// Adds the tables and the operator routes for the suppressions of recipients of this type.
pub(crate) fn register_routes<R: Recipient>(registry: &mut Registry) {
    register_migrations(registry);
    let api = Api::new().routes(of_channel::<R>(routes!(list, add))).routes(of_channel::<R>(routes!(remove)));
    registry.routes(Mount::admin(format!("/{}/suppressions", R::CHANNEL)), api, |ctx| {
        Ok(SuppressionRoutes {
            log: ctx.get()?,
            store: SuppressionStore { db: ctx.get::<Db>()?, clock: ctx.get::<Clock>()?, channel: R::CHANNEL },
            kind: R::KIND,
            suppressed: R::SUPPRESSED,
            released: R::RELEASED,
            key: |text| R::parse_recipient(text).map(|recipient| recipient.key()),
        })
    });
}

/// Puts the name of the channel into the operation ids, which are unique in an app: `list_sms_suppressions`.
fn of_channel<R: Recipient>(
    (schemas, mut paths, router): UtoipaMethodRouter<SuppressionRoutes>,
) -> UtoipaMethodRouter<SuppressionRoutes> {
    for item in paths.paths.values_mut() {
        for operation in [&mut item.get, &mut item.post, &mut item.delete].into_iter().flatten() {
            let id = operation.operation_id.as_mut();
            let _ = id.map(|id| *id = id.replace("suppression", &format!("{}_suppression", R::CHANNEL)));
        }
    }
    (schemas, paths, router)
}

#[derive(Debug, Deserialize, Validate, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct SuppressionListQuery {
    /// The largest number of items to return, 1 to 100. Default: 20.
    #[garde(range(min = 1, max = 100))]
    #[param(minimum = 1, maximum = 100)]
    limit: Option<u32>,
    /// The `next_cursor` of the previous page.
    #[garde(length(chars, max = 400))]
    #[param(max_length = 400)]
    cursor: Option<String>,
}

/// List suppressions
///
/// The newest come first.
#[utoipa::path(get, path = "/", operation_id = "list_suppressions", params(SuppressionListQuery),
    responses((status = 200, body = CursorPage<Suppression>)))]
async fn list(
    State(routes): State<SuppressionRoutes>,
    Query(query): Query<SuppressionListQuery>,
) -> Result<Json<CursorPage<Suppression>>, Error> {
    let limit = query.limit.unwrap_or(PageRequest::DEFAULT_SIZE);
    let before = query.cursor.as_deref().map(parse_cursor).transpose()?;
    let before = before.as_ref().map(|(at, recipient)| (*at, recipient.as_str()));
    let mut items = routes.store.list(before, limit + 1).await?;
    let size = usize::try_from(limit).unwrap_or(usize::MAX);
    let more = items.len() > size;
    items.truncate(size);
    let next = |last: &Suppression| hex::encode(format!("{} {}", last.created_at.as_micros(), last.recipient));
    let next_cursor = items.last().filter(|_| more).map(next);
    Ok(Json(CursorPage { items, next_cursor }))
}

fn parse_cursor(cursor: &str) -> Result<(Timestamp, String), Error> {
    let read = || {
        let text = String::from_utf8(hex::decode(cursor).ok()?).ok()?;
        let (at, recipient) = text.split_once(' ')?;
        Some((Timestamp::from_micros(at.parse().ok()?), recipient.to_owned()))
    };
    read()
        .filter(|(_, recipient)| !recipient.contains('\0'))
        .ok_or_else(|| Error::invalid([FieldError::new("cursor", "must be a `next_cursor` value")]))
}

/// A suppression to add.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[garde(allow_unvalidated)]
struct NewSuppression {
    /// The mailbox, such as `ada@example.com`, or the number, such as `+491701234567`.
    recipient: Text<0, 300>,
    /// The reason, shown to other operators. At most 500 characters.
    detail: Option<Text<0, 500>>,
}

/// Suppress messages to a recipient
///
/// No message of this channel is sent to the recipient from now on.
#[utoipa::path(post, path = "/", operation_id = "add_suppression", request_body = NewSuppression, responses(
    (status = 201, body = Suppression),
    (status = 200, body = Suppression, description = "The recipient was suppressed already; it keeps its reason."),
))]
async fn add(
    State(routes): State<SuppressionRoutes>,
    caller: Identity,
    Json(new): Json<NewSuppression>,
) -> Result<(StatusCode, Json<Suppression>), Error> {
    let key = (routes.key)(&new.recipient);
    let recipient = key.map_err(|wrong| Error::invalid([FieldError::new("recipient", wrong)]))?;
    let mut tx = routes.store.db.begin().await?;
    let added = routes.store.add_in(&mut tx, &recipient, SuppressionReason::Manual, new.detail.as_deref()).await?;
    if added {
        routes.log.record_in(&mut tx, routes.entry(routes.suppressed, &caller, &recipient)).await?;
    }
    tx.commit().await?;
    let found = routes.store.get(recipient).await?;
    let suppression =
        found.ok_or_else(|| Error::conflict("SUPPRESSION_GONE", "the suppression was just removed; try again"))?;
    Ok((if added { StatusCode::CREATED } else { StatusCode::OK }, Json(suppression)))
}

/// Remove a suppression
///
/// Messages are sent to the recipient again. Twilio keeps an opt-out list of its own, and sends again only after the
/// number's owner replies START.
#[utoipa::path(delete, path = "/{recipient}", operation_id = "delete_suppression",
    params(("recipient" = String, Path)), responses((status = 204), (status = 404, body = ErrorEnvelope)))]
async fn remove(
    State(routes): State<SuppressionRoutes>,
    caller: Identity,
    Path(recipient): Path<String>,
) -> Result<StatusCode, Error> {
    let recipient = (routes.key)(&recipient).map_err(|_| Error::not_found("the suppression"))?;
    let mut tx = routes.store.db.begin().await?;
    if !routes.store.remove_in(&mut tx, &recipient).await? {
        return Err(Error::not_found(format!("the suppression of `{recipient}`")));
    }
    routes.log.record_in(&mut tx, routes.entry(routes.released, &caller, &recipient)).await?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}
