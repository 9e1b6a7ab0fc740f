//! Tests of flag evaluation, without a database.

use std::time::Duration;

use omnistack_core::{
    clock::{Clock, MockClock, Timestamp},
    identity::Plan,
};
use omnistack_flags::{
    Constraint, EvaluationContext, FlagDefinition, FlagReason, FlagRule, FlagSet, FlagVariant, Operator, Rollout,
    Segment, UnleashImport, VariantOverride, unleash_share,
};
use serde_json::json;

const TENANT: &str = "0190a7c8-0000-7000-8000-000000000001";

fn start() -> Timestamp {
    "2030-01-01T00:00:00Z".parse().unwrap()
}

fn flag() -> FlagDefinition {
    FlagDefinition::new("flag")
}

#[test]
fn kinds_of_rules() {
    let pro = Plan::new("pro").feature("export");
    let nobody = EvaluationContext::at(start());
    let feature = FlagRule { plan_feature: Some("export".into()), ..FlagRule::default() };
    let both = FlagRule { tenants: vec![TENANT.into()], ..FlagRule::users(["7"]) };
    for (rule, context, expected) in [
        (FlagRule::users(["7", "8"]), nobody.user("7"), true),
        (FlagRule::users(["7", "8"]), nobody.user("9"), false),
        (FlagRule::users(["7", "8"]), nobody, false),
        (FlagRule::tenants([TENANT]), nobody.tenant(TENANT), true),
        (FlagRule::tenants([TENANT]), nobody.user(TENANT), false),
        (FlagRule::plans(["pro"]), nobody.plan(&pro), true),
        (FlagRule::plans(["free"]), nobody.plan(&pro), false),
        (FlagRule::plans(["pro"]), nobody, false),
        (feature.clone(), nobody.plan(&pro), true),
        (feature, nobody, false),
        (both.clone(), nobody.user("7").tenant(TENANT), true),
        (both, nobody.user("7"), false),
        (FlagRule::percent(100.0), nobody, true),
        (FlagRule::percent(0.0), nobody, false),
        (FlagRule::default(), nobody, true),
        (FlagRule { unsupported: Some("why".into()), ..FlagRule::default() }, nobody, false),
        (FlagRule { segments: vec!["none".into()], ..FlagRule::default() }, nobody, false),
    ] {
        let flags = FlagSet::new([flag().rule(rule.clone())]);
        let answer = flags.evaluate("flag", &context);
        assert_eq!(answer.enabled, expected, "{rule:?} for {context:?}");
        assert_eq!(flags.is_on("flag", &context), expected);
        let expected = if expected { (FlagReason::Rule, Some(0)) } else { (FlagReason::NoRule, None) };
        assert_eq!((answer.reason, answer.rule), expected);
    }
    let many: Vec<_> = (0..100).map(|user| user.to_string()).collect();
    let flags = FlagSet::new([flag().rule(FlagRule::users(["x"])).rule(FlagRule::users(many))]);
    assert_eq!(flags.evaluate("flag", &nobody.user("99")).rule, Some(1));
}

