//! Failover to a second mail provider.

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::TryFutureExt as _;

use super::{Email, EmailError, EmailErrorKind, EmailProvider, SentMail};
use omnistack_core::resilience::fallback;

/// A provider that sends a mail through the second provider if the first has certainly not accepted it: the first
/// is [unavailable](EmailErrorKind::Unavailable) or [rate limited](EmailErrorKind::RateLimited).
///
/// The second provider is not used if the outcome at the first is [unknown](EmailErrorKind::Unknown), because the mail
/// could then arrive twice: the two providers do not share idempotency keys. It is not used either if the first
/// refuses the mail or is not configured correctly, because an operator has to know. A mail that the second provider
/// refuses fails with the error of the first, which may accept it once it is available again.
///
/// Every mail is sent to the first provider first, and so waits for that provider's timeout while it hangs.
///
/// ```
/// use omnistack_core::email::{Email, Mailer, MemoryProvider};
/// use omnistack_messaging::email::FailoverProvider;
/// # use omnistack_core::{async_trait, email::{EmailError, EmailProvider, EmailErrorKind, SentMail}};
/// # #[derive(Debug)]
/// # struct Away;
/// # #[async_trait]
/// # impl EmailProvider for Away {
/// #     fn name(&self) -> &'static str {
/// #         "away"
/// #     }
/// #     async fn send(&self, _: &Email) -> Result<SentMail, EmailError> {
/// #         Err(EmailError::new(EmailErrorKind::Unavailable, "no connection"))
/// #     }
/// # }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> omnistack_core::Result<()> {
/// # let first = Away;
/// let second = MemoryProvider::default();
/// let mailer = Mailer::new(FailoverProvider::new(first, second.clone())).default_sender("shop@example.com".parse()?);
///
/// // The first provider is unavailable.
/// let sent = mailer.send(&Email::to("ada@example.com").subject("Welcome").text("Hello, Ada.")).await?;
/// assert_eq!((sent.provider, second.sent().len()), ("memory", 1));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct FailoverProvider {
    first: Arc<dyn EmailProvider>,
    second: Arc<dyn EmailProvider>,
}

impl FailoverProvider {
    /// Creates a failover from `first` to `second`.
    pub fn new(first: impl EmailProvider, second: impl EmailProvider) -> Self {
        Self { first: Arc::new(first), second: Arc::new(second) }
    }
}

#[async_trait]
impl EmailProvider for FailoverProvider {
    fn name(&self) -> &'static str {
        "failover"
    }

    async fn send(&self, email: &Email) -> Result<SentMail, EmailError> {
        let (first, second) = (self.first.name(), self.second.name());
        fallback(self.first.send(email), |away| {
            tracing::warn!(target: "omnistack::email", first, second, %away, "the first mail provider did not accept the mail; the second is used");
            self.second.send(email).inspect_err(move |error| {
                if matches!(error.kind(), EmailErrorKind::Refused | EmailErrorKind::Configuration) {
                    tracing::warn!(target: "omnistack::email", second, %error, "the second mail provider did not accept the mail either");
                }
            })
        })
        .await
    }

    /// Returns `Ok` if one of the two providers is available, and the first provider's error otherwise.
    async fn check_connection(&self) -> Result<(), EmailError> {
        let Err(error) = self.first.check_connection().await else { return Ok(()) };
        self.second.check_connection().await.map_err(|_| error)
    }
}
