//! One softmax from values in memory to values in memory, in as many batches of rows as the device's limits ask for.

use std::ops::Range;

use onesum::host::Gpu;
use onesum::noise::Stream;
use onesum::softmax::{Causal, Dtype, EmptyRow, MaskType, Operands, Options, PerRow, Shape, Softmax, Spec, Variant};
use onesum::{Bound, Matrix};

use crate::broadcast::{Shared, Window};
use crate::device::Clock;
use crate::elements::{decode_into, encode};
use crate::failure::Failure;

/// What to compute. Rows are contiguous.
#[derive(Clone, Debug)]
pub struct Job {
    /// Logits.
    pub src: Vec<f32>,
    /// Rows.
    pub rows: usize,
    /// Columns.
    pub cols: usize,
    /// How the GPU stores the logits.
    pub input: Dtype,
    /// How the GPU stores the result.
    pub output: Dtype,
    /// Log-probabilities instead of probabilities.
    pub log: bool,
    /// The log-sum-exp of each row, too.
    pub lse: bool,
    /// One buffer for logits and result.
    pub in_place: bool,
    /// What becomes of rows in which every column is excluded.
    pub empty_row: EmptyRow,
    /// Factor on the logits.
    pub scale: Option<f32>,
    /// Soft cap.
    pub soft_cap: Option<f32>,
    /// Rows of one sequence: row r is query `r % queries`.
    pub queries: usize,
    /// Query q sees columns 0 to q + offset.
    pub causal: Option<i32>,
    /// Additive mask, and how the GPU stores it.
    pub mask: Option<(Shared<f32>, MaskType)>,
    /// Temperatures.
    pub temperature: Option<Shared<f32>>,
    /// `ALiBi` slopes.
    pub slopes: Option<Shared<f32>>,
    /// Sinks.
    pub sinks: Option<Shared<f32>>,
    /// Valid lengths.
    pub lengths: Option<Shared<u32>>,
    /// Gumbel noise is added: that of the first row; each further row has the next seed.
    pub noise: Option<Stream>,
    /// This variant and no other.
    pub variant: Option<Variant>,
    /// No binding of more bytes than this.
    pub batch_bytes: Option<u64>,
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Probabilities or log-probabilities.
    pub dst: Vec<f32>,
    /// Log-sum-exp of each row, if asked for.
    pub lse: Vec<f32>,
    /// The variant that ran.
    pub variant: Variant,
    /// How many batches of rows it took.
    pub batches: usize,
    /// Time of the kernel alone, in seconds, without transfers. In place it includes the driver's compilation.
    pub seconds: f64,
    /// What the time was measured by.
    pub clock: &'static str,
}

/// More than this at a time does not run faster, but takes memory.
const BATCH_BYTES: u64 = 1 << 30;

impl Job {
    /// Plain softmax of f32 rows.
    pub fn new(src: Vec<f32>, rows: usize, cols: usize) -> Self {
        Self {
            src,
            rows,
            cols,
            input: Dtype::F32,
            output: Dtype::F32,
            log: false,
            lse: false,
            in_place: false,
            empty_row: EmptyRow::Nan,
            scale: None,
            soft_cap: None,
            queries: 1,
            causal: None,
            mask: None,
            temperature: None,
            slopes: None,
            sinks: None,
            lengths: None,
            noise: None,
            variant: None,
            batch_bytes: None,
        }
    }

    /// Positions matter: rows of a batch must keep theirs.
    pub fn positioned(&self) -> bool {
        self.causal.is_some() || self.slopes.is_some()
    }

    /// The noise of a row, if there is any.
    pub fn noise_of(&self, row: usize) -> Option<Stream> {
        self.noise.map(|first| Stream { seed: first.seed.wrapping_add(row as u64), ..first })
    }

    /// Computes it on `gpu`.
    pub fn run(&self, gpu: &Gpu) -> Result<Outcome, Failure> {
        let batches = self.batches(gpu)?;
        let clock = Clock::new(gpu)?;
        let mut outcome = Outcome {
            dst: Vec::with_capacity(self.src.len()),
            lse: Vec::with_capacity(if self.lse { self.rows } else { 0 }),
            variant: self.spec(0, &(0..self.rows.min(1)))?.chosen(gpu.library.caps()),
            batches: batches.len(),
            seconds: 0.0,
            clock: Clock::method(gpu),
        };
        for rows in batches {
            Batch::new(self, gpu, rows)?.run(&clock, &mut outcome)?;
        }
        Ok(outcome)
    }

