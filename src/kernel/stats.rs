//! Load statistics of a routed batch: how tokens, gates and probabilities are spread over the experts.
//!
//! From router logits `[tokens, experts]`, the experts chosen for each token `[tokens, K]` and their weights, a [`State`]: for
//! each expert e, over the tokens that have at least one expert (the others are padding and count nowhere),
//!
//! ```text
//! counts_e        = choices that are e                  first_e = first choices that are e
//! gates_e         = Σ weights given to e
//! probabilities_e = Σ_t p_te                            p_t = softmax of the token's logits, or its sigmoids over their sum
//! squares         = Σ_t LSE_t²                          LSE_t = ln Σ_e exp(logit_te)
//! ```
//!
//! A state is integers throughout, floats in units of 2⁻³². Sums do not depend on the order of anything: states of batches merge
//! into that of the whole batch to the bit, and two runs are bit-identical. The state is in the caller's buffer and may go
//! on to count ([`Spec::accumulate`]). The host reads it ([`State::from_words`]) and makes of it what training and monitoring
//! ask for: balance loss, z-loss, coefficients of variation, entropy. `docs/semantics.md` says what comes of NaN, infinities,
//! masked logits and empty batches.
//!
//! Two dispatches, one if it accumulates; no scratch memory. The logits are read twice, the second time from the cache; experts
//! are read once for 256 experts; a workgroup adds 6 words per expert, at most, to the state.
//!
//! ```
//! use onesum::softmax::Shape;
//! use onesum::stats::{self, Operands, Spec};
//! use onesum::{Library, Matrix};
//!
//! let (device, _) = wgpu::Device::noop(&wgpu::DeviceDescriptor::default());
//! # let buffer = || device.create_buffer(&wgpu::BufferDescriptor {
//! #     label: None, size: 4 * 512 * 64, usage: wgpu::BufferUsages::STORAGE, mapped_at_creation: false });
//! # let (logits, experts, weights, state) = (buffer(), buffer(), buffer(), buffer());
//! let library = Library::new(&device)?;
//! let stats = library.stats(&Spec::new(Shape::new(512, 64)))?;
//! let step = stats.bind(&Operands {
//!     src: Matrix::new(&logits, 512, 64),
//!     experts: Matrix::new(&experts, 512, 6),
//!     weights: Matrix::new(&weights, 512, 6),
//!     state: Matrix::new(&state, 1, stats::words(64)),
//! })?;
//! # let words = vec![0; stats::words(64) as usize];
//! // Record, submit, and download the words of the state; then:
//! let state = stats::State::from_words(&words)?;
//! assert_eq!(state.balance_loss(), 0.0); // no token yet
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::fmt;
use std::str::FromStr;

use bytemuck::{Pod, Zeroable};

use super::place::{Operand, grid, place, refuse_aliases};
use super::softmax::{Dtype, Shape, source_fragment, step};
use crate::bound::Step;
use crate::library::{Access, Built, Program};
use crate::shader::{Dialect, Fragment, Header, fragment};
use crate::tuning::{Entry, Sizes, Tunable, Variants};
use crate::{BindError, Bound, BuildError, Caps, Library, Matrix};

/// The most tokens of a batch. States of more batches can be merged.
pub const MAX_TOKENS: u32 = 1 << 20;

/// The most experts.
pub const MAX_EXPERTS: u32 = 4096;

/// The most choices of a token: what a router makes, shared experts counted.
pub const MAX_CHOICES: u32 = 128;

/// From this magnitude on, a weight is not added up but counted as bad, as one that is not finite.
pub const WEIGHT_LIMIT: f32 = 65_536.0;

/// From this magnitude on, the square of a log-sum-exp is left out of the sum.
pub const LSE_LIMIT: f32 = 65_536.0;

/// Words of a state before those of the experts.
const HEAD: usize = 12;

/// Words of each expert.
const FIELDS: usize = 6;

