//! Plan files: catalogues in TOML.

use std::{collections::BTreeMap, fmt};

use omnistack_core::{
    config::SettingValue as _,
    http::Rate,
    money::{InvalidMoney, Money},
    payment::TrialEndBehavior,
};
use toml::{Table, Value};

use super::{
    catalogue::{PlanCatalogue, PlanCatalogueError},
    definition::{PlanDefinition, PlanPrice, PlanProblem, UNLIMITED, limit_name},
};
use crate::period::BillingInterval;

/// The fields of a plan file.
const FILE_FIELDS: &[&str] = &["default", "plans"];
/// The fields of a plan.
const PLAN_FIELDS: &[&str] = &[
    "key",
    "version",
    "name",
    "description",
    "price",
    "yearly_price",
    "per_seat",
    "group",
    "provider_prices",
    "yearly_provider_prices",
    "trial_days",
    "trial_without_card",
    "features",
    "limits",
    "soft_limits",
    "rate_limit",
    "highlights",
    "listed",
];
/// The fields of a price.
const PRICE_FIELDS: &[&str] = &["amount", "currency", "interval"];

impl PlanCatalogue {
    /// Reads a plan file: TOML with the key of the default plan, and the plans from the smallest to the largest.
    ///
    /// ```
    /// use omnistack_billing::PlanCatalogue;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let catalogue = PlanCatalogue::from_toml(
    ///     r#"
    ///     default = "free"
    ///
    ///     [[plans]]
    ///     key = "free"
    ///     name = "Free"
    ///     limits = { projects = 1, storage = "500MB" }
    ///
    ///     [[plans]]
    ///     key = "pro"
    ///     name = "Pro"
    ///     price = { amount = "29.00", currency = "USD", interval = "month" }
    ///     features = ["sso"]
    ///     rate_limit = "600/minute"
    ///     limits = { projects = 20, storage = "50GB", api_requests = -1 }
    ///     "#,
    /// )?;
    /// assert_eq!(catalogue.get("free").unwrap().limits["storage_bytes"], 500_000_000);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Fails with the line of the first error if the text is no TOML; with all problems, each with its plan and field,
    /// if it is no catalogue.
    pub fn from_toml(text: &str) -> Result<Self, PlanCatalogueError> {
        let file = text.parse::<Table>().map_err(|error| syntax_error(text, &error))?;
        let mut problems = FileProblems::default();
        problems.check_fields(&file, "", FILE_FIELDS);
        let default = problems.read(&file, "default", "the key of a plan, as text", Value::as_str);
        let plans = problems.read(&file, "plans", "tables with the heading `[[plans]]`", tables).unwrap_or_default();
        let plans: Vec<_> =
            plans.into_iter().zip(1..).map(|(table, number)| read_plan(table, number, &mut problems)).collect();
        let catalogue = Self::new(plans);
        let catalogue = match default {
            Some(key) => catalogue.default_plan(key),
            None => catalogue,
        };
        let mut found = problems.found;
        // A field that can't be read has no second problem.
        let more = catalogue.find_problems().into_iter();
        let more: Vec<_> = more.filter(|problem| !found.iter().any(|known| known.is_at_field_of(problem))).collect();
        found.extend(more);
        if found.is_empty() {
            return Ok(catalogue);
        }
        Err(PlanCatalogueError::new(found.iter().map(ToString::to_string).collect()))
    }
}

/// The problems that were found in a file so far, and the plan that is read.
#[derive(Default)]
struct FileProblems {
    plan: Option<String>,
    found: Vec<PlanProblem>,
}

impl FileProblems {
    fn add(&mut self, field: impl Into<String>, message: impl Into<String>) {
        self.found.push(match &self.plan {
            Some(plan) => PlanProblem::of_plan(plan, field, message),
            None => PlanProblem::of_catalogue(field, message),
        });
    }

    /// Reports the fields of a table that there are not.
    fn check_fields(&mut self, table: &Table, prefix: &str, fields: &[&str]) {
        for name in table.keys().filter(|name| !fields.contains(&name.as_str())) {
            let fields: Vec<_> = fields.iter().map(|field| format!("`{field}`")).collect();
            self.add(format!("{prefix}{name}"), format!("is no field; the fields are {}", fields.join(", ")));
        }
    }

