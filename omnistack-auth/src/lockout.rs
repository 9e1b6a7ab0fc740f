//! Lockout: limits on wrong passwords, wrong codes and requested emails.
//!
//! An attempt is counted before its password is checked, in one statement, so that a thousand simultaneous attempts
//! count as a thousand; the count of a right one is undone. After the free attempts, each further one must wait twice
//! as long as the one before, and during the wait even the right password is refused. No wait is permanent, and a
//! link from an email ends the wait for a password.
//!
//! | counted | free | then a wait of | reset after |
//! |---|---|---|---|
//! | wrong passwords of an account | 5 | 30 seconds, doubling to 15 minutes | a day without one |
//! | wrong passwords of a known device, a session or the reader of a link | 5 | 30 seconds, doubling to 15 minutes | a day without one |
//! | wrong passwords and codes from an IP address (for IPv6, a /64) | 30 | 1 minute, doubling to 15 minutes | an hour without one |
//! | wrong codes of a user, as a second factor | 5 | 30 seconds, doubling to an hour | a day without one |
//! | emails to one recipient: verification links, password-reset links, magic links, all other emails | 5 each | 15 minutes, doubling to an hour | two hours without one |
//! | requests for emails and registrations from an IP address | 30 | 1 minute, doubling to 15 minutes | an hour without one |
//!
//! An attacker who never stops therefore has about a hundred guesses a day at one account, from any number of
//! addresses, and about a hundred from one address, at any number of accounts. Unknown accounts are counted like
//! known ones.
//!
//! A stranger can only use up what strangers share: known devices and sessions of the account are counted separately,
//! and an email without a link does not count against emails with links. The longest wait for a password-reset link
//! equals the lifetime of such a link, so its recipient always has a valid one or can request one.

use std::{net::IpAddr, time::Duration};

use ::http::{HeaderValue, header};
use omnistack_core::{
    clock::Clock,
    crypto::Sha256,
    db::{Db, Tx},
    http::{self, StatusCode},
    identity::{SessionId, UserId},
};

use crate::{Error, one_time_tokens::TokenPurpose};

pub(crate) mod store;
mod turns;

use turns::{AttemptLimiter, AttemptPermit};

/// A kind of counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CounterKind {
    /// Wrong passwords, counted per account.
    Account,
    /// Wrong passwords from a source where the user is known, counted per [`Known`].
    Known,
    /// Wrong passwords and codes, counted per IP address.
    Address,
    /// Wrong codes, counted per user. A right password does not reset the count.
    Code,
    /// Emails, counted per recipient and purpose.
    Recipient,
    /// Requests that cause emails, counted per IP address.
    MailRequest,
}

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;

/// The limits of a kind of counter; times in seconds.
struct CounterLimit {
    /// The name in the counter's key.
    name: &'static str,
    /// The number of attempts without a wait.
    free_attempts: u32,
    /// The first wait.
    first_wait: u64,
    /// The maximum wait.
    max_wait: u64,
    /// The time without an attempt after which the count is reset.
    reset_after: u64,
}

impl CounterKind {
    /// Returns the limits of the kind.
    const fn limit(self) -> CounterLimit {
        match self {
            Self::Account => CounterLimit {
                name: "account",
                free_attempts: 5,
                first_wait: 30,
                max_wait: 15 * MINUTE,
                reset_after: 24 * HOUR,
            },
            Self::Known => CounterLimit {
                name: "known",
                free_attempts: 5,
                first_wait: 30,
                max_wait: 15 * MINUTE,
                reset_after: 24 * HOUR,
            },
            Self::Address => CounterLimit {
                name: "address",
                free_attempts: 30,
                first_wait: MINUTE,
                max_wait: 15 * MINUTE,
                reset_after: HOUR,
            },
            Self::Code => {
                CounterLimit { name: "code", free_attempts: 5, first_wait: 30, max_wait: HOUR, reset_after: 24 * HOUR }
            }
            Self::Recipient => CounterLimit {
                name: "recipient",
                free_attempts: 5,
                first_wait: 15 * MINUTE,
                max_wait: HOUR,
                reset_after: 2 * HOUR,
            },
            Self::MailRequest => CounterLimit {
                name: "asking",
                free_attempts: 30,
                first_wait: MINUTE,
                max_wait: 15 * MINUTE,
                reset_after: HOUR,
            },
        }
    }

