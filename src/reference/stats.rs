//! Load statistics of a routed batch, in f64 and textbook order, and how far a device may be from them.

use crate::stats::{LSE_LIMIT, Scoring, State, WEIGHT_LIMIT};

/// A routed batch.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    /// Logits `[tokens, cols]`.
    pub logits: &'a [f32],
    /// Chosen experts `[tokens, choices]`.
    pub experts: &'a [u32],
    /// Their weights `[tokens, choices]`.
    pub weights: &'a [f32],
    /// Experts.
    pub cols: usize,
    /// Choices of a token.
    pub choices: usize,
    /// What probabilities are.
    pub scoring: Scoring,
}

/// How far a device's sums may be from the reference's, absolutely: the sum over tokens of what each may be off by. Integers are
/// exact, and adding them up costs nothing: a sum is off by what its terms are. u = 2⁻²⁴.
///
/// - A **weight** is rounded to a multiple of 2⁻³²: 2⁻³³ each, and nothing from 2⁻⁸ on, where every f32 is such a multiple.
/// - A **probability** p is that of the softmax kernel before its last rounding (`docs/accuracy.md`, "The quotient"): 4.08u
///   relative, then rounded to f32: u, then to a multiple of 2⁻³²: 2⁻³³. p = 1 is taken for the float below: u. So 6.1u·p + 2⁻³³.
/// - A **sigmoid's** logarithm, s = min(x, 0) − ln(1 + e^−|x|): e = e^−|x| is off by 2u relative, z = e / (2 + e) by 2u of the sum
///   and a division of 2.5 ULP, 5u: with its own e, 9u of the logarithm at most, which is at most ln 2; the series by 2u of
///   that and 0.2u; 8.2u absolute. The difference is rounded: u·|s|; from |x| = 25 on the logarithm is less than half an ULP of
///   x, and what is lost is below that and below e⁻²⁵ < u/1000. An error of s is a relative one of e^s, and so is the mean of all
///   in their sum: `δ_e + Σ_j p_j δ_j`, δ = u·(8.2 + min(|s|, 25)).
/// - A **log-sum-exp** L is that of softmax: 4u + 1 ULP ≤ 4u + 2u·|L| absolute, ε. Its square is rounded to f32 and to a multiple of
///   2⁻³²: (2·|L| + ε)·ε + u·L² + 2⁻³³.
#[derive(Clone, Debug, PartialEq)]
pub struct Errors {
    /// Of each gate sum.
    pub gates: Vec<f64>,
    /// Of each probability sum.
    pub probabilities: Vec<f64>,
    /// Of the sum of squares.
    pub squares: f64,
}

const U: f64 = 1.0 / 16_777_216.0;

/// Half of the unit that sums are counted in.
const HALF_UNIT: f64 = 1.0 / 8_589_934_592.0;

/// What a device counts, and how far its sums may be off.
#[must_use]
pub fn state(batch: &Batch<'_>) -> (State, Errors) {
    let mut s = State::new(batch.cols as u32);
    let none = vec![0.0; batch.cols];
    let mut errors = Errors { gates: none.clone(), probabilities: none, squares: 0.0 };
    let rows = batch.experts.chunks(batch.choices).zip(batch.weights.chunks(batch.choices));
    for ((chosen, weights), x) in rows.zip(batch.logits.chunks(batch.cols)) {
        if chosen.iter().all(|&e| e as usize >= batch.cols) {
            continue;
        }
        s.tokens += 1;
        choices(&mut s, &mut errors, chosen, weights);
        if x.iter().any(|&x| x.is_nan() || x == f32::INFINITY) {
            s.nan_tokens += 1;
            continue;
        }
        if x.iter().all(|&x| x == f32::NEG_INFINITY) {
            s.masked_tokens += 1;
            continue;
        }
        let x: Vec<f64> = x.iter().map(|&x| f64::from(x)).collect();
        distribution(&mut s, &mut errors, &x, batch.scoring);
        let lse = log_sum_exp(&x);
        if lse.abs() < f64::from(LSE_LIMIT) {
            s.measured_tokens += 1;
            s.squares += lse * lse;
            let error = 4.0 * U + 2.0 * U * lse.abs();
            errors.squares += (2.0 * lse.abs() + error) * error + U * lse * lse + HALF_UNIT;
        }
    }
    (s, errors)
}

