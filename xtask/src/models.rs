//! `cargo xtask models`: makes the built-in models and prices of omnistack-ai from LiteLLM's map.
//!
//! Prices are read as decimal text and written as whole pico-USD per token. What is not understood is an error, so that
//! a new kind of price is never left out unnoticed.

mod price;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    fmt::{self, Write as _},
    fs,
    path::Path,
};

use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};

use self::price::{PriceField, PriceRows, read_field, scaled};
use crate::{
    failure::{Context, Failure, Result},
    host,
};

/// The file that is made.
const TARGET: &str = "omnistack-ai/src/catalog/models.toml";
/// The providers that are imported.
const PROVIDERS: [&str; 4] = ["anthropic", "gemini", "groq", "openai"];
/// Providers whose name is a prefix of the keys of their models.
const PREFIXED_PROVIDERS: [&str; 2] = ["gemini", "groq"];
/// The modes that are imported.
const MODES: [&str; 3] = ["chat", "responses", "embedding"];
/// Fields of abilities, and their names in the catalog.
const CAPABILITIES: [(&str, &str); 3] = [
    ("supports_function_calling", "tools"),
    ("supports_vision", "images"),
    ("supports_response_schema", "json_schema"),
];
/// The license of the data, as comments.
const LICENSE: &str = include_str!("models/license.txt");

/// The map of a release of LiteLLM.
#[derive(Debug)]
pub(crate) struct PriceMap<'a> {
    /// The path of `model_prices_and_context_window_backup.json`.
    pub(crate) source: &'a Path,
    /// The release, such as `1.110.2`.
    pub(crate) release: &'a str,
    /// The date on which it was taken, such as `2026-11-28`.
    pub(crate) date: &'a str,
}

/// A model of the map, by the names of its fields.
type ModelFields<'a> = BTreeMap<String, &'a RawValue>;

