//! Tests of the catalog.

use super::*;
use crate::catalog::{Cost, ModelMode};

fn at(text: &str) -> Timestamp {
    format!("{text}T12:00:00Z").parse().unwrap()
}

/// Returns the content of a file.
fn read(text: &str) -> CatalogContent {
    let mut content = CatalogContent::default();
    let file = toml::from_str(text).unwrap();
    assert_eq!(content.add(file), Vec::<String>::new());
    content
}

fn small() -> ModelCatalog {
    ModelCatalog::from_toml(
        r#"
        [[models]]
        provider = "acme"
        id = "old"
        retires_on = "2027-01-14"
        successor = "new"

        [[models]]
        provider = "acme"
        id = "older"
        retires_on = "2026-01-01"
        successor = "new"

        [[models]]
        provider = "acme"
        id = "new"
        prices = [{ input = 100, output = 500 }]

        [[models]]
        provider = "bolt"
        id = "new"

        [[models]]
        provider = "bolt"
        id = "acme/new"

        [aliases]
        fast = ["acme/older", "acme/old", "bolt/not-listed"]
        late = ["acme/old"]

        [successors]
        old = ["acme/older", "acme/new"]
        gone = ["acme/new"]
        "#,
    )
    .unwrap()
}

fn targets(names: &[&str]) -> Vec<ModelTarget> {
    names.iter().map(|name| ModelTarget::parse(name).unwrap()).collect()
}

#[test]
fn the_built_in_catalog_is_complete() {
    let models = read(MODELS);
    let content = read(ALIASES);
    assert_eq!(models.models.len(), 202);
    let catalog = ModelCatalog::built_in();
    assert_eq!(catalog.models().len(), models.models.len() + content.models.len());
    let now = at("2026-12-02");
    for (name, targets) in content.aliases.iter().chain(&content.successors) {
        for target in targets {
            let model = catalog.find(&target.provider, &target.model);
            assert!(model.is_some_and(|model| !model.is_retired_on(day(now))), "{name}: {target}");
            assert!(model.is_some_and(|model| model.prices.is_some()), "{name}: {target}");
        }
    }
}

#[test]
fn built_in_prices_are_those_of_the_providers() {
    let catalog = ModelCatalog::built_in();
    let usage = |input, output| crate::chat::TokenUsage { input, output, ..crate::chat::TokenUsage::default() };
    for (provider, model, input, tier, expected) in [
        ("openai", "gpt-6-luna", 272_000, None, "0.0277"),
        ("openai", "gpt-6-luna", 272_001, None, "0.0551502"),
        ("openai", "gpt-6-luna", 1_000, Some("flex"), "0.0003"),
        ("anthropic", "claude-opus-5-5", 1_000, Some("fast"), "0.048"),
        ("gemini", "gemini-3.8-flash", 1_000, None, "0.0045"),
        ("groq", "openai/gpt-oss-20b", 1, None, "0.000300075"),
    ] {
        let cost = catalog.find(provider, model).unwrap().cost(&usage(input, 1_000), tier);
        assert_eq!(cost.map(|cost| cost.to_string()).as_deref(), Some(expected), "{model} {tier:?}");
    }
    // What costs something else than tokens has no price.
    assert_eq!(catalog.find("gemini", "lyria-3.5").unwrap().prices, None);
}

#[test]
fn names_have_a_meaning() {
    let (catalog, before, after) = (small(), at("2027-01-13"), at("2027-01-14"));
    let alias = |names: &[&str]| Resolved::Alias(targets(names));
    let model = |names: &[&str]| Resolved::Model(targets(names));
    for (name, now, expected) in [
        ("fast", before, alias(&["acme/old", "bolt/not-listed"])),
        ("fast", after, alias(&["bolt/not-listed"])),
        ("late", after, Resolved::Retired { successor: Some(ModelTarget::new("acme", "new")) }),
        ("new", before, model(&["acme/new", "bolt/new"])),
        // The name of a model comes before a provider and its model.
        ("acme/new", before, model(&["bolt/acme/new"])),
        ("acme/old", before, model(&["acme/old"])),
        ("old", before, model(&["acme/old"])),
        ("old", after, alias(&["acme/new"])),
        ("acme/old", after, alias(&["acme/new"])),
        ("older", before, Resolved::Retired { successor: Some(ModelTarget::new("acme", "new")) }),
        ("gone", before, alias(&["acme/new"])),
        ("nope", before, Resolved::Unknown),
        ("", before, Resolved::Unknown),
        ("/", before, Resolved::Unknown),
    ] {
        assert_eq!(catalog.resolve(name, now), expected, "{name}");
    }
}

