//! Settings of the HTTP server.

use std::{net::IpAddr, time::Duration};

use bytesize::ByteSize;
use http::HeaderName;
use ipnet::IpNet;

use super::{CorsOrigin, rate::RateSetting};

crate::section! {
    /// HTTP server.
    pub struct HttpSettings {
        /// Address to listen on. `0.0.0.0` or `::` in a container.
        pub host: IpAddr = "HOST", default "127.0.0.1";
        /// Port to listen on; 0 takes a free one.
        pub port: u16 = "PORT", default "8080", range "0"..="65535";
        /// Largest body a route accepts, unless it says otherwise.
        pub body_limit: ByteSize = "HTTP_BODY_LIMIT", default "1MiB", range "1B"..="1GiB";
        /// Longest a request may take from its last header to the answer's first byte, unless its route says otherwise.
        pub timeout: Duration = "HTTP_TIMEOUT", default "30s", range "1ms"..="1d";
        /// Longest a connection may do nothing: until a request's headers are there, idle ones included, and until the
        /// client takes more of an answer. Longer than the balancer's own idle timeout.
        pub header_timeout: Duration = "HTTP_HEADER_TIMEOUT", default "75s", range "1ms"..="1d";
        /// Requests one address may make.
        pub rate_limit: RateSetting = "HTTP_RATE_LIMIT", default "6000/minute";
        /// Whether answers say where one stands in `X-RateLimit-Limit`, `-Remaining` and `-Reset` besides `RateLimit` and
        /// `RateLimit-Policy`: for clients that only know those.
        pub rate_limit_legacy: bool = "HTTP_RATE_LIMIT_LEGACY", default "false";
        /// Networks of the proxies whose `X-Forwarded-For` is believed.
        pub trusted_proxies: Vec<IpNet> = "TRUSTED_PROXIES";
        /// Origins of browsers that may call the API, e.g. `https://app.example.com`; `*` for all, without cookies.
        pub cors_origins: Vec<CorsOrigin> = "CORS_ORIGINS";
        /// Request headers that browsers of those origins may send, besides the ones that core and the modules read.
        pub cors_request_headers: Vec<HeaderName> = "CORS_REQUEST_HEADERS";
        /// Response headers that scripts of those origins may read, besides the ones that core and the modules send.
        pub cors_response_headers: Vec<HeaderName> = "CORS_RESPONSE_HEADERS";
        /// How long requests and background work may go on after SIGTERM.
        pub shutdown_grace: Duration = "SHUTDOWN_GRACE", default "30s", range "0s"..="1h";
    }
}