fn choices(s: &mut State, errors: &mut Errors, chosen: &[u32], weights: &[f32]) {
    for (k, (&e, &weight)) in chosen.iter().zip(weights).enumerate() {
        let e = e as usize;
        if e >= s.counts.len() {
            s.sentinels += 1;
            continue;
        }
        s.counts[e] += 1;
        s.first[e] += u64::from(k == 0);
        if weight.is_finite() && weight.abs() < WEIGHT_LIMIT {
            s.gates[e] += f64::from(weight);
            errors.gates[e] += if weight.abs() < 0.003_906_25 { HALF_UNIT } else { 0.0 };
        } else {
            s.bad_weights += 1;
        }
    }
}

fn distribution(s: &mut State, errors: &mut Errors, x: &[f64], scoring: Scoring) {
    let scores: Vec<f64> = match scoring {
        Scoring::Softmax => x.to_vec(),
        Scoring::Sigmoid => x.iter().map(|&x| x.min(0.0) - (-x.abs()).exp().ln_1p()).collect(),
    };
    // From the greatest: a log-sum-exp of -10^30 is not exact enough.
    let most = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = scores.iter().map(|s| (s - most).exp()).sum();
    let p: Vec<f64> = scores.iter().map(|s| (s - most).exp() / sum).collect();
    let delta = |score: f64| if scoring == Scoring::Sigmoid { U * (8.2 + score.abs().min(25.0)) } else { 0.0 };
    let mean: f64 = p.iter().zip(&scores).map(|(p, &score)| p * delta(score)).sum();
    for (e, (&p, &score)) in p.iter().zip(&scores).enumerate() {
        s.probabilities[e] += p;
        errors.probabilities[e] += p * (6.1 * U + delta(score) + mean) + HALF_UNIT;
    }
}

fn log_sum_exp(x: &[f64]) -> f64 {
    let most = x.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    most + x.iter().map(|x| (x - most).exp()).sum::<f64>().ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_by_hand() {
        let inf = f32::INFINITY;
        let logits = [0.0, 0.0, 1.0, -inf, f32::NAN, 0.0, -inf, -inf, 5.0, 5.0];
        let experts = [0, 1, 1, 9, 0, 1, 1, 0, u32::MAX, 2];
        let weights = [0.75, 0.25, -1.0, f32::NAN, inf, 0.5, 1.0, 2.0, 3.0, 4.0];
        let batch = Batch {
            logits: &logits,
            experts: &experts,
            weights: &weights,
            cols: 2,
            choices: 2,
            scoring: Scoring::Softmax,
        };
        let (s, _) = state(&batch);
        assert_eq!((s.tokens, s.sentinels, s.nan_tokens, s.masked_tokens, s.measured_tokens), (4, 1, 1, 1, 2));
        assert_eq!((s.bad_weights, &s.counts[..], &s.first[..]), (1, &[3, 4][..], &[2, 2][..]));
        assert_eq!((&s.gates[..], &s.probabilities[..]), (&[2.75, 0.75][..], &[1.5, 0.5][..]));
        assert!((s.squares - (2f64.ln().powi(2) + 1.0)).abs() < 1e-12);
    }

    /// Sigmoids over their sum, where f64 can compute them plainly.
    #[test]
    fn sigmoids_are_sigmoids() {
        let logits = [3.0, -2.0, 0.5];
        let batch =
            Batch { logits: &logits, experts: &[0], weights: &[1.0], cols: 3, choices: 1, scoring: Scoring::Sigmoid };
        let sigmoid = logits.map(|x| 1.0 / (1.0 + f64::from(-x).exp()));
        let sum: f64 = sigmoid.iter().sum();
        for (got, want) in state(&batch).0.probabilities.iter().zip(sigmoid) {
            assert!((got - want / sum).abs() < 1e-15);
        }
    }
}
