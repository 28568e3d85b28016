//! Gumbel-Softmax: relaxed samples of a categorical distribution, and the one-hot samples that they relax
//! (Jang, Gu & Poole, arXiv 1611.01144; Maddison, Mnih & Teh, arXiv 1611.00712).
//!
//! For each row of logits l, over the columns that are not excluded:
//!
//! ```text
//! z_i     = scale · l_i + mask_i + g_i            perturbed logits    g_i = −ln(−ln u_i), u_i from (seed, position, i)
//! soft_i  = exp(z_i / τ) / Σ_j exp(z_j / τ)       the relaxed sample
//! lse     = ln Σ_j exp(z_j / τ)
//! index   = argmax_i z_i                          the lowest of equals
//! hard_i  = 1 if i = index, else 0
//! ```
//!
//! Any of them, from one bind. A straight-through estimator takes `hard` forward and differentiates `soft`. The noise is made
//! again wherever it is needed, so that all outputs have the same and none of it is stored. `perturbed` and `index`, and so
//! `hard`, are the same to the bit on every device and in the [reference](crate::reference); `index` is what
//! [`sample`](crate::sample) draws at temperature 1. `soft` and `lse` are a softmax, within its error budget;
//! their noise is the bits of `perturbed`.
//!
//! | output | dispatches | reads and writes, in rows |
//! |---|---|---|
//! | `index` | those of `sample`: 1, or 2 if rows are split | 1 read |
//! | `perturbed` | 1 | 1 read, 1 written |
//! | `soft`, `lse` | those of `softmax`: 1, or 2 if rows are split | 1 or 2 read, 1 written |
//! | `hard` | 1, after `index` | 1 written |
//!
//! `docs/semantics.md` says what comes of NaN, infinities, empty rows and τ = 0.
//!
//! ```
//! use onesum::gumbel::{Operands, Outputs, Spec};
//! use onesum::softmax::{PerRow, Shape};
//! use onesum::{Library, Matrix};
//!
//! let (device, _) = wgpu::Device::noop(&wgpu::DeviceDescriptor::default());
//! # let buffer = || device.create_buffer(&wgpu::BufferDescriptor {
//! #     label: None, size: 4 * 32 * 1000, usage: wgpu::BufferUsages::STORAGE, mapped_at_creation: false });
//! # let (logits, seeds, soft, hard, index) = (buffer(), buffer(), buffer(), buffer(), buffer());
//! let library = Library::new(&device)?;
//! let outputs = Outputs { soft: true, hard: true, index: true, ..Outputs::default() };
//! let straight_through = library.gumbel(&Spec { outputs, ..Spec::new(Shape::new(32, 1000)) })?;
//! let seeds = PerRow::each(Matrix::new(&seeds, 32, 4)); // seed and position of each row
//! let step = straight_through.bind(&Operands {
//!     soft: Some(Matrix::new(&soft, 32, 1000)),
//!     hard: Some(Matrix::new(&hard, 32, 1000)),
//!     index: Some(Matrix::new(&index, 32, 1)),
//!     ..Operands::new(Matrix::new(&logits, 32, 1000), seeds)
//! })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use super::place::{Operand, refuse_aliases};
use super::softmax::{
    Dtype, EmptyRow, MaskType, PARTIAL_BYTES, PerRow, Shape, Softmax, Stage, given, per_row, scratch_window,
};
use super::{sample, softmax};
use crate::shader::Dialect;
use crate::{BindError, Bound, BuildError, Library, Matrix};

/// What is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Outputs {
    /// The relaxed sample.
    pub soft: bool,
    /// Log-sum-exp of z / τ: needs `soft`.
    pub lse: bool,
    /// The column of the greatest perturbed logit.
    pub index: bool,
    /// The one-hot row: needs `index`, from which it is made.
    pub hard: bool,
    /// Logits with their noise, which densities are computed from
    /// ([`gumbel_log_density`](crate::reference::gumbel_log_density)).
    pub perturbed: bool,
}

/// Which options are in use. One that is not costs nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Options {
    /// Factor on the logits.
    pub scale: Option<f32>,
    /// An additive mask is given.
    pub mask: Option<MaskType>,
    /// Temperatures τ are given; otherwise τ = 1. 0 makes `soft` one-hot.
    pub temperature: bool,
    /// Valid lengths are given: columns from there on are excluded.
    pub lengths: bool,
}

