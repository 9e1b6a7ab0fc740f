//! SMS codes: codes sent by text message, a second factor of users with a confirmed phone number.
//!
//! A code has only six digits, so a plain hash in a stolen row could be searched at once. The code is therefore
//! stored as an HMAC with a random key, and the key is sealed. The HMAC covers the user and the number as well, so a
//! code is valid for no other user or number. A new code replaces the one before, one statement uses up the right
//! one, and the fifth wrong guess invalidates it.
//!
//! Messages cost money and disturb people. The number of messages is therefore limited ([`MESSAGE_LIMITS`]) per
//! user and per number, counted in one statement before the message is written, in the same transaction.

use std::{fmt, time::Duration};

use ::http::{HeaderValue, StatusCode, header};
use omnistack_core::{
    clock::Clock,
    crypto::{HmacKey, KeyRing, SealContext, Sha256},
    db::{Db, Tx},
    http,
    identity::UserId,
};
use omnistack_messaging::sms::{PhoneNumber, SmsMessage, SmsOutbox};
use secrecy::ExposeSecret as _;
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    Error,
    mfa::{CodeCheck, store::sms_codes as store},
};

pub(crate) use store::Phone;

/// The time for which a code is valid, the maximum of NIST SP 800-63B-4, section 3.1.3.
pub(crate) const SMS_CODE_TTL: Duration = Duration::from_secs(10 * 60);
/// The number of wrong guesses that invalidate a code.
const MAX_WRONG_GUESSES: i64 = 5;
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// The limits on messages to a user and to a number: a name, the maximum number, and the window.
const MESSAGE_LIMITS: [(&str, i64, Duration); 2] = [("a quarter", 3, Duration::from_secs(15 * 60)), ("a day", 10, DAY)];

/// The phone number that receives a user's codes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct PhoneState {
    /// The first and last characters of the number, as in `+49•••••67`.
    pub(crate) phone: String,
    /// The time since which the number is a second factor.
    pub(crate) since: omnistack_core::clock::Timestamp,
}

/// The SMS codes of users: sends and verifies them. Cheap to clone.
#[derive(Clone)]
pub(crate) struct SmsCodes {
    pub(crate) db: Db,
    pub(crate) clock: Clock,
    pub(crate) ring: KeyRing,
    pub(crate) outbox: SmsOutbox,
    /// The product name of the app.
    pub(crate) product: String,
    /// The host of the app's public URL.
    pub(crate) host: String,
}

impl SmsCodes {
    /// Returns the user's confirmed number as the API shows it, or `None` if there is none.
    pub(crate) async fn state(&self, user: UserId) -> Result<Option<PhoneState>, Error> {
        let phone = store::find(&self.db, user).await?;
        Ok(phone.and_then(|phone| Some(PhoneState { phone: masked(&phone.number), since: phone.confirmed_at? })))
    }

    /// Returns whether the user has a confirmed number. With the user's row locked, this cannot change until the
    /// transaction ends.
    pub(crate) async fn is_factor_in(&self, tx: &mut Tx, user: UserId) -> Result<bool, Error> {
        Ok(self.confirmed_in(tx, user).await?.is_some())
    }

    /// Returns the user's confirmed number, or `None` if there is none.
    pub(crate) async fn confirmed_in(&self, tx: &mut Tx, user: UserId) -> Result<Option<PhoneNumber>, Error> {
        let Some(phone) = store::phone(tx, user).await?.filter(|phone| phone.confirmed_at.is_some()) else {
            return Ok(None);
        };
        Ok(Some(phone.number.parse().map_err(http::Error::internal)?))
    }

    /// Stores a number that must be confirmed. Returns `false` if the user already has a confirmed one.
    pub(crate) async fn begin_in(&self, tx: &mut Tx, user: UserId, number: &PhoneNumber) -> Result<bool, Error> {
        Ok(store::insert_unconfirmed(tx, user, number.as_str(), self.clock.now()).await?)
    }

    /// Sends a new code to the user's number; it replaces the code before. The caller holds the lock on the user's
    /// row.
    ///
    /// # Errors
    /// 429 `TOO_MANY_MESSAGES` with `Retry-After`. The transaction is rolled back then, so the message is not
    /// counted.
    pub(crate) async fn send_in(&self, tx: &mut Tx, user: UserId, number: &PhoneNumber) -> Result<(), Error> {
        self.count_in(tx, user, number).await?;
        let (code, key): (String, [u8; 32]) = (random_code(), rand::random());
        let hash = HmacKey::new(key)?.sign(hmac_input(user, number.as_str(), &code));
        let sealed = self.ring.seal(key, &encryption_context(user))?;
        let until = self.clock.now() + SMS_CODE_TTL;
        store::set_code(tx, user, (sealed, hash.as_bytes().to_vec()), until).await?;
        let message = SmsMessage::new(number.clone(), message_text(&self.product, &self.host, &code));
        self.outbox.send_in(tx, &message).await.map_err(http::Error::from)?;
        Ok(())
    }

    /// Counts a message to a user and a number. Fails with 429 `TOO_MANY_MESSAGES` if a limit is reached.
    async fn count_in(&self, tx: &mut Tx, user: UserId, number: &PhoneNumber) -> Result<(), Error> {
        let (now, mut wait) = (self.clock.now(), None);
        for whose in [user.to_string(), number.as_str().to_owned()] {
            for (name, most, within) in MESSAGE_LIMITS {
                let key = Sha256::digest_parts([name.as_bytes(), b" ", whose.as_bytes()]);
                if !store::count_send(tx, key, now, (now - within, most)).await? {
                    let since = store::count_started_at(tx, key).await?.unwrap_or(now);
                    wait = wait.max(Some((since + within).duration_since(now)));
                }
            }
        }
        match wait {
            Some(wait) => Err(too_many(wait).into()),
            None => Ok(()),
        }
    }

