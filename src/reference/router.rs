//! Routing to experts (`MoE`): experts and weights to the bit, one token at a time, and the exact weights in f64.

use crate::exact::{
    decay, exponential, hyperbolic_tangent, normal, raised, reciprocal, root, settled, sigmoid, softplus,
};
use crate::noise::{Domain, Stream};
use crate::router::{Bias, GroupScore, LEAST_DEVIATION, NO_EXPERT, Noise, Scoring, Spec};

/// Router logits and what goes with them, as [`Operands`](crate::router::Operands) has it.
#[derive(Clone, Copy, Debug)]
pub struct Problem<'a> {
    /// How to route. Its shape is not looked at.
    pub spec: &'a Spec,
    /// Logits `[tokens, experts]`.
    pub logits: &'a [f32],
    /// Experts.
    pub experts: usize,
    /// Bias `[experts]`.
    pub bias: &'a [f32],
    /// What deviations are made of `[tokens, experts]`.
    pub deviations: &'a [f32],
    /// Where each token's noise comes from.
    pub seeds: &'a [Stream],
    /// What experts are called `[experts + shared]`.
    pub map: Option<&'a [u32]>,
    /// Tokens that are no padding.
    pub valid: Option<u32>,
}

/// Where a token goes.
#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    /// Experts, best first, then shared ones; mapped.
    pub experts: Vec<u32>,
    /// Their weights.
    pub weights: Vec<f32>,
}

impl<'a> Problem<'a> {
    /// Logits and nothing else.
    #[must_use]
    pub fn new(spec: &'a Spec, logits: &'a [f32], experts: usize) -> Self {
        Self { spec, logits, experts, bias: &[], deviations: &[], seeds: &[], map: None, valid: None }
    }

    /// Tokens.
    #[must_use]
    pub fn tokens(&self) -> usize {
        self.logits.len().checked_div(self.experts).unwrap_or(0)
    }

    /// A token's logits after bias, cap and noise: z.
    pub(crate) fn effective(&self, token: usize) -> Vec<f32> {
        let o = &self.spec.options;
        let row = &self.logits[token * self.experts..][..self.experts];
        let one = |(e, &l): (usize, &f32)| {
            let mut z = l;
            if o.bias == Some(Bias::Logit) {
                z = settled(settled(z) + settled(self.bias[e]));
            }
            if let Some(cap) = o.soft_cap {
                z = settled(hyperbolic_tangent(settled(settled(z) * (1.0 / cap))) * cap);
            }
            if o.noise == Some(Noise::Normal) {
                let word = self.word(token, Domain::Normal, e);
                let deviation = softplus(self.deviations[token * self.experts + e]) + LEAST_DEVIATION;
                z = settled(settled(z) + normal(word) * deviation);
            }
            z
        };
        row.iter().enumerate().map(one).collect()
    }

    fn word(&self, token: usize, domain: Domain, expert: usize) -> u32 {
        self.seeds[token].words(domain, expert as u32 / 4)[expert % 4]
    }

    /// What experts are chosen by: r.
    fn ranks(&self, token: usize, z: &[f32]) -> Vec<f32> {
        let o = &self.spec.options;
        if o.noise == Some(Noise::Gumbel) {
            let g = |e: usize| self.seeds[token].gumbel(e as u32);
            return z.iter().enumerate().map(|(e, &z)| settled(settled(z) + g(e))).collect();
        }
        let sums = o.groups.is_some_and(|g| g.score == GroupScore::TopTwo);
        if o.bias != Some(Bias::Score) && !sums {
            // Scores rise with logits.
            return z.to_vec();
        }
        let scores = match self.spec.scoring {
            Scoring::Softmax => {
                let mass = Mass::of(z);
                z.iter().map(|&z| mass.share(z)).collect()
            }
            // Without a bias the logits themselves, subnormal ones too.
            Scoring::Identity if o.bias != Some(Bias::Score) => z.to_vec(),
            scoring => z.iter().map(|&z| score(scoring, z)).collect::<Vec<_>>(),
        };
        if o.bias != Some(Bias::Score) {
            return scores;
        }
        scores.iter().zip(self.bias).map(|(&s, &b)| settled(settled(s) + settled(b))).collect()
    }

