//! Typed identifiers.

mod ids;

pub use ids::{ApiKeyId, ApiKeyMarker, SessionId, SessionMarker, TenantId, TenantMarker, UserId, UserMarker};
pub use uuid::Uuid;

use std::{borrow::Cow, cmp::Ordering, fmt, hash, marker::PhantomData, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
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

    /// Wraps a number of another system, such as the id of a user in a table of an existing app: the UUID has the number
    /// in its last 64 bits and zeros before it. Such ids sort as their numbers do, and never equal an id of
    /// [`new`](Self::new).
    ///
    /// ```
    /// use omnistack_core::identity::UserId;
    ///
    /// let user = UserId::from_number(7);
    /// assert_eq!(user.to_string(), "00000000-0000-0000-0000-000000000007");
    /// assert_eq!(user.number(), Some(7));
    /// ```
    pub const fn from_number(number: u64) -> Self {
        Self(Uuid::from_u64_pair(0, number), PhantomData)
    }

    /// Returns the number of an id that [`from_number`](Self::from_number) made. Returns `None` for other ids.
    pub const fn number(self) -> Option<u64> {
        match self.0.as_u64_pair() {
            (0, number) => Some(number),
            _ => None,
        }
    }

    /// Returns the UUID.
    pub const fn uuid(self) -> Uuid {
        self.0
    }
}

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
