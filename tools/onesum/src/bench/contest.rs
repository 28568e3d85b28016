//! One shape's contest: everyone is checked, then all take turns.

use onesum::host::{Gpu, HostError};
use onesum::noise::Stream;
use onesum::reference::Row;
use onesum::softmax::{self, Causal, Dtype, Operands, PARTIAL_BYTES, PerRow, Shape, Spec, Tier, Variant};
use onesum::{Bound, BuildError, Library, Matrix, copy};

use super::definitions::{Case, SoftmaxOptions, Types};
use super::rounds::{Entrant, First, Label, Outcome, Plan, Runner, Standing, Timing, Yardstick, fastest, take_turns};
use super::variants::{Field, gumbel_name};
use crate::broadcast::Shared;
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
    types: Types,
    options: SoftmaxOptions,
    /// As they are stored.
    logits: Vec<f32>,
    /// The rows that are checked, and what the reference says of them.
    wanted: Vec<(usize, Row)>,
    src: Vec<wgpu::Buffer>,
    dst: Vec<wgpu::Buffer>,
    temperature: Option<wgpu::Buffer>,
    seeds: Option<wgpu::Buffer>,
    copy: (copy::Variant, Runner),
    entrants: Vec<(Variant, Candidate)>,
}

/// What outputs hold before a check: a signalling NaN that no kernel writes.
pub const PATTERN: u8 = 0xff;

/// Values as a buffer of this type has them.
pub fn stored(values: &[f32], dtype: Dtype) -> Vec<f32> {
    let mut stored = Vec::with_capacity(values.len());
    decode_into(&encode(values, dtype), dtype, &mut stored);
    stored
}

/// The contest of a case.
pub fn contest<'a>(
    gpu: &'a Gpu,
    plan: &'a Plan,
    case: &Case<'_>,
    options: SoftmaxOptions,
) -> Result<Contest<'a>, Failure> {
    let logits = random_logits(case.size.elements());
    let variants = variants(&gpu.library, &spec(case.size.shape(), case.types, options), &case.definition.words);
    let mut contest = Contest::new(gpu, plan, case.size.shape(), case.types, options, &logits)?;
    for variant in variants {
        contest.enter(variant)?;
    }
    Ok(contest)
}

fn spec(shape: Shape, types: Types, o: SoftmaxOptions) -> Spec {
    let positions = o.queries.map(|queries| Causal { queries, offset: offset(shape, queries) });
    let options = softmax::Options {
        scale: o.scale,
        soft_cap: o.soft_cap,
        positions,
        causal: positions.is_some(),
        temperature: o.temperature.is_some(),
        gumbel: o.noise,
        ..softmax::Options::default()
    };
    Spec { input: types.input, output: types.output, log: o.log, options, ..Spec::new(shape) }
}

/// The column of the first of so many queries: the last one is the sequence's last.
fn offset(shape: Shape, queries: u32) -> i32 {
    i32::try_from(shape.cols.saturating_sub(queries)).unwrap_or(i32::MAX)
}

/// Who competes.
fn variants(library: &Library, spec: &Spec, words: &[String]) -> Vec<Variant> {
    let (caps, shape, types) = (library.caps(), &spec.shape, Types { input: spec.input, output: spec.output });
    let runnable = Variant::all()
        .filter(|v| (v.input, v.output) == (types.input, types.output) && (shape.quads || !v.quads))
        .filter(|v| v.supported(caps).is_ok() && v.max_columns() >= shape.cols);
    let field = Field { chosen: library.choose(spec), runnable: runnable.collect(), quads: shape.quads };
    let half = types.input == Dtype::F16 || types.output == Dtype::F16;
    let rank = |v: &Variant| {
        let liked =
            v.quads == shape.quads && (v.width <= 8) == caps.cpu && v.tier == Tier::select(caps, v.width, v.lanes);
        // The tightest that keeps a row on chip; the widest of those that keep none.
        let room = if v.keep > 0 { v.max_columns() } else { 0 };
        (!liked, (v.quads != shape.quads, v.native_f16 != (half && caps.f16), room, u32::MAX - v.width))
    };
    field.pick(words, rank, |v| v.schedule.is_rival())
}