#[test]
fn operators() {
    use Operator as O;
    let none: [&str; 0] = [];
    for (operator, values, fold, own, expected) in [
        (O::In, vec!["a", "b"], false, Some("b"), true),
        (O::In, vec!["a", "b"], false, Some("B"), false),
        (O::In, none.to_vec(), false, Some(""), false),
        (O::In, vec!["a"], false, None, false),
        (O::NotIn, vec!["a"], false, Some("b"), true),
        (O::NotIn, vec!["a"], false, None, true),
        (O::Contains, vec!["éa"], true, Some("xÉAx"), true),
        (O::Contains, vec!["éa"], false, Some("xÉAx"), false),
        (O::StartsWith, vec!["a", "b"], false, Some("bx"), true),
        (O::EndsWith, vec!["X"], true, Some("bx"), true),
        (O::Matches, vec!["^a+$"], false, Some("aaa"), true),
        (O::Matches, vec!["^a+$"], true, Some("AAA"), true),
        (O::Matches, vec!["^a+$"], false, None, false),
        (O::NumberEquals, vec!["12"], false, Some("12.0"), true),
        (O::NumberGreater, vec!["12"], false, Some("1e2"), true),
        (O::NumberAtLeast, vec!["-1"], false, Some("-1"), true),
        (O::NumberLess, vec!["12"], false, Some("twelve"), false),
        (O::NumberLess, vec!["12"], false, Some("NaN"), false),
        (O::NumberAtMost, vec!["12"], false, Some("12.1"), false),
        (O::DateAfter, vec!["2029-12-31T23:00:00-02:00"], false, Some("2030-01-01T02:00:00Z"), true),
        (O::DateBefore, vec!["2030-01-01T00:00:00Z"], false, Some("never"), false),
        (O::VersionEquals, vec!["1.2.3+one"], false, Some("1.2.3+other"), true),
        (O::VersionGreater, vec!["2.0.0-alpha"], false, Some("2.0.0-alpha.1"), true),
        (O::VersionAtLeast, vec!["1.2.3"], false, Some("1.10.0"), true),
        (O::VersionLess, vec!["1.2.3"], false, Some("v1.0.0"), false),
        (O::VersionAtMost, vec!["1.2.3"], false, Some("1.2.3"), true),
        (O::InNetwork, vec!["10.0.0.0/8", "2001:db8::/32"], false, Some("10.255.0.1"), true),
        (O::InNetwork, vec!["10.0.0.0/8"], false, Some("::ffff:10.1.2.3"), true),
        (O::InNetwork, vec!["2001:db8::1"], false, Some("2001:db8::2"), false),
        (O::InNetwork, vec!["10.0.0.0/8"], false, Some("10.0.0.0/8"), false),
    ] {
        let mut constraint = Constraint::new("own", operator, values.clone());
        constraint.case_insensitive = fold;
        let pairs = own.map(|own| [("own", own)]);
        let context = EvaluationContext::at(start());
        let context = pairs.as_ref().map_or(context, |pairs| context.attributes(pairs));
        let on = |constraint: Constraint| {
            FlagSet::new([flag().rule(FlagRule::default().constraint(constraint))]).is_on("flag", &context)
        };
        assert_eq!(on(constraint.clone()), expected, "{operator:?} {values:?} of {own:?}");
        assert_eq!(on(constraint.inverted()), !expected, "not {operator:?} {values:?} of {own:?}");
    }
}

#[test]
fn what_decides_first() {
    let (early, late) = (start() - Duration::from_secs(60), start() + Duration::from_secs(60));
    for (change, expected) in [
        (Box::new(|_: &mut FlagDefinition| {}) as Box<dyn Fn(&mut FlagDefinition)>, (true, FlagReason::On)),
        (Box::new(|flag| flag.enabled = false), (false, FlagReason::Off)),
        (Box::new(|flag| flag.killed = true), (false, FlagReason::Killed)),
        (Box::new(move |flag| flag.from = Some(late)), (false, FlagReason::NotStarted)),
        (Box::new(move |flag| flag.from = Some(start())), (true, FlagReason::On)),
        (Box::new(move |flag| flag.until = Some(start())), (false, FlagReason::Ended)),
        (Box::new(move |flag| flag.until = Some(late)), (true, FlagReason::On)),
        (Box::new(move |flag| flag.expires_at = Some(early)), (false, FlagReason::Expired)),
        (Box::new(move |flag| *flag = flag.clone().prerequisite("nowhere")), (false, FlagReason::Parent)),
        (Box::new(move |flag| *flag = flag.clone().prerequisite("flag")), (false, FlagReason::Broken)),
        (
            Box::new(|flag| {
                flag.rules.push(FlagRule::default().constraint(Constraint::new("own", Operator::Matches, ["("])));
            }),
            (false, FlagReason::Broken),
        ),
        (
            Box::new(move |flag| {
                (flag.killed, flag.expires_at, flag.enabled) = (true, Some(early), false);
            }),
            (false, FlagReason::Killed),
        ),
    ] {
        let mut definition = flag();
        change(&mut definition);
        let answer = FlagSet::new([definition.clone()]).evaluate("flag", &EvaluationContext::at(start()));
        assert_eq!((answer.enabled, answer.reason), expected, "{definition:?}");
    }
}

