//! Measures the authentication of callers and sign-in by password: `cargo xtask bench auth`.
#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a benchmark prints its results")]

use std::{convert::Infallible, sync::Arc};

use axum::{body::Body, extract::Request, response::Response};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use cpu_time::{ProcessTime, ThreadTime};
use futures_util::{StreamExt as _, stream};
use http_body_util::BodyExt as _;
use omnistack_auth::{
    Auth,
    password::{Password, Passwords},
};
use omnistack_core::{
    app::App,
    config::Config,
    crypto::HmacKey,
    http::{Json, layer::PeerAddr},
    identity::Authenticator,
    module::{Api, Module, Mount, Registry},
};
use tower::{Service, ServiceExt as _};
use utoipa_axum::routes;

const REQUESTS: usize = 20_000;
const RUNS: usize = 15;
const SIGN_INS: usize = 20;
const ISSUER: &str = "https://id.example.com";
const SECRET: &str = "a secret that is shared, of more than 32 bytes";

/// A module with the same handler on a public and on an app mount.
struct Hello;

impl Module for Hello {
    fn name(&self) -> &'static str {
        "hello"
    }

    fn register(&self, registry: &mut Registry) {
        for mount in [Mount::public("/hello"), Mount::app("/hello")] {
            registry.routes(mount, Api::new().routes(routes!(hello)), |_| Ok(()));
        }
    }
}

/// Say hello
#[utoipa::path(get, path = "/", responses((status = 200, body = String)))]
async fn hello() -> Json<&'static str> {
    Json("hello")
}

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let settings = [("DATABASE_URL", "sqlite::memory:"), ("HTTP_RATE_LIMIT", "1000000000/second")];
        let app = App::builder(Config::from_pairs(settings)).with(Auth::hs256(ISSUER, SECRET)).with(Hello);
        let app = app.build().unwrap();
        app.migrate().await.unwrap();
        app.start().await.unwrap();
        let (service, authenticator): (_, Authenticator) = (app.service(), app.context().get().unwrap());

        let good: Arc<str> = token(&HmacKey::new(SECRET).unwrap(), "ada", 0).into();
        // The token is valid except for its signature, which is verified last before the database is read.
        let stranger = HmacKey::new("another secret, of more than 32 bytes as well").unwrap();
        let forged: Vec<_> = (0..1000).map(|id| parts(&token(&stranger, "ada", id))).collect();
        let mut rows = [f64::MAX; 4];
        for run in 0..RUNS {
            // Each token is used once.
            let key = HmacKey::new(SECRET).unwrap();
            let fresh: Vec<_> = (0..1000).map(|id| parts(&token(&key, "ada", 1 + run * 1000 + id))).collect();
            let hit = || request("/api/v1/app/hello", Some(&good));
            rows[0] = least(rows[0], micros(REQUESTS, |_| call(&service, request("/api/v1/public/hello", Some(&good)))).await);
            rows[1] = least(rows[1], micros(REQUESTS, |_| call(&service, hit())).await);
            rows[2] = least(rows[2], micros(forged.len(), |at| {
                let (authenticator, parts) = (&authenticator, &forged[at]);
                async move { assert!(authenticator.authenticate(parts).await.is_err()) }
            }).await);
            rows[3] = least(rows[3], micros(fresh.len(), |at| {
                let (authenticator, parts) = (&authenticator, &fresh[at]);
                async move { assert!(authenticator.authenticate(parts).await.unwrap().is_some()) }
            }).await);
        }
        println!("<!-- begin auth -->\n\n### Authentication of callers\n");
        println!("Thread CPU clock, least of {RUNS} runs, a token of 300 bytes (HS256). The targets are 3 µs over the bare stack for a cached token, and 10 µs to verify one that is not cached. The database's own threads are not counted.\n");
        println!("| work | µs | over the bare stack |\n|---|---:|---:|");
        println!("| a public route, the whole default stack | {:.2} | +0.00 |", rows[0]);
        println!("| the same for a signed-in user, with the token cached | {:.2} | {:+.2} |", rows[1], rows[1] - rows[0]);
        println!("| only verifying a token | {:.2} | |", rows[2]);
        println!("| the same, and reading the user from SQLite | {:.2} | |", rows[3]);
        let (hash, sign_in) = passwords().await;
        println!("\n### Sign-in\n");
        println!("CPU of the whole process, least of {SIGN_INS}, with Argon2id's default settings (19 MiB, 2 passes).\n");
        println!("| work | ms |\n|---|---:|");
        println!("| hashing a password | {:.1} |", hash * 1e3);
        println!("| a sign-in by password, from the request to the tokens, with its session and audit entry in SQLite | {:.1} |", sign_in * 1e3);
        println!("\n<!-- end auth -->");
    });
}

