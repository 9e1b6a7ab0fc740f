//! Redaction of personal data.

use async_trait::async_trait;

use super::{Guardrail, Refusal};
use crate::{
    call::AiCaller,
    chat::{ChatRequest, Part, Role},
};

/// The guardrail `pii`: replaces e-mail addresses, phone numbers and numbers of payment cards by `[email]`, `[phone]`
/// and `[card]`, in all messages but the app's instructions.
///
/// It knows the usual ways to write them, and neither names nor addresses: an app with stricter duties registers a
/// [`Guardrail`] with a recogniser of its own. Arguments of tools stay as they are, because the tool needs them.
///
/// ```
/// use omnistack_ai::PiiRedactor;
///
/// let text = PiiRedactor::redact("Mail ada@example.org or call +44 20 7946 0958.");
/// assert_eq!(text.as_deref(), Some("Mail [email] or call [phone]."));
/// assert_eq!(PiiRedactor::redact("Order 4711 of 2030-01-31"), None);
/// ```
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct PiiRedactor {}

impl PiiRedactor {
    /// Returns the text with personal data replaced, or `None` if it contains none.
    pub fn redact(text: &str) -> Option<String> {
        let found = Finding::all(text);
        if found.is_empty() {
            return None;
        }
        let (mut redacted, mut from) = (String::with_capacity(text.len()), 0);
        for finding in found {
            redacted.push_str(&text[from..finding.start]);
            redacted.push_str(finding.label);
            from = finding.end;
        }
        redacted.push_str(&text[from..]);
        Some(redacted)
    }
}

#[async_trait]
impl Guardrail for PiiRedactor {
    fn name(&self) -> &'static str {
        "pii"
    }

    async fn check_input(&self, _: &AiCaller, request: &mut ChatRequest) -> Result<(), Refusal> {
        for message in request.messages.iter_mut().filter(|message| message.role != Role::System) {
            redact_parts(&mut message.parts);
        }
        Ok(())
    }
}

fn redact_parts(parts: &mut [Part]) {
    for part in parts {
        match part {
            // Signed reasoning stays as it is, because its provider verifies it.
            Part::Text { text, .. }
            | Part::Refusal(text)
            | Part::Reasoning { text, signature: None, redacted: None } => {
                if let Some(redacted) = PiiRedactor::redact(text) {
                    *text = redacted;
                }
            }
            Part::ToolResult(result) => redact_parts(&mut result.parts),
            _ => {}
        }
    }
}

/// Personal data in a text: the bytes from `start` to `end`, which are ASCII.
#[derive(Debug)]
struct Finding {
    start: usize,
    end: usize,
    label: &'static str,
}

impl Finding {
    /// Returns all in the order of the text.
    fn all(text: &str) -> Vec<Self> {
        let bytes = text.as_bytes();
        let mut found: Vec<Self> = Vec::new();
        let mut at = 0;
        while at < bytes.len() {
            let from = found.last().map_or(0, |last| last.end);
            let finding = match bytes[at] {
                b'@' => email(bytes, from, at),
                b'+' | b'(' | b'0'..=b'9' if starts_number(bytes, at) => number(bytes, at),
                _ => None,
            };
            match finding {
                Some(finding) => {
                    at = finding.end;
                    found.push(finding);
                }
                None => at += 1,
            }
        }
        found
    }
}

/// Returns the e-mail address around an `@`, which does not begin before `from`.
fn email(bytes: &[u8], from: usize, at: usize) -> Option<Finding> {
    let local = |byte: &u8| byte.is_ascii_alphanumeric() || b"._%+-".contains(byte);
    let domain = |byte: &u8| byte.is_ascii_alphanumeric() || b".-".contains(byte);
    let start = at - bytes[from..at].iter().rev().take_while(|byte| local(byte)).count();
    let mut end = at + 1 + bytes[at + 1..].iter().take_while(|byte| domain(byte)).count();
    while bytes[at + 1..end].last().is_some_and(|byte| !byte.is_ascii_alphanumeric()) {
        end -= 1;
    }
    let name = &bytes[at + 1..end];
    let dot = name.iter().rposition(|byte| *byte == b'.')?;
    let top = &name[dot + 1..];
    let valid = start < at && dot > 0 && top.len() >= 2 && top.iter().all(u8::is_ascii_alphabetic);
    valid.then_some(Finding { start, end, label: "[email]" })
}

