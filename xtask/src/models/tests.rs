//! Tests of the import of models.

use super::{
    convert,
    price::{PriceField, read_field, scaled},
};

const MAP: &str = r#"{
    "sample_spec": { "mode": "one of: chat, embedding", "litellm_provider": "one of …", "max_tokens": "a number" },
    "gemini/tiny": {
        "litellm_provider": "gemini", "mode": "chat", "max_input_tokens": 1000, "max_output_tokens": 100,
        "input_cost_per_token": 1.25e-06, "output_cost_per_token": 1e-05, "output_cost_per_reasoning_token": 1e-05,
        "cache_read_input_token_cost": 1.25e-07,
        "input_cost_per_token_above_200k_tokens": 2.5e-06, "output_cost_per_token_above_200k_tokens": 1.5e-05,
        "input_cost_per_token_batches": 6.25e-07, "output_cost_per_token_batches": 5e-06,
        "deprecation_date": "2027-01-14", "successor_model": "gemini/large",
        "supports_function_calling": true, "supports_vision": false, "source": "https://example.com/prices"
    },
    "tiny": {
        "litellm_provider": "gemini", "mode": "chat", "input_cost_per_token": 1e-06, "output_cost_per_token": 1e-06
    },
    "fast-one": {
        "litellm_provider": "anthropic", "mode": "chat", "input_cost_per_token": 5e-06, "output_cost_per_token": 2.5e-05,
        "cache_creation_input_token_cost": 6.25e-06, "cache_creation_input_token_cost_above_1hr": 1e-05,
        "provider_specific_entry": { "us": 1.1, "fast": 2.0 }
    },
    "gemini/song": {
        "litellm_provider": "gemini", "mode": "chat", "input_cost_per_token": 0, "output_cost_per_token": 0,
        "output_cost_per_image": 0.04
    },
    "openai/container": { "litellm_provider": "openai", "mode": "chat", "code_interpreter_cost_per_session": 0.03 },
    "words": {
        "litellm_provider": "openai", "mode": "embedding", "input_cost_per_token": 2e-08, "output_cost_per_token": 0.0
    },
    "elsewhere": { "litellm_provider": "azure", "mode": "chat", "input_cost_per_token": 1e-06 },
    "speech": { "litellm_provider": "openai", "mode": "audio_speech", "input_cost_per_token": 1e-06 }
}"#;

const EXPECTED: &str = r#"rows = 6

[[models]]
provider = "anthropic"
id = "fast-one"
mode = "chat"
capabilities = ["chat"]
prices = [
    { input = 5000000, cache_write = 6250000, cache_write_long = 10000000, output = 25000000 },
    { tier = "fast", input = 10000000, cache_write = 12500000, cache_write_long = 20000000, output = 50000000 },
]

[[models]]
provider = "gemini"
id = "song"
mode = "chat"
capabilities = ["chat"]

[[models]]
provider = "gemini"
id = "tiny"
mode = "chat"
max_input = 1000
max_output = 100
retires_on = "2027-01-14"
successor = "large"
capabilities = ["chat", "tools"]
source = "https://example.com/prices"
prices = [
    { input = 1250000, cached = 125000, output = 10000000 },
    { above = 200000, input = 2500000, cached = 125000, output = 15000000 },
    { tier = "batch", input = 625000, cached = 125000, output = 5000000 },
]

[[models]]
provider = "openai"
id = "words"
mode = "embedding"
capabilities = ["embeddings"]
prices = [
    { input = 20000, output = 0 },
]
"#;

#[test]
fn a_map_becomes_a_file() {
    let file = convert(MAP, "1.2.3", "2026-11-28").unwrap();
    let (head, models) = file.split_at(file.find("rows = ").unwrap());
    assert_eq!(models, EXPECTED);
    assert!(
        head.contains("Copyright (c) 2023 Berri AI") && head.contains("release = \"1.2.3\"\ndate = \"2026-11-28\"")
    );
    assert!(head.lines().all(|line| line.len() <= 120), "{head}");
}

#[test]
fn the_stored_file_has_the_same_head() {
    let stored = include_str!("../../../omnistack-ai/src/catalog/models.toml");
    let made = convert("{}", "1.2.3", "2026-11-28").unwrap();
    let head = |file: &str| file[..file.find("release = ").unwrap()].to_owned();
    assert_eq!(head(&made), head(stored));
}

#[test]
fn prices_are_exact() {
    for (text, digits, expected) in [
        ("0", 12, 0),
        ("0.0", 12, 0),
        ("1e-06", 12, 1_000_000),
        ("1.25E-6", 12, 1_250_000),
        ("3.125e-07", 12, 312_500),
        ("0.00012", 12, 120_000_000),
        ("2", 12, 2_000_000_000_000),
        ("1.10", 6, 1_100_000),
        ("128000", 0, 128_000),
        ("1e3", 0, 1_000),
    ] {
        assert_eq!(scaled(text, digits).unwrap(), expected, "{text}");
    }
    for text in ["", "-1e-06", "1e-13", "1.5e-12", "\"1e-06\"", "null", "1e400", "1e-999999999999", "9e99"] {
        assert!(scaled(text, 12).is_err(), "{text}");
    }
}

#[test]
fn unknown_prices_are_errors() {
    let token = |kind, tier, above| PriceField::Token { kind, tier, above };
    for (name, expected) in [
        ("input_cost_per_token", token(0, "", 0)),
        ("cache_read_input_token_cost_priority", token(1, "priority", 0)),
        ("cache_creation_input_token_cost_above_12hr_above_272k_tokens_flex", token(3, "flex", 272_000)),
        ("output_cost_per_token_above_200k_tokens", token(4, "", 200_000)),
        ("output_cost_per_token_decisions", PriceField::Left),
        ("supports_vision", PriceField::Left),
        ("input_cost_per_image_above_128k_tokens", PriceField::Other),
        ("output_cost_per_reasoning_token", PriceField::Reasoning),
    ] {
        assert_eq!(read_field(name).unwrap(), expected, "{name}");
    }
    for name in [
        "input_cost_per_token_turbo",
        "input_cost_per_token_above_1hr",
        "input_cost_per_token_above_200m_tokens",
        "cache_creation_input_token_cost_above_2days",
        "cost_per_smile",
        "tiered_pricing",
    ] {
        let error = read_field(name).unwrap_err().to_string();
        assert!(error.contains(name), "{error}");
    }
}
