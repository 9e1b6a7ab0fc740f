//! TOTP codes (RFC 6238) with SHA-1, six digits and a step of 30 seconds, which every authenticator app supports.

use omnistack_core::clock::Timestamp;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use secrecy::SecretString;
use totp_rs::{Algorithm, Builder};

/// The step of a code, in seconds.
const STEP_SECONDS: i64 = 30;
/// The length of a secret, in bytes: the output length of SHA-1 (RFC 4226, section 4).
const SECRET_BYTES: usize = 20;

/// A TOTP secret. Has no `Debug`, so that it is not logged.
pub(crate) struct Totp(totp_rs::Totp);

impl Totp {
    pub(crate) fn random() -> Self {
        Self::of(rand::random())
    }

    /// Creates it from a stored secret. Returns `None` if the length is wrong.
    pub(crate) fn from_secret(secret: &[u8]) -> Option<Self> {
        secret.try_into().ok().map(Self::of)
    }

    fn of(secret: [u8; SECRET_BYTES]) -> Self {
        let builder = Builder::new().with_algorithm(Algorithm::SHA1).with_digits(6);
        // The window of valid steps is checked by `steps`, and the URL is built by `url`, so no skew and no account
        // name are set here.
        Self(
            builder
                .with_step_duration(STEP_SECONDS.unsigned_abs())
                .with_skew(0)
                .with_secret(secret)
                .build_noncompliant(),
        )
    }

    pub(crate) fn secret(&self) -> &[u8] {
        self.0.secret().as_bytes()
    }

    /// Returns the steps, among the current one and those before and after, that have this code, the earliest first.
    /// It is rarely more than one.
    pub(crate) fn steps(&self, code: &str, now: Timestamp) -> Vec<i64> {
        let now = now.as_seconds().div_euclid(STEP_SECONDS);
        let is_of =
            |step: &i64| u64::try_from(step * STEP_SECONDS).is_ok_and(|time| self.0.check(code, time).is_some());
        // All three are computed, so that the time taken does not depend on which one matches.
        (now - 1..=now + 1).filter(is_of).collect()
    }

    /// Returns the secret in base32, for typing into an authenticator app.
    pub(crate) fn base32(&self) -> SecretString {
        self.0.secret().to_base32().into()
    }

    /// Returns the `otpauth://` URL of the secret, for a QR code.
    pub(crate) fn url(&self, product: &str, account: &str) -> SecretString {
        let encode = |text: &str| utf8_percent_encode(&text.replace(':', " "), NON_ALPHANUMERIC).to_string();
        let (product, account, secret) = (encode(product), encode(account), self.0.secret().to_base32());
        let rest = format!("issuer={product}&algorithm=SHA1&digits=6&period={STEP_SECONDS}");
        format!("otpauth://totp/{product}:{account}?secret={secret}&{rest}").into()
    }
}

#[cfg(test)]
mod tests {
    use omnistack_core::ExposeSecret as _;

    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_micros(seconds * 1_000_000)
    }

    /// Appendix B of RFC 6238; its codes have eight digits, of which the last six are compared.
    #[test]
    fn the_published_vectors() {
        let totp = Totp::from_secret(b"12345678901234567890").unwrap();
        for (seconds, code) in [
            (59, "94287082"),
            (1_111_111_109, "07081804"),
            (1_111_111_111, "14050471"),
            (1_234_567_890, "89005924"),
            (2_000_000_000, "69279037"),
            (20_000_000_000, "65353130"),
        ] {
            assert_eq!(totp.steps(&code[2..], at(seconds)), [seconds / 30], "{seconds}");
        }
    }

    #[test]
    fn a_code_is_good_one_step_early_and_late() {
        let totp = Totp::from_secret(b"12345678901234567890").unwrap();
        // The code belongs to the step from 1,111,111,110 to 1,111,111,139.
        for (seconds, good) in [
            (1_111_111_079, false),
            (1_111_111_080, true),
            (1_111_111_110, true),
            (1_111_111_169, true),
            (1_111_111_170, false),
        ] {
            assert_eq!(!totp.steps("050471", at(seconds)).is_empty(), good, "{seconds}");
        }
        for code in ["", "50471", "0050471", "+50471", "05 471", "०५०४७१", "-50471"] {
            assert!(totp.steps(code, at(1_111_111_111)).is_empty(), "{code}");
        }
        assert!(Totp::from_secret(b"too short").is_none());
    }

    #[test]
    fn an_app_reads_the_address() {
        let totp = Totp::from_secret(b"12345678901234567890").unwrap();
        assert_eq!(totp.base32().expose_secret(), "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ");
        assert_eq!(
            totp.url("Acme: Über & Co", "ada@example.com").expose_secret(),
            "otpauth://totp/Acme%20%20%C3%9Cber%20%26%20Co:ada%40example%2Ecom?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ\
             &issuer=Acme%20%20%C3%9Cber%20%26%20Co&algorithm=SHA1&digits=6&period=30"
        );
    }
}
