//! The attempts of a payment at one provider after another.

use std::{sync::Arc, time::Duration};

use axum::response::IntoResponse as _;
use omnistack_core::{
    clock::Timestamp,
    data_environment::DataEnvironment,
    db::StatementGroup,
    http::{Error, Json, Response, StatusCode},
    idempotency::Idempotency,
    identity::TenantId,
    payment::{NewPayment, PaymentError, PaymentMethodSource, PaymentProvider, ProviderPayment},
};

use super::{
    apply::{Observation, ProviderAnswer, add_changes},
    attempt_row::AttemptRow,
    failure::{no_payment, not_asked},
    handle::PaymentLedger,
    machine::{NextAttempt, next_attempt},
    model::{Payment, RequestedSource},
    rows::{PaymentRow, StoredPayment},
    store,
};
use crate::router::RouteQuestion;

/// Time after which a provider is no longer asked for an attempt that was stored but not sent, such as by a process
/// that was frozen. Together with the calls of an attempt it is shorter than the time after which a request counts as
/// lost.
const MAX_START_DELAY: Duration = Duration::from_secs(20);
/// Largest number of attempts of one payment.
pub(super) const MAX_ATTEMPTS: usize = 20;

/// An account that takes a payment, with the payment method there.
pub(super) struct Candidate {
    service: String,
    provider: Arc<dyn PaymentProvider>,
    source: PaymentMethodSource,
    /// The estimated fee in minor units of the payment's currency.
    fee: Option<i64>,
}

/// The fields of a request for a payment that are not stored.
#[derive(Default)]
pub(super) struct PaymentContact {
    pub(super) email: Option<String>,
    pub(super) return_url: Option<String>,
}

/// The end of a call to a provider.
#[derive(Clone, Copy)]
struct EndedAttempt<'a> {
    /// The number of the attempt.
    number: i32,
    result: &'a Result<ProviderPayment, PaymentError>,
    duration: Duration,
    /// The account to ask if this one has not taken the payment.
    next: Option<&'a Candidate>,
}

/// The payment with the stored result of an attempt.
struct StoredResult {
    payment: StoredPayment,
    /// Whether the next attempt is stored.
    begins_next: bool,
    /// The response of the request, if it is stored too.
    response: Option<Response>,
}

impl PaymentLedger {
    /// Returns the accounts that can take a payment, in their order.
    pub(super) async fn candidates(
        &self,
        tenant: TenantId,
        environment: DataEnvironment,
        question: &RouteQuestion,
        source: &RequestedSource,
    ) -> Result<Vec<Candidate>, Error> {
        let routes = self.0.router.candidates(tenant, environment, question).await?;
        let candidates = routes.into_iter().filter_map(|route| {
            let fee = route.fee.filter(|fee| fee.currency() == question.amount.currency());
            Some(Candidate {
                source: source.at(&route.service)?,
                service: route.service,
                provider: route.provider,
                fee: fee.map(|fee| fee.minor()),
            })
        });
        Ok(candidates.collect())
    }

    /// Asks the first candidate, for which the last attempt is stored, and then the others while none has an effect.
    /// Returns the response too if it was stored with the last result.
    pub(super) async fn attempt_all(
        &self,
        mut payment: StoredPayment,
        candidates: Vec<Candidate>,
        contact: PaymentContact,
        idempotency: Option<&Idempotency>,
    ) -> Result<(StoredPayment, Option<Response>), Error> {
        let mut candidates = candidates.into_iter().peekable();
        while let Some(candidate) = candidates.next() {
            let Some(attempt) = payment.attempts.last() else { break };
            let (number, new) = (attempt.number, new_payment(&payment.row, attempt, &candidate, &contact)?);
            let began = self.0.clock.elapsed();
            let is_late = self.now().duration_since(attempt.started_at) > MAX_START_DELAY;
            let result =
                if is_late { Err(not_asked("this app was too slow to ask it")) } else { call(&candidate, &new).await };
            let duration = self.0.clock.elapsed().saturating_sub(began);
            if !is_late {
                let (tenant, environment) = (payment.row.tenant_id, payment.row.environment());
                self.0.router.record(tenant, environment, &candidate.service, result.as_ref().err(), duration);
            }

            let ended = EndedAttempt { number, result: &result, duration, next: candidates.peek() };
            let stored = match self.store_result(&payment.row, ended, idempotency).await {
                // Another request has taken over the key. The result is stored without the response.
                Err(error) if idempotency.is_some() && error.code() == "IDEMPOTENCY_IN_PROGRESS" => {
                    self.store_result(&payment.row, ended, None).await?
                }
                stored => stored?,
            };
            payment = stored.payment;
            if !stored.begins_next {
                return Ok((payment, stored.response));
            }
        }
        Ok((payment, None))
    }

