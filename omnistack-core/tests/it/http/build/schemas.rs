//! Tests of schemas with the same name, of which the OpenAPI document can contain only one.

use omnistack_core::{
    http::Json,
    module::{Api, Mount},
};
use utoipa_axum::routes;

use super::{builder, named, refused};

mod orders {
    #[derive(serde::Serialize, utoipa::ToSchema)]
    pub(super) struct Status {
        paid: bool,
    }

    /// Get the payment status
    #[utoipa::path(get, path = "/", responses((status = 200, body = Status)))]
    pub(super) async fn status() -> super::Json<Status> {
        super::Json(Status { paid: true })
    }
}

mod parcels {
    #[derive(serde::Serialize, utoipa::ToSchema)]
    pub(super) struct Status {
        place: String,
    }

    /// Get the delivery status
    #[utoipa::path(get, path = "/", responses((status = 200, body = Status)))]
    pub(super) async fn status() -> super::Json<Status> {
        super::Json(Status { place: String::new() })
    }
}

#[tokio::test]
async fn two_of_one_name_have_to_be_the_same() {
    let orders = |path| named(path, Mount::public(format!("/{path}")), Api::new().routes(routes!(orders::status)));
    let parcels = named("parcels", Mount::public("/parcels"), Api::new().routes(routes!(parcels::status)));
    builder(&[]).with(orders("orders")).with(orders("returns")).build().unwrap();
    refused(
        builder(&[]).with(orders("orders")).with(parcels),
        "
the app can't be built: 1 problem

  - parcels: has a schema named `Status`, which differs from the schema of that name of module `orders`
      fix: give one of them another name: `#[schema(as = …)]`
",
    );
}

#[tokio::test]
async fn an_id_of_an_operation_occurs_once() {
    let orders = |name, mount| named(name, mount, Api::new().routes(routes!(orders::status)));
    let (one, other) = (Mount::public("/orders"), Mount::public("/old/orders"));
    let apart = builder(&[]).with(orders("orders", one.clone()));
    apart.with(orders("old", other.clone().operation_prefix("old"))).build().unwrap();
    refused(
        builder(&[]).with(orders("orders", one)).with(orders("old", other)),
        "
the app can't be built: 1 problem

  - old: has two operations with the id `statusOrders`: GET /api/v1/public/old/orders and GET /api/v1/public/orders
      fix: rename one with `operation_id = \"verb_resource\"`, or use `Mount::operation_prefix`
",
    );
}
