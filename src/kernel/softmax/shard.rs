//! Softmax of rows that the caller has split over several buffers or devices, a vocabulary over shards for
//! example: partial sums of each shard, merged, then each shard's share.

use super::sources::{self, Stage};
use super::{Dtype, EmptyRow, Form, Operands, Params, Schedule, Shape, Spec, Tier, Variant, given, step};
use crate::kernel::place::{Operand, grid, place};
use crate::library::{Access, Program};
use crate::shader::{Header, fragment};
use crate::{BindError, Bound, BuildError, Library, Matrix};

/// Bytes of one partial sum: anchor (f32), exponent (i32), and the sum's high and low part (f32). Partial sums of
/// one row may be merged in any order, on any device; [`crate::reference::Partial`] does it on the CPU.
pub const PARTIAL_BYTES: u64 = 16;

const PARTIAL_WORDS: u32 = 4;

/// `SINK_COLUMN` of the shaders.
const LAST_COLUMN: u32 = 0x7fff_fff0;

/// A softmax of one shard of every row.
///
/// Causal masks, `ALiBi`, and valid lengths are not offered here: they speak of columns of the whole row.
#[derive(Clone, Debug, PartialEq)]
pub struct ShardSpec {
    /// As for whole rows. `shape` is the shard's; sinks belong to one shard only, which has columns: one
    /// without leaves no partial sum, and its sinks would be lost.
    pub spec: Spec,
    /// The column of the whole row that the shard begins with: decides which of several equal logits is the arg
    /// max at temperature 0.
    pub first_column: u32,
}

impl ShardSpec {
    fn variant(&self, library: &Library) -> Result<Variant, BuildError> {
        let spec = &self.spec;
        let variant = spec.variant.unwrap_or_else(|| {
            let caps = library.caps();
            let chosen = Variant::select(caps, &spec.shape, spec.input, spec.output);
            let width = if caps.cpu || caps.max_invocations < 256 { 8 } else { 256 };
            let tier = Tier::select(caps, width, width);
            Variant { schedule: Schedule::Split, width, lanes: width, keep: 0, tier, ..chosen }
        });
        let why = if variant.schedule != Schedule::Split {
            "shards want a variant that splits rows"
        } else if spec.options.positions.is_some() || spec.options.lengths {
            "causal masks, ALiBi and lengths speak of columns of the whole row"
        } else if spec.options.gumbel && !self.first_column.is_multiple_of(4) {
            "noise comes for four columns: first_column must be a multiple of 4"
        } else {
            spec.check(&variant, library.caps())?;
            return Ok(variant);
        };
        Err(BuildError::Unsupported { variant: variant.to_string(), why })
    }
}

/// The first half: one or more partial sums per row of a shard.
#[derive(Clone, Debug)]
pub struct ShardSum(Shard);

/// The second half: probabilities of a shard from the partial sums of all.
#[derive(Clone, Debug)]
pub struct ShardScale(Shard);

#[derive(Clone, Debug)]
struct Shard {
    softmax: super::Softmax,
    first_column: u32,
    stage: Stage,
}

impl Shard {
    fn new(library: &Library, spec: &ShardSpec, stage: Stage) -> Result<Self, BuildError> {
        let variant = spec.variant(library)?;
        let softmax = super::Softmax { library: library.clone(), spec: spec.spec.clone(), variant };
        softmax.check_stage(stage, Form::default())?;
        softmax.built(stage, Form::default())?;
        Ok(Self { softmax, first_column: spec.first_column, stage })
    }

    fn bind(&self, operands: &Operands<'_>, partials: Matrix<'_>, merged: u32) -> Result<Bound, BindError> {
        let softmax = &self.softmax;
        let src = operands.src;
        softmax.check_variant(operands)?;
        check_partials("partials", &partials, src.rows, merged)?;
        if src.is_empty() {
            return Ok(Bound::default());
        }
        let mut list = self.stage.operands(&softmax.spec, operands, Some((partials, 0)))?;
        for operand in &mut list {
            if operand.what == "scratch" {
                operand.what = "partials";
                operand.matrix = partials;
            }
        }
        let find = |what| list.iter().position(|o| o.what == what);
        let pair = find("src").zip(find("dst"));
        let caps = softmax.library.caps();
        let placement = place(caps, &list, pair, softmax.variant.input == softmax.variant.output)?;
        let form = Form::of(&placement);
        softmax.check_stage(self.stage, form)?;
        // Column indices stay below the sink's, and are negated at temperature 0.
        if self.first_column.checked_add(src.cols).is_none_or(|end| end > LAST_COLUMN) {
            let got = format!("{} + {}", self.first_column, src.cols);
            return Err(BindError::BadOption { what: "first_column + columns", expected: "at most 2147483632", got });
        }
        let (parts, part_quads) = softmax.variant.parts(src.cols);
        let groups = grid(caps, src.rows, u64::from(src.rows) * u64::from(parts))?;
        let mut params = softmax.params(self.stage, operands, &placement);
        params.grid_width = groups[0];
        (params.parts, params.part_quads, params.merged) = (parts, part_quads, merged);
        params.first_column = self.first_column;
        params.partials_offset = offset(&placement, "partials") / PARTIAL_WORDS;
        params.partials_stride = partials.stride / PARTIAL_WORDS;
        let built = softmax.built(self.stage, form)?;
        Ok(Bound { steps: vec![step(softmax.library.device(), built, &placement, &params, groups)?] })
    }
}