/// A model as it is written.
struct ImportedModel {
    mode: String,
    numbers: [(&'static str, Option<i64>); 2],
    texts: [(&'static str, Option<String>); 2],
    capabilities: Vec<&'static str>,
    source: Option<String>,
    prices: PriceRows,
}

/// Writes the built-in models. With `check`, only compares them, and fails if they differ.
pub(crate) fn run(map: &PriceMap<'_>, check: bool) -> Result {
    let reading = || format!("reading {}", map.source.display());
    let json = fs::read_to_string(map.source).context(reading())?;
    let text = convert(&json, map.release, map.date)?;
    let target = host::root().join(TARGET);
    if check {
        let stored = fs::read_to_string(&target).context(format_args!("reading {TARGET}"))?;
        if stored != text {
            return Err(Failure::new(format!("{TARGET} is not made of this map; run the command without --check")));
        }
        println!("{TARGET} is made of this map");
        return Ok(());
    }
    fs::write(&target, text).context(format_args!("writing {TARGET}"))?;
    println!("wrote {TARGET}");
    Ok(())
}

/// Returns the text of the file.
fn convert(json: &str, release: &str, date: &str) -> Result<String> {
    let map: BTreeMap<String, ModelFields<'_>> = serde_json::from_str(json).context("reading the map")?;
    let mut models: BTreeMap<(String, String), ImportedModel> = BTreeMap::new();
    let mut rows = 0;
    for (key, fields) in &map {
        let text = |name| text(fields, name).context(format_args!("the model `{key}`"));
        let (Some(provider), Some(mode)) = (text("litellm_provider")?, text("mode")?) else { continue };
        if !PROVIDERS.contains(&provider.as_str()) || !MODES.contains(&mode.as_str()) {
            continue;
        }
        rows += 1;
        let Some(model) = import(fields, &provider, mode).context(format_args!("the model `{key}`"))? else { continue };
        let id = without_prefix(&provider, key).to_owned();
        // A model can be listed twice, with and without the prefix of its provider. The higher price is kept, or else
        // the later row.
        let place = (provider, id);
        let is_better = models.get(&place).is_none_or(|known| model.prices.input() >= known.prices.input());
        if is_better {
            models.insert(place, model);
        }
    }
    let mut hash = String::new();
    for byte in Sha256::digest(json.as_bytes()) {
        _ = write!(hash, "{byte:02x}");
    }
    let mut file = format!(
        "# Models and their prices, in pico-USD per token, which is micro-USD per million tokens.\n\
         #\n\
         # Made by `cargo xtask models` of `model_prices_and_context_window_backup.json` in LiteLLM. Don't edit it: refresh it\n\
         # from a newer release, or set `AI_MODELS_FILE`.\n\
         #\n\
         {LICENSE}\n\
         [source]\n\
         name = \"LiteLLM\"\n\
         release = {}\n\
         date = {}\n\
         sha256 = \"{hash}\"\n\
         rows = {rows}\n",
        quoted(release)?,
        quoted(date)?
    );
    for ((provider, id), model) in &models {
        write_model(&mut file, provider, id, model)?;
    }
    Ok(file)
}

/// Reads a model. Returns `None` if it is not priced by tokens at all, such as a container for code.
fn import(fields: &ModelFields<'_>, provider: &str, mode: String) -> Result<Option<ImportedModel>> {
    let mut prices = PriceRows::default();
    let mut costs_more = false;
    for (name, value) in fields {
        match read_field(name)? {
            PriceField::Token { kind, tier, above } => prices.set(tier, above, kind, scaled(value.get(), 12)?),
            PriceField::Other => costs_more |= is_positive(value),
            PriceField::Reasoning | PriceField::Left => {}
        }
    }
    if prices.is_empty() {
        return Ok(None);
    }
    if let Some(reasoning) = fields.get("output_cost_per_reasoning_token")
        && Some(scaled(reasoning.get(), 12)?) != prices.output()
    {
        return Err(Failure::new("reasoning has another price than the output, which the catalog can't express"));
    }
    if prices.is_free() && costs_more {
        // What costs something else than tokens has no price by tokens.
        prices = PriceRows::default();
    } else {
        prices.complete();
        if let Some(fast) = fast_multiplier(fields)? {
            prices.add_tier("fast", &fast)?;
        }
    }
    let number = |name: &str| fields.get(name).map(|value| scaled(value.get(), 0)).transpose();
    let is_true = |name: &str| fields.get(name).is_some_and(|value| value.get() == "true");
    let capabilities = if mode == "embedding" {
        vec!["embeddings"]
    } else {
        let listed = CAPABILITIES.into_iter().filter(|(field, _)| is_true(field)).map(|(_, name)| name);
        std::iter::once("chat").chain(listed).collect()
    };
    let successor = text(fields, "successor_model")?;
    let successor = successor.map(|successor| without_prefix(provider, &successor).to_owned());
    Ok(Some(ImportedModel {
        mode,
        numbers: [("max_input", number("max_input_tokens")?), ("max_output", number("max_output_tokens")?)],
        texts: [("retires_on", text(fields, "deprecation_date")?), ("successor", successor)],
        capabilities,
        source: text(fields, "source")?,
        prices,
    }))
}

/// Returns whether a price is a number above zero. Prices of searches are objects, and are paid by models of all prices.
fn is_positive(value: &RawValue) -> bool {
    let text = value.get();
    let mantissa = text.split(['e', 'E']).next().unwrap_or_default();
    text.starts_with(|first: char| first.is_ascii_digit()) && mantissa.bytes().any(|byte| (b'1'..=b'9').contains(&byte))
}

/// Returns the text of the multiplier of the prices of the tier `fast`.
fn fast_multiplier(fields: &ModelFields<'_>) -> Result<Option<String>> {
    let Some(entry) = fields.get("provider_specific_entry") else { return Ok(None) };
    let entry: BTreeMap<String, &RawValue> =
        serde_json::from_str(entry.get()).context("reading `provider_specific_entry`")?;
    if let Some(unknown) = entry.keys().find(|name| !["us", "fast"].contains(&name.as_str())) {
        return Err(Failure::new(format!("`provider_specific_entry` has an unknown multiplier `{unknown}`")));
    }
    Ok(entry.get("fast").map(|value| value.get().to_owned()))
}

/// Returns the text of a field; `None` if it is absent or null.
fn text(fields: &ModelFields<'_>, name: &str) -> Result<Option<String>> {
    let Some(value) = fields.get(name) else { return Ok(None) };
    serde_json::from_str(value.get()).context(format_args!("reading `{name}`"))
}

fn without_prefix<'a>(provider: &str, name: &'a str) -> &'a str {
    if !PREFIXED_PROVIDERS.contains(&provider) {
        return name;
    }
    name.strip_prefix(provider).and_then(|rest| rest.strip_prefix('/')).unwrap_or(name)
}

/// Returns a text as TOML. JSON's form of it is also one of TOML.
fn quoted(text: &str) -> Result<String> {
    serde_json::to_string(text).context("writing a text")
}

fn write_model(file: &mut String, provider: &str, id: &str, model: &ImportedModel) -> Result {
    let mut line = |line: fmt::Arguments<'_>| _ = writeln!(file, "{line}");
    line(format_args!("\n[[models]]"));
    line(format_args!("provider = {}", quoted(provider)?));
    line(format_args!("id = {}", quoted(id)?));
    line(format_args!("mode = {}", quoted(&model.mode)?));
    for (name, number) in &model.numbers {
        if let Some(number) = number {
            line(format_args!("{name} = {number}"));
        }
    }
    for (name, text) in &model.texts {
        if let Some(text) = text {
            line(format_args!("{name} = {}", quoted(text)?));
        }
    }
    let capabilities: Vec<String> = model.capabilities.iter().map(|name| format!("\"{name}\"")).collect();
    line(format_args!("capabilities = [{}]", capabilities.join(", ")));
    if let Some(source) = &model.source {
        line(format_args!("source = {}", quoted(source)?));
    }
    if !model.prices.is_empty() {
        line(format_args!("prices = ["));
        for row in model.prices.lines() {
            line(format_args!("    {{ {row} }},"));
        }
        line(format_args!("]"));
    }
    Ok(())
}