/// Words of a state of so many experts: 12 + 6 · experts.
///
/// | words | what |
/// |---|---|
/// | 0 | tokens: those with at least one expert |
/// | 1 | sentinels: choices of these tokens that are no expert |
/// | 2 | tokens with a NaN or +inf among their logits |
/// | 3 | tokens whose logits are all −inf |
/// | 4 | tokens in the sum of squares |
/// | 5, 6, 7 | sum of squares, 96 bits, units of 2⁻³² |
/// | 8 | bad weights: not finite, or of magnitude 65,536 and more |
/// | 9, 10, 11 | not in use, 0 |
/// | 12 + e | counts of expert e |
/// | 12 + E + e | first choices |
/// | 12 + 2E + e, 12 + 3E + e | gate sums, 64 bits in two's complement, units of 2⁻³² |
/// | 12 + 4E + e, 12 + 5E + e | probability sums, 64 bits, units of 2⁻³² |
///
/// Numbers of several words have the low word first. A state without tokens is zeros.
#[must_use]
pub fn words(experts: u32) -> u32 {
    experts.saturating_mul(FIELDS as u32).saturating_add(HEAD as u32)
}

/// What probabilities are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Scoring {
    /// softmax(logits).
    #[default]
    Softmax,
    /// sigmoid(logits) over the sum of a token's sigmoids, as in DeepSeek-V3's sequence loss (arXiv 2412.19437, equation 19).
    Sigmoid,
}

impl Scoring {
    /// All of them, with their names.
    pub const ALL: [(Self, &'static str); 2] = [(Self::Softmax, "softmax"), (Self::Sigmoid, "sigmoid")];
}

/// Everything that decides which machine code runs, options aside: `stats/f32/w256l16/x4` for f32 logits, workgroups of 256
/// invocations, 16 to a token, four logits per load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Variant {
    /// The element type of the logits.
    pub input: Dtype,
    /// f16 elements have the device's own type.
    pub native_f16: bool,
    /// Invocations of a workgroup.
    pub width: u32,
    /// Invocations that share a token.
    pub lanes: u32,
    /// Four elements per load.
    pub quads: bool,
}

/// (width, lanes, tokens of a workgroup at most). The first is for adapters that run on a CPU.
const GEOMETRIES: [(u32, u32, u32); 3] = [(8, 1, 96), (64, 16, 64), (256, 16, 64)];

/// Bytes of workgroup memory besides those of tokens and invocations: head and counters.
const COUNTER_BYTES: u32 = 4 * (12 + 256 * 6);

const CLEAR_WIDTH: u32 = 64;

impl Variant {
    /// Every variant, on every device.
    pub fn all() -> impl Iterator<Item = Self> {
        let types = [(Dtype::F32, false), (Dtype::F16, false), (Dtype::F16, true), (Dtype::Bf16, false)];
        GEOMETRIES.into_iter().flat_map(move |(width, lanes, _)| {
            types.into_iter().flat_map(move |(input, native_f16)| {
                [true, false].map(|quads| Self { input, native_f16, width, lanes, quads })
            })
        })
    }

    /// Whether a device with these capabilities can run it.
    ///
    /// # Errors
    /// What it lacks.
    pub fn supported(&self, caps: &Caps) -> Result<(), BuildError> {
        let variant = self.to_string();
        if !Self::all().any(|v| v == *self) {
            return Err(BuildError::Unsupported { variant, why: "Variant::all does not have it" });
        }
        if self.native_f16 && !caps.f16 {
            return Err(BuildError::MissingFeature { variant, feature: "SHADER_F16" });
        }
        for (limit, needed, available) in [
            ("max_compute_invocations_per_workgroup", self.width, caps.max_invocations),
            ("max_compute_workgroup_storage_size", self.workgroup_bytes(), caps.max_workgroup_bytes),
        ] {
            if needed > available {
                let (needed, available) = (u64::from(needed), u64::from(available));
                return Err(BuildError::LimitTooLow { variant, limit, needed, available });
            }
        }
        Ok(())
    }

    /// The variant that should be fastest on a device with these capabilities. Pure.
    #[must_use]
    pub fn select(caps: &Caps, shape: &Shape, input: Dtype) -> Self {
        let of = |(width, lanes, _)| Self {
            input,
            native_f16: caps.f16 && input == Dtype::F16,
            width,
            lanes,
            quads: shape.quads,
        };
        let [narrow, middle, wide] = GEOMETRIES.map(of);
        if caps.cpu {
            return narrow;
        }
        [wide, middle].into_iter().find(|v| v.supported(caps).is_ok()).unwrap_or(narrow)
    }

