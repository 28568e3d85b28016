//! Softmax over the last axis, fused with what usually stands around it.
//!
//! For each row of effective logits x:
//!
//! ```text
//! y_i   = exp(x_i) / (Σ_j exp(x_j) + exp(sink))           probabilities
//! y_i   = x_i − ln(Σ_j exp(x_j) + exp(sink))              log-probabilities
//! lse   = ln(Σ_j exp(x_j) + exp(sink))                    on request
//! ```
//!
//! where x is made from the input, in this order and each step only if asked for: `scale · x`;
//! `cap · tanh(x / cap)`; `+ slope · (column − position)` (`ALiBi`); `+ mask`; `+ gumbel noise`; `/ temperature`; columns after the
//! diagonal (causal) or from the row's length on are excluded. `docs/semantics.md` says what comes of NaN,
//! infinities, empty rows and temperature 0; `docs/accuracy.md` why the error is at most 4 ULP.

mod params;
mod shard;
mod sources;
mod variant;

pub use params::RowMap;
pub use shard::{Merge, PARTIAL_BYTES, ShardScale, ShardSpec, ShardSum};
pub use variant::{Schedule, Tier, Variant};

pub(crate) use params::{MapParams, Params};
#[cfg(feature = "conformance")]
pub(crate) use sources::every_program;
pub(crate) use sources::{Stage, mask_fragment, scratch_window, source_fragment};

#[cfg(feature = "conformance")]
use crate::bound::Recipe;
use crate::bound::Step;
use crate::kernel::place::{Placement, grid, place};
use crate::library::{Access, Built, ready};
use crate::shader::{Dialect, Header};
use crate::tuning::{Entry, Sizes, Tunable, Variants};
use crate::{BindError, Bound, BuildError, Caps, Library, Matrix};

/// How elements are stored. Sums and exponentials are always f32.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dtype {
    /// 32-bit IEEE 754.
    F32,
    /// 16-bit IEEE 754, two to a u32 word, the first in its low half.
    F16,
    /// bfloat16, two to a u32 word, the first in its low half.
    Bf16,
}

impl Dtype {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::F32, Self::F16, Self::Bf16];

    /// Bytes of one element.
    #[must_use]
    pub fn bytes(self) -> u64 {
        if self == Self::F32 { 4 } else { 2 }
    }

    /// `f32`, `f16` or `bf16`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
        }
    }
}

/// What is going to be bound: the basis for choosing a variant. Any shape that the variant can take may then be
/// bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Shape {
    /// Rows.
    pub rows: u32,
    /// Columns.
    pub cols: u32,
    /// Offsets, columns and strides of input, output and mask are multiples of four, so that four elements can
    /// be moved at a time.
    pub quads: bool,
}

impl Shape {
    /// The shape of contiguous rows.
    #[must_use]
    pub fn new(rows: u32, cols: u32) -> Self {
        Self { rows, cols, quads: cols.is_multiple_of(4) }
    }

    /// The shape of these operands.
    #[must_use]
    pub fn of(operands: &Operands<'_>) -> Self {
        let mask_in_quads = operands.mask.is_none_or(|m| m.matrix.in_quads());
        Self {
            rows: operands.src.rows,
            cols: operands.src.cols,
            quads: operands.src.in_quads() && operands.dst.in_quads() && mask_in_quads,
        }
    }
}

/// What becomes of a row in which every column is excluded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum EmptyRow {
    /// NaN in every column, as `PyTorch` and JAX do.
    #[default]
    Nan,
    /// Probability 0 in every column (log-probability −inf), as JAX does with `where=`.
    Zero,
}

/// Which columns a query may see.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Causal {
    /// Rows of one sequence: row r is query `r % queries`.
    pub queries: u32,
    /// The column that query 0 stands at; query q sees columns 0 to q + offset. Negative: the first queries
    /// see nothing.
    pub offset: i32,
}

/// The element type of an additive mask.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MaskType {
    /// f32.
    F32,
    /// f16, two to a u32 word.
    F16,
}

