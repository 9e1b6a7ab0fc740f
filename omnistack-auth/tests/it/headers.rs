//! Tests of the headers that select the caller and the tenant.

use omnistack_auth::Auth;
use omnistack_core::{app::ServerSettings, http::Method};
use omnistack_testkit::{TestDatabase, on_each_database};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::support::start_app;

const ME: &str = "/api/v1/app/users/me";

on_each_database! {
    async fn browsers_of_other_origins_may_send_them(database: TestDatabase) {
        let (app, _) = start_app(database, |app| app.with(Auth::built_in()).set("CORS_ORIGINS", "https://app.example.com")).await;
        let request = app.anonymous().request(Method::OPTIONS, ME).header("origin", "https://app.example.com");
        let answer = request.header("access-control-request-method", "GET").await.expect(200);
        let allowed = answer.header("access-control-allow-headers").unwrap_or_default();
        for name in ["authorization", "x-tenant-id", "x-api-key"] {
            assert!(allowed.split(',').any(|allowed| allowed == name), "`{name}` in {allowed}");
        }
    }

    async fn two_of_them_are_refused(database: TestDatabase) {
        let (app, _) = start_app(database, |app| app.with(Auth::built_in())).await;
        let timeouts = ServerSettings {
            header_timeout: std::time::Duration::from_mins(1),
            grace: std::time::Duration::from_secs(1),
        };
        let listening = app.listen(timeouts).await;
        for (name, one, other) in [
            ("authorization", "Bearer a", "Bearer b"),
            ("x-api-key", "a", "b"),
            ("x-tenant-id", "0190a7c8-0000-7000-8000-000000000001", "0190a7c8-0000-7000-8000-000000000002"),
        ] {
            let mut stream = TcpStream::connect(listening.address).await.unwrap();
            let head = format!("GET {ME} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n{name}: {one}\r\n{name}: {other}\r\n\r\n");
            stream.write_all(head.as_bytes()).await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            assert!(answer.starts_with("HTTP/1.1 400") && answer.contains("REPEATED_HEADER"), "{name}: {answer}");
        }
    }
}
