//! How often somebody may be wrong.
//!
//! A try is counted before its password is looked at, in one statement, so that a thousand at once are counted as a
//! thousand; a right one is taken back. Whoever has used up the free ones waits, each time twice as long, and a right
//! password makes no difference while they wait. No wait is for ever, and a link from a mail ends that for a password.
//!
//! | counted | free | then a wait of | forgotten after |
//! |---|---|---|---|
//! | wrong passwords of an account | 5 | 30 seconds, doubling to 15 minutes | a day without one |
//! | wrong passwords of a known device, a live session or the reader of a link | 5 | 30 seconds, doubling to 15 minutes | a day without one |
//! | wrong passwords and codes from an address (of IPv6 a /64) | 30 | 1 minute, doubling to 15 minutes | an hour without one |
//! | wrong codes of a user, as a second factor | 5 | 30 seconds, doubling to an hour | a day without one |
//! | mails to one recipient: of links that confirm, of links that reset, of links that sign in, of all others | 5 each | 15 minutes, doubling to an hour | two hours without one |
//! | mails and accounts asked for from an address | 30 | 1 minute, doubling to 15 minutes | an hour without one |
//!
//! So somebody who never stops has about a hundred guesses a day at one account, whatever it comes from, and about a hundred
//! from one address, whatever the account. Accounts that don't exist are counted as those that do.
//!
//! A stranger can use up what strangers share, and nothing else: a device that has signed in to the account before and a
//! session are counted by themselves, and a mail without a link takes nothing from the links. The longest wait for a link
//! that resets is as long as such a link is good, so its recipient always has a good one or can ask for one.

use std::{net::IpAddr, time::Duration};

use ::http::{HeaderValue, header};
use omnistack_core::{
    clock::Clock,
    crypto::Sha256,
    db::{Db, Tx},
    http::{self, StatusCode},
    identity::{SessionId, UserId},
};

use crate::{Error, one_time::Purpose, store::attempt};

mod turns;

use turns::{Turn, Turns};

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Wrong passwords, by account.
    Account,
    /// Wrong passwords from where the user is known, by [`Known`].
    Known,
    /// Wrong passwords and codes, by address.
    Address,
    /// Wrong codes, by user. A right password is no end of their count.
    Code,
    /// Mails, by recipient and what they are for.
    Recipient,
    /// What makes mails, by address.
    Asking,
}

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;

/// Numbers of one kind.
struct Limit {
    name: &'static str,
    /// Tries without a wait.
    free: u32,
    /// Seconds.
    first: u64,
    longest: u64,
    forgotten: u64,
}

impl Kind {
    const fn limit(self) -> Limit {
        match self {
            Self::Account => Limit { name: "account", free: 5, first: 30, longest: 15 * MINUTE, forgotten: 24 * HOUR },
            Self::Known => Limit { name: "known", free: 5, first: 30, longest: 15 * MINUTE, forgotten: 24 * HOUR },
            Self::Address => Limit { name: "address", free: 30, first: MINUTE, longest: 15 * MINUTE, forgotten: HOUR },
            Self::Code => Limit { name: "code", free: 5, first: 30, longest: HOUR, forgotten: 24 * HOUR },
            Self::Recipient => {
                Limit { name: "recipient", free: 5, first: 15 * MINUTE, longest: HOUR, forgotten: 2 * HOUR }
            }
            Self::Asking => Limit { name: "asking", free: 30, first: MINUTE, longest: 15 * MINUTE, forgotten: HOUR },
        }
    }

    /// How many tries of one key a process judges at once. The others wait for their turn, so that right ones, which are
    /// counted until they are known to be right, don't use up the free tries of each other.
    const fn at_once(self) -> usize {
        match self {
            Self::Address => 10,
            Self::Account | Self::Known | Self::Code | Self::Recipient | Self::Asking => 1,
        }
    }

    fn key(self, of: &str) -> Vec<u8> {
        Sha256::of_parts([self.limit().name.as_bytes(), b" ", of.as_bytes()]).as_bytes().to_vec()
    }
}

/// Where a password is tried, known before the password is looked at.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Known<'a> {
    /// A device that has signed in to the account before.
    Device(&'a str),
    /// A session of the account, or a token of an identity provider, which has no session here.
    Session(UserId, Option<SessionId>),
    /// The reader of a mail to the account's address.
    Link(UserId),
}

