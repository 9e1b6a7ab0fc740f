//! Runs all files of Unleash's client specification. `cargo xtask test --peers` runs it: it needs
//! `TEST_PEERS_UNLEASH`, the folder of the npm package `@unleash/client-specification`.

use std::{collections::BTreeMap, fs, path::PathBuf};

use omnistack_core::clock::{Clock, Timestamp};
use omnistack_flags::{EvaluationContext, FlagSet, UnleashImport};
use serde_json::{Value, json};

fn read(path: PathBuf) -> Value {
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap()
}

/// Calls `evaluate` with the context of a test case.
fn with_context<T>(context: &Value, evaluate: impl FnOnce(&EvaluationContext<'_>) -> T) -> T {
    let text = |name: &str| context.get(name).and_then(Value::as_str);
    let mut attributes = BTreeMap::new();
    for (name, value) in context.get("properties").and_then(Value::as_object).into_iter().flatten() {
        if let Some(value) = value.as_str() {
            attributes.insert(name.clone(), value.to_owned());
        }
    }
    let clock = Clock::system();
    let moment = text("currentTime").map(|time| time.parse::<Timestamp>().unwrap());
    let context = moment.map_or_else(|| EvaluationContext::now(&clock), EvaluationContext::at);
    evaluate(
        &context
            .user(text("userId"))
            .session(text("sessionId"))
            .address(text("remoteAddress"))
            .environment(text("environment"))
            .app(text("appName"))
            .attribute_map(&attributes),
    )
}

fn of(flags: &FlagSet, case: &Value) -> Value {
    let key = case["toggleName"].as_str().unwrap();
    with_context(&case["context"], |context| {
        let found = flags.evaluate(key, context);
        assert_eq!(flags.is_on(key, context), found.enabled, "{key}");
        let mut answer = match &found.variant {
            None => json!({ "name": "disabled", "enabled": false }),
            Some(variant) => json!({ "name": variant.name, "enabled": true }),
        };
        if let Some(payload) = found.variant.as_ref().and_then(|variant| variant.payload.as_ref()) {
            answer["payload"] = json!(payload);
        }
        answer["feature_enabled"] = json!(found.enabled);
        answer
    })
}

#[test]
#[ignore = "needs npm's @unleash/client-specification: `cargo xtask test --peers`"]
fn unleash_specification() {
    #[expect(clippy::disallowed_methods, reason = "tests find peers by environment variables")]
    let folder = std::env::var("TEST_PEERS_UNLEASH").expect("run `cargo xtask test --peers`");
    let folder = PathBuf::from(folder).join("specifications");
    let files = read(folder.join("index.json"));
    let files: Vec<_> = files.as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
    assert!(files.len() >= 22, "{files:?}");
    let (mut cases, mut failed) = (0, Vec::new());
    for name in files {
        let file = read(folder.join(name));
        let flags = match UnleashImport::read(&file["state"]) {
            Ok(import) => import.into_set(),
            Err(problem) => panic!("{name}: {problem:?}"),
        };
        for (list, on_only) in [("tests", true), ("variantTests", false)] {
            for case in file.get(list).and_then(Value::as_array).into_iter().flatten() {
                cases += 1;
                let answer = of(&flags, case);
                let answer = if on_only { &answer["feature_enabled"] } else { &answer };
                if *answer != case["expectedResult"] {
                    failed.push(format!("{name}: {}: {answer}", case["description"]));
                }
            }
        }
    }
    assert!(failed.is_empty(), "{} of {cases}:\n{}", failed.len(), failed.join("\n"));
    assert!(cases >= 279, "{cases} cases");
}
