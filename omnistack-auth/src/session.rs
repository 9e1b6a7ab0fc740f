//! Sessions: a sign-in of a user on one device, with a short-lived access token and a refresh token that rotates.

pub(crate) mod access_token;
pub(crate) mod cookies;
pub(crate) mod refresh_token;
pub(crate) mod routes;
pub mod signing;
pub(crate) mod store;

use std::{fmt, time::Duration};

use omnistack_core::{
    clock::Clock,
    crypto::{HmacKey, KeyRing, SealContext},
    db::{Db, Tx},
    http,
    identity::{AuthenticationContext, SessionId, TenantId, UserId},
    metrics::TOKEN_OPERATIONS,
};
use secrecy::{ExposeSecret as _, SecretString};

use crate::{
    Error,
    identity_cache::CacheInvalidator,
    model::{Device, SessionInfo},
    session::{
        access_token::{AccessTokenSubject, AccessTokens},
        store::SessionRow,
    },
    settings::AuthSettings,
};
use refresh_token::{IssuedRefreshToken, PresentedRefreshToken};

/// The maximum age of a fresh sign-in. A fresh sign-in stands in for the password of a user who has none, and is
/// required to change credentials and to grant what outlives the session: an API key, an export, ownership of a team.
pub(crate) const MAX_FRESH_SIGN_IN_AGE: Duration = Duration::from_secs(10 * 60);

/// The access token and refresh token of a session.
///
/// ```
/// # use omnistack_auth::{Auth, model::Device, session::{Sessions, NewSession}, users::{NewUser, Users}};
/// # use omnistack_core::{app::App, config::Config};
/// use omnistack_auth::session::TokenPair;
/// use omnistack_core::ExposeSecret as _;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> omnistack_core::Result<()> {
/// # let app = App::builder(Config::from_pairs([("DATABASE_URL", "sqlite::memory:")])).with(Auth::built_in()).build()?;
/// # app.migrate().await?;
/// # app.start().await?;
/// # let (sessions, users): (Sessions, Users) = (app.context().get()?, app.context().get()?);
/// # let ada = users.create(NewUser::with_email("ada@example.com")).await?.user;
/// # let mut tx = app.db().begin().await?;
/// # let tokens = sessions.create_in(&mut tx, NewSession::new(ada, Device::default())).await?;
/// # tx.commit().await?;
/// // The client refreshes before `tokens.expires_in` has passed.
/// let next: TokenPair = sessions.refresh(tokens.refresh.expose_secret()).await?;
/// assert_eq!(next.session, tokens.session);
/// assert_ne!(next.refresh.expose_secret(), tokens.refresh.expose_secret());
/// let header = format!("Bearer {}", next.access.expose_secret());
/// # Ok(())
/// # }
/// ```
#[doc(alias("access token", "JWT", "refresh token"))]
#[derive(Clone, Debug)]
pub struct TokenPair {
    /// The access token, sent with each request as `Authorization: Bearer`.
    pub access: SecretString,
    /// The refresh token, used once for the next pair.
    pub refresh: SecretString,
    /// The lifetime of the access token.
    pub expires_in: Duration,
    /// The session.
    pub session: SessionId,
    /// The tenant selected in the session.
    pub tenant: Option<TenantId>,
    /// The known-device cookie for this browser's next sign-in.
    pub(crate) known_device: Option<SecretString>,
}

