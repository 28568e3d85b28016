//! Gumbel noise, the samples it makes, and the densities of the relaxed ones.

use crate::noise::Stream;
use crate::sample::Status;

/// Perturbed logits, f32 like the device's and to the bit the same: logits, effective (scaled and masked), plus the noise of
/// their columns. -inf stays -inf, NaN stays a NaN.
///
/// ```
/// use onesum::noise::Stream;
/// use onesum::reference::{choice, perturbed};
/// use onesum::sample::Status;
///
/// let (logits, stream) = ([1.0, 3.0, f32::NEG_INFINITY, 2.0], Stream { seed: 7, position: 0 });
/// let z = perturbed(&logits, stream);
/// let greatest = (0..4).max_by(|&a, &b| z[a].total_cmp(&z[b])).unwrap();
/// assert_eq!(choice(&logits, 1.0, stream), Status::Column(greatest as u32));
/// ```
#[must_use]
pub fn perturbed(logits: &[f32], stream: Stream) -> Vec<f32> {
    (0..).zip(logits).map(|(column, logit)| logit + stream.gumbel(column)).collect()
}

/// One-hot row of `cols` columns: 1 at the choice; `empty` everywhere if there was nothing to choose, NaN if there was no
/// distribution.
#[must_use]
pub fn one_hot(choice: Status, cols: usize, empty: f32) -> Vec<f32> {
    let mut row = vec![0.0; cols];
    match choice {
        Status::Column(column) => row.iter_mut().skip(column as usize).take(1).for_each(|y| *y = 1.0),
        Status::Empty => row.fill(empty),
        Status::Nan | Status::Infinite => row.fill(f32::NAN),
    }
    row
}

/// The Gumbel variate of a word of the stream in f64: −ln(−ln u), u = (word + ½)·2⁻³².
#[must_use]
pub fn gumbel(word: u32) -> f64 {
    // The nearer end of the unit interval.
    let distance = |n: u32| (f64::from(n) + 0.5) / 4_294_967_296.0;
    let exponential = if word < 1 << 31 { -distance(word).ln() } else { -(-distance(!word)).ln_1p() };
    -exponential.ln()
}

/// Log-density of Gumbel noise g around the logit `location`: −(g − location) − exp(−(g − location)). Scores perturbed logits.
#[must_use]
pub fn gumbel_log_density(g: f64, location: f64) -> f64 {
    let s = g - location;
    -s - (-s).exp()
}

/// Log-density of the `ExpConcrete` distribution at z = ln y (Maddison, Mnih & Teh, arXiv 1611.00712), over n − 1 free coordinates:
///
/// ```text
/// ln Γ(n) + (n − 1) ln τ + Σ s_i − n · LSE(s)          s_i = logit_i − τ z_i
/// ```
///
/// `None` if the lengths differ, there are no columns, or the temperature is not positive and finite.
#[must_use]
pub fn exp_concrete_log_density(z: &[f64], logits: &[f64], temperature: f64) -> Option<f64> {
    if z.len() != logits.len() || z.is_empty() || !(temperature > 0.0 && temperature.is_finite()) {
        return None;
    }
    let n = z.len();
    let s: Vec<f64> = logits.iter().zip(z).map(|(a, z)| a - temperature * z).collect();
    let peak = s.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let lse = peak + s.iter().map(|s| (s - peak).exp()).sum::<f64>().ln();
    let ln_factorial: f64 = (1..n).map(|i| (i as f64).ln()).sum();
    let free = (n - 1) as f64;
    Some(ln_factorial + free * temperature.ln() + s.iter().sum::<f64>() - n as f64 * lse)
}

/// Log-density of the Concrete distribution (relaxed one-hot, the density of Gumbel-Softmax samples) at y on the simplex: that of
/// `ExpConcrete` at ln y, less `Σ ln y_i`.
///
/// ```
/// // With two columns and temperature 1, `y_1` of logits (0, 0) is uniform.
/// let density = onesum::reference::concrete_log_density(&[0.3, 0.7], &[0.0, 0.0], 1.0);
/// assert!(density.unwrap().abs() < 1e-12);
/// ```
///
/// `None` as for [`exp_concrete_log_density`].
#[must_use]
pub fn concrete_log_density(y: &[f64], logits: &[f64], temperature: f64) -> Option<f64> {
    let z: Vec<f64> = y.iter().map(|y| y.ln()).collect();
    Some(exp_concrete_log_density(&z, logits, temperature)? - z.iter().sum::<f64>())
}
