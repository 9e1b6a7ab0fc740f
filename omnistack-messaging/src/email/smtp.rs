//! The SMTP provider.
//!
//! What an error means depends on the stage of the SMTP session (RFC 5321). Until the server has accepted `DATA`, a
//! broken connection means that the mail was not accepted. Once the text is being sent and no response arrives, the
//! outcome is unknown.

mod compose;
mod connection;
mod url;

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use lettre::transport::smtp::client::Certificate;

use super::{Email, EmailError, EmailErrorKind, EmailProvider, SentMail};
use connection::SmtpServer;
use omnistack_core::clock::Clock;

/// A provider that sends mails to a mail server, by SMTP (RFC 5321) with the rules of message submission (RFC
/// 6409).
///
/// ```
/// use omnistack_core::clock::Clock;
/// use omnistack_messaging::email::Smtp;
/// use std::time::Duration;
///
/// # let _runtime = tokio::runtime::Builder::new_current_thread().build().unwrap().enter();
/// let smtp = Smtp::new("smtps://user:pass%40word@smtp.example.com", Clock::system())?
///     .timeout(Duration::from_secs(20))
///     .connections(8);
/// # Ok::<(), omnistack_core::email::EmailError>(())
/// ```
///
/// | URL | meaning |
/// |---|---|
/// | `smtps://host` | TLS from the first byte, port 465; recommended |
/// | `smtp://host` | STARTTLS, port 587; fails if the server does not offer it. On this machine: no TLS, port 25 |
/// | `smtp://host?tls=required` | STARTTLS, on this machine too |
/// | `smtp://host?tls=none` | no TLS, port 25; a password is only allowed on this machine |
/// | `smtp://user:password@host:2525/name` | with percent-encoded credentials, a port, and the name for `EHLO` |
///
/// There is no opportunistic TLS ("TLS if it is offered"), because an attacker on the network could remove the
/// offer.
///
/// [`SentMail::id`] is the `Message-ID`. It is derived from the idempotency key if there is one, so that the
/// recipient's mail program can recognise a mail that was sent twice. Tags are not sent.
#[derive(Clone)]
pub struct Smtp {
    server: Arc<SmtpServer>,
    clock: Clock,
}

impl Smtp {
    /// Creates a provider for the server at this URL. Connections are opened when mails are sent.
    ///
    /// # Errors
    /// Returns [`EmailErrorKind::Configuration`] with the reason if the URL is not valid.
    pub fn new(url: &str, clock: Clock) -> Result<Self, EmailError> {
        let target = url::parse(url).map_err(|error| EmailError::new(EmailErrorKind::Configuration, error))?;
        Ok(Self { server: Arc::new(SmtpServer::new(target, clock.clone())?), clock })
    }

    /// Sets how long sending one mail may take in all, with the wait for a connection. Default: 30 s.
    #[must_use]
    pub fn timeout(self, timeout: Duration) -> Self {
        self.with_server(|server| server.timeout = timeout)
    }

    /// Sets the largest number of concurrent connections, and so of mails sent at the same time. Default: 4; at
    /// least 1.
    #[must_use]
    pub fn connections(self, connections: usize) -> Self {
        self.with_server(|server| server.set_max_connections(connections))
    }

    /// Trusts this certificate, in PEM, in addition to those that the system trusts.
    ///
    /// # Errors
    /// Returns [`EmailErrorKind::Configuration`] if the text is not a PEM certificate.
    pub fn trust(self, pem: &[u8]) -> Result<Self, EmailError> {
        let configuration = |error| EmailError::new(EmailErrorKind::Configuration, error);
        let certificate = Certificate::from_pem(pem).map_err(configuration)?;
        let mut server = self.server.clone_without_connections();
        server.trust(certificate).map_err(configuration)?;
        Ok(Self { server: Arc::new(server), ..self })
    }

    fn with_server(self, change: impl FnOnce(&mut SmtpServer)) -> Self {
        let mut server = self.server.clone_without_connections();
        change(&mut server);
        Self { server: Arc::new(server), ..self }
    }
}

#[async_trait]
impl EmailProvider for Smtp {
    fn name(&self) -> &'static str {
        "smtp"
    }

    async fn send(&self, email: &Email) -> Result<SentMail, EmailError> {
        email.check()?;
        let message = compose::message(email, self.clock.now())?;
        self.server.deliver(&message.envelope, &message.text).await?;
        Ok(SentMail::new(self.name()).with_provider_id(message.id))
    }

    /// Sends `NOOP` on an idle connection, or opens a connection, which includes TLS and authentication.
    async fn check_connection(&self) -> Result<(), EmailError> {
        self.server.check_connection().await
    }
}

impl fmt::Debug for Smtp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Smtp").field(&self.server.to_string()).finish()
    }
}
