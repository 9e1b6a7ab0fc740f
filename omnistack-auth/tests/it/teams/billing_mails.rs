//! Tests of the mails to owners about the subscription of their team.

use std::time::Duration;

use omnistack_auth::Auth;
use omnistack_core::{
    billing_notice::{BillingNotice, BillingNoticeKind},
    money::Money,
    payment::PaymentProviders,
    usage::DataEnvironment,
};
use omnistack_testkit::{TestDatabase, on_each_database};

use super::Team;
use crate::support::start_app;

on_each_database! {
    async fn owners_get_a_mail_of_each_notice_about_the_subscription(database: TestDatabase) {
        let payments = PaymentProviders::default();
        let (app, outbox) = start_app(database, |app| app.with(Auth::built_in()).replace(payments)).await;
        let team = Team::in_app(app, outbox).await;
        let soon = team.app.clock().clock().now() + Duration::from_secs(7 * 86_400);
        let date = soon.to_readable();
        let receipt = BillingNoticeKind::Receipt {
            amount: Money::parse("29.00", "USD").unwrap(),
            number: Some("RE-7".to_owned()),
            url: Some("https://pay.example/7".to_owned()),
        };
        let page = "http://127.0.0.1:8080";
        for (kind, subject, parts) in [
            (BillingNoticeKind::TrialEnding { at: soon }, "Your trial of Pro ends soon", [date.as_str(), page]),
            (BillingNoticeKind::PaymentFailed { grace_until: soon }, "A payment for Pro has failed", [date.as_str(), page]),
            (
                BillingNoticeKind::CardExpiring { month: 3, year: 2030 },
                "Your card for Pro expires soon",
                ["03/2030", page],
            ),
            (receipt, "Receipt for Pro", ["29.00 USD", "https://pay.example/7"]),
            (BillingNoticeKind::PlanChanged, "Your plan is Pro", ["Pro", page]),
            (BillingNoticeKind::SubscriptionEnded, "Your subscription of Pro has ended", ["Pro", page]),
        ] {
            let notice = BillingNotice::new(team.id, DataEnvironment::Live, "Pro", kind);
            team.app.events().publish(&notice).await.unwrap();
            team.app.run_events().await;
            team.app.run_jobs().await;
            let sent = team.outbox.take();
            let [mail] = sent.as_slice() else { panic!("{subject}: {sent:?}") };
            assert_eq!((mail.to[0].mailbox(), mail.subject.as_str()), ("owner@example.com", subject));
            let text = mail.text.as_deref().unwrap();
            for part in parts.into_iter().chain(["Acme"]) {
                assert!(text.contains(part), "{part} is not in {text}");
            }
        }
    }
}
