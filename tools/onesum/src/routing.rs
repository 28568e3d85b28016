//! A batch that is routed: on the GPU, and again on the CPU.

use onesum::conformance::stats::compare as compare_states;
use onesum::host::{Gpu, HostError};
use onesum::noise::Stream;
use onesum::reference::plan::{Plan, Problem as PlanProblem};
use onesum::reference::router::{Problem, Route};
use onesum::reference::stats::{Batch, state as counted};
use onesum::router::{NO_EXPERT, Operands, Router, Scoring, Spec, Variant};
use onesum::{BindError, Bound, Matrix, plan, stats};

use crate::check::{first_wrong, sample};
use crate::device::Clock;
use crate::elements::encode;
use crate::failure::Failure;

/// All that a routing depends on.
#[derive(Clone, Debug)]
pub struct Routing {
    /// How to route, and what shape.
    pub spec: Spec,
    /// Logits, token after token.
    pub logits: Vec<f32>,
    /// A bias per expert.
    pub bias: Option<Vec<f32>>,
    /// What the deviations of normal noise are made of, as many as logits.
    pub deviations: Option<Vec<f32>>,
    /// Where each token's noise comes from.
    pub seeds: Option<Vec<Stream>>,
    /// What experts are called on this shard.
    pub map: Option<Vec<u32>>,
    /// Tokens that are no padding.
    pub valid: Option<u32>,
    /// No binding of more bytes than this.
    pub batch_bytes: Option<u64>,
}

/// Logits that are looked at again on the CPU, at most: some seconds.
const COMPARED_LOGITS: usize = 1 << 25;

/// Where tokens go.
#[derive(Clone, Debug)]
pub struct Routed {
    /// Experts, token after token.
    pub experts: Vec<u32>,
    /// Their weights.
    pub weights: Vec<f32>,
    /// What ran.
    pub variant: Variant,
    /// Time of the kernel alone.
    pub seconds: f64,
}

/// A plan, as the GPU made it.
#[derive(Clone, Debug)]
pub struct Planned {
    /// Every output; `dropped` without what is behind its end.
    pub plan: Plan,
    /// What ran.
    pub variant: plan::Variant,
    /// Time of the kernel alone.
    pub seconds: f64,
}

/// The load, as the GPU counted it.
#[derive(Clone, Debug)]
pub struct Load {
    /// Counts and sums.
    pub state: stats::State,
    /// What ran.
    pub variant: stats::Variant,
    /// Time of the kernel alone.
    pub seconds: f64,
}

/// The operands in buffers of their own.
pub struct Buffers {
    /// Logits.
    pub src: wgpu::Buffer,
    /// Experts, written.
    pub experts: wgpu::Buffer,
    /// Weights, written.
    pub weights: wgpu::Buffer,
    bias: Option<wgpu::Buffer>,
    deviations: Option<wgpu::Buffer>,
    seeds: Option<wgpu::Buffer>,
    map: Option<wgpu::Buffer>,
    /// For each window of tokens, how many of its tokens and of those behind it.
    valid: Option<wgpu::Buffer>,
    /// Tokens that are bound at a time.
    window: u32,
}

/// The bytes of these words in a GPU buffer.
pub fn bytes(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|w| w.to_ne_bytes()).collect()
}

/// The words of a buffer.
pub fn words(gpu: &Gpu, buffer: &wgpu::Buffer, count: usize) -> Result<Vec<u32>, HostError> {
    let bytes = gpu.download(buffer, count as u64 * 4)?;
    Ok(bytes.as_chunks().0.iter().map(|&b| u32::from_ne_bytes(b)).collect())
}

/// How long work takes that has been compiled.
fn timed(gpu: &Gpu, bounds: &[Bound]) -> Result<f64, HostError> {
    let clock = Clock::new(gpu)?;
    // Drivers compile when a pipeline first runs, which is not the kernel's time.
    clock.time(gpu, bounds.iter())?;
    Ok(clock.time(gpu, bounds.iter())?.seconds)
}

/// Some rows of a buffer.
fn rows(buffer: &wgpu::Buffer, first: u32, count: u32, cols: u32) -> Matrix<'_> {
    Matrix::new(buffer, count, cols).at(u64::from(first) * u64::from(cols))
}

