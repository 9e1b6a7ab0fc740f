//! The codes of errors, of ended subscriptions, and of closed connections.

/// An error of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ErrorCode {
    Internal,
    Unauthorized,
    UnknownChannel,
    PermissionDenied,
    MethodNotFound,
    AlreadySubscribed,
    LimitExceeded,
    BadRequest,
    NotAvailable,
    TokenExpired,
    TooManyRequests,
    UnrecoverablePosition,
}

impl ErrorCode {
    /// Returns the number in the protocol.
    pub(crate) const fn number(self) -> u32 {
        match self {
            Self::Internal => 100,
            Self::Unauthorized => 101,
            Self::UnknownChannel => 102,
            Self::PermissionDenied => 103,
            Self::MethodNotFound => 104,
            Self::AlreadySubscribed => 105,
            Self::LimitExceeded => 106,
            Self::BadRequest => 107,
            Self::NotAvailable => 108,
            Self::TokenExpired => 109,
            Self::TooManyRequests => 111,
            Self::UnrecoverablePosition => 112,
        }
    }

    /// Returns whether the client may send the same command again later.
    pub(crate) const fn is_temporary(self) -> bool {
        matches!(self, Self::Internal | Self::TooManyRequests)
    }

    /// Returns the default message.
    pub(crate) const fn message(self) -> &'static str {
        match self {
            Self::Internal => "internal server error",
            Self::Unauthorized => "unauthorized",
            Self::UnknownChannel => "unknown channel",
            Self::PermissionDenied => "permission denied",
            Self::MethodNotFound => "method not found",
            Self::AlreadySubscribed => "already subscribed",
            Self::LimitExceeded => "limit exceeded",
            Self::BadRequest => "bad request",
            Self::NotAvailable => "not available",
            Self::TokenExpired => "token expired",
            Self::TooManyRequests => "too many requests",
            Self::UnrecoverablePosition => "unrecoverable position",
        }
    }
}

/// The reason why the server ends a subscription. The client subscribes again for codes from 2500 on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum UnsubscribeCode {
    Server,
    InsufficientState,
}

impl UnsubscribeCode {
    /// Returns the number in the protocol.
    pub(crate) const fn number(self) -> u32 {
        match self {
            Self::Server => 2000,
            Self::InsufficientState => 2500,
        }
    }

    /// Returns the reason in the protocol.
    pub(crate) const fn reason(self) -> &'static str {
        match self {
            Self::Server => "server unsubscribe",
            Self::InsufficientState => "insufficient state",
        }
    }
}

/// The reason why the server closes a connection. The client reconnects for codes below 3500.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CloseCode {
    ConnectionClosed,
    Shutdown,
    Server,
    Expired,
    Slow,
    InsufficientState,
    ForceReconnect,
    NoPong,
    TooManyRequests,
    InvalidToken,
    BadRequest,
    Stale,
    ForceNoReconnect,
    ConnectionLimit,
    PermissionDenied,
}

impl CloseCode {
    /// Returns the number in the protocol.
    pub(crate) const fn number(self) -> u16 {
        match self {
            Self::ConnectionClosed => 3000,
            Self::Shutdown => 3001,
            Self::Server => 3004,
            Self::Expired => 3005,
            Self::Slow => 3008,
            Self::InsufficientState => 3010,
            Self::ForceReconnect => 3011,
            Self::NoPong => 3012,
            Self::TooManyRequests => 3013,
            Self::InvalidToken => 3500,
            Self::BadRequest => 3501,
            Self::Stale => 3502,
            Self::ForceNoReconnect => 3503,
            Self::ConnectionLimit => 3504,
            Self::PermissionDenied => 3507,
        }
    }

    /// Returns the reason in the protocol, shorter than the 123 bytes of a close frame.
    pub(crate) const fn reason(self) -> &'static str {
        match self {
            Self::ConnectionClosed => "connection closed",
            Self::Shutdown => "shutdown",
            Self::Server => "internal server error",
            Self::Expired => "connection expired",
            Self::Slow => "slow",
            Self::InsufficientState => "insufficient state",
            Self::ForceReconnect => "force reconnect",
            Self::NoPong => "no pong",
            Self::TooManyRequests => "too many requests",
            Self::InvalidToken => "invalid token",
            Self::BadRequest => "bad request",
            Self::Stale => "stale",
            Self::ForceNoReconnect => "force disconnect",
            Self::ConnectionLimit => "connection limit",
            Self::PermissionDenied => "permission denied",
        }
    }

    /// Returns whether the client stays disconnected.
    pub(crate) const fn is_final(self) -> bool {
        self.number() >= 3500
    }
}