    /// Makes the unconfirmed number a second factor if this is its code.
    pub(crate) async fn confirm_in(&self, tx: &mut Tx, user: UserId, code: &str) -> Result<CodeCheck, Error> {
        let Some(phone) = store::phone(tx, user).await?.filter(|phone| phone.confirmed_at.is_none()) else {
            return Ok(CodeCheck::NotPending);
        };
        let done = self.check_code_in(tx, user, &phone, code).await?;
        if done == CodeCheck::Right {
            store::confirm(tx, user, self.clock.now()).await?;
        }
        Ok(done)
    }

    /// Returns whether this is the code sent to the user's confirmed number. A right code is used up and a wrong one
    /// is counted, so the caller must commit in both cases.
    pub(crate) async fn use_in(&self, tx: &mut Tx, user: UserId, code: &str) -> Result<bool, Error> {
        let Some(phone) = store::phone(tx, user).await?.filter(|phone| phone.confirmed_at.is_some()) else {
            return Ok(false);
        };
        Ok(self.check_code_in(tx, user, &phone, code).await? == CodeCheck::Right)
    }

    /// Checks a code against the one that was sent. Uses up a right one and counts a wrong one.
    async fn check_code_in(&self, tx: &mut Tx, user: UserId, phone: &Phone, code: &str) -> Result<CodeCheck, Error> {
        let Some((sealed, hash)) = phone.code(self.clock.now()) else { return Ok(CodeCheck::NotPending) };
        let key = self.ring.open(sealed, &encryption_context(user))?;
        let code = crate::mfa::without_white_space(code);
        if !HmacKey::new(key.expose_secret())?.verify(hmac_input(user, &phone.number, &code), hash) {
            store::count_wrong_guess(tx, user, MAX_WRONG_GUESSES).await?;
            return Ok(CodeCheck::Wrong);
        }
        let used = store::consume_code(tx, user, hash).await?;
        Ok(if used { CodeCheck::Right } else { CodeCheck::NotPending })
    }

    /// Deletes expired counters and numbers that were never confirmed, at most `limit`. Returns their number.
    pub(crate) async fn sweep(&self, limit: i64) -> Result<u64, Error> {
        Ok(store::delete_old(&self.db, self.clock.now() - DAY, limit).await?)
    }
}

/// Returns six random digits, uniformly distributed.
fn random_code() -> String {
    format!("{:06}", rand::random_range(0..1_000_000_u32))
}

/// Returns the text that the HMAC covers. Only the code, at its end, comes from the client.
fn hmac_input(user: UserId, number: &str, code: &str) -> String {
    format!("{user} {number} {code}")
}

fn encryption_context(user: UserId) -> SealContext {
    SealContext::row("omni_sms_code_phones", "code_key", user)
}

/// Returns the text of the message. The last line is for browsers, which offer the code only to the app's own pages
/// (Origin-bound one-time codes delivered via SMS, WICG).
pub(crate) fn message_text(product: &str, host: &str, code: &str) -> String {
    format!(
        "{code} is your code for {product}, valid for 10 minutes. Do not share it. We never ask for it.\n\n\
         @{host} #{code}"
    )
}

/// Masks a phone number so that its owner can still recognise it.
pub(crate) fn masked(number: &str) -> String {
    let (start, end) = (number.get(..3), number.len().checked_sub(2).and_then(|at| number.get(at..)));
    format!("{}•••••{}", start.unwrap_or_default(), end.unwrap_or_default())
}

fn too_many(wait: Duration) -> http::Error {
    // Rounded up, so that a client that waits this long succeeds.
    let wait = (wait + Duration::from_millis(999)).as_secs().max(1);
    let message = format!("too many messages were sent; wait {wait} seconds, or use another second factor");
    let error = http::Error::new(StatusCode::TOO_MANY_REQUESTS, "TOO_MANY_MESSAGES", message);
    error.with_header(header::RETRY_AFTER, HeaderValue::from(wait)).with_detail("retry_after", wait)
}

impl fmt::Debug for SmsCodes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SmsCodes")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn a_code_has_six_digits_and_fits_one_part() {
        let codes: HashSet<String> = (0..1000).map(|_| random_code()).collect();
        assert!(codes.len() > 990, "{}", codes.len());
        for code in &codes {
            assert!(code.len() == 6 && code.bytes().all(|digit| digit.is_ascii_digit()), "{code}");
        }
        let text = message_text("Acme Projects", "app.example.com", "012345");
        assert!(text.starts_with("012345 is your code for Acme Projects") && text.contains("not share"), "{text}");
        assert!(text.ends_with("\n@app.example.com #012345"), "{text}");
        let message = SmsMessage::new("+491701234567".parse().unwrap(), text);
        assert_eq!(message.segments().count, 1);
    }

    #[test]
    fn a_number_is_shown_by_its_ends() {
        for (number, shown) in [("+491701234567", "+49•••••67"), ("+1234567", "+12•••••67"), ("", "•••••")]
        {
            assert_eq!(masked(number), shown);
        }
    }

    #[test]
    fn a_hash_is_of_one_user_number_and_code() {
        let [ada, eve] = [1, 2].map(|number| UserId::from_uuid(uuid::Uuid::from_u128(number)));
        let hashes = [
            hmac_input(ada, "+491701234567", "123456"),
            hmac_input(eve, "+491701234567", "123456"),
            hmac_input(ada, "+491701234568", "123456"),
            hmac_input(ada, "+491701234567", "123457"),
        ];
        assert_eq!(hashes.iter().collect::<HashSet<_>>().len(), hashes.len());
    }
}
