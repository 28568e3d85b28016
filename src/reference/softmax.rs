//! Softmax in f64: maximum, exponentials, sum, quotient.

use crate::noise::Stream;
use crate::softmax::{Causal, EmptyRow, RowMap};

/// Values that rows share by a [`RowMap`].
#[derive(Clone, Copy, Debug)]
pub struct Shared<'a, T> {
    /// One entry after another.
    pub values: &'a [T],
    /// Which entry belongs to which row.
    pub map: RowMap,
}

impl<T: Copy> Shared<'_, T> {
    /// The `column`-th value of the entry of `row`, entries being `width` values long.
    fn at(&self, row: usize, width: usize, column: usize) -> Option<T> {
        let entry = usize::try_from(self.map.entry(u32::try_from(row).ok()?)).ok()?;
        self.values.get(entry.checked_mul(width)?.checked_add(column)?).copied()
    }
}

/// What to compute: the meaning of the GPU's specification and operands, as plain slices.
#[derive(Clone, Copy, Debug)]
pub struct Problem<'a> {
    /// Columns of a row.
    pub cols: usize,
    /// Logits, row after row without gaps, widened to f32.
    pub src: &'a [f32],
    /// Factor on the logits.
    pub scale: Option<f32>,
    /// Soft cap.
    pub soft_cap: Option<f32>,
    /// Positions of queries.
    pub positions: Option<Causal>,
    /// Columns after the position are excluded.
    pub causal: bool,
    /// `ALiBi` slopes.
    pub slopes: Option<Shared<'a, f32>>,
    /// Additive mask: entries of `cols` values.
    pub mask: Option<Shared<'a, f32>>,
    /// Temperatures.
    pub temperature: Option<Shared<'a, f32>>,
    /// Valid lengths.
    pub lengths: Option<Shared<'a, u32>>,
    /// Sinks.
    pub sinks: Option<Shared<'a, f32>>,
    /// Seeds and positions of Gumbel noise.
    pub seeds: Option<Shared<'a, Stream>>,
    /// What becomes of rows without mass.
    pub empty_row: EmptyRow,
}

/// One row's results.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Probabilities.
    pub probabilities: Vec<f64>,
    /// Log-probabilities.
    pub log_probabilities: Vec<f64>,
    /// Log-sum-exp. At temperature 0, the greatest logit.
    pub lse: f64,
    /// How far the f32 evaluation of each effective logit may be from the exact one, in absolute terms: what
    /// the options in use add to the budget (docs/accuracy.md).
    pub logit_errors: Vec<f64>,
}

/// Half an ULP of 1 in f32: the relative error of one correctly rounded operation.
const U: f64 = 1.0 / 16_777_216.0;

/// A logit and how far f32 arithmetic may be off.
#[derive(Clone, Copy)]
struct Logit {
    value: f64,
    error: f64,
}

impl Logit {
    /// After one more f32 operation of relative error `relative`. What f32 cannot hold is infinite.
    fn rounded(value: f64, error: f64, relative: f64) -> Self {
        let value = if (value as f32).is_infinite() { f64::from(value as f32) } else { value };
        Self { value, error: if value.is_finite() { error + relative * value.abs() } else { 0.0 } }
    }
}

impl<'a> Problem<'a> {
    /// Plain softmax of rows of `cols` logits.
    #[must_use]
    pub fn new(src: &'a [f32], cols: usize) -> Self {
        Self {
            cols,
            src,
            scale: None,
            soft_cap: None,
            positions: None,
            causal: false,
            slopes: None,
            mask: None,
            temperature: None,
            lengths: None,
            sinks: None,
            seeds: None,
            empty_row: EmptyRow::default(),
        }
    }

