//! Who is fastest: few rounds for all, more for those that are left.

use std::time::Instant;

use onesum::host::{Gpu, HostError};

use crate::bench::rounds::{Plan, Runner, Spread};

/// (rounds, how many times the best one's time drops out, how many stay at most).
const STAGES: [(usize, f64, usize); 3] = [(3, 1.6, 8), (5, 1.25, 4), (9, 1.1, 3)];

/// Rounds of those that are left, by which they are compared.
const FINAL: usize = 15;

/// Of one dispatch alone, in the first look.
const HOPELESS: f64 = 4.0;

/// So much faster than the default, at the median, makes another variant the best.
const WORTH: f64 = 1.03;

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Outcome {
    /// The place of the best one.
    pub best: usize,
    /// The default's time over its time, round by round; 1 if it is the default. None if the default does not run.
    pub gain: Option<Spread>,
}

/// The fastest of some runners, the default among them at `default` if it runs; none of none. With too little time, rounds are
/// fewer.
pub fn knock_out(
    gpu: &Gpu,
    plan: &Plan,
    runners: &mut [Runner],
    default: Option<usize>,
    end: Option<Instant>,
) -> Result<Option<Outcome>, HostError> {
    let mut alive: Vec<usize> = (0..runners.len()).collect();
    let mut first = Vec::new();
    for runner in runners.iter_mut() {
        first.push(runner.time(gpu, plan)?);
    }
    keep(&mut alive, &first, default, HOPELESS, usize::MAX);
    for &at in &alive {
        runners[at].prepare(gpu, plan)?;
    }
    for (rounds, factor, most) in STAGES {
        if alive.len() > 1 {
            let times = take_turns(gpu, plan, runners, &alive, rounds, end)?;
            // Other work only ever adds to a time.
            let least =
                times.iter().map(|times| times.iter().copied().fold(f64::INFINITY, f64::min)).collect::<Vec<_>>();
            keep(&mut alive, &least, default, factor, most);
        }
    }
    // Fresh times: those that let someone stay would flatter them.
    let rounds = if alive.len() > 1 { FINAL } else { 0 };
    let times = take_turns(gpu, plan, runners, &alive, rounds, end)?;
    let Some(outcome) = judge(&alive, &times, default) else { return Ok(None) };
    let Some(default) = default.filter(|&default| default != outcome.best) else { return Ok(Some(outcome)) };
    // A machine that was busy for a while makes a best one, too, but hardly twice.
    let last = [default, outcome.best];
    let times = take_turns(gpu, plan, runners, &last, FINAL, end)?;
    Ok(judge(&last, &times, Some(default)))
}

/// Lets them take turns: the times of each runner, empty for those that take no part.
fn take_turns(
    gpu: &Gpu,
    plan: &Plan,
    runners: &mut [Runner],
    alive: &[usize],
    rounds: usize,
    end: Option<Instant>,
) -> Result<Vec<Vec<f64>>, HostError> {
    let mut times = vec![Vec::new(); runners.len()];
    for round in 0..rounds {
        if round >= 3 && end.is_some_and(|end| Instant::now() >= end) {
            break;
        }
        for &at in alive {
            times[at].push(runners[at].time(gpu, plan)?);
        }
    }
    Ok(times)
}

/// Of those alive, the `most` fastest that take at most `factor` times what the fastest does, and the default.
fn keep(alive: &mut Vec<usize>, times: &[f64], default: Option<usize>, factor: f64, most: usize) {
    alive.sort_by(|&a, &b| times[a].total_cmp(&times[b]));
    let Some(&fastest) = alive.first() else { return };
    let bound = times[fastest] * factor;
    let mut place = 0;
    alive.retain(|&at| {
        place += 1;
        Some(at) == default || (place <= most && times[at] <= bound)
    });
}

/// The best one by its times, if it is better than the default beyond doubt.
fn judge(alive: &[usize], times: &[Vec<f64>], default: Option<usize>) -> Option<Outcome> {
    let median = |at: usize| Spread::of(times[at].iter().copied()).median;
    let best = alive.iter().copied().min_by(|&a, &b| median(a).total_cmp(&median(b)))?;
    let Some(default) = default else { return Some(Outcome { best, gain: None }) };
    let gain = Spread::of(times[default].iter().zip(&times[best]).map(|(default, best)| default / best));
    if best != default && gain.median >= WORTH && gain.q1 > 1.0 {
        return Some(Outcome { best, gain: Some(gain) });
    }
    Some(Outcome { best: default, gain: Some(Spread { q1: 1.0, median: 1.0, q3: 1.0 }) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slow_drop_out_but_not_the_default() {
        let mut alive = vec![0, 1, 2, 3, 4];
        keep(&mut alive, &[5.0, 1.0, 1.2, 9.0, 1.1], Some(3), 1.5, 2);
        assert_eq!(alive, [1, 4, 3]);
        keep(&mut alive, &[0.0, 1.0, 0.0, 0.9, 1.1], None, 1.2, 2);
        assert_eq!(alive, [3, 1]);
        let mut none = Vec::new();
        keep(&mut none, &[], Some(0), 2.0, 2);
        assert!(none.is_empty());
    }

    #[test]
    fn the_default_stays_unless_another_is_better_beyond_doubt() {
        let equal = Some(Spread { q1: 1.0, median: 1.0, q3: 1.0 });
        let times = |other: [f64; 4]| vec![vec![1.0; 4], other.to_vec()];
        let judged = |other| judge(&[0, 1], &times(other), Some(0));
        assert_eq!(judged([0.99; 4]), Some(Outcome { best: 0, gain: equal }));
        assert_eq!(judged([0.5, 1.1, 1.1, 0.5]), Some(Outcome { best: 0, gain: equal }));
        let better = judged([0.5; 4]).unwrap();
        assert_eq!((better.best, better.gain.unwrap().median), (1, 2.0));
        assert_eq!(judge(&[1], &times([0.5; 4]), None), Some(Outcome { best: 1, gain: None }));
        assert_eq!(judge(&[], &[], None), None);
        // One that is alone has no rounds.
        assert_eq!(judge(&[0], &[vec![]], Some(0)), Some(Outcome { best: 0, gain: equal }));
    }
}
