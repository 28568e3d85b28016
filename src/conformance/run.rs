//! Running cases on a device.

use super::check::{Layout, PATTERN, Results, check, loose_lse, loose_rows, planted};
use super::data::{Data, decode, encode, mask_map, options, slope_map, spec, stored};
use super::report::Report;
use super::{Case, Failure, Fault, Memory, OptionSet};
use crate::host::{Gpu, HostError};
use crate::noise::Stream;
use crate::softmax::{Dtype, MaskType, Operands, Options, PARTIAL_BYTES, PerRow, Schedule, Shape, ShardSpec, Spec};
use crate::{BindError, Bound, BuildError, Library, Matrix};

/// What came of one case.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// Right; the worst distance of an f32 result in ULP.
    Passed(u32),
    /// Wrong.
    Failed(Failure),
    /// This device cannot run it, and why.
    Skipped(String),
}

impl From<BuildError> for Outcome {
    fn from(error: BuildError) -> Self {
        match error {
            BuildError::MissingFeature { feature, .. } => Self::Skipped(format!("the device lacks {feature}")),
            BuildError::TooManyBuffers { operands, available } => {
                Self::Skipped(format!("{} storage buffers needed, {available} allowed", operands.len()))
            }
            BuildError::LimitTooLow { limit, available, .. } => {
                Self::Skipped(format!("more is needed than {limit} = {available}"))
            }
            BuildError::Device { .. } => Self::Failed(Failure::Broken(error.to_string())),
            other => Self::Failed(Failure::Refused(other.to_string())),
        }
    }
}

impl From<HostError> for Outcome {
    fn from(error: HostError) -> Self {
        match error {
            HostError::Build(error) | HostError::Bind(BindError::Build(error)) => Self::from(error),
            HostError::Bind(error) => Self::Failed(Failure::Refused(error.to_string())),
            HostError::TooLarge { .. } => Self::Skipped("a buffer is larger than the device allows".into()),
            other => Self::Failed(Failure::Broken(other.to_string())),
        }
    }
}

/// What becomes of a case one of whose sizes is 0, with which neither the library nor the reference has an answer.
pub(super) fn without(sizes: &[(&str, u32)]) -> Option<Outcome> {
    let (what, _) = sizes.iter().find(|(_, n)| *n == 0)?;
    Some(Outcome::Skipped(format!("a case without {what} has no elements")))
}

/// What the suite can try: a name, and all that follows from it.
pub trait Trial: std::fmt::Display {
    /// What it is counted with: kernel, schedule, tier.
    fn kind(&self) -> String;

    /// Whether its distance from the reference says something of the kernel.
    fn measured(&self) -> bool;

    /// Runs it.
    fn run(&self, gpu: &Gpu) -> Outcome;
}

impl Trial for Box<dyn Trial> {
    fn kind(&self) -> String {
        (**self).kind()
    }

    fn measured(&self) -> bool {
        (**self).measured()
    }

    fn run(&self, gpu: &Gpu) -> Outcome {
        (**self).run(gpu)
    }
}

impl Trial for Case {
    fn kind(&self) -> String {
        format!("softmax/{:?}/{}", self.variant.schedule, self.variant.tier.name()).to_lowercase()
    }

    /// Options have budgets of their own: their rounding is the user's, not the kernel's.
    fn measured(&self) -> bool {
        self.options == OptionSet::Plain
    }

    fn run(&self, gpu: &Gpu) -> Outcome {
        run_case(gpu, self, None)
    }
}

/// Pipelines that one run keeps: cases of one variant stand together, and a driver's pipeline takes a megabyte.
const PIPELINES: usize = 64;

/// Runs cases on a device that the caller has opened, telling `tell` of each.
pub fn run_cases<C: Trial>(gpu: &Gpu, cases: impl Iterator<Item = C>, mut tell: impl FnMut(&C, &Outcome)) -> Report {
    let mut report = Report::of(gpu);
    let mut gpu = gpu.clone();
    for case in cases {
        forget(&mut gpu);
        let outcome = case.run(&gpu);
        tell(&case, &outcome);
        report.add(&case, outcome);
    }
    report
}

/// Lets go of the pipelines built so far, when there are many.
pub(super) fn forget(gpu: &mut Gpu) {
    // The capabilities have been accepted before.
    if gpu.library.pipelines() >= PIPELINES
        && let Ok(library) = Library::with_caps(&gpu.device, gpu.library.caps().clone(), None)
    {
        gpu.library = library;
    }
}

