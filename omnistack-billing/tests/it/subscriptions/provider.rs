//! A payment provider in memory, whose customers and banks do what a test says.

mod port;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use omnistack_core::{
    clock::Timestamp,
    module::{Module, Registry},
    money::{Currency, Money},
    payment::{
        CheckoutKind, CheckoutStatus, DiscountDuration, DiscountReduction, NewCheckout, PaymentError, PaymentProvider,
        PaymentProviders, PaymentStatus, ProviderCheckout, ProviderInvoice, ProviderInvoiceStatus, ProviderPayment,
        ProviderRefund, ProviderSubscription, ProviderSubscriptionStatus, StoredPaymentMethod, SubscriptionDiscount,
        SubscriptionItem,
    },
};

/// The length of a period of the provider.
pub(crate) const PERIOD: Duration = Duration::from_secs(31 * 86_400);

/// The beginning of a printed call.
pub(crate) const CALL: &str = "call of the provider: ";

/// The state of the provider.
#[derive(Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "switches that tests set independently")]
pub(crate) struct World {
    pub(crate) customers: BTreeMap<String, String>,
    pub(crate) checkouts: BTreeMap<String, (NewCheckout, ProviderCheckout)>,
    pub(crate) subscriptions: BTreeMap<String, ProviderSubscription>,
    pub(crate) invoices: BTreeMap<String, ProviderInvoice>,
    pub(crate) payments: BTreeMap<String, ProviderPayment>,
    /// The refunds by payments.
    pub(crate) refunds: BTreeMap<String, Vec<ProviderRefund>>,
    pub(crate) methods: Vec<StoredPaymentMethod>,
    /// The names of the calls that change something, with their idempotency keys.
    pub(crate) calls: Vec<String>,
    /// The errors of the next calls that change something. A call with an unknown outcome has taken effect if `true`.
    pub(crate) errors: VecDeque<(PaymentError, bool)>,
    /// The number of the next reads of a subscription that fail.
    pub(crate) failing_reads: u32,
    /// Whether the calls that take effect are printed, for the process that has started this one.
    pub(crate) prints_calls: bool,
    /// Whether the provider charges no difference for a change.
    pub(crate) charges_later: bool,
    /// Whether the provider has no coupons.
    pub(crate) has_no_coupons: bool,
    /// The error of all refunds.
    pub(crate) refund_error: Option<PaymentError>,
    /// Whether the next change must be paid first.
    pub(crate) declines_changes: bool,
}

/// A payment provider with the name `fake`, so that plans need no ids of prices.
#[derive(Clone, Debug, Default)]
pub(crate) struct ScriptedProvider(Arc<Mutex<World>>);

/// Returns the error of a call whose answer is lost.
pub(crate) fn lost() -> PaymentError {
    PaymentError::Unknown { message: "the answer was lost".to_owned() }
}

/// Returns a discount of all invoices.
pub(crate) fn percent_off(percent: u16) -> SubscriptionDiscount {
    let reduction = DiscountReduction::BasisPoints(percent * 100);
    SubscriptionDiscount { reduction, duration: DiscountDuration::Forever }
}

pub(crate) fn usd(minor: i64) -> Money {
    Money::new(minor, Currency::USD)
}

/// Returns the amount that the id of a price states.
fn amount_of(price: &str, quantity: u64) -> Money {
    let minor: i64 = price.split(':').nth(1).unwrap().parse().unwrap();
    usd(minor * i64::try_from(quantity).unwrap())
}

impl ScriptedProvider {
    pub(crate) fn world(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap()
    }

    /// Makes the next call that changes something fail.
    pub(crate) fn fail_next(&self, error: PaymentError, has_effect: bool) {
        self.world().errors.push_back((error, has_effect));
    }

