//! Whether all compute the same thing: results against the reference in f64.

use onesum::reference;

use crate::work::{FREQUENCIES, Kind, Problem, Results, TEMPERATURE, Work};

/// One f32 unit in the last place, relative, at most.
const ULP: f64 = 1.0 / 8_388_608.0;

/// No right sampler fails a check more often than this.
const ALPHA: f64 = 1e-6;

/// Elements that are held against the reference, about.
const CHECKED: usize = 1 << 20;

/// The greatest relative error of a softmax of this data in f32, by rounding alone, in whatever order it adds. Logits lie in
/// [-10, 10), so exponents x − max in (-20, 0]. In units in the last place:
///
/// - x − max is rounded to half a unit of [16, 32), 2^-20, which the exponential makes a relative error: 8;
/// - the exponential itself, as WGSL allows it: 3 + 2 · 20;
/// - both are in the numerator and in each term of the sum: twice;
/// - n terms added in any order: (n − 1) / 2;
/// - the division, as WGSL allows it: 2.5.
pub fn softmax_tolerance(cols: u32) -> f64 {
    (2.0 * (8.0 + 43.0) + f64::from(cols - 1) / 2.0 + 2.5) * ULP
}

/// The weights of K choices: two probabilities' errors, K − 1 additions, one division more.
fn weight_tolerance(work: &Work) -> f64 {
    2.0 * softmax_tolerance(work.cols) + (f64::from(work.choices - 1) / 2.0 + 2.5) * ULP
}

fn probabilities(row: &[f32]) -> Vec<f64> {
    reference::Problem::new(row, row.len()).row(0).probabilities
}

/// At most `most` rows (at least 2), from the first to the last.
fn some_rows(rows: usize, most: usize) -> Vec<usize> {
    let most = most.max(2);
    if rows <= most { (0..rows).collect() } else { (0..most).map(|i| i * (rows - 1) / (most - 1)).collect() }
}

/// The greatest relative error that was found; none of what is exact. The error says what is wrong.
pub fn check(problem: &Problem, results: &Results) -> Result<Option<f64>, String> {
    let work = &problem.work;
    let (rows, cols) = (work.rows as usize, work.cols as usize);
    let (columns, values) = match work.kind {
        Kind::Softmax => (0, rows * cols),
        Kind::ArgMax | Kind::Sample => (rows, 0),
        Kind::Route => (rows * work.choices as usize, rows * work.choices as usize),
    };
    if (results.columns.len(), results.values.len()) != (columns, values) {
        return Err(format!("{} columns and {} values came", results.columns.len(), results.values.len()));
    }
    let mut worst: Option<f64> = None;
    for row in some_rows(rows, CHECKED / cols) {
        let x = &problem.logits[row * cols..][..cols];
        let found = match work.kind {
            Kind::Softmax => Some(softmax(x, &results.values[row * cols..][..cols], softmax_tolerance(work.cols))?),
            Kind::ArgMax => {
                arg_max(x, results.columns[row])?;
                None
            }
            Kind::Sample => {
                possible(x, results.columns[row])?;
                None
            }
            Kind::Route => {
                let k = work.choices as usize;
                Some(route(work, x, &results.columns[row * k..][..k], &results.values[row * k..][..k])?)
            }
        };
        worst = worst.into_iter().chain(found).reduce(f64::max);
    }
    Ok(worst)
}

fn softmax(x: &[f32], got: &[f32], tolerance: f64) -> Result<f64, String> {
    let mut worst: f64 = 0.0;
    for (column, (want, &got)) in probabilities(x).into_iter().zip(got).enumerate() {
        let error = (f64::from(got) - want).abs() / want;
        if error.is_nan() || error > tolerance {
            return Err(format!("column {column}: got {got:e}, want {want:e} within {tolerance:.1e}"));
        }
        worst = worst.max(error);
    }
    Ok(worst)
}

/// Of equal logits any will do.
fn arg_max(x: &[f32], column: u32) -> Result<(), String> {
    let greatest = x.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    match x.get(column as usize) {
        Some(&value) if value == greatest => Ok(()),
        other => Err(format!("column {column}: {other:?} is not the greatest, {greatest}")),
    }
}

/// All columns whose probability is below α / n are drawn less often than α, taken together.
fn possible(x: &[f32], column: u32) -> Result<(), String> {
    let tempered: Vec<f32> = x.iter().map(|x| x / TEMPERATURE).collect();
    match probabilities(&tempered).get(column as usize) {
        Some(&p) if p >= ALPHA / x.len() as f64 => Ok(()),
        other => Err(format!("drew column {column}, whose probability is {other:?}")),
    }
}

