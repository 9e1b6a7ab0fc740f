//! The entitlements of a tenant: the definition of its plan, with its seats and its overrides. No I/O.

use std::sync::Arc;

use omnistack_core::{clock::Timestamp, identity::Plan};

use super::overrides::{OverrideKind, PlanOverride};
use crate::plan::PlanDefinition;

/// The limit that the seats of a tenant set.
pub(super) const SEATS_LIMIT: &str = "team_members";

/// The plan of a tenant with its seats and its overrides.
#[derive(Clone, Debug)]
pub(crate) struct Entitled {
    pub(crate) plan: Arc<Plan>,
    /// The definition with the seats and the overrides, which has the soft limits, too.
    pub(crate) definition: Arc<PlanDefinition>,
    /// The time at which the next override expires.
    pub(crate) valid_until: Option<Timestamp>,
}

/// Puts the seats and the overrides in place of what a definition has; a soft limit stays soft. `plan` is that of the
/// definition. The overrides are those that have not expired.
pub(super) fn resolve(
    definition: Arc<PlanDefinition>,
    plan: Arc<Plan>,
    seats: Option<u64>,
    overrides: &[PlanOverride],
) -> Entitled {
    if seats.is_none() && overrides.is_empty() {
        return Entitled { plan, definition, valid_until: None };
    }
    let mut definition = PlanDefinition::clone(&definition);
    if let Some(seats) = seats {
        definition = definition.limit(SEATS_LIMIT, i64::try_from(seats).unwrap_or(i64::MAX));
    }
    for PlanOverride { kind, name, value, .. } in overrides {
        match (kind, value) {
            (OverrideKind::Feature, Some(0)) => definition.features.retain(|feature| feature != name),
            (OverrideKind::Feature, _) if definition.features.contains(name) => {}
            (OverrideKind::Feature, _) => definition.features.push(name.clone()),
            (OverrideKind::Limit, None) => definition = definition.unlimited(name),
            (OverrideKind::Limit, Some(most)) => definition = definition.limit(name, *most),
        }
    }
    let valid_until = overrides.iter().filter_map(|one| one.expires_at).min();
    Entitled { plan: Arc::new(definition.to_plan()), definition: Arc::new(definition), valid_until }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use omnistack_core::id::Id;
    use uuid::Uuid;

    use super::*;

    fn time(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn one(kind: OverrideKind, name: &str, value: Option<i64>, expires_at: Option<&str>) -> PlanOverride {
        PlanOverride {
            id: Id::from_uuid(Uuid::nil()),
            kind,
            name: name.to_owned(),
            value,
            reason: "a test".to_owned(),
            created_by: Id::from_uuid(Uuid::nil()),
            created_at: time("2030-01-01T00:00:00Z"),
            expires_at: expires_at.map(time),
        }
    }

    /// Resolves a plan with two features, three limits, and one that is soft.
    fn resolved(seats: Option<u64>, overrides: &[PlanOverride]) -> Entitled {
        let pro = PlanDefinition::new("pro", "Pro").feature("export").feature("sso");
        let pro = pro.limit("projects", 10).limit(SEATS_LIMIT, 3).limit("runs", 100).soft_limit("runs");
        let plan = Arc::new(pro.to_plan());
        resolve(Arc::new(pro), plan, seats, overrides)
    }

    #[test]
    fn overrides_replace_what_the_plan_has() {
        use OverrideKind::{Feature, Limit};
        let (same_features, projects, seats) = (["export", "sso"], ("projects", 10), (SEATS_LIMIT, 3));
        let one = |kind, name, value| vec![one(kind, name, value, None)];
        let cases: [(Option<u64>, Vec<PlanOverride>, &[&str], &[(&str, u64)]); 9] = [
            (None, vec![], &same_features, &[projects, seats]),
            (Some(200), vec![], &same_features, &[projects, (SEATS_LIMIT, 200)]),
            (None, one(Feature, "ai", Some(1)), &["export", "sso", "ai"], &[projects, seats]),
            (None, one(Feature, "sso", Some(1)), &same_features, &[projects, seats]),
            (None, one(Feature, "sso", Some(0)), &["export"], &[projects, seats]),
            (None, one(Limit, "projects", None), &same_features, &[seats]),
            (None, one(Limit, "projects", Some(0)), &same_features, &[("projects", 0), seats]),
            (None, one(Limit, "reports", Some(7)), &same_features, &[projects, ("reports", 7), seats]),
            (Some(4), one(Limit, SEATS_LIMIT, Some(50)), &same_features, &[projects, (SEATS_LIMIT, 50)]),
        ];
        for (seats, overrides, features, limits) in cases {
            let plan = resolved(seats, &overrides).plan;
            assert_eq!(plan.features, features, "{seats:?} {overrides:?}");
            let limits: BTreeMap<String, u64> = limits.iter().map(|(name, most)| ((*name).to_owned(), *most)).collect();
            assert_eq!(plan.limits, limits, "{seats:?} {overrides:?}");
        }
    }

    #[test]
    fn a_soft_limit_stays_soft() {
        let entitled = resolved(None, &[one(OverrideKind::Limit, "runs", Some(500), None)]);
        assert_eq!((entitled.definition.limits["runs"], entitled.plan.limits.get("runs")), (500, None));
        assert_eq!(entitled.definition.soft_limits, ["runs"]);
    }

    #[test]
    fn entitlements_hold_until_the_next_override_expires() {
        let later = one(OverrideKind::Feature, "a", Some(1), Some("2030-03-01T00:00:00Z"));
        let first = one(OverrideKind::Limit, "b", Some(1), Some("2030-02-01T00:00:00Z"));
        let never = one(OverrideKind::Limit, "c", Some(1), None);
        let until = resolved(None, &[later, first, never.clone()]).valid_until;
        assert_eq!(until, Some(time("2030-02-01T00:00:00Z")));
        assert_eq!(resolved(None, &[never]).valid_until, None);
    }

    #[test]
    fn tenants_without_overrides_share_the_plan_of_the_definition() {
        let (definition, plan) = (Arc::new(PlanDefinition::new("pro", "Pro")), Arc::new(Plan::new("pro")));
        let entitled = resolve(Arc::clone(&definition), Arc::clone(&plan), None, &[]);
        assert!(Arc::ptr_eq(&entitled.plan, &plan) && Arc::ptr_eq(&entitled.definition, &definition));
    }
}