impl Buffers {
    /// Uploads everything.
    pub fn new(gpu: &Gpu, job: &Routing) -> Result<Self, HostError> {
        let floats = |values: &Option<Vec<f32>>| {
            values.as_ref().map(|v| gpu.upload(&encode(v, onesum::softmax::Dtype::F32))).transpose()
        };
        let upload = |words: Option<Vec<u32>>| words.map(|w| gpu.upload(&bytes(&w))).transpose();
        let outputs = u64::from(job.spec.shape.rows) * u64::from(job.spec.width()) * 4;
        let window = job.window(gpu);
        let valid = |valid: u32| job.windows(window).map(|(first, _)| valid.saturating_sub(first)).collect();
        Ok(Self {
            src: gpu.upload(&encode(&job.logits, job.spec.input))?,
            experts: gpu.allocate(outputs)?,
            weights: gpu.allocate(outputs)?,
            bias: floats(&job.bias)?,
            deviations: floats(&job.deviations)?,
            seeds: upload(job.seeds.as_ref().map(|s| s.iter().flat_map(Stream::words_of_seed).collect()))?,
            map: upload(job.map.clone())?,
            valid: upload(job.valid.map(valid))?,
            window,
        })
    }

    /// Binds these operands, but for the logits, which are in `src`: as many tokens at a time as fit.
    pub fn bind(&self, kernel: &Router, job: &Routing, src: &wgpu::Buffer) -> Result<Vec<Bound>, BindError> {
        let (width, cols) = (job.spec.width(), job.spec.shape.cols);
        let shared = job.spec.options.shared.map_or(0, |s| s.count);
        let bind = |(n, (first, count)): (u64, (u32, u32))| {
            kernel.bind(&Operands {
                bias: self.bias.as_ref().map(|b| Matrix::new(b, 1, cols)),
                deviations: self.deviations.as_ref().map(|b| rows(b, first, count, cols)),
                seeds: self.seeds.as_ref().map(|b| rows(b, first, count, 4)),
                map: self.map.as_ref().map(|b| Matrix::new(b, 1, cols + shared)),
                valid: self.valid.as_ref().map(|b| Matrix::new(b, 1, 1).at(n)),
                ..Operands::new(
                    rows(src, first, count, cols),
                    rows(&self.experts, first, count, width),
                    rows(&self.weights, first, count, width),
                )
            })
        };
        (0..).zip(job.windows(self.window)).map(bind).collect()
    }

    /// The load of what has been routed: of the chosen experts, which are the first of each row.
    pub fn bind_load(
        &self,
        gpu: &Gpu,
        job: &Routing,
        src: &wgpu::Buffer,
        spec: &stats::Spec,
        state: &wgpu::Buffer,
    ) -> Result<(stats::Variant, Vec<Bound>), HostError> {
        let (choices, width, cols) = (job.spec.choices, job.spec.width(), job.spec.shape.cols);
        let kernels = [false, true].map(|accumulate| gpu.library.stats(&stats::Spec { accumulate, ..spec.clone() }));
        let [begin, go_on] = kernels;
        let (begin, go_on) = (begin?, go_on?);
        let bind = |(first, count)| {
            let kernel = if first == 0 { &begin } else { &go_on };
            let chosen = |buffer| Matrix { cols: choices, ..rows(buffer, first, count, width) };
            kernel.bind(&stats::Operands {
                src: rows(src, first, count, cols),
                experts: chosen(&self.experts),
                weights: chosen(&self.weights),
                state: Matrix::new(state, 1, stats::words(cols)),
            })
        };
        let bounds = job.windows(self.window.min(stats::MAX_TOKENS)).map(bind).collect::<Result<_, _>>()?;
        Ok((begin.variant(), bounds))
    }
}

/// The outputs of a plan, in buffers of their own.
pub struct PlanBuffers {
    counts: wgpu::Buffer,
    offsets: wgpu::Buffer,
    sorted: wgpu::Buffer,
    inverse: wgpu::Buffer,
    blocks: wgpu::Buffer,
    dropped: wgpu::Buffer,
    dropped_count: wgpu::Buffer,
    scratch: wgpu::Buffer,
}