    /// Reads a field by its path, such as `price.amount`, from the table that has it. Returns `None` if it is absent or
    /// is not what is expected, which is a problem.
    fn read<'t, T>(
        &mut self,
        table: &'t Table,
        path: &str,
        expected: &str,
        convert: impl FnOnce(&'t Value) -> Option<T>,
    ) -> Option<T> {
        let name = path.rsplit('.').next().unwrap_or(path);
        let converted = convert(table.get(name)?);
        if converted.is_none() {
            self.add(path, format!("must be {expected}"));
        }
        converted
    }

    /// Reads a field with a text that has a form.
    fn parse<T, E: fmt::Display>(
        &mut self,
        table: &Table,
        path: &str,
        expected: &str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        let text = self.read(table, path, expected, Value::as_str)?;
        parse(text).map_err(|error| self.add(path, error.to_string())).ok()
    }
}

fn read_plan(table: &Table, number: usize, problems: &mut FileProblems) -> PlanDefinition {
    let key = table.get("key").and_then(Value::as_str).filter(|key| !key.is_empty());
    // A plan without a key is named by its position; `#` is not allowed in keys.
    let key = key.map_or_else(|| format!("#{number}"), str::to_owned);
    problems.plan = Some(key.clone());
    problems.check_fields(table, "", PLAN_FIELDS);
    problems.read(table, "key", "text", Value::as_str);
    let name = problems.read(table, "name", "text", Value::as_str).unwrap_or_default();
    let mut plan = PlanDefinition::new(key, name);
    if let Some(version) = problems.read(table, "version", "a number from 1 to 2147483647", number_of) {
        plan.version = version;
    }
    if let Some(text) = problems.read(table, "description", "text", Value::as_str) {
        text.clone_into(&mut plan.description);
    }
    plan.price = read_price(table, problems);
    plan = read_sale(table, plan, problems);
    if let Some(days) = problems.read(table, "trial_days", "a number from 0 to 65535", number_of) {
        plan.trial_days = days;
    }
    let form = "`pause`, `cancel` or `create_invoice`";
    plan.trial_without_card = problems.read(table, "trial_without_card", form, trial_end);
    plan.features = problems.read(table, "features", "a list of texts", texts).unwrap_or_default();
    plan = read_limits(table, plan, problems);
    for name in problems.read(table, "soft_limits", "a list of texts", texts).unwrap_or_default() {
        plan = plan.soft_limit(&name);
    }
    plan.rate_limit = problems.parse(table, "rate_limit", "text, such as `600/minute`", Rate::parse);
    plan.highlights = problems.read(table, "highlights", "a list of texts", texts).unwrap_or_default();
    if let Some(listed) = problems.read(table, "listed", "true or false", Value::as_bool) {
        plan.listed = listed;
    }
    problems.plan = None;
    plan
}

fn read_price(table: &Table, problems: &mut FileProblems) -> PlanPrice {
    match table.get("price") {
        None => PlanPrice::Free,
        Some(Value::String(text)) if text == "free" => PlanPrice::Free,
        Some(Value::String(text)) if text == "custom" => PlanPrice::Custom,
        Some(Value::Table(price)) => read_fixed_price(price, problems).unwrap_or_default(),
        Some(_) => {
            let example = r#"{ amount = "29.00", currency = "USD", interval = "month" }"#;
            problems.add("price", format!("must be `free`, `custom`, or a table such as {example}"));
            PlanPrice::Free
        }
    }
}