    /// Carries out a call that changes something.
    fn call<T>(
        &self,
        what: &str,
        key: &str,
        effect: impl FnOnce(&mut World) -> Result<T, PaymentError>,
    ) -> Result<T, PaymentError> {
        let mut world = self.world();
        world.calls.push(format!("{what} {key}"));
        match world.errors.pop_front() {
            None => {
                let done = effect(&mut world)?;
                if world.prints_calls {
                    println!("{CALL}{what} {key}");
                }
                Ok(done)
            }
            Some((error, false)) => Err(error),
            Some((error, true)) => {
                effect(&mut world)?;
                Err(error)
            }
        }
    }

    /// Lets the customer of a checkout pay. Returns the id of the subscription.
    pub(crate) fn pay(&self, checkout: &str, now: Timestamp) -> String {
        let id = self.complete(checkout, now, ProviderSubscriptionStatus::Active);
        let mut world = self.world();
        let world = &mut *world;
        let invoice = world.subscriptions[&id].latest_invoice.clone().unwrap();
        let invoice = world.invoices.get_mut(&invoice).unwrap();
        if world.subscriptions[&id].trial_end.is_none() {
            (invoice.status, invoice.paid) = (ProviderInvoiceStatus::Paid, invoice.total);
        }
        let payment = world.payments.get_mut(&format!("pay_{checkout}")).unwrap();
        (payment.status, payment.captured) = (PaymentStatus::Succeeded, payment.amount);
        id
    }

    /// Lets the customer of a checkout complete it, with a payment that is not decided yet.
    pub(crate) fn complete(&self, checkout: &str, now: Timestamp, status: ProviderSubscriptionStatus) -> String {
        let mut world = self.world();
        let (new, open) = world.checkouts.get_mut(checkout).unwrap();
        let CheckoutKind::Subscription { price, quantity, trial_end, coupon, .. } = &new.kind else {
            panic!("{new:?}")
        };
        let id = format!("sub_{checkout}");
        open.status = CheckoutStatus::Complete;
        (open.subscription, open.payment, open.url) = (Some(id.clone()), Some(format!("pay_{checkout}")), None);
        let period = Some((now, trial_end.unwrap_or(now + PERIOD)));
        let item = SubscriptionItem { id: format!("si_{id}"), price: price.clone(), quantity: *quantity, period };
        let trial = ProviderSubscriptionStatus::Trialing;
        let is_trial = trial_end.is_some() && status == ProviderSubscriptionStatus::Active;
        let subscription = ProviderSubscription {
            id: id.clone(),
            reference: Some(new.reference.clone()),
            customer: new.customer.clone(),
            status: if is_trial { trial } else { status },
            items: vec![item],
            pending_change: None,
            action_url: None,
            period,
            trial_end: *trial_end,
            cancel_at: None,
            ended_at: None,
            collection_paused: false,
            discounts: coupon.iter().map(|_| percent_off(20)).collect(),
            latest_invoice: Some(format!("in_{checkout}")),
            version: None,
            created_at: now,
        };
        let amount = if is_trial { usd(0) } else { amount_of(price, *quantity) };
        let payment = ProviderPayment {
            id: format!("pay_{checkout}"),
            reference: None,
            status: PaymentStatus::RequiresAction,
            amount,
            captured: usd(0),
            refunded: usd(0),
            fee: None,
            action_url: None,
            failure: None,
            subscription: Some(id.clone()),
            created_at: now,
        };
        let invoice = new_invoice(&format!("in_{checkout}"), &id, amount, now);
        world.payments.insert(payment.id.clone(), payment);
        world.invoices.insert(invoice.id.clone(), invoice);
        world.subscriptions.insert(id.clone(), subscription);
        id
    }

    /// Creates the checkout that another process has made. Returns its id.
    pub(crate) fn restore(&self, reference: &str, customer: &str, price: &str, now: Timestamp) -> String {
        let id = format!("cs_{reference}");
        let new = NewCheckout {
            reference: reference.to_owned(),
            customer: customer.to_owned(),
            kind: CheckoutKind::Subscription {
                price: price.to_owned(),
                quantity: 1,
                trial_end: None,
                trial_end_behavior: None,
                coupon: None,
            },
            success_url: String::new(),
            cancel_url: String::new(),
            expires_at: now,
            metadata: BTreeMap::new(),
            idempotency_key: String::new(),
        };
        let open = ProviderCheckout {
            id: id.clone(),
            url: None,
            status: CheckoutStatus::Open,
            reference: Some(reference.to_owned()),
            subscription: None,
            payment: None,
            expires_at: Some(now),
        };
        self.world().checkouts.insert(id.clone(), (new, open));
        id
    }

