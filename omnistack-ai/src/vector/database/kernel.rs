//! The exact search for the nearest vectors in memory. No I/O.
//!
//! A scan of all vectors as 32-bit numbers waits for the memory most of the time. So each vector is also kept with 8
//! bits a number, a quarter of the bytes, together with the length of what the rounding took away. By the inequality of
//! Cauchy and Schwarz, the similarity differs from that of the rounded vectors by at most these lengths. The scan
//! computes this upper bound for all vectors, and the exact similarity, from the largest bound on, until no bound
//! reaches the worst of the best results. So the result is exact.

use std::{cmp::Reverse, collections::BinaryHeap};

/// Largest number of a rounded vector.
const ROW_LEVELS: f32 = 127.0;
/// Largest number of a rounded query. With 4,096 dimensions, the sum of products stays below 2^31.
const QUERY_LEVELS: f32 = 4_095.0;
/// Numbers that one step of the loops takes. Their sums are independent, so the compiler uses vector instructions.
const LANES: usize = 32;
/// The amount that is added to bounds for the rounding of the computation itself.
const ROUNDING: f32 = 1e-5;

/// Vectors of one length, each after the other in memory.
#[derive(Debug, Default)]
pub(super) struct VectorBlock {
    dimensions: usize,
    exact: Vec<f32>,
    codes: Vec<i8>,
    /// The value of a step of its codes for each vector, and the length of what the rounding took away.
    steps: Vec<(f32, f32)>,
}

/// A rounded query.
struct QueryCodes {
    codes: Vec<i16>,
    step: f32,
    loss: f32,
}

impl VectorBlock {
    pub(super) fn new(dimensions: usize, capacity: usize) -> Self {
        Self {
            dimensions,
            exact: Vec::with_capacity(capacity * dimensions),
            codes: Vec::with_capacity(capacity * dimensions),
            steps: Vec::with_capacity(capacity),
        }
    }

    /// Returns the number of vectors.
    pub(super) fn len(&self) -> usize {
        self.steps.len()
    }

    /// Returns the memory in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.exact.capacity() * size_of::<f32>()
            + self.codes.capacity()
            + self.steps.capacity() * size_of::<(f32, f32)>()
    }

    /// Adds a vector at the end. Its length in numbers is that of the block.
    pub(super) fn push(&mut self, vector: &[f32]) {
        debug_assert_eq!(vector.len(), self.dimensions, "the vector has another length");
        self.exact.extend_from_slice(vector);
        let step = step_of(vector, ROW_LEVELS);
        self.codes.extend(vector.iter().map(|x| row_code(x / step)));
        let codes = &self.codes[self.codes.len() - vector.len()..];
        self.steps.push((step, loss(vector, codes.iter().map(|code| f32::from(*code) * step))));
    }

    /// Replaces a vector.
    pub(super) fn set(&mut self, row: usize, vector: &[f32]) {
        debug_assert_eq!(vector.len(), self.dimensions, "the vector has another length");
        let range = row * self.dimensions..(row + 1) * self.dimensions;
        self.exact[range.clone()].copy_from_slice(vector);
        let step = step_of(vector, ROW_LEVELS);
        let codes = &mut self.codes[range];
        for (code, x) in codes.iter_mut().zip(vector) {
            *code = row_code(x / step);
        }
        self.steps[row] = (step, loss(vector, codes.iter().map(|code| f32::from(*code) * step)));
    }

    /// Returns the rows that are most similar to the query, the best first, with their similarities. `accept` is asked
    /// only about rows that could be among them.
    pub(super) fn nearest(
        &self,
        query: &[f32],
        limit: usize,
        mut accept: impl FnMut(usize) -> bool,
    ) -> Vec<(usize, f32)> {
        if limit == 0 || self.dimensions == 0 || query.len() != self.dimensions {
            return Vec::new();
        }
        let mut waiting = BinaryHeap::from(self.upper_bounds(query));
        let mut best: BinaryHeap<Reverse<u64>> = BinaryHeap::with_capacity(limit + 1);
        while let Some(key) = waiting.pop() {
            let worst = best.peek().filter(|_| best.len() == limit).map_or(0, |Reverse(key)| *key);
            if score_bits(key) < score_bits(worst) {
                break;
            }
            let row = row_of(key);
            if !accept(row) {
                continue;
            }
            let similarity = dot(query, &self.exact[row * self.dimensions..(row + 1) * self.dimensions]);
            best.push(Reverse(heap_key(similarity, row)));
            if best.len() > limit {
                best.pop();
            }
        }
        let mut keys: Vec<u64> = best.into_iter().map(|Reverse(key)| key).collect();
        keys.sort_unstable_by_key(|key| Reverse(*key));
        keys.into_iter().map(|key| (row_of(key), score_of(key))).collect()
    }

    /// Returns for each row the largest similarity that it can have, as a key.
    fn upper_bounds(&self, query: &[f32]) -> Vec<u64> {
        let query = QueryCodes::new(query);
        let rows = self.codes.chunks_exact(self.dimensions).zip(&self.steps);
        let bound = |(row, (codes, &(step, loss))): (usize, (&[i8], &(f32, f32)))| {
            let about = product(dot_codes(&query.codes, codes), query.step, step);
            heap_key(about + loss + query.loss * (1.0 + loss) + ROUNDING, row)
        };
        rows.enumerate().map(bound).collect()
    }
}

