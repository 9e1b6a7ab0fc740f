//! A minimal app: one route, besides the health checks, the OpenAPI document and its pages.

use omnistack::prelude::*;

struct Hello;

impl Module for Hello {
    fn name(&self) -> &'static str {
        "hello"
    }

    fn register(&self, registry: &mut Registry) {
        registry.routes(Mount::public("/hello"), Api::new().routes(routes!(hello)), |_| Ok(()));
    }
}

/// Say hello
#[utoipa::path(get, path = "/", responses((status = 200, body = String)))]
async fn hello() -> Json<&'static str> {
    Json("hello")
}

#[tokio::main]
async fn main() -> omnistack::Result<()> {
    App::from_env().with(Hello).run().await
}