/// Returns whether a number can begin here: not within a word or another number.
fn starts_number(bytes: &[u8], at: usize) -> bool {
    let before = at.checked_sub(1).map(|before| bytes[before]);
    before.is_none_or(|before| !before.is_ascii_alphanumeric() && !b"_.-+#/".contains(&before))
}

/// Returns the phone number or the number of a card that begins here.
fn number(bytes: &[u8], start: usize) -> Option<Finding> {
    let (mut digits, mut groups, mut end) = (Vec::new(), Vec::new(), start);
    let (mut separators, mut group) = (0, 0);
    for (offset, byte) in bytes[start..].iter().enumerate() {
        match byte {
            b'0'..=b'9' => {
                if separators > 0 && group > 0 {
                    groups.push(group);
                    group = 0;
                }
                digits.push(byte - b'0');
                (group, separators, end) = (group + 1, 0, start + offset + 1);
            }
            b'+' if offset == 0 => {}
            b' ' | b'-' | b'.' | b'(' | b')' if separators < 2 => separators += 1,
            _ => break,
        }
        if digits.len() > 19 {
            return None;
        }
    }
    groups.push(group);
    if bytes.get(end).is_some_and(|after| after.is_ascii_alphanumeric() || *after == b'_') {
        return None;
    }
    let label = match bytes[start] {
        b'+' if (8..=15).contains(&digits.len()) => "[phone]",
        _ if (13..=19).contains(&digits.len()) && passes_luhn(&digits) => "[card]",
        b'(' | b'0' if (9..=13).contains(&digits.len()) && groups.len() > 1 => "[phone]",
        _ if groups == [3, 3, 4] => "[phone]",
        _ => return None,
    };
    Some(Finding { start, end, label })
}

/// Returns whether the last digit is the check digit of the others (ISO/IEC 7812-1, annex B).
fn passes_luhn(digits: &[u8]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(position, digit)| {
            let digit = u32::from(*digit);
            match (position % 2, digit * 2) {
                (0, _) => digit,
                (_, double) if double > 9 => double - 9,
                (_, double) => double,
            }
        })
        .sum();
    sum.is_multiple_of(10)
}

#[cfg(test)]
mod tests {
    use omnistack_core::{clock::Clock, id::Id};

    use super::*;
    use crate::chat::{Message, ToolResult};

    #[tokio::test]
    async fn texts_of_all_kinds_are_redacted() {
        let reasoning = |text: &str, signature: Option<&str>| Part::Reasoning {
            text: text.into(),
            signature: signature.map(Into::into),
            redacted: None,
        };
        let conversation = |text: &str, signed: &str| {
            let refusal = Part::Refusal(text.into());
            let answer = vec![reasoning(text, None), reasoning(signed, Some("s")), Part::text(text), refusal];
            let results = Message::tool_results([ToolResult::text("1", text)]);
            ChatRequest::new("m", [Message::user(text), Message::new(Role::Assistant, answer), results])
        };
        let mut request = conversation("ada@example.org", "ada@example.org");
        let caller = AiCaller::of_tenant(Id::new(Clock::system().now()));
        PiiRedactor::default().check_input(&caller, &mut request).await.unwrap();
        assert_eq!(request, conversation("[email]", "ada@example.org"));
    }

    #[test]
    fn personal_data_is_replaced() {
        for (text, expected) in [
            ("ada@example.org", "[email]"),
            ("<ada.l+x@mail.example.co.uk>.", "<[email]>."),
            ("a@b, é@x.de, x@localhost", "a@b, é@x.de, x@localhost"),
            ("two@a.org;three@b.org", "[email];[email]"),
            ("4111 1111 1111 1111", "[card]"),
            ("card 4111111111111111!", "card [card]!"),
            ("4111 1111 1111 1112", "4111 1111 1111 1112"),
            ("+49 (30) 1234-5678", "[phone]"),
            ("(030) 1234 5678", "[phone]"),
            ("call 415-555-0100 now", "call [phone] now"),
            ("030 1234567", "[phone]"),
            ("2030-01-31 12:30", "2030-01-31 12:30"),
            ("v1.2.3, id_4111111111111111, 0190a7c8", "v1.2.3, id_4111111111111111, 0190a7c8"),
            ("你好 ada@example.org 🌍", "你好 [email] 🌍"),
            ("12345678901234567890123", "12345678901234567890123"),
            ("", ""),
        ] {
            assert_eq!(PiiRedactor::redact(text).as_deref().unwrap_or(text), expected, "{text}");
        }
    }
}
