//! Codes by text message, as a second factor of who has confirmed a number.
//!
//! A code has six digits: whoever has stolen its row tries them all in a blink. So it is kept as an HMAC by a random key, which
//! is sealed; what is hashed is the code with its user and number, so that it is good for no other. A new code takes the place
//! of the one before, the right one is used up by one statement, and the fifth wrong one is the end of it.
//!
//! A message costs money and wakes people. So a user gets [`MOST`] of them, and so does a number, whichever users ask: counted
//! in one statement before the message is written, in the same transaction.

use std::{fmt, time::Duration};

use ::http::{HeaderValue, StatusCode, header};
use omnistack_core::{
    clock::Clock,
    crypto::{Context, HmacKey, KeyRing, Sha256},
    db::{Db, Tx},
    http,
    identity::UserId,
    sms::{PhoneNumber, SmsMessage, SmsOutbox},
};
use secrecy::ExposeSecret as _;
use serde::Serialize;
use utoipa::ToSchema;

use crate::{Error, factor::Confirmed, store::sms_code as store};

pub(crate) use store::Phone;

/// How long a code is good: as long as NIST lets one be (SP 800-63B-4, section 3.1.3).
pub(crate) const GOOD_FOR: Duration = Duration::from_secs(10 * 60);
/// Wrong guesses that end a code.
const TRIES: i64 = 5;
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// How many messages within how long, to a user and to a number.
const MOST: [(&str, i64, Duration); 2] = [("a quarter", 3, Duration::from_secs(15 * 60)), ("a day", 10, DAY)];

/// A number that gets codes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct PhoneState {
    /// Its beginning and its end: `+49•••••67`.
    pub(crate) phone: String,
    /// Since when it is a second factor.
    pub(crate) since: omnistack_core::clock::Timestamp,
}

/// Sends codes, and takes them. Cheap to clone.
#[derive(Clone)]
pub(crate) struct SmsCodes {
    pub(crate) db: Db,
    pub(crate) clock: Clock,
    pub(crate) ring: KeyRing,
    pub(crate) outbox: SmsOutbox,
    /// What the app is called.
    pub(crate) product: String,
    /// The host of the app.
    pub(crate) host: String,
}

impl SmsCodes {
    /// The number of a user's, as it is shown.
    pub(crate) async fn state(&self, user: UserId) -> Result<Option<PhoneState>, Error> {
        let phone = store::look(&self.db, user).await?;
        Ok(phone.and_then(|phone| Some(PhoneState { phone: masked(&phone.number), since: phone.confirmed_at? })))
    }

    /// Whether the user has confirmed a number. With the user's row held, it stays so.
    pub(crate) async fn is_factor_in(&self, tx: &mut Tx, user: UserId) -> Result<bool, Error> {
        Ok(self.confirmed_in(tx, user).await?.is_some())
    }

    /// The number the user has confirmed.
    pub(crate) async fn confirmed_in(&self, tx: &mut Tx, user: UserId) -> Result<Option<PhoneNumber>, Error> {
        let Some(phone) = store::phone(tx, user).await?.filter(|phone| phone.confirmed_at.is_some()) else {
            return Ok(None);
        };
        Ok(Some(phone.number.parse().map_err(http::Error::internal)?))
    }

    /// Keeps a number that is no factor yet; whether the user has none that is.
    pub(crate) async fn begin_in(&self, tx: &mut Tx, user: UserId, number: &PhoneNumber) -> Result<bool, Error> {
        Ok(store::begin(tx, user, number.as_str(), self.clock.now()).await?)
    }

    /// Sends a new code to the user's number, in place of the one before. With the user's row held.
    ///
    /// # Errors
    /// 429 `TOO_MANY_MESSAGES` with `Retry-After`. Nothing is counted then, once the transaction is rolled back.
    pub(crate) async fn send_in(&self, tx: &mut Tx, user: UserId, number: &PhoneNumber) -> Result<(), Error> {
        self.count_in(tx, user, number).await?;
        let (code, key): (String, [u8; 32]) = (random(), rand::random());
        let hash = HmacKey::new(key)?.sign(hashed(user, number.as_str(), &code));
        let sealed = self.ring.seal(key, &place(user))?;
        let until = self.clock.now() + GOOD_FOR;
        store::set_code(tx, user, (sealed, hash.as_bytes().to_vec()), until).await?;
        let message = SmsMessage::new(number.clone(), text(&self.product, &self.host, &code));
        self.outbox.send_in(tx, &message).await.map_err(http::Error::from)?;
        Ok(())
    }

