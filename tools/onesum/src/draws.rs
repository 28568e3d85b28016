//! Draws from rows of logits in memory: on the GPU, and again on the CPU.

use onesum::host::Gpu;
use onesum::noise::Stream;
use onesum::reference::choice;
use onesum::sample::{Operands, Options, Spec, Status, Variant};
use onesum::softmax::{MaskType, PerRow, Shape};
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
    /// This variant and no other.
    pub variant: Option<Variant>,
}

/// Columns that are looked at again on the CPU, at most: some seconds.
const COMPARED_COLUMNS: usize = 1 << 26;

impl Draws {
    /// From f32 rows at temperature 1.
    pub fn new(src: Vec<f32>, rows: usize, cols: usize, count: u32) -> Self {
        Self {
            src,
            input: onesum::softmax::Dtype::F32,
            rows,
            cols,
            mask: None,
            temperature: None,
            lengths: None,
            seed: 0,
            position: 0,
            count,
            variant: None,
        }
    }

    fn stream(&self, row: usize, draw: usize) -> Stream {
        Stream { seed: self.seed.wrapping_add(row as u64), position: self.position.wrapping_add(draw as u64) }
    }

    /// All draws of all rows: one row of logits at a time, which all its draws share. Words, variant, seconds.
    pub fn draw(&self, gpu: &Gpu) -> Result<(Vec<u32>, Variant, f64), Failure> {
        let (count, cols) = (self.count, u32::try_from(self.cols)?);
        let spec = Spec {
            input: self.input,
            options: Options {
                mask: self.mask.as_ref().map(|(_, ty)| *ty),
                bits: false,
                temperature: self.temperature.is_some(),
                lengths: self.lengths.is_some(),
                ..Options::default()
            },
            variant: self.variant,
            ..Spec::new(Shape::new(count, cols))
        };
        let kernel = gpu.library.sample(&spec)?;
        let dst = gpu.allocate(u64::from(count) * 4)?;
        let scratch = gpu.allocate(kernel.scratch_bytes(count, cols))?;
        let scratch = Matrix::new(&scratch, 1, u32::try_from(scratch.size() / 4)?);
        let clock = Clock::new(gpu);
        let (mut words, mut seconds) = (Vec::with_capacity(self.rows * count as usize), 0.0);
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
            let (mask, temperature, lengths) = (mask.transpose()?, temperature.transpose()?, lengths.transpose()?);
            let operands = Operands {
                mask: mask.as_ref().map(|b| PerRow::one(Matrix::new(b, 1, cols))),
                temperature: temperature.as_ref().map(|b| PerRow::one(Matrix::new(b, 1, 1))),
                lengths: lengths.as_ref().map(|b| PerRow::one(Matrix::new(b, 1, 1))),
                scratch: Some(scratch),
                ..Operands::new(
                    Matrix::new(&src, count, cols).with_stride(0),
                    Matrix::new(&dst, count, 1),
                    PerRow::each(Matrix::new(&seeds, count, 4)),
                )
            };
            let bound: Bound = kernel.bind(&operands)?;
            if row == 0 {
                // Drivers compile when a pipeline first runs, which is not the kernel's time.
                clock.time(gpu, std::iter::once(&bound))?;
            }
            seconds += clock.time(gpu, std::iter::once(&bound))?.seconds;
            let drawn = gpu.download(&dst, u64::from(count) * 4)?;
            words.extend(drawn.as_chunks().0.iter().map(|&b| u32::from_ne_bytes(b)));
        }
        Ok((words, kernel.variant(), seconds))
    }

    /// Compares with the CPU's choices; how many.
    pub fn compare(&self, words: &[u32]) -> Result<usize, Failure> {
        let draws = crate::check::sample(words.len(), (COMPARED_COLUMNS / self.cols.max(1)).max(2));
        for &i in &draws {
            let (row, draw) = (i / self.count as usize, i % self.count as usize);
            let mut x = self.src[row * self.cols..][..self.cols].to_vec();
            if let Some((mask, _)) = &self.mask {
                x.iter_mut().zip(mask.row(row)).for_each(|(x, m)| *x += m);
            }
            let length = self.lengths.as_ref().map_or(self.cols, |l| l.row(row)[0] as usize);
            x.iter_mut().skip(length).for_each(|x| *x = f32::NEG_INFINITY);
            let temperature = self.temperature.as_ref().map_or(1.0, |t| t.row(row)[0]);
            let (got, want) = (Status::of(words[i]), choice(&x, temperature, self.stream(row, draw)));
            if got != want {
                return Err(Failure::OutsideBudget(format!(
                    "draw {draw} of row {row} is {got:?}, the CPU draws {want:?}; nothing was written"
                )));
            }
        }
        Ok(draws.len())
    }
}
