//! The default source of taxes: a table of rates.

use std::collections::BTreeMap;

use async_trait::async_trait;
use jiff::{civil::Date, tz::TimeZone};
use omnistack_core::{BoxError, clock::Timestamp};

use super::{
    InvalidTaxRate, LineTax, TaxCategory, TaxParty, TaxProvider, TaxQuestion, TaxQuote, TaxRate,
    rates::{EUROPEAN_UNION, STANDARD_RATES},
};

/// A table of tax rates by country, product and date, with the rules for services that are sold by electronic means:
///
/// | the customer | tax |
/// |---|---|
/// | in the seller's country | the seller's rate |
/// | a business with a VAT number of its country, seller and customer in different countries of the European Union | none: reverse charge (`AE`) |
/// | a consumer, seller and customer in different countries of the European Union | the rate of the customer's country |
/// | elsewhere | none: outside the scope of the tax (`O`) |
/// | without a country | that of the seller's country |
///
/// A seller without a VAT number, or in a country without a rate, invoices without tax (`O`). VAT numbers are not looked
/// up; the invoice keeps the one that the customer has stated. These rules are a default and no tax advice: a seller
/// with other duties adds its own [`TaxProvider`].
///
/// ```
/// use omnistack_billing::TaxTable;
///
/// let taxes = TaxTable::europe().rate("AU", "", "2000-07-01", "10")?.rate("DE", "books", "2007-01-01", "7")?;
/// # let _ = taxes;
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct TaxTable {
    /// The rates of a country and a product, by their first day.
    rates: BTreeMap<(String, String), BTreeMap<Date, TaxRate>>,
}

impl TaxTable {
    /// Creates a table without rates: no tax applies.
    pub fn empty() -> Self {
        Self { rates: BTreeMap::new() }
    }

    /// Creates a table with the standard rates of the European Union, Norway, Switzerland and the United Kingdom, as
    /// they were known in 2026.
    pub fn europe() -> Self {
        let mut table = Self::empty();
        for (country, since, percent) in STANDARD_RATES {
            // Each row is valid: a test adds all of them.
            if let (Ok(since), Ok(rate)) = (since.parse(), TaxRate::parse(percent)) {
                table.add(country, "", since, rate);
            }
        }
        table
    }

    /// Adds a rate of a country from a day on, such as `2007-01-01`. An empty `product` is the standard rate, which
    /// products without a rate of their own have.
    ///
    /// # Errors
    /// Fails if the day is no date, or the percentage is no rate.
    pub fn rate(mut self, country: &str, product: &str, since: &str, percent: &str) -> Result<Self, InvalidTaxRate> {
        let since = since.parse().map_err(|_| InvalidTaxRate)?;
        self.add(country, product, since, TaxRate::parse(percent)?);
        Ok(self)
    }

    fn add(&mut self, country: &str, product: &str, since: Date, rate: TaxRate) {
        self.rates.entry((country.to_owned(), product.to_owned())).or_default().insert(since, rate);
    }

    /// Returns the rate of a product in a country on a day.
    fn find(&self, country: &str, product: &str, day: Date) -> Option<TaxRate> {
        let of = |product: &str| {
            let rates = self.rates.get(&(country.to_owned(), product.to_owned()))?;
            rates.range(..=day).next_back().map(|(_, rate)| *rate)
        };
        of(product).or_else(|| of(""))
    }

    /// Returns the country whose rate applies, or the reason why none does.
    fn place<'a>(seller: &'a TaxParty, customer: &'a TaxParty) -> Result<&'a str, LineTax> {
        let out_of_scope = || LineTax::none(TaxCategory::OutOfScope, "Not subject to VAT");
        let (Some(home), Some(_)) = (seller.country.as_deref(), seller.vat_number.as_deref()) else {
            return Err(out_of_scope());
        };
        let Some(country) = customer.country.as_deref() else { return Ok(home) };
        if country == home {
            return Ok(home);
        }
        if !is_in_union(home) || !is_in_union(country) {
            return Err(out_of_scope());
        }
        match &customer.vat_number {
            Some(number) if is_number_of(number, country) => {
                Err(LineTax::none(TaxCategory::ReverseCharge, "Reverse charge"))
            }
            _ => Ok(country),
        }
    }
}

/// The rates of Europe.
impl Default for TaxTable {
    fn default() -> Self {
        Self::europe()
    }
}

/// Returns whether a VAT number begins with the code of a country. That of Greece is not its ISO code.
fn is_number_of(number: &str, country: &str) -> bool {
    number.starts_with(if country == "GR" { "EL" } else { country })
}

fn is_in_union(country: &str) -> bool {
    EUROPEAN_UNION.contains(&country)
}

/// Returns the day of a time, in UTC.
fn day_of(at: Timestamp) -> Date {
    TimeZone::UTC.to_datetime(at.to_jiff()).date()
}