/// Which options are in use. One that is not costs nothing: no binding, no branch.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Options {
    /// Factor on the input.
    pub scale: Option<f32>,
    /// Soft cap c: logits become c·tanh(x/c). Positive.
    pub soft_cap: Option<f32>,
    /// Positions of queries: used by `alibi` and, if `causal`, for the diagonal.
    pub positions: Option<Causal>,
    /// Columns after the query's position are excluded. Needs `positions`.
    pub causal: bool,
    /// Slopes of linear biases are given. Needs `positions`.
    pub alibi: bool,
    /// An additive mask is given.
    pub mask: Option<MaskType>,
    /// Temperatures are given. 0 puts everything on the arg max, lowest index on ties.
    pub temperature: bool,
    /// Valid lengths are given: columns from there on are excluded.
    pub lengths: bool,
    /// Sinks are given: one more logit, which takes mass but has no output.
    pub sinks: bool,
    /// Seeds are given: Gumbel noise is added before the division by the temperature, which makes this Gumbel-Softmax.
    /// Temperature 0 gives the exact one-hot, of the column that [`crate::sample`] chooses at temperature 1.
    pub gumbel: bool,
}

/// What to compute, and for which shape.
#[derive(Clone, Debug, PartialEq)]
pub struct Spec {
    /// What is going to be bound.
    pub shape: Shape,
    /// Element type of the input.
    pub input: Dtype,
    /// Element type of the output.
    pub output: Dtype,
    /// Log-probabilities instead of probabilities.
    pub log: bool,
    /// The log-sum-exp of each row is written too, as f32.
    pub lse: bool,
    /// Rows in which every column is excluded.
    pub empty_row: EmptyRow,
    /// What else is fused in.
    pub options: Options,
    /// This variant and no other; `None` leaves the choice to [`Variant::select`].
    pub variant: Option<Variant>,
}

impl Spec {
    /// Plain softmax from f32 to f32.
    #[must_use]
    pub fn new(shape: Shape) -> Self {
        Self {
            shape,
            input: Dtype::F32,
            output: Dtype::F32,
            log: false,
            lse: false,
            empty_row: EmptyRow::default(),
            options: Options::default(),
            variant: None,
        }
    }

    /// The variant it asks for, or the one that is selected for a device with these capabilities.
    #[must_use]
    pub fn chosen(&self, caps: &Caps) -> Variant {
        self.variant.unwrap_or_else(|| self.select(caps))
    }

