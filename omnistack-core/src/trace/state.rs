//! The `tracestate` list: one entry per tracing system.

/// Limits: entries in the list (section 3.3.1.1), and bytes kept of the whole list (section 3.3.1.5).
const MAX_ENTRIES: usize = 32;
const MAX_LIST_BYTES: usize = 512;

/// Entries longer than this many bytes are dropped first.
const LONG_ENTRY_BYTES: usize = 128;

/// Joins the headers to one list. Returns `None` if it is not valid, or empty.
pub(super) fn read<'a>(headers: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let entries = headers.into_iter().flat_map(|header| header.split(','));
    // An empty entry is allowed and ignored.
    let mut list: Vec<_> =
        entries.map(|entry| entry.trim_matches([' ', '\t'])).filter(|entry| !entry.is_empty()).collect();
    if list.len() > MAX_ENTRIES || !list.iter().all(|entry| is_valid(entry)) {
        return None;
    }
    let keys = || list.iter().map(|entry| entry.split_once('=').map(|(key, _)| key));
    if keys().enumerate().any(|(index, key)| keys().take(index).any(|other| other == key)) {
        return None;
    }
    if length(&list) > MAX_LIST_BYTES {
        list.retain(|entry| entry.len() <= LONG_ENTRY_BYTES);
    }
    while length(&list) > MAX_LIST_BYTES {
        list.pop();
    }
    (!list.is_empty()).then(|| list.join(","))
}

fn length(list: &[&str]) -> usize {
    list.iter().map(|entry| entry.len() + 1).sum::<usize>().saturating_sub(1)
}

/// Returns whether an entry is `key=value` or `tenant@system=value` (sections 3.3.1.3.1 and 3.3.1.3.2).
fn is_valid(entry: &str) -> bool {
    let Some((key, value)) = entry.split_once('=') else { return false };
    let simple = |key: &str, longest: usize, digit_first: bool| {
        let rest = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'*' | b'/');
        let first =
            key.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase() || digit_first && byte.is_ascii_digit());
        first && key.len() <= longest && key.bytes().all(rest)
    };
    let key = match key.split_once('@') {
        None => simple(key, 256, false),
        Some((tenant, system)) => simple(tenant, 241, true) && simple(system, 14, false),
    };
    let value =
        (1..=256).contains(&value.len()) && value.bytes().all(|byte| matches!(byte, b' '..=b'~') && byte != b'=');
    key && value
}
