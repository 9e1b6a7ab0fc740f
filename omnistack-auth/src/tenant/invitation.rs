//! Invitations to teams, sent by email and accepted by the link in the email.
//!
//! The link's token is random, used once and valid for seven days. The user who accepts must be signed in with the
//! address that the invitation was sent to, verified, so that a forwarded email gives no other account access. A
//! person without an account creates one with that address while accepting: the token came by email, so the address
//! counts as verified. The token's hash is stored, and the token itself sealed, until the email is sent again or the
//! invitation is accepted, revoked or expired.
//!
//! The limit `team_members` of the tenant's plan is checked when an invitation is created, and when an expired one is
//! sent again. Until it expires, an invitation holds the place of its recipient, who can therefore always accept it.

use std::{fmt, time::Duration};

use omnistack_core::{
    audit::AuditEntry,
    clock::Timestamp,
    crypto::{KeyRing, Sha256, Token},
    db::{self, Tx},
    http::{self, CursorPage, HeaderValue, StatusCode, header},
    id::Id,
    identity::{Entitlements, Identity, Plan, TenantId, UserId},
    jobs::Jobs,
};
use omnistack_messaging::email::RecipientLimit;
use serde_json::json;

use crate::{
    Error,
    mail::{AccountMail, invitation::encryption_context},
    model::{Invitation, InvitationMarker},
    tenant::{
        TenantAccess, Tenants,
        members::{TEAM_MEMBERS, role_permissions, unknown_role},
        store::{
            self as tenant,
            invitations::{self as store, InvitationDetails},
            members,
        },
        suspended,
        teams::MAX_TEAMS_PER_USER,
    },
    users::{parse_email, store::tenants},
};

/// The time for which an invitation is valid.
const INVITATION_TTL: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// The maximum number of open invitations of a team.
const MAX_INVITATIONS_PER_TEAM: i64 = 200;
/// The prefix of an invitation's token.
const PREFIX: &str = "omi_";

/// The invitations to teams: creates, lists, revokes and accepts them.
///
/// ```
/// use omnistack_auth::invitation::Invitations;
/// # use omnistack_auth::{Auth, tenant::Tenants, users::{NewUser, Users}};
/// # use omnistack_core::{app::App, config::Config, identity::Identity};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> omnistack_core::Result<()> {
/// # let app = App::builder(Config::from_pairs([("DATABASE_URL", "sqlite::memory:")])).with(Auth::built_in()).build()?;
/// # app.migrate().await?;
/// # let (users, tenants): (Users, Tenants) = (app.context().get()?, app.context().get()?);
/// # let ada = Identity::user(users.create(NewUser::with_email("ada@example.com")).await?.user);
/// # let team = tenants.create(&ada, "Acme", None).await?.tenant.id;
/// let invitations: Invitations = app.context().get()?;
/// let invited = invitations.create(&ada, team, "grace@example.com", "developer").await?;
/// assert_eq!(invitations.list(&ada, team, None, 20).await?.items.len(), 1);
///
/// // The address was wrong: revoking makes the link in the email invalid.
/// invitations.revoke(&ada, team, invited.id).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Invitations {
    tenants: Tenants,
    jobs: Jobs,
    ring: KeyRing,
    entitlements: Entitlements,
}

/// The membership created by an accepted invitation.
///
/// ```
/// use omnistack_auth::{Error, invitation::{Invitations, AcceptedInvitation}, session::Sessions};
/// use omnistack_core::identity::Identity;
///
/// /// Joins a team and selects it in the caller's session.
/// async fn join(all: &Invitations, sessions: &Sessions, caller: &Identity, token: &str) -> Result<AcceptedInvitation, Error> {
///     let joined = all.accept(caller, token).await?;
///     if let Some(session) = caller.session {
///         sessions.switch_tenant(session, joined.tenant).await?;
///     }
///     Ok(joined)
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AcceptedInvitation {
    /// The tenant.
    pub tenant: TenantId,
    /// The role of the new member.
    pub role: String,
}

impl Invitations {
    pub(crate) fn new(tenants: Tenants, jobs: Jobs, ring: KeyRing, entitlements: Entitlements) -> Self {
        Self { tenants, jobs, ring, entitlements }
    }