#[async_trait]
impl TaxProvider for TaxTable {
    async fn quote(&self, question: &TaxQuestion) -> Result<TaxQuote, BoxError> {
        let TaxQuestion { at, seller, customer, items, .. } = question;
        let place = Self::place(seller, customer);
        let day = day_of(*at);
        let lines = items.iter().map(|item| match &place {
            Ok(country) => match self.find(country, &item.product, day) {
                Some(rate) => LineTax::of_rate(rate),
                None => LineTax::none(TaxCategory::OutOfScope, "Not subject to VAT"),
            },
            Err(none) => none.clone(),
        });
        let mut quote = TaxQuote::new(lines.collect());
        quote = match &customer.country {
            Some(country) => quote.evidence(format!("the customer has stated the country {country}")),
            None => quote.evidence("the customer has stated no country"),
        };
        if let Some(number) = &customer.vat_number {
            quote = quote.evidence(format!("the customer has stated the VAT number {number}"));
        }
        if let Ok(country) = &place {
            quote = quote.evidence(format!("rates of {country} on {day}"));
        }
        Ok(quote)
    }
}

#[cfg(test)]
mod tests {
    use omnistack_core::{id::Id, money::Currency, usage::DataEnvironment};

    use super::{super::TaxItem, *};

    fn party(country: &str, vat_number: Option<&str>) -> TaxParty {
        let country = (!country.is_empty()).then(|| country.to_owned());
        TaxParty::new(country, None, vat_number.map(str::to_owned))
    }

    async fn quote(table: &TaxTable, seller: TaxParty, customer: TaxParty, day: &str, product: &str) -> LineTax {
        let at: Timestamp = format!("{day}T12:00:00Z").parse().unwrap();
        let question = TaxQuestion {
            invoice: "1".to_owned(),
            tenant: Id::new(at),
            environment: DataEnvironment::Live,
            currency: Currency::EUR,
            at,
            seller,
            customer,
            items: vec![TaxItem::new(100, product)],
        };
        table.quote(&question).await.unwrap().lines.remove(0)
    }

    #[test]
    fn each_row_of_the_table_is_valid() {
        let table = TaxTable::europe();
        let rows: usize = table.rates.values().map(BTreeMap::len).sum();
        assert_eq!(rows, STANDARD_RATES.len());
        assert!(EUROPEAN_UNION.iter().all(|country| table.rates.contains_key(&((*country).to_owned(), String::new()))));
        assert!(TaxTable::empty().rate("DE", "", "soon", "19").is_err());
    }

    #[tokio::test]
    async fn the_tax_depends_on_both_countries() {
        let table = TaxTable::europe().rate("DE", "books", "2007-01-01", "7").unwrap();
        let seller = || party("DE", Some("DE1"));
        for (seller, customer, day, product, category, rate) in [
            (seller(), party("DE", None), "2026-05-01", "", "S", "19"),
            (seller(), party("DE", Some("DE2")), "2026-05-01", "", "S", "19"),
            (seller(), party("DE", None), "2020-10-01", "", "S", "16"),
            (seller(), party("DE", None), "2026-05-01", "books", "S", "7"),
            (seller(), party("", None), "2026-05-01", "", "S", "19"),
            (seller(), party("FR", Some("FR2")), "2026-05-01", "", "AE", "0"),
            (seller(), party("FR", None), "2026-05-01", "", "S", "20"),
            // A number of another country proves no business there.
            (seller(), party("FR", Some("DE2")), "2026-05-01", "", "S", "20"),
            (seller(), party("GR", Some("EL2")), "2026-05-01", "", "AE", "0"),
            (seller(), party("GR", Some("GR2")), "2026-05-01", "", "S", "24"),
            (seller(), party("FI", None), "2024-08-31", "", "S", "24"),
            (seller(), party("FI", None), "2024-09-01", "", "S", "25.5"),
            (seller(), party("US", None), "2026-05-01", "", "O", "0"),
            (seller(), party("CH", Some("CHE-1")), "2026-05-01", "", "O", "0"),
            (party("CH", Some("CHE-1")), party("CH", None), "2026-05-01", "", "S", "8.1"),
            (party("US", Some("1")), party("US", None), "2026-05-01", "", "O", "0"),
            (party("DE", None), party("DE", None), "2026-05-01", "", "O", "0"),
            (party("", Some("1")), party("DE", None), "2026-05-01", "", "O", "0"),
        ] {
            let what = format!("{seller:?} {customer:?} {day} {product}");
            let tax = quote(&table, seller, customer, day, product).await;
            assert_eq!((tax.category.code(), tax.rate.to_string().as_str()), (category, rate), "{what}");
            assert_eq!(tax.reason.is_some(), category != "S", "{what}");
        }
    }
}
