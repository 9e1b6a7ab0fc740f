//! Tests of the classification of responses.

use http::{HeaderMap, StatusCode};
use omnistack_core::resilience::{Classification, Outcome, RetrySafety};

use super::seconds;

#[test]
fn a_status_says_what_became_of_the_request() {
    use Outcome::{Failed, Success, Unknown};
    let cases = [
        (&[200, 201, 204, 301, 304][..], Success, false),
        (&[408, 425, 429], Failed, true),
        (&[400, 401, 402, 403, 404, 409, 410, 422, 501, 505], Failed, false),
        (&[500, 502, 503, 504, 529, 599], Unknown, true),
    ];
    let now = "2030-01-01T00:00:00Z".parse().unwrap();
    for (statuses, outcome, retryable) in cases {
        for status in statuses {
            let class = Classification::from_response(StatusCode::from_u16(*status).unwrap(), &HeaderMap::new(), now);
            assert_eq!((class.outcome(), class.may_retry(RetrySafety::Idempotent)), (outcome, retryable), "{status}");
            assert_eq!(class.may_retry(RetrySafety::Never), retryable && outcome == Failed, "{status}");
        }
    }
}

#[test]
fn retry_after_is_a_number_or_a_date() {
    let cases = [
        ("120", Some(120)),
        ("0", Some(0)),
        (" 7 ", Some(7)),
        ("Tue, 01 Jan 2030 00:01:30 GMT", Some(90)),
        ("Tuesday, 01-Jan-30 00:01:30 GMT", Some(90)),
        ("Tue Jan  1 00:01:30 2030", Some(90)),
        ("Mon, 31 Dec 2029 00:00:00 GMT", Some(0)),
        ("", None),
        ("-1", None),
        ("1.5", None),
        ("soon", None),
        ("99999999999999999999999", None),
    ];
    for (text, expected) in cases {
        let headers = HeaderMap::from_iter([(http::header::RETRY_AFTER, text.parse().unwrap())]);
        for status in [StatusCode::TOO_MANY_REQUESTS, StatusCode::SERVICE_UNAVAILABLE] {
            let class = Classification::from_response(status, &headers, "2030-01-01T00:00:00Z".parse().unwrap());
            assert_eq!(class.retry_delay(), expected.map(seconds), "`{text}`");
        }
    }
}