    /// Tokens of one workgroup. Results do not depend on it.
    #[must_use]
    pub fn tile(&self, tokens: u32) -> u32 {
        let at_once = (self.width / self.lanes.max(1)).max(1);
        // A CPU has few workgroups to fill, and long loops cost it nothing.
        let (groups, most) = (if self.width <= 8 { 32 } else { 512 }, self.most_tokens());
        tokens.div_ceil(groups).next_multiple_of(at_once).clamp(at_once, most)
    }

    fn most_tokens(&self) -> u32 {
        GEOMETRIES.iter().find(|g| g.0 == self.width).map_or(64, |g| g.2)
    }

    fn workgroup_bytes(&self) -> u32 {
        16 * self.width + 16 * self.most_tokens() + COUNTER_BYTES
    }
}

impl fmt::Display for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let input = if self.native_f16 { "f16n" } else { self.input.name() };
        write!(f, "stats/{input}/w{}l{}/x{}", self.width, self.lanes, if self.quads { 4 } else { 1 })
    }
}

impl FromStr for Variant {
    type Err = BuildError;

    fn from_str(name: &str) -> Result<Self, BuildError> {
        Self::all().find(|v| v.to_string() == name).ok_or_else(|| BuildError::UnknownVariant(name.into()))
    }
}

/// What to count, and for which shape.
#[derive(Clone, Debug, PartialEq)]
pub struct Spec {
    /// What is going to be bound: tokens are rows, experts columns. `quads` speaks of the logits.
    pub shape: Shape,
    /// Element type of the logits.
    pub input: Dtype,
    /// What probabilities are.
    pub scoring: Scoring,
    /// Adds to what the state holds, instead of beginning with nothing: a state of the same number of experts, or zeros.
    pub accumulate: bool,
    /// This variant and no other; `None` leaves the choice to [`Variant::select`].
    pub variant: Option<Variant>,
}

impl Spec {
    /// A state of its own, from f32 logits, by softmax.
    #[must_use]
    pub fn new(shape: Shape) -> Self {
        Self { shape, input: Dtype::F32, scoring: Scoring::Softmax, accumulate: false, variant: None }
    }
}

impl Tunable for Spec {
    type Variant = Variant;

    fn variants() -> impl Iterator<Item = Variant> {
        Variant::all()
    }

    fn sizes(&self) -> Sizes {
        Sizes { rows: self.shape.rows, cols: self.shape.cols, choices: None }
    }

    fn entries<'a>(&self, variants: &'a Variants) -> &'a [Entry<Variant>] {
        &variants.stats
    }

    fn named(&self) -> Option<Variant> {
        self.variant
    }

    fn select(&self, caps: &Caps) -> Variant {
        Variant::select(caps, &self.shape, self.input)
    }

    fn takes(&self, caps: &Caps, variant: &Variant) -> bool {
        (variant.input, variant.quads) == (self.input, self.shape.quads) && variant.supported(caps).is_ok()
    }
}

/// The operands of one batch.
#[derive(Clone, Copy, Debug)]
pub struct Operands<'a> {
    /// Router logits `[tokens, experts]`.
    pub src: Matrix<'a>,
    /// Chosen experts `[tokens, K]`, u32: one that is not below the number of experts is none. 1 ≤ K ≤ 64.
    pub experts: Matrix<'a>,
    /// Weights of the chosen experts `[tokens, K]`, f32. Those of no expert are not looked at.
    pub weights: Matrix<'a>,
    /// The state `[1, words(experts)]`, u32, written, or added to.
    pub state: Matrix<'a>,
}

/// Statistics of one specification, compiled.
#[derive(Clone, Debug)]
pub struct Stats {
    library: Library,
    spec: Spec,
    variant: Variant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Clear,
    Add,
}

#[derive(Clone, Copy, Debug, Default, Pod, Zeroable)]
#[repr(C)]
struct Params {
    rows: u32,
    cols: u32,
    quads: u32,
    grid_width: u32,
    choices: u32,
    tile: u32,
    words: u32,
    state_offset: u32,
    src_offset: u32,
    src_stride: u32,
    experts_offset: u32,
    experts_stride: u32,
    weights_offset: u32,
    weights_stride: u32,
    zero: u32,
    excluded: u32,
}

