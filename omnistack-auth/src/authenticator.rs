//! Authentication of requests.
//!
//! An access token does not contain permissions, because they would be those of the time when it was signed.
//! Permissions are read from the database, and the result is cached for a minute under the token's hash. A change
//! invalidates the caches of all replicas; a replica that cannot be reached uses its cache for the rest of that
//! minute.

use std::{fmt, sync::Arc, time::Duration};

use ::http::request::Parts;
use async_trait::async_trait;
use moka::sync::Cache;
use omnistack_core::{
    BoxError, ShutdownToken,
    audit::{AuditEntry, AuditLog},
    clock::{Clock, Timestamp},
    crypto::Sha256,
    db::Db,
    http::Error,
    identity::{
        Authenticate, AuthenticationContext, Identity, RequestOrigin, SessionId, TenantId, UserId, bearer_token,
    },
    pubsub::PubSub,
};
use serde_json::json;

use crate::{
    api_key::recognize::{ApiKeyAuthenticator, api_key_header},
    choice::{TenantDomain, TenantSelector, not_a_member},
    cookie::{self, SessionCookies},
    issuer::{
        Claims as Foreign, MAX_TOKEN_BYTES, ParsedToken,
        sync::UserProvisioner,
        verify::{Issuers, Verifier},
    },
    role,
    store::{
        identity::ExternalAccessRow as ForeignStanding,
        tenant::{SessionAccessRow, session_access},
    },
    tenant::suspended,
    token::{AccessTokenClaims, AccessTokens, refused},
};

/// The time for which an identity is cached.
const IDENTITY_CACHE_TTL: Duration = Duration::from_secs(60);
/// The maximum number of cached identities; about 100 MB if all are in use.
const MAX_CACHED_IDENTITIES: u64 = 100_000;
/// The pub/sub topic of invalidations.
const TOPIC: &str = "omnistack.auth";

/// A cached identity, and the time until which it holds.
struct CachedIdentity {
    identity: Identity,
    until: Timestamp,
}

/// The authenticator of the app: accepts the app's own access tokens, tokens of external issuers, and API keys.
#[derive(Clone)]
pub(crate) struct TokenAuthenticator {
    pub(crate) db: Db,
    pub(crate) clock: Clock,
    pub(crate) access: AccessTokens,
    pub(crate) issuers: Issuers,
    pub(crate) sync: UserProvisioner,
    pub(crate) known: IdentityCache,
    pub(crate) browser: SessionCookies,
    pub(crate) domain: TenantDomain,
    pub(crate) keys: ApiKeyAuthenticator,
    pub(crate) audit: AuditLog,
}

impl TokenAuthenticator {
    /// Returns the identity of an access token, and the time until which it holds. Fails with 401 for an invalid
    /// token, and with 403 `TENANT_SUSPENDED`.
    async fn authenticate_token(&self, token: &str, tenant: Option<TenantId>) -> Result<(Identity, Timestamp), Error> {
        if let Some((verifier, presented)) = self.issuers.verifier_for(token)? {
            return self.authenticate_external(verifier, presented, tenant).await;
        }
        let claims = self.access.verify(token).await?;
        let tenant = tenant.or(claims.tenant);
        let standing = session_access(&self.db, claims.sid, tenant, self.clock.now()).await?.ok_or_else(refused)?;
        if standing.suspended_at.is_some() && standing.role.is_some() {
            return Err(suspended());
        }
        let until = standing.expires_at.min(Timestamp::from_micros(claims.exp.saturating_mul(1_000_000)));
        Ok((identity(&claims, &standing, tenant), until))
    }
}

impl TokenAuthenticator {
    /// Returns the identity of an external issuer's token, and the time until which it holds. Fails with 401 for an
    /// invalid token or a disabled user, and with 403 `TENANT_SUSPENDED`.
    async fn authenticate_external(
        &self,
        verifier: &Verifier,
        presented: ParsedToken<'_>,
        tenant: Option<TenantId>,
    ) -> Result<(Identity, Timestamp), Error> {
        let claims = verifier.verify(presented, &self.clock).await?;
        let standing = self.sync.access(verifier, &claims, tenant).await?;
        if standing.disabled_at.is_some() {
            return Err(refused());
        }
        if standing.suspended_at.is_some() {
            return Err(suspended());
        }
        Ok((external_identity(verifier, &claims, &standing), claims.accepted_until()))
    }
}

