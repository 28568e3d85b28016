//! Sampling against what must be read, an arg max, and softmax followed by the inverse of its distribution function.

use onesum::host::{Gpu, HostError};
use onesum::reference::{Problem, Shared, block_choice, choices};
use onesum::sample::{Operands, Options, Schedule, Spec, Status, Variant};
use onesum::softmax::{self, Dtype, PerRow, RowMap, Shape, Tier};
use onesum::{Bound, Library, Matrix};

use super::contest::{random_logits, stored, stream};
use super::definitions::{Case, SampleOptions};
use super::raw::{Raw, fastest_read, pipeline, raw};
use super::rounds::{Entrant, Label, Outcome, Plan, Runner, Standing, Timing, Yardstick, take_turns};
use super::variants::{Field, RIVALS};
use crate::check;
use crate::device::Turn;
use crate::elements::encode;
use crate::failure::Failure;

fn spec(shape: Shape, input: Dtype, draws: u32) -> Spec {
    let options = Options { temperature: true, ..Options::default() };
    Spec { input, draws, options, ..Spec::new(shape) }
}

/// Who competes.
fn variants(library: &Library, spec: &Spec, words: &[String]) -> Vec<Variant> {
    let (caps, shape, dtype, k) = (library.caps(), &spec.shape, spec.input, spec.draws);
    let runnable = Variant::all()
        .filter(|v| v.input == dtype && (shape.quads || !v.quads) && v.supported(caps).is_ok())
        // Several choices are the work of one schedule.
        .filter(|v| v.max_columns() >= shape.cols && (k == 1 || v.schedule == Schedule::Split));
    let chosen = library.choose(spec);
    let field = Field { chosen, runnable: runnable.collect(), quads: shape.quads };
    let rank = |v: &Variant| {
        let liked =
            v.quads == shape.quads && (v.width <= 8) == caps.cpu && v.tier == Tier::select(caps, v.width, v.lanes);
        (!liked, (v.quads != shape.quads, v.native_f16 != chosen.native_f16, u32::MAX - v.lanes, u32::MAX - v.width))
    };
    field.pick(words, rank, |_| false)
}

/// Softmax, then what draws from it.
struct Both(Bound, Raw);

impl Turn for Both {
    fn record(&self, pass: &mut wgpu::ComputePass<'_>) {
        self.0.record(pass);
        self.1.record(pass);
    }
}

fn uniform_of(gpu: &Gpu, words: [u32; 4]) -> wgpu::Buffer {
    let buffer = gpu.device.create_buffer(&wgpu::BufferDescriptor {
        label: None,
        size: 16,
        usage: wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST,
        mapped_at_creation: false,
    });
    gpu.queue.write_buffer(&buffer, 0, &words.map(u32::to_ne_bytes).concat());
    buffer
}

/// One shape's contest: set up, checked, run.
pub struct Contest<'a> {
    gpu: &'a Gpu,
    plan: &'a Plan,
    shape: Shape,
    dtype: Dtype,
    options: SampleOptions,
    /// As they are stored.
    logits: Vec<f32>,
    src: Vec<wgpu::Buffer>,
    seeds: wgpu::Buffer,
    /// The temperature of draws, and 0.
    temperature: [wgpu::Buffer; 2],
    dst: wgpu::Buffer,
    /// Rows that are checked.
    checked: Vec<usize>,
    entrants: Vec<(String, &'static str, Result<Runner, Standing>)>,
}

impl<'a> Contest<'a> {
    /// Uploads the logits.
    pub fn new(
        gpu: &'a Gpu,
        plan: &'a Plan,
        shape: Shape,
        dtype: Dtype,
        options: SampleOptions,
    ) -> Result<Self, Failure> {
        let logits = random_logits(shape.rows as usize * shape.cols as usize);
        let encoded = encode(&logits, dtype);
        let sets = plan.rotate.div_ceil(encoded.len().max(1) as u64).clamp(1, 64);
        let seeds: Vec<u32> = (0..shape.rows as usize).flat_map(|row| stream(row).words_of_seed()).collect();
        let words = |words: &[u32]| gpu.upload(&words.iter().flat_map(|w| w.to_ne_bytes()).collect::<Vec<_>>());
        Ok(Self {
            gpu,
            plan,
            shape,
            dtype,
            options,
            logits: stored(&logits, dtype),
            src: (0..sets).map(|_| gpu.upload(&encoded)).collect::<Result<_, _>>()?,
            seeds: words(&seeds)?,
            temperature: [words(&[options.temperature.to_bits()])?, words(&[0])?],
            dst: gpu.allocate(u64::from(shape.rows) * u64::from(options.k) * 4)?,
            checked: check::sample(shape.rows as usize, (plan.checked / shape.cols as usize).max(2)),
            entrants: Vec::new(),
        })
    }

    fn row(&self, row: usize) -> &[f32] {
        &self.logits[row * self.shape.cols as usize..][..self.shape.cols as usize]
    }

