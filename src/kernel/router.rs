//! MoE routing: which experts a token goes to, and with what weight.
//!
//! For each token's logits l, over the experts e, with every step but the last optional:
//!
//! ```text
//! z_e = cap · tanh((l_e + b_e) / cap) + ε_e · (softplus(d_e) + least)     bias and noise of the logits
//! s_e = softmax(z)_e, sigmoid(z_e), √softplus(z_e) or z_e                  scores
//! r_e = s_e + b_e, or z_e + g_e                                            what chooses: a bias of the scores, Gumbel noise
//! the groups whose best r, or two best r added, are greatest stay in the race
//! e_1 … e_K = the K greatest r, in order
//! w_j = scale · s_{e_j} / max(Σ_i s_{e_i}, least sum), or scale · s_{e_j}
//! ```
//!
//! One dispatch, one read of the logits (two where scores are shares of the whole row's softmax, or groups compete), 8 bytes
//! written per choice. Order: value descending, index ascending, NaN last, −0 = +0, so that every row has K distinct
//! experts, whatever is in it. **Experts and weights are the same bits on every device, in every variant and on the CPU**
//! ([`Problem::route`](crate::reference::router::Problem::route)); the weights are within a derived budget of
//! the exact ones. `docs/semantics.md` says what comes of NaN, infinities, ties, padding and sentinels.
//!
//! ```
//! use onesum::router::{Operands, Preset};
//! use onesum::{Library, Matrix};
//!
//! let (device, _) = wgpu::Device::noop(&wgpu::DeviceDescriptor::default());
//! # let buffer = || device.create_buffer(&wgpu::BufferDescriptor {
//! #     label: None, size: 4 * 32 * 128, usage: wgpu::BufferUsages::STORAGE, mapped_at_creation: false });
//! # let (logits, experts, weights) = (buffer(), buffer(), buffer());
//! let library = Library::new(&device)?;
//! let router = library.router(&Preset::Qwen3.spec(32))?; // 128 experts, 8 a token
//! let step = router.bind(&Operands::new(
//!     Matrix::new(&logits, 32, 128),
//!     Matrix::new(&experts, 32, 8),
//!     Matrix::new(&weights, 32, 8),
//! ))?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod params;
mod preset;
mod sources;
mod variant;

use params::Params;
pub use preset::Preset;
#[cfg(feature = "conformance")]
pub(crate) use sources::every_program;
use sources::{Form, program};
pub use variant::{Schedule, Variant};

use super::place::{Operand, Placement, grid, place};
pub use super::softmax::{Dtype, Shape};
use super::softmax::{given, step};
use crate::library::Program;
use crate::shader::Dialect;
use crate::tuning::{Entry, Sizes, Tunable, Variants};
use crate::{BindError, Bound, BuildError, Caps, Library, Matrix};

/// No expert: what padding, and a map for experts of other shards, put in an expert's place.
pub const NO_EXPERT: u32 = u32::MAX;

/// The most choices of a token, shared experts not counted.
pub const MAX_CHOICES: u32 = 64;

/// The most experts.
pub const MAX_EXPERTS: u32 = 2048;

/// The most groups.
pub const MAX_GROUPS: u32 = 512;

/// The least sum that weights are divided by, unless another is given: what `DeepSeek`'s routers add to theirs.
pub const LEAST_SUM: f32 = 1e-20;

/// The least deviation of noisy top-K (Shazeer et al., arXiv 1701.06538).
pub const LEAST_DEVIATION: f32 = 1e-2;

/// What logits become before they are weights.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Scoring {
    /// softmax(z). With `renormalize` it is that over the chosen logits only, which comes to the same.
    #[default]
    Softmax,
    /// 1 / (1 + e⁻ᶻ).
    Sigmoid,
    /// √ln(1 + eᶻ).
    SqrtSoftplus,
    /// z itself.
    Identity,
}

impl Scoring {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Softmax, Self::Sigmoid, Self::SqrtSoftplus, Self::Identity];

    /// `softmax`, `sigmoid`, `sqrtsoftplus` or `none`, as inference engines say.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Softmax => "softmax",
            Self::Sigmoid => "sigmoid",
            Self::SqrtSoftplus => "sqrtsoftplus",
            Self::Identity => "none",
        }
    }
}

