//! Measures the evaluation of feature flags: `cargo xtask bench flags`.
#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a benchmark prints its results")]
#![expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]

use std::{hint::black_box, time::Instant};

use omnistack_core::clock::Clock;
use omnistack_flags::{
    Constraint, EvaluationContext, FlagDefinition, FlagRule, FlagSet, Flags, Operator, UnleashImport,
};
use serde_json::json;
use unleash_yggdrasil::{EngineState, UpdateMessage};

/// The number of evaluations per run. Small without optimisation, where the run only checks that the benchmark works.
const TURNS: u32 = if cfg!(debug_assertions) { 1000 } else { 1_000_000 };
const RUNS: usize = 15;

/// Returns the smallest time of an evaluation over all runs, in nanoseconds.
fn least(mut evaluate: impl FnMut() -> bool, expected: bool) -> f64 {
    assert_eq!(evaluate(), expected);
    let mut least = f64::INFINITY;
    for _ in 0..RUNS {
        let before = Instant::now();
        for _ in 0..TURNS {
            black_box(evaluate());
        }
        least = least.min(before.elapsed().as_nanos() as f64 / f64::from(TURNS));
    }
    least
}

fn main() {
    let state = json!({ "version": 2, "features": [
        { "name": "plain", "type": "release", "enabled": true, "strategies": [] },
        { "name": "share", "type": "release", "enabled": true, "strategies": [{ "name": "flexibleRollout",
            "parameters": { "rollout": "50", "stickiness": "default", "groupId": "share" } }] },
        { "name": "constrained", "type": "release", "enabled": true, "strategies": [{ "name": "flexibleRollout",
            "parameters": { "rollout": "50", "stickiness": "default", "groupId": "share" },
            "constraints": [{ "contextName": "country", "operator": "IN", "values": ["NO", "SE", "DK"] }] }] },
    ]});
    // With as many other flags as a large app has.
    let others = (0..500).map(|number| FlagDefinition::new(format!("other-{number}")).rule(FlagRule::percent(50.0)));
    let ours = UnleashImport::read(&state).unwrap().flags.into_iter().chain(others);
    let more = [
        FlagDefinition::new("users").rule(FlagRule::users((0..1000).map(|user| user.to_string()))),
        FlagDefinition::new("version").rule(FlagRule::default().constraint(Constraint::new(
            "version",
            Operator::VersionAtLeast,
            ["1.2.3"],
        ))),
    ];
    let clock = Clock::system();
    let flags = Flags::fixed(FlagSet::new(ours.chain(more)), clock.clone());
    let user = (0..).map(|user: u32| user.to_string());
    let user =
        user.filter(|user| flags.is_on("share", &EvaluationContext::now(&clock).user(user.as_str()))).nth(6).unwrap();
    let attributes = [("country", "DK"), ("version", "1.10.0")];
    let context = EvaluationContext::now(&clock).user(user.as_str()).attributes(&attributes);
    let own = |key: &str| least(|| flags.is_on(black_box(key), black_box(&context)), true);

    let engine = EngineState::default();
    let update: UpdateMessage = serde_json::from_value(state).unwrap();
    engine.take_state(update);
    let theirs = unleash_yggdrasil::Context {
        user_id: Some(user.clone()),
        properties: Some([("country".to_owned(), "DK".to_owned())].into()),
        ..Default::default()
    };
    let peer = |key: &str| least(|| engine.is_enabled(black_box(key), black_box(&theirs), &None), true);

    println!("<!-- begin flags -->\n\n### Feature flags\n");
    println!(
        "Evaluation of a flag, one of {} in this process, in nanoseconds, least of {RUNS} runs of {TURNS}. The targets are 50 ns without rules and 120 ns for a rollout.\n",
        flags.snapshot().len()
    );
    println!("| flag | OmniStack | unleash-yggdrasil 0.21.7 |\n|---|---:|---:|");
    for (what, key) in [
        ("no rules", "plain"),
        ("a share of users", "share"),
        ("a share of users in one of three countries", "constrained"),
    ] {
        println!("| {what} | {:.0} | {:.0} |", own(key), peer(key));
    }
    println!("| one of 1,000 users | {:.0} | |", own("users"));
    println!("| a version | {:.0} | |", own("version"));
    println!("\n<!-- end flags -->");
}
