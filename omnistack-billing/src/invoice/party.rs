//! The seller and the customer of invoices.

use omnistack_core::http::{Error, FieldError};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::settings::InvoiceSettings;
use crate::tax::TaxParty;

/// The seller or the customer of an invoice.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
#[non_exhaustive]
pub struct InvoiceParty {
    /// The name of the company or the person.
    pub name: String,
    /// The street and the house number.
    pub address: String,
    /// The city.
    pub city: String,
    /// The postal code.
    pub postal_code: String,
    /// The ISO 3166 code of the country, such as `DE`; empty if it is unknown.
    #[schema(examples("DE"))]
    pub country: String,
    /// The VAT number, with the code of its country; empty if there is none.
    pub vat_number: String,
    /// The number of the tax office; empty if there is none.
    pub tax_number: String,
    /// The person or the department for questions.
    pub contact: String,
    /// The phone number.
    pub phone: String,
    /// The mail address.
    pub email: String,
    /// The bank account.
    pub iban: String,
    /// The customer's reference, such as the Leitweg-ID of a German authority.
    pub reference: String,
}

impl InvoiceParty {
    /// Creates the party of a tenant of which nothing is known.
    pub(super) fn unknown() -> Self {
        Self::default()
    }

    pub(super) fn seller(settings: &InvoiceSettings) -> Self {
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        Self {
            name: text(&settings.seller_name),
            address: text(&settings.seller_address),
            city: text(&settings.seller_city),
            postal_code: text(&settings.seller_postal_code),
            country: settings.seller_country.as_ref().map(|code| code.0.clone()).unwrap_or_default(),
            vat_number: text(&settings.seller_vat_number),
            tax_number: text(&settings.seller_tax_number),
            contact: text(&settings.seller_contact),
            phone: text(&settings.seller_phone),
            email: text(&settings.seller_email),
            iban: text(&settings.seller_iban),
            reference: String::new(),
        }
    }

    pub(super) fn tax_party(&self) -> TaxParty {
        let given = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        TaxParty::new(given(&self.country), given(&self.postal_code), given(&self.vat_number))
    }

    /// Returns the lines of the address, with the name, for documents.
    pub(crate) fn lines(&self) -> Vec<String> {
        let city = format!("{} {}", self.postal_code, self.city);
        let lines = [self.name.as_str(), self.address.as_str(), city.trim(), self.country.as_str()];
        lines.into_iter().filter(|line| !line.is_empty()).map(str::to_owned).collect()
    }

    /// Checks what a tenant has stated.
    pub(super) fn check(&self) -> Result<(), Error> {
        let mut problems = Vec::new();
        let is_country = |text: &str| text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_uppercase());
        if !self.country.is_empty() && !is_country(&self.country) {
            problems.push(FieldError::new("country", "must be an ISO 3166 code of two capital letters, such as `DE`"));
        }
        let plain = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit();
        let number = self.vat_number.as_bytes();
        let is_vat_number = (4..=15).contains(&number.len())
            && number.iter().all(|byte| plain(*byte))
            && number[..2].iter().all(u8::is_ascii_uppercase);
        if !number.is_empty() && !is_vat_number {
            let message =
                "must begin with the code of a country and have only capital letters and digits: `DE123456789`";
            problems.push(FieldError::new("vat_number", message));
        }
        let texts = [
            ("name", &self.name),
            ("address", &self.address),
            ("city", &self.city),
            ("postal_code", &self.postal_code),
            ("email", &self.email),
            ("reference", &self.reference),
        ];
        // They are in a document and in XML, which has no such characters.
        for (field, _) in texts.into_iter().filter(|(_, text)| text.chars().any(char::is_control)) {
            problems.push(FieldError::new(field, "must be one line, without control characters"));
        }
        if problems.is_empty() { Ok(()) } else { Err(Error::invalid(problems)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_one_line() {
        for (name, valid) in [("Beispiel & Söhne", true), ("a\nb", false), ("a\u{1}b", false)] {
            let party = InvoiceParty { name: name.to_owned(), ..InvoiceParty::default() };
            assert_eq!(party.check().is_ok(), valid, "{name:?}");
        }
    }

    #[test]
    fn countries_and_vat_numbers_are_checked() {
        for (country, vat_number, valid) in [
            ("", "", true),
            ("DE", "DE123456789", true),
            ("AT", "ATU12345678", true),
            ("de", "", false),
            ("DEU", "", false),
            ("DE", "123456789", false),
            ("DE", "DE 123 456", false),
            ("DE", "DE1", false),
        ] {
            let party = InvoiceParty {
                country: country.to_owned(),
                vat_number: vat_number.to_owned(),
                ..InvoiceParty::default()
            };
            assert_eq!(party.check().is_ok(), valid, "{country} {vat_number}");
        }
    }
}