impl QueryCodes {
    fn new(query: &[f32]) -> Self {
        let step = step_of(query, QUERY_LEVELS);
        let codes: Vec<i16> = query.iter().map(|x| query_code(x / step)).collect();
        let loss = loss(query, codes.iter().map(|code| f32::from(*code) * step));
        Self { codes, step, loss }
    }
}

/// Returns the value of a step, so that the largest number of a vector has the largest code.
fn step_of(vector: &[f32], levels: f32) -> f32 {
    let largest = vector.iter().fold(0.0_f32, |largest, x| largest.max(x.abs()));
    let step = largest / levels;
    if step.is_normal() { step } else { 1.0 }
}

/// Returns the length of the difference of two vectors, rounded up.
fn loss(vector: &[f32], rounded: impl Iterator<Item = f32>) -> f32 {
    let squares: f32 = vector.iter().zip(rounded).map(|(x, rounded)| (x - rounded) * (x - rounded)).sum();
    squares.sqrt() * 1.0001
}

#[expect(clippy::cast_possible_truncation, reason = "the number is within the range after `clamp`")]
fn row_code(x: f32) -> i8 {
    x.round().clamp(-ROW_LEVELS, ROW_LEVELS) as i8
}

#[expect(clippy::cast_possible_truncation, reason = "the number is within the range after `clamp`")]
fn query_code(x: f32) -> i16 {
    x.round().clamp(-QUERY_LEVELS, QUERY_LEVELS) as i16
}

#[expect(clippy::cast_precision_loss, reason = "the relative error is below that of `ROUNDING`")]
fn product(codes: i32, query_step: f32, row_step: f32) -> f32 {
    codes as f32 * (query_step * row_step)
}

/// Returns the scalar product of two vectors.
pub(super) fn dot(a: &[f32], b: &[f32]) -> f32 {
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    let mut sums = [0.0_f32; LANES];
    for (a, b) in a.iter().zip(b) {
        for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
            *sum += a * b;
        }
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    sums.iter().sum::<f32>() + rest
}

fn dot_codes(a: &[i16], b: &[i8]) -> i32 {
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    let mut sums = [0_i32; LANES];
    for (a, b) in a.iter().zip(b) {
        for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
            *sum += i32::from(*a) * i32::from(*b);
        }
    }
    let rest: i32 = a_rest.iter().zip(b_rest).map(|(a, b)| i32::from(*a) * i32::from(*b)).sum();
    sums.iter().sum::<i32>() + rest
}

/// Returns a number that is ordered by the score, and then by the row, a lower one being larger.
fn heap_key(score: f32, row: usize) -> u64 {
    let bits = score.to_bits();
    // Numbers of IEEE 754 are ordered like their bits, negative ones in reverse.
    let ordered = if bits >> 31 == 0 { bits | (1 << 31) } else { !bits };
    (u64::from(ordered) << 32) | u64::from(u32::MAX - u32::try_from(row).unwrap_or(u32::MAX))
}

/// Returns the part of a key that is ordered by the score.
const fn score_bits(key: u64) -> u64 {
    key >> 32
}

