//! The port for mails that are sent after the commit of a transaction.

use std::{fmt, sync::Arc};

use async_trait::async_trait;

use super::Email;
use crate::db::{self, Tx};

/// An outbox for mails, as implemented by the module that sends them.
#[async_trait]
pub trait EnqueueMail: Send + Sync + 'static {
    /// Stores a mail in the caller's transaction: see [`MailOutbox::enqueue_in`].
    ///
    /// # Errors
    /// `ErrorKind::InvalidValue` if the mail is not valid, and the errors of the database.
    async fn enqueue_in(&self, tx: &mut Tx, mail: &Email) -> Result<(), db::Error>;
}

/// The handle by which modules send a mail if and only if their transaction commits. It is in the
/// [`Context`](crate::module::Context) of every app. Cheap to clone.
///
/// With the module `Mail`, the mail is in its outbox, which leaves out suppressed recipients and shows what became of
/// the mail. Without it, the mail is the payload of a job, which sends it by the [`Mailer`](super::Mailer). A module
/// that sends mail requires the `Mailer`, so that the build in production reports if none delivers it.
///
/// ```
/// use omnistack_core::{app::App, config::Config, email::{Email, MailOutbox}};
/// # use omnistack_core::email::{Mailer, MemoryProvider};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> omnistack_core::Result<()> {
/// # let memory = MemoryProvider::default();
/// # let mailer = Mailer::new(memory.clone()).default_sender("shop@example.com".parse()?);
/// # let config = Config::from_pairs([("DATABASE_URL", "sqlite::memory:")]);
/// # let app = App::builder(config).replace(mailer).build()?;
/// # app.migrate().await?;
/// let outbox: MailOutbox = app.context().get()?;
/// let shipped = Email::to("ada@example.com").subject("Your order").text("It is on its way.");
///
/// let mut tx = app.db().begin().await?;
/// // … store that the order was shipped …
/// outbox.enqueue_in(&mut tx, &shipped).await?;
/// tx.commit().await?;
/// # app.runner().run_until_idle().await?;
/// # assert_eq!(memory.sent().len(), 1);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct MailOutbox(Arc<dyn EnqueueMail>);

impl MailOutbox {
    /// Creates a handle.
    pub fn new(outbox: impl EnqueueMail) -> Self {
        Self(Arc::new(outbox))
    }

    /// Stores a mail in the caller's transaction. It is sent if that transaction commits, and sent again if it is
    /// unknown whether the provider has accepted it, with the same idempotency key.
    ///
    /// # Errors
    /// `ErrorKind::InvalidValue` if the mail is not valid, and the errors of the database. After an error of the
    /// database, roll the transaction back.
    pub async fn enqueue_in(&self, tx: &mut Tx, mail: &Email) -> Result<(), db::Error> {
        self.0.enqueue_in(tx, mail).await
    }
}

impl fmt::Debug for MailOutbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MailOutbox").finish_non_exhaustive()
    }
}
