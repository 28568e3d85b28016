//! What all contests share: competitors that take turns, and what is made of their times.

use onesum::Bound;
use onesum::host::{Gpu, HostError};

use crate::device::{Clock, Elapsed, Turn};

/// How contests on one device are run.
pub struct Plan {
    /// Rounds.
    pub repeats: u32,
    /// Seconds of work in one submit, about.
    pub submit: f64,
    /// Bytes that operands rotate over, at least.
    pub rotate: u64,
    /// Elements that are held against the reference, about.
    pub checked: usize,
    /// The adapter runs on the CPU, so that the process's CPU time means something.
    pub cpu: bool,
    clock: Clock,
}

impl Plan {
    /// For this device.
    pub fn new(gpu: &Gpu, quick: bool, repeats: Option<u32>) -> Self {
        let cpu = gpu.info.device_type == wgpu::DeviceType::Cpu;
        Self {
            repeats: repeats.unwrap_or(if quick { 7 } else { 21 }),
            submit: match (cpu, quick) {
                (true, true) => 0.005,
                (true, false) => 0.03,
                (false, _) => 0.003,
            },
            // Past the last cache of any CPU or GPU that is likely to be met.
            rotate: if cpu { 128 << 20 } else { 512 << 20 },
            checked: 1 << 17,
            cpu,
            clock: Clock::new(gpu),
        }
    }

    /// What times are measured by.
    pub fn method(&self) -> &'static str {
        self.clock.method()
    }

    /// Runs one turn, untimed.
    pub fn once(&self, gpu: &Gpu, turn: &dyn Turn) -> Result<(), HostError> {
        self.clock.time(gpu, std::iter::once(turn)).map(drop)
    }

    /// One line for people.
    pub fn line(&self) -> String {
        format!("{} rounds, {}, buffers rotate over {} MiB", self.repeats, self.method(), self.rotate >> 20)
    }
}

/// Median and quartiles.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Spread {
    /// A quarter is below.
    pub q1: f64,
    /// Half is below.
    pub median: f64,
    /// A quarter is above.
    pub q3: f64,
}

impl Spread {
    /// Of these values; NaN if there are none.
    pub fn of(values: impl Iterator<Item = f64>) -> Self {
        let mut sorted: Vec<f64> = values.collect();
        sorted.sort_by(f64::total_cmp);
        let at = |share: f64| {
            let place = share * sorted.len().saturating_sub(1) as f64;
            let (low, high) = (place.floor() as usize, place.ceil() as usize);
            match (sorted.get(low), sorted.get(high)) {
                (Some(a), Some(b)) => a + (b - a) * place.fract(),
                _ => f64::NAN,
            }
        };
        Self { q1: at(0.25), median: at(0.5), q3: at(0.75) }
    }
}

/// What came of one competitor.
#[derive(Clone, Debug)]
pub enum Standing {
    /// Right and timed.
    Timed(Timing),
    /// Outside its error budget: not timed.
    Wrong(String),
    /// Could not be built or bound here.
    Refused(String),
}

/// How fast it was.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// Seconds per dispatch.
    pub seconds: Spread,
    /// Time per byte over the yardstick's of the same round.
    pub ratio: Spread,
    /// The same of the process's CPU time, where the adapter runs on the CPU.
    pub cpu_ratio: Option<Spread>,
    /// Bytes per second of ideal traffic.
    pub bandwidth: f64,
    /// From the reference, on the rows checked; none of what is exact or nothing.
    pub worst_ulp: Option<f64>,
    /// Rows checked.
    pub rows_checked: usize,
}

/// What all times of a contest are divided by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Yardstick {
    /// One read and one write of each element.
    Copy,
    /// One read.
    Read,
    /// The routing of the same shape.
    Route,
    /// A dispatch that does nothing.
    Empty,
}

impl Yardstick {
    /// As tables name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Copy => "copy",
            Self::Read => "read",
            Self::Route => "route",
            Self::Empty => "empty",
        }
    }
}

/// A shape's results.
pub struct Outcome {
    /// Rows and columns.
    pub shape: (u32, u32),
    /// Choices of each row, where rows are routed.
    pub choices: Option<u32>,
    /// The shape in words.
    pub title: String,
    /// What the yardstick does.
    pub yardstick: Yardstick,
    /// Its name and time.
    pub unit: (String, Timing),
    /// Everyone else.
    pub entrants: Vec<Entrant>,
}

/// A competitor and what came of it.
pub struct Entrant {
    /// Its variant's name, or what it is.
    pub name: String,
    /// `chosen` (by `select`), `other` or `rival`.
    pub role: &'static str,
    /// What its times are divided by.
    pub over: Yardstick,
    /// What came of it.
    pub standing: Standing,
}

