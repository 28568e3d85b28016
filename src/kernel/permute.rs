//! The token permutation of a mixture of experts: rows of tokens to the slots of their experts, and back.
//!
//! A *pair* is a token and one of its K choices: pair = token · K + choice. A *slot* is a row of what the experts work on.
//! Two tables, each the inverse of the other, say which pair has which slot:
//!
//! ```text
//! out[slot]  = w · x[sorted[slot] / K]                        dispatch    w = weights[pair], or 1
//! out[token] = Σ_j weights[token, j] · y[inverse[token, j]]   combine     j = 0, 1, …, K − 1
//! ```
//!
//! An entry of `sorted` that is no pair leaves a slot of zeros: the padding of an expert's segment. An entry of `inverse` that
//! is no slot (`u32::MAX`, or any other that is too large) is a pair that has been dropped: it is left out of the sum, whatever
//! its weight. Of elements [tokens, hidden] or [slots, hidden], f32, f16 or bf16:
//!
//! | | dispatches | bytes read | bytes written |
//! |---|---|---|---|
//! | dispatch | 1 | slots · (hidden · element + 4), and 4 for each weight | slots · hidden · element |
//! | combine | 1 | tokens · K · (hidden · element + 8) | tokens · hidden · element |
//!
//! and combine with [`CombineSpec::accumulate`] reads what it adds to. No scratch memory. Without weights, dispatch moves rows
//! bit for bit; combine's result is the same on every device and for every variant, as
//! [`reference::permute`](crate::reference::permute) gives it, as long as no product or sum is subnormal. With experts that
//! change nothing, combine of dispatch is x · Σ w. `docs/semantics.md` has special values, `docs/accuracy.md` the error.
//!
//! A whole layer, from the router's logits to the sum of what experts have made, nothing read back:
//!
//! ```
//! use onesum::permute::{CombineOperands, CombineSpec, DispatchOperands, DispatchSpec, Shape};
//! use onesum::{Library, Matrix, plan, router};
//!
//! // Wants wgpu's feature `noop`; any device will do.
//! let (device, queue) = wgpu::Device::noop(&wgpu::DeviceDescriptor::default());
//! # let buffer = |words: u32| device.create_buffer(&wgpu::BufferDescriptor {
//! #     label: None, size: 4 * u64::from(words), usage: wgpu::BufferUsages::STORAGE, mapped_at_creation: false });
//! let (tokens, hidden, block) = (16, 64, 32);
//! let library = Library::new(&device)?;
//! let spec = router::Preset::Qwen3.spec(tokens);
//! let (experts, choices) = (spec.shape.cols, spec.width());
//! let plan_spec = plan::Spec { block: Some(block), ..plan::Spec::new(tokens, choices, experts) };
//! let plan = library.plan(&plan_spec)?;
//! // Rows that experts work on: fixed, whatever is chosen. Slots without a token are zeros.
//! let slots = u32::try_from(plan.slots(tokens))?;
//! let scratch_words = u32::try_from(plan.scratch_bytes(tokens) / 4)?;
//! # let (logits, chosen, weights) = (buffer(tokens * experts), buffer(tokens * choices), buffer(tokens * choices));
//! # let (counts, offsets, sorted, inverse) = (buffer(experts), buffer(experts + 1), buffer(slots), buffer(tokens * choices));
//! # let (scratch, x, out) = (buffer(scratch_words.max(1)), buffer(tokens * hidden), buffer(tokens * hidden));
//! # let (inputs, outputs) = (buffer(slots * hidden), buffer(slots * hidden));
//! let chosen = Matrix::new(&chosen, tokens, choices);
//! let weights = Matrix::new(&weights, tokens, choices);
//! let (sorted, inverse) = (Matrix::new(&sorted, 1, slots), Matrix::new(&inverse, tokens, choices));
//! let route = library.router(&spec)?.bind(&router::Operands::new(
//!     Matrix::new(&logits, tokens, experts), chosen, weights))?;
//! let plan = plan.bind(&plan::Operands {
//!     scratch: Some(Matrix::new(&scratch, 1, scratch_words)),
//!     ..plan::Operands::new(
//!         chosen, Matrix::new(&counts, 1, experts), Matrix::new(&offsets, 1, experts + 1), sorted, inverse)
//! })?;
//! let shape = Shape::new(tokens, choices, hidden);
//! let dispatch = library.dispatch(&DispatchSpec::new(shape))?.bind(&DispatchOperands {
//!     x: Matrix::new(&x, tokens, hidden),
//!     sorted,
//!     weights: None,
//!     out: Matrix::new(&inputs, slots, hidden), // what the experts read
//! })?;
//! let combine = library.combine(&CombineSpec::new(shape))?.bind(&CombineOperands {
//!     y: Matrix::new(&outputs, slots, hidden), // what they wrote
//!     inverse,
//!     weights: Some(weights),
//!     out: Matrix::new(&out, tokens, hidden),
//! })?;
//!
//! let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
//! {
//!     let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
//!     for step in [&route, &plan, &dispatch] {
//!         step.record(&mut pass);
//!     }
//!     // The experts' own matrix products: rows offsets[e] to offsets[e + 1] of `inputs` are expert e's.
//!     combine.record(&mut pass);
//! }
//! queue.submit([encoder.finish()]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod params;
mod variant;

