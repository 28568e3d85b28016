//! The budget of softmax: `docs/accuracy.md` derives every number here.

use super::{bf16_ulp, f16_ulp, f32_ulp, ulp_distance};
use crate::reference::Row;
use crate::softmax::{Dtype, Schedule};

/// Half an ULP of 1 in f32.
const U: f64 = 1.0 / 16_777_216.0;

/// The least normal f32: devices may flush what is below.
const LEAST_NORMAL: f64 = 1.175_494_350_822_287_5e-38;

/// Of an f32 probability of at least 2^-126: ULP from the f64 result rounded to f32.
const PROBABILITY_ULPS: f64 = 4.0;

/// How far a result may be from `want`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Budget {
    /// The reference's result.
    pub want: f64,
    /// ULP of f32 from `want` rounded to f32.
    pub ulps: f64,
    /// Further absolute error: storage in 16 bits, flushed subnormals.
    pub absolute: f64,
}

/// What came of a comparison.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Verdict {
    /// Whether it is within the budget.
    pub ok: bool,
    /// Its distance in f32 ULP from the rounded reference; only meaningful for f32 results of 2^-126 and more.
    pub ulps: u32,
}

impl Budget {
    /// Holds `got` against it.
    #[must_use]
    pub fn judge(&self, got: f32) -> Verdict {
        let ulps = ulp_distance(got, self.want as f32);
        if self.want.is_nan() || self.want.is_infinite() {
            return Verdict { ok: ulps == 0, ulps };
        }
        let error = (f64::from(got) - self.want).abs();
        let ok = got.is_finite()
            && (f64::from(ulps) <= self.ulps || error <= self.absolute + self.ulps * f32_ulp(self.want));
        // The sum of both allowances serves 16-bit storage; a pure f32 budget counts whole ULP only.
        let ok = if self.absolute == 0.0 { f64::from(ulps) <= self.ulps } else { ok };
        let ok = ok && !got.is_nan();
        Verdict { ok, ulps: if self.want.abs() < LEAST_NORMAL { 0 } else { ulps } }
    }

    /// The least and the greatest that `judge` accepts, as values of the type they are stored in; between them it accepts all.
    /// Both are NaN where NaN is wanted, and the first is the greater where nothing will do.
    #[must_use]
    pub fn interval(&self) -> [f32; 2] {
        let middle = self.want as f32;
        if middle.is_nan() || self.want.is_infinite() {
            return [middle; 2];
        }
        // What is beyond f32 rounds to an infinity, or, as a sum of allowances, is finite.
        let middle = if self.judge(middle).ok { middle } else { middle.clamp(f32::MIN, f32::MAX) };
        if !self.judge(middle).ok {
            return [f32::INFINITY, f32::NEG_INFINITY];
        }
        [f32::NEG_INFINITY, f32::INFINITY].map(|end| {
            // Distance only grows on the way from what is wanted: bisect the number line.
            let (mut good, mut bad) = (place_of(middle), place_of(end));
            if self.judge(end).ok {
                return end;
            }
            while good.abs_diff(bad) > 1 {
                let between = good.midpoint(bad);
                if self.judge(float_at(between)).ok {
                    good = between;
                } else {
                    bad = between;
                }
            }
            float_at(good)
        })
    }
}

/// Where an f32 is on the number line, counted from zero.
fn place_of(x: f32) -> i64 {
    let magnitude = i64::from(x.to_bits() & 0x7fff_ffff);
    if x.is_sign_negative() { -magnitude } else { magnitude }
}

fn float_at(place: i64) -> f32 {
    f32::from_bits(place.unsigned_abs() as u32).copysign(if place < 0 { -1.0 } else { 1.0 })
}

/// The budgets of one row's results.
#[derive(Clone, Debug)]
pub struct RowBudget<'a> {
    row: &'a Row,
    rival: bool,
    output: Dtype,
    /// Relative error of the sum that comes from rounding effective logits: the mean weighted by probability.
    mean_logit_error: f64,
    /// Relative error of the sum that comes from the device's own exp, and of plain summation.
    rival_sum_error: f64,
    log_cols: f64,
}

impl<'a> RowBudget<'a> {
    /// For a row computed by `schedule` and stored as `output`.
    #[must_use]
    pub fn new(row: &'a Row, schedule: Schedule, output: Dtype) -> Self {
        let weighted = |error: &dyn Fn(usize, f64) -> f64| -> f64 {
            row.probabilities.iter().enumerate().filter(|(_, p)| **p > 0.0).map(|(i, &p)| p * error(i, p)).sum()
        };
        let cols = row.probabilities.len() as f64;
        let log_cols = cols.max(1.0).ln();
        // The online algorithm rescales by one more exponential, whose arguments add up to the range of the row.
        let rival_sum_error =
            weighted(&|_, p| exp_error(depth(p) + log_cols)) + U * (cols + 8.0) + 2.0 * exp_error(104.0);
        Self {
            row,
            rival: schedule.is_rival(),
            output,
            mean_logit_error: weighted(&|i, _| row.logit_errors.get(i).copied().unwrap_or(0.0)),
            rival_sum_error,
            log_cols,
        }
    }

    /// Of probability `column`: 4 ULP, what the options' own rounding adds, half an ULP of a 16-bit output, and
    /// 2^-126 below 2^-126.
    #[must_use]
    pub fn probability(&self, column: usize) -> Budget {
        let want = self.row.probabilities[column];
        let relative = self.options(column) + self.rival(column);
        // A relative error of r is r / 2^-23 to r / 2^-24 ULP, depending on the mantissa: the larger.
        let ulps = PROBABILITY_ULPS + (relative / U).ceil();
        let flushed = if want.abs() < LEAST_NORMAL * (1.0 + 8.0 * U) && want != 0.0 { LEAST_NORMAL } else { 0.0 };
        Budget { want, ulps, absolute: storage(want, self.output) + flushed }
    }

