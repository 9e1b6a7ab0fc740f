//! Invitations: somebody is asked by mail to join a team, and joins with the link in it.
//!
//! The link's token is random and good once and for seven days. Whoever accepts must be signed in with the address it was
//! sent to, verified, so that a forwarded mail lets no other account in. Who has no account yet makes one of that address as
//! they accept: the token came by mail, so it is theirs. Of the token its hash is stored, and the token itself
//! only sealed, until the mail is sent again or the invitation is over.

use std::{fmt, time::Duration};

use omnistack_core::{
    audit::AuditEntry,
    crypto::{Context, KeyRing, Sha256, Token},
    db::{self, Tx},
    email::RecipientLimit,
    http::{self, HeaderValue, Page, StatusCode, header},
    id::Id,
    identity::{Identity, TenantId, UserId},
    jobs::Jobs,
};
use serde_json::json;

use crate::{
    Error,
    mail::AccountMail,
    member::{no_role, role_of},
    model::{Invitation, Invited},
    store::{
        invitation::{self as store, Shown},
        member, tenant,
    },
    team::MOST as MOST_TEAMS,
    tenant::{Rights, Tenants, suspended},
    users::checked_email,
};

/// How long one can be accepted.
const GOOD_FOR: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// Of one team at a time.
const MOST: i64 = 200;
/// What a token begins with.
const PREFIX: &str = "omi_";

/// Asks people to join teams.
///
/// ```
/// use omnistack_auth::invitation::Invitations;
/// # use omnistack_auth::{Auth, tenant::Tenants, users::{NewUser, Users}};
/// # use omnistack_core::{app::App, config::Config, identity::Identity};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> omnistack_core::Result<()> {
/// # let app = App::builder(Config::from_pairs([("DATABASE_URL", "sqlite::memory:")])).with(Auth::accounts()).build()?;
/// # app.migrate().await?;
/// # let (users, tenants): (Users, Tenants) = (app.ctx().get()?, app.ctx().get()?);
/// # let ada = Identity::user(users.create(NewUser::of_email("ada@example.com")).await?.user);
/// # let team = tenants.create(&ada, "Acme", None).await?.tenant.id;
/// let invitations: Invitations = app.ctx().get()?;
/// let invited = invitations.create(&ada, team, "grace@example.com", "developer").await?;
/// assert_eq!(invitations.list(&ada, team, None, 20).await?.items.len(), 1);
///
/// // It was the wrong address: the link in the mail is good no longer.
/// invitations.revoke(&ada, team, invited.id).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Invitations {
    tenants: Tenants,
    jobs: Jobs,
    ring: KeyRing,
}

/// Somebody joined.
///
/// ```
/// use omnistack_auth::{Error, invitation::{Invitations, Joined}, session::Sessions};
/// use omnistack_core::identity::Identity;
///
/// /// Joins, and goes on in the team that was joined.
/// async fn join(all: &Invitations, sessions: &Sessions, caller: &Identity, token: &str) -> Result<Joined, Error> {
///     let joined = all.accept(caller, token).await?;
///     if let Some(session) = caller.session {
///         sessions.choose(session, joined.tenant).await?;
///     }
///     Ok(joined)
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Joined {
    /// The tenant.
    pub tenant: TenantId,
    /// As what.
    pub role: String,
}

impl Invitations {
    pub(crate) fn new(tenants: Tenants, jobs: Jobs, ring: KeyRing) -> Self {
        Self { tenants, jobs, ring }
    }

