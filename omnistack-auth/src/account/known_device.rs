//! Known devices: browsers that have signed in to an account before (OWASP, "Slow Down Online Guessing Attacks with
//! Device Cookies").
//!
//! A browser keeps a sealed cookie that contains the address of its last sign-in. Wrong passwords from such a browser
//! are counted separately, so a stranger who causes a lockout of an account does not lock out its user's devices.
//! Because the cookie is sealed, only a sign-in can create it; the cookie alone signs no user in.

use omnistack_core::{
    ExposeSecret as _,
    clock::Timestamp,
    crypto::{SealContext, Token},
    http,
};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use super::Accounts;
use crate::{Error, session::cookies::KNOWN_DEVICE_TTL};

/// The content of the sealed cookie.
#[derive(Serialize, Deserialize)]
struct KnownDevice {
    /// The address that signed in, in its normal form.
    email: String,
    /// A random id, new at each sign-in, under which wrong passwords are counted.
    id: String,
    expires: Timestamp,
}

impl Accounts {
    /// Returns the known-device cookie for a device that has just signed in to the account with this address.
    pub(super) fn seal_known_device(&self, email: &str) -> Result<SecretString, Error> {
        let id = Token::random().expose().to_owned();
        let device = KnownDevice { email: email.to_owned(), id, expires: self.0.clock.now() + KNOWN_DEVICE_TTL };
        let text = serde_json::to_vec(&device).map_err(http::Error::internal)?;
        Ok(self.0.ring.seal(text, &place())?.into())
    }

    /// Returns the id of a device from its cookie. Returns `None` if the cookie is invalid or expired, or is for
    /// another address.
    pub(super) fn open_known_device(&self, cookie: &str, email: &str) -> Option<String> {
        let text = self.0.ring.open_text(cookie, &place()).ok()?;
        let device: KnownDevice = serde_json::from_str(text.expose_secret()).ok()?;
        (device.email == email && device.expires > self.0.clock.now()).then_some(device.id)
    }
}

fn place() -> SealContext {
    SealContext::row("accounts", "known_device", "cookie")
}
