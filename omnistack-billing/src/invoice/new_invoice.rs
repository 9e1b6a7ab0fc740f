//! The input for a draft of an invoice.

use omnistack_core::{
    http::{Error, FieldError},
    identity::TenantId,
    money::{Currency, Money},
    usage::{DataEnvironment, Decimal},
};

use super::{
    amounts::{DiscountAmount, ExactAmount, Factor, MAX_FACTOR_DECIMALS, round_together},
    model::InvoiceLineKind,
};
use crate::{period::BillingPeriod, tax::TaxRate};

/// Largest number of lines of an invoice.
pub(super) const MAX_INVOICE_LINES: usize = 1000;
/// Largest number of discounts of an invoice.
const MAX_INVOICE_DISCOUNTS: usize = 20;
/// Largest length of a description, in characters.
pub(super) const MAX_DESCRIPTION_CHARS: usize = 500;
/// Largest length of a key and of a reference, in characters.
pub(super) const MAX_INVOICE_KEY_CHARS: usize = 200;
/// Largest length of the name of a unit and of a product, in characters.
const MAX_LABEL_CHARS: usize = 50;

/// An invoice to draft.
///
/// ```
/// use omnistack_billing::{Invoices, NewInvoice, NewInvoiceLine};
/// use omnistack_core::{db::Db, http::Error, identity::TenantId, money::Currency, usage::Decimal};
///
/// /// Bills three seats of a renewed subscription.
/// async fn renewed(db: &Db, invoices: &Invoices, tenant: TenantId, renewal: &str) -> Result<(), Error> {
///     let mut tx = db.app_database().tenant(tenant).begin().await?;
///     // … update the subscription …
///     let line = NewInvoiceLine::plan("Pro", 3, Decimal::new(2900, 2)).unit("seats");
///     let draft = invoices.draft_in(&mut tx, NewInvoice::new(tenant, renewal, Currency::EUR).line(line)).await?;
///     tx.commit().await?;
///     invoices.finalize(tenant, draft).await?;
///     Ok(())
/// }
/// # let _ = renewed;
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct NewInvoice {
    pub(super) tenant: TenantId,
    pub(super) key: String,
    pub(super) currency: Currency,
    pub(super) environment: DataEnvironment,
    pub(super) period: Option<BillingPeriod>,
    pub(super) lines: Vec<NewInvoiceLine>,
    pub(super) discounts: Vec<NewDiscount>,
    pub(super) uses_credits: bool,
    pub(super) note: String,
}

impl NewInvoice {
    /// Creates a live invoice without lines. `key` names what is billed, with 1 to 200 characters, such as the renewal
    /// of a subscription: a second draft of the tenant with the same key is not made.
    pub fn new(tenant: TenantId, key: impl Into<String>, currency: Currency) -> Self {
        Self {
            tenant,
            key: key.into(),
            currency,
            environment: DataEnvironment::Live,
            period: None,
            lines: Vec::new(),
            discounts: Vec::new(),
            uses_credits: false,
            note: String::new(),
        }
    }

    /// Sets the environment. Invoices of tests have numbers of their own.
    pub fn environment(mut self, environment: DataEnvironment) -> Self {
        self.environment = environment;
        self
    }

    /// Sets the billed period.
    pub fn period(mut self, period: BillingPeriod) -> Self {
        self.period = Some(period);
        self
    }

    /// Adds a line.
    pub fn line(mut self, line: NewInvoiceLine) -> Self {
        self.lines.push(line);
        self
    }

    /// Adds a discount of a percentage of all lines. Percentages are applied before amounts, in the order in which they
    /// were added.
    pub fn percent_off(mut self, description: impl Into<String>, percent: TaxRate) -> Self {
        self.discounts.push(NewDiscount::Percent(description.into(), percent));
        self
    }

    /// Adds a discount of an amount, in minor units. What is more than the lines cost is lost.
    pub fn amount_off(mut self, description: impl Into<String>, minor: i64) -> Self {
        self.discounts.push(NewDiscount::Amount(description.into(), minor));
        self
    }

    /// Lets credits of the tenant's wallet pay the invoice when it is finalised, as far as they suffice. It has no effect
    /// if the app has set no `BILLING_CREDIT_VALUE` in the currency.
    pub fn pay_with_credits(mut self) -> Self {
        self.uses_credits = true;
        self
    }

