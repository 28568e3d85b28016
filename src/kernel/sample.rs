//! Gumbel-max sampling: one column per row, drawn with the probabilities of a softmax, by a noise that is the same on
//! every device.
//!
//! For each row of logits x = input + mask, over the columns that are not excluded:
//!
//! ```text
//! choice = argmax_i (x_i + T · g_i)          g_i = −ln(−ln u_i), u_i from (seed, position, i)
//! ```
//!
//! which is distributed as softmax(x / T); the lowest column of equal scores wins, and T = 0 is the plain arg max. The choice
//! is the same to the bit on every device, for every variant, and in [`reference::choice`](crate::reference::choice), except
//! for the schedules named block, which draw from the same distribution by fewer variates, but from other ones. One read of
//! the logits, 4 bytes written per choice. Several choices of a row are without replacement, best score first (Gumbel-top-k:
//! Kool, van Hoof & Welling, arXiv 1903.06059). `docs/semantics.md` has the stream and the special values.

use std::fmt;
use std::str::FromStr;

use super::place::{Operand, Placement, grid, place};
use super::softmax::{
    Dtype, MapParams, MaskType, PARTIAL_BYTES, Params, PerRow, Shape, Tier, given, map_params, mask_fragment, per_row,
    scratch_window, source_fragment, step,
};
use crate::library::{Access, Built, PRODUCT_16, Program};
use crate::shader::{Dialect, Fragment, Header, fragment};
use crate::tuning::{Entry, Sizes, Tunable, Variants};
use crate::{BindError, Bound, BuildError, Caps, Library, Matrix};

/// What a choice says: a column, or why there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Status {
    /// This column was drawn.
    Column(u32),
    /// Every column is excluded.
    Empty,
    /// A logit that is not excluded is NaN, or the temperature is NaN, negative or above 2⁹⁶.
    Nan,
    /// A logit is +inf, and none NaN.
    Infinite,
}

impl Status {
    /// What a word that [`Sample`] has written means.
    #[must_use]
    pub fn of(word: u32) -> Self {
        match word {
            u32::MAX => Self::Empty,
            0xffff_fffe => Self::Nan,
            0xffff_fffd => Self::Infinite,
            column => Self::Column(column),
        }
    }

    /// The word that stands for it.
    #[must_use]
    pub fn word(self) -> u32 {
        match self {
            Self::Column(column) => column,
            Self::Empty => u32::MAX,
            Self::Nan => 0xffff_fffe,
            Self::Infinite => 0xffff_fffd,
        }
    }
}

/// How a row is spread over the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Schedule {
    /// A row is the work of some invocations of one workgroup.
    Stream,
    /// A row is split over several workgroups: two dispatches.
    Split,
    /// As `Stream`, but first one variate for what each invocation has summed, then one for each column of the sum that
    /// wins: fewer draws, another stream. The choice depends on the variant and on rounding.
    Block,
    /// As `Block`, of a row split over several workgroups.
    BlockSplit,
}

impl Schedule {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Stream, Self::Split, Self::Block, Self::BlockSplit];

    /// Whether a row is split over several workgroups.
    #[must_use]
    pub fn splits(self) -> bool {
        matches!(self, Self::Split | Self::BlockSplit)
    }

    /// Whether it draws blocks first. Its choices are not those of the other schedules.
    #[must_use]
    pub fn by_blocks(self) -> bool {
        matches!(self, Self::Block | Self::BlockSplit)
    }

    fn name(self) -> &'static str {
        match self {
            Self::Stream => "stream",
            Self::Split => "split",
            Self::Block => "block",
            Self::BlockSplit => "blocksplit",
        }
    }
}

/// Everything that decides which machine code runs, options aside: `sample/stream/f32/shuffle/w8/x4`, as for
/// [`softmax::Variant`](crate::softmax::Variant).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Variant {
    /// How a row is spread.
    pub schedule: Schedule,
    /// The element type of the logits.
    pub input: Dtype,
    /// f16 elements have the device's own type.
    pub native_f16: bool,
    /// How invocations exchange candidates.
    pub tier: Tier,
    /// Invocations of a workgroup.
    pub width: u32,
    /// Invocations that share a row.
    pub lanes: u32,
    /// Four elements per load.
    pub quads: bool,
}

/// (schedule, width, lanes). The small widths are for adapters that run on a CPU.
const GEOMETRIES: &[(Schedule, u32, u32)] = &[
    (Schedule::Stream, 8, 1),
    (Schedule::Stream, 8, 8),
    (Schedule::Stream, 64, 64),
    (Schedule::Stream, 256, 32),
    (Schedule::Stream, 256, 256),
    (Schedule::Split, 8, 8),
    (Schedule::Split, 256, 256),
    (Schedule::Block, 8, 1),
    (Schedule::Block, 8, 8),
    (Schedule::Block, 256, 32),
    (Schedule::Block, 256, 256),
    (Schedule::BlockSplit, 8, 8),
    (Schedule::BlockSplit, 256, 256),
];

