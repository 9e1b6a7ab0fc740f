//! W3C Baggage: names and values that travel with a request.

use std::{borrow::Cow, fmt, sync::Arc};

use http::{HeaderMap, HeaderName, HeaderValue};
use opentelemetry::Context;
use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};

use super::{WithTrace, context::with_context};

pub(super) const HEADER: HeaderName = HeaderName::from_static("baggage");

/// Largest number of members that are kept (section 3.3.2).
const MAX_MEMBERS: usize = 64;
/// Largest number of bytes of all members and the commas between them (section 3.3.2).
const MAX_BYTES: usize = 8192;

/// The bytes of a value that must be percent-encoded (section 3.3.1.3).
const ENCODED: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'%').add(b',').add(b';').add(b'\\');

/// Names and values that travel with a request from service to service, as in
/// [W3C Baggage](https://www.w3.org/TR/baggage/). Cheap to clone.
///
/// With the feature `observability`, the baggage of a request is read from its header `baggage`, is
/// [current](Self::current) while the request is served, and is sent with the calls of the app's HTTP client.
/// [`set_propagators`](super::set_propagators) does the same in a program without that feature; by default, baggage
/// is neither read nor sent. Baggage is not stored, so jobs and subscribers of events have none.
///
/// **Baggage is not trustworthy.** Every client can send any baggage. Do not use it for permissions, tenants or
/// prices. It is sent to every service that the app calls, so do not put secrets into it, and use
/// [`with_baggage`](super::with_baggage) around calls to services that must not see it.
///
/// A list of members is reduced to 64 members and 8192 bytes. Members that are not valid are left out.
///
/// ```
/// use omnistack_core::trace::{self, Baggage};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let baggage = Baggage::default().with("region", "Nelson, NZ");
/// assert_eq!(baggage.to_string(), "region=Nelson%2C%20NZ");
/// trace::with_baggage(baggage, async {
///     assert_eq!(Baggage::current().get("region").as_deref(), Some("Nelson, NZ"));
///     // Calls in this block send no baggage.
///     trace::with_baggage(Baggage::default(), async {
///         assert_eq!(Baggage::current().get("region"), None);
///     })
///     .await;
/// })
/// .await;
/// # }
/// ```
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Baggage(
    /// The value of the header, which is valid and without optional whitespace.
    Arc<str>,
);

impl Baggage {
    /// Returns the baggage of the current task. It is empty if there is none.
    pub fn current() -> Self {
        Context::map_current(|context| context.get::<Self>().cloned()).unwrap_or_default()
    }

    /// Reads the baggage from the headers of a request. Several `baggage` headers are joined to one list.
    pub fn from_headers(headers: &HeaderMap) -> Self {
        Self::read(headers.get_all(HEADER).iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b',')))
    }

    /// Creates baggage from list members. Those that are not valid, or beyond the limits, are left out.
    fn read<'a>(members: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let (mut list, mut count) = (String::new(), 0);
        let members = members.into_iter().filter_map(|member| normalize(std::str::from_utf8(member).ok()?));
        for member in members {
            if count == MAX_MEMBERS {
                break;
            }
            let separator = if list.is_empty() { "" } else { "," };
            if list.len() + separator.len() + member.len() <= MAX_BYTES {
                list.push_str(separator);
                list.push_str(&member);
                count += 1;
            }
        }
        if list.is_empty() { Self::default() } else { Self(list.into()) }
    }

    /// Returns the decoded value of a member, or `None` if there is no member with this name. Of several members with
    /// the same name, the last one counts. Names are case-sensitive.
    pub fn get(&self, name: &str) -> Option<Cow<'_, str>> {
        self.members().rfind(|(other, _)| *other == name).map(|(_, value)| decode(value))
    }

    /// Returns the names and the decoded values of all members, in their order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&str, Cow<'_, str>)> {
        self.members().map(|(name, value)| (name, decode(value)))
    }

    /// Returns the names and the encoded values, without properties.
    fn members(&self) -> impl DoubleEndedIterator<Item = (&str, &str)> {
        self.0.split(',').filter_map(|member| {
            let (name, rest) = member.split_once('=')?;
            Some((name, rest.split_once(';').map_or(rest, |(value, _)| value)))
        })
    }

    /// Returns whether there are no members.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the baggage with a member at its end, in place of the members with the same name. The value is
    /// percent-encoded where that is necessary. The member is left out if its name is not a token (RFC 9110,
    /// section 5.6.2), or if it exceeds the limits.
    #[must_use]
    pub fn with(&self, name: &str, value: &str) -> Self {
        if !is_token(name) {
            return self.clone();
        }
        let others = self.0.split(',').filter(|member| member.split_once('=').is_some_and(|(other, _)| other != name));
        let member = format!("{name}={}", utf8_percent_encode(value, ENCODED));
        Self::read(others.map(str::as_bytes).chain([member.as_bytes()]))
    }

    /// Sets the header `baggage` of an outgoing request, unless it is set or the baggage is empty.
    pub fn set_header(&self, headers: &mut HeaderMap) {
        if let (false, Ok(value)) = (self.is_empty(), HeaderValue::from_str(&self.0)) {
            headers.entry(HEADER).or_insert(value);
        }
    }
}

