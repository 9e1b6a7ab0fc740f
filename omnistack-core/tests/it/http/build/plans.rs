//! Tests of limited resources that are declared never or twice.

use omnistack_core::{http::StatusCode, identity::Require};
use utoipa_axum::routes;

use super::*;

#[utoipa::path(post, path = "/", responses((status = 204)))]
async fn create_order() -> StatusCode {
    StatusCode::NO_CONTENT
}

/// Returns a module that declares the resource `orders`.
fn orders(name: &'static str) -> InlineModule {
    module(name, |registry| {
        registry.limited_resource("orders", |_| Ok(|_| async { Ok(0) }));
    })
}

/// Returns a module with a route that requires a limit of `orders`.
fn limited() -> InlineModule {
    module("shop", |registry| {
        let api = Api::<()>::new().require(Require::limit("orders"), routes!(create_order));
        registry.routes(Mount::app("/orders"), api, |_| Ok(()));
    })
}

#[tokio::test]
async fn a_limit_of_a_resource_that_no_module_declares_is_named() {
    // The order of the modules has no effect.
    builder(&[]).with(limited()).with(orders("orders")).with(DevIdentity::default()).build().unwrap();
    refused(
        builder(&[]).with(limited()).with(DevIdentity::default()),
        "
the app can't be built: 1 problem

  - shop: has a route that requires a limit of `orders`, which no module declares
      fix: declare it with `registry.limited_resource(\"orders\", …)`
",
    );
}

#[tokio::test]
async fn a_resource_that_two_modules_declare_is_named() {
    refused(
        builder(&[]).with(orders("orders")).with(orders("purchases")),
        "
the app can't be built: 1 problem

  - purchases: declares the limited resource `orders`, which another module has declared
      fix: give one of them another name
",
    );
}
