//! Uses of credits, and their return.

use omnistack_core::{
    clock::Timestamp,
    db::Tx,
    http::{Error, StatusCode},
    identity::TenantId,
    usage::DataEnvironment,
};

use super::{
    credits::Credits,
    entries::{self, EntryGrants, EntryRow, NewEntry, StoredPart},
    events::WalletLow,
    grants::expire_due,
    handle::{Wallets, check_transaction},
    model::{
        CreditPart, CreditReturn, CreditUse, UseCredits, WalletEntryKind, amount_problem, check, description_problem,
        key_problem,
    },
    rules,
    store::{self, GrantRow, Wallet, WalletKey},
};

/// Number of grants that a use reads at once.
const GRANTS_PER_READ: usize = 50;

impl Wallets {
    /// Uses credits in the caller's transaction, which is one of the use's tenant in the app's database. A second use
    /// of the tenant and environment with the same key and amount changes nothing, and returns the result of the first.
    ///
    /// Transactions that change the wallet of a tenant wait for each other until they commit, so use credits late in
    /// the transaction.
    ///
    /// # Errors
    /// 402 `CREDITS_EXHAUSTED` with the details `needed` and `balance` if the balance is smaller than the amount; 409
    /// `CREDIT_USE_CONFLICT` if there is a use with this key and another amount; 422 for a key, amount or description
    /// out of its range; the errors of the database.
    pub async fn use_in(&self, tx: &mut Tx, request: UseCredits) -> Result<CreditUse, Error> {
        check_transaction(tx)?;
        let UseCredits { tenant, environment, key, amount, description } = request;
        check([key_problem(&key), amount_problem("amount", amount), description_problem(&description)])?;
        let now = self.now();
        let Some(mut wallet) = store::lock(tx, WalletKey { tenant, environment }).await? else {
            return Err(exhausted(amount, Credits::ZERO));
        };
        if let Some(entry) = entries::find(tx, wallet.key, WalletEntryKind::Used, &key).await? {
            if entry.amount() != -amount {
                return Err(conflict("CREDIT_USE_CONFLICT", "use", &key, -entry.amount()));
            }
            return Ok(CreditUse { entry: entry.id, balance: entry.balance() });
        }
        expire_due(tx, &mut wallet, now).await?;
        if wallet.balance < amount {
            return Err(exhausted(amount, wallet.balance));
        }
        let mut parts = take(tx, &wallet, amount, now).await?;
        wallet.advance(now);
        wallet.change_balance(-amount);
        let becomes_low = wallet.note_low();
        let stored: Vec<_> = parts.iter().map(|part| StoredPart::new(*part, false)).collect();
        parts.sort_by_key(|part| part.grant_id);
        for CreditPart { grant_id, amount } in parts {
            store::change_remaining(tx, wallet.key, grant_id, -amount).await?;
        }
        let entry = NewEntry {
            kind: WalletEntryKind::Used,
            amount: -amount,
            grants: EntryGrants::Parts(&stored),
            key: &key,
            description: &description,
        };
        let entry = entries::insert(tx, &wallet, entry, now).await?;
        store::update(tx, &wallet).await?;
        if becomes_low {
            self.report_low_in(tx, &wallet).await?;
        }
        Ok(CreditUse { entry, balance: wallet.balance })
    }

