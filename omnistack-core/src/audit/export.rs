//! Export of a chain as lines of JSON, to be stored and verified outside the database.

use futures_util::{Stream, TryStreamExt as _, stream};
use serde::{Deserialize, Serialize};

use super::{
    AuditChain, AuditStore, ChainHead, Error, VerificationReport,
    chain::ChainVerifier,
    encoding::ChainedEntry,
    store::{self, ChainEnds},
    verify::{ENTRIES_PER_PAGE, link},
};
use crate::identity::TenantId;

/// Line of an export.
#[derive(Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
enum ExportLine {
    /// First line: the chain, and the last entry that retention deleted.
    Chain { version: u32, tenant: Option<TenantId>, after: ChainHead },
    /// Audit entry.
    Entry(ChainedEntry),
    /// Last line: the head of the chain when the export began.
    Head(ChainHead),
}

const VERSION: u32 = 1;

enum ExportState {
    Begin,
    /// Entries after this number follow, up to the head.
    Entries(ChainEnds, i64),
    Done,
}

impl AuditStore {
    /// Exports a chain as lines of JSON (NDJSON), each ending in `\n`: one line that names the chain and its
    /// start, one per entry, and one with the head of the chain when the export began. Every entry has the
    /// fields of an [`AuditRecord`](super::AuditRecord), with `details` as the text that was hashed.
    /// [`verify_export`] verifies an export.
    ///
    /// The export does not verify the chain, so a broken chain can be exported as well. No transaction is held
    /// between pages of 500 lines, so a slow reader blocks nothing.
    ///
    /// # Errors
    ///
    /// Fails with [`Error::DeletedDuringExport`] if retention deletes entries that were not exported yet, or with
    /// [`Error::Database`].
    pub fn export(&self, chain: impl Into<AuditChain>) -> impl Stream<Item = Result<String, Error>> + Send + 'static {
        let (store, chain) = (self.clone(), chain.into());
        let portions = stream::try_unfold(ExportState::Begin, move |state| {
            let store = store.clone();
            async move {
                let portion = store.portion(chain, state).await?;
                Ok::<_, Error>(portion.map(|(lines, state)| (stream::iter(lines.into_iter().map(Ok)), state)))
            }
        });
        portions.try_flatten()
    }

    async fn portion(
        &self,
        chain: AuditChain,
        state: ExportState,
    ) -> Result<Option<(Vec<String>, ExportState)>, Error> {
        let mut tx = self.read(Some(chain)).await?;
        let now = store::ends(&mut tx, chain)
            .await?
            .unwrap_or(ChainEnds { head: ChainHead::START, checkpoint: ChainHead::START });
        let (ends, after) = match state {
            ExportState::Done => return Ok(None),
            ExportState::Begin => {
                let first = ExportLine::Chain { version: VERSION, tenant: chain.tenant(), after: now.checkpoint };
                return Ok(Some((vec![text(&first)?], ExportState::Entries(now, now.checkpoint.sequence))));
            }
            ExportState::Entries(ends, after) => (ends, after),
        };
        let rows = store::page(&mut tx, chain, after, ends.head.sequence, ENTRIES_PER_PAGE).await?;
        // Read again, because retention may have run between the two statements.
        let now = store::ends(&mut tx, chain).await?.unwrap_or(now);
        tx.commit().await?;
        if now.checkpoint.sequence > after {
            return Err(Error::DeletedDuringExport(chain));
        }
        let Some(last) = rows.last().map(|row| row.sequence) else {
            return Ok(Some((vec![text(&ExportLine::Head(ends.head))?], ExportState::Done)));
        };
        let lines = rows.into_iter().map(|row| text(&ExportLine::Entry(link(chain, row)?)));
        Ok(Some((lines.collect::<Result<_, _>>()?, ExportState::Entries(ends, last))))
    }
}

/// Verifies an export without the database: that it is complete, and that every entry is as it was recorded.
///
/// ```
/// use omnistack_core::audit::{ErrorKind, verify_export};
///
/// let error = verify_export(["{}"]).unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::Export);
/// ```
///
/// To verify that it is the chain of a given time, compare the [head](VerificationReport::head) with one that was kept.
///
/// # Errors
///
/// Fails with [`Error::Broken`] for the first entry that differs from what was recorded, and with
/// [`Error::Export`] if the text is not a complete export.
pub fn verify_export<L: AsRef<str>>(lines: impl IntoIterator<Item = L>) -> Result<VerificationReport, Error> {
    let mut walk: Option<ChainVerifier> = None;
    let mut head = None;
    let mut number = 0;
    for line in lines {
        number += 1;
        let line = line.as_ref().trim_end_matches(['\n', '\r']);
        let refused = |problem: &str| Error::Export { line: number, problem: problem.into() };
        if line.is_empty() {
            continue;
        }
        let parsed = serde_json::from_str(line).map_err(|error| refused(&format!("can't be read: {error}")))?;
        match (parsed, &mut walk) {
            _ if head.is_some() => return Err(refused("follows the last line of the export")),
            (ExportLine::Chain { version: VERSION, tenant, after }, None) => {
                walk = Some(ChainVerifier::after(AuditChain::from(tenant), after));
            }
            (ExportLine::Chain { version, .. }, None) => {
                return Err(refused(&format!("has version {version}; only version {VERSION} is supported")));
            }
            (ExportLine::Chain { .. }, Some(_)) => return Err(refused("starts a second chain")),
            (_, None) => return Err(refused("comes before the first line of an export")),
            (ExportLine::Entry(link), Some(walk)) => walk.step(&link)?,
            (ExportLine::Head(last), Some(_)) => head = Some(last),
        }
    }
    let missing = |problem: &str| Error::Export { line: number + 1, problem: problem.into() };
    let walk = walk.ok_or_else(|| missing("is missing: the export is empty"))?;
    Ok(walk.end(head.ok_or_else(|| missing("is missing: it contains the head"))?)?)
}

fn text(line: &ExportLine) -> Result<String, Error> {
    let mut text = serde_json::to_string(line)
        .map_err(|error| crate::db::Error::new(crate::db::ErrorKind::Other, Box::new(error)))?;
    text.push('\n');
    Ok(text)
}
