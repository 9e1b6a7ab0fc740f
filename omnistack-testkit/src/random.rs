//! Random names and ids.

use uuid::{Builder, Uuid};

/// Returns a random UUID. The feature `v4` of `uuid` would be turned on in the app under test too.
pub(crate) fn random_uuid() -> Uuid {
    Builder::from_random_bytes(rand::random::<u128>().to_be_bytes()).into_uuid()
}