    /// Changes a subscription, as the provider or its customer does.
    pub(crate) fn edit(&self, id: &str, edit: impl FnOnce(&mut ProviderSubscription)) {
        edit(self.world().subscriptions.get_mut(id).unwrap());
    }

    pub(crate) fn set_status(&self, id: &str, status: ProviderSubscriptionStatus) {
        self.edit(id, |subscription| subscription.status = status);
    }

    /// Bills a new period. The payment succeeds or fails.
    pub(crate) fn renew(&self, id: &str, now: Timestamp, is_paid: bool) {
        let mut world = self.world();
        let is_of_subscription = |invoice: &&ProviderInvoice| invoice.subscription.as_deref() == Some(id);
        let number = world.invoices.values().filter(is_of_subscription).count();
        let subscription = world.subscriptions.get_mut(id).unwrap();
        let invoice = format!("in_{id}_{number}");
        subscription.latest_invoice = Some(invoice.clone());
        subscription.period = Some((now, now + PERIOD));
        for item in &mut subscription.items {
            item.period = Some((now, now + PERIOD));
        }
        let amount = amount_of(&subscription.items[0].price, subscription.items[0].quantity);
        subscription.status =
            if is_paid { ProviderSubscriptionStatus::Active } else { ProviderSubscriptionStatus::PastDue };
        let mut new = new_invoice(&invoice, id, amount, now);
        new.attempts = 1;
        if is_paid {
            (new.status, new.paid) = (ProviderInvoiceStatus::Paid, amount);
        }
        world.invoices.insert(invoice, new);
    }

    /// Lets the newest invoice of a subscription be paid, or a change that waits for its payment.
    pub(crate) fn pay_newest(&self, id: &str) {
        let mut world = self.world();
        let subscription = world.subscriptions.get_mut(id).unwrap();
        subscription.status = ProviderSubscriptionStatus::Active;
        if let Some((item, _)) = subscription.pending_change.take() {
            subscription.items = vec![item];
        }
        let invoice = subscription.latest_invoice.clone().unwrap();
        let invoice = world.invoices.get_mut(&invoice).unwrap();
        (invoice.status, invoice.paid) = (ProviderInvoiceStatus::Paid, invoice.total);
    }

    pub(crate) fn edit_invoice(&self, subscription: &str, edit: impl FnOnce(&mut ProviderInvoice)) {
        let mut world = self.world();
        let invoice = world.subscriptions[subscription].latest_invoice.clone().unwrap();
        edit(world.invoices.get_mut(&invoice).unwrap());
    }
}

fn new_invoice(id: &str, subscription: &str, total: Money, now: Timestamp) -> ProviderInvoice {
    ProviderInvoice {
        id: id.to_owned(),
        number: Some(format!("N-{id}")),
        status: ProviderInvoiceStatus::Open,
        subscription: Some(subscription.to_owned()),
        total,
        paid: usd(0),
        period: Some((now, now + PERIOD)),
        attempts: 0,
        next_attempt_at: None,
        hosted_url: None,
        pdf_url: None,
        created_at: now,
    }
}

/// The module that provides the provider.
#[derive(Debug)]
pub(crate) struct ScriptedPayments(pub(crate) ScriptedProvider);

impl Module for ScriptedPayments {
    fn name(&self) -> &'static str {
        "scripted_payments"
    }

    fn register(&self, registry: &mut Registry) {
        let provider: Arc<dyn PaymentProvider> = Arc::new(self.0.clone());
        registry.provide(PaymentProviders::new([provider]));
    }
}
