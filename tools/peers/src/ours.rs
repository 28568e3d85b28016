//! onesum, as an engine would use it: bound once, recorded for each call.

use anyhow::{Context, Result};
use onesum::host::Gpu;
use onesum::noise::Stream;
use onesum::sample::Status;
use onesum::softmax::{PARTIAL_BYTES, PerRow, Shape};
use onesum::{Bound, Matrix, router, sample, softmax};

use crate::peer::{Elapsed, Peer};
use crate::work::{Kind, Problem, Results, TEMPERATURE, Work};

/// What one call reads and writes.
struct Set {
    step: Bound,
    /// Probabilities or columns.
    dst: wgpu::Buffer,
    /// Of choices.
    weights: Option<wgpu::Buffer>,
}

pub struct Onesum {
    gpu: Gpu,
    work: Option<Work>,
    sets: Vec<Set>,
    /// One seed and position a row, of sampling.
    seeds: Option<wgpu::Buffer>,
    position: u64,
    variant: String,
}

impl Onesum {
    pub fn new(gpu: Gpu) -> Self {
        Self { gpu, work: None, sets: Vec::new(), seeds: None, position: 0, variant: String::new() }
    }

    fn scratch(&self, bytes: u64) -> Result<(wgpu::Buffer, u32)> {
        let buffer = self.gpu.allocate(bytes.max(PARTIAL_BYTES))?;
        let words = u32::try_from(buffer.size() / 4)?;
        Ok((buffer, words))
    }

    /// Where the results of so many sets go. On a GPU all to the same place: wgpu puts a barrier between two that write there, as
    /// there is where the next step of an engine waits; else they would overlap.
    fn outputs(&self, sets: usize, bytes: u64) -> Result<Vec<wgpu::Buffer>> {
        if self.gpu.info.device_type == wgpu::DeviceType::Cpu {
            return (0..sets).map(|_| Ok(self.gpu.allocate(bytes)?)).collect();
        }
        Ok(vec![self.gpu.allocate(bytes)?; sets])
    }

    /// Streams that no call before had.
    fn reseed(&mut self, rows: u32) {
        let Some(seeds) = &self.seeds else { return };
        let stream = |row| Stream { seed: u64::from(row), position: self.position };
        let words: Vec<u8> = (0..rows).flat_map(|r| stream(r).words_of_seed()).flat_map(u32::to_ne_bytes).collect();
        self.gpu.write(seeds, 0, &words);
        self.position += 1;
    }

    fn softmax(&mut self, work: &Work, sources: &[wgpu::Buffer]) -> Result<()> {
        let (rows, cols) = (work.rows, work.cols);
        let kernel = self.gpu.library.softmax(&softmax::Spec::new(Shape::new(rows, cols)))?;
        self.variant = kernel.variant().to_string();
        let (scratch, words) = self.scratch(kernel.scratch_bytes(rows, cols))?;
        for (src, dst) in sources.iter().zip(self.outputs(sources.len(), work.bytes())?) {
            let step = kernel.bind_with(&softmax::Operands {
                scratch: Some(Matrix::new(&scratch, 1, words)),
                ..softmax::Operands::new(Matrix::new(src, rows, cols), Matrix::new(&dst, rows, cols))
            })?;
            self.sets.push(Set { step, dst, weights: None });
        }
        Ok(())
    }

    /// At temperature 0 a draw is an arg max.
    fn sample(&mut self, work: &Work, sources: &[wgpu::Buffer]) -> Result<()> {
        let (rows, cols) = (work.rows, work.cols);
        let options = sample::Options { temperature: true, ..sample::Options::default() };
        let spec = sample::Spec { options, ..sample::Spec::new(Shape::new(rows, cols)) };
        let kernel = self.gpu.library.sample(&spec)?;
        self.variant = kernel.variant().to_string();
        let (scratch, words) = self.scratch(kernel.scratch_bytes(rows, cols))?;
        let value: f32 = if work.kind == Kind::Sample { TEMPERATURE } else { 0.0 };
        let temperature = self.gpu.upload(&value.to_ne_bytes())?;
        let seeds = self.gpu.allocate(u64::from(rows) * 16)?;
        for (src, dst) in sources.iter().zip(self.outputs(sources.len(), u64::from(rows) * 4)?) {
            let step = kernel.bind(&sample::Operands {
                temperature: Some(PerRow::one(Matrix::new(&temperature, 1, 1))),
                scratch: Some(Matrix::new(&scratch, 1, words)),
                ..sample::Operands::new(
                    Matrix::new(src, rows, cols),
                    Matrix::new(&dst, rows, 1),
                    PerRow::each(Matrix::new(&seeds, rows, 4)),
                )
            })?;
            self.sets.push(Set { step, dst, weights: None });
        }
        self.seeds = Some(seeds);
        Ok(())
    }

