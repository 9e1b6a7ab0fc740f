//! The queries of reports, for tenants and for operators.

use garde::Validate;
use omnistack_core::{http::Error, usage::DataEnvironment};
use serde::Deserialize;
use utoipa::IntoParams;

use super::{UsageReports, breakdown::BreakdownRequest, dimensions::BreakdownBy, range::UsagePeriod};

#[derive(Debug, Deserialize, Validate, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct CurrentPeriodQuery {
    /// The environment. Default: `live`.
    #[garde(skip)]
    #[serde(default)]
    #[param(inline)]
    pub(super) environment: DataEnvironment,
}

#[derive(Debug, Deserialize, Validate, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct PeriodQuery {
    /// The period, which ends today. Default: `30d`.
    #[garde(skip)]
    #[serde(default)]
    #[param(inline)]
    pub(super) period: UsagePeriod,
    /// The environment. Default: `live`.
    #[garde(skip)]
    #[serde(default)]
    #[param(inline)]
    pub(super) environment: DataEnvironment,
}

#[derive(Debug, Deserialize, Validate, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct MeterQuery {
    /// The name of a meter.
    #[garde(length(chars, max = 50))]
    #[param(max_length = 50)]
    pub(super) meter: Option<String>,
    /// The period, which ends today. Default: `30d`.
    #[garde(skip)]
    #[serde(default)]
    #[param(inline)]
    pub(super) period: UsagePeriod,
    /// The environment. Default: `live`.
    #[garde(skip)]
    #[serde(default)]
    #[param(inline)]
    pub(super) environment: DataEnvironment,
}

#[derive(Debug, Deserialize, Validate, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct BreakdownQuery {
    /// The property that the usage is broken down by. Default: `category`.
    #[garde(skip)]
    #[serde(default)]
    #[param(inline)]
    by: BreakdownBy,
    /// The name of a meter with the aggregation `sum` or `count`. Default: `api_requests`.
    #[garde(length(chars, max = 50))]
    #[param(max_length = 50)]
    meter: Option<String>,
    /// The period, which ends today. Default: `30d`.
    #[garde(skip)]
    #[serde(default)]
    #[param(inline)]
    period: UsagePeriod,
    /// The environment. Default: `live`.
    #[garde(skip)]
    #[serde(default)]
    #[param(inline)]
    environment: DataEnvironment,
}

impl BreakdownQuery {
    /// Returns what is asked for.
    pub(super) fn request<'a>(&self, reports: &'a UsageReports) -> Result<BreakdownRequest<'a>, Error> {
        let Self { by, meter, period, environment } = self;
        let meter = reports.meter_that_adds_up(meter.as_deref())?;
        Ok(BreakdownRequest { environment: *environment, meter, by: *by, period: *period })
    }
}

#[derive(Debug, Deserialize, Validate, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct TopUsersQuery {
    /// The name of a meter with the aggregation `sum` or `count`. Default: `api_requests`.
    #[garde(length(chars, max = 50))]
    #[param(max_length = 50)]
    pub(super) meter: Option<String>,
    /// The period, which ends today. Default: `30d`.
    #[garde(skip)]
    #[serde(default)]
    #[param(inline)]
    pub(super) period: UsagePeriod,
    /// The environment. Default: `live`.
    #[garde(skip)]
    #[serde(default)]
    #[param(inline)]
    pub(super) environment: DataEnvironment,
    /// The largest number of users to return, 1 to 100. Default: 20.
    #[garde(range(min = 1, max = 100))]
    #[param(minimum = 1, maximum = 100)]
    pub(super) limit: Option<u32>,
}