    /// Builds, binds and checks draws by this variant.
    pub fn enter(&mut self, variant: Variant) -> Result<(), Failure> {
        let SampleOptions { temperature, k } = self.options;
        let chosen = variant == self.chosen();
        let role = if chosen { "chosen" } else { "other" };
        let parts = variant.parts(self.shape.rows, self.shape.cols, k).1;
        let right = move |x: &[f32], row: usize, got: &[Status]| {
            if !variant.schedule.by_blocks() {
                return same(got, choices(x, temperature, stream(row), k as usize));
            }
            let (want, lead) = block_choice(x, temperature, stream(row), parts, variant.lanes);
            // Rounding decides between two that are as close as this.
            if lead < 1e-3 && matches!(got[0], Status::Column(_)) { Ok(()) } else { same(got, vec![want]) }
        };
        self.enter_draw(variant.to_string(), role, variant, 0, right)
    }

    fn chosen(&self) -> Variant {
        self.gpu.library.choose(&spec(self.shape, self.dtype, self.options.k))
    }

    /// The floor: the same variant at temperature 0, where there is no noise to make.
    fn enter_arg_max(&mut self) -> Result<(), Failure> {
        let (variant, k) = (self.chosen(), self.options.k as usize);
        let what = if k == 1 { "arg max" } else { "top k" };
        self.enter_draw(format!("{what}: {variant}"), "rival", variant, 1, |x, row, got| {
            same(got, choices(x, 0.0, stream(row), k))
        })
    }

    fn enter_draw(
        &mut self,
        name: String,
        role: &'static str,
        variant: Variant,
        temperature: usize,
        right: impl Fn(&[f32], usize, &[Status]) -> Result<(), Vec<Status>>,
    ) -> Result<(), Failure> {
        let candidate = self.candidate(|gpu| self.bind(gpu, variant, temperature), right)?;
        self.entrants.push((name, role, candidate));
        Ok(())
    }

