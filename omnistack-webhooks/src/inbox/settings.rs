//! The settings of the inbox.

use std::time::Duration;

use bytesize::ByteSize;
use omnistack_core::{config::SettingValue, http::RateSetting};

omnistack_core::settings! {
    /// Webhook inbox.
    pub(crate) struct InboxSettings {
        /// The largest body of a webhook.
        pub(crate) body_limit: ByteSize = "WEBHOOKS_BODY_LIMIT", default "5MiB", range "1KiB"..="100MiB";
        /// The number of requests to a source whose verification fails that an IP address, or an IPv6 /64 network, may
        /// send. Further ones get 429 in place of 400. Requests that are verified are not limited.
        pub(crate) failure_limit: RateSetting = "WEBHOOKS_FAILURE_LIMIT", default "60/minute";
        /// The number of requests for a tenant's account that may fail to verify, where each costs a call to the provider
        /// with the tenant's credentials, as at PayPal. Further ones get 429 without a call.
        pub(crate) account_failure_limit: RateSetting = "WEBHOOKS_ACCOUNT_FAILURE_LIMIT", default "120/minute";
        /// The time for which webhooks are kept after they were received. Those with the status `received` are kept
        /// until they are processed.
        pub(crate) retention: Duration = "WEBHOOKS_RETENTION", default "30d", range "1d"..="3650d";
        /// Other times for single sources, such as `stripe:90d,github:7d`.
        pub(crate) retention_sources: Vec<SourceRetention> = "WEBHOOKS_RETENTION_SOURCES";
    }
}

/// Shortest and longest time for which the webhooks of a source are kept: one day and 3,650 days.
const RETENTION_RANGE: (Duration, Duration) =
    (Duration::from_secs(24 * 60 * 60), Duration::from_secs(3650 * 24 * 60 * 60));

/// The time for which the webhooks of a source are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SourceRetention {
    pub(crate) source: String,
    pub(crate) keep: Duration,
}

impl SettingValue for SourceRetention {
    const EXPECTED: &'static str = "sources with durations, e.g. stripe:90d,github:7d";

    fn parse(text: &str) -> Result<Self, String> {
        let (source, keep) = text
            .split_once(':')
            .filter(|(source, _)| !source.trim().is_empty())
            .ok_or_else(|| format!("`{text}` is not a source with a duration: write it as stripe:90d"))?;
        let keep = Duration::parse(keep.trim())?;
        let (least, most) = RETENTION_RANGE;
        if keep < least || keep > most {
            return Err(format!("`{text}` is not between 1d and 3650d"));
        }
        Ok(Self { source: source.trim().to_owned(), keep })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use omnistack_core::config::SettingValue as _;

    use super::SourceRetention;

    #[test]
    fn a_source_has_its_retention() {
        let week = SourceRetention { source: "github".to_owned(), keep: Duration::from_secs(7 * 86_400) };
        assert_eq!(SourceRetention::parse("github:7d"), Ok(week.clone()));
        assert_eq!(SourceRetention::parse(" github : 168h "), Ok(week));
        for wrong in ["github", ":7d", "github:", "github:soon", "github:1h", "github:4000d"] {
            assert!(SourceRetention::parse(wrong).is_err(), "{wrong}");
        }
    }
}