use super::place::{Operand, grid, place};
use super::softmax::{Dtype, given, source_fragment, step};
use crate::library::{Access, Program};
use crate::shader::{Dialect, Fragment, Header, fragment};
use crate::tuning::{Entry, Sizes, Tunable, Variants};
use crate::{BindError, Bound, BuildError, Caps, Library, Matrix};
use params::Params;
use variant::Division;
pub use variant::{Kernel, Variant};

/// The most choices of a token.
pub const MAX_CHOICES: u32 = 1024;

/// So many choices and fewer have their slots and weights kept in registers, in variants that work in quads: a program for each
/// number.
const MAX_KEPT: u32 = 16;

/// What is going to be bound. Any numbers of tokens and slots may then be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Shape {
    /// Tokens.
    pub tokens: u32,
    /// Choices of each: 1 to [`MAX_CHOICES`]. These are fixed.
    pub choices: u32,
    /// Elements of a row.
    pub hidden: u32,
    /// Every row starts and ends at a multiple of four elements: offsets, columns and strides.
    pub quads: bool,
}

impl Shape {
    /// In quads if `hidden` is.
    #[must_use]
    pub fn new(tokens: u32, choices: u32, hidden: u32) -> Self {
        Self { tokens, choices, hidden, quads: hidden.is_multiple_of(4) }
    }

    fn sizes(&self) -> Sizes {
        Sizes { rows: self.tokens, cols: self.hidden, choices: Some(self.choices) }
    }

    /// Bytes that are read and written for a row of the result.
    fn row_bytes(&self, kernel: Kernel, input: Dtype, output: Dtype) -> u64 {
        let reads = if kernel == Kernel::Combine { u64::from(self.choices) } else { 1 };
        u64::from(self.hidden).saturating_mul(reads * input.bytes() + output.bytes())
    }

    fn takes(&self, kernel: Kernel, input: Dtype, output: Dtype, v: &Variant) -> bool {
        (v.kernel, v.input, v.output, v.quads) == (kernel, input, output, self.quads)
    }
}

/// What to dispatch.
#[derive(Clone, Debug, PartialEq)]
pub struct DispatchSpec {
    /// What is going to be bound.
    pub shape: Shape,
    /// Element type of both sides.
    pub dtype: Dtype,
    /// Rows are multiplied by the weights of their pairs, as Llama-4 does: one f32 product, rounded to the type, ties to even.
    pub weights: bool,
    /// This variant and no other; `None` leaves the choice to [`Variant::select`].
    pub variant: Option<Variant>,
}

impl DispatchSpec {
    /// f32, without weights.
    #[must_use]
    pub fn new(shape: Shape) -> Self {
        Self { shape, dtype: Dtype::F32, weights: false, variant: None }
    }
}

