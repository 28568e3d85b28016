//! Routing in which experts choose tokens (expert choice: Zhou et al., arXiv 2202.09368): each expert takes the C best tokens
//! of its column of the scores, so that every expert has the same load and a token may be taken by none or by many.
//!
//! ```text
//! tokens_e    = the C greatest of scores_{t,e} over t, best first; the lower token of equals first, NaN last, −0 = +0
//! weights_e,s = scores_{tokens_e,s, e}                the same bits, widened exactly where scores are of 16 bits
//! choices     = for each token in turn, e·C + s of every expert e that took it, in its slot s, ascending
//! offsets_t   = choices of the tokens before t
//! ```
//!
//! Scores are `[tokens, experts]`: probabilities that [`softmax`](crate::softmax) made, or logits. The result is the same to the
//! bit on every device, for every variant, and in [`reference::expert_choice`](crate::reference::expert_choice).
//! `docs/semantics.md` has the special values.
//!
//! | dispatch | reads and writes |
//! |---|---|
//! | keys | the scores, and 4 bytes written for each: a row of keys for each expert |
//! | select | the keys 5 or 6 times; chosen tokens 12 or 24 times, and their keys 8 or 16 times, as they are sorted |
//! | gather | the chosen tokens and their scores; weights written |
//! | list, if `choices` are asked for | one bit for each token and expert; offsets and choices written |
//!
//! ```
//! use onesum::expert_choice::{Operands, Spec};
//! use onesum::{Library, Matrix};
//!
//! let (device, _) = wgpu::Device::noop(&wgpu::DeviceDescriptor::default());
//! # let buffer = |words: u64| device.create_buffer(&wgpu::BufferDescriptor {
//! #     label: None, size: 4 * words, usage: wgpu::BufferUsages::STORAGE, mapped_at_creation: false });
//! let library = Library::new(&device)?;
//! // 4096 tokens, 64 experts, 2 experts a token on average.
//! let kernel = library.expert_choice(&Spec { choices: true, ..Spec::new(4096, 64, 128) })?;
//! # let (scores, tokens, weights) = (buffer(4096 * 64), buffer(64 * 128), buffer(64 * 128));
//! # let (offsets, choices, scratch) = (buffer(4097), buffer(64 * 128), buffer(kernel.scratch_bytes(4096, 64) / 4));
//! let step = kernel.bind(&Operands {
//!     offsets: Some(Matrix::new(&offsets, 1, 4097)),
//!     choices: Some(Matrix::new(&choices, 1, 64 * 128)),
//!     ..Operands::new(
//!         Matrix::new(&scores, 4096, 64),
//!         Matrix::new(&tokens, 64, 128),
//!         Matrix::new(&weights, 64, 128),
//!         Matrix::new(&scratch, 1, (scratch.size() / 4) as u32),
//!     )
//! })?;
//! assert_eq!(step.dispatches(), 4);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::fmt;
use std::str::FromStr;

use bytemuck::{Pod, Zeroable};

use super::place::{Operand, Placement, grid, place, refuse_aliases};
use super::softmax::{Dtype, given, scratch_window, step};
use crate::bound::Step;
use crate::library::{Access, Built, Program};
use crate::shader::{Dialect, Fragment, Header, fragment};
use crate::tuning::{Entry, Sizes, Tunable, Variants};
use crate::{BindError, Bound, BuildError, Caps, Library, Matrix};

/// What a slot holds that no token is in, where fewer tokens are valid than an expert may take.
pub const NONE: u32 = u32::MAX;

/// The most experts.
pub const MAX_EXPERTS: u32 = 4096;

/// Loop iterations of one invocation, at most: as for softmax.
const MAX_ITERATIONS: u64 = 60_000;

/// The most tokens, whatever the variant.
const MAX_TOKENS: u64 = 1 << 24;

/// The most slots of all experts together.
const MAX_SLOTS: u64 = 1 << 31;

/// Counters of a workgroup: `shaders/expert_choice_select.wgsl` has them.
const COUNTERS: u64 = 2048;