    /// The specification for a batch of rows.
    fn spec(&self, cols: u32, rows: &Range<usize>) -> Result<Spec, Failure> {
        let count = u32::try_from(rows.len())?;
        let options = Options {
            scale: self.scale,
            soft_cap: self.soft_cap,
            positions: if self.positioned() { Some(self.positions(rows)?) } else { None },
            causal: self.causal.is_some(),
            alibi: self.slopes.is_some(),
            mask: self.mask.as_ref().map(|(_, ty)| *ty),
            temperature: self.temperature.is_some(),
            lengths: self.lengths.is_some(),
            sinks: self.sinks.is_some(),
            gumbel: self.noise.is_some(),
        };
        Ok(Spec {
            input: self.input,
            output: self.output,
            log: self.log,
            lse: self.lse,
            empty_row: self.empty_row,
            options,
            variant: self.variant,
            ..Spec::new(Shape::new(count, cols))
        })
    }

    /// Where the rows of a batch stand: it begins with a sequence, or lies within one.
    fn positions(&self, rows: &Range<usize>) -> Result<Causal, Failure> {
        let first = rows.start % self.queries.max(1);
        let offset = i64::from(self.causal.unwrap_or(0)) + first as i64;
        let offset = i32::try_from(offset)
            .map_err(|_| Failure::error(format!("the position {offset} of a query is beyond 2^31")))?;
        Ok(Causal { queries: u32::try_from(self.queries.max(1) - first)?, offset })
    }

    /// Which rows go together: as many as fit a binding and keep their positions.
    fn batches(&self, gpu: &Gpu) -> Result<Vec<Range<usize>>, Failure> {
        let limits = gpu.device.limits();
        let most = limits.max_storage_buffer_binding_size.min(limits.max_buffer_size);
        let row = self.cols as u64 * self.row_bytes();
        if row > most {
            return Err(Failure::error(format!(
                "one row of {} columns takes {row} bytes, this adapter binds at most {most}: split the rows, or \
                 choose another adapter",
                self.cols
            )));
        }
        u32::try_from(self.cols)?;
        let wanted = self.batch_bytes.unwrap_or(BATCH_BYTES).min(most).max(row);
        // Rows without columns have a log-sum-exp each.
        let fit = usize::try_from(wanted / row.max(16))?.clamp(1, u32::MAX as usize / 2);
        let mut batches = Vec::new();
        let mut start = 0;
        while start < self.rows || (start == 0 && batches.is_empty()) {
            let mut count = fit.min(self.rows - start);
            let queries = self.queries.max(1);
            if self.positioned() && start + count < self.rows {
                let rest = queries - start % queries;
                let whole = count / queries * queries;
                count = if rest == queries && whole > 0 { whole } else { count.min(rest) };
            }
            batches.push(start..start + count);
            start += count;
        }
        Ok(batches)
    }

    /// Bytes of one column of a row in its widest operand.
    fn row_bytes(&self) -> u64 {
        let mask = self.mask.as_ref().map_or(0, |(_, ty)| mask_dtype(*ty).bytes());
        self.input.bytes().max(self.output.bytes()).max(mask)
    }
}

fn mask_dtype(ty: MaskType) -> Dtype {
    match ty {
        MaskType::F32 => Dtype::F32,
        MaskType::F16 => Dtype::F16,
    }
}

/// An operand that rows share, on the device.
struct Uploaded {
    buffer: wgpu::Buffer,
    map: onesum::softmax::RowMap,
    entries: u32,
    cols: u32,
}

impl Uploaded {
    fn new<T>(gpu: &Gpu, window: &Window<T>, bytes: &[u8], cols: u32) -> Result<Self, Failure> {
        Ok(Self { buffer: gpu.upload(bytes)?, map: window.map, entries: window.entries, cols })
    }

    fn per_row(&self) -> PerRow<'_> {
        PerRow { matrix: Matrix::new(&self.buffer, self.entries, self.cols), map: self.map }
    }
}

/// Some rows of a job, on the device.
struct Batch<'a> {
    gpu: &'a Gpu,
    kernel: Softmax,
    rows: u32,
    cols: u32,
    src: wgpu::Buffer,
    /// None in place.
    dst: Option<wgpu::Buffer>,
    lse: Option<wgpu::Buffer>,
    scratch: wgpu::Buffer,
    mask: Option<Uploaded>,
    temperature: Option<Uploaded>,
    slopes: Option<Uploaded>,
    sinks: Option<Uploaded>,
    lengths: Option<Uploaded>,
    seeds: Option<wgpu::Buffer>,
}

