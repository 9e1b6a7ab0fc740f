//! Disputes.

use omnistack_core::{
    clock::Timestamp,
    payment::{DisputePage, PaymentError, ProviderDispute},
};

use super::{
    api::PayPalApi,
    orders::{amount_at, time_text},
    sales::CAPTURE,
};
use crate::provider_api::{ApiObject, CallEffect, lost_response, path_id};

/// The type of object in errors.
const DISPUTE: &str = "dispute";
/// Number of disputes of a page. PayPal allows 50, and each is read by a call of its own.
const PAGE_SIZE: u32 = 20;

impl PayPalApi {
    /// Returns a dispute. PayPal states no fee of it.
    pub(super) async fn dispute(&self, id: &str) -> Result<ProviderDispute, PaymentError> {
        let found = self.dispute_object(id).await?;
        dispute_of(&found).ok_or_else(|| lost_response(CallEffect::Reads, "the dispute has not the documented form"))
    }

    async fn dispute_object(&self, id: &str) -> Result<ApiObject, PaymentError> {
        self.get(&format!("/v1/customer/disputes/{}", path_id(id, DISPUTE)?), &[], DISPUTE).await
    }

    /// Returns a page of the disputes that were opened since a time. The list does not state all of a dispute, so each
    /// is read.
    pub(super) async fn disputes(&self, since: Timestamp, page: Option<&str>) -> Result<DisputePage, PaymentError> {
        let (start, size) = (time_text(since), PAGE_SIZE.to_string());
        let mut query = vec![("start_time", start.as_str()), ("page_size", size.as_str())];
        query.extend(page.map(|token| ("next_page_token", token)));
        let list = self.get("/v1/customer/disputes", &query, DISPUTE).await?;
        // A list without disputes has its links.
        if list.stated_list("/items").or_else(|| list.stated_list("/links")).is_none() {
            return Err(lost_response(CallEffect::Reads, "the list has not the documented form"));
        }
        let mut disputes = Vec::new();
        for id in list.list("/items").iter().filter_map(|item| item.text("/dispute_id")) {
            match self.dispute_object(&id).await {
                Ok(found) => disputes.extend(dispute_of(&found)),
                Err(PaymentError::NotFound { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(DisputePage { disputes, next: next_page_token(&list) })
    }
}

fn dispute_of(dispute: &ApiObject) -> Option<ProviderDispute> {
    let won = has_won(dispute);
    // A compromise sends a part back.
    let returned = amount_at(dispute, "/dispute_outcome/amount_refunded").filter(|_| won == Some(false));
    Some(ProviderDispute {
        id: dispute.text("/dispute_id")?,
        payment: payment_of(dispute),
        amount: returned.or_else(|| amount_at(dispute, "/dispute_amount"))?,
        fee: None,
        won,
    })
}

/// Returns the token of the next page, which is in the query of a link.
fn next_page_token(page: &ApiObject) -> Option<String> {
    let next = page.list("/links").into_iter().find(|link| link.text("/rel").as_deref() == Some("next"))?;
    let link = next.text("/href")?;
    let (_, query) = link.split_once('?')?;
    let mut pairs = form_urlencoded::parse(query.as_bytes());
    pairs.find(|(name, _)| name == "next_page_token").map(|(_, token)| token.into_owned())
}

/// Returns whether a dispute is decided, and then whether the app has won.
pub(super) fn has_won(dispute: &ApiObject) -> Option<bool> {
    let outcome = dispute.text("/dispute_outcome/outcome_code")?;
    Some(outcome != "RESOLVED_BUYER_FAVOUR" && outcome != "ACCEPTED")
}

/// Returns the payment of a dispute: PayPal states its transaction.
pub(super) fn payment_of(dispute: &ApiObject) -> Option<String> {
    let transaction = dispute.text("/disputed_transactions/0/seller_transaction_id")?;
    Some(format!("{CAPTURE}{transaction}"))
}
