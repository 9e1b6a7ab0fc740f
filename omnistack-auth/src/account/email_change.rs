//! Change of the email address.

use ::http::StatusCode;
use omnistack_core::{http, identity::Identity};
use serde_json::json;

use super::{Accounts, ClientInfo};
use crate::{
    Error,
    mail::AccountMail,
    one_time_tokens::{self, TokenPurpose},
    password::Password,
    users::{parse_email, store::accounts as store},
};

impl Accounts {
    /// Requests a change of the caller's email address and sends a verification link to the new address. The new
    /// address replaces the old one when it is verified; the old address is notified then. The response does not
    /// reveal whether another account has the new address; its owner gets an email.
    pub(crate) async fn request_email_change(
        &self,
        caller: &Identity,
        email: &str,
        password: Option<&Password>,
        visitor: &ClientInfo,
    ) -> Result<(), Error> {
        let email = parse_email(email)?;
        let account = self.reauthenticate(caller, "password", password, visitor).await?;
        let mut tx = self.0.db.all_tenants().begin().await?;
        self.0.lockout.count_mail_request_in(&mut tx, visitor.address).await?;
        let details = Some(super::with_client_info(visitor, json!({ "email": email })));
        self.record_in(&mut tx, "account.email_change_requested", &account, Some(account.id), details).await?;
        if self.0.lockout.may_mail_in(&mut tx, &email).await? {
            self.mail_in(&mut tx, AccountMail::ConfirmEmail { user: account.id, email }).await?;
        }
        Ok(tx.commit().await?)
    }

    /// Verifies a new address with the token from the email sent to it. The caller must be signed in to the account
    /// that the token belongs to, so that a click in an email that a stranger has caused gives no address to the
    /// stranger's account.
    ///
    /// # Errors
    /// 400 `TOKEN_INVALID`; 403 `LINK_ACCOUNT_MISMATCH` for a caller with another account, in which case the token stays
    /// valid; 409 `EMAIL_TAKEN`.
    pub(crate) async fn verify_new_email(&self, caller: &Identity, token: &str) -> Result<(), Error> {
        let user = self.own_account(caller).await?.id;
        if self.0.one_time.peek(TokenPurpose::ChangeEmail, token).await?.user_id != user {
            let message = "this link belongs to another account; sign in to the account whose address is to change";
            return Err(http::Error::new(StatusCode::FORBIDDEN, "LINK_ACCOUNT_MISMATCH", message).into());
        }
        let mut tx = self.0.db.all_tenants().begin().await?;
        let row = self
            .0
            .one_time
            .consume_in(&mut tx, TokenPurpose::ChangeEmail, token)
            .await?
            .ok_or_else(one_time_tokens::token_invalid)?;
        let account = store::lock(&mut tx, user).await?.ok_or_else(one_time_tokens::token_invalid)?;
        let email = row.data.ok_or_else(one_time_tokens::token_invalid)?;
        if store::lock_by_email(&mut tx, &email).await?.is_some_and(|other| other.id != user) {
            // The holder of the token reads this address's mail, so the response reveals nothing new.
            return Err(
                http::Error::conflict("EMAIL_TAKEN", "another account has this address now; use another").into()
            );
        }
        store::set_email(&mut tx, user, &email, self.0.clock.now()).await?;
        self.0.lockout.reset_in(&mut tx, &email).await?;
        // Revokes the links in the old mailbox.
        self.0.one_time.revoke_all_in(&mut tx, user).await?;
        let details = json!({ "before": account.email, "after": email });
        self.record_in(&mut tx, "account.email_changed", &account, Some(user), Some(details)).await?;
        if let Some(old) = account.email.clone() {
            self.mail_in(&mut tx, AccountMail::EmailChanged { user, old, new: email }).await?;
        }
        Ok(tx.commit().await?)
    }
}
