//! One shape's contest: everyone is checked, then all take turns.

use std::collections::HashMap;

use onesum::host::{Gpu, HostError};
use onesum::reference::Row;
use onesum::softmax::{Dtype, Operands, PARTIAL_BYTES, Shape, Spec, Variant};
use onesum::{Bound, BuildError, Matrix, copy};

use crate::check::{self, Making, Verdict};
use crate::device::{Clock, Elapsed};
use crate::elements::{decode_into, encode};
use crate::failure::Failure;
use crate::job::Job;

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
    /// Time per byte over the copy's of the same round.
    pub ratio: Spread,
    /// The same of the process's CPU time, where the adapter runs on the CPU.
    pub cpu_ratio: Option<Spread>,
    /// Bytes per second of ideal traffic: one read and one write.
    pub bandwidth: f64,
    /// From the reference, on the rows checked.
    pub worst_ulp: f64,
    /// Rows checked.
    pub rows_checked: usize,
}

/// A shape's results.
pub struct Outcome {
    /// The shape.
    pub shape: Shape,
    /// The fastest copy kernel's name and time.
    pub copy: (copy::Variant, Timing),
    /// The variant that `select` picks for f32.
    pub chosen: Variant,
    /// Everyone else.
    pub entrants: Vec<(Variant, Standing)>,
}

/// One that runs.
struct Runner {
    /// One for each set of buffers.
    bounds: Vec<Bound>,
    /// Ideal traffic of one dispatch.
    bytes: u64,
    /// Dispatches in a submit.
    count: usize,
    /// Where it is in the rotation.
    next: usize,
    samples: Vec<Elapsed>,
}

impl Runner {
    fn new(bounds: Vec<Bound>, bytes: u64) -> Self {
        Self { bounds, bytes, count: 1, next: 0, samples: Vec::new() }
    }

    /// Time of one dispatch, over a submit of several.
    fn sample(&mut self, gpu: &Gpu, clock: &Clock) -> Result<Elapsed, HostError> {
        let turns = (0..self.count).map(|i| &self.bounds[(self.next + i) % self.bounds.len()]);
        let total = clock.time(gpu, turns)?;
        self.next = (self.next + self.count) % self.bounds.len();
        let count = self.count as f64;
        Ok(Elapsed { seconds: total.seconds / count, cpu: total.cpu / count })
    }

    /// Warms up and finds how many dispatches make a submit of about the planned length.
    fn prepare(&mut self, gpu: &Gpu, plan: &Plan) -> Result<(), HostError> {
        self.sample(gpu, &plan.clock)?;
        let once = self.sample(gpu, &plan.clock)?.seconds;
        self.count = (plan.submit / once.max(1e-7)).ceil().clamp(1.0, 500.0) as usize;
        self.sample(gpu, &plan.clock)?;
        Ok(())
    }

    fn timing(&self, copy: &Self, cpu: bool, verdict: &Verdict) -> Timing {
        let scale = copy.bytes as f64 / self.bytes as f64;
        let rounds = || self.samples.iter().zip(&copy.samples);
        let seconds = Spread::of(self.samples.iter().map(|s| s.seconds));
        Timing {
            seconds,
            ratio: Spread::of(rounds().map(|(own, copy)| own.seconds / copy.seconds * scale)),
            cpu_ratio: cpu.then(|| Spread::of(rounds().map(|(own, copy)| own.cpu / copy.cpu * scale))),
            bandwidth: self.bytes as f64 / seconds.median,
            worst_ulp: verdict.worst_ulp.unwrap_or(0.0),
            rows_checked: verdict.rows,
        }
    }
}

/// One that was found right, or why it does not take part.
type Entrant = Result<(Runner, Verdict), Standing>;

/// A contest that is being prepared.
pub struct Contest<'a> {
    gpu: &'a Gpu,
    plan: &'a Plan,
    shape: Shape,
    logits: &'a [f32],
    /// The rows that are checked, and what the reference says of them, for each element type of the input.
    wanted: HashMap<Dtype, Vec<(usize, Row)>>,
    src: HashMap<Dtype, Vec<wgpu::Buffer>>,
    dst: Vec<wgpu::Buffer>,
    copy: (copy::Variant, Runner),
    entrants: Vec<(Variant, Entrant)>,
}

/// What outputs hold before a check: a signalling NaN that no kernel writes.
const PATTERN: u8 = 0xff;