/// What to compute, and for which shape.
#[derive(Clone, Debug, PartialEq)]
pub struct Spec {
    /// What is going to be bound. `quads` speaks of logits, mask, `soft`, `hard` and `perturbed`.
    pub shape: Shape,
    /// Element type of the logits.
    pub input: Dtype,
    /// Element type of `soft` and `hard`. `perturbed` and `lse` are f32, `index` is u32.
    pub output: Dtype,
    /// What is written.
    pub outputs: Outputs,
    /// Rows in which every column is excluded, in `soft` and `hard`.
    pub empty_row: EmptyRow,
    /// What else is in use.
    pub options: Options,
    /// The variant of the softmax, whose geometry `hard` and `perturbed` have too; `None` leaves the choice to
    /// [`softmax::Variant::select`].
    pub softmax: Option<softmax::Variant>,
    /// The variant that finds the index; `None` leaves the choice to [`sample::Variant::select`]. Those by blocks are refused:
    /// their noise is another.
    pub sample: Option<sample::Variant>,
}

impl Spec {
    /// The relaxed sample, from f32 to f32, at τ = 1.
    #[must_use]
    pub fn new(shape: Shape) -> Self {
        Self {
            shape,
            input: Dtype::F32,
            output: Dtype::F32,
            outputs: Outputs { soft: true, ..Outputs::default() },
            empty_row: EmptyRow::default(),
            options: Options::default(),
            softmax: None,
            sample: None,
        }
    }

    fn softmax(&self) -> softmax::Spec {
        let o = &self.options;
        softmax::Spec {
            input: self.input,
            output: self.output,
            lse: self.outputs.lse,
            empty_row: self.empty_row,
            options: softmax::Options {
                scale: o.scale,
                mask: o.mask,
                temperature: o.temperature,
                lengths: o.lengths,
                gumbel: true,
                ..softmax::Options::default()
            },
            variant: self.softmax,
            ..softmax::Spec::new(self.shape)
        }
    }

    fn sample(&self) -> sample::Spec {
        let o = &self.options;
        sample::Spec {
            input: self.input,
            options: sample::Options { scale: o.scale, mask: o.mask, lengths: o.lengths, ..sample::Options::default() },
            variant: self.sample,
            ..sample::Spec::new(self.shape)
        }
    }

    fn check(&self) -> Result<(), BuildError> {
        let Outputs { soft, lse, index, hard, perturbed } = self.outputs;
        let missing = |what, expected: &'static str| Err(BuildError::BadOption { what, expected, got: "not".into() });
        if lse && !soft {
            return missing("soft", "asked for where lse is");
        }
        if hard && !index {
            return missing("index", "asked for where hard is");
        }
        if !(soft || index || perturbed) {
            return missing("one of soft, index, hard and perturbed", "asked for");
        }
        match self.sample {
            Some(variant) if variant.schedule.by_blocks() => {
                let why = "it draws by blocks, with another noise than that of columns";
                Err(BuildError::Unsupported { variant: variant.to_string(), why })
            }
            _ => Ok(()),
        }
    }
}

/// The operands of one Gumbel-Softmax. Those that the specification does not ask for stay `None`.
#[derive(Clone, Copy, Debug)]
pub struct Operands<'a> {
    /// Logits `[rows, cols]`.
    pub src: Matrix<'a>,
    /// `[entries, 4]`, u32: seed and position of a row's noise, each its low word first.
    pub seeds: PerRow<'a>,
    /// Relaxed samples `[rows, cols]`, written. May be the same window as `src`, if of the same type.
    pub soft: Option<Matrix<'a>>,
    /// Log-sum-exp `[rows, 1]`, f32, written.
    pub lse: Option<Matrix<'a>>,
    /// Columns `[rows, 1]`, u32, written: [`sample::Status::of`] reads them.
    pub index: Option<Matrix<'a>>,
    /// One-hot rows `[rows, cols]`, written. May be the same window as `src`, if of the same type.
    pub hard: Option<Matrix<'a>>,
    /// Perturbed logits `[rows, cols]`, f32, written; −inf in excluded columns.
    pub perturbed: Option<Matrix<'a>>,
    /// Additive mask `[entries, cols]`.
    pub mask: Option<PerRow<'a>>,
    /// Temperatures τ `[entries, 1]`, f32. Negative ones and NaN make the row of `soft` NaN.
    pub temperature: Option<PerRow<'a>>,
    /// Valid lengths `[entries, 1]`, u32.
    pub lengths: Option<PerRow<'a>>,
    /// [`Gumbel::scratch_bytes`] bytes or more, for variants that split rows: [`Matrix`] of u32.
    pub scratch: Option<Matrix<'a>>,
}

