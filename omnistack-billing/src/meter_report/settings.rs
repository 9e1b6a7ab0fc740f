//! The settings of reports.

use omnistack_core::config::SettingValue;

/// A meter, and the meter of the provider that its usage is reported to: `pages=acme_pages` or, if a thousand units are
/// one of the provider's, `ai_tokens=acme_tokens/1000`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct MeterMapping {
    pub(super) meter: String,
    pub(super) provider_meter: String,
    /// The number of units that are one of the provider's, 1 to 10⁹.
    pub(super) divisor: u32,
}

/// Maximum number of units that are one of the provider's.
const MAX_DIVISOR: u32 = 1_000_000_000;
/// Maximum length of the name of a meter of the provider, in bytes.
const MAX_PROVIDER_METER_BYTES: usize = 100;

impl SettingValue for MeterMapping {
    const EXPECTED: &'static str = "METER=METER_OF_THE_PROVIDER, such as `pages=acme_pages`";

    fn parse(text: &str) -> Result<Self, String> {
        let malformed = || format!("`{}` is not METER=METER_OF_THE_PROVIDER or …/DIVISOR", text.escape_debug());
        let (meter, target) = text.split_once('=').ok_or_else(malformed)?;
        let (provider_meter, divisor) = match target.rsplit_once('/') {
            Some((name, divisor)) => (name.trim(), divisor.trim().parse().map_err(|_| malformed())?),
            None => (target.trim(), 1),
        };
        let meter = meter.trim();
        let fits = (1..=MAX_PROVIDER_METER_BYTES).contains(&provider_meter.len()) && !meter.is_empty();
        if !fits || !(1..=MAX_DIVISOR).contains(&divisor) {
            return Err(malformed());
        }
        Ok(Self { meter: meter.to_owned(), provider_meter: provider_meter.to_owned(), divisor })
    }
}

omnistack_core::settings! {
    /// Reports of usage to a payment provider.
    pub(super) struct MeterReportSettings {
        /// The meters whose usage is reported to the payment provider, and its names for them, such as
        /// `pages=acme_pages,ai_tokens=acme_tokens/1000`.
        pub(super) reports: Vec<MeterMapping> = "BILLING_METER_REPORTS";
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mappings_are_parsed() {
        for (text, expected) in [
            ("pages=acme_pages", Some(("pages", "acme_pages", 1))),
            (" tokens = acme/tokens/1000 ", Some(("tokens", "acme/tokens", 1000))),
            ("pages", None),
            ("pages=", None),
            ("=acme", None),
            ("pages=acme/0", None),
            ("pages=acme/x", None),
        ] {
            let parsed = MeterMapping::parse(text).ok();
            let parsed = parsed.as_ref().map(|it| (it.meter.as_str(), it.provider_meter.as_str(), it.divisor));
            assert_eq!(parsed, expected, "{text}");
        }
    }
}
