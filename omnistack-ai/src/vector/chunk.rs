//! The division of a document into chunks. No I/O.

/// Smallest size of a chunk, in characters.
pub(super) const MIN_CHUNK_CHARACTERS: u32 = 100;
/// Largest size of a chunk, in characters.
pub(super) const MAX_CHUNK_CHARACTERS: u32 = 8_000;

/// Ends of chunks, the best first.
const ENDS: [&str; 5] = ["\n\n", "\n", ". ", "。", " "];

/// Divides a text into chunks of at most `size` characters. A chunk ends at the end of a paragraph, a line, a sentence
/// or a word, if there is one in its second half. Each chunk but the first begins with about `overlap` characters of
/// the previous one, at most a quarter of `size`. The same text has the same chunks always.
pub(super) fn chunks(text: &str, size: u32, overlap: u32) -> Vec<&str> {
    let size = usize::try_from(size).unwrap_or(usize::MAX).max(1);
    let overlap = usize::try_from(overlap).unwrap_or(0).min(size / 4);
    let mut chunks = Vec::new();
    let mut start = 0;
    while start < text.len() {
        let rest = &text[start..];
        let end = start + chunk_length(rest, size);
        let chunk = text[start..end].trim();
        if !chunk.is_empty() {
            chunks.push(chunk);
        }
        if end == text.len() {
            break;
        }
        start = overlap_start(text, start, end, overlap);
    }
    chunks
}

/// Returns the length in bytes of the chunk at the start of a text.
fn chunk_length(text: &str, size: usize) -> usize {
    let Some((longest, _)) = text.char_indices().nth(size) else { return text.len() };
    let half = text.char_indices().nth(size / 2).map_or(0, |(at, _)| at);
    let second_half = &text[half..longest];
    let found = ENDS.iter().find_map(|end| second_half.rfind(end).map(|at| half + at + end.len()));
    found.unwrap_or(longest)
}

/// Returns the place where the next chunk begins: at a word, about `overlap` characters before the end of the previous
/// chunk, and after its start.
fn overlap_start(text: &str, start: usize, end: usize, overlap: usize) -> usize {
    let Some(last) = overlap.checked_sub(1) else { return end };
    let from = text[start..end].char_indices().rev().nth(last).map_or(end, |(at, _)| start + at);
    let next_word = || text[from..end].find(' ').map_or(from, |space| from + space + 1);
    let word = if text[..from].ends_with(' ') { from } else { next_word() };
    if word > start && word < end { word } else { end }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn chunks_end_at_the_best_place() {
        for (text, size, overlap, expected) in [
            ("", 10, 0, vec![]),
            ("  \n ", 10, 0, vec![]),
            ("short", 10, 2, vec!["short"]),
            ("one two three four", 9, 0, vec!["one two", "three", "four"]),
            ("Aa bb. Cc dd ee", 10, 0, vec!["Aa bb.", "Cc dd ee"]),
            ("para one\n\npara two", 12, 0, vec!["para one", "para two"]),
            ("xxxxxxxxxxxx", 5, 0, vec!["xxxxx", "xxxxx", "xx"]),
            ("aa bb cc dd ee ff", 12, 3, vec!["aa bb cc dd", "dd ee ff"]),
        ] {
            assert_eq!(chunks(text, size, overlap), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_character_is_lost((text, size, overlap) in (".{0,300}", 1_u32..50, 0_u32..50)) {
            let parts = chunks(&text, size, overlap);
            prop_assert!(parts.iter().all(|part| part.chars().count() <= usize::try_from(size).unwrap()));
            let mut at = 0;
            for part in &parts {
                // A chunk begins within the text that was seen, or after white space.
                let found = part.as_ptr().addr() - text.as_ptr().addr();
                prop_assert!(found <= at || text[at..found].trim().is_empty());
                at = at.max(found + part.len());
            }
            prop_assert!(text[at..].trim().is_empty());
        }
    }
}