/// The most choices of one row.
pub const MAX_DRAWS: u32 = 64;

/// Loop iterations of one invocation, at most: as for softmax.
const MAX_ITERATIONS: u32 = 60_000;

/// The most workgroups that one row is split over.
const MAX_PARTS: u32 = 4096;

const MERGE_WIDTH: u32 = 64;

/// Workgroups that fill a GPU: more of them would each find a best column of less.
const FULL: u32 = 256;

/// Invocations that merge a row's parts: on a CPU's narrow workgroups one, which waits for nobody.
fn merge_lanes(variant: &Variant) -> u32 {
    if variant.width > 8 { MERGE_WIDTH } else { 1 }
}

impl Variant {
    /// Every variant, on every device.
    pub fn all() -> impl Iterator<Item = Self> {
        GEOMETRIES.iter().flat_map(|&(schedule, width, lanes)| {
            Dtype::ALL.into_iter().flat_map(move |input| {
                let halves = if input == Dtype::F16 { &[false, true][..] } else { &[false][..] };
                halves
                    .iter()
                    .flat_map(|&native_f16| Tier::ALL.map(|tier| (native_f16, tier)))
                    .filter(move |(_, tier)| tier.fits(width, lanes))
                    .flat_map(|(native_f16, tier)| [true, false].map(|quads| (native_f16, tier, quads)))
                    .map(move |(native_f16, tier, quads)| Self {
                        schedule,
                        input,
                        native_f16,
                        tier,
                        width,
                        lanes,
                        quads,
                    })
            })
        })
    }

    /// Whether a device with these capabilities can run it.
    ///
    /// # Errors
    /// What it lacks.
    pub fn supported(&self, caps: &Caps) -> Result<(), BuildError> {
        if !Self::all().any(|v| v == *self) {
            return Err(BuildError::Unsupported { variant: self.to_string(), why: "Variant::all does not have it" });
        }
        self.tier.supported(caps, &self.to_string(), self.width, self.lanes)?;
        if self.native_f16 && !caps.f16 {
            return Err(BuildError::MissingFeature { variant: self.to_string(), feature: "SHADER_F16" });
        }
        Ok(())
    }

    /// Columns it can take: what stays under the bound on loop iterations. For several draws, 2²⁵.
    #[must_use]
    pub fn max_columns(&self) -> u32 {
        let parts = if self.schedule.splits() { MAX_PARTS } else { 1 };
        // One iteration for four quads, and, where the bounds leave more than one column, one more for each.
        self.lanes.saturating_mul(MAX_ITERATIONS / 5 * 16).saturating_mul(parts)
    }

    /// (workgroups that one row of so many is split over, quads that each covers), for so many draws. By blocks, what is drawn
    /// depends on it: there it is the same for any number of rows.
    #[must_use]
    pub fn parts(&self, rows: u32, cols: u32, draws: u32) -> (u32, u32) {
        let quads = cols.div_ceil(4).max(1);
        if !self.schedule.splits() {
            return (1, quads);
        }
        // The fields are public, and not every number is a width.
        let width = self.width.clamp(1, 1024);
        // Of several draws, each but the last looks through a part again.
        let per_lane = match (width <= 8, draws > 1) {
            (true, false) => 1024,
            (true, true) => 64,
            (false, _) if self.schedule.by_blocks() => 16,
            (false, _) => {
                let all = u64::from(rows) * u64::from(quads);
                all.div_ceil(u64::from(FULL * width)).clamp(1, 64) as u32
            }
        };
        let wanted = quads.div_ceil(per_lane * width).clamp(1, MAX_PARTS);
        let part = quads.div_ceil(wanted).next_multiple_of(width);
        (quads.div_ceil(part), part)
    }

    /// Parts of so many rows, or of fewer, of which each has more.
    fn partials(&self, rows: u32, cols: u32, draws: u32) -> u64 {
        let parts = |rows| u64::from(self.parts(rows, cols, draws).0);
        let all = u64::from(rows);
        (all * parts(rows)).max((all * parts(1)).min(all + u64::from(FULL)))
    }

