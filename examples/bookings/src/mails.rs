//! Mails about bookings: one when a booking is made, and one before it begins.

use omnistack::{
    config::PublicUrl,
    email::{Outbox, UserContacts, template::Template},
    prelude::*,
};

use crate::bookings::{Booking, BookingMade};

// ANCHOR: template
/// The values of the mail about a booking.
#[derive(Debug, Serialize)]
pub struct BookingMail {
    room: String,
    starts_at: Timestamp,
    ends_at: Timestamp,
    link: String,
    reminder: bool,
}

impl Template for BookingMail {
    const NAME: &'static str = "booking";
    const SOURCES: &'static [(&'static str, &'static str)] =
        &[("en", include_str!("../mails/booking.en.md")), ("de", include_str!("../mails/booking.de.md"))];

    fn sample() -> Self {
        let starts_at = Timestamp::default();
        let (room, link) = ("Blue room".into(), "https://example.com/bookings/1".into());
        Self { room, starts_at, ends_at: starts_at + Duration::from_secs(3600), link, reminder: true }
    }
}
// ANCHOR_END: template

// ANCHOR: job
/// The services that mails of bookings need.
#[derive(Clone)]
pub(crate) struct BookingMails {
    db: Db,
    outbox: Outbox,
    contacts: UserContacts,
    url: PublicUrl,
}

impl BookingMails {
    pub(crate) fn from_ctx(ctx: &Context) -> Result<Self, MissingDependency> {
        Ok(Self { db: ctx.get()?, outbox: ctx.get()?, contacts: ctx.get()?, url: ctx.get()? })
    }
}

/// The job that sends the user of a booking a mail about it: when it was made or moved, or as a reminder. If the booking
/// was moved again or deleted meanwhile, it sends none.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct SendBookingMail {
    pub(crate) tenant: TenantId,
    pub(crate) booking: Id<Booking>,
    pub(crate) starts_at: Timestamp,
    pub(crate) reminder: bool,
}

impl SendBookingMail {
    pub(crate) fn confirm(made: BookingMade) -> Self {
        Self { tenant: made.tenant, booking: made.booking, starts_at: made.starts_at, reminder: false }
    }
}

#[async_trait]
impl Job for SendBookingMail {
    const NAME: &'static str = "bookings.send_mail";
    type State = BookingMails;

    async fn run(self, mails: &BookingMails, _: &JobContext) -> Result<(), JobError> {
        let Self { tenant, booking, starts_at, reminder } = self;
        let mut tx = mails.db.tenant(tenant).begin_read().await?;
        let found = tx.query(
            "select rooms.name, bookings.ends_at, bookings.user_id from bookings
             join rooms on rooms.tenant_id = bookings.tenant_id and rooms.id = bookings.room_id
             where bookings.tenant_id = $1 and bookings.id = $2 and starts_at = $3 and bookings.deleted_at is null",
        );
        let found = found.bind(tenant).bind(booking).bind(starts_at);
        let found: Option<(String, Timestamp, UserId)> = found.fetch_optional().await?;
        tx.commit().await?;
        let Some((room, ends_at, user)) = found else { return Ok(()) };
        let Some(contact) = mails.contacts.find(user, Some(tenant)).await? else { return Ok(()) };

        let link = format!("{}/bookings/{booking}", mails.url.as_str());
        let mail = BookingMail { room, starts_at, ends_at, link, reminder };
        let locale = contact.locale.as_deref().unwrap_or("en");
        let mail = mails.outbox.compose_for(tenant, contact.address, &mail, locale).await?;
        // A job may run twice. With the same key, providers that know such keys deliver the mail once.
        let key = format!("booking/{booking}/{}/{reminder}", starts_at.as_seconds());
        mails.outbox.send(&mail.idempotency_key(key)).await?;
        Ok(())
    }
}
// ANCHOR_END: job