impl Stats {
    pub(crate) fn new(library: &Library, spec: &Spec) -> Result<Self, BuildError> {
        let caps = library.caps();
        let variant = library.choose(spec);
        variant.supported(caps)?;
        if variant.input != spec.input {
            let why = "its element type is not that of the specification";
            return Err(BuildError::Unsupported { variant: variant.to_string(), why });
        }
        caps.check_buffers(vec!["src", "experts", "weights", "state"])?;
        let stats = Self { library: library.clone(), spec: spec.clone(), variant };
        for &stage in stats.stages() {
            stats.built(stage, false)?;
        }
        Ok(stats)
    }

    /// The variant that runs.
    #[must_use]
    pub fn variant(&self) -> Variant {
        self.variant
    }

    /// The specification it was built from.
    #[must_use]
    pub fn spec(&self) -> &Spec {
        &self.spec
    }

    fn stages(&self) -> &'static [Stage] {
        if self.spec.accumulate { &[Stage::Add] } else { &[Stage::Clear, Stage::Add] }
    }

    /// Checks the operands and makes what recording needs. Without tokens, the state is zeros, or what it was.
    ///
    /// # Errors
    /// When operands do not fit each other, their buffers, the device or the variant. Nothing is bound then.
    pub fn bind(&self, operands: &Operands<'_>) -> Result<Bound, BindError> {
        self.check(operands)?;
        let mut bound = Bound::default();
        for &stage in self.stages() {
            if stage == Stage::Clear || operands.src.rows > 0 {
                bound.steps.push(self.step(stage, operands)?);
            }
        }
        Ok(bound)
    }

    fn check(&self, operands: &Operands<'_>) -> Result<(), BindError> {
        let Operands { src, experts, weights, state } = operands;
        for (what, number, from, to, expected) in [
            ("tokens", src.rows, 0, MAX_TOKENS, "at most 1048576"),
            ("experts", src.cols, 1, MAX_EXPERTS, "from 1 to 4096"),
            ("choices", experts.cols, 1, MAX_CHOICES, "from 1 to 128"),
        ] {
            if !(from..=to).contains(&number) {
                return Err(BindError::BadOption { what, expected, got: number.to_string() });
            }
        }
        for (what, matrix, rows, cols) in [
            ("experts", experts, src.rows, experts.cols),
            ("weights", weights, src.rows, experts.cols),
            ("state", state, 1, words(src.cols)),
        ] {
            if (matrix.rows, matrix.cols) != (rows, cols) {
                let (expected, got) = (format!("{rows} x {cols}"), format!("{} x {}", matrix.rows, matrix.cols));
                return Err(BindError::ShapeMismatch { what, expected, got });
            }
        }
        if self.variant.quads && !src.in_quads() {
            return Err(BindError::NotInQuads { what: "src", variant: self.variant.to_string() });
        }
        refuse_aliases(&self.list(Stage::Add, operands), &[])
    }

    fn step(&self, stage: Stage, operands: &Operands<'_>) -> Result<Step, BindError> {
        let caps = self.library.caps();
        let placement = place(caps, &self.list(stage, operands), None, false)?;
        let (rows, cols, choices) = (operands.src.rows, operands.src.cols, operands.experts.cols);
        let tile = self.variant.tile(rows);
        let groups = match stage {
            Stage::Clear => words(cols).div_ceil(CLEAR_WIDTH),
            Stage::Add => rows.div_ceil(tile),
        };
        let groups = grid(caps, rows, u64::from(groups))?;
        let unit = if self.variant.quads { 4 } else { 1 };
        let offset = |what| placement.placed.iter().find(|p| p.what == what).map_or(0, |p| p.offset);
        let params = Params {
            rows,
            cols,
            quads: cols.div_ceil(4),
            grid_width: groups[0],
            choices,
            tile,
            words: words(cols),
            state_offset: offset("state"),
            src_offset: offset("src") / unit,
            src_stride: operands.src.stride / unit,
            experts_offset: offset("experts"),
            experts_stride: operands.experts.stride,
            weights_offset: offset("weights"),
            weights_stride: operands.weights.stride,
            zero: 0,
            excluded: f32::NEG_INFINITY.to_bits(),
        };
        let built = self.built(stage, placement.write_all)?;
        step(self.library.device(), built, &placement, &params, groups)
    }

    fn list<'a>(&self, stage: Stage, operands: &Operands<'a>) -> Vec<Operand<'a>> {
        let operand = |binding, what, matrix, element, writes| Operand { binding, what, matrix, element, writes };
        let state = operand(4, "state", operands.state, 4, true);
        match stage {
            Stage::Clear => vec![state],
            Stage::Add => vec![
                operand(1, "src", operands.src, self.spec.input.bytes(), false),
                operand(2, "experts", operands.experts, 4, false),
                operand(3, "weights", operands.weights, 4, false),
                state,
            ],
        }
    }

    fn built(&self, stage: Stage, write_all: bool) -> Result<Built, BuildError> {
        self.library.built(&program(&self.variant, self.spec.scoring, stage, write_all))
    }

    /// The linked WGSL of its dispatches, in order, for operands in separate buffers.
    #[must_use]
    pub fn wgsl(&self, dialect: Dialect) -> Vec<String> {
        wgsl(&self.spec, &self.variant, dialect)
    }
}

