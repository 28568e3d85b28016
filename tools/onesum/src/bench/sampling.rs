//! Sampling against what must be read, an arg max, and softmax followed by the inverse of its distribution function.

use onesum::host::{Gpu, HostError};
use onesum::noise::Stream;
use onesum::reference::{Problem, Shared, block_choice, choice};
use onesum::sample::{Operands, Options, Schedule, Spec, Status, Variant};
use onesum::softmax::{self, Dtype, PerRow, RowMap, Shape, Tier};
use onesum::{Bound, Caps, Library, Matrix};

use super::raw::{Raw, fastest_read, pipeline, raw};
use super::rounds::{Entrant, Outcome, Plan, Runner, Standing, Yardstick, take_turns};
use crate::check;
use crate::device::Turn;
use crate::elements::encode;
use crate::failure::Failure;

/// Rows and columns that are measured unless `--shape` says otherwise: vocabularies of current language models.
pub const SHAPES: [(u32, u32); 9] = [
    (1, 128_256),
    (8, 128_256),
    (64, 128_256),
    (1, 151_936),
    (8, 151_936),
    (64, 151_936),
    (1, 262_144),
    (8, 262_144),
    (64, 262_144),
];

/// What `--quick` measures.
pub const QUICK_SHAPES: [(u32, u32); 2] = [(1, 128_256), (8, 128_256)];

/// That of every draw.
const TEMPERATURE: f32 = 0.7;

/// The columns that this adapter should draw with: the chosen variant, then the likeliest of each other schedule.
fn interesting(library: &Library, shape: Shape) -> Vec<Variant> {
    let (caps, chosen) = (library.caps(), library.choose(&Spec::new(shape)));
    let mut list = vec![chosen];
    for schedule in Schedule::ALL {
        let likeliest = runnable(caps, &shape)
            .filter(|v| v.schedule == schedule && v.input == Dtype::F32 && v.quads == shape.quads)
            .filter(|v| (v.width <= 8) == caps.cpu && v.tier == Tier::select(caps, v.width, v.lanes))
            .max_by_key(|v| (v.lanes, v.width));
        list.extend(likeliest.filter(|v| v.schedule != chosen.schedule));
    }
    list
}

fn matching(caps: &Caps, shape: &Shape, filter: &str) -> Vec<Variant> {
    let moves = filter.contains("x1") || filter.contains("x4");
    runnable(caps, shape)
        .filter(|v| v.to_string().contains(filter))
        .filter(|v| v.input == Dtype::F32)
        .filter(|v| if moves { !v.quads || shape.quads } else { v.quads == shape.quads })
        .collect()
}

