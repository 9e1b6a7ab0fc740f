//! Full-text search: words, their ranks, and the merge with results by a vector. No I/O.
//!
//! The words of a text are stored beside it in one form, so that both databases find and rank the same points. An index
//! of PostgreSQL for full text would not be used: below row-level security, only functions that are marked as leakproof
//! may run before the policy.

use std::collections::HashMap;

/// Largest number of words of a search. Further ones are ignored.
pub(crate) const MAX_QUERY_WORDS: usize = 16;
/// Largest number of bytes of a word. The rest is cut off.
const MAX_WORD_BYTES: usize = 64;
/// BM25: the point at which repetitions of a word stop to count.
const SATURATION: f64 = 1.2;
/// BM25: the part of the score that depends on the length of the text.
const LENGTH_PART: f64 = 0.75;
/// Reciprocal rank fusion: the number that is added to ranks, which is that of the paper by Cormack et al. (2009).
const RANK_OFFSET: f64 = 60.0;

/// A point with its score.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct RankedId {
    pub(crate) id: String,
    pub(crate) score: f32,
}

/// A point in which words were found.
#[derive(Clone, Debug)]
pub(crate) struct WordHits {
    pub(crate) id: String,
    /// The number of words of the text.
    length: u32,
    /// The number of times that each word of the search occurs.
    counts: Vec<u32>,
}

/// Returns the words of a text, in small letters. A word is a run of letters and digits; each character of Chinese,
/// Japanese and Korean scripts is a word.
pub(crate) fn words(text: &str) -> impl Iterator<Item = String> {
    let mut characters = text.chars().flat_map(char::to_lowercase).peekable();
    std::iter::from_fn(move || {
        while characters.next_if(|c| !c.is_alphanumeric()).is_some() {}
        let first = characters.next()?;
        let mut word = String::from(first);
        if is_ideograph(first) {
            return Some(word);
        }
        while let Some(next) = characters.next_if(|c| c.is_alphanumeric() && !is_ideograph(*c)) {
            if word.len() + next.len_utf8() <= MAX_WORD_BYTES {
                word.push(next);
            }
        }
        Some(word)
    })
}

