//! A notification: as it is checked, as it is stored, and as its user sees it.

use omnistack_core::{
    clock::Timestamp,
    db::{self, ErrorKind},
    id::Id,
    identity::TenantId,
    notification::NewNotification,
};
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

/// Longest title, in characters. A longer one is cut off.
const MAX_TITLE_CHARS: usize = 200;
/// Longest body, in characters. A longer one is cut off.
const MAX_BODY_CHARS: usize = 2_000;
/// Longest link, in bytes.
const MAX_LINK_BYTES: usize = 2_000;
/// Largest data, in bytes of JSON.
const MAX_DATA_BYTES: usize = 8 * 1024;
/// Longest idempotency key, in bytes.
const MAX_KEY_BYTES: usize = 200;

/// Marker type of ids of notifications: see [`NotificationId`].
#[derive(Clone, Copy, Debug)]
pub(crate) enum NotificationMarker {}

/// The id of a notification.
pub(crate) type NotificationId = Id<NotificationMarker>;

/// The columns of [`NotificationRow`].
pub(super) const NOTIFICATION_COLUMNS: &str = "id, tenant_id, kind, title, body, link, data, created_at, read_at";

/// A stored notification.
#[derive(Clone, Debug, omnistack_core::db::FromRow)]
pub(super) struct NotificationRow {
    pub(super) id: NotificationId,
    pub(super) tenant_id: Option<TenantId>,
    pub(super) kind: String,
    pub(super) title: String,
    pub(super) body: Option<String>,
    pub(super) link: Option<String>,
    pub(super) data: String,
    pub(super) created_at: Timestamp,
    pub(super) read_at: Option<Timestamp>,
}

/// A notification of the caller.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct UserNotification {
    /// The id.
    id: NotificationId,
    /// The tenant that it is about; `null` if the user sees it in all tenants.
    #[schema(required, value_type = Option<String>, format = Uuid)]
    tenant_id: Option<TenantId>,
    /// The kind, such as `comment.created`.
    kind: String,
    /// A line that says what has happened.
    title: String,
    /// More text.
    #[schema(required)]
    body: Option<String>,
    /// The page to open: a path of the app, or a URL.
    #[schema(required)]
    link: Option<String>,
    /// Values for clients, which depend on the kind.
    #[schema(value_type = Object)]
    data: Value,
    /// When it was created.
    created_at: Timestamp,
    /// When the user read it.
    #[schema(required)]
    read_at: Option<Timestamp>,
}

impl From<NotificationRow> for UserNotification {
    fn from(row: NotificationRow) -> Self {
        let data = serde_json::from_str(&row.data).unwrap_or_else(|_| json!({}));
        let NotificationRow { id, tenant_id, kind, title, body, link, created_at, read_at, .. } = row;
        Self { id, tenant_id, kind, title, body, link, data, created_at, read_at }
    }
}

/// A message to the clients of a user, in the channel `user:ID`.
#[derive(Debug, Serialize)]
#[serde(tag = "type")]
pub(super) enum NotificationMessage<'a> {
    /// A notification was stored.
    #[serde(rename = "notification.created")]
    Created { notification: &'a UserNotification },
    /// The user has read a notification.
    #[serde(rename = "notification.read")]
    Read { id: NotificationId },
    /// The user has read all notifications about a tenant, and those about none.
    #[serde(rename = "notification.all_read")]
    AllRead { tenant_id: Option<TenantId> },
}

/// Returns the error for a notification that can't be stored.
pub(super) fn invalid(what: impl Into<String>) -> db::Error {
    db::Error::new(ErrorKind::InvalidValue, what.into().into())
}