const EMPTY_WIDTH: u32 = 64;

/// How the keys of an expert are selected and sorted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Schedule {
    /// By one invocation: nobody waits for anybody.
    Serial,
    /// By a workgroup.
    Shared,
}

impl Schedule {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Serial, Self::Shared];

    fn name(self) -> &'static str {
        match self {
            Self::Serial => "serial",
            Self::Shared => "shared",
        }
    }
}

/// Everything that decides which machine code runs, options aside: `expert_choice/shared/f32/w256`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Variant {
    /// Who has an expert.
    pub schedule: Schedule,
    /// The element type of the scores.
    pub input: Dtype,
    /// Invocations of a workgroup.
    pub width: u32,
}

/// The small widths are for adapters that run on a CPU.
const GEOMETRIES: [(Schedule, u32); 3] = [(Schedule::Serial, 8), (Schedule::Shared, 8), (Schedule::Shared, 256)];

impl Variant {
    /// Every variant, on every device.
    pub fn all() -> impl Iterator<Item = Self> {
        let each = |(schedule, width)| Dtype::ALL.map(|input| Self { schedule, input, width });
        GEOMETRIES.into_iter().flat_map(each)
    }

    /// Whether a device with these capabilities can run it.
    ///
    /// # Errors
    /// What it lacks.
    pub fn supported(&self, caps: &Caps) -> Result<(), BuildError> {
        if !Self::all().any(|v| v == *self) {
            return Err(BuildError::Unsupported { variant: self.to_string(), why: "Variant::all does not have it" });
        }
        let bytes = COUNTERS as u32 * 4 + self.width * 8 + 8;
        for (limit, needed, available) in [
            ("max_compute_invocations_per_workgroup", self.width, caps.max_invocations),
            ("max_compute_workgroup_storage_size", bytes, caps.max_workgroup_bytes),
        ] {
            if needed > available {
                let (needed, available) = (u64::from(needed), u64::from(available));
                return Err(BuildError::LimitTooLow { variant: self.to_string(), limit, needed, available });
            }
        }
        Ok(())
    }

    /// Tokens it can take, of which an expert takes `capacity`: what stays under the bound on loop iterations.
    #[must_use]
    pub fn max_tokens(&self, capacity: u32) -> u32 {
        let (serial, width) = (self.schedule == Schedule::Serial, u64::from(self.width));
        let (lanes, columns, digits) = (self.lanes(), u64::from(self.sorters()), COUNTERS / u64::from(self.sorters()));
        let (capacity, passes) = (u64::from(capacity), 32 / u64::from(digits.trailing_zeros()));
        // Clearing counters, finding a digit among them, and making places of them.
        let clear = COUNTERS / width;
        let (find, place) = if serial { (256, digits) } else { (8 + 512 / width, 8 + 2 * COUNTERS / width) };
        let sorted = capacity.div_ceil(lanes.min(columns)).div_ceil(4);
        // Slots that stay empty take less than those that are sorted.
        let fixed = 4 * (clear + find) + 16 + passes * (clear + place + 2 * sorted);
        // Eight keys an iteration, four times to find the last one, and one or two times to list what is taken.
        let scans = if serial { 5 } else { 6 };
        let keys = MAX_ITERATIONS.saturating_sub(fixed) / scans * lanes * 8;
        (keys / 32 * 32).min(MAX_TOKENS) as u32
    }

    /// The variant that should be fastest for this shape on a device with these capabilities. Pure.
    #[must_use]
    pub fn select(caps: &Caps, tokens: u32, experts: u32, capacity: u32, input: Dtype) -> Self {
        let [serial, narrow, wide] = GEOMETRIES.map(|(schedule, width)| Self { schedule, input, width });
        let takes = |variant: &Self| tokens <= variant.max_tokens(capacity);
        let order = match (caps.cpu, experts >= 8) {
            (true, true) => [serial, narrow, wide],
            (true, false) => [narrow, serial, wide],
            (false, _) => [wide, narrow, serial],
        };
        order.into_iter().find(|v| takes(v) && v.supported(caps).is_ok()).unwrap_or(order[0])
    }

