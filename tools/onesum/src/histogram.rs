//! The load of experts as lines of text.

use std::fmt::Write;

/// A line for each expert, or for some neighbours where there are more of them than lines. The bar is the mean of the line's
/// experts, the `|` the mean of all.
pub fn text(counts: &[u64], (columns, lines): (usize, usize)) -> String {
    let together = counts.len().div_ceil(lines.max(1)).next_power_of_two();
    let mean_of = |counts: &[u64]| counts.iter().sum::<u64>() as f64 / counts.len().max(1) as f64;
    let means: Vec<f64> = counts.chunks(together).map(mean_of).collect();
    let top = means.iter().copied().fold(0.0, f64::max).max(f64::MIN_POSITIVE);
    let label = |line: usize| {
        let (first, last) = (line * together, ((line + 1) * together).min(counts.len()) - 1);
        if first == last { first.to_string() } else { format!("{first}-{last}") }
    };
    let wide = (0..means.len()).map(|line| label(line).len()).max().unwrap_or(0);
    let number = |x: f64| if x.fract() == 0.0 { format!("{x:.0}") } else { format!("{x:.1}") };
    let values: Vec<String> = means.iter().map(|&x| number(x)).collect();
    let room = values.iter().map(String::len).max().unwrap_or(0);
    // Two spaces before, between, and between again; the value.
    let width = columns.saturating_sub(wide + room + 6).clamp(8, 80);
    let place = |x: f64| (x / top * width as f64).round() as usize;
    let middle = place(mean_of(counts)).min(width.saturating_sub(1));
    let mut text = String::new();
    for (line, (&mean, value)) in means.iter().zip(&values).enumerate() {
        let bar: String = (0..width)
            .map(|i| match (i == middle, i < place(mean)) {
                (true, _) => '|',
                (false, true) => '#',
                (false, false) => ' ',
            })
            .collect();
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  {:>wide$}  {bar}  {value:>room$}", label(line));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_for_each_or_for_some() {
        assert_eq!(text(&[4, 0, 2], (17, 9)), "  0  #####|###  4\n  1       |     0\n  2  #####|     2\n");
        let binned = text(&[1; 300], (60, 10));
        assert_eq!(binned.lines().count(), 10);
        assert!(binned.lines().all(|line| line.len() == 60 && line.ends_with("|  1")), "{binned}");
        assert!(binned.contains("  288-299  "));
        assert_eq!(text(&[], (80, 24)), "");
        assert!(text(&[0, 0], (80, 24)).lines().all(|line| !line.contains('#')));
    }
}
