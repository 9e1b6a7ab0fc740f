//! The causes that the text of an error shows.

use super::model::Signal;

/// Parts of messages, in lower case, of the drivers of both databases, of the HTTP client and of `serde`. The first
/// match counts.
const PARTS: [(Signal, &[&str]); 8] = [
    (Signal::PoolTimeout, &["pool timed out", "no free connection"]),
    (Signal::UniqueViolation, &["duplicate key value", "unique constraint failed"]),
    (Signal::TransactionConflict, &["could not serialize access", "deadlock detected", "database is locked"]),
    (Signal::StatementTimeout, &["canceling statement due to", "did not respond within", "(code: 9) interrupted"]),
    (Signal::UpstreamRateLimit, &["429 too many requests", "too many requests"]),
    (
        Signal::UpstreamFailure,
        &[
            "500 internal server error",
            "502 bad gateway",
            "503 service unavailable",
            "504 gateway timeout",
            "status server error",
            "error sending request",
            "connection refused",
        ],
    ),
    (Signal::Unauthorized, &["401 unauthorized"]),
    (
        Signal::DecodeFailure,
        &["missing field `", "unknown variant `", "unknown field `", "invalid type: ", "error decoding response body"],
    ),
];

/// Returns the cause of an error that the app did not handle, by the text of the message and its causes.
pub(super) fn signal_of_text(text: &str) -> Option<Signal> {
    let text = text.to_lowercase();
    PARTS.iter().find(|(_, parts)| parts.iter().any(|part| text.contains(part))).map(|(signal, _)| *signal)
}

/// Returns the cause of a response with a status of 400 to 499.
pub(super) const fn signal_of_status(status: u16) -> Option<Signal> {
    match status {
        400 | 422 => Some(Signal::InvalidRequest),
        401 => Some(Signal::Unauthorized),
        403 => Some(Signal::Forbidden),
        429 => Some(Signal::RateLimited),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_found_in_the_text() {
        for (text, expected) in [
            ("error: pool timed out while waiting for an open connection", Some(Signal::PoolTimeout)),
            (
                "error returned from database: duplicate key value violates unique constraint",
                Some(Signal::UniqueViolation),
            ),
            ("(code: 2067) UNIQUE constraint failed: omni_users.email", Some(Signal::UniqueViolation)),
            ("deadlock detected", Some(Signal::TransactionConflict)),
            ("canceling statement due to statement timeout", Some(Signal::StatementTimeout)),
            ("HTTP status client error (429 Too Many Requests) for url (…)", Some(Signal::UpstreamRateLimit)),
            ("HTTP status server error (503 Service Unavailable)", Some(Signal::UpstreamFailure)),
            ("missing field `id` at line 1 column 2", Some(Signal::DecodeFailure)),
            ("the provider responded with 401 Unauthorized", Some(Signal::Unauthorized)),
            ("the moon is full", None),
        ] {
            assert_eq!(signal_of_text(text), expected, "{text}");
        }
        assert_eq!(signal_of_status(422), Some(Signal::InvalidRequest));
        assert_eq!(signal_of_status(404), None);
    }
}
