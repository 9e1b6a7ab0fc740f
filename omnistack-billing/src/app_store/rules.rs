//! The rules by which a state that arrives changes the stored one.

use omnistack_core::{clock::Timestamp, payment::ProviderSubscriptionStatus};

use super::model::{AppStore, PurchaseState, StateOrigin, StoredPurchase};

/// Returns the row after a state of its purchase has arrived. Returns `None` if the state is older, or proves nothing
/// new.
pub(super) fn merge(stored: &StoredPurchase, state: &PurchaseState, now: Timestamp) -> Option<StoredPurchase> {
    // The one that has replaced it is the subscription now.
    if stored.replaced_by.is_some() || state.version < stored.version {
        return None;
    }
    let start = |period: Option<(Timestamp, Timestamp)>| period.map(|(start, _)| start);
    let is_earlier_payment = start(state.period) < start(stored.period);
    if let StateOrigin::Transaction { is_revoked } = state.origin {
        let is_new_payment = start(state.period) > start(stored.period);
        if is_earlier_payment || !(is_new_payment || is_revoked) {
            return None;
        }
    }
    let begins_again = stored.status.is_final() && !state.status.is_final();
    let mut merged = StoredPurchase {
        status: state.status,
        cancel_at: state.cancel_at,
        version: state.version,
        acknowledged: stored.acknowledged || state.acknowledged,
        updated_at: now,
        ..stored.clone()
    };
    if state.purchase_token.is_some() {
        merged.purchase_token.clone_from(&state.purchase_token);
    }
    // A notification of a refund has the transaction that was refunded, which can be of an earlier period.
    if !is_earlier_payment {
        merged.product_id.clone_from(&state.product_id);
        merged.period = match state.key.store {
            AppStore::Apple => state.period,
            AppStore::Google => renewed(stored.period, state.period, begins_again),
        };
    }
    Some(merged)
}

/// Returns the row of a purchase that has ended without a word of the store.
pub(super) fn end(stored: &StoredPurchase, now: Timestamp) -> StoredPurchase {
    StoredPurchase {
        status: ProviderSubscriptionStatus::Canceled,
        cancel_at: None,
        version: stored.version.saturating_add(1),
        updated_at: now,
        ..stored.clone()
    }
}

/// Returns the row of a purchase that another one has replaced, or `None` if it is so already.
pub(super) fn replace(stored: &StoredPurchase, by: &str, now: Timestamp) -> Option<StoredPurchase> {
    let is_replaced = stored.replaced_by.is_some();
    (!is_replaced).then(|| StoredPurchase {
        status: if stored.status.is_final() { stored.status } else { ProviderSubscriptionStatus::Canceled },
        cancel_at: None,
        version: stored.version.saturating_add(1),
        replaced_by: Some(by.to_owned()),
        updated_at: now,
        ..stored.clone()
    })
}

/// Returns the current period of a purchase at Google, which states the start of the first period only.
fn renewed(
    stored: Option<(Timestamp, Timestamp)>,
    state: Option<(Timestamp, Timestamp)>,
    begins_again: bool,
) -> Option<(Timestamp, Timestamp)> {
    let (Some((stored_start, stored_end)), Some((_, end)), false) = (stored, state, begins_again) else {
        return state;
    };
    Some(if end > stored_end { (stored_end, end) } else { (stored_start.min(end), end) })
}

#[cfg(test)]
mod tests;
