//! What all contests share: competitors that take turns, and what is made of their times.

use std::time::Instant;

use onesum::host::{Gpu, HostError};
use onesum::{Bound, Library};

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
    /// First uses are timed.
    pub cold: bool,
    /// The adapter runs on the CPU, so that the process's CPU time means something.
    pub cpu: bool,
    /// Seconds from submit to done of a pass with nothing in it: part of every time that is taken so.
    pub empty_submit: Spread,
    /// What times are measured by.
    pub method: &'static str,
    clock: Clock,
}

/// Elements that are held against the reference, about, unless all are.
pub const CHECKED: usize = 1 << 17;

/// Submits that the cost of an empty one is the median of.
const EMPTY_SUBMITS: usize = 51;

/// Seconds of work before anything is measured on a GPU.
const WARM_UP: f64 = 0.1;

/// A yardstick whose interquartile range is more of its median than this was measured on a noisy machine. Of n normal samples
/// the median has a standard error of 0.93 interquartile ranges over the square root of n: at a tenth, 2 % of 21 rounds, 3.5 % of
/// 7. A difference that small then means nothing.
const NOISY: f64 = 0.1;

impl Plan {
    /// For this device.
    pub fn new(gpu: &Gpu, quick: bool, repeats: Option<u32>) -> Result<Self, HostError> {
        let cpu = gpu.info.device_type == wgpu::DeviceType::Cpu;
        let clock = Clock::new(gpu)?;
        Ok(Self {
            repeats: repeats.unwrap_or(if quick { 7 } else { 21 }),
            submit: match (cpu, quick) {
                (true, true) => 0.005,
                (true, false) => 0.03,
                (false, _) => 0.003,
            },
            // Past the last cache of any CPU or GPU that is likely to be met.
            rotate: if cpu { 128 << 20 } else { 512 << 20 },
            checked: CHECKED,
            cold: true,
            cpu,
            empty_submit: empty_submit(gpu, &clock)?,
            method: Clock::method(gpu),
            clock,
        })
    }

    /// What `bind` makes, run once; where first uses are timed, with a library that has compiled nothing yet, and with the seconds
    /// from there to the end of the first dispatch.
    pub fn first_use<T: Turn>(
        &self,
        gpu: &Gpu,
        bind: impl FnOnce(&Gpu) -> Result<Vec<T>, HostError>,
    ) -> Result<Result<First<T>, HostError>, HostError> {
        // What has been uploaded is no part of it.
        gpu.queue.submit([]);
        gpu.wait()?;
        let mut cold = gpu.clone();
        if self.cold {
            cold.library = Library::with_caps(&gpu.device, gpu.library.caps().clone(), None)?;
            if let Some(tuning) = gpu.library.tuning() {
                cold.library = cold.library.with_tuning(tuning.clone());
            }
        }
        let start = Instant::now();
        let turns = match bind(&cold) {
            Ok(turns) => turns,
            Err(e) => return Ok(Err(e)),
        };
        let built = start.elapsed().as_secs_f64();
        let ran = match turns.first() {
            Some(turn) => self.clock.time(gpu, std::iter::once(turn))?.wall,
            None => 0.0,
        };
        Ok(Ok((turns, self.cold.then_some(built + ran))))
    }

    /// One line for people.
    pub fn line(&self) -> String {
        let empty = self.empty_submit.median * 1e6;
        let (rounds, method, rotate) = (self.repeats, self.method, self.rotate >> 20);
        format!("{rounds} rounds, {method} (an empty submit: {empty:.0} us), buffers rotate over {rotate} MiB")
    }
}

fn empty_submit(gpu: &Gpu, clock: &Clock) -> Result<Spread, HostError> {
    let nothing = || clock.time(gpu, std::iter::empty::<&Bound>());
    for _ in 0..3 {
        nothing()?;
    }
    let times = (0..EMPTY_SUBMITS).map(|_| Ok(nothing()?.wall)).collect::<Result<Vec<_>, HostError>>()?;
    Ok(Spread::of(times.into_iter()))
}

/// Median and quartiles.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
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

    /// In another unit.
    pub fn scaled(self, by: f64) -> Self {
        Self { q1: self.q1 * by, median: self.median * by, q3: self.q3 * by }
    }

    /// The interquartile range over the median.
    pub fn relative(&self) -> f64 {
        (self.q3 - self.q1) / self.median
    }

    /// Whether times of a yardstick scatter so much that small differences mean nothing.
    pub fn is_noisy(&self) -> bool {
        self.relative() > NOISY
    }
}

