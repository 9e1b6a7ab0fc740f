use omnistack_core::{
    clock::Timestamp,
    identity::TenantId,
    payment::ProviderSubscriptionStatus::{self, Active, Canceled, Incomplete, PastDue, Unpaid},
    usage::DataEnvironment,
};
use uuid::Uuid;

use super::{
    super::model::{AppStore, PurchaseKey, PurchaseState, StateOrigin, StoredPurchase},
    merge, replace,
};

const WHOLE: StateOrigin = StateOrigin::Subscription;
const PAYMENT: StateOrigin = StateOrigin::Transaction { is_revoked: false };
const REFUND: StateOrigin = StateOrigin::Transaction { is_revoked: true };

fn day(number: i64) -> Timestamp {
    Timestamp::from_micros(number * 86_400_000_000)
}

fn state(
    store: AppStore,
    origin: StateOrigin,
    status: ProviderSubscriptionStatus,
    days: (i64, i64),
    version: i64,
) -> PurchaseState {
    PurchaseState {
        key: PurchaseKey { store, environment: DataEnvironment::Live, id: "1".to_owned() },
        origin,
        product_id: format!("product-{}", days.0),
        status,
        period: Some((day(days.0), day(days.1))),
        cancel_at: None,
        version,
        purchase_token: None,
        acknowledged: true,
    }
}

fn stored(store: AppStore, status: ProviderSubscriptionStatus) -> StoredPurchase {
    let tenant = TenantId::from_uuid(Uuid::nil());
    StoredPurchase::new(tenant, state(store, WHOLE, status, (30, 60), 100), None, day(30))
}

#[test]
fn a_state_changes_what_it_proves() {
    // The stored state is of days 30 to 60, with version 100.
    for (name, before, (origin, status, days, version), expected) in [
        ("a renewal", Active, (WHOLE, Active, (60, 90), 101), Some((Active, 60))),
        ("the same again", Active, (WHOLE, Active, (30, 60), 100), Some((Active, 30))),
        ("an older state", Active, (WHOLE, Canceled, (30, 60), 99), None),
        ("a grace period", Active, (WHOLE, PastDue, (30, 60), 101), Some((PastDue, 30))),
        ("the refund of an earlier period", Active, (WHOLE, Active, (0, 30), 101), Some((Active, 30))),
        ("the end", Unpaid, (WHOLE, Canceled, (30, 60), 101), Some((Canceled, 30))),
        ("it begins again", Canceled, (WHOLE, Active, (70, 100), 101), Some((Active, 70))),
        ("a payment", Unpaid, (PAYMENT, Active, (60, 90), 101), Some((Active, 60))),
        ("the known payment, in the grace period", PastDue, (PAYMENT, Canceled, (30, 60), 101), None),
        ("an earlier payment", Active, (PAYMENT, Canceled, (0, 30), 101), None),
        ("the refund of the payment", Active, (REFUND, Canceled, (30, 60), 101), Some((Canceled, 30))),
        ("the refund of an earlier payment", Active, (REFUND, Canceled, (0, 30), 101), None),
    ] {
        let arrived = state(AppStore::Apple, origin, status, days, version);
        let merged = merge(&stored(AppStore::Apple, before), &arrived, day(65));
        let seen = merged.as_ref().map(|row| (row.status, row.period.unwrap().0));
        assert_eq!(seen, expected.map(|(status, start)| (status, day(start))), "{name}");
        if let Some(row) = merged {
            assert_eq!(row.product_id, format!("product-{}", row.period.unwrap().0.as_seconds() / 86_400), "{name}");
        }
    }
}

#[test]
fn an_upgrade_is_of_the_same_subscription() {
    let former = stored(AppStore::Google, Active);
    let mut upgrade = state(AppStore::Google, WHOLE, Active, (40, 70), 101);
    upgrade.key.id = "2".to_owned();
    let upgrade = StoredPurchase::new(former.tenant, upgrade, Some(&former), day(40));
    assert_eq!(upgrade.subscription_state().unwrap().external_id, "1");
    let replaced = replace(&former, "2", day(40)).unwrap();
    assert_eq!(replaced.subscription_state(), None, "the end of the former purchase is not that of the subscription");
    let unpaid = stored(AppStore::Google, Incomplete);
    assert_eq!(unpaid.subscription_state(), None);
}

#[test]
fn google_states_the_first_start_only() {
    let before = stored(AppStore::Google, Active);
    for (end, expected) in [(60, (30, 60)), (90, (60, 90)), (45, (30, 45))] {
        let arrived = state(AppStore::Google, WHOLE, Active, (30, end), 101);
        let merged = merge(&before, &arrived, day(65)).unwrap();
        assert_eq!(merged.period, Some((day(expected.0), day(expected.1))), "{end}");
    }
}

#[test]
fn a_purchase_that_was_replaced_stays_so() {
    let replaced = replace(&stored(AppStore::Google, Active), "2", day(40)).unwrap();
    assert_eq!((replaced.status, replaced.version), (Canceled, 101));
    assert_eq!(replace(&replaced, "3", day(41)), None);
    assert_eq!(merge(&replaced, &state(AppStore::Google, WHOLE, Active, (30, 90), 200), day(41)), None);
}
