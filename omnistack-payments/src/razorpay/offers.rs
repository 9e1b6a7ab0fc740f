//! Offers: Razorpay's coupons for subscriptions.

use omnistack_core::{
    money::Money,
    payment::{DiscountDuration, DiscountReduction, PaymentError, ProviderSubscription, SubscriptionDiscount},
};

use super::{
    api::{RazorpayApi, amount_at},
    subscriptions::{PAGE_SIZE, SUBSCRIPTION, quantity_of, read_after_change, subscription_path},
};
use crate::provider_api::{ApiObject, path_id};

impl RazorpayApi {
    /// Returns the discount that a subscription has by its offer, or none without an offer.
    ///
    /// Razorpay's API states neither the amount of an offer nor the number of its periods. So the discount is the
    /// difference between the price of a period and the newest payment of a whole period. It counts until a later
    /// payment shows another difference. Without such a payment, the reduction is unknown.
    pub(super) async fn discounts_of(
        &self,
        subscription: &ApiObject,
    ) -> Result<Vec<SubscriptionDiscount>, PaymentError> {
        if subscription.text("/offer_id").is_none() {
            return Ok(Vec::new());
        }
        let reduction = match self.newest_reduction(subscription).await? {
            // The offer gives cash back, or its periods are over.
            Some(reduction) if reduction.minor() <= 0 => return Ok(Vec::new()),
            Some(reduction) => DiscountReduction::Amount(reduction),
            None => DiscountReduction::Unknown,
        };
        Ok(vec![SubscriptionDiscount { reduction, duration: DiscountDuration::Forever }])
    }

    /// Returns the difference between the price of a period and the newest payment of a whole period, or `None` if
    /// there is no such payment. An invoice with another gross amount is skipped: it bills a change within a period, or
    /// an earlier plan.
    async fn newest_reduction(&self, subscription: &ApiObject) -> Result<Option<Money>, PaymentError> {
        let (Some(id), Some(plan)) = (subscription.text("/id"), subscription.text("/plan_id")) else { return Ok(None) };
        if subscription.integer("/paid_count").unwrap_or(0) == 0 {
            return Ok(None);
        }
        let item = self.plan(&plan).await?.get("/item");
        let Some(price) = item.and_then(|item| price_of(&item, quantity_of(subscription))) else { return Ok(None) };
        let count = PAGE_SIZE.to_string();
        let query = [("subscription_id", id.as_str()), ("count", count.as_str())];
        let invoices = self.get("/v1/invoices", &query, "invoice").await?;
        // The newest is first.
        let is_whole = |invoice: &ApiObject| amount_at(invoice, "/gross_amount") == Some(price);
        let whole = invoices.list("/items").into_iter().find(is_whole);
        let Some(payment) = whole.and_then(|invoice| invoice.text("/payment_id")) else { return Ok(None) };
        let payment = self.get(&format!("/v1/payments/{}", path_id(&payment, "payment")?), &[], "payment").await?;
        let paid = amount_at(&payment, "/amount").filter(|paid| paid.currency() == price.currency());
        Ok(paid.and_then(|paid| Some(Money::new(price.minor().checked_sub(paid.minor())?, price.currency()))))
    }

    /// Removes the offer of a subscription.
    pub(super) async fn remove_offer(&self, id: &str) -> Result<ProviderSubscription, PaymentError> {
        let object = self.get(&subscription_path(id, "")?, &[], SUBSCRIPTION).await?;
        if let Some(offer) = object.text("/offer_id") {
            let offer = path_id(&offer, "coupon")?;
            self.delete(&subscription_path(id, &format!("/{offer}"))?, SUBSCRIPTION).await?;
        }
        self.subscription(id).await.map_err(read_after_change)
    }
}

/// Returns the price of a period for this quantity, or `None` if the plan's item has no valid price.
fn price_of(item: &ApiObject, quantity: u64) -> Option<Money> {
    let price = amount_at(item, "/amount")?;
    Some(Money::new(price.minor().checked_mul(i64::try_from(quantity).ok()?)?, price.currency()))
}
