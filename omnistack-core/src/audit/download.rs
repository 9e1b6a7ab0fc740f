//! Audit entries as a file: CSV for spreadsheets, JSON lines for programs.

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, stream};

use super::{AuditFilter, AuditRecord, AuditStore, Error};
use crate::http::MAX_PAGE_SIZE;

/// Format of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DownloadFormat {
    Csv,
    JsonLines,
}

const HEADER: &str = "at,tenant,sequence,actor,on_behalf_of,action,resource,address,request_id,details,hash\r\n";

impl AuditStore {
    /// Returns the entries that match a filter, newest first, as chunks of a file. No transaction is held
    /// between chunks.
    pub(super) fn download(
        &self,
        filter: AuditFilter,
        form: DownloadFormat,
    ) -> impl Stream<Item = Result<Bytes, Error>> + Send + 'static {
        let store = self.clone();
        let first = (form == DownloadFormat::Csv).then(|| Bytes::from_static(HEADER.as_bytes()));
        // `Some(None)` is the start, `None` the end.
        let portions = stream::try_unfold(Some(None::<String>), move |after| {
            let (store, filter) = (store.clone(), filter.clone());
            async move {
                let Some(cursor) = after else { return Ok::<_, Error>(None) };
                let page = store.list(&filter, MAX_PAGE_SIZE, cursor.as_deref()).await?;
                let text: String = page.items.iter().map(|record| line(record, form)).collect();
                Ok(Some((Bytes::from(text), page.next_cursor.map(Some))))
            }
        });
        stream::iter(first.map(Ok)).chain(portions)
    }
}

fn line(record: &AuditRecord, form: DownloadFormat) -> String {
    match form {
        DownloadFormat::JsonLines => serde_json::to_string(record).unwrap_or_default() + "\n",
        DownloadFormat::Csv => {
            let mut details = record.details.clone();
            let mut taken = |name: &str| {
                let taken = details.as_mut().and_then(|details| details.as_object_mut()?.remove(name));
                taken.map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned)).unwrap_or_default()
            };
            let told = ["on_behalf_of", "address", "request_id"].map(&mut taken);
            let [on_behalf_of, address, request_id] = told;
            let text = |value: Option<String>| value.unwrap_or_default();
            let cells = [
                record.at.to_string(),
                text(record.tenant.map(|tenant| tenant.to_string())),
                record.sequence.to_string(),
                text(record.actor.map(|actor| actor.to_string())),
                on_behalf_of,
                record.action.clone(),
                text(record.resource.clone()),
                address,
                request_id,
                text(details.map(|details| details.to_string())),
                record.hash.to_string(),
            ];
            cells.map(|text| cell(&text)).join(",") + "\r\n"
        }
    }
}

/// Returns a cell (RFC 4180, section 2). Text that a spreadsheet would interpret as a formula is prefixed with
/// `'`.
fn cell(text: &str) -> String {
    let formula = text.starts_with(['=', '+', '-', '@', '\t', '\r']);
    let text = if formula { format!("'{text}") } else { text.to_owned() };
    if text.contains([',', '"', '\r', '\n']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_cell_holds() {
        for (text, written) in [
            ("plain", "plain"),
            ("a,b", "\"a,b\""),
            ("say \"hi\"", "\"say \"\"hi\"\"\""),
            ("=1+1", "'=1+1"),
            ("@x,y", "\"'@x,y\""),
            ("", ""),
        ] {
            assert_eq!(cell(text), written, "{text}");
        }
    }
}
