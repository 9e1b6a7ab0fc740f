//! Tests of an app's own code in a resource: hooks, refused fields, an own route in place of one, lists by hand.

mod mounts;

use async_trait::async_trait;
use axum::extract::State;
use garde::Validate;
use omnistack_core::{
    clock::Timestamp,
    crud::{self, Column, Crud, ListPage, ListRequest, Resource, ResourceHooks, RowValues, Verb},
    db::{Arguments, Db, Migration, Sql, Tx},
    http::{Error, FieldError, Json, Patch, StatusCode},
    id::Id,
    identity::Identity,
    module::{Api, Context, MissingDependency, Module, Mount, Registry},
};
use omnistack_testkit::{TestApp, TestClient, TestDatabase, TestResponse, on_each_database};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;
use utoipa_axum::routes;

const SEATS: &str = "/api/v1/app/seats";
const VIPS: &str = "/api/v1/app/vips";

/// A seat from a row to a row, with a note of what its hooks have done.
#[derive(Debug, Serialize, ToSchema, omnistack_core::db::FromRow)]
struct Seat {
    id: Id<Seat>,
    name: String,
    first: i64,
    last: i64,
    note: Option<String>,
    created_at: Timestamp,
    updated_at: Timestamp,
    deleted_at: Option<Timestamp>,
}

#[derive(Debug, Deserialize, Validate, ToSchema)]
#[garde(allow_unvalidated)]
struct NewSeat {
    name: String,
    first: i64,
    last: i64,
}

#[derive(Debug, Deserialize, Validate, ToSchema)]
#[garde(allow_unvalidated)]
struct SeatChange {
    name: Option<String>,
    last: Option<i64>,
    #[serde(default)]
    note: Patch<String>,
}

impl Resource for Seat {
    const NAME: &'static str = "seat";
    const TABLE: &'static str = "seats";
    const COLUMNS: &'static [Column] = &[
        Column::text("name").sortable().filterable(),
        Column::integer("first").filterable(),
        Column::integer("last"),
        Column::text("note"),
    ];
    type Create = NewSeat;
    type Update = SeatChange;

    fn id(&self) -> Id<Self> {
        self.id
    }

    fn create(new: NewSeat, fields: &mut RowValues) {
        if new.last < new.first {
            fields.refuse("last", "must not be before `first`");
        }
        if new.name == "refused" {
            fields.refuse("name", "is refused");
        }
        fields.set("name", new.name).set("first", new.first).set("last", new.last).set("note", None::<String>);
    }

    fn update(change: SeatChange, fields: &mut RowValues) {
        if change.name.as_deref() == Some("refused") {
            fields.refuse("name", "is refused");
        }
        fields.set_if_some("name", change.name).set_if_some("last", change.last);
        fields.set_if_some("note", change.note.into_nested_option());
    }
}

/// Hooks that keep a protocol in the table `calls`, and refuse what is named `forbidden`.
struct Protocol;

impl Protocol {
    async fn write(tx: &mut Tx, caller: &Identity, what: String) -> Result<(), Error> {
        let insert = tx.query("insert into calls (tenant_id, what) values ($1, $2)");
        insert.bind(caller.require_tenant()?).bind(what).execute().await?;
        Ok(())
    }
}

fn forbidden() -> Error {
    Error::invalid([FieldError::new("name", "is forbidden")])
}

#[async_trait]
impl ResourceHooks<Seat> for Protocol {
    async fn before_create(
        &self,
        tx: &mut Tx,
        caller: &Identity,
        new: &mut NewSeat,
        fields: &mut RowValues,
    ) -> Result<(), Error> {
        new.name = new.name.trim().into();
        fields.set("note", format!("for {} rows", new.last - new.first));
        Self::write(tx, caller, format!("before_create {}", new.name)).await
    }

    async fn after_create(&self, tx: &mut Tx, caller: &Identity, row: &Seat) -> Result<(), Error> {
        Self::write(tx, caller, format!("after_create {}", row.name)).await?;
        if row.name == "forbidden" { Err(forbidden()) } else { Ok(()) }
    }

    async fn before_update(
        &self,
        tx: &mut Tx,
        caller: &Identity,
        row: &Seat,
        change: &mut SeatChange,
        fields: &mut RowValues,
    ) -> Result<(), Error> {
        if change.last.is_some_and(|last| last < row.first) {
            fields.refuse("last", "must not be before `first`");
        }
        Self::write(tx, caller, format!("before_update {}", row.name)).await
    }

    async fn after_update(&self, tx: &mut Tx, caller: &Identity, before: &Seat, row: &Seat) -> Result<(), Error> {
        Self::write(tx, caller, format!("after_update {} {}", before.name, row.name)).await?;
        if row.name == "forbidden" { Err(forbidden()) } else { Ok(()) }
    }

