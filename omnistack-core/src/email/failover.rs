//! A second provider for when the first is away.

use std::sync::Arc;

use async_trait::async_trait;

use super::{Email, EmailError, EmailProvider, ErrorKind, Sent};

/// Sends through the second provider what the first has certainly not taken: when it is
/// [unavailable](ErrorKind::Unavailable) or [takes no more](ErrorKind::RateLimited).
///
/// Never when the outcome at the first is [unknown](ErrorKind::Unknown), since the mail would then arrive twice: two providers
/// share no idempotency keys. Nor when the first refuses the mail or is not set up: somebody must know.
///
/// Every mail tries the first one first, and so waits for its deadline while it hangs.
///
/// ```
/// use omnistack_core::email::{Email, Failover, Mailer, Memory};
/// # use omnistack_core::{async_trait, email::{EmailError, EmailProvider, ErrorKind, Sent}};
/// # #[derive(Debug)]
/// # struct Away;
/// # #[async_trait]
/// # impl EmailProvider for Away {
/// #     fn name(&self) -> &'static str {
/// #         "away"
/// #     }
/// #     async fn send(&self, _: &Email) -> Result<Sent, EmailError> {
/// #         Err(EmailError::new(ErrorKind::Unavailable, "no connection"))
/// #     }
/// # }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> omnistack_core::Result<()> {
/// # let first = Away;
/// let second = Memory::default();
/// let mailer = Mailer::new(Failover::new(first, second.clone())).from("shop@example.com".parse()?);
///
/// // The first is away.
/// let sent = mailer.send(&Email::to("ada@example.com").subject("Welcome").text("Hello, Ada.")).await?;
/// assert_eq!((sent.provider, second.sent().len()), ("memory", 1));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Failover {
    first: Arc<dyn EmailProvider>,
    second: Arc<dyn EmailProvider>,
}

impl Failover {
    /// The first, and the second for when it is away.
    pub fn new(first: impl EmailProvider, second: impl EmailProvider) -> Self {
        Self { first: Arc::new(first), second: Arc::new(second) }
    }
}

#[async_trait]
impl EmailProvider for Failover {
    fn name(&self) -> &'static str {
        "failover"
    }

    async fn send(&self, email: &Email) -> Result<Sent, EmailError> {
        let away = match self.first.send(email).await {
            Err(error) if error.is_retryable() => error,
            other => return other,
        };
        let (first, second) = (self.first.name(), self.second.name());
        tracing::warn!(target: "omnistack::email", first, second, %away, "the first mail provider is away");
        match self.second.send(email).await {
            // What the second can't take, the first may when it is back.
            Err(error) if matches!(error.kind(), ErrorKind::Refused | ErrorKind::Configuration) => {
                tracing::warn!(target: "omnistack::email", second, %error, "nor does the second mail provider take it");
                Err(away)
            }
            other => other,
        }
    }
}
