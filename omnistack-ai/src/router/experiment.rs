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
    /// The names and the weights of all variants, also of those whose models can't answer a request.
    pub(super) variants: Vec<(String, u32)>,
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
        let can_answer = |name: &str| list.iter().any(|candidate| candidate.variant.as_deref() == Some(name));
        let by_flag = self.flag.as_ref().and_then(|flag| flags.variant(flag, subject));
        if let Some(name) = by_flag.filter(|name| can_answer(name)) {
            return Some(name);
        }
        let weights: Vec<u32> = self.variants.iter().map(|(_, weight)| *weight).collect();
        let who = subject.user.map_or_else(|| subject.tenant.to_string(), |user| user.to_string());
        let seed = stable_seed(subject.tenant, &format!("{}\0{who}", self.route));
        // The order is that of all variants, so that a request which some can't answer moves no caller of the others.
        let mut names = weighted_order(&weights, seed).into_iter().map(|place| &self.variants[place].0);
        names.find(|name| can_answer(name)).cloned()
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