impl<'a> Operands<'a> {
    /// Logits and seeds, nothing else.
    #[must_use]
    pub fn new(src: Matrix<'a>, seeds: PerRow<'a>) -> Self {
        Self {
            src,
            seeds,
            soft: None,
            lse: None,
            index: None,
            hard: None,
            perturbed: None,
            mask: None,
            temperature: None,
            lengths: None,
            scratch: None,
        }
    }
}

/// A Gumbel-Softmax of one specification, compiled.
#[derive(Clone, Debug)]
pub struct Gumbel {
    spec: Spec,
    softmax: Softmax,
    sample: Option<sample::Sample>,
}

impl Gumbel {
    pub(crate) fn new(library: &Library, spec: &Spec) -> Result<Self, BuildError> {
        spec.check()?;
        let outputs = &spec.outputs;
        let softmax = if outputs.soft {
            Softmax::new(library, &spec.softmax())?
        } else {
            Softmax::unbuilt(library, &spec.softmax())?
        };
        for (asked, stage) in [(outputs.perturbed, Stage::Logits), (outputs.hard, Stage::OneHot)] {
            if asked {
                softmax.build_stage(stage)?;
            }
        }
        let sample = outputs.index.then(|| library.sample(&spec.sample())).transpose()?;
        Ok(Self { spec: spec.clone(), softmax, sample })
    }

    /// The variant of the softmax.
    #[must_use]
    pub fn variant(&self) -> softmax::Variant {
        self.softmax.variant()
    }

    /// The variant that finds the index, if it is asked for.
    #[must_use]
    pub fn sample_variant(&self) -> Option<sample::Variant> {
        self.sample.as_ref().map(sample::Sample::variant)
    }

    /// The specification it was built from.
    #[must_use]
    pub fn spec(&self) -> &Spec {
        &self.spec
    }

    /// Bytes of scratch memory that binding this shape takes: 0, but for variants that split rows.
    #[must_use]
    pub fn scratch_bytes(&self, rows: u32, cols: u32) -> u64 {
        let sample = self.sample.as_ref().map_or(0, |sample| sample.scratch_bytes(rows, cols));
        let softmax = if self.spec.outputs.soft { self.softmax.scratch_bytes(rows, cols) } else { 0 };
        sample.max(softmax)
    }

    /// The linked WGSL of its dispatches, in order, for operands in separate buffers.
    #[must_use]
    pub fn wgsl(&self, dialect: Dialect) -> Vec<String> {
        let mut texts = self.sample.as_ref().map_or(Vec::new(), |sample| sample.wgsl(dialect));
        let stages = stages(self.spec.outputs, self.softmax.variant().schedule);
        texts.extend(stages.into_iter().map(|stage| self.softmax.text(stage, dialect)));
        texts
    }

    /// Checks the operands and makes what recording needs: one uniform buffer and one bind group a dispatch.
    ///
    /// # Errors
    /// When operands do not fit each other, their buffers, the device or the variant. Nothing is bound then.
    pub fn bind(&self, operands: &Operands<'_>) -> Result<Bound, BindError> {
        self.check(operands)?;
        let (src, empty) = (operands.src, operands.src.is_empty());
        let mut bound = Bound::default();
        if let (Some(sample), Some(index)) = (&self.sample, operands.index) {
            let choose = sample::Operands {
                mask: operands.mask,
                lengths: operands.lengths,
                scratch: operands.scratch,
                ..sample::Operands::new(src, index, operands.seeds)
            };
            bound.steps.extend(sample.bind(&choose)?.steps);
        }
        let shared = softmax::Operands {
            lse: operands.lse,
            mask: operands.mask,
            temperature: operands.temperature,
            lengths: operands.lengths,
            seeds: Some(operands.seeds),
            scratch: operands.scratch,
            ..softmax::Operands::new(src, src)
        };
        if let Some(perturbed) = operands.perturbed.filter(|_| !empty) {
            bound.steps.push(self.softmax.step(Stage::Logits, &softmax::Operands { dst: perturbed, ..shared })?);
        }
        // The relaxed sample may replace the logits: whatever else reads them comes before.
        if let Some(soft) = operands.soft {
            bound.steps.extend(self.softmax.bind_with(&softmax::Operands { dst: soft, ..shared })?.steps);
        }
        if let (Some(hard), Some(index), false) = (operands.hard, operands.index, empty) {
            bound.steps.push(self.softmax.step(Stage::OneHot, &softmax::Operands::new(index, hard))?);
        }
        Ok(bound)
    }