impl<'a> Contest<'a> {
    /// Uploads the logits, finds the fastest copy kernel.
    pub fn new(
        gpu: &'a Gpu,
        plan: &'a Plan,
        shape: Shape,
        types: Types,
        options: SoftmaxOptions,
        logits: &[f32],
    ) -> Result<Self, Failure> {
        let encoded = encode(logits, types.input);
        let written = logits.len() as u64 * types.output.bytes();
        let sets = plan.rotate.div_ceil((encoded.len() as u64 + written).max(1)).clamp(1, 64) as usize;
        // The copy needs as much room as it reads.
        let dst = (0..sets).map(|_| gpu.allocate(written.max(encoded.len() as u64))).collect::<Result<Vec<_>, _>>()?;
        let src = (0..sets).map(|_| gpu.upload(&encoded)).collect::<Result<Vec<_>, _>>()?;
        let copy = fastest_copy(gpu, plan, &src, &dst, &encoded)?;
        let words = |words: &[u32]| gpu.upload(&words.iter().flat_map(|w| w.to_ne_bytes()).collect::<Vec<_>>());
        let seeds = || (0..shape.rows as usize).flat_map(|row| stream(row).words_of_seed()).collect::<Vec<_>>();
        Ok(Self {
            gpu,
            plan,
            shape,
            types,
            options,
            logits: stored(logits, types.input),
            wanted: Vec::new(),
            src,
            dst,
            temperature: options.temperature.map(|t| words(&[t.to_bits()])).transpose()?,
            seeds: options.noise.then(|| words(&seeds())).transpose()?,
            copy,
            entrants: Vec::new(),
        })
    }

    /// Builds, binds and checks one more competitor.
    pub fn enter(&mut self, variant: Variant) -> Result<(), Failure> {
        let dst = &self.dst[0];
        self.gpu.queue.write_buffer(dst, 0, &vec![PATTERN; dst.size() as usize]);
        let entrant = match self.plan.first_use(self.gpu, |gpu| self.bind(gpu, variant))? {
            Err(e) => Err(Standing::Refused(e.to_string())),
            Ok(first) => self.judge(variant, first)?,
        };
        self.entrants.push((variant, entrant));
        Ok(())
    }

    fn judge(&mut self, variant: Variant, first: First<Bound>) -> Result<Candidate, Failure> {
        let verdict = self.check(variant)?;
        if let Some(wrong) = &verdict.wrong {
            return Ok(Err(Standing::Wrong(format!(
                "row {} column {}: got {:e}, want {:e}",
                wrong.row,
                wrong.column.unwrap_or_default(),
                wrong.got,
                wrong.want
            ))));
        }
        Ok(Ok((Runner::first(first, self.traffic()), verdict)))
    }

    /// One read of each logit that counts, one write of each result.
    fn traffic(&self) -> u64 {
        let (rows, cols) = (u64::from(self.shape.rows), u64::from(self.shape.cols));
        let read = match self.options.queries {
            None => rows * cols,
            // Query q of n sees all but the last n - 1 - q columns.
            Some(n) => rows * cols - rows * (u64::from(n) - 1) / 2,
        };
        read * self.types.input.bytes() + rows * cols * self.types.output.bytes()
    }

