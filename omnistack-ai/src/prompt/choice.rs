//! The choice between the versions of a label.

use sha2::{Digest as _, Sha256};

use super::model::WeightedVersion;

/// Returns the version for a key, each as often as its weight says. Equal keys get the same version as long as the
/// versions and weights stay the same.
pub(super) fn choose(prompt: &str, label: &str, versions: &[WeightedVersion], key: &str) -> Option<i64> {
    let total: u64 = versions.iter().map(|version| u64::from(version.weight)).sum();
    if versions.len() < 2 || total == 0 {
        return versions.first().map(|version| version.version);
    }
    let digest = Sha256::new_with_prefix(prompt).chain_update([0]).chain_update(label).chain_update([0]);
    let digest = digest.chain_update(key).finalize();
    let number = digest.iter().take(8).fold(0_u64, |number, byte| (number << 8) | u64::from(*byte));
    let mut point = number % total;
    for version in versions {
        let weight = u64::from(version.weight);
        if point < weight {
            return Some(version.version);
        }
        point -= weight;
    }
    versions.last().map(|version| version.version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_chosen_by_weight_and_stay_the_same() {
        let versions = [(1, 3), (2, 1)].map(|(version, weight)| WeightedVersion { version, weight, variant: None });
        let chosen = |key: usize| choose("greet", "production", &versions, &key.to_string()).unwrap();
        let second = (0..4_000).filter(|key| chosen(*key) == 2).count();
        assert!((850..1_150).contains(&second), "{second} of 4,000");
        assert_eq!(chosen(7), chosen(7));
        assert_eq!(choose("greet", "production", &versions[..1], "x"), Some(1));
        assert_eq!(choose("greet", "production", &[], "x"), None);
    }
}