#[test]
fn a_schedule_goes_by_the_clock() {
    let mock = MockClock::at(start());
    let clock = mock.clock();
    let mut definition = flag();
    definition.from = Some(start() + Duration::from_secs(10));
    definition.until = Some(start() + Duration::from_secs(20));
    definition.expires_at = Some(start() + Duration::from_secs(30));
    let flags = FlagSet::new([definition]);
    for expected in [FlagReason::NotStarted, FlagReason::On, FlagReason::Ended, FlagReason::Expired] {
        assert_eq!(flags.evaluate("flag", &EvaluationContext::now(&clock)).reason, expected);
        mock.advance(Duration::from_secs(10));
    }
}

#[test]
fn parents_and_circles() {
    let variant = |name: &str| FlagDefinition::new(name).variant(FlagVariant::new("blue", 1));
    let child = |change: fn(&mut FlagDefinition)| {
        let mut child = FlagDefinition::new("child").prerequisite("parent");
        change(&mut child);
        child
    };
    for (parent, child, expected) in [
        (variant("parent"), child(|_| {}), true),
        (variant("parent"), child(|child| child.parents[0].variants = vec!["blue".into()]), true),
        (variant("parent"), child(|child| child.parents[0].variants = vec!["red".into()]), false),
        (FlagDefinition::new("parent"), child(|child| child.parents[0].variants = vec!["disabled".into()]), true),
        (variant("parent"), child(|child| child.parents[0].enabled = false), false),
        (FlagDefinition::new("parent").rule(FlagRule::users(["1"])), child(|_| {}), false),
        (
            FlagDefinition::new("parent").rule(FlagRule::users(["1"])),
            child(|child| child.parents[0].enabled = false),
            true,
        ),
        (FlagDefinition::new("parent").prerequisite("child"), child(|_| {}), false),
    ] {
        let grandchild = FlagDefinition::new("grandchild").prerequisite("child");
        let flags = FlagSet::new([child, parent, grandchild]);
        assert_eq!(flags.is_on("child", &EvaluationContext::at(start())), expected);
        assert_eq!(flags.is_on("grandchild", &EvaluationContext::at(start())), expected, "as deep as one likes");
    }
}

#[test]
fn shares_are_sticky_and_about_right() {
    let flags = FlagSet::new([flag().rule(FlagRule::percent(30.0))]);
    let wider = FlagSet::new([flag().rule(FlagRule::percent(60.0))]);
    let users: Vec<_> = (0..10_000).map(|user| format!("user-{user}")).collect();
    let on: Vec<_> =
        users.iter().filter(|user| flags.is_on("flag", &EvaluationContext::at(start()).user(user.as_str()))).collect();
    assert!((2800..3200).contains(&on.len()), "{}", on.len());
    for user in on {
        let context = EvaluationContext::at(start()).user(user.as_str());
        assert!(flags.is_on("flag", &context) && wider.is_on("flag", &context), "{user}");
    }
    assert_eq!(unleash_share("gr1", "123"), 73);
}

