//! SMTP sessions with a mail server, and the pool of idle connections.

use std::{
    fmt,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use lettre::{
    address::Envelope,
    transport::smtp::{
        Error,
        authentication::{Credentials, DEFAULT_MECHANISMS},
        client::{AsyncSmtpConnection, Certificate, TlsParameters},
        commands::{Data, Mail, Noop, Rcpt, Rset},
        extension::ClientId,
    },
};
use tokio::{sync::Semaphore, time::timeout};

use super::url::{Encryption, SmtpTarget};
use crate::email::{EmailError, EmailErrorKind};
use omnistack_core::clock::Clock;

/// Longest time for which an idle connection may be reused. Servers close idle connections after a while.
const MAX_IDLE_TIME: Duration = Duration::from_secs(30);

/// The stage of an SMTP session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SmtpStage {
    /// Waiting for a free connection.
    Queue,
    /// Opening a connection, which includes the greeting.
    Connect,
    /// Starting TLS.
    Encrypt,
    /// Authenticating with the user name and password.
    Authenticate,
    /// Sending `MAIL`, `RCPT` and `DATA`.
    Envelope,
    /// Sending the text, and waiting for the response to it.
    Text,
}

impl SmtpStage {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Queue => "waiting for a connection",
            Self::Connect => "connecting",
            Self::Encrypt => "encrypting",
            Self::Authenticate => "authenticating",
            Self::Envelope => "sending the envelope",
            Self::Text => "sending the text",
        }
    }
}

/// A mail server, with its idle connections.
pub(super) struct SmtpServer {
    target: SmtpTarget,
    pub(super) timeout: Duration,
    tls: Option<TlsParameters>,
    clock: Clock,
    max_connections: usize,
    permits: Semaphore,
    idle: Mutex<Vec<IdleConnection>>,
}

struct IdleConnection {
    connection: AsyncSmtpConnection,
    since: Duration,
}

impl SmtpServer {
    pub(super) fn new(target: SmtpTarget, clock: Clock) -> Result<Self, EmailError> {
        let tls = match target.encryption {
            Encryption::None => None,
            Encryption::Tls | Encryption::StartTls => {
                let tls = TlsParameters::new(target.host.clone());
                Some(tls.map_err(|error| EmailError::new(EmailErrorKind::Configuration, error))?)
            }
        };
        Ok(Self {
            target,
            timeout: Duration::from_secs(30),
            tls,
            clock,
            max_connections: 4,
            permits: Semaphore::new(4),
            idle: Mutex::default(),
        })
    }

    /// Returns the same server without its connections.
    pub(super) fn clone_without_connections(&self) -> Self {
        Self {
            target: self.target.clone(),
            timeout: self.timeout,
            tls: self.tls.clone(),
            clock: self.clock.clone(),
            max_connections: self.max_connections,
            permits: Semaphore::new(self.max_connections),
            idle: Mutex::default(),
        }
    }

    pub(super) fn set_max_connections(&mut self, connections: usize) {
        self.max_connections = connections.clamp(1, Semaphore::MAX_PERMITS);
        self.permits = Semaphore::new(self.max_connections);
    }

    pub(super) fn trust(&mut self, certificate: Certificate) -> Result<(), Error> {
        if self.tls.is_some() {
            let tls = TlsParameters::builder(self.target.host.clone()).add_root_certificate(certificate);
            self.tls = Some(tls.build()?);
        }
        Ok(())
    }

    /// Sends one mail. Fails after the timeout, with [`ErrorKind::Unknown`] if the text was being sent and
    /// [`ErrorKind::Unavailable`] otherwise.
    pub(super) async fn deliver(&self, envelope: &Envelope, text: &[u8]) -> Result<(), EmailError> {
        let mut stage = SmtpStage::Queue;
        match timeout(self.timeout, self.run_session(envelope, text, &mut stage)).await {
            Ok(outcome) => outcome,
            // The connection is closed: dropping the future dropped it.
            Err(_) => Err(EmailError::new(
                if stage == SmtpStage::Text { EmailErrorKind::Unknown } else { EmailErrorKind::Unavailable },
                format!("no response within {:?} while {}", self.timeout, stage.as_str()),
            )),
        }
    }

    /// Uses an idle connection that responds to `NOOP`, or opens one, and keeps it for the next mail. Fails after the
    /// timeout, with [`EmailErrorKind::Unavailable`].
    pub(super) async fn check_connection(&self) -> Result<(), EmailError> {
        let mut stage = SmtpStage::Queue;
        let check = async {
            // The semaphore is never closed, so this never fails.
            let _permit = self.permits.acquire().await;
            let connection = match self.idle_connection().await {
                Some(connection) => connection,
                None => self.open(&mut stage).await?,
            };
            self.return_to_pool(connection);
            Ok::<_, EmailError>(())
        };
        timeout(self.timeout, check).await.unwrap_or_else(|_| {
            let message = format!("no connection within {:?}", self.timeout);
            Err(EmailError::new(EmailErrorKind::Unavailable, message))
        })
    }

