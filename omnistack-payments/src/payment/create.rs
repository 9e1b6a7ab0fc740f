//! Creating a payment, and attempting it again.

use omnistack_core::{
    data_environment::DataEnvironment,
    http::{Error, Response, StatusCode},
    idempotency::Idempotency,
    identity::TenantId,
};

use super::{
    attempts::{MAX_ATTEMPTS, PaymentContact, new_attempt, response_of},
    failure::{no_payment, outcome_unknown},
    handle::PaymentLedger,
    machine::{NextAttempt, next_attempt},
    model::{Payment, PaymentId, PaymentRequest, PaymentRetry},
    request_limits::{check, check_key, url_problem},
    rows::{NewPaymentRow, PaymentRow, StoredPayment},
    store,
};
use crate::router::RouteQuestion;

/// A payment that was taken or found, and the response if it is stored already.
struct CreatedPayment {
    payment: Payment,
    response: Option<Response>,
}

impl PaymentLedger {
    /// Takes a payment. It is stored before a provider is asked. If it is certain that the provider has not taken the
    /// money, and another one may succeed, the next one is asked.
    ///
    /// The returned payment can be in any state: it can have failed, and its outcome can be
    /// [`Unknown`](super::PaymentState::Unknown). A payment with the same key is returned as it is.
    ///
    /// # Errors
    /// 422 `VALIDATION_FAILED` for invalid values; 422 `PAYMENT_NOT_ROUTABLE` if the tenant has no account that can
    /// take the payment; 409 `PAYMENT_CONFLICT` if the tenant has another payment with this key.
    pub async fn create(&self, request: PaymentRequest) -> Result<Payment, Error> {
        Ok(self.create_and_answer(request, None).await?.payment)
    }

    /// Takes a payment as [`create`](Self::create) does, for a request with an idempotency key. Returns the response,
    /// which is stored in the transaction that stores the result of the payment.
    pub(super) async fn create_for_request(
        &self,
        request: PaymentRequest,
        idempotency: &Idempotency,
    ) -> Result<Response, Error> {
        let created = self.create_and_answer(request, Some(idempotency)).await?;
        Ok(created.response.unwrap_or_else(|| response_of(created.payment)))
    }

    async fn create_and_answer(
        &self,
        request: PaymentRequest,
        idempotency: Option<&Idempotency>,
    ) -> Result<CreatedPayment, Error> {
        check(&request)?;
        let tenant = request.tenant;
        let environment = match request.environment {
            Some(environment) => environment,
            None => self.active_environment(tenant, request.source.provider.as_deref()).await?,
        };
        let question = RouteQuestion {
            amount: request.amount,
            method: request.method,
            country: request.country.clone(),
            provider: request.source.provider.clone(),
        };
        let candidates = self.candidates(tenant, environment, &question, &request.source).await?;
        let now = self.now();
        let row = PaymentRow::new(NewPaymentRow {
            id: PaymentId::new(now),
            tenant,
            environment,
            request_key: request.key,
            amount: request.amount,
            method: request.method,
            capture: request.capture,
            country: request.country,
            description: request.description,
            metadata: request.metadata,
            api_key: request.api_key,
            now,
        });
        let contact = PaymentContact { email: request.email, return_url: request.return_url };
        let mut payment = StoredPayment { row, attempts: vec![], refunds: vec![], disputes: vec![] };

        let mut tx = self.0.db.tenant(tenant).begin().await?;
        let attempt = candidates.first().map(|first| new_attempt(&payment, first, now));
        let is_new = match &attempt {
            Some(attempt) => store::insert_payment(&mut tx, &payment.row, attempt).await?,
            None => false,
        };
        let Some(attempt) = attempt.filter(|_| is_new) else {
            let known = store::find_by_key(&mut tx, tenant, environment, &payment.row.request_key).await?;
            tx.rollback().await?;
            let known = known.ok_or_else(|| if candidates.is_empty() { not_routable(&question) } else { no_payment() });
            return Ok(CreatedPayment { payment: self.existing(&payment.row, known?).await?, response: None });
        };
        tx.commit().await?;
        payment.attempts.push(attempt);
        let (payment, response) = self.attempt_all(payment, candidates, contact, idempotency).await?;
        Ok(CreatedPayment { payment: payment.show(), response })
    }

