//! The plan of grouped matrix products: which rows each expert takes, from the experts that each token has chosen. Nothing is
//! read back.
//!
//! A token chooses K experts; choice k of token t is the pair p = t · K + k. An expert index that is not below the number of
//! experts, such as `u32::MAX`, is no expert: its pair goes nowhere.
//!
//! ```text
//! counts[e]  = pairs of expert e that are kept
//! offsets[e] = Σ_{d < e} ⌈counts[d] / b⌉ · b                 b = 1 without blocks; offsets[experts]: slots in use
//! sorted     = the pair of each slot: by expert, within an expert by pair, [`NONE`] where a slot has none
//! inverse    = the slot of each pair, [`NONE`] where it has none
//! ```
//!
//! A capacity of C slots keeps of each expert the first C pairs in order of [`Priority`] and drops the others; what is kept
//! is laid out by pair as ever. Integers only: the same to the bit on every device, for every variant, and in
//! [`reference::plan`](crate::reference::plan).
//!
//! | variant | dispatches | reads and writes, in words for P pairs |
//! |---|---|---|
//! | `plan/one/…` | 1 | 2 P read, P + slots written |
//! | `plan/serial/…`, `plan/group/…` | 3 or 4 | 2 P read, P + slots written, and the counters of scratch memory |
//! | with a capacity | 6 or 7 | 4 P read, 2 P + slots written |
//! | … batch-prioritised | 19 to 24 | and P weights, and 13 words a token |
//! | with `blocks`, `arguments` or `dropped_count` | 1 more; none for `plan/one/…` | |
//!
//! `docs/semantics.md` says what comes of an expert that is chosen twice, of NaN weights and of no tokens.
//!
//! ```
//! use onesum::plan::{Operands, Outputs, Spec, slots};
//! use onesum::{Library, Matrix};
//!
//! let (device, _) = wgpu::Device::noop(&wgpu::DeviceDescriptor::default());
//! # let buffer = || device.create_buffer(&wgpu::BufferDescriptor {
//! #     label: None, size: 1 << 20, usage: wgpu::BufferUsages::STORAGE, mapped_at_creation: false });
//! # let (experts, counts, offsets, sorted, inverse, blocks, scratch) =
//! #     (buffer(), buffer(), buffer(), buffer(), buffer(), buffer(), buffer());
//! let library = Library::new(&device)?;
//! let outputs = Outputs { blocks: true, ..Outputs::default() };
//! let plan = library.plan(&Spec { block: Some(64), outputs, ..Spec::new(4096, 8, 128) })?;
//! let slots = slots(4096, 8, 128, Some(64)) as u32;
//! let step = plan.bind(&Operands {
//!     blocks: Some(Matrix::new(&blocks, 1, slots / 64)),
//!     scratch: Some(Matrix::new(&scratch, 1, 1 << 18)), // plan.scratch_bytes(4096) bytes or more
//!     ..Operands::new(
//!         Matrix::new(&experts, 4096, 8),
//!         Matrix::new(&counts, 1, 128),
//!         Matrix::new(&offsets, 1, 129),
//!         Matrix::new(&sorted, 1, slots),
//!         Matrix::new(&inverse, 4096, 8),
//!     )
//! })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod params;
mod sources;
mod variant;

pub use variant::{Schedule, Variant};

use super::place::{Operand, Placement, grid, place, refuse_aliases};
use super::softmax::{given, scratch_window, step};
use crate::shader::Dialect;
use crate::tuning::{Entry, Sizes, Tunable, Variants};
use crate::{BindError, Bound, BuildError, Caps, Library, Matrix};
use params::Params;
#[cfg(feature = "conformance")]
pub(crate) use sources::every_program;
use sources::{Form, Stage, program};

/// No expert, no pair, no slot.
pub const NONE: u32 = u32::MAX;

/// The most choices of a token: what a router makes, shared experts counted.
pub const MAX_CHOICES: u32 = 128;

/// The most experts.
pub const MAX_EXPERTS: u32 = 4096;