    /// The names of the operands that take a storage buffer each, with input and output in two buffers.
    #[must_use]
    pub fn storage_buffers(&self) -> Vec<&'static str> {
        let o = &self.options;
        let optional = [
            (self.lse, "lse"),
            (o.mask.is_some(), "mask"),
            (o.temperature, "temperature"),
            (o.alibi, "slopes"),
            (o.sinks, "sinks"),
            (o.lengths, "lengths"),
            (o.gumbel, "seeds"),
        ];
        ["src", "dst"].into_iter().chain(optional.into_iter().filter(|(used, _)| *used).map(|(_, name)| name)).collect()
    }

    fn check(&self, variant: &Variant, caps: &Caps) -> Result<(), BuildError> {
        variant.supported(caps)?;
        let unsupported = |why| Err(BuildError::Unsupported { variant: variant.to_string(), why });
        if (variant.input, variant.output) != (self.input, self.output) {
            return unsupported("its element types are not those of the specification");
        }
        if variant.schedule == Schedule::Reload && self.log {
            return unsupported("it keeps exponentials in the output, which log-probabilities have no place for");
        }
        let o = &self.options;
        if (o.alibi || o.causal) && o.positions.is_none() {
            return Err(BuildError::BadOption {
                what: "positions",
                expected: "given where causal or alibi is",
                got: "none".into(),
            });
        }
        if let Some(p) = o.positions {
            if p.queries == 0 {
                return Err(BuildError::BadOption { what: "queries", expected: "at least 1", got: "0".into() });
            }
            if i64::from(p.queries) + i64::from(p.offset) > i64::from(i32::MAX) {
                let got = format!("{} + {}", p.queries, p.offset);
                return Err(BuildError::BadOption { what: "queries + offset", expected: "below 2^31", got });
            }
        }
        if let Some(s) = o.scale.filter(|s| !s.is_finite()) {
            return Err(BuildError::BadOption { what: "scale", expected: "finite", got: s.to_string() });
        }
        // The reciprocal must be finite too.
        if let Some(c) = o.soft_cap.filter(|c| !(c.is_normal() && *c > 0.0 && (1.0 / c).is_normal())) {
            return Err(BuildError::BadOption {
                what: "soft_cap",
                expected: "positive and normal",
                got: c.to_string(),
            });
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
        Sizes { rows: self.shape.rows, cols: self.shape.cols, choices: None }
    }

    fn entries<'a>(&self, variants: &'a Variants) -> &'a [Entry<Variant>] {
        if self.options.gumbel { &variants.gumbel } else { &variants.softmax }
    }

    fn named(&self) -> Option<Variant> {
        self.variant
    }

    fn select(&self, caps: &Caps) -> Variant {
        Variant::select(caps, &self.shape, self.input, self.output)
    }

    fn takes(&self, caps: &Caps, variant: &Variant) -> bool {
        variant.quads == self.shape.quads
            && variant.max_columns() >= self.shape.cols
            && !variant.schedule.is_rival()
            && self.check(variant, caps).is_ok()
            && Stage::of(variant.schedule).iter().all(|stage| stage.check(self, Form::default(), caps).is_ok())
    }
}

/// An operand that rows share by a [`RowMap`].
#[derive(Clone, Copy, Debug)]
pub struct PerRow<'a> {
    /// Its entries: one a row of the matrix. One column, or, for a mask, as many as there are logits.
    pub matrix: Matrix<'a>,
    /// Which entry belongs to which row.
    pub map: RowMap,
}

impl<'a> PerRow<'a> {
    /// One entry for each row.
    #[must_use]
    pub fn each(matrix: Matrix<'a>) -> Self {
        Self { matrix, map: RowMap::each() }
    }

    /// One entry for all rows.
    #[must_use]
    pub fn one(matrix: Matrix<'a>) -> Self {
        Self { matrix, map: RowMap::one() }
    }
}

/// The operands of one softmax. Those that the specification does not ask for stay `None`.
#[derive(Clone, Copy, Debug)]
pub struct Operands<'a> {
    /// Logits `[rows, cols]`.
    pub src: Matrix<'a>,
    /// Probabilities `[rows, cols]`. The same window as `src` for in-place work.
    pub dst: Matrix<'a>,
    /// Log-sum-exp `[rows, 1]`, f32, written.
    pub lse: Option<Matrix<'a>>,
    /// Additive mask `[entries, cols]`.
    pub mask: Option<PerRow<'a>>,
    /// Temperatures `[entries, 1]`, f32. Negative ones and NaN make the row NaN.
    pub temperature: Option<PerRow<'a>>,
    /// `ALiBi` slopes `[entries, 1]`, f32.
    pub slopes: Option<PerRow<'a>>,
    /// Sinks `[entries, 1]`, f32.
    pub sinks: Option<PerRow<'a>>,
    /// Valid lengths `[entries, 1]`, u32; longer than a row means all of it.
    pub lengths: Option<PerRow<'a>>,
    /// `[entries, 4]`, u32: seed and position of a row's noise, each its low word first.
    pub seeds: Option<PerRow<'a>>,
    /// [`Softmax::scratch_bytes`] bytes or more, for variants that split rows: [`Matrix`] of u32.
    pub scratch: Option<Matrix<'a>>,
}

impl<'a> Operands<'a> {
    /// Input and output, nothing else.
    #[must_use]
    pub fn new(src: Matrix<'a>, dst: Matrix<'a>) -> Self {
        Self {
            src,
            dst,
            lse: None,
            mask: None,
            temperature: None,
            slopes: None,
            sinks: None,
            lengths: None,
            seeds: None,
            scratch: None,
        }
    }
}

