//! Stable assignment of ids to rollouts and variants by hashing.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Hash that gives an id its position in a group, which decides rollouts and variants. It is the same in every
/// process and release.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Hashing {
    /// The hash of Unleash, `murmur3_32(group:id) % 100 + 1`. Rollouts are whole percents.
    #[default]
    Murmur3,
    /// The first version of GrowthBook's hash: FNV-1a, in thousandths. Rollouts are tenths of a percent.
    GrowthbookV1,
    /// The second version of GrowthBook's hash, without the bias of the first: FNV-1a applied twice, in
    /// ten-thousandths. Rollouts are hundredths of a percent.
    GrowthbookV2,
}

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

/// Returns GrowthBook's hash of a value, from 0 to less than 1. Returns `None` if `version` is neither 1 nor 2.
///
/// ```
/// use omnistack_flags::growthbook_hash;
///
/// assert_eq!(growthbook_hash("seed", "a", 2), Some(0.0505));
/// assert_eq!(growthbook_hash("", "a", 1), Some(0.22));
/// ```
pub fn growthbook_hash(seed: &str, value: &str, version: u8) -> Option<f64> {
    match version {
        1 => Some(f64::from(fnv1a(fnv1a(FNV_BASIS, value), seed) % 1000) / 1000.0),
        2 => {
            let first = fnv1a(fnv1a(FNV_BASIS, seed), value);
            let mut digits = itoa::Buffer::new();
            Some(f64::from(fnv1a(FNV_BASIS, digits.format(first)) % 10_000) / 10_000.0)
        }
        _ => None,
    }
}

const FNV_BASIS: u32 = 0x811c_9dc5;

/// Returns the 32-bit FNV-1a hash of the text's UTF-16 units, as GrowthBook's reference implementation reads
/// text.
fn fnv1a(hash: u32, text: &str) -> u32 {
    text.encode_utf16().fold(hash, |hash, unit| (hash ^ u32::from(unit)).wrapping_mul(0x0100_0193))
}

/// Returns GrowthBook's ranges of variations, each from a start to less than its end. `coverage` is the share
/// of callers that takes part. Weights whose number differs from `variations`, or whose sum is not 1, are
/// replaced by equal weights.
pub fn growthbook_ranges(variations: usize, coverage: f64, weights: Option<&[f64]>) -> Vec<(f64, f64)> {
    let coverage = coverage.clamp(0.0, 1.0);
    let even = 1.0 / variations.max(1) as f64;
    let usable = |weights: &&[f64]| weights.len() == variations && (0.99..=1.01).contains(&weights.iter().sum::<f64>());
    let weights = weights.filter(usable);
    let mut start = 0.0;
    (0..variations)
        .map(|index| {
            let weight = weights.map_or(even, |weights| weights[index]);
            let range = (start, start + coverage * weight);
            start += weight;
            range
        })
        .collect()
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

    /// Values of `hash` in GrowthBook's packages/sdk-js/test/cases.json (version 0.5.4, MIT).
    #[test]
    fn growthbook_hashes_are_the_published_ones() {
        for (seed, value, version, expected) in [
            ("", "a", 1, Some(0.22)),
            ("", "b", 1, Some(0.077)),
            ("b", "a", 1, Some(0.946)),
            ("ef", "d", 1, Some(0.652)),
            ("asdf", "8952klfjas09ujk", 1, Some(0.549)),
            ("", "123", 1, Some(0.011)),
            ("", "___)((*\":&", 1, Some(0.563)),
            ("seed", "a", 2, Some(0.0505)),
            ("seed", "b", 2, Some(0.2696)),
            ("foo", "ab", 2, Some(0.2575)),
            ("foo", "def", 2, Some(0.2019)),
            ("89123klj", "8952klfjas09ujkasdf", 2, Some(0.124)),
            ("90850943850283058242805", "123", 2, Some(0.7516)),
            ("()**(%$##$%#$#", "___)((*\":&", 2, Some(0.0128)),
            ("abc", "def", 99, None),
        ] {
            assert_eq!(growthbook_hash(seed, value, version), expected, "{seed} {value} {version}");
        }
    }

    /// Values of `getBucketRange` in the same file.
    #[test]
    fn growthbook_ranges_are_the_published_ones() {
        type Case = (usize, f64, Option<&'static [f64]>, &'static [(f64, f64)]);
        let cases: [Case; 13] = [
            (2, 1.0, None, &[(0.0, 0.5), (0.5, 1.0)]),
            (2, 0.5, None, &[(0.0, 0.25), (0.5, 0.75)]),
            (2, 0.0, None, &[(0.0, 0.0), (0.5, 0.5)]),
            (4, 1.0, None, &[(0.0, 0.25), (0.25, 0.5), (0.5, 0.75), (0.75, 1.0)]),
            (2, 1.0, Some(&[0.4, 0.6]), &[(0.0, 0.4), (0.4, 1.0)]),
            (3, 1.0, Some(&[0.2, 0.3, 0.5]), &[(0.0, 0.2), (0.2, 0.5), (0.5, 1.0)]),
            (3, 0.2, Some(&[0.2, 0.3, 0.5]), &[(0.0, 0.04), (0.2, 0.26), (0.5, 0.6)]),
            (2, -0.2, None, &[(0.0, 0.0), (0.5, 0.5)]),
            (2, 1.5, None, &[(0.0, 0.5), (0.5, 1.0)]),
            (2, 1.0, Some(&[0.4, 0.1]), &[(0.0, 0.5), (0.5, 1.0)]),
            (2, 1.0, Some(&[0.7, 0.6]), &[(0.0, 0.5), (0.5, 1.0)]),
            (4, 1.0, Some(&[0.4, 0.4, 0.2]), &[(0.0, 0.25), (0.25, 0.5), (0.5, 0.75), (0.75, 1.0)]),
            (2, 1.0, Some(&[0.4, 0.5999]), &[(0.0, 0.4), (0.4, 0.9999)]),
        ];
        for (variations, coverage, weights, expected) in cases {
            let ranges = growthbook_ranges(variations, coverage, weights);
            assert_eq!(ranges.len(), expected.len());
            for (range, expected) in ranges.iter().zip(expected) {
                let near = |one: f64, other: f64| (one - other).abs() < 1e-9;
                assert!(near(range.0, expected.0) && near(range.1, expected.1), "{ranges:?}");
            }
        }
    }
}
