//! Fingerprints: which errors are one group.

use omnistack_core::crypto::Sha256;
use uuid::Uuid;

use super::model::{ErrorGroupId, ErrorOriginKind, Signal};

/// The version of the rules. Errors that were recorded by other rules stay in their groups.
const VERSION: u32 = 1;

/// The codes that say nothing about the cause.
const GENERIC_CODES: [&str; 3] = ["INTERNAL_ERROR", "JOB_FAILED", "DELIVERY_FAILED"];

/// Returns whether a code says nothing about the cause of an error.
pub(super) fn is_generic(code: &str) -> bool {
    GENERIC_CODES.contains(&code)
}

/// Returns the fingerprint of errors with a specific code: the origin, the code, and the cause that their text shows.
pub(super) fn by_code(origin: ErrorOriginKind, code: &str, signal: Option<Signal>) -> String {
    let origin = origin.as_str();
    match signal {
        Some(signal) => format!("{VERSION}:{origin}:code:{code}:{}", signal.as_str()),
        None => format!("{VERSION}:{origin}:code:{code}"),
    }
}

/// Returns the fingerprint of panics: the origin, and the function or file that panicked.
pub(super) fn by_panic(origin: ErrorOriginKind, place: &str) -> String {
    format!("{VERSION}:{}:panic:{place}", origin.as_str())
}

/// Returns the fingerprint of errors with a generic code: the origin, and the hash of the normalised message.
pub(super) fn by_message(origin: ErrorOriginKind, normalized: &str) -> String {
    let hash = Sha256::digest(normalized).to_string();
    format!("{VERSION}:{}:message:{}", origin.as_str(), &hash[..32])
}

/// Returns the fingerprint of errors beyond the number of groups that are tracked.
pub(super) fn overflow(origin: ErrorOriginKind) -> String {
    format!("{VERSION}:{}:overflow", origin.as_str())
}

/// Returns the id of the group with a fingerprint.
pub(super) fn group_id(fingerprint: &str) -> ErrorGroupId {
    ErrorGroupId::from_uuid(uuid_of(&Sha256::digest(fingerprint)))
}

/// Returns a hash of a user or tenant that differs for each group, so that the groups of a user can't be joined.
pub(super) fn subject(group: ErrorGroupId, id: Uuid) -> Uuid {
    uuid_of(&Sha256::digest_list([group.uuid().as_bytes().as_slice(), id.as_bytes().as_slice()]))
}

/// Returns the beginning of a hash as a UUIDv8 (RFC 9562, section 5.8).
fn uuid_of(hash: &Sha256) -> Uuid {
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash.as_bytes()[..16]);
    bytes[6] = (bytes[6] & 0x0f) | 0x80;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    Uuid::from_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::errors::normalize::normalize;

    #[test]
    fn the_rules_are_tried_in_order() {
        let request = ErrorOriginKind::Request;
        assert_eq!(by_code(request, "CARD_DECLINED", None), "1:request:code:CARD_DECLINED");
        let timeout = by_code(request, "DATABASE_UNAVAILABLE", Some(Signal::PoolTimeout));
        assert_eq!(timeout, "1:request:code:DATABASE_UNAVAILABLE:pool_timeout");
        assert_eq!(by_panic(ErrorOriginKind::Job, "shop::ship"), "1:job:panic:shop::ship");
        assert!(is_generic("JOB_FAILED") && !is_generic("CARD_DECLINED"));
    }

    #[test]
    fn messages_with_the_same_form_have_the_same_fingerprint() {
        let of = |message: &str| by_message(ErrorOriginKind::Job, &normalize(message));
        assert_eq!(of("user 7 not found"), of("user 8  not found"));
        assert_ne!(of("user 7 not found"), of("team 7 not found"));
        assert_ne!(of("user 7 not found"), by_message(ErrorOriginKind::Request, &normalize("user 7 not found")));
        assert!(of("x").starts_with("1:job:message:"), "{}", of("x"));
    }

    #[test]
    fn ids_are_stable() {
        assert_eq!(group_id("1:job:overflow"), group_id("1:job:overflow"));
        assert_eq!(group_id("1:job:overflow").uuid().get_version_num(), 8);
        let user = Uuid::from_u128(7);
        assert_ne!(subject(group_id("a"), user), subject(group_id("b"), user));
    }
}
