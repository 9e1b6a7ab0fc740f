//! AWS Signature Version 4: presigned requests, upload forms, and the requests that `object_store` does not make.
//!
//! Implements "Authenticating Requests (AWS Signature Version 4)" of the S3 documentation: by header, by query
//! parameters and by the policy of a form. Paths are encoded once, which only S3 requires.
//!
//! Presigned requests do not come from `object_store` (0.14), because its `signed_url_opts` refuses to sign
//! `content-length`, which enforces the size of a direct upload, and takes the time from the system instead of the
//! app's clock.

use std::{collections::BTreeMap, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use omnistack_core::{
    clock::Timestamp,
    crypto::{HmacKey, Sha256},
};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::json;

use crate::{Error, ObjectKey, object::PostPolicy};

/// The characters that are percent-encoded: all but the unreserved ones (RFC 3986, section 2.3).
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');
const PATH: &AsciiSet = &ENCODED.remove(b'/');

const UNSIGNED: &str = "UNSIGNED-PAYLOAD";

/// The credentials, the region and the time of a signature.
pub(crate) struct SigV4Signer<'a> {
    pub(crate) key_id: &'a str,
    pub(crate) secret: &'a str,
    pub(crate) token: Option<&'a str>,
    pub(crate) region: &'a str,
    pub(crate) now: Timestamp,
}

/// A request for an object that is signed. Its path is encoded.
pub(crate) struct SignableRequest<'a> {
    pub(crate) method: &'a str,
    /// The host, with its port if that is not the default of the scheme.
    pub(crate) host: &'a str,
    pub(crate) path: &'a str,
    pub(crate) query: Vec<(String, String)>,
    /// The headers by their names in lower case, without `host`.
    pub(crate) headers: BTreeMap<String, String>,
}

pub(crate) fn encode_path(key: &str) -> String {
    utf8_percent_encode(key, PATH).to_string()
}

fn encode(text: &str) -> String {
    utf8_percent_encode(text, ENCODED).to_string()
}

fn sorted(query: &[(String, String)]) -> String {
    let mut pairs: Vec<_> = query.iter().map(|(name, value)| (encode(name), encode(value))).collect();
    pairs.sort();
    let pairs: Vec<_> = pairs.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
    pairs.join("&")
}