    /// Sets a text for the customer, at most 500 characters.
    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.note = note.into();
        self
    }

    /// Returns the discounts in the order in which they are applied.
    pub(super) fn ordered_discounts(&self) -> Vec<NewDiscount> {
        let is_percent = |discount: &&NewDiscount| matches!(discount, NewDiscount::Percent(..));
        let amounts = self.discounts.iter().filter(|discount| !is_percent(discount));
        self.discounts.iter().filter(is_percent).chain(amounts).cloned().collect()
    }

    /// Checks the invoice, and computes the amounts of its lines.
    ///
    /// # Errors
    /// 422 if a value is out of its range.
    pub(super) fn priced(&self) -> Result<Vec<PricedLine>, Error> {
        let mut problems = Vec::new();
        let mut check = |field: String, text: &str, least: usize, most: usize| {
            if !(least..=most).contains(&text.chars().count()) {
                problems.push(FieldError::new(field, format!("must have {least} to {most} characters")));
            } else if has_control_characters(text) {
                problems.push(FieldError::new(field, "must have no control characters but tabs and line breaks"));
            }
        };
        check("key".to_owned(), &self.key, 1, MAX_INVOICE_KEY_CHARS);
        check("note".to_owned(), &self.note, 0, MAX_DESCRIPTION_CHARS);
        for (index, line) in self.lines.iter().enumerate() {
            check(format!("lines[{index}].description"), &line.description, 1, MAX_DESCRIPTION_CHARS);
            check(format!("lines[{index}].unit"), &line.unit, 0, MAX_LABEL_CHARS);
            check(format!("lines[{index}].product"), &line.product, 0, MAX_LABEL_CHARS);
        }
        for (index, discount) in self.discounts.iter().enumerate() {
            let (NewDiscount::Percent(description, _) | NewDiscount::Amount(description, _)) = discount;
            check(format!("discounts[{index}].description"), description, 1, MAX_DESCRIPTION_CHARS);
        }
        if !(1..=MAX_INVOICE_LINES).contains(&self.lines.len()) {
            problems.push(FieldError::new("lines", format!("must be 1 to {MAX_INVOICE_LINES}")));
        }
        if self.discounts.len() > MAX_INVOICE_DISCOUNTS {
            problems.push(FieldError::new("discounts", format!("must be at most {MAX_INVOICE_DISCOUNTS}")));
        }
        if !problems.is_empty() {
            return Err(Error::invalid(problems));
        }
        price(&self.lines, self.currency)
    }
}

/// A discount of a new invoice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum NewDiscount {
    Percent(String, TaxRate),
    Amount(String, i64),
}

impl NewDiscount {
    pub(super) fn amount(&self) -> DiscountAmount {
        match self {
            Self::Percent(_, percent) => DiscountAmount::Share(percent.millionths()),
            Self::Amount(_, minor) => DiscountAmount::Minor(*minor),
        }
    }
}

/// A line of an invoice to draft.
#[derive(Clone, Debug, PartialEq)]
#[must_use]
pub struct NewInvoiceLine {
    pub(super) kind: InvoiceLineKind,
    pub(super) description: String,
    pub(super) quantity: Decimal,
    pub(super) unit: String,
    pub(super) unit_price: Decimal,
    pub(super) product: String,
    pub(super) meter: Option<String>,
    pub(super) period: Option<BillingPeriod>,
}

impl NewInvoiceLine {
    /// Creates a line of anything that is sold. `unit_price` is in the currency of the invoice, such as 29.00. A price
    /// below zero gives something back.
    pub fn item(description: impl Into<String>, quantity: impl Into<Decimal>, unit_price: Decimal) -> Self {
        Self {
            kind: InvoiceLineKind::Item,
            description: description.into(),
            quantity: quantity.into(),
            unit: String::new(),
            unit_price,
            product: String::new(),
            meter: None,
            period: None,
        }
    }

    /// Creates a line of a plan.
    pub fn plan(description: impl Into<String>, quantity: impl Into<Decimal>, unit_price: Decimal) -> Self {
        Self { kind: InvoiceLineKind::Plan, ..Self::item(description, quantity, unit_price) }
    }

    /// Creates a line of usage.
    pub(super) fn usage(kind: InvoiceLineKind, meter: &str, description: String, quantity: Decimal) -> Self {
        Self { kind, meter: Some(meter.to_owned()), ..Self::item(description, quantity, Decimal::ZERO) }
    }

    /// Sets the unit of the quantity, such as `seats`, at most 50 characters.
    pub fn unit(mut self, unit: impl Into<String>) -> Self {
        self.unit = unit.into();
        self
    }

    /// Sets what is sold, for the tax, at most 50 characters. Default: the app's service.
    pub fn product(mut self, product: impl Into<String>) -> Self {
        self.product = product.into();
        self
    }

    /// Sets the time of the service.
    pub fn period(mut self, period: BillingPeriod) -> Self {
        self.period = Some(period);
        self
    }
}

/// A line with its amount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PricedLine {
    pub(super) quantity: Factor,
    pub(super) price: Factor,
    /// In minor units.
    pub(super) amount: i64,
}

/// Returns whether a text has characters that neither XML nor the database can have.
pub(super) fn has_control_characters(text: &str) -> bool {
    text.chars().any(|character| character.is_control() && !matches!(character, '\n' | '\r' | '\t'))
}