/// How operands lie in buffers: decides which form of a kernel runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Form {
    pub src_in_dst: bool,
    pub write_all: bool,
}

impl Form {
    fn of(placement: &Placement<'_>) -> Self {
        Self { src_in_dst: placement.src_in_dst, write_all: placement.write_all }
    }
}

/// A softmax of one specification, compiled.
#[derive(Clone, Debug)]
pub struct Softmax {
    library: Library,
    spec: Spec,
    variant: Variant,
}

impl Softmax {
    /// Checked, but nothing of it compiled.
    pub(crate) fn unbuilt(library: &Library, spec: &Spec) -> Result<Self, BuildError> {
        let variant = library.choose(spec);
        spec.check(&variant, library.caps())?;
        Ok(Self { library: library.clone(), spec: spec.clone(), variant })
    }

    pub(crate) fn new(library: &Library, spec: &Spec) -> Result<Self, BuildError> {
        let softmax = Self::unbuilt(library, spec)?;
        let variant = softmax.variant;
        // The usual form now, so that only the first unusual placement has to compile at bind. With too few
        // storage buffers for it, in-place work may still be possible.
        let usual = Form::default();
        let fewest = Form { src_in_dst: true, write_all: false };
        match softmax.check_buffers(usual) {
            Ok(()) => softmax.build(usual)?,
            Err(error) => {
                if variant.input != variant.output || softmax.check_buffers(fewest).is_err() {
                    return Err(error);
                }
                softmax.build(fewest)?;
            }
        }
        Ok(softmax)
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
        if self.variant.schedule != Schedule::Split {
            return 0;
        }
        u64::from(rows) * u64::from(self.variant.parts(cols).0) * PARTIAL_BYTES
    }

    /// The linked WGSL of its dispatches, in order, for operands in separate buffers.
    #[must_use]
    pub fn wgsl(&self, dialect: Dialect) -> Vec<String> {
        Stage::of(self.variant.schedule).iter().map(|&stage| self.text(stage, dialect)).collect()
    }

    /// What is compiled for one stage.
    pub(crate) fn text(&self, stage: Stage, dialect: Dialect) -> String {
        let program = sources::program(&self.spec, &self.variant, stage, Form::default());
        program.on(self.library.caps()).text(dialect)
    }

    /// Binds input and output: for specifications without further operands.
    ///
    /// # Errors
    /// As [`Softmax::bind_with`].
    pub fn bind(&self, src: Matrix<'_>, dst: Matrix<'_>) -> Result<Bound, BindError> {
        self.bind_with(&Operands::new(src, dst))
    }

    /// Checks the operands and makes what recording needs: one uniform buffer and one bind group a dispatch.
    ///
    /// # Errors
    /// When operands do not fit each other, their buffers, the device or the variant. Nothing is bound then.
    pub fn bind_with(&self, operands: &Operands<'_>) -> Result<Bound, BindError> {
        self.check_shapes(operands)?;
        if operands.src.is_empty() {
            return self.bind_empty(operands);
        }
        self.check_variant(operands)?;
        self.check_sinks(operands)?;
        let mut bound = Bound::default();
        for &stage in Stage::of(self.variant.schedule) {
            bound.steps.push(self.step(stage, operands)?);
        }
        Ok(bound)
    }

    /// Rows without columns have a log-sum-exp of −inf, but no output. No rows: nothing.
    fn bind_empty(&self, operands: &Operands<'_>) -> Result<Bound, BindError> {
        let Some(lse) = operands.lse.filter(|_| operands.src.rows > 0) else {
            return Ok(Bound::default());
        };
        if self.spec.options.sinks {
            // It would be the sink, tempered: no kernel for a row of which only that is left.
            let (expected, got) = ("at least 1 column where sinks and lse are given".into(), "0 columns".into());
            return Err(BindError::ShapeMismatch { what: "src", expected, got });
        }
        self.library.softmax_merge()?.bind_nothing(lse)
    }