    /// The variant that should be fastest for `shape` on a device with these capabilities. Pure.
    #[must_use]
    pub fn select(caps: &Caps, shape: &Shape, input: Dtype, draws: u32) -> Self {
        let wide = caps.max_invocations >= 256 && caps.max_workgroup_bytes >= 4096;
        let (rows, cols) = (shape.rows, shape.cols);
        let (schedule, width, lanes) = match (caps.cpu, wide) {
            (false, true) if draws > 1 => (Schedule::Split, 256, 256),
            _ if draws > 1 => (Schedule::Split, 8, 8),
            (true, _) if rows >= 256 && cols <= 16_384 => (Schedule::Stream, 8, 1),
            // Of short rows, the exchange between lanes is a good part; and there are rows for lanes of two cores.
            (true, _) if rows >= 16 && cols <= 1024 => (Schedule::Stream, 8, 1),
            (true, _) if rows >= 8 && cols <= 1_000_000 => (Schedule::Stream, 8, 8),
            (false, true) if cols <= 1024 => (Schedule::Stream, 64, 64),
            (false, true) if cols <= 16_384 || (rows >= 512 && cols <= 1_000_000) => (Schedule::Stream, 256, 256),
            (false, true) => (Schedule::Split, 256, 256),
            (false, false) if cols <= 1_000_000 => (Schedule::Stream, 64, 64),
            _ => (Schedule::Split, 8, 8),
        };
        let variant = Self {
            schedule,
            input,
            native_f16: caps.f16 && input == Dtype::F16,
            tier: Tier::select(caps, width, lanes),
            width,
            lanes,
            quads: shape.quads,
        };
        // A row in one part is streamed all the same, and merging it is one dispatch more.
        let alone = schedule == Schedule::Split && draws == 1 && variant.parts(rows, cols, draws).0 == 1;
        if alone { Self { schedule: Schedule::Stream, ..variant } } else { variant }
    }
}

impl fmt::Display for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let schedule = self.schedule.name();
        let input = if self.native_f16 { "f16n" } else { self.input.name() };
        write!(f, "sample/{schedule}/{input}/{}/w{}", self.tier.name(), self.width)?;
        if self.lanes != self.width {
            write!(f, "l{}", self.lanes)?;
        }
        f.write_str(if self.quads { "/x4" } else { "/x1" })
    }
}

impl FromStr for Variant {
    type Err = BuildError;

    fn from_str(name: &str) -> Result<Self, BuildError> {
        Self::all().find(|v| v.to_string() == name).ok_or_else(|| BuildError::UnknownVariant(name.into()))
    }
}

/// Which options are in use. One that is not costs nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Options {
    /// Factor on the logits, before the mask.
    pub scale: Option<f32>,
    /// An additive mask is given.
    pub mask: Option<MaskType>,
    /// A mask of one bit per column is given, as grammar engines make: 0 excludes the column.
    pub bits: bool,
    /// Temperatures are given; otherwise they are 1.
    pub temperature: bool,
    /// Valid lengths are given: columns from there on are excluded.
    pub lengths: bool,
    /// Log-probabilities of the choices under softmax(x / T) are written, and the log-sum-exp of x / T.
    pub logprobs: bool,
}

/// What to draw from, and for which shape.
#[derive(Clone, Debug, PartialEq)]
pub struct Spec {
    /// What is going to be bound. `quads` speaks of logits and mask.
    pub shape: Shape,
    /// Element type of the logits.
    pub input: Dtype,
    /// Choices of a row, without replacement and best first: 1 to [`MAX_DRAWS`]. More than one needs the schedule
    /// [`Schedule::Split`].
    pub draws: u32,
    /// What else is in use.
    pub options: Options,
    /// This variant and no other; `None` leaves the choice to [`Variant::select`].
    pub variant: Option<Variant>,
}

impl Spec {
    /// One choice, from f32 logits at temperature 1.
    #[must_use]
    pub fn new(shape: Shape) -> Self {
        Self { shape, input: Dtype::F32, draws: 1, options: Options::default(), variant: None }
    }

    /// Columns that a variant can take.
    fn max_columns(&self, variant: &Variant) -> u32 {
        variant.max_columns().min(if self.draws > 1 { 1 << 25 } else { u32::MAX })
    }

    /// Whether a device with these capabilities can run `variant` for it.
    fn check(&self, variant: &Variant, caps: &Caps) -> Result<(), BuildError> {
        variant.supported(caps)?;
        if variant.input != self.input {
            let why = "its element type is not that of the specification";
            return Err(BuildError::Unsupported { variant: variant.to_string(), why });
        }
        if !(1..=MAX_DRAWS).contains(&self.draws) {
            let got = self.draws.to_string();
            return Err(BuildError::BadOption { what: "draws", expected: "from 1 to 64", got });
        }
        if self.draws > 1 && variant.schedule != Schedule::Split {
            let why = "it makes one choice a row; split variants make more";
            return Err(BuildError::Unsupported { variant: variant.to_string(), why });
        }
        if let Some(s) = self.options.scale.filter(|s| !s.is_finite()) {
            return Err(BuildError::BadOption { what: "scale", expected: "finite", got: s.to_string() });
        }
        for &stage in Stage::of(variant.schedule, self) {
            caps.check_buffers(stage.buffers(self.options).into_iter().map(|(what, ..)| what).collect())?;
        }
        Ok(())
    }
}

impl Tunable for Spec {
    type Variant = Variant;

