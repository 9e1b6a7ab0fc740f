//! Tests of wallets behind core's port for credits.

use omnistack_core::credits::{CreditAccounts, CreditCharge};
use omnistack_testkit::{TestDatabase, on_each_database};

use super::*;

on_each_database! {
    async fn other_modules_charge_and_return_credits_of_wallets(database: TestDatabase) {
        let app = start(database).await;
        let wallet = TestWallet::new(&app);
        let accounts: CreditAccounts = app.app().context().get().unwrap();
        wallet.grant(wallet.new_grant("paid", 2)).await.unwrap();
        let charge = |millionths| CreditCharge::new(wallet.tenant, "ai/1", millionths).description("fake-small");

        let mut tx = wallet.begin().await;
        accounts.charge_in(&mut tx, charge(1_500_000)).await.unwrap();
        tx.commit().await.unwrap();
        // A second charge with the key changes nothing.
        let mut tx = wallet.begin().await;
        accounts.charge_in(&mut tx, charge(1_500_000)).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(wallet.balance().await, Credits::from_millionths(500_000));

        let mut tx = wallet.begin().await;
        let other = CreditCharge::new(wallet.tenant, "ai/2", 500_001);
        let error = accounts.charge_in(&mut tx, other).await.unwrap_err();
        assert_eq!((error.status().as_u16(), error.code()), (402, "CREDITS_EXHAUSTED"));
        tx.rollback().await.unwrap();

        for _ in 0..2 {
            let mut tx = wallet.begin().await;
            accounts.return_in(&mut tx, charge(1_499_999)).await.unwrap();
            tx.commit().await.unwrap();
        }
        assert_eq!(wallet.balance().await, Credits::from_millionths(1_999_999));
    }
}