/// What to combine.
#[derive(Clone, Debug, PartialEq)]
pub struct CombineSpec {
    /// What is going to be bound.
    pub shape: Shape,
    /// Element type of the experts' outputs.
    pub input: Dtype,
    /// Element type of the result.
    pub output: Dtype,
    /// Rows are multiplied by the weights of their pairs; otherwise they are only added up.
    pub weights: bool,
    /// The sum is added to what `out` holds: one more f32 sum, after the others. A token without any slot keeps its row.
    pub accumulate: bool,
    /// This variant and no other; `None` leaves the choice to [`Variant::select`].
    pub variant: Option<Variant>,
}

impl CombineSpec {
    /// f32, with weights, replacing what `out` holds.
    #[must_use]
    pub fn new(shape: Shape) -> Self {
        Self { shape, input: Dtype::F32, output: Dtype::F32, weights: true, accumulate: false, variant: None }
    }
}

impl Tunable for DispatchSpec {
    type Variant = Variant;

    fn variants() -> impl Iterator<Item = Variant> {
        Variant::all()
    }

    fn sizes(&self) -> Sizes {
        self.shape.sizes()
    }

    fn entries<'a>(&self, variants: &'a Variants) -> &'a [Entry<Variant>] {
        &variants.dispatch
    }

    fn named(&self) -> Option<Variant> {
        self.variant
    }

    fn select(&self, caps: &Caps) -> Variant {
        Variant::select(caps, Kernel::Dispatch, &self.shape, self.dtype, self.dtype)
    }

    fn takes(&self, caps: &Caps, variant: &Variant) -> bool {
        self.shape.takes(Kernel::Dispatch, self.dtype, self.dtype, variant) && variant.supported(caps).is_ok()
    }
}

impl Tunable for CombineSpec {
    type Variant = Variant;

    fn variants() -> impl Iterator<Item = Variant> {
        Variant::all()
    }

    fn sizes(&self) -> Sizes {
        self.shape.sizes()
    }

    fn entries<'a>(&self, variants: &'a Variants) -> &'a [Entry<Variant>] {
        &variants.combine
    }

    fn named(&self) -> Option<Variant> {
        self.variant
    }

    fn select(&self, caps: &Caps) -> Variant {
        Variant::select(caps, Kernel::Combine, &self.shape, self.input, self.output)
    }

    fn takes(&self, caps: &Caps, variant: &Variant) -> bool {
        self.shape.takes(Kernel::Combine, self.input, self.output, variant) && variant.supported(caps).is_ok()
    }
}

/// The operands of a dispatch.
#[derive(Clone, Copy, Debug)]
pub struct DispatchOperands<'a> {
    /// Rows of tokens `[tokens, hidden]`.
    pub x: Matrix<'a>,
    /// The pair of each slot `[1, slots]`, u32.
    pub sorted: Matrix<'a>,
    /// The weight of each pair `[tokens, choices]`, f32, if asked for.
    pub weights: Option<Matrix<'a>>,
    /// Rows of slots `[slots, hidden]`, written.
    pub out: Matrix<'a>,
}

/// The operands of a combine.
#[derive(Clone, Copy, Debug)]
pub struct CombineOperands<'a> {
    /// Rows of slots `[slots, hidden]`.
    pub y: Matrix<'a>,
    /// The slot of each pair `[tokens, choices]`, u32.
    pub inverse: Matrix<'a>,
    /// The weight of each pair `[tokens, choices]`, f32, if asked for.
    pub weights: Option<Matrix<'a>>,
    /// Rows of tokens `[tokens, hidden]`, written, and read if it is added to.
    pub out: Matrix<'a>,
}

/// A dispatch of one specification, compiled.
#[derive(Clone, Debug)]
pub struct Dispatch {
    library: Library,
    spec: DispatchSpec,
    job: Job,
}

/// A combine of one specification, compiled.
#[derive(Clone, Debug)]
pub struct Combine {
    library: Library,
    spec: CombineSpec,
    job: Job,
}