    fn variants() -> impl Iterator<Item = Variant> {
        Variant::all()
    }

    fn sizes(&self) -> Sizes {
        Sizes { rows: self.shape.rows, cols: self.shape.cols, choices: Some(self.draws) }
    }

    fn entries<'a>(&self, variants: &'a Variants) -> &'a [Entry<Variant>] {
        &variants.sample
    }

    fn named(&self) -> Option<Variant> {
        self.variant
    }

    fn select(&self, caps: &Caps) -> Variant {
        Variant::select(caps, &self.shape, self.input, self.draws)
    }

    fn takes(&self, caps: &Caps, variant: &Variant) -> bool {
        variant.quads == self.shape.quads
            && self.max_columns(variant) >= self.shape.cols
            && !variant.schedule.by_blocks()
            && self.check(variant, caps).is_ok()
    }
}

/// The operands of one draw. Those that the specification does not ask for stay `None`.
#[derive(Clone, Copy, Debug)]
pub struct Operands<'a> {
    /// Logits `[rows, cols]`. With a stride of 0, all rows draw from the same logits.
    pub src: Matrix<'a>,
    /// Choices `[rows, draws]`, u32, written: [`Status::of`] reads them. A row with fewer columns ends in
    /// [`Status::Empty`].
    pub dst: Matrix<'a>,
    /// `[rows, 1 + draws]`, f32, written: log-sum-exp, then the log-probability of each choice.
    pub logprobs: Option<Matrix<'a>>,
    /// `[entries, 4]`, u32: seed and position of a row, each its low word first.
    pub seeds: PerRow<'a>,
    /// Additive mask `[entries, cols]`.
    pub mask: Option<PerRow<'a>>,
    /// Allowed columns `[entries, ⌈cols / 32⌉]`, u32: column c is bit c % 32 of word c / 32.
    pub bits: Option<PerRow<'a>>,
    /// Temperatures `[entries, 1]`, f32.
    pub temperature: Option<PerRow<'a>>,
    /// Valid lengths `[entries, 1]`, u32.
    pub lengths: Option<PerRow<'a>>,
    /// [`Sample::scratch_bytes`] bytes or more, for variants that split rows: [`Matrix`] of u32.
    pub scratch: Option<Matrix<'a>>,
}