/// The linked WGSL of a variant's dispatches, in order, for operands in separate buffers. Needs no device.
#[must_use]
pub fn wgsl(spec: &Spec, variant: &Variant, dialect: Dialect) -> Vec<String> {
    let stages = if spec.accumulate { &[Stage::Add][..] } else { &[Stage::Clear, Stage::Add] };
    stages.iter().map(|&stage| program(variant, spec.scoring, stage, false).text(dialect)).collect()
}

fn program(variant: &Variant, scoring: Scoring, stage: Stage, write_all: bool) -> Program {
    if stage == Stage::Clear {
        return Program {
            name: format!("stats/clear/w{CLEAR_WIDTH}"),
            header: Header::default(),
            fragments: vec![fragment!("lib/stats_params"), fragment!("lib/lane"), fragment!("stats_clear")],
            overrides: vec![("WIDTH", f64::from(CLEAR_WIDTH))],
            bindings: vec![(0, Access::Uniform), (4, Access::ReadWrite)],
        };
    }
    let mut name = variant.to_string();
    for (used, suffix) in [(scoring == Scoring::Sigmoid, "+sigmoid"), (write_all, "@pooled")] {
        if used {
            name.push_str(suffix);
        }
    }
    let access = if write_all { Access::ReadWrite } else { Access::Read };
    Program {
        name,
        header: Header { f16: variant.native_f16, ..Header::default() },
        fragments: fragments(variant, scoring, write_all),
        overrides: vec![
            ("WIDTH", f64::from(variant.width)),
            ("LANES", f64::from(variant.lanes)),
            ("TILE", f64::from(variant.most_tokens())),
        ],
        bindings: vec![(0, Access::Uniform), (1, access), (2, access), (3, access), (4, Access::ReadWrite)],
    }
}

fn fragments(variant: &Variant, scoring: Scoring, write_all: bool) -> Vec<Fragment> {
    let mut list = vec![
        fragment!("lib/stats_params"),
        fragment!("lib/lane"),
        fragment!("lib/exp"),
        fragment!("lib/ln"),
        fragment!("lib/partial"),
        fragment!("lib/sum_extended"),
        fragment!("lib/normal_extended"),
        fragment!("lib/reduce_workgroup"),
        fragment!("lib/stats_rows"),
        fragment!("lib/stats_state"),
        source_fragment(variant.input, variant.native_f16, variant.quads),
        match scoring {
            Scoring::Softmax => fragment!("lib/stats_softmax"),
            Scoring::Sigmoid => fragment!("lib/stats_sigmoid"),
        },
    ];
    list.extend(if write_all {
        [fragment!("lib/operand_src_read_write"), fragment!("lib/stats_choices_read_write")]
    } else {
        [fragment!("lib/operand_src_read"), fragment!("lib/stats_choices_read")]
    });
    match variant.input {
        Dtype::F32 => {}
        Dtype::F16 => list.push(fragment!("lib/half")),
        Dtype::Bf16 => list.push(fragment!("lib/brain")),
    }
    list.push(fragment!("stats"));
    list
}

