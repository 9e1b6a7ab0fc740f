//! Taxes: which one applies to each line of an invoice.
//!
//! A [`TaxProvider`] decides. The default one is a [`TaxTable`]: the rates of countries by date, and the rules for services
//! between countries. The invoice computes the amounts: it adds up the lines of each rate first.

mod rates;
mod table;

pub use table::TaxTable;

use std::fmt;

use async_trait::async_trait;
use omnistack_core::{BoxError, clock::Timestamp, identity::TenantId, money::Currency, usage::DataEnvironment};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{ObjectBuilder, RefOr, Schema, schema::Type},
};

/// The rate of 100 %, in millionths.
const MILLIONTHS: u32 = 1_000_000;
/// Largest number of decimals of a rate in percent.
const MAX_PERCENT_DECIMALS: usize = 4;

/// The category of a tax: the codes that EN 16931 takes from UNTDID 5305.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
pub enum TaxCategory {
    /// A rate of more than zero, also a reduced one.
    #[serde(rename = "S")]
    Standard,
    /// A rate of zero.
    #[serde(rename = "Z")]
    Zero,
    /// Exempt from tax.
    #[serde(rename = "E")]
    Exempt,
    /// The customer pays the tax: reverse charge.
    #[serde(rename = "AE")]
    ReverseCharge,
    /// Goods for a business in another country of the European Union.
    #[serde(rename = "K")]
    IntraCommunity,
    /// Goods that leave the European Union.
    #[serde(rename = "G")]
    Export,
    /// Services outside the scope of the tax.
    #[serde(rename = "O")]
    OutOfScope,
}

impl TaxCategory {
    /// All categories.
    const ALL: [Self; 7] = [
        Self::Standard,
        Self::Zero,
        Self::Exempt,
        Self::ReverseCharge,
        Self::IntraCommunity,
        Self::Export,
        Self::OutOfScope,
    ];

    /// Returns the code, such as `S`.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Standard => "S",
            Self::Zero => "Z",
            Self::Exempt => "E",
            Self::ReverseCharge => "AE",
            Self::IntraCommunity => "K",
            Self::Export => "G",
            Self::OutOfScope => "O",
        }
    }

    /// Returns the category with a code.
    pub(crate) fn from_code(code: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|category| category.code() == code)
    }
}

/// The rate of a tax, exact to a ten-thousandth of a percent. In JSON it is a text with the percentage, such as `"19"`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaxRate(u32);

impl TaxRate {
    /// No tax.
    pub const ZERO: Self = Self(0);

    /// Creates a rate of so many millionths: 190,000 is 19 %. More than 100 % becomes 100 %.
    pub const fn from_millionths(millionths: u32) -> Self {
        Self(if millionths > MILLIONTHS { MILLIONTHS } else { millionths })
    }

    /// Returns the rate in millionths: 190,000 for 19 %.
    pub const fn millionths(self) -> u32 {
        self.0
    }

    /// Parses a percentage from 0 to 100 with at most four decimals, such as `8.875`.
    ///
    /// # Errors
    /// Fails if the text is another one.
    pub fn parse(percent: &str) -> Result<Self, InvalidTaxRate> {
        let (whole, fraction) = percent.split_once('.').unwrap_or((percent, "0"));
        let is_number = |digits: &str| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        if !is_number(whole) || !is_number(fraction) || fraction.len() > MAX_PERCENT_DECIMALS {
            return Err(InvalidTaxRate);
        }
        let digits = format!("{whole}{fraction:0<MAX_PERCENT_DECIMALS$}");
        let millionths: u32 = digits.parse().map_err(|_| InvalidTaxRate)?;
        if millionths > MILLIONTHS { Err(InvalidTaxRate) } else { Ok(Self(millionths)) }
    }
}

/// The error of a text that is no tax rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a tax rate is a percentage from 0 to 100 with at most four decimals, such as `8.875`")]
pub struct InvalidTaxRate;

/// Shown as the percentage without a sign: `19`, `8.875`.
impl fmt::Display for TaxRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = format!("{}.{:04}", self.0 / 10_000, self.0 % 10_000);
        f.write_str(text.trim_end_matches('0').trim_end_matches('.'))
    }
}

impl Serialize for TaxRate {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for TaxRate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

impl ToSchema for TaxRate {
    fn name() -> std::borrow::Cow<'static, str> {
        "TaxRate".into()
    }
}

impl PartialSchema for TaxRate {
    fn schema() -> RefOr<Schema> {
        let description = "A percentage: a decimal number with at most four decimals.";
        let schema = ObjectBuilder::new().schema_type(Type::String).max_length(Some(20)).description(Some(description));
        schema.examples([serde_json::json!("19")]).into()
    }
}

/// The seller or the customer of an invoice, as far as taxes depend on it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TaxParty {
    /// The ISO 3166 code of the country, such as `DE`.
    pub country: Option<String>,
    /// The postal code.
    pub postal_code: Option<String>,
    /// The VAT number, with the code of its country.
    pub vat_number: Option<String>,
}

impl TaxParty {
    /// Creates a party.
    pub fn new(country: Option<String>, postal_code: Option<String>, vat_number: Option<String>) -> Self {
        Self { country, postal_code, vat_number }
    }
}

