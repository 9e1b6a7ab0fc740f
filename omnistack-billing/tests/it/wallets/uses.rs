//! Tests of uses of credits and of their return.

use std::time::Duration;

use futures_util::future::join_all;
use omnistack_billing::{Credits, UseCredits, WalletEntryKind};
use omnistack_core::usage::DataEnvironment;
use omnistack_testkit::{TestDatabase, on_each_database};

use super::{LIVE, STATEMENT, TestWallet, credits, handle, start};

on_each_database! {
    async fn a_use_whose_parts_cant_be_read_is_an_error_and_never_one_without_grants(database: TestDatabase) {
        let app = start(database).await;
        let wallet = TestWallet::new(&app);
        wallet.grant(wallet.new_grant("a", 10)).await.unwrap();
        let used = wallet.spend("use", 3).await.unwrap();
        let mut tx = wallet.begin().await;
        let sql = "update omni_wallet_entries set parts = '[{}]' where tenant_id = $1 and kind = 'used'";
        tx.query(sql).bind(wallet.tenant).execute().await.unwrap();
        tx.commit().await.unwrap();
        let expected = format!("`parts` of the row {} of `omni_wallet_entries` can't be read", used.entry);
        let refused = wallet.client.get(STATEMENT).await.expect_error(500, "INTERNAL_ERROR");
        assert!(refused.causes().iter().any(|cause| cause.contains(&expected)), "{:?}", refused.causes());
        // Nothing is returned to no grant.
        assert_eq!(wallet.give_back("use", 3).await.unwrap_err().code(), "INTERNAL_ERROR");
        assert_eq!(wallet.balance().await, credits(7));
    }

    async fn fifty_uses_at_once_never_overdraw_a_wallet(database: TestDatabase) {
        let app = start(database).await;
        let wallet = TestWallet::new(&app);
        wallet.grant(wallet.new_grant("a", 40)).await.unwrap();
        wallet.grant(wallet.new_grant("b", 60)).await.unwrap();
        let tasks = (0..50).map(|number| {
            let (db, wallets, tenant) = (app.db().clone(), handle(&app), wallet.tenant);
            tokio::spawn(async move {
                let mut tx = db.app_database().tenant(tenant).begin().await.unwrap();
                let request = UseCredits::new(tenant, format!("use/{number}"), credits(3));
                let used = wallets.use_in(&mut tx, request).await;
                match used {
                    Ok(used) => tx.commit().await.map(|()| Some(used)).unwrap(),
                    Err(error) => {
                        assert_eq!(error.code(), "CREDITS_EXHAUSTED", "{error}");
                        tx.rollback().await.unwrap();
                        None
                    }
                }
            })
        });
        let results: Vec<_> = join_all(tasks).await.into_iter().map(Result::unwrap).collect();
        let mut balances: Vec<_> = results.iter().flatten().map(|used| used.balance.millionths() / 1_000_000).collect();
        balances.sort_unstable();
        assert_eq!(balances, (0..33).map(|number| 1 + number * 3).collect::<Vec<_>>());
        assert_eq!(wallet.balance().await, credits(1));
        wallet.check().await;
    }

    async fn one_use_that_is_sent_fifty_times_at_once_counts_once(database: TestDatabase) {
        let app = start(database).await;
        let wallet = TestWallet::new(&app);
        wallet.grant(wallet.new_grant("a", 10)).await.unwrap();
        let tasks = (0..50).map(|_| {
            let (db, wallets, tenant) = (app.db().clone(), handle(&app), wallet.tenant);
            tokio::spawn(async move {
                let mut tx = db.app_database().tenant(tenant).begin().await.unwrap();
                let used = wallets.use_in(&mut tx, UseCredits::new(tenant, "use", credits(3))).await.unwrap();
                tx.commit().await.unwrap();
                used
            })
        });
        let results: Vec<_> = join_all(tasks).await.into_iter().map(Result::unwrap).collect();
        assert!(results.iter().all(|used| *used == results[0]));
        assert_eq!((results[0].balance, wallet.balance().await), (credits(7), credits(7)));
        wallet.check().await;
    }

    async fn a_use_commits_and_rolls_back_with_the_caller(database: TestDatabase) {
        let app = start(database).await;
        let wallet = TestWallet::new(&app);
        wallet.grant(wallet.new_grant("a", 10)).await.unwrap();
        let mut tx = wallet.begin().await;
        wallet.wallets.use_in(&mut tx, UseCredits::new(wallet.tenant, "use", credits(4))).await.unwrap();
        tx.rollback().await.unwrap();
        assert_eq!(wallet.balance().await, credits(10));

        // Several uses in one transaction, of which one is refused.
        let mut tx = wallet.begin().await;
        for (key, amount, balance) in [("use/1", 4, Some(6)), ("use/2", 7, None), ("use/3", 6, Some(0))] {
            let used = wallet.wallets.use_in(&mut tx, UseCredits::new(wallet.tenant, key, credits(amount))).await;
            assert_eq!(used.ok().map(|used| used.balance), balance.map(credits), "{key}");
        }
        tx.commit().await.unwrap();
        assert_eq!(wallet.balance().await, Credits::ZERO);
        wallet.check().await;
    }

    async fn a_use_with_a_known_key_returns_the_first_result(database: TestDatabase) {
        let app = start(database).await;
        let wallet = TestWallet::new(&app);
        let error = wallet.spend("use/1", 1).await.unwrap_err();
        assert_eq!((error.status().as_u16(), error.code()), (402, "CREDITS_EXHAUSTED"));
        wallet.grant(wallet.new_grant("a", 10)).await.unwrap();
        let first = wallet.spend("use/1", 4).await.unwrap();
        wallet.spend("use/2", 6).await.unwrap();
        assert_eq!(wallet.spend("use/1", 4).await.unwrap(), first);
        assert_eq!(first.balance, credits(6));
        let error = wallet.spend("use/1", 5).await.unwrap_err();
        assert_eq!((error.status().as_u16(), error.code()), (409, "CREDIT_USE_CONFLICT"));
        let error = wallet.spend("use/3", 0).await.unwrap_err();
        assert_eq!((error.status().as_u16(), error.code()), (422, "VALIDATION_FAILED"));

        let mut tx = wallet.begin().await;
        let test = UseCredits::new(wallet.tenant, "use/1", credits(4)).environment(DataEnvironment::Test);
        assert_eq!(wallet.wallets.use_in(&mut tx, test).await.unwrap_err().code(), "CREDITS_EXHAUSTED");
        tx.rollback().await.unwrap();
        wallet.check().await;
    }

    async fn credits_of_a_use_are_returned_once(database: TestDatabase) {
        let app = start(database).await;
        let wallet = TestWallet::new(&app);
        wallet.grant(wallet.new_grant("a", 5)).await.unwrap();
        wallet.grant(wallet.new_grant("b", 10)).await.unwrap();
        wallet.spend("use", 9).await.unwrap();
        for (key, amount, status, code) in [
            ("other", 1, 404, "NOT_FOUND"),
            ("use", 10, 409, "CREDIT_RETURN_TOO_LARGE"),
            ("use", 0, 422, "VALIDATION_FAILED"),
        ] {
            let error = wallet.give_back(key, amount).await.unwrap_err();
            assert_eq!((error.status().as_u16(), error.code()), (status, code), "{key} {amount}");
        }
        let first = wallet.give_back("use", 6).await.unwrap();
        assert_eq!((first.returned, first.lost, first.balance), (credits(6), Credits::ZERO, credits(12)));
        // The last grant first.
        assert_eq!(wallet.remaining().await, [("a".to_owned(), credits(2)), ("b".to_owned(), credits(10))]);
        assert_eq!(wallet.give_back("use", 6).await.unwrap(), first);
        let error = wallet.give_back("use", 9).await.unwrap_err();
        assert_eq!((error.status().as_u16(), error.code()), (409, "CREDIT_RETURN_CONFLICT"));
        assert_eq!(wallet.lines().await.last().unwrap(), &(WalletEntryKind::Returned, 6, "use".to_owned()));
        wallet.check().await;
    }

    async fn what_is_returned_to_an_expired_grant_is_lost(database: TestDatabase) {
        let app = start(database).await;
        let wallet = TestWallet::new(&app);
        let end = app.clock().clock().now() + Duration::from_secs(3600);
        wallet.grant(wallet.new_grant("month", 5).expires_at(end)).await.unwrap();
        wallet.grant(wallet.new_grant("paid", 10)).await.unwrap();
        for key in ["use/1", "use/2", "use/3"] {
            wallet.spend(key, 4).await.unwrap();
        }
        app.clock().advance(Duration::from_secs(3600));
        for (key, returned, lost) in [("use/1", 0, 4), ("use/2", 3, 1), ("use/3", 4, 0)] {
            for _ in 0..2 {
                let result = wallet.give_back(key, 4).await.unwrap();
                assert_eq!((result.returned, result.lost), (credits(returned), credits(lost)), "{key}");
            }
        }
        assert_eq!(wallet.balance().await, credits(10));
        assert_eq!(wallet.give_back("use/2", 3).await.unwrap_err().code(), "CREDIT_RETURN_CONFLICT");
        wallet.check().await;
    }

    async fn wallets_are_in_the_database_of_the_app(database: TestDatabase) {
        let app = start(database.with_tenant_databases()).await;
        let wallet = TestWallet::new(&app);
        wallet.grant(wallet.new_grant("a", 10)).await.unwrap();
        let mut tx = app.db().tenant(wallet.tenant).begin().await.unwrap();
        let request = UseCredits::new(wallet.tenant, "use", credits(3));
        assert_eq!(wallet.wallets.use_in(&mut tx, request).await.unwrap_err().code(), "INTERNAL_ERROR");
        assert!(wallet.wallets.grant_in(&mut tx, wallet.new_grant("b", 1)).await.is_err());
        assert!(wallet.wallets.return_in(&mut tx, wallet.tenant, LIVE, "use", credits(1)).await.is_err());
        assert!(wallet.wallets.adjust_grant_in(&mut tx, wallet.tenant, LIVE, "a", credits(1)).await.is_err());
        tx.rollback().await.unwrap();
        assert_eq!(wallet.spend("use", 3).await.unwrap().balance, credits(7));
        wallet.check().await;
    }
}