impl<'a> Operands<'a> {
    /// Logits, choices and seeds, nothing else.
    #[must_use]
    pub fn new(src: Matrix<'a>, dst: Matrix<'a>, seeds: PerRow<'a>) -> Self {
        Self {
            src,
            dst,
            logprobs: None,
            seeds,
            mask: None,
            bits: None,
            temperature: None,
            lengths: None,
            scratch: None,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    Whole,
    Part,
    Merge,
    /// Instead of `Merge`, where there is more to do: several draws, log-probabilities, blocks.
    Order,
    /// Rows without columns.
    Empty,
}

impl Stage {
    pub fn of(schedule: Schedule, spec: &Spec) -> &'static [Self] {
        match schedule {
            Schedule::Stream | Schedule::Block => &[Self::Whole],
            Schedule::Split if spec.draws == 1 && !spec.options.logprobs => &[Self::Part, Self::Merge],
            Schedule::Split | Schedule::BlockSplit => &[Self::Part, Self::Order],
        }
    }

    fn draws(self) -> bool {
        matches!(self, Self::Whole | Self::Part | Self::Order)
    }

    /// (name, binding, written), in order of binding.
    fn buffers(self, options: Options) -> Vec<(&'static str, u32, bool)> {
        let draws = self.draws();
        [
            (draws, ("src", 1, false)),
            (self != Self::Part, ("dst", 2, true)),
            (self != Self::Part && options.logprobs, ("logprobs", 3, true)),
            (draws && options.mask.is_some(), ("mask", 4, false)),
            (draws && options.temperature, ("temperature", 5, false)),
            (draws && options.lengths, ("lengths", 8, false)),
            (matches!(self, Self::Part | Self::Merge | Self::Order), ("scratch", 9, true)),
            (draws, ("seeds", 10, false)),
            (draws && options.bits, ("bits", 11, false)),
        ]
        .into_iter()
        .filter(|(used, _)| *used)
        .map(|(_, buffer)| buffer)
        .collect()
    }
}

/// Sampling of one specification, compiled.
#[derive(Clone, Debug)]
pub struct Sample {
    library: Library,
    spec: Spec,
    variant: Variant,
}

impl Sample {
    pub(crate) fn new(library: &Library, spec: &Spec) -> Result<Self, BuildError> {
        let variant = library.choose(spec);
        spec.check(&variant, library.caps())?;
        let sample = Self { library: library.clone(), spec: spec.clone(), variant };
        for &stage in Stage::of(variant.schedule, spec) {
            sample.built(stage, false)?;
        }
        Ok(sample)
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

    /// Bytes of scratch memory that binding this shape takes: 0, but for variants that split rows.
    #[must_use]
    pub fn scratch_bytes(&self, rows: u32, cols: u32) -> u64 {
        if !self.variant.schedule.splits() {
            return 0;
        }
        self.variant.partials(rows, cols, self.spec.draws) * u64::from(self.slot()) * PARTIAL_BYTES
    }

    /// Partials that a part leaves.
    fn slot(&self) -> u32 {
        if keeps_totals(&self.spec, &self.variant) { 2 } else { 1 }
    }

    /// Checks the operands and makes what recording needs.
    ///
    /// # Errors
    /// When operands do not fit each other, their buffers, the device or the variant. Nothing is bound then.
    pub fn bind(&self, operands: &Operands<'_>) -> Result<Bound, BindError> {
        self.check(operands)?;
        let mut bound = Bound::default();
        if operands.src.rows == 0 {
            return Ok(bound);
        }
        let stages =
            if operands.src.cols == 0 { &[Stage::Empty] } else { Stage::of(self.variant.schedule, &self.spec) };
        for &stage in stages {
            bound.steps.push(self.step(stage, operands)?);
        }
        Ok(bound)
    }

    fn check(&self, operands: &Operands<'_>) -> Result<(), BindError> {
        let Operands { src, dst, .. } = operands;
        let (rows, cols, o) = (src.rows, src.cols, &self.spec.options);
        given("logprobs", o.logprobs, operands.logprobs.is_some())?;
        let draws = self.spec.draws;
        for (what, matrix, wanted) in [("dst", Some(dst), draws), ("logprobs", operands.logprobs.as_ref(), 1 + draws)] {
            if let Some(m) = matrix.filter(|m| (m.rows, m.cols) != (rows, wanted)) {
                let (expected, got) = (format!("{rows} x {wanted}"), format!("{} x {}", m.rows, m.cols));
                return Err(BindError::ShapeMismatch { what, expected, got });
            }
        }
        per_row("seeds", true, Some(&operands.seeds), rows, 4)?;
        per_row("mask", o.mask.is_some(), operands.mask.as_ref(), rows, cols)?;
        per_row("bits", o.bits, operands.bits.as_ref(), rows, cols.div_ceil(32))?;
        per_row("temperature", o.temperature, operands.temperature.as_ref(), rows, 1)?;
        per_row("lengths", o.lengths, operands.lengths.as_ref(), rows, 1)?;
        let max = self.spec.max_columns(&self.variant);
        if cols > max {
            return Err(BindError::TooManyColumns { variant: self.variant.to_string(), cols, max });
        }
        for (what, m) in [("src", Some(*src)), ("mask", operands.mask.map(|m| m.matrix))] {
            if self.variant.quads && m.is_some_and(|m| !m.in_quads()) {
                return Err(BindError::NotInQuads { what, variant: self.variant.to_string() });
            }
        }
        if self.variant.schedule.splits() && rows > 0 && cols > 0 {
            given("scratch", true, operands.scratch.is_some())?;
        }
        Ok(())
    }

    fn step(&self, stage: Stage, operands: &Operands<'_>) -> Result<crate::bound::Step, BindError> {
        let caps = self.library.caps();
        let (rows, cols) = (operands.src.rows, operands.src.cols);
        let list = self.list(stage, operands)?;
        let placement = place(caps, &list, None, false)?;
        let (parts, part_quads) = self.variant.parts(rows, cols, self.spec.draws);
        let groups = match stage {
            Stage::Whole => u64::from(rows.div_ceil(self.variant.width / self.variant.lanes)),
            Stage::Part => u64::from(rows) * u64::from(parts),
            Stage::Order => u64::from(rows),
            Stage::Merge => u64::from(rows.div_ceil(MERGE_WIDTH / merge_lanes(&self.variant))),
            Stage::Empty => u64::from(rows.div_ceil(MERGE_WIDTH)),
        };
        let groups = grid(caps, rows, groups)?;
        let params = Params {
            grid_width: groups[0],
            parts,
            part_quads,
            merged: if stage == Stage::Empty { 0 } else { parts },
            partials_stride: parts * self.slot(),
            ..self.params(operands, &placement)
        };
        let built = self.built(stage, placement.write_all)?;
        step(self.library.device(), built, &placement, &params, groups)
    }

    fn list<'a>(&self, stage: Stage, operands: &Operands<'a>) -> Result<Vec<Operand<'a>>, BindError> {
        // Rows that are all the same are one row as far as memory is concerned.
        let src = if operands.src.stride == 0 { Matrix { rows: 1, ..operands.src } } else { operands.src };
        let mask_bytes = if self.spec.options.mask == Some(MaskType::F16) { 2 } else { 4 };
        let bytes = self.scratch_bytes(operands.src.rows, operands.src.cols);
        let mut list = Vec::new();
        for (what, binding, writes) in stage.buffers(self.spec.options) {
            let (matrix, element) = match what {
                "src" => (Some(src), self.spec.input.bytes()),
                "dst" => (Some(operands.dst), 4),
                "logprobs" => (operands.logprobs, 4),
                "mask" => (operands.mask.map(|m| m.matrix), mask_bytes),
                "temperature" => (operands.temperature.map(|m| m.matrix), 4),
                "lengths" => (operands.lengths.map(|m| m.matrix), 4),
                "seeds" => (Some(operands.seeds.matrix), 4),
                "bits" => (operands.bits.map(|m| m.matrix), 4),
                _ => (operands.scratch.map(|m| scratch_window(m, bytes)).transpose()?, 4),
            };
            let matrix = matrix.ok_or(BindError::Missing { what })?;
            list.push(Operand { binding, what, matrix, element, writes });
        }
        Ok(list)
    }

