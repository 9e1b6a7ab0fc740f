//! The reports.

use std::collections::BTreeMap;

use omnistack_core::{
    data_environment::DataEnvironment,
    db::Tx,
    http::Error,
    identity::{ApiKeyId, TenantId},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use utoipa::ToSchema;

use super::{
    PaymentReports, REPORT_TTL,
    costs::{self, ApiKeyCosts, CostsElsewhere, DayCosts, ProjectedCosts, ServiceCosts},
    numbers::{CallGroup, CallNumbers, share},
    period::{DayRange, PaymentPeriod, date},
    queries::{self, CallRow, ReportScope},
};
use crate::payment::no_api_key;

/// The calls of a service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub(super) struct ServiceCalls {
    /// The name of the service.
    pub(super) provider: String,
    /// The calls.
    pub(super) calls: CallNumbers,
}

/// The calls of a day.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(super) struct DayCalls {
    /// The day of UTC, such as `2030-01-01`.
    pub(super) date: String,
    /// The calls that have ended.
    pub(super) calls: i64,
    /// Those that the service has accepted.
    pub(super) succeeded: i64,
}

/// The calls that an API key has caused.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub(super) struct ApiKeyCalls {
    /// The API key; `null` for calls without one.
    #[schema(required, value_type = Option<String>, format = Uuid)]
    pub(super) api_key_id: Option<ApiKeyId>,
    /// The calls that have ended.
    pub(super) calls: i64,
    /// The share of calls that the service has accepted, from 0 to 1.
    #[schema(required)]
    pub(super) success_rate: Option<f64>,
}

/// An error, and how often it has occurred.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub(super) struct CallError {
    /// The name of the service.
    pub(super) provider: String,
    /// The code, such as `insufficient_funds`.
    pub(super) code: String,
    /// `declined`, `error` or `unknown`.
    pub(super) outcome: String,
    /// The number of calls.
    pub(super) calls: i64,
    /// The share of the calls of the service, from 0 to 1.
    #[schema(required)]
    pub(super) rate: Option<f64>,
}

/// The overview of payments in a period.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub(super) struct PaymentOverview {
    /// The period.
    pub(super) period: PaymentPeriod,
    /// The environment.
    pub(super) environment: DataEnvironment,
    /// The calls of all services.
    pub(super) calls: CallNumbers,
    /// The calls by service, the most used first.
    pub(super) providers: Vec<ServiceCalls>,
    /// The volume by service and currency.
    pub(super) volume: Vec<ServiceCosts>,
    /// The days with calls.
    pub(super) trend: Vec<DayCalls>,
    /// The calls of 30 days at the rate of the last 30 days, or of the period if it is shorter.
    pub(super) projected_month_calls: i64,
    /// The volume of 30 days at that rate.
    pub(super) projected_month: Vec<ProjectedCosts>,
    /// The calls by API key, the most active first; at most 50.
    pub(super) api_keys: Vec<ApiKeyCalls>,
}

/// The payments of a service in a period.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub(super) struct PaymentServiceReport {
    /// The name of the service.
    pub(super) provider: String,
    /// The period.
    pub(super) period: PaymentPeriod,
    /// The environment.
    pub(super) environment: DataEnvironment,
    /// The calls.
    pub(super) calls: CallNumbers,
    /// The volume by currency.
    pub(super) volume: Vec<ServiceCosts>,
    /// The days with calls.
    pub(super) trend: Vec<DayCalls>,
    /// The errors, the most common first; at most 50.
    pub(super) errors: Vec<CallError>,
}

/// The errors of a period.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub(super) struct PaymentErrors {
    /// The period.
    pub(super) period: PaymentPeriod,
    /// The environment.
    pub(super) environment: DataEnvironment,
    /// The calls by service, the most used first.
    pub(super) providers: Vec<ServiceCalls>,
    /// The errors, the most common first; at most 50.
    pub(super) errors: Vec<CallError>,
}

