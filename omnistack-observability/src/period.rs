//! Periods of statistics.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A period that ends now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = StatisticsPeriod)]
pub(crate) enum Period {
    /// 7 days.
    #[default]
    #[serde(rename = "7d")]
    Week,
    /// 30 days.
    #[serde(rename = "30d")]
    Month,
    /// 90 days.
    #[serde(rename = "90d")]
    Quarter,
    /// 365 days.
    #[serde(rename = "1y")]
    Year,
}

impl Period {
    /// Returns the number of days.
    pub(crate) const fn days(self) -> u32 {
        match self {
            Self::Week => 7,
            Self::Month => 30,
            Self::Quarter => 90,
            Self::Year => 365,
        }
    }
}
