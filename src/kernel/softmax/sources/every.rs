//! Every program of softmax that the library can link, as far as that can be counted: options multiply.

use std::collections::HashSet;

use super::super::shard;
use super::{Form, MaskType, Stage, program};
use crate::library::Program;
use crate::softmax::{Causal, Dtype, Schedule, Shape, Spec, Variant};

const FORMS: [Form; 4] = [
    Form { src_in_dst: false, write_all: false },
    Form { src_in_dst: false, write_all: true },
    Form { src_in_dst: true, write_all: false },
    Form { src_in_dst: true, write_all: true },
];

type Switch = fn(&mut Spec);

const POSITIONS: Option<Causal> = Some(Causal { queries: 2, offset: 0 });

/// What can be in use.
const SWITCHES: [Switch; 12] = [
    |s| s.options.mask = Some(MaskType::F16),
    |s| s.log = true,
    |s| s.lse = true,
    |s| s.options.scale = Some(2.0),
    |s| s.options.soft_cap = Some(3.0),
    |s| (s.options.causal, s.options.positions) = (true, POSITIONS),
    |s| (s.options.alibi, s.options.positions) = (true, POSITIONS),
    |s| s.options.mask = Some(MaskType::F32),
    |s| s.options.temperature = true,
    |s| s.options.lengths = true,
    |s| s.options.sinks = true,
    |s| s.options.gumbel = true,
];

/// None, all with either mask, each alone; then every two, where options that do not go together show.
fn sets(plain: &Spec) -> (Vec<Spec>, Vec<Spec>) {
    let with = |switches: &[Switch]| {
        let mut spec = plain.clone();
        for switch in switches {
            switch(&mut spec);
        }
        spec
    };
    // The last mask counts.
    let mut few = vec![plain.clone(), with(&SWITCHES), with(&[&SWITCHES[1..], &SWITCHES[..1]].concat())];
    let mut pairs = Vec::new();
    for (i, &a) in SWITCHES.iter().enumerate() {
        few.push(with(&[a]));
        pairs.extend(SWITCHES[..i].iter().map(|&b| with(&[a, b])));
    }
    (few, pairs)
}

/// Every variant with few sets of options in every form, and with every pair of options on one geometry of each kind in f32;
/// others take some pairs each in turn. Names may come more than once.
pub(crate) fn every_program() -> impl Iterator<Item = Program> {
    let mut kinds = HashSet::new();
    let small = [shard::merge_program(), shard::empty_program()];
    small.into_iter().chain(Variant::all().enumerate().flat_map(move |(n, v)| {
        let plain = Spec { input: v.input, output: v.output, ..Spec::new(Shape::new(1, 4)) };
        let (few, pairs) = sets(&plain);
        let f32_only = v.input == Dtype::F32 && v.output == Dtype::F32;
        let all_pairs = f32_only && kinds.insert((v.schedule, v.tier, v.keep, v.quads));
        let forms = FORMS.iter().filter(|f| !f.src_in_dst || v.input == v.output).count();
        let mut programs = Vec::new();
        for (i, spec) in few.iter().chain(&pairs).enumerate() {
            let pair = i >= few.len();
            let turn = !pair || all_pairs || (n + i).is_multiple_of(23);
            if !turn || (v.schedule == Schedule::Reload && spec.log) {
                continue;
            }
            let others = if spec.options.gumbel { &[Stage::Logits, Stage::OneHot][..] } else { &[] };
            for &form in &FORMS[..if pair { 1 } else { forms }] {
                let stages = Stage::of(v.schedule).iter().chain(others);
                programs.extend(stages.map(|&stage| program(spec, &v, stage, form)));
            }
        }
        programs
    }))
}
