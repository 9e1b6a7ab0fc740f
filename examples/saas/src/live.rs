//! The page `/live`: a job with a progress bar, a bell of notifications and a chat, over one connection.

use axum::{
    extract::State,
    response::IntoResponse as _,
    routing::{MethodRouter, get},
};
use omnistack::{
    email::UserContacts,
    http::{ErrorEnvelope, HeaderValue, StatusCode, header},
    jobs::{JobId, NewJob},
    notification::{NewNotification, NotificationPreference, Notifier},
    prelude::*,
};
use utoipa_axum::routes;

/// The time that a job needs for a twentieth of its work.
const STEP_DURATION: Duration = Duration::from_millis(100);

/// The policy of the page: scripts, styles and connections of the app itself, and nothing inline.
const CONTENT_SECURITY_POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; connect-src 'self'; base-uri 'none'; \
     form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'",
);

/// The module of the page, with its routes under `/api/v1/app/live`.
#[derive(Debug)]
pub struct Live;

impl Module for Live {
    fn name(&self) -> &'static str {
        "live"
    }

    fn register(&self, registry: &mut Registry) {
        let page = Api::new()
            .hidden("/", file("text/html; charset=utf-8", include_str!("live/page.html")))
            .hidden("/common.js", file("text/javascript; charset=utf-8", include_str!("live/common.js")))
            .hidden("/live.js", file("text/javascript; charset=utf-8", include_str!("live/live.js")))
            .hidden("/live.css", file("text/css; charset=utf-8", include_str!("live/live.css")));
        let api = Api::new().routes(routes!(start_count)).routes(routes!(mention));
        registry
            .notification_kind("chat.mentioned", "Mentions in chats", NotificationPreference::Live)
            .job::<Count>(|_| Ok(()))
            .routes(Mount::root("/live", AccessLevel::Public), page, |_| Ok(()))
            .routes(Mount::app("/live").permissions("projects"), api, |ctx| {
                Ok(LiveState { db: ctx.get()?, jobs: ctx.get()?, notifier: ctx.get()?, contacts: ctx.get()? })
            });
    }
}

/// Returns the route of a file of the page.
fn file(kind: &'static str, content: &'static str) -> MethodRouter<()> {
    get(move || async move {
        let headers = [
            (header::CONTENT_TYPE, HeaderValue::from_static(kind)),
            (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
            (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
        ];
        (headers, content).into_response()
    })
}

/// State of the routes.
#[derive(Clone, Debug)]
struct LiveState {
    db: Db,
    jobs: Jobs,
    notifier: Notifier,
    contacts: UserContacts,
}

/// A job that counts to 100.
#[derive(Debug, Serialize, Deserialize)]
struct Count {}

#[async_trait]
impl Job for Count {
    const NAME: &'static str = "demo.count";
    type State = ();

    async fn run(self, (): &(), ctx: &JobContext) -> Result<(), JobError> {
        for percent in (0..=100).step_by(5) {
            // Connected clients see it in the channel `job:ID`.
            if !ctx.progress(percent, &format!("counted to {percent}")).await {
                break;
            }
            tokio::time::sleep(STEP_DURATION).await;
        }
        Ok(())
    }
}

/// A job that was started.
#[derive(Debug, Serialize, ToSchema)]
struct StartedCount {
    /// The id. The channel `job:ID` has the progress.
    #[schema(value_type = String, format = Uuid)]
    job: JobId,
}

/// Start a count
///
/// Starts a job that counts to 100 within seconds.
#[utoipa::path(post, path = "/counts", operation_id = "start_count", responses((status = 202, body = StartedCount)))]
async fn start_count(
    State(live): State<LiveState>,
    caller: Identity,
) -> Result<(StatusCode, Json<StartedCount>), Error> {
    let tenant = caller.require_tenant()?;
    let started = live.jobs.enqueue(NewJob::new(Count {}).tenant(tenant)).await?;
    Ok((StatusCode::ACCEPTED, Json(StartedCount { job: started.id })))
}

/// The user to mention.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[garde(allow_unvalidated)]
#[serde(deny_unknown_fields)]
struct NewMention {
    /// The id of the user, who must be a member of the team.
    #[schema(value_type = String, format = Uuid)]
    user: UserId,
    /// The name of the chat room.
    room: Name<100>,
}

/// Mention a user
///
/// Notifies a member of the team about a chat room.
#[utoipa::path(post, path = "/mentions", operation_id = "mention_user", request_body = NewMention, responses(
    (status = 204),
    (status = 404, body = ErrorEnvelope, description = "The team has no such member."),
))]
async fn mention(
    State(live): State<LiveState>,
    caller: Identity,
    Json(NewMention { user, room }): Json<NewMention>,
) -> Result<StatusCode, Error> {
    let tenant = caller.require_tenant()?;
    if live.contacts.find(user, Some(tenant)).await?.is_none() {
        return Err(Error::not_found("the member of the team"));
    }
    let title = format!("You were mentioned in {room}");
    let mentioned = NewNotification::new(user, "chat.mentioned", title).tenant(tenant).link("/live");
    let mut tx = live.db.tenant(tenant).begin().await?;
    live.notifier.notify_in(&mut tx, mentioned).await?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}