impl Dispatch {
    pub(crate) fn new(library: &Library, spec: &DispatchSpec) -> Result<Self, BuildError> {
        let job = Job {
            variant: library.choose(spec),
            choices: spec.shape.choices,
            weights: spec.weights,
            accumulate: false,
        };
        job.build(library, Kernel::Dispatch, spec.dtype, spec.dtype)?;
        Ok(Self { library: library.clone(), spec: spec.clone(), job })
    }

    /// The variant that runs.
    #[must_use]
    pub fn variant(&self) -> Variant {
        self.job.variant
    }

    /// The specification it was built from.
    #[must_use]
    pub fn spec(&self) -> &DispatchSpec {
        &self.spec
    }

    /// Checks the operands and makes what recording needs: one uniform buffer and one bind group.
    ///
    /// # Errors
    /// When operands do not fit each other, their buffers, the device or the variant. Nothing is bound then.
    pub fn bind(&self, operands: &DispatchOperands<'_>) -> Result<Bound, BindError> {
        let DispatchOperands { x, sorted, weights, out } = *operands;
        shaped("x", &x, [x.rows, out.cols])?;
        shaped("sorted", &sorted, [1, out.rows])?;
        let pairs = u64::from(x.rows) * u64::from(self.job.choices);
        let pairs = u32::try_from(pairs).map_err(|_| BindError::BadOption {
            what: "tokens times choices",
            expected: "below 2^32",
            got: pairs.to_string(),
        })?;
        let rows = Rows { src: ("x", x), table: ("sorted", sorted), weights, out, tokens: x.rows, count: pairs };
        self.job.bind(&self.library, &rows)
    }

    /// The linked WGSL of its dispatch, for operands in separate buffers.
    #[must_use]
    pub fn wgsl(&self, dialect: Dialect) -> String {
        self.job.program(false).on(self.library.caps()).text(dialect)
    }
}

impl Combine {
    pub(crate) fn new(library: &Library, spec: &CombineSpec) -> Result<Self, BuildError> {
        let job = Job {
            variant: library.choose(spec),
            choices: spec.shape.choices,
            weights: spec.weights,
            accumulate: spec.accumulate,
        };
        job.build(library, Kernel::Combine, spec.input, spec.output)?;
        Ok(Self { library: library.clone(), spec: spec.clone(), job })
    }

    /// The variant that runs.
    #[must_use]
    pub fn variant(&self) -> Variant {
        self.job.variant
    }

    /// The specification it was built from.
    #[must_use]
    pub fn spec(&self) -> &CombineSpec {
        &self.spec
    }

    /// Checks the operands and makes what recording needs: one uniform buffer and one bind group.
    ///
    /// # Errors
    /// When operands do not fit each other, their buffers, the device or the variant. Nothing is bound then.
    pub fn bind(&self, operands: &CombineOperands<'_>) -> Result<Bound, BindError> {
        let CombineOperands { y, inverse, weights, out } = *operands;
        shaped("y", &y, [y.rows, out.cols])?;
        shaped("inverse", &inverse, [out.rows, self.job.choices])?;
        let rows = Rows { src: ("y", y), table: ("inverse", inverse), weights, out, tokens: out.rows, count: y.rows };
        self.job.bind(&self.library, &rows)
    }

    /// The linked WGSL of its dispatch, for operands in separate buffers.
    #[must_use]
    pub fn wgsl(&self, dialect: Dialect) -> String {
        self.job.program(false).on(self.library.caps()).text(dialect)
    }
}

/// The linked WGSL of a variant for so many choices, for operands in separate buffers: a dispatch without weights, a combine
/// with them. Needs no device.
#[must_use]
pub fn wgsl(variant: &Variant, choices: u32, dialect: Dialect) -> String {
    let weights = variant.kernel == Kernel::Combine;
    Job { variant: *variant, choices, weights, accumulate: false }.program(false).text(dialect)
}