/// The parameters of a new session.
///
/// ```
/// use omnistack_auth::{model::Device, session::NewSession};
/// # use omnistack_core::{clock::Clock, identity::{TenantId, UserId}};
/// use std::time::Duration;
///
/// # let now = Clock::system().now();
/// # let (ada, acme) = (UserId::new(now), TenantId::new(now));
/// let device = Device { user_agent: Some("the screen at the entrance".into()), ..Device::default() };
/// let mut sign_in = NewSession::new(ada, device).for_tenant(acme).with_second_factor(true);
/// // The screen is in a public place.
/// sign_in.lifetime = Some(Duration::from_secs(60 * 60));
/// assert_eq!((sign_in.tenant, sign_in.actor), (Some(acme), None));
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct NewSession {
    /// The user.
    pub user: UserId,
    /// The tenant that the session selects.
    pub tenant: Option<TenantId>,
    /// The device of the sign-in.
    pub device: Device,
    /// Whether the user has presented a second factor.
    pub second_factor: bool,
    /// The impersonating operator and the reason for the impersonation.
    pub actor: Option<(UserId, String)>,
    /// The maximum lifetime of the session; `None` means the setting `AUTH_SESSION_LIFETIME`.
    pub lifetime: Option<Duration>,
}

impl NewSession {
    /// Creates the parameters for a user and a device, without a tenant or a second factor.
    pub fn new(user: UserId, device: Device) -> Self {
        Self { user, tenant: None, device, second_factor: false, actor: None, lifetime: None }
    }

    /// Sets the tenant that the session selects.
    #[must_use]
    pub fn for_tenant(mut self, tenant: TenantId) -> Self {
        self.tenant = Some(tenant);
        self
    }

    /// Sets whether the user has presented a second factor.
    #[must_use]
    pub fn with_second_factor(mut self, shown: bool) -> Self {
        self.second_factor = shown;
        self
    }
}

/// The sessions of users: creates, refreshes and revokes them.
///
/// Use it to sign users in by a method that the module does not have:
///
/// ```
/// use omnistack_auth::{model::Device, session::{Sessions, NewSession}};
/// # use omnistack_auth::{Auth, users::{NewUser, Users}};
/// # use omnistack_core::{app::App, config::Config};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> omnistack_core::Result<()> {
/// # let app = App::builder(Config::from_pairs([("DATABASE_URL", "sqlite::memory:")])).with(Auth::built_in()).build()?;
/// # app.migrate().await?;
/// # app.start().await?;
/// # let ada = app.context().get::<Users>()?.create(NewUser::with_email("ada@example.com")).await?.user;
/// let sessions: Sessions = app.context().get()?;
/// let mut tx = app.db().begin().await?;
/// // … verify the company's ticket for Ada, and mark it as used …
/// let tokens = sessions.create_in(&mut tx, NewSession::new(ada, Device::default())).await?;
/// tx.commit().await?;
/// assert_eq!(sessions.list(ada).await?.len(), 1);
///
/// assert!(sessions.revoke(ada, tokens.session).await?);
/// assert!(sessions.list(ada).await?.is_empty());
/// # Ok(())
/// # }
/// ```
#[doc(alias("cookie", "CSRF", "refresh token"))]
#[derive(Clone)]
pub struct Sessions {
    db: Db,
    clock: Clock,
    ring: KeyRing,
    access: AccessTokens,
    invalidator: CacheInvalidator,
    idle: Duration,
    lifetime: Duration,
    grace: Duration,
}

impl Sessions {
    pub(crate) fn new(
        db: Db,
        clock: Clock,
        ring: KeyRing,
        access: AccessTokens,
        ended: CacheInvalidator,
        settings: &AuthSettings,
    ) -> Self {
        Self {
            db,
            clock,
            ring,
            access,
            invalidator: ended,
            idle: settings.session_idle,
            lifetime: settings.session_lifetime,
            grace: settings.refresh_grace,
        }
    }

