//! A module that contributes settings, routes, a layer, a health check and a background service.

use std::time::Duration;

use axum::{extract::State, middleware::Next};
use garde::Validate;
use omnistack::{
    BoxError, ShutdownToken,
    http::{Envelope, HeaderValue, Rate, Request, Response},
    prelude::*,
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;

// ANCHOR: settings
omnistack::settings! {
    /// Settings of the greetings module.
    pub struct GreetingSettings {
        /// The name to greet if the request has no `name`.
        pub name: String = "GREETING_NAME", default "world";
        /// The time between two greetings in the log.
        pub every: Duration = "GREETING_EVERY", default "1m", range "1s"..="1d";
    }
}
// ANCHOR_END: settings

// ANCHOR: register
/// The greetings module.
#[derive(Debug)]
pub struct Greetings;

impl Module for Greetings {
    fn name(&self) -> &'static str {
        "greetings"
    }

    fn register(&self, registry: &mut Registry) {
        let Some(settings) = registry.config::<GreetingSettings>() else {
            return;
        };
        let every = settings.every;
        registry
            .provide(Greeter { name: settings.name.into() })
            .routes(
                Mount::public("/greetings").rate_limit(Rate::per_minute(60)),
                Api::new().routes(routes!(greet)),
                Context::get,
            )
            .routes(Mount::public("/greetings").v2(), Api::new().routes(routes!(greet_v2)), Context::get)
            .layer(Slot::Route, |_| Ok(axum::middleware::from_fn(set_content_language)))
            .health("greeter", |ctx| {
                let greeter = ctx.get::<Greeter>()?;
                Ok(move || {
                    let greeter = greeter.clone();
                    async move { greeter.check() }
                })
            })
            .background_service("greeter", move |ctx| {
                let greeter = ctx.get::<Greeter>()?;
                Ok(move |shutdown| log_greetings(greeter.clone(), every, shutdown))
            })
            .banner("greets", || "GET /api/v1/public/greetings".into());
    }
}
// ANCHOR_END: register

// ANCHOR: handler
/// The state of the handlers. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Greeter {
    name: std::sync::Arc<str>,
}

/// Query parameters of a greeting.
#[derive(Debug, Deserialize, Validate, IntoParams)]
pub struct GreetingQuery {
    /// The name to greet.
    #[garde(inner(length(chars, min = 1, max = 100)))]
    #[param(min_length = 1, max_length = 100)]
    pub name: Option<String>,
}

/// A greeting.
#[derive(Debug, Serialize, ToSchema)]
pub struct Greeting {
    /// The text of the greeting.
    pub text: String,
}

/// Get a greeting
#[utoipa::path(get, path = "/", operation_id = "get_greeting", params(GreetingQuery), responses((status = 200, body = Greeting)))]
async fn greet(State(greeter): State<Greeter>, Query(whom): Query<GreetingQuery>) -> Json<Greeting> {
    Json(greeter.greet(whom.name.as_deref()))
}
// ANCHOR_END: handler

// ANCHOR: v2
/// Get a greeting
#[utoipa::path(get, path = "/", operation_id = "get_greeting", params(GreetingQuery), responses((status = 200, body = Envelope<Greeting>)))]
async fn greet_v2(
    State(greeter): State<Greeter>,
    Query(whom): Query<GreetingQuery>,
    meta: Meta,
) -> Json<Envelope<Greeting>> {
    Json(meta.wrap(greeter.greet(whom.name.as_deref())))
}
// ANCHOR_END: v2

impl Greeter {
    fn greet(&self, name: Option<&str>) -> Greeting {
        Greeting { text: format!("Hello, {}!", name.unwrap_or(&self.name)) }
    }

    fn check(&self) -> Result<(), BoxError> {
        if self.name.is_empty() { Err("`GREETING_NAME` is empty: set it to a name".into()) } else { Ok(()) }
    }
}

// ANCHOR: service
async fn log_greetings(greeter: Greeter, every: Duration, shutdown: ShutdownToken) -> Result<(), BoxError> {
    loop {
        tokio::select! {
            () = tokio::time::sleep(every) => tracing::info!(greeting = greeter.greet(None).text, "greeting"),
            () = shutdown.cancelled() => return Ok(()),
        }
    }
}
// ANCHOR_END: service

// ANCHOR: layer
async fn set_content_language(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    response.headers_mut().insert("content-language", HeaderValue::from_static("en"));
    response
}
// ANCHOR_END: layer
