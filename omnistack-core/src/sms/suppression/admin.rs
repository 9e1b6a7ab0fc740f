//! The list, for operators: `/api/v1/admin/sms/suppressions`.

#![expect(unused_qualifications, reason = "what the macros make of a query's type")]

use axum::{extract::State, http::StatusCode};
use garde::Validate;
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;

use super::{SmsReason, SmsSuppression, SmsSuppressions};
use crate::{
    app::{Api, Module, Mount, Registry},
    audit::{AuditEntry, AuditLog},
    clock::Clock,
    db::Db,
    http::{Error, ErrorEnvelope, FieldProblem, Json, Page, PageRequest, Path, Query},
    identity::Identity,
    sms::PhoneNumber,
};

/// `/api/v1/admin/sms/suppressions`: the numbers no message is sent to, for operators.
///
/// A module of its own, because not every app has operators: `.with(SmsApi)`.
#[derive(Clone, Copy, Debug, Default)]
pub struct SmsApi;

#[derive(Clone, Debug)]
struct Routes {
    db: Db,
    log: AuditLog,
    suppressions: SmsSuppressions,
}

impl Module for SmsApi {
    fn name(&self) -> &'static str {
        "sms_api"
    }

    fn register(&self, registry: &mut Registry) {
        let api = Api::new().routes(routes!(list, add)).routes(routes!(remove));
        registry.routes(Mount::admin("/sms/suppressions"), api, |ctx| {
            let db: Db = ctx.get()?;
            Ok(Routes { db: db.clone(), log: ctx.get()?, suppressions: SmsSuppressions::new(db, ctx.get::<Clock>()?) })
        });
    }
}

#[derive(Debug, Deserialize, Validate, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ListQuery {
    /// At most this many.
    #[garde(range(min = 1, max = 100))]
    #[param(minimum = 1, maximum = 100)]
    limit: Option<u32>,
    /// What the page before said comes next.
    #[garde(length(max = 20))]
    cursor: Option<String>,
}

/// Lists numbers no message is sent to.
#[utoipa::path(get, path = "/", operation_id = "list_sms_suppressions", params(ListQuery),
    responses((status = 200, body = Page<SmsSuppression>)))]
async fn list(
    State(routes): State<Routes>,
    Query(query): Query<ListQuery>,
) -> Result<Json<Page<SmsSuppression>>, Error> {
    let limit = query.limit.unwrap_or(PageRequest::DEFAULT_SIZE);
    let after = query.cursor.as_deref().map(str::parse::<PhoneNumber>).transpose();
    let after = after.map_err(|_| Error::invalid([FieldProblem::new("cursor", "is none that a page gave")]))?;
    let after = after.as_ref().map_or("", PhoneNumber::as_str);
    let mut items = routes.suppressions.list(after, limit + 1).await?;
    let most = usize::try_from(limit).unwrap_or(usize::MAX);
    let more = items.len() > most;
    items.truncate(most);
    let next_cursor = items.last().filter(|_| more).map(|last| last.number.clone());
    Ok(Json(Page { items, next_cursor }))
}

/// A number no message is to be sent to.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewSmsSuppression {
    /// The number: `+491701234567`.
    #[garde(length(max = 40))]
    number: String,
    /// Why, for other operators.
    #[garde(length(max = 500))]
    detail: Option<String>,
}

/// Sends no more messages to a number.
#[utoipa::path(post, path = "/", operation_id = "add_sms_suppression", request_body = NewSmsSuppression, responses(
    (status = 201, body = SmsSuppression),
    (status = 200, body = SmsSuppression, description = "It was there already, and keeps its reason."),
))]
async fn add(
    State(routes): State<Routes>,
    caller: Identity,
    Json(new): Json<NewSmsSuppression>,
) -> Result<(StatusCode, Json<SmsSuppression>), Error> {
    let number: PhoneNumber =
        new.number.parse().map_err(|error| Error::invalid([FieldProblem::new("number", format!("{error}"))]))?;
    let mut tx = routes.db.begin().await?;
    let added = routes.suppressions.add_in(&mut tx, &number, SmsReason::Manual, new.detail.as_deref()).await?;
    if added {
        let entry = AuditEntry::new("sms.number_suppressed").by(&caller).for_app().on("number", &number);
        routes.log.record_in(&mut tx, entry).await?;
    }
    tx.commit().await?;
    let found = routes.suppressions.get(&number).await?;
    let found = found.ok_or_else(|| Error::conflict("SUPPRESSION_GONE", "somebody has just removed it"))?;
    Ok((if added { StatusCode::CREATED } else { StatusCode::OK }, Json(found)))
}

/// Sends messages to a number again. Twilio keeps a list of its own: it sends again when the owner answers START.
#[utoipa::path(delete, path = "/{number}", operation_id = "delete_sms_suppression", params(("number" = String, Path)),
    responses((status = 204), (status = 404, body = ErrorEnvelope)))]
async fn remove(
    State(routes): State<Routes>,
    caller: Identity,
    Path(number): Path<String>,
) -> Result<StatusCode, Error> {
    let nobody = || Error::not_found("the number among those no message is sent to");
    let number: PhoneNumber = number.parse().map_err(|_| nobody())?;
    let mut tx = routes.db.begin().await?;
    if !routes.suppressions.remove_in(&mut tx, &number).await? {
        return Err(nobody());
    }
    let entry = AuditEntry::new("sms.number_released").by(&caller).for_app().on("number", &number);
    routes.log.record_in(&mut tx, entry).await?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}
