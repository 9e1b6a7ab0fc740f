//! The models that a tenant may use. No I/O.

use omnistack_core::identity::Plan;

/// The start of the features of plans that name models.
const FEATURE_PREFIX: &str = "ai_model:";

/// The models that a tenant may use: by the app's setting, and by its plan.
#[derive(Clone, Debug)]
pub(super) struct AllowedModels<'a> {
    /// All are allowed if it is empty.
    app: &'a [String],
    plan: Vec<&'a str>,
}

impl<'a> AllowedModels<'a> {
    /// Reads what a plan allows: its features `ai_model:PATTERN`. A plan without such a feature allows all models.
    pub(super) fn new(app: &'a [String], plan: &'a Plan) -> Self {
        let plan = plan.features.iter().filter_map(|feature| feature.strip_prefix(FEATURE_PREFIX)).collect();
        Self { app, plan }
    }

    /// Returns whether a model may be used. A pattern of the name that was asked for, such as an alias or a route, allows
    /// all models that the name stands for.
    pub(super) fn allows(&self, asked: &str, provider: &str, model: &str) -> bool {
        let full = format!("{provider}/{model}");
        let names = [asked, model, full.as_str()];
        let is_listed = |pattern: &str| names.iter().any(|name| matches(pattern, name));
        (self.app.is_empty() || self.app.iter().any(|pattern| is_listed(pattern)))
            && (self.plan.is_empty() || self.plan.iter().any(|pattern| is_listed(pattern)))
    }
}

/// Returns whether a name matches a pattern, in which `*` stands for any text.
fn matches(pattern: &str, name: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else { return pattern == name };
    let Some(mut left) = name.strip_prefix(start) else { return false };
    let mut parts: Vec<&str> = rest.split('*').collect();
    let end = parts.pop().unwrap_or_default();
    for part in parts {
        let Some(at) = left.find(part) else { return false };
        left = &left[at + part.len()..];
    }
    left.ends_with(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_text() {
        for (pattern, name, expected) in [
            ("a", "a", true),
            ("a", "ab", false),
            ("*", "", true),
            ("*", "anything", true),
            ("a*", "abc", true),
            ("a*", "ba", false),
            ("*c", "abc", true),
            ("a*c", "abc", true),
            ("a*c", "ac", true),
            ("a*c", "a", false),
            ("a*b*c", "axbyc", true),
            ("a*b*c", "axcyb", false),
            ("ab*ba", "aba", false),
            ("", "", true),
            ("", "a", false),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn the_setting_and_the_plan_must_both_allow_a_model() {
        let own = |patterns: &[&str]| patterns.iter().map(|pattern| (*pattern).to_owned()).collect::<Vec<_>>();
        let plan = |features: &[&str]| features.iter().fold(Plan::new("test"), |plan, feature| plan.feature(*feature));
        for (app, features, asked, expected) in [
            (vec![], vec![], "large", true),
            (vec![], vec!["*"], "large", true),
            (vec![], vec!["export"], "large", true),
            (vec![], vec!["ai_model:small"], "large", false),
            (vec![], vec!["ai_model:small", "ai_model:lar*"], "large", true),
            (vec![], vec!["ai_model:acme/*"], "large", true),
            (vec![], vec!["ai_model:smart"], "smart", true),
            (vec![], vec!["ai_model:smart"], "large", false),
            (vec!["small"], vec![], "large", false),
            (vec!["small"], vec!["*"], "large", false),
            (vec!["acme/large"], vec!["ai_model:*"], "large", true),
            (vec!["acme/large"], vec!["ai_model:small"], "large", false),
        ] {
            let (app, plan) = (own(&app), plan(&features));
            let allowed = AllowedModels::new(&app, &plan);
            assert_eq!(allowed.allows(asked, "acme", "large"), expected, "{app:?} {features:?} {asked}");
        }
    }
}
