//! The changes that objects of the fake make by themselves.

use omnistack_core::{clock::Timestamp, payment::PaymentError};

use super::{
    account::FakeTx,
    objects::{FakeCheckout, FakeInvoice, FakeObject, FakePayment, FakeSubscription},
};

fn is_due(object: &impl FakeObject, now: Timestamp) -> bool {
    object.due_at().is_some_and(|due_at| due_at <= now)
}

impl FakeTx {
    /// Makes the change of an object that is due. An object that has changed meanwhile is left alone.
    pub(super) async fn process_due(&mut self, kind: &str, id: &str) -> Result<(), PaymentError> {
        let now = self.now;
        match kind {
            FakeCheckout::KIND => match self.find::<FakeCheckout>(id).await? {
                Some(mut checkout) if is_due(&checkout, now) => self.close_checkout(&mut checkout).await,
                _ => Ok(()),
            },
            FakePayment::KIND => match self.find::<FakePayment>(id).await? {
                Some(payment) if is_due(&payment, now) => self.payment_due(payment).await,
                _ => Ok(()),
            },
            FakeInvoice::KIND => match self.find::<FakeInvoice>(id).await? {
                Some(invoice) if is_due(&invoice, now) => self.invoice_due(invoice).await,
                _ => Ok(()),
            },
            FakeSubscription::KIND => match self.find::<FakeSubscription>(id).await? {
                Some(subscription) if is_due(&subscription, now) => self.subscription_due(subscription).await,
                _ => Ok(()),
            },
            _ => Ok(()),
        }
    }
}
