//! A chain as lines of JSON, to be kept and checked elsewhere.

use futures_util::{Stream, TryStreamExt as _, stream};
use serde::{Deserialize, Serialize};

use super::{
    AuditStore, Chain, Error, Head, Verified,
    chain::Walk,
    encoding::Link,
    store::{self, Ends},
    verify::{PAGE, link},
};
use crate::identity::TenantId;

/// One line.
#[derive(Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
enum Line {
    /// The first: whose chain it is, and the last entry that retention removed.
    Chain { version: u32, tenant: Option<TenantId>, after: Head },
    /// One entry.
    Entry(Link),
    /// The last: with which entry the chain ended when the export began.
    Head(Head),
}

const VERSION: u32 = 1;

enum State {
    Begin,
    /// After this number.
    Entries(Ends, i64),
    Done,
}

impl AuditStore {
    /// A chain as lines of JSON (NDJSON), each with its `\n`: one that says whose it is and where it begins, one an entry,
    /// one that says where it ended when the export began. Every entry has the fields of an
    /// [`AuditRecord`](super::AuditRecord), with `details` as the text that was hashed. [`verify_export`] checks it.
    ///
    /// Nothing is checked on the way, so that a broken chain can be exported as well. No transaction is held between
    /// portions of 500 lines, so a slow reader is no burden.
    ///
    /// # Errors
    /// [`Error::Retained`] when retention removes entries that were still to come; else the database's.
    pub fn export(&self, chain: impl Into<Chain>) -> impl Stream<Item = Result<String, Error>> + Send + 'static {
        let (store, chain) = (self.clone(), chain.into());
        let portions = stream::try_unfold(State::Begin, move |state| {
            let store = store.clone();
            async move {
                let portion = store.portion(chain, state).await?;
                Ok::<_, Error>(portion.map(|(lines, state)| (stream::iter(lines.into_iter().map(Ok)), state)))
            }
        });
        portions.try_flatten()
    }

    async fn portion(&self, chain: Chain, state: State) -> Result<Option<(Vec<String>, State)>, Error> {
        let mut tx = self.read(Some(chain)).await?;
        let now = store::ends(&mut tx, chain).await?.unwrap_or(Ends { head: Head::START, checkpoint: Head::START });
        let (ends, after) = match state {
            State::Done => return Ok(None),
            State::Begin => {
                let first = Line::Chain { version: VERSION, tenant: chain.tenant(), after: now.checkpoint };
                return Ok(Some((vec![text(&first)?], State::Entries(now, now.checkpoint.sequence))));
            }
            State::Entries(ends, after) => (ends, after),
        };
        let rows = store::page(&mut tx, chain, after, ends.head.sequence, PAGE).await?;
        // Read again: it may have moved between the two statements.
        let now = store::ends(&mut tx, chain).await?.unwrap_or(now);
        tx.commit().await?;
        if now.checkpoint.sequence > after {
            return Err(Error::Retained(chain));
        }
        let Some(last) = rows.last().map(|row| row.sequence) else {
            return Ok(Some((vec![text(&Line::Head(ends.head))?], State::Done)));
        };
        let lines = rows.into_iter().map(|row| text(&Line::Entry(link(chain, row)?)));
        Ok(Some((lines.collect::<Result<_, _>>()?, State::Entries(ends, last))))
    }
}

/// Checks an export without the database: that it is whole, and that every entry is as it was recorded.
///
/// ```
/// use omnistack_core::audit::{ErrorKind, verify_export};
///
/// let error = verify_export(["{}"]).unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::Export);
/// ```
///
/// Compare the [head](Verified::head) with one that was kept elsewhere to know that it is the chain of that time.
///
/// # Errors
/// [`Error::Broken`] with the first entry that is not as it was recorded; [`Error::Export`] for text that is not a whole
/// export.
pub fn verify_export<L: AsRef<str>>(lines: impl IntoIterator<Item = L>) -> Result<Verified, Error> {
    let mut walk: Option<Walk> = None;
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
            _ if head.is_some() => return Err(refused("comes after the end")),
            (Line::Chain { version: VERSION, tenant, after }, None) => {
                walk = Some(Walk::after(Chain::from(tenant), after));
            }
            (Line::Chain { version, .. }, None) => {
                return Err(refused(&format!("says version {version}; only {VERSION} is known here")));
            }
            (Line::Chain { .. }, Some(_)) => return Err(refused("begins another chain")),
            (_, None) => return Err(refused("is not the first of an export")),
            (Line::Entry(link), Some(walk)) => walk.step(&link)?,
            (Line::Head(last), Some(_)) => head = Some(last),
        }
    }
    let missing = |problem: &str| Error::Export { line: number + 1, problem: problem.into() };
    let walk = walk.ok_or_else(|| missing("is missing: there is nothing"))?;
    Ok(walk.end(head.ok_or_else(|| missing("is missing: it says where the chain ends"))?)?)
}

fn text(line: &Line) -> Result<String, Error> {
    let mut text = serde_json::to_string(line)
        .map_err(|error| crate::db::Error::new(crate::db::ErrorKind::Other, Box::new(error)))?;
    text.push('\n');
    Ok(text)
}