fn shaped(what: &'static str, m: &Matrix<'_>, [rows, cols]: [u32; 2]) -> Result<(), BindError> {
    if (m.rows, m.cols) == (rows, cols) {
        return Ok(());
    }
    let (expected, got) = (format!("{rows} x {cols}"), format!("{} x {}", m.rows, m.cols));
    Err(BindError::ShapeMismatch { what, expected, got })
}

/// What either of the two moves: rows of `src` to rows of `out`, by a table whose entries are below `count`.
struct Rows<'a> {
    src: (&'static str, Matrix<'a>),
    table: (&'static str, Matrix<'a>),
    weights: Option<Matrix<'a>>,
    out: Matrix<'a>,
    tokens: u32,
    count: u32,
}

/// What of a specification decides which programs run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Job {
    variant: Variant,
    choices: u32,
    weights: bool,
    accumulate: bool,
}

/// One of two fragments.
macro_rules! either {
    ($condition:expr, $yes:literal, $no:literal) => {
        if $condition { fragment!($yes) } else { fragment!($no) }
    };
}

impl Job {
    fn build(&self, library: &Library, kernel: Kernel, input: Dtype, output: Dtype) -> Result<(), BuildError> {
        let variant = self.variant;
        variant.supported(library.caps())?;
        if variant.kernel != kernel {
            let why = "it is a variant of the other kernel";
            return Err(BuildError::Unsupported { variant: variant.to_string(), why });
        }
        if (variant.input, variant.output) != (input, output) {
            let why = "its element types are not those of the specification";
            return Err(BuildError::Unsupported { variant: variant.to_string(), why });
        }
        if !(1..=MAX_CHOICES).contains(&self.choices) {
            let got = self.choices.to_string();
            return Err(BuildError::BadOption { what: "choices", expected: "from 1 to 1024", got });
        }
        library.caps().check_buffers(self.operands())?;
        library.built(&self.program(false)).map(|_| ())
    }

