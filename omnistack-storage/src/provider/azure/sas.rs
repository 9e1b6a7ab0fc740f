//! Shared access signatures for one blob, signed with the account key: "Create a service SAS", version 2020-12-06
//! and later.
//!
//! `object_store` can't be used for this: it signs the path as it is encoded in the URL, but Azure verifies the
//! decoded path and refuses the URLs of keys with spaces or non-ASCII letters. These URLs also set the file name.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use omnistack_core::{clock::Timestamp, crypto::HmacKey, http::Method};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::{Error, ErrorKind, ObjectKey};

const VERSION: &str = "2023-11-03";
const QUERY: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');
const PATH: &AsciiSet = &QUERY.remove(b'/');

/// The parameters of a signed URL, and the key that signs it.
pub(super) struct SasUrl<'a> {
    /// The URL of the account.
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

impl SasUrl<'_> {
    /// Returns the signed URL. Fails if the method is not GET or PUT, or the key is invalid.
    pub(super) fn url(&self) -> Result<String, Error> {
        let permission = match *self.method {
            Method::GET => "r",
            // Create a blob, and overwrite one.
            Method::PUT => "cw",
            _ => return Err(Error::unsupported("signed URLs for methods other than GET and PUT")),
        };
        let until = self.until.to_jiff().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let resource = format!("/blob/{}/{}/{}", self.account, self.container, self.blob);
        let (disposition, content_type) = (self.disposition.unwrap_or_default(), self.content_type.unwrap_or_default());
        let head = [permission, "", &until, &resource, "", "", "", VERSION, "b", "", "", ""];
        let text = [head.as_slice(), &[disposition, "", "", content_type]].concat().join("\n");
        let wrong =
            |error| Error::new(ErrorKind::Configuration, format!("the account key is not valid Base64: {error}"));
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
