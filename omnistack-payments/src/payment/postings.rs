//! The double-entry ledger of payments.
//!
//! The balance of each account follows from what was captured, refunded, charged back and charged as a fee, so the
//! entries of a change are the difference of the balances after it and before it. Each posting sums to zero in each
//! currency.

use omnistack_core::{
    clock::Timestamp, data_environment::DataEnvironment, db::StatementGroup, id::Id, identity::TenantId,
};

use super::model::PaymentId;

/// The marker of ids of entries.
enum EntryMarker {}

/// An account of the ledger. A debit is positive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum LedgerAccount {
    /// The money that providers hold for the tenant.
    PspClearing,
    /// The fees of providers.
    Fees,
    /// The payments, as a negative amount.
    Revenue,
    /// The refunds of payments.
    Refunds,
    /// The money that payers have got back by lost disputes.
    Disputes,
    /// The money that payers have paid too much, as a negative amount.
    Receivable,
}

impl LedgerAccount {
    const fn as_str(self) -> &'static str {
        match self {
            Self::PspClearing => "psp_clearing",
            Self::Fees => "fees",
            Self::Revenue => "revenue",
            Self::Refunds => "refunds",
            Self::Disputes => "disputes",
            Self::Receivable => "receivable",
        }
    }
}

/// The money of a payment, in minor units of its currency.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct PaymentTotals {
    /// The amount that the payer owes.
    pub(super) amount: i64,
    pub(super) captured: i64,
    pub(super) refunded: i64,
    pub(super) charged_back: i64,
}

impl PaymentTotals {
    /// Returns the balances of the accounts.
    fn balances(self) -> [(LedgerAccount, i64); 5] {
        let Self { amount, captured, refunded, charged_back } = self;
        let sale = captured.min(amount);
        let surplus = captured - sale;
        // What was paid too much is sent back first.
        let surplus_refunded = refunded.min(surplus);
        let surplus_charged_back = charged_back.min(surplus - surplus_refunded);
        [
            (LedgerAccount::PspClearing, captured - refunded - charged_back),
            (LedgerAccount::Revenue, -sale),
            (LedgerAccount::Refunds, refunded - surplus_refunded),
            (LedgerAccount::Disputes, charged_back - surplus_charged_back),
            (LedgerAccount::Receivable, surplus_refunded + surplus_charged_back - surplus),
        ]
    }
}

/// An entry: an account, an amount in minor units, and the code of its currency.
pub(super) type NewLedgerEntry = (LedgerAccount, i64, String);

/// Returns the entries of a change of the money of a payment.
pub(super) fn money_entries(before: PaymentTotals, after: PaymentTotals, currency: &str) -> Vec<NewLedgerEntry> {
    let changes = before.balances().into_iter().zip(after.balances());
    let entries = changes.map(|((account, before), (_, after))| (account, after - before, currency.to_owned()));
    entries.filter(|(_, amount, _)| *amount != 0).collect()
}

/// Returns the entries of a change of a fee. The fee can be in another currency than the payment.
pub(super) fn fee_entries(change: i64, currency: &str) -> Vec<NewLedgerEntry> {
    if change == 0 {
        return Vec::new();
    }
    let currency = currency.to_owned();
    vec![(LedgerAccount::Fees, change, currency.clone()), (LedgerAccount::PspClearing, -change, currency)]
}

const INSERT: &str = "insert into omni_payment_entries (id, tenant_id, environment, payment_id, posting_id, account,
    amount, currency, created_at) values";
/// The number of columns of a row of [`INSERT`].
const INSERTED_COLUMNS: usize = 9;

/// The payment that entries are about.
#[derive(Clone, Copy, Debug)]
pub(super) struct PostingScope {
    pub(super) tenant: TenantId,
    pub(super) environment: DataEnvironment,
    pub(super) payment: PaymentId,
}

