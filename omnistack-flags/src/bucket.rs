//! Stable assignment of ids to rollouts and variants by hashing.

/// Seed with which Unleash assigns variants, so that they are independent of rollouts.
const VARIANT_SEED: u32 = 86_028_157;

/// Returns the position of an id in a group for a rollout: 1 to 100.
///
/// ```
/// use omnistack_flags::unleash_share;
///
/// assert_eq!(unleash_share("gr1", "123"), 73);
/// ```
pub fn unleash_share(group: &str, id: &str) -> u32 {
    Murmur3::of_group(group, 0).position(id, 100)
}

/// Returns the position of an id in a group for variants of this total weight: 1 to `total`, or 0 if `total` is
/// 0.
pub fn unleash_variant(group: &str, id: &str, total: u32) -> u32 {
    Murmur3::of_group(group, VARIANT_SEED).position(id, total)
}

/// MurmurHash3, 32 bits for x86, of a text that is fed in parts, so that a common prefix is hashed once.
#[derive(Clone, Copy, Debug)]
pub(super) struct Murmur3 {
    hash: u32,
    /// Up to three bytes that do not fill a word yet, the first one lowest.
    rest: u32,
    length: u32,
}

impl Murmur3 {
    const ONE: u32 = 0xcc9e_2d51;
    const TWO: u32 = 0x1b87_3593;

    fn new(seed: u32) -> Self {
        Self { hash: seed, rest: 0, length: 0 }
    }

    fn of_group(group: &str, seed: u32) -> Self {
        Self::new(seed).update(group.as_bytes()).update(b":")
    }

    /// Creates a hasher for the position of ids in the rollouts of a group.
    pub(super) fn for_shares(group: &str) -> Self {
        Self::of_group(group, 0)
    }

    /// Creates a hasher for the position of ids among the variants of a group.
    pub(super) fn for_variants(group: &str) -> Self {
        Self::of_group(group, VARIANT_SEED)
    }

    fn word(&mut self, word: u32) {
        self.hash ^= word.wrapping_mul(Self::ONE).rotate_left(15).wrapping_mul(Self::TWO);
        self.hash = self.hash.rotate_left(13).wrapping_mul(5).wrapping_add(0xe654_6b64);
    }

    #[inline]
    fn update(mut self, mut bytes: &[u8]) -> Self {
        while let (Some((&byte, others)), true) = (bytes.split_first(), !self.length.is_multiple_of(4)) {
            self.byte(byte);
            bytes = others;
        }
        let mut words = bytes.chunks_exact(4);
        for word in &mut words {
            self.word(u32::from_le_bytes([word[0], word[1], word[2], word[3]]));
            self.length = self.length.wrapping_add(4);
        }
        for &byte in words.remainder() {
            self.byte(byte);
        }
        self
    }

    fn byte(&mut self, byte: u8) {
        self.rest |= u32::from(byte) << (8 * (self.length % 4));
        self.length = self.length.wrapping_add(1);
        if self.length.is_multiple_of(4) {
            let word = std::mem::take(&mut self.rest);
            self.word(word);
        }
    }

    fn finish(self) -> u32 {
        let mut hash = self.hash;
        if !self.length.is_multiple_of(4) {
            hash ^= self.rest.wrapping_mul(Self::ONE).rotate_left(15).wrapping_mul(Self::TWO);
        }
        hash ^= self.length;
        hash = (hash ^ (hash >> 16)).wrapping_mul(0x85eb_ca6b);
        hash = (hash ^ (hash >> 13)).wrapping_mul(0xc2b2_ae35);
        hash ^ (hash >> 16)
    }

    /// Returns a position from 1 to `most`, or 0 if `most` is 0.
    #[inline]
    pub(super) fn position(self, id: &str, most: u32) -> u32 {
        self.update(id.as_bytes()).finish().checked_rem(most).map_or(0, |rest| rest + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values from the specification of Unleash's clients and from the publication of the algorithm.
    #[test]
    fn murmur_is_the_published_one() {
        for (text, seed, hash) in [
            ("", 0, 0),
            ("", 1, 0x514e_28b7),
            ("test", 0, 0xba6b_d213),
            ("Hello, world!", 0, 0xc036_3e43),
            ("Hello, world!", 0x9747_b28c, 0x2488_4cba),
            ("The quick brown fox jumps over the lazy dog", 0x9747_b28c, 0x2fa8_26cd),
        ] {
            assert_eq!(Murmur3::new(seed).update(text.as_bytes()).finish(), hash, "{text}");
            for split in 0..text.len() {
                let (one, other) = text.as_bytes().split_at(split);
                assert_eq!(Murmur3::new(seed).update(one).update(other).finish(), hash, "{text} at {split}");
            }
        }
        assert_eq!((unleash_share("gr1", "123"), unleash_share("groupX", "999")), (73, 25));
        assert_eq!(unleash_variant("g", "x", 0), 0);
    }
}