    /// Invites an email address to a team, and sends the email.
    ///
    /// # Errors
    /// Those of [`Tenants::access`]; 403 without `members:manage`, for a role with permissions that the caller lacks,
    /// and during impersonation; 401 `REAUTHENTICATION_REQUIRED` without a fresh sign-in to invite an owner; 402
    /// `PLAN_LIMIT_REACHED` if the plan's limit `team_members` allows no other member; 409 `ALREADY_MEMBER`,
    /// `ALREADY_INVITED`, `TOO_MANY_INVITATIONS`, `PERSONAL_TENANT` and `TEAM_DELETION_PENDING`; 422 for a role that
    /// the team does not have and for an invalid address; 429 `TOO_MANY_MAILS` if the address has received too many
    /// emails that strangers can cause.
    pub async fn create(&self, caller: &Identity, id: TenantId, email: &str, role: &str) -> Result<Invitation, Error> {
        let plan = self.entitlements.plan(id).await?;
        let (mut tx, rights) = self.tenants.begin_change(caller, id, "members:manage").await?;
        require_joinable(&rights)?;
        let permissions = role_permissions(&mut tx, id, role).await?.ok_or_else(|| unknown_role("role"))?;
        self.tenants.check_grant(caller, &rights, &permissions)?;
        let (email, now) = (parse_email(email)?, self.tenants.clock.now());
        if members::has_email(&mut tx, id, &email).await? {
            return Err(http::Error::conflict("ALREADY_MEMBER", "this address belongs to a member already").into());
        }
        store::delete_expired(&mut tx, id, &email, now).await?;
        if store::count(&mut tx, id).await? >= MAX_INVITATIONS_PER_TEAM {
            let message = format!("a team has at most {MAX_INVITATIONS_PER_TEAM} open invitations; revoke some first");
            return Err(http::Error::conflict("TOO_MANY_INVITATIONS", message).into());
        }
        self.require_place_in(&mut tx, &plan, id, now).await?;
        let new = Invitation {
            id: Id::new(now),
            tenant_id: id,
            email,
            role: role.to_owned(),
            invited_by: Some(caller.user),
            sent_at: now,
            created_at: now,
            expires_at: now + INVITATION_TTL,
        };
        let inserted = store::insert(&mut tx, &new, self.new_token(new.id)?).await;
        inserted.map_err(|error| {
            if error.kind() != db::ErrorKind::Unique {
                return Error::from(error);
            }
            let message = "this address is invited already; resend the invitation or revoke it first";
            http::Error::conflict("ALREADY_INVITED", message).into()
        })?;
        self.send(&mut tx, &new).await?;
        let entry = entry("invitation.created", caller, &new).details(json!({ "email": new.email, "role": role }));
        self.tenants.commit_with_audit(tx, entry).await?;
        Ok(new)
    }

    /// Returns a page of a team's open invitations, ordered by id, starting after the invitation `after`. An
    /// invitation is open until it is accepted or revoked.
    ///
    /// # Errors
    /// Those of [`Tenants::access`]; 403 without `members:read`.
    pub async fn list(
        &self,
        caller: &Identity,
        id: TenantId,
        after: Option<Id<InvitationMarker>>,
        limit: u32,
    ) -> Result<CursorPage<Invitation>, Error> {
        let (mut tx, _) = self.tenants.begin_read(caller, id, "members:read").await?;
        let mut items = store::list(&mut tx, id, after, i64::from(limit) + 1).await?;
        tx.commit().await?;
        let more = items.len() > limit as usize;
        items.truncate(limit as usize);
        let next_cursor = items.last().filter(|_| more).map(|last| last.id.to_string());
        Ok(CursorPage { items, next_cursor })
    }

    /// Sends the email again, with a new link that is valid for seven days. The old link becomes invalid.
    ///
    /// # Errors
    /// Those of [`create`](Self::create); 404 for an unknown invitation.
    pub async fn resend(
        &self,
        caller: &Identity,
        id: TenantId,
        invitation: Id<InvitationMarker>,
    ) -> Result<Invitation, Error> {
        let plan = self.entitlements.plan(id).await?;
        let (mut tx, rights) = self.tenants.begin_change(caller, id, "members:manage").await?;
        require_joinable(&rights)?;
        let before =
            store::find(&mut tx, id, invitation).await?.ok_or_else(|| http::Error::not_found("the invitation"))?;
        let permissions = role_permissions(&mut tx, id, &before.role).await?.unwrap_or_default();
        self.tenants.check_grant(caller, &rights, &permissions)?;
        let now = self.tenants.clock.now();
        if before.expires_at <= now {
            self.require_place_in(&mut tx, &plan, id, now).await?;
        }
        let renewed = Invitation { sent_at: now, expires_at: now + INVITATION_TTL, ..before };
        store::renew(&mut tx, &renewed, self.new_token(renewed.id)?).await?;
        self.send(&mut tx, &renewed).await?;
        self.tenants.commit_with_audit(tx, entry("invitation.resent", caller, &renewed)).await?;
        Ok(renewed)
    }

