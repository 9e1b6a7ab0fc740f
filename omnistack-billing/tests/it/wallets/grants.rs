//! Tests of grants: keys, order, expiry and adjustments.

use std::time::Duration;

use futures_util::future::join_all;
use omnistack_billing::{Credits, NewGrant, WalletEntryKind};
use omnistack_core::usage::DataEnvironment;
use omnistack_testkit::{TestDatabase, on_each_database};

use super::{LIVE, TestWallet, credits, handle, start};

const HOUR: Duration = Duration::from_secs(3600);

on_each_database! {
    async fn a_grant_with_a_known_key_adds_nothing(database: TestDatabase) {
        let app = start(database).await;
        let wallet = TestWallet::new(&app);
        let first = wallet.grant(wallet.new_grant("payment/1", 100)).await.unwrap();
        let second = wallet.grant(wallet.new_grant("payment/1", 100).priority(7)).await.unwrap();
        assert!(first.granted && !second.granted);
        assert_eq!(first.id, second.id);
        assert_eq!(wallet.balance().await, credits(100));
        let error = wallet.grant(wallet.new_grant("payment/1", 50)).await.unwrap_err();
        assert_eq!((error.status().as_u16(), error.code()), (409, "GRANT_CONFLICT"));

        // The amount that was granted counts, and not what it was adjusted to.
        wallet.adjust("payment/1", 60).await.unwrap();
        assert!(!wallet.grant(wallet.new_grant("payment/1", 100)).await.unwrap().granted);
        assert_eq!(wallet.balance().await, credits(60));

        // The environments and the tenants have keys of their own.
        let test = wallet.new_grant("payment/1", 5).environment(DataEnvironment::Test);
        assert!(wallet.grant(test).await.unwrap().granted);
        let other = TestWallet::new(&app);
        assert!(other.grant(other.new_grant("payment/1", 9)).await.unwrap().granted);
        assert_eq!(wallet.balance().await, credits(60));
        let test = wallet.wallets.balance(wallet.tenant, DataEnvironment::Test).await.unwrap();
        assert_eq!(test.balance, credits(5));
    }

    /// Five deliveries of one webhook within milliseconds.
    async fn a_payment_that_is_reported_five_times_at_once_is_granted_once(database: TestDatabase) {
        let app = start(database).await;
        let wallet = TestWallet::new(&app);
        let tasks = (0..5).map(|_| {
            let (db, wallets, tenant) = (app.db().clone(), handle(&app), wallet.tenant);
            tokio::spawn(async move {
                let mut tx = db.app_database().tenant(tenant).begin().await.unwrap();
                let grant = NewGrant::new(tenant, "payment/1", credits(100));
                let outcome = wallets.grant_in(&mut tx, grant).await.unwrap();
                tx.commit().await.unwrap();
                outcome
            })
        });
        let outcomes: Vec<_> = join_all(tasks).await.into_iter().map(Result::unwrap).collect();
        assert_eq!(outcomes.iter().filter(|outcome| outcome.granted).count(), 1);
        assert!(outcomes.iter().all(|outcome| outcome.id == outcomes[0].id));
        assert_eq!(wallet.balance().await, credits(100));
        assert_eq!(wallet.lines().await, [(WalletEntryKind::Granted, 100, "payment/1".to_owned())]);
        wallet.check().await;
    }

    async fn grants_that_can_not_be_made_are_refused(database: TestDatabase) {
        let app = start(database).await;
        let wallet = TestWallet::new(&app);
        let now = app.clock().clock().now();
        let long = "x".repeat(501);
        let amount = |millionths| NewGrant::new(wallet.tenant, "key", Credits::from_millionths(millionths));
        for (grant, status, code) in [
            (amount(0), 422, "VALIDATION_FAILED"),
            (amount(-1), 422, "VALIDATION_FAILED"),
            (amount(1_000_000_000_000_001), 422, "VALIDATION_FAILED"),
            (wallet.new_grant("", 1), 422, "VALIDATION_FAILED"),
            (wallet.new_grant(&long[..201], 1), 422, "VALIDATION_FAILED"),
            (wallet.new_grant("key", 1).description(&long), 422, "VALIDATION_FAILED"),
            (wallet.new_grant("key", 1).expires_at(now), 422, "VALIDATION_FAILED"),
        ] {
            let error = wallet.grant(grant.clone()).await.unwrap_err();
            assert_eq!((error.status().as_u16(), error.code()), (status, code), "{grant:?}");
        }
        wallet.grant(amount(1_000_000_000_000_000)).await.unwrap();
        let error = wallet.grant(wallet.new_grant("more", 1)).await.unwrap_err();
        assert_eq!((error.status().as_u16(), error.code()), (409, "WALLET_FULL"));
        wallet.adjust("key", 999_999_999).await.unwrap();
        wallet.grant(wallet.new_grant("more", 1)).await.unwrap();
        let error = wallet.adjust("more", 2).await.unwrap_err();
        assert_eq!((error.status().as_u16(), error.code()), (409, "WALLET_FULL"));
        wallet.check().await;
    }

    async fn grants_are_used_by_priority_then_expiry_then_age(database: TestDatabase) {
        let app = start(database).await;
        let wallet = TestWallet::new(&app);
        let now = app.clock().clock().now();
        for (key, priority, hours) in [
            ("paid", 10, None),
            ("older", 0, None),
            ("year", 0, Some(100)),
            ("newer", 0, None),
            ("month", 0, Some(10)),
            ("month_2", 0, Some(10)),
            ("gift", -1, None),
        ] {
            let expires_at = hours.map(|hours| now + HOUR * hours);
            wallet.grant(wallet.new_grant(key, 10).priority(priority).expires_at(expires_at)).await.unwrap();
        }
        let order: Vec<_> = wallet.remaining().await.into_iter().map(|(key, _)| key).collect();
        assert_eq!(order, ["gift", "month", "month_2", "year", "older", "newer", "paid"]);
        for (amount, next, left, count) in [(7, "gift", 3, 7), (15, "month_2", 8, 5), (40, "paid", 8, 1)] {
            wallet.spend(&format!("use/{next}"), amount).await.unwrap();
            let remaining = wallet.remaining().await;
            assert_eq!((&remaining[0], remaining.len()), (&(next.to_owned(), credits(left)), count));
        }
        let entries = wallet.statement().await;
        let last = entries.last().unwrap();
        assert_eq!((last.parts.len(), last.amount), (5, -credits(40)));
        wallet.check().await;
    }

    async fn a_use_takes_any_number_of_grants(database: TestDatabase) {
        let app = start(database).await;
        let wallet = TestWallet::new(&app);
        for number in 0..120 {
            wallet.grant(wallet.new_grant(&format!("grant/{number}"), 1)).await.unwrap();
        }
        assert_eq!(wallet.remaining().await.len(), 100, "a balance lists the next 100 grants");
        assert_eq!(wallet.spend("use", 119).await.unwrap().balance, credits(1));
        assert_eq!(wallet.remaining().await, [("grant/119".to_owned(), credits(1))]);
        wallet.check().await;
    }

    async fn what_has_expired_is_not_used_even_before_the_job_runs(database: TestDatabase) {
        let app = start(database).await;
        let wallet = TestWallet::new(&app);
        let now = app.clock().clock().now();
        wallet.grant(wallet.new_grant("month", 50).expires_at(now + HOUR)).await.unwrap();
        wallet.grant(wallet.new_grant("paid", 30)).await.unwrap();
        wallet.spend("use/1", 10).await.unwrap();
        app.clock().advance(Duration::from_micros(3_599_999_999));
        assert_eq!(wallet.balance().await, credits(70));
        app.clock().advance(Duration::from_micros(1));
        assert_eq!(wallet.balance().await, credits(30));
        let error = wallet.spend("use/2", 31).await.unwrap_err();
        assert_eq!((error.status().as_u16(), error.code()), (402, "CREDITS_EXHAUSTED"));
        assert_eq!(wallet.spend("use/3", 20).await.unwrap().balance, credits(10));
        let lines = [
            (WalletEntryKind::Granted, 50, "month".to_owned()),
            (WalletEntryKind::Granted, 30, "paid".to_owned()),
            (WalletEntryKind::Used, -10, "use/1".to_owned()),
            (WalletEntryKind::Expired, -40, "month".to_owned()),
            (WalletEntryKind::Used, -20, "use/3".to_owned()),
        ];
        assert_eq!(wallet.lines().await, lines);
        wallet.expire().await;
        assert_eq!(wallet.lines().await, lines);
        // A repeated webhook of a payment whose credits have expired.
        let again = wallet.grant(wallet.new_grant("month", 50).expires_at(now + HOUR)).await.unwrap();
        assert!(!again.granted);
        wallet.check().await;
    }

    async fn the_job_expires_grants_of_all_tenants(database: TestDatabase) {
        let app = start(database).await;
        let now = app.clock().clock().now();
        let wallets = [(); 3].map(|()| TestWallet::new(&app));
        for (wallet, hours) in wallets.iter().zip([1, 2, 3]) {
            wallet.grant(wallet.new_grant("month", 5).expires_at(now + HOUR * hours)).await.unwrap();
            let test = wallet.new_grant("test", 6).environment(DataEnvironment::Test).expires_at(now + HOUR);
            wallet.grant(test).await.unwrap();
        }
        app.clock().advance(HOUR * 2);
        for _ in 0..2 {
            wallets[0].expire().await;
            for (wallet, expired) in wallets.iter().zip([true, true, false]) {
                let kinds: Vec<_> = wallet.lines().await.into_iter().map(|(kind, ..)| kind).collect();
                let count = kinds.iter().filter(|kind| **kind == WalletEntryKind::Expired).count();
                assert_eq!(count, usize::from(expired));
                let test = wallet.wallets.statement(wallet.tenant, DataEnvironment::Test, None, 10).await.unwrap();
                assert_eq!((test.items.len(), test.items[0].balance), (2, Credits::ZERO));
            }
        }
    }

    /// `amount_refunded` of a payment is cumulative: 250, 500 and 1000 of 1000 paid.
    async fn partial_refunds_do_not_compound(database: TestDatabase) {
        let app = start(database).await;
        let wallet = TestWallet::new(&app);
        wallet.grant(wallet.new_grant("payment/1", 1000)).await.unwrap();
        wallet.spend("use", 100).await.unwrap();
        for (refunded, amount, balance) in [(250, 750, 650), (500, 500, 400), (1000, 100, 0), (1000, 100, 0)] {
            for _ in 0..2 {
                assert_eq!(wallet.adjust("payment/1", 1000 - refunded).await.unwrap(), credits(amount), "{refunded}");
                assert_eq!(wallet.balance().await, credits(balance), "{refunded}");
            }
        }
        let adjusted: Vec<_> =
            wallet.lines().await.into_iter().filter(|(kind, ..)| *kind == WalletEntryKind::Adjusted).collect();
        let line = |amount| (WalletEntryKind::Adjusted, amount, "payment/1".to_owned());
        assert_eq!(adjusted, [line(-250), line(-250), line(-400)]);
        wallet.check().await;
        let error = wallet.adjust("payment/2", 1).await.unwrap_err();
        assert_eq!((error.status().as_u16(), error.code()), (404, "NOT_FOUND"));
    }

    async fn what_is_returned_to_a_refunded_grant_is_lost(database: TestDatabase) {
        let app = start(database).await;
        let wallet = TestWallet::new(&app);
        // All is used, and then refunded.
        wallet.grant(wallet.new_grant("payment/1", 100)).await.unwrap();
        wallet.spend("use/1", 100).await.unwrap();
        assert_eq!(wallet.adjust("payment/1", 0).await.unwrap(), credits(100));
        for _ in 0..2 {
            let returned = wallet.give_back("use/1", 60).await.unwrap();
            assert_eq!((returned.returned, returned.lost), (Credits::ZERO, credits(60)));
        }
        // A refund of what is not used leaves the grant open; one of more than that does not.
        wallet.grant(wallet.new_grant("payment/2", 100)).await.unwrap();
        for key in ["use/2", "use/3"] {
            wallet.spend(key, 30).await.unwrap();
        }
        assert_eq!(wallet.adjust("payment/2", 70).await.unwrap(), credits(70));
        assert_eq!(wallet.give_back("use/2", 10).await.unwrap().returned, credits(10));
        assert_eq!(wallet.balance().await, credits(20));
        assert_eq!(wallet.adjust("payment/2", 40).await.unwrap(), credits(50));
        assert_eq!(wallet.give_back("use/3", 30).await.unwrap().lost, credits(30));
        assert_eq!((wallet.balance().await, wallet.remaining().await), (Credits::ZERO, Vec::new()));
        assert_eq!(wallet.adjust("payment/2", 40).await.unwrap(), credits(50));
        assert_eq!(wallet.adjust("payment/2", 60).await.unwrap_err().code(), "GRANT_EXPIRED");
        wallet.check().await;
    }

    async fn a_grant_that_has_expired_can_not_grow(database: TestDatabase) {
        let app = start(database).await;
        let wallet = TestWallet::new(&app);
        let now = app.clock().clock().now();
        wallet.grant(wallet.new_grant("month", 50).expires_at(now + HOUR)).await.unwrap();
        wallet.spend("use", 20).await.unwrap();
        app.clock().advance(HOUR);
        let error = wallet.adjust("month", 60).await.unwrap_err();
        assert_eq!((error.status().as_u16(), error.code()), (409, "GRANT_EXPIRED"));
        // Nothing is left to be taken back.
        assert_eq!(wallet.adjust("month", 10).await.unwrap(), credits(50));
        assert_eq!(wallet.wallets.balance(wallet.tenant, LIVE).await.unwrap().balance, Credits::ZERO);
        wallet.check().await;
    }
}
