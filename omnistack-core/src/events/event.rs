//! The trait of events.

use serde::{Serialize, de::DeserializeOwned};

use crate::id::Id;

/// Marker type of event ids: see [`EventId`].
#[derive(Clone, Copy, Debug)]
pub enum EventMarker {}

/// The id of a published event. It is the same for all subscribers and in all attempts.
pub type EventId = Id<EventMarker>;

/// A fact, as a serde struct or enum, named in the past tense.
///
/// Events with the same name and key are ordered. To order events of several types, make them variants of one
/// enum:
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
///     DeletedFilter { project: u64 },
/// }
///
/// impl Event for ProjectChanged {
///     const NAME: &'static str = "project.changed";
///
///     fn key(&self) -> String {
///         let (Self::Created { project, .. } | Self::Renamed { project, .. } | Self::DeletedFilter { project }) = self;
///         project.to_string()
///     }
/// }
/// ```
///
/// Events are stored as JSON, so new fields need `#[serde(default)]`.
pub trait Event: Serialize + DeserializeOwned + Send + Sync + 'static {
    /// Stable name, unique among the app's events; stored with each event.
    const NAME: &'static str;

    /// Returns the key: the id of what the event is about, up to 500 bytes. Events with the same key are
    /// delivered one after another, in order. While a transaction that has published an event is open, other
    /// transactions wait before they publish with the same key.
    fn key(&self) -> String;
}