/// Adds the statement that inserts the entries of one posting to a group.
pub(super) fn insert(group: &mut StatementGroup, scope: PostingScope, entries: &[NewLedgerEntry], now: Timestamp) {
    if entries.is_empty() {
        return;
    }
    let row_of = |row: usize| {
        let placeholders = (1..=INSERTED_COLUMNS).map(|column| format!("${}", row * INSERTED_COLUMNS + column));
        format!("({})", placeholders.collect::<Vec<_>>().join(", "))
    };
    let rows: Vec<_> = (0..entries.len()).map(row_of).collect();
    let posting: Id<EntryMarker> = Id::new(now);
    let values = group.add(format!("{INSERT} {}", rows.join(", ")));
    for (account, amount, currency) in entries {
        values.push(Id::<EntryMarker>::new(now));
        values.push(scope.tenant);
        values.push(scope.environment.as_str());
        values.push(scope.payment);
        values.push(posting);
        values.push(account.as_str());
        values.push(*amount);
        values.push(currency.clone());
        values.push(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACCOUNTS: [LedgerAccount; 5] = [
        LedgerAccount::PspClearing,
        LedgerAccount::Fees,
        LedgerAccount::Revenue,
        LedgerAccount::Refunds,
        LedgerAccount::Receivable,
    ];

    fn totals(captured: i64, refunded: i64) -> PaymentTotals {
        PaymentTotals { amount: 100, captured, refunded, charged_back: 0 }
    }

    #[test]
    fn each_posting_sums_to_zero_and_the_order_of_changes_has_no_effect() {
        let steps = [(0, 0), (100, 0), (100, 30), (200, 30), (200, 130), (200, 200)];
        for from in steps {
            for to in steps {
                let entries = money_entries(totals(from.0, from.1), totals(to.0, to.1), "EUR");
                assert_eq!(entries.iter().map(|(_, amount, _)| amount).sum::<i64>(), 0, "{from:?} {to:?}");
            }
        }
        for (path, expected) in [
            (vec![(0, 0), (100, 0)], [100, 0, -100, 0, 0]),
            (vec![(0, 0), (100, 0), (100, 30)], [70, 0, -100, 30, 0]),
            (vec![(0, 0), (100, 0), (200, 0)], [200, 0, -100, 0, -100]),
            (vec![(0, 0), (100, 0), (200, 0), (200, 100)], [100, 0, -100, 0, 0]),
            (vec![(0, 0), (100, 0), (100, 100), (200, 100)], [100, 0, -100, 0, 0]),
            (vec![(0, 0), (200, 100)], [100, 0, -100, 0, 0]),
        ] {
            let changes = path
                .windows(2)
                .flat_map(|step| money_entries(totals(step[0].0, step[0].1), totals(step[1].0, step[1].1), "EUR"));
            let entries: Vec<_> = changes.collect();
            let balance = |account| -> i64 {
                entries.iter().filter(|(of, ..)| *of == account).map(|(_, amount, _)| amount).sum()
            };
            assert_eq!(ACCOUNTS.map(balance), expected, "{path:?}");
        }
        // Of 200 that were paid for 100, a dispute takes the surplus first; the rest is a loss, until it is won.
        let disputed = |charged_back| PaymentTotals { charged_back, ..totals(200, 30) };
        for (charged_back, expected) in [(0, [170, 0, -70]), (70, [100, 0, 0]), (170, [0, 100, 0])] {
            let entries = money_entries(totals(0, 0), disputed(charged_back), "EUR");
            let balance = |account| -> i64 {
                entries.iter().filter(|(of, ..)| *of == account).map(|(_, amount, _)| amount).sum()
            };
            let accounts = [LedgerAccount::PspClearing, LedgerAccount::Disputes, LedgerAccount::Receivable];
            assert_eq!(accounts.map(balance), expected, "{charged_back}");
            let back: i64 = money_entries(disputed(charged_back), totals(200, 30), "EUR").iter().map(|one| one.1).sum();
            assert_eq!(back, 0);
        }
        assert!(fee_entries(0, "EUR").is_empty());
        assert_eq!(fee_entries(-3, "USD").iter().map(|(_, amount, _)| amount).sum::<i64>(), 0);
    }
}