    /// Asks somebody to join, by mail.
    ///
    /// # Errors
    /// As of [`Tenants::rights`]; 403 without `members:manage`, for a role that allows what the caller may not, and to
    /// operators who act as a user; 401 `REAUTHENTICATION_REQUIRED` to invite an owner long after signing in; 409
    /// `ALREADY_MEMBER`, `ALREADY_INVITED`, `TOO_MANY_INVITATIONS`, `PERSONAL_TENANT` and `TEAM_ENDS`; 422 for a role the
    /// team doesn't have, and for an address that is none; 429 `TOO_MANY_MAILS` for an address that got too many mails that
    /// strangers can cause.
    pub async fn create(&self, caller: &Identity, id: TenantId, email: &str, role: &str) -> Result<Invitation, Error> {
        let (mut tx, rights) = self.tenants.change(caller, id, "members:manage").await?;
        admits(&rights)?;
        let permissions = role_of(&mut tx, id, role).await?.ok_or_else(|| no_role("role"))?;
        self.tenants.may_grant(caller, &rights, &permissions)?;
        let (email, now) = (checked_email(email)?, self.tenants.clock.now());
        if member::has_email(&mut tx, id, &email).await? {
            return Err(http::Error::conflict("ALREADY_MEMBER", "they are a member already").into());
        }
        store::delete_expired(&mut tx, id, &email, now).await?;
        if store::count(&mut tx, id).await? >= MOST {
            let message = format!("{MOST} invitations wait for an answer: revoke some first");
            return Err(http::Error::conflict("TOO_MANY_INVITATIONS", message).into());
        }
        let new = Invitation {
            id: Id::new(now),
            tenant_id: id,
            email,
            role: role.to_owned(),
            invited_by: Some(caller.user),
            sent_at: now,
            created_at: now,
            expires_at: now + GOOD_FOR,
        };
        let inserted = store::insert(&mut tx, &new, self.token(new.id)?).await;
        inserted.map_err(|error| {
            if error.kind() != db::ErrorKind::Unique {
                return Error::from(error);
            }
            let message = "they are invited already: send that again, or revoke it first";
            http::Error::conflict("ALREADY_INVITED", message).into()
        })?;
        self.send(&mut tx, &new).await?;
        let entry = entry("invitation.created", caller, &new).with(json!({ "email": new.email, "role": role }));
        self.tenants.done(tx, entry).await?;
        Ok(new)
    }

    /// The invitations of a team behind another, by their ids: those not accepted and not revoked.
    ///
    /// # Errors
    /// As of [`Tenants::rights`]; 403 without `members:read`.
    pub async fn list(
        &self,
        caller: &Identity,
        id: TenantId,
        after: Option<Id<Invited>>,
        limit: u32,
    ) -> Result<Page<Invitation>, Error> {
        let (mut tx, _) = self.tenants.read(caller, id, "members:read").await?;
        let mut items = store::list(&mut tx, id, after, i64::from(limit) + 1).await?;
        tx.commit().await?;
        let more = items.len() > limit as usize;
        items.truncate(limit as usize);
        let next_cursor = items.last().filter(|_| more).map(|last| last.id.to_string());
        Ok(Page { items, next_cursor })
    }

    /// Sends another mail, with a link that is good for seven days more; the one before is not good any longer.
    ///
    /// # Errors
    /// As of [`create`](Self::create); 404 for an invitation the team doesn't have.
    pub async fn resend(&self, caller: &Identity, id: TenantId, invitation: Id<Invited>) -> Result<Invitation, Error> {
        let (mut tx, rights) = self.tenants.change(caller, id, "members:manage").await?;
        admits(&rights)?;
        let before = store::find(&mut tx, id, invitation).await?.ok_or_else(|| http::Error::not_found("invitation"))?;
        let permissions = role_of(&mut tx, id, &before.role).await?.unwrap_or_default();
        self.tenants.may_grant(caller, &rights, &permissions)?;
        let now = self.tenants.clock.now();
        let renewed = Invitation { sent_at: now, expires_at: now + GOOD_FOR, ..before };
        store::renew(&mut tx, &renewed, self.token(renewed.id)?).await?;
        self.send(&mut tx, &renewed).await?;
        self.tenants.done(tx, entry("invitation.resent", caller, &renewed)).await?;
        Ok(renewed)
    }

