//! Tests of calls that fail, and of calls whose outcome is not known.

use omnistack_core::payment::{CancelTime, MeterReport, MeterReportOutcome, NewCustomer, PaymentError, PaymentStatus};
use omnistack_testkit::{mock_server::ClosedPort, payments::stripe::StripeFault};
use serde_json::json;

use super::{Stripe, connect, payment, reference};

/// The number of times that a call is sent.
const ATTEMPTS: usize = 3;

fn fails(stripe: &Stripe, path: &str, fault: &StripeFault) {
    for _ in 0..ATTEMPTS {
        stripe.server.fail_next(path, fault.clone());
    }
}

fn error_response(status: u16, kind: &str, code: Option<&str>) -> StripeFault {
    StripeFault::Response(status, json!({ "error": { "type": kind, "code": code, "message": "no" } }))
}

#[tokio::test]
async fn a_lost_response_is_asked_for_again_with_the_same_key() {
    for fault in [StripeFault::LostResponse, StripeFault::LostRequest, error_response(503, "api_error", None)] {
        for path in ["/payment_intents", "/confirm"] {
            let stripe = Stripe::start().await;
            stripe.server.fail_next(path, fault.clone());
            let paid = stripe.provider.create_payment(&payment(1, 500, "pm_card_visa")).await.unwrap();
            assert_eq!(paid.status, PaymentStatus::Succeeded, "{fault:?} {path}");
            assert_eq!(stripe.server.charges(&reference(1)), 1);
            assert_eq!(stripe.server.requests().len(), 3, "{fault:?} {path}");
        }
    }
}

#[tokio::test]
async fn a_payment_whose_confirmation_was_lost_is_found() {
    for (fault, found, replayed, charges) in [
        (StripeFault::LostResponse, PaymentStatus::Succeeded, Some(PaymentStatus::Succeeded), 1),
        (StripeFault::LostRequest, PaymentStatus::Canceled, None, 0),
        (error_response(500, "api_error", None), PaymentStatus::Canceled, None, 0),
        (error_response(409, "idempotency_error", Some("idempotency_key_in_use")), PaymentStatus::Canceled, None, 0),
    ] {
        for search_lags in [false, true] {
            let stripe = Stripe::start().await;
            stripe.server.set_search_lags(search_lags);
            fails(&stripe, "/confirm", &fault);
            let new = payment(1, 500, "pm_card_visa");
            let unknown = stripe.provider.create_payment(&new).await;
            assert!(matches!(unknown, Err(PaymentError::Unknown { .. })), "{fault:?}: {unknown:?}");

            for _ in 0..2 {
                let payment = stripe.provider.find_payment(&reference(1)).await.unwrap().unwrap();
                assert_eq!(payment.status, found, "{fault:?}");
            }
            // A late repetition of the call can't take money any more.
            match stripe.provider.create_payment(&new).await {
                Ok(payment) => assert_eq!(Some(payment.status), replayed, "{fault:?}"),
                Err(error) => {
                    assert_eq!(replayed, None, "{fault:?}: {error}");
                    assert!(matches!(error, PaymentError::Rejected { .. }), "{fault:?}: {error:?}");
                }
            }
            assert_eq!(stripe.server.charges(&reference(1)), charges, "{fault:?}");
        }
    }
}

#[tokio::test]
async fn a_payment_that_was_not_confirmed_has_charged_nothing() {
    for (fault, exists) in [(StripeFault::LostRequest, false), (StripeFault::LostResponse, true)] {
        let stripe = Stripe::start().await;
        fails(&stripe, "/payment_intents", &fault);
        let failed = stripe.provider.create_payment(&payment(1, 500, "pm_card_visa")).await;
        assert!(matches!(failed, Err(PaymentError::Unavailable { .. })), "{fault:?}: {failed:?}");
        let found = stripe.provider.find_payment(&reference(1)).await.unwrap();
        assert_eq!(found.map(|payment| payment.status), exists.then_some(PaymentStatus::Canceled), "{fault:?}");
        assert_eq!(stripe.server.charges(&reference(1)), 0);
    }
}

#[tokio::test]
async fn a_payment_is_found_among_many() {
    let stripe = Stripe::start().await;
    stripe.server.set_search_lags(true);
    stripe.provider.create_payment(&payment(1, 500, "pm_card_visa_chargeDeclined")).await.unwrap_err();
    let mut second = payment(1, 500, "pm_card_visa");
    second.idempotency_key = "key-of-the-second-attempt".to_owned();
    let paid = stripe.provider.create_payment(&second).await.unwrap();
    for number in 2..=120 {
        stripe.provider.create_payment(&payment(number, 500, "pm_card_visa")).await.unwrap();
    }
    // Of two attempts, the one that took money.
    let found = stripe.provider.find_payment(&reference(1)).await.unwrap().unwrap();
    assert_eq!((found.id, found.status), (paid.id, PaymentStatus::Succeeded));
    assert_eq!(stripe.provider.find_payment(&reference(999)).await.unwrap(), None);
    // A response without a list does not say that there is no payment.
    stripe.server.fail_next("/payment_intents/search", StripeFault::Response(200, json!({})));
    stripe.server.fail_next("/payment_intents", StripeFault::Response(200, json!({})));
    let error = stripe.provider.find_payment(&reference(999)).await.unwrap_err();
    assert!(matches!(error, PaymentError::Unavailable { .. }), "{error}");
    assert_eq!(stripe.provider.find_payment("it's \\ odd").await.unwrap(), None);
}

