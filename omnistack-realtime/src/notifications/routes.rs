//! The routes of notifications: `/api/v1/app/notifications`.

#![expect(unused_qualifications, reason = "the derive macros for queries generate qualified paths")]

use axum::extract::State;
use garde::Validate;
use omnistack_core::{
    http::{CursorPage, Error, ErrorEnvelope, Json, PageRequest, Path, Query},
    identity::Identity,
    module::Api,
    notification::NotificationPreference,
    text::Text,
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;

use super::{
    deliver::NotificationService,
    model::{NotificationId, UserNotification},
    preferences::NotificationPreferences,
};

/// Returns the routes under `/api/v1/app/notifications`.
pub(super) fn api() -> Api<NotificationService> {
    Api::new()
        .routes(routes!(list))
        .routes(routes!(unread_count))
        .routes(routes!(mark_read))
        .routes(routes!(mark_all_read))
        .routes(routes!(preferences, set_preferences))
}

#[derive(Debug, Deserialize, Validate, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct NotificationsQuery {
    /// Whether only unread notifications are returned. Default: false.
    #[garde(skip)]
    unread: Option<bool>,
    /// The largest number of items to return, 1 to 100. Default: 20.
    #[garde(range(min = 1, max = 100))]
    #[param(minimum = 1, maximum = 100)]
    limit: Option<u32>,
    /// The `next_cursor` of the previous page.
    #[garde(length(chars, max = 100))]
    #[param(max_length = 100)]
    cursor: Option<String>,
}

/// List notifications
///
/// Those of the caller about the current tenant and about none, the newest first.
#[utoipa::path(get, path = "/", operation_id = "list_notifications", params(NotificationsQuery), responses(
    (status = 200, body = CursorPage<UserNotification>),
    (status = 422, body = ErrorEnvelope),
))]
async fn list(
    State(service): State<NotificationService>,
    caller: Identity,
    Query(query): Query<NotificationsQuery>,
) -> Result<Json<CursorPage<UserNotification>>, Error> {
    let NotificationsQuery { unread, limit, cursor } = query;
    let limit = limit.unwrap_or(PageRequest::DEFAULT_SIZE);
    Ok(Json(service.page(&caller, unread.unwrap_or(false), cursor.as_deref(), limit).await?))
}

/// The number of unread notifications.
#[derive(Debug, Serialize, ToSchema)]
struct UnreadNotifications {
    /// The number, at most 1,000.
    count: u64,
}

/// Count unread notifications
///
/// Those of the caller about the current tenant and about none, counted up to 1,000.
#[utoipa::path(get, path = "/unread-count", operation_id = "count_unread_notifications", responses(
    (status = 200, body = UnreadNotifications),
))]
async fn unread_count(
    State(service): State<NotificationService>,
    caller: Identity,
) -> Result<Json<UnreadNotifications>, Error> {
    Ok(Json(UnreadNotifications { count: service.unread_count(&caller).await? }))
}

/// Mark a notification as read
///
/// A notification that was read before stays unchanged.
#[utoipa::path(post, path = "/{id}/read", operation_id = "mark_notification_read",
    params(("id" = String, Path, format = Uuid)), responses(
    (status = 200, body = UserNotification),
    (status = 404, body = ErrorEnvelope),
))]
async fn mark_read(
    State(service): State<NotificationService>,
    caller: Identity,
    Path(id): Path<NotificationId>,
) -> Result<Json<UserNotification>, Error> {
    Ok(Json(service.mark_read(&caller, id).await?))
}

/// The number of notifications that were marked as read.
#[derive(Debug, Serialize, ToSchema)]
struct NotificationsRead {
    /// The number of notifications that were unread.
    read: u64,
}

/// Mark all notifications as read
///
/// Those of the caller about the current tenant and about none.
#[utoipa::path(post, path = "/read-all", operation_id = "mark_all_notifications_read", responses(
    (status = 200, body = NotificationsRead),
))]
async fn mark_all_read(
    State(service): State<NotificationService>,
    caller: Identity,
) -> Result<Json<NotificationsRead>, Error> {
    Ok(Json(NotificationsRead { read: service.mark_all_read(&caller).await? }))
}

/// Get notification preferences
///
/// The preferences of the caller, which apply in all tenants.
#[utoipa::path(get, path = "/preferences", operation_id = "get_notification_preferences", responses(
    (status = 200, body = NotificationPreferences),
))]
async fn preferences(
    State(service): State<NotificationService>,
    caller: Identity,
) -> Result<Json<NotificationPreferences>, Error> {
    Ok(Json(service.preferences(caller.user).await?))
}

/// A preference for a kind of notifications.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[garde(allow_unvalidated)]
struct NewKindPreference {
    /// The name of the kind, such as `comment.created`.
    kind: Text<0, 100>,
    /// `live`, `mail`, `both` or `none`.
    preference: NotificationPreference,
}

/// The preferences to set. They replace the present ones.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewNotificationPreferences {
    /// Whether unread notifications that were not mailed are sent as one mail after a while.
    #[garde(skip)]
    digest: bool,
    /// The preferences. A kind that is not listed gets its default.
    #[garde(length(max = 200), dive)]
    #[schema(max_items = 200)]
    kinds: Vec<NewKindPreference>,
}

/// Set notification preferences
///
/// They replace the present ones, and apply to notifications that are created from now on.
#[utoipa::path(put, path = "/preferences", operation_id = "set_notification_preferences",
    request_body = NewNotificationPreferences, responses(
    (status = 200, body = NotificationPreferences),
    (status = 422, body = ErrorEnvelope, description = "The app has no such kind, or a kind is listed twice."),
))]
async fn set_preferences(
    State(service): State<NotificationService>,
    caller: Identity,
    Json(new): Json<NewNotificationPreferences>,
) -> Result<Json<NotificationPreferences>, Error> {
    let choices = new.kinds.into_iter().map(|choice| (choice.kind.into(), choice.preference)).collect();
    Ok(Json(service.set_preferences(caller.user, new.digest, choices).await?))
}