/// Which pairs of an expert come first where not all are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Priority {
    /// All first choices before any second, tokens in order within (Switch: Fedus, Zoph & Shazeer, arXiv 2101.03961; `GShard`:
    /// Lepikhin et al., arXiv 2006.16668).
    KMajor,
    /// All first choices before any second, within them tokens with the greatest weight first (V-MoE: Riquelme et al., arXiv
    /// 2106.05974). Tokens are compared by the greatest weight of their row, NaN last; −0 = +0, and of equal tokens the lower
    /// index goes first.
    BatchPrioritised,
}

/// What an expert has room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Capacity {
    /// Pairs that an expert keeps, at most.
    pub slots: u32,
    /// Which ones.
    pub priority: Priority,
}

/// Dispatches of a kernel of the caller's, one an expert: `[⌈counts[e] / rows_per_group⌉, y, 1]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Arguments {
    /// Rows of an expert that one workgroup takes; at least 1.
    pub rows_per_group: u32,
    /// Workgroups along y.
    pub y: u32,
}

/// What else is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Outputs {
    /// The expert of each block of slots.
    pub blocks: bool,
    /// The dropped pairs: needs a capacity.
    pub dropped: bool,
    /// How many they are: needs a capacity.
    pub dropped_count: bool,
    /// Arguments of indirect dispatches.
    pub arguments: Option<Arguments>,
}

/// What to plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spec {
    /// Tokens that are going to be bound: the choice of a variant depends on it, nothing else does.
    pub tokens: u32,
    /// Choices of a token, K: 1 to [`MAX_CHOICES`].
    pub k: u32,
    /// Experts: 1 to [`MAX_EXPERTS`].
    pub experts: u32,
    /// Slots of an expert are a multiple of this, at least 1.
    pub block: Option<u32>,
    /// What an expert has room for; `None` is no limit.
    pub capacity: Option<Capacity>,
    /// What else is written.
    pub outputs: Outputs,
    /// This variant and no other; `None` leaves the choice to [`Variant::select`].
    pub variant: Option<Variant>,
}

impl Spec {
    /// All pairs, no blocks.
    #[must_use]
    pub fn new(tokens: u32, k: u32, experts: u32) -> Self {
        Self { tokens, k, experts, block: None, capacity: None, outputs: Outputs::default(), variant: None }
    }

    /// [`slots`] for so many tokens.
    #[must_use]
    pub fn slots(&self, tokens: u32) -> u64 {
        slots(tokens, self.k, self.experts, self.block)
    }

    fn check(&self) -> Result<(), BuildError> {
        let within = |what, value: u32, range: std::ops::RangeInclusive<u32>, expected| {
            let bad = || BuildError::BadOption { what, expected, got: value.to_string() };
            if range.contains(&value) { Ok(()) } else { Err(bad()) }
        };
        within("k", self.k, 1..=MAX_CHOICES, "from 1 to 128")?;
        within("experts", self.experts, 1..=MAX_EXPERTS, "from 1 to 4096")?;
        within("block", self.block.unwrap_or(1), 1..=u32::MAX, "at least 1")?;
        let rows = self.outputs.arguments.map_or(1, |a| a.rows_per_group);
        within("rows_per_group", rows, 1..=u32::MAX, "at least 1")?;
        let missing = |what, expected| Err(BuildError::BadOption { what, expected, got: "not".into() });
        if self.outputs.blocks && self.block.is_none() {
            return missing("block", "given where blocks are asked for");
        }
        if (self.outputs.dropped || self.outputs.dropped_count) && self.capacity.is_none() {
            return missing("capacity", "given where dropped pairs are asked for");
        }
        Ok(())
    }

    fn by_weight(&self) -> bool {
        self.capacity.is_some_and(|c| c.priority == Priority::BatchPrioritised)
    }

    /// Whether a device with these capabilities can run `variant` for it.
    fn check_variant(&self, variant: Variant, caps: &Caps) -> Result<(), BuildError> {
        variant.supported(caps)?;
        if variant.schedule == Schedule::One && self.capacity.is_some() {
            let why = "it has no capacities; the other variants have";
            return Err(BuildError::Unsupported { variant: variant.to_string(), why });
        }
        if !variant.takes(self, 0) {
            let why = "it takes fewer experts; the other variants take more";
            return Err(BuildError::Unsupported { variant: variant.to_string(), why });
        }
        for (stage, _) in sources::steps(self, variant, self.tokens) {
            caps.check_buffers(stage.buffers(self).into_iter().map(|(what, ..)| what).collect())?;
        }
        Ok(())
    }
}

