//! Settings of the HTTP server.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use bytesize::ByteSize;
use http::HeaderName;
use ipnet::IpNet;

use super::{CorsOrigin, rate::RateSetting};

crate::settings! {
    /// HTTP server.
    pub struct HttpSettings {
        /// Address to listen on. Use `0.0.0.0` or `::` in a container.
        pub host: IpAddr = "HOST", default "127.0.0.1";
        /// Port to listen on. 0 selects a free port.
        pub port: u16 = "PORT", default "8080", range "0"..="65535";
        /// Address on which `worker` answers `/health` and `/health/ready`, such as `0.0.0.0:8081`. Without it, a worker
        /// can't be asked.
        pub worker_health_address: Option<SocketAddr> = "WORKER_HEALTH_ADDRESS";
        /// Largest request body, unless the route sets another limit.
        pub body_limit: ByteSize = "HTTP_BODY_LIMIT", default "1MiB", range "1B"..="1GiB";
        /// Longest time from the last header of a request to the first byte of the response, unless the route sets
        /// another timeout.
        pub timeout: Duration = "HTTP_TIMEOUT", default "30s", range "1ms"..="1d";
        /// Longest idle time of a connection: until the headers of a request have arrived, between requests, and
        /// until the client reads more of a response. Set it longer than the load balancer's idle timeout.
        pub header_timeout: Duration = "HTTP_HEADER_TIMEOUT", default "75s", range "1ms"..="1d";
        /// Rate limit per client address.
        pub rate_limit: RateSetting = "HTTP_RATE_LIMIT", default "6000/minute";
        /// Whether responses also have the older headers `X-RateLimit-Limit`, `-Remaining` and `-Reset`, besides
        /// `RateLimit` and `RateLimit-Policy`, for clients that only know those.
        pub rate_limit_legacy: bool = "HTTP_RATE_LIMIT_LEGACY", default "false";
        /// Networks of trusted proxies, whose `X-Forwarded-For` headers are used.
        pub trusted_proxies: Vec<IpNet> = "TRUSTED_PROXIES";
        /// Origins of the web pages that may call the API from browsers, such as `https://app.example.com`. `*`
        /// allows all origins, without cookies.
        pub cors_origins: Vec<CorsOrigin> = "CORS_ORIGINS";
        /// Request headers that web pages from those origins may send, besides those that core and the modules read.
        pub cors_request_headers: Vec<HeaderName> = "CORS_REQUEST_HEADERS";
        /// Response headers that scripts from those origins may read, besides those that core and the modules send.
        pub cors_response_headers: Vec<HeaderName> = "CORS_RESPONSE_HEADERS";
        /// Time that open requests and background work have to finish after SIGTERM.
        pub shutdown_grace: Duration = "SHUTDOWN_GRACE", default "30s", range "0s"..="1h";
    }
}
