//! Which fragments make which program.

use super::super::softmax::Tier;
use super::{Bias, Dtype, GroupScore, Noise, Schedule, Scoring, Spec, Variant};
use crate::library::{Access, PRODUCT_16, Program};
use crate::shader::{Fragment, Header, fragment};

/// One of two fragments.
macro_rules! either {
    ($condition:expr, $yes:literal, $no:literal) => {
        if $condition { fragment!($yes) } else { fragment!($no) }
    };
}

/// What columns are ranked by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rank {
    Logit,
    Score,
    Share,
}

/// What the weights are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Weigh {
    Score,
    Selected,
    Share,
}

/// Scores rise with logits: they need computing for the choice only where something is added to them, or where groups are as
/// good as sums of them.
fn rank(spec: &Spec) -> Rank {
    let o = &spec.options;
    let added = o.bias == Some(Bias::Score);
    let summed = o.groups.is_some_and(|g| g.score == GroupScore::TopTwo);
    // Gumbel noise is added to logits, and what is scored by itself is its own score.
    let by_logit = o.noise == Some(Noise::Gumbel) || spec.scoring == Scoring::Identity;
    if !added && (by_logit || !summed) {
        return Rank::Logit;
    }
    if spec.scoring == Scoring::Softmax { Rank::Share } else { Rank::Score }
}

fn weigh(spec: &Spec) -> Weigh {
    match (spec.scoring, spec.renormalize) {
        (Scoring::Softmax, Some(_)) => Weigh::Selected,
        (Scoring::Softmax, None) => Weigh::Share,
        _ => Weigh::Score,
    }
}

/// What the operands and the device call for.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Form {
    /// Every binding is read-write: a buffer is both read and written.
    pub write_all: bool,
    /// The bias is loaded in quads too.
    pub bias_quads: bool,
}

pub(super) fn program(spec: &Spec, variant: &Variant, experts: u32, form: Form) -> Program {
    let Form { write_all, bias_quads } = form;
    let o = &spec.options;
    let row = variant.schedule == Schedule::Row;
    let mut name = format!("{variant}+k{}+{}", spec.choices, spec.scoring.name());
    let mut add = |used: bool, suffix: &str| {
        if used {
            name.push_str(suffix);
        }
    };
    add(spec.renormalize.is_some(), "+renormalize");
    add(o.soft_cap.is_some(), "+cap");
    add(o.bias == Some(Bias::Logit), "+bias");
    add(o.bias == Some(Bias::Score), "+scorebias");
    add(o.noise == Some(Noise::Gumbel), "+gumbel");
    add(o.noise == Some(Noise::Normal), "+normal");
    add(o.groups.is_some_and(|g| g.score == GroupScore::Max), "+groupmax");
    add(o.groups.is_some_and(|g| g.score == GroupScore::TopTwo), "+grouptwo");
    add(o.map, "+map");
    add(o.valid, "+valid");
    let mut overrides = vec![("WIDTH", f64::from(variant.width)), ("LANES", f64::from(variant.lanes))];
    if row {
        let columns = Variant::columns(experts);
        add(true, &format!("+c{columns}"));
        overrides.extend([
            ("COLUMNS", f64::from(columns)),
            ("KEYS", f64::from(columns * (variant.width / variant.lanes))),
            ("CHOSEN", f64::from(variant.chosen(spec.choices))),
        ]);
        if o.groups.is_some() {
            let keys = variant.group_keys(o);
            add(true, &format!("+g{keys}"));
            overrides.push(("GROUP_KEYS", f64::from(keys)));
        }
    }
    add(bias_quads, "+quads");
    add(write_all, "@pooled");
    let access = |written| if written || write_all { Access::ReadWrite } else { Access::Read };
    let mut bindings = vec![(0, Access::Uniform)];
    bindings.extend(spec.buffers().into_iter().map(|(_, binding, written)| (binding, access(written))));
    Program {
        name,
        header: Header {
            f16: false,
            subgroups: variant.tier != Tier::Baseline,
            constants: vec![("CHOICES", spec.choices)],
        },
        fragments: fragments(spec, variant, form),
        overrides,
        bindings,
    }
}