impl Tunable for Spec {
    type Variant = Variant;

    fn variants() -> impl Iterator<Item = Variant> {
        Variant::ALL.into_iter()
    }

    fn sizes(&self) -> Sizes {
        Sizes { rows: self.tokens, cols: self.experts, choices: Some(self.k) }
    }

    fn entries<'a>(&self, variants: &'a Variants) -> &'a [Entry<Variant>] {
        &variants.plan
    }

    fn named(&self) -> Option<Variant> {
        self.variant
    }

    fn select(&self, caps: &Caps) -> Variant {
        Variant::select(caps, self)
    }

    fn takes(&self, caps: &Caps, variant: &Variant) -> bool {
        self.check().is_ok() && self.check_variant(*variant, caps).is_ok() && variant.takes(self, self.tokens)
    }
}

/// The length of `sorted`, enough in the worst case: tokens · K, and with blocks of b, b − 1 more for every expert that can have a
/// pair, in whole blocks.
///
/// ```
/// use onesum::plan::slots;
///
/// assert_eq!(slots(100, 2, 8, None), 200);
/// assert_eq!(slots(100, 2, 8, Some(16)), 320); // 200 + 8 · 15
/// assert_eq!(slots(1, 2, 8, Some(16)), 32);
/// ```
#[must_use]
pub fn slots(tokens: u32, k: u32, experts: u32, block: Option<u32>) -> u64 {
    let pairs = u64::from(tokens) * u64::from(k);
    let Some(block) = block.map(|b| u64::from(b.max(1))) else { return pairs };
    let worst = pairs + pairs.min(u64::from(experts)) * (block - 1);
    worst.div_ceil(block).saturating_mul(block)
}

/// The operands of one plan, all u32 but for the weights. Those that the specification does not ask for stay `None`.
#[derive(Clone, Copy, Debug)]
pub struct Operands<'a> {
    /// Chosen experts `[tokens, K]`.
    pub experts: Matrix<'a>,
    /// Kept pairs of each expert `[1, experts]`, written.
    pub counts: Matrix<'a>,
    /// The first slot of each expert `[1, experts + 1]`, written; the last is the number of slots in use.
    pub offsets: Matrix<'a>,
    /// The pair of each slot `[1, slots]`, written to its end: see [`slots`].
    pub sorted: Matrix<'a>,
    /// The slot of each pair `[tokens, K]`, written.
    pub inverse: Matrix<'a>,
    /// Gates `[tokens, K]`, f32, for [`Priority::BatchPrioritised`].
    pub weights: Option<Matrix<'a>>,
    /// The expert of each block `[1, slots / block]`, written; [`NONE`] beyond the slots in use.
    pub blocks: Option<Matrix<'a>>,
    /// The dropped pairs, in ascending order, then [`NONE`]: `[1, tokens · K]`, written.
    pub dropped: Option<Matrix<'a>>,
    /// How many they are `[1, 1]`, written.
    pub dropped_count: Option<Matrix<'a>>,
    /// Arguments of indirect dispatches `[experts, 3]`, written.
    pub arguments: Option<Matrix<'a>>,
    /// [`Plan::scratch_bytes`] bytes or more, for variants of several dispatches.
    pub scratch: Option<Matrix<'a>>,
}

impl<'a> Operands<'a> {
    /// What every plan has.
    #[must_use]
    pub fn new(
        experts: Matrix<'a>,
        counts: Matrix<'a>,
        offsets: Matrix<'a>,
        sorted: Matrix<'a>,
        inverse: Matrix<'a>,
    ) -> Self {
        Self {
            experts,
            counts,
            offsets,
            sorted,
            inverse,
            weights: None,
            blocks: None,
            dropped: None,
            dropped_count: None,
            arguments: None,
            scratch: None,
        }
    }