    /// Revokes an invitation; its link becomes invalid.
    ///
    /// # Errors
    /// Those of [`Tenants::access`]; 403 without `members:manage`; 404 for an unknown invitation.
    pub async fn revoke(&self, caller: &Identity, id: TenantId, invitation: Id<InvitationMarker>) -> Result<(), Error> {
        let (mut tx, _) = self.tenants.begin_change(caller, id, "members:manage").await?;
        let found =
            store::find(&mut tx, id, invitation).await?.ok_or_else(|| http::Error::not_found("the invitation"))?;
        store::delete(&mut tx, id, invitation).await?;
        let entry = entry("invitation.revoked", caller, &found).details(json!({ "email": found.email }));
        self.tenants.commit_with_audit(tx, entry).await
    }

    /// Returns the invitation that a token belongs to, or `None` if the token is not valid. The holder of the token
    /// has received the email sent to the invitation's address.
    ///
    /// # Errors
    /// Returns an error if the database fails.
    pub async fn find_by_token(&self, token: &str) -> Result<Option<Invitation>, Error> {
        // The tenant is not known before the token is found.
        let mut tx = self.tenants.db.all_tenants().begin_read().await?;
        let found = store::find_by_token(&mut tx, Sha256::digest(token), self.tenants.clock.now()).await?;
        tx.commit().await?;
        Ok(found)
    }

    /// Returns the invitation that a token belongs to, within a transaction that spans all tenants. Locks the
    /// tenant's row first, as [`accept_in`](Self::accept_in) does before it locks a user's.
    ///
    /// # Errors
    /// 404 `INVITATION_INVALID`, and database errors.
    pub(crate) async fn find_by_token_in(&self, tx: &mut Tx, token: &str) -> Result<Invitation, Error> {
        let (hash, now) = (Sha256::digest(token), self.tenants.clock.now());
        let found = store::find_by_token(tx, hash, now).await?.ok_or_else(invalid)?;
        tenant::lock(tx, found.tenant_id).await?;
        // Another transaction may have accepted, revoked or renewed it while this one waited for the lock.
        Ok(store::find_by_token(tx, hash, now).await?.ok_or_else(invalid)?)
    }

    /// Returns the part of an invitation that the holder of its token may see before accepting it.
    ///
    /// # Errors
    /// 404 `INVITATION_INVALID`, and database errors.
    pub(crate) async fn preview(&self, token: &str) -> Result<InvitationDetails, Error> {
        let mut tx = self.tenants.db.all_tenants().begin_read().await?;
        let found = store::details(&mut tx, Sha256::digest(token), self.tenants.clock.now()).await?;
        tx.commit().await?;
        Ok(found.ok_or_else(invalid)?)
    }

    /// Accepts an invitation for the caller.
    ///
    /// # Errors
    /// Those of [`accept_in`](Self::accept_in); 403 for API keys and during impersonation.
    pub async fn accept(&self, caller: &Identity, token: &str) -> Result<AcceptedInvitation, Error> {
        caller.require_in_person()?;
        // The tenant is not known before the token is found.
        let mut tx = self.tenants.db.all_tenants().begin().await?;
        let joined = self.accept_for_in(&mut tx, caller, token).await?;
        tx.commit().await?;
        self.tenants.sessions.invalidate_user(caller.user).await;
        Ok(joined)
    }

    /// Accepts an invitation for a user, within a transaction that spans all tenants, such as the one that registers
    /// the user. For a user who existed before, call [`UserSessionList::invalidate_user`](crate::session::Sessions::invalidate_user) once it
    /// is committed.
    ///
    /// # Errors
    /// 404 `INVITATION_INVALID` for an invalid token; 403 `INVITATION_EMAIL_MISMATCH` if the user's verified address is
    /// not the invitation's; 409 `ALREADY_MEMBER`, `TOO_MANY_TEAMS` and `TEAM_DELETION_PENDING`; 403 `TENANT_SUSPENDED`; database
    /// errors.
    pub async fn accept_in(&self, tx: &mut Tx, user: UserId, token: &str) -> Result<AcceptedInvitation, Error> {
        self.accept_for_in(tx, &Identity::user(user), token).await
    }