    fn check(&self, operands: &Operands<'_>) -> Result<(), BindError> {
        let (rows, cols) = (operands.src.rows, operands.src.cols);
        let (asked, o) = (&self.spec.outputs, &self.spec.options);
        for (what, asked, matrix, columns) in [
            ("soft", asked.soft, operands.soft, cols),
            ("lse", asked.lse, operands.lse, 1),
            ("index", asked.index, operands.index, 1),
            ("hard", asked.hard, operands.hard, cols),
            ("perturbed", asked.perturbed, operands.perturbed, cols),
        ] {
            given(what, asked, matrix.is_some())?;
            if let Some(m) = matrix.filter(|m| (m.rows, m.cols) != (rows, columns)) {
                let (expected, got) = (format!("{rows} x {columns}"), format!("{} x {}", m.rows, m.cols));
                return Err(BindError::ShapeMismatch { what, expected, got });
            }
        }
        per_row("seeds", true, Some(&operands.seeds), rows, 4)?;
        per_row("mask", o.mask.is_some(), operands.mask.as_ref(), rows, cols)?;
        per_row("temperature", o.temperature, operands.temperature.as_ref(), rows, 1)?;
        per_row("lengths", o.lengths, operands.lengths.as_ref(), rows, 1)?;
        let variant = self.softmax.variant();
        let windows =
            [Some(operands.src), operands.mask.map(|m| m.matrix), operands.soft, operands.hard, operands.perturbed];
        for (what, m) in ["src", "mask", "soft", "hard", "perturbed"].into_iter().zip(windows) {
            if variant.quads && m.is_some_and(|m| !m.in_quads()) {
                return Err(BindError::NotInQuads { what, variant: variant.to_string() });
            }
        }
        let scratch = self.scratch_bytes(rows, cols);
        if scratch > 0 {
            given("scratch", true, operands.scratch.is_some())?;
        }
        self.check_aliases(operands, scratch)
    }

    fn check_aliases(&self, operands: &Operands<'_>, scratch: u64) -> Result<(), BindError> {
        let mask_bytes = if self.spec.options.mask == Some(MaskType::F16) { 2 } else { 4 };
        let scratch = operands.scratch.filter(|_| scratch > 0).map(|s| scratch_window(s, scratch)).transpose()?;
        let (input, output) = (self.spec.input.bytes(), self.spec.output.bytes());
        let list: Vec<_> = [
            ("src", Some(operands.src), input, false),
            ("seeds", Some(operands.seeds.matrix), 4, false),
            ("mask", operands.mask.map(|m| m.matrix), mask_bytes, false),
            ("temperature", operands.temperature.map(|m| m.matrix), 4, false),
            ("lengths", operands.lengths.map(|m| m.matrix), 4, false),
            ("soft", operands.soft, output, true),
            ("lse", operands.lse, 4, true),
            ("index", operands.index, 4, true),
            ("hard", operands.hard, output, true),
            ("perturbed", operands.perturbed, 4, true),
            ("scratch", scratch, PARTIAL_BYTES / 4, true),
        ]
        .into_iter()
        .filter_map(|(what, matrix, element, writes)| {
            Some(Operand { binding: 0, what, matrix: matrix?, element, writes })
        })
        .collect();
        refuse_aliases(&list, &[("src", "soft"), ("src", "hard")])
    }
}

/// The linked WGSL of the dispatches, in order, for operands in separate buffers and without 64-bit integers. Needs no device.
#[must_use]
pub fn wgsl(spec: &Spec, softmax: &softmax::Variant, sample: Option<sample::Variant>, dialect: Dialect) -> Vec<String> {
    let mut texts = Vec::new();
    if let Some(variant) = sample.filter(|_| spec.outputs.index) {
        texts.extend(sample::wgsl(&spec.sample(), &variant, dialect));
    }
    let stages = stages(spec.outputs, softmax.schedule);
    texts.extend(stages.into_iter().map(|stage| softmax::stage_wgsl(&spec.softmax(), softmax, stage, dialect)));
    texts
}

/// What follows the dispatches that find the index, in order.
fn stages(outputs: Outputs, schedule: softmax::Schedule) -> Vec<Stage> {
    let mut stages = Vec::new();
    if outputs.perturbed {
        stages.push(Stage::Logits);
    }
    if outputs.soft {
        stages.extend(Stage::of(schedule));
    }
    if outputs.hard {
        stages.push(Stage::OneHot);
    }
    stages
}
