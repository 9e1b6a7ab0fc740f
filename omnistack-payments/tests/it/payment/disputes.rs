//! Tests of disputes of payments.

use omnistack_core::{
    data_environment::DataEnvironment,
    money::{Currency, Money},
    payment::{NewRefund, PaymentProvider as _, ProviderDispute, ProviderEvent, ProviderEventObject},
};
use omnistack_payments::{DisputeState, FakeFault, Payment, PaymentState, RefundRequest};
use omnistack_testkit::{TestApp, TestDatabase, on_each_database};
use serde_json::json;

use super::{PAYMENTS, TestTenant, find_disputes, start};

/// The fee of a lost dispute at the fake.
const FEE: i64 = 1_500;

async fn deliver(app: &TestApp) {
    app.run_jobs().await;
    app.run_events().await;
}

/// Opens a dispute of a payment at the fake. Returns its id.
async fn open(tenant: &TestTenant<'_>, payment: &Payment) -> String {
    let id = payment.provider_payment_id.clone().unwrap();
    let dispute = tenant.bank.dispute_payment(&id).await.unwrap();
    deliver(tenant.app).await;
    dispute
}

async fn decide(tenant: &TestTenant<'_>, dispute: &str, won: bool) {
    tenant.bank.decide_dispute(dispute, won).await.unwrap();
    deliver(tenant.app).await;
}

/// Returns the balances of the accounts that a dispute changes.
async fn balances(tenant: &TestTenant<'_>) -> [i64; 3] {
    let balances = tenant.balances().await;
    ["disputes", "fees", "psp_clearing"]
        .map(|account| balances.iter().find(|(name, _)| name == account).map_or(0, |(_, balance)| *balance))
}

