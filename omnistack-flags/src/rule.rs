//! Compiled rules and variants.

use std::sync::Arc;

use crate::{
    EvaluationContext, FlagDefinition, FlagRule, FlagVariant,
    bucket::Murmur3,
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
                    place: Murmur3::for_shares(group),
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

/// Returns a random number from 0 to less than 1.
fn random_position(context: &EvaluationContext<'_>) -> f64 {
    f64::from(context.random()) / (f64::from(u32::MAX) + 1.0)
}

/// A rollout to a share of callers.
#[derive(Debug)]
struct CompiledRollout {
    by: Stickiness,
    percent: f64,
    place: Murmur3,
}

impl CompiledRollout {
    fn has(&self, context: &EvaluationContext<'_>) -> bool {
        let id = self.by.id(context);
        if id.is_none() && matches!(self.by, Stickiness::By(_)) {
            return false;
        }
        match id {
            Some(id) => f64::from(self.place.position(id, 100)) <= self.percent,
            None => random_position(context) * 100.0 < self.percent,
        }
    }
}

/// Variants with their weights.
#[derive(Debug)]
pub(super) struct CompiledVariants {
    by: Stickiness,
    place: Murmur3,
    total: u32,
    variants: Box<[WeightedVariant]>,
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
        Self::new(&flag.key, &flag.variants, "default")
    }

    fn of_rule(flag: &FlagDefinition, rule: &FlagRule) -> Option<Self> {
        let group = rule.rollout.as_ref().and_then(|rollout| rollout.group.as_deref()).unwrap_or(&flag.key);
        let by = rule.rollout.as_ref().map_or("default", |rollout| rollout.stickiness.as_str());
        Self::new(group, &rule.variants, by)
    }

    fn new(group: &str, variants: &[FlagVariant], by: &str) -> Option<Self> {
        let by = variants.first()?.stickiness.as_deref().unwrap_or(by);
        let mut total: u32 = 0;
        let options = variants.iter().map(|variant| {
            total = total.saturating_add(variant.weight);
            let overrides = variant.overrides.iter();
            let overrides =
                overrides.map(|given| (ContextField::new(&given.attribute), ValueSet::new(&given.values))).collect();
            WeightedVariant { variant: Arc::new(variant.clone()), upto: total, overrides }
        });
        let options: Box<[_]> = options.collect();
        Some(Self {
            by: Stickiness::new(by),
            place: Murmur3::for_variants(group),
            total,
            overrides: variants.iter().any(|variant| !variant.overrides.is_empty()),
            variants: options,
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
        let at = match self.by.id(context) {
            Some(id) => self.place.position(id, self.total),
            None => context.random() % self.total + 1,
        };
        self.variants.iter().find(|option| at <= option.upto).map(|option| &option.variant)
    }
}
