//! Users, tenants and what ties them together.

use omnistack_core::{
    clock::Timestamp,
    id::Id,
    identity::{SessionId, TenantId, UserId},
};
use serde::Serialize;
use utoipa::ToSchema;

/// Somebody with an account.
///
/// ```
/// use omnistack_auth::model::User;
/// # use omnistack_auth::{Auth, users::{NewUser, Users}};
/// # use omnistack_core::{app::App, config::Config};
///
/// /// Where news may be sent, if anywhere.
/// fn mailbox(user: &User) -> Option<&str> {
///     let good = user.email_verified_at.is_some() && user.disabled_at.is_none();
///     user.email.as_deref().filter(|_| good)
/// }
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> omnistack_core::Result<()> {
/// # let app = App::builder(Config::from_pairs([("DATABASE_URL", "sqlite::memory:")])).with(Auth::accounts()).build()?;
/// # app.migrate().await?;
/// # let users: Users = app.ctx().get()?;
/// # users.create(NewUser::of_email("Ada@example.com")).await?;
/// let ada = users.find_by_email("ada@example.com").await?.ok_or("nobody has this address")?;
/// assert_eq!(ada.name, "ada");
/// assert_eq!(mailbox(&ada), None, "she has not confirmed it yet");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Serialize, ToSchema, sqlx::FromRow)]
#[schema(description = "Somebody with an account.")]
#[non_exhaustive]
pub struct User {
    /// Their id.
    #[schema(value_type = String, format = Uuid)]
    pub id: UserId,
    /// Their address, in lower case.
    #[schema(required)]
    pub email: Option<String>,
    /// When they showed that it is theirs.
    #[schema(required)]
    pub email_verified_at: Option<Timestamp>,
    /// What they are called.
    pub name: String,
    /// Where their picture is.
    #[schema(required)]
    pub picture: Option<String>,
    /// The language they read, as in BCP 47: `de-AT`.
    #[schema(required)]
    pub locale: Option<String>,
    /// Whether they operate the whole app.
    pub operator: bool,
    /// When they were locked out, if they are.
    #[schema(required)]
    pub disabled_at: Option<Timestamp>,
    /// When the account is deleted for good, if its user has asked for that.
    #[schema(required)]
    pub delete_at: Option<Timestamp>,
    /// When the account was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

/// The columns of a [`User`].
macro_rules! user_columns {
    () => {
        "id, email, email_verified_at, name, picture, locale, operator, disabled_at, delete_at, created_at, updated_at"
    };
}
pub(crate) use user_columns;

/// The boundary of data and of billing: one person's own, or a team's.
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
/// # let app = App::builder(Config::from_pairs([("DATABASE_URL", "sqlite::memory:")])).with(Auth::accounts()).build()?;
/// # app.migrate().await?;
/// # let ada = Identity::user(app.ctx().get::<Users>()?.create(NewUser::of_email("ada@example.com")).await?.user);
/// # let tenants: Tenants = app.ctx().get()?;
/// let acme = tenants.create(&ada, "Acme", Some("acme")).await?.tenant;
/// assert_eq!(address(&acme), "https://acme.example.com");
///
/// // The one she has of her own.
/// let own = tenants.of(&ada).await?.into_iter().find(|rights| rights.tenant.personal_of == Some(ada.user));
/// assert_eq!(own.map(|rights| rights.role).as_deref(), Some("owner"));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Serialize, ToSchema, sqlx::FromRow)]
#[schema(description = "The boundary of data and of billing: one person's own, or a team's.")]
#[non_exhaustive]
pub struct Tenant {
    /// Its id.
    #[schema(value_type = String, format = Uuid)]
    pub id: TenantId,
    /// What it is called.
    pub name: String,
    /// Its name in addresses.
    pub slug: String,
    /// Whose own it is; none for a team's.
    #[schema(required, value_type = Option<String>, format = Uuid)]
    pub personal_of: Option<UserId>,
    /// When it was suspended, if it is.
    #[schema(required)]
    pub suspended_at: Option<Timestamp>,
    /// When it is deleted for good, if that was asked for.
    #[schema(required)]
    pub delete_at: Option<Timestamp>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

/// From where somebody signs in.
///
/// ```
/// use omnistack_auth::{model::Device, session::SignIn};
/// # use omnistack_auth::{Auth, session::Sessions, users::{NewUser, Users}};
/// # use omnistack_core::{app::App, config::Config};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> omnistack_core::Result<()> {
/// # let app = App::builder(Config::from_pairs([("DATABASE_URL", "sqlite::memory:")])).with(Auth::accounts()).build()?;
/// # app.migrate().await?;
/// # app.start().await?;
/// # let (sessions, users): (Sessions, Users) = (app.ctx().get()?, app.ctx().get()?);
/// # let ada = users.create(NewUser::of_email("ada@example.com")).await?.user;
/// # let mut tx = app.db().begin().await?;
/// let device = Device { user_agent: Some("acme-cli/2.1".into()), address: Some("203.0.113.7".into()) };
/// sessions.begin_in(&mut tx, SignIn::new(ada, device)).await?;
/// # tx.commit().await?;
///
/// // In the list of their sessions users know it by that.
/// assert_eq!(sessions.of(ada).await?[0].user_agent.as_deref(), Some("acme-cli/2.1"));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Device {
    /// What the client says it is; its first 300 characters.
    pub user_agent: Option<String>,
    /// Its address.
    pub address: Option<String>,
}

/// One sign-in on one device, as its user sees it.
///
/// ```
/// use omnistack_auth::{Error, model::SessionInfo, session::Sessions};
/// use omnistack_core::{clock::Timestamp, identity::Identity};
/// # use omnistack_auth::{Auth, model::Device, session::SignIn, users::{NewUser, Users}};
/// # use omnistack_core::{app::App, clock::MockClock, config::Config};
///
/// /// Signs the caller out where nobody has been since, and stays signed in here.
/// async fn sign_out(sessions: &Sessions, caller: &Identity, since: Timestamp) -> Result<usize, Error> {
///     let idle = |one: &SessionInfo| one.rotated_at < since && Some(one.id) != caller.session;
///     let mut ended = 0;
///     for session in sessions.of(caller.user).await?.into_iter().filter(idle) {
///         ended += usize::from(sessions.end(caller.user, session.id).await?);
///     }
///     Ok(ended)
/// }
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> omnistack_core::Result<()> {
/// # let mock = MockClock::at("2030-01-01T00:00:00Z".parse()?);
/// # let app = App::builder(Config::from_pairs([("DATABASE_URL", "sqlite::memory:")])).clock(mock.clock());
/// # let app = app.with(Auth::accounts()).build()?;
/// # app.migrate().await?;
/// # app.start().await?;
/// # let (sessions, users): (Sessions, Users) = (app.ctx().get()?, app.ctx().get()?);
/// # let ada = users.create(NewUser::of_email("ada@example.com")).await?.user;
/// # let mut tx = app.db().begin().await?;
/// # let (one, _two) = (
/// #     sessions.begin_in(&mut tx, SignIn::new(ada, Device::default())).await?,
/// #     sessions.begin_in(&mut tx, SignIn::new(ada, Device::default())).await?,
/// # );
/// # tx.commit().await?;
/// # let ada = Identity::user(ada).with_session(one.session);
/// # mock.advance(std::time::Duration::from_secs(60));
/// assert_eq!(sign_out(&sessions, &ada, mock.clock().now()).await?, 1);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Serialize, ToSchema, sqlx::FromRow)]
#[schema(description = "One sign-in on one device, as its user sees it.")]
#[non_exhaustive]
pub struct SessionInfo {
    /// Its id.
    #[schema(value_type = String, format = Uuid)]
    pub id: SessionId,
    /// What the client said it is.
    #[schema(required)]
    pub user_agent: Option<String>,
    /// Its address when it signed in.
    #[schema(required)]
    pub address: Option<String>,
    /// When the user last showed who they are.
    pub proof_at: Timestamp,
    /// Whether with a second factor.
    pub second_factor: bool,
    /// When it was last refreshed.
    pub rotated_at: Timestamp,
    /// When it began.
    pub created_at: Timestamp,
    /// When it ends at the latest.
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
/// # let app = App::builder(Config::from_pairs([("DATABASE_URL", "sqlite::memory:")])).with(Auth::accounts()).build()?;
/// # app.migrate().await?;
/// # let (users, tenants): (Users, Tenants) = (app.ctx().get()?, app.ctx().get()?);
/// # let ada = Identity::user(users.create(NewUser::of_email("ada@example.com")).await?.user);
/// # let team = tenants.create(&ada, "Acme", None).await?.tenant.id;
/// let page = tenants.members(&ada, team, None, 100).await?;
/// let owners: Vec<&Member> = page.items.iter().filter(|member| member.role == "owner").collect();
/// assert_eq!(owners[0].email.as_deref(), Some("ada@example.com"));
/// assert_eq!(owners.len(), 1, "she can't leave the team before somebody else is one");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Serialize, ToSchema, sqlx::FromRow)]
#[schema(description = "A member of a tenant.")]
#[non_exhaustive]
pub struct Member {
    /// Whose membership it is.
    #[schema(value_type = String, format = Uuid)]
    pub user_id: UserId,
    /// What they are called.
    pub name: String,
    /// Their address.
    #[schema(required)]
    pub email: Option<String>,
    /// Where their picture is.
    #[schema(required)]
    pub picture: Option<String>,
    /// Their role: `owner`, `admin`, `developer`, `viewer`, or one of the tenant's own.
    pub role: String,
    /// Since when.
    pub created_at: Timestamp,
}

/// A role of a tenant's own making.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
#[non_exhaustive]
pub(crate) struct Role {
    /// Its name.
    pub name: String,
    /// What its holders may do, separated by spaces.
    pub permissions: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

/// Whose ids are those of invitations.
///
/// ```
/// use axum::extract::State;
/// use omnistack_auth::{invitation::Invitations, model::Invited};
/// use omnistack_core::{http::{self, Path}, id::Id, identity::{Identity, TenantId}};
///
/// /// The path's two ids can't be taken for each other.
/// async fn revoke(
///     State(invitations): State<Invitations>,
///     caller: Identity,
///     Path((team, invitation)): Path<(TenantId, Id<Invited>)>,
/// ) -> Result<(), http::Error> {
///     Ok(invitations.revoke(&caller, team, invitation).await?)
/// }
/// ```
#[derive(Debug)]
pub enum Invited {}

/// Somebody was asked to join a tenant.
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
/// # let app = app.with(Auth::accounts()).build()?;
/// # app.migrate().await?;
/// # let (users, tenants): (Users, Tenants) = (app.ctx().get()?, app.ctx().get()?);
/// # let (invitations, clock): (Invitations, _) = (app.ctx().get()?, mock.clock());
/// # let ada = Identity::user(users.create(NewUser::of_email("ada@example.com")).await?.user);
/// # let team = tenants.create(&ada, "Acme", None).await?.tenant.id;
/// # invitations.create(&ada, team, "grace@example.com", "viewer").await?;
/// # mock.advance(Duration::from_secs(6 * 24 * 60 * 60));
/// // Who has not answered two days before the end is reminded.
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
#[derive(Clone, Debug, Serialize, ToSchema, sqlx::FromRow)]
#[schema(description = "Somebody was asked to join a tenant.")]
#[non_exhaustive]
pub struct Invitation {
    /// Its id.
    #[schema(value_type = String, format = Uuid)]
    pub id: Id<Invited>,
    /// The tenant.
    #[schema(value_type = String, format = Uuid)]
    pub tenant_id: TenantId,
    /// Whom: their address, in lower case.
    pub email: String,
    /// The role they get.
    pub role: String,
    /// Who asked; none when that account is gone.
    #[schema(required, value_type = Option<String>, format = Uuid)]
    pub invited_by: Option<UserId>,
    /// When the mail was last sent.
    pub sent_at: Timestamp,
    /// When it was made.
    pub created_at: Timestamp,
    /// Until when it can be accepted.
    pub expires_at: Timestamp,
}

/// Where somebody is a member.
#[derive(Clone, Debug, Serialize, ToSchema, sqlx::FromRow)]
#[non_exhaustive]
pub(crate) struct Membership {
    /// The tenant.
    #[schema(value_type = String, format = Uuid)]
    pub tenant_id: TenantId,
    /// What it is called.
    pub name: String,
    /// Its name in addresses.
    pub slug: String,
    /// As what.
    pub role: String,
    /// Since when.
    pub created_at: Timestamp,
}
