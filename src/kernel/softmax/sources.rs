//! Which fragments, bindings and operands each dispatch of a variant is made of.

use super::{Dtype, Form, MaskType, Operands, PARTIAL_BYTES, Schedule, Spec, StageBinding, Tier, Variant, header};
use crate::kernel::place::Operand;
use crate::library::{Access, PRODUCT_16, Program};
use crate::shader::{Fragment, fragment};
use crate::{BindError, BuildError, Caps, Matrix};

/// One dispatch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// All of it.
    Whole,
    /// Partial sums of split rows.
    Sum,
    /// Partial sums merged, probabilities written.
    Scale,
    /// Effective logits before the temperature, as f32: `perturbed` of Gumbel-Softmax.
    Logits,
    /// One-hot rows from what sampling has chosen: `hard` of Gumbel-Softmax.
    OneHot,
}

const PARAMS: StageBinding = StageBinding { what: "params", binding: 0, access: Access::Uniform };

impl Stage {
    pub fn of(schedule: Schedule) -> &'static [Self] {
        if schedule == Schedule::Split { &[Self::Sum, Self::Scale] } else { &[Self::Whole] }
    }

    /// (name, binding, written) of the storage buffers it uses, in order of binding.
    fn buffers(self, spec: &Spec) -> Vec<(&'static str, u32, bool)> {
        let o = &spec.options;
        let reads = self != Self::OneHot;
        let normalises = matches!(self, Self::Whole | Self::Scale);
        [
            (reads, ("src", 1, false)),
            (!reads, ("index", 1, false)),
            (normalises, ("dst", 2, true)),
            (self == Self::Logits, ("perturbed", 2, true)),
            (self == Self::OneHot, ("hard", 2, true)),
            (normalises && spec.lse, ("lse", 3, true)),
            (reads && o.mask.is_some(), ("mask", 4, false)),
            (self.divides() && o.temperature, ("temperature", 5, false)),
            (reads && o.alibi, ("slopes", 6, false)),
            (matches!(self, Self::Whole | Self::Sum) && o.sinks, ("sinks", 7, false)),
            (reads && o.lengths, ("lengths", 8, false)),
            (matches!(self, Self::Sum | Self::Scale), ("scratch", 9, true)),
            (reads && o.gumbel, ("seeds", 10, false)),
        ]
        .into_iter()
        .filter(|(used, _)| *used)
        .map(|(_, buffer)| buffer)
        .collect()
    }

    /// Whether it works with what the exponential is taken of.
    fn divides(self) -> bool {
        matches!(self, Self::Whole | Self::Sum | Self::Scale)
    }

    /// A form as far as it concerns this dispatch: one that writes no output of the input's type cannot read the input
    /// through it.
    fn form(self, form: Form) -> Form {
        Form { src_in_dst: form.src_in_dst && matches!(self, Self::Whole | Self::Scale), ..form }
    }

    /// Columns that do not depend on each other: of a variant, only element types and geometry count.
    fn variant(self, variant: &Variant) -> Variant {
        let (input, output) = match self {
            Self::Logits => (variant.input, Dtype::F32),
            Self::OneHot => (variant.output, variant.output),
            _ => return *variant,
        };
        let native_f16 = variant.native_f16 && input == Dtype::F16;
        Variant { input, output, native_f16, tier: Tier::Baseline, keep: 0, ..*variant }
    }

    pub fn bindings(self, spec: &Spec, form: Form) -> Vec<StageBinding> {
        let form = self.form(form);
        let mut all = vec![PARAMS];
        for (what, binding, written) in self.buffers(spec) {
            if what == "src" && form.src_in_dst {
                continue;
            }
            let access = if written || form.write_all { Access::ReadWrite } else { Access::Read };
            all.push(StageBinding { what, binding, access });
        }
        all
    }

    /// Whether a device with these capabilities has as many bindings.
    pub fn check(self, spec: &Spec, form: Form, caps: &Caps) -> Result<(), BuildError> {
        let bindings = self.bindings(spec, form).into_iter();
        caps.check_buffers(bindings.filter(|b| b.what != "params").map(|b| b.what).collect())
    }

    /// The caller's operands that go to its bindings.
    pub fn operands<'a>(
        self,
        spec: &Spec,
        operands: &Operands<'a>,
        scratch: Option<(Matrix<'a>, u64)>,
    ) -> Result<Vec<Operand<'a>>, BindError> {
        let mask_bytes = if spec.options.mask == Some(MaskType::F16) { 2 } else { 4 };
        let mut list = Vec::new();
        for (what, binding, writes) in self.buffers(spec) {
            let (matrix, element) = match what {
                "src" => (Some(operands.src), spec.input.bytes()),
                "dst" | "hard" => (Some(operands.dst), spec.output.bytes()),
                "perturbed" => (Some(operands.dst), 4),
                "index" => (Some(operands.src), 4),
                "lse" => (operands.lse, 4),
                "mask" => (operands.mask.map(|m| m.matrix), mask_bytes),
                "temperature" => (operands.temperature.map(|m| m.matrix), 4),
                "slopes" => (operands.slopes.map(|m| m.matrix), 4),
                "sinks" => (operands.sinks.map(|m| m.matrix), 4),
                "lengths" => (operands.lengths.map(|m| m.matrix), 4),
                "seeds" => (operands.seeds.map(|m| m.matrix), 4),
                _ => (scratch.map(|(m, bytes)| scratch_window(m, bytes)).transpose()?, 4),
            };
            // A row map may use fewer entries than there are.
            let matrix = matrix.ok_or(BindError::Missing { what })?;
            list.push(Operand { binding, what, matrix, element, writes });
        }
        Ok(list)
    }
}

