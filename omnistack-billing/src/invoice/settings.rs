//! The settings of invoices.

use std::time::Duration;

use omnistack_core::{config::SettingValue, money::Money};

/// The invoices that the app makes by itself at the end of a billing period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PeriodInvoices {
    /// No invoices: the app's code makes them, or a payment provider.
    Off,
    /// Invoices of usage. A payment provider or the app's code bills the plan.
    Usage,
    /// Invoices of the plan and of usage.
    All,
}

impl SettingValue for PeriodInvoices {
    const EXPECTED: &'static str = "off, usage or all";

    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "off" => Ok(Self::Off),
            "usage" => Ok(Self::Usage),
            "all" => Ok(Self::All),
            _ => Err(format!("`{}` is neither off, usage nor all", text.escape_debug())),
        }
    }
}

/// The worth of a credit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CreditValue(pub(crate) Money);

impl SettingValue for CreditValue {
    const EXPECTED: &'static str = "amount of money, e.g. 1.00 EUR";

    fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{}` is no amount of money: write, for example, 1.00 EUR", text.escape_debug());
        let (amount, currency) = text.split_once(' ').ok_or_else(wrong)?;
        let value = Money::parse(amount, currency).map_err(|_| wrong())?;
        if value.minor() > 0 { Ok(Self(value)) } else { Err("a credit must be worth more than zero".to_owned()) }
    }
}

/// The prefix of invoice numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NumberPrefix(pub(crate) String);

/// Largest length of a prefix.
const MAX_PREFIX_BYTES: usize = 20;

impl SettingValue for NumberPrefix {
    const EXPECTED: &'static str = "up to 20 letters, digits, `-`, `/` and `.`";

    fn parse(text: &str) -> Result<Self, String> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'/' | b'.');
        if text.len() <= MAX_PREFIX_BYTES && text.bytes().all(plain) {
            return Ok(Self(text.to_owned()));
        }
        Err(format!("`{}` must have {}", text.escape_debug(), Self::EXPECTED))
    }
}

/// The code of a country.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CountryCode(pub(crate) String);

impl SettingValue for CountryCode {
    const EXPECTED: &'static str = "ISO 3166 code of a country, e.g. DE";

    fn parse(text: &str) -> Result<Self, String> {
        if text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_uppercase()) {
            return Ok(Self(text.to_owned()));
        }
        // A country without a rate invoices without tax, so a wrong one must not start.
        Err(format!("`{}` is no code of a country: write two capital letters, such as DE", text.escape_debug()))
    }
}

omnistack_core::settings! {
    /// Invoices, and the seller that they name.
    pub(crate) struct InvoiceSettings {
        /// The name of the company that sells. Invoices can be finalised only if it is set.
        pub(crate) seller_name: Option<String> = "BILLING_SELLER_NAME";
        /// The street and the house number of the seller.
        pub(crate) seller_address: Option<String> = "BILLING_SELLER_ADDRESS";
        /// The city of the seller.
        pub(crate) seller_city: Option<String> = "BILLING_SELLER_CITY";
        /// The postal code of the seller.
        pub(crate) seller_postal_code: Option<String> = "BILLING_SELLER_POSTAL_CODE";
        /// The ISO 3166 code of the seller's country, such as `DE`.
        pub(crate) seller_country: Option<CountryCode> = "BILLING_SELLER_COUNTRY";
        /// The VAT number of the seller, with the code of its country. Without it, no tax applies.
        pub(crate) seller_vat_number: Option<String> = "BILLING_SELLER_VAT_NUMBER";
        /// The number that the seller's tax office has given.
        pub(crate) seller_tax_number: Option<String> = "BILLING_SELLER_TAX_NUMBER";
        /// The person or the department that answers questions about invoices.
        pub(crate) seller_contact: Option<String> = "BILLING_SELLER_CONTACT";
        /// The phone number for questions about invoices.
        pub(crate) seller_phone: Option<String> = "BILLING_SELLER_PHONE";
        /// The mail address for questions about invoices.
        pub(crate) seller_email: Option<String> = "BILLING_SELLER_EMAIL";
        /// The bank account to which invoices are paid.
        pub(crate) seller_iban: Option<String> = "BILLING_SELLER_IBAN";
        /// The beginning of invoice numbers. Each prefix has a series of numbers of its own.
        pub(crate) invoice_prefix: NumberPrefix = "BILLING_INVOICE_PREFIX", default "INV-";
        /// The beginning of the numbers of credit notes.
        pub(crate) credit_note_prefix: NumberPrefix = "BILLING_CREDIT_NOTE_PREFIX", default "CN-";
        /// The time in which invoices are to be paid.
        pub(crate) payment_terms: Duration = "BILLING_PAYMENT_TERMS", default "14d", range "0s"..="365d";
        /// The worth of a credit of the wallet, such as `1.00 EUR`. Credits pay invoices in this currency. If unset, they
        /// pay none.
        pub(crate) credit_value: Option<CreditValue> = "BILLING_CREDIT_VALUE";
        /// The invoices that are made at the end of each billing period: `off`, `usage` or `all`. With `usage`, a payment
        /// provider bills the plan; with `all`, the invoice has the plan, too.
        pub(crate) period_invoices: PeriodInvoices = "BILLING_INVOICES", default "off";
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_country_is_a_code() {
        assert_eq!(CountryCode::parse("DE"), Ok(CountryCode("DE".to_owned())));
        for wrong in ["", "de", "DEU", "Germany", "D1", "ÄÖ"] {
            assert!(CountryCode::parse(wrong).is_err(), "{wrong}");
        }
    }
}