fn fragments(spec: &Spec, variant: &Variant, form: Form) -> Vec<Fragment> {
    let Form { write_all: w, bias_quads } = form;
    let (o, row) = (&spec.options, variant.schedule == Schedule::Row);
    let (rank, weigh) = (rank(spec), weigh(spec));
    let mut list = vec![fragment!("lib/router_params"), fragment!("lib/lane"), fragment!("lib/stream")];
    list.extend([
        fragment!("lib/router"),
        fragment!("lib/exact"),
        fragment!("lib/logarithm"),
        fragment!("lib/contender"),
    ]);
    list.push(either!(row, "router_row", "router"));
    match variant.schedule {
        Schedule::Row => list.extend(variant.tier.fragments(fragment!("lib/exchange"))),
        Schedule::Lane => list.extend([fragment!("lib/entry_baseline"), fragment!("lib/reduce_alone")]),
    }
    list.push(match (row, o.groups.is_some()) {
        (true, true) => fragment!("lib/router_row_groups"),
        (true, false) => fragment!("lib/router_row_all"),
        (false, true) => fragment!("lib/router_kept_groups"),
        (false, false) => fragment!("lib/router_kept_all"),
    });
    list.extend(o.groups.map(|g| match g.score {
        GroupScore::Max => fragment!("lib/router_group_max"),
        GroupScore::TopTwo => fragment!("lib/router_group_two"),
    }));
    let mass = rank == Rank::Share || weigh == Weigh::Share;
    list.push(either!(mass, "lib/router_field_mass", "lib/router_field_off"));
    list.push(match rank {
        Rank::Logit => fragment!("lib/router_rank_logit"),
        Rank::Score => fragment!("lib/router_rank_score"),
        Rank::Share => fragment!("lib/router_rank_share"),
    });
    list.push(match weigh {
        Weigh::Score => fragment!("lib/router_weigh_score"),
        Weigh::Selected => fragment!("lib/router_weigh_selected"),
        Weigh::Share => fragment!("lib/router_weigh_share"),
    });
    match spec.scoring {
        Scoring::Softmax => {}
        Scoring::Sigmoid => list.push(fragment!("lib/router_score_sigmoid")),
        Scoring::SqrtSoftplus => list.push(fragment!("lib/router_score_sqrtsoftplus")),
        Scoring::Identity => list.push(fragment!("lib/router_score_identity")),
    }
    list.push(either!(spec.renormalize.is_some(), "lib/router_divide_on", "lib/router_divide_off"));
    list.push(either!(o.soft_cap.is_some(), "lib/router_cap_on", "lib/router_cap_off"));
    match o.bias {
        None => list.push(fragment!("lib/router_bias_off")),
        Some(Bias::Logit) => list.push(fragment!("lib/router_bias_logit")),
        Some(Bias::Score) => list.push(fragment!("lib/router_bias_score")),
    }
    if o.bias.is_some() {
        list.push(either!(bias_quads, "lib/router_bias_x4", "lib/router_bias_x1"));
    }
    match o.noise {
        None => list.extend([fragment!("lib/router_noise_off"), fragment!("lib/router_stream_off")]),
        Some(noise) => {
            list.extend([fragment!("lib/router_words"), fragment!("lib/router_stream_on"), fragment!("lib/noise")]);
            list.extend([fragment!("lib/philox"), PRODUCT_16]);
            match noise {
                Noise::Gumbel => list.push(fragment!("lib/router_noise_gumbel")),
                Noise::Normal => list.extend([fragment!("lib/router_noise_normal"), fragment!("lib/normal")]),
            }
        }
    }
    list.push(either!(o.map, "lib/router_map_on", "lib/router_map_off"));
    list.push(either!(o.valid, "lib/router_valid_on", "lib/router_valid_off"));
    list.push(either!(variant.quads, "lib/router_tail_off", "lib/router_tail_on"));
    list.extend(match (variant.input, variant.quads) {
        (Dtype::F32, true) => [fragment!("lib/src_f32_x4"), fragment!("lib/one_f32_x4")],
        (Dtype::F16, true) => [fragment!("lib/src_f16_x4"), fragment!("lib/one_half_x4")],
        (Dtype::Bf16, true) => [fragment!("lib/src_bf16_x4"), fragment!("lib/one_brain_x4")],
        (Dtype::F32, false) => [fragment!("lib/src_f32_x1"), fragment!("lib/one_f32_x1")],
        (Dtype::F16, false) => [fragment!("lib/src_f16_x1"), fragment!("lib/one_element")],
        (Dtype::Bf16, false) => [fragment!("lib/src_bf16_x1"), fragment!("lib/one_element")],
    });
    match variant.input {
        Dtype::F32 => {}
        Dtype::F16 => list.push(fragment!("lib/half")),
        Dtype::Bf16 => list.push(fragment!("lib/brain")),
    }
    list.push(fragment!("lib/operand_routes"));
    for (what, ..) in spec.buffers() {
        list.push(match what {
            "src" => either!(w, "lib/operand_src_read_write", "lib/operand_src_read"),
            "bias" => either!(w, "lib/operand_bias_read_write", "lib/operand_bias_read"),
            "deviations" => either!(w, "lib/operand_deviations_read_write", "lib/operand_deviations_read"),
            "map" => either!(w, "lib/operand_map_read_write", "lib/operand_map_read"),
            "valid" => either!(w, "lib/operand_valid_read_write", "lib/operand_valid_read"),
            "seeds" => either!(w, "lib/operand_seeds_read_write", "lib/operand_seeds_read"),
            // Both outputs are always read-write.
            _ => continue,
        });
    }
    list
}

