//! Bookings of rooms, which never overlap.

use axum::extract::State;
use omnistack::{
    audit::{AuditEntry, AuditLog},
    crud::{ListPage, ListRequest, ResourceHooks, Verb},
    events::EnqueueJob,
    flags::flag,
    jobs::NewJob,
    prelude::*,
};
use utoipa_axum::routes;

use crate::{
    mails::{BookingMails, SendBookingMail},
    rooms::{self, Price, Room},
};

/// The longest duration of a booking.
const MAX_DURATION: Duration = Duration::from_secs(14 * 24 * 3600);

// ANCHOR: settings
omnistack::settings! {
    /// Settings of bookings.
    pub struct BookingSettings {
        /// The time before a booking at which its user gets a reminder.
        pub remind_before: Duration = "BOOKING_REMIND_BEFORE", default "1h", range "5m"..="7d";
        /// The time for which bookings are kept after they have ended.
        pub keep: Duration = "BOOKING_KEEP", default "365d", range "1d"..="3650d";
    }
}
// ANCHOR_END: settings

// ANCHOR: module
/// The module of rooms and bookings.
#[derive(Debug)]
pub struct Bookings;

impl Module for Bookings {
    fn name(&self) -> &'static str {
        "bookings"
    }

    fn register(&self, registry: &mut Registry) {
        let Some(settings) = registry.config::<BookingSettings>() else { return };
        let bookings = crud::resource::<Booking>()
            // A deleted booking is not restored: its time may be taken.
            .without(Verb::Restore)
            .hooks(move |ctx| BookingHooks::from_ctx(ctx, settings.remind_before));
        let calendar = Api::new().require(flag("room-calendar"), routes!(list_room_bookings));
        registry
            .migrations(migrations!["0001_bookings"])
            .resource(Mount::app("/bookings").permissions("bookings"), bookings)
            .routes(Mount::app("/rooms").permissions("bookings"), calendar, |ctx| ctx.get())
            .permissions(["bookings:manage"])
            .subscribe("confirm-booking", |ctx| Ok(EnqueueJob::new(ctx.get()?, SendBookingMail::confirm)))
            .job::<SendBookingMail>(BookingMails::from_ctx)
            .job::<DeleteOldBookings>(move |ctx| Ok((ctx.get()?, ctx.get()?, settings)))
            .cron(Cron::new("41 3 * * *", DeleteOldBookings {}));
        rooms::register(registry);
    }
}
// ANCHOR_END: module

// ANCHOR: booking
/// A booking of a room.
#[derive(Debug, Serialize, ToSchema, FromRow)]
pub struct Booking {
    id: Id<Booking>,
    /// The room.
    #[schema(value_type = String, format = Uuid)]
    pub room_id: Id<Room>,
    /// The user who has booked the room.
    #[schema(value_type = String, format = Uuid)]
    pub user_id: UserId,
    /// The beginning.
    pub starts_at: Timestamp,
    /// The end.
    pub ends_at: Timestamp,
    /// The price, computed when the booking was made or moved.
    #[schema(value_type = omnistack::money::Money)]
    pub price: Price,
    /// A note, or `null`.
    #[schema(required)]
    pub note: Option<String>,
    created_at: Timestamp,
    updated_at: Timestamp,
    #[schema(required)]
    deleted_at: Option<Timestamp>,
}

/// The fields of a new booking.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[garde(allow_unvalidated)]
#[serde(deny_unknown_fields)]
pub struct NewBooking {
    /// The room.
    #[schema(value_type = String, format = Uuid)]
    pub room_id: Id<Room>,
    /// The beginning.
    pub starts_at: Timestamp,
    /// The end, at most 14 days after the beginning.
    pub ends_at: Timestamp,
    /// A note, or `null`.
    pub note: Option<Text<0, 500>>,
}

/// The fields of a booking to change. Absent fields stay unchanged.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[garde(allow_unvalidated)]
#[serde(deny_unknown_fields)]
pub struct BookingChange {
    /// The new beginning.
    pub starts_at: Option<Timestamp>,
    /// The new end, at most 14 days after the beginning.
    pub ends_at: Option<Timestamp>,
    /// The new note. `null` clears it.
    #[serde(default)]
    pub note: Patch<Text<0, 500>>,
}

