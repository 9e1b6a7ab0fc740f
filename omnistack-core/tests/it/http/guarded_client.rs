//! Tests of the clients for URLs in settings and for URLs that users enter.

use omnistack_core::{
    app::{App, AppBuilder},
    config::Config,
    http::client::{Client, GuardedClient, SettingsClient, is_refused},
    trace::{TraceContext, with_trace},
};
use omnistack_testkit::mock_server::{MockResponse, MockServer};

use super::support::module;

/// Returns an app with a module that uses all three clients.
fn app(environment: &str, settings: &[(&str, &str)]) -> AppBuilder {
    let memory = [("DATABASE_URL", "sqlite::memory:"), ("APP_ENV", environment)];
    App::builder(Config::from_pairs(memory.into_iter().chain(settings.iter().copied()))).with(module(
        "caller",
        |registry| {
            registry.require::<Client>().require::<SettingsClient>().require::<GuardedClient>();
        },
    ))
}

#[tokio::test]
async fn each_client_connects_where_it_may() {
    let upstream = MockServer::start().await;
    upstream.expect("GET", "/").times(..).reply(MockResponse::status(204));
    let url = format!("{}/", upstream.url());
    let allowed = ("HTTP_CLIENT_ALLOWED_NETWORKS", "10.0.0.0/8, 127.0.0.0/8");
    let private = ("WEBHOOKS_ALLOW_PRIVATE_ADDRESSES", "true");
    for (environment, settings, permitted) in [
        ("development", &[][..], [true, true, false]),
        ("test", &[], [true, true, false]),
        ("production", &[], [true, false, false]),
        ("production", &[allowed], [true, true, false]),
        ("development", &[allowed], [true, true, false]),
        ("development", &[private], [true, true, true]),
    ] {
        let app = app(environment, settings).build().unwrap();
        let ctx = app.context();
        let SettingsClient(for_settings) = ctx.get().unwrap();
        let GuardedClient(for_users) = ctx.get().unwrap();
        let clients: [Client; 3] = [ctx.get().unwrap(), for_settings, for_users];
        let mut reached = Vec::new();
        for client in clients {
            match client.get(&url).send().await {
                Ok(response) => assert_eq!(response.status(), 204),
                Err(ref error) if is_refused(error) => {
                    reached.push(false);
                    continue;
                }
                Err(error) => panic!("{environment} with {settings:?}: {error:?}"),
            }
            reached.push(true);
        }
        assert_eq!(reached, permitted, "{environment} with {settings:?}");
    }
}

#[tokio::test]
async fn a_trace_is_not_continued_at_urls_that_users_enter() {
    let upstream = MockServer::start().await;
    upstream.expect("GET", "/").times(3).reply(MockResponse::status(204));
    let app = app("development", &[("WEBHOOKS_ALLOW_PRIVATE_ADDRESSES", "true")]).build().unwrap();
    let ctx = app.context();
    let SettingsClient(for_settings) = ctx.get().unwrap();
    let GuardedClient(for_users) = ctx.get().unwrap();
    let trace = TraceContext::new("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
    let clients: [Client; 3] = [ctx.get().unwrap(), for_settings, for_users];
    for client in clients {
        let request = client.get(format!("{}/", upstream.url())).send();
        with_trace(trace.clone(), request).await.unwrap();
    }
    let traced: Vec<_> = upstream.requests().iter().map(|request| request.header("traceparent").is_some()).collect();
    assert_eq!(traced, [true, true, false]);
}

#[tokio::test]
async fn a_module_gets_its_clients_while_it_registers() {
    let app =
        App::builder(Config::from_pairs([("DATABASE_URL", "sqlite::memory:")])).with(module("caller", |registry| {
            assert!(registry.settings_client().is_some() && registry.settings_client().is_some());
            assert!(registry.guarded_client().is_some());
            assert!(!registry.provides::<Client>());
        }));
    let app = app.build().unwrap();
    assert!(app.context().get::<SettingsClient>().is_ok() && app.context().get::<GuardedClient>().is_ok());
}

#[tokio::test]
async fn private_addresses_for_users_are_refused_in_production() {
    let refused = app("production", &[("WEBHOOKS_ALLOW_PRIVATE_ADDRESSES", "true")]).build().unwrap_err().to_string();
    assert!(refused.contains("`WEBHOOKS_ALLOW_PRIVATE_ADDRESSES` would let users"), "{refused}");
    assert!(refused.contains("fix: remove it"), "{refused}");
    let refused = app("production", &[("HTTP_CLIENT_ALLOWED_NETWORKS", "10.0.0.0")]).build().unwrap_err().to_string();
    assert!(refused.contains("HTTP_CLIENT_ALLOWED_NETWORKS"), "{refused}");
}
