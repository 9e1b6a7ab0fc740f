//! Tests of rooms and bookings over the HTTP API, on each database.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by a panic")]

use bookings::bookings::DeleteOldBookings;
use omnistack::{
    app::AppBuilder,
    email::{FindUserContact, UserContact, UserContacts},
    flags::{FlagDefinition, Flags},
    identity::Permissions,
    prelude::*,
};
use omnistack_testkit::{TestApp, TestClient, TestDatabase, on_each_database};
use serde_json::{Value, json};

const ROOMS: &str = "/api/v1/app/rooms";
const BOOKINGS: &str = "/api/v1/app/bookings";
const NINE: &str = "2030-01-02T09:00:00Z";
const TEN: &str = "2030-01-02T10:00:00Z";
const ELEVEN: &str = "2030-01-02T11:00:00Z";
const NOON: &str = "2030-01-02T12:00:00Z";

/// A directory with an address for each user.
struct Directory;

#[async_trait]
impl FindUserContact for Directory {
    async fn find(&self, user: UserId, _: Option<TenantId>) -> Result<Option<UserContact>, omnistack::db::Error> {
        Ok(address(user).parse().ok().map(|address| UserContact::new(address, Some("de-AT".into()))))
    }
}

fn address(user: UserId) -> String {
    format!("{user}@example.com")
}

async fn start(database: TestDatabase) -> TestApp {
    let app =
        |app: AppBuilder| bookings::app(app).set("STORAGE_PROVIDER", "memory").replace(UserContacts::new(Directory));
    TestApp::start(database, app).await
}

/// Creates a room with a price of 24 euros an hour. Returns its id.
async fn room(client: &TestClient, name: &str) -> String {
    let price = json!({"amount": "24.00", "currency": "EUR"});
    let room = json!({"name": name, "kind": "meeting_room", "seats": 8, "hourly_price": price});
    client.post(ROOMS, room).await.expect(201).json()["id"].as_str().unwrap().to_owned()
}

fn booking(room: &str, starts_at: &str, ends_at: &str) -> Value {
    json!({"room_id": room, "starts_at": starts_at, "ends_at": ends_at})
}

/// Creates a booking. Returns its path.
async fn book(client: &TestClient, room: &str, starts_at: &str, ends_at: &str) -> String {
    let created = client.post(BOOKINGS, booking(room, starts_at, ends_at)).await.expect(201);
    created.header("location").unwrap().to_owned()
}

