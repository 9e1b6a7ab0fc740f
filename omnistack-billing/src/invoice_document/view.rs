//! The texts of a document, which HTML and PDF share.

use jiff::tz::TimeZone;
use omnistack_core::{clock::Timestamp, money::Money};

use crate::{
    invoice::{Invoice, InvoiceKind, InvoiceLine, InvoiceStatus},
    period::BillingPeriod,
};

/// The texts of a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DocumentView {
    /// The heading, such as `Invoice INV-000017`.
    pub(super) title: String,
    pub(super) seller: Vec<String>,
    pub(super) customer: Vec<String>,
    /// Labels and values below the title.
    pub(super) facts: Vec<(&'static str, String)>,
    pub(super) lines: Vec<LineView>,
    /// Labels and amounts below the lines. The last one is what is owed.
    pub(super) totals: Vec<(String, String)>,
    pub(super) notes: Vec<String>,
}

/// The texts of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LineView {
    pub(super) description: String,
    pub(super) quantity: String,
    pub(super) price: String,
    pub(super) tax: String,
    pub(super) net: String,
}

impl DocumentView {
    pub(super) fn new(invoice: &Invoice) -> Self {
        let name = match invoice.kind {
            InvoiceKind::Invoice => "Invoice",
            InvoiceKind::CreditNote => "Credit note",
        };
        let title = match &invoice.number {
            Some(number) => format!("{name} {number}"),
            None => format!("{name} (draft)"),
        };
        let party = |party: &Option<crate::invoice::InvoiceParty>| {
            let Some(party) = party else { return Vec::new() };
            let mut lines = party.lines();
            let numbers = [("VAT number", &party.vat_number), ("Tax number", &party.tax_number)];
            let numbers = numbers.into_iter().filter(|(_, number)| !number.is_empty());
            lines.extend(numbers.map(|(label, number)| format!("{label} {number}")));
            let contact = [&party.email, &party.phone];
            lines.extend(contact.into_iter().filter(|text| !text.is_empty()).cloned());
            lines
        };
        Self {
            title,
            seller: party(&invoice.seller),
            customer: party(&invoice.customer),
            facts: facts(invoice),
            lines: invoice.lines.iter().map(line).collect(),
            totals: totals(invoice),
            notes: notes(invoice),
        }
    }
}

fn facts(invoice: &Invoice) -> Vec<(&'static str, String)> {
    let mut facts = Vec::new();
    if let Some(at) = invoice.issued_at {
        facts.push(("Date", day(at)));
    }
    if let Some(period) = invoice.period {
        facts.push(("Period", period_text(period)));
    }
    if let Some(at) = invoice.due_at {
        facts.push(("Due", day(at)));
    }
    if let Some(original) = &invoice.original {
        facts.push(("Corrects invoice", format!("{} of {}", original.number, day(original.issued_at))));
    }
    if let Some(reference) = invoice.customer.as_ref().map(|customer| &customer.reference)
        && !reference.is_empty()
    {
        facts.push(("Your reference", reference.clone()));
    }
    if invoice.status == InvoiceStatus::Void {
        facts.push(("Status", "Void: not to be paid".to_owned()));
    }
    facts
}

fn line(line: &InvoiceLine) -> LineView {
    let mut description = line.description.clone();
    if let Some(period) = line.period {
        description = format!("{description}, {}", period_text(period));
    }
    if line.discount.minor() != 0 {
        description = format!("{description}, less {}", line.discount);
    }
    let tax = match (line.tax_category, line.tax_rate) {
        (Some(_), Some(rate)) => format!("{rate} %"),
        _ => String::new(),
    };
    LineView {
        description,
        quantity: format!("{} {}", line.quantity, line.unit).trim_end().to_owned(),
        price: line.unit_price.clone(),
        tax,
        net: line.net.amount(),
    }
}

fn totals(invoice: &Invoice) -> Vec<(String, String)> {
    let mut totals = Vec::new();
    let mut add = |label: String, amount: Money| totals.push((label, amount.to_string()));
    for discount in &invoice.discounts {
        let percent = discount.percent.map(|percent| format!(" ({percent} %)")).unwrap_or_default();
        add(format!("Included discount: {}{percent}", discount.description), discount.amount);
    }
    add("Net".to_owned(), invoice.net);
    for tax in &invoice.taxes {
        add(format!("Tax {} % of {}", tax.rate, tax.net.amount()), tax.tax);
    }
    add("Total".to_owned(), invoice.total);
    if invoice.kind == InvoiceKind::Invoice {
        for (label, amount) in
            [("Paid with credits", invoice.credits), ("Paid", invoice.paid), ("Credited", invoice.credited)]
        {
            if amount.minor() != 0 {
                add(label.to_owned(), amount);
            }
        }
        add("Amount due".to_owned(), invoice.due);
    }
    totals
}

fn notes(invoice: &Invoice) -> Vec<String> {
    let mut notes: Vec<String> = invoice.taxes.iter().filter_map(|tax| tax.reason.clone()).collect();
    notes.dedup();
    if !invoice.note.is_empty() {
        notes.push(invoice.note.clone());
    }
    if let Some(seller) = invoice.seller.as_ref().filter(|seller| !seller.iban.is_empty() && invoice.due.minor() > 0) {
        let number = invoice.number.as_deref().unwrap_or_default();
        notes.push(format!("Please pay to {}, with the reference {number}.", seller.iban));
    }
    notes
}

/// Returns the day of a time, in UTC.
fn day(at: Timestamp) -> String {
    TimeZone::UTC.to_datetime(at.to_jiff()).date().to_string()
}

/// Returns the first and the last day of a period.
fn period_text(period: BillingPeriod) -> String {
    let last = period.end - std::time::Duration::from_micros(1);
    format!("{} to {}", day(period.start), day(last))
}
