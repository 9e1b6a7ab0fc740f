//! The files of Swagger UI, read from the ZIP archive of its release.

use std::io::Read as _;

use flate2::read::DeflateDecoder;
use utoipa_swagger_ui_vendored::SWAGGER_UI_VENDORED;

/// The folder of the files that a page loads, below the only folder at the root of the archive.
const FOLDER: &str = "dist/";
/// Signature of the record at the end of an archive, which has the position of the directory.
const END_OF_DIRECTORY: &[u8] = b"PK\x05\x06";
/// Signature of an entry of the directory.
const DIRECTORY_ENTRY: &[u8] = b"PK\x01\x02";
/// Compression methods.
const STORED: usize = 0;
const DEFLATED: usize = 8;

/// Returns a file of Swagger UI, such as `swagger-ui.css`, or `None` if there is no file of this name.
pub(super) fn file(name: &str) -> Option<Vec<u8>> {
    let archive = SWAGGER_UI_VENDORED;
    let end = archive.windows(END_OF_DIRECTORY.len()).rposition(|bytes| bytes == END_OF_DIRECTORY)?;
    let mut position = u32_at(archive, end + 16)?;
    for _ in 0..u16_at(archive, end + 10)? {
        let entry = Entry::at(archive, position)?;
        if entry.path.split_once('/').and_then(|(_, path)| path.strip_prefix(FOLDER)) == Some(name) {
            return entry.contents(archive);
        }
        position = entry.end;
    }
    None
}

/// An entry of the directory of an archive.
struct Entry<'a> {
    path: &'a str,
    method: usize,
    compressed_size: usize,
    /// Position of the header in front of the file's contents.
    header: usize,
    /// Position of the next entry.
    end: usize,
}

impl<'a> Entry<'a> {
    fn at(archive: &'a [u8], position: usize) -> Option<Self> {
        let entry = archive.get(position..)?;
        if !entry.starts_with(DIRECTORY_ENTRY) {
            return None;
        }
        let path_end = 46 + u16_at(entry, 28)?;
        Some(Self {
            path: std::str::from_utf8(entry.get(46..path_end)?).ok()?,
            method: u16_at(entry, 10)?,
            compressed_size: u32_at(entry, 20)?,
            header: u32_at(entry, 42)?,
            end: position + path_end + u16_at(entry, 30)? + u16_at(entry, 32)?,
        })
    }

    fn contents(&self, archive: &[u8]) -> Option<Vec<u8>> {
        let header = archive.get(self.header..)?;
        let start = 30 + u16_at(header, 26)? + u16_at(header, 28)?;
        let compressed = header.get(start..start + self.compressed_size)?;
        match self.method {
            STORED => Some(compressed.to_vec()),
            DEFLATED => {
                let mut contents = Vec::new();
                DeflateDecoder::new(compressed).read_to_end(&mut contents).ok()?;
                Some(contents)
            }
            _ => None,
        }
    }
}

/// Returns the 16-bit number at a position, or `None` beyond the end.
fn u16_at(bytes: &[u8], position: usize) -> Option<usize> {
    bytes.get(position..)?.first_chunk().map(|bytes| usize::from(u16::from_le_bytes(*bytes)))
}

/// Returns the 32-bit number at a position, or `None` beyond the end.
fn u32_at(bytes: &[u8], position: usize) -> Option<usize> {
    bytes.get(position..)?.first_chunk().and_then(|bytes| usize::try_from(u32::from_le_bytes(*bytes)).ok())
}

#[cfg(test)]
mod tests {
    use super::file;

    #[test]
    fn files_are_read_by_their_names() {
        for (name, start, length) in [
            ("index.html", "<!-- HTML", 100..10_000),
            ("swagger-ui.css", ".swagger-ui", 100_000..1_000_000),
            ("swagger-ui-bundle.js", "/*! For license", 1_000_000..5_000_000),
            ("favicon-16x16.png", "\u{fffd}PNG", 100..10_000),
        ] {
            let contents = file(name).unwrap();
            assert!(String::from_utf8_lossy(&contents).starts_with(start), "{name}");
            assert!(length.contains(&contents.len()), "{name}: {} bytes", contents.len());
        }
        for name in ["swagger-ui", "dist/index.html", "../package.json", "/etc/passwd"] {
            assert_eq!(file(name), None, "{name}");
        }
    }
}
