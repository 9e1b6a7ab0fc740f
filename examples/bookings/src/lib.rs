//! Rooms and bookings: the module that the chapter "Recipes" of the book shows.

#[expect(unused_qualifications, reason = "`utoipa::path` writes the types of parameters in full")]
pub mod bookings;
pub mod mails;
pub mod plans;
pub mod rooms;

use omnistack::{app::AppBuilder, auth::Auth, email::Mail, flags::FeatureFlags, storage::Files};

/// Adds the app's modules to the builder. `main` and the tests call it.
pub fn app(builder: AppBuilder) -> AppBuilder {
    builder
        .named("Rooms", env!("CARGO_PKG_VERSION"))
        .with(Auth::from_env())
        .with(Mail::default().template::<mails::BookingMail>())
        .with(Files::from_env())
        .with(FeatureFlags::default())
        .with(plans::Plans)
        .with(bookings::Bookings)
}