    fn check_shapes(&self, operands: &Operands<'_>) -> Result<(), BindError> {
        let (rows, cols) = (operands.src.rows, operands.src.cols);
        let shape = |what, m: &Matrix<'_>, cols: u32| {
            if (m.rows, m.cols) == (rows, cols) {
                return Ok(());
            }
            Err(BindError::ShapeMismatch {
                what,
                expected: format!("{rows} x {cols}"),
                got: format!("{} x {}", m.rows, m.cols),
            })
        };
        shape("dst", &operands.dst, cols)?;
        if let Some(lse) = &operands.lse {
            shape("lse", lse, 1)?;
        }
        let o = &self.spec.options;
        given("lse", self.spec.lse, operands.lse.is_some())?;
        per_row("mask", o.mask.is_some(), operands.mask.as_ref(), rows, cols)?;
        per_row("temperature", o.temperature, operands.temperature.as_ref(), rows, 1)?;
        per_row("slopes", o.alibi, operands.slopes.as_ref(), rows, 1)?;
        per_row("sinks", o.sinks, operands.sinks.as_ref(), rows, 1)?;
        per_row("lengths", o.lengths, operands.lengths.as_ref(), rows, 1)?;
        per_row("seeds", o.gumbel, operands.seeds.as_ref(), rows, 4)?;
        if self.variant.schedule == Schedule::Split && rows > 0 && cols > 0 {
            given("scratch", true, operands.scratch.is_some())?;
        }
        Ok(())
    }

    fn check_variant(&self, operands: &Operands<'_>) -> Result<(), BindError> {
        let max = self.variant.max_columns();
        if operands.src.cols > max {
            return Err(BindError::TooManyColumns { variant: self.variant.to_string(), cols: operands.src.cols, max });
        }
        let mask = operands.mask.map(|m| m.matrix);
        for (what, m) in [("src", Some(operands.src)), ("dst", Some(operands.dst)), ("mask", mask)] {
            if self.variant.quads && m.is_some_and(|m| !m.in_quads()) {
                return Err(BindError::NotInQuads { what, variant: self.variant.to_string() });
            }
        }
        Ok(())
    }

    /// Of a split row, the dispatch that reads the sinks is not the one that writes: `place` does not see both.
    fn check_sinks(&self, operands: &Operands<'_>) -> Result<(), BindError> {
        let Some(sinks) = operands.sinks.filter(|_| self.variant.schedule == Schedule::Split) else { return Ok(()) };
        let read = sinks.matrix.bytes(4, "sinks")?;
        let written = [("dst", Some(operands.dst), self.spec.output.bytes()), ("lse", operands.lse, 4)];
        for (what, m, element) in written {
            let Some(m) = m.filter(|m| m.buffer == sinks.matrix.buffer) else { continue };
            let bytes = m.bytes(element, what)?;
            if bytes.start < read.end && read.start < bytes.end {
                return Err(BindError::Overlap { what, other: "sinks" });
            }
        }
        Ok(())
    }

    fn check_buffers(&self, form: Form) -> Result<(), BuildError> {
        Stage::of(self.variant.schedule).iter().try_for_each(|&stage| self.check_stage(stage, form))
    }

    fn check_stage(&self, stage: Stage, form: Form) -> Result<(), BuildError> {
        stage.check(&self.spec, form, self.library.caps())
    }

    /// Checks and compiles one stage alone.
    pub(crate) fn build_stage(&self, stage: Stage) -> Result<(), BuildError> {
        self.check_stage(stage, Form::default())?;
        self.built(stage, Form::default()).map(drop)
    }

    fn build(&self, form: Form) -> Result<(), BuildError> {
        for &stage in Stage::of(self.variant.schedule) {
            self.built(stage, form)?;
        }
        Ok(())
    }

    fn built(&self, stage: Stage, form: Form) -> Result<Built, BuildError> {
        self.library.built(&sources::program(&self.spec, &self.variant, stage, form))
    }

    pub(crate) fn step(&self, stage: Stage, operands: &Operands<'_>) -> Result<Step, BindError> {
        let caps = self.library.caps();
        let scratch = operands.scratch.map(|s| (s, self.scratch_bytes(operands.src.rows, operands.src.cols)));
        let list = stage.operands(&self.spec, operands, scratch)?;
        let find = |what| list.iter().position(|o| o.what == what);
        let pair = find("src").zip(find("dst"));
        let placement = place(caps, &list, pair, self.variant.input == self.variant.output)?;
        let form = Form::of(&placement);
        self.check_stage(stage, form)?;
        // Of all operands, only the output has rows of `cols` elements in every stage.
        let (parts, part_quads) = self.variant.parts(operands.dst.cols);
        let rows_each = self.variant.width / self.variant.lanes;
        let groups = u64::from(operands.dst.rows.div_ceil(rows_each)) * u64::from(parts);
        let groups = grid(caps, operands.dst.rows, groups)?;
        let mut params = self.params(stage, operands, &placement);
        params.grid_width = groups[0];
        (params.parts, params.part_quads, params.merged) = (parts, part_quads, parts);
        params.partials_stride = parts;
        let built = self.built(stage, form)?;
        step(self.library.device(), built, &placement, &params, groups)
    }

    fn params(&self, stage: Stage, operands: &Operands<'_>, placement: &Placement<'_>) -> Params {
        let unit = if self.variant.quads { 4 } else { 1 };
        let offset = |what| placement.placed.iter().find(|p| p.what == what).map_or(0, |p| p.offset);
        let map = |what, per_row: Option<&PerRow<'_>>, unit: u32| {
            per_row.map_or(MapParams::unused(), |p| map_params(p, offset(what), unit))
        };
        let o = &self.spec.options;
        let positions = o.positions.unwrap_or(Causal { queries: 1, offset: 0 });
        let empty = match (self.spec.empty_row, self.spec.log) {
            (EmptyRow::Nan, _) => f32::NAN.to_bits(),
            (EmptyRow::Zero, false) => 0,
            (EmptyRow::Zero, true) => f32::NEG_INFINITY.to_bits(),
        };
        // An index is no element of a row, and not moved with three others.
        let src_unit = if stage == Stage::OneHot { 1 } else { unit };
        let [src, dst] = [1, 2].map(|binding| placement.placed.iter().find(|p| p.binding == binding));
        Params {
            rows: operands.dst.rows,
            cols: operands.dst.cols,
            quads: operands.dst.cols.div_ceil(4),
            src_offset: src.map_or(0, |p| p.offset) / src_unit,
            src_stride: operands.src.stride / src_unit,
            dst_offset: dst.map_or(0, |p| p.offset) / unit,
            dst_stride: operands.dst.stride / unit,
            lse_offset: offset("lse"),
            lse_stride: operands.lse.map_or(0, |m| m.stride),
            partials_offset: offset("scratch") / 4,
            empty,
            scale: o.scale.unwrap_or(1.0),
            cap: o.soft_cap.unwrap_or(1.0),
            inverse_cap: 1.0 / o.soft_cap.unwrap_or(1.0),
            queries: positions.queries,
            diagonal: positions.offset,
            mask: map("mask", operands.mask.as_ref(), unit),
            temperature: map("temperature", operands.temperature.as_ref(), 1),
            slopes: map("slopes", operands.slopes.as_ref(), 1),
            sinks: map("sinks", operands.sinks.as_ref(), 1),
            lengths: map("lengths", operands.lengths.as_ref(), 1),
            seeds: map("seeds", operands.seeds.as_ref(), 1),
            ..Params::constants()
        }
    }
}