/// What a bias per expert is added to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Bias {
    /// To the logits: it chooses and it weighs, as the bias of a linear layer does (gpt-oss).
    Logit,
    /// To the scores, for the choice alone (DeepSeek-V3's `e_score_correction_bias`).
    Score,
}

/// Noise from the crate's one random stream, one variate an expert.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Noise {
    /// Gumbel noise on the logits, for the choice alone: experts are drawn without replacement, with the probabilities of the
    /// softmax of z.
    Gumbel,
    /// Normal noise on the logits, of deviation softplus(d) + [`LEAST_DEVIATION`] with d from a second matrix: it chooses and it
    /// weighs (noisy top-K: Shazeer et al., arXiv 1701.06538).
    Normal,
}

/// How good a group is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GroupScore {
    /// As its best expert.
    Max,
    /// As its two best added, one f32 sum; of a group of one, that one.
    TopTwo,
}

/// Groups of experts that compete before experts do. Expert e is of group e / (experts / count).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Groups {
    /// How many: a divisor of the number of experts, at most [`MAX_GROUPS`].
    pub count: u32,
    /// How many stay in the race. They must hold as many experts as are chosen.
    pub kept: u32,
    /// What they compete by.
    pub score: GroupScore,
}

/// Experts that every token goes to, after those that are chosen: numbers `experts`, `experts + 1`, …
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shared {
    /// How many, at most [`MAX_CHOICES`].
    pub count: u32,
    /// The weight of each: `scale` does not apply.
    pub weight: f32,
}

/// What else is in use. What is not costs nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Options {
    /// Soft cap of the logits, from 2⁻²⁰ to 2²⁰.
    pub soft_cap: Option<f32>,
    /// A bias per expert is given.
    pub bias: Option<Bias>,
    /// Noise is added.
    pub noise: Option<Noise>,
    /// Groups compete first.
    pub groups: Option<Groups>,
    /// Experts that every token has.
    pub shared: Option<Shared>,
    /// A map of experts is given.
    pub map: bool,
    /// A count of valid tokens is given.
    pub valid: bool,
}

/// How to route, and what shape.
#[derive(Clone, Debug, PartialEq)]
pub struct Spec {
    /// What is going to be bound: tokens and experts. `quads` speaks of the logits.
    pub shape: Shape,
    /// Element type of the logits.
    pub input: Dtype,
    /// Experts a token goes to: 1 to [`MAX_CHOICES`], and at most the number of experts.
    pub choices: u32,
    /// What logits become.
    pub scoring: Scoring,
    /// Whether the chosen scores are divided by their sum, and the least that it counts as: from 2⁻¹⁰⁰ to 1.
    pub renormalize: Option<f32>,
    /// Factor on the weights: 0, or 2⁻²⁰ to 2²⁰ in magnitude.
    pub scale: f32,
    /// What else is in use.
    pub options: Options,
    /// This variant and no other; `None` leaves the choice to [`Variant::select`].
    pub variant: Option<Variant>,
}

impl Spec {
    /// The softmax of f32 logits, its greatest `choices`, renormalized.
    #[must_use]
    pub fn new(shape: Shape, choices: u32) -> Self {
        Self {
            shape,
            input: Dtype::F32,
            choices,
            scoring: Scoring::Softmax,
            renormalize: Some(LEAST_SUM),
            scale: 1.0,
            options: Options::default(),
            variant: None,
        }
    }

    /// Columns of the outputs: choices and shared experts.
    #[must_use]
    pub fn width(&self) -> u32 {
        self.choices + self.options.shared.map_or(0, |s| s.count)
    }