    async fn run_session(&self, envelope: &Envelope, text: &[u8], stage: &mut SmtpStage) -> Result<(), EmailError> {
        // The semaphore is never closed, so this never fails.
        let _permit = self.permits.acquire().await;
        let mut connection = match self.idle_connection().await {
            Some(connection) => connection,
            None => self.open(stage).await?,
        };
        match transaction(&mut connection, envelope, text, stage).await {
            Ok(()) => {
                self.return_to_pool(connection);
                Ok(())
            }
            Err(error) => {
                let means = error_kind(&error, *stage);
                // After an error response the connection can still be used, except after 421, with which the server
                // closes it.
                let code = error.status().map_or(0, u16::from);
                if code != 0 && code != 421 && connection.command(Rset).await.is_ok() {
                    self.return_to_pool(connection);
                }
                Err(EmailError::new(means, SmtpStageError { stage: *stage, error }))
            }
        }
    }

    /// Returns an idle connection that still works. Closes the others that it tries.
    async fn idle_connection(&self) -> Option<AsyncSmtpConnection> {
        loop {
            let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop()?;
            let rested = self.clock.elapsed().saturating_sub(idle.since);
            let mut connection = idle.connection;
            // A working server responds to `NOOP` well within a second.
            let asked = timeout(Duration::from_secs(1), connection.command(Noop));
            if rested < MAX_IDLE_TIME && matches!(asked.await, Ok(Ok(_))) {
                return Some(connection);
            }
        }
    }

    fn return_to_pool(&self, connection: AsyncSmtpConnection) {
        let since = self.clock.elapsed();
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(IdleConnection { connection, since });
    }

    async fn open(&self, stage: &mut SmtpStage) -> Result<AsyncSmtpConnection, EmailError> {
        let SmtpTarget { host, port, encryption, credentials, ehlo_name: name } = &self.target;
        *stage = SmtpStage::Connect;
        let name = name.clone().map_or_else(ClientId::default, ClientId::Domain);
        let whole = self.tls.clone().filter(|_| *encryption == Encryption::Tls);
        let connected = AsyncSmtpConnection::connect_tokio1((host.as_str(), *port), None, &name, whole, None).await;
        let failed = |stage: SmtpStage| {
            move |error: Error| EmailError::new(error_kind(&error, stage), SmtpStageError { stage, error })
        };
        let mut connection = connected.map_err(failed(*stage))?;
        if let (Encryption::StartTls, Some(tls)) = (encryption, &self.tls) {
            *stage = SmtpStage::Encrypt;
            connection.starttls(tls.clone(), &name).await.map_err(failed(*stage))?;
        }
        if let Some((user, password)) = credentials {
            *stage = SmtpStage::Authenticate;
            let credentials = Credentials::new(user.clone(), password.clone());
            connection.auth(DEFAULT_MECHANISMS, &credentials).await.map_err(failed(*stage))?;
        }
        Ok(connection)
    }
}

async fn transaction(
    connection: &mut AsyncSmtpConnection,
    envelope: &Envelope,
    text: &[u8],
    stage: &mut SmtpStage,
) -> Result<(), Error> {
    *stage = SmtpStage::Envelope;
    connection.command(Mail::new(envelope.from().cloned(), Vec::new())).await?;
    for recipient in envelope.to() {
        connection.command(Rcpt::new(recipient.clone(), Vec::new())).await?;
    }
    connection.command(Data).await?;
    *stage = SmtpStage::Text;
    connection.message(text).await?;
    Ok(())
}

/// Returns the error kind for an error at this stage.
fn error_kind(error: &Error, stage: SmtpStage) -> EmailErrorKind {
    // The server responded with 5xx, or the client refused to break the protocol.
    let for_good = error.is_permanent() || error.is_client();
    let code = error.status().map_or(0, u16::from);
    match stage {
        // With a response to the text, the outcome is known.
        SmtpStage::Text if error.is_transient() => EmailErrorKind::Unavailable,
        SmtpStage::Text if for_good => EmailErrorKind::Refused,
        SmtpStage::Text => EmailErrorKind::Unknown,
        // "Authentication required" and "must issue STARTTLS first" (RFC 4954, RFC 3207), in response to any
        // command.
        _ if matches!(code, 530 | 534 | 535 | 538) => EmailErrorKind::Configuration,
        SmtpStage::Envelope if for_good => EmailErrorKind::Refused,
        SmtpStage::Queue | SmtpStage::Connect | SmtpStage::Encrypt | SmtpStage::Authenticate
            if for_good || is_tls(error) =>
        {
            EmailErrorKind::Configuration
        }
        _ => EmailErrorKind::Unavailable,
    }
}

/// Returns whether the certificate was not accepted, or the server does not speak TLS.
fn is_tls(error: &Error) -> bool {
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<std::io::Error>() {
            return error.kind() == std::io::ErrorKind::InvalidData;
        }
        cause = error.source();
    }
    error.is_tls()
}

/// An SMTP error and the stage at which it occurred.
#[derive(Debug, thiserror::Error)]
#[error("{error}, while {}", stage.as_str())]
struct SmtpStageError {
    stage: SmtpStage,
    error: Error,
}

impl fmt::Display for SmtpServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.target.host, self.target.port)
    }
}
