//! Rooms: a resource with an enum, a price, a plan limit, an audit trail and a file.

use axum::extract::State;
use omnistack::{
    audit::{AuditEntry, AuditLog},
    crud::ResourceHooks,
    http::FieldError,
    money::{Currency, Money},
    prelude::*,
    storage::{FileId, FileService},
};
use utoipa_axum::routes;

/// The highest price of an hour, in cents.
const MAX_HOURLY_CENTS: i64 = 1_000_000;

/// Registers the routes of rooms. The plan of a tenant limits how many it has.
pub(crate) fn register(registry: &mut Registry) {
    let mount = || Mount::app("/rooms").permissions("rooms");
    let rooms =
        crud::resource::<Room>().limited_by_plan().hooks(|ctx| Ok(RoomHooks { audit: ctx.get()?, clock: ctx.get()? }));
    let floor_plans = Api::new().routes(routes!(set_floor_plan));
    registry.resource(mount(), rooms).routes(mount(), floor_plans, Context::get_all);
}

// ANCHOR: types
/// The kind of a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RoomKind {
    /// A desk in a shared room.
    Desk,
    /// A room for a meeting.
    MeetingRoom,
    /// A hall for an event.
    Hall,
}

omnistack::column_type!(RoomKind as text);

/// An amount in euros. The column has the cents.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Price(pub Money);

impl From<i64> for Price {
    fn from(cents: i64) -> Self {
        Self(Money::new(cents, Currency::EUR))
    }
}

impl From<Price> for i64 {
    fn from(price: Price) -> Self {
        price.0.minor()
    }
}

omnistack::column_type!(Price as i64);
// ANCHOR_END: types

// ANCHOR: room
/// A room of a tenant.
#[derive(Debug, Serialize, ToSchema, FromRow)]
pub struct Room {
    id: Id<Room>,
    /// The name, unique among the tenant's rooms that are not deleted.
    pub name: String,
    /// The kind.
    pub kind: RoomKind,
    /// The number of seats.
    pub seats: i64,
    /// The price of an hour.
    #[schema(value_type = Money)]
    pub hourly_price: Price,
    /// The image of the floor plan, if there is one.
    #[schema(required, value_type = Option<String>)]
    pub floor_plan: Option<FileId>,
    created_at: Timestamp,
    updated_at: Timestamp,
    #[schema(required)]
    deleted_at: Option<Timestamp>,
}

/// The fields of a new room.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[garde(allow_unvalidated)]
#[serde(deny_unknown_fields)]
pub struct NewRoom {
    /// The name, unique among the tenant's rooms that are not deleted.
    pub name: Name<100>,
    /// The kind.
    pub kind: RoomKind,
    /// The number of seats.
    pub seats: Integer<1, 1_000>,
    /// The price of an hour in EUR, up to 10,000.00.
    pub hourly_price: Money,
}

/// The fields of a room to change. Absent fields stay unchanged.
#[derive(Debug, Default, Deserialize, Validate, ToSchema)]
#[garde(allow_unvalidated)]
#[serde(deny_unknown_fields)]
pub struct RoomChange {
    /// The new name.
    pub name: Option<Name<100>>,
    /// The new number of seats.
    pub seats: Option<Integer<1, 1_000>>,
    /// The new price of an hour in EUR, up to 10,000.00. Bookings keep the price that they have.
    pub hourly_price: Option<Money>,
    // Not part of the request: `PUT /{id}/floor-plan` sets it.
    #[serde(skip)]
    floor_plan: Option<FileId>,
}

