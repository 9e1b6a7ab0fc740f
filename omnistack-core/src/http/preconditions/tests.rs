use http::Request;

use super::*;

const LATER: &str = "Tue, 01 Jan 2030 00:00:01 GMT";
const AT: &str = "Tue, 01 Jan 2030 00:00:00 GMT";
const BEFORE: &str = "Mon, 31 Dec 2029 23:59:59 GMT";

fn current() -> Validators {
    // Dates have no fraction of a second.
    Validators::etag("\"a,b\"").last_modified("2030-01-01T00:00:00.7Z".parse().unwrap())
}

async fn asked(method: Method, fields: &[(&'static str, &str)]) -> Preconditions {
    let mut request = Request::builder().method(method);
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    let (mut parts, ()) = request.body(()).unwrap().into_parts();
    let Ok(asked) = Preconditions::from_request_parts(&mut parts, &()).await;
    asked
}

#[tokio::test]
async fn preconditions_are_compared_in_order() {
    // Expected status of a GET and of a DELETE; 0 means that the request is carried out.
    for (fields, get, delete) in [
        (&[][..], 0, 0),
        (&[("if-match", "\"a,b\"")], 0, 0),
        (&[("if-match", "*")], 0, 0),
        (&[("if-match", "\"x\", \"a,b\"")], 0, 0),
        (&[("if-match", "\"x\""), ("if-match", "\"a,b\"")], 0, 0),
        (&[("if-match", "\"x\"")], 412, 412),
        (&[("if-match", "W/\"a,b\"")], 412, 412),
        (&[("if-match", "a,b")], 412, 412),
        (&[("if-match", "\"a,b")], 412, 412),
        (&[("if-match", "")], 412, 412),
        (&[("if-unmodified-since", AT)], 0, 0),
        (&[("if-unmodified-since", LATER)], 0, 0),
        (&[("if-unmodified-since", BEFORE)], 412, 412),
        (&[("if-unmodified-since", "yesterday")], 0, 0),
        (&[("if-match", "\"a,b\""), ("if-unmodified-since", BEFORE)], 0, 0),
        (&[("if-none-match", "\"a,b\"")], 304, 412),
        (&[("if-none-match", "W/\"a,b\"")], 304, 412),
        (&[("if-none-match", "\"x\",W/\"a,b\"")], 304, 412),
        (&[("if-none-match", "*")], 304, 412),
        (&[("if-none-match", "\"x\"")], 0, 0),
        (&[("if-none-match", "\"a\", \"b\"")], 0, 0),
        (&[("if-match", "\"x\""), ("if-none-match", "\"a,b\"")], 412, 412),
        (&[("if-modified-since", AT)], 304, 0),
        (&[("if-modified-since", LATER)], 304, 0),
        (&[("if-modified-since", BEFORE)], 0, 0),
        (&[("if-modified-since", LATER), ("if-none-match", "\"x\"")], 0, 0),
        (&[("if-modified-since", "Tuesday, 01-Jan-30 00:00:00 GMT")], 0, 0),
    ] {
        for (method, expected) in [(Method::GET, get), (Method::HEAD, get), (Method::DELETE, delete)] {
            let outcome = asked(method.clone(), fields).await.check(&current());
            let outcome = outcome.map_err(|error| error.status().as_u16());
            let expected = match expected {
                0 => Ok(Freshness::Changed),
                304 => Ok(Freshness::NotModified),
                status => Err(status),
            };
            assert_eq!(outcome, expected, "{method} {fields:?}");
        }
    }
}

#[tokio::test]
async fn parts_are_of_the_same_state() {
    for (value, expected) in [
        (None, true),
        (Some("\"a,b\""), true),
        (Some("W/\"a,b\""), false),
        (Some("\"x\""), false),
        (Some(AT), true),
        (Some(LATER), false),
        (Some(BEFORE), false),
        (Some("yesterday"), false),
    ] {
        let fields: Vec<_> = value.map(|value| ("if-range", value)).into_iter().collect();
        assert_eq!(asked(Method::GET, &fields).await.allow_range(&current()), expected, "{value:?}");
    }
}

#[test]
fn a_weak_tag_is_no_match_for_what_is_to_be_exact() {
    let weak = Validators::etag("W/\"a\"");
    let tag = |text: &'static str| tags(text.as_bytes()).next().unwrap();
    assert!(!weak.matches_strongly(&tag("\"a\"")) && !weak.matches_strongly(&tag("W/\"a\"")));
    assert!(weak.matches_weakly(&tag("\"a\"")) && weak.matches_weakly(&tag("W/\"a\"")));
}