#[test]
fn models_of_old_documents_have_successors() {
    let catalog = ModelCatalog::built_in();
    for (name, now, first) in [
        ("mixtral-8x7b-32768", "2026-11-29", "groq/openai/gpt-oss-120b"),
        ("claude-3-haiku-20240307", "2026-11-29", "anthropic/claude-haiku-5-5"),
        ("gpt-4o", "2027-01-15", "openai/gpt-6-luna"),
        ("claude-sonnet-4-5", "2026-11-30", "anthropic/claude-sonnet-5-5"),
        ("gemini-2.5-flash", "2026-12-01", "gemini/gemini-3.5-flash-lite"),
    ] {
        let Resolved::Alias(targets) = catalog.resolve(name, at(now)) else { panic!("{name} has no successor") };
        assert_eq!(targets[0].to_string(), first);
    }
    let retired = catalog.resolve("gpt-4o-mini", at("2027-01-15"));
    assert_eq!(retired, Resolved::Retired { successor: Some(ModelTarget::new("openai", "gpt-6-luna")) });
    assert_eq!(catalog.resolve("gpt-4o", at("2027-01-13")), Resolved::Model(targets(&["openai/gpt-4o"])));
}

#[test]
fn models_that_end_are_listed_by_their_date() {
    let catalog = small();
    let ids = |days, now| catalog.ending_within(days, at(now)).iter().map(|model| model.id.clone()).collect::<Vec<_>>();
    assert_eq!(ids(60, "2026-11-15"), ["older", "old"]);
    assert_eq!(ids(59, "2026-11-15"), ["older"]);
    assert_eq!(ids(u16::MAX, "2020-01-01"), ["older", "old"]);
}

#[test]
fn a_deployment_has_the_prices_of_its_base() {
    let catalog = small()
        .with_overrides(
            r#"
            [[models]]
            provider = "azure"
            id = "my-deploy"
            base_model = "acme/new"

            [[models]]
            provider = "azure"
            id = "dear"
            base_model = "acme/new"
            prices = [{ input = 900, output = 900 }]

            [[models]]
            provider = "azure"
            id = "no-price"
            "#,
        )
        .unwrap();
    let estimate = |id: &str| catalog.find("azure", id).unwrap().estimate(10, 1).map(Cost::pico);
    assert_eq!((estimate("my-deploy"), estimate("dear"), estimate("no-price")), (Some(1_500), Some(9_900), None));

    let answered =
        |asked: &str, answered: &str| catalog.find_answered("azure", asked, answered).map(|model| model.id.as_str());
    assert_eq!(answered("my-deploy", "new-2026-01-01"), Some("my-deploy"));
    assert_eq!(answered("my-deploy", "dear"), Some("dear"));
    // A name that differs by its date is another model.
    assert_eq!(catalog.find_answered("acme", "new", "new-2026-01-01"), None);
}

#[test]
fn a_deployment_can_do_what_its_base_can() {
    let catalog = small()
        .with_overrides(
            r#"
            [[models]]
            provider = "acme"
            id = "vectors"
            mode = "embedding"

            [[models]]
            provider = "azure"
            id = "my-vectors"
            base_model = "acme/vectors"

            [[models]]
            provider = "azure"
            id = "words"
            mode = "chat"
            base_model = "acme/vectors"
            "#,
        )
        .unwrap();
    let kind = |catalog: &ModelCatalog, id: &str| {
        let model = catalog.find("azure", id).unwrap();
        (model.mode, model.capabilities.chat, model.capabilities.embeddings)
    };
    assert_eq!(kind(&catalog, "my-vectors"), (ModelMode::Embedding, false, true));
    assert_eq!(kind(&catalog, "words"), (ModelMode::Chat, true, false));
    // A later file replaces the whole model.
    let text = "[[models]]\nprovider = 'azure'\nid = 'my-vectors'\nmode = 'chat'\nbase_model = 'acme/vectors'";
    assert_eq!(kind(&catalog.with_overrides(text).unwrap(), "my-vectors"), (ModelMode::Chat, true, false));
}

#[test]
fn files_that_are_not_accepted_are_named() {
    let long = format!("[aliases]\n{} = ['acme/new']", "x".repeat(201));
    for (text, part) in [
        ("nonsense", "line "),
        ("[[models]]\nprovider = 'acme'", "missing field `id`"),
        ("\n[[models]]\nprovider = 'acme'\nid = 'x'\ncolour = 'red'", "colour"),
        ("[[models]]\nprovider = 'acme'\nid = 'x'\nretires_on = 'soon'", "line "),
        ("[[models]]\nprovider = 'acme'\nid = 'x'\nprices = [{ input = 1.5, output = 2 }]", "line "),
        ("[[models]]\nprovider = 'a/b'\nid = 'x'", "has no `/`"),
        ("[[models]]\nprovider = 'acme'\nid = 'x y'", "without spaces"),
        ("[[models]]\nprovider = 'acme'\nid = 'x'\nbase_model = 'nope'", "no base model `nope`"),
        ("[aliases]\nfast = []", "from 1 to 20"),
        ("[aliases]\nfast = ['new']", "must be written as `provider/model`"),
        (long.as_str(), "a name has 1 to 200"),
    ] {
        let error = small().with_overrides(text).unwrap_err();
        assert!(error.to_string().contains(part), "{text}: {error}");
    }
}