    /// What is wrong with it for so many experts, if anything is.
    ///
    /// # Errors
    /// [`BuildError::BadOption`], naming the option.
    pub fn check(&self, experts: u32) -> Result<(), BuildError> {
        let bad = |what, expected, got: String| Err(BuildError::BadOption { what, expected, got });
        let within = |x: f32, least: f32, most: f32| (least..=most).contains(&x);
        let o = &self.options;
        if experts > MAX_EXPERTS {
            return bad("experts", "at most 2048", experts.to_string());
        }
        if !(1..=MAX_CHOICES).contains(&self.choices) {
            return bad("choices", "from 1 to 64", self.choices.to_string());
        }
        // No experts at all is an empty shape.
        if experts > 0 && self.choices > experts {
            return bad("choices", "at most the number of experts", format!("{} of {experts}", self.choices));
        }
        if let Some(least) = self.renormalize.filter(|x| !within(*x, 2f32.powi(-100), 1.0)) {
            return bad("the least sum to renormalize by", "from 2^-100 to 1", least.to_string());
        }
        if self.scale != 0.0 && !within(self.scale.abs(), 2f32.powi(-20), 2f32.powi(20)) {
            return bad("scale", "0, or from 2^-20 to 2^20 in magnitude", self.scale.to_string());
        }
        if let Some(cap) = o.soft_cap.filter(|c| !within(*c, 2f32.powi(-20), 2f32.powi(20))) {
            return bad("soft_cap", "from 2^-20 to 2^20", cap.to_string());
        }
        if let Some(shared) = o.shared {
            if shared.count > MAX_CHOICES {
                return bad("shared experts", "at most 64", shared.count.to_string());
            }
            if !shared.weight.is_finite() {
                return bad("the weight of shared experts", "finite", shared.weight.to_string());
            }
        }
        if self.scoring == Scoring::Identity && self.renormalize.is_some() {
            return bad("renormalize", "off where logits are the weights: their sum may be anything", "on".into());
        }
        if o.noise == Some(Noise::Gumbel) {
            if o.bias == Some(Bias::Score) {
                return bad(
                    "a bias of the scores",
                    "off where Gumbel noise chooses: it is added to logits",
                    "on".into(),
                );
            }
            if matches!(self.scoring, Scoring::Sigmoid | Scoring::SqrtSoftplus) {
                let expected = "softmax or none where Gumbel noise chooses: it draws from a softmax";
                return bad("scoring", expected, self.scoring.name().into());
            }
        }
        let Some(groups) = o.groups else { return Ok(()) };
        if groups.count == 0 || groups.count > MAX_GROUPS || !experts.is_multiple_of(groups.count) {
            let got = format!("{} for {experts} experts", groups.count);
            return bad("groups", "a divisor of the number of experts, from 1 to 512", got);
        }
        if groups.kept == 0 || groups.kept > groups.count {
            return bad("kept groups", "from 1 to the number of groups", groups.kept.to_string());
        }
        let left = experts / groups.count * groups.kept;
        if experts > 0 && left < self.choices {
            let got = format!("{left} experts for {} choices", self.choices);
            return bad("kept groups", "so many that they hold as many experts as are chosen", got);
        }
        Ok(())
    }

    /// The operands that need a storage buffer each.
    fn buffers(&self) -> Vec<(&'static str, u32, bool)> {
        let o = &self.options;
        [
            (true, ("src", 1, false)),
            (true, ("experts", 2, true)),
            (true, ("weights", 3, true)),
            (o.bias.is_some(), ("bias", 4, false)),
            (o.noise == Some(Noise::Normal), ("deviations", 5, false)),
            (o.valid, ("valid", 6, false)),
            (o.map, ("map", 7, false)),
            (o.noise.is_some(), ("seeds", 10, false)),
        ]
        .into_iter()
        .filter(|(used, _)| *used)
        .map(|(_, buffer)| buffer)
        .collect()
    }
}

impl Tunable for Spec {
    type Variant = Variant;

    fn variants() -> impl Iterator<Item = Variant> {
        Variant::all()
    }

    fn sizes(&self) -> Sizes {
        Sizes { rows: self.shape.rows, cols: self.shape.cols, choices: Some(self.choices) }
    }

    fn entries<'a>(&self, variants: &'a Variants) -> &'a [Entry<Variant>] {
        &variants.router
    }

    fn named(&self) -> Option<Variant> {
        self.variant
    }

    fn select(&self, caps: &Caps) -> Variant {
        Variant::select(caps, self)
    }

    fn takes(&self, caps: &Caps, variant: &Variant) -> bool {
        (variant.input, variant.quads) == (self.input, self.shape.quads)
            && variant.supported(caps).is_ok()
            && variant.fits(caps, self, self.shape.cols).is_ok()
    }
}