    /// How many rows there are.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.src.len().checked_div(self.cols).unwrap_or(0)
    }

    /// The results of row `row`. Rows and entries that do not exist count as NaN.
    #[must_use]
    pub fn row(&self, row: usize) -> Row {
        let temperature = self.temperature.map_or(1.0, |t| f64::from(t.at(row, 1, 0).unwrap_or(f32::NAN)));
        let logits: Vec<Logit> = (0..self.cols).map(|c| self.logit(row, c, temperature)).collect();
        let sink = self.sinks.map(|s| {
            let value = f64::from(s.at(row, 1, 0).unwrap_or(f32::NAN));
            tempered(Logit { value, error: 0.0 }, temperature)
        });
        let all = || logits.iter().chain(&sink).map(|l| l.value);
        // A temperature without a distribution spoils every logit, but a row may have none.
        let spoiled = temperature.is_nan() || temperature < 0.0;
        let any = sink.is_some() || (0..self.cols).any(|column| !self.excluded(row, column));
        let mut result = self.outcome(all, &logits, if spoiled && !any { 1.0 } else { temperature });
        result.logit_errors = logits.iter().map(|l| l.error).collect();
        result
    }

    fn outcome<I: Iterator<Item = f64>>(&self, all: impl Fn() -> I, logits: &[Logit], temperature: f64) -> Row {
        let nan = f64::NAN;
        let special = |p: f64, log: f64, lse| Row {
            probabilities: vec![p; logits.len()],
            log_probabilities: vec![log; logits.len()],
            lse,
            logit_errors: Vec::new(),
        };
        if all().any(f64::is_nan) || temperature.is_nan() || temperature < 0.0 {
            return special(nan, nan, nan);
        }
        let max = all().fold(f64::NEG_INFINITY, f64::max);
        if max == f64::INFINITY {
            return special(nan, nan, f64::INFINITY);
        }
        if max == f64::NEG_INFINITY {
            return match self.empty_row {
                EmptyRow::Nan => special(nan, nan, max),
                EmptyRow::Zero => special(0.0, f64::NEG_INFINITY, max),
            };
        }
        if temperature == 0.0 {
            // The lowest index of the maximum; the sink, if it wins, comes after all columns.
            let chosen = logits.iter().position(|l| l.value == max);
            let mut row = special(0.0, f64::NEG_INFINITY, max);
            if let Some(i) = chosen {
                (row.probabilities[i], row.log_probabilities[i]) = (1.0, 0.0);
            }
            return row;
        }
        let sum: f64 = compensated_sum(all().map(|x| (x - max).exp()));
        let log_sum = sum.ln();
        Row {
            probabilities: logits.iter().map(|l| (l.value - max).exp() / sum).collect(),
            log_probabilities: logits.iter().map(|l| (l.value - max) - log_sum).collect(),
            lse: max + log_sum,
            logit_errors: Vec::new(),
        }
    }

    /// One effective logit: scale, cap, bias, mask, noise, temperature, limits, in this order.
    fn logit(&self, row: usize, column: usize, temperature: f64) -> Logit {
        let x = self.src.get(row * self.cols + column).copied().unwrap_or(f32::NAN);
        let mut l = Logit { value: f64::from(x), error: 0.0 };
        if let Some(scale) = self.scale {
            let scale = f64::from(scale);
            l = Logit::rounded(l.value * scale, l.error, U);
        }
        if let Some(cap) = self.soft_cap {
            let cap = f64::from(cap);
            // 1/cap, the product, tanh to 5 U, the product with cap; |tanh'| <= 1, and z tanh'(z) <= tanh(z).
            l = Logit::rounded(cap * (l.value / cap).tanh(), l.error, 8.0 * U);
        }
        if let (Some(positions), Some(slopes)) = (self.positions, self.slopes) {
            let slope = f64::from(slopes.at(row, 1, 0).unwrap_or(f32::NAN));
            let bias = slope * (column as f64 - position(positions, row) as f64);
            l = Logit::rounded(l.value + bias, l.error + U * bias.abs(), U);
        }
        if let Some(mask) = self.mask {
            let mask = f64::from(mask.at(row, self.cols, column).unwrap_or(f32::NAN));
            l = Logit::rounded(l.value + mask, l.error, U);
        }
        if let Some(seeds) = self.seeds {
            // The noise is what it is: f32, the same everywhere; and so is its sum with an input as it came.
            let noise = seeds.at(row, 1, 0).map_or(f32::NAN, |stream| stream.gumbel(column as u32));
            l = if l.error == 0.0 {
                Logit { value: f64::from(l.value as f32 + noise), error: 0.0 }
            } else {
                Logit::rounded(l.value + f64::from(noise), l.error, U)
            };
        }
        l = tempered(l, temperature);
        if self.excluded(row, column) { Logit { value: f64::NEG_INFINITY, error: 0.0 } } else { l }
    }

    fn excluded(&self, row: usize, column: usize) -> bool {
        let future = match self.positions {
            Some(positions) if self.causal => column as i64 > position(positions, row),
            _ => false,
        };
        let beyond = self.lengths.is_some_and(|l| column >= l.at(row, 1, 0).unwrap_or(0) as usize);
        future || beyond
    }
}

