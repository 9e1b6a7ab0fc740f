//! The errors of a client.

use std::sync::Arc;

use super::COMMAND_TIMEOUT;
use crate::protocol::ReplyError;

/// The error of a [`RealtimeClient`](super::RealtimeClient), of a command, or of a subscription.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The URL is not that of a WebSocket.
    #[error("the URL is not that of a WebSocket: use one like wss://app.example.com/api/v1/app/ws")]
    InvalidUrl,
    /// The server has refused to open a WebSocket.
    #[error("the server has refused the connection with status {status}: check the URL, the headers and the token")]
    ConnectionRefused {
        /// The status of the HTTP response.
        status: u16,
    },
    /// The server has closed the connection for good.
    #[error("the server has closed the connection with code {code}: {reason}")]
    ConnectionClosed {
        /// The close code.
        code: u16,
        /// The reason.
        reason: String,
    },
    /// The server has refused the command.
    #[error("the server has refused the command with code {code}: {message}")]
    CommandRefused {
        /// The code of the error.
        code: u32,
        /// The message of the error.
        message: String,
        /// Whether the same command may succeed later.
        temporary: bool,
    },
    /// The access token has expired, and the client has no function that gets a new one.
    #[error("the access token has expired: give the client a function that gets a new one, by `token_from`")]
    TokenExpired,
    /// No reply has arrived in time.
    #[error("no reply arrived within {} seconds: try again later", COMMAND_TIMEOUT.as_secs())]
    Timeout,
    /// The connection was lost before the reply. The command was carried out or not.
    #[error("the connection was lost before the reply: check whether the command was carried out")]
    ConnectionLost,
    /// The client was closed.
    #[error("the client was closed: connect again")]
    ClientClosed,
    /// The client has a subscription to the channel already.
    #[error("the client has a subscription to this channel: use it, or drop it first")]
    AlreadySubscribed,
    /// The app reads the messages of a subscription more slowly than they arrive, and the buffer is full.
    #[error("the buffer of the subscription is full: read faster or set a larger `buffer`, then subscribe again")]
    SlowSubscription,
    /// The data that the server has sent is not of the expected type.
    #[error("the data can't be read as the type that the app expects: {source}")]
    Decode {
        /// The number of the message in its channel; 0 without a history, or if it is no message.
        offset: u64,
        /// The error of the JSON parser.
        source: Arc<serde_json::Error>,
    },
    /// The data can't be written as JSON.
    #[error("the data can't be written as JSON: {0}")]
    Encode(#[source] Arc<serde_json::Error>),
    /// The server does not follow the protocol.
    #[error("the server does not follow the protocol: {0}; check the URL")]
    Protocol(String),
}

impl ClientError {
    /// Returns whether the same call may succeed later.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Timeout | Self::ConnectionLost | Self::SlowSubscription => true,
            Self::CommandRefused { temporary, .. } => *temporary,
            _ => false,
        }
    }

    pub(super) fn decode(offset: u64, source: serde_json::Error) -> Self {
        Self::Decode { offset, source: Arc::new(source) }
    }
}

impl From<ReplyError> for ClientError {
    fn from(error: ReplyError) -> Self {
        let ReplyError { code, message, temporary } = error;
        Self::CommandRefused { code, message, temporary }
    }
}