/// Returns a client for another user of the same tenant.
fn colleague(app: &TestApp, client: &TestClient, permissions: &[&'static str]) -> TestClient {
    let user = app.user().identity().unwrap().user;
    let permissions = Permissions::new(permissions.iter().copied()).unwrap();
    app.client_as(
        Identity::user(user).with_permissions(permissions).for_tenant(client.identity().unwrap().tenant.unwrap()),
    )
}

on_each_database! {
    async fn a_room_has_a_kind_and_a_price(database: TestDatabase) {
        let app = start(database).await;
        let ada = app.user();
        let blue = format!("{ROOMS}/{}", room(&ada, "Blue").await);
        let stored = ada.get(&blue).await.expect(200).json();
        assert_eq!((&stored["kind"], &stored["hourly_price"]), (&json!("meeting_room"), &json!({"amount": "24.00", "currency": "EUR"})));
        for kind in ["desk", "hall"] {
            assert_eq!(ada.get(format!("{ROOMS}?kind={kind}")).await.expect(200).json()["items"], json!([]));
        }
        assert_eq!(ada.get(format!("{ROOMS}?kind=meeting_room")).await.expect(200).json()["items"], json!([stored]));
        for price in [json!({"amount": "1.00", "currency": "USD"}), json!({"amount": "-1.00", "currency": "EUR"})] {
            let refused = ada.patch(&blue, json!({"hourly_price": price})).await.expect_error(422, "VALIDATION_FAILED");
            assert_eq!(refused.json()["error"]["details"]["fields"][0]["field"], "hourly_price");
        }
        for (seats, status) in [(0, 422), (1, 200), (1_000, 200), (1_001, 422)] {
            let changed = ada.patch(&blue, json!({ "seats": seats })).await.expect(status).json();
            let (found, expected) = match status {
                200 => (&changed["seats"], json!(seats)),
                _ => (&changed["error"]["details"]["fields"][0], json!({"field": "seats", "message": "must be from 1 to 1000"})),
            };
            assert_eq!(found, &expected);
        }
        let unknown = json!({"name": "Red", "kind": "cellar", "seats": 1, "hourly_price": stored["hourly_price"]});
        ada.post(ROOMS, unknown).await.expect_error(422, "VALIDATION_FAILED");
    }

    async fn the_plan_limits_rooms_and_a_deleted_name_is_free(database: TestDatabase) {
        let app = start(database).await;
        let ada = app.user();
        let blue = format!("{ROOMS}/{}", room(&ada, "Blue").await);
        room(&ada, "Red").await;
        room(&ada, "Green").await;
        let fourth = json!({"name": "Grey", "kind": "desk", "seats": 1, "hourly_price": {"amount": "1", "currency": "EUR"}});
        ada.post(ROOMS, &fourth).await.expect_error(402, "PLAN_LIMIT_REACHED");
        ada.delete(&blue).await.expect(204);
        room(&ada, "Blue").await;
        ada.post(format!("{blue}/restore"), ()).await.expect(409);
    }

    async fn bookings_of_a_room_never_overlap(database: TestDatabase) {
        let app = start(database).await;
        let ada = app.user();
        let (blue, red) = (room(&ada, "Blue").await, room(&ada, "Red").await);
        let first = book(&ada, &blue, NINE, ELEVEN).await;
        assert_eq!(ada.get(&first).await.expect(200).json()["price"], json!({"amount": "48.00", "currency": "EUR"}));
        for (starts_at, ends_at) in [(NINE, ELEVEN), (TEN, NOON), (NINE, TEN)] {
            let refused = ada.post(BOOKINGS, booking(&blue, starts_at, ends_at)).await.expect_error(409, "ROOM_TAKEN");
            assert!(first.ends_with(refused.json()["error"]["details"]["booking"].as_str().unwrap()));
        }
        book(&ada, &red, NINE, ELEVEN).await;
        let second = book(&ada, &blue, ELEVEN, NOON).await;
        ada.patch(&second, json!({"starts_at": TEN})).await.expect_error(409, "ROOM_TAKEN");
        ada.patch(&first, json!({"ends_at": TEN})).await.expect(200);
        assert_eq!(ada.patch(&second, json!({"starts_at": TEN})).await.expect(200).json()["price"]["amount"], "48.00");

        let refused = ada.post(BOOKINGS, booking(&blue, TEN, NINE)).await.expect_error(422, "VALIDATION_FAILED");
        assert_eq!(refused.json()["error"]["details"]["fields"][0]["field"], "ends_at");
        app.user().post(BOOKINGS, booking(&blue, "2031-01-01T00:00:00Z", "2031-01-01T01:00:00Z")).await.expect_error(404, "NOT_FOUND");

        ada.delete(&second).await.expect(204);
        book(&ada, &blue, TEN, NOON).await;
        ada.post(format!("{second}/restore"), ()).await.expect(404);
    }

    // ANCHOR: concurrency
    async fn one_of_many_at_once_gets_the_room(database: TestDatabase) {
        let app = start(database).await;
        let ada = app.user();
        let blue = room(&ada, "Blue").await;
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..12 {
            tasks.spawn(ada.post(BOOKINGS, booking(&blue, NINE, TEN)).into_future());
        }
        let mut statuses: Vec<u16> = tasks.join_all().await.iter().map(|response| response.status.as_u16()).collect();
        statuses.sort_unstable();
        assert_eq!((statuses[0], &statuses[1..]), (201, &[409; 11][..]));
    }
    // ANCHOR_END: concurrency

    async fn users_get_a_mail_at_once_and_before_the_booking(database: TestDatabase) {
        let app = start(database).await;
        let ada = app.user();
        let blue = room(&ada, "Blue").await;
        let one = book(&ada, &blue, NINE, TEN).await;
        app.run_events().await;
        app.run_jobs().await;
        let to = address(ada.identity().unwrap().user);
        let confirmed = app.sent_mails().to(&to);
        assert_eq!((confirmed.len(), confirmed.last().subject.as_str()), (1, "Blue, 02.01.2030, 09:00 Uhr UTC"));
        assert!(confirmed.link().ends_with(one.rsplit('/').next().unwrap()));

        ada.patch(&one, json!({"starts_at": "2030-01-02T09:30:00Z"})).await.expect(200);
        app.clock().advance(Duration::from_secs(32 * 3600 + 15 * 60));
        app.run_events().await;
        app.run_jobs().await;
        // At 8:15, the reminder of the first time was due, and the booking was moved.
        assert_eq!(app.sent_mails().to(&to).last().subject, "Blue, 02.01.2030, 09:30 Uhr UTC");
        app.clock().advance(Duration::from_secs(15 * 60));
        app.run_jobs().await;
        assert_eq!(app.sent_mails().to(&to).last().subject, "Bald: Blue, 02.01.2030, 09:30 Uhr UTC");
        assert_eq!(app.sent_mails().to(&to).len(), 3);
    }

    async fn other_users_need_a_permission(database: TestDatabase) {
        let app = start(database).await;
        let ada = app.user();
        let blue = room(&ada, "Blue").await;
        let one = book(&ada, &blue, NINE, TEN).await;
        let grace = colleague(&app, &ada, &["bookings:read", "bookings:write"]);
        grace.patch(&one, json!({"note": "mine"})).await.expect_error(403, "PERMISSION_DENIED");
        grace.delete(&one).await.expect_error(403, "PERMISSION_DENIED");
        grace.post(ROOMS, json!({})).await.expect_error(403, "PERMISSION_DENIED");
        let reader = colleague(&app, &ada, &["bookings:read"]);
        reader.get(&one).await.expect(200);
        reader.post(BOOKINGS, booking(&blue, TEN, ELEVEN)).await.expect_error(403, "PERMISSION_DENIED");
        let manager = colleague(&app, &ada, &["bookings:read", "bookings:write", "bookings:manage"]);
        manager.delete(&one).await.expect(204);
        app.user().get(&one).await.expect_error(404, "NOT_FOUND");
    }

    async fn the_calendar_of_a_room_needs_a_flag(database: TestDatabase) {
        let app = start(database).await;
        let ada = app.user();
        let (blue, red) = (room(&ada, "Blue").await, room(&ada, "Red").await);
        for (room, starts_at, ends_at) in [(&blue, NINE, TEN), (&blue, ELEVEN, NOON), (&red, NINE, TEN)] {
            book(&ada, room, starts_at, ends_at).await;
        }
        let calendar = format!("{ROOMS}/{blue}/bookings?sort=starts_at");
        ada.get(&calendar).await.expect(404);
        let flags: Flags = app.app().context().get().unwrap();
        flags.create(FlagDefinition::new("room-calendar"), app.operator().identity().unwrap()).await.unwrap();

        let first = ada.get(format!("{calendar}&limit=1")).await.expect(200);
        assert_eq!(first.json()["items"][0]["starts_at"], NINE);
        let next = ada.get(first.next_link().unwrap()).await.expect(200);
        assert_eq!((&next.json()["items"][0]["starts_at"], next.next_link()), (&json!(ELEVEN), None));
        let numbered = ada.get(format!("{calendar}&page=1&starts_at_gte={TEN}")).await.expect(200).json();
        assert_eq!((&numbered["total"], &numbered["items"][0]["starts_at"]), (&json!(1), &json!(ELEVEN)));
        ada.get(format!("{calendar}&colour=red")).await.expect_error(422, "VALIDATION_FAILED");
    }

    async fn a_room_has_a_floor_plan(database: TestDatabase) {
        let app = start(database).await;
        let ada = app.user();
        let blue = format!("{ROOMS}/{}", room(&ada, "Blue").await);
        let upload = async |name: &str, bytes: &'static [u8]| {
            let request = ada.request(omnistack::http::Method::POST, format!("/api/v1/app/files?name={name}"));
            request.body(bytes).await.expect(201).json()["id"].clone()
        };
        // The first bytes of a PNG file.
        let image = upload("plan.png", &b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"[..]).await;
        let text = upload("plan.txt", &b"a text"[..]).await;
        let put = async |client: &TestClient, file: &Value| {
            let request = client.request(omnistack::http::Method::PUT, format!("{blue}/floor-plan"));
            request.json(json!({"file": file})).await
        };
        put(&ada, &text).await.expect_error(422, "VALIDATION_FAILED");
        put(&app.user(), &image).await.expect_error(404, "NOT_FOUND");
        assert_eq!(put(&ada, &image).await.expect(200).json()["floor_plan"], image);
        assert_eq!(ada.get(&blue).await.expect(200).json()["floor_plan"], image);
    }

    async fn changes_are_audited_and_a_booked_room_stays(database: TestDatabase) {
        let app = start(database).await;
        let ada = app.user();
        let id = room(&ada, "Blue").await;
        let blue = format!("{ROOMS}/{id}");
        let one = book(&ada, &id, NINE, TEN).await;
        ada.patch(&blue, json!({"seats": 10})).await.expect(200);
        let refused = ada.delete(&blue).await.expect_error(409, "ROOM_BOOKED");
        assert_eq!(refused.json()["error"]["details"]["bookings"], 1);
        ada.get(&blue).await.expect(200);
        ada.delete(&one).await.expect(204);
        ada.delete(&blue).await.expect(204);
        let entries = app.operator().get("/api/v1/admin/audit-logs").await.expect(200).json();
        let actions: Vec<_> = entries["items"].as_array().unwrap().iter().map(|entry| entry["action"].as_str().unwrap()).collect();
        assert_eq!(actions, ["room.deleted", "booking.deleted", "room.updated", "room.created"]);
    }

    async fn old_bookings_are_deleted_after_the_time_of_the_setting(database: TestDatabase) {
        let app = |app: AppBuilder| bookings::app(app).set("STORAGE_PROVIDER", "memory").set("BOOKING_KEEP", "1d");
        let app = TestApp::start(database, app).await;
        let ada = app.user();
        let blue = room(&ada, "Blue").await;
        let (old, new) = (book(&ada, &blue, NINE, TEN).await, book(&ada, &blue, ELEVEN, NOON).await);
        // It is 11:00 on the day after the bookings.
        app.clock().advance(Duration::from_secs((2 * 24 + 11) * 3600));
        app.jobs().enqueue(DeleteOldBookings {}).await.unwrap();
        app.run_jobs().await;
        ada.get(&old).await.expect_error(404, "NOT_FOUND");
        ada.get(&new).await.expect(200);
    }
}

#[test]
fn the_module_has_fewer_lines_of_code_than_the_book_says() {
    let sources =
        [include_str!("../../src/rooms.rs"), include_str!("../../src/bookings.rs"), include_str!("../../src/mails.rs")];
    let is_code = |line: &&str| !line.trim().is_empty() && !line.trim().starts_with("//");
    let lines: usize = sources.iter().map(|source| source.lines().filter(is_code).count()).sum();
    let said = include_str!("../../../../docs/src/recipes.md");
    assert!(said.contains("under 500 lines of code") && lines < 500, "{lines}");
}