    fn params(&self, operands: &Operands<'_>, placement: &Placement<'_>) -> Params {
        let unit = if self.variant.quads { 4 } else { 1 };
        let offset = |what| placement.placed.iter().find(|p| p.what == what).map_or(0, |p| p.offset);
        let map = |what, per_row: Option<&PerRow<'_>>, unit: u32| {
            per_row.map_or(MapParams::unused(), |p| map_params(p, offset(what), unit))
        };
        Params {
            rows: operands.src.rows,
            cols: operands.src.cols,
            quads: operands.src.cols.div_ceil(4),
            src_offset: offset("src") / unit,
            src_stride: operands.src.stride / unit,
            dst_offset: offset("dst"),
            dst_stride: operands.dst.stride,
            lse_offset: offset("logprobs"),
            lse_stride: operands.logprobs.map_or(0, |m| m.stride),
            draws: self.spec.draws,
            scale: self.spec.options.scale.unwrap_or(1.0),
            empty: Params::constants().nan,
            partials_offset: offset("scratch") / 4,
            mask: map("mask", operands.mask.as_ref(), unit),
            temperature: map("temperature", operands.temperature.as_ref(), 1),
            lengths: map("lengths", operands.lengths.as_ref(), 1),
            seeds: map("seeds", Some(&operands.seeds), 1),
            bits: map("bits", operands.bits.as_ref(), 1),
            ..Params::constants()
        }
    }

    fn built(&self, stage: Stage, write_all: bool) -> Result<Built, BuildError> {
        self.library.built(&program(&self.spec, &self.variant, stage, write_all))
    }

    /// The linked WGSL of its dispatches, in order, for operands in separate buffers.
    #[must_use]
    pub fn wgsl(&self, dialect: Dialect) -> Vec<String> {
        let program = |&stage: &Stage| program(&self.spec, &self.variant, stage, false).on(self.library.caps());
        Stage::of(self.variant.schedule, &self.spec).iter().map(|stage| program(stage).text(dialect)).collect()
    }
}

/// The linked WGSL of a variant's dispatches, in order, for operands in separate buffers and without 64-bit integers. Needs no
/// device.
#[must_use]
pub fn wgsl(spec: &Spec, variant: &Variant, dialect: Dialect) -> Vec<String> {
    Stage::of(variant.schedule, spec).iter().map(|&stage| program(spec, variant, stage, false).text(dialect)).collect()
}

