//! The settings of realtime.

use std::time::Duration;

use bytesize::ByteSize;
use omnistack_core::http::Rate;

omnistack_core::settings! {
    /// Realtime.
    pub(crate) struct RealtimeSettings {
        /// Time between two pings to a connection. Set it shorter than the idle timeout of every proxy in between.
        pub(crate) ping: Duration = "REALTIME_PING", default "25s", range "1s"..="5m";
        /// Time for which a client may take to respond to a ping, before its connection is closed. It must be shorter
        /// than the time between two pings.
        pub(crate) pong_timeout: Duration = "REALTIME_PONG_TIMEOUT", default "10s", range "1s"..="1m";
        /// Time within which a client must sign in after it has opened a connection.
        pub(crate) sign_in_timeout: Duration = "REALTIME_SIGN_IN_TIMEOUT", default "5s", range "1s"..="1m";
        /// Largest size of the messages that wait for a client which reads slowly. A client that is further behind is
        /// disconnected; it reconnects and recovers.
        pub(crate) queue: ByteSize = "REALTIME_QUEUE", default "1MiB", range "64KiB"..="64MiB";
        /// Largest frame of a client, and largest body of a request of the emulation.
        pub(crate) max_message: ByteSize = "REALTIME_MAX_MESSAGE", default "64KiB", range "1KiB"..="16MiB";
        /// Most channels of a connection.
        pub(crate) max_channels: u32 = "REALTIME_MAX_CHANNELS", default "128", range "1"..="10000";
        /// Rate limit for the commands of a connection. Clients send a command for each of their channels at once when
        /// they connect, so the burst should be larger than the number of channels.
        pub(crate) message_rate: Rate = "REALTIME_MESSAGE_RATE", default "50/second burst 200";
        /// Most connections of a user to a process. 0 is no limit.
        pub(crate) max_connections_per_user: u32 = "REALTIME_MAX_CONNECTIONS_PER_USER", default "250",
            range "0"..="1000000";
        /// Most connections of the users of a tenant to a process. 0 is no limit.
        pub(crate) max_connections_per_tenant: u32 = "REALTIME_MAX_CONNECTIONS_PER_TENANT", default "0",
            range "0"..="1000000";
        /// Most connections of a client address to a process. 0 is no limit.
        pub(crate) max_connections_per_address: u32 = "REALTIME_MAX_CONNECTIONS_PER_ADDRESS", default "1000",
            range "0"..="1000000";
        /// Most clients that a process signs in at the same time. Further clients are told to try again, for example
        /// when all clients reconnect at once and the sign-in is slow. 0 is no limit.
        pub(crate) max_sign_ins: u32 = "REALTIME_MAX_SIGN_INS", default "1000", range "0"..="1000000";
        /// Time between two checks of whether a connection has missed messages of its channels.
        pub(crate) position_check: Duration = "REALTIME_POSITION_CHECK", default "40s", range "1s"..="1h";
        /// Time after which a client whose process has crashed is no longer present in its channels.
        pub(crate) presence_ttl: Duration = "REALTIME_PRESENCE_TTL", default "60s", range "3s"..="1h";
        /// Most messages that a client recovers in a channel. A client that has missed more is told so.
        pub(crate) recovery_limit: u32 = "REALTIME_RECOVERY_LIMIT", default "300", range "1"..="10000";
        /// Time over which connections are closed at shutdown and when maintenance begins, so that clients reconnect one
        /// after another. At shutdown it is part of `SHUTDOWN_GRACE`.
        pub(crate) drain: Duration = "REALTIME_DRAIN", default "10s", range "0s"..="10m";
        /// Whether access tokens are accepted in the query of a URL, where proxies may log them. Use a ticket instead.
        pub(crate) token_in_query: bool = "REALTIME_TOKEN_IN_QUERY", default "false";
    }
}

/// The largest number of clients that a presence has; larger ones are counted only.
pub(crate) const MAX_PRESENCE_CLIENTS: usize = 1000;