/// What is known of one batch, or of several: plain numbers, and what is computed from them.
///
/// Sums are exact in f64 up to 2²¹; the budgets of what a device adds up are in [`crate::reference::stats`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct State {
    /// Tokens with at least one expert. Only these are counted anywhere.
    pub tokens: u64,
    /// Choices that are no expert.
    pub sentinels: u64,
    /// Tokens with a NaN or +inf among their logits: in the counts and gates, not in `probabilities` and `squares`.
    pub nan_tokens: u64,
    /// Tokens whose logits are all −inf: likewise.
    pub masked_tokens: u64,
    /// Tokens in `squares`: all but those above, and those with |LSE| ≥ 65,536.
    pub measured_tokens: u64,
    /// Weights of experts that are not finite, or of magnitude 65,536 and more: not in `gates`.
    pub bad_weights: u64,
    /// Σ LSE².
    pub squares: f64,
    /// Choices of each expert: its load.
    pub counts: Vec<u64>,
    /// First choices of each expert.
    pub first: Vec<u64>,
    /// Σ of the weights given to each expert: its importance.
    pub gates: Vec<f64>,
    /// Σ of each expert's probability.
    pub probabilities: Vec<f64>,
}

impl State {
    /// Of no token.
    #[must_use]
    pub fn new(experts: u32) -> Self {
        let n = experts as usize;
        Self {
            counts: vec![0; n],
            first: vec![0; n],
            gates: vec![0.0; n],
            probabilities: vec![0.0; n],
            ..Self::default()
        }
    }

    /// What the words mean that [`Stats`] has written: all of a state's, [`words`]`(experts)`.
    ///
    /// # Errors
    /// When no state has so many words.
    pub fn from_words(words: &[u32]) -> Result<Self, BindError> {
        let columns = words.len().checked_sub(HEAD).filter(|n| n.is_multiple_of(FIELDS) && *n > 0);
        let Some(experts) = columns.map(|n| n / FIELDS) else {
            let (expected, got) = ("12 + 6 · experts words".into(), format!("{} words", words.len()));
            return Err(BindError::ShapeMismatch { what: "state", expected, got });
        };
        let (head, columns) = words.split_at(HEAD);
        let field = |n: usize| &columns[n * experts..][..experts];
        let integers = |n: usize| field(n).iter().map(|&x| u64::from(x)).collect::<Vec<_>>();
        let pair = |(&low, &high): (&u32, &u32)| (u64::from(high) << 32) | u64::from(low);
        let pairs = |n: usize| field(n).iter().zip(field(n + 1)).map(pair);
        let squares = pair((&head[5], &head[6]));
        Ok(Self {
            tokens: head[0].into(),
            sentinels: head[1].into(),
            nan_tokens: head[2].into(),
            masked_tokens: head[3].into(),
            measured_tokens: head[4].into(),
            bad_weights: head[8].into(),
            squares: f64::from(head[7]) * TWO_32 + squares as f64 / TWO_32,
            counts: integers(0),
            first: integers(1),
            gates: pairs(2).map(|x| x as i64 as f64 / TWO_32).collect(),
            probabilities: pairs(4).map(|x| x as f64 / TWO_32).collect(),
        })
    }

    /// Adds what another state has counted.
    ///
    /// # Errors
    /// When it is of another number of experts.
    pub fn merge(&mut self, other: &Self) -> Result<(), BindError> {
        if self.experts() != other.experts() {
            let (expected, got) = (format!("{} experts", self.experts()), format!("{} experts", other.experts()));
            return Err(BindError::ShapeMismatch { what: "state", expected, got });
        }
        self.tokens += other.tokens;
        self.sentinels += other.sentinels;
        self.nan_tokens += other.nan_tokens;
        self.masked_tokens += other.masked_tokens;
        self.measured_tokens += other.measured_tokens;
        self.bad_weights += other.bad_weights;
        self.squares += other.squares;
        for (mine, theirs) in [(&mut self.counts, &other.counts), (&mut self.first, &other.first)] {
            mine.iter_mut().zip(theirs).for_each(|(a, b)| *a += b);
        }
        for (mine, theirs) in [(&mut self.gates, &other.gates), (&mut self.probabilities, &other.probabilities)] {
            mine.iter_mut().zip(theirs).for_each(|(a, b)| *a += b);
        }
        Ok(())
    }

    /// Experts.
    #[must_use]
    pub fn experts(&self) -> usize {
        self.counts.len()
    }