    fn operands(&self) -> Vec<&'static str> {
        let mut all = match self.variant.kernel {
            Kernel::Dispatch => vec!["x", "out", "sorted"],
            Kernel::Combine => vec!["y", "out", "inverse"],
        };
        all.extend(self.weights.then_some("weights"));
        all
    }

    fn bind(&self, library: &Library, rows: &Rows<'_>) -> Result<Bound, BindError> {
        given("weights", self.weights, rows.weights.is_some())?;
        if let Some(weights) = &rows.weights {
            shaped("weights", weights, [rows.tokens, self.choices])?;
        }
        for (what, matrix) in [rows.src, ("out", rows.out)] {
            if self.variant.quads && !matrix.in_quads() {
                return Err(BindError::NotInQuads { what, variant: self.variant.to_string() });
            }
        }
        if rows.out.is_empty() {
            return Ok(Bound::default());
        }
        let (variant, caps) = (self.variant, library.caps());
        // Nothing to read: zeros, or what `out` holds and nothing.
        let clears = rows.src.1.rows == 0;
        if clears && self.accumulate {
            return Ok(Bound::default());
        }
        let operand = |binding, (what, matrix), element, writes| Operand { binding, what, matrix, element, writes };
        let mut list = vec![operand(2, ("out", rows.out), variant.output.bytes(), true)];
        if !clears {
            list.extend([operand(1, rows.src, variant.input.bytes(), false), operand(3, rows.table, 4, false)]);
            list.extend(rows.weights.map(|weights| operand(4, ("weights", weights), 4, false)));
        }
        let placement = place(caps, &list, None, false)?;
        let offset = |binding| placement.placed.iter().find(|p| p.binding == binding).map_or(0, |p| p.offset);
        let quads = rows.out.cols.div_ceil(4);
        let Division { rows_each, parts, part_quads } = variant.division(rows.out.rows, quads, self.choices);
        let tasks = u64::from(rows.out.rows.div_ceil(rows_each)) * u64::from(parts);
        let each = u64::from(variant.width / variant.lanes);
        let groups = grid(caps, rows.out.rows, tasks.div_ceil(each))?;
        // Shaders count tasks in u32, those past the end too.
        let available = u64::from(u32::MAX) / each;
        let count = u64::from(groups[0]) * u64::from(groups[1]);
        if count > available {
            return Err(BindError::TooManyRows { rows: rows.out.rows, groups: count, available });
        }
        let unit = if variant.quads { 4 } else { 1 };
        let params = Params {
            rows: rows.out.rows,
            cols: rows.out.cols,
            quads,
            grid_width: groups[0],
            rows_each,
            parts,
            part_quads,
            choices: self.choices,
            count: rows.count,
            src_offset: offset(1) / unit,
            src_stride: rows.src.1.stride / unit,
            dst_offset: offset(2) / unit,
            dst_stride: rows.out.stride / unit,
            table_offset: offset(3),
            table_stride: rows.table.1.stride,
            weights_offset: offset(4),
            weights_stride: rows.weights.map_or(0, |weights| weights.stride),
            ..Params::default()
        };
        let program = if clears { clearing(variant) } else { self.program(placement.write_all) };
        let built = library.built(&program)?;
        Ok(Bound { steps: vec![step(library.device(), built, &placement, &params, groups)?] })
    }

    /// Everything that decides which machine code runs; `write_all`: a buffer is read and written, so that every binding is
    /// read-write.
    fn program(&self, write_all: bool) -> Program {
        let Self { variant, weights, accumulate, .. } = *self;
        let keeps = variant.kernel == Kernel::Combine && variant.quads && self.choices <= MAX_KEPT;
        let kept = keeps.then_some(self.choices);
        let mut name = variant.to_string();
        if let Some(choices) = kept {
            name = format!("{name}#k{choices}");
        }
        for (used, suffix) in [(weights, "+weights"), (accumulate, "+accumulate"), (write_all, "@pooled")] {
            if used {
                name.push_str(suffix);
            }
        }
        let access = if write_all { Access::ReadWrite } else { Access::Read };
        let mut bindings = vec![(0, Access::Uniform), (1, access), (2, Access::ReadWrite), (3, access)];
        bindings.extend(weights.then_some((4, access)));
        Program {
            name,
            header: Header {
                constants: kept.map(|choices| ("CHOICES", choices)).into_iter().collect(),
                ..Header::default()
            },
            fragments: self.fragments(kept.is_some(), write_all),
            overrides: geometry(variant),
            bindings,
        }
    }

    fn fragments(&self, kept: bool, w: bool) -> Vec<Fragment> {
        let Self { variant, weights, accumulate, .. } = *self;
        let mut list = frame();
        list.extend([
            either!(w, "lib/operand_src_read_write", "lib/operand_src_read"),
            either!(w, "lib/permute_table_read_write", "lib/permute_table_read"),
            match (weights, w) {
                (false, _) => fragment!("lib/permute_weights_off"),
                (true, false) => fragment!("lib/permute_weights_read"),
                (true, true) => fragment!("lib/permute_weights_read_write"),
            },
            either!(weights, "lib/permute_weigh_on", "lib/permute_weigh_off"),
        ]);
        match variant.kernel {
            Kernel::Dispatch => list.push(fragment!("permute_dispatch")),
            Kernel::Combine => list.extend([
                fragment!("permute_combine"),
                either!(kept, "lib/permute_choices_kept", "lib/permute_choices_table"),
                either!(accumulate, "lib/permute_finish_add", "lib/permute_finish_replace"),
            ]),
        }
        if variant.kernel == Kernel::Dispatch && !weights {
            list.extend(words(variant));
            return list;
        }
        list.extend([
            fragment!("lib/permute_values"),
            source_fragment(variant.input, false, variant.quads),
            destination(variant),
        ]);
        for (dtype, fragment) in [(Dtype::F16, fragment!("lib/half")), (Dtype::Bf16, fragment!("lib/brain"))] {
            list.extend((variant.input == dtype || variant.output == dtype).then_some(fragment));
        }
        list.extend(accumulate.then(|| reload(variant)));
        list
    }
}

