//! The route of revenue for operators: `/api/v1/admin/billing/revenue`.

#![expect(unused_qualifications, reason = "the derive macros for queries generate qualified paths")]

use std::time::Duration;

use axum::extract::State;
use garde::Validate;
use omnistack_core::{
    clock::Timestamp,
    http::{Error, ErrorEnvelope, Json, Query},
    module::Api,
    usage::DataEnvironment,
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;

use super::{
    RevenueReports,
    numbers::{self, CurrencyRevenue},
    store,
};

/// The length of a day.
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Returns the routes.
pub(super) fn api() -> Api<RevenueReports> {
    Api::new().routes(routes!(get))
}

/// The period of a report of revenue, which ends now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
enum RevenuePeriod {
    /// 7 days.
    #[serde(rename = "7d")]
    Week,
    /// 30 days.
    #[default]
    #[serde(rename = "30d")]
    Month,
    /// 90 days.
    #[serde(rename = "90d")]
    Quarter,
    /// 365 days.
    #[serde(rename = "1y")]
    Year,
}

impl RevenuePeriod {
    const fn days(self) -> u32 {
        match self {
            Self::Week => 7,
            Self::Month => 30,
            Self::Quarter => 90,
            Self::Year => 365,
        }
    }
}

#[derive(Debug, Deserialize, Validate, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct RevenueQuery {
    /// The period of the changes, which ends now. Default: `30d`.
    #[garde(skip)]
    period: Option<RevenuePeriod>,
    /// The environment. Default: `live`.
    #[garde(skip)]
    environment: Option<DataEnvironment>,
}

/// The recurring revenue of an app.
#[derive(Debug, Serialize, ToSchema)]
struct RevenueReport {
    /// The period of the changes.
    period: RevenuePeriod,
    /// The environment.
    environment: DataEnvironment,
    /// The start of the period.
    start: Timestamp,
    /// The end of the period: now.
    end: Timestamp,
    /// The revenue of each currency, in the order of their codes.
    currencies: Vec<CurrencyRevenue>,
}

/// Get the recurring revenue
///
/// The revenue of a month now, what has changed it in a period, and the payments that have failed, by currency.
#[utoipa::path(get, path = "/", operation_id = "get_revenue", params(RevenueQuery), responses(
    (status = 200, body = RevenueReport),
    (status = 422, body = ErrorEnvelope)))]
async fn get(
    State(reports): State<RevenueReports>,
    Query(RevenueQuery { period, environment }): Query<RevenueQuery>,
) -> Result<Json<RevenueReport>, Error> {
    let (period, environment) = (period.unwrap_or_default(), environment.unwrap_or_default());
    let end = reports.now();
    let start = end - DAY * period.days();
    // Operators see the revenue of all tenants.
    let mut tx = reports.db.all_tenants().begin_read().await?;
    let current = store::current(&mut tx, environment).await?;
    // What changes while the report is made belongs to it.
    let changes = store::changes(&mut tx, environment, start, end + Duration::from_micros(1)).await?;
    let failed = store::failed(&mut tx, environment).await?;
    tx.commit().await?;
    let currencies = numbers::revenue(current, &changes, failed);
    Ok(Json(RevenueReport { period, environment, start, end, currencies }))
}