    /// Invocations of an expert.
    fn lanes(self) -> u64 {
        if self.schedule == Schedule::Serial { 1 } else { u64::from(self.width) }
    }

    /// Invocations of a workgroup that sort: each has a counter for each digit.
    fn sorters(self) -> u32 {
        self.width.min(128)
    }
}

impl fmt::Display for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "expert_choice/{}/{}/w{}", self.schedule.name(), self.input.name(), self.width)
    }
}

impl FromStr for Variant {
    type Err = BuildError;

    fn from_str(name: &str) -> Result<Self, BuildError> {
        Self::all().find(|v| v.to_string() == name).ok_or_else(|| BuildError::UnknownVariant(name.into()))
    }
}

/// How many tokens an expert takes, and for which shape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spec {
    /// Tokens that are going to be bound: with `experts` the basis for choosing a variant. Any shape that the variant can take
    /// may then be bound.
    pub tokens: u32,
    /// Experts that are going to be bound.
    pub experts: u32,
    /// Tokens that each expert takes: at least 1. `tokens · k / experts` lets a token have k experts on average.
    pub capacity: u32,
    /// Element type of the scores.
    pub input: Dtype,
    /// The other direction is written too: offsets and choices.
    pub choices: bool,
    /// The number of tokens that are no padding is given.
    pub valid: bool,
    /// This variant and no other; `None` leaves the choice to [`Variant::select`].
    pub variant: Option<Variant>,
}

impl Spec {
    /// From f32 scores, tokens and weights only.
    #[must_use]
    pub fn new(tokens: u32, experts: u32, capacity: u32) -> Self {
        Self { tokens, experts, capacity, input: Dtype::F32, choices: false, valid: false, variant: None }
    }
}

impl Tunable for Spec {
    type Variant = Variant;

    fn variants() -> impl Iterator<Item = Variant> {
        Variant::all()
    }

    fn sizes(&self) -> Sizes {
        Sizes { rows: self.tokens, cols: self.experts, choices: Some(self.capacity) }
    }

    fn entries<'a>(&self, variants: &'a Variants) -> &'a [Entry<Variant>] {
        &variants.expert_choice
    }

    fn named(&self) -> Option<Variant> {
        self.variant
    }

    fn select(&self, caps: &Caps) -> Variant {
        Variant::select(caps, self.tokens, self.experts, self.capacity, self.input)
    }

    fn takes(&self, caps: &Caps, variant: &Variant) -> bool {
        variant.input == self.input
            && variant.supported(caps).is_ok()
            && self.tokens <= variant.max_tokens(self.capacity)
    }
}

/// The operands of one routing. Those that the specification does not ask for stay `None`.
#[derive(Clone, Copy, Debug)]
pub struct Operands<'a> {
    /// Scores `[tokens, experts]`.
    pub scores: Matrix<'a>,
    /// `[experts, capacity]`, u32, written: the tokens of each expert, best first, then [`NONE`] where there are too few.
    pub tokens: Matrix<'a>,
    /// `[experts, capacity]`, f32, written: their scores, 0 where there is no token.
    pub weights: Matrix<'a>,
    /// `[1, tokens + 1]`, u32, written: where each token's choices begin, and where the last ones end.
    pub offsets: Option<Matrix<'a>>,
    /// `[1, experts · capacity]`, u32, written up to the last offset: expert · capacity + slot.
    pub choices: Option<Matrix<'a>>,
    /// `[1, 1]`, u32: tokens from this one on are padding, which nobody takes.
    pub valid: Option<Matrix<'a>>,
    /// [`ExpertChoice::scratch_bytes`] bytes or more: [`Matrix`] of u32.
    pub scratch: Matrix<'a>,
}

impl<'a> Operands<'a> {
    /// Scores, tokens and weights, nothing else.
    #[must_use]
    pub fn new(scores: Matrix<'a>, tokens: Matrix<'a>, weights: Matrix<'a>, scratch: Matrix<'a>) -> Self {
        Self { scores, tokens, weights, offsets: None, choices: None, valid: None, scratch }
    }
}

