//! Compiled rules and variants.

use std::sync::Arc;

use super::{
    EvaluationContext, FlagDefinition, FlagRule, FlagVariant, Hashing,
    bucket::{Murmur3, growthbook_hash, growthbook_ranges},
    context::ContextField,
    matcher::{Matcher, ValueSet},
    references::References,
};

/// A compiled rule.
#[derive(Debug)]
pub(super) struct CompiledRule {
    /// Whether the rule never matches: an import marked it as unsupported, or one of its segments does not
    /// exist.
    never: bool,
    users: Option<ValueSet>,
    tenants: Option<ValueSet>,
    plans: Option<ValueSet>,
    plan_feature: Option<Box<str>>,
    constraints: Box<[Matcher]>,
    rollout: Option<CompiledRollout>,
    variants: Option<CompiledVariants>,
}

impl CompiledRule {
    /// Compiles a rule. Fails if a constraint is invalid.
    pub(super) fn new(flag: &FlagDefinition, rule: &FlagRule, references: &References<'_>) -> Result<Self, ()> {
        let mut never = rule.unsupported.is_some();
        let mut constraints: Vec<_> = rule.constraints.iter().collect();
        for name in &rule.segments {
            match references.segment(name) {
                Some(segment) => constraints.extend(&segment.constraints),
                None => never = true,
            }
        }
        let constraints = constraints.into_iter().map(Matcher::new).collect::<Result<_, _>>().map_err(drop)?;
        let some = |values: &[String]| (!values.is_empty()).then(|| ValueSet::new(values));
        Ok(Self {
            never,
            users: some(&rule.users),
            tenants: some(&rule.tenants),
            plans: some(&rule.plans),
            plan_feature: rule.plan_feature.as_deref().map(Into::into),
            constraints,
            rollout: rule.rollout.as_ref().map(|rollout| {
                let group = rollout.group.as_deref().unwrap_or(&flag.key);
                CompiledRollout {
                    by: Stickiness::new(&rollout.stickiness),
                    percent: rollout.percent,
                    place: PositionHash::new(flag.hashing, group, Murmur3::for_shares),
                }
            }),
            variants: CompiledVariants::of_rule(flag, rule),
        })
    }

    pub(super) fn variants(&self) -> Option<&CompiledVariants> {
        self.variants.as_ref()
    }

    pub(super) fn holds(&self, context: &EvaluationContext<'_>) -> bool {
        let among = |values: &Option<ValueSet>, own: Option<&str>| match values {
            None => true,
            Some(values) => own.is_some_and(|own| values.has(own)),
        };
        !self.never
            && among(&self.users, context.user)
            && among(&self.tenants, context.tenant)
            && among(&self.plans, context.plan.map(|plan| plan.key.as_str()))
            && self
                .plan_feature
                .as_ref()
                .is_none_or(|feature| context.plan.is_some_and(|plan| plan.has_feature(feature)))
            && self.constraints.iter().all(|constraint| constraint.holds(context))
            && self.rollout.as_ref().is_none_or(|share| share.has(context))
    }
}

impl FlagRule {
    /// Returns whether the rule depends on the tenant's plan.
    pub(super) fn depends_on_plan(&self, references: &References<'_>) -> bool {
        let named = |name: &String| references.segment(name);
        let mut constraints =
            self.constraints.iter().chain(self.segments.iter().filter_map(named).flat_map(|one| &one.constraints));
        !self.plans.is_empty()
            || self.plan_feature.is_some()
            || constraints.any(|constraint| ContextField::new(&constraint.attribute) == ContextField::Plan)
            || self.rollout.as_ref().is_some_and(|rollout| ContextField::new(&rollout.stickiness) == ContextField::Plan)
    }
}

/// The attribute that assigns a caller to rollouts and variants.
#[derive(Debug)]
enum Stickiness {
    Default,
    Random,
    By(ContextField),
}

impl Stickiness {
    fn new(name: &str) -> Self {
        match name {
            "default" => Self::Default,
            "random" => Self::Random,
            name => Self::By(ContextField::new(name)),
        }
    }

    /// Returns the id that assigns the caller.
    #[inline]
    fn id<'a>(&self, context: &EvaluationContext<'a>) -> Option<&'a str> {
        match self {
            Self::Default => context.user.or(context.session),
            Self::Random => None,
            Self::By(field) => context.value(field),
        }
    }
}

/// Hash that gives ids a position in a group.
#[derive(Debug)]
enum PositionHash {
    Murmur(Murmur3),
    Growthbook { seed: Box<str>, version: u8 },
}

impl PositionHash {
    fn new(hashing: Hashing, group: &str, murmur: fn(&str) -> Murmur3) -> Self {
        match hashing {
            Hashing::Murmur3 => Self::Murmur(murmur(group)),
            Hashing::GrowthbookV1 => Self::Growthbook { seed: group.into(), version: 1 },
            Hashing::GrowthbookV2 => Self::Growthbook { seed: group.into(), version: 2 },
        }
    }
}

