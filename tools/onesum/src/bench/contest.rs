//! One shape's contest: everyone is checked, then all take turns.

use std::collections::HashMap;

use onesum::host::{Gpu, HostError};
use onesum::reference::Row;
use onesum::softmax::{Dtype, Operands, PARTIAL_BYTES, Shape, Spec, Variant};
use onesum::{Bound, BuildError, Matrix, copy};

use super::rounds::{Entrant, Outcome, Plan, Runner, Standing, Yardstick, fastest, take_turns};
use crate::check::{self, Making, Verdict};
use crate::elements::{decode_into, encode};
use crate::failure::Failure;
use crate::job::Job;

/// One that was found right, or why it does not take part.
type Candidate = Result<(Runner, Verdict), Standing>;

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
    entrants: Vec<(Variant, Candidate)>,
}

/// What outputs hold before a check: a signalling NaN that no kernel writes.
pub const PATTERN: u8 = 0xff;

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

    fn judge(&mut self, variant: Variant, bounds: Vec<Bound>) -> Result<Candidate, Failure> {
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
        Ok(Ok((Runner::of(bounds, bytes), verdict)))
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

    /// Those that entered, in order: what runs, or why it does not.
    pub fn into_runners(self) -> Vec<Result<Runner, Standing>> {
        self.entrants.into_iter().map(|(_, candidate)| candidate.map(|(runner, _)| runner)).collect()
    }

    /// Lets all take turns; tells after each round.
    pub fn run(mut self, tell: impl FnMut()) -> Result<Outcome, Failure> {
        let (gpu, plan, (copy_name, copy)) = (self.gpu, self.plan, &mut self.copy);
        let timed = self.entrants.iter_mut().filter_map(|(_, candidate)| Some(&mut candidate.as_mut().ok()?.0));
        take_turns(gpu, plan, std::iter::once(&mut *copy).chain(timed), tell)?;
        let chosen = gpu.library.choose(&Spec::new(self.shape));
        let entrants = self.entrants.iter().map(|(variant, candidate)| {
            let standing = match candidate {
                Ok((runner, verdict)) => {
                    let worst = Some(verdict.worst_ulp.unwrap_or(0.0));
                    Standing::Timed(runner.timing(copy, plan.cpu, worst, verdict.rows))
                }
                Err(standing) => standing.clone(),
            };
            let role = match variant {
                v if *v == chosen => "chosen",
                v if v.schedule.is_rival() => "rival",
                _ => "other",
            };
            Entrant { name: variant.to_string(), role, over: Yardstick::Copy, standing }
        });
        let entrants = entrants.collect();
        let unit = (copy_name.to_string(), copy.timing(copy, plan.cpu, None, 0));
        Ok(Outcome {
            shape: (self.shape.rows, self.shape.cols),
            choices: None,
            title: format!("{} x {}", self.shape.rows, self.shape.cols),
            yardstick: Yardstick::Copy,
            unit,
            entrants,
        })
    }
}

/// The fastest of the copy kernels on these buffers: it is the limit.
pub fn fastest_copy(
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
        runners.push((variant, Runner::of(bounds, quads as u64 * 32)));
    }
    fastest(gpu, plan, runners)?.ok_or_else(|| Failure::error("no copy kernel runs on this adapter"))
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
    fn logits_are_in_range_and_repeatable() {
        let logits = random_logits(10_000);
        assert!(logits.iter().all(|x| (-10.0..10.0).contains(x)));
        assert_eq!(logits[..100], random_logits(100)[..]);
        let mean: f32 = logits.iter().sum::<f32>() / 10_000.0;
        // Standard error of the mean: 20 / sqrt(12 * 10^4) = 0.058.
        assert!(mean.abs() < 0.3, "{mean}");
    }
}