on_each_database! {
    async fn a_lost_dispute_is_booked_with_its_fee_and_taken_back_when_it_is_won(database: TestDatabase) {
        let app = start(database).await;
        let tenant = TestTenant::new(&app).await;
        let payment = tenant.pay("a", "tok_ok").await;
        deliver(&app).await;
        let [_, fee, held] = balances(&tenant).await;
        let dispute = open(&tenant, &payment).await;
        let disputed = tenant.get(&payment).await;
        let [shown] = disputed.disputes.as_slice() else { panic!("{disputed:?}") };
        assert_eq!((shown.status, shown.amount, &shown.fee), (DisputeState::Open, 1_000, &None));
        assert_eq!((shown.attempt, shown.provider_dispute_id.as_str()), (1, dispute.as_str()));
        assert_eq!((disputed.charged_back, balances(&tenant).await), (0, [0, fee, held]));

        decide(&tenant, &dispute, false).await;
        let lost = tenant.get(&payment).await;
        assert_eq!((lost.disputes.len(), lost.disputes[0].status), (1, DisputeState::Lost));
        assert_eq!((lost.charged_back, lost.attempts[0].charged_back, lost.refunded), (1_000, 1_000, 0));
        assert_eq!(lost.status, PaymentState::Succeeded);
        assert_eq!(lost.fees.iter().map(|one| one.amount).sum::<i64>(), fee + FEE);
        assert_eq!(balances(&tenant).await, [1_000, fee + FEE, held - 1_000 - FEE]);
        tenant.check_ledger().await;
        // The payer has the money back, and does not get it twice.
        let refused = tenant.ledger.refund(tenant.id, payment.id, RefundRequest::new("r")).await.unwrap_err();
        assert_eq!(refused.code(), "PAYMENT_NOT_REFUNDABLE");
        let costs = tenant.client.get("/api/v1/app/analytics/costs?environment=test").await.expect(200).json();
        assert_eq!(costs["providers"][0]["fees"], fee + FEE);

        decide(&tenant, &dispute, true).await;
        let won = tenant.get(&payment).await;
        assert_eq!((won.disputes[0].status, won.charged_back), (DisputeState::Won, 0));
        assert_eq!(balances(&tenant).await, [0, fee, held]);
        tenant.check_ledger().await;
        let refunded = tenant.ledger.refund(tenant.id, payment.id, RefundRequest::new("r2")).await.unwrap();
        assert_eq!(refunded.refunded, 1_000);
        let shown = tenant.client.get(format!("{PAYMENTS}/{}", payment.id)).await.expect(200).json();
        assert_eq!((&shown["charged_back"], &shown["disputes"][0]["status"]), (&json!(0), &json!("won")));
        let list = tenant.client.get(format!("{PAYMENTS}?environment=test")).await.expect(200).json();
        assert_eq!(list["items"][0]["disputes"], shown["disputes"]);
    }

    async fn a_dispute_of_what_was_not_refunded_is_booked_once(database: TestDatabase) {
        let app = start(database).await;
        let tenant = TestTenant::new(&app).await;
        let payment = tenant.pay("a", "tok_ok").await;
        tenant.ledger.refund(tenant.id, payment.id, RefundRequest::new("r").amount(300)).await.unwrap();
        let dispute = open(&tenant, &payment).await;
        decide(&tenant, &dispute, false).await;
        let provider = tenant.bank.provider(DataEnvironment::Test);
        let ProviderDispute { amount, won, .. } = provider.dispute(&dispute).await.unwrap();
        assert_eq!((amount, won), (Money::new(700, Currency::USD), Some(false)));
        // The event comes again.
        let event = ProviderEvent {
            provider: "fake".to_owned(),
            id: "again".to_owned(),
            kind: "dispute.closed".to_owned(),
            object: ProviderEventObject::Dispute {
                id: dispute.clone(),
                payment: payment.provider_payment_id.clone(),
                won: Some(false),
            },
            reference: None,
            environment: DataEnvironment::Test,
            occurred_at: None,
            account: None,
        };
        app.events().publish(&event).await.unwrap();
        // One of another tenant's account is about nothing here.
        let other = app.user().identity().unwrap().tenant;
        app.events().publish(&ProviderEvent { account: other, ..event }).await.unwrap();
        app.run_events().await;
        let lost = tenant.get(&payment).await;
        assert_eq!((lost.refunded, lost.charged_back, lost.disputes.len()), (300, 700, 1));
        assert_eq!(balances(&tenant).await[0], 700);
        tenant.check_ledger().await;
    }

    async fn a_lost_part_that_the_provider_also_reports_as_a_refund_is_booked_once(database: TestDatabase) {
        let app = start(database).await;
        let tenant = TestTenant::new(&app).await;
        let provider = tenant.bank.provider(DataEnvironment::Test);
        // Refunds in minor units that are made at the provider before the dispute is opened and while it is open, and
        // what is then in the ledger as refunded and as charged back of a dispute of 300.
        for (number, (before, meanwhile, refunded, charged_back)) in
            [(0, 300, 300, 0), (0, 100, 100, 200), (300, 0, 300, 300), (300, 300, 600, 0), (0, 0, 0, 300)]
                .into_iter()
                .enumerate()
        {
            let payment = tenant.pay(&number.to_string(), "tok_ok").await;
            let id = payment.provider_payment_id.clone().unwrap();
            // A refund of the app is none of the provider.
            tenant.ledger.refund(tenant.id, payment.id, RefundRequest::new("own").amount(50)).await.unwrap();
            let refund = async |amount: i64, name: &str| {
                if amount > 0 {
                    let reference = format!("dashboard-{number}-{name}");
                    let amount = Money::new(amount, Currency::USD);
                    let new = NewRefund { idempotency_key: reference.clone(), reference, amount, reason: None };
                    provider.refund_payment(&id, &new).await.unwrap();
                    deliver(&app).await;
                }
            };
            refund(before, "before").await;
            let dispute = tenant.bank.dispute_part_of_payment(&id, 300).await.unwrap();
            deliver(&app).await;
            refund(meanwhile, "meanwhile").await;
            decide(&tenant, &dispute, false).await;
            let lost = tenant.get(&payment).await;
            assert_eq!((lost.refunded, lost.charged_back), (50 + refunded, charged_back), "{before} {meanwhile}");
            tenant.check_ledger().await;
        }
        assert_eq!(balances(&tenant).await[0], 200 + 300 + 300);
    }

    async fn a_dispute_without_a_webhook_is_found(database: TestDatabase) {
        let app = start(database).await;
        let tenant = TestTenant::new(&app).await;
        let payment = tenant.pay("a", "tok_ok").await;
        deliver(&app).await;
        let find = async || {
            find_disputes(&app).await;
            tenant.get(&payment).await
        };
        let id = payment.provider_payment_id.clone().unwrap();
        let dispute = tenant.bank.dispute_payment(&id).await.unwrap();
        let found = find().await;
        assert_eq!((found.disputes.len(), found.disputes[0].status), (1, DisputeState::Open));
        tenant.bank.decide_dispute(&dispute, false).await.unwrap();
        let lost = find().await;
        assert_eq!((lost.disputes[0].status, lost.charged_back), (DisputeState::Lost, 1_000));
        // What is known is not read again.
        assert_eq!(find().await, lost);
        tenant.check_ledger().await;
    }

    async fn a_dispute_whose_event_is_lost_is_asked_for(database: TestDatabase) {
        let app = start(database).await;
        let tenant = TestTenant::new(&app).await;
        let payment = tenant.pay("a", "tok_ok").await;
        let dispute = open(&tenant, &payment).await;
        tenant.bank.decide_dispute(&dispute, false).await.unwrap();
        // The provider is away for a moment.
        tenant.fault("fake", FakeFault::Unavailable);
        let open = tenant.ledger.resolve(tenant.id, payment.id).await.unwrap();
        assert_eq!(open.disputes[0].status, DisputeState::Open);
        let lost = tenant.ledger.resolve(tenant.id, payment.id).await.unwrap();
        assert_eq!((lost.disputes[0].status, lost.charged_back), (DisputeState::Lost, 1_000));
        deliver(&app).await;
        tenant.check_ledger().await;
    }
}