#[derive(Clone, Copy, Debug, Default, Pod, Zeroable)]
#[repr(C)]
struct Params {
    tokens: u32,
    experts: u32,
    capacity: u32,
    grid_width: u32,
    scores_offset: u32,
    scores_stride: u32,
    chosen_offset: u32,
    chosen_stride: u32,
    weights_offset: u32,
    weights_stride: u32,
    offsets_offset: u32,
    choices_offset: u32,
    valid_offset: u32,
    keys_offset: u32,
    keys_stride: u32,
    marks_offset: u32,
    marks_stride: u32,
    sums_offset: u32,
    tile: u32,
    each: u32,
    cleared: u32,
    threads: u32,
    slots: u32,
    pad: [u32; 1],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Keys,
    Select,
    Gather,
    List,
    /// No experts, but offsets are asked for.
    Empty,
}

impl Stage {
    #[cfg(feature = "conformance")]
    const ALL: [Self; 5] = [Self::Keys, Self::Select, Self::Gather, Self::List, Self::Empty];

    fn of(spec: &Spec) -> &'static [Self] {
        let all = &[Self::Keys, Self::Select, Self::Gather, Self::List];
        if spec.choices { all } else { &all[..3] }
    }

    /// (name, binding, written), in order of binding. Scratch memory counts as written where it is only read: there is one
    /// form less.
    fn buffers(self, spec: &Spec) -> Vec<(&'static str, u32, bool)> {
        let all = [
            (matches!(self, Self::Keys | Self::Gather), ("scores", 1, false)),
            (matches!(self, Self::Select | Self::Gather), ("tokens", 2, true)),
            (matches!(self, Self::Select | Self::Gather), ("weights", 3, true)),
            (matches!(self, Self::List | Self::Empty), ("offsets", 4, true)),
            (self == Self::List, ("choices", 5, true)),
            (matches!(self, Self::Keys | Self::Select) && spec.valid, ("valid", 6, false)),
            (matches!(self, Self::Keys | Self::Select | Self::List), ("scratch", 9, true)),
            (self == Self::Gather && spec.choices, ("scratch", 9, true)),
        ];
        all.into_iter().filter(|(used, _)| *used).map(|(_, buffer)| buffer).collect()
    }

    /// Whether there is a form of it in which every binding is read-write.
    fn has_pooled_form(self, spec: &Spec) -> bool {
        self.buffers(spec).iter().any(|(.., written)| !written)
    }
}

/// Where things are in scratch memory, in words, and how tokens are divided.
#[derive(Clone, Copy, Debug)]
struct Layout {
    keys_stride: u64,
    marks: u64,
    marks_stride: u64,
    sums: u64,
    words: u64,
    /// Tokens of an invocation that lists.
    listed: u32,
    tile: u32,
}

impl Layout {
    fn new(spec: &Spec, variant: Variant, tokens: u32, experts: u32) -> Self {
        let marks_stride = u64::from(experts.div_ceil(32));
        let keys_stride = u64::from(tokens).next_multiple_of(32);
        let marks = keys_stride.saturating_mul(experts.into());
        // Many tokens an invocation where a workgroup is dear, but not more than its loops can have.
        let most = (40_000 / (u64::from(experts) + 3 * marks_stride + 1)).max(1);
        let listed = if variant.width <= 8 { u64::from(tokens / 2048).max(16).min(most) as u32 } else { 1 };
        let tile = listed * variant.width;
        let sums = marks.saturating_add(u64::from(tokens) * marks_stride);
        let end = if spec.choices { sums.saturating_add(tokens.div_ceil(tile).into()) } else { marks };
        let words = end.max(4).checked_next_multiple_of(4).unwrap_or(u64::MAX);
        Self { keys_stride, marks, marks_stride, sums, words, listed, tile }
    }
}

/// Expert choice of one specification, compiled.
#[derive(Clone, Debug)]
pub struct ExpertChoice {
    library: Library,
    spec: Spec,
    variant: Variant,
}

