//! Draws from rows of logits in memory: on the GPU, and again on the CPU.

use onesum::accuracy::RowBudget;
use onesum::host::Gpu;
use onesum::noise::Stream;
use onesum::reference::{Problem, Shared as PerRows, block_choice, choices};
use onesum::sample::{Operands, Options, Spec, Status, Variant};
use onesum::softmax::{self, MaskType, PerRow, RowMap, Shape};
use onesum::{Bound, Matrix};

use crate::broadcast::Shared;
use crate::device::Clock;
use crate::elements::{dtype, encode};
use crate::failure::Failure;
use crate::tensor::Dtype;

/// All that is drawn from.
#[derive(Clone, Debug)]
pub struct Draws {
    /// Logits, row after row.
    pub src: Vec<f32>,
    /// How the GPU stores them.
    pub input: onesum::softmax::Dtype,
    /// Rows.
    pub rows: usize,
    /// Columns.
    pub cols: usize,
    /// Additive mask, and how the GPU stores it.
    pub mask: Option<(Shared<f32>, MaskType)>,
    /// Allowed columns, 32 to a word.
    pub bits: Option<Shared<u32>>,
    /// Temperatures.
    pub temperature: Option<Shared<f32>>,
    /// Valid lengths.
    pub lengths: Option<Shared<u32>>,
    /// Seed of the first row.
    pub seed: u64,
    /// Position of the first draw.
    pub position: u64,
    /// Draws from each row.
    pub count: u32,
    /// Columns of each draw, without replacement.
    pub k: u32,
    /// Log-probabilities too.
    pub logprobs: bool,
    /// This variant and no other.
    pub variant: Option<Variant>,
}

/// Columns that are looked at again on the CPU, at most: some seconds.
const COMPARED_COLUMNS: usize = 1 << 26;

/// What was drawn.
#[derive(Clone, Debug)]
pub struct Drawn {
    /// [`Status`] words: rows, draws, columns of a draw.
    pub words: Vec<u32>,
    /// Of each draw, the log-sum-exp and the log-probability of each of its columns.
    pub logprobs: Vec<f32>,
    /// What ran.
    pub variant: Variant,
    /// Time on the device.
    pub seconds: f64,
}

impl Draws {
    /// From f32 rows at temperature 1.
    pub fn new(src: Vec<f32>, rows: usize, cols: usize, count: u32) -> Self {
        Self {
            src,
            input: onesum::softmax::Dtype::F32,
            rows,
            cols,
            mask: None,
            bits: None,
            temperature: None,
            lengths: None,
            seed: 0,
            position: 0,
            count,
            k: 1,
            logprobs: false,
            variant: None,
        }
    }

    fn stream(&self, row: usize, draw: usize) -> Stream {
        Stream { seed: self.seed.wrapping_add(row as u64), position: self.position.wrapping_add(draw as u64) }
    }

    /// All draws of all rows: one row of logits at a time, which all its draws share.
    pub fn draw(&self, gpu: &Gpu) -> Result<Drawn, Failure> {
        let (count, cols) = (self.count, u32::try_from(self.cols)?);
        let spec = Spec {
            input: self.input,
            draws: self.k,
            options: Options {
                mask: self.mask.as_ref().map(|(_, ty)| *ty),
                bits: self.bits.is_some(),
                temperature: self.temperature.is_some(),
                lengths: self.lengths.is_some(),
                logprobs: self.logprobs,
                ..Options::default()
            },
            variant: self.variant,
            ..Spec::new(Shape::new(count, cols))
        };
        let kernel = gpu.library.sample(&spec)?;
        let words_of_row = u64::from(count) * u64::from(self.k);
        let dst = gpu.allocate(words_of_row * 4)?;
        let scored = gpu.allocate((words_of_row + u64::from(count)) * 4)?;
        let scratch = gpu.allocate(kernel.scratch_bytes(count, cols))?;
        let scratch = Matrix::new(&scratch, 1, u32::try_from(scratch.size() / 4)?);
        let clock = Clock::new(gpu)?;
        let mut drawn = Drawn { words: Vec::new(), logprobs: Vec::new(), variant: kernel.variant(), seconds: 0.0 };
        for row in 0..self.rows {
            let src = gpu.upload(&encode(&self.src[row * self.cols..][..self.cols], self.input))?;
            let seeds: Vec<u32> = (0..count as usize).flat_map(|n| self.stream(row, n).words_of_seed()).collect();
            let bytes = |words: &[u32]| words.iter().flat_map(|w| w.to_ne_bytes()).collect::<Vec<u8>>();
            let seeds = gpu.upload(&bytes(&seeds))?;
            let mask = self.mask.as_ref().map(|(mask, ty)| {
                let ty = if *ty == MaskType::F16 { Dtype::F16 } else { Dtype::F32 };
                gpu.upload(&encode(mask.row(row), dtype(ty)))
            });
            let temperature = self.temperature.as_ref().map(|t| gpu.upload(&bytes(&[t.row(row)[0].to_bits()])));
            let lengths = self.lengths.as_ref().map(|l| gpu.upload(&bytes(&[l.row(row)[0]])));
            let allowed = self.bits.as_ref().map(|b| gpu.upload(&bytes(b.row(row))));
            let (mask, temperature, lengths) = (mask.transpose()?, temperature.transpose()?, lengths.transpose()?);
            let allowed = allowed.transpose()?;
            let operands = Operands {
                mask: mask.as_ref().map(|b| PerRow::one(Matrix::new(b, 1, cols))),
                bits: allowed.as_ref().map(|b| PerRow::one(Matrix::new(b, 1, cols.div_ceil(32)))),
                temperature: temperature.as_ref().map(|b| PerRow::one(Matrix::new(b, 1, 1))),
                lengths: lengths.as_ref().map(|b| PerRow::one(Matrix::new(b, 1, 1))),
                logprobs: self.logprobs.then(|| Matrix::new(&scored, count, 1 + self.k)),
                scratch: Some(scratch),
                ..Operands::new(
                    Matrix::new(&src, count, cols).with_stride(0),
                    Matrix::new(&dst, count, self.k),
                    PerRow::each(Matrix::new(&seeds, count, 4)),
                )
            };
            let bound: Bound = kernel.bind(&operands)?;
            if row == 0 {
                // Drivers compile when a pipeline first runs, which is not the kernel's time.
                clock.time(gpu, std::iter::once(&bound))?;
            }
            drawn.seconds += clock.time(gpu, std::iter::once(&bound))?.seconds;
            let words = gpu.download(&dst, words_of_row * 4)?;
            drawn.words.extend(words.as_chunks().0.iter().map(|&b| u32::from_ne_bytes(b)));
            if self.logprobs {
                let scores = gpu.download(&scored, scored.size())?;
                drawn.logprobs.extend(scores.as_chunks().0.iter().map(|&b| f32::from_ne_bytes(b)));
            }
        }
        Ok(drawn)
    }

