//! The SQL of webhooks to tenants. The rows are in the app's own database, also with tenant databases.

pub(crate) mod deliveries;
pub(crate) mod endpoints;
pub(crate) mod log;
pub(crate) mod messages;
pub(crate) mod recovery;
pub(crate) mod retention;

use omnistack_core::clock::Timestamp;
use uuid::Uuid;

/// Returns an id in the form that both databases can read from JSON.
fn hex(id: Uuid) -> String {
    id.simple().to_string()
}

/// Returns a list as JSON.
fn json<T: serde::Serialize + ?Sized>(list: &T) -> String {
    serde_json::to_string(list).unwrap_or_else(|_| "[]".into())
}

/// Returns the smallest id that [`Id::new`](omnistack_core::id::Id::new) creates at a time. Ids sort by time, so the
/// rows of a period are a range of ids.
fn first_id(at: Timestamp) -> Uuid {
    let micros = u64::try_from(at.as_micros()).unwrap_or(0);
    let (millis, rest) = (micros / 1_000, micros % 1_000);
    Uuid::from_u64_pair((millis << 16) | 0x7000 | (rest * 4_096 / 1_000), 0)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use omnistack_core::id::Id;

    use super::*;

    #[test]
    fn ids_of_a_period_are_a_range() {
        let start: Timestamp = "2030-01-01T00:00:00.000123Z".parse().unwrap();
        for micros in [0, 1, 7, 999, 1_000, 1_000_000] {
            let at = start + Duration::from_micros(micros);
            let (before, id) = (Id::<()>::new(at - Duration::from_micros(1)).uuid(), Id::<()>::new(at).uuid());
            assert!(before < first_id(at) && first_id(at) <= id, "{micros}");
        }
    }
}
