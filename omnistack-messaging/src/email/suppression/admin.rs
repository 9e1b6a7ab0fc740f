//! Operator routes for mail suppressions: `/api/v1/admin/email/suppressions`.

#![expect(unused_qualifications, reason = "the derive macros for queries generate qualified paths")]

use axum::{extract::State, http::StatusCode};
use garde::Validate;
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;

use super::{Suppression, SuppressionReason, Suppressions};
use crate::email::Address;
use crate::email::register_mail_migrations;
use omnistack_core::{
    audit::{AuditEntry, AuditLog},
    clock::{Clock, Timestamp},
    db::Db,
    http::{CursorPage, Error, ErrorEnvelope, FieldError, Json, Path, Query},
    identity::Identity,
    module::{Api, Module, Mount, Registry},
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

#[derive(Clone, Debug)]
struct EmailApiState {
    db: Db,
    log: AuditLog,
    suppressions: Suppressions,
}

impl Module for EmailApi {
    fn name(&self) -> &'static str {
        "email_api"
    }

    fn register(&self, registry: &mut Registry) {
        register_mail_migrations(registry);
        let api = Api::new().routes(routes!(list, add)).routes(routes!(remove));
        registry.routes(Mount::admin("/email/suppressions"), api, |ctx| {
            let db: Db = ctx.get()?;
            Ok(EmailApiState {
                db: db.clone(),
                log: ctx.get()?,
                suppressions: Suppressions::new(db, ctx.get::<Clock>()?),
            })
        });
    }
}

#[derive(Debug, Deserialize, Validate, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct EmailSuppressionListQuery {
    /// The largest number of items to return, 1 to 100. Default: 20.
    #[garde(range(min = 1, max = 100))]
    #[param(minimum = 1, maximum = 100)]
    limit: Option<u32>,
    /// The `next_cursor` of the previous page.
    #[garde(length(chars, max = 400))]
    #[param(max_length = 400)]
    cursor: Option<String>,
}

/// List mail suppressions
///
/// The newest come first.
#[utoipa::path(get, path = "/", operation_id = "list_email_suppressions", params(EmailSuppressionListQuery),
    responses((status = 200, body = CursorPage<Suppression>)))]
async fn list(
    State(EmailApiState { suppressions, .. }): State<EmailApiState>,
    Query(query): Query<EmailSuppressionListQuery>,
) -> Result<Json<CursorPage<Suppression>>, Error> {
    let limit = query.limit.unwrap_or(20);
    let before = query.cursor.as_deref().map(parse_cursor).transpose()?;
    let before = before.as_ref().map(|(at, address)| (*at, address.as_str()));
    let mut items = suppressions.list(before, limit + 1).await?;
    let more = items.len() > usize::try_from(limit).unwrap_or(usize::MAX);
    items.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    let next = |last: &Suppression| hex::encode(format!("{} {}", last.created_at.as_micros(), last.address));
    let next_cursor = items.last().filter(|_| more).map(next);
    Ok(Json(CursorPage { items, next_cursor }))
}

fn parse_cursor(cursor: &str) -> Result<(Timestamp, String), Error> {
    let read = || {
        let text = String::from_utf8(hex::decode(cursor).ok()?).ok()?;
        let (at, address) = text.split_once(' ')?;
        Some((Timestamp::from_micros(at.parse().ok()?), address.to_owned()))
    };
    read()
        .filter(|(_, address)| !address.contains('\0'))
        .ok_or_else(|| Error::invalid([FieldError::new("cursor", "must be a `next_cursor` value")]))
}

/// A mail suppression to add.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewEmailSuppression {
    /// The mailbox, such as `ada@example.com`.
    #[garde(length(chars, max = 300))]
    #[schema(max_length = 300)]
    address: String,
    /// The reason, shown to other operators. At most 500 characters.
    #[garde(length(chars, max = 500))]
    #[schema(max_length = 500)]
    detail: Option<String>,
}

fn mailbox(text: &str) -> Result<Address, Error> {
    Address::new(text).map_err(|error| Error::invalid([FieldError::new("address", error.to_string())]))
}

/// Suppress mail to an address
///
/// No mail is sent to the address from now on.
#[utoipa::path(post, path = "/", operation_id = "add_email_suppression", request_body = NewEmailSuppression, responses(
    (status = 201, body = Suppression),
    (status = 200, body = Suppression, description = "The address was suppressed already; it keeps its reason."),
))]
async fn add(
    State(EmailApiState { db, log, suppressions }): State<EmailApiState>,
    caller: Identity,
    Json(new): Json<NewEmailSuppression>,
) -> Result<(StatusCode, Json<Suppression>), Error> {
    let address = mailbox(&new.address)?;
    let mut tx = db.begin().await?;
    let added = suppressions.add_in(&mut tx, &address, SuppressionReason::Manual, new.detail.as_deref()).await?;
    if added {
        log.record_in(&mut tx, entry("email.address_suppressed", &caller, &address)).await?;
    }
    tx.commit().await?;
    let found = suppressions.suppressed_among([&address]).await?.pop();
    let suppression =
        found.ok_or_else(|| Error::conflict("SUPPRESSION_GONE", "the suppression was just removed; try again"))?;
    Ok((if added { StatusCode::CREATED } else { StatusCode::OK }, Json(suppression)))
}

/// Remove a mail suppression
///
/// Mail is sent to the address again.
#[utoipa::path(delete, path = "/{address}", operation_id = "delete_email_suppression",
    params(("address" = String, Path)), responses(
    (status = 204),
    (status = 404, body = ErrorEnvelope),
))]
async fn remove(
    State(EmailApiState { db, log, .. }): State<EmailApiState>,
    caller: Identity,
    Path(address): Path<String>,
) -> Result<StatusCode, Error> {
    let address = Address::new(&address).map_err(|_| Error::not_found("the mail suppression"))?;
    let mut tx = db.begin().await?;
    if !Suppressions::remove_in(&mut tx, &address).await? {
        return Err(Error::not_found(format!("the mail suppression of `{}`", address.normalized())));
    }
    log.record_in(&mut tx, entry("email.address_released", &caller, &address)).await?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

fn entry(action: &'static str, caller: &Identity, address: &Address) -> AuditEntry {
    AuditEntry::new(action).actor(caller).for_app().resource("address", address.normalized())
}
