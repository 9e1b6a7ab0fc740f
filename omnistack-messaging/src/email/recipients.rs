//! A limit on mails that unauthenticated requests can cause to one address.

use std::time::Duration;

use super::Address;
use omnistack_core::{
    clock::Clock,
    crypto::Sha256,
    db::{self, Tx},
};

/// Number of mails to one address that are allowed before the limit of one per `MAIL_INTERVAL` applies.
const MAX_MAILS_AT_ONCE: i64 = 5;
/// Time between two further mails.
const MAIL_INTERVAL: Duration = Duration::from_secs(60 * 60);
/// Time after the last mail until the counter of an address starts again.
const COUNTER_TTL: Duration = Duration::from_secs(24 * 60 * 60);

/// A limit on the mails to one address that were not requested by its owner: five, then one an hour, until a day
/// passes without such a mail.
///
/// Invitations, the confirmation of a contact form and the mail that verifies an address are requested by the
/// person who typed the address, who may not be its owner. All such mails share one counter for each recipient, in
/// the app's database; `ada+1@example.com` and `Ada@example.com` count as one recipient. Mails that a user needs to
/// sign in, such as a password reset, are not counted.
///
/// ```
/// use omnistack_messaging::email::RecipientLimit;
/// # use omnistack_core::{app::App, clock::MockClock, config::Config};
/// # use omnistack_messaging::email::Mail;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> omnistack_core::Result<()> {
/// # let clock = MockClock::at("2030-01-01T00:00:00Z".parse()?);
/// # let config = Config::from_pairs([("DATABASE_URL", "sqlite::memory:"), ("EMAIL_FROM", "shop@example.com")]);
/// # let app = App::builder(config).with(Mail::default()).build()?;
/// # app.migrate().await?;
/// let limit = RecipientLimit::new(clock.clock());
/// let mut tx = app.db().app_database().begin().await?;
/// for _ in 0..5 {
///     assert_eq!(limit.count_in(&mut tx, "ada@example.com").await?, None);
/// }
/// // It counts in the transaction of the mail: a rolled back transaction counts nothing.
/// assert_eq!(limit.count_in(&mut tx, "Ada+news@example.com").await?.map(|wait| wait.as_secs()), Some(3600));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct RecipientLimit {
    clock: Clock,
}

impl RecipientLimit {
    /// Creates a limit that reads this clock.
    pub fn new(clock: Clock) -> Self {
        Self { clock }
    }

    /// Counts a mail to an address. Returns `None` if the mail may be sent. Otherwise counts nothing, and returns
    /// how long the caller has to wait until a mail to this address may be sent.
    ///
    /// The transaction must be one of the app's main database. Two transactions that count the same address wait
    /// for each other.
    ///
    /// # Errors
    /// Fails if the database fails.
    pub async fn count_in(&self, tx: &mut Tx, address: &str) -> Result<Option<Duration>, db::Error> {
        let (now, key) = (self.clock.now(), key(address));
        let sql = "insert into omni_email_recipients as known (recipient, mails, last_at) values ($1, 1, $2)
            on conflict (recipient) do update set last_at = $2,
                mails = case when known.last_at <= $3 then 1 else known.mails + 1 end
            where known.mails < $4 or known.last_at <= $5
            returning mails";
        let counted = tx.query(sql).bind(key.clone()).bind(now).bind(now - COUNTER_TTL).bind(MAX_MAILS_AT_ONCE);
        let counted: Option<(i64,)> = counted.bind(now - MAIL_INTERVAL).fetch_optional().await?;
        if counted.is_some() {
            return Ok(None);
        }
        let last = tx.query("select last_at from omni_email_recipients where recipient = $1").bind(key);
        let (last,) = last.fetch_one::<(omnistack_core::clock::Timestamp,)>().await?;
        Ok(Some((last + MAIL_INTERVAL).duration_since(now)))
    }

    /// Deletes the counters that have ended.
    ///
    /// # Errors
    /// Fails if the database fails.
    pub async fn purge_in(&self, tx: &mut Tx) -> Result<(), db::Error> {
        let ended =
            tx.query("delete from omni_email_recipients where last_at <= $1").bind(self.clock.now() - COUNTER_TTL);
        ended.execute().await.map(drop)
    }
}

/// Returns the hash of the mailbox that an address leads to: in lower case, with its domain in ASCII, and without
/// the part of the local part that begins with `+`.
fn key(address: &str) -> Vec<u8> {
    let mailbox =
        Address::new(address.trim()).map_or_else(|_| address.trim().to_owned(), |known| known.mailbox().to_owned());
    let mailbox = mailbox.to_lowercase();
    let (local, domain) = mailbox.rsplit_once('@').unwrap_or((&mailbox, ""));
    let local = local.split('+').next().filter(|local| !local.is_empty()).unwrap_or(local);
    Sha256::digest_list([local.as_bytes(), domain.as_bytes()]).as_bytes().to_vec()
}

#[cfg(test)]
mod tests {
    use super::key;

    #[test]
    fn one_mailbox_is_one_key() {
        for (one, other, same) in [
            ("ada@example.com", " Ada@EXAMPLE.com", true),
            ("ada@example.com", "ada+1@example.com", true),
            ("ada@b\u{fc}cher.example", "ada@xn--bcher-kva.example", true),
            ("ada@example.com", "eve@example.com", false),
            ("ada@example.com", "ada@example.org", false),
            ("+1@example.com", "+2@example.com", false),
        ] {
            assert_eq!(key(one) == key(other), same, "{one} {other}");
        }
    }
}
