//! Authentication of requests.
//!
//! An access token does not contain permissions, because they would be those of the time when it was signed.
//! Permissions are read from the database, and the result is cached for a minute under the token's hash. A change
//! invalidates the caches of all replicas; a replica that cannot be reached uses its cache for the rest of that
//! minute.

use ::http::request::Parts;
use async_trait::async_trait;
use omnistack_core::{
    audit::{AuditEntry, AuditLog},
    clock::{Clock, Timestamp},
    crypto::Sha256,
    db::Db,
    http::Error,
    identity::{Authenticate, AuthenticationContext, Identity, RequestOrigin, TenantId, bearer_token},
};
use serde_json::json;

use crate::{
    api_key::authenticate::{ApiKeyAuthenticator, api_key_header},
    federation::{
        issuer::{
            Claims as ExternalClaims, MAX_TOKEN_BYTES, ParsedToken,
            verify::{Issuers, Verifier},
        },
        provisioning::UserProvisioner,
        store::ExternalAccessRow,
    },
    identity_cache::{IDENTITY_CACHE_TTL, IdentityCache},
    request::tenant_selection::{TenantDomain, TenantSelector, not_a_member},
    role,
    session::{
        access_token::{AccessTokenClaims, AccessTokens, refused},
        cookies::{self, SessionCookies},
    },
    tenant::{
        store::{SessionAccessRow, session_access},
        suspended,
    },
};

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
fn external_identity(verifier: &Verifier, claims: &ExternalClaims, standing: &ExternalAccessRow) -> Identity {
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
        let token = match (bearer_token(request).or_else(|| api_key_header(request)), cookies::access(&request.headers))
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