/// The plan of what has been routed.
pub fn planned(gpu: &Gpu, routed: &Buffers, spec: &plan::Spec) -> Result<Planned, Failure> {
    let kernel = gpu.library.plan(spec)?;
    let buffers = PlanBuffers::new(gpu, &kernel)?;
    let seconds = timed(gpu, &[buffers.bind(&kernel, routed)?])?;
    Ok(Planned { plan: buffers.read(gpu, spec)?, variant: kernel.variant(), seconds })
}

impl PlanBuffers {
    /// For the tokens of the specification.
    pub fn new(gpu: &Gpu, kernel: &plan::Plan) -> Result<Self, HostError> {
        let spec = kernel.spec();
        let (pairs, slots) = (u64::from(spec.tokens) * u64::from(spec.k), kernel.slots(spec.tokens));
        let experts = u64::from(spec.experts);
        let blocks = slots / u64::from(spec.block.unwrap_or(1));
        Ok(Self {
            counts: gpu.allocate(experts * 4)?,
            offsets: gpu.allocate((experts + 1) * 4)?,
            sorted: gpu.allocate(slots * 4)?,
            inverse: gpu.allocate(pairs * 4)?,
            blocks: gpu.allocate(blocks * 4)?,
            dropped: gpu.allocate(pairs * 4)?,
            dropped_count: gpu.allocate(4)?,
            scratch: gpu.allocate(kernel.scratch_bytes(spec.tokens))?,
        })
    }

    /// Binds them to experts and weights.
    pub fn bind(&self, kernel: &plan::Plan, routed: &Buffers) -> Result<Bound, HostError> {
        let plan::Spec { tokens, k, experts, block, capacity, outputs, .. } = *kernel.spec();
        let (pairs, slots) = (tokens.saturating_mul(k), u32::try_from(kernel.slots(tokens)).unwrap_or(u32::MAX));
        let by_weight = capacity.is_some_and(|c| c.priority == plan::Priority::BatchPrioritised);
        let scratch = u32::try_from(self.scratch.size() / 4).unwrap_or(u32::MAX);
        Ok(kernel.bind(&plan::Operands {
            weights: by_weight.then(|| Matrix::new(&routed.weights, tokens, k)),
            blocks: outputs.blocks.then(|| Matrix::new(&self.blocks, 1, slots / block.unwrap_or(1))),
            dropped: outputs.dropped.then(|| Matrix::new(&self.dropped, 1, pairs)),
            dropped_count: outputs.dropped_count.then(|| Matrix::new(&self.dropped_count, 1, 1)),
            scratch: (kernel.scratch_bytes(tokens) > 0).then(|| Matrix::new(&self.scratch, 1, scratch)),
            ..plan::Operands::new(
                Matrix::new(&routed.experts, tokens, k),
                Matrix::new(&self.counts, 1, experts),
                Matrix::new(&self.offsets, 1, experts + 1),
                Matrix::new(&self.sorted, 1, slots),
                Matrix::new(&self.inverse, tokens, k),
            )
        })?)
    }

    /// What has been written.
    pub fn read(&self, gpu: &Gpu, spec: &plan::Spec) -> Result<Plan, Failure> {
        let read = |buffer: &wgpu::Buffer, count: usize| words(gpu, buffer, count);
        let (pairs, slots) = (spec.tokens as usize * spec.k as usize, usize::try_from(spec.slots(spec.tokens))?);
        let blocks = if spec.outputs.blocks { slots / spec.block.unwrap_or(1) as usize } else { 0 };
        let dropped = if spec.outputs.dropped { read(&self.dropped, pairs)? } else { Vec::new() };
        let count = if spec.outputs.dropped_count { read(&self.dropped_count, 1)?[0] as usize } else { 0 };
        let (dropped, rest) = dropped.split_at(count.min(dropped.len()));
        if rest.iter().any(|&pair| pair != plan::NONE) {
            return Err(Failure::OutsideBudget(format!("the plan counts {count} dropped pairs, but lists more")));
        }
        Ok(Plan {
            counts: read(&self.counts, spec.experts as usize)?,
            offsets: read(&self.offsets, spec.experts as usize + 1)?,
            sorted: read(&self.sorted, slots)?,
            inverse: read(&self.inverse, pairs)?,
            blocks: read(&self.blocks, blocks)?,
            dropped: dropped.to_vec(),
        })
    }
}