/// Writes the value of the header `baggage`.
impl fmt::Display for Baggage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Writes the names only, since values may be personal data.
impl fmt::Debug for Baggage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Baggage")?;
        f.debug_set().entries(self.members().map(|(name, _)| name)).finish()
    }
}

/// Runs a future with this baggage in place of the current one. With empty baggage, calls in the future send none.
pub fn with_baggage<F>(baggage: Baggage, future: F) -> WithTrace<F> {
    with_context(Some(Context::current_with_value(baggage)), future)
}

/// Decodes a value. Bytes that are not UTF-8 become U+FFFD, as section 3.3.1.3 requires.
fn decode(value: &str) -> Cow<'_, str> {
    percent_decode_str(value).decode_utf8_lossy()
}

/// Returns a list member without optional whitespace, or `None` if it is not valid (section 3.3.1).
fn normalize(member: &str) -> Option<String> {
    let mut parts = member.split(';').map(trim);
    let (name, value) = parts.next()?.split_once('=')?;
    let (name, value) = (trim(name), trim(value));
    if !is_token(name) || !is_value(value) {
        return None;
    }
    let mut text = format!("{name}={value}");
    for property in parts {
        let (key, value) = match property.split_once('=') {
            Some((key, value)) => (trim(key), Some(trim(value))),
            None => (property, None),
        };
        if !is_token(key) || !value.is_none_or(is_value) {
            return None;
        }
        text.push(';');
        text.push_str(key);
        if let Some(value) = value {
            text.push('=');
            text.push_str(value);
        }
    }
    Some(text)
}

fn trim(text: &str) -> &str {
    text.trim_matches([' ', '\t'])
}

/// Returns whether a text is a token of HTTP (RFC 9110, section 5.6.2).
fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

