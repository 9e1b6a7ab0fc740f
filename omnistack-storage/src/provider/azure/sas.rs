//! Shared access signatures of one blob, with the account's key: "Create a service SAS", version 2020-12-06 and later.
//!
//! By us, since `object_store` signs the path as it is in the address, encoded, and Azure reads it decoded: the links of keys with
//! spaces or letters of other scripts are refused. And these give the file a name.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use omnistack_core::{clock::Timestamp, crypto::HmacKey, http::Method};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::{Error, ErrorKind, ObjectKey};

const VERSION: &str = "2023-11-03";
const QUERY: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');
const PATH: &AsciiSet = &QUERY.remove(b'/');

/// What a link is of, and who signs it.
pub(super) struct Link<'a> {
    /// The account's address.
    pub(super) base: &'a str,
    pub(super) account: &'a str,
    pub(super) container: &'a str,
    pub(super) key: &'a str,
    pub(super) blob: &'a ObjectKey,
    pub(super) method: &'a Method,
    pub(super) until: Timestamp,
    pub(super) disposition: Option<&'a str>,
    pub(super) content_type: Option<&'a str>,
}

impl Link<'_> {
    /// Its address.
    pub(super) fn url(&self) -> Result<String, Error> {
        let permission = match *self.method {
            Method::GET => "r",
            // To make one, and to write over one.
            Method::PUT => "cw",
            _ => return Err(Error::unsupported("links but for reading and storing")),
        };
        let until = self.until.to_jiff().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let resource = format!("/blob/{}/{}/{}", self.account, self.container, self.blob);
        let (disposition, content_type) = (self.disposition.unwrap_or_default(), self.content_type.unwrap_or_default());
        let head = [permission, "", &until, &resource, "", "", "", VERSION, "b", "", "", ""];
        let text = [head.as_slice(), &[disposition, "", "", content_type]].concat().join("\n");
        let wrong = |error| Error::new(ErrorKind::Configuration, format!("the account's key: {error}"));
        let key = STANDARD.decode(self.key).map_err(|error| wrong(error.to_string()))?;
        let signature = STANDARD.encode(HmacKey::new(&key)?.sign(text).as_bytes());
        let pairs = [
            ("sv", VERSION),
            ("sp", permission),
            ("se", &until),
            ("sr", "b"),
            ("rscd", disposition),
            ("rsct", content_type),
            ("sig", &signature),
        ];
        let pairs = pairs.iter().filter(|(_, value)| !value.is_empty());
        let pairs: Vec<_> =
            pairs.map(|(name, value)| format!("{name}={}", utf8_percent_encode(value, QUERY))).collect();
        let path = utf8_percent_encode(self.blob.as_str(), PATH);
        Ok(format!("{}/{}/{path}?{}", self.base, self.container, pairs.join("&")))
    }
}