    /// Returns credits of a use to their grants, in the caller's transaction: to the grant that was used last first.
    /// Credits of a grant that has expired or was refunded are lost. Credits of a use can be returned once: a second call with the
    /// same amount changes nothing, and returns the result of the first.
    ///
    /// # Errors
    /// 404 if there is no use with this key; 409 `CREDIT_RETURN_TOO_LARGE` if the use was smaller than the amount; 409
    /// `CREDIT_RETURN_CONFLICT` if another amount of the use was returned before; 422 if the amount is not more than
    /// zero; the errors of the database.
    pub async fn return_in(
        &self,
        tx: &mut Tx,
        tenant: TenantId,
        environment: DataEnvironment,
        key: &str,
        amount: Credits,
    ) -> Result<CreditReturn, Error> {
        check_transaction(tx)?;
        check([amount_problem("amount", amount)])?;
        let no_use = || Error::not_found("the use of credits");
        let now = self.now();
        let mut wallet = store::lock(tx, WalletKey { tenant, environment }).await?.ok_or_else(no_use)?;
        if let Some(entry) = entries::find(tx, wallet.key, WalletEntryKind::Returned, key).await? {
            return earlier_return(&entry, key, amount);
        }
        let used = entries::find(tx, wallet.key, WalletEntryKind::Used, key).await?.ok_or_else(no_use)?;
        let used_parts: Vec<_> = used.parts()?.into_iter().map(StoredPart::part).collect();
        let mut parts = rules::give_back(&used_parts, amount).ok_or_else(|| return_too_large(-used.amount()))?;
        expire_due(tx, &mut wallet, now).await?;
        parts.sort_by_key(|part| part.grant_id);
        let mut stored = Vec::with_capacity(parts.len());
        let (mut returned, mut lost) = (Credits::ZERO, Credits::ZERO);
        for part in parts {
            let grant = store::grant_by_id(tx, wallet.key, part.grant_id).await?;
            let has_expired = grant.is_none_or(|grant| grant.has_expired(now));
            if has_expired {
                lost = lost + part.amount;
            } else {
                returned = returned + part.amount;
                store::change_remaining(tx, wallet.key, part.grant_id, part.amount).await?;
            }
            stored.push(StoredPart::new(part, has_expired));
        }
        wallet.advance(now);
        wallet.change_balance(returned);
        wallet.clear_low();
        let entry = NewEntry {
            kind: WalletEntryKind::Returned,
            amount: returned,
            grants: EntryGrants::Parts(&stored),
            key,
            description: used.description(),
        };
        let entry = entries::insert(tx, &wallet, entry, now).await?;
        store::update(tx, &wallet).await?;
        Ok(CreditReturn { entry, returned, lost, balance: wallet.balance })
    }

    /// Tells the tenant that the balance has become low, and requests the automatic top-up, if there is one.
    pub(super) async fn report_low_in(&self, tx: &mut Tx, wallet: &Wallet) -> Result<(), Error> {
        let WalletKey { tenant, environment } = wallet.key;
        self.request_top_up_in(tx, wallet).await?;
        self.0.events.publish_in(tx, &WalletLow::new(tenant, environment, wallet.balance)).await?;
        Ok(())
    }
}

/// Returns the parts of the grants that a use takes.
async fn take(tx: &mut Tx, wallet: &Wallet, amount: Credits, now: Timestamp) -> Result<Vec<CreditPart>, Error> {
    let mut grants = Vec::new();
    loop {
        let more = store::open_grants(tx, wallet.key, now, grants.len(), GRANTS_PER_READ).await?;
        let is_last = more.len() < GRANTS_PER_READ;
        grants.extend(more.iter().map(GrantRow::open));
        if let Some(parts) = rules::take(&grants, amount) {
            return Ok(parts);
        }
        if is_last {
            return Err(Error::internal("the grants of a wallet have less than its balance"));
        }
    }
}

/// Returns the result of a return that has happened before.
fn earlier_return(entry: &EntryRow, key: &str, amount: Credits) -> Result<CreditReturn, Error> {
    let lost: Credits = entry.parts()?.into_iter().filter(|part| part.is_lost()).map(StoredPart::amount).sum();
    let returned = entry.amount();
    if returned + lost != amount {
        return Err(conflict("CREDIT_RETURN_CONFLICT", "return", key, returned + lost));
    }
    Ok(CreditReturn { entry: entry.id, returned, lost, balance: entry.balance() })
}

fn exhausted(needed: Credits, balance: Credits) -> Error {
    let message = format!("this needs {needed} credits, and the balance is {balance}; buy more credits");
    let error = Error::new(StatusCode::PAYMENT_REQUIRED, "CREDITS_EXHAUSTED", message);
    error.with_detail("needed", needed).with_detail("balance", balance)
}

fn conflict(code: &'static str, what: &str, key: &str, amount: Credits) -> Error {
    let message = format!("there is a {what} `{key}` of {amount} credits; send the same amount, or another key");
    Error::conflict(code, message).with_detail("amount", amount)
}

fn return_too_large(used: Credits) -> Error {
    let message = format!("the use was {used} credits; return at most as many");
    Error::conflict("CREDIT_RETURN_TOO_LARGE", message).with_detail("used", used)
}