impl SigV4Signer<'_> {
    fn date(&self) -> String {
        self.now.to_jiff().strftime("%Y%m%d").to_string()
    }

    fn time(&self) -> String {
        self.now.to_jiff().strftime("%Y%m%dT%H%M%SZ").to_string()
    }

    fn scope(&self) -> String {
        format!("{}/{}/s3/aws4_request", self.date(), self.region)
    }

    fn credential(&self) -> String {
        format!("{}/{}", self.key_id, self.scope())
    }

    fn sign(&self, text: &str) -> Result<String, Error> {
        let mut key = format!("AWS4{}", self.secret).into_bytes();
        for part in [self.date().as_str(), self.region, "s3", "aws4_request"] {
            key = HmacKey::new(&key)?.sign(part).as_bytes().to_vec();
        }
        Ok(HmacKey::new(&key)?.sign(text).to_hex())
    }

    /// Returns the signature of a request. `signed` has the names of the signed headers, `payload` the hash of
    /// the body.
    fn signature(&self, request: &SignableRequest<'_>, signed: &str, payload: &str) -> Result<String, Error> {
        let mut headers = request.headers.clone();
        headers.insert("host".into(), request.host.into());
        let lines = headers.iter().flat_map(|(name, value)| [name.as_str(), ":", value.trim(), "\n"]);
        let headers: String = lines.collect();
        let query = sorted(&request.query);
        let canonical = format!("{}\n{}\n{query}\n{headers}\n{signed}\n{payload}", request.method, request.path);
        let text = format!("AWS4-HMAC-SHA256\n{}\n{}\n{}", self.time(), self.scope(), Sha256::digest(canonical));
        self.sign(&text)
    }

    fn signed_header_names(request: &SignableRequest<'_>) -> String {
        let mut names: Vec<_> = request.headers.keys().map(String::as_str).chain(["host"]).collect();
        names.sort_unstable();
        names.join(";")
    }

    /// Returns the query of a presigned request, without the leading `?`.
    pub(crate) fn presigned_query(
        &self,
        mut request: SignableRequest<'_>,
        expires_in: Duration,
    ) -> Result<String, Error> {
        let names = Self::signed_header_names(&request);
        let mut add = |name: &str, value: String| request.query.push((name.into(), value));
        add("X-Amz-Algorithm", "AWS4-HMAC-SHA256".into());
        add("X-Amz-Credential", self.credential());
        add("X-Amz-Date", self.time());
        add("X-Amz-Expires", expires_in.as_secs().to_string());
        add("X-Amz-SignedHeaders", names.clone());
        if let Some(token) = self.token {
            add("X-Amz-Security-Token", token.into());
        }
        let signature = self.signature(&request, &names, UNSIGNED)?;
        Ok(format!("{}&X-Amz-Signature={signature}", sorted(&request.query)))
    }

    /// Returns the headers of a signed request with a body.
    pub(crate) fn headers(
        &self,
        mut request: SignableRequest<'_>,
        body: &[u8],
    ) -> Result<BTreeMap<String, String>, Error> {
        let payload = Sha256::digest(body).to_string();
        request.headers.insert("x-amz-date".into(), self.time());
        request.headers.insert("x-amz-content-sha256".into(), payload.clone());
        if let Some(token) = self.token {
            request.headers.insert("x-amz-security-token".into(), token.into());
        }
        let names = Self::signed_header_names(&request);
        let signature = self.signature(&request, &names, &payload)?;
        let credential = self.credential();
        let authorization =
            format!("AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders={names}, Signature={signature}");
        request.headers.insert("authorization".into(), authorization);
        Ok(request.headers)
    }

    /// Returns the fields of an upload form.
    pub(crate) fn form(
        &self,
        bucket: &str,
        key: &ObjectKey,
        policy: &PostPolicy,
    ) -> Result<BTreeMap<String, String>, Error> {
        let mut fields = BTreeMap::from([
            ("key".to_owned(), key.to_string()),
            ("x-amz-algorithm".to_owned(), "AWS4-HMAC-SHA256".to_owned()),
            ("x-amz-credential".to_owned(), self.credential()),
            ("x-amz-date".to_owned(), self.time()),
        ]);
        if let Some(token) = self.token {
            fields.insert("x-amz-security-token".into(), token.into());
        }
        if let Some(content_type) = &policy.content_type {
            fields.insert("Content-Type".into(), content_type.clone());
        }
        let mut conditions: Vec<_> =
            fields.iter().map(|(name, value)| json!(["eq", format!("${name}"), value])).collect();
        conditions.push(json!({ "bucket": bucket }));
        conditions.push(json!(["content-length-range", 0, policy.max_size]));
        let expires = (self.now + policy.expires_in).to_jiff().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let document = json!({ "expiration": expires, "conditions": conditions });
        let encoded = STANDARD.encode(document.to_string());
        fields.insert("x-amz-signature".into(), self.sign(&encoded)?);
        fields.insert("policy".into(), encoded);
        Ok(fields)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signer() -> SigV4Signer<'static> {
        SigV4Signer {
            key_id: "AKIAIOSFODNN7EXAMPLE",
            secret: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
            token: None,
            region: "us-east-1",
            now: "2013-05-24T00:00:00Z".parse().unwrap(),
        }
    }

    fn request<'a>(path: &'a str, headers: &[(&str, &str)]) -> SignableRequest<'a> {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        SignableRequest {
            method: "GET",
            host: "examplebucket.s3.amazonaws.com",
            path,
            query: Vec::new(),
            headers: headers.collect(),
        }
    }

    /// The examples of the S3 documentation.
    #[test]
    fn signatures_match_the_documented_examples() {
        let link = signer().presigned_query(request("/test.txt", &[]), Duration::from_secs(86_400)).unwrap();
        assert!(link.ends_with("aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404"), "{link}");
        let headers = signer().headers(request("/test.txt", &[("range", "bytes=0-9")]), b"").unwrap();
        let signed = "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41";
        assert!(headers["authorization"].ends_with(signed), "{headers:?}");
    }

    #[test]
    fn keys_are_encoded_once() {
        assert_eq!(encode_path("a b/Grüße~(1)+.txt"), "a%20b/Gr%C3%BC%C3%9Fe~%281%29%2B.txt");
    }
}