/// The operands of one routing. Those that the specification does not ask for stay `None`.
#[derive(Clone, Copy, Debug)]
pub struct Operands<'a> {
    /// Logits `[tokens, experts]`.
    pub src: Matrix<'a>,
    /// Experts `[tokens, choices + shared]`, u32, written: best first, then the shared ones.
    pub experts: Matrix<'a>,
    /// Their weights `[tokens, choices + shared]`, f32, written.
    pub weights: Matrix<'a>,
    /// Bias `[1, experts]`, f32.
    pub bias: Option<Matrix<'a>>,
    /// What the deviations of normal noise are made of `[tokens, experts]`, f32.
    pub deviations: Option<Matrix<'a>>,
    /// Seed and position of each token's noise `[tokens, 4]`, u32, each its low word first.
    pub seeds: Option<Matrix<'a>>,
    /// What each expert is called on this shard `[1, experts + shared]`, u32: [`NO_EXPERT`] where it is another's.
    pub map: Option<Matrix<'a>>,
    /// How many tokens are valid `[1, 1]`, u32: those from there on are padding.
    pub valid: Option<Matrix<'a>>,
}

impl<'a> Operands<'a> {
    /// Logits and what is made of them, nothing else.
    #[must_use]
    pub fn new(src: Matrix<'a>, experts: Matrix<'a>, weights: Matrix<'a>) -> Self {
        Self { src, experts, weights, bias: None, deviations: None, seeds: None, map: None, valid: None }
    }

    fn given(&self, what: &str) -> Option<Matrix<'a>> {
        match what {
            "src" => Some(self.src),
            "experts" => Some(self.experts),
            "weights" => Some(self.weights),
            "bias" => self.bias,
            "deviations" => self.deviations,
            "seeds" => self.seeds,
            "map" => self.map,
            _ => self.valid,
        }
    }
}

/// Routing of one specification, compiled.
#[derive(Clone, Debug)]
pub struct Router {
    library: Library,
    spec: Spec,
    variant: Variant,
}