impl Known<'_> {
    fn key(self) -> Vec<u8> {
        Kind::Known.key(&match self {
            Self::Device(id) => format!("device {id}"),
            Self::Session(_, Some(session)) => format!("session {session}"),
            Self::Session(user, None) => format!("token {user}"),
            Self::Link(user) => format!("link {user}"),
        })
    }
}

/// The links whose mails are counted by themselves.
const COUNTED_LINKS: [Purpose; 3] = [Purpose::VerifyEmail, Purpose::ResetPassword, Purpose::MagicLink];

/// The count of mails to a recipient: of links for one purpose, or of all others.
fn mails(link: Option<Purpose>, email: &str) -> Vec<u8> {
    Kind::Recipient.key(&format!("{} {email}", link.map_or("other", Purpose::as_str)))
}

impl Limit {
    /// How long to wait after so many.
    fn wait(&self, counted: i64) -> Option<Duration> {
        let over = u32::try_from(counted - i64::from(self.free)).ok()?;
        let seconds = self.first.saturating_mul(1_u64.checked_shl(over.min(20)).unwrap_or(1));
        Some(Duration::from_secs(seconds.min(self.longest)))
    }
}

/// Counts tries. In the database, so that all replicas count together and a restart forgets nothing.
#[derive(Clone, Debug)]
pub(crate) struct Lockout {
    db: Db,
    clock: Clock,
    turns: Turns,
}

/// A try that was counted and may go on.
#[derive(Debug)]
pub(crate) struct Attempt {
    keys: Vec<(Kind, Vec<u8>)>,
    /// Of the account or user, this one included.
    pub(crate) counted: i64,
    /// Until it is judged.
    _turns: Vec<Turn>,
}

impl Lockout {
    pub(crate) fn new(db: Db, clock: Clock) -> Self {
        Self { db, clock, turns: Turns::default() }
    }

    /// Counts a try of a password of the account of this address, from there.
    ///
    /// # Errors
    /// 429 `TOO_MANY_ATTEMPTS` with `Retry-After` for who has to wait.
    pub(crate) async fn attempt(&self, email: &str, from: Option<IpAddr>) -> Result<Attempt, Error> {
        self.attempt_of(Kind::Account, Kind::Account.key(email), from).await
    }

    /// As [`attempt`](Self::attempt), from where the user is known. Strangers count for nothing there, those behind the same
    /// address included.
    pub(crate) async fn attempt_known(&self, known: Known<'_>) -> Result<Attempt, Error> {
        self.attempt_of(Kind::Known, known.key(), None).await
    }

    /// As [`attempt`](Self::attempt), of a code of a user.
    pub(crate) async fn attempt_code(&self, user: UserId, from: Option<IpAddr>) -> Result<Attempt, Error> {
        self.attempt_of(Kind::Code, Kind::Code.key(&user.to_string()), from).await
    }