    /// What runs for the first time, and whether it chooses right.
    fn candidate<T: Turn + 'static>(
        &self,
        bind: impl FnOnce(&Gpu) -> Result<Vec<T>, HostError>,
        right: impl Fn(&[f32], usize, &[Status]) -> Result<(), Vec<Status>>,
    ) -> Result<Result<Runner, Standing>, Failure> {
        self.gpu.queue.write_buffer(&self.dst, 0, &vec![0xf0; self.dst.size() as usize]);
        Ok(match self.plan.first_use(self.gpu, bind)? {
            Err(e) => Err(Standing::Refused(e.to_string())),
            Ok(first) => match self.wrong(right)? {
                Some(wrong) => Err(Standing::Wrong(wrong)),
                None => Ok(Runner::first(first, self.bytes())),
            },
        })
    }

    fn bytes(&self) -> u64 {
        self.logits.len() as u64 * self.dtype.bytes()
    }

    fn bind(&self, gpu: &Gpu, variant: Variant, temperature: usize) -> Result<Vec<Bound>, HostError> {
        let (rows, cols, draws) = (self.shape.rows, self.shape.cols, self.options.k);
        let spec = Spec { variant: Some(variant), ..spec(self.shape, self.dtype, draws) };
        let kernel = gpu.library.sample(&spec)?;
        let scratch = gpu.allocate(kernel.scratch_bytes(rows, cols))?;
        let words = u32::try_from(scratch.size() / 4).unwrap_or(u32::MAX);
        let bind = |src| {
            let operands = Operands {
                temperature: Some(PerRow::one(Matrix::new(&self.temperature[temperature], 1, 1))),
                scratch: Some(Matrix::new(&scratch, 1, words)),
                ..Operands::new(
                    Matrix::new(src, rows, cols),
                    Matrix::new(&self.dst, rows, draws),
                    PerRow::each(Matrix::new(&self.seeds, rows, 4)),
                )
            };
            Ok(kernel.bind(&operands)?)
        };
        self.src.iter().map(bind).collect()
    }

    /// What is wrong with the choices that were written, if anything is.
    fn wrong(
        &self,
        right: impl Fn(&[f32], usize, &[Status]) -> Result<(), Vec<Status>>,
    ) -> Result<Option<String>, HostError> {
        let words = self.gpu.download(&self.dst, self.dst.size())?;
        let drawn: Vec<_> = words.as_chunks().0.iter().map(|&b| Status::of(u32::from_ne_bytes(b))).collect();
        let k = self.options.k as usize;
        for &row in &self.checked {
            let got = &drawn[row * k..][..k];
            if let Err(want) = right(self.row(row), row, got) {
                return Ok(Some(format!("row {row}: drew {got:?}, should have drawn {want:?}")));
            }
        }
        Ok(None)
    }

    /// The rival: probabilities by the library's softmax, then one more kernel that looks for the column.
    fn enter_inverse_cdf(&mut self) -> Result<(), Failure> {
        if !self.shape.quads || self.shape.rows > 65_535 || self.options.k > 1 {
            return Ok(());
        }
        // The same words that make the noise of column 0.
        let words = |row: usize| stream(row).words(onesum::noise::Domain::Column, 0)[0];
        let rows = self.shape.rows as usize;
        let uniforms: Vec<f32> = (0..rows).map(|row| (words(row) >> 8) as f32 / 16_777_216.0).collect();
        let uniform = self.gpu.upload(&encode(&uniforms, Dtype::F32))?;
        let probabilities = self.gpu.allocate(self.logits.len() as u64 * 4)?;
        let temperature = [self.options.temperature];
        let right = |x: &[f32], row: usize, got: &[Status]| {
            let shared = Shared { values: &temperature[..], map: RowMap::one() };
            let p = Problem { temperature: Some(shared), ..Problem::new(x, x.len()) }.row(0).probabilities;
            let u = f64::from(uniforms[row]);
            let Status::Column(column) = got[0] else { return Err(vec![Status::Column(0)]) };
            let before: f64 = p.iter().take(column as usize).sum();
            // Sums of f32 in another order: 2^-24 a term at worst, far less in fact.
            let inside = before - 1e-4 <= u && p.get(column as usize).is_some_and(|p| u <= before + p + 1e-4);
            if inside { Ok(()) } else { Err(got.to_vec()) }
        };
        let candidate = self.candidate(|gpu| self.bind_inverse_cdf(gpu, &probabilities, &uniform), right)?;
        self.entrants.push(("softmax, then inverse cdf".into(), "rival", candidate));
        Ok(())
    }

    fn bind_inverse_cdf(
        &self,
        gpu: &Gpu,
        probabilities: &wgpu::Buffer,
        uniform: &wgpu::Buffer,
    ) -> Result<Vec<Both>, HostError> {
        let (rows, cols) = (self.shape.rows, self.shape.cols);
        let options = softmax::Options { temperature: true, ..softmax::Options::default() };
        let spec = softmax::Spec { input: self.dtype, options, ..softmax::Spec::new(self.shape) };
        let kernel = gpu.library.softmax(&spec)?;
        let scratch = gpu.allocate(kernel.scratch_bytes(rows, cols))?;
        let scratch = Matrix::new(&scratch, 1, u32::try_from(scratch.size() / 4).unwrap_or(u32::MAX));
        let width = if self.plan.cpu { 8 } else { 256 };
        let quads = cols / 4;
        let params = uniform_of(gpu, [quads, quads.div_ceil(width), 0, 0]);
        let text = include_str!("inverse_cdf.wgsl");
        let pipeline = pipeline(gpu, "inverse cdf", text, &[("WIDTH", f64::from(width))]);
        let bind = |src| {
            let operands = softmax::Operands {
                temperature: Some(PerRow::one(Matrix::new(&self.temperature[0], 1, 1))),
                scratch: Some(scratch),
                ..softmax::Operands::new(Matrix::new(src, rows, cols), Matrix::new(probabilities, rows, cols))
            };
            let buffers = [&params, probabilities, uniform, &self.dst];
            Ok(Both(kernel.bind_with(&operands)?, raw(gpu, &pipeline, &buffers, [rows, 1])))
        };
        self.src.iter().map(bind).collect()
    }

    /// Those that entered, in order: what runs, or why it does not.
    pub fn into_runners(self) -> Vec<Result<Runner, Standing>> {
        self.entrants.into_iter().map(|(.., candidate)| candidate).collect()
    }

    /// Lets all take turns; tells after each round.
    pub fn run(mut self, tell: impl FnMut()) -> Result<Outcome, Failure> {
        let (name, mut read) = fastest_read(self.gpu, self.plan, &self.src, self.bytes())?;
        let timed = self.entrants.iter_mut().filter_map(|(.., candidate)| candidate.as_mut().ok());
        take_turns(self.gpu, self.plan, std::iter::once(&mut read).chain(timed), tell)?;
        let entrants = self.entrants.iter().map(|(name, role, candidate)| {
            let standing = match candidate {
                Ok(runner) => Standing::Timed(Box::new(Timing {
                    rows_checked: self.checked.len(),
                    ..runner.timing(&read, self.plan)
                })),
                Err(standing) => standing.clone(),
            };
            Entrant { name: name.clone(), role, over: Yardstick::Read, standing }
        });
        Ok(Outcome {
            label: Label::default(),
            shape: (self.shape.rows, self.shape.cols),
            choices: None,
            title: format!("{} x {}", self.shape.rows, self.shape.cols),
            yardstick: Yardstick::Read,
            entrants: entrants.collect(),
            unit: (name, read.timing(&read, self.plan)),
        })
    }
}

/// Whether these were drawn.
fn same(got: &[Status], want: Vec<Status>) -> Result<(), Vec<Status>> {
    if got == want { Ok(()) } else { Err(want) }
}

/// The contest of a case.
pub fn contest<'a>(
    gpu: &'a Gpu,
    plan: &'a Plan,
    case: &Case<'_>,
    options: SampleOptions,
) -> Result<Contest<'a>, Failure> {
    let (shape, dtype, words) = (case.size.shape(), case.types.input, &case.definition.words);
    let mut contest = Contest::new(gpu, plan, shape, dtype, options)?;
    for variant in variants(&gpu.library, &spec(shape, dtype, options.k), words) {
        contest.enter(variant)?;
    }
    if words.iter().any(|word| word == RIVALS) {
        contest.enter_arg_max()?;
        contest.enter_inverse_cdf()?;
    }
    Ok(contest)
}
