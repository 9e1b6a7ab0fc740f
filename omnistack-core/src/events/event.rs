//! What an event is.

use serde::{Serialize, de::DeserializeOwned};

use crate::id::Id;

/// Whose ids are [`EventId`]s.
#[derive(Clone, Copy, Debug)]
pub enum Published {}

/// The id of a published event: the same for each of its subscribers and in each attempt.
pub type EventId = Id<Published>;

/// Something that has happened: a serde struct or enum, named in the past tense.
///
/// Events of one name and one key are in order. For an order across kinds, make the kinds one enum:
///
/// ```
/// use omnistack_core::events::Event;
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// #[serde(tag = "kind", rename_all = "snake_case")]
/// enum ProjectChanged {
///     Created { project: u64, name: String },
///     Renamed { project: u64, name: String },
///     Deleted { project: u64 },
/// }
///
/// impl Event for ProjectChanged {
///     const NAME: &'static str = "project.changed";
///
///     fn key(&self) -> String {
///         let (Self::Created { project, .. } | Self::Renamed { project, .. } | Self::Deleted { project }) = self;
///         project.to_string()
///     }
/// }
/// ```
///
/// It is stored as JSON, so new fields need `#[serde(default)]`.
pub trait Event: Serialize + DeserializeOwned + Send + Sync + 'static {
    /// Unique among the app's events, and stable: it is stored with each.
    const NAME: &'static str;

    /// What it is about: an id, up to 500 bytes. Those of one key are delivered one after another, in order. While a
    /// transaction that has published is open, others wait to publish with the same key.
    fn key(&self) -> String;
}