/// The costs of a period.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub(super) struct PaymentCosts {
    /// The period.
    pub(super) period: PaymentPeriod,
    /// The environment.
    pub(super) environment: DataEnvironment,
    /// The costs by service and currency.
    pub(super) providers: Vec<ServiceCosts>,
    /// The costs by API key and currency, that of the most payments first; at most 100.
    pub(super) api_keys: Vec<ApiKeyCosts>,
    /// The costs by day and currency.
    pub(super) trend: Vec<DayCosts>,
    /// The costs of 30 days at the rate of the last 30 days, or of the period if it is shorter.
    pub(super) projected_month: Vec<ProjectedCosts>,
    /// The costs that the payments of the other services would have had at each service, the largest savings of a
    /// currency first.
    pub(super) elsewhere: Vec<CostsElsewhere>,
}

impl PaymentReports {
    pub(super) async fn overview(
        &self,
        tenant: TenantId,
        environment: DataEnvironment,
        period: PaymentPeriod,
    ) -> Result<PaymentOverview, Error> {
        self.cached("overview", tenant, environment, period, move || async move {
            let (mut tx, scope) = self.begin(tenant, environment, period).await?;
            let calls = queries::calls(&mut tx, scope).await?;
            let by_day = queries::calls_by_day(&mut tx, scope).await?;
            let by_key = queries::calls_by_api_key(&mut tx, scope).await?;
            let volume = queries::volume(&mut tx, scope).await?;
            let volume_by_day = queries::volume_by_day(&mut tx, scope).await?;
            tx.commit().await?;
            let trend = trend(by_day.iter().map(|(_, day, outcome, calls)| (*day, outcome.as_str(), *calls)));
            Ok(PaymentOverview {
                period,
                environment,
                calls: CallNumbers::of(&groups(&calls, None)),
                providers: service_calls(&calls),
                volume: costs::by_service(&volume),
                projected_month_calls: scope
                    .days
                    .projected_month(by_day.iter().map(|(_, day, _, calls)| (*day, *calls))),
                projected_month: costs::projected(scope.days, &volume_by_day),
                trend,
                api_keys: api_key_calls(by_key),
            })
        })
        .await
    }

    pub(super) async fn service(
        &self,
        tenant: TenantId,
        environment: DataEnvironment,
        period: PaymentPeriod,
        service: &str,
    ) -> Result<PaymentServiceReport, Error> {
        self.cached(&format!("service/{service}"), tenant, environment, period, move || async move {
            let (mut tx, scope) = self.begin(tenant, environment, period).await?;
            let calls = queries::calls(&mut tx, scope).await?;
            let by_day = queries::calls_by_day(&mut tx, scope).await?;
            let errors = queries::errors(&mut tx, scope, Some(service)).await?;
            let volume = queries::volume(&mut tx, scope).await?;
            tx.commit().await?;
            let own = by_day.iter().filter(|(of, ..)| of == service);
            Ok(PaymentServiceReport {
                provider: service.to_owned(),
                period,
                environment,
                calls: CallNumbers::of(&groups(&calls, Some(service))),
                volume: costs::by_service(&volume).into_iter().filter(|one| one.provider == service).collect(),
                trend: trend(own.map(|(_, day, outcome, calls)| (*day, outcome.as_str(), *calls))),
                errors: call_errors(&calls, errors),
            })
        })
        .await
    }

    pub(super) async fn errors(
        &self,
        tenant: TenantId,
        environment: DataEnvironment,
        period: PaymentPeriod,
    ) -> Result<PaymentErrors, Error> {
        self.cached("errors", tenant, environment, period, move || async move {
            let (mut tx, scope) = self.begin(tenant, environment, period).await?;
            let calls = queries::calls(&mut tx, scope).await?;
            let errors = queries::errors(&mut tx, scope, None).await?;
            tx.commit().await?;
            let providers = service_calls(&calls);
            Ok(PaymentErrors { period, environment, providers, errors: call_errors(&calls, errors) })
        })
        .await
    }