#[tokio::test]
async fn errors_say_whether_the_call_took_effect() {
    let in_use = Some("idempotency_key_in_use");
    for (fault, of_change, of_read) in [
        (error_response(500, "api_error", None), "Unknown", "Unavailable"),
        (error_response(409, "idempotency_error", in_use), "Unknown", "Unavailable"),
        (StripeFault::Response(502, json!("<html>")), "Unknown", "Unavailable"),
        (StripeFault::LostResponse, "Unknown", "Unavailable"),
        (StripeFault::Response(200, json!({})), "Unknown", "Unavailable"),
        (error_response(429, "invalid_request_error", Some("rate_limit")), "Unavailable", "Unavailable"),
        (error_response(302, "", None), "Unavailable", "Unavailable"),
        (error_response(401, "invalid_request_error", None), "Unauthorized", "Unauthorized"),
        (error_response(403, "invalid_request_error", None), "Unauthorized", "Unauthorized"),
        (error_response(404, "invalid_request_error", None), "NotFound", "NotFound"),
        (error_response(400, "invalid_request_error", Some("x")), "Rejected", "Rejected"),
        (error_response(402, "card_error", Some("card_declined")), "Declined", "Declined"),
    ] {
        let (name, stripe) = (format!("{fault:?}"), Stripe::start().await);
        fails(&stripe, "/customers", &fault);
        let new = NewCustomer { reference: "t".into(), name: None, email: None, idempotency_key: "k".into() };
        let change = stripe.provider.create_customer(&new).await.unwrap_err();
        assert!(format!("{change:?}").starts_with(of_change), "{name}: {change:?}");
        fails(&stripe, "/subscriptions", &fault);
        let read = stripe.provider.subscription("sub_1").await.unwrap_err();
        assert!(format!("{read:?}").starts_with(of_read), "{name}: {read:?}");
    }

    let port = ClosedPort::reserve();
    let refused = connect(&port.url()).create_payment(&payment(1, 500, "pm_card_visa")).await;
    assert!(matches!(refused, Err(PaymentError::Unavailable { .. })), "{refused:?}");
}

#[tokio::test]
async fn a_decline_is_no_unknown_outcome_whatever_objects_it_contains() {
    let stripe = Stripe::start().await;
    let body = json!({ "error": {
        "type": "card_error", "code": "card_declined", "decline_code": "lost_card", "message": "Your card was declined.",
        "payment_intent": { "of": ["another", "version"] }, "new_field": {},
    } });
    stripe.server.fail_next("/confirm", StripeFault::Response(402, body));
    let declined = stripe.provider.create_payment(&payment(1, 500, "pm_card_visa")).await.unwrap_err();
    assert!(matches!(declined, PaymentError::Declined { .. }), "{declined:?}");
    assert!(!declined.allows_other_provider());
}

#[tokio::test]
async fn a_key_is_of_one_request() {
    let stripe = Stripe::start().await;
    stripe.provider.create_payment(&payment(1, 500, "pm_card_visa")).await.unwrap();
    let other = stripe.provider.create_payment(&payment(1, 600, "pm_card_visa")).await;
    assert!(matches!(other, Err(PaymentError::Rejected { .. })), "{other:?}");
    assert_eq!(stripe.server.charges(&reference(1)), 1);
    let mut long = payment(2, 500, "pm_card_visa");
    long.idempotency_key = "k".repeat(300);
    let long = stripe.provider.create_payment(&long).await;
    assert!(matches!(long, Err(PaymentError::Rejected { .. })), "{long:?}");
}

#[tokio::test]
async fn ids_lead_to_no_other_path() {
    let stripe = Stripe::start().await;
    for id in ["", "../customers", "sub_1/resume", "sub_1?expand", "sub 1"] {
        let read = stripe.provider.subscription(id).await;
        assert_eq!(read, Err(PaymentError::NotFound { object: "subscription" }), "{id}");
        let canceled = stripe.provider.cancel_subscription(id, CancelTime::Now, "key").await;
        assert_eq!(canceled, Err(PaymentError::NotFound { object: "subscription" }), "{id}");
    }
    assert!(stripe.server.requests().is_empty());
}

// Case 31.
#[tokio::test]
async fn a_report_of_usage_is_counted_once() {
    let stripe = Stripe::start().await;
    let customer = stripe.customer("t1").await;
    let report = |identifier: &str, value: &str| MeterReport {
        meter: "api_calls".to_owned(),
        customer: customer.clone(),
        value: value.to_owned(),
        identifier: identifier.to_owned(),
        at: stripe.now(),
    };
    let provider = &stripe.provider;
    let sent = |report: MeterReport| async move { provider.report_usage(&report).await };
    assert_eq!(sent(report("r1", "0.300000000000")).await, Ok(MeterReportOutcome::Counted));
    assert_eq!(sent(report("r1", "0.300000000000")).await, Ok(MeterReportOutcome::AlreadyCounted));
    // The response is lost: the repetition is told that the report exists.
    stripe.server.fail_next("/meter_events", StripeFault::LostResponse);
    assert_eq!(sent(report("r2", "1")).await, Ok(MeterReportOutcome::AlreadyCounted));
    fails(&stripe, "/meter_events", &StripeFault::LostRequest);
    assert!(matches!(sent(report("r3", "1")).await, Err(PaymentError::Unknown { .. })));
    assert_eq!(sent(report("r3", "1")).await, Ok(MeterReportOutcome::Counted));
    let precise = sent(report("r4", "0.3000000000001")).await;
    assert!(matches!(precise, Err(PaymentError::Rejected { .. })), "{precise:?}");
    assert_eq!(sent(report("r5", "1")).await, Ok(MeterReportOutcome::Counted));
}
