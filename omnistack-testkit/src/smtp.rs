//! A mail server for tests, which records the mails it receives and fails as scripted.
//!
//! ```
//! use omnistack_core::{clock::Clock, email::{Email, EmailProvider, EmailErrorKind}};
//! use omnistack_messaging::email::Smtp;
//! use omnistack_testkit::smtp::{SmtpReply, SmtpServer};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! let server = SmtpServer::start().await;
//! let smtp = Smtp::new(&server.url(), Clock::system()).unwrap();
//! let email = Email::to("ada@example.com").from("shop@example.com").subject("Hello").text("Hello.");
//!
//! smtp.send(&email).await.unwrap();
//! assert_eq!(server.delivered()[0].to, ["ada@example.com"]);
//!
//! server.set_reply("RCPT", SmtpReply::line("550 5.1.1 no such user"));
//! assert_eq!(smtp.send(&email).await.unwrap_err().kind(), EmailErrorKind::Refused);
//! # }
//! ```
//!
//! It implements the commands of RFC 5321 that clients use: EHLO, AUTH PLAIN, MAIL, RCPT, DATA, RSET, NOOP and QUIT,
//! without TLS. Mails are recorded byte for byte, without the dots added for transparency (section 4.5.2).

use std::{
    collections::HashMap,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

/// A mail server on a free port of 127.0.0.1. See the [module](self) for an example. Dropping it stops the server.
#[derive(Debug)]
pub struct SmtpServer {
    address: SocketAddr,
    state: Arc<Mutex<SmtpServerState>>,
    _server: JoinSet<()>,
}

#[derive(Debug, Default)]
struct SmtpServerState {
    replies: HashMap<String, SmtpReply>,
    commands: Vec<String>,
    delivered: Vec<DeliveredMail>,
    connections: usize,
}

/// A mail that the server accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeliveredMail {
    /// The address of `MAIL FROM`.
    pub from: String,
    /// The accepted addresses of `RCPT TO`, in order.
    pub to: Vec<String>,
    /// The headers and the body.
    pub text: Vec<u8>,
}

/// A scripted reaction to a command, in place of acceptance.
#[derive(Clone, Debug)]
pub struct SmtpReply(SmtpReplyKind);

#[derive(Clone, Debug)]
enum SmtpReplyKind {
    Text(String),
    Drip(String, Duration),
    Hang,
    Close,
}

impl SmtpReply {
    /// Sends `line`, which may be several lines separated by CR LF.
    pub fn line(line: impl Into<String>) -> Self {
        Self(SmtpReplyKind::Text(line.into()))
    }

    /// Sends `line` one byte at a time, with a pause before each byte.
    pub fn drip(line: impl Into<String>, pause: Duration) -> Self {
        Self(SmtpReplyKind::Drip(line.into(), pause))
    }

    /// Sends nothing and keeps the connection open.
    pub fn hang() -> Self {
        Self(SmtpReplyKind::Hang)
    }

    /// Closes the connection.
    pub fn close() -> Self {
        Self(SmtpReplyKind::Close)
    }
}

impl SmtpServer {
    /// Starts a server that accepts every mail.
    ///
    /// # Panics
    /// Panics if 127.0.0.1 has no free port.
    pub async fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
        let (listener, address) = listener
            .and_then(|listener| listener.local_addr().map(|address| (listener, address)))
            .unwrap_or_else(|error| panic!("no free port on 127.0.0.1: {error}"));
        let state = Arc::new(Mutex::new(SmtpServerState::default()));
        let mut server = JoinSet::new();
        let shared = state.clone();
        server.spawn(async move {
            let mut conversations = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                lock(&shared).connections += 1;
                let state = shared.clone();
                conversations.spawn(async move { _ = serve_connection(stream, &state).await });
            }
        });
        Self { address, state, _server: server }
    }

    /// Returns the server's URL, `smtp://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("smtp://{}", self.address)
    }

    /// Returns the address that the server listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sets the reply to a command, such as `RCPT`, `DATA` or `AUTH`, from now on. `CONNECT` sets the greeting, and
    /// `.` the reply to the end of a mail's data.
    pub fn set_reply(&self, command: &str, reply: SmtpReply) {
        lock(&self.state).replies.insert(command.into(), reply);
    }

    /// Removes all scripted replies, so that every command is accepted from now on.
    pub fn accept_all(&self) {
        lock(&self.state).replies.clear();
    }

    /// Returns the accepted mails, in order.
    pub fn delivered(&self) -> Vec<DeliveredMail> {
        lock(&self.state).delivered.clone()
    }

    /// Returns the received commands with their arguments, in order.
    pub fn commands(&self) -> Vec<String> {
        lock(&self.state).commands.clone()
    }

    /// Returns the number of connections that the server has accepted.
    pub fn connections(&self) -> usize {
        lock(&self.state).connections
    }
}

