use super::*;

const PNG: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR";
const PLAIN: &str = "text/plain; charset=utf-8";
const CSV: &str = "text/csv; charset=utf-8";
const WORD: &str = "application/vnd.openxmlformats-officedocument.wordprocessingml.document";
const MACROS: &str = "application/vnd.ms-word.document.macroEnabled.12";
const SHEET: &str = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet";
const ODT: &str = "application/vnd.oasis.opendocument.text";
const ODG: &str = "application/vnd.oasis.opendocument.graphics";
const EPUB: &str = "application/epub+zip";
const ZIP: &str = "application/zip";
const EXCEL: &str = "application/vnd.ms-excel";

fn is(first: &[u8], claimed: Option<&str>, found: Result<&str, &str>) {
    let expected = found.map(str::to_owned).map_err(str::to_owned);
    assert_eq!(media_type(first, claimed), expected, "{claimed:?} {}", String::from_utf8_lossy(first));
}

#[test]
fn the_first_bytes_say_what_it_is() {
    for (first, claimed, found) in [
        (PNG, Some("image/png"), Ok("image/png")),
        (PNG, Some("image/jpeg"), Ok("image/png")),
        (PNG, None, Ok("image/png")),
        (PNG, Some("text/plain"), Ok("image/png")),
        (PNG, Some("application/octet-stream"), Ok("image/png")),
        (PNG, Some("application/pdf"), Err("image/png")),
        (b"%PDF-1.7", Some("application/pdf"), Ok("application/pdf")),
        (b"MZ\x90\0", Some("image/png"), Err("application/vnd.microsoft.portable-executable")),
        (b"\x01\x02\x03", Some("image/png"), Err("application/octet-stream")),
        (b"\x01\x02\x03", Some("audio/mpeg"), Ok("application/octet-stream")),
        (b"\x01\x02\x03", None, Ok("application/octet-stream")),
        (b"", None, Ok(PLAIN)),
        (b"", Some("image/png"), Err("text/plain")),
        (b"<!DOCTYPE html><script>", Some("text/plain"), Ok("text/html")),
        (b"<svg xmlns='http://www.w3.org/2000/svg' onload='x'>", Some("image/png"), Ok("image/svg+xml")),
        (b"<?xml version='1.0'?><SVG>", Some("text/plain"), Ok("image/svg+xml")),
        (b"<?xml version='1.0'?><a/>", Some("application/xml"), Ok("application/xml")),
        (b"\x1aE\xdf\xa3\x42\x82\x84webm", Some("audio/webm"), Ok("audio/webm")),
        (b"\x1aE\xdf\xa3\x42\x82\x84webm", Some("audio/mp4"), Ok("video/webm")),
    ] {
        is(first, claimed, found);
    }
}

#[test]
fn text_has_a_kind_and_a_charset() {
    let utf16: Vec<u8> = "\u{feff}Имя;Größe 🎉".encode_utf16().flat_map(u16::to_le_bytes).collect();
    for (first, claimed, found) in [
        ("a,b\n1,2".as_bytes(), Some("text/csv; charset=utf-8"), CSV),
        (b"a,b\n1,2", Some("text/html"), PLAIN),
        (b"a,b\n1,2", Some(EXCEL), CSV),
        (b"a,b\n1,2", Some("application/csv"), CSV),
        ("Grüße".as_bytes(), None, PLAIN),
        ("Привет".as_bytes(), Some("text/plain; charset=windows-1251"), PLAIN),
        (b"\xef\xbb\xbfa;b", Some(EXCEL), CSV),
        (b"{}", Some("application/json"), "application/json"),
        ("<html>Grüße".as_bytes(), None, "text/html; charset=utf-8"),
        (b"<html><meta charset=koi8-r>", None, "text/html"),
        // Encodings with one byte per character: Windows-1252 and Windows-1251.
        (b"Gr\xf6\xdfe;1", Some(EXCEL), "text/csv"),
        (b"Gr\xf6\xdfe;1", Some("text/csv"), "text/csv"),
        (b"\xcf\xf0\xe8\xe2\xe5\xf2", Some("text/plain; charset=\"Windows-1251\""), "text/plain; charset=windows-1251"),
        (b"Gr\xf6\xdfe;1", Some("text/csv; charset=utf-7"), "text/csv"),
        (b"Gr\xf6\xdfe;1", None, BINARY),
        (b"Gr\xf6\xdfe;1", Some("application/json"), BINARY),
        (b"Gr\xf6\xdfe\0;1", Some("text/csv"), BINARY),
        (&utf16, Some("text/tab-separated-values"), "text/tab-separated-values; charset=utf-16"),
        (&utf16, None, "text/plain; charset=utf-16"),
    ] {
        is(first, claimed, Ok(found));
    }
}

