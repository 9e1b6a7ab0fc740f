//! Points and filters as JSON of Qdrant. No I/O.

use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use super::api::unreadable;
use crate::vector::{
    error::VectorError,
    filter::{MetadataCondition, MetadataFilter},
    model::{VectorPoint, VectorSpace},
    words::{RankedId, stored_words},
};

/// Returns the id of a point in Qdrant, which accepts UUIDs only: a hash of the collection and the id.
pub(super) fn point_id(space: VectorSpace, id: &str) -> String {
    let hash = Sha256::new().chain_update(space.collection.uuid().as_bytes()).chain_update(id.as_bytes()).finalize();
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash[..16]);
    uuid::Builder::from_custom_bytes(bytes).into_uuid().to_string()
}

/// Returns a point as it is stored.
pub(super) fn point_json(space: VectorSpace, point: &VectorPoint) -> Value {
    json!({
        "id": point_id(space, &point.id),
        "vector": point.vector,
        "payload": {
            "tenant": space.tenant.to_string(),
            "collection": space.collection.to_string(),
            "id": point.id,
            "text": point.text,
            "words": stored_words(point.text.as_deref().unwrap_or_default()),
            "metadata": point.metadata,
        },
    })
}

/// Reads a point of a response.
pub(super) fn stored_point(point: &Value, with_vector: bool) -> Result<VectorPoint, VectorError> {
    let payload = &point["payload"];
    let id = payload["id"].as_str().ok_or_else(|| unreadable("a point has no `id` in its payload"))?;
    let vector = if with_vector {
        serde_json::from_value(point["vector"].clone()).map_err(|_| unreadable("a point has no vector"))?
    } else {
        Vec::new()
    };
    Ok(VectorPoint { id: id.to_owned(), vector, text: text(payload), metadata: metadata(payload) })
}

/// Reads a result of a search: the point with its score, and its payload.
pub(super) fn scored(point: &Value) -> Result<(RankedId, Value), VectorError> {
    let id = point["payload"]["id"].as_str().ok_or_else(|| unreadable("a result has no `id` in its payload"))?;
    let score: f32 = serde_json::from_value(point["score"].clone()).map_err(|_| unreadable("a result has no score"))?;
    Ok((RankedId { id: id.to_owned(), score }, point["payload"].clone()))
}

pub(super) fn text(payload: &Value) -> Option<String> {
    payload["text"].as_str().map(str::to_owned)
}

pub(super) fn metadata(payload: &Value) -> Map<String, Value> {
    payload["metadata"].as_object().cloned().unwrap_or_default()
}

/// Returns a filter by the collection and further conditions.
pub(super) fn with_space(space: VectorSpace, conditions: Vec<Value>) -> Value {
    let mut must = vec![
        json!({ "key": "collection", "match": { "value": space.collection.to_string() } }),
        json!({ "key": "tenant", "match": { "value": space.tenant.to_string() } }),
    ];
    must.extend(conditions);
    json!({ "must": must })
}

/// Returns a filter by the collection and the metadata.
pub(super) fn filter_json(space: VectorSpace, filter: &MetadataFilter) -> Value {
    let condition = |(field, condition): &(String, MetadataCondition)| {
        let key = format!("metadata.{field}");
        match condition {
            MetadataCondition::AnyOf(values) => any_of(&key, values),
            MetadataCondition::NoneOf(values) => json!({ "must_not": [any_of(&key, values)] }),
            MetadataCondition::Bound(side, bound) => json!({ "key": key, "range": { side.name(): bound } }),
            MetadataCondition::Exists(true) => json!({ "must_not": [missing(&key)] }),
            MetadataCondition::Exists(false) => missing(&key),
        }
    };
    with_space(space, filter.conditions().iter().map(condition).collect())
}

/// Returns the condition that a field is missing. Qdrant counts null and empty lists as empty, so null is excepted.
fn missing(key: &str) -> Value {
    json!({ "must": [{ "is_empty": { "key": key } }], "must_not": [{ "is_null": { "key": key } }] })
}

fn any_of(key: &str, values: &[Value]) -> Value {
    let equal = |value: &Value| match value {
        Value::Null => json!({ "is_null": { "key": key } }),
        // Qdrant compares whole numbers and texts for equality, and other numbers by ranges.
        Value::Number(number) => json!({ "key": key, "range": { "gte": number, "lte": number } }),
        value => json!({ "key": key, "match": { "value": value } }),
    };
    json!({ "should": values.iter().map(equal).collect::<Vec<_>>() })
}

#[cfg(test)]
mod tests {
    use omnistack_core::id::Id;
    use uuid::Uuid;

    use super::*;

    fn space(collection: u128) -> VectorSpace {
        VectorSpace::new(Id::from_uuid(Uuid::nil()), Id::from_uuid(Uuid::from_u128(collection)), 2)
    }

    #[test]
    fn points_of_two_collections_have_different_ids() {
        assert_eq!(point_id(space(1), "a"), point_id(space(1), "a"));
        assert_ne!(point_id(space(1), "a"), point_id(space(2), "a"));
        assert_ne!(point_id(space(1), "a"), point_id(space(1), "b"));
        assert!(Uuid::parse_str(&point_id(space(1), "a")).is_ok());
    }

    #[test]
    fn a_point_is_read_as_it_was_stored() {
        let metadata = json!({ "n": 1 }).as_object().cloned().unwrap();
        let point = VectorPoint::new("a", vec![0.6, 0.8]).text("Hello").metadata(metadata);
        assert_eq!(stored_point(&point_json(space(1), &point), true).unwrap(), point);
        assert!(stored_point(&json!({}), false).is_err());
    }

    #[test]
    fn each_filter_has_the_collection_and_the_tenant() {
        let filter = json!({ "year": { "gte": 2020 }, "lang": { "ne": "de" } });
        let filter = MetadataFilter::parse(filter.as_object().unwrap()).unwrap();
        let json = filter_json(space(1), &filter);
        let must = json["must"].as_array().unwrap();
        assert_eq!((must[0]["key"].as_str(), must[1]["key"].as_str()), (Some("collection"), Some("tenant")));
        assert_eq!(must.len(), 4);
        assert!(must.contains(&json!({ "key": "metadata.year", "range": { "gte": 2020.0 } })), "{json}");
    }
}