/// Runs one case; with a fault, plants it into the results before they are checked.
#[must_use]
pub fn run_case(gpu: &Gpu, case: &Case, fault: Option<Fault>) -> Outcome {
    if let Err(reason) = case.variant.supported(gpu.library.caps()) {
        return Outcome::from(reason);
    }
    if case.memory.is_one_buffer() && case.variant.input != case.variant.output {
        return Outcome::Skipped("windows of one buffer are tried with one element type only".into());
    }
    if case.memory == Memory::Sharded && !case.has_shards() {
        return Outcome::Skipped(
            "shards are of split rows, and no option may speak of columns of the whole row".into(),
        );
    }
    if let Some(outcome) = without(&[("rows", case.rows), ("columns", case.cols)]) {
        return outcome;
    }
    let data = Data::of(case);
    match execute(gpu, case, &data) {
        Err(error) => Outcome::from(error),
        Ok(results) => {
            let results = match fault {
                Some(fault) => planted(case, &data, &results, fault),
                None => results,
            };
            match check(case, &data, &results) {
                Ok(ulps) => Outcome::Passed(ulps),
                Err(failure) => Outcome::Failed(failure),
            }
        }
    }
}

/// Elements before the first row: x4 variants want multiples of four.
fn offsets(case: &Case) -> (usize, usize) {
    if case.variant.quads { (8, 4) } else { (3, 5) }
}

fn execute(gpu: &Gpu, case: &Case, data: &Data) -> Result<Results, HostError> {
    let (rows, cols) = (case.rows as usize, case.cols as usize);
    let variant = case.variant;
    let stride = if variant.quads { (cols + case.gap as usize).next_multiple_of(4) } else { cols + case.gap as usize };
    let (src_offset, dst_offset) = offsets(case);
    let extent = (rows - 1) * stride + cols;
    let tail = 9;

    // The input's buffer, or the one that both live in: pattern everywhere, logits in the rows.
    let filled = |offset: usize, length: usize| {
        let mut all = vec![stored(variant.input, PATTERN); length];
        for r in 0..rows {
            all[offset + r * stride..][..cols].copy_from_slice(&data.src[r * cols..][..cols]);
        }
        all
    };
    let src_length = src_offset + extent + tail;
    // Where the output's window starts within a shared buffer.
    let alignment = gpu.library.caps().binding_alignment as usize / 2;
    let dst_at = match case.memory {
        Memory::Separate | Memory::Sharded => dst_offset,
        Memory::InPlace => src_offset,
        Memory::Close => (src_offset + extent).next_multiple_of(4) + if variant.quads { 4 } else { 1 },
        Memory::Pooled => (src_offset + extent).next_multiple_of(alignment) + alignment + dst_offset,
    };
    let one_buffer = case.memory.is_one_buffer();
    let whole = if one_buffer { src_length.max(dst_at + extent + tail) } else { src_length };
    let whole = whole.next_multiple_of(2);
    let src_values = filled(src_offset, whole);
    let src = gpu.upload(&encode(variant.input, &src_values))?;
    let dst_length = (dst_offset + extent + tail).next_multiple_of(2);
    let own = encode(variant.output, &vec![PATTERN; dst_length]);
    let dst = if one_buffer { src.clone() } else { gpu.upload(&own)? };

    let window =
        |buffer, offset: usize| Matrix::new(buffer, case.rows, case.cols).at(offset as u64).with_stride(stride as u32);
    let column = |buffer, entries: usize| Matrix::new(buffer, entries as u32, 1);
    let mask_type = if options(case).mask == Some(MaskType::F16) { Dtype::F16 } else { Dtype::F32 };
    let mask = gpu.upload(&encode(mask_type, &data.mask))?;
    let temperature = gpu.upload(bytemuck::cast_slice(&data.temperature))?;
    let slopes = gpu.upload(bytemuck::cast_slice(&data.slopes))?;
    let sinks = gpu.upload(bytemuck::cast_slice(&data.sinks))?;
    let lengths = gpu.upload(bytemuck::cast_slice(&data.lengths))?;
    let seeds: Vec<[u32; 4]> = data.seeds.iter().map(Stream::words_of_seed).collect();
    let seeds = gpu.upload(bytemuck::cast_slice(&seeds))?;
    let lse = gpu.allocate(rows as u64 * 4)?;

    let spec = spec(case);
    let o = options(case);
    let operands = Operands {
        lse: spec.lse.then(|| column(&lse, rows)),
        mask: o.mask.map(|_| PerRow { matrix: Matrix::new(&mask, case.rows, case.cols), map: mask_map(case) }),
        temperature: o.temperature.then(|| PerRow::each(column(&temperature, rows))),
        slopes: o.alibi.then(|| PerRow { matrix: column(&slopes, data.slopes.len()), map: slope_map() }),
        sinks: o.sinks.then(|| PerRow::each(column(&sinks, rows))),
        lengths: o.lengths.then(|| PerRow::each(column(&lengths, rows))),
        seeds: o.gumbel.then(|| PerRow::each(Matrix::new(&seeds, case.rows, 4))),
        ..Operands::new(window(&src, src_offset), window(&dst, dst_at))
    };
    let bound = if case.memory == Memory::Sharded {
        sharded(gpu, &spec, &operands)?
    } else {
        let kernel = gpu.library.softmax(&spec)?;
        let scratch = gpu.allocate(kernel.scratch_bytes(case.rows, case.cols).max(PARTIAL_BYTES))?;
        let words = Matrix::new(&scratch, 1, (scratch.size() / 4) as u32);
        let scratch = (variant.schedule == Schedule::Split).then_some(words);
        vec![kernel.bind_with(&Operands { scratch, ..operands })?]
    };

    let layout = Layout { offset: dst_at, stride, rows, cols };
    gpu.describe(&dst, "dst", || loose_rows(case, data, &layout));
    gpu.describe(&src, "src", Vec::new);
    gpu.describe(&lse, "lse", || loose_lse(case, data));
    let fresh = encode(variant.input, &src_values);
    let once = |reset: bool| -> Result<Vec<u8>, HostError> {
        if reset {
            if one_buffer {
                gpu.write(&src, 0, &fresh);
            } else {
                gpu.write(&dst, 0, &own);
            }
        }
        gpu.run(&bound.iter().collect::<Vec<_>>())?;
        gpu.download(&dst, dst.size())
    };
    let (first, second) = (once(false)?, once(true)?);
    let output = |bytes: &[u8]| decode(variant.output, bytes);
    let src_after = decode(variant.input, &gpu.download(&src, src.size())?);
    let (mut first, mut second) = (output(&first), output(&second));
    let (mut before, mut after) = (Vec::new(), Vec::new());
    if !one_buffer {
        (before, after) = (src_values, src_after);
    } else if case.memory != Memory::InPlace {
        // One buffer: its input rows must be as they were, everything else is the output's business.
        for r in 0..rows {
            let at = src_offset + r * stride;
            before.extend_from_slice(&data.src[r * cols..][..cols]);
            after.extend_from_slice(&src_after[at..at + cols]);
            first[at..at + cols].fill(PATTERN);
            second[at..at + cols].fill(PATTERN);
        }
    }
    let lse = if spec.lse { decode(Dtype::F32, &gpu.download(&lse, rows as u64 * 4)?) } else { Vec::new() };
    Ok(Results { layout, first, second, src_before: before, src_after: after, lse })
}