/// Returns the identity of an external issuer's user, with the user's permissions in the tenant. It has no session,
/// because the issuer manages the session.
fn external_identity(verifier: &Verifier, claims: &Foreign, standing: &ForeignStanding) -> Identity {
    let mut identity = Identity::user(standing.user_id);
    if let Some(proof) = verifier.proof(claims) {
        identity = identity.with_authentication(proof);
    }
    if let (Some(tenant), Some(role)) = (standing.tenant_id, &standing.role) {
        identity =
            identity.for_tenant(tenant).with_permissions(role::permissions(role, standing.permissions.as_deref()));
    }
    if standing.operator { identity.into_operator() } else { identity }
}

/// Returns the identity of an access token's user, with the user's permissions in the tenant.
fn identity(claims: &AccessTokenClaims, standing: &SessionAccessRow, tenant: Option<TenantId>) -> Identity {
    let mut identity = Identity::user(claims.sub).with_session(claims.sid).with_authentication(AuthenticationContext {
        authenticated_at: standing.proof_at,
        second_factor: standing.second_factor,
    });
    if let (Some(tenant), Some(role)) = (tenant, &standing.role) {
        identity =
            identity.for_tenant(tenant).with_permissions(role::permissions(role, standing.permissions.as_deref()));
    }
    match standing.actor_id {
        Some(actor) => identity.with_impersonator(actor),
        None if standing.operator => identity.into_operator(),
        None => identity,
    }
}

#[async_trait]
impl Authenticate for TokenAuthenticator {
    async fn authenticate(&self, request: &Parts) -> Result<Option<Identity>, Error> {
        let identity = self.identify(request).await?;
        if let Some(caller) =
            identity.as_ref().filter(|caller| caller.impersonator.is_some() && !request.method.is_safe())
        {
            self.record_impersonated_request(caller, request).await?;
        }
        Ok(identity)
    }
}

impl TokenAuthenticator {
    /// Records a state-changing request during impersonation before it is executed, so that the audit log attributes
    /// all of its changes to both the operator and the user.
    async fn record_impersonated_request(&self, caller: &Identity, request: &Parts) -> Result<(), Error> {
        let details = json!({ "method": request.method.as_str(), "path": request.uri.path() });
        let mut entry = AuditEntry::new("impersonation.request").actor(caller).details(details);
        entry.origin = RequestOrigin::from_request(request);
        // The entry belongs to the tenant of the request, or else to the app.
        let mut tx = self.db.all_tenants().begin().await?;
        self.audit.record_in(&mut tx, entry).await?;
        Ok(tx.commit().await?)
    }

    /// Returns the caller's identity from the request's bearer token, API key or cookie, or `None` without any of
    /// them.
    async fn identify(&self, request: &Parts) -> Result<Option<Identity>, Error> {
        let token = match (bearer_token(request).or_else(|| api_key_header(request)), cookie::access(&request.headers))
        {
            (Some(token), _) => token,
            (None, Some(token)) => {
                self.browser.check(&request.method, &request.headers)?;
                token
            }
            (None, None) => return Ok(None),
        };
        if token.len() > MAX_TOKEN_BYTES {
            return Err(refused());
        }
        let chosen = self.domain.selected(request)?;
        let key = key(token, chosen.as_ref());
        if let Some(identity) = self.known.get(&key, self.clock.now()) {
            self.keys.admit(&identity).await?;
            return Ok(Some(identity));
        }
        let generation = self.known.generation();
        let tenant = match chosen {
            Some(chosen) => Some(chosen.find(&self.db).await?),
            None => None,
        };
        let (identity, until) = match self.keys.authenticate(token).await {
            Some(program) => program?,
            None => self.authenticate_token(token, tenant).await?,
        };
        self.keys.admit(&identity).await?;
        if tenant.is_some() && identity.tenant != tenant {
            return Err(not_a_member());
        }
        self.known.insert(key, identity.clone(), until.min(self.clock.now() + IDENTITY_CACHE_TTL), generation);
        Ok(Some(identity))
    }
}

/// Returns the cache key of a token and the tenant that the request selects.
fn key(token: &str, chosen: Option<&TenantSelector>) -> Sha256 {
    // A token contains no spaces, so the keys cannot collide.
    match chosen {
        Some(TenantSelector::Id(tenant)) => Sha256::digest_parts([token.as_bytes(), b" ", tenant.uuid().as_bytes()]),
        Some(TenantSelector::Slug(slug)) => Sha256::digest_parts([token.as_bytes(), b" . ", slug.as_bytes()]),
        None => Sha256::digest(token),
    }
}

/// The cache of identities, by the hash of the credential and the selected tenant.
#[derive(Clone)]
pub(crate) struct IdentityCache {
    known: Cache<[u8; 32], Arc<CachedIdentity>>,
    /// Counts the invalidations, so that an identity read before an invalidation is not cached after it.
    generation: Arc<std::sync::atomic::AtomicU64>,
}

