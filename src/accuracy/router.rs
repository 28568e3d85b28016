//! The budget of routing weights.

use super::Budget;
use crate::noise::Domain;
use crate::reference::router::Problem;
use crate::router::{Bias, LEAST_DEVIATION, Noise, Scoring};

/// The unit: half an ULP of 1 in f32.
const U: f64 = 1.0 / 16_777_216.0;

/// The least normal f32: what is below counts as 0.
const LEAST_NORMAL: f64 = 1.175_494_350_822_287_5e-38;

/// exp(−69) and a little: smaller exponentials, relative to the one they are measured by, count as 0.
const FAINT: f64 = 1.081e-30;

/// Shares of a whole row below 2⁻⁹⁸ may count as 0.
const LEAST_SHARE: f64 = 3.2e-30;

/// How far the weights of a token's experts (not mapped) may be from [`Problem::weights`]; `None` where the formulas have no
/// finite value to be near: a logit, after bias and noise, that is NaN or +inf, or that overflows; a softplus above 2¹⁰⁰.
///
/// With u = 2⁻²⁴, and the errors of the functions in [`exact`](crate::exact) in units of u:
///
/// **Logits.** `δ_e`, how far `z_e` is off: 0 without options. A bias is one sum: u·abs(z). A cap: 1/cap, the product, tanh (whose
/// condition number is at most 1) and the product, u + u + 8u + u = 11u·abs(z), and what was off before, as the cap's slope is at
/// most 1. Normal noise, a step n·σ with n as drawn: softplus 8u, the sum and the product 1u each, 10u·abs(n·σ), and the last sum
/// u·abs(z); σ lacks at most exp(−69). Numbers below 2⁻¹²⁶ count as 0.
///
/// **Scores** s, each in an interval \[s·exp(−ε) − c, s·exp(ε)\]:
///
/// - softmax: exp(z − r) by an argument off by δ + u·abs(z − r) and by the exponential itself, ε = δ + u·abs(z − r) + 3u, and
///   c = exp(−69). r is the greatest logit of those that count, or of the row's first four if it is not more than 69 below;
/// - sigmoid: ε = δ + 8u, as ln sigmoid has a slope of at most 1; c = exp(−69);
/// - √softplus: ε = δ + 8u: half of softplus' 8u, and 4u of the root; c = √exp(−69); what is above 2¹⁰⁰ has no budget;
/// - none: z itself, off by δ.
///
/// **Sums.** The ends of the scores' intervals added up are the sum's. Of K chosen scores: K − 1 roundings. Of a row's E
/// exponentials as integers: each is cut off below 2⁻⁴⁰ of the greatest, together at most E·1.42·2⁻⁴⁰, and the sum is cut to 24 bits,
/// 2u. Then the reciprocal, 3u, and the products with it and with the factor, 1u each; without a division the latter alone.
///
/// So the weight is within \[lowest score / highest sum, highest score / lowest sum\], and the roundings of the last paragraph
/// around it; never further from the exact one than the whole factor, where the weights are shares.
#[must_use]
pub fn route_budgets(problem: &Problem<'_>, token: usize, experts: &[u32]) -> Option<Vec<Budget>> {
    let spec = problem.spec;
    let rounded = problem.effective(token);
    let logits = logits(problem, token);
    let has_budget = |(&z, l): (&f32, &Logit)| {
        let finite = z.is_finite() && l.z.is_finite();
        (finite || (z == f32::NEG_INFINITY && l.z == f64::NEG_INFINITY))
            && !(spec.scoring == Scoring::SqrtSoftplus && z > 1e30)
    };
    let deviates = spec.options.noise == Some(Noise::Normal);
    let saturated = |&d: &f32| deviates && d > 1e30;
    let deviations = problem.deviations.iter().skip(token * problem.experts).take(problem.experts);
    if deviations.into_iter().any(saturated) || !rounded.iter().zip(&logits).all(has_budget) {
        return None;
    }
    let (scale, choices) = (f64::from(spec.scale.abs()), experts.len() as f64);
    // Of what is chosen, the reference is the greatest.
    let chosen: Vec<Logit> = experts.iter().map(|&e| Logit { first: false, ..logits[e as usize] }).collect();
    let wants = problem.weights(token, experts);
    if spec.scoring == Scoring::Identity {
        let allowed = |(l, want): (&Logit, f64)| scale * (l.error + LEAST_NORMAL) + 1.01 * U * want.abs();
        return Some(chosen.iter().zip(wants).map(|pair| budget(pair.1, allowed(pair))).collect());
    }
    let all_counts = spec.scoring == Scoring::Softmax && spec.renormalize.is_none();
    let scores = scores(spec.scoring, &chosen, if all_counts { &logits } else { &chosen });
    let (sum, roundings, faint) = match spec.renormalize {
        None if all_counts => {
            let all = self::scores(spec.scoring, &logits, &logits);
            let cut = logits.len() as f64 * 1.42 * 2f64.powi(-40);
            (Interval::sum(&all), 7.1 * U + cut, LEAST_SHARE)
        }
        None => (Interval::of(1.0, 0.0, 0.0), 1.1 * U, 0.0),
        Some(least) => (Interval::sum(&scores).at_least(f64::from(least)), (choices + 4.1) * U, 0.0),
    };
    let allowed = |(s, want): (&Interval, f64)| {
        let off = (s.high / sum.low - s.exact / sum.exact).max(s.exact / sum.exact - s.low / sum.high);
        let off = if spec.scoring == Scoring::Softmax { off.min(1.0) } else { off };
        scale * (off * (1.0 + roundings) + faint) + roundings * want.abs() + LEAST_NORMAL * (1.0 + scale)
    };
    Some(scores.iter().zip(wants).map(|pair| budget(pair.1, allowed(pair))).collect())
}