    async fn after_delete(&self, tx: &mut Tx, caller: &Identity, row: &Seat) -> Result<(), Error> {
        Self::write(tx, caller, format!("after_delete {}", row.name)).await?;
        if row.name == "kept" { Err(Error::conflict("SEAT_KEPT", "this seat is kept")) } else { Ok(()) }
    }

    async fn after_restore(&self, tx: &mut Tx, caller: &Identity, row: &Seat) -> Result<(), Error> {
        Self::write(tx, caller, format!("after_restore {}", row.name)).await?;
        if row.name == "gone" { Err(Error::conflict("SEAT_GONE", "this seat is gone")) } else { Ok(()) }
    }
}

/// Create a seat by hand
#[utoipa::path(post, path = "/", operation_id = "create_seat", request_body = NewSeat, responses((status = 202, body = Seat)))]
async fn create_by_hand(
    State(seats): State<Crud<Seat>>,
    caller: Identity,
    Json(new): Json<NewSeat>,
) -> Result<(StatusCode, Json<Seat>), Error> {
    Ok((StatusCode::ACCEPTED, Json(seats.create(&caller, new).await?)))
}

/// Update a seat by hand
#[utoipa::path(patch, path = "/{id}", operation_id = "update_seat", params(("id" = String, Path)), responses((status = 418)))]
async fn update_by_hand(State(_db): State<Db>) -> StatusCode {
    StatusCode::IM_A_TEAPOT
}

/// List the seats in the first row
#[utoipa::path(get, path = "/", operation_id = "list_vips", params(ListRequest<Seat>), responses((status = 200, body = ListPage<Seat>)))]
async fn list_vips(
    State(seats): State<Crud<Seat>>,
    caller: Identity,
    request: ListRequest<Seat>,
) -> Result<ListPage<Seat>, Error> {
    let front = |args: &mut Arguments| format!("first = ${} or first = ${}", args.push(1_i64), args.push(-1_i64));
    seats.list(&caller, &request.with_condition(front)).await
}

fn seats(ctx: &Context) -> Result<Crud<Seat>, MissingDependency> {
    Ok(Crud::from_ctx(ctx)?.hooks(Protocol))
}

/// The seats; with its own routes in place of two, if `bent`.
struct Hall {
    bent: bool,
}

impl Module for Hall {
    fn name(&self) -> &'static str {
        "hall"
    }

    fn register(&self, registry: &mut Registry) {
        registry.migrations(&[Migration { name: "0001_hall", postgres: POSTGRES, sqlite: SQLITE }]);
        registry.tenant_tables(["calls"]);
        if !self.bent {
            registry.resource(Mount::app("/seats"), crud::resource::<Seat>().hooks(|_| Ok(Protocol)));
            return;
        }
        let own = crud::routes::<Seat>().without(Verb::Create).without(Verb::Update).without(Verb::Delete);
        registry
            .routes(Mount::app("/seats"), own.routes(routes!(create_by_hand)), seats)
            .routes(Mount::app("/seats"), Api::new().routes(routes!(update_by_hand)), Context::get)
            .routes(Mount::app("/vips"), Api::new().routes(routes!(list_vips)), seats);
    }
}

const POSTGRES: &str = "
create table seats (
    id uuid primary key, tenant_id uuid not null, name text not null, first bigint not null, last bigint not null, note text,
    created_at timestamptz not null, updated_at timestamptz not null, deleted_at timestamptz,
    constraint seats_last_check check (last < 1000), constraint seats_check check (last <> 999)
);
create table calls (tenant_id uuid not null, what text not null);
select omnistack_protect('seats');
select omnistack_protect('calls');";

const SQLITE: &str = "
create table seats (
    id blob primary key, tenant_id blob not null, name text not null, first integer not null, last integer not null, note text,
    created_at text not null, updated_at text not null, deleted_at text,
    constraint seats_last_check check (last < 1000), constraint seats_check check (last <> 999)
) strict;
create table calls (tenant_id blob not null, what text not null) strict;";

