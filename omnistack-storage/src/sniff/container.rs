//! Container formats: documents in ZIP archives and OLE files, and containers of audio and video.

use super::{essence, is_media_type, same_top_level_type, top_level_type};

const ZIP: &str = "application/zip";
const OLE: &str = "application/x-ole-storage";
const OLE_SIGNATURE: &[u8] = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1";

/// The families of Office documents: the folder in the ZIP archive, the media type of a plain document, and the
/// prefixes of the media types of templates, shows and documents with macros.
const OFFICE: [(&str, &str, [&str; 2]); 3] = [
    (
        "word/",
        "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
        ["application/vnd.openxmlformats-officedocument.wordprocessingml.", "application/vnd.ms-word."],
    ),
    (
        "xl/",
        "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
        ["application/vnd.openxmlformats-officedocument.spreadsheetml.", "application/vnd.ms-excel."],
    ),
    (
        "ppt/",
        "application/vnd.openxmlformats-officedocument.presentationml.presentation",
        ["application/vnd.openxmlformats-officedocument.presentationml.", "application/vnd.ms-powerpoint."],
    ),
];

/// Entries of every Office document (ECMA-376, part 2).
const OFFICE_MARKERS: [&str; 2] = ["[Content_Types].xml", "_rels/.rels"];

/// Media types of documents in OLE files: Office before 2007, and Outlook.
const OLE_DOCUMENTS: [&str; 5] = [
    "application/msword",
    "application/vnd.ms-excel",
    "application/vnd.ms-outlook",
    "application/vnd.ms-powerpoint",
    "application/vnd.visio",
];

/// Returns the media type of the content of a container. This is the claimed type if the container may hold it,
/// otherwise the detected one.
pub(super) fn refine(found: &str, first: &[u8], claim: Option<&str>) -> String {
    let claim = claim.unwrap_or_default();
    let is_zip = first.starts_with(b"PK\x03\x04");
    if is_zip && (found == ZIP || found.starts_with("application/vnd.o") || found == EPUB) {
        return zip_document_type(first, claim).unwrap_or(found).to_owned();
    }
    if first.starts_with(OLE_SIGNATURE) {
        // The part of the file that says which kind of document it is comes after the examined bytes.
        return if OLE_DOCUMENTS.contains(&claim) { claim } else { OLE }.to_owned();
    }
    let same_container = || claim.split_once('/').map(|(_, name)| name) == found.split_once('/').map(|(_, name)| name);
    let stands = match found {
        "text/xml" => claim == "application/xml",
        _ => {
            top_level_type(found) != top_level_type(claim)
                && same_top_level_type(top_level_type(found), top_level_type(claim))
                && same_container()
        }
    };
    if stands { claim.to_owned() } else { found.to_owned() }
}

const EPUB: &str = "application/epub+zip";
const OPEN_DOCUMENT: &str = "application/vnd.oasis.opendocument.";

/// Returns the media type of the document that a ZIP archive is, from the entries in its first bytes and, if
/// these leave it open, from the claimed type. Returns `None` if it is no known document.
fn zip_document_type<'a>(first: &'a [u8], claim: &'a str) -> Option<&'a str> {
    let entries = entries(first);
    let has = |name: &str| entries.iter().any(|entry| entry.name == name);
    // OpenDocument and EPUB name their type in the first entry, which is not compressed.
    let declared = entries.iter().find(|entry| entry.name == "mimetype").map(|entry| entry.stored);
    let known = |text: &&str| {
        *text == EPUB || (text.starts_with(OPEN_DOCUMENT) && is_media_type(text) && *text == essence(text))
    };
    if let Some(declared) = declared.filter(known) {
        return Some(declared);
    }
    let marked = OFFICE_MARKERS.iter().any(|marker| has(marker));
    for (folder, document, prefixes) in OFFICE {
        let claimed = prefixes.iter().any(|prefix| claim.starts_with(prefix));
        let inside = entries.iter().any(|entry| entry.name.starts_with(folder));
        match (inside, claimed, marked) {
            (true, true, _) => return Some(claim),
            (true, false, true) => return Some(document),
            _ => {}
        }
    }
    let office = || OFFICE.iter().any(|(.., prefixes)| prefixes.iter().any(|prefix| claim.starts_with(prefix)));
    let inside = || OFFICE.iter().any(|(folder, ..)| entries.iter().any(|entry| entry.name.starts_with(folder)));
    let stands = (marked && office() && !inside())
        || (claim == EPUB && has("META-INF/container.xml"))
        || (claim.starts_with(OPEN_DOCUMENT) && (has("META-INF/manifest.xml") || has("content.xml")));
    stands.then_some(claim)
}

struct ZipEntry<'a> {
    name: &'a str,
    /// The bytes after the header, up to the size that the header gives. They may be compressed.
    stored: &'a str,
}

/// Returns the entries whose headers are in these bytes (APPNOTE.TXT, section 4.3.7), at any offset.
fn entries(first: &[u8]) -> Vec<ZipEntry<'_>> {
    const SIGNATURE: &[u8] = b"PK\x03\x04";
    const HEADER: usize = 30;
    let number =
        |at: usize| first.get(at..at + 2).map_or(0, |pair| usize::from(u16::from_le_bytes([pair[0], pair[1]])));
    let starts = first.windows(SIGNATURE.len()).enumerate().filter(|(_, window)| *window == SIGNATURE);
    let text = |from: usize, to: usize| first.get(from..to).and_then(|bytes| str::from_utf8(bytes).ok());
    let entry = |at: usize| {
        let name = at + HEADER..at + HEADER + number(at + 26);
        let content = name.end + number(at + 28);
        let stored = text(content, content + number(at + 18)).unwrap_or_default();
        Some(ZipEntry { name: text(name.start, name.end)?, stored })
    };
    starts.filter_map(|(at, _)| entry(at)).collect()
}