impl ExpertChoice {
    pub(crate) fn new(library: &Library, spec: &Spec) -> Result<Self, BuildError> {
        let caps = library.caps();
        if spec.capacity == 0 {
            return Err(BuildError::BadOption { what: "capacity", expected: "at least 1", got: "0".into() });
        }
        let variant = library.choose(spec);
        variant.supported(caps)?;
        if variant.input != spec.input {
            let why = "its element type is not that of the specification";
            return Err(BuildError::Unsupported { variant: variant.to_string(), why });
        }
        for &stage in Stage::of(spec) {
            caps.check_buffers(stage.buffers(spec).into_iter().map(|(what, ..)| what).collect())?;
            library.built(&program(spec, variant, stage, false))?;
        }
        Ok(Self { library: library.clone(), spec: spec.clone(), variant })
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

    /// Bytes of scratch memory that binding this shape takes: 4 a score, and, for choices, about 1 bit.
    #[must_use]
    pub fn scratch_bytes(&self, tokens: u32, experts: u32) -> u64 {
        Layout::new(&self.spec, self.variant, tokens, experts).words.saturating_mul(4)
    }

    /// Checks the operands and makes what recording needs. Without experts only offsets are written, all 0.
    ///
    /// # Errors
    /// When operands do not fit each other, their buffers, the device or the variant. Nothing is bound then.
    pub fn bind(&self, operands: &Operands<'_>) -> Result<Bound, BindError> {
        self.check(operands)?;
        let stages: &[Stage] = match (operands.scores.cols, self.spec.choices) {
            (0, false) => &[],
            (0, true) => &[Stage::Empty],
            _ => Stage::of(&self.spec),
        };
        let mut bound = Bound::default();
        for &stage in stages {
            bound.steps.push(self.step(stage, operands)?);
        }
        Ok(bound)
    }

    fn check(&self, operands: &Operands<'_>) -> Result<(), BindError> {
        let (tokens, experts, capacity) = (operands.scores.rows, operands.scores.cols, self.spec.capacity);
        given("offsets", self.spec.choices, operands.offsets.is_some())?;
        given("choices", self.spec.choices, operands.choices.is_some())?;
        given("valid", self.spec.valid, operands.valid.is_some())?;
        let mismatch = |what, expected, got| Err(BindError::ShapeMismatch { what, expected, got });
        if capacity > tokens {
            return mismatch("scores", format!("at least {capacity} tokens, the capacity"), tokens.to_string());
        }
        if experts > MAX_EXPERTS {
            let variant = self.variant.to_string();
            return Err(BindError::TooManyColumns { variant, cols: experts, max: MAX_EXPERTS });
        }
        let max = self.variant.max_tokens(capacity);
        if tokens > max {
            let expected = format!("at most {max} tokens with {} and a capacity of {capacity}", self.variant);
            return mismatch("scores", expected, tokens.to_string());
        }
        let slots = u64::from(experts) * u64::from(capacity);
        if slots > MAX_SLOTS {
            return mismatch("tokens", format!("at most {MAX_SLOTS} slots"), slots.to_string());
        }
        for (what, matrix, rows, cols) in [
            ("tokens", Some(operands.tokens), experts, capacity),
            ("weights", Some(operands.weights), experts, capacity),
            ("offsets", operands.offsets, 1, tokens + 1),
            ("choices", operands.choices, 1, slots as u32),
            ("valid", operands.valid, 1, 1),
        ] {
            if let Some(m) = matrix.filter(|m| (m.rows, m.cols) != (rows, cols)) {
                return mismatch(what, format!("{rows} x {cols}"), format!("{} x {}", m.rows, m.cols));
            }
        }
        if experts == 0 {
            return Ok(());
        }
        let windows: Vec<_> = [
            ("scores", Some(operands.scores), self.spec.input.bytes(), false),
            ("valid", operands.valid, 4, false),
            ("tokens", Some(operands.tokens), 4, true),
            ("weights", Some(operands.weights), 4, true),
            ("offsets", operands.offsets, 4, true),
            ("choices", operands.choices, 4, true),
            ("scratch", Some(self.scratch(operands)?), 4, true),
        ]
        .into_iter()
        .filter_map(|(what, matrix, element, writes)| {
            Some(Operand { binding: 0, what, matrix: matrix?, element, writes })
        })
        .collect();
        refuse_aliases(&windows, &[])
    }

    fn scratch<'a>(&self, operands: &Operands<'a>) -> Result<Matrix<'a>, BindError> {
        scratch_window(operands.scratch, self.scratch_bytes(operands.scores.rows, operands.scores.cols))
    }

    fn step(&self, stage: Stage, operands: &Operands<'_>) -> Result<Step, BindError> {
        let caps = self.library.caps();
        let (tokens, experts) = (operands.scores.rows, operands.scores.cols);
        let layout = Layout::new(&self.spec, self.variant, tokens, experts);
        let placement = place(caps, &self.list(stage, operands)?, None, false)?;
        let (width, slots) = (u64::from(self.variant.width), u64::from(experts) * u64::from(self.spec.capacity));
        let narrow = self.variant.width <= 8;
        // Tokens, slots, tokens.
        let each = match stage {
            Stage::Keys if narrow => 256,
            Stage::Gather if narrow => 32,
            Stage::List => layout.listed,
            _ => 1,
        };
        let groups = match stage {
            Stage::Keys if narrow => u64::from(experts).div_ceil(width) * layout.keys_stride.div_ceil(each.into()),
            Stage::Keys => u64::from(experts.div_ceil(32)) * layout.keys_stride / 32,
            Stage::Select => u64::from(experts).div_ceil(width / self.variant.lanes()),
            Stage::Gather => slots.div_ceil(width * u64::from(each)),
            Stage::List => tokens.div_ceil(layout.tile).into(),
            Stage::Empty => (tokens + 1).div_ceil(EMPTY_WIDTH).into(),
        };
        let threads = (groups * width) as u32;
        let groups = grid(caps, tokens, groups)?;
        let params =
            Params { grid_width: groups[0], each, threads, ..self.params(stage, operands, &layout, &placement) };
        let write_all = placement.write_all && stage.has_pooled_form(&self.spec);
        let built = self.built(stage, write_all)?;
        step(self.library.device(), built, &placement, &params, groups)
    }

    fn list<'a>(&self, stage: Stage, operands: &Operands<'a>) -> Result<Vec<Operand<'a>>, BindError> {
        let mut list = Vec::new();
        for (what, binding, writes) in stage.buffers(&self.spec) {
            let (matrix, element) = match what {
                "scores" => (Some(operands.scores), self.spec.input.bytes()),
                "tokens" => (Some(operands.tokens), 4),
                "weights" => (Some(operands.weights), 4),
                "offsets" => (operands.offsets, 4),
                "choices" => (operands.choices, 4),
                "valid" => (operands.valid, 4),
                _ => (Some(self.scratch(operands)?), 4),
            };
            let matrix = matrix.ok_or(BindError::Missing { what })?;
            list.push(Operand { binding, what, matrix, element, writes });
        }
        Ok(list)
    }

    /// `scratch_window` and `place` have seen that everything is counted in u32.
    fn params(&self, stage: Stage, operands: &Operands<'_>, layout: &Layout, placement: &Placement<'_>) -> Params {
        let offset = |what| placement.placed.iter().find(|p| p.what == what).map_or(0, |p| p.offset);
        let scratch = offset("scratch");
        let cleared = if stage == Stage::Keys && self.spec.choices { layout.words - layout.marks } else { 0 };
        Params {
            tokens: operands.scores.rows,
            experts: operands.scores.cols,
            capacity: self.spec.capacity,
            scores_offset: offset("scores"),
            scores_stride: operands.scores.stride,
            chosen_offset: offset("tokens"),
            chosen_stride: operands.tokens.stride,
            weights_offset: offset("weights"),
            weights_stride: operands.weights.stride,
            offsets_offset: offset("offsets"),
            choices_offset: offset("choices"),
            valid_offset: offset("valid"),
            keys_offset: scratch,
            keys_stride: layout.keys_stride as u32,
            marks_offset: scratch + layout.marks as u32,
            marks_stride: layout.marks_stride as u32,
            sums_offset: scratch + layout.sums as u32,
            tile: layout.tile,
            cleared: cleared as u32,
            slots: operands.scores.cols * self.spec.capacity,
            ..Params::default()
        }
    }

    fn built(&self, stage: Stage, write_all: bool) -> Result<Built, BuildError> {
        self.library.built(&program(&self.spec, self.variant, stage, write_all))
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
    Stage::of(spec).iter().map(|&stage| program(spec, *variant, stage, false).text(dialect)).collect()
}