/// The linked WGSL of a variant's dispatches, in order, for operands in separate buffers and without 64-bit integers. Needs no
/// device.
#[must_use]
pub fn wgsl(spec: &Spec, variant: &Variant, dialect: Dialect) -> Vec<String> {
    Stage::of(variant.schedule).iter().map(|&stage| stage_wgsl(spec, variant, stage, dialect)).collect()
}

pub(crate) fn stage_wgsl(spec: &Spec, variant: &Variant, stage: Stage, dialect: Dialect) -> String {
    sources::program(spec, variant, stage, Form::default()).text(dialect)
}

/// The uniform buffer, the bind group, the dispatch.
pub(crate) fn step(
    device: &wgpu::Device,
    built: Built,
    placement: &Placement<'_>,
    params: &impl bytemuck::Pod,
    groups: [u32; 2],
) -> Result<Step, BindError> {
    let bytes = bytemuck::bytes_of(params);
    // A buffer does not tell whether it was destroyed, or which device it is of.
    let scope = device.push_error_scope(wgpu::ErrorFilter::Validation);
    let uniform = device.create_buffer(&wgpu::BufferDescriptor {
        label: Some("onesum params"),
        size: bytes.len() as u64,
        usage: wgpu::BufferUsages::UNIFORM,
        mapped_at_creation: true,
    });
    uniform
        .slice(..)
        .get_mapped_range_mut()
        .map_err(|error| BindError::Device { message: error.to_string() })?
        .copy_from_slice(bytes);
    uniform.unmap();
    let mut entries = vec![wgpu::BindGroupEntry { binding: 0, resource: uniform.as_entire_binding() }];
    for placed in placement.bound() {
        entries.push(wgpu::BindGroupEntry {
            binding: placed.binding,
            resource: wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                buffer: placed.buffer,
                offset: placed.range.start,
                size: std::num::NonZeroU64::new(placed.range.end - placed.range.start),
            }),
        });
    }
    let bind_group = device.create_bind_group(&wgpu::BindGroupDescriptor {
        label: Some("onesum operands"),
        layout: &built.layout,
        entries: &entries,
    });
    if let Some(Some(error)) = ready(scope.pop()) {
        return Err(BindError::Device { message: error.to_string() });
    }
    Ok(Step {
        pipeline: built.pipeline,
        bind_group,
        groups,
        #[cfg(feature = "conformance")]
        recipe: Recipe::new(built.program, bytes, placement).into(),
    })
}

