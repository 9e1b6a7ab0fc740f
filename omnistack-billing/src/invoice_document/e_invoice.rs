//! The invoice as an e-invoice, in UBL or CII, of the profile XRechnung 3.0, or of EN 16931 if XRechnung asks for more than
//! the seller and the customer have stated.

use en16931::{
    Date, En16931, Identifier, Invoice as Model, InvoiceAmount, InvoiceLine as ModelLine, Percentage,
    Quantity as ModelQuantity, Reconciler, UnitPriceAmount, Validated, XRechnung,
    invoice::{
        Code, Contact, LineAllowanceCharge, Party, PaymentInstructions, Period, PostalAddress, PrecedingInvoice,
        PriceDetails,
    },
    profiles,
};
#[cfg(feature = "factur-x")]
use en16931_formats::zugferd::{self, EmbedOptions};
use en16931_formats::{Syntax, write};
use jiff::tz::TimeZone;
use omnistack_core::{clock::Timestamp, http::Error, money::Money, usage::Decimal};

use crate::{
    invoice::{Invoice, InvoiceKind, InvoiceLine, InvoiceParty},
    period::BillingPeriod,
    tax::{TaxCategory, TaxRate},
};

/// Number of decimals of the amounts of EN 16931.
const AMOUNT_DECIMALS: u16 = 2;
/// The code of a commercial invoice and of a credit note (UNTDID 1001).
const INVOICE_CODE: &str = "380";
const CREDIT_NOTE_CODE: &str = "381";
/// The code of "one" (UN/ECE Recommendation 20). The line's text has the unit.
const UNIT_CODE: &str = "C62";
/// The code of a payment of which the means is not stated (UNTDID 4461).
const ANY_PAYMENT_CODE: &str = "1";
/// The scheme of mail addresses as electronic addresses.
const MAIL_SCHEME: &str = "EM";
/// The business process of XRechnung.
const BUSINESS_PROCESS: &str = "urn:fdc:peppol.eu:2017:poacc:billing:01:1.0";

/// Returns the XML.
///
/// # Errors
/// 409 `INVOICE_NOT_FINAL` for a draft; 409 `E_INVOICE_CURRENCY` if the currency has other than two decimals; 409
/// `E_INVOICE_INCOMPLETE` if the seller or the customer has stated too little, with the broken rules in `problems`.
pub(super) fn render(invoice: &Invoice, syntax: Syntax) -> Result<String, Error> {
    let mut model = model(invoice)?;
    model.specification_id = Some(profiles::XRECHNUNG.specification_id.to_owned());
    model.business_process = Some(BUSINESS_PROCESS.to_owned());
    if let Ok(proof) = Validated::<XRechnung>::new(model.clone()) {
        return Ok(write(&proof, syntax).xml);
    }
    model.specification_id = Some(profiles::EN16931.specification_id.to_owned());
    model.business_process = None;
    Ok(write(&checked(model)?, syntax).xml)
}

/// Returns a copy of a PDF/A-3 with the invoice in CII embedded: Factur-X of the profile EN 16931.
///
/// # Errors
/// Those of [`render`]; 500 if the PDF isn't a PDF/A-3.
#[cfg(feature = "factur-x")]
pub(super) fn embed(invoice: &Invoice, pdf: &[u8]) -> Result<Vec<u8>, Error> {
    let proof = checked(model(invoice)?)?;
    // A time that is set makes the same file each time.
    let modified = invoice.issued_at.map(|at| at.to_jiff().into());
    let options = EmbedOptions { modified, ..EmbedOptions::default() };
    zugferd::embed(pdf, &proof, &options).map_err(Error::internal)
}

/// Returns the error for a draft.
pub(super) fn not_final() -> Error {
    Error::conflict("INVOICE_NOT_FINAL", "a draft has no e-invoice; finalise it first")
}

/// Checks an invoice by the rules of EN 16931.
fn checked(model: Model) -> Result<Validated<En16931>, Error> {
    Validated::<En16931>::new(model).map_err(|rejected| {
        let problems: Vec<String> = rejected.report().fatal().map(ToString::to_string).collect();
        let message = "the invoice lacks facts that e-invoices must have; the seller completes the settings \
            `BILLING_SELLER_…`, and the customer its billing details";
        Error::conflict("E_INVOICE_INCOMPLETE", message).with_detail("problems", problems)
    })
}