impl<'a> Contest<'a> {
    /// Uploads the logits, finds the fastest copy kernel.
    pub fn new(gpu: &'a Gpu, plan: &'a Plan, shape: Shape, logits: &'a [f32]) -> Result<Self, Failure> {
        let bytes = logits.len() as u64 * 4;
        let sets = plan.rotate.div_ceil(bytes.max(1) * 2).clamp(1, 64) as usize;
        let dst = (0..sets).map(|_| gpu.allocate(bytes)).collect::<Result<Vec<_>, _>>()?;
        let encoded = encode(logits, Dtype::F32);
        let src = (0..sets).map(|_| gpu.upload(&encoded)).collect::<Result<Vec<_>, _>>()?;
        let copy = fastest_copy(gpu, plan, &src, &dst, &encoded)?;
        let src = HashMap::from([(Dtype::F32, src)]);
        Ok(Self { gpu, plan, shape, logits, wanted: HashMap::new(), src, dst, copy, entrants: Vec::new() })
    }

    /// Builds, binds and checks one more competitor.
    pub fn enter(&mut self, variant: Variant) -> Result<(), Failure> {
        let entrant = match self.bind(variant) {
            Err(e) => Err(Standing::Refused(e.to_string())),
            Ok(bounds) => self.judge(variant, bounds)?,
        };
        self.entrants.push((variant, entrant));
        Ok(())
    }

    fn judge(&mut self, variant: Variant, bounds: Vec<Bound>) -> Result<Entrant, Failure> {
        let verdict = self.check(variant, &bounds[0])?;
        if let Some(wrong) = &verdict.wrong {
            return Ok(Err(Standing::Wrong(format!(
                "row {} column {}: got {:e}, want {:e}",
                wrong.row,
                wrong.column.unwrap_or_default(),
                wrong.got,
                wrong.want
            ))));
        }
        let bytes = self.logits.len() as u64 * (variant.input.bytes() + variant.output.bytes());
        Ok(Ok((Runner::new(bounds, bytes), verdict)))
    }

    fn bind(&mut self, variant: Variant) -> Result<Vec<Bound>, HostError> {
        let (rows, cols) = (self.shape.rows, self.shape.cols);
        let spec =
            Spec { input: variant.input, output: variant.output, variant: Some(variant), ..Spec::new(self.shape) };
        let kernel = self.gpu.library.softmax(&spec)?;
        let scratch = self.gpu.allocate(kernel.scratch_bytes(rows, cols).max(PARTIAL_BYTES))?;
        let words = u32::try_from(scratch.size() / 4).unwrap_or(u32::MAX);
        if !self.src.contains_key(&variant.input) {
            let encoded = encode(self.logits, variant.input);
            let buffers = self.dst.iter().map(|_| self.gpu.upload(&encoded)).collect::<Result<_, _>>()?;
            self.src.insert(variant.input, buffers);
        }
        let bind = |(src, dst)| {
            let operands = Operands {
                scratch: Some(Matrix::new(&scratch, 1, words)),
                ..Operands::new(Matrix::new(src, rows, cols), Matrix::new(dst, rows, cols))
            };
            Ok(kernel.bind_with(&operands)?)
        };
        self.src[&variant.input].iter().zip(&self.dst).map(bind).collect()
    }

    /// Runs it once and holds some of its rows against the reference.
    fn check(&mut self, variant: Variant, bound: &Bound) -> Result<Verdict, Failure> {
        let dst = &self.dst[0];
        self.gpu.queue.write_buffer(dst, 0, &vec![PATTERN; dst.size() as usize]);
        self.gpu.run(&[bound])?;
        let bytes = self.gpu.download(dst, self.logits.len() as u64 * variant.output.bytes())?;
        let mut got = Vec::with_capacity(self.logits.len());
        decode_into(&bytes, variant.output, &mut got);
        let making = Making { schedule: variant.schedule, output: variant.output, log: false };
        let cols = self.shape.cols as usize;
        let mut verdict = Verdict { rows_in_all: self.shape.rows as usize, ..Verdict::default() };
        for (row, want) in self.wanted(variant.input) {
            verdict.merge(check::check_row(*row, want, making, &got[row * cols..(row + 1) * cols], None));
        }
        Ok(verdict)
    }

    fn wanted(&mut self, input: Dtype) -> &[(usize, Row)] {
        let (rows, cols) = (self.shape.rows as usize, self.shape.cols as usize);
        let (logits, most) = (self.logits, (self.plan.checked / cols).max(2));
        self.wanted.entry(input).or_insert_with(|| {
            let rows = check::sample(rows, most);
            rows.into_iter()
                .map(|row| {
                    // As the storage type has rounded it.
                    let mut stored = Vec::with_capacity(cols);
                    decode_into(&encode(&logits[row * cols..(row + 1) * cols], input), input, &mut stored);
                    (row, check::reference_row(&Job::new(stored, 1, cols), 0))
                })
                .collect()
        })
    }