/// The part of the caller's scratch memory that is used: whole partial sums from its start.
pub(crate) fn scratch_window(given: Matrix<'_>, bytes: u64) -> Result<Matrix<'_>, BindError> {
    let words = bytes / 4;
    if given.extent() < words || !given.offset.is_multiple_of(PARTIAL_BYTES / 4) {
        return Err(BindError::ShapeMismatch {
            what: "scratch",
            expected: format!("{words} u32 or more, at a multiple of 4"),
            got: format!("{} at {}", given.extent(), given.offset),
        });
    }
    let words = u32::try_from(words).map_err(|_| BindError::WindowTooLarge {
        what: "scratch",
        needed: bytes,
        available: u64::from(u32::MAX),
    })?;
    Ok(Matrix { rows: 1, cols: words, stride: words, ..given })
}

/// Everything that decides which machine code runs.
pub(crate) fn program(spec: &Spec, variant: &Variant, stage: Stage, form: Form) -> Program {
    let (form, variant) = (stage.form(form), &stage.variant(variant));
    let bindings = stage.bindings(spec, form);
    let mut overrides = vec![("WIDTH", f64::from(variant.width))];
    overrides.push(("LANES", f64::from(variant.lanes)));
    Program {
        name: name(spec, variant, stage, form),
        header: header(variant),
        fragments: fragments(spec, variant, stage, form),
        overrides,
        bindings: bindings.iter().map(|b| (b.binding, b.access)).collect(),
    }
}

/// The variant's name, then what is in use.
fn name(spec: &Spec, variant: &Variant, stage: Stage, form: Form) -> String {
    let o = &spec.options;
    let (reads, divides) = (stage != Stage::OneHot, stage.divides());
    let mut name = match stage {
        Stage::Logits => elementwise("perturbed", variant, variant.input),
        Stage::OneHot => elementwise("onehot", variant, variant.output),
        _ => variant.to_string(),
    };
    for (used, suffix) in [
        (stage == Stage::Sum, "#sum"),
        (stage == Stage::Scale, "#scale"),
        (divides && spec.log, "+log"),
        (divides && spec.lse, "+lse"),
        (reads && o.scale.is_some(), "+scale"),
        (reads && o.soft_cap.is_some(), "+cap"),
        (reads && o.causal, "+causal"),
        (reads && o.alibi, "+alibi"),
        (reads && o.mask == Some(MaskType::F32), "+mask"),
        (reads && o.mask == Some(MaskType::F16), "+mask16"),
        (divides && o.temperature, "+temperature"),
        (reads && o.lengths, "+lengths"),
        (divides && o.sinks, "+sinks"),
        (reads && o.gumbel, "+gumbel"),
        (form.src_in_dst, "@shared"),
        (form.write_all, "@pooled"),
    ] {
        if used {
            name.push_str(suffix);
        }
    }
    name
}

fn elementwise(what: &str, variant: &Variant, dtype: Dtype) -> String {
    let (dtype, quads) = (if variant.native_f16 { "f16n" } else { dtype.name() }, if variant.quads { 4 } else { 1 });
    format!("gumbel/{what}/{dtype}/baseline/w{}l{}/x{quads}", variant.width, variant.lanes)
}

/// One of two fragments.
macro_rules! either {
    ($condition:expr, $yes:literal, $no:literal) => {
        if $condition { fragment!($yes) } else { fragment!($no) }
    };
}

fn fragments(spec: &Spec, variant: &Variant, stage: Stage, form: Form) -> Vec<Fragment> {
    let o = &spec.options;
    if stage == Stage::OneHot {
        let mut list = vec![
            fragment!("lib/params"),
            fragment!("lib/lane"),
            fragment!("lib/entry_baseline"),
            fragment!("lib/piece"),
            fragment!("lib/status"),
            fragment!("gumbel_one_hot"),
        ];
        list.extend(operand_fragments(spec, variant, stage, form));
        list.extend(conversions(&[variant.output]));
        list.push(destination(variant));
        return list;
    }
    let rival = variant.schedule.is_rival();
    let mut list = vec![
        fragment!("lib/params"),
        fragment!("lib/lane"),
        fragment!("lib/exp"),
        fragment!("lib/row"),
        fragment!("lib/stream"),
        match (o.scale.is_some(), o.gumbel) {
            (false, _) => fragment!("lib/scale_off"),
            (true, false) => fragment!("lib/scale_on"),
            // So that the column with the most noise and logit is the one that sampling chooses.
            (true, true) => fragment!("lib/scale_fenced"),
        },
        either!(o.soft_cap.is_some(), "lib/cap_on", "lib/cap_off"),
        either!(o.causal || o.alibi, "lib/position_on", "lib/position_off"),
        either!(o.alibi, "lib/slopes_on", "lib/slopes_off"),
        either!(stage.divides() && o.temperature, "lib/temperature_on", "lib/temperature_off"),
        fragment!("lib/bits_off"),
        either!(o.gumbel, "lib/stream_on", "lib/stream_off"),
        either!(o.gumbel, "lib/perturbed_on", "lib/perturbed_off"),
        limit(spec, variant),
        mask_fragment(o.mask, variant.quads),
    ];
    if o.gumbel {
        list.extend([fragment!("lib/philox"), PRODUCT_16, fragment!("lib/noise"), fragment!("lib/logarithm")]);
    }
    let mut types = vec![variant.input, variant.output];
    types.extend((o.mask == Some(MaskType::F16)).then_some(Dtype::F16));
    list.extend(conversions(&types));
    list.extend(operand_fragments(spec, variant, stage, form));
    list.push(source_fragment(variant.input, variant.native_f16, variant.quads));
    if stage == Stage::Logits {
        list.extend([
            fragment!("lib/entry_baseline"),
            fragment!("lib/piece"),
            fragment!("gumbel"),
            destination(variant),
        ]);
        return list;
    }
    list.extend(variant.tier.fragments(either!(rival, "lib/exchange", "lib/exchange_sums")));
    list.extend([
        fragment!("lib/partial"),
        either!(rival, "lib/sum_online", "lib/sum_extended"),
        either!(stage != Stage::Scale && o.sinks, "lib/sinks_on", "lib/sinks_off"),
    ]);
    if stage != Stage::Sum {
        list.push(fragment!("lib/pass_write"));
    }
    if stage != Stage::Scale && !matches!(variant.schedule, Schedule::Recompute | Schedule::Reload) {
        list.push(fragment!("lib/pass_sum"));
    }
    if let Some(keep) = keep(variant.keep) {
        list.extend([fragment!("lib/four"), keep]);
    }
    if stage == Stage::Whole {
        list.push(fragment!("lib/task"));
    } else {
        list.push(fragment!("lib/partials"));
    }
    if stage != Stage::Sum {
        list.push(fragment!("lib/outcome"));
        list.push(either!(rival, "lib/normal_online", "lib/normal_extended"));
        if !rival {
            list.push(fragment!("lib/ln"));
        }
        list.push(either!(spec.log, "lib/output_log", "lib/output_probability"));
        list.push(either!(spec.lse, "lib/lse_on", "lib/lse_off"));
        list.push(destination(variant));
    }
    list.push(kernel(variant.schedule, stage));
    if variant.schedule == Schedule::Reload {
        list.push(either!(variant.quads, "lib/reload_x4", "lib/reload_x1"));
    }
    list
}

/// How elements of these types are taken from words and put into them.
fn conversions(types: &[Dtype]) -> Vec<Fragment> {
    let mut list = Vec::new();
    if types.contains(&Dtype::F16) {
        list.push(fragment!("lib/half"));
    }
    if types.contains(&Dtype::Bf16) {
        list.push(fragment!("lib/brain"));
    }
    list
}

fn keep(quads: u32) -> Option<Fragment> {
    match quads {
        4 => Some(fragment!("lib/keep_4")),
        8 => Some(fragment!("lib/keep_8")),
        16 => Some(fragment!("lib/keep_16")),
        32 => Some(fragment!("lib/keep_32")),
        _ => None,
    }
}

fn kernel(schedule: Schedule, stage: Stage) -> Fragment {
    match (schedule, stage) {
        (Schedule::Rows | Schedule::OnChip, _) => fragment!("softmax_onchip"),
        (Schedule::Split, Stage::Sum) => fragment!("softmax_sum"),
        (Schedule::Split, _) => fragment!("softmax_scale"),
        (Schedule::Recompute, _) => fragment!("softmax_recompute"),
        (Schedule::Reload, _) => fragment!("softmax_reload"),
        (Schedule::Stream | Schedule::Online, _) => fragment!("softmax"),
    }
}

fn limit(spec: &Spec, variant: &Variant) -> Fragment {
    let o = &spec.options;
    match (o.causal, o.lengths) {
        (false, false) => either!(variant.quads, "lib/limit_off", "lib/limit_tail"),
        (true, false) => fragment!("lib/limit_causal"),
        (false, true) => fragment!("lib/limit_lengths"),
        (true, true) => fragment!("lib/limit_causal_lengths"),
    }
}

pub(crate) fn mask_fragment(mask: Option<MaskType>, quads: bool) -> Fragment {
    match (mask, quads) {
        (None, _) => fragment!("lib/mask_off"),
        (Some(MaskType::F32), true) => fragment!("lib/mask_f32_x4"),
        (Some(MaskType::F32), false) => fragment!("lib/mask_f32_x1"),
        (Some(MaskType::F16), true) => fragment!("lib/mask_f16_x4"),
        (Some(MaskType::F16), false) => fragment!("lib/mask_f16_x1"),
    }
}

fn operand_fragments(spec: &Spec, variant: &Variant, stage: Stage, form: Form) -> Vec<Fragment> {
    let atomic = !variant.quads && words(variant.output, variant.native_f16);
    let mut list = Vec::new();
    for (what, ..) in stage.buffers(spec) {
        let w = form.write_all;
        list.push(match what {
            "src" if form.src_in_dst => either!(atomic, "lib/operand_src_in_dst_atomic", "lib/operand_src_in_dst"),
            "src" => either!(w, "lib/operand_src_read_write", "lib/operand_src_read"),
            "index" => either!(w, "lib/operand_index_read_write", "lib/operand_index_read"),
            "dst" | "perturbed" | "hard" => fragment!("lib/operand_dst"),
            "mask" => either!(w, "lib/operand_mask_read_write", "lib/operand_mask_read"),
            "temperature" => either!(w, "lib/operand_temperature_read_write", "lib/operand_temperature_read"),
            "slopes" => either!(w, "lib/operand_slopes_read_write", "lib/operand_slopes_read"),
            "sinks" => either!(w, "lib/operand_sinks_read_write", "lib/operand_sinks_read"),
            "lengths" => either!(w, "lib/operand_lengths_read_write", "lib/operand_lengths_read"),
            "seeds" => either!(w, "lib/operand_seeds_read_write", "lib/operand_seeds_read"),
            // The fragments that use them declare these two: both are always read-write.
            _ => continue,
        });
    }
    list
}

/// Whether elements are halves of u32 words.
fn words(dtype: Dtype, native_f16: bool) -> bool {
    match dtype {
        Dtype::F32 => false,
        Dtype::F16 => !native_f16,
        Dtype::Bf16 => true,
    }
}

pub(crate) fn source_fragment(input: Dtype, native_f16: bool, quads: bool) -> Fragment {
    match (input, native_f16, quads) {
        (Dtype::F32, _, true) => fragment!("lib/src_f32_x4"),
        (Dtype::F32, _, false) => fragment!("lib/src_f32_x1"),
        (Dtype::F16, true, true) => fragment!("lib/src_f16n_x4"),
        (Dtype::F16, true, false) => fragment!("lib/src_f16n_x1"),
        (Dtype::F16, false, true) => fragment!("lib/src_f16_x4"),
        (Dtype::F16, false, false) => fragment!("lib/src_f16_x1"),
        (Dtype::Bf16, _, true) => fragment!("lib/src_bf16_x4"),
        (Dtype::Bf16, _, false) => fragment!("lib/src_bf16_x1"),
    }
}

fn destination(variant: &Variant) -> Fragment {
    match (variant.output, variant.native_f16, variant.quads) {
        (Dtype::F32, _, true) => fragment!("lib/dst_f32_x4"),
        (Dtype::F32, _, false) => fragment!("lib/dst_f32_x1"),
        (Dtype::F16, true, true) => fragment!("lib/dst_f16n_x4"),
        (Dtype::F16, true, false) => fragment!("lib/dst_f16n_x1"),
        (Dtype::F16, false, true) => fragment!("lib/dst_f16_x4"),
        (Dtype::F16, false, false) => fragment!("lib/dst_f16_x1"),
        (Dtype::Bf16, _, true) => fragment!("lib/dst_bf16_x4"),
        (Dtype::Bf16, _, false) => fragment!("lib/dst_bf16_x1"),
    }
}

#[cfg(feature = "conformance")]
mod every;
#[cfg(feature = "conformance")]
pub(crate) use every::every_program;