    async fn attempt_of(&self, what: Kind, key: Vec<u8>, from: Option<IpAddr>) -> Result<Attempt, Error> {
        let mut of = vec![(what, key)];
        of.extend(from.map(|from| (Kind::Address, Kind::Address.key(&network(from)))));
        let mut turns = Vec::new();
        for (kind, key) in &of {
            turns.push(self.turns.wait(key, kind.at_once()).await);
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

    /// Takes a try back, which was right or could not be judged; a right one is the end of its account's or user's count.
    ///
    /// # Errors
    /// The database's.
    pub(crate) async fn settle_in(&self, tx: &mut Tx, attempt: &Attempt, right: bool) -> Result<(), Error> {
        for (kind, key) in &attempt.keys {
            if right && *kind != Kind::Address {
                attempt::clear(tx, key).await?;
            } else {
                attempt::take_back(tx, key).await?;
            }
        }
        Ok(())
    }

    /// As [`settle_in`](Self::settle_in), of one that could not be judged.
    pub(crate) async fn take_back(&self, attempt: &Attempt) -> Result<(), Error> {
        let mut tx = self.db.begin().await?;
        self.settle_in(&mut tx, attempt, false).await?;
        Ok(tx.commit().await?)
    }

    /// Ends an account's wait, and those for links: its user has used one.
    pub(crate) async fn clear_in(&self, tx: &mut Tx, email: &str) -> Result<(), Error> {
        attempt::clear(tx, &Kind::Account.key(email)).await?;
        for link in COUNTED_LINKS {
            attempt::clear(tx, &mails(Some(link), email)).await?;
        }
        Ok(())
    }

    /// Ends a user's wait after wrong codes: there are none any more.
    pub(crate) async fn forgive_codes_in(&self, tx: &mut Tx, user: UserId) -> Result<(), Error> {
        Ok(attempt::clear(tx, &Kind::Code.key(&user.to_string())).await?)
    }

    /// Counts somebody who asks for what ends in a mail.
    ///
    /// # Errors
    /// 429 as of [`attempt`](Self::attempt).
    pub(crate) async fn asking_in(&self, tx: &mut Tx, from: Option<IpAddr>) -> Result<(), Error> {
        if let Some(from) = from {
            self.count_in(tx, Kind::Asking, &Kind::Asking.key(&network(from))).await?;
        }
        Ok(())
    }

    /// Counts a mail to an address and returns whether it may go out. The caller is not told: it says nothing about them.
    pub(crate) async fn may_mail_in(&self, tx: &mut Tx, email: &str) -> Result<bool, Error> {
        Ok(self.try_count_in(tx, Kind::Recipient, &mails(None, email)).await?.is_ok())
    }

    /// As [`may_mail_in`](Self::may_mail_in), of a mail with a link, which is counted by itself: mails that don't help the
    /// recipient must not keep away those that do.
    pub(crate) async fn may_mail_link_in(&self, tx: &mut Tx, link: Purpose, email: &str) -> Result<bool, Error> {
        Ok(self.try_count_in(tx, Kind::Recipient, &mails(Some(link), email)).await?.is_ok())
    }

    async fn count_in(&self, tx: &mut Tx, kind: Kind, key: &[u8]) -> Result<i64, Error> {
        let wait = match self.try_count_in(tx, kind, key).await? {
            Ok(counted) => return Ok(counted),
            Err(wait) => wait.as_secs().max(1),
        };
        let or = if matches!(kind, Kind::Code | Kind::Asking) { "" } else { ", or ask for a link by mail" };
        let message = format!("too many tries; wait {wait} seconds{or}");
        let error = http::Error::new(StatusCode::TOO_MANY_REQUESTS, "TOO_MANY_ATTEMPTS", message);
        Err(error.header(header::RETRY_AFTER, HeaderValue::from(wait)).detail("retry_after", wait).into())
    }

    /// How many that makes, or how long to wait.
    async fn try_count_in(&self, tx: &mut Tx, kind: Kind, key: &[u8]) -> Result<Result<i64, Duration>, Error> {
        let (now, limit) = (self.clock.now(), kind.limit());
        let forgotten = now - Duration::from_secs(limit.forgotten);
        let Some(counted) = attempt::count(tx, key, now, forgotten).await? else {
            let until = attempt::blocked_until(tx, key).await?;
            // Rounded up, so that who waits as told gets in.
            let wait = until.map(|until| until.since(now) + Duration::from_millis(999));
            return Ok(Err(wait.unwrap_or_default()));
        };
        if let Some(wait) = limit.wait(counted) {
            attempt::block(tx, key, now + wait).await?;
        }
        Ok(Ok(counted))
    }

    /// Forgets counts that mean nothing any more, at most so many.
    pub(crate) async fn sweep(&self, limit: i64) -> Result<u64, Error> {
        let day = Duration::from_secs(Kind::Account.limit().forgotten);
        Ok(attempt::sweep(&self.db, self.clock.now() - day, limit).await?)
    }
}

/// Whoever has one address of an IPv6 network has all of it.
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
        let seconds = |kind: Kind, counted| kind.limit().wait(counted).map(|wait| wait.as_secs());
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
                (seconds(Kind::Account, counted), seconds(Kind::Address, counted)),
                (account, address),
                "{counted}"
            );
        }
    }

    #[test]
    fn a_day_of_guessing_is_about_a_hundred() {
        for (kind, most) in [(Kind::Account, 110), (Kind::Known, 110), (Kind::Code, 36), (Kind::Address, 135)] {
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
        assert!(Kind::Recipient.limit().longest <= Purpose::ResetPassword.lifetime().as_secs());
        assert!(Kind::Recipient.limit().longest <= Purpose::VerifyEmail.lifetime().as_secs());
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