fn model(invoice: &Invoice) -> Result<Model, Error> {
    if invoice.total.currency().exponent() != Some(AMOUNT_DECIMALS) {
        let message = "e-invoices have amounts with two decimals; the currency of the invoice has others";
        return Err(Error::conflict("E_INVOICE_CURRENCY", message));
    }
    let (Some(number), Some(issued_at), Some(seller), Some(customer)) =
        (&invoice.number, invoice.issued_at, &invoice.seller, &invoice.customer)
    else {
        return Err(not_final());
    };
    // With this category, the standard forbids VAT numbers.
    let has_vat = invoice.taxes.iter().all(|tax| tax.category != TaxCategory::OutOfScope);
    let code = if invoice.kind == InvoiceKind::CreditNote { CREDIT_NOTE_CODE } else { INVOICE_CODE };
    let currency = invoice.total.currency().code();
    let mut builder =
        Model::builder(profiles::EN16931.specification_id, number.as_str(), date(issued_at)?, code, currency)
            .seller(party(seller, has_vat))
            .buyer(party(customer, has_vat))
            .payment(payment(seller, number));
    if !customer.reference.is_empty() {
        builder = builder.buyer_reference(customer.reference.as_str());
    }
    if let Some(period) = invoice.period {
        builder = builder.invoicing_period(model_period(period)?);
    }
    if !invoice.note.is_empty() {
        builder = builder.note(invoice.note.as_str());
    }
    if invoice.kind == InvoiceKind::CreditNote {
        builder = builder.credit_note().payment_terms("Offset against the corrected invoice.");
    }
    for line in &invoice.lines {
        builder = builder.line(model_line(line)?);
    }
    let mut reconciler = Reconciler::new();
    if invoice.credits.minor() > 0 {
        reconciler = reconciler.paid(amount(invoice.credits));
    }
    for tax in &invoice.taxes {
        if let Some(reason) = &tax.reason {
            reconciler = reconciler.exemption(tax.category.code(), Some(reason.as_str()), None);
        }
    }
    let mut model = builder.build_reconciled_with(&reconciler).map_err(Error::internal)?;
    if invoice.kind == InvoiceKind::Invoice {
        model.due_date = invoice.due_at.map(date).transpose()?;
    }
    if let Some(original) = &invoice.original {
        let issue_date = Some(date(original.issued_at)?);
        let reference = en16931::DocumentReference::new(original.number.as_str());
        model.preceding_invoices = vec![PrecedingInvoice { reference, issue_date }];
    }
    // The last credit note of an invoice takes what rounding has left, which is not the tax of its own lines.
    for sum in &mut model.vat_breakdown {
        let of_sum = |tax: &&crate::invoice::InvoiceTax| {
            let is_same_rate = rate(tax.category, tax.rate) == sum.rate || tax.category != TaxCategory::Standard;
            tax.category.code() == sum.category.as_str() && is_same_rate
        };
        if let Some(tax) = invoice.taxes.iter().find(of_sum) {
            sum.tax_amount = amount(tax.tax);
        }
    }
    let credits = if invoice.kind == InvoiceKind::Invoice { invoice.credits.minor() } else { 0 };
    model.totals.vat_total = Some(amount(invoice.tax));
    model.totals.gross_total = amount(invoice.total);
    model.totals.due = InvoiceAmount::from_minor_units(invoice.total.minor() - credits);
    Ok(model)
}

fn party(party: &InvoiceParty, has_vat: bool) -> Party {
    let given = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let address = PostalAddress {
        line1: given(&party.address),
        city: given(&party.city),
        post_code: given(&party.postal_code),
        country: given(&party.country).map(Code::new),
        ..PostalAddress::default()
    };
    let mut model = Party::new(party.name.as_str(), address);
    if has_vat {
        model.vat_identifier = given(&party.vat_number);
    } else {
        model.identifiers = given(&party.vat_number).into_iter().map(Identifier::new).collect();
    }
    model.tax_registration = given(&party.tax_number).filter(|_| has_vat);
    model.electronic_address = given(&party.email).and_then(|mail| Identifier::eas(mail, MAIL_SCHEME).ok());
    if !party.contact.is_empty() || !party.phone.is_empty() {
        model.contact = Contact::new(party.contact.as_str(), party.phone.as_str(), party.email.as_str());
    }
    model
}

fn payment(seller: &InvoiceParty, number: &str) -> PaymentInstructions {
    let mut payment = if seller.iban.is_empty() {
        PaymentInstructions { means_code: Some(Code::new(ANY_PAYMENT_CODE)), ..PaymentInstructions::default() }
    } else {
        PaymentInstructions::sepa_credit_transfer(seller.iban.replace(' ', ""), None)
    };
    payment.remittance_information = Some(number.to_owned());
    payment
}

fn model_line(line: &InvoiceLine) -> Result<ModelLine, Error> {
    let (Some(category), Some(tax_rate)) = (line.tax_category, line.tax_rate) else {
        return Err(Error::internal("a line of a final invoice has no tax"));
    };
    let price: Decimal = line.unit_price.parse().map_err(Error::internal)?;
    // The standard has no prices below zero: what is given back is a quantity below zero.
    let (quantity, price) = if price < Decimal::ZERO { (-line.quantity.0, -price) } else { (line.quantity.0, price) };
    let name =
        if line.unit.is_empty() { line.description.clone() } else { format!("{} ({})", line.description, line.unit) };
    let rate = rate(category, tax_rate);
    let quantity = ModelQuantity::new(quantity);
    let position = line.position.to_string();
    let mut model = ModelLine::new(position, name, quantity, UNIT_CODE, amount(line.net), category.code(), rate);
    model.price = PriceDetails { net_price: UnitPriceAmount::new(price), ..PriceDetails::default() };
    if line.discount.minor() != 0 {
        model.allowances.push(LineAllowanceCharge {
            amount: amount(line.discount),
            base_amount: None,
            percentage: None,
            reason: Some("Discount".to_owned()),
            reason_code: None,
        });
    }
    model.period = line.period.map(model_period).transpose()?;
    Ok(model)
}

/// Returns a rate as the standard has it: none for what is outside of the scope of the tax.
fn rate(category: TaxCategory, rate: TaxRate) -> Option<Percentage> {
    let percent = Decimal::from_i128_with_scale(rate.millionths().into(), 4).normalize();
    (category != TaxCategory::OutOfScope).then(|| Percentage::new(percent))
}

fn amount(money: Money) -> InvoiceAmount {
    InvoiceAmount::from_minor_units(money.minor())
}

fn model_period(period: BillingPeriod) -> Result<Period, Error> {
    let last = period.end - std::time::Duration::from_micros(1);
    Ok(Period { start: Some(date(period.start)?), end: Some(date(last)?) })
}

/// Returns the day of a time, in UTC.
fn date(at: Timestamp) -> Result<Date, Error> {
    let day = TimeZone::UTC.to_datetime(at.to_jiff()).date();
    let part = |part: i8| u8::try_from(part).map_err(Error::internal);
    Date::new(day.year().into(), part(day.month())?, part(day.day())?).map_err(Error::internal)
}
