//! Account deletion after a grace period, in which signing in cancels the deletion, and the export of an account's
//! data.

use ::http::StatusCode;
use omnistack_core::{
    audit::AuditEntry,
    clock::Timestamp,
    events::{TenantDeleted, UserDeleted},
    http,
    identity::{Identity, TenantId},
};
use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;

use super::{Accounts, ClientInfo};
use crate::{
    Error,
    mail::AccountMail,
    mfa::SecondFactorState,
    model::{SessionInfo, User},
    password::Password,
    users::store::{
        self as users,
        accounts::{self as store, ExportedIdentity, ExportedMembership},
    },
};

/// The data that the app stores about a user.
#[derive(Serialize, ToSchema)]
pub(crate) struct AccountExport {
    /// The time of the export.
    exported_at: Timestamp,
    /// The user's profile.
    user: User,
    /// The user's memberships in tenants.
    memberships: Vec<ExportedMembership>,
    /// The user's sessions.
    sessions: Vec<SessionInfo>,
    /// The user's linked identities.
    identities: Vec<ExportedIdentity>,
    /// The user's second factors.
    second_factors: SecondFactorState,
    /// The phone number that receives the user's codes, also if it is not confirmed yet.
    #[cfg(feature = "sms")]
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    phone: Option<String>,
    /// The user's passkeys.
    #[cfg(feature = "passkeys")]
    passkeys: Vec<crate::passkey::Passkey>,
}

impl Accounts {
    /// Collects the data stored about the caller, and records the export in the audit log.
    pub(crate) async fn export(&self, caller: &Identity) -> Result<AccountExport, Error> {
        let account = self.own_account(caller).await?;
        let user = users::find(&self.0.db, account.id).await?.ok_or_else(|| http::Error::not_found("the user"))?;
        let sessions = self.0.sessions.list(account.id).await?;
        let second_factors = self.second_factor_state(account.id).await?;
        #[cfg(feature = "sms")]
        let phone = crate::mfa::store::sms_codes::find(&self.0.db, account.id).await?.map(|phone| phone.number);
        #[cfg(feature = "passkeys")]
        let passkeys = crate::passkey::store::list_for_user(&self.0.db, account.id).await?;
        // The memberships belong to many tenants.
        let mut tx = self.0.db.all_tenants().begin().await?;
        let memberships = store::memberships(&mut tx, account.id).await?;
        let identities = store::linked_identities(&mut tx, account.id).await?;
        self.record_entry_in(&mut tx, &account, AuditEntry::new("account.exported").actor(caller)).await?;
        tx.commit().await?;
        Ok(AccountExport {
            exported_at: self.0.clock.now(),
            user,
            memberships,
            sessions,
            identities,
            second_factors,
            #[cfg(feature = "sms")]
            phone,
            #[cfg(feature = "passkeys")]
            passkeys,
        })
    }

    /// Revokes all sessions of the caller and schedules the account's deletion: after the grace period, and not
    /// before the deletion of the teams that the caller alone owns and has deleted. Returns the time of the deletion.
    ///
    /// # Errors
    /// 409 `LAST_OWNER` if a team would be left without an owner, `LAST_OPERATOR` if the app would be left without an
    /// operator; and like `confirm`.
    pub(crate) async fn schedule_deletion(
        &self,
        caller: &Identity,
        password: Option<&Password>,
        visitor: &ClientInfo,
    ) -> Result<Timestamp, Error> {
        let account = self.reauthenticate(caller, "password", password, visitor).await?;
        let now = self.0.clock.now();
        let mut tx = self.0.db.all_tenants().begin().await?;
        // Operators are locked before users, as in all transactions, to avoid deadlocks.
        if store::lock_operators(&mut tx).await? == [account.id] {
            let message = "you are the only operator of the app; make another user an operator first";
            return Err(http::Error::conflict("LAST_OPERATOR", message).into());
        }
        let account = store::lock(&mut tx, account.id).await?.ok_or_else(|| http::Error::not_found("the user"))?;
        let owned = store::solely_owned_teams(&mut tx, account.id, now).await?;
        let go_on: Vec<TenantId> = owned.iter().filter(|team| team.delete_at.is_none()).map(|team| team.id).collect();
        if !go_on.is_empty() {
            let message = "you are the only owner of a team; make another member an owner or delete the team first";
            return Err(http::Error::new(StatusCode::CONFLICT, "LAST_OWNER", message)
                .with_detail("teams", go_on)
                .into());
        }
        let grace = now + self.0.settings.deletion_grace;
        let at = owned.iter().filter_map(|team| team.delete_at).fold(grace, Timestamp::max);
        store::set_deletion(&mut tx, account.id, Some(at), now).await?;
        self.0.one_time.revoke_all_in(&mut tx, account.id).await?;
        self.0.sessions.revoke_all_in(&mut tx, account.id, None).await?;
        let details = Some(super::with_client_info(visitor, json!({ "delete_at": at })));
        self.record_in(&mut tx, "account.deletion_requested", &account, Some(account.id), details).await?;
        self.mail_in(&mut tx, AccountMail::DeletionScheduled { user: account.id, at }).await?;
        tx.commit().await?;
        self.0.sessions.invalidate_user(account.id).await;
        Ok(at)
    }

    /// Deletes the accounts whose grace period is over. The deletion of a user who has become the last owner of a
    /// team is deferred until the team has another owner or is deleted.
    pub(super) async fn delete_due(&self, limit: i64) -> Result<(), Error> {
        let now = self.0.clock.now();
        loop {
            let due = store::due_for_deletion(&self.0.db, now, limit).await?;
            let mut deleted = 0;
            for (user,) in &due {
                let mut tx = self.0.db.all_tenants().begin().await?;
                let stays = store::lock(&mut tx, *user).await?.is_none()
                    || !store::solely_owned_teams(&mut tx, *user, now).await?.is_empty();
                let personal = store::personal_tenant(&mut tx, *user).await?;
                if !stays && store::delete(&mut tx, *user, now).await? {
                    let events = &self.0.events;
                    for (tenant,) in personal {
                        self.0.db.drop_tenant_in(&mut tx, tenant).await?;
                        let gone = TenantDeleted::new(tenant);
                        events.publish_in(&mut tx, &gone).await.map_err(http::Error::from)?;
                    }
                    // Recorded in the app's chain, because the tenant is deleted with its user.
                    self.0.audit.record_in(&mut tx, AuditEntry::new("account.deleted").resource("user", user)).await?;
                    let gone = UserDeleted::new(*user);
                    events.publish_in(&mut tx, &gone).await.map_err(http::Error::from)?;
                    deleted += 1;
                }
                tx.commit().await?;
                self.0.sessions.invalidate_user(*user).await;
            }
            if deleted == 0 {
                return Ok(());
            }
        }
    }
}
