//! Prices of tokens in LiteLLM's map.

use std::collections::BTreeMap;

use crate::failure::{Failure, Result};

/// The kinds of tokens, in the order in which they are written.
const KINDS: [&str; 5] = ["input", "cached", "cache_write", "cache_write_long", "output"];
const INPUT: usize = 0;
const CACHE_WRITE: usize = 2;
const CACHE_WRITE_LONG: usize = 3;
const OUTPUT: usize = 4;
/// The starts of the names of fields with a price of a kind.
const KIND_FIELDS: [(&str, usize); 4] = [
    ("input_cost_per_token", INPUT),
    ("cache_read_input_token_cost", 1),
    ("cache_creation_input_token_cost", CACHE_WRITE),
    ("output_cost_per_token", OUTPUT),
];
/// Suffixes of service tiers, and their names in the catalog.
const TIERS: [(&str, &str); 4] =
    [("_batches", "batch"), ("_flex", "flex"), ("_priority", "priority"), ("_ultrafast", "ultrafast")];
/// Suffixes of prices of endpoints that the gateway does not call.
const LEFT_SUFFIXES: [&str; 1] = ["_decisions"];
/// The starts of the names of prices that are not by tokens of text.
const OTHER_FIELDS: [&str; 13] = [
    "cache_read_input_audio_token_cost",
    "code_interpreter_cost_per_session",
    "google_maps_grounding_cost_per_query",
    "input_cost_per_audio_per_second",
    "input_cost_per_audio_token",
    "input_cost_per_character",
    "input_cost_per_image",
    "input_cost_per_video",
    "output_cost_per_audio_token",
    "output_cost_per_character",
    "output_cost_per_image",
    "output_cost_per_video",
    "search_context_cost_per_query",
];

/// The meaning of a field.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum PriceField {
    /// A price of a kind of token, in a tier (empty: the standard), above a length of the input.
    Token { kind: usize, tier: &'static str, above: u64 },
    /// The price of reasoning.
    Reasoning,
    /// A price that is not by tokens of text.
    Other,
    /// No price, or one that the gateway has no use for.
    Left,
}

/// Returns the meaning of a field. Fails if it is a price of an unknown form.
pub(super) fn read_field(name: &str) -> Result<PriceField> {
    let unknown =
        || Failure::new(format!("the price `{name}` has an unknown form; teach it to xtask/src/models/price.rs"));
    let found = KIND_FIELDS.iter().find_map(|(start, kind)| Some((name.strip_prefix(start)?, *kind)));
    let Some((mut rest, mut kind)) = found else {
        return match name {
            "output_cost_per_reasoning_token" => Ok(PriceField::Reasoning),
            "tiered_pricing" | "off_peak_pricing" => Err(unknown()),
            _ if OTHER_FIELDS.iter().any(|start| name.starts_with(start)) => Ok(PriceField::Other),
            _ if name.contains("cost") => Err(unknown()),
            _ => Ok(PriceField::Left),
        };
    };
    for suffix in ["_above_12hr", "_above_1hr"] {
        if let Some(left) = rest.strip_prefix(suffix) {
            if kind != CACHE_WRITE {
                return Err(unknown());
            }
            (rest, kind) = (left, CACHE_WRITE_LONG);
        }
    }
    let mut above = 0;
    if let Some(length) = rest.strip_prefix("_above_") {
        let (thousands, left) = length.split_once("k_tokens").ok_or_else(unknown)?;
        let thousands: u64 = thousands.parse().map_err(|_| unknown())?;
        (above, rest) = (thousands.checked_mul(1_000).ok_or_else(unknown)?, left);
    }
    if LEFT_SUFFIXES.contains(&rest) {
        return Ok(PriceField::Left);
    }
    let tier = if rest.is_empty() {
        Some("")
    } else {
        TIERS.iter().find(|(suffix, _)| *suffix == rest).map(|(_, tier)| *tier)
    };
    Ok(PriceField::Token { kind, tier: tier.ok_or_else(unknown)?, above })
}