/// Returns whether all bytes are `baggage-octet`s: visible ASCII without quotes, commas, semicolons and backslashes.
fn is_value(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_graphic() && !b"\",;\\".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(headers: &[&str]) -> Baggage {
        let values = headers.iter().map(|value| (HEADER, HeaderValue::from_bytes(value.as_bytes()).unwrap()));
        Baggage::from_headers(&values.collect())
    }

    fn members(baggage: &Baggage) -> Vec<(String, String)> {
        baggage.iter().map(|(name, value)| (name.to_owned(), value.into_owned())).collect()
    }

    #[test]
    fn the_examples_of_the_specification_are_read() {
        let properties = "key1=value1;property1;property2, key2 = value2, key3=value3; propertyKey=propertyValue";
        let expected = [("key1", "value1"), ("key2", "value2"), ("key3", "value3")];
        let (alice, node) = (("userId", "alice"), ("serverNode", "DF 28"));
        let production = ("isProduction", "false");
        let table: [(&[&str], &[(&str, &str)]); 5] = [
            (&[properties], &expected),
            (&["userId=alice,serverNode=DF%2028,isProduction=false"], &[alice, node, production]),
            (&["userId=alice", "serverNode=DF%2028,isProduction=false"], &[alice, node, production]),
            (&["userId =   alice", "serverNode = DF%2028, isProduction = false"], &[alice, node, production]),
            (&["userId=Am%C3%A9lie,serverNode=DF%2028"], &[("userId", "Amélie"), node]),
        ];
        for (headers, expected) in table {
            let expected: Vec<_> = expected.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
            assert_eq!(members(&read(headers)), expected, "{headers:?}");
        }
    }

    #[test]
    fn properties_are_sent_on_and_whitespace_is_not() {
        for (given, sent) in [
            ("a=1;x;y=2", "a=1;x;y=2"),
            ("a \t=\t 1 ; x ; y = 2 , b=2", "a=1;x;y=2,b=2"),
            ("a=b=c==", "a=b=c=="),
            ("a=", "a="),
            ("a=%20%22%25", "a=%20%22%25"),
        ] {
            assert_eq!(read(&[given]).to_string(), sent);
        }
        assert_eq!(read(&["a=b=c=="]).get("a").as_deref(), Some("b=c=="));
    }

    #[test]
    fn members_that_are_not_valid_are_left_out() {
        for invalid in [
            "", ",", "b", "=1", "b c=1", "b=1 2", "b=\"1\"", "b=1\\", "b=1;", "b=1;x y", "b=1;x=\"", "b=é", "é=1",
            "b(=1",
        ] {
            assert_eq!(read(&[&format!("a=1,{invalid},c=3")]).to_string(), "a=1,c=3", "{invalid}");
        }
        let bytes = HeaderValue::from_bytes(b"a=1,b=\xff\xfe,c=3").unwrap();
        assert_eq!(Baggage::from_headers(&[(HEADER, bytes)].into_iter().collect()).to_string(), "a=1,c=3");
        assert_eq!(read(&["a=%FF%41"]).get("a").as_deref(), Some("\u{fffd}A"));
        assert!(read(&[]).is_empty() && read(&["nothing"]).iter().next().is_none());
    }

    #[test]
    fn sizes_are_limited() {
        let many = (0..70).map(|number| format!("n{number}=1")).collect::<Vec<_>>().join(",");
        let kept = members(&read(&[&many]));
        assert_eq!((kept.len(), kept[63].0.as_str()), (64, "n63"));
        // 8192 bytes are kept, one more is not; a smaller member after it is.
        let exact = format!("a={}", "x".repeat(8190));
        assert_eq!(read(&[&exact]).to_string().len(), 8192);
        assert_eq!(read(&[&format!("{exact}y,b=2")]).to_string(), "b=2");
        assert_eq!(Baggage::default().with("a", &"é".repeat(8000)), Baggage::default());
    }

    #[test]
    fn a_member_is_set_in_place_of_others_with_its_name() {
        let baggage = read(&["a=1;x,b=2,a=3"]);
        assert_eq!(baggage.get("a").as_deref(), Some("3"), "the last one counts");
        assert_eq!(baggage.get("A"), None);
        assert_eq!(baggage.with("a", "50 %, \"é\"").to_string(), "b=2,a=50%20%25%2C%20%22%C3%A9%22");
        assert_eq!(baggage.with("a", "50 %, \"é\"").get("a").as_deref(), Some("50 %, \"é\""));
        for name in ["not a token", "", "a=b", " a", "a,b"] {
            assert_eq!(baggage.with(name, "1"), baggage, "{name}");
        }
        assert_eq!(format!("{baggage:?}"), r#"Baggage{"a", "b", "a"}"#);
    }

    #[test]
    fn a_header_that_the_caller_has_set_stays() {
        let mut headers = HeaderMap::new();
        Baggage::default().set_header(&mut headers);
        assert!(headers.is_empty());
        read(&["a=1"]).set_header(&mut headers);
        read(&["b=2"]).set_header(&mut headers);
        assert_eq!(headers[HEADER], "a=1");
    }
}
