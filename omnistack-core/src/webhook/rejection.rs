//! The reasons to reject a webhook.

use http::StatusCode;

use crate::{BoxError, http::Error};

/// The reason why the request of a provider is rejected.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WebhookRejection {
    /// The provider did not send the request, or sent it too long ago. The text says what is wrong, such as
    /// `no signature matches`, and contains nothing of the request.
    #[error("the webhook is not verified: {0}")]
    Unverified(&'static str),
    /// The provider sent the request, and its body does not have the form of this provider's events.
    #[error("the webhook is signed, but its body does not have the form of this provider's events: {0}")]
    Malformed(String),
    /// The request could not be verified, for example because a key could not be loaded. The provider should send it
    /// again.
    #[error("the webhook could not be verified")]
    Unavailable(#[source] BoxError),
}

/// The responses: 400 `WEBHOOK_SIGNATURE_INVALID`, 422 `WEBHOOK_MALFORMED`, and 503.
impl From<WebhookRejection> for Error {
    fn from(rejection: WebhookRejection) -> Self {
        let message = rejection.to_string();
        match rejection {
            WebhookRejection::Unverified(_) => {
                let message = format!("{message}; compare the settings of the webhook at the provider with the app's");
                Self::new(StatusCode::BAD_REQUEST, "WEBHOOK_SIGNATURE_INVALID", message)
            }
            WebhookRejection::Malformed(_) => Self::new(StatusCode::UNPROCESSABLE_ENTITY, "WEBHOOK_MALFORMED", message),
            WebhookRejection::Unavailable(source) => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "WEBHOOK_UNVERIFIABLE", message).with_source(source)
            }
        }
    }
}
