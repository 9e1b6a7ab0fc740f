//! A mail server, by SMTP.
//!
//! The stage a conversation has reached says what is certain (RFC 5321): until the server has asked for the text, a broken
//! connection means that nothing was taken; once the text is on its way and no answer comes, nobody knows.

mod compose;
mod connection;
mod url;

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use lettre::transport::smtp::client::Certificate;

use super::{Email, EmailError, EmailProvider, ErrorKind, Sent};
use crate::clock::Clock;
use connection::Server;

/// Hands mails to a mail server, by SMTP (RFC 5321) with submission's rules (RFC 6409).
///
/// ```
/// use omnistack_core::{clock::Clock, email::Smtp};
/// use std::time::Duration;
///
/// # let _runtime = tokio::runtime::Builder::new_current_thread().build().unwrap().enter();
/// let smtp = Smtp::new("smtps://user:pass%40word@smtp.example.com", Clock::system())?
///     .timeout(Duration::from_secs(20))
///     .connections(8);
/// # Ok::<(), omnistack_core::email::EmailError>(())
/// ```
///
/// | URL | means |
/// |---|---|
/// | `smtps://host` | TLS from the first byte, port 465: the best |
/// | `smtp://host` | STARTTLS, and no mail if the server does not offer it; port 587. On this machine without TLS, port 25 |
/// | `smtp://host?tls=required` | STARTTLS, on this machine too |
/// | `smtp://host?tls=none` | no TLS, port 25, and no password either unless it is this machine |
/// | `smtp://user:password@host:2525/name` | with credentials, percent-encoded, a port, and the name to greet with |
///
/// There is no "TLS if it is offered": whoever sits in between would say that it isn't.
///
/// Its id of a mail is the `Message-ID`, made of the idempotency key if there is one, so that a mail sent twice can be told by
/// its receiver. Tags are not sent.
#[derive(Clone)]
pub struct Smtp {
    server: Arc<Server>,
    clock: Clock,
}

impl Smtp {
    /// To the server at this URL. Nothing is opened before the first mail.
    ///
    /// # Errors
    /// [`Configuration`](ErrorKind::Configuration), which says what is wrong with the URL.
    pub fn new(url: &str, clock: Clock) -> Result<Self, EmailError> {
        let target = url::parse(url).map_err(|error| EmailError::new(ErrorKind::Configuration, error))?;
        Ok(Self { server: Arc::new(Server::new(target, clock.clone())?), clock })
    }

    /// How long handing over one mail may take, with everything: 30 s unless said.
    #[must_use]
    pub fn timeout(self, timeout: Duration) -> Self {
        self.changed(|server| server.timeout = timeout)
    }

    /// How many connections there may be at once, and so mails on their way: 4 unless said. At least 1.
    #[must_use]
    pub fn connections(self, connections: usize) -> Self {
        self.changed(|server| server.allow(connections))
    }

    /// Trusts this certificate, in PEM, as well as those the system trusts.
    ///
    /// # Errors
    /// It is no certificate.
    pub fn trust(self, pem: &[u8]) -> Result<Self, EmailError> {
        let configuration = |error| EmailError::new(ErrorKind::Configuration, error);
        let certificate = Certificate::from_pem(pem).map_err(configuration)?;
        let mut server = self.server.again();
        server.trust(certificate).map_err(configuration)?;
        Ok(Self { server: Arc::new(server), ..self })
    }

    fn changed(self, change: impl FnOnce(&mut Server)) -> Self {
        let mut server = self.server.again();
        change(&mut server);
        Self { server: Arc::new(server), ..self }
    }
}

#[async_trait]
impl EmailProvider for Smtp {
    fn name(&self) -> &'static str {
        "smtp"
    }

    async fn send(&self, email: &Email) -> Result<Sent, EmailError> {
        email.check()?;
        let message = compose::message(email, self.clock.now())?;
        self.server.deliver(&message.envelope, &message.text).await?;
        Ok(Sent::by(self.name()).with_id(message.id))
    }
}

impl fmt::Debug for Smtp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Smtp").field(&self.server.to_string()).finish()
    }
}
