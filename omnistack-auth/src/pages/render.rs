//! Renders the pages as HTML.

use std::{collections::BTreeMap, fmt::Write as _};

use omnistack_core::crypto::Sha256;

use super::{PageContext, SCRIPT, STYLE};

const LAYOUT: &str = include_str!("html/layout.html");
const SECOND_FACTOR: &str = include_str!("html/second-factor.html");
const MISSING: &str = include_str!("html/missing.html");

/// Expands to the name, the title and the source of a page.
macro_rules! page {
    ($name:literal, $title:literal) => {
        ($name, $title, include_str!(concat!("html/", $name, ".html")))
    };
}

const PAGES: [(&str, &str, &str); 11] = [
    page!("sign-in", "Sign in"),
    page!("register", "Create your account"),
    page!("verify-email", "Verify your email address"),
    page!("change-email", "Confirm your new email address"),
    page!("forgot-password", "Forgot your password?"),
    page!("reset-password", "Choose a new password"),
    page!("magic-link", "Sign in with a link"),
    page!("second-factor", "Second factor"),
    page!("invitation", "Your invitation"),
    page!("security", "Your account"),
    page!("error", "Sign-in failed"),
];

/// Renders every page. Returns them by name.
pub(super) fn render_all(parts: &PageContext) -> BTreeMap<&'static str, String> {
    let is_served = |name: &str| match name {
        "register" => parts.registration,
        "invitation" => parts.invitations,
        _ => true,
    };
    let served = PAGES.iter().filter(|(name, ..)| is_served(name));
    served.map(|(name, title, source)| (*name, render_page(parts, name, title, source))).collect()
}

fn render_page(parts: &PageContext, name: &str, title: &str, source: &str) -> String {
    let second = fill_template(SECOND_FACTOR, &[("hidden", " hidden")]);
    let (length, shorter) = (parts.min_password_lengths.0.to_string(), parts.min_password_lengths.1.to_string());
    let names = parts.providers.join(",");
    let identities = fill_template(include_str!("html/identities.html"), &[("names", &escape(&names))]);
    let (product, after) = (escape(&parts.product), escape(&parts.after_sign_in));
    let body = fill_template(
        source,
        &[
            ("hidden", ""),
            ("second", &second),
            ("missing", MISSING),
            ("passkey", if parts.passkeys { PASSKEY } else { "" }),
            ("providers", &providers(&parts.providers)),
            ("register", if parts.registration { REGISTER } else { "" }),
            ("passkeys", if parts.passkeys { include_str!("html/passkeys.html") } else { "" }),
            ("phone", if parts.sms_codes { include_str!("html/phone.html") } else { "" }),
            ("identities", if parts.providers.is_empty() { "" } else { &identities }),
            ("length", &length),
            ("shorter", &shorter),
            ("after", &after),
        ],
    );
    let mark: String = parts
        .product
        .chars()
        .find(|letter| letter.is_alphanumeric())
        .map_or("·".into(), |letter| letter.to_uppercase().collect());
    fill_template(
        LAYOUT,
        &[
            ("title", title),
            ("product", &product),
            ("css", &content_hash(STYLE)),
            ("js", &content_hash(SCRIPT)),
            ("class", if name == "security" { "wide" } else { "" }),
            ("page", name),
            ("after", &after),
            ("mark", &escape(&mark)),
            ("body", &body),
        ],
    )
}

const PASSKEY: &str = "<button class=\"button plain\" type=\"button\" data-action=\"passkey\">Use a passkey</button>\n";
const REGISTER: &str = "<p class=\"foot\">New here? <a href=\"/auth/register\" data-keep>Create an account</a></p>";

fn providers(names: &[String]) -> String {
    let mut html = String::new();
    for name in names {
        let shown = match name.as_str() {
            "google" => "Google".to_owned(),
            "github" => "GitHub".to_owned(),
            "microsoft" => "Microsoft".to_owned(),
            other => escape(other),
        };
        let path = escape(name);
        _ = writeln!(
            html,
            "<a class=\"button plain\" href=\"/api/v1/public/auth/oauth/{path}/start\" data-provider=\"{path}\">\
             Continue with {shown}</a>"
        );
    }
    html
}

/// Replaces each `{{name}}` of a source with its value. Values are not searched for names again.
fn fill_template(source: &str, values: &[(&str, &str)]) -> String {
    let mut parts = source.split("{{");
    let mut html = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (name, rest) = part.split_once("}}").unwrap_or((part, ""));
        html.push_str(values.iter().find(|(known, _)| *known == name).map_or("", |(_, value)| value));
        html.push_str(rest);
    }
    html
}

/// Returns a version for the URL of a cached asset: a hash of its content.
fn content_hash(content: &str) -> String {
    Sha256::digest(content).as_bytes()[..8].iter().fold(String::new(), |mut hex, byte| {
        _ = write!(hex, "{byte:02x}");
        hex
    })
}

/// Escapes text for an element or a quoted attribute.
fn escape(plain: &str) -> String {
    let mut html = String::with_capacity(plain.len() + 8);
    for letter in plain.chars() {
        match letter {
            '&' => html.push_str("&amp;"),
            '<' => html.push_str("&lt;"),
            '>' => html.push_str("&gt;"),
            '"' => html.push_str("&quot;"),
            '\'' => html.push_str("&#39;"),
            _ => html.push(letter),
        }
    }
    html
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_settings_say_is_text_and_no_markup() {
        let parts = PageContext {
            product: "<script>alert(1)</script> & \"Söhne\" {{body}}".into(),
            registration: true,
            min_password_lengths: (15, 8),
            passkeys: true,
            sms_codes: true,
            invitations: true,
            providers: vec!["google".into(), "x\"><b>".into()],
            after_sign_in: "/a?b=\"&c".into(),
        };
        for (name, html) in render_all(&parts) {
            assert!(!html.contains("<script>") && !html.contains("x\"><b>"), "{name}: {html}");
            assert!(html.contains("&amp; &quot;Söhne&quot; {{body}}"), "{name}: {html}");
            assert!(html.contains("data-after=\"/a?b=&quot;&amp;c\""), "{name}: {html}");
        }
    }

    #[test]
    fn every_name_in_a_source_stands_for_something() {
        let parts = PageContext {
            product: "Shop".into(),
            registration: false,
            min_password_lengths: (15, 8),
            passkeys: false,
            sms_codes: false,
            invitations: true,
            providers: Vec::new(),
            after_sign_in: "/".into(),
        };
        let pages = render_all(&parts);
        assert_eq!(pages.len(), PAGES.len() - 1, "registration is closed");
        for (name, html) in &pages {
            assert!(!html.contains("{{") && !html.contains("}}"), "{name}");
            // These parts are absent if their feature is off.
            for absent in ["data-action=\"passkey\"", "data-provider", "href=\"/auth/register\""] {
                assert!(!html.contains(absent), "{name}: {absent}");
            }
            for inline in ["style=", " onclick", "<style", "javascript:", "http://", "https://"] {
                assert!(!html.contains(inline), "{name}: {inline}");
            }
        }
        assert!(!pages.contains_key("register"));
    }
}