/// A softmax of rows cut in two, as if the halves were on two devices.
fn sharded(gpu: &Gpu, spec: &Spec, operands: &Operands<'_>) -> Result<Vec<Bound>, HostError> {
    let Matrix { rows, cols, .. } = operands.src;
    let cut = cols.div_ceil(2).next_multiple_of(4).min(cols);
    let shard = |first: u32, width: u32, sinks: bool| {
        let window = |m| columns(m, first, width);
        let spec = Spec {
            shape: Shape { cols: width, ..spec.shape },
            options: Options { sinks, ..spec.options },
            ..spec.clone()
        };
        let operands = Operands {
            src: window(operands.src),
            dst: window(operands.dst),
            mask: operands.mask.map(|mask| PerRow { matrix: window(mask.matrix), ..mask }),
            sinks: operands.sinks.filter(|_| sinks),
            ..*operands
        };
        (ShardSpec { spec, first_column: first }, operands)
    };
    // The sink is of one shard only, which has columns, and of none when there are sums.
    let sinks = spec.options.sinks;
    let has_columns = |(_, operands): &(ShardSpec, Operands<'_>)| operands.src.cols > 0;
    let [sums, shares] = [sinks, false].map(|sinks| {
        [shard(0, cut, sinks), shard(cut, cols - cut, false)].into_iter().filter(has_columns).collect::<Vec<_>>()
    });
    let kernels = sums.iter().map(|(spec, _)| gpu.library.softmax_sum(spec)).collect::<Result<Vec<_>, _>>()?;
    let counts: Vec<_> = kernels.iter().zip(&sums).map(|(kernel, (_, o))| kernel.partials(o.src.cols) * 4).collect();
    let words: u32 = counts.iter().sum();
    let buffer = gpu.allocate(u64::from(rows) * u64::from(words) * 4)?;
    let (mut bound, mut before) = (Vec::new(), 0);
    for ((kernel, (_, operands)), count) in kernels.iter().zip(&sums).zip(counts) {
        let partials = Matrix::new(&buffer, rows, count).at(before).with_stride(words);
        bound.push(kernel.bind(&Operands { lse: None, ..*operands }, partials)?);
        before += u64::from(count);
    }
    for (spec, operands) in &shares {
        bound.push(gpu.library.softmax_scale(spec)?.bind(operands, Matrix::new(&buffer, rows, words))?);
    }
    Ok(bound)
}

fn columns(m: Matrix<'_>, first: u32, count: u32) -> Matrix<'_> {
    Matrix::new(m.buffer, m.rows, count).at(m.offset + u64::from(first)).with_stride(m.stride)
}
