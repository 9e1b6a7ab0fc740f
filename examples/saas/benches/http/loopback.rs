//! Measures the requests per second over loopback. Each server runs in its own process and gets the same load.

use std::{
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    process::{Child, Command, Stdio},
    time::Duration,
};

use axum::{
    Router,
    body::Bytes,
    http::{HeaderName, HeaderValue, Request},
    middleware::map_response,
    response::Response,
};
use http_body_util::{BodyExt as _, Empty};
use hyper_util::rt::TokioIo;
use omnistack::{
    ShutdownToken,
    app::{Server, ServerSettings},
};
use tokio::net::{TcpListener, TcpStream};

use crate::{bare, saas_app};

const CONNECTIONS: usize = 32;
const RUN: Duration = Duration::from_secs(3);
const RUNS: usize = 5;

pub(crate) fn run() {
    let mut servers = ["serve-bare", "serve-headers", "serve-saas"].map(ServerProcess::start);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut rates = [0.0_f64; 3];
    for _ in 0..RUNS {
        for (server, rate) in servers.iter().zip(&mut rates) {
            *rate = rate.max(runtime.block_on(load(server.address)));
        }
    }
    for server in &mut servers {
        server.child.kill().unwrap();
    }
    let [bare, headers, saas] = rates;
    println!("\n### Requests per second, over loopback\n");
    println!(
        "`GET /hello` on {CONNECTIONS} connections, {RUN:?} per run, best of {RUNS}, server and load (hyper's client) on the same cores. The target is 85 %.\n"
    );
    println!("The second row is bare axum with the response headers of saas, all constants except for the request id.");
    println!(
        "It does no other work, so the difference to the first row is the cost of {} headers for server and client.\n",
        HEADERS.len()
    );
    println!("| server | requests/s | of bare axum | of bare axum with the headers |\n|---|---:|---:|---:|");
    for (what, rate) in [
        ("bare axum, `axum::serve`", bare),
        ("bare axum, sending the same headers", headers),
        ("saas, the whole default stack", saas),
    ] {
        println!("| {what} | {rate:.0} | {:.0} % | {:.0} % |", 100.0 * rate / bare, 100.0 * rate / headers);
    }
}

struct ServerProcess {
    child: Child,
    address: SocketAddr,
}

impl ServerProcess {
    fn start(what: &str) -> Self {
        let program = std::env::current_exe().unwrap();
        let mut child = Command::new(program).arg(what).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Self { child, address: line.trim().parse().unwrap() }
    }
}

/// Runs a server in the child process until it is killed.
pub(crate) fn serve(what: &str) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let local = SocketAddr::from(([127, 0, 0, 1], 0));
        if what == "serve-saas" {
            let app = saas_app();
            app.migrate().await.unwrap();
            app.start().await.unwrap();
            let settings = ServerSettings { header_timeout: Duration::from_secs(75), grace: Duration::from_secs(1) };
            let server = Server::bind(local, settings).await.unwrap();
            println!("{}", server.local_addr().unwrap());
            server.run(app.service(), ShutdownToken::new()).await;
        } else {
            let router = if what == "serve-bare" { bare() } else { with_headers(bare()) };
            let listener = TcpListener::bind(local).await.unwrap();
            println!("{}", listener.local_addr().unwrap());
            axum::serve(listener, router).await.unwrap();
        }
    });
}

/// The response headers of `GET /hello` in saas, besides those of the handler.
const HEADERS: [(&str, &str); 8] = [
    ("ratelimit", "\"default\";r=999999999;t=0"),
    ("ratelimit-policy", "\"default\";q=1000000000;w=1"),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("content-security-policy", "default-src 'none'; frame-ancestors 'none'"),
    ("cache-control", "no-store"),
    ("cross-origin-resource-policy", "same-origin"),
    ("x-request-id", "01a1fc95-14ac-7404-a06b-a12eb162eb1f"),
];

fn with_headers(router: Router) -> Router {
    let headers = HEADERS.map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
    router.layer(map_response(move |mut response: Response| {
        response.headers_mut().reserve(HEADERS.len());
        response.headers_mut().extend(headers.clone());
        std::future::ready(response)
    }))
}

async fn load(address: SocketAddr) -> f64 {
    let connections = (0..CONNECTIONS).map(|_| tokio::spawn(requests(address)));
    let mut done = 0;
    for connection in connections.collect::<Vec<_>>() {
        done += connection.await.unwrap();
    }
    f64::from(done) / RUN.as_secs_f64()
}

/// Sends one request after another with hyper's client until the time is up. Returns the number of responses.
async fn requests(address: SocketAddr) -> u32 {
    let stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    let connection = tokio::spawn(connection);
    let mut done = 0;
    let work = async {
        loop {
            let request = Request::builder().uri("/hello").header("host", "localhost").header("accept", "*/*");
            let response = sender.send_request(request.body(Empty::<Bytes>::new()).unwrap()).await.unwrap();
            assert_eq!(response.status(), 200);
            assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "{\"status\":\"ok\"}");
            done += 1;
        }
    };
    _ = tokio::time::timeout(RUN, work).await;
    connection.abort();
    done
}
