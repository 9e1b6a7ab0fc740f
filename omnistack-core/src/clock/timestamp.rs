//! Points in time as the app stores and shows them.

#[cfg(feature = "sqlite")]
use std::sync::Arc;
use std::{borrow::Cow, fmt, str::FromStr, time::Duration};

#[cfg(feature = "sqlite")]
use jiff::tz::Offset;
use jiff::{SignedDuration, civil, fmt::temporal::Pieces};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{KnownFormat, ObjectBuilder, RefOr, Schema, SchemaFormat, schema::Type},
};

/// A point in time in whole microseconds, the precision that both databases keep, so that a value read back equals
/// the value written.
///
/// In JSON and text it is an RFC 3339 string in UTC. On PostgreSQL it is a `timestamptz`; on SQLite a text of fixed
/// width (`2030-01-01T00:00:00.000000Z`), so that text order is time order. Convert from and to [`jiff::Timestamp`]
/// for arithmetic in calendars and time zones. The range of `jiff::Timestamp` ends at 9999-12-30T22:00:00Z, 26 hours
/// before the range of this type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

/// 9999-12-31T23:59:59.999999Z, which some systems write for "never".
const LAST_MICROS: i64 = 253_402_300_799_999_999;
const LAST: civil::DateTime = civil::date(9999, 12, 31).at(23, 59, 59, 999_999_000);

impl Timestamp {
    /// Creates a timestamp from microseconds since 1970-01-01T00:00:00Z, clamped to the years 1 to 9999.
    pub fn from_micros(micros: i64) -> Self {
        Self(micros.clamp(-62_135_596_800_000_000, LAST_MICROS))
    }

    /// Returns the microseconds since 1970-01-01T00:00:00Z.
    pub fn as_micros(self) -> i64 {
        self.0
    }

    /// Returns the whole seconds since 1970-01-01T00:00:00Z.
    pub fn as_seconds(self) -> i64 {
        self.0.div_euclid(1_000_000)
    }

    /// Returns the time passed since `earlier`, or zero if `earlier` is later.
    pub fn duration_since(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// Returns the timestamp as a [`jiff::Timestamp`]. A value after [`jiff::Timestamp::MAX`] becomes that maximum.
    pub fn to_jiff(self) -> jiff::Timestamp {
        let nanos = i32::try_from(self.0.rem_euclid(1_000_000) * 1_000).unwrap_or(0);
        jiff::Timestamp::new(self.0.div_euclid(1_000_000), nanos).unwrap_or(jiff::Timestamp::MAX)
    }

    /// Returns the time in English, in UTC and to the minute: `31 January 2030, 12:00 UTC`.
    pub fn to_readable(self) -> String {
        self.to_jiff().strftime("%-d %B %Y, %H:%M UTC").to_string()
    }

    /// Returns RFC 3339 text with exactly six fractional digits, whose text order is time order. Each row of a batch has
    /// several times, so this does not go through [`fmt::Display`].
    #[cfg(feature = "sqlite")]
    pub(crate) fn to_fixed_width(self) -> Arc<str> {
        let at = self.late().unwrap_or_else(|| Offset::UTC.to_datetime(self.to_jiff()));
        let mut text = *b"0000-00-00T00:00:00.000000Z";
        write_digits(&mut text[..4], at.year().into());
        write_digits(&mut text[5..7], at.month().into());
        write_digits(&mut text[8..10], at.day().into());
        write_digits(&mut text[11..13], at.hour().into());
        write_digits(&mut text[14..16], at.minute().into());
        write_digits(&mut text[17..19], at.second().into());
        write_digits(&mut text[20..26], at.subsec_nanosecond() / 1_000);
        str::from_utf8(&text).unwrap_or_default().into()
    }

    /// Returns the time in UTC if it is later than [`jiff::Timestamp::MAX`].
    fn late(self) -> Option<civil::DateTime> {
        let is_late = self.0 > jiff::Timestamp::MAX.as_microsecond();
        is_late.then(|| LAST.saturating_sub(SignedDuration::from_micros(LAST_MICROS - self.0)))
    }

    /// Parses a time that is later than [`jiff::Timestamp::MAX`].
    fn parse_late(text: &str) -> Option<Self> {
        let pieces = Pieces::parse(text).ok()?;
        let offset = SignedDuration::from_secs(pieces.to_numeric_offset()?.seconds().into());
        let moment = pieces.date().to_datetime(pieces.time()?).checked_sub(offset).ok()?;
        let micros = i64::try_from(LAST.duration_since(moment).as_micros()).ok()?;
        Some(Self::from_micros(LAST_MICROS.checked_sub(micros)?))
    }
}

/// Writes the last decimal digits of a positive number, with leading zeros.
#[cfg(feature = "sqlite")]
fn write_digits(place: &mut [u8], mut number: i32) {
    for digit in place.iter_mut().rev() {
        *digit = b'0' + u8::try_from(number % 10).unwrap_or(0);
        number /= 10;
    }
}

impl From<jiff::Timestamp> for Timestamp {
    fn from(moment: jiff::Timestamp) -> Self {
        Self::from_micros(moment.as_microsecond())
    }
}

impl From<Timestamp> for jiff::Timestamp {
    fn from(moment: Timestamp) -> Self {
        moment.to_jiff()
    }
}

impl std::ops::Add<Duration> for Timestamp {
    type Output = Self;

    fn add(self, by: Duration) -> Self {
        Self::from_micros(self.0.saturating_add(i64::try_from(by.as_micros()).unwrap_or(i64::MAX)))
    }
}

impl std::ops::Sub<Duration> for Timestamp {
    type Output = Self;

    fn sub(self, by: Duration) -> Self {
        Self::from_micros(self.0.saturating_sub(i64::try_from(by.as_micros()).unwrap_or(i64::MAX)))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.late() {
            None => self.to_jiff().fmt(f),
            Some(moment) => {
                moment.fmt(f)?;
                f.write_str("Z")
            }
        }
    }
}

impl FromStr for Timestamp {
    type Err = jiff::Error;

    fn from_str(text: &str) -> Result<Self, jiff::Error> {
        match text.parse::<jiff::Timestamp>() {
            Ok(moment) => Ok(moment.into()),
            Err(error) => Self::parse_late(text).ok_or(error),
        }
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(|_| D::Error::custom("expected an RFC 3339 time such as 2030-01-31T12:00:00Z"))
    }
}

impl PartialSchema for Timestamp {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)))
            .examples([serde_json::json!("2030-01-31T12:00:00Z")])
            .into()
    }
}

/// The schema is named `UtcTime`: a schema named `Timestamp` would clash with a built-in type in many client
/// languages.
impl ToSchema for Timestamp {
    fn name() -> Cow<'static, str> {
        "UtcTime".into()
    }
}

#[cfg(test)]
#[cfg(feature = "sqlite")]
mod tests {
    use super::*;

    #[test]
    fn the_text_of_fixed_width_is_that_of_six_fractional_digits() {
        for (micros, expected) in [
            (0, "1970-01-01T00:00:00.000000Z"),
            (-1, "1969-12-31T23:59:59.999999Z"),
            (1_900_000_000_000_001, "2030-03-17T17:46:40.000001Z"),
            (951_827_696_123_456, "2000-02-29T12:34:56.123456Z"),
            (i64::MIN, "0001-01-01T00:00:00.000000Z"),
            (i64::MAX, "9999-12-31T23:59:59.999999Z"),
        ] {
            let at = Timestamp::from_micros(micros);
            assert_eq!(&*at.to_fixed_width(), expected);
            assert_eq!(format!("{at:.6}"), expected);
        }
    }
}