    /// The experts in the race, in the order that they would be chosen.
    fn ordered(&self, ranks: &[f32]) -> Vec<usize> {
        let all = in_order(ranks, 0..ranks.len());
        let Some(groups) = self.spec.options.groups else { return all };
        let size = ranks.len() / groups.count as usize;
        let group_score = |g: usize| {
            let best = in_order(ranks, g * size..(g + 1) * size);
            let two: Vec<f32> = best.iter().take(2).map(|&e| ranks[e]).collect();
            match (groups.score, two[..].first(), two.get(1)) {
                (GroupScore::TopTwo, Some(a), Some(b)) => settled(settled(*a) + settled(*b)),
                (_, Some(a), _) => *a,
                _ => f32::NAN,
            }
        };
        let scores: Vec<f32> = (0..groups.count as usize).map(group_score).collect();
        let kept = &in_order(&scores, 0..scores.len())[..groups.kept as usize];
        all.into_iter().filter(|e| kept.contains(&(e / size))).collect()
    }

    /// Where a token goes: the bits that every device gives.
    #[must_use]
    pub fn route(&self, token: usize) -> Route {
        let shared = self.spec.options.shared;
        let padding = self.valid.is_some_and(|valid| token >= valid as usize);
        if padding {
            let width = self.spec.width() as usize;
            return Route { experts: vec![NO_EXPERT; width], weights: vec![0.0; width] };
        }
        let (mut experts, mut weights) = self.chosen(token);
        for i in 0..shared.map_or(0, |s| s.count as usize) {
            experts.push((self.experts + i) as u32);
            weights.push(shared.map_or(0.0, |s| s.weight));
        }
        if let Some(map) = self.map {
            experts = experts.into_iter().map(|e| map[e as usize]).collect();
        }
        Route { experts, weights }
    }

    /// The chosen experts, not mapped, and their weights.
    fn chosen(&self, token: usize) -> (Vec<u32>, Vec<f32>) {
        let z = self.effective(token);
        let mut order = self.ordered(&self.ranks(token, &z));
        order.truncate(self.spec.choices as usize);
        let chosen: Vec<f32> = order.iter().map(|&e| z[e]).collect();
        let nan_chosen = chosen.iter().any(|z| z.is_nan());
        let (scores, spoilt): (Vec<f32>, bool) = match (self.spec.scoring, self.spec.renormalize) {
            (Scoring::Softmax, Some(_)) => {
                let greatest = in_order(&chosen, 0..chosen.len()).first().map_or(f32::NAN, |&i| chosen[i]);
                let e = |&z: &f32| if greatest == f32::NEG_INFINITY { 0.0 } else { decay(distance(z, greatest)) };
                (chosen.iter().map(e).collect(), nan_chosen)
            }
            (Scoring::Softmax, None) => {
                let mass = Mass::of(&z);
                (chosen.iter().map(|&z| mass.share(z)).collect(), z.iter().any(|z| z.is_nan()))
            }
            (scoring, divides) => {
                (chosen.iter().map(|&z| score(scoring, z)).collect(), divides.is_some() && nan_chosen)
            }
        };
        let inverse = match self.spec.renormalize {
            Some(least) => reciprocal(scores.iter().sum::<f32>().max(least)),
            None => 1.0,
        };
        let weigh = |&s: &f32| {
            let weight = settled((s * inverse) * self.spec.scale);
            if spoilt || s.is_nan() || weight.is_nan() { f32::NAN } else { weight }
        };
        (order.iter().map(|&e| e as u32).collect(), scores.iter().map(weigh).collect())
    }

    /// The weights of experts, not mapped, as the formulas have them: in f64, from logits as they are.
    #[must_use]
    pub fn weights(&self, token: usize, experts: &[u32]) -> Vec<f64> {
        let z = self.exact(token);
        let share_of = |among: &[f64], z: f64| {
            let greatest = among.iter().fold(f64::NEG_INFINITY, |a, &b| if b.is_nan() { b } else { a.max(b) });
            let exp = |z: f64| if z == greatest { 1.0 } else { (z - greatest).exp() };
            let sum: f64 = among.iter().map(|&z| exp(z)).sum();
            if greatest == f64::NEG_INFINITY { 0.0 } else { exp(z) / sum }
        };
        let chosen: Vec<f64> = experts.iter().map(|&e| z[e as usize]).collect();
        let scores: Vec<f64> = match (self.spec.scoring, self.spec.renormalize) {
            (Scoring::Softmax, Some(_)) => chosen.iter().map(|&z| share_of(&chosen, z)).collect(),
            (Scoring::Softmax, None) => chosen.iter().map(|&x| share_of(&z, x)).collect(),
            (Scoring::Sigmoid, _) => chosen.iter().map(|&z| 1.0 / (1.0 + (-z).exp())).collect(),
            (Scoring::SqrtSoftplus, _) => {
                chosen.iter().map(|&z| (z.max(0.0) + (-z.abs()).exp().ln_1p()).sqrt()).collect()
            }
            (Scoring::Identity, _) => chosen,
        };
        let sum = self.spec.renormalize.map_or(1.0, |least| scores.iter().sum::<f64>().max(f64::from(least)));
        scores.iter().map(|s| s / sum * f64::from(self.spec.scale)).collect()
    }