fn position(positions: Causal, row: usize) -> i64 {
    (row % positions.queries.max(1) as usize) as i64 + i64::from(positions.offset)
}

fn tempered(l: Logit, temperature: f64) -> Logit {
    if temperature == 1.0 || temperature == 0.0 || l.value == f64::NEG_INFINITY {
        return l;
    }
    // 1/T may be off by 2.5 ULP (WGSL), the product rounds once more.
    Logit::rounded(l.value / temperature, l.error / temperature, 6.0 * U)
}

/// Neumaier's sum, so that the reference's own error stays below 2^-50 however long the row.
fn compensated_sum(values: impl Iterator<Item = f64>) -> f64 {
    let (mut sum, mut low) = (0.0_f64, 0.0_f64);
    for v in values {
        let next = sum + v;
        low += if sum.abs() >= v.abs() { (sum - next) + v } else { (v - next) + sum };
        sum = next;
    }
    sum + low
}

/// A partial sum of a row's exponentials, as the GPU leaves it: `(high + low) · 2^exponent · e^anchor`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Partial {
    /// A multiple of 1024 near the greatest logit.
    pub anchor: f32,
    /// Power of two; the three extreme values mean no mass, +inf seen, NaN seen.
    pub exponent: i32,
    /// Most of the sum.
    pub high: f32,
    /// The rest.
    pub low: f32,
}

impl Partial {
    /// From the four words in memory.
    #[must_use]
    pub fn from_words([anchor, exponent, high, low]: [u32; 4]) -> Self {
        Self {
            anchor: f32::from_bits(anchor),
            exponent: exponent as i32,
            high: f32::from_bits(high),
            low: f32::from_bits(low),
        }
    }

    /// The logarithm of the sum: −inf without mass, +inf or NaN where one was seen.
    #[must_use]
    pub fn log_sum_exp(&self) -> f64 {
        match self.exponent {
            i32::MAX => f64::NAN,
            0x7fff_fffe => f64::INFINITY,
            -0x7fff_ffff => f64::NEG_INFINITY,
            n => {
                let sum = f64::from(self.high) + f64::from(self.low);
                f64::from(self.anchor) + (f64::from(n) * std::f64::consts::LN_2 + sum.ln())
            }
        }
    }

    /// The log-sum-exp of a row from those of its parts, in whatever order they come.
    #[must_use]
    pub fn merged(parts: &[f64]) -> f64 {
        if parts.iter().any(|p| p.is_nan()) {
            return f64::NAN;
        }
        let max = parts.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        if max.is_infinite() {
            return max;
        }
        max + compensated_sum(parts.iter().map(|p| (p - max).exp())).ln()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_logits_share_equally() {
        for x in [0.0, 1000.0, -1000.0, -3.4e38] {
            let row = Problem::new(&[x; 8], 8).row(0);
            assert_eq!(row.probabilities, vec![0.125; 8]);
        }
    }

    #[test]
    fn textbook_values() {
        let row = Problem::new(&[1.0, 2.0, 3.0], 3).row(0);
        // Goodfellow, Bengio & Courville, Deep Learning, 6.2.2.3: e^i / (e + e^2 + e^3).
        let e = std::f64::consts::E;
        let sum = e + e * e + e * e * e;
        for (p, want) in row.probabilities.iter().zip([e / sum, e * e / sum, e * e * e / sum]) {
            assert!((p - want).abs() < 1e-15);
        }
        assert!((row.lse - sum.ln()).abs() < 1e-15);
    }

    #[test]
    fn a_sink_takes_mass() {
        let problem =
            Problem { sinks: Some(Shared { values: &[0.0], map: RowMap::one() }), ..Problem::new(&[0.0; 3], 3) };
        assert_eq!(problem.row(0).probabilities, vec![0.25; 3]);
    }

    #[test]
    fn merging_is_splitting_undone() {
        let whole = [0.5_f32, -3.0, 7.25, 7.0, -100.0];
        let lse = |x: &[f32]| Problem::new(x, x.len()).row(0).lse;
        let merged = Partial::merged(&[lse(&whole[..2]), lse(&whole[2..])]);
        assert!((merged - lse(&whole)).abs() < 1e-14);
        assert_eq!(Partial::merged(&[]), f64::NEG_INFINITY);
    }
}