/// Returns the CPU seconds of the process for a hash, and for a sign-in.
async fn passwords() -> (f64, f64) {
    let settings = [
        ("DATABASE_URL", "sqlite::memory:"),
        ("HTTP_RATE_LIMIT", "1000000000/second"),
        ("AUTH_VERIFIED_EMAIL", "false"),
    ];
    let app = App::builder(Config::from_pairs(settings)).with(Auth::built_in()).build().unwrap();
    app.migrate().await.unwrap();
    app.start().await.unwrap();
    let (service, passwords): (_, Passwords) = (app.service(), app.context().get().unwrap());
    let body = r#"{"email":"ada@example.com","password":"correct horse battery"}"#;
    call(&service, post("/api/v1/public/auth/register", body)).await;
    let password = Password::new("correct horse battery").unwrap();
    let mut least_of = [f64::MAX; 2];
    for _ in 0..SIGN_INS {
        let before = ProcessTime::now();
        passwords.hash(&password).await.unwrap();
        least_of[0] = least(least_of[0], before.elapsed().as_secs_f64());
        let before = ProcessTime::now();
        call(&service, post("/api/v1/public/auth/login", body)).await;
        least_of[1] = least(least_of[1], before.elapsed().as_secs_f64());
    }
    (least_of[0], least_of[1])
}

fn post(path: &'static str, body: &'static str) -> Request {
    let mut request = request(path, None);
    *request.method_mut() = http::Method::POST;
    request.headers_mut().insert("content-type", http::HeaderValue::from_static("application/json"));
    *request.body_mut() = Body::from(body);
    request
}

/// Returns the CPU time of this thread per call, in microseconds.
async fn micros<F: Future<Output = ()>>(count: usize, work: impl Fn(usize) -> F) -> f64 {
    let before = ThreadTime::now();
    stream::iter(0..count).for_each(work).await;
    before.elapsed().as_secs_f64() * 1e6 / count as f64
}

async fn call<S>(service: &S, request: Request)
where
    S: Service<Request, Response = Response, Error = Infallible> + Clone,
{
    let Ok(response) = service.clone().oneshot(request).await;
    assert!(response.status().is_success());
    response.into_body().collect().await.unwrap();
}

/// Returns a request as the server passes it to the app.
fn request(path: &'static str, token: Option<&str>) -> Request {
    let mut request = Request::builder().uri(path).header("host", "localhost").header("accept", "*/*");
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    let mut request = request.body(Body::empty()).unwrap();
    request.extensions_mut().insert(PeerAddr(([127, 0, 0, 1], 1).into()));
    request
}

fn parts(token: &str) -> http::request::Parts {
    request("/api/v1/app/hello", Some(token)).into_parts().0
}

fn token(key: &HmacKey, subject: &str, id: usize) -> String {
    let exp = i64::from(u32::MAX);
    let claims = format!(
        r#"{{"iss":"{ISSUER}","sub":"{subject}","aud":"http://127.0.0.1:8080","exp":{exp},"iat":1700000000,"jti":"{id}"}}"#
    );
    let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256","typ":"JWT"}"#);
    let message = format!("{header}.{}", URL_SAFE_NO_PAD.encode(claims));
    let signature = key.sign(&message).to_base64_url();
    format!("{message}.{signature}")
}

fn least(one: f64, other: f64) -> f64 {
    one.min(other)
}