fn budget(want: f64, absolute: f64) -> Budget {
    // What rounds to an infinity is one.
    let overflows = (want as f32).is_infinite();
    Budget { want: if overflows { f64::from(want as f32) } else { want }, ulps: 0.0, absolute }
}

/// An exact logit, and how far the rounded one may be off.
#[derive(Clone, Copy, Debug)]
struct Logit {
    z: f64,
    error: f64,
    /// Whether it is of the row's first four.
    first: bool,
}

fn logits(problem: &Problem<'_>, token: usize) -> Vec<Logit> {
    let o = &problem.spec.options;
    let row = &problem.logits[token * problem.experts..][..problem.experts];
    let one = |(e, &l): (usize, &f32)| {
        let (mut z, mut error) = (f64::from(l), 0.0);
        if z.abs() < LEAST_NORMAL {
            error = LEAST_NORMAL;
        }
        if o.bias == Some(Bias::Logit) {
            z += f64::from(problem.bias[e]);
            error += U * z.abs() + 2.0 * LEAST_NORMAL;
        }
        if let Some(cap) = o.soft_cap.map(f64::from) {
            z = cap * (z / cap).tanh();
            error += 11.1 * U * z.abs() + (1.0 + cap) * LEAST_NORMAL;
        }
        if o.noise == Some(Noise::Normal) {
            let word = problem.seeds[token].words(Domain::Normal, e as u32 / 4)[e % 4];
            let d = f64::from(problem.deviations[token * problem.experts + e]);
            let deviation = d.max(0.0) + (-d.abs()).exp().ln_1p() + f64::from(LEAST_DEVIATION);
            let step = f64::from(crate::exact::normal(word)) * deviation;
            z += step;
            error += 10.1 * U * step.abs() + U * z.abs() + 7.0 * FAINT;
        }
        // A little for the products of errors.
        let error = if z.is_finite() { error * 1.001 } else { 0.0 };
        Logit { z, error, first: e < 4 }
    };
    row.iter().enumerate().map(one).collect()
}

/// A number, and between what the rounded one is.
#[derive(Clone, Copy, Debug)]
struct Interval {
    low: f64,
    exact: f64,
    high: f64,
}