fn program(spec: &Spec, variant: Variant, stage: Stage, write_all: bool) -> Program {
    let (dtype, width) = (spec.input.name(), if stage == Stage::Empty { EMPTY_WIDTH } else { variant.width });
    let schedule = variant.schedule.name();
    let mut name = match stage {
        Stage::Keys => format!("expert_choice/keys/{dtype}/w{width}"),
        Stage::Select => format!("expert_choice/select/{schedule}/w{width}"),
        Stage::Gather => format!("expert_choice/gather/{dtype}/w{width}"),
        Stage::List => format!("expert_choice/list/w{width}"),
        Stage::Empty => format!("expert_choice/empty/w{width}"),
    };
    let reads_valid = spec.valid && matches!(stage, Stage::Keys | Stage::Select);
    for (used, suffix) in
        [(reads_valid, "+valid"), (stage == Stage::Gather && spec.choices, "+mark"), (write_all, "@pooled")]
    {
        if used {
            name.push_str(suffix);
        }
    }
    let mut overrides = vec![("WIDTH", f64::from(width))];
    if stage == Stage::Select {
        let digits = COUNTERS as u32 / variant.sorters();
        overrides.extend([
            ("SORTERS", f64::from(variant.sorters())),
            ("DIGITS", f64::from(digits)),
            ("BITS", f64::from(digits.trailing_zeros())),
        ]);
    }
    let access = |written| if written || write_all { Access::ReadWrite } else { Access::Read };
    let mut bindings = vec![(0, Access::Uniform)];
    bindings.extend(stage.buffers(spec).into_iter().map(|(_, binding, written)| (binding, access(written))));
    Program {
        name,
        header: Header::default(),
        fragments: fragments(spec, variant, stage, write_all),
        overrides,
        bindings,
    }
}