    fn route(&mut self, work: &Work, sources: &[wgpu::Buffer]) -> Result<()> {
        let (tokens, experts, choices) = (work.rows, work.cols, work.choices);
        let kernel = self.gpu.library.router(&router::Spec::new(Shape::new(tokens, experts), choices))?;
        self.variant = kernel.variant().to_string();
        let bytes = u64::from(tokens) * u64::from(choices) * 4;
        let (dst, weights) = (self.outputs(sources.len(), bytes)?, self.outputs(sources.len(), bytes)?);
        for ((src, dst), weights) in sources.iter().zip(dst).zip(weights) {
            let step = kernel.bind(&router::Operands::new(
                Matrix::new(src, tokens, experts),
                Matrix::new(&dst, tokens, choices),
                Matrix::new(&weights, tokens, choices),
            ))?;
            self.sets.push(Set { step, dst, weights: Some(weights) });
        }
        Ok(())
    }

    fn words(&self, buffer: &wgpu::Buffer) -> Result<Vec<u32>> {
        let bytes = self.gpu.download(buffer, buffer.size())?;
        Ok(bytes.as_chunks().0.iter().map(|&b| u32::from_ne_bytes(b)).collect())
    }

    fn floats(&self, buffer: &wgpu::Buffer) -> Result<Vec<f32>> {
        Ok(self.words(buffer)?.into_iter().map(f32::from_bits).collect())
    }
}

impl Peer for Onesum {
    fn name(&self) -> &'static str {
        "onesum"
    }

    fn version(&self) -> &'static str {
        crate::peer::locked("onesum")
    }

    fn note(&self) -> Option<String> {
        Some(self.variant.clone())
    }

    fn prepare(&mut self, problem: &Problem) -> Result<()> {
        let bytes: Vec<u8> = problem.logits.iter().flat_map(|x| x.to_ne_bytes()).collect();
        let sources: Vec<_> = (0..problem.sets).map(|_| self.gpu.upload(&bytes)).collect::<Result<_, _>>()?;
        self.work = Some(problem.work);
        match problem.work.kind {
            Kind::Softmax => self.softmax(&problem.work, &sources),
            Kind::ArgMax | Kind::Sample => self.sample(&problem.work, &sources),
            Kind::Route => self.route(&problem.work, &sources),
        }
    }

    fn results(&mut self) -> Result<Results> {
        let work = self.work.context("nothing prepared")?;
        self.reseed(work.rows);
        let set = self.sets.first().context("nothing prepared")?;
        self.gpu.run(&[&set.step])?;
        Ok(match work.kind {
            Kind::Softmax => Results { values: self.floats(&set.dst)?, ..Results::default() },
            Kind::ArgMax | Kind::Sample => {
                let column = |word| match Status::of(word) {
                    Status::Column(column) => column,
                    _ => u32::MAX,
                };
                Results { columns: self.words(&set.dst)?.into_iter().map(column).collect(), ..Results::default() }
            }
            Kind::Route => {
                let weights = set.weights.as_ref().context("no weights")?;
                Results { columns: self.words(&set.dst)?, values: self.floats(weights)? }
            }
        })
    }

    fn time(&mut self, calls: u32) -> Result<Elapsed> {
        let steps: Vec<&Bound> = self.sets.iter().map(|set| &set.step).cycle().take(calls as usize).collect();
        Elapsed::of(|| Ok(self.gpu.run(&steps)?))
    }

    fn clear(&mut self) {
        self.sets.clear();
        self.seeds = None;
        self.work = None;
    }
}