    /// Returns how many attempts with the same key a process checks at the same time. Further ones wait for their
    /// turn, so that right attempts, which count until they are known to be right, do not use up each other's free
    /// attempts.
    const fn max_concurrent(self) -> usize {
        match self {
            Self::Address => 10,
            Self::Account | Self::Known | Self::Code | Self::Recipient | Self::MailRequest => 1,
        }
    }

    /// Returns the key of a counter.
    fn key(self, of: &str) -> Vec<u8> {
        Sha256::digest_parts([self.limit().name.as_bytes(), b" ", of.as_bytes()]).as_bytes().to_vec()
    }
}

/// A source of attempts where the user is known before the password is checked.
#[derive(Clone, Copy, Debug)]
pub(crate) enum KnownSource<'a> {
    /// A device that has signed in to the account before.
    Device(&'a str),
    /// A session of the account, or a token of an external identity provider, which has no session in the app.
    Session(UserId, Option<SessionId>),
    /// The reader of an email to the account's address.
    Link(UserId),
}

impl KnownSource<'_> {
    fn key(self) -> Vec<u8> {
        CounterKind::Known.key(&match self {
            Self::Device(id) => format!("device {id}"),
            Self::Session(_, Some(session)) => format!("session {session}"),
            Self::Session(user, None) => format!("token {user}"),
            Self::Link(user) => format!("link {user}"),
        })
    }
}

/// The links whose emails are counted separately.
const COUNTED_LINKS: [TokenPurpose; 3] =
    [TokenPurpose::VerifyEmail, TokenPurpose::ResetPassword, TokenPurpose::MagicLink];

/// Returns the key of the counter of emails to a recipient: of links for one purpose, or of all other emails.
fn mail_counter_key(link: Option<TokenPurpose>, email: &str) -> Vec<u8> {
    CounterKind::Recipient.key(&format!("{} {email}", link.map_or("other", TokenPurpose::as_str)))
}

impl CounterLimit {
    /// Returns the wait after this number of attempts, or `None` if there is none.
    fn wait(&self, counted: i64) -> Option<Duration> {
        let over = u32::try_from(counted - i64::from(self.free_attempts)).ok()?;
        let seconds = self.first_wait.saturating_mul(1_u64.checked_shl(over.min(20)).unwrap_or(1));
        Some(Duration::from_secs(seconds.min(self.max_wait)))
    }
}

/// The attempt counters. They are stored in the database, so that all replicas share them and they survive a restart.
#[derive(Clone, Debug)]
pub(crate) struct Lockout {
    db: Db,
    clock: Clock,
    turns: AttemptLimiter,
}

/// An attempt that was counted and may proceed.
#[derive(Debug)]
pub(crate) struct Attempt {
    keys: Vec<(CounterKind, Vec<u8>)>,
    /// The number of attempts on the account or user, including this one.
    pub(crate) counted: i64,
    /// Held until the attempt is judged.
    _turns: Vec<AttemptPermit>,
}

impl Lockout {
    pub(crate) fn new(db: Db, clock: Clock) -> Self {
        Self { db, clock, turns: AttemptLimiter::default() }
    }

    /// Counts an attempt to sign in with a password, per account and per client address.
    ///
    /// # Errors
    /// 429 `TOO_MANY_ATTEMPTS` with `Retry-After` if the account or the client must wait.
    pub(crate) async fn attempt(&self, email: &str, from: Option<IpAddr>) -> Result<Attempt, Error> {
        self.attempt_of(CounterKind::Account, CounterKind::Account.key(email), from).await
    }

    /// Counts an attempt like [`attempt`](Self::attempt), from a source where the user is known. Attempts of
    /// strangers do not count there, even from the same IP address.
    pub(crate) async fn attempt_known(&self, known: KnownSource<'_>) -> Result<Attempt, Error> {
        self.attempt_of(CounterKind::Known, known.key(), None).await
    }

