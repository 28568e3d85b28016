//! Which fragments, bindings and operands each dispatch of a variant is made of.

use super::{Dtype, Form, MaskType, Operands, PARTIAL_BYTES, Schedule, Spec, StageBinding, Variant, header};
use crate::kernel::place::Operand;
use crate::library::{Access, Program};
use crate::shader::{Fragment, fragment};
use crate::{BindError, Matrix};

/// One dispatch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// All of it.
    Whole,
    /// Partial sums of split rows.
    Sum,
    /// Partial sums merged, probabilities written.
    Scale,
}

const PARAMS: StageBinding = StageBinding { what: "params", binding: 0, access: Access::Uniform };

impl Stage {
    pub fn of(schedule: Schedule) -> &'static [Self] {
        if schedule == Schedule::Split { &[Self::Sum, Self::Scale] } else { &[Self::Whole] }
    }

    /// (name, binding, written) of the storage buffers it uses, in order of binding.
    fn buffers(self, spec: &Spec) -> Vec<(&'static str, u32, bool)> {
        let o = &spec.options;
        let writes = self != Self::Sum;
        let sums = self != Self::Scale;
        [
            (true, ("src", 1, false)),
            (writes, ("dst", 2, true)),
            (writes && spec.lse, ("lse", 3, true)),
            (o.mask.is_some(), ("mask", 4, false)),
            (o.temperature, ("temperature", 5, false)),
            (o.alibi, ("slopes", 6, false)),
            (sums && o.sinks, ("sinks", 7, false)),
            (o.lengths, ("lengths", 8, false)),
            (self != Self::Whole, ("scratch", 9, true)),
            (o.gumbel, ("seeds", 10, false)),
        ]
        .into_iter()
        .filter(|(used, _)| *used)
        .map(|(_, buffer)| buffer)
        .collect()
    }

    /// A form as far as it concerns this dispatch: one that writes no output cannot read the input through it.
    fn form(self, form: Form) -> Form {
        Form { src_in_dst: form.src_in_dst && self != Self::Sum, ..form }
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
                "dst" => (Some(operands.dst), spec.output.bytes()),
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
    let form = stage.form(form);
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
    let mut name = variant.to_string();
    for (used, suffix) in [
        (stage == Stage::Sum, "#sum"),
        (stage == Stage::Scale, "#scale"),
        (spec.log, "+log"),
        (spec.lse, "+lse"),
        (o.scale.is_some(), "+scale"),
        (o.soft_cap.is_some(), "+cap"),
        (o.causal, "+causal"),
        (o.alibi, "+alibi"),
        (o.mask == Some(MaskType::F32), "+mask"),
        (o.mask == Some(MaskType::F16), "+mask16"),
        (o.temperature, "+temperature"),
        (o.lengths, "+lengths"),
        (o.sinks, "+sinks"),
        (o.gumbel, "+gumbel"),
        (form.src_in_dst, "@shared"),
        (form.write_all, "@pooled"),
    ] {
        if used {
            name.push_str(suffix);
        }
    }
    name
}

/// One of two fragments.
macro_rules! either {
    ($condition:expr, $yes:literal, $no:literal) => {
        if $condition { fragment!($yes) } else { fragment!($no) }
    };
}

fn fragments(spec: &Spec, variant: &Variant, stage: Stage, form: Form) -> Vec<Fragment> {
    let o = &spec.options;
    let rival = variant.schedule.is_rival();
    let mut list = vec![
        fragment!("lib/params"),
        fragment!("lib/lane"),
        fragment!("lib/exp"),
        fragment!("lib/partial"),
        either!(rival, "lib/sum_online", "lib/sum_extended"),
        fragment!("lib/row"),
        either!(o.scale.is_some(), "lib/scale_on", "lib/scale_off"),
        either!(o.soft_cap.is_some(), "lib/cap_on", "lib/cap_off"),
        either!(o.causal || o.alibi, "lib/position_on", "lib/position_off"),
        either!(o.alibi, "lib/slopes_on", "lib/slopes_off"),
        either!(o.temperature, "lib/temperature_on", "lib/temperature_off"),
        fragment!("lib/bits_off"),
        either!(o.gumbel, "lib/stream_on", "lib/stream_off"),
        either!(o.gumbel, "lib/perturbed_on", "lib/perturbed_off"),
        limit(spec, variant),
        mask_fragment(o.mask, variant.quads),
    ];
    list.extend(variant.tier.fragments());
    if o.gumbel {
        list.extend([fragment!("lib/philox"), fragment!("lib/noise")]);
    }
    let f16 = variant.input == Dtype::F16 || variant.output == Dtype::F16 || o.mask == Some(MaskType::F16);
    if f16 {
        list.push(fragment!("lib/half"));
    }
    if variant.input == Dtype::Bf16 || variant.output == Dtype::Bf16 {
        list.push(fragment!("lib/brain"));
    }
    let sums = stage != Stage::Scale;
    list.push(either!(sums && o.sinks, "lib/sinks_on", "lib/sinks_off"));
    list.extend(operand_fragments(spec, variant, stage, form));
    list.push(source_fragment(variant.input, variant.native_f16, variant.quads));
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
            "dst" => fragment!("lib/operand_dst"),
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

#[cfg(test)]
mod tests;
