//! Disputes.

use omnistack_core::{
    clock::Timestamp,
    payment::{PaymentError, ProviderDispute},
};

use super::{
    api::PayPalApi,
    orders::{amount_at, time_text},
    sales::CAPTURE,
};
use crate::provider_api::{ApiObject, CallEffect, lost_response, path_id};

/// The type of object in errors.
const DISPUTE: &str = "dispute";
/// Number of disputes that are listed at once, the most at PayPal.
const PAGE_SIZE: u32 = 50;
/// Largest number of lists that are read.
const MAX_PAGES: u32 = 20;

impl PayPalApi {
    /// Returns a dispute. PayPal states no fee of it.
    pub(super) async fn dispute(&self, id: &str) -> Result<ProviderDispute, PaymentError> {
        let path = format!("/v1/customer/disputes/{}", path_id(id, DISPUTE)?);
        let found = self.get(&path, &[], DISPUTE).await?;
        let malformed = || lost_response(CallEffect::Reads, "the dispute has not the documented form");
        let won = has_won(&found);
        // A compromise sends a part back.
        let returned = amount_at(&found, "/dispute_outcome/amount_refunded").filter(|_| won == Some(false));
        Ok(ProviderDispute {
            id: found.text("/dispute_id").ok_or_else(malformed)?,
            payment: payment_of(&found),
            amount: returned.or_else(|| amount_at(&found, "/dispute_amount")).ok_or_else(malformed)?,
            fee: None,
            won,
        })
    }

    /// Returns the disputes that were opened since a time, at most 1,000. The list does not state all of a dispute, so
    /// each is read.
    pub(super) async fn disputes(&self, since: Timestamp) -> Result<Vec<ProviderDispute>, PaymentError> {
        let (start, size) = (time_text(since), PAGE_SIZE.to_string());
        let (mut disputes, mut token) = (Vec::new(), None::<String>);
        for _ in 0..MAX_PAGES {
            let mut query = vec![("start_time", start.as_str()), ("page_size", size.as_str())];
            query.extend(token.as_deref().map(|token| ("next_page_token", token)));
            let page = self.get("/v1/customer/disputes", &query, DISPUTE).await?;
            for id in page.list("/items").iter().filter_map(|item| item.text("/dispute_id")) {
                disputes.push(self.dispute(&id).await?);
            }
            token = next_page_token(&page);
            if token.is_none() {
                break;
            }
        }
        Ok(disputes)
    }
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