impl Routing {
    /// Logits and nothing else.
    pub fn new(spec: Spec, logits: Vec<f32>) -> Self {
        Self { spec, logits, bias: None, deviations: None, seeds: None, map: None, valid: None, batch_bytes: None }
    }

    /// Tokens.
    pub fn tokens(&self) -> usize {
        self.spec.shape.rows as usize
    }

    /// Experts that are chosen from.
    pub fn experts(&self) -> usize {
        self.spec.shape.cols as usize
    }

    /// As many tokens as may be bound at a time, at least one.
    fn window(&self, gpu: &Gpu) -> u32 {
        // A binding begins up to 256 bytes before what it is for, and ends in whole words.
        let limit = gpu.library.caps().max_binding_bytes.min(self.batch_bytes.unwrap_or(u64::MAX)).saturating_sub(512);
        let cols = u64::from(self.spec.shape.cols);
        let logits = cols * if self.deviations.is_some() { 4 } else { self.spec.input.bytes() };
        let widest = logits.max(4 * u64::from(self.spec.width().max(4)));
        u32::try_from(limit / widest).unwrap_or(u32::MAX).max(1)
    }

    /// The first token of each window, and how many it has; one, of none, where there are no tokens.
    fn windows(&self, window: u32) -> impl Iterator<Item = (u32, u32)> + use<> {
        let tokens = self.spec.shape.rows;
        (0..tokens.max(1)).step_by(window as usize).map(move |first| (first, window.min(tokens - first)))
    }

    /// Routes the batch.
    pub fn route(&self, gpu: &Gpu, buffers: &Buffers) -> Result<Routed, Failure> {
        let kernel = gpu.library.router(&self.spec)?;
        let seconds = timed(gpu, &buffers.bind(&kernel, self, &buffers.src)?)?;
        let count = self.tokens() * self.spec.width() as usize;
        let weights = words(gpu, &buffers.weights, count)?;
        Ok(Routed {
            experts: words(gpu, &buffers.experts, count)?,
            weights: weights.into_iter().map(f32::from_bits).collect(),
            variant: kernel.variant(),
            seconds,
        })
    }

    /// What its load is counted by.
    pub fn load_spec(&self) -> stats::Spec {
        let scoring = match self.spec.scoring {
            Scoring::Sigmoid => stats::Scoring::Sigmoid,
            Scoring::Softmax | Scoring::SqrtSoftplus | Scoring::Identity => stats::Scoring::Softmax,
        };
        stats::Spec { input: self.spec.input, scoring, ..stats::Spec::new(self.spec.shape) }
    }

    /// The load of what has been routed, which no map must have renamed.
    pub fn load(&self, gpu: &Gpu, routed: &Buffers, spec: &stats::Spec) -> Result<Load, Failure> {
        let count = stats::words(self.spec.shape.cols) as usize;
        let state = gpu.allocate(count as u64 * 4)?;
        let (variant, bounds) = routed.bind_load(gpu, self, &routed.src, spec, &state)?;
        let seconds = timed(gpu, &bounds)?;
        Ok(Load { state: stats::State::from_words(&words(gpu, &state, count)?)?, variant, seconds })
    }