/// What came of one competitor.
#[derive(Clone, Debug)]
pub enum Standing {
    /// Right and timed.
    Timed(Box<Timing>),
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
    /// The process's CPU time of the same, where the adapter runs on the CPU.
    pub cpu_seconds: Option<Spread>,
    /// Time per byte over the yardstick's of the same round.
    pub ratio: Spread,
    /// The same of the process's CPU time, where the adapter runs on the CPU.
    pub cpu_ratio: Option<Spread>,
    /// Bytes per second of ideal traffic.
    pub bandwidth: f64,
    /// Seconds from a specification to the end of the first dispatch, with nothing compiled before.
    pub first_use: Option<f64>,
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

/// What was measured, for records.
#[derive(Clone, Debug, Default)]
pub struct Label {
    /// The definition's name.
    pub definition: String,
    /// `f32`, `f16-f32`.
    pub dtype: String,
    /// `temperature=0.7`.
    pub options: String,
}

/// A shape's results.
pub struct Outcome {
    /// Rows and columns.
    pub shape: (u32, u32),
    /// Choices of each row, where rows are routed.
    pub choices: Option<u32>,
    /// What was measured, for records.
    pub label: Label,
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

/// What was bound for a first use, and how many seconds that took.
pub type First<T> = (Vec<T>, Option<f64>);

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
    first_use: Option<f64>,
}

impl Runner {
    /// One turn for each set of buffers, with so many bytes of ideal traffic.
    pub fn new(turns: Vec<Box<dyn Turn>>, bytes: u64) -> Self {
        Self { turns, bytes, count: 1, next: 0, samples: Vec::new(), first_use: None }
    }

    /// The same of turns of one kind.
    pub fn of<T: Turn + 'static>(turns: Vec<T>, bytes: u64) -> Self {
        Self::new(turns.into_iter().map(|turn| Box::new(turn) as Box<dyn Turn>).collect(), bytes)
    }

    /// The same of what was bound for a first use.
    pub fn first<T: Turn + 'static>((turns, first_use): First<T>, bytes: u64) -> Self {
        Self { first_use, ..Self::of(turns, bytes) }
    }

    /// Time of one dispatch, over a submit of several.
    fn sample(&mut self, gpu: &Gpu, clock: &Clock) -> Result<Elapsed, HostError> {
        let turns = (0..self.count).map(|i| &*self.turns[(self.next + i) % self.turns.len()]);
        let total = clock.time(gpu, turns)?;
        self.next = (self.next + self.count) % self.turns.len();
        let count = self.count as f64;
        Ok(Elapsed { seconds: total.seconds / count, wall: total.wall / count, cpu: total.cpu / count })
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

    /// Its time, and over that of `base`, per byte.
    pub fn timing(&self, base: &Self, plan: &Plan) -> Timing {
        let ratio = |of: fn(&Elapsed) -> f64| self.over(base, of);
        let seconds = Spread::of(self.samples.iter().map(|s| s.seconds));
        Timing {
            seconds,
            cpu_seconds: plan.cpu.then(|| Spread::of(self.samples.iter().map(|s| s.cpu))),
            ratio: ratio(|s| s.seconds),
            cpu_ratio: plan.cpu.then(|| ratio(|s| s.cpu)),
            bandwidth: self.bytes as f64 / seconds.median,
            first_use: self.first_use,
            worst_ulp: None,
            rows_checked: 0,
        }
    }

    fn over(&self, base: &Self, of: fn(&Elapsed) -> f64) -> Spread {
        let scale = base.bytes as f64 / self.bytes as f64;
        Spread::of(self.samples.iter().zip(&base.samples).map(|(own, base)| of(own) / of(base) * scale))
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
    // A GPU that was idle, while something was compiled say, takes a while to raise its clocks.
    let start = Instant::now();
    while !plan.cpu && start.elapsed().as_secs_f64() < WARM_UP {
        if let Some(first) = runners.first_mut() {
            first.sample(gpu, &plan.clock)?;
        }
    }
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

/// The fastest of some yardsticks, which take turns here too. By the least of their times: few rounds of a busy machine have an
/// outlier at the median, but hardly one at the least.
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
    let least = |runner: &Runner| runner.samples.iter().map(|s| s.seconds).fold(f64::INFINITY, f64::min);
    let fastest = all.into_iter().min_by(|(_, a), (_, b)| least(a).total_cmp(&least(b)));
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
