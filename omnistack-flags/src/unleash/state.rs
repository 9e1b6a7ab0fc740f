//! JSON format of Unleash's servers.

use std::collections::{BTreeMap, HashMap};

use serde::Deserialize;
use serde_json::Value;

use crate::validate::MAX_PARTS;
use omnistack_core::http::FieldError;

#[derive(Deserialize)]
pub(super) struct ClientFeatures {
    #[serde(default)]
    pub(super) features: Vec<Feature>,
    #[serde(default)]
    pub(super) segments: Option<Vec<UnleashSegment>>,
    #[serde(default)]
    pub(super) events: Vec<DeltaEvent>,
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub(super) enum DeltaEvent {
    Hydration {
        #[serde(default)]
        features: Vec<Feature>,
        #[serde(default)]
        segments: Vec<UnleashSegment>,
    },
    FeatureUpdated {
        feature: Box<Feature>,
    },
    #[serde(rename_all = "camelCase")]
    FeatureRemoved {
        feature_name: String,
    },
    SegmentUpdated {
        segment: UnleashSegment,
    },
    #[serde(rename_all = "camelCase")]
    SegmentRemoved {
        segment_id: i64,
    },
}

impl ClientFeatures {
    /// Returns the features and segments after all events are applied.
    pub(super) fn apply_events(self) -> (Vec<Feature>, BTreeMap<i64, UnleashSegment>) {
        let mut features = self.features;
        let keyed = |segments: Vec<UnleashSegment>| segments.into_iter().map(|segment| (segment.id, segment));
        let mut segments: BTreeMap<_, _> = keyed(self.segments.unwrap_or_default()).collect();
        // Index from which on the features with a name are current; earlier ones were replaced or removed.
        let mut begins: HashMap<String, usize> = HashMap::new();
        for event in self.events {
            match event {
                DeltaEvent::Hydration { features: all, segments: every } => {
                    features = all;
                    begins.clear();
                    segments = keyed(every).collect();
                }
                DeltaEvent::FeatureUpdated { feature } => {
                    begins.insert(feature.name.clone(), features.len());
                    features.push(*feature);
                }
                DeltaEvent::FeatureRemoved { feature_name } => _ = begins.insert(feature_name, features.len()),
                DeltaEvent::SegmentUpdated { segment } => _ = segments.insert(segment.id, segment),
                DeltaEvent::SegmentRemoved { segment_id } => _ = segments.remove(&segment_id),
            }
        }
        let stays = |(at, feature): &(usize, Feature)| begins.get(&feature.name).is_none_or(|begin| at >= begin);
        (features.into_iter().enumerate().filter(stays).map(|(_, feature)| feature).collect(), segments)
    }
}

/// Checks the length of a list before its patterns are compiled. Fails if it has more than 100 entries.
pub(super) fn within_limit<T>(field: impl FnOnce() -> String, list: &[T]) -> Result<(), FieldError> {
    if list.len() <= MAX_PARTS {
        return Ok(());
    }
    Err(FieldError::new(field(), format!("must have at most {MAX_PARTS} entries")))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Feature {
    pub(super) name: String,
    #[serde(default)]
    pub(super) description: Option<String>,
    #[serde(default)]
    pub(super) enabled: bool,
    #[serde(default)]
    pub(super) strategies: Option<Vec<Strategy>>,
    #[serde(default)]
    pub(super) variants: Option<Vec<UnleashVariant>>,
    #[serde(default)]
    pub(super) dependencies: Vec<Dependency>,
    #[serde(default)]
    pub(super) impression_data: bool,
}

impl Feature {
    pub(super) fn is_within_limits(&self) -> Result<(), FieldError> {
        let strategies = self.strategies.as_deref().unwrap_or_default();
        within_limit(|| format!("features.{}.strategies", self.name), strategies)?;
        strategies.iter().enumerate().try_for_each(|(at, strategy)| {
            let constraints = strategy.constraints.as_deref().unwrap_or_default();
            within_limit(|| format!("features.{}.strategies[{at}].constraints", self.name), constraints)
        })
    }
}

#[derive(Deserialize)]
pub(super) struct Dependency {
    pub(super) feature: String,
    #[serde(default)]
    pub(super) enabled: Option<bool>,
    #[serde(default)]
    pub(super) variants: Option<Vec<String>>,
}

#[derive(Deserialize)]
pub(super) struct Strategy {
    pub(super) name: String,
    #[serde(default)]
    pub(super) parameters: Option<BTreeMap<String, Value>>,
    #[serde(default)]
    pub(super) constraints: Option<Vec<UnleashConstraint>>,
    #[serde(default)]
    pub(super) segments: Option<Vec<i64>>,
    #[serde(default)]
    pub(super) variants: Option<Vec<UnleashVariant>>,
}

#[derive(Deserialize)]
pub(super) struct UnleashSegment {
    pub(super) id: i64,
    #[serde(default)]
    pub(super) constraints: Vec<UnleashConstraint>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct UnleashConstraint {
    pub(super) context_name: String,
    pub(super) operator: String,
    #[serde(default)]
    pub(super) values: Option<Vec<String>>,
    #[serde(default)]
    pub(super) value: Option<String>,
    #[serde(default)]
    pub(super) inverted: Option<bool>,
    #[serde(default)]
    pub(super) case_insensitive: Option<bool>,
}

#[derive(Deserialize)]
pub(super) struct UnleashVariant {
    pub(super) name: String,
    pub(super) weight: u32,
    #[serde(default)]
    pub(super) payload: Option<UnleashPayload>,
    #[serde(default)]
    pub(super) stickiness: Option<String>,
    #[serde(default)]
    pub(super) overrides: Option<Vec<UnleashOverride>>,
}

#[derive(Deserialize)]
pub(super) struct UnleashPayload {
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) value: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct UnleashOverride {
    pub(super) context_name: String,
    pub(super) values: Vec<String>,
}