/// Returns the notification as it is stored: with a title of one line, texts within their limits, and data that is an
/// object. Fails if the title is empty, or the link, the data or the key is not valid.
pub(super) fn checked(mut new: NewNotification) -> Result<NewNotification, db::Error> {
    // A line break would end the subject of the mail.
    let title: String = new.title.chars().map(|char| if char.is_control() { ' ' } else { char }).collect();
    new.title = truncated(title.trim(), MAX_TITLE_CHARS);
    if new.title.is_empty() {
        return Err(invalid("the title of a notification is empty; say what has happened"));
    }
    new.body = new.body.map(|body| {
        let is_refused = |char: char| char.is_control() && char != '\n';
        let body: String = body.chars().map(|char| if is_refused(char) { ' ' } else { char }).collect();
        truncated(body.trim(), MAX_BODY_CHARS)
    });
    new.body = new.body.filter(|body| !body.is_empty());
    if let Some(link) = new.link.as_deref().filter(|link| !is_link(link)) {
        return Err(invalid(format!(
            "`{}` is no link of a notification; use a path such as `/projects/42`, or a URL of at most 2,000 bytes",
            truncated(link, MAX_TITLE_CHARS)
        )));
    }
    if new.data.is_null() {
        new.data = json!({});
    }
    if !new.data.is_object() {
        return Err(invalid("the data of a notification is no JSON object; use an object"));
    }
    if new.data.to_string().len() > MAX_DATA_BYTES {
        return Err(invalid("the data of a notification has more than 8 KiB; store an id in it instead"));
    }
    // PostgreSQL stores no NUL in text, and JSON escapes the one in data.
    if new.key.as_deref().is_some_and(|key| !(1..=MAX_KEY_BYTES).contains(&key.len()) || key.contains('\0')) {
        return Err(invalid("the key of a notification is empty or has more than 200 bytes; use a shorter one"));
    }
    Ok(new)
}

/// Returns the text, cut off after a number of characters.
fn truncated(text: &str, max_chars: usize) -> String {
    if text.chars().count() <= max_chars {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(max_chars - 1).collect();
    short.push('…');
    short
}

/// Returns whether a link leads to a page of the app or to a web page. Other schemes, such as `javascript:`, are none.
fn is_link(link: &str) -> bool {
    let is_path = link.starts_with('/') && !link.starts_with("//") && !link.contains('\\');
    let is_url = link.starts_with("https://") || link.starts_with("http://");
    (is_path || is_url) && link.len() <= MAX_LINK_BYTES && link.bytes().all(|byte| byte.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use omnistack_core::identity::UserId;

    use super::*;

    fn new(title: &str) -> NewNotification {
        NewNotification::new(UserId::new(Timestamp::default()), "kind", title)
    }

    #[test]
    fn texts_are_one_line_or_short() {
        let long = "é".repeat(3_000);
        for (title, expected) in [
            (" Ada\r\ncommented\0 ", "Ada  commented".to_owned()),
            (long.as_str(), format!("{}…", "é".repeat(199))),
            ("a".repeat(200).as_str(), "a".repeat(200)),
        ] {
            assert_eq!(checked(new(title)).unwrap().title, expected);
        }
        let body = checked(new("a").body("one\ntwo\r\0")).unwrap().body;
        assert_eq!(body.as_deref(), Some("one\ntwo"));
        assert_eq!(checked(new("a").body(" ")).unwrap().body, None);
        assert_eq!(checked(new("a").body(&*long)).unwrap().body.unwrap().chars().count(), 2_000);
        assert_eq!(checked(new("\n")).unwrap_err().kind(), ErrorKind::InvalidValue);
    }

    #[test]
    fn links_lead_to_pages() {
        for (link, expected) in [
            ("/projects/42?tab=a#b", true),
            ("https://example.com/", true),
            ("//example.com", false),
            ("/\\example.com", false),
            ("javascript:alert(1)", false),
            ("projects/42", false),
            ("/a b", false),
            ("", false),
        ] {
            assert_eq!(checked(new("a").link(link)).is_ok(), expected, "{link}");
        }
        assert!(checked(new("a").link(format!("/{}", "a".repeat(2_000)))).is_err());
    }

    #[test]
    fn data_is_a_small_object_and_a_key_is_short() {
        assert_eq!(checked(new("a")).unwrap().data, json!({}));
        for data in [json!([1]), json!("text"), json!({ "text": "a".repeat(8 * 1024) })] {
            assert!(checked(new("a").data(data)).is_err());
        }
        for (key, expected) in [("a".repeat(200), true), ("a".repeat(201), false), (String::new(), false)] {
            assert_eq!(checked(new("a").key(key)).is_ok(), expected);
        }
    }
}
