//! Meters: what is counted, and how.

use std::collections::{BTreeMap, BTreeSet};

use omnistack_core::usage::meters;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::quantity::MAX_METER_DECIMALS;

/// The way in which the events of a meter become a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Aggregation {
    /// The sum of the quantities.
    Sum,
    /// The number of events.
    Count,
    /// The largest quantity.
    Max,
    /// The quantity of the latest event.
    Last,
    /// The number of different users.
    UniqueUsers,
    /// The number of different categories.
    UniqueCategories,
}

impl Aggregation {
    /// Returns the name, as JSON has it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sum => "sum",
            Self::Count => "count",
            Self::Max => "max",
            Self::Last => "last",
            Self::UniqueUsers => "unique_users",
            Self::UniqueCategories => "unique_categories",
        }
    }
}

/// The treatment of events whose billing period is closed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LatePolicy {
    /// It is billed in the next period, as late usage of the period in which it occurred.
    #[default]
    BillInNextPeriod,
    /// It is rejected.
    Reject,
}

/// A meter: what is counted, such as tokens, and how.
///
/// ```
/// use omnistack_billing::{Aggregation, Meter};
///
/// let pages = Meter::sum("pages", "pages").describe("Pages of documents that were analysed.");
/// let hours = Meter::sum("gpu_hours", "hours").decimals(4).reported_by_tenants();
/// let stored = Meter::sum("vectors", "vectors").lifetime();
/// let peak = Meter::new("connections", "connections", Aggregation::Max);
/// # _ = (pages, hours, stored, peak);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Meter {
    pub(crate) name: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) description: &'static str,
    pub(crate) aggregation: Aggregation,
    pub(crate) decimals: u32,
    pub(crate) lifetime: bool,
    pub(crate) late: LatePolicy,
    pub(crate) reported_by_tenants: bool,
}

impl Meter {
    /// Creates a meter. `name` has lower-case letters, digits and `_`, and must not change; `unit` names what a quantity
    /// of one is, for charts.
    pub const fn new(name: &'static str, unit: &'static str, aggregation: Aggregation) -> Self {
        Self {
            name,
            unit,
            description: "",
            aggregation,
            decimals: 0,
            lifetime: false,
            late: LatePolicy::BillInNextPeriod,
            reported_by_tenants: false,
        }
    }

    /// Creates a meter that adds up quantities.
    pub const fn sum(name: &'static str, unit: &'static str) -> Self {
        Self::new(name, unit, Aggregation::Sum)
    }

    /// Sets the number of decimals of quantities, 0 to 9. Default: 0. It must not change.
    pub const fn decimals(mut self, decimals: u32) -> Self {
        self.decimals = decimals;
        self
    }

    /// Makes limits apply to the total since the beginning instead of that of a billing period, for what is kept, such
    /// as stored bytes. It must not change.
    pub const fn lifetime(mut self) -> Self {
        self.lifetime = true;
        self
    }

    /// Sets what becomes of events whose billing period is closed.
    pub const fn late(mut self, policy: LatePolicy) -> Self {
        self.late = policy;
        self
    }

    /// Lets tenants report events of the meter, by `POST /api/v1/app/usage/events`. Without this, only the app counts: a
    /// tenant must not decide what it is billed for. Add a built-in meter to the module to let tenants report it.
    pub const fn reported_by_tenants(mut self) -> Self {
        self.reported_by_tenants = true;
        self
    }

    /// Sets a sentence for users that says what is counted.
    pub const fn describe(mut self, description: &'static str) -> Self {
        self.description = description;
        self
    }

    /// Returns the name.
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// Returns the aggregation.
    pub const fn aggregation(&self) -> Aggregation {
        self.aggregation
    }

    /// Returns what is wrong with the meter, or `None`.
    fn problem(&self) -> Option<&'static str> {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        let name = self.name.as_bytes();
        match () {
            () if name.is_empty() || name.len() > MAX_METER_NAME_BYTES || !name.iter().all(|byte| plain(*byte)) => {
                Some("its name must have 1 to 50 lower-case letters, digits and `_`")
            }
            () if self.decimals > MAX_METER_DECIMALS => Some("it must have at most 9 decimals"),
            () if self.lifetime && self.aggregation != Aggregation::Sum => {
                Some("only a meter that adds up quantities can be a lifetime meter")
            }
            () => None,
        }
    }
}

/// Largest length of a meter's name, in bytes.
pub const MAX_METER_NAME_BYTES: usize = 50;

/// The built-in meters.
const BUILT_IN: [Meter; 11] = [
    Meter::sum(meters::API_REQUESTS, "requests").describe("Requests to the API."),
    Meter::sum(meters::AI_REQUESTS, "requests").describe("Requests to language models."),
    Meter::sum(meters::AI_TOKENS, "tokens").describe("Tokens of language models."),
    Meter::sum(meters::AI_FIXES, "fixes").describe("Fixes that a language model has proposed."),
    Meter::sum(meters::STORAGE_BYTES, "bytes").lifetime().describe("Bytes that are stored now."),
    Meter::sum(meters::FILE_UPLOADS, "files").describe("Files that were uploaded."),
    Meter::sum(meters::FILE_DOWNLOADS, "files").describe("Files that were downloaded."),
    Meter::sum(meters::WEBSOCKET_MESSAGES, "messages").describe("Messages that were sent to clients."),
    Meter::sum(meters::BACKGROUND_JOBS, "jobs").describe("Background jobs that have finished."),
    Meter::sum(meters::EMAIL_SENT, "mails").describe("Mails that were sent."),
    Meter::sum(meters::RUNS, "runs").describe("Runs."),
];

/// The meters of an app, by name.
#[derive(Clone, Debug)]
pub(crate) struct MeterSet(BTreeMap<&'static str, Meter>);

impl MeterSet {
    /// Creates the set of the built-in meters and those of the app. A meter of the app replaces a built-in one of the
    /// same name. Returns the problems of the app's meters as well: the name and what is wrong.
    pub(crate) fn new(own: &[Meter]) -> (Self, Vec<(String, &'static str)>) {
        let mut all: BTreeMap<_, _> = BUILT_IN.into_iter().map(|meter| (meter.name, meter)).collect();
        let mut problems = Vec::new();
        let mut seen = BTreeSet::new();
        for meter in own {
            let twice = (!seen.insert(meter.name)).then_some("it is declared twice");
            problems.extend(meter.problem().or(twice).map(|problem| (meter.name.to_string(), problem)));
            all.insert(meter.name, meter.clone());
        }
        (Self(all), problems)
    }

    /// Returns the meter of this name.
    pub(crate) fn get(&self, name: &str) -> Option<&Meter> {
        self.0.get(name)
    }

    /// Returns all meters, ordered by name.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Meter> {
        self.0.values()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn meters_of_an_app_are_checked() {
        let own = [
            Meter::sum("pages", "pages"),
            Meter::sum("runs", "runs").describe("Analyses."),
            Meter::sum("pages", "pages"),
            Meter::sum("GPU hours", "hours"),
            Meter::sum("gpu_hours", "hours").decimals(10),
            Meter::new("peak", "connections", Aggregation::Max).lifetime(),
        ];
        let (set, problems) = MeterSet::new(&own);
        let wrong: Vec<_> = problems.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(wrong, ["pages", "GPU hours", "gpu_hours", "peak"]);
        assert_eq!(set.get("runs").unwrap().description, "Analyses.");
        assert_eq!(set.get("api_requests").unwrap().aggregation(), Aggregation::Sum);
        assert!(set.get("unknown").is_none());
        assert!(MeterSet::new(&[]).1.is_empty());
    }
}