/// One of two fragments.
macro_rules! either {
    ($condition:expr, $yes:literal, $no:literal) => {
        if $condition { fragment!($yes) } else { fragment!($no) }
    };
}

fn fragments(spec: &Spec, variant: Variant, stage: Stage, write_all: bool) -> Vec<Fragment> {
    let mut list = vec![fragment!("lib/expert_choice_params")];
    let scores = [
        either!(write_all, "lib/operand_scores_read_write", "lib/operand_scores_read"),
        match spec.input {
            Dtype::F32 => fragment!("lib/score_f32"),
            Dtype::F16 => fragment!("lib/score_f16"),
            Dtype::Bf16 => fragment!("lib/score_bf16"),
        },
    ];
    let mut valid = vec![either!(spec.valid, "lib/valid_on", "lib/valid_off")];
    if spec.valid {
        valid.push(either!(write_all, "lib/operand_valid_read_write", "lib/operand_valid_read"));
    }
    match stage {
        Stage::Keys => {
            list.extend(scores);
            list.extend(valid);
            list.push(fragment!("lib/expert_choice_key"));
            list.push(either!(variant.width <= 8, "expert_choice_keys", "expert_choice_tile"));
        }
        Stage::Select => {
            list.extend(valid);
            list.push(either!(variant.width <= 8, "lib/tally_own", "lib/tally_shared"));
            if variant.schedule == Schedule::Serial {
                list.push(fragment!("lib/team_alone"));
            } else {
                list.extend([fragment!("lib/team_workgroup"), fragment!("lib/share")]);
            }
            list.push(fragment!("expert_choice_select"));
        }
        Stage::Gather => {
            list.extend(scores);
            list.push(either!(spec.choices, "lib/mark_on", "lib/mark_off"));
            list.push(fragment!("expert_choice_gather"));
        }
        Stage::List => list.extend([fragment!("lib/share"), fragment!("expert_choice_list")]),
        Stage::Empty => list.push(fragment!("expert_choice_empty")),
    }
    list
}