impl<'a> Batch<'a> {
    fn new(job: &Job, gpu: &'a Gpu, range: Range<usize>) -> Result<Self, Failure> {
        let (rows, cols) = (u32::try_from(range.len())?, u32::try_from(job.cols)?);
        let spec = job.spec(cols, &range)?;
        let kernel = gpu.library.softmax(&spec)?;
        let elements = range.len() as u64 * job.cols as u64;
        let values = &job.src[range.start * job.cols..range.end * job.cols];
        let dst = if job.in_place { None } else { Some(gpu.allocate(elements * job.output.bytes())?) };
        let lse = if job.lse { Some(gpu.allocate(u64::from(rows) * 4)?) } else { None };
        let mask = match &job.mask {
            None => None,
            Some((mask, ty)) => {
                let window = mask.window(range.clone());
                Some(Uploaded::new(gpu, &window, &encode(&window.values, mask_dtype(*ty)), cols)?)
            }
        };
        let scalars = |shared: &Option<Shared<f32>>| match shared {
            None => Ok(None),
            Some(shared) => {
                let window = shared.window(range.clone());
                Uploaded::new(gpu, &window, &encode(&window.values, Dtype::F32), 1).map(Some)
            }
        };
        let lengths = match &job.lengths {
            None => None,
            Some(lengths) => {
                let window = lengths.window(range.clone());
                let bytes: Vec<u8> = window.values.iter().flat_map(|v| v.to_ne_bytes()).collect();
                Some(Uploaded::new(gpu, &window, &bytes, 1)?)
            }
        };
        let streams = range.clone().filter_map(|row| job.noise_of(row));
        let seeds: Vec<u8> = streams.flat_map(|s| s.words_of_seed()).flat_map(u32::to_ne_bytes).collect();
        Ok(Self {
            seeds: job.noise.is_some().then(|| gpu.upload(&seeds)).transpose()?,
            src: gpu.upload(&encode(values, job.input))?,
            dst,
            lse,
            scratch: gpu.allocate(kernel.scratch_bytes(rows, cols))?,
            mask,
            temperature: scalars(&job.temperature)?,
            slopes: scalars(&job.slopes)?,
            sinks: scalars(&job.sinks)?,
            lengths,
            gpu,
            kernel,
            rows,
            cols,
        })
    }

    fn bind(&self) -> Result<Bound, Failure> {
        let matrix = |buffer| Matrix::new(buffer, self.rows, self.cols);
        let words = u32::try_from(self.scratch.size() / 4)?;
        let operands = Operands {
            lse: self.lse.as_ref().map(|buffer| Matrix::new(buffer, self.rows, 1)),
            mask: self.mask.as_ref().map(Uploaded::per_row),
            temperature: self.temperature.as_ref().map(Uploaded::per_row),
            slopes: self.slopes.as_ref().map(Uploaded::per_row),
            sinks: self.sinks.as_ref().map(Uploaded::per_row),
            lengths: self.lengths.as_ref().map(Uploaded::per_row),
            seeds: self.seeds.as_ref().map(|buffer| PerRow::each(Matrix::new(buffer, self.rows, 4))),
            scratch: Some(Matrix::new(&self.scratch, 1, words)),
            ..Operands::new(matrix(&self.src), matrix(self.dst.as_ref().unwrap_or(&self.src)))
        };
        Ok(self.kernel.bind_with(&operands)?)
    }

    fn run(&self, clock: &Clock, outcome: &mut Outcome) -> Result<(), Failure> {
        let bound = self.bind()?;
        outcome.variant = self.kernel.variant();
        if bound.dispatches() > 0 {
            // Drivers compile when a pipeline first runs, which is not the kernel's time. In place there is no
            // second first time.
            if outcome.dst.is_empty() && self.dst.is_some() {
                clock.time(self.gpu, std::iter::once(&bound))?;
            }
            outcome.seconds += clock.time(self.gpu, std::iter::once(&bound))?.seconds;
        }
        let output = self.kernel.spec().output;
        let bytes = u64::from(self.rows) * u64::from(self.cols) * output.bytes();
        let result = self.gpu.download(self.dst.as_ref().unwrap_or(&self.src), bytes)?;
        decode_into(&result, output, &mut outcome.dst);
        if let Some(lse) = &self.lse {
            decode_into(&self.gpu.download(lse, u64::from(self.rows) * 4)?, Dtype::F32, &mut outcome.lse);
        }
        Ok(())
    }
}
