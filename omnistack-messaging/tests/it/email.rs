//! Tests of mail providers: the conformance tests, and the messages on the wire.

#![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

mod addresses;
mod aiosmtpd;
mod failover;
mod http_api;
mod laws;
mod maildev;
mod message;
mod settings;
mod smtp;

use std::time::Duration;

use omnistack_core::{
    clock::{Clock, MockClock},
    http::client::{Client, ClientSettings},
};

fn client(timeout: Duration) -> Client {
    ClientSettings { timeout, ..ClientSettings::default() }.client().unwrap()
}

fn clock() -> Clock {
    MockClock::at("2030-01-01T12:00:00Z".parse().unwrap()).clock()
}