    async fn accept_for_in(&self, tx: &mut Tx, caller: &Identity, token: &str) -> Result<AcceptedInvitation, Error> {
        let user = caller.user;
        let (found, now) = (self.find_by_token_in(tx, token).await?, self.tenants.clock.now());
        if store::verified_email(tx, user).await?.as_deref() != Some(found.email.as_str()) {
            let message = "this invitation was sent to another address; sign in with that address and verify it";
            return Err(http::Error::new(StatusCode::FORBIDDEN, "INVITATION_EMAIL_MISMATCH", message).into());
        }
        let state = tenant::find(tx, found.tenant_id).await?.ok_or_else(invalid)?;
        if state.suspended_at.is_some() {
            return Err(suspended().into());
        }
        if state.delete_at.is_some() {
            return Err(team_scheduled_for_deletion().into());
        }
        if tenant::count_memberships(tx, user).await? >= MAX_TEAMS_PER_USER {
            let message = format!("a user is in at most {MAX_TEAMS_PER_USER} teams; leave one first");
            return Err(http::Error::conflict("TOO_MANY_TEAMS", message).into());
        }
        if members::find(tx, found.tenant_id, user).await?.is_some() {
            return Err(http::Error::conflict("ALREADY_MEMBER", "you are a member already").into());
        }
        tenants::add_member(tx, found.tenant_id, user, &found.role, now).await?;
        store::delete(tx, found.tenant_id, found.id).await?;
        let entry = AuditEntry::new("member.joined").actor(caller).for_tenant(found.tenant_id);
        let details = json!({ "after": found.role, "invitation": found.id, "invited_by": found.invited_by });
        self.tenants.audit.record_in(tx, entry.resource("user", user).details(details)).await?;
        Ok(AcceptedInvitation { tenant: found.tenant_id, role: found.role })
    }

    /// Deletes invitations that expired more than four weeks ago, at most `limit`. Returns their number.
    pub(crate) async fn sweep(&self, limit: i64) -> Result<u64, Error> {
        // The invitations are those of all tenants.
        let mut tx = self.tenants.db.all_tenants().begin().await?;
        let deleted =
            store::delete_expired_of_all(&mut tx, self.tenants.clock.now() - INVITATION_TTL * 4, limit).await?;
        tx.commit().await?;
        Ok(deleted)
    }

    /// Requires that the plan of the tenant allows another member.
    async fn require_place_in(&self, tx: &mut Tx, plan: &Plan, tenant: TenantId, now: Timestamp) -> Result<(), Error> {
        let count = async |tx: &mut Tx| members::count_with_invited(tx, tenant, now).await;
        Ok(self.entitlements.check_limit_in(tx, plan, tenant, TEAM_MEMBERS, count).await?)
    }

    /// Creates a token for an invitation, hashed and sealed for storage.
    fn new_token(&self, id: Id<InvitationMarker>) -> Result<store::StoredToken, Error> {
        let token = Token::with_prefix(PREFIX);
        Ok(store::StoredToken { hash: token.hash(), sealed: self.ring.seal(token.expose(), &encryption_context(id))? })
    }

    /// Enqueues the invitation's email, which is sent when the transaction commits.
    ///
    /// # Errors
    /// 429 `TOO_MANY_MAILS` if the address may receive no email now; the transaction is rolled back then, so the old
    /// link stays valid.
    async fn send(&self, tx: &mut Tx, to: &Invitation) -> Result<(), Error> {
        let limit = RecipientLimit::new(self.tenants.clock.clone());
        if let Some(wait) = limit.count_in(tx, &to.email).await? {
            return Err(too_many_mails(wait).into());
        }
        self.jobs.enqueue_in(tx, AccountMail::Invitation { invitation: to.id }).await.map_err(http::Error::from)?;
        Ok(())
    }
}

/// Checks that users can join: the tenant is a team, and its deletion is not scheduled.
fn require_joinable(rights: &TenantAccess) -> Result<(), http::Error> {
    rights.require_team()?;
    if rights.tenant.delete_at.is_some() { Err(team_scheduled_for_deletion()) } else { Ok(()) }
}

fn team_scheduled_for_deletion() -> http::Error {
    http::Error::conflict("TEAM_DELETION_PENDING", "the team is scheduled for deletion; an owner can restore it")
}

fn too_many_mails(wait: Duration) -> http::Error {
    let seconds = wait.as_secs().max(1);
    let message = format!("this address got too many emails; wait {seconds} seconds, then send the invitation again");
    let error = http::Error::new(StatusCode::TOO_MANY_REQUESTS, "TOO_MANY_MAILS", message);
    error.with_header(header::RETRY_AFTER, HeaderValue::from(seconds)).with_detail("retry_after", seconds)
}

pub(crate) fn invalid() -> http::Error {
    let message = "the invitation is not valid, was accepted or revoked, or has expired; ask for a new one";
    http::Error::new(StatusCode::NOT_FOUND, "INVITATION_INVALID", message)
}

fn entry(action: &'static str, caller: &Identity, invitation: &Invitation) -> AuditEntry {
    AuditEntry::new(action).actor(caller).for_tenant(invitation.tenant_id).resource("invitation", invitation.id)
}

impl fmt::Debug for Invitations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Invitations")
    }
}