#[test]
fn by_what_a_caller_is_recognised() {
    let by = |stickiness: &str| {
        let rollout = Rollout { stickiness: stickiness.into(), ..Rollout::percent(50.0) };
        FlagSet::new([flag().rule(FlagRule { rollout: Some(rollout), ..FlagRule::default() })])
    };
    let here = unleash_share("flag", "x") <= 50;
    let context = EvaluationContext::at(start());
    assert_eq!(by("default").is_on("flag", &context.user("x").session("y")), here);
    assert_eq!(by("default").is_on("flag", &context.session("x")), here);
    assert_eq!(by("tenantId").is_on("flag", &context.tenant("x").user("y")), here);
    assert_eq!(by("own").is_on("flag", &context.attributes(&[("own", "x")])), here);
    assert!(!by("own").is_on("flag", &context.user("x")), "who can't be recognised is not among them");
    for (draw, expected) in [((|| 0) as fn() -> u32, true), (|| u32::MAX, false)] {
        assert_eq!(by("random").is_on("flag", &context.user("x").random_source(draw)), expected);
        assert_eq!(by("default").is_on("flag", &context.random_source(draw)), expected, "no known caller: by chance");
    }
}

#[test]
fn variants() {
    let mut blue = FlagVariant::new("blue", 1).text("b");
    blue.overrides = vec![VariantOverride { attribute: "userId".into(), values: vec!["7".into()] }];
    let mut definition = flag().variant(blue).variant(FlagVariant::new("red", 3).json(&json!({ "size": 1 })));
    definition.rules =
        vec![FlagRule { variants: vec![FlagVariant::new("beta", 1)], ..FlagRule::users(["9"]) }, FlagRule::default()];
    let flags = FlagSet::new([definition]);
    let name = |user: &str| {
        let found = flags.evaluate("flag", &EvaluationContext::at(start()).user(user));
        found.variant.map(|variant| variant.name.clone()).unwrap()
    };
    assert_eq!((name("7").as_str(), name("9").as_str()), ("blue", "beta"));
    let red = (100..4100).filter(|user| name(&user.to_string()) == "red").count();
    assert!((2850..3150).contains(&red), "{red} of 4000");
    let none = FlagSet::new([flag().variant(FlagVariant::new("weightless", 0))]);
    let answer = none.evaluate("flag", &EvaluationContext::at(start()).user("1"));
    assert_eq!((answer.enabled, answer.variant), (true, None));
}

#[test]
fn segments_are_constraints_under_a_name() {
    let segment =
        Segment { name: "north".into(), constraints: vec![Constraint::new("country", Operator::In, ["NO", "SE"])] };
    let rule = FlagRule { segments: vec!["north".into()], ..FlagRule::default() };
    let flags = FlagSet::with_segments([flag().rule(rule)], &[segment]);
    let clock = Clock::system();
    assert!(flags.is_on("flag", &EvaluationContext::now(&clock).attributes(&[("country", "SE")])));
    assert!(!flags.is_on("flag", &EvaluationContext::now(&clock).attributes(&[("country", "IT")])));
}

#[test]
fn what_unleash_has_and_we_do_not_is_noted() {
    let state = json!({ "version": 2, "features": [
        { "name": "a", "enabled": true, "strategies": [{ "name": "ours", "parameters": {} }] },
        { "name": "b", "enabled": true, "strategies": [{ "name": "default", "segments": [404] }] },
        { "name": "c", "enabled": true, "dependencies": [{ "feature": "nowhere" }], "strategies": [] },
        { "name": "d", "enabled": true, "strategies": [{ "name": "userWithId", "parameters": { "userIds": "" } }] },
        { "name": "e", "enabled": true, "strategies": [{ "name": "flexibleRollout", "parameters": { "rollout": "all" } }] },
        { "name": "f", "enabled": true, "strategies": [{ "name": "default", "constraints": [
            { "contextName": "x", "operator": "REGEX", "value": "(", "inverted": true }] }] },
    ] });
    let import = UnleashImport::read(&state).unwrap();
    assert_eq!(import.notes.len(), 6, "{:?}", import.notes);
    let flags = import.into_set();
    for key in ["a", "b", "c", "d", "e", "f"] {
        assert!(!flags.is_on(key, &EvaluationContext::at(start()).user("")), "{key}");
    }
    let wrong = UnleashImport::read(&json!({ "features": [{ "name": 7 }] })).unwrap_err();
    assert_eq!(wrong.field, "features[0].name");
}
