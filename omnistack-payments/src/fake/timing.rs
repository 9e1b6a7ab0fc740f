//! The durations after which objects of the fake change by themselves.

use std::time::Duration;

const DAY_SECONDS: u64 = 24 * 60 * 60;

/// The time for the first payment of a subscription, and for the payment of a change.
pub(super) const INCOMPLETE_LIFETIME: Duration = Duration::from_secs(23 * 60 * 60);

/// The time before the end of a trial at which it is announced.
pub(super) const TRIAL_NOTICE: Duration = Duration::from_secs(3 * DAY_SECONDS);

/// The time for which a slow payment is processed.
pub(super) const PROCESSING_DURATION: Duration = Duration::from_secs(5 * 60);

/// The time after which an authorised payment is canceled.
pub(super) const AUTHORIZATION_LIFETIME: Duration = Duration::from_secs(7 * DAY_SECONDS);

/// The time for the payer to act. The payment fails then.
pub(super) const ACTION_LIFETIME: Duration = Duration::from_secs(23 * 60 * 60);

/// The time between a payment and its dispute.
pub(super) const DISPUTE_DELAY: Duration = Duration::from_secs(60 * 60);

/// The delays between the attempts to collect an invoice. After the last one the subscription is canceled.
pub(super) const RETRY_DELAYS: [Duration; 3] =
    [Duration::from_secs(3 * DAY_SECONDS), Duration::from_secs(5 * DAY_SECONDS), Duration::from_secs(7 * DAY_SECONDS)];