    fn get(&self, what: &str) -> Option<Matrix<'a>> {
        match what {
            "experts" => Some(self.experts),
            "counts" => Some(self.counts),
            "offsets" => Some(self.offsets),
            "sorted" => Some(self.sorted),
            "inverse" => Some(self.inverse),
            "weights" => self.weights,
            "blocks" => self.blocks,
            "dropped" => self.dropped,
            "dropped_count" => self.dropped_count,
            "arguments" => self.arguments,
            _ => self.scratch,
        }
    }
}

/// A plan of one specification, compiled.
#[derive(Clone, Debug)]
pub struct Plan {
    library: Library,
    spec: Spec,
    variant: Variant,
}

impl Plan {
    pub(crate) fn new(library: &Library, spec: &Spec) -> Result<Self, BuildError> {
        spec.check()?;
        let variant = library.choose(spec);
        spec.check_variant(variant, library.caps())?;
        let plan = Self { library: library.clone(), spec: spec.clone(), variant };
        for (stage, _) in sources::steps(spec, variant, spec.tokens) {
            library.built(&program(spec, variant, stage, Form::likely(spec)))?;
        }
        Ok(plan)
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

    /// The length of `sorted` for so many tokens: [`slots`].
    #[must_use]
    pub fn slots(&self, tokens: u32) -> u64 {
        self.spec.slots(tokens)
    }

    /// Bytes of scratch memory that binding so many tokens takes: none for variants of one dispatch, or for no tokens.
    #[must_use]
    pub fn scratch_bytes(&self, tokens: u32) -> u64 {
        params::Scratch::of(&self.spec, self.variant, tokens).words * 4
    }

    /// Checks the operands and makes what recording needs: one uniform buffer and one bind group a dispatch.
    ///
    /// # Errors
    /// When operands do not fit each other, their buffers, the device or the variant. Nothing is bound then.
    pub fn bind(&self, operands: &Operands<'_>) -> Result<Bound, BindError> {
        let tokens = operands.experts.rows;
        self.check(operands)?;
        let mut bound = Bound::default();
        for (stage, pass) in sources::steps(&self.spec, self.variant, tokens) {
            let list = self.list(stage, operands)?;
            let placement = place(self.library.caps(), &list, None, false)?;
            let mut params = Params::of(&self.spec, self.variant, tokens, pass);
            put_places(&mut params, operands, &placement);
            let groups = grid(self.library.caps(), tokens, stage.groups(self.variant, &params))?;
            params.grid_width = groups[0];
            let form = Form { write_all: placement.write_all, quads: in_quads(operands, &placement) };
            let built = self.library.built(&program(&self.spec, self.variant, stage, form))?;
            bound.steps.push(step(self.library.device(), built, &placement, &params, groups)?);
        }
        Ok(bound)
    }

    fn check(&self, operands: &Operands<'_>) -> Result<(), BindError> {
        let Spec { k, experts, outputs, .. } = self.spec;
        let tokens = operands.experts.rows;
        let (pairs, slots) = (u64::from(tokens) * u64::from(k), self.slots(tokens));
        if pairs.max(slots) >= 1 << 31 {
            let got = format!("{pairs} pairs, {slots} slots");
            return Err(BindError::BadOption { what: "experts", expected: "of fewer than 2^31 pairs and slots", got });
        }
        let (pairs, slots) = (pairs as u32, slots as u32);
        for (what, asked, rows, cols) in [
            ("experts", true, tokens, k),
            ("counts", true, 1, experts),
            ("offsets", true, 1, experts + 1),
            ("sorted", true, 1, slots),
            ("inverse", true, tokens, k),
            ("weights", self.spec.by_weight(), tokens, k),
            ("blocks", outputs.blocks, 1, slots / self.spec.block.unwrap_or(1)),
            ("dropped", outputs.dropped, 1, pairs),
            ("dropped_count", outputs.dropped_count, 1, 1),
            ("arguments", outputs.arguments.is_some(), experts, 3),
        ] {
            given(what, asked, operands.get(what).is_some())?;
            if let Some(m) = operands.get(what).filter(|m| (m.rows, m.cols) != (rows, cols)) {
                let (expected, got) = (format!("{rows} x {cols}"), format!("{} x {}", m.rows, m.cols));
                return Err(BindError::ShapeMismatch { what, expected, got });
            }
        }
        if !self.variant.takes(&self.spec, tokens) {
            let got = format!("{tokens} rows for {}", self.variant);
            return Err(BindError::BadOption { what: "experts", expected: "no longer than the variant takes", got });
        }
        self.check_aliases(operands)
    }

    fn check_aliases(&self, operands: &Operands<'_>) -> Result<(), BindError> {
        let bytes = self.scratch_bytes(operands.experts.rows);
        if bytes > 0 {
            given("scratch", true, operands.scratch.is_some())?;
        }
        let mut list = Vec::new();
        for what in sources::BUFFERS.map(|(what, _)| what) {
            let matrix = match operands.get(what) {
                Some(scratch) if what == "scratch" => match bytes {
                    0 => None,
                    _ => Some(scratch_window(scratch, bytes)?),
                },
                other => other,
            };
            let writes = !matches!(what, "experts" | "weights");
            list.extend(matrix.map(|matrix| Operand { binding: 0, what, matrix, element: 4, writes }));
        }
        refuse_aliases(&list, &[])
    }

    fn list<'a>(&self, stage: Stage, operands: &Operands<'a>) -> Result<Vec<Operand<'a>>, BindError> {
        let bytes = self.scratch_bytes(operands.experts.rows);
        let mut list = Vec::new();
        for (what, binding, writes) in stage.buffers(&self.spec) {
            let mut matrix = operands.get(what).ok_or(BindError::Missing { what })?;
            if what == "scratch" {
                matrix = scratch_window(matrix, bytes)?;
            }
            list.push(Operand { binding, what, matrix, element: 4, writes });
        }
        Ok(list)
    }

    /// The linked WGSL of its dispatches for the tokens of the specification, in order, for operands in separate buffers.
    #[must_use]
    pub fn wgsl(&self, dialect: Dialect) -> Vec<String> {
        wgsl(&self.spec, &self.variant, dialect)
    }
}