    /// Lets all take turns; tells after each round.
    pub fn run(mut self, mut tell: impl FnMut()) -> Result<Outcome, Failure> {
        let (gpu, plan) = (self.gpu, self.plan);
        for (_, entrant) in &mut self.entrants {
            if let Ok((runner, _)) = entrant {
                runner.prepare(gpu, plan)?;
            }
        }
        for _ in 0..plan.repeats {
            let copy = &mut self.copy.1;
            let sample = copy.sample(gpu, &plan.clock)?;
            copy.samples.push(sample);
            for (_, entrant) in &mut self.entrants {
                if let Ok((runner, _)) = entrant {
                    let sample = runner.sample(gpu, &plan.clock)?;
                    runner.samples.push(sample);
                }
            }
            tell();
        }
        let copy = &self.copy.1;
        let entrants = self.entrants.iter().map(|(variant, entrant)| {
            let standing = match entrant {
                Ok((runner, verdict)) => Standing::Timed(runner.timing(copy, plan.cpu, verdict)),
                Err(standing) => standing.clone(),
            };
            (*variant, standing)
        });
        Ok(Outcome {
            shape: self.shape,
            copy: (self.copy.0, copy.timing(copy, plan.cpu, &Verdict::default())),
            chosen: Variant::select(gpu.library.caps(), &self.shape, Dtype::F32, Dtype::F32),
            entrants: entrants.collect(),
        })
    }
}

/// The fastest of the copy kernels on these buffers: it is the limit.
fn fastest_copy(
    gpu: &Gpu,
    plan: &Plan,
    src: &[wgpu::Buffer],
    dst: &[wgpu::Buffer],
    data: &[u8],
) -> Result<(copy::Variant, Runner), Failure> {
    // The copy moves four elements at a time; up to three at the very end do not count.
    let quads = data.len() / 16;
    let cols = u32::try_from(quads.max(1) * 4)?;
    let mut runners = Vec::new();
    for variant in copy::Variant::ALL {
        let kernel = match gpu.library.copy(variant) {
            Ok(kernel) => kernel,
            Err(BuildError::LimitTooLow { .. }) => continue,
            Err(e) => return Err(e.into()),
        };
        let bind = |(src, dst)| kernel.bind(Matrix::new(src, 1, cols), Matrix::new(dst, 1, cols));
        let bounds = src.iter().zip(dst).map(bind).collect::<Result<Vec<_>, _>>()?;
        gpu.queue.write_buffer(&dst[0], 0, &vec![PATTERN; dst[0].size() as usize]);
        gpu.run(&[&bounds[0]])?;
        if gpu.download(&dst[0], quads as u64 * 16)? != data[..quads * 16] {
            return Err(Failure::OutsideBudget(format!("{variant} does not copy right on this adapter")));
        }
        let mut runner = Runner::new(bounds, quads as u64 * 32);
        runner.prepare(gpu, plan)?;
        runners.push((variant, runner));
    }
    // Taking turns here too.
    for _ in 0..plan.repeats.min(5) {
        for (_, runner) in &mut runners {
            let sample = runner.sample(gpu, &plan.clock)?;
            runner.samples.push(sample);
        }
    }
    let median = |runner: &Runner| Spread::of(runner.samples.iter().map(|s| s.seconds)).median;
    let fastest = runners.into_iter().min_by(|(_, a), (_, b)| median(a).total_cmp(&median(b)));
    let (variant, mut runner) = fastest.ok_or_else(|| Failure::error("no copy kernel runs on this adapter"))?;
    runner.samples.clear();
    Ok((variant, runner))
}

/// Uniform in [-10, 10), the same on every machine: `SplitMix64` (Steele, Lea & Flood 2014), seed 1.
pub fn random_logits(count: usize) -> Vec<f32> {
    let mut state = 1_u64;
    let next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        // 24 bits fill an f32's significand.
        ((z ^ (z >> 31)) >> 40) as f32 / 16_777_216.0 * 20.0 - 10.0
    };
    std::iter::repeat_with(next).take(count).collect()
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

    #[test]
    fn logits_are_in_range_and_repeatable() {
        let logits = random_logits(10_000);
        assert!(logits.iter().all(|x| (-10.0..10.0).contains(x)));
        assert_eq!(logits[..100], random_logits(100)[..]);
        let mean: f32 = logits.iter().sum::<f32>() / 10_000.0;
        // Standard error of the mean: 20 / sqrt(12 * 10^4) = 0.058.
        assert!(mean.abs() < 0.3, "{mean}");
    }
}