fn lock(state: &Mutex<SmtpServerState>) -> MutexGuard<'_, SmtpServerState> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn serve_connection(stream: TcpStream, state: &Mutex<SmtpServerState>) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    if !reply(&mut stream, state, "CONNECT", "220 testkit ESMTP").await? {
        return Ok(());
    }
    let (mut from, mut to) = (String::new(), Vec::new());
    let mut line = String::new();
    while stream.read_line(&mut line).await? > 0 {
        let command = std::mem::take(&mut line).trim_end().to_owned();
        lock(state).commands.push(command.clone());
        let verb = command.split(' ').next().unwrap_or_default().to_ascii_uppercase();
        let agreed = match verb.as_str() {
            "EHLO" => "250-testkit\r\n250-8BITMIME\r\n250 AUTH PLAIN",
            "AUTH" => "235 2.7.0 accepted",
            "DATA" => "354 go on",
            "QUIT" => "221 bye",
            "MAIL" | "RCPT" | "RSET" | "NOOP" => "250 ok",
            _ => "500 unknown command",
        };
        let scripted = lock(state).replies.contains_key(&verb);
        if !reply(&mut stream, state, &verb, agreed).await? {
            return Ok(());
        }
        match verb.as_str() {
            "MAIL" => (from, to) = (address(&command), Vec::new()),
            "RCPT" if !scripted => to.push(address(&command)),
            "DATA" if !scripted => {
                let text = read_mail(&mut stream).await?;
                let refused = lock(state).replies.contains_key(".");
                if !refused {
                    lock(state).delivered.push(DeliveredMail { from: from.clone(), to: std::mem::take(&mut to), text });
                }
                if !reply(&mut stream, state, ".", "250 2.0.0 taken").await? {
                    return Ok(());
                }
            }
            "QUIT" => return Ok(()),
            _ => {}
        }
    }
    Ok(())
}

/// Returns the text between the angle brackets, or an empty string if there are none.
fn address(command: &str) -> String {
    let inner = command.split_once('<').and_then(|(_, rest)| rest.split_once('>'));
    inner.map_or_else(String::new, |(address, _)| address.into())
}

/// Reads the lines of a mail up to the line that contains only a dot. Fails if the connection ends before that line.
async fn read_mail(stream: &mut BufReader<TcpStream>) -> std::io::Result<Vec<u8>> {
    let mut text = Vec::new();
    loop {
        let mut line = Vec::new();
        if stream.read_until(b'\n', &mut line).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        match line.as_slice() {
            b".\r\n" => return Ok(text),
            [b'.', rest @ ..] => text.extend_from_slice(rest),
            other => text.extend_from_slice(other),
        }
    }
}

/// Sends the scripted reply to `verb`, or `agreed` if there is none. Returns `false` if the connection is to be closed.
async fn reply(
    stream: &mut BufReader<TcpStream>,
    state: &Mutex<SmtpServerState>,
    verb: &str,
    agreed: &str,
) -> std::io::Result<bool> {
    let scripted = lock(state).replies.get(verb).cloned();
    match scripted.map_or_else(|| SmtpReplyKind::Text(agreed.into()), |reply| reply.0) {
        SmtpReplyKind::Text(text) => stream.write_all(format!("{text}\r\n").as_bytes()).await.map(|()| true),
        SmtpReplyKind::Drip(text, pause) => {
            for byte in format!("{text}\r\n").into_bytes() {
                tokio::time::sleep(pause).await;
                stream.write_all(&[byte]).await?;
            }
            Ok(true)
        }
        SmtpReplyKind::Hang => std::future::pending().await,
        SmtpReplyKind::Close => Ok(false),
    }
}