    fn problem(&self) -> Problem<'_> {
        Problem {
            bias: self.bias.as_deref().unwrap_or_default(),
            deviations: self.deviations.as_deref().unwrap_or_default(),
            seeds: self.seeds.as_deref().unwrap_or_default(),
            map: self.map.as_deref(),
            valid: self.valid,
            ..Problem::new(&self.spec, &self.logits, self.experts())
        }
    }

    /// Where the CPU sends every token.
    pub fn on_cpu(&self) -> (Vec<u32>, Vec<f32>) {
        let problem = self.problem();
        let routes: Vec<_> = (0..self.tokens()).map(|token| problem.route(token)).collect();
        (
            routes.iter().flat_map(|r| &r.experts).copied().collect(),
            routes.iter().flat_map(|r| &r.weights).copied().collect(),
        )
    }

    /// Compares with where the CPU sends tokens, to the bit; how many tokens, at most as many as hold `most` logits.
    ///
    /// # Errors
    /// The first token that goes elsewhere.
    pub fn compare(&self, experts: &[u32], weights: &[f32], most: usize) -> Result<usize, String> {
        let tokens = sample(self.tokens(), (most / self.experts().max(1)).max(2));
        let (problem, width) = (self.problem(), self.spec.width() as usize);
        let wrong = |token: usize| {
            let (experts, weights) = (&experts[token * width..][..width], &weights[token * width..][..width]);
            difference(&problem.route(token), experts, weights).map(|what| format!("token {token} {what}"))
        };
        match first_wrong(&tokens, wrong) {
            Some(wrong) => Err(wrong),
            None => Ok(tokens.len()),
        }
    }

    /// The same, of as many tokens as some seconds allow.
    pub fn compare_most(&self, routed: &Routed) -> Result<usize, String> {
        self.compare(&routed.experts, &routed.weights, COMPARED_LOGITS)
    }

    /// Holds the load against the CPU's: counts exactly, sums within their error budgets.
    ///
    /// # Errors
    /// The first number that is wrong.
    pub fn compare_load(&self, load: &stats::State, experts: &[u32], weights: &[f32]) -> Result<(), String> {
        let (width, choices) = (self.spec.width() as usize, self.spec.choices as usize);
        let experts: Vec<_> = experts.chunks(width).flat_map(|row| &row[..choices]).copied().collect();
        let weights: Vec<_> = weights.chunks(width).flat_map(|row| &row[..choices]).copied().collect();
        let (want, errors) = counted(&Batch {
            logits: &self.logits,
            experts: &experts,
            weights: &weights,
            cols: self.experts(),
            choices,
            scoring: self.load_spec().scoring,
        });
        compare_states(load, &want, &errors).map(drop).map_err(|e| format!("the load is wrong: {e}"))
    }
}

/// Compares a plan with the CPU's, to the bit.
///
/// # Errors
/// The first output that differs.
pub fn compare_plan(got: &Plan, spec: &plan::Spec, experts: &[u32], weights: &[f32]) -> Result<(), String> {
    let problem = PlanProblem {
        experts,
        k: spec.k as usize,
        count: spec.experts,
        block: spec.block,
        capacity: spec.capacity,
        weights,
    };
    let want = problem.plan();
    let outputs = [
        ("counts", &got.counts, &want.counts),
        ("offsets", &got.offsets, &want.offsets),
        ("sorted", &got.sorted, &want.sorted),
        ("inverse", &got.inverse, &want.inverse),
        ("blocks", &got.blocks, &want.blocks),
        ("dropped", &got.dropped, &want.dropped),
    ];
    match outputs.iter().find(|(_, got, want)| got != want) {
        Some((what, ..)) => Err(format!("the plan's {what} are not the CPU's")),
        None => Ok(()),
    }
}

/// How even a load is, in one line.
pub fn balance(state: &stats::State) -> String {
    let unused = state.counts.iter().filter(|&&n| n == 0).count();
    format!(
        "balance  max / mean {:.3}, CV^2 {:.4}, entropy {:.4}, {unused} of {} experts unused",
        state.max_over_mean(),
        state.load_cv2(),
        state.entropy(),
        state.experts(),
    )
}

/// In words, if there is any.
fn difference(want: &Route, experts: &[u32], weights: &[f32]) -> Option<String> {
    if want.experts != experts {
        let named = |experts: &[u32]| experts.iter().map(|&e| name(e)).collect::<Vec<_>>().join(" ");
        return Some(format!("goes to {}, on the CPU to {}", named(experts), named(&want.experts)));
    }
    let same = |a: f32, b: f32| a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan());
    let at = (0..weights.len()).find(|&i| !same(weights[i], want.weights[i]))?;
    Some(format!("gives expert {} the weight {:e}, on the CPU {:e}", name(experts[at]), weights[at], want.weights[at]))
}

fn name(expert: u32) -> String {
    if expert == NO_EXPERT { "none".to_owned() } else { expert.to_string() }
}