/// Returns the decimals of amounts in a currency.
pub(super) fn decimals_of(currency: Currency) -> u32 {
    currency.exponent().map_or(0, u32::from)
}

/// Returns an amount of money as a decimal number.
pub(super) fn decimal_of(money: Money) -> Decimal {
    Decimal::from_i128_with_scale(money.minor().into(), decimals_of(money.currency()))
}

/// Computes the amounts of lines. Those of usage are rounded together.
fn price(lines: &[NewInvoiceLine], currency: Currency) -> Result<Vec<PricedLine>, Error> {
    let decimals = decimals_of(currency);
    let mut priced = Vec::with_capacity(lines.len());
    let (mut usage, mut of_usage) = (Vec::new(), Vec::new());
    for (index, line) in lines.iter().enumerate() {
        let factor = |field: &str, value: Decimal| {
            factor(value).ok_or_else(|| {
                let message = format!("must have at most {MAX_FACTOR_DECIMALS} decimals, and 18 digits");
                Error::invalid([FieldError::new(format!("lines[{index}].{field}"), message)])
            })
        };
        let (quantity, price) = (factor("quantity", line.quantity)?, factor("unit_price", line.unit_price)?);
        let exact = ExactAmount::product(quantity, price, decimals).ok_or_else(|| too_large(index))?;
        let amount = exact.rounded().ok_or_else(|| too_large(index))?;
        if matches!(line.kind, InvoiceLineKind::Usage | InvoiceLineKind::LateUsage) {
            usage.push(exact);
            of_usage.push(index);
        }
        priced.push(PricedLine { quantity, price, amount });
    }
    let rounded = round_together(&usage).ok_or_else(|| too_large(0))?;
    for (index, amount) in of_usage.into_iter().zip(rounded) {
        priced[index].amount = amount;
    }
    Ok(priced)
}

fn factor(value: Decimal) -> Option<Factor> {
    let value = value.normalize();
    let units = i64::try_from(value.mantissa()).ok()?;
    (value.scale() <= MAX_FACTOR_DECIMALS).then_some(Factor { units, decimals: value.scale() })
}

fn too_large(line: usize) -> Error {
    Error::invalid([FieldError::new(format!("lines[{line}]"), "is too large: an amount has at most 18 digits")])
}

#[cfg(test)]
mod tests {
    use omnistack_core::id::Id;

    use super::*;

    fn invoice() -> NewInvoice {
        NewInvoice::new(Id::new(omnistack_core::clock::Timestamp::default()), "key", Currency::USD)
    }

    #[test]
    fn usage_is_rounded_together_and_other_lines_by_themselves() {
        let price = Decimal::new(3334, 6);
        let usage = |kind| {
            let mut line = NewInvoiceLine::usage(kind, "pages", "Pages".to_owned(), Decimal::ONE);
            line.unit_price = price;
            line
        };
        let invoice = invoice()
            .line(usage(InvoiceLineKind::Usage))
            .line(NewInvoiceLine::item("Stamp", 1, Decimal::new(5, 3)))
            .line(usage(InvoiceLineKind::Usage))
            .line(usage(InvoiceLineKind::LateUsage));
        let amounts: Vec<i64> = invoice.priced().unwrap().iter().map(|line| line.amount).collect();
        assert_eq!(amounts, [1, 1, 0, 0]);
    }

    #[test]
    fn percentages_come_before_amounts() {
        let percent = |text: &str| TaxRate::parse(text).unwrap();
        let invoice = invoice()
            .amount_off("a", 1)
            .percent_off("b", percent("10"))
            .amount_off("c", 2)
            .percent_off("d", percent("5"));
        let order: Vec<String> = invoice
            .ordered_discounts()
            .into_iter()
            .map(|(NewDiscount::Percent(description, _) | NewDiscount::Amount(description, _))| description)
            .collect();
        assert_eq!(order, ["b", "d", "a", "c"]);
    }

    #[test]
    fn values_out_of_range_are_refused() {
        let line = || NewInvoiceLine::item("a", 1, Decimal::ONE);
        for wrong in [
            invoice(),
            invoice().line(NewInvoiceLine::item("", 1, Decimal::ONE)),
            invoice().line(NewInvoiceLine::item("a", Decimal::new(1, 10), Decimal::ONE)),
            invoice().line(NewInvoiceLine::item("a", i64::MAX, Decimal::ONE)),
            invoice().line(line().unit("u".repeat(51))),
            invoice().line(line()).amount_off("", 1),
            invoice().line(line()).note("n".repeat(501)),
            invoice().line(line()).note("a\0"),
            invoice().line(NewInvoiceLine::item("a\u{1b}", 1, Decimal::ONE)),
            (0..1001).fold(invoice(), |invoice, _| invoice.line(line())),
        ] {
            assert_eq!(wrong.priced().unwrap_err().code(), "VALIDATION_FAILED");
        }
        assert!(invoice().line(line()).priced().is_ok());
    }
}
