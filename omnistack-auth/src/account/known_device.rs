//! Devices that have signed in to an account before (OWASP, "Slow Down Online Guessing Attacks with Device Cookies").
//!
//! A browser that has signed in keeps a cookie that says to which address. Wrong passwords of such a browser are counted by
//! themselves, so a stranger who uses up the tries of an account delays no device of its user. The cookie is sealed, so
//! it can only come from a sign-in, and it signs in no user by itself.

use std::time::Duration;

use omnistack_core::{
    ExposeSecret as _,
    clock::Timestamp,
    crypto::{Context, Token},
    http,
};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use super::Accounts;
use crate::Error;

/// How long a device is known after its last sign-in.
pub(crate) const KNOWN_DEVICE_TTL: Duration = Duration::from_secs(180 * 24 * 60 * 60);

/// The content of the sealed cookie.
#[derive(Serialize, Deserialize)]
struct KnownDevice {
    /// The address that signed in, in its normal form.
    email: String,
    /// Random, new at each sign-in: what wrong passwords are counted by.
    id: String,
    expires: Timestamp,
}

impl Accounts {
    /// Returns the cookie of a device that has just signed in to the account of this address.
    pub(super) fn seal_known_device(&self, email: &str) -> Result<SecretString, Error> {
        let id = Token::random().expose().to_owned();
        let device = KnownDevice { email: email.to_owned(), id, expires: self.0.clock.now() + KNOWN_DEVICE_TTL };
        let text = serde_json::to_vec(&device).map_err(http::Error::internal)?;
        Ok(self.0.ring.seal(text, &place())?.into())
    }

    /// Returns the id of the device whose cookie this is, if it has signed in to the account of this address.
    pub(super) fn open_known_device(&self, cookie: &str, email: &str) -> Option<String> {
        let text = self.0.ring.open_text(cookie, &place()).ok()?;
        let device: KnownDevice = serde_json::from_str(text.expose_secret()).ok()?;
        (device.email == email && device.expires > self.0.clock.now()).then_some(device.id)
    }
}

fn place() -> Context {
    Context::row("accounts", "known_device", "cookie")
}