/// One that runs.
pub struct Runner {
    /// One for each set of buffers.
    turns: Vec<Box<dyn Turn>>,
    /// Ideal traffic of one dispatch.
    bytes: u64,
    /// Dispatches in a submit.
    count: usize,
    /// Where it is in the rotation.
    next: usize,
    samples: Vec<Elapsed>,
}

impl Runner {
    /// One turn for each set of buffers, with so many bytes of ideal traffic.
    pub fn new(turns: Vec<Box<dyn Turn>>, bytes: u64) -> Self {
        Self { turns, bytes, count: 1, next: 0, samples: Vec::new() }
    }

    /// The same of what a kernel has bound.
    pub fn of(bounds: Vec<Bound>, bytes: u64) -> Self {
        Self::new(bounds.into_iter().map(|bound| Box::new(bound) as Box<dyn Turn>).collect(), bytes)
    }

    /// Time of one dispatch, over a submit of several.
    fn sample(&mut self, gpu: &Gpu, clock: &Clock) -> Result<Elapsed, HostError> {
        let turns = (0..self.count).map(|i| &*self.turns[(self.next + i) % self.turns.len()]);
        let total = clock.time(gpu, turns)?;
        self.next = (self.next + self.count) % self.turns.len();
        let count = self.count as f64;
        Ok(Elapsed { seconds: total.seconds / count, cpu: total.cpu / count })
    }

    /// Time of one dispatch, now.
    pub fn time(&mut self, gpu: &Gpu, plan: &Plan) -> Result<f64, HostError> {
        Ok(self.sample(gpu, &plan.clock)?.seconds)
    }

    /// Warms up and finds how many dispatches make a submit of about the planned length.
    pub fn prepare(&mut self, gpu: &Gpu, plan: &Plan) -> Result<(), HostError> {
        self.sample(gpu, &plan.clock)?;
        let once = self.sample(gpu, &plan.clock)?.seconds;
        self.count = (plan.submit / once.max(1e-7)).ceil().clamp(1.0, 500.0) as usize;
        self.sample(gpu, &plan.clock)?;
        Ok(())
    }

    /// Its time, and over that of `unit`.
    pub fn timing(&self, unit: &Self, cpu: bool, worst_ulp: Option<f64>, rows_checked: usize) -> Timing {
        let scale = unit.bytes as f64 / self.bytes as f64;
        let rounds = || self.samples.iter().zip(&unit.samples);
        let seconds = Spread::of(self.samples.iter().map(|s| s.seconds));
        Timing {
            seconds,
            ratio: Spread::of(rounds().map(|(own, unit)| own.seconds / unit.seconds * scale)),
            cpu_ratio: cpu.then(|| Spread::of(rounds().map(|(own, unit)| own.cpu / unit.cpu * scale))),
            bandwidth: self.bytes as f64 / seconds.median,
            worst_ulp,
            rows_checked,
        }
    }
}

/// Lets all take turns, the yardstick first; tells after each round.
pub fn take_turns<'a>(
    gpu: &Gpu,
    plan: &Plan,
    runners: impl IntoIterator<Item = &'a mut Runner>,
    mut tell: impl FnMut(),
) -> Result<(), HostError> {
    let mut runners: Vec<_> = runners.into_iter().collect();
    for runner in runners.iter_mut().skip(1) {
        runner.prepare(gpu, plan)?;
    }
    for _ in 0..plan.repeats {
        for runner in &mut runners {
            let sample = runner.sample(gpu, &plan.clock)?;
            runner.samples.push(sample);
        }
        tell();
    }
    Ok(())
}

/// The fastest of some yardsticks, which take turns here too.
pub fn fastest<T>(gpu: &Gpu, plan: &Plan, mut all: Vec<(T, Runner)>) -> Result<Option<(T, Runner)>, HostError> {
    for (_, runner) in &mut all {
        runner.prepare(gpu, plan)?;
    }
    for _ in 0..plan.repeats.min(5) {
        for (_, runner) in &mut all {
            let sample = runner.sample(gpu, &plan.clock)?;
            runner.samples.push(sample);
        }
    }
    let median = |runner: &Runner| Spread::of(runner.samples.iter().map(|s| s.seconds)).median;
    let fastest = all.into_iter().min_by(|(_, a), (_, b)| median(a).total_cmp(&median(b)));
    Ok(fastest.map(|(what, mut runner)| {
        runner.samples.clear();
        (what, runner)
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quartiles_interpolate() {
        let spread = Spread::of([4.0, 1.0, 3.0, 2.0, 5.0].into_iter());
        assert_eq!(spread, Spread { q1: 2.0, median: 3.0, q3: 4.0 });
        assert_eq!(Spread::of([1.0, 2.0].into_iter()).median, 1.5);
        assert!(Spread::of(std::iter::empty()).median.is_nan());
    }
}