impl Interval {
    /// exact·exp(±error), less what counts as 0.
    fn of(exact: f64, error: f64, cut: f64) -> Self {
        Self { low: (exact * (-error).exp() - cut).max(0.0), exact, high: exact * error.exp() }
    }

    fn sum(all: &[Self]) -> Self {
        let sum = |part: fn(&Self) -> f64| all.iter().map(part).sum();
        Self { low: sum(|i| i.low), exact: sum(|i| i.exact), high: sum(|i| i.high) }
    }

    fn at_least(self, least: f64) -> Self {
        Self { low: self.low.max(least), exact: self.exact.max(least), high: self.high.max(least) }
    }
}

/// The scores of some logits; those of softmax are exponentials relative to the greatest of `among`.
fn scores(scoring: Scoring, of: &[Logit], among: &[Logit]) -> Vec<Interval> {
    let greatest = |some: &mut dyn Iterator<Item = &Logit>| some.map(|l| l.z).fold(f64::NEG_INFINITY, f64::max);
    let top = greatest(&mut among.iter());
    let first = greatest(&mut among.iter().filter(|l| l.first));
    let one = |l: &Logit| match scoring {
        Scoring::Sigmoid => Interval::of(1.0 / (1.0 + (-l.z).exp()), l.error + 8.05 * U, FAINT),
        Scoring::SqrtSoftplus => {
            let softplus = l.z.max(0.0) + (-l.z.abs()).exp().ln_1p();
            Interval::of(softplus.sqrt(), l.error + 8.05 * U, FAINT.sqrt())
        }
        // All are −inf.
        _ if top == f64::NEG_INFINITY => Interval { low: 0.0, exact: 0.0, high: 0.0 },
        _ => {
            let d = l.z - top;
            let far = if first >= top - 69.1 { d.abs().max((l.z - first).abs()) } else { d.abs() };
            let error = l.error + (far.min(70.0) * 1.01 + 3.05) * U;
            // Not as a product: a number that is far below may be far off, and stays 0.
            Interval { low: ((d - error).exp() - FAINT).max(0.0), exact: d.exp(), high: (d + error).exp() }
        }
    };
    of.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exact::exponential;
    use crate::router::{Shape, Spec};

    /// What the derivation takes for granted, on both sides of 0.
    #[test]
    fn exponentials_are_within_three_units() {
        let error = |i: i32| {
            let d = (f64::from(i) * 69.0 / 300_000.0) as f32;
            let (p, n) = exponential(d);
            (f64::from(1.0f32 + p) * 2f64.powi(n) / f64::from(d).exp() - 1.0).abs() / U
        };
        let worst = (-300_000..=300_000).map(error).fold(0.0, f64::max);
        assert!(worst <= 3.0, "{worst}");
    }

    /// The reference is within, and 1e-6 is not.
    #[test]
    fn budgets_are_narrow() {
        let logits: Vec<f32> = (0..64).map(|i| ((i * 37 % 64) as f32 - 40.0) / 9.0).collect();
        for scoring in Scoring::ALL {
            for renormalize in [None, Some(1e-20)] {
                let spec = Spec { scoring, renormalize, ..Spec::new(Shape::new(1, 64), 4) };
                if spec.check(64).is_err() {
                    continue;
                }
                let problem = Problem::new(&spec, &logits, 64);
                let route = problem.route(0);
                let budgets = route_budgets(&problem, 0, &route.experts).unwrap();
                for (budget, &weight) in budgets.iter().zip(&route.weights) {
                    assert!(budget.judge(weight).ok, "{scoring:?} {renormalize:?}: {weight} is not {}", budget.want);
                    assert!(!budget.judge(weight * (1.0 + 3e-6)).ok, "{scoring:?} {renormalize:?}");
                    assert!(!budget.judge(weight * (1.0 - 3e-6)).ok, "{scoring:?} {renormalize:?}");
                    assert!(!budget.judge(f32::NAN).ok);
                }
            }
        }
    }
}