const fn is_ideograph(c: char) -> bool {
    matches!(c, '\u{2e80}'..='\u{9fff}' | '\u{ac00}'..='\u{d7af}' | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{3ffff}')
}

/// Returns the form in which the words of a text are stored: each between two spaces.
pub(crate) fn stored_words(text: &str) -> String {
    let mut stored = String::with_capacity(text.len() + 2);
    stored.push(' ');
    for word in words(text) {
        stored.push_str(&word);
        stored.push(' ');
    }
    stored
}

/// Returns the words of a search, each once.
pub(crate) fn query_words(text: &str) -> Vec<String> {
    let mut unique: Vec<String> = Vec::new();
    for word in words(text) {
        if unique.len() == MAX_QUERY_WORDS {
            break;
        }
        if !unique.contains(&word) {
            unique.push(word);
        }
    }
    unique
}

/// Returns the pattern of `like` for a stored text with a word. A word has no characters with a meaning in patterns.
pub(crate) fn like_pattern(word: &str) -> String {
    format!("% {word} %")
}

impl WordHits {
    /// Counts the words of a search in a stored text. Returns `None` if it has none of them.
    pub(crate) fn count(id: String, stored: &str, query: &[String]) -> Option<Self> {
        let (mut length, mut counts) = (0, vec![0; query.len()]);
        for word in stored.split_ascii_whitespace() {
            length += 1;
            if let Some(at) = query.iter().position(|sought| sought == word) {
                counts[at] += 1;
            }
        }
        counts.iter().any(|count| *count > 0).then_some(Self { id, length, counts })
    }
}

/// Ranks points by BM25, the best first. `hits` are all points with one of the words, and `points` is the number of
/// points of the collection. The mean length is that of the hits.
pub(crate) fn rank(hits: Vec<WordHits>, points: u64, limit: usize) -> Vec<RankedId> {
    let Some(first) = hits.first() else { return Vec::new() };
    let words = first.counts.len();
    let total: f64 = hits.iter().map(|hit| f64::from(hit.length)).sum();
    let mean = total / number(hits.len());
    let all = number(usize::try_from(points).unwrap_or(usize::MAX).max(hits.len()));
    let weights: Vec<f64> = (0..words)
        .map(|word| {
            let with = number(hits.iter().filter(|hit| hit.counts[word] > 0).count());
            ((all - with + 0.5) / (with + 0.5)).ln_1p()
        })
        .collect();
    let score = |hit: &WordHits| -> f64 {
        let norm = SATURATION * (1.0 - LENGTH_PART + LENGTH_PART * f64::from(hit.length) / mean);
        let of_word = |(count, weight): (&u32, &f64)| {
            let count = f64::from(*count);
            weight * count * (SATURATION + 1.0) / (count + norm)
        };
        hit.counts.iter().zip(&weights).map(of_word).sum()
    };
    let scored = hits.into_iter().map(|hit| (score(&hit), hit.id));
    best(scored.collect(), limit)
}

/// Merges two lists by the ranks of their points (reciprocal rank fusion), the best first.
pub(crate) fn fuse(lists: [&[RankedId]; 2], limit: usize) -> Vec<RankedId> {
    let mut scores: HashMap<&str, f64> = HashMap::new();
    for list in lists {
        for (rank, point) in list.iter().enumerate() {
            *scores.entry(point.id.as_str()).or_default() += 1.0 / (RANK_OFFSET + 1.0 + number(rank));
        }
    }
    best(scores.into_iter().map(|(id, score)| (score, id.to_owned())).collect(), limit)
}

/// Returns the points with the largest scores. Points with the same score are in the order of their ids.
fn best(mut scored: Vec<(f64, String)>, limit: usize) -> Vec<RankedId> {
    scored.sort_unstable_by(|(one, id), (other, other_id)| other.total_cmp(one).then_with(|| id.cmp(other_id)));
    scored.truncate(limit);
    scored.into_iter().map(|(score, id)| RankedId { id, score: narrowed(score) }).collect()
}

#[expect(clippy::cast_precision_loss, reason = "the number of points is far below 2^52")]
fn number(count: usize) -> f64 {
    count as f64
}

#[expect(clippy::cast_possible_truncation, reason = "a score is shown with the precision of f32")]
fn narrowed(score: f64) -> f32 {
    score as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hits(texts: &[(&str, &str)], query: &str) -> Vec<WordHits> {
        let query = query_words(query);
        let count = |(id, text): &(&str, &str)| WordHits::count((*id).to_owned(), &stored_words(text), &query);
        texts.iter().filter_map(count).collect()
    }

    fn ids(ranked: &[RankedId]) -> Vec<&str> {
        ranked.iter().map(|point| point.id.as_str()).collect()
    }

    #[test]
    fn texts_are_split_into_words() {
        for (text, expected) in [
            ("Hello, WORLD! 42", " hello world 42 "),
            ("Straße-ÄÖÜ", " straße äöü "),
            ("你好 world", " 你 好 world "),
            ("100% _x_", " 100 x "),
            ("", " "),
            ("…", " "),
        ] {
            assert_eq!(stored_words(text), expected);
        }
        assert_eq!(query_words("a b A c b"), ["a", "b", "c"]);
        assert_eq!(query_words(&"x ".repeat(100)), ["x"]);
        assert_eq!(stored_words(&"x".repeat(1000)).len(), MAX_WORD_BYTES + 2);
    }

    #[test]
    fn rare_words_and_short_texts_rank_first() {
        let texts = [
            ("long", "the fox and the dog and the cat and the cow"),
            ("short", "the fox"),
            ("none", "a bird"),
            ("the", "the"),
        ];
        assert_eq!(ids(&rank(hits(&texts, "fox"), 4, 10)), ["short", "long"]);
        assert_eq!(ids(&rank(hits(&texts, "the fox"), 4, 1)), ["short"]);
        assert!(rank(hits(&texts, "whale"), 4, 10).is_empty());
    }

    #[test]
    fn a_point_in_both_lists_comes_first() {
        let list = |ids: &[&str]| -> Vec<RankedId> {
            ids.iter().map(|id| RankedId { id: (*id).to_owned(), score: 0.0 }).collect()
        };
        let (by_vector, by_words) = (list(&["a", "b", "c"]), list(&["c", "d"]));
        assert_eq!(ids(&fuse([&by_vector, &by_words], 10)), ["c", "a", "b", "d"]);
    }
}