    /// z in f64, noise as it is drawn.
    fn exact(&self, token: usize) -> Vec<f64> {
        let o = &self.spec.options;
        let row = &self.logits[token * self.experts..][..self.experts];
        let one = |(e, &l): (usize, &f32)| {
            let mut z = f64::from(l);
            if o.bias == Some(Bias::Logit) {
                z += f64::from(self.bias[e]);
            }
            if let Some(cap) = o.soft_cap.map(f64::from) {
                z = cap * (z / cap).tanh();
            }
            if o.noise == Some(Noise::Normal) {
                let d = f64::from(self.deviations[token * self.experts + e]);
                let deviation = d.max(0.0) + (-d.abs()).exp().ln_1p() + f64::from(LEAST_DEVIATION);
                z += f64::from(normal(self.word(token, Domain::Normal, e))) * deviation;
            }
            z
        };
        row.iter().enumerate().map(one).collect()
    }
}

/// Indices by value: descending, the lower index first among equals, −0 = +0, NaN last.
fn in_order(values: &[f32], range: std::ops::Range<usize>) -> Vec<usize> {
    let mut order: Vec<usize> = range.collect();
    order.sort_by(|&a, &b| {
        let (x, y) = (values[a], values[b]);
        // The sort is stable: what is neither greater nor less stays in the order of indices.
        x.is_nan().cmp(&y.is_nan()).then(y.partial_cmp(&x).unwrap_or(std::cmp::Ordering::Equal))
    });
    order
}

fn score(scoring: Scoring, z: f32) -> f32 {
    match scoring {
        Scoring::Sigmoid => sigmoid(z),
        Scoring::SqrtSoftplus => root(softplus(z)),
        Scoring::Identity | Scoring::Softmax => settled(z),
    }
}

/// z − reference, 0 for two equal infinities.
fn distance(z: f32, reference: f32) -> f32 {
    if z.to_bits() == reference.to_bits() { 0.0 } else { z - reference }
}

/// The partition function of a row as an integer, relative to one of its logits.
struct Mass {
    reference: f32,
    exponent: i32,
    inverse: f32,
}

impl Mass {
    fn of(z: &[f32]) -> Self {
        let greatest_of = |z: &[f32]| in_order(z, 0..z.len()).first().map_or(f32::NAN, |&i| z[i]);
        let (greatest, first) = (greatest_of(z), greatest_of(&z[..z.len().min(4)]));
        let reference = if first.is_finite() && greatest - first <= 69.0 { first } else { greatest };
        let terms: Vec<(f32, i32)> = z.iter().filter_map(|&z| Self::term(distance(z, reference))).collect();
        // A multiple of 20 above every exponent.
        let anchor = terms.iter().map(|&(_, n)| (n + 1 + 200 + 19) / 20 * 20 - 200).max().unwrap_or(0);
        // Units of 2^(anchor − 60): what is below is cut off.
        let units = |&(p, n): &(f32, i32)| {
            let mantissa = f64::from(1.0f32 + p) * 2f64.powi(24);
            let shift = n - 24 - (anchor - 60);
            if shift >= 0 {
                (mantissa as u128) << shift
            } else {
                (mantissa as u128).checked_shr(-shift as u32).unwrap_or(0)
            }
        };
        let sum: u128 = terms.iter().map(units).sum();
        let bits = 128 - sum.leading_zeros() as i32;
        let leading = if bits >= 24 { sum >> (bits - 24) } else { sum << (24 - bits).min(24) } as u32;
        let mantissa = leading as f32 * 2f32.powi(-23);
        Self { reference, exponent: bits - 1 + anchor - 60, inverse: reciprocal(mantissa) }
    }

    /// exp(d) as mantissa less 1 and exponent, unless it is too small to count.
    fn term(d: f32) -> Option<(f32, i32)> {
        (d.abs() <= 69.0).then(|| exponential(d))
    }

    fn share(&self, z: f32) -> f32 {
        if z.is_nan() {
            return f32::NAN;
        }
        match Self::term(distance(z, self.reference)) {
            Some((p, n)) if n - self.exponent > -100 && self.reference != f32::NEG_INFINITY => {
                raised(1.0 + p, n - self.exponent) * self.inverse
            }
            _ => 0.0,
        }
    }
}
