//! The invitation mail.

use omnistack_core::{ExposeSecret as _, db::Tx, email::Email, http, id::Id};
use omnistack_messaging::email::template::Invitation;

use super::{AccountMailer, printable};
use crate::{Error, invitation::encryption_context, model::InvitationMarker, store::invitation as store};

impl AccountMailer {
    /// Composes an invitation mail. Returns `None` if the invitation was accepted, revoked or has expired. The
    /// transaction must be one of all tenants.
    pub(super) async fn invitation(&self, tx: &mut Tx, id: Id<InvitationMarker>) -> Result<Option<Email>, Error> {
        let now = self.clock.now();
        let Some(letter) = store::mail_data(tx, id, now).await? else { return Ok(None) };
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
