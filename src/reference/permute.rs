//! Rows of tokens to slots and back: copies to the bit, sums in f64 and, since the shaders' order is fixed, in the f32 that
//! they must give.

/// The rows that slots get: that of their pair's token, or zeros. `T` is whatever holds the bits of an element.
///
/// `x` is [tokens, hidden], `sorted` the pair of each slot.
#[must_use]
pub fn dispatch<T: Copy + Default>(x: &[T], hidden: usize, sorted: &[u32], choices: usize) -> Vec<T> {
    let rows: Vec<_> = x.chunks_exact(hidden.max(1)).collect();
    let row = |&pair: &u32| match rows.get(pair as usize / choices) {
        Some(row) => row.to_vec(),
        None => vec![T::default(); hidden],
    };
    sorted.iter().flat_map(row).collect()
}

/// The same, rows multiplied by the weights [tokens, choices] of their pairs.
#[must_use]
pub fn dispatch_weighed(x: &[f32], hidden: usize, sorted: &[u32], weights: &[f32], choices: usize) -> Vec<Sum> {
    let rows = dispatch(x, hidden, sorted, choices);
    let element = |(i, &x): (usize, &f32)| match weights.get(sorted[i / hidden] as usize) {
        Some(&weight) => Sum::product(weight, x),
        None => Sum::default(),
    };
    rows.iter().enumerate().map(element).collect()
}

/// Sums of the rows `y` [slots, hidden] of each token's slots, `inverse` [tokens, choices]: multiplied by `weights` of the same
/// shape, if given, and added to `held` [tokens, hidden], if given.
#[must_use]
pub fn combine(
    y: &[f32],
    hidden: usize,
    inverse: &[u32],
    weights: Option<&[f32]>,
    choices: usize,
    held: Option<&[f32]>,
) -> Vec<Sum> {
    let slots = y.len() / hidden.max(1);
    let mut out = Vec::new();
    for (token, entries) in inverse.chunks_exact(choices).enumerate() {
        for column in 0..hidden {
            let mut sum = Sum::default();
            let mut some = false;
            for (choice, &slot) in entries.iter().enumerate() {
                if (slot as usize) < slots {
                    let element = y[slot as usize * hidden + column];
                    let term = match weights {
                        Some(weights) => Sum::product(weights[token * choices + choice], element),
                        None => Sum::of(element),
                    };
                    sum = sum.plus(term);
                    some = true;
                }
            }
            if let Some(held) = held {
                let held = Sum::of(held[token * hidden + column]);
                sum = if some { held.plus(sum) } else { held };
            }
            out.push(sum);
        }
    }
    out
}

/// A result, and how far from it a device may be.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sum {
    /// In f64: as good as exact.
    pub value: f64,
    /// In f32, every product and sum rounded: what devices give, to the bit (any NaN for a NaN), if `flushed` is 0.
    pub rounded: f32,
    /// Σ |w · y|, with what was held.
    pub magnitude: f64,
    /// Products and sums that some term has been through.
    pub roundings: u32,
    /// What may be lost where operands or results below 2^-126 count as zero, as devices are free to do.
    pub flushed: f64,
}

/// The least normal f32.
const LEAST_NORMAL: f64 = 1.175_494_350_822_287_5e-38;

fn is_small(x: f64) -> bool {
    x != 0.0 && x.abs() <= LEAST_NORMAL
}

impl Sum {
    fn of(x: f32) -> Self {
        let value = f64::from(x);
        let flushed = if is_small(value) { LEAST_NORMAL } else { 0.0 };
        Self { value, rounded: x, magnitude: value.abs(), roundings: 0, flushed }
    }

    fn product(weight: f32, x: f32) -> Self {
        let (w, y) = (f64::from(weight), f64::from(x));
        let mut flushed = 0.0;
        for (small, other) in [(w, y), (y, w)] {
            flushed += if is_small(small) { LEAST_NORMAL * other.abs() } else { 0.0 };
        }
        flushed += if is_small(w * y) { LEAST_NORMAL } else { 0.0 };
        Self { value: w * y, rounded: weight * x, magnitude: (w * y).abs(), roundings: 1, flushed }
    }

    fn plus(self, other: Self) -> Self {
        let rounded = self.rounded + other.rounded;
        let flushed = if is_small(f64::from(rounded)) { LEAST_NORMAL } else { 0.0 };
        Self {
            value: self.value + other.value,
            rounded,
            magnitude: self.magnitude + other.magnitude,
            roundings: self.roundings.max(other.roundings) + 1,
            flushed: self.flushed + other.flushed + flushed,
        }
    }

    /// How far an f32 result may be from `value`.
    ///
    /// A term goes through r roundings: its product, and every sum from where it comes in; each changes it by a factor of
    /// 1 + δ, |δ| ≤ u = 2^-24. So the error is at most ((1 + u)^r − 1) Σ |w · y|, and (1 + u)^r − 1 ≤ r u / (1 − r u) ≤ (r + 1) u
    /// as long as r (r + 1) u ≤ 1, which holds for r ≤ 4095. The first sum, to 0, is exact, but counted: with K choices r is
    /// K + 1 at most, and K + 2 if the result is added to something; f64's own error, 2^-29 of that, is within what is counted
    /// too much. Where a device takes an operand or a result below 2^-126 for zero, that is lost as well, and rounded up
    /// or down no more than the terms are.
    #[must_use]
    pub fn budget(&self) -> f64 {
        f64::from(self.roundings + 1) / 16_777_216.0 * self.magnitude + self.flushed * 1.001
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_example() {
        let x = [1, 2, 3, 4, 5, 6];
        assert_eq!(dispatch(&x, 2, &[5, 0, u32::MAX, 6, 2], 2), [5, 6, 1, 2, 0, 0, 0, 0, 3, 4]);
        let y = [1.0, 2.0, 10.0, 20.0, 100.0, 200.0];
        let sums = combine(&y, 2, &[2, 0, 1, 3, 9, 9], Some(&[0.5, 2.0, 1.0, f32::NAN, 1.0, 1.0]), 2, None);
        assert_eq!(sums.iter().map(|s| s.rounded).collect::<Vec<_>>(), [52.0, 104.0, 10.0, 20.0, 0.0, 0.0]);
        let held = [1.0, 1.0, 1.0, 1.0, -0.0, f32::NAN];
        let sums = combine(&y, 2, &[2, 0, 1, 3, 9, 9], None, 2, Some(&held));
        let bits = |s: &Sum| s.rounded.to_bits();
        assert_eq!(
            sums.iter().map(bits).collect::<Vec<_>>(),
            [102.0, 203.0, 11.0, 21.0, -0.0, f32::NAN].map(f32::to_bits)
        );
    }

    /// f32 in the fixed order stays within the budget, also where terms cancel.
    #[test]
    fn the_rounded_sum_is_within_the_budget() {
        let mut state = 1_u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / 8_388_608.0 - 1.0
        };
        for choices in [1, 2, 8, 10, 500] {
            let y: Vec<f32> = (0..choices).map(|_| next()).collect();
            let w: Vec<f32> = (0..choices).map(|_| next()).collect();
            let inverse: Vec<u32> = (0..choices as u32).collect();
            for held in [None, Some(&[-0.3_f32][..])] {
                let sum = combine(&y, 1, &inverse, Some(&w), choices, held)[0];
                assert!((f64::from(sum.rounded) - sum.value).abs() <= sum.budget());
                assert!(sum.flushed == 0.0 && sum.roundings as usize <= choices + 2);
            }
        }
    }
}