pub(crate) fn given(what: &'static str, asked: bool, given: bool) -> Result<(), BindError> {
    match (asked, given) {
        (true, false) => Err(BindError::Missing { what }),
        (false, true) => Err(BindError::Unexpected { what }),
        _ => Ok(()),
    }
}

pub(crate) fn per_row(
    what: &'static str,
    asked: bool,
    operand: Option<&PerRow<'_>>,
    rows: u32,
    cols: u32,
) -> Result<(), BindError> {
    given(what, asked, operand.is_some())?;
    let Some(PerRow { matrix, map }) = operand else { return Ok(()) };
    if map.divide == 0 || map.modulo == 0 || map.group == 0 {
        let got = format!("{map:?}");
        return Err(BindError::BadOption { what, expected: "mapped by a RowMap without zeros", got });
    }
    let entries = map.entries(rows);
    if matrix.cols != cols || u64::from(matrix.rows) < entries {
        return Err(BindError::ShapeMismatch {
            what,
            expected: format!("at least {entries} x {cols} for {rows} rows by {map:?}"),
            got: format!("{} x {}", matrix.rows, matrix.cols),
        });
    }
    Ok(())
}

pub(crate) fn map_params(operand: &PerRow<'_>, offset: u32, unit: u32) -> MapParams {
    MapParams {
        divide: operand.map.divide,
        modulo: operand.map.modulo,
        group: operand.map.group,
        offset: offset / unit,
        stride: operand.matrix.stride / unit,
        pad: [0; 3],
    }
}

/// A binding of a stage.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StageBinding {
    pub what: &'static str,
    pub binding: u32,
    pub access: Access,
}

pub(crate) fn header(variant: &Variant) -> Header {
    Header { f16: variant.native_f16, subgroups: variant.tier != Tier::Baseline, ..Header::default() }
}