    async fn count_in(&self, tx: &mut Tx, user: UserId, number: &PhoneNumber) -> Result<(), Error> {
        let (now, mut wait) = (self.clock.now(), None);
        for whose in [user.to_string(), number.as_str().to_owned()] {
            for (name, most, within) in MOST {
                let key = Sha256::of_parts([name.as_bytes(), b" ", whose.as_bytes()]);
                if !store::count_send(tx, key, now, (now - within, most)).await? {
                    let since = store::counted_since(tx, key).await?.unwrap_or(now);
                    wait = wait.max(Some((since + within).since(now)));
                }
            }
        }
        match wait {
            Some(wait) => Err(too_many(wait).into()),
            None => Ok(()),
        }
    }

    /// Makes the number that waits a factor, if this is its code.
    pub(crate) async fn confirm_in(&self, tx: &mut Tx, user: UserId, code: &str) -> Result<Confirmed, Error> {
        let Some(phone) = store::phone(tx, user).await?.filter(|phone| phone.confirmed_at.is_none()) else {
            return Ok(Confirmed::Nothing);
        };
        let done = self.judge_in(tx, user, &phone, code).await?;
        if done == Confirmed::Right {
            store::confirm(tx, user, self.clock.now()).await?;
        }
        Ok(done)
    }

    /// Whether this is the code that was sent to the number the user has confirmed. It is used up, and a wrong one is counted:
    /// commit either.
    pub(crate) async fn use_in(&self, tx: &mut Tx, user: UserId, code: &str) -> Result<bool, Error> {
        let Some(phone) = store::phone(tx, user).await?.filter(|phone| phone.confirmed_at.is_some()) else {
            return Ok(false);
        };
        Ok(self.judge_in(tx, user, &phone, code).await? == Confirmed::Right)
    }

    async fn judge_in(&self, tx: &mut Tx, user: UserId, phone: &Phone, code: &str) -> Result<Confirmed, Error> {
        let Some((sealed, hash)) = phone.code(self.clock.now()) else { return Ok(Confirmed::Nothing) };
        let key = self.ring.open(sealed, &place(user))?;
        let code = crate::factor::plain(code);
        if !HmacKey::new(key.expose_secret())?.verify(hashed(user, &phone.number, &code), hash) {
            store::count_wrong(tx, user, TRIES).await?;
            return Ok(Confirmed::Wrong);
        }
        let used = store::use_code(tx, user, hash).await?;
        Ok(if used { Confirmed::Right } else { Confirmed::Nothing })
    }

    /// Deletes counts that mean nothing any more, and numbers that were never confirmed.
    pub(crate) async fn sweep(&self, limit: i64) -> Result<u64, Error> {
        Ok(store::sweep(&self.db, self.clock.now() - DAY, limit).await?)
    }
}

/// Six digits, each number as likely as the others.
fn random() -> String {
    format!("{:06}", rand::random_range(0..1_000_000_u32))
}

/// What is hashed. Nothing of it but the code, at its end, is of the caller's choosing.
fn hashed(user: UserId, number: &str, code: &str) -> String {
    format!("{user} {number} {code}")
}

fn place(user: UserId) -> Context {
    Context::row("sms_code_phones", "code_key", user)
}

/// What the message says. The last line is for browsers, which offer the code to the app's own pages and to no others
/// (Origin-bound one-time codes delivered via SMS, WICG).
pub(crate) fn text(product: &str, host: &str, code: &str) -> String {
    format!(
        "{code} is your code for {product}, good for 10 minutes. Do not share it: we never ask for it.\n\n@{host} #{code}"
    )
}

/// Enough to know one's own number by.
pub(crate) fn masked(number: &str) -> String {
    let (start, end) = (number.get(..3), number.len().checked_sub(2).and_then(|at| number.get(at..)));
    format!("{}•••••{}", start.unwrap_or_default(), end.unwrap_or_default())
}

fn too_many(wait: Duration) -> http::Error {
    // Rounded up, so that who waits as told gets one.
    let wait = (wait + Duration::from_millis(999)).as_secs().max(1);
    let message = format!("too many messages were sent; wait {wait} seconds, or show another second factor");
    let error = http::Error::new(StatusCode::TOO_MANY_REQUESTS, "TOO_MANY_MESSAGES", message);
    error.header(header::RETRY_AFTER, HeaderValue::from(wait)).detail("retry_after", wait)
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
        let codes: HashSet<String> = (0..1000).map(|_| random()).collect();
        assert!(codes.len() > 990, "{}", codes.len());
        for code in &codes {
            assert!(code.len() == 6 && code.bytes().all(|digit| digit.is_ascii_digit()), "{code}");
        }
        let text = text("Acme Projects", "app.example.com", "012345");
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
            hashed(ada, "+491701234567", "123456"),
            hashed(eve, "+491701234567", "123456"),
            hashed(ada, "+491701234568", "123456"),
            hashed(ada, "+491701234567", "123457"),
        ];
        assert_eq!(hashes.iter().collect::<HashSet<_>>().len(), hashes.len());
    }
}
