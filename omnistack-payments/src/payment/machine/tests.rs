//! Tests of the states.

use std::time::Duration;

use omnistack_core::{clock::Timestamp, payment::PaymentStatus};

use super::{
    AttemptFact::{self, OutcomeUnknown, Refused, Reported},
    AttemptState::{self, Authorized, Canceled, Failed, Processing, RequiresAction, Sent, Succeeded, Unknown},
    NextAttempt, PaymentState, SETTLE_TIME, main_attempt, next_attempt, payment_state,
};

const STATES: [AttemptState; 8] = [Sent, Unknown, Processing, RequiresAction, Authorized, Succeeded, Failed, Canceled];

const FACTS: [AttemptFact; 8] = [
    Reported(PaymentStatus::RequiresAction),
    Reported(PaymentStatus::Processing),
    Reported(PaymentStatus::Authorized),
    Reported(PaymentStatus::Succeeded),
    Reported(PaymentStatus::Failed),
    Reported(PaymentStatus::Canceled),
    Refused,
    OutcomeUnknown,
];

#[test]
fn every_fact_has_a_result_in_every_state() {
    // The rows are STATES, the columns FACTS.
    let table = [
        [RequiresAction, Processing, Authorized, Succeeded, Failed, Canceled, Failed, Unknown],
        [RequiresAction, Processing, Authorized, Succeeded, Failed, Canceled, Failed, Unknown],
        [RequiresAction, Processing, Authorized, Succeeded, Failed, Canceled, Processing, Processing],
        [RequiresAction, Processing, Authorized, Succeeded, Failed, Canceled, RequiresAction, RequiresAction],
        [Authorized, Authorized, Authorized, Succeeded, Failed, Canceled, Authorized, Authorized],
        [Succeeded; 8],
        [Failed, Failed, Authorized, Succeeded, Failed, Failed, Failed, Failed],
        [Canceled, Canceled, Authorized, Succeeded, Canceled, Canceled, Canceled, Canceled],
    ];
    for (state, row) in STATES.into_iter().zip(table) {
        for (fact, expected) in FACTS.into_iter().zip(row) {
            assert_eq!(state.after(fact), expected, "{state:?} {fact:?}");
        }
    }
}

#[test]
fn facts_that_come_twice_change_nothing_and_taken_money_stays_taken() {
    for state in STATES {
        for first in FACTS {
            let once = state.after(first);
            assert_eq!(once.after(first), once, "{state:?} {first:?}");
            for second in FACTS {
                let succeeded = [first, second].contains(&Reported(PaymentStatus::Succeeded)) || state == Succeeded;
                assert_eq!(once.after(second) == Succeeded, succeeded, "{state:?} {first:?} {second:?}");
            }
        }
    }
}

#[test]
fn the_state_of_a_payment_follows_from_its_attempts() {
    let cases: [(&[AttemptState], i64, i64, PaymentState); 14] = [
        (&[], 0, 0, PaymentState::Created),
        (&[Sent], 0, 0, PaymentState::Created),
        (&[Unknown], 0, 0, PaymentState::Unknown),
        (&[Failed, Sent], 0, 0, PaymentState::Created),
        (&[Failed, Failed], 0, 0, PaymentState::Failed),
        (&[Failed, Canceled], 0, 0, PaymentState::Canceled),
        (&[Unknown, Failed], 0, 0, PaymentState::Unknown),
        (&[Unknown, RequiresAction], 0, 0, PaymentState::RequiresAction),
        (&[Unknown, Succeeded], 100, 0, PaymentState::Succeeded),
        (&[Succeeded, Succeeded], 200, 0, PaymentState::Overpaid),
        (&[Succeeded, Succeeded], 200, 99, PaymentState::Overpaid),
        (&[Succeeded, Succeeded], 200, 100, PaymentState::Succeeded),
        (&[Succeeded], 100, 100, PaymentState::Succeeded),
        (&[Failed, Authorized], 0, 0, PaymentState::Authorized),
    ];
    for (attempts, captured, refunded, expected) in cases {
        assert_eq!(payment_state(attempts, 100, captured, refunded), expected, "{attempts:?} {captured} {refunded}");
    }
    assert_eq!(main_attempt(&[Failed, Succeeded, Succeeded]), Some(1));
    assert_eq!(main_attempt(&[Canceled, Failed]), Some(1));
    assert_eq!(main_attempt(&[]), None);
}

#[test]
fn another_attempt_begins_only_after_those_that_certainly_took_nothing() {
    for first in STATES {
        for second in STATES {
            for force in [false, true] {
                let expected = match (first, second) {
                    (Failed | Canceled, Failed | Canceled) => NextAttempt::Allowed,
                    (Failed | Canceled | Unknown, Failed | Canceled | Unknown) if force => NextAttempt::Forced,
                    (Failed | Canceled | Unknown | Sent, Failed | Canceled | Unknown | Sent) => {
                        NextAttempt::OutcomeUnknown
                    }
                    _ => NextAttempt::InProgress,
                };
                assert_eq!(next_attempt(&[first, second], force), expected, "{first:?} {second:?} {force}");
            }
        }
    }
    assert_eq!(next_attempt(&[], false), NextAttempt::Allowed);
}

#[test]
fn providers_are_asked_until_the_outcome_is_known() {
    let start: Timestamp = "2030-01-01T00:00:00Z".parse().unwrap();
    let seconds = |state: AttemptState, has_change, checks| {
        let at = state.next_check(has_change, checks, start, start);
        at.map(|at| at.duration_since(start).as_secs())
    };
    assert_eq!(seconds(Sent, false, 0), Some(SETTLE_TIME.as_secs()));
    let unknown: Vec<_> = (0..9).map(|checks| seconds(Unknown, false, checks).unwrap()).collect();
    assert_eq!(unknown, [0, 120, 240, 480, 960, 1_920, 3_600, 3_600, 3_600]);
    assert_eq!(seconds(Processing, false, 0), Some(600));
    assert_eq!(seconds(Authorized, true, 0), Some(60));
    assert_eq!(seconds(Authorized, false, 5), Some(86_400));
    for state in [Succeeded, Failed, Canceled] {
        assert_eq!(seconds(state, false, 0), None);
    }
    let month_later = start + Duration::from_secs(31 * 86_400);
    assert_eq!(RequiresAction.next_check(false, 3, start, month_later), None);
    assert!(Unknown.next_check(false, 40, start, month_later).is_some());
    for state in STATES {
        assert_eq!(AttemptState::from_stored(state.as_str()), Some(state));
    }
}