    /// Choices that are an expert.
    #[must_use]
    pub fn pairs(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Tokens in `probabilities`.
    #[must_use]
    pub fn scored_tokens(&self) -> u64 {
        self.tokens.saturating_sub(self.nan_tokens + self.masked_tokens)
    }

    /// `f_e = counts_e / tokens`: the fraction of tokens that an expert serves. 0 without tokens.
    #[must_use]
    pub fn fractions(&self) -> Vec<f64> {
        self.counts.iter().map(|&n| ratio(n as f64, self.tokens as f64)).collect()
    }

    /// `P_e`: the mean probability of an expert. 0 without tokens that have probabilities.
    #[must_use]
    pub fn mean_probabilities(&self) -> Vec<f64> {
        self.probabilities.iter().map(|&p| ratio(p, self.scored_tokens() as f64)).collect()
    }

    /// `E · Σ_e f_e · P_e`, the balance loss of Switch (Fedus, Zoph & Shazeer, arXiv 2101.03961, equation 4), without its factor α:
    /// K at perfect balance. 0 without tokens.
    #[must_use]
    pub fn balance_loss(&self) -> f64 {
        let terms = self.fractions().into_iter().zip(self.mean_probabilities()).map(|(f, p)| f * p);
        self.experts() as f64 * terms.sum::<f64>()
    }

    /// Mean of LSE², the z-loss of ST-MoE (Zoph et al., arXiv 2202.08906), without its coefficient. 0 without tokens.
    #[must_use]
    pub fn z_loss(&self) -> f64 {
        ratio(self.squares, self.measured_tokens as f64)
    }

    /// CV² of the gates: variance / (mean² + 10⁻¹⁰) over the experts, the importance loss of Shazeer et al.
    /// (arXiv 1701.06538, equation 7), without its factor; of the variance that divides by E. 0 without tokens.
    #[must_use]
    pub fn importance_cv2(&self) -> f64 {
        cv2(&self.gates)
    }

    /// The same of the counts.
    #[must_use]
    pub fn load_cv2(&self) -> f64 {
        cv2(&self.loads())
    }

    /// The greatest count over the mean count: from 1 to E, or, if a token's experts differ, to E / K. 1 without any.
    #[must_use]
    pub fn max_over_mean(&self) -> f64 {
        let most = self.counts.iter().copied().max().unwrap_or(0) as f64;
        if self.pairs() == 0 { 1.0 } else { most * self.experts() as f64 / self.pairs() as f64 }
    }

    /// `H / ln E`, `H = −Σ q_e ln q_e`, `q_e = counts_e / Σ counts`: 1 if all experts have the same, 0 if one has all. 1 for a single
    /// expert, and without any choice.
    #[must_use]
    pub fn entropy(&self) -> f64 {
        let pairs = self.pairs() as f64;
        if self.experts() <= 1 || pairs == 0.0 {
            return 1.0;
        }
        let terms = self.loads().into_iter().filter(|&n| n > 0.0).map(|n| -(n / pairs) * (n / pairs).ln());
        terms.sum::<f64>() / (self.experts() as f64).ln()
    }

    /// The fraction of experts that nobody has chosen: 1 without tokens.
    #[must_use]
    pub fn unused(&self) -> f64 {
        let none = self.counts.iter().filter(|&&n| n == 0).count();
        if self.experts() == 0 { 1.0 } else { none as f64 / self.experts() as f64 }
    }

    fn loads(&self) -> Vec<f64> {
        self.counts.iter().map(|&n| n as f64).collect()
    }
}

const TWO_32: f64 = 4_294_967_296.0;

/// 0 of nothing.
fn ratio(a: f64, b: f64) -> f64 {
    if b == 0.0 { 0.0 } else { a / b }
}

fn cv2(x: &[f64]) -> f64 {
    let n = x.len() as f64;
    let mean = ratio(x.iter().sum(), n);
    let variance = ratio(x.iter().map(|x| (x - mean).powi(2)).sum(), n);
    variance / (mean * mean + 1e-10)
}

/// Every program that can be built, in both forms.
#[cfg(feature = "conformance")]
pub(crate) fn every_program() -> Vec<Program> {
    let mut programs = vec![program(&ANY_GEOMETRY, Scoring::Softmax, Stage::Clear, false)];
    for variant in Variant::all() {
        for (scoring, _) in Scoring::ALL {
            programs.extend([false, true].map(|write_all| program(&variant, scoring, Stage::Add, write_all)));
        }
    }
    programs
}

#[cfg(feature = "conformance")]
const ANY_GEOMETRY: Variant = Variant { input: Dtype::F32, native_f16: false, width: 8, lanes: 1, quads: true };

#[cfg(test)]
mod tests {
    use super::*;

