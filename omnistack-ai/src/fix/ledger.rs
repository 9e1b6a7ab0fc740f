//! The ledger of a fix: its events in a chain of hashes, which replays to its state. No I/O.
//!
//! `hash = SHA-256` over the list `omnistack.fix.1`, tenant, fix, number, time, actor, data, previous hash, each part
//! preceded by its length in 8 bytes. Numbers are big-endian; an actor that is absent is empty.

use omnistack_core::{
    clock::Timestamp,
    crypto::Sha256,
    identity::{TenantId, UserId},
};

use super::{
    model::FixId,
    state::{FixEvent, FixState},
};

/// An event as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FixLedgerEntry {
    pub(crate) sequence: i64,
    pub(crate) at: Timestamp,
    pub(crate) actor: Option<UserId>,
    /// JSON text, exactly as it was hashed.
    pub(crate) data: String,
    pub(crate) previous: Sha256,
    pub(crate) hash: Sha256,
}

/// The number and the hash of the last entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FixLedgerHead {
    pub(crate) sequence: i64,
    pub(crate) hash: Sha256,
}

/// The reason why a ledger is not whole.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BrokenLedger {
    #[error("entry {0} is missing")]
    Gap(i64),
    #[error("entry {0} was changed")]
    Changed(i64),
    #[error("entry {0} can't be read")]
    Unreadable(i64),
    #[error("entry {0} is not permitted by the entries before it")]
    Forbidden(i64),
    #[error("the state of the fix is not that of its ledger")]
    State,
}

/// Returns the hash before the first entry: zeros.
fn start() -> Sha256 {
    Sha256::from_bytes(&[0; 32]).unwrap_or_else(|| Sha256::digest(""))
}

impl FixLedgerEntry {
    /// Creates the entry after `head`.
    pub(crate) fn after(
        head: Option<FixLedgerHead>,
        (tenant, fix): (TenantId, FixId),
        event: &FixEvent,
        actor: Option<UserId>,
        at: Timestamp,
    ) -> Result<Self, serde_json::Error> {
        let (sequence, previous) = head.map_or((1, start()), |head| (head.sequence + 1, head.hash));
        let data = serde_json::to_string(event)?;
        let mut entry = Self { sequence, at, actor, data, previous, hash: previous };
        entry.hash = entry.computed(tenant, fix);
        Ok(entry)
    }

    fn computed(&self, tenant: TenantId, fix: FixId) -> Sha256 {
        let (tenant, fix) = (tenant.uuid().into_bytes(), fix.uuid().into_bytes());
        let actor = self.actor.map(|actor| actor.uuid().into_bytes());
        Sha256::digest_list([
            b"omnistack.fix.1".as_slice(),
            &tenant,
            &fix,
            &self.sequence.to_be_bytes(),
            &self.at.as_micros().to_be_bytes(),
            actor.as_ref().map_or(&[][..], |actor| actor.as_slice()),
            self.data.as_bytes(),
            self.previous.as_bytes(),
        ])
    }

    pub(crate) fn head(&self) -> FixLedgerHead {
        FixLedgerHead { sequence: self.sequence, hash: self.hash }
    }
}

/// Replays a ledger, and returns the state that its entries lead to.
///
/// # Errors
/// [`BrokenLedger`] if an entry is missing or changed, or if the entries do not end at `head`.
pub(crate) fn replay(
    tenant: TenantId,
    fix: FixId,
    entries: &[FixLedgerEntry],
    head: FixLedgerHead,
) -> Result<FixState, BrokenLedger> {
    let mut state = None;
    let mut last = FixLedgerHead { sequence: 0, hash: start() };
    for entry in entries {
        let expected = last.sequence + 1;
        if entry.sequence != expected {
            return Err(BrokenLedger::Gap(expected));
        }
        if entry.previous != last.hash || entry.hash != entry.computed(tenant, fix) {
            return Err(BrokenLedger::Changed(expected));
        }
        let event: FixEvent = serde_json::from_str(&entry.data).map_err(|_| BrokenLedger::Unreadable(expected))?;
        let next = FixState::after(state, &event, entry.actor, entry.at);
        state = Some(next.map_err(|_| BrokenLedger::Forbidden(expected))?);
        last = entry.head();
    }
    if last != head {
        return Err(BrokenLedger::Gap(last.sequence + 1));
    }
    state.ok_or(BrokenLedger::Gap(1))
}

#[cfg(test)]
mod tests {
    use omnistack_core::id::Id;
    use uuid::Uuid;

    use super::*;
    use crate::fix::state::{FixApprover, FixStatus, tests as samples};

    fn ids() -> (TenantId, FixId) {
        (Id::from_uuid(Uuid::from_u128(1)), Id::from_uuid(Uuid::from_u128(2)))
    }

    /// Returns the ledger of a fix that was approved by a user.
    fn ledger() -> Vec<FixLedgerEntry> {
        let all = samples::events();
        let approved = FixEvent::Approved { by: FixApprover::Person, patch_hash: samples::proposal().patch_hash };
        let events = [all[0].clone(), all[1].clone(), all[2].clone(), all[3].clone(), approved];
        let mut entries: Vec<FixLedgerEntry> = Vec::new();
        for event in events {
            let head = entries.last().map(FixLedgerEntry::head);
            let user = Some(Id::from_uuid(Uuid::from_u128(3)));
            entries.push(FixLedgerEntry::after(head, ids(), &event, user, Timestamp::from_micros(5)).unwrap());
        }
        entries
    }

    fn replayed(entries: &[FixLedgerEntry]) -> Result<FixState, BrokenLedger> {
        let (tenant, fix) = ids();
        replay(tenant, fix, entries, ledger()[4].head())
    }

    #[test]
    fn a_ledger_replays_to_the_state() {
        let state = replayed(&ledger()).unwrap();
        assert_eq!(state.status, FixStatus::Approved);
        assert_eq!((state.cost_pico, state.cost_is_partial, state.attempts), (10, false, 1));
        assert_eq!(state.proposal, Some(samples::proposal()));
        assert!(state.approved_proposal().is_some());
    }

    #[test]
    fn tampering_shows() {
        let changes: [(&str, fn(&mut Vec<FixLedgerEntry>), BrokenLedger); 6] = [
            ("data", |all| all[2].data = all[2].data.replace('3', "4"), BrokenLedger::Changed(3)),
            ("actor", |all| all[4].actor = None, BrokenLedger::Changed(5)),
            ("time", |all| all[1].at = Timestamp::from_micros(6), BrokenLedger::Changed(2)),
            ("removed", |all| drop(all.remove(1)), BrokenLedger::Gap(2)),
            ("cut", |all| all.truncate(4), BrokenLedger::Gap(5)),
            ("all gone", |all| all.clear(), BrokenLedger::Gap(1)),
        ];
        for (name, change, expected) in changes {
            let mut entries = ledger();
            change(&mut entries);
            assert_eq!(replayed(&entries), Err(expected), "{name}");
        }
        let (tenant, _) = ids();
        let other = Id::from_uuid(Uuid::from_u128(9));
        assert_eq!(replay(tenant, other, &ledger(), ledger()[4].head()), Err(BrokenLedger::Changed(1)));
    }
}