/// What every program here has.
fn frame() -> Vec<Fragment> {
    vec![
        fragment!("lib/permute_params"),
        fragment!("lib/lane"),
        fragment!("lib/entry_baseline"),
        fragment!("lib/operand_dst"),
    ]
}

fn geometry(variant: Variant) -> Vec<(&'static str, f64)> {
    vec![("WIDTH", f64::from(variant.width)), ("LANES", f64::from(variant.lanes))]
}

/// Rows of zeros: words, whatever the type.
fn clearing(variant: Variant) -> Program {
    let Variant { output, width, lanes, quads, .. } = variant;
    let mut fragments = frame();
    fragments.extend([fragment!("permute_clear"), words(variant)[1]]);
    Program {
        name: format!("permute/clear/{}/w{width}l{lanes}/x{}", output.name(), if quads { 4 } else { 1 }),
        header: Header::default(),
        fragments,
        overrides: geometry(variant),
        bindings: vec![(0, Access::Uniform), (2, Access::ReadWrite)],
    }
}

/// Loads and stores of elements as words, or halves of words, that mean nothing.
fn words(variant: Variant) -> [Fragment; 2] {
    match (variant.output, variant.quads) {
        (Dtype::F32, true) => [fragment!("lib/src_w32_x4"), fragment!("lib/dst_w32_x4")],
        (Dtype::F32, false) => [fragment!("lib/src_w32_x1"), fragment!("lib/dst_w32_x1")],
        (_, true) => [fragment!("lib/src_w16_x4"), fragment!("lib/dst_w16_x4")],
        (_, false) => [fragment!("lib/src_w16_x1"), fragment!("lib/dst_w16_x1")],
    }
}

/// Stores of numbers, rounded to the output's type.
fn destination(variant: Variant) -> Fragment {
    match (variant.output, variant.quads) {
        (Dtype::F32, true) => fragment!("lib/dst_f32_x4"),
        (Dtype::F32, false) => fragment!("lib/dst_f32_x1"),
        (Dtype::F16, true) => fragment!("lib/dst_f16_x4"),
        (Dtype::F16, false) => fragment!("lib/dst_f16_x1"),
        (Dtype::Bf16, true) => fragment!("lib/dst_bf16_x4"),
        (Dtype::Bf16, false) => fragment!("lib/dst_bf16_x1"),
    }
}

/// Loads of what the output holds.
fn reload(variant: Variant) -> Fragment {
    match (variant.output, variant.quads) {
        (Dtype::F32, true) => fragment!("lib/reload_x4"),
        (Dtype::F32, false) => fragment!("lib/reload_x1"),
        (Dtype::F16, true) => fragment!("lib/reload_f16_x4"),
        (Dtype::F16, false) => fragment!("lib/reload_f16_x1"),
        (Dtype::Bf16, true) => fragment!("lib/reload_bf16_x4"),
        (Dtype::Bf16, false) => fragment!("lib/reload_bf16_x1"),
    }
}

/// Every program that can be built, in both forms; of the numbers of choices, one that is kept and one that is not.
#[cfg(feature = "conformance")]
pub(crate) fn every_program() -> Vec<Program> {
    let mut programs: Vec<_> = Variant::all().map(clearing).collect();
    for job in every_job() {
        programs.extend([false, true].map(|write_all| job.program(write_all)));
    }
    programs
}

#[cfg(feature = "conformance")]
fn every_job() -> impl Iterator<Item = Job> {
    Variant::all().flat_map(|variant| {
        let combines = variant.kernel == Kernel::Combine;
        let counts = if combines { &[3, MAX_KEPT + 1][..] } else { &[3][..] };
        counts.iter().flat_map(move |&choices| {
            (0..if combines { 4 } else { 2 }).map(move |bits| {
                let [weights, accumulate] = [1, 2].map(|bit| bits & bit != 0);
                Job { variant, choices, weights, accumulate }
            })
        })
    })
}