on_each_database! {
    async fn hooks_run_in_the_transaction_of_the_change(database: TestDatabase) {
        let app = TestApp::start(database, |app| app.with(Hall { bent: false })).await;
        let caller = app.user();
        let created = caller.post(SEATS, json!({"name": " a ", "first": 1, "last": 3})).await.expect(201);
        assert_eq!((&created.json()["name"], &created.json()["note"]), (&json!("a"), &json!("for 2 rows")));
        let one = created.header("location").unwrap().to_owned();
        caller.patch(&one, json!({"name": "b"})).await.expect(200);
        caller.patch(&one, json!({})).await.expect(200);
        caller.delete(&one).await.expect(204);
        restore(&caller, &one).await.expect(200);
        let expected = [
            "before_create a", "after_create a", "before_update a", "after_update a b", "before_update b",
            "after_delete b", "after_restore b",
        ];
        assert_eq!(calls(&app, &caller).await, expected);
    }

    async fn what_a_hook_refuses_is_not_stored(database: TestDatabase) {
        let app = TestApp::start(database, |app| app.with(Hall { bent: false })).await;
        let caller = app.user();
        let seat = |name: &str| json!({"name": name, "first": 1, "last": 3});
        let refused = caller.post(SEATS, seat("forbidden")).await;
        assert_eq!(fields(&refused), json!([{"field": "name", "message": "is forbidden"}]));
        assert_eq!(calls(&app, &caller).await, Vec::<String>::new());

        let create = async |name: &str| caller.post(SEATS, seat(name)).await.expect(201).header("location").unwrap().to_owned();
        let (one, kept, gone) = (create("one").await, create("kept").await, create("gone").await);
        caller.delete(&gone).await.expect(204);
        let before = calls(&app, &caller).await;
        fields(&caller.patch(&one, json!({"name": "forbidden"})).await);
        caller.delete(&kept).await.expect_error(409, "SEAT_KEPT");
        restore(&caller, &gone).await.expect_error(409, "SEAT_GONE");
        assert_eq!(calls(&app, &caller).await, before);
        assert_eq!(caller.get(&one).await.expect(200).json()["name"], "one");
        caller.get(&kept).await.expect(200);
        caller.get(&gone).await.expect_error(404, "NOT_FOUND");
    }

    async fn a_refused_field_is_named(database: TestDatabase) {
        let app = TestApp::start(database, |app| app.with(Hall { bent: false })).await;
        let caller = app.user();
        let refused = caller.post(SEATS, json!({"name": "refused", "first": 3, "last": 1})).await;
        let (last, name) = (
            json!({"field": "last", "message": "must not be before `first`"}),
            json!({"field": "name", "message": "is refused"}),
        );
        assert_eq!(fields(&refused), json!([last, name]));
        let one = caller.post(SEATS, json!({"name": "a", "first": 3, "last": 3})).await.expect(201);
        let one = one.header("location").unwrap().to_owned();
        let refused = caller.patch(&one, json!({"name": "refused", "last": 2})).await;
        assert_eq!(fields(&refused), json!([last, name]), "both by the hook and by the resource");
        assert_eq!(caller.get(&one).await.expect(200).json()["last"], 3);
    }

    async fn a_refused_check_is_named_with_its_column(database: TestDatabase) {
        let app = TestApp::start(database, |app| app.with(Hall { bent: false })).await;
        let caller = app.user();
        for (last, constraint, fields) in [
            (1000, "seats_last_check", json!([{"field": "last", "message": "is not allowed"}])),
            (999, "seats_check", json!(null)),
        ] {
            let refused = caller.post(SEATS, json!({"name": "a", "first": 1, "last": last})).await;
            let details = refused.expect_error(422, "INVALID_VALUE").json()["error"]["details"].clone();
            assert_eq!((&details["constraint"], &details["fields"]), (&json!(constraint), &fields));
        }
    }

    async fn an_own_route_takes_the_place_of_one(database: TestDatabase) {
        let app = TestApp::start(database, |app| app.with(Hall { bent: true })).await;
        let caller = app.user();
        let created = caller.post(SEATS, json!({"name": "a", "first": 1, "last": 2})).await.expect(202).json();
        let one = format!("{SEATS}/{}", created["id"].as_str().unwrap());
        caller.patch(&one, json!({})).await.expect(418);
        assert_eq!(caller.get(&one).await.expect(200).json(), created);
        assert_eq!(caller.get(SEATS).await.expect(200).json()["items"], json!([created]));
        let refused = caller.delete(&one).await.expect_error(405, "METHOD_NOT_ALLOWED");
        let allowed = refused.header("allow").unwrap_or_default().to_owned();
        assert!(allowed.contains("GET") && allowed.contains("PATCH") && !allowed.contains("DELETE"), "{allowed}");
        app.anonymous().delete(&one).await.expect_error(401, "UNAUTHORIZED");

        let document = app.anonymous().get("/openapi.json").await.expect(200).json();
        let (all, item) = (&document["paths"][SEATS], &document["paths"][format!("{SEATS}/{{id}}")]);
        assert_eq!(all["post"]["summary"], "Create a seat by hand");
        assert_eq!(all["get"]["summary"], "Lists seats");
        assert_eq!(item["patch"]["summary"], "Update a seat by hand");
        assert_eq!((item["get"].is_object(), item["delete"].is_object()), (true, false));
    }

    async fn a_list_by_hand_has_the_pages_of_a_resource(database: TestDatabase) {
        let app = TestApp::start(database, |app| app.with(Hall { bent: true })).await;
        let (caller, other) = (app.user(), app.user());
        for (client, name, first) in [(&caller, "a", 1), (&caller, "b", 2), (&caller, "c", 1), (&caller, "d", -1), (&other, "e", 1)] {
            client.post(SEATS, json!({"name": name, "first": first, "last": 9})).await.expect(202);
        }
        let names = |page: &Value| -> Vec<String> {
            page["items"].as_array().unwrap().iter().map(|row| row["name"].as_str().unwrap().to_owned()).collect()
        };
        let page = caller.get(format!("{VIPS}?sort=name&limit=2")).await.expect(200);
        assert_eq!(names(&page.json()), ["a", "c"]);
        let next = page.next_link().unwrap();
        assert!(next.starts_with(VIPS) && next.contains("sort=name"), "{next}");
        let rest = caller.get(next).await.expect(200);
        assert_eq!((names(&rest.json()), rest.next_link()), (vec!["d".to_owned()], None));

        let numbered = caller.get(format!("{VIPS}?sort=-name&page=1&page_size=2")).await.expect(200).json();
        assert_eq!((names(&numbered), &numbered["total"]), (vec!["d".into(), "c".into()], &json!(3)));
        assert_eq!(names(&caller.get(format!("{VIPS}?first=2")).await.expect(200).json()), Vec::<String>::new());
        caller.get(format!("{VIPS}?colour=red")).await.expect_error(422, "VALIDATION_FAILED");
        caller.get(format!("{VIPS}?cursor=x")).await.expect_error(422, "VALIDATION_FAILED");

        let document = app.anonymous().get("/openapi.json").await.expect(200).json();
        let operation = |path: &str| document["paths"][path]["get"].clone();
        assert_eq!(operation(VIPS)["parameters"], operation(SEATS)["parameters"]);
        for path in [VIPS, SEATS] {
            let schema = &operation(path)["responses"]["200"]["content"]["application/json"]["schema"];
            assert_eq!(schema, &json!({"$ref": "#/components/schemas/ListPage_Seat"}), "{path}");
        }
    }

    async fn a_list_in_code_has_both_kinds_of_pages(database: TestDatabase) {
        let app = TestApp::start(database, |app| app.with(Hall { bent: false })).await;
        let caller = app.user();
        for name in ["a", "b", "c"] {
            caller.post(SEATS, json!({"name": name, "first": 1, "last": 2})).await.expect(201);
        }
        let (seats, identity) = (app.app().context().get::<Crud<Seat>>().unwrap(), caller.identity().unwrap());
        let numbered = seats.list(identity, &ListRequest::parse("page=2&page_size=2&sort=name").unwrap()).await.unwrap();
        assert_eq!((numbered.total(), numbered.next_cursor(), numbered.items().len()), (Some(3), None, 1));
        let first = seats.list(identity, &ListRequest::parse("limit=2&sort=name").unwrap()).await.unwrap();
        let next = format!("limit=2&sort=name&cursor={}", first.next_cursor().unwrap());
        let rest = seats.list(identity, &ListRequest::parse(&next).unwrap()).await.unwrap().map(|seat| seat.name);
        assert_eq!((first.total(), rest.into_items()), (None, vec!["c".to_owned()]));

        let mut tx = seats.begin(identity).await.unwrap();
        let all = seats.list_in(&mut tx, identity, &ListRequest::parse("sort=-name").unwrap()).await.unwrap().into_items();
        let locked = seats.get_for_update_in(&mut tx, identity, all[0].id).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!((all.len(), locked.name.as_str()), (3, "c"));
    }
}

/// Returns what the hooks have written for the caller's tenant, in order.
async fn calls(app: &TestApp, caller: &TestClient) -> Vec<String> {
    let tenant = caller.identity().unwrap().tenant.unwrap();
    let order = Sql {
        postgres: "select what from calls where tenant_id = $1 order by ctid",
        sqlite: "select what from calls where tenant_id = $1 order by rowid",
    };
    let mut tx = app.db().tenant(tenant).begin_read().await.unwrap();
    let rows: Vec<(String,)> = tx.query(order).bind(tenant).fetch_all().await.unwrap();
    rows.into_iter().map(|(what,)| what).collect()
}

fn fields(response: &TestResponse) -> Value {
    assert_eq!(response.status, 422, "{}", response.text());
    assert_eq!(response.json()["error"]["code"], "VALIDATION_FAILED");
    response.json()["error"]["details"]["fields"].clone()
}

async fn restore(client: &TestClient, path: &str) -> TestResponse {
    client.request(http::Method::POST, format!("{path}/restore")).await
}