fn score_of(key: u64) -> f32 {
    let ordered = u32::try_from(score_bits(key)).unwrap_or(u32::MAX);
    f32::from_bits(if ordered >> 31 == 1 { ordered & !(1 << 31) } else { !ordered })
}

fn row_of(key: u64) -> usize {
    let row = u32::MAX - u32::try_from(key & u64::from(u32::MAX)).unwrap_or(0);
    usize::try_from(row).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::vector::model::normalized;

    fn block(vectors: &[Vec<f32>]) -> VectorBlock {
        let mut block = VectorBlock::new(vectors.first().map_or(0, Vec::len), vectors.len());
        for vector in vectors {
            block.push(vector);
        }
        block
    }

    /// Returns the best similarities by comparing with every vector.
    fn exact(vectors: &[Vec<f32>], query: &[f32], limit: usize, accept: impl Fn(usize) -> bool) -> Vec<f32> {
        let accepted = vectors.iter().enumerate().filter(|(row, _)| accept(*row));
        let mut all: Vec<f32> = accepted.map(|(_, vector)| dot(query, vector)).collect();
        all.sort_unstable_by(|a, b| b.total_cmp(a));
        all.truncate(limit);
        all
    }

    fn vectors(dimensions: usize) -> impl Strategy<Value = Vec<Vec<f32>>> {
        let one = prop::collection::vec(-1.0_f32..1.0, dimensions);
        let one = one.prop_filter_map("no direction", |vector| normalized(&vector));
        prop::collection::vec(one, 1..60)
    }

    proptest! {
        #[test]
        fn the_search_is_exact((vectors, limit) in (prop_oneof![vectors(3), vectors(32), vectors(77)], 1_usize..20)) {
            let query = vectors[0].clone();
            for accept in [(|_| true) as fn(usize) -> bool, |row| row % 3 == 1] {
                let found = block(&vectors).nearest(&query, limit, accept);
                prop_assert!(found.iter().all(|(row, score)| accept(*row) && score.to_bits() == dot(&query, &vectors[*row]).to_bits()));
                let scores: Vec<f32> = found.iter().map(|(_, score)| *score).collect();
                prop_assert_eq!(scores, exact(&vectors, &query, limit, accept));
            }
        }

        #[test]
        fn keys_are_ordered_by_score_and_row((a, b) in (-2.0_f32..2.0, -2.0_f32..2.0), (row, other) in (0_usize..9, 0_usize..9)) {
            prop_assert_eq!(score_of(heap_key(a, row)).to_bits(), a.to_bits());
            prop_assert_eq!(row_of(heap_key(a, row)), row);
            prop_assert_eq!(heap_key(a, row).cmp(&heap_key(b, other)), a.total_cmp(&b).then(other.cmp(&row)));
        }
    }

    #[test]
    fn few_rows_are_compared_exactly() {
        let mut state = 1_u64;
        let mut random = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            f32::from(u16::try_from(state >> 48).unwrap()) / 65_536.0 - 0.5
        };
        let vectors: Vec<Vec<f32>> =
            (0..2_000).map(|_| normalized(&(0..128).map(|_| random()).collect::<Vec<_>>()).unwrap()).collect();
        let mut asked = 0;
        let found = block(&vectors).nearest(&vectors[7], 10, |_| {
            asked += 1;
            true
        });
        assert_eq!(found[0].0, 7);
        assert!(asked < 200, "{asked} rows were compared");
    }

    #[test]
    fn a_replaced_vector_is_found_by_its_new_value() {
        let mut block = block(&[vec![1.0, 0.0], vec![0.0, 1.0]]);
        block.set(1, &[1.0, 0.0]);
        assert_eq!(block.nearest(&[1.0, 0.0], 5, |_| true), [(0, 1.0), (1, 1.0)]);
        assert!(block.nearest(&[1.0], 5, |_| true).is_empty());
        assert!(block.nearest(&[1.0, 0.0], 0, |_| true).is_empty());
    }

    #[test]
    fn the_largest_codes_do_not_overflow() {
        let dimensions = 4_096;
        assert_eq!(dot_codes(&vec![4_095; dimensions], &vec![127; dimensions]), 4_095 * 127 * 4_096);
    }
}