    /// Counts an attempt like [`attempt`](Self::attempt), with a code of a user.
    pub(crate) async fn attempt_code(&self, user: UserId, from: Option<IpAddr>) -> Result<Attempt, Error> {
        self.attempt_of(CounterKind::Code, CounterKind::Code.key(&user.to_string()), from).await
    }

    async fn attempt_of(&self, what: CounterKind, key: Vec<u8>, from: Option<IpAddr>) -> Result<Attempt, Error> {
        let mut of = vec![(what, key)];
        of.extend(from.map(|from| (CounterKind::Address, CounterKind::Address.key(&network(from)))));
        let mut turns = Vec::new();
        for (kind, key) in &of {
            turns.push(self.turns.acquire(key, kind.max_concurrent()).await);
        }
        let mut tx = self.db.begin().await?;
        let mut attempt = Attempt { keys: Vec::new(), counted: 0, _turns: turns };
        for (kind, key) in of {
            let counted = self.count_in(&mut tx, kind, &key).await?;
            if kind == what {
                attempt.counted = counted;
            }
            attempt.keys.push((kind, key));
        }
        tx.commit().await?;
        Ok(attempt)
    }

    /// Undoes the count of an attempt that was right or could not be judged; a right one also resets the counter of
    /// its account or user.
    ///
    /// # Errors
    /// Returns an error if the database fails.
    pub(crate) async fn resolve_in(&self, tx: &mut Tx, attempt: &Attempt, right: bool) -> Result<(), Error> {
        for (kind, key) in &attempt.keys {
            if right && *kind != CounterKind::Address {
                store::clear(tx, key).await?;
            } else {
                store::undo(tx, key).await?;
            }
        }
        Ok(())
    }

    /// Undoes the count of an attempt that could not be judged, like [`resolve_in`](Self::resolve_in).
    pub(crate) async fn undo(&self, attempt: &Attempt) -> Result<(), Error> {
        let mut tx = self.db.begin().await?;
        self.resolve_in(&mut tx, attempt, false).await?;
        Ok(tx.commit().await?)
    }

    /// Resets an account's counters of wrong passwords and of links, after its user has used a link.
    pub(crate) async fn reset_in(&self, tx: &mut Tx, email: &str) -> Result<(), Error> {
        store::clear(tx, &CounterKind::Account.key(email)).await?;
        for link in COUNTED_LINKS {
            store::clear(tx, &mail_counter_key(Some(link), email)).await?;
        }
        Ok(())
    }

    /// Resets a user's counter of wrong codes, after the user's second factors were removed.
    pub(crate) async fn reset_code_failures_in(&self, tx: &mut Tx, user: UserId) -> Result<(), Error> {
        Ok(store::clear(tx, &CounterKind::Code.key(&user.to_string())).await?)
    }

    /// Counts a request that causes an email, per client address.
    ///
    /// # Errors
    /// 429 `TOO_MANY_ATTEMPTS`, as for [`attempt`](Self::attempt).
    pub(crate) async fn count_mail_request_in(&self, tx: &mut Tx, from: Option<IpAddr>) -> Result<(), Error> {
        if let Some(from) = from {
            self.count_in(tx, CounterKind::MailRequest, &CounterKind::MailRequest.key(&network(from))).await?;
        }
        Ok(())
    }

    /// Counts an email to an address and returns whether it may be sent. Callers must not reveal the result in a
    /// response.
    pub(crate) async fn may_mail_in(&self, tx: &mut Tx, email: &str) -> Result<bool, Error> {
        Ok(self.try_count_in(tx, CounterKind::Recipient, &mail_counter_key(None, email)).await?.is_ok())
    }

    /// Counts an email like [`may_mail_in`](Self::may_mail_in), for an email with a link, which is counted
    /// separately, so that other emails cannot prevent it.
    pub(crate) async fn may_mail_link_in(&self, tx: &mut Tx, link: TokenPurpose, email: &str) -> Result<bool, Error> {
        Ok(self.try_count_in(tx, CounterKind::Recipient, &mail_counter_key(Some(link), email)).await?.is_ok())
    }

