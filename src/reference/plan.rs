//! The plan of grouped matrix products, by sorting lists.

use std::cmp::Ordering;

use crate::plan::{Capacity, NONE, Priority};

/// What a plan is made of.
#[derive(Clone, Copy, Debug)]
pub struct Problem<'a> {
    /// Chosen experts, K of each token; those that are not below `count` are none.
    pub experts: &'a [u32],
    /// Choices of a token.
    pub k: usize,
    /// Experts.
    pub count: u32,
    /// Slots of an expert are a multiple of this.
    pub block: Option<u32>,
    /// What an expert has room for.
    pub capacity: Option<Capacity>,
    /// Gates, one a pair, where priority goes by them.
    pub weights: &'a [f32],
}

/// Every output of a plan.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Kept pairs of each expert.
    pub counts: Vec<u32>,
    /// The first slot of each expert, and the end of the last.
    pub offsets: Vec<u32>,
    /// The pair of each slot.
    pub sorted: Vec<u32>,
    /// The slot of each pair.
    pub inverse: Vec<u32>,
    /// The expert of each block; none without blocks.
    pub blocks: Vec<u32>,
    /// Dropped pairs in ascending order.
    pub dropped: Vec<u32>,
}

/// Token weights in descending order, NaN last, −0 = +0.
fn descending(a: f32, b: f32) -> Ordering {
    match (a.is_nan(), b.is_nan()) {
        (false, false) => b.partial_cmp(&a).unwrap_or(Ordering::Equal),
        (a, b) => a.cmp(&b),
    }
}

impl Problem<'_> {
    /// The plan.
    ///
    /// ```
    /// use onesum::plan::{Capacity, NONE, Priority};
    /// use onesum::reference::plan::Problem;
    ///
    /// // Three tokens choose two of three experts each; the last one's second choice is none.
    /// let experts = [2, 0, 2, 1, 2, 9];
    /// let all = Problem { experts: &experts, k: 2, count: 3, block: None, capacity: None, weights: &[] };
    /// let plan = all.plan();
    /// assert_eq!((plan.counts, plan.offsets), (vec![1, 1, 3], vec![0, 1, 2, 5]));
    /// assert_eq!(plan.sorted, [1, 3, 0, 2, 4, NONE]);
    /// assert_eq!(plan.inverse, [2, 0, 3, 1, 4, NONE]);
    /// // Room for two: the third token comes last.
    /// let capacity = Some(Capacity { slots: 2, priority: Priority::KMajor });
    /// assert_eq!(Problem { capacity, ..all }.plan().dropped, [4]);
    /// ```
    #[must_use]
    pub fn plan(&self) -> Plan {
        let pairs = self.experts.len();
        let kept = self.kept();
        let mut by_expert: Vec<usize> = (0..pairs).filter(|&p| kept[p]).collect();
        by_expert.sort_by_key(|&p| (self.experts[p], p));
        let mut plan = Plan { inverse: vec![NONE; pairs], offsets: vec![0], ..Plan::default() };
        for expert in 0..self.count {
            let first = by_expert.partition_point(|&p| self.experts[p] < expert);
            let end = by_expert.partition_point(|&p| self.experts[p] <= expert);
            for &pair in &by_expert[first..end] {
                plan.inverse[pair] = plan.sorted.len() as u32;
                plan.sorted.push(pair as u32);
            }
            plan.counts.push((end - first) as u32);
            if let Some(block) = self.block {
                while !plan.sorted.len().is_multiple_of(block as usize) {
                    plan.sorted.push(NONE);
                }
                plan.blocks.resize(plan.sorted.len() / block as usize, expert);
            }
            plan.offsets.push(plan.sorted.len() as u32);
        }
        plan.sorted.resize(self.slots(), NONE);
        if let Some(block) = self.block {
            plan.blocks.resize(self.slots() / block as usize, NONE);
        }
        plan.dropped = (0..pairs).filter(|&p| self.experts[p] < self.count && !kept[p]).map(|p| p as u32).collect();
        plan
    }

    /// Slots for the worst case.
    fn slots(&self) -> usize {
        let pairs = self.experts.len();
        let Some(block) = self.block.map(|b| b as usize) else { return pairs };
        let padding = pairs.min(self.count as usize) * (block - 1);
        (pairs + padding).div_ceil(block) * block
    }

    /// Tokens, the one of highest priority first.
    #[must_use]
    pub fn tokens_by_priority(&self) -> Vec<usize> {
        let mut tokens: Vec<usize> = (0..self.experts.len() / self.k.max(1)).collect();
        if self.capacity.is_some_and(|c| c.priority == Priority::BatchPrioritised) {
            let top = |token: usize| {
                let mut row = self.weights[token * self.k..][..self.k].to_vec();
                row.sort_by(|&a, &b| descending(a, b));
                row[0]
            };
            // Stable: of equal tokens, the lower index stays first.
            tokens.sort_by(|&a, &b| descending(top(a), top(b)));
        }
        tokens
    }

    /// Whether each pair has an expert, and a place there.
    fn kept(&self) -> Vec<bool> {
        let room = self.capacity.map_or(u32::MAX, |c| c.slots);
        let tokens = self.tokens_by_priority();
        let mut taken = vec![0; self.count as usize];
        let mut kept = vec![false; self.experts.len()];
        for choice in 0..self.k {
            for token in &tokens {
                let pair = token * self.k + choice;
                if let Some(taken) = taken.get_mut(self.experts[pair] as usize).filter(|taken| **taken < room) {
                    *taken += 1;
                    kept[pair] = true;
                }
            }
        }
        kept
    }
}