    /// Creates a session, in the transaction that has authenticated the user.
    ///
    /// # Errors
    /// Returns an error if the database or the encryption fails.
    pub async fn create_in(&self, tx: &mut Tx, sign_in: NewSession) -> Result<TokenPair, Error> {
        let now = self.clock.now();
        let id = SessionId::new(now);
        let key: [u8; 32] = rand::random();
        let refresh = IssuedRefreshToken::first(&HmacKey::new(key)?, id);
        let row = SessionRow {
            id,
            user_id: sign_in.user,
            tenant_id: sign_in.tenant,
            actor_id: sign_in.actor.as_ref().map(|(actor, _)| *actor),
            proof_at: now,
            second_factor: sign_in.second_factor,
            refresh_key: self.ring.seal(key, &encryption_context(id))?,
            refresh_hash: refresh.hash.as_bytes().to_vec(),
            previous_hash: None,
            rotated_at: now,
            created_at: now,
            expires_at: now + sign_in.lifetime.unwrap_or(self.lifetime),
            ended_at: None,
        };
        store::insert(tx, &row, &sign_in.device, sign_in.actor.as_ref().map(|(_, reason)| reason.as_str())).await?;
        self.access.keys().refresh_in(tx).await?;
        self.issue_tokens(&row, refresh)
    }

    /// Exchanges a refresh token for the next pair of tokens. Simultaneous requests with the same token get the same
    /// pair.
    ///
    /// # Errors
    /// 401 `REFRESH_TOKEN_INVALID` for an invalid token. Refresh token reuse, after the time set by
    /// `AUTH_REFRESH_GRACE`, also revokes the session, because another person may have the token (RFC 9700, section
    /// 4.14.2).
    #[doc(alias = "refresh token")]
    pub async fn refresh(&self, token: &str) -> Result<TokenPair, Error> {
        let presented = PresentedRefreshToken::parse(token).ok_or_else(refused)?;
        self.access.keys().refresh().await;
        let now = self.clock.now();
        // The second round runs if another request has rotated the token in between.
        for _ in 0..2 {
            let row = store::find(&self.db, presented.session()).await?.ok_or_else(refused)?;
            let key = HmacKey::new(self.ring.open(&row.refresh_key, &encryption_context(row.id))?.expose_secret())?;
            let over =
                row.ended_at.is_some() || row.expires_at <= now || now.duration_since(row.rotated_at) > self.idle;
            if over || !presented.is_issued_with(&key) {
                return Err(refused().into());
            }
            let (hash, next) = (presented.hash(), presented.next(&key));
            if row.refresh_hash == hash.as_bytes() {
                if store::rotate(&self.db, row.id, hash, next.hash, now).await? {
                    TOKEN_OPERATIONS.counter(["refresh"]).increment(1);
                    return self.issue_tokens(&row, next);
                }
            } else if row.previous_hash.as_deref() == Some(hash.as_bytes().as_slice())
                && now.duration_since(row.rotated_at) <= self.grace
            {
                return self.issue_tokens(&row, next);
            } else {
                TOKEN_OPERATIONS.counter(["reuse"]).increment(1);
                tracing::warn!(target: "omnistack::auth", session = %row.id, user = %row.user_id,
                    "a refresh token was reused; its session was revoked");
                self.revoke(row.user_id, row.id).await?;
                return Err(refused().into());
            }
        }
        Err(refused().into())
    }

    /// Returns the active sessions of a user, the newest first.
    ///
    /// # Errors
    /// Returns an error if the database fails.
    pub async fn list(&self, user: UserId) -> Result<Vec<SessionInfo>, Error> {
        let now = self.clock.now();
        Ok(store::list_for_user(&self.db, user, now, now - self.idle).await?)
    }

    /// Revokes a session of a user. Returns whether there was such a session.
    ///
    /// # Errors
    /// Returns an error if the database fails.
    pub async fn revoke(&self, user: UserId, session: SessionId) -> Result<bool, Error> {
        let ended = store::end(&self.db, user, session, self.clock.now()).await?;
        TOKEN_OPERATIONS.counter(["revoke"]).increment(1);
        self.invalidator.session(session).await;
        Ok(ended)
    }

    /// Revokes a session like [`end`](Self::end), within a transaction; the caller calls [`forget`](Self::forget)
    /// once it is committed.
    pub(crate) async fn revoke_in(&self, tx: &mut Tx, user: UserId, session: SessionId) -> Result<bool, Error> {
        Ok(store::end_in(tx, user, session, self.clock.now()).await?)
    }