    /// The shader is the truth: every field of its `Params`, by name and offset.
    #[test]
    fn layout_is_the_shaders() {
        let module = naga::front::wgsl::parse_str(include_str!("../../shaders/lib/stats_params.wgsl")).unwrap();
        let (_, ty) = module.types.iter().find(|(_, t)| t.name.as_deref() == Some("Params")).unwrap();
        let naga::TypeInner::Struct { members, .. } = &ty.inner else { panic!("a struct") };
        let theirs: Vec<_> = members.iter().map(|m| (m.name.clone().unwrap(), m.offset)).collect();
        macro_rules! ours {
            ($($field:ident)*) => {
                vec![$((stringify!($field).to_string(), std::mem::offset_of!(Params, $field) as u32)),*]
            };
        }
        assert_eq!(
            theirs,
            ours!(rows cols quads grid_width choices tile words state_offset src_offset src_stride experts_offset
                experts_stride weights_offset weights_stride zero excluded)
        );
        assert_eq!(size_of::<Params>() % 16, 0);
    }

    /// No more than 60,000 iterations of one invocation, whatever the shape.
    #[test]
    fn loops_are_short_enough() {
        for variant in Variant::all() {
            for experts in [1_u32, 3, 64, 256, 257, 1024, 2047, 2048, 2049, 4096] {
                for tokens in [1, 7, 4097, 70_000, MAX_TOKENS] {
                    let tile = variant.tile(tokens);
                    assert!(tile <= variant.most_tokens() && tile.is_multiple_of(variant.width / variant.lanes));
                    let (w, quads) = (variant.width, experts.div_ceil(4));
                    let turns = tile.div_ceil(w / variant.lanes);
                    // Counted twice, for sigmoids: four quads an iteration, up to three alone. A token's choices.
                    let rows = turns * (2 * (quads / variant.lanes / 4 + 4) + MAX_CHOICES);
                    let mut bins = 0;
                    for bin in (0..experts).step_by(256) {
                        let used = (experts - bin).min(256);
                        let sharing = (w / used.div_ceil(4)).max(1);
                        let probabilities = used.div_ceil(4).div_ceil(w) * (tile.div_ceil(sharing) + 4);
                        bins += used.div_ceil(w) * (6 + 4) + probabilities + (tile * MAX_CHOICES).div_ceil(w);
                    }
                    assert!(rows + bins + 32 <= 60_000, "{variant} {tokens} {experts}: {rows} {bins}");
                    assert!(tokens.div_ceil(tile) <= 65_535, "{variant}: {tile}");
                }
            }
        }
    }

    #[test]
    fn names_round_trip() {
        for variant in Variant::all() {
            assert_eq!(variant.to_string().parse(), Ok(variant));
        }
        assert!("stats/f32/w7l1/x4".parse::<Variant>().is_err());
    }

    #[test]
    fn words_have_the_documented_layout() {
        let mut words: Vec<u32> = (0..24).collect();
        (words[15], words[17], words[19]) = (u32::MAX, u32::MAX, u32::MAX);
        let state = State::from_words(&words).unwrap();
        assert_eq!((state.experts(), state.tokens, state.sentinels, state.bad_weights), (2, 0, 1, 8));
        assert_eq!((state.nan_tokens, state.masked_tokens, state.measured_tokens), (2, 3, 4));
        assert_eq!((state.counts, state.first), (vec![12, 13], vec![14, u64::from(u32::MAX)]));
        assert_eq!(state.gates, [18.0 + 16.0 / TWO_32, -1.0 / TWO_32]);
        assert_eq!(state.probabilities, [22.0 + 20.0 / TWO_32, 23.0 + 21.0 / TWO_32]);
        assert_eq!(state.squares, 7.0 * TWO_32 + 6.0 + 5.0 / TWO_32);
        for bad in [0, 11, 12, 13, 19, 25] {
            assert!(State::from_words(&vec![0; bad]).is_err(), "{bad}");
        }
    }
}