    /// Counts an attempt and returns the new count. Fails with 429 `TOO_MANY_ATTEMPTS` during a wait.
    async fn count_in(&self, tx: &mut Tx, kind: CounterKind, key: &[u8]) -> Result<i64, Error> {
        let wait = match self.try_count_in(tx, kind, key).await? {
            Ok(counted) => return Ok(counted),
            Err(wait) => wait.as_secs().max(1),
        };
        let or = if matches!(kind, CounterKind::Code | CounterKind::MailRequest) {
            ""
        } else {
            ", or request a link by email"
        };
        let message = format!("too many attempts; wait {wait} seconds{or}");
        let error = http::Error::new(StatusCode::TOO_MANY_REQUESTS, "TOO_MANY_ATTEMPTS", message);
        Err(error.with_header(header::RETRY_AFTER, HeaderValue::from(wait)).with_detail("retry_after", wait).into())
    }

    /// Counts an attempt. Returns the new count, or the time to wait.
    async fn try_count_in(&self, tx: &mut Tx, kind: CounterKind, key: &[u8]) -> Result<Result<i64, Duration>, Error> {
        let (now, limit) = (self.clock.now(), kind.limit());
        let forgotten = now - Duration::from_secs(limit.reset_after);
        let Some(counted) = store::count(tx, key, now, forgotten).await? else {
            let until = store::blocked_until(tx, key).await?;
            // Rounded up, so that a client that waits this long succeeds.
            let wait = until.map(|until| until.duration_since(now) + Duration::from_millis(999));
            return Ok(Err(wait.unwrap_or_default()));
        };
        if let Some(wait) = limit.wait(counted) {
            store::block(tx, key, now + wait).await?;
        }
        Ok(Ok(counted))
    }

    /// Deletes expired counters, at most `limit`. Returns their number.
    pub(crate) async fn sweep(&self, limit: i64) -> Result<u64, Error> {
        let day = Duration::from_secs(CounterKind::Account.limit().reset_after);
        Ok(store::delete_old(&self.db, self.clock.now() - day, limit).await?)
    }
}

/// Returns the network that an IP address is counted under: a client with one address of an IPv6 /64 has all of them.
fn network(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            format!("{a:x}:{b:x}:{c:x}:{d:x}::/64")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_to_the_longest() {
        let seconds = |kind: CounterKind, counted| kind.limit().wait(counted).map(|wait| wait.as_secs());
        for (counted, account, address) in [
            (1, None, None),
            (4, None, None),
            (5, Some(30), None),
            (6, Some(60), None),
            (9, Some(480), None),
            (10, Some(900), None),
            (29, Some(900), None),
            (30, Some(900), Some(60)),
            (1_000_000, Some(900), Some(900)),
        ] {
            assert_eq!(
                (seconds(CounterKind::Account, counted), seconds(CounterKind::Address, counted)),
                (account, address),
                "{counted}"
            );
        }
    }

    #[test]
    fn a_day_of_guessing_is_about_a_hundred() {
        for (kind, most) in [
            (CounterKind::Account, 110),
            (CounterKind::Known, 110),
            (CounterKind::Code, 36),
            (CounterKind::Address, 135),
        ] {
            let (mut seconds, mut guesses) = (0, 0);
            while seconds < 24 * HOUR {
                guesses += 1;
                seconds += kind.limit().wait(guesses).map_or(0, |wait| wait.as_secs());
            }
            assert!(guesses <= most, "{kind:?}: {guesses}");
        }
    }

    #[test]
    fn a_good_link_that_resets_is_always_there_or_can_be_asked_for() {
        assert!(CounterKind::Recipient.limit().max_wait <= TokenPurpose::ResetPassword.lifetime().as_secs());
        assert!(CounterKind::Recipient.limit().max_wait <= TokenPurpose::VerifyEmail.lifetime().as_secs());
    }

    #[test]
    fn an_ipv6_network_is_one_address() {
        for (address, expected) in [
            ("192.0.2.7", "192.0.2.7"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
            ("2001:db8:1:2:ffff::", "2001:db8:1:2::/64"),
        ] {
            assert_eq!(network(address.parse().unwrap()), expected);
        }
    }
}