/// A line of an invoice, as far as taxes depend on it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TaxItem {
    /// The amount without tax, in minor units.
    pub net: i64,
    /// The product, in the app's own words. Empty for the app's service.
    pub product: String,
}

impl TaxItem {
    /// Creates a line.
    pub fn new(net: i64, product: impl Into<String>) -> Self {
        Self { net, product: product.into() }
    }
}

/// The question which taxes apply to an invoice.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TaxQuestion {
    /// The id of the invoice. It is the idempotency key of providers that need one.
    pub invoice: String,
    /// The tenant.
    pub tenant: TenantId,
    /// The environment.
    pub environment: DataEnvironment,
    /// The currency.
    pub currency: Currency,
    /// The time of the supply.
    pub at: Timestamp,
    /// The seller.
    pub seller: TaxParty,
    /// The customer.
    pub customer: TaxParty,
    /// The lines.
    pub items: Vec<TaxItem>,
}

/// The tax of a line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct LineTax {
    /// The category.
    pub category: TaxCategory,
    /// The rate. Zero for all categories but [`TaxCategory::Standard`].
    pub rate: TaxRate,
    /// The text that explains why no tax applies, for the invoice.
    pub reason: Option<String>,
}

impl LineTax {
    /// Creates the tax of a rate: the category is standard, or zero for a rate of zero.
    pub fn of_rate(rate: TaxRate) -> Self {
        let category = if rate == TaxRate::ZERO { TaxCategory::Zero } else { TaxCategory::Standard };
        Self { category, rate, reason: None }
    }

    /// Creates the tax of a line on which no tax applies.
    pub fn none(category: TaxCategory, reason: impl Into<String>) -> Self {
        Self { category, rate: TaxRate::ZERO, reason: Some(reason.into()) }
    }
}

/// The taxes of an invoice.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TaxQuote {
    /// The tax of each line, in the order of the lines.
    pub lines: Vec<LineTax>,
    /// The facts that the decision rests on, such as the customer's country. They are stored with the invoice.
    pub evidence: Vec<String>,
}

impl TaxQuote {
    /// Creates a quote with the tax of each line.
    pub fn new(lines: Vec<LineTax>) -> Self {
        Self { lines, evidence: Vec::new() }
    }

    /// Adds a fact that the decision rests on.
    #[must_use]
    pub fn evidence(mut self, fact: impl Into<String>) -> Self {
        self.evidence.push(fact.into());
        self
    }
}

/// A source of taxes. Set one by [`Billing::taxes`](crate::Billing::taxes).
///
/// ```
/// use omnistack_billing::{LineTax, TaxProvider, TaxQuestion, TaxQuote, TaxRate};
/// use omnistack_core::{BoxError, async_trait};
///
/// /// Everything costs 8.875 % more.
/// struct NewYork;
///
/// #[async_trait]
/// impl TaxProvider for NewYork {
///     async fn quote(&self, question: &TaxQuestion) -> Result<TaxQuote, BoxError> {
///         let rate = TaxRate::parse("8.875")?;
///         Ok(TaxQuote::new(question.items.iter().map(|_| LineTax::of_rate(rate)).collect()))
///     }
/// }
/// ```
#[async_trait]
pub trait TaxProvider: Send + Sync + 'static {
    /// Returns the tax of each line. It is called outside of any transaction, and may be called several times for an
    /// invoice; it changes nothing.
    ///
    /// # Errors
    /// An error keeps the invoice from being finalised. It is tried again later.
    async fn quote(&self, question: &TaxQuestion) -> Result<TaxQuote, BoxError>;

    /// Reports an invoice that was finalised with a quote, for providers that file tax returns. It is called by a job,
    /// possibly several times for an invoice. The default does nothing.
    ///
    /// # Errors
    /// After an error, the job tries again.
    async fn commit(&self, invoice: &str) -> Result<(), BoxError> {
        _ = invoice;
        Ok(())
    }

    /// Reports that a finalised invoice was voided, as [`commit`](Self::commit) does.
    ///
    /// # Errors
    /// After an error, the job tries again.
    async fn void(&self, invoice: &str) -> Result<(), BoxError> {
        _ = invoice;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_exact() {
        for (text, millionths, shown) in [
            ("0", 0, "0"),
            ("19", 190_000, "19"),
            ("25.5", 255_000, "25.5"),
            ("8.875", 88_750, "8.875"),
            ("0.0001", 1, "0.0001"),
            ("100", 1_000_000, "100"),
            ("7.0", 70_000, "7"),
        ] {
            let rate = TaxRate::parse(text).unwrap();
            assert_eq!((rate.millionths(), rate.to_string().as_str()), (millionths, shown), "{text}");
            let json = serde_json::to_value(rate).unwrap();
            assert_eq!(serde_json::from_value::<TaxRate>(json).unwrap(), rate);
        }
        for wrong in ["", "-1", "100.0001", "101", "1.00001", "1.", ".5", "19%", "1e1", "99999999999"] {
            assert_eq!(TaxRate::parse(wrong), Err(InvalidTaxRate), "{wrong}");
        }
    }

    #[test]
    fn categories_have_the_codes_of_en_16931() {
        for category in TaxCategory::ALL {
            assert_eq!(TaxCategory::from_code(category.code()), Some(category));
            assert_eq!(serde_json::to_value(category).unwrap(), category.code());
        }
        assert_eq!(TaxCategory::from_code("X"), None);
    }
}
