//! Codes by text message, of an account: adding a number, taking it away, and having a code sent.

use ::http::StatusCode;
use omnistack_core::{
    db::Tx,
    http,
    identity::{Identity, UserId},
    sms::PhoneNumber,
};
use serde_json::json;

use super::{Accounts, Visitor, login};
use crate::{
    Error,
    one_time::Purpose,
    sms_code::{SmsCodes, masked},
    store::account::{self as store, Account},
};

/// What a code is sent for, as it is recorded.
#[derive(Clone, Copy)]
enum For {
    NewNumber,
    SignIn,
    Session,
}

impl For {
    const fn as_str(self) -> &'static str {
        match self {
            Self::NewNumber => "new_number",
            Self::SignIn => "sign_in",
            Self::Session => "session",
        }
    }
}

impl Accounts {
    pub(super) fn texts(&self) -> Result<&SmsCodes, Error> {
        Ok(self.0.texts.as_ref().ok_or_else(|| http::Error::not_found("number for codes"))?)
    }

    /// Sends a code to a number, which is no factor before it is [confirmed](Self::confirm_factor). It takes the place of one
    /// that was never confirmed. Whether others have the same number is not told, and makes no difference.
    ///
    /// # Errors
    /// 403 `EMAIL_NOT_VERIFIED`, as for other factors; 401 `SECOND_FACTOR_REQUIRED` for who has a second factor and has not
    /// shown it; 409 `PHONE_EXISTS`; 429 `TOO_MANY_MESSAGES`.
    pub(crate) async fn begin_phone(
        &self,
        caller: &Identity,
        number: &PhoneNumber,
        visitor: &Visitor,
    ) -> Result<String, Error> {
        let account = self.own(caller).await?;
        self.may_add_factor(caller, &account).await?;
        let mut tx = self.0.db.all_tenants().begin().await?;
        // Whoever has many accounts has one address.
        self.0.lockout.asking_in(&mut tx, visitor.address).await?;
        store::lock(&mut tx, account.id).await?;
        if !self.texts()?.begin_in(&mut tx, account.id, number).await? {
            let message = "you have a number for codes already: remove it first";
            return Err(http::Error::conflict("PHONE_EXISTS", message).into());
        }
        self.text_in(&mut tx, &account, number, For::NewNumber, visitor).await?;
        tx.commit().await?;
        Ok(masked(number.as_str()))
    }

    /// Sends a code, and records that.
    async fn text_in(
        &self,
        tx: &mut Tx,
        account: &Account,
        number: &PhoneNumber,
        what: For,
        visitor: &Visitor,
    ) -> Result<(), Error> {
        self.texts()?.send_in(tx, account.id, number).await?;
        let details = super::from(visitor, json!({ "for": what.as_str(), "phone": masked(number.as_str()) }));
        // Who signs in has shown one factor of two.
        let by = (!matches!(what, For::SignIn)).then_some(account.id);
        self.record_in(tx, "account.code_sent", account, by, Some(details)).await
    }

    /// Sends a code to who has begun to sign in; the number it goes to, as it is shown. The challenge stays good.
    ///
    /// # Errors
    /// 400 `TOKEN_INVALID`; 409 `NO_PHONE`; 429 `TOO_MANY_MESSAGES`; 403 `ACCOUNT_DISABLED`.
    pub(crate) async fn text_for_challenge(&self, challenge: &str, visitor: &Visitor) -> Result<String, Error> {
        let row = self.0.one_time.look(Purpose::SecondFactor, challenge).await;
        let row = row.map_err(|error| {
            if error.is_refusal_of(StatusCode::BAD_REQUEST) { login::challenge_invalid().into() } else { error }
        })?;
        self.text(row.user_id, For::SignIn, visitor).await
    }

    /// Sends a code to the caller, to be shown by this session; the number it goes to, as it is shown.
    ///
    /// # Errors
    /// 409 `NO_PHONE`; 429 `TOO_MANY_MESSAGES`; 403 for a caller without a session of their own.
    pub(crate) async fn text_for_session(&self, caller: &Identity, visitor: &Visitor) -> Result<String, Error> {
        let user = self.own(caller).await?.id;
        if caller.session.is_none() {
            return Err(http::Error::forbidden("only a session of this app can show a code").into());
        }
        self.text(user, For::Session, visitor).await
    }

    async fn text(&self, user: UserId, what: For, visitor: &Visitor) -> Result<String, Error> {
        let mut tx = self.0.db.all_tenants().begin().await?;
        let account = store::lock(&mut tx, user).await?.ok_or_else(|| http::Error::not_found("user"))?;
        login::enabled(&account)?;
        let Some(number) = self.texts()?.confirmed_in(&mut tx, user).await? else {
            return Err(http::Error::conflict("NO_PHONE", "there is no number a code could be sent to").into());
        };
        self.text_in(&mut tx, &account, &number, what, visitor).await?;
        tx.commit().await?;
        Ok(masked(number.as_str()))
    }
}