fn offset(placement: &crate::kernel::place::Placement<'_>, what: &str) -> u32 {
    placement.placed.iter().find(|p| p.what == what).map_or(0, |p| p.offset)
}

fn check_partials(what: &'static str, m: &Matrix<'_>, rows: u32, count: u32) -> Result<(), BindError> {
    let aligned = m.offset.is_multiple_of(4) && (m.rows <= 1 || m.stride.is_multiple_of(PARTIAL_WORDS));
    if m.rows == rows && u64::from(m.cols) == u64::from(count) * u64::from(PARTIAL_WORDS) && aligned {
        return Ok(());
    }
    Err(BindError::ShapeMismatch {
        what,
        expected: format!("{rows} x {count} partial sums of 4 u32, offset and stride in multiples of 4"),
        got: format!("{} x {} u32 at {}, stride {}", m.rows, m.cols, m.offset, m.stride),
    })
}

/// How many partial sums a row has: some, and not so many that an invocation loops too often over them.
fn count(partials: &Matrix<'_>) -> Result<u32, BindError> {
    let count = partials.cols / PARTIAL_WORDS;
    if (1..=32_768).contains(&count) {
        return Ok(count);
    }
    Err(BindError::BadOption { what: "partials", expected: "1 to 32768 per row", got: count.to_string() })
}

impl ShardSum {
    pub(crate) fn new(library: &Library, spec: &ShardSpec) -> Result<Self, BuildError> {
        Shard::new(library, spec, Stage::Sum).map(Self)
    }

    /// How many partial sums it leaves for each row of `cols` columns: none of none.
    #[must_use]
    pub fn partials(&self, cols: u32) -> u32 {
        if cols == 0 { 0 } else { self.0.softmax.variant.parts(cols).0 }
    }

    /// Binds the shard's logits, and the window of `[rows, 4 · partials(cols)]` u32 that its partial sums go to:
    /// usually some columns of a wider matrix that holds those of all shards. `operands.dst` and `lse` are not used.
    ///
    /// # Errors
    /// As [`super::Softmax::bind_with`].
    pub fn bind(&self, operands: &Operands<'_>, partials: Matrix<'_>) -> Result<Bound, BindError> {
        let softmax = &self.0.softmax;
        let spec = Spec { lse: operands.lse.is_some(), ..softmax.spec.clone() };
        let checked = super::Softmax { spec, ..softmax.clone() };
        checked.check_shapes(&Operands { dst: operands.src, scratch: Some(partials), ..*operands })?;
        self.0.bind(&Operands { dst: operands.src, ..*operands }, partials, self.partials(operands.src.cols))
    }
}

impl ShardScale {
    pub(crate) fn new(library: &Library, spec: &ShardSpec) -> Result<Self, BuildError> {
        Shard::new(library, spec, Stage::Scale).map(Self)
    }

    /// Binds the shard's logits and output, and the partial sums of all shards, `[rows, 4 · count]` u32.
    /// `operands.sinks` is not used: the sums have it.
    ///
    /// # Errors
    /// As [`super::Softmax::bind_with`].
    pub fn bind(&self, operands: &Operands<'_>, partials: Matrix<'_>) -> Result<Bound, BindError> {
        let softmax = &self.0.softmax;
        let mut spec = softmax.spec.clone();
        spec.options.sinks = operands.sinks.is_some();
        let checked = super::Softmax { spec, ..softmax.clone() };
        checked.check_shapes(&Operands { scratch: Some(partials), ..*operands })?;
        given("lse", softmax.spec.lse, operands.lse.is_some())?;
        self.0.bind(operands, partials, count(&partials)?)
    }
}

/// Merges partial sums: one row per invocation.
#[derive(Clone, Debug)]
pub struct Merge {
    library: Library,
}

const MERGE_WIDTH: u32 = 64;

impl Merge {
    pub(crate) fn new(library: &Library) -> Result<Self, BuildError> {
        let merge = Self { library: library.clone() };
        library.built(&merge_program())?;
        Ok(merge)
    }

