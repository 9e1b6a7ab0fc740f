//! The command `health`: the health check of a container, whose image needs no other program for it.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use bytes::Bytes;
use clap::{Arg, ArgMatches, Command};
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt as _, Empty};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, time::timeout};

use crate::{RunError, app::output::print_line, config::Config, http::HttpSettings};

/// Longest time for the app to respond. Its checks end after two seconds.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(5);

/// Returns the command and its arguments.
pub(super) fn command() -> Command {
    Command::new("health")
        .about("Asks the running app for its health; fails if the app is not ready")
        .arg(
            Arg::new("path")
                .long("path")
                .default_value("/health/ready")
                .help("Path that must respond with 2xx, such as `/health`"),
        )
        .arg(Arg::new("address").long("address").help("Address of the app; default: HOST and PORT"))
}

/// Asks the running app. Reads only the settings of the HTTP server, so that the command is cheap enough for a probe.
pub(super) async fn run(config: &Config, matches: &ArgMatches) -> crate::Result<()> {
    let text = |name: &str| matches.get_one::<String>(name).map(String::as_str);
    let path = text("path").unwrap_or_default();
    let address = match text("address") {
        Some(address) => address.to_owned(),
        None => {
            let settings = config.read_settings::<HttpSettings>().map_err(|problems| {
                RunError::new(problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
            })?;
            local_address(&settings).to_string()
        }
    };
    let response = timeout(RESPONSE_TIMEOUT, get(&address, path)).await;
    let (status, report) = response.unwrap_or_else(|_| {
        Err(RunError::new(format!("no response from {address} within {RESPONSE_TIMEOUT:?}; check the app's log")))
    })?;
    if status.is_success() {
        return print_line(format_args!("{} {address}{path}", status.as_u16()));
    }
    Err(RunError::new(format!("{address}{path} responds with {}: {report}", status.as_u16())))
}

/// Returns the address of the running app on this machine.
pub(super) fn local_address(settings: &HttpSettings) -> SocketAddr {
    let host = match settings.host {
        IpAddr::V4(host) if host.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(host) if host.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        host => host,
    };
    SocketAddr::new(host, settings.port)
}

/// Returns the status of the response, and its body if the status is an error.
async fn get(address: &str, path: &str) -> crate::Result<(StatusCode, String)> {
    let failed = |error: &dyn fmt::Display| RunError::new(format!("no response from {address}: {error}"));
    let request = Request::get(path).header(header::HOST, address).body(Empty::<Bytes>::new());
    let request = request.map_err(|error| RunError::new(format!("--path or --address: {error}")))?;
    let stream = TcpStream::connect(address).await.map_err(|error| failed(&error))?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|error| failed(&error))?;
    tokio::spawn(connection);
    let response = sender.send_request(request).await.map_err(|error| failed(&error))?;
    let status = response.status();
    if status.is_success() {
        return Ok((status, String::new()));
    }
    let body = response.into_body().collect().await.map_err(|error| failed(&error))?.to_bytes();
    Ok((status, String::from_utf8_lossy(&body).into_owned()))
}