    /// Takes one back: its link is good no longer.
    ///
    /// # Errors
    /// As of [`Tenants::rights`]; 403 without `members:manage`, 404 for an invitation the team doesn't have.
    pub async fn revoke(&self, caller: &Identity, id: TenantId, invitation: Id<Invited>) -> Result<(), Error> {
        let (mut tx, _) = self.tenants.change(caller, id, "members:manage").await?;
        let found = store::find(&mut tx, id, invitation).await?.ok_or_else(|| http::Error::not_found("invitation"))?;
        store::delete(&mut tx, id, invitation).await?;
        let entry = entry("invitation.revoked", caller, &found).with(json!({ "email": found.email }));
        self.tenants.done(tx, entry).await
    }

    /// The invitation a token is of, while it is good: whoever holds it has the mail that was sent to its address.
    ///
    /// # Errors
    /// The database's.
    pub async fn of_token(&self, token: &str) -> Result<Option<Invitation>, Error> {
        // A token is all that is known.
        let mut tx = self.tenants.db.all_tenants().read().await?;
        let found = store::of_token(&mut tx, Sha256::of(token), self.tenants.clock.now()).await?;
        tx.commit().await?;
        Ok(found)
    }

    /// As [`of_token`](Self::of_token), within a transaction of all tenants, and with the tenant's row held, as
    /// [`accept_in`](Self::accept_in) holds it before a user's.
    ///
    /// # Errors
    /// 404 `INVITATION_INVALID`, and the database's.
    pub(crate) async fn of_token_in(&self, tx: &mut Tx, token: &str) -> Result<Invitation, Error> {
        let (hash, now) = (Sha256::of(token), self.tenants.clock.now());
        let found = store::of_token(tx, hash, now).await?.ok_or_else(invalid)?;
        tenant::lock(tx, found.tenant_id).await?;
        // It may have been accepted, revoked or sent anew while this waited.
        Ok(store::of_token(tx, hash, now).await?.ok_or_else(invalid)?)
    }

    /// What whoever holds a token is shown before they accept.
    ///
    /// # Errors
    /// 404 `INVITATION_INVALID`, and the database's.
    pub(crate) async fn shown(&self, token: &str) -> Result<Shown, Error> {
        let mut tx = self.tenants.db.all_tenants().read().await?;
        let found = store::shown(&mut tx, Sha256::of(token), self.tenants.clock.now()).await?;
        tx.commit().await?;
        Ok(found.ok_or_else(invalid)?)
    }

    /// Lets the caller join.
    ///
    /// # Errors
    /// As of [`accept_in`](Self::accept_in); 403 for a program, and for an operator who acts as a user.
    pub async fn accept(&self, caller: &Identity, token: &str) -> Result<Joined, Error> {
        caller.require_in_person()?;
        // A token is all that is known.
        let mut tx = self.tenants.db.all_tenants().begin().await?;
        let joined = self.join_in(&mut tx, caller, token).await?;
        tx.commit().await?;
        self.tenants.sessions.forget(caller.user).await;
        Ok(joined)
    }

    /// Lets a user join, within a transaction of all tenants: that of their registration, say. Once it is committed, tell
    /// [`Sessions::forget`](crate::session::Sessions::forget) of a user who was there before.
    ///
    /// # Errors
    /// 404 `INVITATION_INVALID` for a token that is not good, or not any more; 403 `INVITATION_OF_ANOTHER` when the user's
    /// verified address is not the one it was sent to; 409 `ALREADY_MEMBER`, `TOO_MANY_TEAMS` and `TEAM_ENDS`; 403
    /// `TENANT_SUSPENDED`; the database's.
    pub async fn accept_in(&self, tx: &mut Tx, user: UserId, token: &str) -> Result<Joined, Error> {
        self.join_in(tx, &Identity::user(user), token).await
    }

