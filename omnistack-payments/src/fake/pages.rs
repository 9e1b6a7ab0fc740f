//! The pages of the fake, on which payers pay: plain HTML without scripts, with forms that this app receives.

mod checkout;
mod portal;

use std::collections::BTreeMap;

use axum::{
    body::Bytes,
    response::{Html, IntoResponse as _, Response},
    routing::get,
};
use http::{HeaderValue, StatusCode, Uri, header};
use omnistack_core::{http::Error, module::Api, payment::PaymentError};

use super::{
    FakeBank,
    card::{CARDS, TestCard},
};

/// Returns the routes under [`PAGES`](super::PAGES).
pub(super) fn routes() -> Api<FakeBank> {
    Api::new()
        .hidden("/checkout/{id}", get(checkout::show_checkout).post(checkout::submit_checkout))
        .hidden("/payment/{id}", get(checkout::show_payment).post(checkout::submit_payment))
        .hidden("/invoice/{id}", get(checkout::show_invoice).post(checkout::submit_invoice))
        .hidden("/portal/{id}", get(portal::show).post(portal::submit))
}

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:32rem;margin:3rem auto;padding:0 1rem}\
    h1{font-size:1.4rem}h2{font-size:1.1rem;margin-top:2rem}form{margin:1rem 0}select,input,button{font:inherit;\
    padding:.5rem;margin:.25rem .25rem .25rem 0}button{cursor:pointer}.note{background:#fff4d6;padding:.5rem 1rem}\
    .bad{background:#fde2e2;padding:.5rem 1rem}";

/// Returns a page. Its forms may lead to the app and to the origins of `targets`.
fn page(status: StatusCode, title: &str, body: &str, targets: &[&str]) -> Response {
    let origins = targets.iter().filter_map(|target| origin(target));
    let origins = origins.fold(String::new(), |all, origin| format!("{all} {origin}"));
    let policy = format!(
        "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'self'{origins}; \
         frame-ancestors 'none'"
    );
    let html = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n\
         <meta name=\"robots\" content=\"noindex\">\n<title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n\
         <h1>{title}</h1>\n<p class=\"note\">These are test payments. No money is moved.</p>\n{body}\n</body>\n\
         </html>\n",
        title = escape(title),
    );
    let policy = HeaderValue::try_from(policy).unwrap_or(HeaderValue::from_static("default-src 'none'"));
    (status, [(header::CONTENT_SECURITY_POLICY, policy)], Html(html)).into_response()
}

/// Returns the origin of a URL of the web.
fn origin(url: &str) -> Option<String> {
    let uri: Uri = url.parse().ok()?;
    let scheme = uri.scheme_str().filter(|scheme| ["http", "https"].contains(scheme))?;
    // A semicolon would begin another directive of the policy.
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || ".-:[]".contains(letter);
    let authority = uri.authority().filter(|authority| authority.as_str().chars().all(is_plain))?;
    Some(format!("{scheme}://{authority}"))
}

/// Returns the response that leads a browser to another page.
fn see_other(url: &str) -> Result<Response, Error> {
    let location = HeaderValue::try_from(url).map_err(|_| {
        Error::conflict("RETURN_URL_INVALID", "the page to return to is no URL; go back to the app yourself")
    })?;
    Ok((StatusCode::SEE_OTHER, [(header::LOCATION, location)]).into_response())
}

/// Returns the fields of a form.
fn fields(body: &Bytes) -> BTreeMap<String, String> {
    form_urlencoded::parse(body).into_owned().collect()
}

/// Returns the response for an error of the fake.
fn failed(error: PaymentError) -> Error {
    let message = error.to_string();
    match error {
        PaymentError::NotFound { .. } => Error::not_found("the page"),
        PaymentError::Unavailable { .. } => Error::unavailable("FAKE_PAYMENTS_UNAVAILABLE", message),
        _ => Error::conflict("FAKE_PAYMENTS_REJECTED", message),
    }
}

/// Returns the field for the choice of a card.
fn card_field() -> String {
    let option = |card: TestCard| {
        let TestCard { token, label, .. } = card;
        format!("<option value=\"{token}\">…{} {}</option>", card.last_digits(), escape(label))
    };
    let options: String = CARDS.map(option).concat();
    format!("<label for=\"card\">Test card</label> <select id=\"card\" name=\"card\">{options}</select>")
}

/// Returns a button of a form.
fn button(action: &str, label: &str) -> String {
    format!("<button name=\"action\" value=\"{action}\">{}</button>", escape(label))
}

/// Returns a message about what failed.
fn alert(message: &str) -> String {
    format!("<p class=\"bad\" role=\"alert\">{}</p>", escape(message))
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
    fn forms_may_lead_to_the_origin_of_the_app() {
        for (url, expected) in [
            ("https://app.example.com/billing?paid=1", Some("https://app.example.com")),
            ("http://localhost:5173/", Some("http://localhost:5173")),
            ("javascript:alert(1)", None),
            ("ftp://app.example.com/", None),
            ("https://user@app.example.com/", None),
            ("https://app.example.com;script-src/", None),
            ("http://[::1]:8080/", Some("http://[::1]:8080")),
            ("/billing", None),
            ("", None),
        ] {
            assert_eq!(origin(url).as_deref(), expected, "{url}");
        }
        let response = page(StatusCode::OK, "<Pay>", "", &["https://app.example.com/x;y", "/x"]);
        let policy = response.headers()[header::CONTENT_SECURITY_POLICY].to_str().unwrap();
        assert!(policy.contains("form-action 'self' https://app.example.com;"), "{policy}");
    }

    #[test]
    fn text_of_the_app_is_no_markup() {
        assert_eq!(escape("<b>\"Söhne\" & 'Co'</b>"), "&lt;b&gt;&quot;Söhne&quot; &amp; &#39;Co&#39;&lt;/b&gt;");
    }
}
