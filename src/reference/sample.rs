//! Gumbel-max sampling, column by column.

use super::gumbel::gumbel;
use crate::noise::{Domain, Stream};
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
    choices(logits, temperature, stream, 1)[0]
}

/// The `draws` columns of a row's greatest scores, best first: draws without replacement. Of rows with fewer columns to choose,
/// the last are [`Status::Empty`].
#[must_use]
pub fn choices(logits: &[f32], temperature: f32, stream: Stream, draws: usize) -> Vec<Status> {
    if let Some(status) = none_to_draw(logits, temperature) {
        return vec![status; draws];
    }
    let mut scores: Vec<(f32, u32)> = (0..)
        .zip(logits)
        .map(|(column, &logit)| (logit + temperature * stream.gumbel(column), column))
        .filter(|(score, _)| *score > f32::NEG_INFINITY)
        .collect();
    // The lowest column of equal scores; -0 equals +0.
    let order = |a: &(f32, u32), b: &(f32, u32)| (b.0 + 0.0).total_cmp(&(a.0 + 0.0)).then(a.1.cmp(&b.1));
    if draws < scores.len() {
        scores.select_nth_unstable_by(draws, order);
        scores.truncate(draws);
    }
    scores.sort_unstable_by(order);
    let mut list: Vec<_> = scores.into_iter().map(|(_, column)| Status::Column(column)).collect();
    list.resize(draws, Status::Empty);
    list
}

fn none_to_draw(logits: &[f32], temperature: f32) -> Option<Status> {
    const HOTTEST: f32 = (1_u128 << 96) as f32;
    if logits.iter().any(|x| x.is_nan()) || !(0.0..=HOTTEST).contains(&temperature) {
        return Some(Status::Nan);
    }
    logits.contains(&f32::INFINITY).then_some(Status::Infinite)
}

/// What sampling by blocks chooses in exact arithmetic, and its least lead over the runner-up at any level: with a lead near 0,
/// rounding may choose another. A part of the row is `part_quads` quads; block b of a part, the quads q of it with q % blocks = b.
#[must_use]
pub fn block_choice(logits: &[f32], temperature: f32, stream: Stream, part_quads: u32, blocks: u32) -> (Status, f64) {
    if let Some(status) = none_to_draw(logits, temperature) {
        return (status, f64::INFINITY);
    }
    if temperature == 0.0 {
        return (choice(logits, 0.0, stream), f64::INFINITY);
    }
    // As in softmax, a quotient beyond f32 is infinite.
    if logits.iter().any(|&x| x / temperature == f32::INFINITY) {
        return (Status::Infinite, f64::INFINITY);
    }
    let x: Vec<f64> = logits.iter().map(|&x| f64::from(x) / f64::from(temperature)).collect();
    let peak = x.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if peak == f64::NEG_INFINITY {
        return (Status::Empty, f64::INFINITY);
    }
    let (part_columns, blocks) = (part_quads as usize * 4, blocks as usize);
    let block_of = |column: usize| column % part_columns / 4 % blocks;
    let noise = |domain, index: u32, word: usize| gumbel(stream.words(domain, index)[word]);
    let mut lead = f64::INFINITY;
    let mut best = |entries: Vec<(f64, usize)>| {
        let mut entries = entries;
        entries.sort_by(|a, b| b.0.total_cmp(&a.0));
        if let [first, second, ..] = entries[..] {
            lead = f64::min(lead, first.0 - second.0);
        }
        entries[0].1
    };
    let parts: Vec<f64> =
        x.chunks(part_columns).map(|part| part.iter().map(|x| (x - peak).exp()).sum::<f64>().ln()).collect();
    let part = if parts.len() == 1 {
        0
    } else {
        best((0..).zip(&parts).map(|(i, mass)| (mass + noise(Domain::Part, i as u32, 0), i)).collect())
    };
    let columns: Vec<usize> = (part * part_columns..x.len().min((part + 1) * part_columns)).collect();
    let mut masses = vec![0.0; blocks];
    for &column in &columns {
        masses[block_of(column)] += (x[column] - peak).exp();
    }
    let entry = |(i, mass): (usize, &f64)| (mass.ln() + noise(Domain::Block, (part * blocks + i) as u32, 0), i);
    let block = best(masses.iter().enumerate().map(entry).collect());
    let member = |&column: &usize| (x[column] + noise(Domain::Member, column as u32 / 4, column % 4), column);
    let column = best(columns.iter().filter(|&&c| block_of(c) == block).map(member).collect());
    (Status::Column(column as u32), lead)
}