fn runnable<'a>(caps: &'a Caps, shape: &'a Shape) -> impl Iterator<Item = Variant> + 'a {
    Variant::all().filter(|v| v.supported(caps).is_ok() && v.max_columns() >= shape.cols)
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
    logits: &'a [f32],
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
    pub fn new(gpu: &'a Gpu, plan: &'a Plan, shape: Shape, logits: &'a [f32]) -> Result<Self, Failure> {
        let encoded = encode(logits, Dtype::F32);
        let sets = plan.rotate.div_ceil(encoded.len().max(1) as u64).clamp(1, 64);
        let seeds: Vec<u32> = (0..shape.rows as usize).flat_map(|row| stream(row).words_of_seed()).collect();
        let words = |words: &[u32]| gpu.upload(&words.iter().flat_map(|w| w.to_ne_bytes()).collect::<Vec<_>>());
        Ok(Self {
            gpu,
            plan,
            shape,
            logits,
            src: (0..sets).map(|_| gpu.upload(&encoded)).collect::<Result<_, _>>()?,
            seeds: words(&seeds)?,
            temperature: [words(&[TEMPERATURE.to_bits()])?, words(&[0])?],
            dst: gpu.allocate(u64::from(shape.rows) * 4)?,
            checked: check::sample(shape.rows as usize, (plan.checked / shape.cols as usize).max(2)),
            entrants: Vec::new(),
        })
    }

    fn row(&self, row: usize) -> &[f32] {
        &self.logits[row * self.shape.cols as usize..][..self.shape.cols as usize]
    }

    /// Builds, binds and checks draws by this variant.
    pub fn enter(&mut self, variant: Variant) -> Result<(), Failure> {
        let chosen = variant == self.gpu.library.choose(&Spec::new(self.shape));
        let role = if chosen { "chosen" } else { "other" };
        let parts = variant.parts(self.shape.cols, 1).1;
        let right = move |x: &[f32], row: usize, got: Status| {
            if !variant.schedule.by_blocks() {
                let want = choice(x, TEMPERATURE, stream(row));
                return if got == want { Ok(()) } else { Err(want) };
            }
            let (want, lead) = block_choice(x, TEMPERATURE, stream(row), parts, variant.lanes);
            // Rounding decides between two that are as close as this.
            if got == want || (lead < 1e-3 && matches!(got, Status::Column(_))) { Ok(()) } else { Err(want) }
        };
        self.enter_draw(variant.to_string(), role, variant, 0, right)
    }

    /// The floor: the same variant at temperature 0, where there is no noise to make.
    pub fn enter_arg_max(&mut self, variant: Variant) -> Result<(), Failure> {
        self.enter_draw(format!("arg max: {variant}"), "rival", variant, 1, |x, row, got| {
            let want = choice(x, 0.0, stream(row));
            if got == want { Ok(()) } else { Err(want) }
        })
    }

    fn enter_draw(
        &mut self,
        name: String,
        role: &'static str,
        variant: Variant,
        temperature: usize,
        right: impl Fn(&[f32], usize, Status) -> Result<(), Status>,
    ) -> Result<(), Failure> {
        let candidate = match self.bind(variant, temperature) {
            Err(e) => Err(Standing::Refused(e.to_string())),
            Ok(bounds) => match self.check(&bounds[0], right)? {
                Some(wrong) => Err(Standing::Wrong(wrong)),
                None => Ok(Runner::of(bounds, self.bytes())),
            },
        };
        self.entrants.push((name, role, candidate));
        Ok(())
    }

    fn bytes(&self) -> u64 {
        self.logits.len() as u64 * 4
    }

    fn bind(&self, variant: Variant, temperature: usize) -> Result<Vec<Bound>, HostError> {
        let (rows, cols) = (self.shape.rows, self.shape.cols);
        let options = Options { temperature: true, ..Options::default() };
        let kernel = self.gpu.library.sample(&Spec { options, variant: Some(variant), ..Spec::new(self.shape) })?;
        let scratch = self.gpu.allocate(kernel.scratch_bytes(rows, cols))?;
        let words = u32::try_from(scratch.size() / 4).unwrap_or(u32::MAX);
        let bind = |src| {
            let operands = Operands {
                temperature: Some(PerRow::one(Matrix::new(&self.temperature[temperature], 1, 1))),
                scratch: Some(Matrix::new(&scratch, 1, words)),
                ..Operands::new(
                    Matrix::new(src, rows, cols),
                    Matrix::new(&self.dst, rows, 1),
                    PerRow::each(Matrix::new(&self.seeds, rows, 4)),
                )
            };
            Ok(kernel.bind(&operands)?)
        };
        self.src.iter().map(bind).collect()
    }

    /// What is wrong with the choices of one turn, if anything is.
    fn check<T: Turn>(
        &self,
        turn: &T,
        right: impl Fn(&[f32], usize, Status) -> Result<(), Status>,
    ) -> Result<Option<String>, Failure> {
        self.gpu.queue.write_buffer(&self.dst, 0, &vec![0xf0; self.dst.size() as usize]);
        self.plan.once(self.gpu, turn)?;
        let words = self.gpu.download(&self.dst, self.dst.size())?;
        let words: Vec<u32> = words.as_chunks().0.iter().map(|&b| u32::from_ne_bytes(b)).collect();
        for &row in &self.checked {
            let got = Status::of(words[row]);
            if let Err(want) = right(self.row(row), row, got) {
                return Ok(Some(format!("row {row}: drew {got:?}, should have drawn {want:?}")));
            }
        }
        Ok(None)
    }

    /// The rival: probabilities by the library's softmax, then one more kernel that looks for the column.
    pub fn enter_inverse_cdf(&mut self) -> Result<(), Failure> {
        let (gpu, rows, cols) = (self.gpu, self.shape.rows, self.shape.cols);
        if !self.shape.quads || rows > 65_535 {
            return Ok(());
        }
        let options = softmax::Options { temperature: true, ..softmax::Options::default() };
        let kernel = gpu.library.softmax(&softmax::Spec { options, ..softmax::Spec::new(self.shape) })?;
        let scratch = gpu.allocate(kernel.scratch_bytes(rows, cols))?;
        let scratch = Matrix::new(&scratch, 1, u32::try_from(scratch.size() / 4).unwrap_or(u32::MAX));
        let probabilities = gpu.allocate(self.bytes())?;
        // The same words that make the noise of column 0.
        let words = |row: usize| stream(row).words(onesum::noise::Domain::Column, 0)[0];
        let uniforms: Vec<f32> = (0..rows as usize).map(|row| (words(row) >> 8) as f32 / 16_777_216.0).collect();
        let uniform = gpu.upload(&encode(&uniforms, Dtype::F32))?;
        let width = if self.plan.cpu { 8 } else { 256 };
        let quads = cols / 4;
        let params = [quads, quads.div_ceil(width), 0, 0];
        let params = uniform_of(gpu, params);
        let text = include_str!("inverse_cdf.wgsl");
        let pipeline = pipeline(gpu, "inverse cdf", text, &[("WIDTH", f64::from(width))]);
        let mut turns = Vec::new();
        for src in &self.src {
            let operands = softmax::Operands {
                temperature: Some(PerRow::one(Matrix::new(&self.temperature[0], 1, 1))),
                scratch: Some(scratch),
                ..softmax::Operands::new(Matrix::new(src, rows, cols), Matrix::new(&probabilities, rows, cols))
            };
            let buffers = [&params, &probabilities, &uniform, &self.dst];
            turns.push(Both(kernel.bind_with(&operands)?, raw(gpu, &pipeline, &buffers, [rows, 1])));
        }
        let right = |x: &[f32], row: usize, got: Status| {
            let shared = Shared { values: &[TEMPERATURE][..], map: RowMap::one() };
            let p = Problem { temperature: Some(shared), ..Problem::new(x, x.len()) }.row(0).probabilities;
            let u = f64::from(uniforms[row]);
            let Status::Column(column) = got else { return Err(Status::Column(0)) };
            let before: f64 = p.iter().take(column as usize).sum();
            // Sums of f32 in another order: 2^-24 a term at worst, far less in fact.
            let inside = before - 1e-4 <= u && p.get(column as usize).is_some_and(|p| u <= before + p + 1e-4);
            if inside { Ok(()) } else { Err(got) }
        };
        let candidate = match self.check(&turns[0], right)? {
            Some(wrong) => Err(Standing::Wrong(wrong)),
            None => Ok(Runner::new(turns.into_iter().map(|t| Box::new(t) as Box<dyn Turn>).collect(), self.bytes())),
        };
        self.entrants.push(("softmax, then inverse cdf".into(), "rival", candidate));
        Ok(())
    }

    /// Those that entered, in order: what runs, or why it does not.
    pub fn into_runners(self) -> Vec<Result<Runner, Standing>> {
        self.entrants.into_iter().map(|(.., candidate)| candidate).collect()
    }

    /// Lets all take turns; tells after each round.
    pub fn run(mut self, tell: impl FnMut()) -> Result<Outcome, Failure> {
        let (name, mut read) = fastest_read(self.gpu, self.plan, &self.src, self.logits.len())?;
        let timed = self.entrants.iter_mut().filter_map(|(.., candidate)| candidate.as_mut().ok());
        take_turns(self.gpu, self.plan, std::iter::once(&mut read).chain(timed), tell)?;
        let entrants = self.entrants.iter().map(|(name, role, candidate)| {
            let standing = match candidate {
                Ok(runner) => Standing::Timed(runner.timing(&read, self.plan.cpu, None, self.checked.len())),
                Err(standing) => standing.clone(),
            };
            Entrant { name: name.clone(), role, over: Yardstick::Read, standing }
        });
        Ok(Outcome {
            shape: (self.shape.rows, self.shape.cols),
            choices: None,
            title: format!("{} x {}", self.shape.rows, self.shape.cols),
            yardstick: Yardstick::Read,
            entrants: entrants.collect(),
            unit: (name, read.timing(&read, self.plan.cpu, None, 0)),
        })
    }
}

fn stream(row: usize) -> Stream {
    Stream { seed: row as u64, position: 0 }
}

/// The contest of one shape: variants whose names contain the filter, or the interesting ones and the rivals.
pub fn contest<'a>(
    gpu: &'a Gpu,
    plan: &'a Plan,
    shape: Shape,
    logits: &'a [f32],
    filter: &str,
) -> Result<Contest<'a>, Failure> {
    let caps = gpu.library.caps();
    let mut contest = Contest::new(gpu, plan, shape, logits)?;
    if filter != "sample" {
        let variants = matching(caps, &shape, filter);
        if variants.is_empty() {
            return Err(Failure::error(format!("no f32 variant that runs here has {filter:?} in its name")));
        }
        for variant in variants {
            contest.enter(variant)?;
        }
        return Ok(contest);
    }
    for variant in interesting(&gpu.library, shape) {
        contest.enter(variant)?;
    }
    contest.enter_arg_max(gpu.library.choose(&Spec::new(shape)))?;
    contest.enter_inverse_cdf()?;
    Ok(contest)
}
