//! Fallback to another call.

use super::{Classify, Outcome};

/// Makes the first call, and the second one after a transient failure of the first. Calls nest: the second may
/// itself have a fallback.
///
/// After an **unknown** outcome the second call is not made, because the first may have taken effect, and an
/// idempotency key of one provider has no meaning for another: a charge is not idempotent across two providers.
/// It is not made after a permanent failure either: the request is invalid, or an operator has to know.
///
/// If the second call fails permanently, the result is the transient failure of the first one, because a later
/// attempt may succeed there.
///
/// # Errors
///
/// Fails as the first call does if the second is not made or fails permanently; otherwise as the second does.
///
/// ```
/// use omnistack_core::resilience::{Classification, Classify, fallback};
///
/// #[derive(Debug, PartialEq)]
/// enum SmsError { Unavailable, Lost }
///
/// impl Classify for SmsError {
///     fn class(&self) -> Classification {
///         match self {
///             Self::Unavailable => Classification::failed().retryable(),
///             Self::Lost => Classification::unknown(),
///         }
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let sent = fallback(async { Err(SmsError::Unavailable) }, |_| async { Ok("by the second") }).await;
/// assert_eq!(sent, Ok("by the second"));
///
/// // The message may have been sent, so it is not sent by the second provider as well.
/// let sent = fallback(async { Err(SmsError::Lost) }, |_| async { Ok("by the second") }).await;
/// assert_eq!(sent, Err(SmsError::Lost));
/// # }
/// ```
pub async fn fallback<T, E, F>(first: impl Future<Output = Result<T, E>>, second: impl FnOnce(&E) -> F) -> Result<T, E>
where
    E: Classify,
    F: Future<Output = Result<T, E>>,
{
    let error = match first.await {
        Err(error) if error.class().is_transient() => error,
        result => return result,
    };
    match second(&error).await {
        Err(other) if other.class().outcome() == Outcome::Failed && !other.class().is_transient() => Err(error),
        result => result,
    }
}