impl Default for IdentityCache {
    fn default() -> Self {
        let known = Cache::builder()
            .max_capacity(MAX_CACHED_IDENTITIES)
            .time_to_live(IDENTITY_CACHE_TTL)
            .support_invalidation_closures()
            .build();
        Self { known, generation: Arc::default() }
    }
}

impl IdentityCache {
    pub(crate) fn get(&self, key: &Sha256, now: Timestamp) -> Option<Identity> {
        self.known.get(key.as_bytes()).filter(|known| now < known.until).map(|known| known.identity.clone())
    }

    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(std::sync::atomic::Ordering::SeqCst)
    }

    /// Caches an identity, unless something was invalidated since `generation`.
    pub(crate) fn insert(&self, key: Sha256, identity: Identity, until: Timestamp, generation: u64) {
        if self.generation() == generation {
            self.known.insert(*key.as_bytes(), Arc::new(CachedIdentity { identity, until }));
            if self.generation() != generation {
                self.known.invalidate(key.as_bytes());
            }
        }
    }

    /// Invalidates the identities in a scope.
    fn invalidate(&self, whose: InvalidationScope) {
        self.generation.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        let matches = move |_: &[u8; 32], known: &Arc<CachedIdentity>| whose.covers(&known.identity);
        if self.known.invalidate_entries_if(matches).is_err() {
            self.known.invalidate_all();
        }
    }

    /// Invalidates all identities.
    fn invalidate_all(&self) {
        self.generation.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        self.known.invalidate_all();
    }
}

/// The scope of an invalidation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum InvalidationScope {
    User(UserId),
    Session(SessionId),
    Tenant(TenantId),
}

impl InvalidationScope {
    /// Returns whether an identity is in the scope.
    fn covers(self, identity: &Identity) -> bool {
        match self {
            Self::User(user) => identity.user == user || identity.impersonator == Some(user),
            Self::Session(session) => identity.session == Some(session),
            Self::Tenant(tenant) => identity.tenant == Some(tenant),
        }
    }

    /// Parses a message of another replica. Returns `None` for an unknown message.
    fn parse(text: &str) -> Option<Self> {
        let (kind, id) = text.split_once(' ')?;
        match kind {
            "user" => id.parse().ok().map(Self::User),
            "session" => id.parse().ok().map(Self::Session),
            "tenant" => id.parse().ok().map(Self::Tenant),
            _ => None,
        }
    }
}

impl fmt::Display for InvalidationScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(id) => write!(f, "user {id}"),
            Self::Session(id) => write!(f, "session {id}"),
            Self::Tenant(id) => write!(f, "tenant {id}"),
        }
    }
}

/// Invalidates cached identities on all replicas.
#[derive(Clone)]
pub(crate) struct CacheInvalidator {
    known: IdentityCache,
    publisher: PubSub,
}

impl CacheInvalidator {
    pub(crate) fn new(known: IdentityCache, publisher: PubSub) -> Self {
        Self { known, publisher }
    }

    pub(crate) async fn user(&self, user: UserId) {
        self.publish(InvalidationScope::User(user)).await;
    }

    pub(crate) async fn session(&self, session: SessionId) {
        self.publish(InvalidationScope::Session(session)).await;
    }

    pub(crate) async fn tenant(&self, tenant: TenantId) {
        self.publish(InvalidationScope::Tenant(tenant)).await;
    }

    /// Invalidates the identities in a scope on this replica, and publishes the scope to the others.
    async fn publish(&self, whose: InvalidationScope) {
        self.known.invalidate(whose);
        self.publisher.publish(TOPIC, whose.to_string()).await;
    }

    /// Applies the invalidations that other replicas publish, until the app shuts down. Fails if the subscription
    /// ends.
    pub(crate) async fn listen(self, shutdown: ShutdownToken) -> Result<(), BoxError> {
        use tokio::sync::broadcast::error::RecvError;
        let mut told = self.publisher.subscribe(TOPIC).await;
        loop {
            let message = tokio::select! {
                () = shutdown.cancelled() => return Ok(()),
                message = told.recv() => message,
            };
            match message {
                Ok(message) => {
                    if let Some(whose) = std::str::from_utf8(&message).ok().and_then(InvalidationScope::parse) {
                        self.known.invalidate(whose);
                    }
                }
                // Messages were lost, so all identities are invalidated.
                Err(RecvError::Lagged(_)) => self.known.invalidate_all(),
                Err(RecvError::Closed) => return Err("the invalidations of other replicas have ended".into()),
            }
        }
    }
}

impl fmt::Debug for CacheInvalidator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ended")
    }
}
