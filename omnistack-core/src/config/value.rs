//! Conversion of a setting's text to its value.

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use bytesize::ByteSize;
use http::HeaderName;
use ipnet::IpNet;
use secrecy::SecretString;

use super::Environment;

/// A type that a setting can have.
pub trait SettingValue: Sized {
    /// The expected text, for messages and the reference: `duration, e.g. 30s`.
    const EXPECTED: &'static str;
    /// Whether the value must never be shown.
    const SECRET: bool = false;
    /// Whether values are ordered. A setting of such a type must declare its least and greatest value.
    const ORDERED: bool = false;

    /// Parses the text.
    ///
    /// # Errors
    /// A message that says what is wrong with the text.
    fn parse(text: &str) -> Result<Self, String>;

    /// Returns the value of an absent setting that has no default, or `None` if the type has no such value.
    fn when_unset() -> Option<Self> {
        None
    }

    /// Returns whether the value is between `least` and `most`, both included. Always `true` for types that are
    /// not ordered.
    fn between(&self, _least: &Self, _most: &Self) -> bool {
        true
    }
}

macro_rules! ordered {
    () => {
        const ORDERED: bool = true;

        fn between(&self, least: &Self, most: &Self) -> bool {
            least <= self && self <= most
        }
    };
}

macro_rules! from_str {
    ($($ty:ty = $form:literal $($ordered:ident)?;)*) => {$(
        impl SettingValue for $ty {
            const EXPECTED: &'static str = $form;
            $($ordered!();)?

            fn parse(text: &str) -> Result<Self, String> {
                text.parse().map_err(|_| format!("`{text}` is not a {}", Self::EXPECTED))
            }
        }
    )*};
}

from_str! {
    u16 = "number from 0 to 65535" ordered;
    u32 = "whole number" ordered;
    u64 = "whole number" ordered;
    usize = "whole number" ordered;
    i64 = "whole number" ordered;
    f64 = "number" ordered;
    IpAddr = "IP address";
    SocketAddr = "IP address with a port, e.g. 127.0.0.1:8080";
    IpNet = "network, e.g. 10.0.0.0/8";
    HeaderName = "header name, e.g. x-workspace";
}

impl SettingValue for String {
    const EXPECTED: &'static str = "text";

    fn parse(text: &str) -> Result<Self, String> {
        Ok(text.into())
    }
}

impl SettingValue for PathBuf {
    const EXPECTED: &'static str = "path";

    fn parse(text: &str) -> Result<Self, String> {
        Ok(text.into())
    }
}

impl SettingValue for SecretString {
    const EXPECTED: &'static str = "secret";
    const SECRET: bool = true;

    fn parse(text: &str) -> Result<Self, String> {
        Ok(text.into())
    }
}

impl SettingValue for bool {
    const EXPECTED: &'static str = "true or false";

    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "true" | "1" | "yes" | "on" => Ok(true),
            "false" | "0" | "no" | "off" => Ok(false),
            _ => Err(format!("`{text}` is neither true nor false")),
        }
    }
}

impl SettingValue for Environment {
    const EXPECTED: &'static str = "development, test or production";

    fn parse(text: &str) -> Result<Self, String> {
        text.parse()
    }
}

impl SettingValue for Duration {
    const EXPECTED: &'static str = "duration, e.g. 30s, 5m, 1h 30m";
    ordered!();

    fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not a duration: write a number with its unit, e.g. 30s, 5m, 1h 30m, 250ms");
        let span: jiff::Span = text.parse().map_err(|_| wrong())?;
        let signed = span.to_duration(jiff::SpanRelativeTo::days_are_24_hours()).map_err(|_| wrong())?;
        Self::try_from(signed).map_err(|_| wrong())
    }
}

impl SettingValue for ByteSize {
    const EXPECTED: &'static str = "size, e.g. 512KiB, 10MiB";
    ordered!();

    fn parse(text: &str) -> Result<Self, String> {
        text.parse()
            .map_err(|_| format!("`{text}` is not a size: write a number with its unit, e.g. 512KiB, 10MiB, 1GiB"))
    }
}

impl<T: SettingValue> SettingValue for Option<T> {
    const EXPECTED: &'static str = T::EXPECTED;
    const SECRET: bool = T::SECRET;

    const ORDERED: bool = T::ORDERED;

    fn parse(text: &str) -> Result<Self, String> {
        T::parse(text).map(Some)
    }

    fn when_unset() -> Option<Self> {
        Some(None)
    }

    fn between(&self, least: &Self, most: &Self) -> bool {
        match (self, least, most) {
            (Some(value), Some(least), Some(most)) => value.between(least, most),
            _ => true,
        }
    }
}

/// A comma-separated list. An absent setting is an empty list.
impl<T: SettingValue> SettingValue for Vec<T> {
    const EXPECTED: &'static str = T::EXPECTED;
    const SECRET: bool = T::SECRET;

    fn parse(text: &str) -> Result<Self, String> {
        text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(T::parse).collect()
    }

    fn when_unset() -> Option<Self> {
        Some(Vec::new())
    }
}