/// Returns a random number from 0 to less than 1.
fn random_position(context: &EvaluationContext<'_>) -> f64 {
    f64::from(context.random()) / (f64::from(u32::MAX) + 1.0)
}

/// A rollout to a share of callers.
#[derive(Debug)]
struct CompiledRollout {
    by: Stickiness,
    percent: f64,
    place: PositionHash,
}

impl CompiledRollout {
    fn has(&self, context: &EvaluationContext<'_>) -> bool {
        let id = self.by.id(context);
        if id.is_none() && matches!(self.by, Stickiness::By(_)) {
            return false;
        }
        match (&self.place, id) {
            (_, None) => random_position(context) * 100.0 < self.percent,
            (PositionHash::Murmur(murmur), Some(id)) => f64::from(murmur.position(id, 100)) <= self.percent,
            (PositionHash::Growthbook { seed, version }, Some(id)) => {
                growthbook_hash(seed, id, *version).is_some_and(|place| place * 100.0 < self.percent)
            }
        }
    }
}

/// Variants with their weights.
#[derive(Debug)]
pub(super) struct CompiledVariants {
    by: Stickiness,
    place: PositionHash,
    total: u32,
    variants: Box<[WeightedVariant]>,
    /// Ranges of the variants, for GrowthBook's hash.
    ranges: Vec<(f64, f64)>,
    overrides: bool,
}

#[derive(Debug)]
struct WeightedVariant {
    variant: Arc<FlagVariant>,
    /// Sum of the weights up to and including this variant.
    upto: u32,
    overrides: Box<[(ContextField, ValueSet)]>,
}

impl CompiledVariants {
    pub(super) fn of_flag(flag: &FlagDefinition) -> Option<Self> {
        Self::new(flag.hashing, &flag.key, &flag.variants, "default")
    }

    fn of_rule(flag: &FlagDefinition, rule: &FlagRule) -> Option<Self> {
        let group = rule.rollout.as_ref().and_then(|rollout| rollout.group.as_deref()).unwrap_or(&flag.key);
        let by = rule.rollout.as_ref().map_or("default", |rollout| rollout.stickiness.as_str());
        Self::new(flag.hashing, group, &rule.variants, by)
    }

    fn new(hashing: Hashing, group: &str, variants: &[FlagVariant], by: &str) -> Option<Self> {
        let by = variants.first()?.stickiness.as_deref().unwrap_or(by);
        let mut total: u32 = 0;
        let options = variants.iter().map(|variant| {
            total = total.saturating_add(variant.weight);
            let overrides = variant.overrides.iter();
            let overrides =
                overrides.map(|given| (ContextField::new(&given.attribute), ValueSet::new(&given.values))).collect();
            WeightedVariant { variant: Arc::new(variant.clone()), upto: total, overrides }
        });
        let variants_of: Box<[_]> = options.collect();
        let weights: Vec<_> =
            variants.iter().map(|variant| f64::from(variant.weight) / f64::from(total.max(1))).collect();
        Some(Self {
            by: Stickiness::new(by),
            place: PositionHash::new(hashing, group, Murmur3::for_variants),
            total,
            overrides: variants.iter().any(|variant| !variant.overrides.is_empty()),
            ranges: growthbook_ranges(variants.len(), 1.0, Some(&weights)),
            variants: variants_of,
        })
    }

    pub(super) fn named(&self, name: &str) -> Option<&Arc<FlagVariant>> {
        self.variants.iter().map(|option| &option.variant).find(|variant| variant.name == name)
    }

    /// Returns the variant for a caller, or `None` if all weights are 0.
    pub(super) fn choose(&self, context: &EvaluationContext<'_>) -> Option<&Arc<FlagVariant>> {
        if self.overrides {
            let given =
                |(field, values): &(ContextField, ValueSet)| context.value(field).is_some_and(|own| values.has(own));
            if let Some(option) = self.variants.iter().find(|option| option.overrides.iter().any(given)) {
                return Some(&option.variant);
            }
        }
        if self.total == 0 {
            return None;
        }
        let at = match (&self.place, self.by.id(context)) {
            (PositionHash::Murmur(murmur), Some(id)) => murmur.position(id, self.total),
            (PositionHash::Growthbook { seed, version }, Some(id)) => {
                let place = growthbook_hash(seed, id, *version)?;
                let within = |range: &(f64, f64)| place >= range.0 && place < range.1;
                // Rounded weights can leave a gap at the end, which goes to the last variant.
                let at = self.ranges.iter().position(within).unwrap_or(self.variants.len() - 1);
                return Some(&self.variants[at].variant);
            }
            (_, None) => context.random() % self.total + 1,
        };
        self.variants.iter().find(|option| at <= option.upto).map(|option| &option.variant)
    }
}
