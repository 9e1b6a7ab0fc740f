//! The end of a connection: whether and how the client connects again.

use tokio_tungstenite::tungstenite::{self, error::ProtocolError, protocol::CloseFrame};

use super::ClientError;
use crate::protocol::{CloseCode, ErrorCode, ReplyError};

/// The close code of RFC 6455 for a frame that is too large. The client would send it again.
const MESSAGE_TOO_BIG: u16 = 1009;

/// The end of a connection, or of the attempt to open one.
#[derive(Debug)]
pub(super) enum ConnectionEnd {
    /// The client connects again after a delay. The text says why the connection has ended.
    Lost(String),
    /// The client connects again with a new token.
    TokenExpired,
    /// The client ends.
    Final(ClientError),
}

impl ConnectionEnd {
    pub(super) fn lost(reason: impl Into<String>) -> Self {
        Self::Lost(reason.into())
    }

    pub(super) fn protocol(reason: impl Into<String>) -> Self {
        Self::Final(ClientError::Protocol(reason.into()))
    }

    /// Returns the end that a close code means. Codes from 3500 to 3999 and from 4500 to 4999 are final.
    pub(super) fn of_code(code: u16, reason: &str) -> Self {
        match code {
            code if code == CloseCode::Expired.number() => Self::TokenExpired,
            MESSAGE_TOO_BIG | 3500..=3999 | 4500..=4999 => {
                Self::Final(ClientError::ConnectionClosed { code, reason: reason.to_owned() })
            }
            code => Self::Lost(format!("closed by the server with code {code}: {reason}")),
        }
    }

    /// Returns the end that a close frame means.
    pub(super) fn of_close_frame(frame: Option<CloseFrame>) -> Self {
        match frame {
            Some(frame) => Self::of_code(frame.code.into(), frame.reason.as_str()),
            None => Self::lost("closed by the server"),
        }
    }

    /// Returns the end after the server has refused to sign in the client, or to accept its new token.
    pub(super) fn of_refusal(error: ReplyError) -> Self {
        if error.code == ErrorCode::TokenExpired.number() {
            Self::TokenExpired
        } else if error.temporary || error.code < ErrorCode::Internal.number() {
            Self::Lost(format!("refused by the server with code {}: {}", error.code, error.message))
        } else {
            Self::Final(error.into())
        }
    }
}

impl From<tungstenite::Error> for ConnectionEnd {
    fn from(error: tungstenite::Error) -> Self {
        match error {
            tungstenite::Error::Http(response) => match response.status().as_u16() {
                // The server or a proxy is not ready.
                status @ (408 | 425 | 429 | 500..=599) => Self::Lost(format!("refused with status {status}")),
                status => Self::Final(ClientError::ConnectionRefused { status }),
            },
            tungstenite::Error::Url(_) | tungstenite::Error::HttpFormat(_) => Self::Final(ClientError::InvalidUrl),
            tungstenite::Error::Capacity(error) => Self::protocol(error.to_string()),
            tungstenite::Error::Utf8(error) => Self::protocol(error),
            tungstenite::Error::Protocol(
                ProtocolError::ResetWithoutClosingHandshake
                | ProtocolError::SendAfterClosing
                | ProtocolError::HandshakeIncomplete,
            ) => Self::lost("cut off"),
            tungstenite::Error::Protocol(error) => Self::protocol(error.to_string()),
            error => Self::Lost(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_errors_say_whether_the_client_comes_back() {
        for (code, expected) in [
            (1000, "lost"),
            (1001, "lost"),
            (1009, "final"),
            (3000, "lost"),
            (3001, "lost"),
            (3005, "expired"),
            (3008, "lost"),
            (3499, "lost"),
            (3500, "final"),
            (3999, "final"),
            (4000, "lost"),
            (4499, "lost"),
            (4500, "final"),
            (4999, "final"),
        ] {
            assert_eq!(kind(&ConnectionEnd::of_code(code, "")), expected, "{code}");
        }
        for (code, expected) in [
            (ErrorCode::Internal, "lost"),
            (ErrorCode::Unauthorized, "final"),
            (ErrorCode::PermissionDenied, "final"),
            (ErrorCode::TokenExpired, "expired"),
            (ErrorCode::TooManyRequests, "lost"),
        ] {
            assert_eq!(kind(&ConnectionEnd::of_refusal(code.into())), expected, "{code:?}");
        }
    }

    fn kind(end: &ConnectionEnd) -> &'static str {
        match end {
            ConnectionEnd::Lost(_) => "lost",
            ConnectionEnd::TokenExpired => "expired",
            ConnectionEnd::Final(_) => "final",
        }
    }
}
