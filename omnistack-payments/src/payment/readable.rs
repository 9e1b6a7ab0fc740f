//! The check of rows that were loaded: a column that can't be read is an error, and never counts as a default.

use omnistack_core::{data_environment::DataEnvironment, db::Error, money::Currency, payment::CaptureMode};

use super::{
    machine::{AttemptState, DisputeState, PaymentState, RefundState},
    model::ProviderChange,
    rows::{StoredPayment, is_method, read_metadata, read_name},
};

impl StoredPayment {
    /// Returns the payment that was loaded. Fails if a column of one of its rows can't be read. The functions of the rows
    /// rely on it.
    pub(super) fn checked(self) -> Result<Self, Error> {
        let row = &self.row;
        let columns = [
            ("environment", row.environment.parse::<DataEnvironment>().is_ok()),
            ("currency", is_currency(&row.currency)),
            ("method", is_method(&row.method)),
            ("capture", read_name::<CaptureMode>(&row.capture).is_some()),
            ("metadata", read_metadata(&row.metadata).is_some()),
            ("status", PaymentState::from_stored(&row.status).is_some()),
        ];
        require("omni_payments", &columns, || row.id.to_string())?;
        for attempt in &self.attempts {
            let is_change = |change| ProviderChange::from_stored(change).is_some();
            let columns = [
                ("state", AttemptState::from_stored(&attempt.state).is_some()),
                ("fee_currency", attempt.fee_currency.as_deref().is_none_or(is_currency)),
                ("pending_change", attempt.pending_change.as_deref().is_none_or(is_change)),
            ];
            require("omni_payment_attempts", &columns, || format!("{}/{}", row.id, attempt.number))?;
        }
        for refund in &self.refunds {
            let columns = [("state", RefundState::from_stored(&refund.state).is_some())];
            require("omni_payment_refunds", &columns, || refund.id.to_string())?;
        }
        for dispute in &self.disputes {
            let columns = [
                ("state", DisputeState::from_stored(&dispute.state).is_some()),
                ("currency", is_currency(&dispute.currency)),
                ("fee_currency", dispute.fee_currency.as_deref().is_none_or(is_currency)),
            ];
            require("omni_payment_disputes", &columns, || dispute.id.to_string())?;
        }
        Ok(self)
    }
}

fn is_currency(code: &str) -> bool {
    Currency::from_code(code).is_some()
}

/// Fails with the first column that is not readable.
fn require(table: &str, columns: &[(&str, bool)], id: impl Fn() -> String) -> Result<(), Error> {
    match columns.iter().find(|(_, is_readable)| !is_readable) {
        Some((column, _)) => Err(Error::unreadable(table, id(), column)),
        None => Ok(()),
    }
}