/// Programs of every variant, each with some options, all options among them.
#[cfg(feature = "conformance")]
pub(crate) fn every_program() -> Vec<Program> {
    use super::{Groups, LEAST_SUM, Options, Shape};

    let none = Options::default();
    let groups = |score| Some(Groups { count: 4, kept: 2, score });
    let (bias, score_bias) = (Some(Bias::Logit), Some(Bias::Score));
    let options = [
        none,
        Options { soft_cap: Some(30.0), ..none },
        Options { bias, ..none },
        Options { bias: score_bias, ..none },
        Options { noise: Some(Noise::Normal), ..none },
        Options { groups: groups(GroupScore::Max), ..none },
        Options { groups: groups(GroupScore::TopTwo), bias: score_bias, ..none },
        Options { map: true, ..none },
        Options { valid: true, ..none },
        Options { soft_cap: Some(30.0), bias, noise: Some(Noise::Normal), map: true, valid: true, ..none },
        Options { soft_cap: Some(30.0), bias: score_bias, groups: groups(GroupScore::TopTwo), valid: true, ..none },
        Options { noise: Some(Noise::Gumbel), groups: groups(GroupScore::Max), ..none },
    ];
    let mut programs = Vec::new();
    for (n, variant) in Variant::all().enumerate() {
        for (i, options) in options.into_iter().enumerate() {
            for (j, scoring) in Scoring::ALL.into_iter().enumerate() {
                let choices = [1, 4, 7, 9, 16][(n + i + j) % 5];
                let renormalize = (i % 2 == 0 && scoring != Scoring::Identity).then_some(LEAST_SUM);
                let mut spec = Spec {
                    input: variant.input,
                    scoring,
                    renormalize,
                    options,
                    ..Spec::new(Shape::new(1, 64), choices)
                };
                if spec.check(64).is_err() {
                    spec.scoring = Scoring::Softmax;
                }
                let all = variant.input == Dtype::F32 && variant.quads && variant.width != 64;
                for write_all in [false, true] {
                    if all || (n + i + j).is_multiple_of(11) {
                        let bias_quads = variant.quads && spec.options.bias.is_some() && j % 2 == 0;
                        programs.push(program(&spec, &variant, 64, Form { write_all, bias_quads }));
                    }
                }
            }
        }
    }
    programs
}
