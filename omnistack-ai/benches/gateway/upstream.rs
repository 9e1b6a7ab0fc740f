//! The upstream: the API of a provider that answers at once, or slowly if the question says so.

use std::{net::Ipv4Addr, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    time::interval,
};

use crate::{
    app::MODEL,
    load::{SLOW, TOKEN},
    process::until_input_ends,
};

/// The tokens of a stream.
const TOKENS: usize = 20;
/// The tokens of a slow stream, and the time between two.
const SLOW_TOKENS: usize = 80;
const SLOW_PAUSE: Duration = Duration::from_millis(100);
const USAGE: &str = r#"{"prompt_tokens":10,"completion_tokens":20,"total_tokens":30}"#;

/// Prints the address, and serves until the input ends.
pub(crate) async fn run() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    println!("{}", listener.local_addr().unwrap());
    tokio::select! {
        () = serve(listener) => {}
        () = until_input_ends() => {}
    }
}

async fn serve(listener: TcpListener) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        tokio::spawn(connection(stream));
    }
}

/// Answers the requests of a connection until the client leaves.
async fn connection(mut stream: TcpStream) -> Option<()> {
    let mut unread = Vec::new();
    loop {
        let body = request(&mut stream, &mut unread).await?;
        let streams = body.contains("\"stream\":true") || body.contains("\"stream\": true");
        if streams {
            stream_answer(&mut stream, body.contains(SLOW)).await?;
        } else {
            stream.write_all(whole_answer().as_bytes()).await.ok()?;
        }
    }
}

/// Reads a request, and returns its body. Returns `None` at the end of the connection.
async fn request(stream: &mut TcpStream, unread: &mut Vec<u8>) -> Option<String> {
    loop {
        if let Some(end) = unread.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&unread[..end]).to_ascii_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
            let length = length.and_then(|length| length.trim().parse().ok()).unwrap_or(0);
            if unread.len() >= end + 4 + length {
                let body = String::from_utf8_lossy(&unread[end + 4..end + 4 + length]).into_owned();
                unread.drain(..end + 4 + length);
                return Some(body);
            }
        }
        if stream.read_buf(unread).await.ok()? == 0 {
            return None;
        }
    }
}

fn whole_answer() -> String {
    let message = format!(r#"{{"role":"assistant","content":"{TOKEN}"}}"#);
    let choices = format!(r#"[{{"index":0,"message":{message},"finish_reason":"stop"}}]"#);
    let body = format!(
        r#"{{"id":"c1","object":"chat.completion","created":1,"model":"{MODEL}","choices":{choices},"usage":{USAGE}}}"#
    );
    format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

async fn stream_answer(stream: &mut TcpStream, is_slow: bool) -> Option<()> {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes()).await.ok()?;
    let mut pauses = interval(SLOW_PAUSE);
    let tokens = if is_slow { SLOW_TOKENS } else { TOKENS };
    let delta = format!(r#"{{"role":"assistant","content":"{TOKEN} "}}"#);
    let choices = format!(r#"[{{"index":0,"delta":{delta},"finish_reason":null}}]"#);
    for _ in 0..tokens {
        if is_slow {
            pauses.tick().await;
        }
        stream.write_all(event(&choices, "null").as_bytes()).await.ok()?;
    }
    let end = event(r#"[{"index":0,"delta":{},"finish_reason":"stop"}]"#, "null");
    let usage = event("[]", USAGE);
    stream.write_all(format!("{end}{usage}{}0\r\n\r\n", chunk("data: [DONE]\n\n")).as_bytes()).await.ok()
}

fn event(choices: &str, usage: &str) -> String {
    let head = format!(r#""id":"c1","object":"chat.completion.chunk","created":1,"model":"{MODEL}""#);
    chunk(&format!("data: {{{head},\"choices\":{choices},\"usage\":{usage}}}\n\n"))
}

fn chunk(data: &str) -> String {
    format!("{:x}\r\n{data}\r\n", data.len())
}