impl Resource for Room {
    const NAME: &'static str = "room";
    const TABLE: &'static str = "rooms";
    const COLUMNS: &'static [Column] = &[
        Column::text("name").sortable().filterable(),
        Column::text("kind").filterable(),
        Column::integer("seats").filterable(),
        Column::integer("hourly_price"),
        Column::id("floor_plan"),
    ];
    type Create = NewRoom;
    type Update = RoomChange;

    fn id(&self) -> Id<Self> {
        self.id
    }

    fn create(new: NewRoom, fields: &mut RowValues) {
        fields.set("name", new.name).set("kind", new.kind).set("seats", new.seats);
        set_price(fields, new.hourly_price);
    }

    fn update(change: RoomChange, fields: &mut RowValues) {
        fields.set_if_some("name", change.name).set_if_some("seats", change.seats);
        fields.set_if_some("floor_plan", change.floor_plan);
        if let Some(price) = change.hourly_price {
            set_price(fields, price);
        }
    }
}

/// Sets the price. A type can't state its limits, so the field is refused here.
fn set_price(fields: &mut RowValues, price: Money) {
    if price.currency() != Currency::EUR || !(0..=MAX_HOURLY_CENTS).contains(&price.minor()) {
        fields.refuse("hourly_price", "must be an amount in EUR from 0 to 10,000.00");
    }
    fields.set("hourly_price", Price(price));
}
// ANCHOR_END: room

// ANCHOR: hooks
/// The hooks of rooms: they record changes in the audit log, and keep rooms that are booked.
struct RoomHooks {
    audit: AuditLog,
    clock: Clock,
}

impl RoomHooks {
    async fn record(&self, tx: &mut Tx, caller: &Identity, action: &str, room: &Room) -> Result<(), Error> {
        self.audit.record_in(tx, AuditEntry::new(action).actor(caller).resource("room", room.id)).await?;
        Ok(())
    }
}

#[async_trait]
impl ResourceHooks<Room> for RoomHooks {
    async fn after_create(&self, tx: &mut Tx, caller: &Identity, room: &Room) -> Result<(), Error> {
        self.record(tx, caller, "room.created", room).await
    }

    async fn after_update(&self, tx: &mut Tx, caller: &Identity, _: &Room, room: &Room) -> Result<(), Error> {
        self.record(tx, caller, "room.updated", room).await
    }

    async fn after_delete(&self, tx: &mut Tx, caller: &Identity, room: &Room) -> Result<(), Error> {
        let count = tx.query(
            "select count(*) from bookings
             where tenant_id = $1 and room_id = $2 and deleted_at is null and ends_at > $3",
        );
        let count = count.bind(caller.require_tenant()?).bind(room.id).bind(self.clock.now());
        let (booked,): (i64,) = count.fetch_one().await?;
        if booked > 0 {
            let message = "the room has bookings that have not ended; delete them first";
            return Err(Error::conflict("ROOM_BOOKED", message).with_detail("bookings", booked));
        }
        self.record(tx, caller, "room.deleted", room).await
    }
}
// ANCHOR_END: hooks

// ANCHOR: file
/// The file of a floor plan.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[garde(allow_unvalidated)]
#[serde(deny_unknown_fields)]
struct FloorPlan {
    /// An image that was uploaded to `/api/v1/app/files`.
    #[schema(value_type = String, format = Uuid)]
    file: FileId,
}

/// Set the floor plan of a room
#[utoipa::path(put, path = "/{id}/floor-plan", operation_id = "set_floor_plan", request_body = FloorPlan,
    params(("id" = String, Path, format = Uuid, description = "The room.")), responses((status = 200, body = Room)))]
async fn set_floor_plan(
    State((rooms, files)): State<(Crud<Room>, FileService)>,
    caller: Identity,
    Path(id): Path<Id<Room>>,
    Json(plan): Json<FloorPlan>,
) -> Result<Json<Room>, Error> {
    // The file is read before the transaction begins: while it is open, a handler uses no other connection.
    let file = files.get_readable(&caller, plan.file).await?;
    if !file.content_type.starts_with("image/") {
        return Err(Error::invalid([FieldError::new("file", "must be an image")]));
    }
    let change = RoomChange { floor_plan: Some(file.id), ..RoomChange::default() };
    rooms.update(&caller, id, change).await.map(Json)
}
// ANCHOR_END: file
