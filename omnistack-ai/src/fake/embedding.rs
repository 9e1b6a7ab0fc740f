//! Embeddings of texts by their words.

/// The length of the vectors, unless the request asks for another.
pub(super) const DEFAULT_DIMENSIONS: u32 = 64;

/// Maximum length of the vectors.
pub(super) const MAX_DIMENSIONS: u32 = 4_096;

/// Returns the hashed words of a text as a vector of length 1: texts with the same words are near to each other. The
/// same text has the same vector on each machine.
pub(super) fn embedding(text: &str, dimensions: usize) -> Vec<f32> {
    let mut vector = vec![0.0_f32; dimensions];
    let lower = text.to_lowercase();
    let words = lower.split(|char: char| !char.is_alphanumeric()).filter(|word| !word.is_empty());
    let count = u64::try_from(dimensions).unwrap_or(1).max(1);
    for word in words {
        let hash = fnv1a(word);
        let index = usize::try_from(hash % count).unwrap_or(0);
        // Words that share a place cancel out as often as they add up.
        let sign = if hash >> 63 == 0 { 1.0 } else { -1.0 };
        if let Some(place) = vector.get_mut(index) {
            *place += sign;
        }
    }
    let length = vector.iter().map(|value| value * value).sum::<f32>().sqrt();
    if length > 0.0 {
        for value in &mut vector {
            *value /= length;
        }
    } else if let Some(first) = vector.first_mut() {
        // A vector without a direction has no distance to others.
        *first = 1.0;
    }
    vector
}

/// Returns the FNV-1a hash, 64 bits.
fn fnv1a(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cosine(a: &str, b: &str) -> f32 {
        embedding(a, 64).iter().zip(embedding(b, 64)).map(|(a, b)| a * b).sum()
    }

    #[test]
    fn texts_with_the_same_words_are_near() {
        assert!(cosine("How do I reset my password?", "how do i RESET my password") > 0.999);
        let near = cosine("how do I reset my password", "how can I reset the password");
        let far = cosine("how do I reset my password", "quarterly revenue of the company");
        assert!(near > far + 0.2, "{near} {far}");
    }

    #[test]
    fn vectors_have_the_length_one() {
        for text in ["", "!?", "word", "two words", "你好 world"] {
            for dimensions in [1, 64, 1_536] {
                let vector = embedding(text, dimensions);
                let length: f32 = vector.iter().map(|value| value * value).sum();
                assert_eq!(vector.len(), dimensions);
                assert!((length - 1.0).abs() < 1e-4, "{text} {length}");
            }
        }
    }
}