fn read_fixed_price(table: &Table, problems: &mut FileProblems) -> Option<PlanPrice> {
    problems.check_fields(table, "price.", PRICE_FIELDS);
    for name in PRICE_FIELDS.iter().filter(|name| !table.contains_key(**name)) {
        problems.add(format!("price.{name}"), "is missing");
    }
    let amount = problems.read(table, "price.amount", "a decimal number as text, such as `29.00`", Value::as_str);
    let currency = problems.read(table, "price.currency", "the code of a currency, such as `USD`", Value::as_str);
    let interval = problems.parse(table, "price.interval", "text, such as `month`", str::parse::<BillingInterval>);
    match Money::parse(amount?, currency?) {
        Ok(price) => Some(PlanPrice::Fixed { price, interval: interval? }),
        Err(error) => {
            let field = if error == InvalidMoney::UnknownCurrency { "price.currency" } else { "price.amount" };
            problems.add(field, error.to_string());
            None
        }
    }
}

/// Reads how the plan is sold.
fn read_sale(table: &Table, mut plan: PlanDefinition, problems: &mut FileProblems) -> PlanDefinition {
    let example = "a decimal number as text, such as `290.00`, in the currency of `price`";
    if let (Some(amount), PlanPrice::Fixed { price, .. }) =
        (problems.read(table, "yearly_price", example, Value::as_str), plan.price)
    {
        match Money::parse(amount, price.currency().code()) {
            Ok(yearly) => plan.yearly_price = Some(yearly),
            Err(error) => problems.add("yearly_price", error.to_string()),
        }
    } else if table.contains_key("yearly_price") && !matches!(plan.price, PlanPrice::Fixed { .. }) {
        problems.add("yearly_price", "needs a `price` with an amount");
    }
    if let Some(per_seat) = problems.read(table, "per_seat", "true or false", Value::as_bool) {
        plan.per_seat = per_seat;
    }
    if let Some(group) = problems.read(table, "group", "text", Value::as_str) {
        group.clone_into(&mut plan.group);
    }
    let form = r#"a table of names and ids, such as `{ stripe = "price_1Ab" }`"#;
    plan.provider_prices = problems.read(table, "provider_prices", form, text_table).unwrap_or_default();
    plan.yearly_provider_prices = problems.read(table, "yearly_provider_prices", form, text_table).unwrap_or_default();
    plan
}

fn read_limits(table: &Table, mut plan: PlanDefinition, problems: &mut FileProblems) -> PlanDefinition {
    let Some(limits) = problems.read(table, "limits", "a table of numbers", Value::as_table) else { return plan };
    for (name, value) in limits {
        let path = format!("limits.{name}");
        if plan.limits.contains_key(limit_name(name)) {
            problems.add(&path, format!("sets `{}` for the second time; the limit has two names", limit_name(name)));
        }
        let most = match value {
            Value::Integer(most) => Some(*most),
            Value::String(text) => size(text),
            _ => None,
        };
        if most.is_none() {
            problems.add(&path, "must be -1 (unlimited), 0 (none) or more, or a size such as `5GiB`");
        }
        plan = plan.limit(name, most.unwrap_or(UNLIMITED));
    }
    plan
}

/// Returns the bytes of a size, such as `5GiB`. Returns `None` if the text is no size, or one of more than 2^63 bytes.
fn size(text: &str) -> Option<i64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let factor: i64 = match unit.trim_start() {
        "B" => 1,
        "kB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "TB" => 1_000_000_000_000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "TiB" => 1 << 40,
        _ => return None,
    };
    number.parse::<i64>().ok()?.checked_mul(factor)
}

fn trial_end(value: &Value) -> Option<TrialEndBehavior> {
    TrialEndBehavior::from_name(value.as_str()?)
}

fn tables(value: &Value) -> Option<Vec<&Table>> {
    value.as_array()?.iter().map(Value::as_table).collect()
}

fn texts(value: &Value) -> Option<Vec<String>> {
    value.as_array()?.iter().map(|item| item.as_str().map(str::to_owned)).collect()
}

fn text_table(value: &Value) -> Option<BTreeMap<String, String>> {
    let entries = value.as_table()?.iter();
    entries.map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned()))).collect()
}

fn number_of<T: TryFrom<i64>>(value: &Value) -> Option<T> {
    T::try_from(value.as_integer()?).ok()
}

fn syntax_error(text: &str, error: &toml::de::Error) -> PlanCatalogueError {
    let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    PlanCatalogueError::new(vec![format!("line {line}: {}", error.message())])
}

#[cfg(test)]
mod tests;
