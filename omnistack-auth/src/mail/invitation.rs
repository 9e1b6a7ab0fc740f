//! The invitation mail.

use omnistack_core::{
    ExposeSecret as _,
    clock::Timestamp,
    crypto::SealContext,
    db::{self, Tx},
    email::Email,
    http,
    id::Id,
    identity::TenantId,
};
use omnistack_messaging::email::template::Invitation;

use super::{AccountMailer, printable};
use crate::{Error, model::InvitationMarker};

impl AccountMailer {
    /// Composes an invitation mail. Returns `None` if the invitation was accepted, revoked or has expired. The
    /// transaction must be one of all tenants.
    pub(super) async fn invitation(&self, tx: &mut Tx, id: Id<InvitationMarker>) -> Result<Option<Email>, Error> {
        let now = self.clock.now();
        let Some(letter) = mail_data(tx, id, now).await? else { return Ok(None) };
        let token = self.ring.open_text(&letter.secret, &encryption_context(id))?;
        // Names of teams and users are untrusted text to the recipient.
        let written = Invitation {
            inviter: letter.inviter.as_deref().map_or_else(|| self.product.clone(), printable),
            tenant: printable(&letter.team),
            role: Some(printable(&letter.role)),
            link: format!("{}#token={}", self.page("invitation"), token.expose_secret()),
            expires: letter.expires_at.duration_since(now),
        };
        let locale = letter.locale.as_deref();
        let Some(outbox) = &self.outbox else {
            return Ok(Some(self.compose(&letter.email, locale, &written)?.for_tenant(letter.tenant_id)));
        };
        let own = outbox.compose_for(letter.tenant_id, letter.email.as_str(), &written, locale.unwrap_or("en"));
        Ok(Some(own.await.map_err(http::Error::from)?))
    }
}

/// Returns the encryption context of an invitation's sealed token.
pub(crate) fn encryption_context(id: Id<InvitationMarker>) -> SealContext {
    SealContext::row("omni_invitations", "secret", id)
}

/// The data of an invitation mail: the recipient, the sealed token, the tenant's name, the inviter and the role. The
/// locale is that of the recipient's account, or else the inviter's.
#[derive(omnistack_core::db::FromRow)]
struct InvitationMail {
    tenant_id: TenantId,
    email: String,
    secret: String,
    team: String,
    role: String,
    inviter: Option<String>,
    locale: Option<String>,
    expires_at: Timestamp,
}

/// Returns the data of an invitation mail, or `None` if the invitation does not exist or has expired.
async fn mail_data(tx: &mut Tx, id: Id<InvitationMarker>, now: Timestamp) -> Result<Option<InvitationMail>, db::Error> {
    let sql = "select i.tenant_id, i.email, i.secret, t.name as team, i.role, u.name as inviter, \
               coalesce(r.locale, u.locale) as locale, i.expires_at from omni_invitations i \
               join omni_tenants t on t.id = i.tenant_id left join omni_users u on u.id = i.invited_by \
               left join omni_users r on r.email = i.email where i.id = $1 and i.expires_at > $2";
    tx.query(sql).bind(id).bind(now).fetch_optional().await
}