impl Resource for Booking {
    const NAME: &'static str = "booking";
    const TABLE: &'static str = "bookings";
    const COLUMNS: &'static [Column] = &[
        Column::id("room_id").filterable(),
        Column::id("user_id").filterable(),
        Column::timestamp("starts_at").sortable().filterable(),
        Column::timestamp("ends_at"),
        Column::integer("price"),
        Column::text("note"),
    ];
    type Create = NewBooking;
    type Update = BookingChange;

    fn id(&self) -> Id<Self> {
        self.id
    }

    fn create(new: NewBooking, fields: &mut RowValues) {
        fields.set("room_id", new.room_id).set("note", new.note);
        fields.set("starts_at", new.starts_at).set("ends_at", new.ends_at);
    }

    fn update(change: BookingChange, fields: &mut RowValues) {
        fields.set_if_some("starts_at", change.starts_at).set_if_some("ends_at", change.ends_at);
        fields.set_if_some("note", change.note.into_nested_option());
    }
}
// ANCHOR_END: booking

// ANCHOR: event
/// The event that a booking was made or moved.
#[derive(Debug, Serialize, Deserialize)]
pub struct BookingMade {
    /// The tenant.
    pub tenant: TenantId,
    /// The booking.
    pub booking: Id<Booking>,
    /// The beginning.
    pub starts_at: Timestamp,
}

impl Event for BookingMade {
    const NAME: &'static str = "booking.made";

    fn key(&self) -> String {
        self.booking.to_string()
    }
}
// ANCHOR_END: event

// ANCHOR: hooks
/// The rules of bookings, and what follows from a change.
struct BookingHooks {
    rooms: Crud<Room>,
    events: Events,
    jobs: Jobs,
    audit: AuditLog,
    remind_before: Duration,
}

impl BookingHooks {
    fn from_ctx(ctx: &Context, remind_before: Duration) -> Result<Self, MissingDependency> {
        Ok(Self { rooms: ctx.get()?, events: ctx.get()?, jobs: ctx.get()?, audit: ctx.get()?, remind_before })
    }

    /// Requires that the room is free, and sets the price. `known` is the booking that is moved.
    async fn reserve(
        &self,
        tx: &mut Tx,
        caller: &Identity,
        (room, starts_at, ends_at): (Id<Room>, Timestamp, Timestamp),
        known: Option<Id<Booking>>,
        fields: &mut RowValues,
    ) -> Result<(), Error> {
        if ends_at <= starts_at || ends_at > starts_at + MAX_DURATION {
            fields.refuse("ends_at", "must be after `starts_at`, and at most 14 days after it");
            return Ok(());
        }
        // Bookings of a room wait for each other here, so two at the same time can't both find it free.
        let room = self.rooms.get_for_update_in(tx, caller, room).await?;
        let taken = tx.query(
            "select id from bookings where tenant_id = $1 and room_id = $2 and deleted_at is null
             and starts_at < $3 and ends_at > $4 and (id <> $5 or $5 is null) limit 1",
        );
        let taken = taken.bind(caller.require_tenant()?).bind(room.id()).bind(ends_at).bind(starts_at).bind(known);
        if let Some((other,)) = taken.fetch_optional::<(Id<Booking>,)>().await? {
            let message = "the room is booked at this time; choose another time or another room";
            return Err(Error::conflict("ROOM_TAKEN", message).with_detail("booking", other));
        }
        let minutes = i64::try_from(ends_at.duration_since(starts_at).as_secs() / 60).map_err(Error::internal)?;
        fields.set("price", Price::from(i64::from(room.hourly_price) * minutes / 60));
        Ok(())
    }

