//! The snapshot of a finalised invoice: the seller, the customer and the taxes as they were. It never changes.

use omnistack_core::money::{Currency, Money};
use serde::{Deserialize, Serialize};

use super::{
    model::{InvoiceDiscount, InvoiceReference, InvoiceTax},
    party::InvoiceParty,
};
use crate::tax::{TaxCategory, TaxRate};

/// The seller, the customer and the taxes of a finalised invoice, as JSON in its row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct InvoiceSnapshot {
    pub(super) seller: InvoiceParty,
    pub(super) customer: InvoiceParty,
    pub(super) taxes: Vec<StoredTax>,
    /// The facts that the taxes rest on.
    pub(super) evidence: Vec<String>,
    /// The invoice of a credit note.
    pub(super) original: Option<InvoiceReference>,
}

/// A tax as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct StoredTax {
    pub(super) category: TaxCategory,
    pub(super) rate: TaxRate,
    pub(super) net: i64,
    pub(super) tax: i64,
    pub(super) reason: Option<String>,
}

impl StoredTax {
    pub(super) fn read(&self, currency: Currency) -> InvoiceTax {
        let money = |minor| Money::new(minor, currency);
        InvoiceTax {
            category: self.category,
            rate: self.rate,
            net: money(self.net),
            tax: money(self.tax),
            reason: self.reason.clone(),
        }
    }
}

/// A discount as it is stored, in the order in which discounts are applied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct StoredDiscount {
    pub(super) description: String,
    pub(super) percent: Option<TaxRate>,
    /// The amount by which the invoice is reduced, in minor units.
    pub(super) amount: i64,
}

impl StoredDiscount {
    pub(super) fn read(self, currency: Currency) -> InvoiceDiscount {
        let Self { description, percent, amount } = self;
        InvoiceDiscount { description, percent, amount: Money::new(amount, currency) }
    }
}
