//! Experiments: routes whose callers are divided between variants.

use omnistack_core::{
    flag_variant::{FlagSubject, FlagVariants},
    identity::TenantId,
};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use super::{candidate::Candidate, strategy::weighted_order};

/// The unit of an experiment, whose calls all get the same variant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum ExperimentUnit {
    /// The tenant.
    #[default]
    Tenant,
    /// The user; for calls without a user, the tenant.
    User,
}

/// The rule by which callers get a variant of a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ExperimentRule {
    pub(super) route: String,
    pub(super) unit: ExperimentUnit,
    /// The feature flag whose variant decides. Without one, or without a variant of it, the weights decide.
    pub(super) flag: Option<String>,
}

impl ExperimentRule {
    /// Returns the variant of a caller among those of the models that may answer. Equal callers get the same one.
    pub(super) fn choose(
        &self,
        list: &[Candidate],
        mut subject: FlagSubject<'_>,
        flags: &FlagVariants,
    ) -> Option<String> {
        if self.unit == ExperimentUnit::Tenant {
            subject.user = None;
        }
        let mut variants: Vec<(&str, u32)> = Vec::new();
        for candidate in list {
            let Some(name) = candidate.variant.as_deref() else { continue };
            if !variants.iter().any(|(known, _)| *known == name) {
                variants.push((name, candidate.weight));
            }
        }
        let by_flag = self.flag.as_ref().and_then(|flag| flags.variant(flag, subject));
        if let Some(name) = by_flag.filter(|name| variants.iter().any(|(known, _)| known == name)) {
            return Some(name);
        }
        let weights: Vec<u32> = variants.iter().map(|(_, weight)| *weight).collect();
        let who = subject.user.map_or_else(|| subject.tenant.to_string(), |user| user.to_string());
        let place =
            *weighted_order(&weights, stable_seed(subject.tenant, &format!("{}\0{who}", self.route))).first()?;
        Some(variants[place].0.to_owned())
    }

    /// Returns the name under which calls with a variant are counted, such as `support@new`.
    pub(super) fn reference(&self, variant: &str) -> String {
        format!("{}@{variant}", self.route)
    }
}

/// Returns a number that is the same for equal texts of a tenant, in each process.
pub(super) fn stable_seed(tenant: TenantId, text: &str) -> u64 {
    let hash = Sha256::new().chain_update(tenant.to_string()).chain_update("\0").chain_update(text).finalize();
    let mut first = [0_u8; 8];
    first.copy_from_slice(&hash[..8]);
    u64::from_be_bytes(first)
}