/// Whether pairs can be read and written four at a time.
fn in_quads(operands: &Operands<'_>, placement: &Placement<'_>) -> bool {
    let whole = [operands.experts, operands.inverse]
        .iter()
        .all(|m| (m.rows <= 1 || m.stride == m.cols) && m.extent().is_multiple_of(4));
    let bound = placement.placed.iter().filter(|p| matches!(p.what, "experts" | "inverse"));
    whole && bound.into_iter().all(|p| p.offset.is_multiple_of(4) && p.range.start.is_multiple_of(16))
}

/// Where operands and scratch memory begin.
fn put_places(params: &mut Params, operands: &Operands<'_>, placement: &Placement<'_>) {
    let offset = |what| placement.placed.iter().find(|p| p.what == what).map_or(0, |p| p.offset);
    let stride = |what| operands.get(what).map_or(0, |m| m.stride);
    params.experts_offset = offset("experts");
    params.experts_stride = stride("experts");
    params.weights_offset = offset("weights");
    params.weights_stride = stride("weights");
    params.counts_offset = offset("counts");
    params.offsets_offset = offset("offsets");
    params.sorted_offset = offset("sorted");
    params.inverse_offset = offset("inverse");
    params.inverse_stride = stride("inverse");
    params.blocks_offset = offset("blocks");
    params.dropped_offset = offset("dropped");
    params.dropped_count_offset = offset("dropped_count");
    params.arguments_offset = offset("arguments");
    params.arguments_stride = stride("arguments");
    let scratch = offset("scratch");
    for place in [
        &mut params.counters_offset,
        &mut params.totals_offset,
        &mut params.bases_offset,
        &mut params.keys_offset,
        &mut params.order_offset,
        &mut params.sorted_order_offset,
    ] {
        *place += scratch;
    }
}

/// The linked WGSL of a variant's dispatches, in order, for operands in separate buffers. Needs no device.
#[must_use]
pub fn wgsl(spec: &Spec, variant: &Variant, dialect: Dialect) -> Vec<String> {
    let steps = sources::steps(spec, *variant, spec.tokens);
    steps.iter().map(|&(stage, _)| program(spec, *variant, stage, Form::likely(spec)).text(dialect)).collect()
}