    /// Begins another attempt of a payment that has failed. Before that, the provider of an attempt whose outcome is
    /// unknown is asked for it.
    ///
    /// # Errors
    /// 404 if the tenant has no such payment; 409 `PAYMENT_OUTCOME_UNKNOWN` if an earlier attempt may have taken the
    /// money, unless the retry is [forced](PaymentRetry::force); 409 `PAYMENT_NOT_RETRYABLE` if one has, or still can;
    /// 422 `PAYMENT_NOT_ROUTABLE` if the tenant has no account that can take the payment.
    pub async fn retry(&self, tenant: TenantId, id: PaymentId, retry: PaymentRetry) -> Result<Payment, Error> {
        check_key(&retry.key)?;
        if let Some(problem) = retry.return_url.as_deref().and_then(url_problem) {
            return Err(Error::invalid([problem]));
        }
        let known = self.find(tenant, id).await?;
        if is_attempted(&known, &retry.key) {
            return self.resolve(tenant, id).await;
        }
        if next_attempt(&known.states(), false) == NextAttempt::OutcomeUnknown {
            self.resolve(tenant, id).await?;
        }
        let question = RouteQuestion {
            amount: known.row.money(known.row.amount)?,
            method: known.row.method(),
            country: known.row.country.clone(),
            provider: retry.source.provider.clone(),
        };
        let candidates = self.candidates(tenant, known.row.environment(), &question, &retry.source).await?;
        let now = self.now();

        let mut tx = self.0.db.tenant(tenant).begin().await?;
        let mut payment = store::lock(&mut tx, tenant, id).await?.ok_or_else(no_payment)?;
        if is_attempted(&payment, &retry.key) {
            tx.rollback().await?;
            return Ok(payment.show());
        }
        let next = next_attempt(&payment.states(), retry.force);
        let refusal = match next {
            NextAttempt::Allowed | NextAttempt::Forced if payment.attempts.len() >= MAX_ATTEMPTS => {
                let message = format!("the payment has {MAX_ATTEMPTS} attempts; create another payment");
                Some(Error::conflict("PAYMENT_NOT_RETRYABLE", message))
            }
            NextAttempt::Allowed | NextAttempt::Forced => None,
            NextAttempt::OutcomeUnknown => Some(outcome_unknown()),
            NextAttempt::InProgress => {
                let message = format!(
                    "the payment is {}; only a payment that has failed can be attempted again",
                    payment.row.status().as_str()
                );
                Some(Error::conflict("PAYMENT_NOT_RETRYABLE", message))
            }
        };
        let (None, Some(first)) = (&refusal, candidates.first()) else {
            tx.rollback().await?;
            return Err(refusal.unwrap_or_else(|| not_routable(&question)));
        };
        let mut attempt = new_attempt(&payment, first, now);
        attempt.request_key = Some(retry.key);
        attempt.forced = next == NextAttempt::Forced;
        store::insert_attempt(&mut tx, &payment.row, &attempt).await?;
        payment.attempts.push(attempt);
        tx.commit().await?;
        // A forced attempt has no failover: one attempt that may be too much is enough.
        let most = if next == NextAttempt::Forced { 1 } else { candidates.len() };
        let candidates = candidates.into_iter().take(most).collect();
        let contact = PaymentContact { email: None, return_url: retry.return_url };
        Ok(self.attempt_all(payment, candidates, contact, None).await?.0.show())
    }

    /// Returns the payment that has the key of a new one, after its provider was asked if its outcome is not known.
    async fn existing(&self, new: &PaymentRow, known: StoredPayment) -> Result<Payment, Error> {
        let is_same = known.row.amount == new.amount
            && known.row.currency == new.currency
            && known.row.method == new.method
            && known.row.capture == new.capture;
        if !is_same {
            let message = "there is a payment with this key and other values; use another key";
            return Err(Error::conflict("PAYMENT_CONFLICT", message).with_detail("payment", known.row.id.to_string()));
        }
        if next_attempt(&known.states(), false) == NextAttempt::OutcomeUnknown {
            return self.resolve(known.row.tenant_id, known.row.id).await;
        }
        Ok(known.show())
    }

    /// Returns the environment of a request that names none.
    async fn active_environment(&self, tenant: TenantId, service: Option<&str>) -> Result<DataEnvironment, Error> {
        match service {
            Some(service) => self.0.accounts.active_environment(tenant, service).await,
            None => self.0.accounts.default_environment(tenant).await,
        }
    }
}

fn is_attempted(payment: &StoredPayment, key: &str) -> bool {
    payment.attempts.iter().any(|attempt| attempt.request_key.as_deref() == Some(key))
}

fn not_routable(question: &RouteQuestion) -> Error {
    let currency = question.amount.currency().code();
    let message = match &question.provider {
        Some(service) => format!("`{service}` can't take this payment in {currency}; store credentials for it"),
        None => format!("no service can take this payment in {currency}; store credentials for one that can"),
    };
    Error::new(StatusCode::UNPROCESSABLE_ENTITY, "PAYMENT_NOT_ROUTABLE", message)
}
