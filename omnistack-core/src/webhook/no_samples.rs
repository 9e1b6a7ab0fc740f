//! The keys of samples without the feature `key-ring`: no sample is signed, and none is accepted.

use super::{WebhookRejection, WebhookRequest};
use crate::module::Context;

/// The keys of samples, which no app has.
#[cfg(not(feature = "key-ring"))]
pub(crate) enum SampleKeys {}

impl SampleKeys {
    pub(crate) fn of_app(_: &Context) -> Option<Self> {
        None
    }

    #[cfg(feature = "cli")]
    pub(crate) fn sign(&self, _: &str, _: &[u8]) -> Option<http::HeaderMap> {
        match *self {}
    }

    pub(super) fn verify(&self, _: &str, _: &WebhookRequest<'_>) -> Option<Result<(), WebhookRejection>> {
        match *self {}
    }
}