    /// Of log-probability `column`: 4 · 2^-24 for the logarithm of the sum, 2 ULP of the result, and what the options'
    /// rounding adds.
    #[must_use]
    pub fn log_probability(&self, column: usize) -> Budget {
        let want = self.row.log_probabilities[column];
        let absolute = 4.0 * U + self.options(column) + self.rival(column) + self.rival_log();
        let absolute = if want.is_finite() { absolute + storage(want, self.output) } else { 0.0 };
        Budget { want, ulps: 2.0, absolute }
    }

    /// Of the log-sum-exp: 4 · 2^-24 and 1 ULP.
    #[must_use]
    pub fn lse(&self) -> Budget {
        let want = self.row.lse;
        let rival = if self.rival { self.rival_sum_error + self.rival_log() + 4.0 * U * want.abs() } else { 0.0 };
        let absolute = if want.is_finite() { 4.0 * U + self.mean_logit_error + rival } else { 0.0 };
        Budget { want, ulps: 1.0, absolute }
    }

    fn options(&self, column: usize) -> f64 {
        let own = self.row.logit_errors.get(column).copied().unwrap_or(0.0);
        (own + self.mean_logit_error) * (1.0 + own)
    }

    /// WGSL lets exp be 3 + 2|x| ULP off, and division 2.5.
    fn rival(&self, column: usize) -> f64 {
        if !self.rival {
            return 0.0;
        }
        exp_error(depth(self.row.probabilities[column]) + self.log_cols) + self.rival_sum_error + 6.0 * U
    }

    /// WGSL lets log be 2^-21 off in [0.5, 2], 3 ULP elsewhere.
    fn rival_log(&self) -> f64 {
        if self.rival { 8.0 * U + 6.0 * U * self.log_cols } else { 0.0 }
    }
}

/// How far below the maximum a logit of this probability may be, the number of columns aside.
fn depth(p: f64) -> f64 {
    if p > 0.0 { (-p.ln()).min(104.0) } else { 104.0 }
}

/// Relative error of exp(x - max) at distance d: 3 + 2 d ULP of up to 2 U, and the subtraction's rounding.
fn exp_error(d: f64) -> f64 {
    (2.0 * (3.0 + 2.0 * d) + d) * U
}

/// Half an ULP of the storage type.
fn storage(want: f64, output: Dtype) -> f64 {
    match output {
        Dtype::F32 => 0.0,
        // The value just below a power of two may round up into the coarser binade.
        Dtype::F16 => 0.5 * f16_ulp(want * (1.0 + 8.0 * U)),
        Dtype::Bf16 => 0.5 * bf16_ulp(want * (1.0 + 8.0 * U)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn one_ulp_beyond_is_too_far() {
        let budget = Budget { want: 0.3, ulps: 4.0, absolute: 0.0 };
        let mut x = 0.3_f32;
        for _ in 0..4 {
            x = x.next_up();
        }
        assert!(budget.judge(x).ok);
        assert!(!budget.judge(x.next_up()).ok);
        assert!(!budget.judge(f32::NAN).ok);
        assert!(!budget.judge(f32::INFINITY).ok);
    }

    proptest! {
        /// Every float from end to end of the interval is accepted, the next ones are not.
        #[test]
        fn intervals_are_what_is_accepted(
            bits in any::<u32>(),
            off in -0.5..0.5,
            kind in 0..6,
            ulps in prop_oneof![0.0..8.0, 0.0..1e7, Just(0.0), Just(4.0), Just(1e30)],
            absolute in prop_oneof![Just(0.0), Just(LEAST_NORMAL), 0.0..1e-40, 0.0..1e-3, Just(1e38)],
            inside in 0.0..1.0,
        ) {
            // Everywhere, near 1, subnormal, tiny, beyond f32, special.
            let x = f64::from(f32::from_bits(bits));
            let want = match kind {
                0 => x,
                1 => 1.0 + off,
                2 => f64::from(f32::from_bits(bits % 0x80_0000)) + off * 1e-45,
                3 => off * 1e-37,
                4 => f64::from(f32::MAX) * (1.0 + off * 1e-7),
                _ => [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 0.0, -0.0, 1e300][bits as usize % 6],
            };
            let budget = Budget { want, ulps, absolute };
            let [lo, hi] = budget.interval();
            prop_assert_eq!(budget.judge(f32::NAN).ok, lo.is_nan());
            if want.is_nan() {
                prop_assert!(lo.is_nan() && hi.is_nan());
            } else if lo > hi {
                prop_assert!([want as f32, f32::MAX, f32::MIN, f32::INFINITY].iter().all(|&x| !budget.judge(x).ok));
            } else {
                let [from, to] = [lo, hi].map(place_of);
                let between = float_at(from + ((to - from) as f64 * inside) as i64);
                for x in [lo, hi, between] {
                    prop_assert!(budget.judge(x).ok, "{} in {}..{}", x, lo, hi);
                }
                for (end, next) in [(lo, lo.next_down()), (hi, hi.next_up())] {
                    prop_assert!(end.is_infinite() || !budget.judge(next).ok, "{} by {}..{}", next, lo, hi);
                }
            }
        }
    }

    #[test]
    fn nan_wants_nan() {
        let budget = Budget { want: f64::NAN, ulps: 4.0, absolute: 1.0 };
        assert!(budget.judge(f32::NAN).ok);
        assert!(!budget.judge(0.0).ok);
    }
}
