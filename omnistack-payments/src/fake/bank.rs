//! The handle of the fake: its state, and what tests do in the place of its payers.

use std::{
    collections::{HashMap, VecDeque},
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use omnistack_core::{
    clock::{Clock, Timestamp},
    config::PublicUrl,
    db::Db,
    jobs::Jobs,
    payment::{PaymentError, PaymentStatus},
    webhook::{DataEnvironment, StandardSecret},
};

use super::{
    FakeProvider,
    account::{FakeAccount, FakeTx, unavailable},
    checkout::CheckoutStep,
    objects::{FakeCheckout, FakeDispute, FakeInvoice, FakeObject, FakePayment, FakeSubscription},
};

/// Largest number of changes that one call of [`FakeBank::advance`] makes.
const MAX_CHANGES: u64 = 100_000;

/// A fault of the fake, for tests: see [`FakeBank::set_faults`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FakeFault {
    /// The provider can't be reached.
    Unavailable,
    /// The request is lost, and it is not known whether it took effect.
    RequestLost,
    /// The request takes effect, and its response is lost.
    ResponseLost,
}

/// The built-in fake provider: its state, which all replicas share through the database, and what tests do in the place
/// of payers and of the provider. Cheap to clone.
///
/// The fake behaves as a provider of real money does: it declines cards, asks for authentication, renews subscriptions
/// by the app's clock, and sends webhooks. Nothing leaves the app.
#[derive(Clone)]
pub struct FakeBank(Arc<BankInner>);

/// The parts of a [`FakeBank`].
pub(super) struct BankInner {
    /// The app's own database.
    pub(super) db: Db,
    pub(super) clock: Clock,
    pub(super) jobs: Jobs,
    pub(super) public_url: PublicUrl,
    /// The secret of webhooks, which this process both signs and verifies.
    pub(super) secret: StandardSecret,
    /// Whether events are sent twice and out of order.
    pub(super) chaos: bool,
    /// The faults of the next calls, by the name of the service.
    pub(super) faults: Mutex<HashMap<String, VecDeque<Option<FakeFault>>>>,
}

impl FakeBank {
    pub(super) fn new(inner: BankInner) -> Self {
        Self(Arc::new(inner))
    }

    pub(super) fn inner(&self) -> &BankInner {
        &self.0
    }

    /// Returns the provider of an account at the service `fake`.
    pub fn provider(&self, environment: DataEnvironment) -> FakeProvider {
        FakeProvider::new(self.clone(), super::NAME, environment)
    }

    /// Makes the changes that are due at a time, in the order of their due times: renews subscriptions, ends trials,
    /// collects invoices, and closes checkouts. Returns the number of changes. Jobs call it by the app's clock.
    ///
    /// # Errors
    /// [`PaymentError::Unavailable`] if the database fails.
    pub async fn advance(&self, now: Timestamp) -> Result<u64, PaymentError> {
        let mut changes = 0;
        while changes < MAX_CHANGES {
            let sql = "select kind, id, service, environment, due_at from omni_fake_objects where due_at <= $1
                order by due_at, id limit 1";
            let next: Option<(String, String, String, String, Timestamp)> =
                self.0.db.query(sql).bind(now).fetch_optional().await.map_err(unavailable)?;
            let Some((kind, id, service, environment, due_at)) = next else { break };
            let environment: DataEnvironment = environment.parse().map_err(unavailable)?;
            let account = FakeAccount { service, environment };
            let mut tx = FakeTx::begin_at(self, account, due_at).await?;
            tx.process_due(&kind, &id).await?;
            tx.commit().await?;
            changes += 1;
        }
        Ok(changes)
    }