/// Returns the start of a ZIP archive with these entries, which are not compressed.
fn zip(entries: &[(&str, &str)]) -> Vec<u8> {
    let two = |number: usize| u16::try_from(number).unwrap().to_le_bytes();
    let entry = |(name, content): &(&str, &str)| {
        let head = [b"PK\x03\x04\x14\0\0\0\0\0\0\0\0\0\0\0\0\0".as_slice(), &two(content.len()), &[0; 2]].concat();
        let sizes = [&two(content.len())[..], &[0; 2], &two(name.len()), &[0; 2]].concat();
        [head.as_slice(), &sizes, name.as_bytes(), content.as_bytes()].concat()
    };
    entries.iter().flat_map(entry).collect()
}

#[test]
fn documents_are_told_from_archives() {
    let (types, rels) = (("[Content_Types].xml", "<Types/>"), ("_rels/.rels", "<Relationships/>"));
    let (word, excel) = (("word/document.xml", "<w/>"), ("xl/workbook.xml", "<x/>"));
    let other = ("docProps/core.xml", "<c/>");
    let ole = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1".as_slice();
    for (entries, claimed, found) in [
        (vec![types, rels, other, word], None, WORD),
        (vec![types, rels, other, word], Some(ZIP), WORD),
        (vec![types, rels, other, word], Some(MACROS), "application/vnd.ms-word.document.macroenabled.12"),
        (vec![other, excel, types], Some(WORD), SHEET),
        (vec![types, rels, other], Some(WORD), WORD),
        (vec![types, rels, other], None, ZIP),
        (vec![other, word], Some(WORD), WORD),
        (vec![("mimetype", ODT), ("content.xml", "")], Some(ZIP), ODT),
        (vec![("mimetype", ODG), ("content.xml", "")], None, ODG),
        (vec![("mimetype", EPUB), ("META-INF/container.xml", "")], None, EPUB),
        (vec![("mimetype", "text/html"), ("a", "")], Some("text/html"), ZIP),
        (vec![("mimetype", "application/vnd.oasis.opendocument.a\r\nx: y")], None, ZIP),
        (vec![("mimetype", "application/vnd.oasis.opendocument.a\0")], None, ZIP),
        (vec![("content.xml", "")], Some(ODG), ODG),
        (vec![("META-INF/container.xml", "")], Some(EPUB), EPUB),
        (vec![("a.txt", "a")], Some(WORD), ZIP),
        (vec![("a.txt", "a")], Some(EPUB), ZIP),
    ] {
        is(&zip(&entries), claimed, Ok(found));
    }
    is(ole, Some("application/msword"), Ok("application/msword"));
    is(ole, Some("text/csv"), Ok("application/x-ole-storage"));
    is(b"PK\x03\x04 and no more", Some(WORD), Ok(ZIP));
}

#[test]
fn which_are_taken_and_shown() {
    let patterns = ["image/*".to_owned(), "application/pdf".to_owned(), "text/csv".to_owned()];
    assert!(
        matches_any(&patterns, "image/png") && matches_any(&patterns, "application/pdf") && matches_any(&[], "a/b")
    );
    assert!(matches_any(&patterns, "text/csv; charset=utf-8"));
    assert!(matches_any(&[MACROS.to_owned()], &MACROS.to_ascii_lowercase()));
    assert!(!matches_any(&patterns, "text/html") && !matches_any(&patterns, "imagery/png"));
    assert!(["*", "image/*", "application/pdf", MACROS].iter().all(|pattern| is_pattern(pattern)));
    assert!(!["pdf", ".png", "image", "text/csv; charset=utf-8", "image/"].iter().any(|pattern| is_pattern(pattern)));
    assert!(is_safe_inline("image/png") && is_safe_inline("text/plain; charset=utf-8"));
    assert!(!is_safe_inline("image/svg+xml") && !is_safe_inline("text/html") && !is_safe_inline("application/json"));
    assert!(is_media_type("text/csv; charset=utf-8") && !is_media_type("text") && !is_media_type("a/b\r\nx: y"));
}