    fn bind(&self, gpu: &Gpu, variant: Variant) -> Result<Vec<Bound>, HostError> {
        let (rows, cols) = (self.shape.rows, self.shape.cols);
        let kernel =
            gpu.library.softmax(&Spec { variant: Some(variant), ..spec(self.shape, self.types, self.options) })?;
        let scratch = gpu.allocate(kernel.scratch_bytes(rows, cols).max(PARTIAL_BYTES))?;
        let words = u32::try_from(scratch.size() / 4).unwrap_or(u32::MAX);
        let bind = |(src, dst)| {
            let operands = Operands {
                temperature: self.temperature.as_ref().map(|t| PerRow::one(Matrix::new(t, 1, 1))),
                seeds: self.seeds.as_ref().map(|s| PerRow::each(Matrix::new(s, rows, 4))),
                scratch: Some(Matrix::new(&scratch, 1, words)),
                ..Operands::new(Matrix::new(src, rows, cols), Matrix::new(dst, rows, cols))
            };
            Ok(kernel.bind_with(&operands)?)
        };
        self.src.iter().zip(&self.dst).map(bind).collect()
    }

    /// Holds some of the rows that its first use has written against the reference.
    fn check(&mut self, variant: Variant) -> Result<Verdict, Failure> {
        let bytes = self.gpu.download(&self.dst[0], self.logits.len() as u64 * self.types.output.bytes())?;
        let mut got = Vec::with_capacity(self.logits.len());
        decode_into(&bytes, self.types.output, &mut got);
        let making = Making { schedule: variant.schedule, output: self.types.output, log: self.options.log };
        let cols = self.shape.cols as usize;
        let mut verdict = Verdict { rows_in_all: self.shape.rows as usize, ..Verdict::default() };
        if self.wanted.is_empty() {
            let rows = check::sample(self.shape.rows as usize, (self.plan.checked / cols).max(2));
            self.wanted = rows.into_iter().map(|row| (row, self.reference(row))).collect();
        }
        for (row, want) in &self.wanted {
            verdict.merge(check::check_row(*row, want, making, &got[row * cols..(row + 1) * cols], None));
        }
        Ok(verdict)
    }

    /// What a row should become, as a problem of that row alone.
    fn reference(&self, row: usize) -> Row {
        let (cols, o) = (self.shape.cols as usize, self.options);
        let position = |queries: u32| (row % queries as usize) as i32 + offset(self.shape, queries);
        let job = Job {
            scale: o.scale,
            soft_cap: o.soft_cap,
            temperature: o.temperature.map(|t| Shared::one(t, &[1])),
            causal: o.queries.map(position),
            noise: o.noise.then(|| stream(row)),
            log: o.log,
            ..Job::new(self.logits[row * cols..(row + 1) * cols].to_vec(), 1, cols)
        };
        check::reference_row(&job, 0)
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
        let chosen = gpu.library.choose(&spec(self.shape, self.types, self.options));
        let entrants = self.entrants.iter().map(|(variant, candidate)| {
            let standing = match candidate {
                Ok((runner, verdict)) => Standing::Timed(Box::new(Timing {
                    // Log-probabilities are judged by absolute errors.
                    worst_ulp: (!self.options.log).then_some(verdict.worst_ulp.unwrap_or(0.0)),
                    rows_checked: verdict.rows,
                    ..runner.timing(copy, plan)
                })),
                Err(standing) => standing.clone(),
            };
            let role = match variant {
                v if *v == chosen => "chosen",
                v if v.schedule.is_rival() => "rival",
                _ => "other",
            };
            let name = if self.options.noise { gumbel_name(variant) } else { variant.to_string() };
            Entrant { name, role, over: Yardstick::Copy, standing }
        });
        let entrants = entrants.collect();
        Ok(Outcome {
            label: Label::default(),
            shape: (self.shape.rows, self.shape.cols),
            choices: None,
            title: format!("{} x {}", self.shape.rows, self.shape.cols),
            yardstick: Yardstick::Copy,
            unit: (copy_name.to_string(), copy.timing(copy, plan)),
            entrants,
        })
    }
}

/// The noise of a row.
pub fn stream(row: usize) -> Stream {
    Stream { seed: row as u64, position: 0 }
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
