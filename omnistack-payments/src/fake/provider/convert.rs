//! The objects of the fake in the form of the port.

use omnistack_core::{
    clock::Timestamp,
    money::Money,
    payment::{
        CardExpiry, CheckoutStatus, DiscountDuration, DiscountReduction, PaymentError, PaymentMethodKind,
        PaymentStatus, ProviderCheckout, ProviderDispute, ProviderInvoice, ProviderInvoiceStatus, ProviderPayment,
        ProviderRefund, ProviderSubscription, RefundStatus, StoredPaymentMethod, SubscriptionDiscount,
        SubscriptionItem,
    },
};

use super::FakeProvider;
use crate::fake::{
    card::TestCard,
    objects::{FakeCheckout, FakeDispute, FakeInvoice, FakeMethod, FakePayment, FakeRefund, FakeSubscription},
    price::coupon_percent,
};

/// The fee of a lost dispute, in minor units of its currency.
const DISPUTE_FEE_MINOR_UNITS: i64 = 1_500;

impl FakeProvider {
    /// Returns a checkout with its page.
    pub(super) fn checkout_of(&self, checkout: FakeCheckout, now: Timestamp) -> ProviderCheckout {
        // A page that no job has closed yet accepts no payment either.
        let is_late = checkout.status == CheckoutStatus::Open && checkout.expires_at <= now;
        let status = if is_late { CheckoutStatus::Expired } else { checkout.status };
        ProviderCheckout {
            url: (status == CheckoutStatus::Open).then(|| self.bank.page_url("checkout", &checkout.id)),
            id: checkout.id,
            status,
            reference: Some(checkout.reference),
            subscription: checkout.subscription,
            payment: checkout.payment,
            expires_at: Some(checkout.expires_at),
        }
    }

    /// Returns a payment with the page on which its payer acts.
    pub(super) fn payment_of(&self, payment: FakePayment) -> ProviderPayment {
        let money = |minor| Money::new(minor, payment.amount.currency());
        let is_waiting = payment.status == PaymentStatus::RequiresAction;
        ProviderPayment {
            status: payment.status,
            amount: payment.amount,
            captured: money(payment.captured),
            refunded: money(payment.refunded),
            fee: (payment.captured > 0).then(|| money(payment.fee)),
            action_url: is_waiting.then(|| self.bank.page_url("payment", &payment.id)),
            failure: payment.decline.map(|decline| decline.message),
            id: payment.id,
            reference: payment.reference,
            subscription: payment.subscription,
            created_at: payment.created_at,
        }
    }

    /// Returns an invoice with the page on which it can be paid.
    pub(super) fn invoice_of(&self, invoice: FakeInvoice) -> ProviderInvoice {
        let is_open = invoice.status == ProviderInvoiceStatus::Open;
        ProviderInvoice {
            hosted_url: is_open.then(|| self.bank.page_url("invoice", &invoice.id)),
            paid: Money::new(invoice.paid, invoice.total.currency()),
            id: invoice.id,
            number: Some(invoice.number),
            status: invoice.status,
            subscription: Some(invoice.subscription),
            total: invoice.total,
            period: Some(invoice.period),
            attempts: invoice.attempts,
            next_attempt_at: invoice.next_attempt_at,
            pdf_url: None,
            created_at: invoice.created_at,
        }
    }
}

pub(super) fn refund_of(refund: FakeRefund) -> ProviderRefund {
    ProviderRefund {
        id: refund.id,
        reference: Some(refund.reference),
        status: RefundStatus::Succeeded,
        amount: refund.amount,
    }
}

/// Returns a dispute with its fee, which is charged if it is lost, and sent back if it is won later.
pub(super) fn dispute_of(dispute: FakeDispute) -> ProviderDispute {
    let fee = dispute.won.map(|won| if won { 0 } else { DISPUTE_FEE_MINOR_UNITS });
    ProviderDispute {
        fee: fee.map(|minor| Money::new(minor, dispute.amount.currency())),
        id: dispute.id,
        payment: Some(dispute.payment),
        amount: dispute.amount,
        won: dispute.won,
    }
}

pub(super) fn subscription_of(subscription: FakeSubscription) -> ProviderSubscription {
    let pending = subscription.pending.map(|pending| {
        let item = SubscriptionItem {
            id: subscription.item.clone(),
            price: pending.price,
            quantity: pending.quantity,
            period: None,
        };
        (item, pending.expires_at)
    });
    ProviderSubscription {
        id: subscription.id,
        reference: subscription.reference,
        customer: subscription.customer,
        status: subscription.status,
        items: vec![SubscriptionItem {
            id: subscription.item,
            price: subscription.price,
            quantity: subscription.quantity,
            period: Some(subscription.period),
        }],
        pending_change: pending,
        action_url: None,
        period: Some(subscription.period),
        trial_end: subscription.trial_end,
        cancel_at: subscription.cancel_at,
        ended_at: subscription.ended_at,
        collection_paused: subscription.collection_paused,
        discounts: subscription.coupon.as_deref().and_then(discount_of).into_iter().collect(),
        latest_invoice: subscription.latest_invoice,
        version: Some(subscription.version),
        created_at: subscription.created_at,
    }
}

/// Returns the discount of a coupon, which reduces all invoices.
fn discount_of(coupon: &str) -> Option<SubscriptionDiscount> {
    let basis_points = u16::from(coupon_percent(coupon)?) * 100;
    let reduction = DiscountReduction::BasisPoints(basis_points);
    Some(SubscriptionDiscount { reduction, duration: DiscountDuration::Forever })
}

pub(super) fn method_of(method: FakeMethod, default: Option<&str>) -> Result<StoredPaymentMethod, PaymentError> {
    Ok(StoredPaymentMethod {
        is_default: default == Some(method.id.as_str()),
        kind: PaymentMethodKind::Card,
        label: TestCard::find(&method.token)?.stored_label(),
        expires: Some(CardExpiry { month: method.expires.0, year: method.expires.1 }),
        id: method.id,
    })
}
