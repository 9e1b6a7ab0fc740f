//! Text messages as a channel of the outbox.

use std::time::Duration;

use async_trait::async_trait;

use super::{InvalidSms, PhoneNumber, SmsError, SmsErrorKind, SmsMessage, SmsSender};
use crate::{
    outbox::{
        Channel, Envelope, MessageError, MessageId, MessageOutbox, PurgeMessages, SendFailure, SendMessage, SendReceipt,
    },
    suppression::{Recipient, Suppression, SuppressionList, register_routes},
};
use omnistack_core::{
    metrics::{self, Metric},
    module::{Module, Registry},
};

/// The channel of text messages.
#[derive(Clone, Copy, Debug, Default)]
pub struct SmsChannel;

/// The outbox for text messages, by which requests send messages: a message is a row and a job in the caller's
/// transaction, so it is sent only if that transaction commits. The module [`Sms`](super::Sms) provides it. It is
/// cheap to clone. Its option is the largest number of segments of a message.
///
/// ```
/// use omnistack_core::{app::App, config::Config};
/// use omnistack_messaging::sms::{MessageState, Sms, SmsMessage, SmsOutbox};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let config = Config::from_pairs([("DATABASE_URL", "sqlite::memory:")]);
/// let app = App::builder(config).with(Sms::default()).build()?;
/// # app.migrate().await?;
/// let outbox: SmsOutbox = app.context().get()?;
///
/// let mut tx = app.db().begin().await?;
/// // … insert the order …
/// let id = outbox.send_in(&mut tx, &SmsMessage::new("+491701234567".parse()?, "Your order is on its way.")).await?;
/// tx.commit().await?;
/// # assert_eq!(app.runner().run_until_idle().await?, 1);
/// assert_eq!(outbox.get(id).await?.map(|info| info.state), Some(MessageState::Sent));
/// # Ok(())
/// # }
/// ```
///
/// # Guarantees
///
/// - **At most once.** A message that may have been accepted is never sent again. If the outcome is unknown, the
///   message's state is [`Unknown`](super::MessageState::Unknown).
/// - **Retries.** A message that was certainly not accepted is retried until `SMS_GIVE_UP_AFTER` has passed.
/// - **No copy is kept.** The text, which may contain a code, is deleted after the last attempt.
pub type SmsOutbox = MessageOutbox<SmsChannel>;

/// The reason why a text message was not put into the outbox.
pub type SmsOutboxError = MessageError<InvalidSms>;

/// The job that sends one text message of the outbox, at most once.
pub type SendSms = SendMessage<SmsChannel>;

/// The job that deletes text messages that were finished longer ago than `SMS_KEEP`. It runs every night.
pub type PurgeSms = PurgeMessages<SmsChannel>;

/// The SMS suppressions. The handle is cheap to clone.
pub type SmsSuppressions = SuppressionList<PhoneNumber>;

impl Recipient for PhoneNumber {
    const CHANNEL: &'static str = "sms";
    const KIND: &'static str = "number";
    const SUPPRESSED: &'static str = "sms.number_suppressed";
    const RELEASED: &'static str = "sms.number_released";

    fn parse_recipient(text: &str) -> Result<Self, String> {
        text.parse().map_err(|error: super::PhoneNumberError| error.to_string())
    }

    fn key(&self) -> String {
        self.as_str().to_owned()
    }
}

/// The handle by which the job sends text messages.
#[derive(Clone, Debug)]
pub struct SmsCourier {
    pub(super) sender: SmsSender,
    /// The URL to which the provider sends delivery reports.
    pub(super) status_url: Option<String>,
}

#[async_trait]
impl Channel for SmsChannel {
    type Recipient = PhoneNumber;
    type Message = SmsMessage;
    type Invalid = InvalidSms;
    type Options = usize;
    type Sender = SmsCourier;
    type Error = SmsError;

    const ATTEMPTS: &'static Metric = &metrics::SMS;
    const SEND_JOB: &'static str = "sms.send_message";
    const PURGE_JOB: &'static str = "sms.purge_messages";
    const PURGE_SCHEDULE: &'static str = "23 4 * * *";
    const QUEUE: &'static str = "sms";
    const FIRST_RETRY_PAUSE: Duration = Duration::from_secs(5);
    const AT_MOST_ONCE: bool = true;

    fn check(message: &SmsMessage, max_segments: &usize) -> Result<(), InvalidSms> {
        message.check(*max_segments)
    }

    fn envelope(message: &SmsMessage) -> Envelope {
        Envelope {
            tenant: message.tenant,
            recipients: message.to.as_str().to_owned(),
            subject: None,
            segments: i64::try_from(message.segments().count).ok(),
        }
    }

    fn recipients(message: &SmsMessage) -> Vec<&PhoneNumber> {
        vec![&message.to]
    }

    fn remove_suppressed(_: &mut SmsMessage, suppressed: &[Suppression]) -> bool {
        suppressed.is_empty()
    }

    async fn send(courier: &SmsCourier, id: MessageId, message: &mut SmsMessage) -> Result<SendReceipt, SmsError> {
        message.status_url = courier.status_url.as_ref().map(|url| format!("{url}?message={id}"));
        courier.sender.send(message).await.map(|sent| SendReceipt { provider: sent.provider, id: sent.id })
    }

    fn failure(error: &SmsError) -> SendFailure {
        match (error.kind(), error.retry_after()) {
            (SmsErrorKind::Invalid | SmsErrorKind::Refused, _) => SendFailure::Refused,
            (SmsErrorKind::OptedOut, _) => SendFailure::OptedOut,
            (SmsErrorKind::Unknown, _) => SendFailure::Unknown,
            (SmsErrorKind::RateLimited, Some(wait)) => SendFailure::RateLimited(wait),
            _ => SendFailure::Unavailable,
        }
    }
}

/// The module with the operator routes for SMS suppressions, `/api/v1/admin/sms/suppressions`: `.with(SmsApi)`.
///
/// It is separate from the module [`Sms`](crate::sms::Sms), because not every app has operators.
#[derive(Clone, Copy, Debug, Default)]
pub struct SmsApi;

impl Module for SmsApi {
    fn name(&self) -> &'static str {
        "sms_api"
    }

    fn register(&self, registry: &mut Registry) {
        register_routes::<PhoneNumber>(registry);
    }
}
