//! Users, tenants, memberships, sessions and invitations, as the API shows them.

use omnistack_core::{
    clock::Timestamp,
    id::Id,
    identity::{SessionId, TenantId, UserId},
};
use serde::Serialize;
use utoipa::ToSchema;

/// A user: a person with an account.
///
/// ```
/// use omnistack_auth::model::User;
/// # use omnistack_auth::{Auth, users::{NewUser, Users}};
/// # use omnistack_core::{app::App, config::Config};
///
/// /// Returns the email address that news may be sent to, if the user has one.
/// fn mailbox(user: &User) -> Option<&str> {
///     let good = user.email_verified_at.is_some() && user.disabled_at.is_none();
///     user.email.as_deref().filter(|_| good)
/// }
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> omnistack_core::Result<()> {
/// # let app = App::builder(Config::from_pairs([("DATABASE_URL", "sqlite::memory:")])).with(Auth::built_in()).build()?;
/// # app.migrate().await?;
/// # let users: Users = app.context().get()?;
/// # users.create(NewUser::with_email("Ada@example.com")).await?;
/// let ada = users.find_by_email("ada@example.com").await?.ok_or("no user has this email address")?;
/// assert_eq!(ada.name, "ada");
/// assert_eq!(mailbox(&ada), None, "the email address is not verified yet");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Serialize, ToSchema, omnistack_core::db::FromRow)]
#[schema(description = "A user: a person with an account.")]
#[non_exhaustive]
pub struct User {
    /// The user's id.
    #[schema(value_type = String, format = Uuid)]
    pub id: UserId,
    /// The user's email address, in lower case. Absent if none is known.
    #[schema(required)]
    pub email: Option<String>,
    /// The time at which the user verified the email address.
    #[schema(required)]
    pub email_verified_at: Option<Timestamp>,
    /// The user's display name.
    pub name: String,
    /// The URL of the user's picture.
    #[schema(required)]
    pub picture: Option<String>,
    /// The user's language, a language tag as in BCP 47: `de-AT`.
    #[schema(required)]
    pub locale: Option<String>,
    /// Whether the user is an operator, who administers the whole app.
    pub operator: bool,
    /// The time at which an operator disabled the account, if it is disabled.
    #[schema(required)]
    pub disabled_at: Option<Timestamp>,
    /// The time at which the account is deleted permanently, if the user has requested its deletion.
    #[schema(required)]
    pub delete_at: Option<Timestamp>,
    /// The time at which the account was created.
    pub created_at: Timestamp,
    /// The time of the last change.
    pub updated_at: Timestamp,
}

/// Expands to the columns of a [`User`], separated by commas.
macro_rules! user_columns {
    () => {
        "id, email, email_verified_at, name, picture, locale, operator, disabled_at, delete_at, created_at, updated_at"
    };
}
pub(crate) use user_columns;

/// A tenant: the unit that owns data and is billed, either a user's personal tenant or a team.
///
/// ```
/// use omnistack_auth::{model::Tenant, tenant::Tenants};
/// # use omnistack_auth::{Auth, users::{NewUser, Users}};
/// # use omnistack_core::{app::App, config::Config, identity::Identity};
///
/// fn address(tenant: &Tenant) -> String {
///     format!("https://{}.example.com", tenant.slug)
/// }
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> omnistack_core::Result<()> {
/// # let app = App::builder(Config::from_pairs([("DATABASE_URL", "sqlite::memory:")])).with(Auth::built_in()).build()?;
/// # app.migrate().await?;
/// # let ada = Identity::user(app.context().get::<Users>()?.create(NewUser::with_email("ada@example.com")).await?.user);
/// # let tenants: Tenants = app.context().get()?;
/// let acme = tenants.create(&ada, "Acme", Some("acme")).await?.tenant;
/// assert_eq!(address(&acme), "https://acme.example.com");
///
/// // Every user owns a personal tenant.
/// let own = tenants.list_for(&ada).await?.into_iter().find(|rights| rights.tenant.personal_of == Some(ada.user));
/// assert_eq!(own.map(|rights| rights.role).as_deref(), Some("owner"));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Serialize, ToSchema, omnistack_core::db::FromRow)]
#[schema(description = "A tenant: the unit that owns data and is billed, either a user's personal tenant or a team.")]
#[non_exhaustive]
pub struct Tenant {
    /// The tenant's id.
    #[schema(value_type = String, format = Uuid)]
    pub id: TenantId,
    /// The tenant's display name.
    pub name: String,
    /// The slug: the tenant's name in URLs.
    pub slug: String,
    /// The user whose personal tenant this is. Absent for a team.
    #[schema(required, value_type = Option<String>, format = Uuid)]
    pub personal_of: Option<UserId>,
    /// The time at which an operator suspended the tenant, if it is suspended.
    #[schema(required)]
    pub suspended_at: Option<Timestamp>,
    /// The time at which the tenant is deleted permanently, if its deletion was requested.
    #[schema(required)]
    pub delete_at: Option<Timestamp>,
    /// The time at which the tenant was created.
    pub created_at: Timestamp,
    /// The time of the last change.
    pub updated_at: Timestamp,
}

/// The device a user signs in from.
///
/// ```
/// use omnistack_auth::{model::Device, session::NewSession};
/// # use omnistack_auth::{Auth, session::Sessions, users::{NewUser, Users}};
/// # use omnistack_core::{app::App, config::Config};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> omnistack_core::Result<()> {
/// # let app = App::builder(Config::from_pairs([("DATABASE_URL", "sqlite::memory:")])).with(Auth::built_in()).build()?;
/// # app.migrate().await?;
/// # app.start().await?;
/// # let (sessions, users): (Sessions, Users) = (app.context().get()?, app.context().get()?);
/// # let ada = users.create(NewUser::with_email("ada@example.com")).await?.user;
/// # let mut tx = app.db().begin().await?;
/// let device = Device { user_agent: Some("acme-cli/2.1".into()), address: Some("203.0.113.7".into()) };
/// sessions.create_in(&mut tx, NewSession::new(ada, device)).await?;
/// # tx.commit().await?;
///
/// // Users recognise the session by it in their list of sessions.
/// assert_eq!(sessions.list(ada).await?[0].user_agent.as_deref(), Some("acme-cli/2.1"));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Device {
    /// The `User-Agent` header of the request, cut to its first 300 characters.
    pub user_agent: Option<String>,
    /// The client's IP address.
    pub address: Option<String>,
}

/// A session: a sign-in on one device, as its user sees it.
///
/// ```
/// use omnistack_auth::{Error, model::SessionInfo, session::Sessions};
/// use omnistack_core::{clock::Timestamp, identity::Identity};
/// # use omnistack_auth::{Auth, model::Device, session::NewSession, users::{NewUser, Users}};
/// # use omnistack_core::{app::App, clock::MockClock, config::Config};
///
/// /// Ends the caller's sessions that were not refreshed since `since`, except the current one.
/// async fn sign_out(sessions: &Sessions, caller: &Identity, since: Timestamp) -> Result<usize, Error> {
///     let idle = |one: &SessionInfo| one.rotated_at < since && Some(one.id) != caller.session;
///     let mut ended = 0;
///     for session in sessions.list(caller.user).await?.into_iter().filter(idle) {
///         ended += usize::from(sessions.revoke(caller.user, session.id).await?);
///     }
///     Ok(ended)
/// }
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> omnistack_core::Result<()> {
/// # let mock = MockClock::at("2030-01-01T00:00:00Z".parse()?);
/// # let app = App::builder(Config::from_pairs([("DATABASE_URL", "sqlite::memory:")])).clock(mock.clock());
/// # let app = app.with(Auth::built_in()).build()?;
/// # app.migrate().await?;
/// # app.start().await?;
/// # let (sessions, users): (Sessions, Users) = (app.context().get()?, app.context().get()?);
/// # let ada = users.create(NewUser::with_email("ada@example.com")).await?.user;
/// # let mut tx = app.db().begin().await?;
/// # let (one, _two) = (
/// #     sessions.create_in(&mut tx, NewSession::new(ada, Device::default())).await?,
/// #     sessions.create_in(&mut tx, NewSession::new(ada, Device::default())).await?,
/// # );
/// # tx.commit().await?;
/// # let ada = Identity::user(ada).with_session(one.session);
/// # mock.advance(std::time::Duration::from_secs(60));
/// assert_eq!(sign_out(&sessions, &ada, mock.clock().now()).await?, 1);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Serialize, ToSchema, omnistack_core::db::FromRow)]
#[schema(description = "A session: a sign-in on one device, as its user sees it.")]
#[non_exhaustive]
pub struct SessionInfo {
    /// The session's id.
    #[schema(value_type = String, format = Uuid)]
    pub id: SessionId,
    /// The `User-Agent` header the client sent at sign-in.
    #[schema(required)]
    pub user_agent: Option<String>,
    /// The client's IP address at sign-in.
    #[schema(required)]
    pub address: Option<String>,
    /// The time at which the user last proved their identity in this session.
    pub proof_at: Timestamp,
    /// Whether that proof included a second factor.
    pub second_factor: bool,
    /// The time of the last refresh.
    pub rotated_at: Timestamp,
    /// The time at which the session began.
    pub created_at: Timestamp,
    /// The time at which the session ends at the latest.
    pub expires_at: Timestamp,
}

/// A member of a tenant.
///
/// ```
/// use omnistack_auth::model::Member;
/// # use omnistack_auth::{Auth, tenant::Tenants, users::{NewUser, Users}};
/// # use omnistack_core::{app::App, config::Config, identity::Identity};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> omnistack_core::Result<()> {
/// # let app = App::builder(Config::from_pairs([("DATABASE_URL", "sqlite::memory:")])).with(Auth::built_in()).build()?;
/// # app.migrate().await?;
/// # let (users, tenants): (Users, Tenants) = (app.context().get()?, app.context().get()?);
/// # let ada = Identity::user(users.create(NewUser::with_email("ada@example.com")).await?.user);
/// # let team = tenants.create(&ada, "Acme", None).await?.tenant.id;
/// let page = tenants.members(&ada, team, None, 100).await?;
/// let owners: Vec<&Member> = page.items.iter().filter(|member| member.role == "owner").collect();
/// assert_eq!(owners[0].email.as_deref(), Some("ada@example.com"));
/// assert_eq!(owners.len(), 1, "the only owner can't leave the team");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Serialize, ToSchema, omnistack_core::db::FromRow)]
#[schema(description = "A member of a tenant.")]
#[non_exhaustive]
pub struct Member {
    /// The user who is the member.
    #[schema(value_type = String, format = Uuid)]
    pub user_id: UserId,
    /// The user's display name.
    pub name: String,
    /// The user's email address.
    #[schema(required)]
    pub email: Option<String>,
    /// The URL of the user's picture.
    #[schema(required)]
    pub picture: Option<String>,
    /// The member's role: `owner`, `admin`, `developer`, `viewer`, or the name of a custom role of the tenant.
    pub role: String,
    /// The time at which the user became a member.
    pub created_at: Timestamp,
}

/// A custom role of a tenant.
#[derive(Clone, Debug, PartialEq, Eq, omnistack_core::db::FromRow)]
#[non_exhaustive]
pub(crate) struct CustomRole {
    /// The role's name.
    pub name: String,
    /// The permissions the role grants, separated by spaces.
    pub permissions: String,
    /// The time at which the role was created.
    pub created_at: Timestamp,
    /// The time of the last change.
    pub updated_at: Timestamp,
}

/// The marker type of invitation ids: [`Id<InvitationMarker>`](Id) is the id of an [`Invitation`].
///
/// ```
/// use axum::extract::State;
/// use omnistack_auth::{invitation::Invitations, model::InvitationMarker};
/// use omnistack_core::{http::{self, Path}, id::Id, identity::{Identity, TenantId}};
///
/// /// The two ids in the path have different types, so they can't be swapped by mistake.
/// async fn revoke(
///     State(invitations): State<Invitations>,
///     caller: Identity,
///     Path((team, invitation)): Path<(TenantId, Id<InvitationMarker>)>,
/// ) -> Result<(), http::Error> {
///     Ok(invitations.revoke(&caller, team, invitation).await?)
/// }
/// ```
#[derive(Debug)]
pub enum InvitationMarker {}

/// An invitation: an offer of membership in a tenant, sent to an email address.
///
/// ```
/// use omnistack_auth::model::Invitation;
/// # use omnistack_auth::{Auth, invitation::Invitations, tenant::Tenants, users::{NewUser, Users}};
/// # use omnistack_core::{app::App, clock::MockClock, config::Config, identity::Identity};
/// # use std::time::Duration;
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> omnistack_core::Result<()> {
/// # let mock = MockClock::at("2030-01-01T00:00:00Z".parse()?);
/// # let app = App::builder(Config::from_pairs([("DATABASE_URL", "sqlite::memory:")])).clock(mock.clock());
/// # let app = app.with(Auth::built_in()).build()?;
/// # app.migrate().await?;
/// # let (users, tenants): (Users, Tenants) = (app.context().get()?, app.context().get()?);
/// # let (invitations, clock): (Invitations, _) = (app.context().get()?, mock.clock());
/// # let ada = Identity::user(users.create(NewUser::with_email("ada@example.com")).await?.user);
/// # let team = tenants.create(&ada, "Acme", None).await?.tenant.id;
/// # invitations.create(&ada, team, "grace@example.com", "viewer").await?;
/// # mock.advance(Duration::from_secs(6 * 24 * 60 * 60));
/// // Sends a reminder two days before an invitation expires.
/// let soon = clock.now() + Duration::from_secs(2 * 24 * 60 * 60);
/// let ends = |waiting: &Invitation| waiting.expires_at <= soon;
/// for waiting in invitations.list(&ada, team, None, 100).await?.items.into_iter().filter(ends) {
///     let renewed: Invitation = invitations.resend(&ada, team, waiting.id).await?;
///     assert_eq!((renewed.id, renewed.sent_at), (waiting.id, clock.now()));
/// }
/// # assert!(!invitations.list(&ada, team, None, 100).await?.items.iter().any(ends));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Serialize, ToSchema, omnistack_core::db::FromRow)]
#[schema(description = "An invitation: an offer of membership in a tenant, sent to an email address.")]
#[non_exhaustive]
pub struct Invitation {
    /// The invitation's id.
    #[schema(value_type = String, format = Uuid)]
    pub id: Id<InvitationMarker>,
    /// The tenant.
    #[schema(value_type = String, format = Uuid)]
    pub tenant_id: TenantId,
    /// The email address it was sent to, in lower case.
    pub email: String,
    /// The role of the new member.
    pub role: String,
    /// The user who sent the invitation. Absent if that account was deleted.
    #[schema(required, value_type = Option<String>, format = Uuid)]
    pub invited_by: Option<UserId>,
    /// The time at which the mail was last sent.
    pub sent_at: Timestamp,
    /// The time at which the invitation was created.
    pub created_at: Timestamp,
    /// The time at which the invitation expires.
    pub expires_at: Timestamp,
}

/// A user's membership in a tenant.
#[derive(Clone, Debug, Serialize, ToSchema, omnistack_core::db::FromRow)]
#[non_exhaustive]
pub(crate) struct Membership {
    /// The tenant.
    #[schema(value_type = String, format = Uuid)]
    pub tenant_id: TenantId,
    /// The tenant's display name.
    pub name: String,
    /// The slug: the tenant's name in URLs.
    pub slug: String,
    /// The user's role in the tenant.
    pub role: String,
    /// The time at which the user became a member.
    pub created_at: Timestamp,
}