    /// Revokes the session that a refresh token belongs to, however old the token. Does nothing for a token that the
    /// app did not issue.
    ///
    /// # Errors
    /// Returns an error if the database or the decryption fails.
    pub(crate) async fn revoke_by_token(&self, token: &str) -> Result<(), Error> {
        let Some(presented) = PresentedRefreshToken::parse(token) else { return Ok(()) };
        let Some(row) = store::find(&self.db, presented.session()).await? else { return Ok(()) };
        let key = HmacKey::new(self.ring.open(&row.refresh_key, &encryption_context(row.id))?.expose_secret())?;
        if presented.is_issued_with(&key) {
            self.revoke(row.user_id, row.id).await?;
        }
        Ok(())
    }

    /// Revokes every session of a user except `but`, and the sessions in which the user impersonates other users,
    /// within a transaction; the caller calls [`invalidate_user`](Self::invalidate_user) once it is committed. Returns the number of
    /// sessions revoked.
    ///
    /// # Errors
    /// Returns an error if the database fails.
    pub async fn revoke_all_in(&self, tx: &mut Tx, user: UserId, but: Option<SessionId>) -> Result<u64, Error> {
        Ok(store::end_all(tx, user, but, self.clock.now()).await?)
    }

    /// Invalidates what all replicas have cached about a user. Call it after the user's sessions, roles or
    /// permissions have changed.
    pub async fn invalidate_user(&self, user: UserId) {
        self.invalidator.user(user).await;
    }

    /// Invalidates what all replicas have cached about a tenant's members.
    pub async fn invalidate_tenant(&self, tenant: TenantId) {
        self.invalidator.tenant(tenant).await;
    }

    /// Selects another tenant for a session; the next access token is for that tenant.
    ///
    /// # Errors
    /// Returns an error if the database fails.
    pub async fn switch_tenant(&self, session: SessionId, tenant: TenantId) -> Result<(), Error> {
        store::set_tenant(&self.db, session, tenant).await?;
        self.invalidator.session(session).await;
        Ok(())
    }

    /// Records that the user of a session has reauthenticated now, and whether with a second factor. Returns the new
    /// proof.
    ///
    /// # Errors
    /// Returns an error if the database fails.
    pub async fn record_reauthentication(
        &self,
        session: SessionId,
        second_factor: bool,
    ) -> Result<AuthenticationContext, Error> {
        let proof = AuthenticationContext { authenticated_at: self.clock.now(), second_factor };
        store::record_proof(&self.db, session, proof).await?;
        self.invalidator.session(session).await;
        Ok(proof)
    }

    /// Deletes sessions that expired longer ago than the idle timeout, at most `limit`. Returns their number.
    pub(crate) async fn sweep(&self, limit: i64) -> Result<u64, Error> {
        Ok(store::delete_expired(&self.db, self.clock.now() - self.idle, limit).await?)
    }

    fn issue_tokens(&self, row: &SessionRow, refresh: IssuedRefreshToken) -> Result<TokenPair, Error> {
        TOKEN_OPERATIONS.counter(["issue"]).increment(1);
        let access = self.access.sign(&AccessTokenSubject {
            user: row.user_id,
            session: row.id,
            tenant: row.tenant_id,
            proof_at: row.proof_at,
            second_factor: row.second_factor,
            actor: row.actor_id,
        })?;
        Ok(TokenPair {
            access: access.into(),
            refresh: refresh.text,
            expires_in: self.access.lifetime(),
            session: row.id,
            tenant: row.tenant_id,
            known_device: None,
        })
    }
}

fn encryption_context(id: SessionId) -> SealContext {
    SealContext::row("omni_sessions", "refresh_key", id)
}

fn refused() -> http::Error {
    http::Error::new(
        http::StatusCode::UNAUTHORIZED,
        "REFRESH_TOKEN_INVALID",
        "the refresh token is not valid, was used or has expired; sign in again",
    )
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sessions")
    }
}
