//! Operator routes for SMS suppressions: `/api/v1/admin/sms/suppressions`.

#![expect(unused_qualifications, reason = "the derive macros for queries generate qualified paths")]

use axum::{extract::State, http::StatusCode};
use garde::Validate;
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;

use super::{SmsSuppression, SmsSuppressionReason, SmsSuppressions};
use crate::sms::PhoneNumber;
use crate::sms::module::MIGRATIONS;
use omnistack_core::{
    audit::{AuditEntry, AuditLog},
    clock::Clock,
    db::Db,
    http::{CursorPage, Error, ErrorEnvelope, FieldError, Json, PageRequest, Path, Query},
    identity::Identity,
    module::{Api, Module, Mount, Registry},
};

/// The module with the operator routes for SMS suppressions, `/api/v1/admin/sms/suppressions`: `.with(SmsApi)`.
///
/// It is separate from the module [`Sms`](crate::sms::Sms), because not every app has operators.
#[derive(Clone, Copy, Debug, Default)]
pub struct SmsApi;

#[derive(Clone, Debug)]
struct SmsApiState {
    db: Db,
    log: AuditLog,
    suppressions: SmsSuppressions,
}

impl Module for SmsApi {
    fn name(&self) -> &'static str {
        "sms_api"
    }

    fn register(&self, registry: &mut Registry) {
        registry.shared_migrations("sms", MIGRATIONS);
        let api = Api::new().routes(routes!(list, add)).routes(routes!(remove));
        registry.routes(Mount::admin("/sms/suppressions"), api, |ctx| {
            let db: Db = ctx.get()?;
            Ok(SmsApiState {
                db: db.clone(),
                log: ctx.get()?,
                suppressions: SmsSuppressions::new(db, ctx.get::<Clock>()?),
            })
        });
    }
}

#[derive(Debug, Deserialize, Validate, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct SmsSuppressionListQuery {
    /// The largest number of items to return, 1 to 100. Default: 20.
    #[garde(range(min = 1, max = 100))]
    #[param(minimum = 1, maximum = 100)]
    limit: Option<u32>,
    /// The `next_cursor` of the previous page.
    #[garde(length(chars, max = 20))]
    #[param(max_length = 20)]
    cursor: Option<String>,
}

/// List SMS suppressions
///
/// They are ordered by number.
#[utoipa::path(get, path = "/", operation_id = "list_sms_suppressions", params(SmsSuppressionListQuery),
    responses((status = 200, body = CursorPage<SmsSuppression>)))]
async fn list(
    State(routes): State<SmsApiState>,
    Query(query): Query<SmsSuppressionListQuery>,
) -> Result<Json<CursorPage<SmsSuppression>>, Error> {
    let limit = query.limit.unwrap_or(PageRequest::DEFAULT_SIZE);
    let after = query.cursor.as_deref().map(str::parse::<PhoneNumber>).transpose();
    let after = after.map_err(|_| Error::invalid([FieldError::new("cursor", "must be a `next_cursor` value")]))?;
    let after = after.as_ref().map_or("", PhoneNumber::as_str);
    let mut items = routes.suppressions.list(after, limit + 1).await?;
    let most = usize::try_from(limit).unwrap_or(usize::MAX);
    let more = items.len() > most;
    items.truncate(most);
    let next_cursor = items.last().filter(|_| more).map(|last| last.number.clone());
    Ok(Json(CursorPage { items, next_cursor }))
}

/// An SMS suppression to add.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewSmsSuppression {
    /// The number, such as `+491701234567`.
    #[garde(length(chars, max = 40))]
    #[schema(max_length = 40)]
    number: String,
    /// The reason, shown to other operators. At most 500 characters.
    #[garde(length(chars, max = 500))]
    #[schema(max_length = 500)]
    detail: Option<String>,
}

/// Suppress messages to a number
///
/// No message is sent to the number from now on.
#[utoipa::path(post, path = "/", operation_id = "add_sms_suppression", request_body = NewSmsSuppression, responses(
    (status = 201, body = SmsSuppression),
    (status = 200, body = SmsSuppression, description = "The number was suppressed already; it keeps its reason."),
))]
async fn add(
    State(routes): State<SmsApiState>,
    caller: Identity,
    Json(new): Json<NewSmsSuppression>,
) -> Result<(StatusCode, Json<SmsSuppression>), Error> {
    let number: PhoneNumber =
        new.number.parse().map_err(|error| Error::invalid([FieldError::new("number", format!("{error}"))]))?;
    let mut tx = routes.db.begin().await?;
    let added =
        routes.suppressions.add_in(&mut tx, &number, SmsSuppressionReason::Manual, new.detail.as_deref()).await?;
    if added {
        let entry = AuditEntry::new("sms.number_suppressed").actor(&caller).for_app().resource("number", &number);
        routes.log.record_in(&mut tx, entry).await?;
    }
    tx.commit().await?;
    let found = routes.suppressions.get(&number).await?;
    let found =
        found.ok_or_else(|| Error::conflict("SUPPRESSION_GONE", "the suppression was just removed; try again"))?;
    Ok((if added { StatusCode::CREATED } else { StatusCode::OK }, Json(found)))
}

/// Remove an SMS suppression
///
/// Messages are sent to the number again. Twilio keeps an opt-out list of its own, and sends again only after the
/// number's owner replies START.
#[utoipa::path(delete, path = "/{number}", operation_id = "delete_sms_suppression", params(("number" = String, Path)),
    responses((status = 204), (status = 404, body = ErrorEnvelope)))]
async fn remove(
    State(routes): State<SmsApiState>,
    caller: Identity,
    Path(number): Path<String>,
) -> Result<StatusCode, Error> {
    let nobody = || Error::not_found("the SMS suppression");
    let number: PhoneNumber = number.parse().map_err(|_| nobody())?;
    let mut tx = routes.db.begin().await?;
    if !routes.suppressions.remove_in(&mut tx, &number).await? {
        return Err(nobody());
    }
    let entry = AuditEntry::new("sms.number_released").actor(&caller).for_app().resource("number", &number);
    routes.log.record_in(&mut tx, entry).await?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}
