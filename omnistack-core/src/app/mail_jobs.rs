//! The default of the port for mails of transactions: the mail is the payload of a job.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::{
    db::{self, ErrorKind, Tx},
    email::{Email, EmailErrorKind, EnqueueMail, InvalidEmail, Mailer},
    jobs::{Job, JobContext, JobError, Jobs, NewJob},
};

/// An outbox whose mails are the payloads of jobs.
pub(super) struct MailJobs(pub(super) Jobs);

#[async_trait]
impl EnqueueMail for MailJobs {
    async fn enqueue_in(&self, tx: &mut Tx, mail: &Email) -> Result<(), db::Error> {
        let checked = match mail.check() {
            // The mailer adds the default sender.
            Err(InvalidEmail::NoSender) => mail.clone().from("sender@example.com").check(),
            checked => checked,
        };
        checked.map_err(|error| db::Error::new(ErrorKind::InvalidValue, error.into()))?;
        let job = NewJob::new(SendMailOfJob { mail: mail.clone() });
        self.0.enqueue_in(tx, mail.tenant.into_iter().fold(job, NewJob::tenant)).await?;
        Ok(())
    }
}

/// The job that sends the mail in its payload.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct SendMailOfJob {
    mail: Email,
}

#[async_trait]
impl Job for SendMailOfJob {
    const NAME: &'static str = "core.send_mail";

    type State = Mailer;

    async fn run(self, mailer: &Mailer, ctx: &JobContext) -> Result<(), JobError> {
        let mut mail = self.mail;
        mail.idempotency_key.get_or_insert_with(|| format!("mail-{}", ctx.id()));
        match mailer.send(&mail).await {
            Ok(_) => Ok(()),
            Err(error) if matches!(error.kind(), EmailErrorKind::Invalid | EmailErrorKind::Refused) => {
                Err(JobError::fatal(error))
            }
            Err(error) => Err(error.into()),
        }
    }
}