    /// Publishes the event, and enqueues the reminder.
    async fn announce(&self, tx: &mut Tx, caller: &Identity, booking: &Booking) -> Result<(), Error> {
        let (tenant, starts_at) = (caller.require_tenant()?, booking.starts_at);
        let reminder = SendBookingMail { tenant, booking: booking.id, starts_at, reminder: true };
        let reminder = NewJob::new(reminder).run_at(starts_at - self.remind_before).tenant(tenant);
        self.jobs.enqueue_in(tx, reminder).await?;
        self.events.publish_in(tx, &BookingMade { tenant, booking: booking.id, starts_at }).await?;
        Ok(())
    }

    /// Requires a permission for the bookings of other users.
    fn check_user(caller: &Identity, booking: &Booking) -> Result<(), Error> {
        if booking.user_id == caller.user { Ok(()) } else { caller.require("bookings:manage") }
    }
}

#[async_trait]
impl ResourceHooks<Booking> for BookingHooks {
    async fn before_create(
        &self,
        tx: &mut Tx,
        caller: &Identity,
        new: &mut NewBooking,
        fields: &mut RowValues,
    ) -> Result<(), Error> {
        fields.set("user_id", caller.user);
        self.reserve(tx, caller, (new.room_id, new.starts_at, new.ends_at), None, fields).await
    }

    async fn after_create(&self, tx: &mut Tx, caller: &Identity, booking: &Booking) -> Result<(), Error> {
        self.announce(tx, caller, booking).await
    }

    async fn before_update(
        &self,
        tx: &mut Tx,
        caller: &Identity,
        booking: &Booking,
        change: &mut BookingChange,
        fields: &mut RowValues,
    ) -> Result<(), Error> {
        Self::check_user(caller, booking)?;
        if change.starts_at.is_none() && change.ends_at.is_none() {
            return Ok(());
        }
        let starts_at = change.starts_at.unwrap_or(booking.starts_at);
        let ends_at = change.ends_at.unwrap_or(booking.ends_at);
        self.reserve(tx, caller, (booking.room_id, starts_at, ends_at), Some(booking.id), fields).await
    }

    async fn after_update(
        &self,
        tx: &mut Tx,
        caller: &Identity,
        before: &Booking,
        booking: &Booking,
    ) -> Result<(), Error> {
        if before.starts_at == booking.starts_at { Ok(()) } else { self.announce(tx, caller, booking).await }
    }

    async fn after_delete(&self, tx: &mut Tx, caller: &Identity, booking: &Booking) -> Result<(), Error> {
        Self::check_user(caller, booking)?;
        let entry = AuditEntry::new("booking.deleted").actor(caller).resource("booking", booking.id);
        self.audit.record_in(tx, entry).await?;
        Ok(())
    }
}
// ANCHOR_END: hooks

// ANCHOR: list
/// List the bookings of a room
#[utoipa::path(get, path = "/{id}/bookings", operation_id = "list_room_bookings",
    params(("id" = String, Path, format = Uuid, description = "The room."), ListRequest<Booking>),
    responses((status = 200, body = ListPage<Booking>)))]
async fn list_room_bookings(
    State(bookings): State<Crud<Booking>>,
    caller: Identity,
    Path(room): Path<Id<Room>>,
    request: ListRequest<Booking>,
) -> Result<ListPage<Booking>, Error> {
    let request = request.with_condition(move |args| format!("room_id = ${}", args.push(room)));
    bookings.list(&caller, &request).await
}
// ANCHOR_END: list

// ANCHOR: cron
/// Nightly job that deletes bookings that have ended long ago.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DeleteOldBookings {}

#[async_trait]
impl Job for DeleteOldBookings {
    const NAME: &'static str = "bookings.delete_old";
    type State = (Db, Clock, BookingSettings);

    async fn run(self, (db, clock, settings): &Self::State, _: &JobContext) -> Result<(), JobError> {
        // The job has no caller, so it accesses the rows of all tenants.
        let mut tx = db.all_tenants().begin().await?;
        let delete = tx.query("delete from bookings where ends_at < $1").bind(clock.now() - settings.keep);
        delete.execute().await?;
        Ok(tx.commit().await?)
    }
}
// ANCHOR_END: cron
