//! Typed identifiers.

mod ids;

pub use ids::{ApiKeyId, ApiKeyMarker, SessionId, SessionMarker, TenantId, TenantMarker, UserId, UserMarker};
/// The type of UUIDs, of the version that [`Id::from_uuid`] takes.
pub use uuid::Uuid;

use std::{borrow::Cow, cmp::Ordering, fmt, hash, marker::PhantomData, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256};
use utoipa::{
    ToSchema,
    openapi::{KnownFormat, ObjectBuilder, RefOr, Schema, SchemaFormat, schema::Type},
};

use crate::{clock::Timestamp, schema::ComposeSchema};

/// The id of a `T`: a UUIDv7 (RFC 9562, section 5.7). Ids sort by their creation time, and the type parameter keeps
/// the id of a `User` from being used as the id of a `Project`.
///
/// ```
/// use omnistack_core::{clock::Clock, id::Id};
///
/// struct Project;
/// let clock = Clock::system();
/// let id: Id<Project> = Id::new(clock.now());
/// assert_eq!(id.to_string().parse(), Ok(id));
/// ```
pub struct Id<T>(Uuid, PhantomData<fn() -> T>);

impl<T> Id<T> {
    /// Creates an id for something created at `now`. The twelve bits after the milliseconds hold their fraction (RFC
    /// 9562, section 6.2, method 3), so ids created a microsecond apart still sort; the remaining 62 bits are random.
    pub fn new(now: Timestamp) -> Self {
        let micros = u64::try_from(now.as_micros()).unwrap_or(0);
        let (millis, rest) = (micros / 1000, micros % 1000);
        let high = (millis << 16) | 0x7000 | (rest * 4096 / 1000);
        let low = (rand::random::<u64>() >> 2) | (1 << 63);
        Self(Uuid::from_u64_pair(high, low), PhantomData)
    }

    /// Wraps a UUID of any version, such as one from another system.
    pub const fn from_uuid(uuid: Uuid) -> Self {
        Self(uuid, PhantomData)
    }

    /// Returns the UUID.
    pub const fn uuid(self) -> Uuid {
        self.0
    }

    /// Returns the id for the number of a row in an existing table, such as a `bigserial`: a UUIDv8 (RFC 9562, section
    /// 5.8) that holds the number. [`number`](Self::number) returns it again, so no column has to store the id. Ids of
    /// numbers that are not negative sort as the numbers do.
    ///
    /// ```
    /// use omnistack_core::identity::UserId;
    ///
    /// let id = UserId::from_number(7);
    /// assert_eq!(id.to_string(), "00000000-0000-8000-8000-000000000007");
    /// assert_eq!(id.number(), Some(7));
    /// ```
    pub const fn from_number(number: i64) -> Self {
        let number = number.cast_unsigned();
        Self(Uuid::from_u64_pair(NUMBER_HIGH | (number >> 62), VARIANT | (number & !(0b11 << 62))), PhantomData)
    }

    /// Returns the number that [`from_number`](Self::from_number) has put into the id. Returns `None` for other ids.
    pub const fn number(self) -> Option<i64> {
        let (high, low) = self.0.as_u64_pair();
        if high & !0b11 != NUMBER_HIGH || low >> 62 != 0b10 {
            return None;
        }
        Some((((high & 0b11) << 62) | (low & !(0b11 << 62))).cast_signed())
    }

    /// Returns the id for a text that identifies a row in an existing table, such as a nanoid or a cuid: a UUIDv8 made
    /// of the SHA-256 of the text. The text can't be computed from it: to find the row again, store the id in a column.
    /// For a UUID in text form, use [`str::parse`].
    ///
    /// ```
    /// use omnistack_core::identity::UserId;
    ///
    /// let id = UserId::from_text("clx2k7p9a0000");
    /// assert_eq!(id, UserId::from_text("clx2k7p9a0000"));
    /// assert_ne!(id, UserId::from_text("clx2k7p9a0001"));
    /// assert_eq!((id.uuid().get_version_num(), id.number()), (8, None));
    /// ```
    pub fn from_text(text: &str) -> Self {
        let hash: [u8; 32] = Sha256::digest(text.as_bytes()).into();
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&hash[..16]);
        bytes[6] = 0x80 | (bytes[6] & 0x0f);
        bytes[8] = 0x80 | (bytes[8] & 0x3f);
        Self(Uuid::from_bytes(bytes), PhantomData)
    }
}

/// The first half of an id made of a number, without the two highest bits of the number: version 8.
const NUMBER_HIGH: u64 = 0x8000;
/// The variant of RFC 9562, in the second half of an id.
const VARIANT: u64 = 0b10 << 62;

impl<T> Clone for Id<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Id<T> {}

impl<T> PartialEq for Id<T> {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl<T> Eq for Id<T> {}

impl<T> PartialOrd for Id<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Id<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.cmp(&other.0)
    }
}

impl<T> hash::Hash for Id<T> {
    fn hash<H: hash::Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl<T> fmt::Debug for Id<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl<T> fmt::Display for Id<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl<T> FromStr for Id<T> {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, uuid::Error> {
        Uuid::parse_str(text).map(Self::from_uuid)
    }
}

impl<T> Serialize for Id<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de, T> Deserialize<'de> for Id<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Uuid::deserialize(deserializer).map(Self::from_uuid)
    }
}

/// Required by `#[derive(ToSchema)]` for fields whose type has parameters.
impl<T> ComposeSchema for Id<T> {
    fn compose(_: Vec<RefOr<Schema>>) -> RefOr<Schema> {
        ObjectBuilder::new().schema_type(Type::String).format(Some(SchemaFormat::KnownFormat(KnownFormat::Uuid))).into()
    }
}

/// The schema is named `EntityId`: a schema named `Id` would clash with a built-in type in many client languages.
impl<T> ToSchema for Id<T> {
    fn name() -> Cow<'static, str> {
        "EntityId".into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Order;

    #[test]
    fn a_number_comes_back_and_keeps_its_order() {
        let numbers = [0, 1, 7, i64::MAX / 2, i64::MAX / 2 + 1, i64::MAX - 1, i64::MAX];
        let ids: Vec<Id<Order>> = numbers.iter().copied().map(Id::from_number).collect();
        assert!(ids.is_sorted());
        for number in numbers.into_iter().chain([-1, i64::MIN]) {
            let id: Id<Order> = Id::from_number(number);
            assert_eq!(id.number(), Some(number));
            assert_eq!((id.uuid().get_version_num(), id.uuid().get_variant()), (8, uuid::Variant::RFC4122));
        }
        for other in ["0190a7c8-0000-7000-8000-000000000001", "00000000-0000-0000-0000-000000000007"] {
            assert_eq!(other.parse::<Id<Order>>().unwrap().number(), None);
        }
    }
}