impl Router {
    pub(crate) fn new(library: &Library, spec: &Spec) -> Result<Self, BuildError> {
        let caps = library.caps();
        spec.check(spec.shape.cols)?;
        let variant = library.choose(spec);
        variant.supported(caps)?;
        if variant.input != spec.input {
            let why = "its element type is not that of the specification";
            return Err(BuildError::Unsupported { variant: variant.to_string(), why });
        }
        caps.check_buffers(spec.buffers().into_iter().map(|(what, ..)| what).collect())?;
        variant.fits(caps, spec, spec.shape.cols)?;
        let router = Self { library: library.clone(), spec: spec.clone(), variant };
        library.built(&router.program(spec.shape.cols, true, false))?;
        Ok(router)
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

    /// The linked WGSL of its dispatch, for operands in separate buffers.
    #[must_use]
    pub fn wgsl(&self, dialect: Dialect) -> String {
        self.program(self.spec.shape.cols, true, false).on(self.library.caps()).text(dialect)
    }

    /// Checks the operands and makes what recording needs: one uniform buffer and one bind group. Without tokens or experts
    /// nothing is recorded.
    ///
    /// # Errors
    /// When operands do not fit each other, their buffers, the device or the variant. Nothing is bound then.
    pub fn bind(&self, operands: &Operands<'_>) -> Result<Bound, BindError> {
        let caps = self.library.caps();
        self.check(operands)?;
        let (rows, cols) = (operands.src.rows, operands.src.cols);
        if operands.src.is_empty() {
            return Ok(Bound::default());
        }
        let list = self.list(operands)?;
        let placement = place(caps, &list, None, false)?;
        let rows_each = self.variant.rows_each(cols, rows);
        let a_group = self.variant.width / self.variant.lanes * rows_each;
        let groups = grid(caps, rows, u64::from(rows.div_ceil(a_group)))?;
        let params = Params { grid_width: groups[0], rows_each, ..self.params(operands, &placement) };
        let built = self.library.built(&self.program(
            cols,
            operands.bias.is_some_and(|b| b.in_quads()),
            placement.write_all,
        ))?;
        Ok(Bound { steps: vec![step(self.library.device(), built, &placement, &params, groups)?] })
    }

    fn program(&self, experts: u32, bias_in_quads: bool, write_all: bool) -> Program {
        let bias_quads = self.variant.quads && bias_in_quads && self.spec.options.bias.is_some();
        program(&self.spec, &self.variant, experts, Form { write_all, bias_quads })
    }

    fn check(&self, operands: &Operands<'_>) -> Result<(), BindError> {
        let (tokens, experts) = (operands.src.rows, operands.src.cols);
        let width = self.spec.width();
        let shared = width - self.spec.choices;
        let used = self.spec.buffers();
        for (what, shape) in [
            ("experts", [tokens, width]),
            ("weights", [tokens, width]),
            ("bias", [1, experts]),
            ("deviations", [tokens, experts]),
            ("seeds", [tokens, 4]),
            ("map", [1, experts + shared]),
            ("valid", [1, 1]),
        ] {
            let matrix = operands.given(what);
            given(what, used.iter().any(|(name, ..)| *name == what), matrix.is_some())?;
            if let Some(m) = matrix.filter(|m| [m.rows, m.cols] != shape) {
                let (expected, got) = (format!("{} x {}", shape[0], shape[1]), format!("{} x {}", m.rows, m.cols));
                return Err(BindError::ShapeMismatch { what, expected, got });
            }
        }
        self.spec.check(experts)?;
        if self.variant.quads && !operands.src.in_quads() {
            return Err(BindError::NotInQuads { what: "src", variant: self.variant.to_string() });
        }
        self.variant.fits(self.library.caps(), &self.spec, experts)?;
        Ok(())
    }

    fn list<'a>(&self, operands: &Operands<'a>) -> Result<Vec<Operand<'a>>, BindError> {
        let operand = |(what, binding, writes)| {
            let matrix = operands.given(what).ok_or(BindError::Missing { what })?;
            let element = if what == "src" { self.spec.input.bytes() } else { 4 };
            Ok(Operand { binding, what, matrix, element, writes })
        };
        self.spec.buffers().into_iter().map(operand).collect()
    }

    fn params(&self, operands: &Operands<'_>, placement: &Placement<'_>) -> Params {
        let unit = if self.variant.quads { 4 } else { 1 };
        let offset = |what| placement.placed.iter().find(|p| p.what == what).map_or(0, |p| p.offset);
        let stride = |matrix: Option<Matrix<'_>>| matrix.map_or(0, |m| m.stride);
        let (rows, cols, o) = (operands.src.rows, operands.src.cols, &self.spec.options);
        let groups = o.groups.unwrap_or(Groups { count: 1, kept: 1, score: GroupScore::Max });
        Params {
            rows,
            cols,
            quads: cols.div_ceil(4),
            src_offset: offset("src") / unit,
            src_stride: operands.src.stride / unit,
            deviations_offset: offset("deviations"),
            deviations_stride: stride(operands.deviations),
            experts_offset: offset("experts"),
            experts_stride: operands.experts.stride,
            weights_offset: offset("weights"),
            weights_stride: operands.weights.stride,
            bias_offset: offset("bias"),
            map_offset: offset("map"),
            valid_offset: offset("valid"),
            seeds_offset: offset("seeds"),
            seeds_stride: stride(operands.seeds),
            shared_experts: o.shared.map_or(0, |s| s.count),
            groups: groups.count,
            kept_groups: groups.kept,
            group_cols: cols / groups.count,
            index_mask: cols.next_multiple_of(4).next_power_of_two() - 1,
            cap: o.soft_cap.unwrap_or(1.0),
            inverse_cap: 1.0 / o.soft_cap.unwrap_or(1.0),
            scale: self.spec.scale,
            least: self.spec.renormalize.unwrap_or(LEAST_SUM),
            shared_weight: o.shared.map_or(0.0, |s| s.weight),
            least_deviation: LEAST_DEVIATION,
            ..Params::default()
        }
    }
}

/// The linked WGSL of a variant, for operands in separate buffers and without 64-bit integers. Needs no device.
#[must_use]
pub fn wgsl(spec: &Spec, variant: &Variant, dialect: Dialect) -> String {
    program(spec, variant, spec.shape.cols, Form::default()).text(dialect)
}

/// What a device with these capabilities lacks for `spec`, as [`Library::router`] would say.
///
/// # Errors
/// As [`Library::router`].
pub fn supported(caps: &Caps, spec: &Spec) -> Result<Variant, BuildError> {
    spec.check(spec.shape.cols)?;
    let variant = spec.variant.unwrap_or_else(|| Variant::select(caps, spec));
    variant.supported(caps)?;
    variant.fits(caps, spec, spec.shape.cols)?;
    Ok(variant)
}
