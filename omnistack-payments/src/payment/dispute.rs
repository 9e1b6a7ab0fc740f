//! Disputes: what payers have got back through their banks.
//!
//! A dispute is stored when an event of the provider names it, as the provider has it when it is asked. A lost one is
//! in the ledger with its fee; if it is won later, its entries are taken back.

use omnistack_core::{
    clock::Timestamp,
    db::StatementGroup,
    http::Error,
    identity::TenantId,
    payment::{PaymentError, ProviderDispute},
};

use super::{
    apply::{Observation, ProviderAnswer, apply},
    dispute_rows::{self, DisputeRow},
    failure::no_payment,
    handle::PaymentLedger,
    machine::DisputeState,
    model::PaymentId,
    postings::{self, fee_entries},
    rows::{PaymentRow, StoredPayment},
    statistics::{self, VolumeChange},
    store,
};

/// Largest number of disputes of one payment.
const MAX_DISPUTES: usize = 20;
/// Largest length of the id of a dispute, in bytes.
const MAX_ID_BYTES: usize = 200;

impl PaymentLedger {
    /// Asks the provider about a dispute of an attempt, and stores the answer. Returns whether the provider has
    /// answered.
    pub(super) async fn check_dispute(
        &self,
        tenant: TenantId,
        id: PaymentId,
        number: i32,
        dispute: &str,
    ) -> Result<bool, Error> {
        let payment = self.find(tenant, id).await?;
        let Some(index) = payment.index_of(number) else { return Ok(true) };
        let Some(provider) = self.provider(&payment.row, &payment.attempts[index].service).await? else {
            tracing::warn!(target: "omnistack::payments", payment = %id, dispute, "there are no credentials");
            return Ok(true);
        };
        match provider.dispute(dispute).await {
            Ok(reported) => {
                self.store_dispute(&payment.row, number, &reported).await?;
                Ok(true)
            }
            Err(error @ (PaymentError::NotSupported { .. } | PaymentError::NotFound { .. })) => {
                tracing::warn!(
                    target: "omnistack::payments", payment = %id, dispute, %error,
                    "a dispute is not in the ledger: its provider does not return it",
                );
                Ok(true)
            }
            Err(error) => {
                tracing::warn!(target: "omnistack::payments", payment = %id, dispute, %error, "a dispute was not read");
                Ok(false)
            }
        }
    }

    async fn store_dispute(&self, payment: &PaymentRow, number: i32, reported: &ProviderDispute) -> Result<(), Error> {
        let now = self.now();
        let mut tx = self.0.db.tenant(payment.tenant_id).begin().await?;
        let mut payment = store::lock(&mut tx, payment.tenant_id, payment.id).await?.ok_or_else(no_payment)?;
        let index = payment.index_of(number).ok_or_else(no_payment)?;
        let Some(place) = place_of(&mut payment, number, reported, now) else {
            tx.rollback().await?;
            let (payment, dispute) = (payment.row.id, reported.id.as_str());
            tracing::error!(
                target: "omnistack::payments", %payment, dispute,
                "a dispute is not stored: the payment has no money, or too many disputes",
            );
            return Ok(());
        };
        let before = payment.disputes[place].clone();
        payment.disputes[place].take(reported, now);
        let after = payment.disputes[place].clone();
        dispute_rows::save(&mut tx, payment.row.scope(), &after).await?;
        if after.state() == DisputeState::Lost && after.currency != payment.row.currency {
            tracing::error!(
                target: "omnistack::payments", payment = %payment.row.id, dispute = reported.id.as_str(),
                currency = after.currency.as_str(), "a lost dispute in another currency is not in the ledger",
            );
        }
        if let Some(currency) = &after.fee_currency {
            let change = after.fee.unwrap_or(0) - before.fee.unwrap_or(0);
            let mut changes = StatementGroup::new(tx.dialect());
            postings::insert(&mut changes, payment.row.scope(), &fee_entries(change, currency), now);
            if *currency == payment.row.currency {
                let change = VolumeChange { fees: change, ..VolumeChange::default() };
                let service = payment.attempts[index].service.clone();
                statistics::add_volume(&mut changes, &payment.row, &service, change, now);
            }
            changes.execute(&mut tx).await?;
        }
        // The attempt follows from its disputes.
        apply(&mut tx, &mut payment, index, Observation::new(ProviderAnswer::Nothing), now).await?;
        Ok(tx.commit().await?)
    }
}

/// Returns the index of the dispute that is reported, which is added if it is new. Returns `None` if it can't be
/// stored.
fn place_of(payment: &mut StoredPayment, number: i32, reported: &ProviderDispute, now: Timestamp) -> Option<usize> {
    if let Some(known) = payment.disputes.iter().position(|dispute| dispute.provider_dispute_id == reported.id) {
        return Some(known);
    }
    let is_storable = (1..=MAX_ID_BYTES).contains(&reported.id.len()) && !reported.id.contains('\0');
    // Without money, the disputes of a payment are not read.
    if payment.row.captured == 0 || payment.disputes.len() >= MAX_DISPUTES || !is_storable {
        return None;
    }
    let mut dispute = DisputeRow::new(payment.row.id, number, reported, now);
    // Of a dispute that is known only when it is lost, the refunds of the provider can be its money.
    if reported.won != Some(false) {
        let attempt = payment.attempts.iter().find(|attempt| attempt.number == number);
        dispute.refunded_before = attempt.map_or(0, |attempt| payment.refunds_of_provider(attempt));
    }
    payment.disputes.push(dispute);
    Some(payment.disputes.len() - 1)
}
