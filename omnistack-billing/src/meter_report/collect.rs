//! New reports: what was used and is in no report yet.

use std::time::Duration;

use omnistack_core::{clock::Timestamp, db, identity::TenantId, payment::PaymentProvider};

use super::{
    amount::{self, MeterRemainder},
    reporter::{MeterReporter, ReportedMeter},
    store::{self, NewMeterReport, UnreportedDay},
};

/// Age of a day up to which its usage is reported. Stripe accepts usage of the last 35 days.
const REPORTED_AGE: Duration = Duration::from_secs(34 * 24 * 60 * 60);
/// The length of a day.
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// Number of days of tenants that are reported in one transaction.
const DAYS_PER_TRANSACTION: i64 = 200;

impl MeterReporter {
    /// Stores reports of all usage that is in none yet, of the tenants that are customers of a provider.
    pub(super) async fn collect(&self, provider: &dyn PaymentProvider) -> Result<(), db::Error> {
        for meter in &self.0.meters {
            while self.collect_some(provider, meter).await? {}
        }
        Ok(())
    }

    /// Stores some reports. Returns whether there may be more.
    async fn collect_some(&self, provider: &dyn PaymentProvider, meter: &ReportedMeter) -> Result<bool, db::Error> {
        let now = self.now();
        // A job has no caller, so it reports the usage of all tenants.
        let mut tx = self.0.db.all_tenants().begin().await?;
        let (name, environment) = (provider.name(), provider.environment());
        let oldest = now - REPORTED_AGE;
        let days = store::unreported(&mut tx, name, environment, meter, oldest, DAYS_PER_TRANSACTION).await?;
        let mut reports: Vec<NewMeterReport> = Vec::new();
        // The days of a tenant follow each other.
        let mut carried: Option<(TenantId, MeterRemainder)> = None;
        for day in &days {
            // Another replica has reported it meanwhile.
            if !store::set_reported(&mut tx, environment, meter, day).await? {
                continue;
            }
            let before = match carried {
                Some((tenant, remainder)) if tenant == day.tenant_id => Some(remainder),
                _ => store::remainder(&mut tx, day.tenant_id, environment, meter).await?,
            };
            let units = day.used.saturating_sub(day.reported);
            let (value, remainder) = amount::report_amount(units, meter.denominator, before);
            carried = Some((day.tenant_id, remainder));
            store::set_remainder(&mut tx, day.tenant_id, environment, meter, remainder).await?;
            if let Some(value) = value {
                reports.push(NewMeterReport {
                    tenant: day.tenant_id,
                    environment,
                    meter: meter.name.clone(),
                    provider: name,
                    provider_meter: meter.provider_meter.clone(),
                    customer: day.customer.clone(),
                    value,
                    at: used_at(day, now),
                });
            }
        }
        store::insert(&mut tx, &reports, now).await?;
        tx.commit().await?;
        Ok(i64::try_from(days.len()).is_ok_and(|found| found == DAYS_PER_TRANSACTION))
    }
}

/// Returns the time that a report states: now, or the end of a day that is over. So usage of the last minutes is in the
/// billing period in which it is reported.
fn used_at(day: &UnreportedDay, now: Timestamp) -> Timestamp {
    now.min(day.day + DAY - Duration::from_secs(1))
}