    /// The logits of a row, masked; what is excluded is -inf.
    fn effective(&self, row: usize) -> Vec<f32> {
        let mut x = self.src[row * self.cols..][..self.cols].to_vec();
        if let Some((mask, _)) = &self.mask {
            x.iter_mut().zip(mask.row(row)).for_each(|(x, m)| *x += m);
        }
        let length = self.lengths.as_ref().map_or(self.cols, |l| l.row(row)[0] as usize);
        let allowed = |c: usize| self.bits.as_ref().is_none_or(|b| (b.row(row)[c / 32] >> (c % 32)) & 1 == 1);
        for (c, x) in x.iter_mut().enumerate() {
            if c >= length || !allowed(c) {
                *x = f32::NEG_INFINITY;
            }
        }
        x
    }

    fn temperature(&self, row: usize) -> f32 {
        self.temperature.as_ref().map_or(1.0, |t| t.row(row)[0])
    }

    /// The probabilities that the columns of a row are drawn with, NaN if the row has no distribution.
    pub fn probabilities(&self, row: usize) -> Vec<f64> {
        let temperature = [self.temperature(row)];
        let shared = PerRows { values: &temperature[..], map: RowMap::one() };
        Problem { temperature: Some(shared), ..Problem::new(&self.effective(row), self.cols) }.row(0).probabilities
    }

    /// Compares with what the CPU draws; how many draws.
    pub fn compare(&self, drawn: &Drawn) -> Result<usize, Failure> {
        let (count, k) = (self.count as usize, self.k as usize);
        let draws = crate::check::sample(self.rows * count, (COMPARED_COLUMNS / self.cols.max(1)).max(2));
        let part_quads = drawn.variant.parts(u32::try_from(self.rows)?, u32::try_from(self.cols)?, self.k).1;
        for &i in &draws {
            let (row, draw) = (i / count, i % count);
            let x = self.effective(row);
            let temperature = self.temperature(row);
            let got: Vec<_> = drawn.words[i * k..][..k].iter().map(|&w| Status::of(w)).collect();
            let stream = self.stream(row, draw);
            let want = if drawn.variant.schedule.by_blocks() {
                let (want, lead) = block_choice(&x, temperature, stream, part_quads, drawn.variant.lanes);
                // Rounding decides between two that are as close as this.
                let close = lead < 1e-3 && matches!(got[0], Status::Column(_));
                vec![if close { got[0] } else { want }]
            } else {
                choices(&x, temperature, stream, k)
            };
            if got != want {
                return Err(Failure::OutsideBudget(format!(
                    "draw {draw} of row {row} is {got:?}, the CPU draws {want:?}; nothing was written"
                )));
            }
            if let Some(scores) = drawn.logprobs.get(i * (k + 1)..(i + 1) * (k + 1)) {
                self.compare_scores(&x, temperature, &got, scores).map_err(|e| {
                    Failure::OutsideBudget(format!("draw {draw} of row {row}: {e}; nothing was written"))
                })?;
            }
        }
        Ok(draws.len())
    }

    fn compare_scores(&self, x: &[f32], temperature: f32, choices: &[Status], got: &[f32]) -> Result<(), String> {
        let shared = PerRows { values: &[temperature][..], map: RowMap::one() };
        let row = Problem { temperature: Some(shared), ..Problem::new(x, self.cols) }.row(0);
        let budget = RowBudget::new(&row, softmax::Schedule::Stream, softmax::Dtype::F32);
        let lse = budget.lse();
        if !lse.judge(got[0]).ok {
            return Err(format!("log-sum-exp {}, the CPU has {}", got[0], lse.want));
        }
        for (choice, got) in choices.iter().zip(&got[1..]) {
            if let Status::Column(column) = choice {
                let budget = budget.log_probability(*column as usize);
                if !budget.judge(*got).ok {
                    return Err(format!("log-probability {got} of column {column}, the CPU has {}", budget.want));
                }
            }
        }
        Ok(())
    }
}
