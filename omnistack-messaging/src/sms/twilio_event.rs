//! The parameters of a webhook of Twilio.

use serde_json::Value;

use omnistack_core::crypto::Sha256;

/// Largest length of a status of Twilio, in bytes.
const MAX_STATUS_BYTES: usize = 50;

/// A webhook of Twilio: the parameters of its form, or the fields of its JSON object.
pub(super) struct TwilioEvent {
    parameters: Vec<(String, String)>,
    is_json: bool,
}

impl TwilioEvent {
    /// Reads a request. Its body is JSON if the query of the URL contains its hash as `bodySHA256`, and a form
    /// otherwise.
    pub(super) fn read(url: &str, body: &[u8]) -> Self {
        let is_json = contains_hash(url, body);
        let parameters = if is_json { fields(body) } else { form_urlencoded::parse(body).into_owned().collect() };
        Self { parameters, is_json }
    }

    /// Returns the parameters that are signed besides the URL. A JSON body has none, because the URL contains its hash.
    pub(super) fn signed_parameters(&self) -> &[(String, String)] {
        if self.is_json { &[] } else { &self.parameters }
    }

    /// Returns the value of a parameter, unless it is empty or can't be stored.
    pub(super) fn value(&self, name: &str) -> Option<&str> {
        let found = self.parameters.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
        found.filter(|value| !value.is_empty() && !value.contains('\0'))
    }

    /// Returns Twilio's id of the message.
    pub(super) fn sid(&self) -> Option<&str> {
        self.value("MessageSid").or_else(|| self.value("SmsSid"))
    }

    /// Returns the type: `opt_out`, `message.` and a status, `message.received`, or `other`.
    pub(super) fn kind(&self) -> String {
        let is_status = |status: &&str| {
            let letters = status.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_' || byte == b'-');
            letters && status.len() <= MAX_STATUS_BYTES
        };
        let status = self.value("MessageStatus").or_else(|| self.value("SmsStatus"));
        match status {
            _ if self.value("OptOutType").is_some() => "opt_out".to_owned(),
            Some(status) => Some(status).filter(is_status).map_or("other".to_owned(), |of| format!("message.{of}")),
            None if self.sid().is_some() => "message.received".to_owned(),
            None => "other".to_owned(),
        }
    }
}

/// Returns whether the query contains the hash of the body.
fn contains_hash(url: &str, body: &[u8]) -> bool {
    let query = url.split_once('?').map_or("", |(_, query)| query);
    let hash = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "bodySHA256");
    hash.and_then(|(_, hash)| hash.parse::<Sha256>().ok()).is_some_and(|hash| hash.matches(body))
}

/// Returns the fields of a JSON object that are texts, numbers or truth values.
fn fields(body: &[u8]) -> Vec<(String, String)> {
    let Ok(Value::Object(fields)) = serde_json::from_slice(body) else { return Vec::new() };
    let text = |(name, value): (String, Value)| match value {
        Value::String(text) => Some((name, text)),
        Value::Number(_) | Value::Bool(_) => Some((name, value.to_string())),
        _ => None,
    };
    fields.into_iter().filter_map(text).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_have_a_type() {
        for (form, kind, sid) in [
            ("MessageSid=SM1&MessageStatus=delivered&SmsSid=SM2", "message.delivered", Some("SM1")),
            ("SmsSid=SM2&SmsStatus=received", "message.received", Some("SM2")),
            ("MessageSid=SM1&Body=Hello", "message.received", Some("SM1")),
            ("MessageSid=SM1&SmsStatus=received&OptOutType=STOP", "opt_out", Some("SM1")),
            ("MessageSid=SM1&MessageStatus=new-status", "message.new-status", Some("SM1")),
            ("MessageSid=SM1&MessageStatus=Not.A+Status", "other", Some("SM1")),
            ("CallSid=CA1&CallStatus=completed", "other", None),
            ("", "other", None),
        ] {
            let event = TwilioEvent::read("https://example.com", form.as_bytes());
            assert_eq!((event.kind().as_str(), event.sid()), (kind, sid), "{form}");
        }
    }

    #[test]
    fn a_body_is_json_if_the_url_contains_its_hash() {
        let body = br#"{"MessageSid":"SM1","MessageStatus":"sent","ErrorCode":30003,"Ok":true,"Media":[1]}"#;
        let url = format!("https://example.com/?a=b&bodySHA256={}", Sha256::digest(body));
        let event = TwilioEvent::read(&url, body);
        assert_eq!((event.sid(), event.kind().as_str()), (Some("SM1"), "message.sent"));
        assert_eq!(
            (event.value("ErrorCode"), event.value("Ok"), event.value("Media")),
            (Some("30003"), Some("true"), None)
        );
        assert!(event.signed_parameters().is_empty());
        // Otherwise everything in the body is signed.
        for (url, body) in
            [(url.as_str(), &body[1..]), ("https://example.com/?bodySHA256=0", &body[..]), ("/", &body[..])]
        {
            let event = TwilioEvent::read(url, body);
            assert_eq!((event.signed_parameters().len(), event.sid()), (1, None));
        }
        // Event streams send lists.
        let list = b"[{}]".as_slice();
        let event = TwilioEvent::read(&format!("/?bodySHA256={}", Sha256::digest(list)), list);
        assert_eq!((event.kind().as_str(), event.signed_parameters().len()), ("other", 0));
    }
}
