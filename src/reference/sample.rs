//! Gumbel-max sampling, column by column.

use crate::noise::Stream;
use crate::sample::Status;

/// The column that a row's logits, effective (masked) and f32, lead to: argmax of logit + temperature · noise in f32, each
/// operation rounded. To the bit what every device chooses.
///
/// ```
/// use onesum::noise::Stream;
/// use onesum::reference::choice;
/// use onesum::sample::Status;
///
/// let logits = [1.0, 3.0, f32::NEG_INFINITY, 2.0];
/// assert_eq!(choice(&logits, 0.0, Stream::default()), Status::Column(1));
/// // Every position draws anew.
/// let drawn = |position| choice(&logits, 1.0, Stream { seed: 7, position });
/// let twos = (0..1000).filter(|&p| drawn(p) == Status::Column(3)).count();
/// assert!((200..290).contains(&twos), "{twos} of 1000, expected 245");
/// ```
#[must_use]
pub fn choice(logits: &[f32], temperature: f32, stream: Stream) -> Status {
    const HOTTEST: f32 = (1_u128 << 96) as f32;
    if logits.iter().any(|x| x.is_nan()) || !(0.0..=HOTTEST).contains(&temperature) {
        return Status::Nan;
    }
    if logits.contains(&f32::INFINITY) {
        return Status::Infinite;
    }
    let mut best: Option<(f32, u32)> = None;
    for (column, &logit) in (0..).zip(logits) {
        let score = logit + temperature * stream.gumbel(column);
        if score > f32::NEG_INFINITY && best.is_none_or(|(greatest, _)| score > greatest) {
            best = Some((score, column));
        }
    }
    best.map_or(Status::Empty, |(_, column)| Status::Column(column))
}

/// The Gumbel variate of a word of the stream in f64: −ln(−ln u), u = (word + ½)·2⁻³².
#[must_use]
pub fn gumbel(word: u32) -> f64 {
    // The nearer end of the unit interval.
    let distance = |n: u32| (f64::from(n) + 0.5) / 4_294_967_296.0;
    let exponential = if word < 1 << 31 { -distance(word).ln() } else { -(-distance(!word)).ln_1p() };
    -exponential.ln()
}
