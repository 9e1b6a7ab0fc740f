//! Tests of baggage: what a request carries is sent on by the app's HTTP client.

#![cfg(test)]

use async_trait::async_trait;
use axum::extract::State;
use omnistack_core::{
    http::{Error, client::Client},
    jobs::{Job, JobContext, JobError, Jobs},
    module::{Api, Module, Mount, Registry},
    trace::{self, Baggage},
};
use omnistack_testkit::{
    mock_server::{MockResponse, MockServer},
    on_each_database,
};
use serde::{Deserialize, Serialize};
use utoipa_axum::routes;

use super::{traces::PARENT, *};

const CARRIED: &str = "userId=Am%C3%A9lie;new, not valid, serverNode = DF%2028";
const SENT: &str = "userId=Am%C3%A9lie;new,serverNode=DF%2028";

/// A module whose route calls a service three times, and once more by a job.
struct Relay {
    service: String,
}

impl Module for Relay {
    fn name(&self) -> &'static str {
        "relay"
    }

    fn register(&self, registry: &mut Registry) {
        let (service, of_job) = (self.service.clone(), self.service.clone());
        registry.require::<Client>();
        let api = Api::new().routes(routes!(forward));
        registry.routes(Mount::public("/relay"), api, move |ctx| Ok((ctx.get()?, ctx.get()?, service)));
        registry.job::<Forward>(move |ctx| Ok((ctx.get()?, of_job)));
    }
}

#[utoipa::path(post, path = "/calls", operation_id = "forward", responses((status = 200, body = String)))]
async fn forward(State((client, jobs, service)): State<(Client, Jobs, String)>) -> Result<String, Error> {
    let baggage = Baggage::current();
    call(&client, &service, "/as-received").await?;
    trace::with_baggage(baggage.with("region", "Nelson, NZ"), call(&client, &service, "/with-more")).await?;
    trace::with_baggage(Baggage::default(), call(&client, &service, "/without")).await?;
    jobs.enqueue(Forward {}).await.map_err(Error::internal)?;
    Ok(baggage.get("userId").unwrap_or_default().into_owned())
}

async fn call(client: &Client, service: &str, path: &str) -> Result<(), Error> {
    client.get(format!("{service}{path}")).send().await.map(drop).map_err(Error::internal)
}

#[derive(Serialize, Deserialize)]
struct Forward {}

#[async_trait]
impl Job for Forward {
    const NAME: &'static str = "relay.forward";
    type State = (Client, String);

    async fn run(self, (client, service): &(Client, String), _: &JobContext) -> Result<(), JobError> {
        assert!(Baggage::current().is_empty());
        client.get(format!("{service}/by-job")).send().await?;
        Ok(())
    }
}

/// Sends a request with baggage. Returns the response, and the headers `baggage` and whether there was a `traceparent`
/// of each call of the app, by their paths.
async fn relay(database: TestDatabase, settings: &[(&str, &str)]) -> (String, Vec<(String, Option<String>, bool)>) {
    let service = MockServer::start().await;
    service.expect_any().times(4).reply(MockResponse::status(204));
    let url = service.url().to_owned();
    let app = start(database, |app| {
        settings.iter().fold(app.with(Relay { service: url }), |app, (name, value)| app.set(*name, *value))
    })
    .await;
    let request = app.anonymous().post("/api/v1/public/relay/calls", ()).header("traceparent", PARENT);
    let response = request.header("baggage", CARRIED).await.expect(200).text();
    assert_eq!(app.run_jobs().await, 1);
    app.app().stop().await;
    let calls = service.requests().into_iter().map(|call| {
        let baggage = call.header("baggage").map(ToOwned::to_owned);
        (call.path.clone(), baggage, call.header("traceparent").is_some())
    });
    (response, calls.collect())
}

fn calls(as_received: Option<&str>, with_more: Option<&str>, traced: bool) -> Vec<(String, Option<String>, bool)> {
    let calls = [("/as-received", as_received), ("/with-more", with_more), ("/without", None), ("/by-job", None)];
    calls.map(|(path, baggage)| (path.to_owned(), baggage.map(ToOwned::to_owned), traced)).into()
}

on_each_database! {
    async fn baggage_is_sent_on_until_the_queue(database: TestDatabase) {
        let (response, made) = relay(database, &[]).await;
        assert_eq!(response, "Amélie");
        assert_eq!(made, calls(Some(SENT), Some(&format!("{SENT},region=Nelson%2C%20NZ")), true));
    }

    async fn baggage_is_sent_on_from_a_recorded_span(database: TestDatabase) {
        let (response, made) = relay(database, &[("OTEL_EXPORTER", "console")]).await;
        assert_eq!(response, "Amélie");
        assert_eq!(made, calls(Some(SENT), Some(&format!("{SENT},region=Nelson%2C%20NZ")), true));
    }

    async fn baggage_is_not_accepted_by_setting(database: TestDatabase) {
        let (response, made) = relay(database, &[("OTEL_PROPAGATORS", "tracecontext")]).await;
        assert_eq!((response.as_str(), made), ("", calls(None, None, true)));
    }

    async fn nothing_is_propagated_by_setting(database: TestDatabase) {
        let (response, made) = relay(database, &[("OTEL_PROPAGATORS", "none")]).await;
        assert_eq!((response.as_str(), made), ("", calls(None, None, false)));
    }
}

/// Returns the problems of an app with these settings.
fn problems<const N: usize>(settings: [(&'static str, &'static str); N]) -> String {
    let mut config = omnistack_core::config::Config::from_pairs([("DATABASE_URL", "sqlite::memory:")]);
    for (name, value) in settings {
        config = config.with(name, value);
    }
    let built = omnistack_core::app::App::builder(config).with(Observability::from_env()).build();
    match built {
        Ok(_) => String::new(),
        Err(problems) => problems.to_string(),
    }
}

#[tokio::test]
async fn an_unknown_propagator_is_a_problem() {
    let problems = problems([("OTEL_PROPAGATORS", "tracecontext,b3")]);
    assert!(problems.contains("OTEL_PROPAGATORS") && problems.contains("`b3` is no propagator"), "{problems}");
}

#[tokio::test]
async fn a_receiver_that_can_get_nothing_is_a_problem() {
    let (endpoint, zipkin) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_ZIPKIN_ENDPOINT");
    let headers = "OTEL_EXPORTER_OTLP_HEADERS";
    for (by, name, value) in [
        (("OTEL_EXPORTER", "otlp"), endpoint, "collector:4318"),
        (("METRICS_OTLP", "true"), endpoint, "collector"),
        (("OTEL_EXPORTER", "zipkin"), zipkin, "swordfish@zipkin"),
        (("OTEL_EXPORTER", "otlp"), headers, "swordfish"),
        (("METRICS_OTLP", "true"), headers, "x-token=sword%0Afish"),
    ] {
        let found = problems([by, (name, value)]);
        assert!(found.contains(name) && !found.contains("sword"), "{by:?} {name}={value}: {found}");
    }
    // Nothing is sent there.
    assert_eq!(problems([(endpoint, "collector"), (zipkin, "zipkin")]), "");
    assert_eq!(problems([("OTEL_EXPORTER", "otlp"), (headers, "authorization=Bearer%20abc,x-team=7")]), "");
}