    /// Stores the result of an attempt in one transaction with the next attempt, if there is one, or else with the
    /// response of the request.
    async fn store_result(
        &self,
        row: &PaymentRow,
        ended: EndedAttempt<'_>,
        idempotency: Option<&Idempotency>,
    ) -> Result<StoredResult, Error> {
        let EndedAttempt { number, result, duration, next } = ended;
        let now = self.now();
        let mut tx = self.0.db.tenant(row.tenant_id).begin().await?;
        let mut payment = store::lock(&mut tx, row.tenant_id, row.id).await?.ok_or_else(no_payment)?;
        let answer = match result {
            Ok(payment) => ProviderAnswer::Payment(payment),
            Err(error) => ProviderAnswer::Error(error),
        };
        let index = payment.index_of(number).ok_or_else(no_payment)?;
        let observation = Observation { duration: Some(duration), ..Observation::new(answer) };
        let mut changes = StatementGroup::new(tx.dialect());
        add_changes(&mut changes, &mut payment, index, observation, now);
        changes.execute(&mut tx).await?;
        let allows_other = result.as_ref().err().is_some_and(PaymentError::allows_other_provider);
        // An event may have said meanwhile that the money was taken.
        let is_open = allows_other && next_attempt(&payment.states(), false) == NextAttempt::Allowed;
        let next = next.filter(|_| is_open && payment.attempts.len() < MAX_ATTEMPTS);
        if let Some(next) = next {
            // In the same transaction, so that a crash leaves no payment that waits for its next attempt.
            let attempt = new_attempt(&payment, next, now);
            store::insert_attempt(&mut tx, &payment.row, &attempt).await?;
            payment.attempts.push(attempt);
        }
        let begins_next = next.is_some();
        let response = match idempotency.filter(|_| !begins_next) {
            Some(idempotency) => Some(idempotency.commit(tx, response_of(payment.show())).await?),
            None => {
                tx.commit().await?;
                None
            }
        };
        Ok(StoredResult { payment, begins_next, response })
    }
}

/// Returns the response of a request that creates a payment.
pub(super) fn response_of(payment: Payment) -> Response {
    (StatusCode::CREATED, Json(payment)).into_response()
}

/// Asks a provider to take a payment.
async fn call(candidate: &Candidate, new: &NewPayment) -> Result<ProviderPayment, PaymentError> {
    candidate.provider.check_amount(new.amount)?;
    candidate.provider.create_payment(new).await
}

/// Creates the next attempt of a payment, at the account of a candidate.
pub(super) fn new_attempt(payment: &StoredPayment, candidate: &Candidate, now: Timestamp) -> AttemptRow {
    let last = payment.attempts.last().map_or(0, |attempt| attempt.number);
    let mut attempt = AttemptRow::new(payment.row.id, last + 1, &candidate.service, now);
    attempt.fee_estimate = candidate.fee;
    attempt
}

/// Returns what a provider needs to take a payment.
fn new_payment(
    row: &PaymentRow,
    attempt: &AttemptRow,
    candidate: &Candidate,
    contact: &PaymentContact,
) -> Result<NewPayment, Error> {
    Ok(NewPayment {
        reference: attempt.reference.clone(),
        amount: row.money(row.amount)?,
        customer: None,
        method: row.method(),
        source: candidate.source.clone(),
        capture: row.capture(),
        description: row.description.clone(),
        email: contact.email.clone(),
        return_url: contact.return_url.clone(),
        metadata: row.metadata(),
        idempotency_key: attempt.reference.clone(),
    })
}