    /// Returns the number of payments that have taken money, of all services: those with this reference, and those of
    /// the subscription with this reference.
    ///
    /// # Errors
    /// [`PaymentError::Unavailable`] if the database fails.
    pub async fn charges(&self, reference: &str) -> Result<usize, PaymentError> {
        let sql = "select body from omni_fake_objects where kind = 'payment' and (reference = $1 or parent in
            (select id from omni_fake_objects where kind = 'subscription' and reference = $1))";
        let rows: Vec<(String,)> = self.0.db.query(sql).bind(reference).fetch_all().await.map_err(unavailable)?;
        let mut charges = 0;
        for (body,) in rows {
            let payment: FakePayment = serde_json::from_str(&body).map_err(unavailable)?;
            charges += usize::from(payment.captured > 0);
        }
        Ok(charges)
    }

    /// Sets the faults of the next calls of a service, one for each call: `None` for a call that succeeds. They replace
    /// those that are left, and are known to this process only.
    pub fn set_faults(&self, service: &str, faults: impl IntoIterator<Item = Option<FakeFault>>) {
        let mut all = self.0.faults.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(service.to_owned(), faults.into_iter().collect());
    }

    /// Returns the fault of the next call.
    pub(super) fn take_fault(&self, service: &str) -> Option<FakeFault> {
        let mut all = self.0.faults.lock().unwrap_or_else(PoisonError::into_inner);
        all.get_mut(service)?.pop_front().flatten()
    }

    /// Pays an open checkout with a test card, as its page does. Returns the id of the payment that its payer must
    /// confirm, if the card asks for that.
    ///
    /// # Errors
    /// [`PaymentError::Declined`] if the card is declined; the checkout stays open then. [`PaymentError::Rejected`] if
    /// the checkout is not open, or there is no such card.
    pub async fn pay_checkout(&self, id: &str, card: &str) -> Result<Option<String>, PaymentError> {
        let mut tx = self.begin_of::<FakeCheckout>(id).await?;
        let paid = tx.pay_checkout(id, card).await?;
        tx.commit().await?;
        match paid? {
            CheckoutStep::Done(_) => Ok(None),
            CheckoutStep::Authenticate(payment) => Ok(Some(payment)),
        }
    }

    /// Confirms a payment that waits for its payer, or fails to.
    ///
    /// # Errors
    /// [`PaymentError::Rejected`] if the payment does not wait for its payer.
    pub async fn authenticate_payment(&self, id: &str, confirmed: bool) -> Result<(), PaymentError> {
        let mut tx = self.begin_of::<FakePayment>(id).await?;
        tx.authenticate(id, None, confirmed).await?;
        tx.commit().await
    }

    /// Pays an open invoice with a test card, which becomes the default of its customer. Returns the status of the
    /// payment.
    ///
    /// # Errors
    /// [`PaymentError::Rejected`] if the invoice is not open, or there is no such card.
    pub async fn pay_invoice(&self, id: &str, card: &str) -> Result<PaymentStatus, PaymentError> {
        let mut tx = self.begin_of::<FakeInvoice>(id).await?;
        let status = tx.pay_invoice(id, card).await?;
        tx.commit().await?;
        Ok(status)
    }

    /// Changes the number of units of a subscription at once and without a charge, as customers can on the page of a
    /// provider.
    ///
    /// # Errors
    /// [`PaymentError::NotFound`] if there is no such subscription.
    pub async fn set_quantity(&self, subscription: &str, quantity: u64) -> Result<(), PaymentError> {
        let mut tx = self.begin_of::<FakeSubscription>(subscription).await?;
        tx.set_quantity(subscription, quantity).await?;
        tx.commit().await
    }

    /// Opens a dispute of a payment. Returns the id of the dispute.
    ///
    /// # Errors
    /// [`PaymentError::Rejected`] if no money was taken.
    pub async fn dispute_payment(&self, payment: &str) -> Result<String, PaymentError> {
        let mut tx = self.begin_of::<FakePayment>(payment).await?;
        let id = tx.open_dispute(payment, None).await?;
        tx.commit().await?;
        Ok(id)
    }

    /// Opens a dispute of a part of a payment, in minor units. Returns the id of the dispute.
    ///
    /// # Errors
    /// [`PaymentError::Rejected`] if less money is left of the payment.
    pub async fn dispute_part_of_payment(&self, payment: &str, amount: i64) -> Result<String, PaymentError> {
        let mut tx = self.begin_of::<FakePayment>(payment).await?;
        let id = tx.open_dispute(payment, Some(amount)).await?;
        tx.commit().await?;
        Ok(id)
    }

    /// Decides a dispute. If the app has lost, its payer has the money back; a lost dispute can be won later.
    ///
    /// # Errors
    /// [`PaymentError::Rejected`] if the dispute is decided.
    pub async fn decide_dispute(&self, dispute: &str, won: bool) -> Result<(), PaymentError> {
        let mut tx = self.begin_of::<FakeDispute>(dispute).await?;
        tx.decide_dispute(dispute, won).await?;
        tx.commit().await
    }

    /// Begins a transaction of the account that an object belongs to.
    pub(super) async fn begin_of<T: FakeObject>(&self, id: &str) -> Result<FakeTx, PaymentError> {
        let sql = "select service, environment from omni_fake_objects where kind = $1 and id = $2";
        let found: Option<(String, String)> =
            self.0.db.query(sql).bind(T::KIND).bind(id).fetch_optional().await.map_err(unavailable)?;
        let Some((service, environment)) = found else { return Err(PaymentError::NotFound { object: T::KIND }) };
        let environment: DataEnvironment = environment.parse().map_err(unavailable)?;
        FakeTx::begin(self, FakeAccount { service, environment }).await
    }

    /// Returns the URL of a page of the fake.
    pub(super) fn page_url(&self, page: &str, id: &str) -> String {
        format!("{}{}/{page}/{id}", self.0.public_url, super::PAGES)
    }
}

impl fmt::Debug for FakeBank {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FakeBank")
    }
}