    async fn join_in(&self, tx: &mut Tx, caller: &Identity, token: &str) -> Result<Joined, Error> {
        let user = caller.user;
        let (found, now) = (self.of_token_in(tx, token).await?, self.tenants.clock.now());
        if store::verified_email(tx, user).await?.as_deref() != Some(found.email.as_str()) {
            let message = "this invitation was sent to another address: sign in with that one, verified";
            return Err(http::Error::new(StatusCode::FORBIDDEN, "INVITATION_OF_ANOTHER", message).into());
        }
        let state = tenant::state(tx, found.tenant_id).await?.ok_or_else(invalid)?;
        if state.suspended_at.is_some() {
            return Err(suspended().into());
        }
        if state.delete_at.is_some() {
            return Err(ends().into());
        }
        if tenant::is_in_most(tx, user).await? {
            let message = format!("nobody is in more than {MOST_TEAMS} teams");
            return Err(http::Error::conflict("TOO_MANY_TEAMS", message).into());
        }
        if member::find(tx, found.tenant_id, user).await?.is_some() {
            return Err(http::Error::conflict("ALREADY_MEMBER", "you are a member already").into());
        }
        tenant::add_member(tx, found.tenant_id, user, &found.role, now).await?;
        store::delete(tx, found.tenant_id, found.id).await?;
        let entry = AuditEntry::new("member.joined").by(caller).for_tenant(found.tenant_id);
        let details = json!({ "after": found.role, "invitation": found.id, "invited_by": found.invited_by });
        self.tenants.audit.record_in(tx, entry.on("user", user).with(details)).await?;
        Ok(Joined { tenant: found.tenant_id, role: found.role })
    }

    /// Deletes what expired long ago, at most so many.
    pub(crate) async fn sweep(&self, limit: i64) -> Result<u64, Error> {
        // Every tenant's.
        let mut tx = self.tenants.db.all_tenants().begin().await?;
        let deleted = store::sweep(&mut tx, self.tenants.clock.now() - GOOD_FOR * 4, limit).await?;
        tx.commit().await?;
        Ok(deleted)
    }

    /// A new token, as it is stored.
    fn token(&self, id: Id<Invited>) -> Result<store::Kept, Error> {
        let token = Token::with_prefix(PREFIX);
        Ok(store::Kept { hash: token.hash(), sealed: self.ring.seal(token.expose(), &place(id))? })
    }

    /// Has the mail sent when the transaction commits.
    ///
    /// # Errors
    /// 429 `TOO_MANY_MAILS` for an address that may get no mail now: nothing is changed, so the link before stays good.
    async fn send(&self, tx: &mut Tx, to: &Invitation) -> Result<(), Error> {
        let limit = RecipientLimit::new(self.tenants.clock.clone());
        if let Some(wait) = limit.wait_in(tx, &to.email).await? {
            return Err(too_many_mails(wait).into());
        }
        self.jobs.enqueue_in(tx, AccountMail::Invitation { invitation: to.id }).await.map_err(http::Error::from)?;
        Ok(())
    }
}

/// Goes on only if others can join.
fn admits(rights: &Rights) -> Result<(), http::Error> {
    rights.team()?;
    if rights.tenant.delete_at.is_some() { Err(ends()) } else { Ok(()) }
}

fn ends() -> http::Error {
    http::Error::conflict("TEAM_ENDS", "the team is to be deleted; its owner can restore it")
}

fn too_many_mails(wait: Duration) -> http::Error {
    let seconds = wait.as_secs().max(1);
    let message = format!("this address got too many mails; wait {seconds} seconds, then send the invitation again");
    let error = http::Error::new(StatusCode::TOO_MANY_REQUESTS, "TOO_MANY_MAILS", message);
    error.header(header::RETRY_AFTER, HeaderValue::from(seconds)).detail("retry_after", seconds)
}

pub(crate) fn invalid() -> http::Error {
    let message = "the invitation is not valid, was accepted or taken back, or has expired; ask for another";
    http::Error::new(StatusCode::NOT_FOUND, "INVITATION_INVALID", message)
}

/// What the sealed token of an invitation is bound to.
pub(crate) fn place(id: Id<Invited>) -> Context {
    Context::row("invitations", "secret", id)
}

fn entry(action: &'static str, caller: &Identity, invitation: &Invitation) -> AuditEntry {
    AuditEntry::new(action).by(caller).for_tenant(invitation.tenant_id).on("invitation", invitation.id)
}

impl fmt::Debug for Invitations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Invitations")
    }
}
