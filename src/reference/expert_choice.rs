//! Expert choice, column by column.

/// What experts chose.
#[derive(Clone, Debug, PartialEq)]
pub struct Chosen {
    /// `[experts, capacity]`: each expert's tokens, best first, then `u32::MAX`.
    pub tokens: Vec<u32>,
    /// `[experts, capacity]`: their scores, then 0.
    pub weights: Vec<f32>,
    /// `[tokens + 1]`: where each token's choices begin.
    pub offsets: Vec<u32>,
    /// For each token in turn, expert · capacity + slot of those that took it, ascending.
    pub choices: Vec<u32>,
}

/// The `capacity` best of the first `valid` tokens for each expert: each column sorted by value, descending, then by token; NaN
/// last, −0 = +0. `scores` are rows of `experts`, one a token.
///
/// ```
/// use onesum::reference::expert_choice::expert_choice;
///
/// // Three tokens, two experts, two tokens each.
/// let chosen = expert_choice(&[0.9, 0.1, 0.2, 0.8, 0.9, 0.3], 2, 2, 3);
/// assert_eq!(chosen.tokens, [0, 2, 1, 2]);
/// assert_eq!(chosen.weights, [0.9, 0.9, 0.8, 0.3]);
/// assert_eq!((chosen.offsets, chosen.choices), (vec![0, 1, 2, 4], vec![0, 2, 1, 3]));
/// ```
#[must_use]
pub fn expert_choice(scores: &[f32], experts: usize, capacity: usize, valid: usize) -> Chosen {
    let count = scores.len().checked_div(experts).unwrap_or(0);
    let (mut tokens, mut weights) = (Vec::new(), Vec::new());
    let mut takers = vec![Vec::new(); count];
    for expert in 0..experts {
        let score = |token: usize| scores[token * experts + expert];
        let mut order: Vec<usize> = (0..count.min(valid)).collect();
        order.sort_by(|&a, &b| match (score(a).is_nan(), score(b).is_nan()) {
            (false, false) => score(b).partial_cmp(&score(a)).unwrap_or(std::cmp::Ordering::Equal).then(a.cmp(&b)),
            (a_is_nan, b_is_nan) => a_is_nan.cmp(&b_is_nan).then(a.cmp(&b)),
        });
        for slot in 0..capacity {
            let token = order.get(slot);
            tokens.push(token.map_or(u32::MAX, |&t| t as u32));
            weights.push(token.map_or(0.0, |&t| score(t)));
            if let Some(&t) = token {
                takers[t].push((expert * capacity + slot) as u32);
            }
        }
    }
    let mut offsets = vec![0];
    let mut choices = Vec::new();
    for of_token in takers {
        choices.extend(of_token);
        offsets.push(choices.len() as u32);
    }
    Chosen { tokens, weights, offsets, choices }
}