/// The prices of a model, by tier and length of the input.
#[derive(Debug, Default)]
pub(super) struct PriceRows(BTreeMap<(&'static str, u64), [Option<i64>; 5]>);

impl PriceRows {
    pub(super) fn set(&mut self, tier: &'static str, above: u64, kind: usize, pico: i64) {
        self.0.entry((tier, above)).or_default()[kind] = Some(pico);
    }

    /// Returns whether there is no standard price.
    pub(super) fn is_empty(&self) -> bool {
        !self.0.contains_key(&("", 0))
    }

    /// Returns the standard price of the input.
    pub(super) fn input(&self) -> i64 {
        self.0.get(&("", 0)).and_then(|row| row[INPUT]).unwrap_or_default()
    }

    /// Returns the standard price of the output.
    pub(super) fn output(&self) -> Option<i64> {
        self.0.get(&("", 0)).and_then(|row| row[OUTPUT])
    }

    pub(super) fn is_free(&self) -> bool {
        self.input() == 0 && self.output() == Some(0)
    }

    /// Gives each row the kinds that it lacks, from the standard row for the same length, or else from the first one.
    pub(super) fn complete(&mut self) {
        let known = self.0.clone();
        let Some(base) = known.get(&("", 0)) else { return };
        for ((_, above), row) in &mut self.0 {
            let same_length = known.get(&("", *above));
            for (kind, price) in row.iter_mut().enumerate().filter(|(_, price)| price.is_none()) {
                *price = base[kind].map(|standard| same_length.and_then(|row| row[kind]).unwrap_or(standard));
            }
        }
    }

    /// Adds a tier whose prices are a multiple of the standard ones.
    pub(super) fn add_tier(&mut self, tier: &'static str, multiplier: &str) -> Result {
        let factor = i128::from(scaled(multiplier, 6)?);
        let mut added = Vec::new();
        for ((_, above), row) in self.0.iter().filter(|((tier, _), _)| tier.is_empty()) {
            let mut prices = [None; 5];
            for (price, standard) in prices.iter_mut().zip(row) {
                let Some(standard) = standard else { continue };
                let product = i128::from(*standard) * factor;
                let is_whole = product % 1_000_000 == 0;
                let whole = i64::try_from(product / 1_000_000).ok().filter(|_| is_whole);
                let wrong = || Failure::new(format!("{standard} × {multiplier} is not a whole number of pico-USD"));
                *price = Some(whole.ok_or_else(wrong)?);
            }
            added.push(((tier, *above), prices));
        }
        self.0.extend(added);
        Ok(())
    }

    /// Returns the rows as TOML, without the braces.
    pub(super) fn lines(&self) -> impl Iterator<Item = String> {
        self.0.iter().map(|((tier, above), row)| {
            let mut parts = Vec::new();
            if !tier.is_empty() {
                parts.push(format!("tier = \"{tier}\""));
            }
            if *above > 0 {
                parts.push(format!("above = {above}"));
            }
            let prices = KINDS.iter().zip(row).filter_map(|(kind, price)| Some(format!("{kind} = {}", (*price)?)));
            parts.extend(prices);
            parts.join(", ")
        })
    }
}

/// Returns a decimal number, such as `1.25e-06`, in units of 10^-`digits`. Fails if that is not a whole number.
pub(super) fn scaled(text: &str, digits: i32) -> Result<i64> {
    let wrong = || Failure::new(format!("`{text}` is not a whole number of 10^-{digits}"));
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let (whole, decimals) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let number: i128 = format!("{whole}{decimals}").parse().map_err(|_| wrong())?;
    let exponent: i32 = exponent.parse().map_err(|_| wrong())?;
    let decimals = i32::try_from(decimals.len()).map_err(|_| wrong())?;
    let shift = exponent.checked_add(digits).and_then(|shift| shift.checked_sub(decimals)).ok_or_else(wrong)?;
    let power = 10_i128.checked_pow(shift.unsigned_abs()).ok_or_else(wrong)?;
    let units =
        if shift >= 0 { number.checked_mul(power) } else { Some(number / power).filter(|_| number % power == 0) };
    units.and_then(|units| i64::try_from(units).ok()).filter(|units| *units >= 0).ok_or_else(wrong)
}