    pub(super) async fn costs(
        &self,
        tenant: TenantId,
        environment: DataEnvironment,
        period: PaymentPeriod,
    ) -> Result<PaymentCosts, Error> {
        self.cached("costs", tenant, environment, period, move || async move {
            let (mut tx, scope) = self.begin(tenant, environment, period).await?;
            let volume = queries::volume(&mut tx, scope).await?;
            let by_day = queries::volume_by_day(&mut tx, scope).await?;
            let by_key = queries::volume_by_api_key(&mut tx, scope).await?;
            tx.commit().await?;
            let estimate = |service: &str, question: &_| self.router.estimate_fee(service, question);
            Ok(PaymentCosts {
                period,
                environment,
                providers: costs::by_service(&volume),
                api_keys: costs::by_api_key(by_key),
                trend: costs::by_day(&by_day),
                projected_month: costs::projected(scope.days, &by_day),
                elsewhere: costs::elsewhere(&volume, &self.router.services(), estimate),
            })
        })
        .await
    }

    async fn begin(
        &self,
        tenant: TenantId,
        environment: DataEnvironment,
        period: PaymentPeriod,
    ) -> Result<(Tx, ReportScope), Error> {
        let days = DayRange::until(self.clock.now(), period);
        let tx = self.db.tenant(tenant).begin_read().await?;
        Ok((tx, ReportScope { tenant, environment, days }))
    }

    /// Returns a cached report, or else the one that `compute` returns.
    async fn cached<T, F, C>(
        &self,
        report: &str,
        tenant: TenantId,
        environment: DataEnvironment,
        period: PaymentPeriod,
        compute: C,
    ) -> Result<T, Error>
    where
        T: Serialize + DeserializeOwned + Send,
        F: Future<Output = Result<T, Error>> + Send,
        C: FnOnce() -> F + Send,
    {
        let key = format!("payments:analytics:{tenant}:{environment}:{}:{report}", period.as_str());
        Ok(self.cache.get_or_insert_with(&key, REPORT_TTL, compute).await?)
    }
}

fn groups(rows: &[CallRow], service: Option<&str>) -> Vec<CallGroup> {
    let own = rows.iter().filter(|row| service.is_none_or(|service| row.service == service));
    let groups = own.map(|row| CallGroup {
        outcome: row.outcome.clone(),
        bucket_ms: row.bucket_ms,
        calls: row.calls,
        duration_ms: row.duration_ms,
    });
    groups.collect()
}

fn service_calls(rows: &[CallRow]) -> Vec<ServiceCalls> {
    let mut names: Vec<&str> = rows.iter().map(|row| row.service.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    let mut services: Vec<_> = names
        .into_iter()
        .map(|name| ServiceCalls { provider: name.to_owned(), calls: CallNumbers::of(&groups(rows, Some(name))) })
        .collect();
    services.sort_by_key(|service| std::cmp::Reverse(service.calls.calls));
    services
}

fn trend<'a>(rows: impl Iterator<Item = (i32, &'a str, i64)>) -> Vec<DayCalls> {
    let mut days: BTreeMap<i32, (i64, i64)> = BTreeMap::new();
    for (day, outcome, calls) in rows {
        let sum = days.entry(day).or_default();
        sum.0 += calls;
        sum.1 += if outcome == "success" { calls } else { 0 };
    }
    let days = days.into_iter().map(|(day, (calls, succeeded))| DayCalls { date: date(day), calls, succeeded });
    days.collect()
}

fn api_key_calls(rows: Vec<(ApiKeyId, i64, i64)>) -> Vec<ApiKeyCalls> {
    let calls = rows.into_iter().map(|(key, calls, succeeded)| ApiKeyCalls {
        api_key_id: (key != no_api_key()).then_some(key),
        calls,
        success_rate: share(succeeded, calls),
    });
    calls.collect()
}

fn call_errors(calls: &[CallRow], errors: Vec<(String, String, String, i64)>) -> Vec<CallError> {
    let total = |service: &str| -> i64 { calls.iter().filter(|row| row.service == service).map(|row| row.calls).sum() };
    let errors = errors.into_iter().map(|(provider, outcome, code, calls)| {
        let rate = share(calls, total(&provider));
        CallError { provider, code, outcome, calls, rate }
    });
    errors.collect()
}
