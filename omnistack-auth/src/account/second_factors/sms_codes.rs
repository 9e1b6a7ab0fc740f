//! SMS codes of an account: adding a phone number, and sending codes to it.

use ::http::StatusCode;
use omnistack_core::{
    db::Tx,
    http,
    identity::{Identity, UserId},
};
use omnistack_messaging::sms::PhoneNumber;
use serde_json::json;

use crate::{
    Error,
    account::{Accounts, ClientInfo, sign_in},
    mfa::sms_codes::{SmsCodes, masked},
    one_time_tokens::TokenPurpose,
    users::store::accounts::{self as store, Account},
};

/// The reason for which a code is sent, as recorded in the audit log.
#[derive(Clone, Copy)]
enum SmsCodeReason {
    NewNumber,
    SignIn,
    Session,
}

impl SmsCodeReason {
    const fn as_str(self) -> &'static str {
        match self {
            Self::NewNumber => "new_number",
            Self::SignIn => "sign_in",
            Self::Session => "session",
        }
    }
}

impl Accounts {
    /// Returns the SMS code service. Fails with 404 if SMS codes are disabled.
    pub(crate) fn sms_codes(&self) -> Result<&SmsCodes, Error> {
        Ok(self.0.sms_codes.as_ref().ok_or_else(|| http::Error::not_found("the phone number for codes"))?)
    }

    /// Sends a code to a phone number. The number becomes a second factor when it is
    /// [confirmed](Self::confirm_factor), and replaces one that was never confirmed. Several users may have the same
    /// number, and the response does not reveal whether they do.
    ///
    /// # Errors
    /// 403 `EMAIL_NOT_VERIFIED` and 401 `SECOND_FACTOR_REQUIRED`, as for all second factors; 409 `PHONE_EXISTS`; 429
    /// `TOO_MANY_MESSAGES`, and 429 if the client's address has caused too many messages.
    pub(crate) async fn add_phone(
        &self,
        caller: &Identity,
        number: &PhoneNumber,
        visitor: &ClientInfo,
    ) -> Result<String, Error> {
        let account = self.own_account(caller).await?;
        self.may_add_factor(caller, &account).await?;
        let mut tx = self.0.db.all_tenants().begin().await?;
        // The limit per client address also covers a client with many accounts.
        self.0.lockout.count_mail_request_in(&mut tx, visitor.address).await?;
        store::lock(&mut tx, account.id).await?;
        if !self.sms_codes()?.begin_in(&mut tx, account.id, number).await? {
            let message = "you already have a phone number for codes; remove it first";
            return Err(http::Error::conflict("PHONE_EXISTS", message).into());
        }
        self.send_code_in(&mut tx, &account, number, SmsCodeReason::NewNumber, visitor).await?;
        tx.commit().await?;
        Ok(masked(number.as_str()))
    }

    /// Sends a code, and records that it was sent.
    async fn send_code_in(
        &self,
        tx: &mut Tx,
        account: &Account,
        number: &PhoneNumber,
        what: SmsCodeReason,
        visitor: &ClientInfo,
    ) -> Result<(), Error> {
        self.sms_codes()?.send_in(tx, account.id, number).await?;
        let details = crate::account::with_client_info(
            visitor,
            json!({ "for": what.as_str(), "phone": masked(number.as_str()) }),
        );
        // A user who signs in has presented only one of two factors, so the entry names no actor.
        let by = (!matches!(what, SmsCodeReason::SignIn)).then_some(account.id);
        self.record_in(tx, "account.code_sent", account, by, Some(details)).await
    }

    /// Sends a code to a user whose sign-in waits for a second factor. Returns the masked phone number. The challenge
    /// stays valid.
    ///
    /// # Errors
    /// 400 `TOKEN_INVALID`; 409 `NO_PHONE`; 429 `TOO_MANY_MESSAGES`; 403 `ACCOUNT_DISABLED`.
    pub(crate) async fn send_code_for_challenge(&self, challenge: &str, visitor: &ClientInfo) -> Result<String, Error> {
        let row = self.0.one_time.peek(TokenPurpose::SecondFactor, challenge).await;
        let row = row.map_err(|error| {
            if error.is_response_with_status(StatusCode::BAD_REQUEST) {
                sign_in::challenge_invalid().into()
            } else {
                error
            }
        })?;
        self.send_code(row.user_id, SmsCodeReason::SignIn, visitor).await
    }

    /// Sends the caller a code for step-up authentication in the caller's session. Returns the masked phone number.
    ///
    /// # Errors
    /// 409 `NO_PHONE`; 429 `TOO_MANY_MESSAGES`; 403 for a caller without a session of this app.
    pub(crate) async fn send_code_for_session(&self, caller: &Identity, visitor: &ClientInfo) -> Result<String, Error> {
        let user = self.own_account(caller).await?.id;
        if caller.session.is_none() {
            return Err(http::Error::forbidden("a code needs a session of this app; sign in first").into());
        }
        self.send_code(user, SmsCodeReason::Session, visitor).await
    }

    /// Sends a code to a user's confirmed number. Returns the masked number. Fails with 409 `NO_PHONE` if the user
    /// has none.
    async fn send_code(&self, user: UserId, what: SmsCodeReason, visitor: &ClientInfo) -> Result<String, Error> {
        let mut tx = self.0.db.all_tenants().begin().await?;
        let account = store::lock(&mut tx, user).await?.ok_or_else(|| http::Error::not_found("the user"))?;
        sign_in::require_enabled(&account)?;
        let Some(number) = self.sms_codes()?.confirmed_in(&mut tx, user).await? else {
            return Err(http::Error::conflict("NO_PHONE", "there is no confirmed phone number; add one first").into());
        };
        self.send_code_in(&mut tx, &account, &number, what, visitor).await?;
        tx.commit().await?;
        Ok(masked(number.as_str()))
    }
}