    /// Binds `partials` `[rows, 4 · count]` u32, the merged sums `[rows, 4]` u32 and the log-sum-exp `[rows, 1]` f32.
    ///
    /// Not for partial sums of rows at temperature 0, which are no sums.
    ///
    /// # Errors
    /// As [`super::Softmax::bind_with`].
    pub fn bind(&self, partials: Matrix<'_>, merged: Matrix<'_>, lse: Matrix<'_>) -> Result<Bound, BindError> {
        let rows = partials.rows;
        let count = count(&partials)?;
        check_partials("partials", &partials, rows, count)?;
        check_partials("merged", &merged, rows, 1)?;
        check_lse(&lse, rows)?;
        if rows == 0 {
            return Ok(Bound::default());
        }
        let operand = |binding, what, matrix, writes| Operand { binding, what, matrix, element: 4, writes };
        let list =
            [operand(9, "partials", partials, true), operand(2, "merged", merged, true), operand(3, "lse", lse, true)];
        let placement = place(self.library.caps(), &list, None, false)?;
        let groups = grid(self.library.caps(), rows, u64::from(rows.div_ceil(MERGE_WIDTH)))?;
        let params = Params {
            rows,
            grid_width: groups[0],
            merged: count,
            partials_offset: offset(&placement, "partials") / PARTIAL_WORDS,
            partials_stride: partials.stride / PARTIAL_WORDS,
            dst_offset: offset(&placement, "merged") / PARTIAL_WORDS,
            dst_stride: merged.stride / PARTIAL_WORDS,
            lse_offset: offset(&placement, "lse"),
            lse_stride: lse.stride,
            empty: f32::NAN.to_bits(),
            ..Params::constants()
        };
        let built = self.library.built(&merge_program())?;
        Ok(Bound { steps: vec![step(self.library.device(), built, &placement, &params, groups)?] })
    }

    /// The log-sum-exp of rows without columns.
    pub(crate) fn bind_nothing(&self, lse: Matrix<'_>) -> Result<Bound, BindError> {
        let rows = lse.rows;
        let list = [Operand { binding: 3, what: "lse", matrix: lse, element: 4, writes: true }];
        let placement = place(self.library.caps(), &list, None, false)?;
        let groups = grid(self.library.caps(), rows, u64::from(rows.div_ceil(MERGE_WIDTH)))?;
        let params = Params {
            rows,
            grid_width: groups[0],
            lse_offset: offset(&placement, "lse"),
            lse_stride: lse.stride,
            ..Params::constants()
        };
        let built = self.library.built(&empty_program())?;
        Ok(Bound { steps: vec![step(self.library.device(), built, &placement, &params, groups)?] })
    }
}

fn check_lse(lse: &Matrix<'_>, rows: u32) -> Result<(), BindError> {
    if (lse.rows, lse.cols) == (rows, 1) {
        return Ok(());
    }
    let (expected, got) = (format!("{rows} x 1"), format!("{} x {}", lse.rows, lse.cols));
    Err(BindError::ShapeMismatch { what: "lse", expected, got })
}

pub(super) fn merge_program() -> Program {
    let variant = Variant {
        schedule: Schedule::Split,
        input: Dtype::F32,
        output: Dtype::F32,
        native_f16: false,
        tier: Tier::Baseline,
        width: MERGE_WIDTH,
        lanes: MERGE_WIDTH,
        keep: 0,
        quads: true,
    };
    let spec = Spec { empty_row: EmptyRow::Nan, ..Spec::new(Shape::new(1, 4)) };
    let mut program = sources::program(&spec, &variant, Stage::Scale, Form::default());
    let wanted =
        ["lib/params", "lib/lane", "lib/exp", "lib/partial", "lib/sum_extended", "lib/partials", "lib/outcome"];
    program.fragments.retain(|f| wanted.contains(&f.name) || ["lib/normal_extended", "lib/ln"].contains(&f.name));
    program.fragments.push(fragment!("softmax_merge"));
    program.name = format!("softmax/merge/w{MERGE_WIDTH}");
    program.bindings =
        vec![(0, Access::Uniform), (2, Access::ReadWrite), (3, Access::ReadWrite), (9, Access::ReadWrite)];
    program
}

pub(super) fn empty_program() -> Program {
    Program {
        name: format!("softmax/empty/w{MERGE_WIDTH}"),
        header: Header::default(),
        fragments: vec![fragment!("lib/params"), fragment!("lib/lane"), fragment!("softmax_empty")],
        overrides: vec![("WIDTH", f64::from(MERGE_WIDTH))],
        bindings: vec![(0, Access::Uniform), (3, Access::ReadWrite)],
    }
}