/// The choices in order; two may be exchanged where rounding decides between their probabilities.
fn route(work: &Work, x: &[f32], experts: &[u32], weights: &[f32]) -> Result<f64, String> {
    let p = probabilities(x);
    let mut sorted = p.clone();
    sorted.sort_by(|a, b| b.total_cmp(a));
    // Either of two probabilities may be off by this.
    let close = 2.0 * softmax_tolerance(work.cols);
    let chosen: Vec<f64> = experts.iter().filter_map(|&e| p.get(e as usize).copied()).collect();
    let distinct: std::collections::HashSet<_> = experts.iter().collect();
    if chosen.len() != experts.len() || distinct.len() != experts.len() {
        return Err(format!("experts {experts:?}"));
    }
    let (sum, tolerance) = (chosen.iter().sum::<f64>(), weight_tolerance(work));
    let mut worst: f64 = 0.0;
    for (place, ((&p, &want), &weight)) in chosen.iter().zip(&sorted).zip(weights).enumerate() {
        if (p - want).abs() > close * want {
            return Err(format!("place {place}: expert {} has {p:e}, not {want:e}", experts[place]));
        }
        let want = p / sum;
        let error = (f64::from(weight) - want).abs() / want;
        if error.is_nan() || error > tolerance {
            return Err(format!("place {place}: weight {weight:e}, want {want:e} within {tolerance:.1e}"));
        }
        worst = worst.max(error);
    }
    Ok(worst)
}

/// Pearson's statistic of some draws, all from the same logits, against the softmax at this temperature.
pub fn frequencies(logits: &[f32], columns: &[u32]) -> Result<(), String> {
    let cols = FREQUENCIES.cols as usize;
    let tempered: Vec<f32> = logits[..cols].iter().map(|x| x / TEMPERATURE).collect();
    let mut counts = vec![0_u32; cols];
    for &column in columns {
        *counts.get_mut(column as usize).ok_or_else(|| format!("drew column {column} of {cols}"))? += 1;
    }
    let draws = columns.len() as f64;
    let terms =
        counts.iter().zip(probabilities(&tempered)).map(|(&n, p)| (f64::from(n) - draws * p).powi(2) / (draws * p));
    let (found, limit) = (terms.sum::<f64>(), chi_square_limit(cols as f64 - 1.0));
    if found <= limit { Ok(()) } else { Err(format!("wrong frequencies: chi-square {found:.0}, at most {limit:.0}")) }
}

/// What chi-square exceeds once in a million (Wilson and Hilferty, 1931).
fn chi_square_limit(freedom: f64) -> f64 {
    const NORMAL: f64 = 4.753_424;
    let part = 2.0 / (9.0 * freedom);
    freedom * (1.0 - part + NORMAL * part.sqrt()).powi(3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_probability_is_found() {
        let x = [0.0_f32, 1.0, 2.0, 3.0];
        let p: Vec<f32> = probabilities(&x).into_iter().map(|p| p as f32).collect();
        assert!(softmax(&x, &p, softmax_tolerance(4)).unwrap() < ULP);
        assert!(softmax(&x, &[p[1], p[0], p[2], p[3]], softmax_tolerance(4)).is_err());
        assert!(softmax(&x, &[p[0], p[1], p[2], f32::NAN], softmax_tolerance(4)).is_err());
    }

    #[test]
    fn wrong_choices_are_found() {
        let work = Work { kind: Kind::Route, rows: 1, cols: 4, choices: 2 };
        let (x, e) = ([0.0_f32, 3.0, 2.0, 1.0], std::f64::consts::E);
        let weights = [(e / (1.0 + e)) as f32, (1.0 / (1.0 + e)) as f32];
        assert!(route(&work, &x, &[1, 2], &weights).is_ok());
        assert!(route(&work, &x, &[2, 1], &[weights[1], weights[0]]).is_err());
        assert!(route(&work, &x, &[1, 1], &[0.5, 0.5]).is_err());
        assert!(route(&work, &x, &[1, 2], &[0.5, 0.5]).is_err());
        assert!(route(&work, &x, &[1, 4], &weights).is_err());
    }

    #[test]
    fn the_greatest_is_known() {
        let x = [1.0_f32, 5.0, 5.0, 2.0];
        assert!(arg_max(&x, 1).is_ok() && arg_max(&x, 2).is_ok());
        assert!(arg_max(&x, 3).is_err() && arg_max(&x, 4).is_err());
    }

    #[test]
    fn impossible_draws_are_found() {
        let x = [0.0_f32, -30.0];
        assert!(possible(&x, 0).is_ok());
        assert!(possible(&x, 1).is_err() && possible(&x, 2).is_err());
    }

    /// The exact value is 131.37.
    #[test]
    fn frequencies_have_a_limit() {
        assert!((chi_square_limit(63.0) - 131.37).abs() < 0.5, "{}", chi_square_limit(63.0));
        let logits = crate::work::few_logits(&FREQUENCIES);
        let stream = |position| onesum::noise::Stream { seed: 1, position };
        let draw =
            |position| reference::choice(&logits[..FREQUENCIES.cols as usize], TEMPERATURE, stream(position)).word();
        let drawn: Vec<u32> = (0..65_536).map(draw).collect();
        assert_eq!(frequencies(&logits, &drawn), Ok(()));
        // One in a hundred draws is another column's.
        let wrong: Vec<u32> = drawn.iter().enumerate().map(|(i, &c)| if i % 100 == 0 { 63 } else { c }).collect();
        assert!(frequencies(&logits, &wrong).is_err());
    }
}
