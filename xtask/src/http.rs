//! A minimal HTTP client for local servers.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, TcpStream},
    time::Duration,
};

use crate::failure::{Context, Failure, Result};

/// A response.
#[derive(Debug)]
pub(crate) struct Response {
    /// The status code.
    pub(crate) status: u16,
    /// The body, as text.
    pub(crate) body: String,
}

/// Sends one request to a port of 127.0.0.1. `headers` are whole header lines, and `body` is JSON. Fails if the
/// connection fails or the response is not HTTP.
pub(crate) fn request(port: u16, method: &str, path: &str, headers: &[&str], body: &str) -> Result<Response> {
    let doing = format!("{method} {path}");
    exchange(port, method, path, headers, body)
        .context(&doing)?
        .map_or_else(|answer| Err(Failure::new(format!("{doing}: not an HTTP response: {answer}"))), Ok)
}

fn exchange(
    port: u16,
    method: &str,
    path: &str,
    headers: &[&str],
    body: &str,
) -> std::io::Result<Result<Response, String>> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    // With HTTP/1.0 the response body is not chunked and ends with the connection.
    let mut lines = vec![format!("{method} {path} HTTP/1.0"), format!("Host: 127.0.0.1:{port}")];
    lines.extend(headers.iter().map(ToString::to_string));
    if !body.is_empty() {
        lines.extend(["Content-Type: application/json".to_owned(), format!("Content-Length: {}", body.len())]);
    }
    stream.write_all(format!("{}\r\n\r\n{body}", lines.join("\r\n")).as_bytes())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer);
    Ok(parse(&answer).ok_or_else(|| answer.into_owned()))
}

fn parse(answer: &str) -> Option<Response> {
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.strip_prefix("HTTP/1.")?.split(' ').nth(1)?.parse().ok()?;
    Some(Response { status, body: body.to_owned() })
}
