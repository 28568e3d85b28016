//! Peers that take turns, and what is made of their times.

use std::time::Duration;

use anyhow::Result;
use serde::Serialize;

use crate::peer::{Elapsed, Peer};
use crate::work::{Kind, Work};

/// How they are measured.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Plan {
    pub rounds: u32,
    /// Seconds of work between two waits, about.
    pub turn_seconds: f64,
    /// Inputs rotate over at least so many bytes, and outputs of one turn are no more.
    pub rotate_bytes: u64,
}

/// Thread pools spin for a while after their work. The next one's turn begins when that is over.
const PAUSE: Duration = Duration::from_millis(20);

/// Median and quartiles.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    pub q1: f64,
    pub median: f64,
    pub q3: f64,
}

impl Spread {
    /// Of these values; NaN if there are none.
    pub fn of(values: impl Iterator<Item = f64>) -> Self {
        let mut sorted: Vec<f64> = values.collect();
        sorted.sort_by(f64::total_cmp);
        let at = |share: f64| {
            let place = share * sorted.len().saturating_sub(1) as f64;
            match (sorted.get(place.floor() as usize), sorted.get(place.ceil() as usize)) {
                (Some(a), Some(b)) => a + (b - a) * place.fract(),
                _ => f64::NAN,
            }
        };
        Self { q1: at(0.25), median: at(0.5), q3: at(0.75) }
    }
}

/// One that takes turns.
pub struct Runner<'a> {
    peer: &'a mut dyn Peer,
    /// Calls between two waits.
    pub calls: u32,
    samples: Vec<Elapsed>,
}

impl<'a> Runner<'a> {
    /// Warms it up, and finds how many calls make a turn.
    pub fn new(peer: &'a mut dyn Peer, plan: &Plan, work: Work) -> Result<Self> {
        // Some hold the outputs of a whole turn.
        let output_bytes = if work.kind == Kind::Softmax { work.bytes() } else { 1 };
        let most = (plan.rotate_bytes / output_bytes).clamp(1, 256) as f64;
        let mut calls = 1;
        // Some tune themselves in their first calls; the second estimate is the one that counts.
        for _ in 0..2 {
            peer.time(calls)?;
            let once = peer.time(calls)?.seconds / f64::from(calls);
            calls = (plan.turn_seconds / once.max(1e-7)).ceil().clamp(1.0, most) as u32;
        }
        peer.time(calls)?;
        Ok(Self { peer, calls, samples: Vec::new() })
    }

    fn turn(&mut self) -> Result<()> {
        let Elapsed { seconds, cpu } = self.peer.time(self.calls)?;
        let calls = f64::from(self.calls);
        self.samples.push(Elapsed { seconds: seconds / calls, cpu: cpu / calls });
        std::thread::sleep(PAUSE);
        Ok(())
    }

    /// Milliseconds of a call.
    pub fn ms(&self) -> Spread {
        Spread::of(self.samples.iter().map(|s| s.seconds * 1e3))
    }

    /// Milliseconds of process CPU time of a call.
    pub fn cpu_ms(&self) -> Spread {
        Spread::of(self.samples.iter().map(|s| s.cpu * 1e3))
    }

    /// Time over that of another in the same round.
    pub fn over(&self, other: &Runner<'_>) -> Spread {
        Spread::of(self.samples.iter().zip(&other.samples).map(|(own, other)| own.seconds / other.seconds))
    }

    /// The same of CPU time.
    pub fn cpu_over(&self, other: &Runner<'_>) -> Spread {
        Spread::of(self.samples.iter().zip(&other.samples).map(|(own, other)| own.cpu / other.cpu))
    }
}

/// A B C A B C ...
pub fn take_turns<'a, 'b: 'a>(runners: impl Iterator<Item = &'a mut Runner<'b>>, plan: &Plan) -> Result<()> {
    let mut runners: Vec<_> = runners.collect();
    for _ in 0..plan.rounds {
        for runner in &mut runners {
            runner.turn()?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quartiles_interpolate() {
        let spread = Spread::of([4.0, 1.0, 3.0, 2.0, 5.0].into_iter());
        assert_eq!(spread, Spread { q1: 2.0, median: 3.0, q3: 4.0 });
        assert!(Spread::of(std::iter::empty()).median.is_nan());
    }
}