/// Every program that can be built, in both forms.
#[cfg(feature = "conformance")]
pub(crate) fn every_program() -> Vec<Program> {
    let mut programs = Vec::new();
    for variant in Variant::all() {
        for (choices, valid) in [(false, false), (false, true), (true, false), (true, true)] {
            let spec = Spec { input: variant.input, choices, valid, ..Spec::new(1, 1, 1) };
            for stage in Stage::ALL {
                programs.push(program(&spec, variant, stage, false));
                if stage.has_pooled_form(&spec) {
                    programs.push(program(&spec, variant, stage, true));
                }
            }
        }
    }
    programs
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The shader is the truth: every field of its `Params`, by name and offset.
    #[test]
    fn layout_is_the_shaders() {
        let text = include_str!("../../shaders/lib/expert_choice_params.wgsl");
        let module = naga::front::wgsl::parse_str(text).unwrap();
        let (_, ty) = module.types.iter().find(|(_, t)| t.name.as_deref() == Some("Params")).unwrap();
        let naga::TypeInner::Struct { members, .. } = &ty.inner else { panic!("Params is a struct") };
        let theirs: Vec<_> = members
            .iter()
            .map(|m| (m.name.as_deref().unwrap(), m.offset as usize))
            .filter(|(name, _)| !name.starts_with("pad"))
            .collect();
        macro_rules! ours {
            ($($field:ident)*) => { vec![$((stringify!($field), std::mem::offset_of!(Params, $field))),*] };
        }
        assert_eq!(
            theirs,
            ours!(tokens experts capacity grid_width scores_offset scores_stride chosen_offset chosen_stride
                weights_offset weights_stride offsets_offset choices_offset valid_offset keys_offset keys_stride
                marks_offset marks_stride sums_offset tile each cleared threads slots)
        );
        assert_eq!(size_of::<Params>() % 16, 0);
    }

    /// Names find their variants, and the limits on tokens are those that the documentation promises.
    #[test]
    fn variants_have_names_and_limits() {
        for variant in Variant::all() {
            assert_eq!(variant.to_string().parse::<Variant>().as_ref(), Ok(&variant));
            assert!(variant.max_tokens(128) >= 70_000, "{variant}");
            if variant.schedule == Schedule::Shared {
                assert!(variant.max_tokens(1 << 17) >= 1 << 17, "{variant}");
            }
            assert_eq!(variant.max_tokens(u32::MAX), 0);
        }
        assert!("expert_choice/serial/f32/w256".parse::<Variant>().is_err());
    }

    /// Whatever is chosen can take what it was chosen for.
    #[test]
    fn selection_takes_the_shape() {
        let gpu = Caps::baseline();
        let cpu = Caps { cpu: true, ..Caps::baseline() };
        let name = |caps: &Caps, tokens, experts, capacity| {
            Variant::select(caps, tokens, experts, capacity, Dtype::F32).to_string()
        };
        assert_eq!(name(&gpu, 4096, 64, 128), "expert_choice/shared/f32/w256");
        assert_eq!(name(&cpu, 4096, 64, 128), "expert_choice/serial/f32/w8");
        assert_eq!(name(&cpu, 4096, 1, 128), "expert_choice/shared/f32/w8");
        assert_eq!(name(&cpu, 1 << 17, 64, 1 << 17), "expert_choice/shared/f32/w8");
        assert_eq!(name(&cpu, 1 << 20, 4, 1 << 18), "expert_choice/shared/f32/w256");
        let small = Caps { max_invocations: 128, ..gpu };
        assert_eq!(name(&small, 4096, 64, 128), "expert_choice/shared/f32/w8");
    }
}
