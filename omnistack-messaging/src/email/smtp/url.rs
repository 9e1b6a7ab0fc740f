//! Parses the URL of a mail server.

use percent_encoding::percent_decode_str;
use reqwest::Url;

/// The encryption of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encryption {
    /// TLS from the first byte.
    Tls,
    /// STARTTLS, which the server must offer.
    StartTls,
    /// No TLS.
    None,
}

/// The mail server that a URL names.
#[derive(Clone)]
pub(super) struct SmtpTarget {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) encryption: Encryption,
    /// User name and password.
    pub(super) credentials: Option<(String, String)>,
    /// The name for `EHLO`.
    pub(super) ehlo_name: Option<String>,
}

const EXPECTED: &str = "expected smtps://user:password@host or smtp://user:password@host:port?tls=required (or none)";

pub(super) fn parse(text: &str) -> Result<SmtpTarget, &'static str> {
    // Parsed like an `http` URL, so that the host is normalized: lower case, and international names in ASCII.
    let (scheme, rest) = text.split_once("://").ok_or(EXPECTED)?;
    let url: Url = format!("http://{rest}").parse().map_err(|_| EXPECTED)?;
    let host = url.host_str().map(|host| host.trim_matches(['[', ']'])).ok_or(EXPECTED)?.to_owned();
    let local = host == "localhost" || host.parse().is_ok_and(|address: std::net::IpAddr| address.is_loopback());
    let mut tls = None;
    for (name, value) in url.query_pairs() {
        match (&*name, &*value) {
            ("tls", "required") => tls = Some(Encryption::StartTls),
            ("tls", "none") => tls = Some(Encryption::None),
            _ => return Err("the only parameter is tls=required or tls=none"),
        }
    }
    let encryption = match (scheme, tls) {
        ("smtps", None | Some(Encryption::StartTls)) => Encryption::Tls,
        ("smtps", Some(_)) => return Err("smtps:// always uses TLS, so it can't be tls=none"),
        ("smtp", Some(tls)) => tls,
        ("smtp", None) if local => Encryption::None,
        ("smtp", None) => Encryption::StartTls,
        _ => return Err(EXPECTED),
    };
    let port = match (explicit_port(rest), encryption) {
        (Some(port), _) => port,
        (None, Encryption::Tls) => 465,
        (None, Encryption::StartTls) => 587,
        (None, Encryption::None) => 25,
    };
    let decoded = |text: &str| percent_decode_str(text).decode_utf8().map(Into::into).map_err(|_| EXPECTED);
    let credentials = match (url.username(), url.password()) {
        ("", None) => None,
        (_, None) => return Err("a user name needs a password: smtps://user:password@host"),
        (name, Some(password)) => Some((decoded(name)?, decoded(password)?)),
    };
    if credentials.is_some() && encryption == Encryption::None && !local {
        return Err("a password is not sent without TLS: use smtps://, or tls=required");
    }
    let name: String = decoded(url.path().trim_matches('/'))?;
    if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-".contains(&byte)) {
        return Err("the name in the path, which is sent with EHLO, must be a host name");
    }
    Ok(SmtpTarget { host, port, encryption, credentials, ehlo_name: Some(name).filter(|name| !name.is_empty()) })
}

/// Returns the port if the URL has one. An `http` URL would drop port 80, its default.
fn explicit_port(rest: &str) -> Option<u16> {
    let authority = rest.split(['/', '?', '#']).next()?;
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let port = host.rsplit_once(':')?.1;
    port.parse().ok()
}
