//! Sending of reports.

use std::time::Duration;

use omnistack_core::{
    clock::Timestamp,
    db,
    payment::{MeterReport, MeterReportOutcome, PaymentError, PaymentProvider},
};

use super::{
    reporter::MeterReporter,
    store::{self, AttemptResult, MeterReportState, ReportRow},
};

/// Time from the first attempt for which a report is sent again while it is not known whether it was counted. Stripe
/// knows an identifier for at least a day.
pub(super) const RESEND_WINDOW: Duration = Duration::from_secs(20 * 60 * 60);
/// Number of reports that are sent before the database is asked for more.
const REPORTS_PER_BATCH: i64 = 100;
/// Delay before the second attempt; it doubles each time.
const FIRST_DELAY: Duration = Duration::from_secs(60);
/// Longest delay between two attempts.
const MAX_DELAY: Duration = Duration::from_secs(60 * 60);
/// Maximum length of the stored reason of a failure, in characters.
const MAX_ERROR_CHARS: usize = 500;

impl MeterReporter {
    /// Sends the reports that are due to a provider, one after another. Stops early if the provider is unavailable.
    pub(super) async fn send(&self, provider: &dyn PaymentProvider) -> Result<(), db::Error> {
        loop {
            let now = self.now();
            // A job has no caller, so it sends the reports of all tenants.
            let mut tx = self.0.db.all_tenants().begin_read().await?;
            let (name, environment) = (provider.name(), provider.environment());
            let due = store::due(&mut tx, name, environment, now, REPORTS_PER_BATCH).await?;
            tx.commit().await?;
            for report in &due {
                if !self.send_one(provider, report).await? {
                    return Ok(());
                }
            }
            if due.is_empty() {
                return Ok(());
            }
        }
    }

    /// Sends a report and stores the result. Returns whether the provider can be sent more.
    async fn send_one(&self, provider: &dyn PaymentProvider, report: &ReportRow) -> Result<bool, db::Error> {
        let started = self.now();
        // Attempts before, if any, certainly had no effect, unless it is unknown.
        let is_unknown = report.state() == MeterReportState::Unknown;
        let first_attempt_at = report.first_attempt_at.filter(|_| is_unknown).unwrap_or(started);
        // The search is a moment ago, and the provider may have forgotten the identifier since.
        if is_unknown && started >= first_attempt_at + RESEND_WINDOW {
            return self.give_up_unknown().await.map(|()| true);
        }
        let mut tx = self.0.db.tenant(report.tenant_id).begin().await?;
        let retry_at = started + delay_after(report);
        let is_ours = store::begin_attempt(&mut tx, report, first_attempt_at, retry_at, started).await?;
        tx.commit().await?;
        if !is_ours {
            return Ok(true);
        }
        let sent = provider
            .report_usage(&MeterReport {
                meter: report.provider_meter.clone(),
                customer: report.customer.clone(),
                value: report.value.clone(),
                identifier: report.identifier.clone(),
                at: report.at,
            })
            .await;
        let now = self.now();
        let result = attempt_result(report, sent.as_ref().copied(), first_attempt_at, now);
        let mut tx = self.0.db.tenant(report.tenant_id).begin().await?;
        store::set_result(&mut tx, report, &result, now).await?;
        tx.commit().await?;
        if result.state == MeterReportState::Failed {
            tracing::error!(target: "omnistack::billing", report = %report.id, tenant = %report.tenant_id,
                meter = report.meter, error = result.error,
                "the payment provider has rejected usage; correct the cause, and send the report again");
        }
        Ok(!matches!(sent, Err(PaymentError::Unavailable { .. } | PaymentError::Unauthorized { .. })))
    }

    /// Keeps reports that have been unknown for too long from being sent again.
    pub(super) async fn give_up_unknown(&self) -> Result<(), db::Error> {
        let now = self.now();
        // A job has no caller.
        let mut tx = self.0.db.all_tenants().begin().await?;
        let count = store::give_up_unknown(&mut tx, now - RESEND_WINDOW, now).await?;
        tx.commit().await?;
        if count > 0 {
            tracing::error!(target: "omnistack::billing", count,
                "it is not known whether the payment provider has counted usage; compare it with the provider's \
                 summary, and resolve the reports");
        }
        Ok(())
    }
}

/// Returns what the result of an attempt means for a report.
fn attempt_result(
    report: &ReportRow,
    sent: Result<MeterReportOutcome, &PaymentError>,
    first_attempt_at: Timestamp,
    now: Timestamp,
) -> AttemptResult {
    let mut delay = delay_after(report);
    let state = match sent {
        // The provider has counted it, now or when the response was lost.
        Ok(MeterReportOutcome::Counted | MeterReportOutcome::AlreadyCounted) => MeterReportState::Sent,
        Err(PaymentError::Unknown { .. }) => MeterReportState::Unknown,
        Err(PaymentError::Unavailable { retry_after, .. }) => {
            delay = retry_after.map_or(delay, |after| after.max(delay).min(MAX_DELAY));
            unsent(report)
        }
        // It is sent when the credentials are corrected.
        Err(PaymentError::Unauthorized { .. }) => unsent(report),
        Err(_) => MeterReportState::Failed,
    };
    AttemptResult {
        state,
        first_attempt_at,
        next_attempt_at: now + delay,
        error: sent.err().map(|error| error.to_string().chars().take(MAX_ERROR_CHARS).collect()),
    }
}

/// Returns the delay before the attempt that follows the next one.
fn delay_after(report: &ReportRow) -> Duration {
    let attempts = u32::try_from(report.attempts).unwrap_or(0);
    FIRST_DELAY.saturating_mul(1 << attempts.min(10)).min(MAX_DELAY)
}

/// Returns the state of a report after an attempt that certainly had no effect: an earlier one may have had one.
fn unsent(report: &ReportRow) -> MeterReportState {
    match report.state() {
        MeterReportState::Unknown => MeterReportState::Unknown,
        _ => MeterReportState::Pending,
    }
}