pub(crate) fn program(spec: &Spec, variant: &Variant, stage: Stage, write_all: bool) -> Program {
    let o = &spec.options;
    let draws = stage.draws();
    let mut name = match stage {
        Stage::Whole => variant.to_string(),
        Stage::Part => format!("{variant}#part"),
        Stage::Order => format!("{variant}#order"),
        Stage::Merge => format!("sample/merge/w{MERGE_WIDTH}l{}", merge_lanes(variant)),
        Stage::Empty => format!("sample/empty/w{MERGE_WIDTH}"),
    };
    for (used, suffix) in [
        (draws && o.scale.is_some(), "+scale"),
        (draws && o.mask == Some(MaskType::F32), "+mask"),
        (draws && o.mask == Some(MaskType::F16), "+mask16"),
        (draws && o.bits, "+bits"),
        (draws && o.temperature, "+temperature"),
        (draws && o.lengths, "+lengths"),
        (o.logprobs, "+logprobs"),
        (write_all, "@pooled"),
    ] {
        if used {
            name.push_str(suffix);
        }
    }
    let width = if draws { variant.width } else { MERGE_WIDTH };
    let mut overrides = vec![("WIDTH", f64::from(width))];
    match stage {
        Stage::Merge => overrides.push(("LANES", f64::from(merge_lanes(variant)))),
        _ if draws => overrides.push(("LANES", f64::from(variant.lanes))),
        _ => {}
    }
    let access = |written| if written || write_all { Access::ReadWrite } else { Access::Read };
    let mut bindings = vec![(0, Access::Uniform)];
    bindings.extend(stage.buffers(spec.options).into_iter().map(|(_, binding, written)| (binding, access(written))));
    Program {
        name,
        header: Header {
            f16: draws && variant.native_f16,
            subgroups: draws && variant.tier != Tier::Baseline,
            ..Header::default()
        },
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

/// Whether a part of a split row leaves its partition function too.
fn keeps_totals(spec: &Spec, variant: &Variant) -> bool {
    spec.options.logprobs || variant.schedule.by_blocks()
}

fn fragments(spec: &Spec, variant: &Variant, stage: Stage, write_all: bool) -> Vec<Fragment> {
    let (o, w, blocks) = (&spec.options, write_all, variant.schedule.by_blocks());
    let mut list = vec![fragment!("lib/params"), fragment!("lib/lane"), fragment!("lib/partial")];
    let writes = stage != Stage::Part;
    if writes {
        list.extend([fragment!("lib/choice"), fragment!("lib/status")]);
    }
    match stage {
        Stage::Empty => {
            list.extend([either!(o.logprobs, "lib/logprobs_on", "lib/logprobs_off"), fragment!("sample_empty")]);
            return list;
        }
        Stage::Merge => {
            list.extend(Tier::Baseline.fragments(fragment!("lib/exchange")));
            list.extend([fragment!("lib/merge_best"), fragment!("lib/partials"), fragment!("sample_merge")]);
            return list;
        }
        Stage::Whole => list.extend([fragment!("lib/task"), either!(blocks, "sample_block", "sample")]),
        Stage::Part | Stage::Order => {
            list.extend([
                fragment!("lib/partials"),
                either!(keeps_totals(spec, variant), "lib/slot_two", "lib/slot_one"),
            ]);
            list.push(match (stage, blocks) {
                (Stage::Part, false) => fragment!("sample_part"),
                (Stage::Part, true) => fragment!("sample_block_part"),
                (_, false) => fragment!("sample_order"),
                (_, true) => fragment!("sample_block_order"),
            });
        }
    }
    // What is computed with exponentials.
    let sums = o.logprobs || blocks;
    list.extend(variant.tier.fragments(either!(sums, "lib/exchange_sums", "lib/exchange")));
    list.extend([
        fragment!("lib/row"),
        fragment!("lib/stream"),
        either!(o.scale.is_some(), "lib/scale_fenced", "lib/scale_off"),
        fragment!("lib/cap_off"),
        fragment!("lib/position_off"),
        fragment!("lib/slopes_off"),
        fragment!("lib/philox"),
        PRODUCT_16,
        fragment!("lib/stream_on"),
        fragment!("lib/perturbed_off"),
        fragment!("lib/noise"),
        fragment!("lib/logarithm"),
        fragment!("lib/drawing"),
        fragment!("lib/better"),
        either!(o.bits, "lib/bits_on", "lib/bits_off"),
        mask_fragment(o.mask, variant.quads),
        source_fragment(variant.input, variant.native_f16, variant.quads),
        either!(w, "lib/operand_src_read_write", "lib/operand_src_read"),
        either!(w, "lib/operand_seeds_read_write", "lib/operand_seeds_read"),
    ]);
    if sums {
        list.extend([fragment!("lib/exp"), fragment!("lib/sum_extended")]);
    } else {
        list.push(fragment!("lib/merge_best"));
    }
    if writes && o.logprobs {
        list.extend([
            fragment!("lib/normal_extended"),
            fragment!("lib/outcome"),
            fragment!("lib/logprobs_on"),
            fragment!("lib/scored_on"),
        ]);
    } else if writes {
        list.push(fragment!("lib/scored_off"));
    }
    // An order of blocks takes logarithms of shares, and so does its whole.
    if blocks || (writes && o.logprobs) {
        list.push(fragment!("lib/ln"));
    }
    match (blocks, o.temperature) {
        (true, true) => list.extend([fragment!("lib/temperature_on"), fragment!("lib/divided_off")]),
        (false, true) => list.push(fragment!("lib/temperature_kept")),
        (_, false) => list.extend([fragment!("lib/temperature_off"), fragment!("lib/divided_off")]),
    }
    if blocks {
        list.extend([fragment!("lib/block"), fragment!("lib/sinks_off"), fragment!("lib/pass_sum")]);
    } else {
        list.extend([fragment!("lib/draw"), either!(o.logprobs, "lib/tally_on", "lib/tally_off")]);
    }
    list.push(match (o.lengths, variant.quads) {
        (true, _) => fragment!("lib/limit_lengths"),
        (false, true) => fragment!("lib/limit_off"),
        (false, false) => fragment!("lib/limit_tail"),
    });
    if variant.input == Dtype::F16 || o.mask == Some(MaskType::F16) {
        list.push(fragment!("lib/half"));
    }
    if variant.input == Dtype::Bf16 {
        list.push(fragment!("lib/brain"));
    }
    if o.mask.is_some() {
        list.push(either!(w, "lib/operand_mask_read_write", "lib/operand_mask_read"));
    }
    if o.temperature {
        list.push(either!(w, "lib/operand_temperature_read_write", "lib/operand_temperature_read"));
    }
    if o.lengths {
        list.push(either!(w, "lib/operand_lengths_read_write", "lib/operand_lengths_read"));
    }
    if o.bits {
        list.push(either!(w, "lib/operand_bits_read_write", "lib/operand_bits_read"));
    }
    list
}

/// Every program that can be built: each option alone, none and all, in both forms.
#[cfg(feature = "conformance")]
pub(crate) fn every_program() -> Vec<Program> {
    let none = Options::default();
    let all = Options {
        scale: Some(2.0),
        mask: Some(MaskType::F32),
        bits: true,
        temperature: true,
        lengths: true,
        logprobs: true,
    };
    let sets = [
        none,
        all,
        Options { mask: Some(MaskType::F16), ..none },
        Options { mask: all.mask, ..none },
        Options { bits: true, ..none },
        Options { temperature: true, ..none },
        Options { lengths: true, ..none },
        Options { scale: all.scale, ..none },
        Options { logprobs: true, ..none },
    ];
    let mut programs = Vec::new();
    for variant in Variant::all() {
        for (options, write_all) in sets.iter().flat_map(|o| [(*o, false), (*o, true)]) {
            let draws = if variant.schedule == Schedule::Split { 2 } else { 1 };
            for draws in 1..=draws {
                let spec = Spec { input: variant.input, draws, options, ..Spec::new(Shape::new(1, 4)) };
                for &stage in Stage::of(variant.schedule, &spec).iter().chain(&[Stage::Empty]) {
                    programs.push(program(&spec, &variant, stage, write_all));
                }
            }
        }
    }
    programs
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Few rows are split where that makes several parts of them: one part would be a stream and one more dispatch.
    #[test]
    fn selection() {
        let gpu = Caps { max_storage_buffers: 8, ..Caps::baseline() };
        let cpu = Caps { cpu: true, ..gpu.clone() };
        let of = |caps: &Caps, cols, draws| {
            let variant = Variant::select(caps, &Shape::new(1, cols), Dtype::F32, draws);
            (variant.schedule, variant.width, variant.parts(1, cols, draws).0)
        };
        assert_eq!(of(&cpu, 1024, 1), (Schedule::Stream, 8, 1));
        assert_eq!(of(&cpu, 32_768, 1), (Schedule::Stream, 8, 1));
        assert_eq!(of(&cpu, 32_772, 1), (Schedule::Split, 8, 2));
        assert_eq!(of(&gpu, 16_384, 1), (Schedule::Stream, 256, 1));
        assert_eq!(of(&gpu, 16_388, 1), (Schedule::Split, 256, 17));
        // Of short rows, a lane has one to itself where there are some.
        let lanes = |rows, cols| Variant::select(&cpu, &Shape::new(rows, cols), Dtype::F32, 1).lanes;
        assert_eq!([lanes(15, 1024), lanes(16, 1024), lanes(16, 1028), lanes(256, 16_384)], [8, 1, 8, 1]);
        // Several draws are made by split rows only.
        assert_eq!(of(&cpu, 1024, 2), (Schedule::Split, 8, 1));
        assert_eq!(of(&gpu, 1024, 2), (Schedule::Split, 256, 1));
    }

    /// Memory for many rows does for fewer, although each of those has more parts; and a GPU is full of a row.
    #[test]
    fn fewer_rows_need_no_more_memory() {
        for variant in Variant::all().filter(|v| v.schedule == Schedule::Split && v.input == Dtype::F32) {
            for cols in [1, 1000, 16_384, 50_257, 151_936, 1_000_000, 20_000_000] {
                for draws in [1, 8] {
                    let needed = |rows| u64::from(rows) * u64::from(variant.parts(rows, cols, draws).0);
                    let mut most = 0;
                    for rows in (1..300).chain([1000, 4096, 70_000]) {
                        most = most.max(needed(rows));
                        assert!(variant.partials(rows, cols, draws) >= most, "{variant} {rows} x {cols}, {draws}");
                    }
                }
            }
        }
        let wide = "sample/split/f32/baseline/w256/x4".parse::<Variant>().unwrap();
        for width in [0, 3, u32::MAX] {
            let odd = Variant { width, ..wide };
            assert!(odd.parts(u32::MAX, u32::MAX, 1).0 >= 1 && odd.partials(u32::MAX, u32::MAX, 8) >= 1, "{width}");
        }
        assert_eq!([1, 8, 64, 1000].map(|rows| wide.parts(rows, 151_936, 1).0), [149, 30, 4, 3]);
    }
}
