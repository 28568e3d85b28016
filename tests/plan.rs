//! The plan of grouped matrix products: every output against the reference on every adapter, faults, properties, bad operands.

mod common;

use onesum::conformance::Outcome;
use onesum::conformance::plan::{Case, Fault, run_case};
use onesum::plan::{Arguments, Capacity, NONE, Operands, Outputs, Plan, Priority, Spec, Variant, slots};
use onesum::reference::plan::{self as reference, Problem};
use onesum::{BindError, Library, Matrix};
use proptest::prelude::*;

/// Every output of every variant on every adapter is what the reference says.
#[test]
fn standard_profile() {
    // Four storage buffers, as on GL here, are too few for one dispatch.
    common::standard_profile("plan", |_, report| assert!(report.executed >= 200, "{} cases", report.executed));
}

/// Many slots for few pairs, where lanes in step have holes of many lengths: no invocation may go round more often than Mesa 22.3.6
/// lets it.
#[test]
fn holes_of_many_lengths() {
    for name in [
        "plan/serial/w8:tokens=2047,experts=4096,k=4,fill=zipf,block=128,capacity=4,priority=batch,extras=1,tight=1",
        "plan/serial/w8:tokens=333,experts=4096,k=7,fill=ascending,block=128,extras=1,tight=1",
    ] {
        assert_eq!(run_case(common::gpu(), &name.parse().unwrap(), None), Outcome::Passed(0), "{name}");
    }
}

/// The checks pass what is right and find what is not.
#[test]
fn planted_faults_are_found() {
    let gpu = common::gpu();
    for name in ["serial/w8", "group/w256"] {
        let name =
            format!("plan/{name}:tokens=70,experts=3,k=4,fill=uniform,block=16,capacity=37,priority=batch,extras=1");
        let case: Case = name.parse().unwrap();
        assert_eq!(run_case(gpu, &case, None), Outcome::Passed(0));
        for fault in Fault::ALL {
            assert!(matches!(run_case(gpu, &case, Some(fault)), Outcome::Failed(_)), "{fault:?}");
        }
    }
}

// ---- what a plan is, whoever makes it

fn problem<'a>(experts: &'a [u32], k: usize, count: u32, weights: &'a [f32]) -> Problem<'a> {
    Problem { experts, k, count, block: None, capacity: None, weights }
}

/// Conservation, by the definitions: each slot, each pair and each drop is accounted for.
fn check_plan(problem: &Problem<'_>, plan: &reference::Plan) -> Result<(), TestCaseError> {
    let (experts, count) = (problem.experts, problem.count as usize);
    let chosen = |e: usize| experts.iter().filter(|&&x| x as usize == e).count();
    let room = problem.capacity.map_or(usize::MAX, |c| c.slots as usize);
    let none = experts.iter().filter(|&&e| e as usize >= count).count();
    let kept: usize = plan.counts.iter().map(|&n| n as usize).sum();
    prop_assert_eq!(kept + none + plan.dropped.len(), experts.len());
    prop_assert_eq!(plan.dropped.len(), (0..count).map(|e| chosen(e).saturating_sub(room)).sum::<usize>());
    prop_assert!(plan.dropped.is_sorted());
    let block = problem.block.unwrap_or(1);
    prop_assert_eq!((plan.offsets[0], plan.offsets.len()), (0, count + 1));
    for e in 0..count {
        prop_assert_eq!(plan.counts[e] as usize, chosen(e).min(room));
        let [first, next] = [plan.offsets[e], plan.offsets[e + 1]];
        prop_assert_eq!(next - first, plan.counts[e].div_ceil(block) * block);
        let ours = &plan.sorted[first as usize..next as usize];
        let (pairs, padding) = ours.split_at(plan.counts[e] as usize);
        prop_assert!(pairs.is_sorted() && pairs.iter().all(|&p| experts[p as usize] as usize == e));
        prop_assert!(padding.iter().all(|&p| p == NONE));
        for b in first / block..next / block {
            prop_assert!(problem.block.is_none() || plan.blocks[b as usize] as usize == e);
        }
    }
    let used = plan.offsets[count] as usize;
    prop_assert!(plan.sorted[used..].iter().all(|&p| p == NONE));
    prop_assert!(plan.blocks.iter().skip(used / block as usize).all(|&e| e == NONE));
    // `inverse` is the inverse, either way round.
    for (slot, &pair) in plan.sorted.iter().enumerate().filter(|(_, p)| **p != NONE) {
        prop_assert_eq!(plan.inverse[pair as usize] as usize, slot);
    }
    prop_assert_eq!(plan.inverse.iter().filter(|&&slot| slot != NONE).count(), kept);
    prop_assert!(plan.dropped.iter().all(|&p| plan.inverse[p as usize] == NONE));
    Ok(())
}

fn capacities() -> impl Strategy<Value = Option<Capacity>> {
    let priority = prop_oneof![Just(Priority::KMajor), Just(Priority::BatchPrioritised)];
    proptest::option::of((0_u32..20, priority).prop_map(|(slots, priority)| Capacity { slots, priority }))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_reference_conserves_pairs(
        (k, experts) in (1_usize..8).prop_flat_map(|k| {
            (Just(k), proptest::collection::vec(0_u32..40, 0..60).prop_map(move |mut e| { e.truncate(e.len() / k * k); e }))
        }),
        count in 1_u32..35,
        block in proptest::option::of(1_u32..9),
        capacity in capacities(),
        seed in 0_u32..1000,
    ) {
        let weights = common::logits(seed, experts.len());
        let problem = Problem { block, capacity, ..problem(&experts, k, count, &weights) };
        let plan = problem.plan();
        check_plan(&problem, &plan)?;
        prop_assert_eq!(plan.sorted.len() as u64, slots((experts.len() / k) as u32, k as u32, count, block));
        // More room keeps at least as much, and enough room everything.
        if let Some(capacity) = capacity {
            let more = Problem { capacity: Some(Capacity { slots: capacity.slots + 1, ..capacity }), ..problem }.plan();
            prop_assert!(plan.dropped.len() >= more.dropped.len());
            prop_assert!(more.dropped.iter().all(|p| plan.dropped.contains(p)));
        }
    }

    /// Whoever is dropped has, for the same expert, no kept pair of lower priority.
    #[test]
    fn priority_decides(
        experts in proptest::collection::vec(0_u32..5, 40),
        slots in 0_u32..12,
        seed in 0_u32..1000,
    ) {
        let weights = common::logits(seed, 40);
        for priority in [Priority::KMajor, Priority::BatchPrioritised] {
            let capacity = Some(Capacity { slots, priority });
            let problem = Problem { capacity, ..problem(&experts, 4, 5, &weights) };
            let plan = problem.plan();
            let top = |t: u32| weights[t as usize * 4..][..4].iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let before = |a: u32, b: u32| {
                let ([a, i], [b, j]) = ([a / 4, a % 4], [b / 4, b % 4]);
                let gate = if priority == Priority::KMajor { 0.0 } else { top(b) - top(a) };
                (i, gate, a) < (j, gate * 0.0, b)
            };
            for &dropped in &plan.dropped {
                let rivals = plan.sorted.iter().filter(|&&p| p != NONE && experts[p as usize] == experts[dropped as usize]);
                prop_assert!(rivals.clone().all(|&kept| before(kept, dropped)), "{dropped}");
                prop_assert_eq!(rivals.count() as u32, slots);
            }
        }
    }
}

/// NaN last, −0 = +0, of equal tokens the lower index first; the greatest weight of a row counts, wherever it stands.
#[test]
fn priorities_of_special_weights() {
    let (nan, inf) = (f32::NAN, f32::INFINITY);
    let weights = [nan, nan, 0.0, -1.0, -0.0, -inf, nan, 2.0, -inf, -inf, 3.0, inf, -nan, -nan, 0.0, nan];
    let capacity = Some(Capacity { slots: 1, priority: Priority::BatchPrioritised });
    let problem = Problem { capacity, ..problem(&[0; 16], 2, 1, &weights) };
    assert_eq!(problem.tokens_by_priority(), [5, 3, 1, 2, 7, 4, 0, 6]);
}

// ---- operands

/// What every plan may be given, in a buffer each.
struct Memory {
    buffers: [wgpu::Buffer; 11],
}

impl Memory {
    fn new(make: impl Fn() -> wgpu::Buffer) -> Self {
        Self { buffers: std::array::from_fn(|_| make()) }
    }

    /// Operands that fit.
    fn operands(&self, plan: &Plan, tokens: u32) -> Operands<'_> {
        let Spec { k, experts, block, capacity, outputs, .. } = plan.spec();
        let slots = plan.slots(tokens) as u32;
        let at = |i: usize, rows, cols| Matrix::new(&self.buffers[i], rows, cols);
        let by_weight = capacity.is_some_and(|c| c.priority == Priority::BatchPrioritised);
        Operands {
            weights: by_weight.then(|| at(5, tokens, *k)),
            blocks: outputs.blocks.then(|| at(6, 1, slots / block.unwrap())),
            dropped: outputs.dropped.then(|| at(7, 1, tokens * k)),
            dropped_count: outputs.dropped_count.then(|| at(8, 1, 1)),
            arguments: outputs.arguments.map(|_| at(9, *experts, 3)),
            scratch: Some(at(10, 1, (self.buffers[10].size() / 4) as u32)),
            ..Operands::new(
                at(0, tokens, *k),
                at(1, 1, *experts),
                at(2, 1, experts + 1),
                at(3, 1, slots),
                at(4, tokens, *k),
            )
        }
    }
}

const ALL: Outputs = Outputs {
    blocks: true,
    dropped: true,
    dropped_count: true,
    arguments: Some(Arguments { rows_per_group: 64, y: 2 }),
};

/// Everything that can be asked for.
fn full(tokens: u32) -> Spec {
    let capacity = Some(Capacity { slots: 9, priority: Priority::BatchPrioritised });
    Spec { block: Some(16), capacity, outputs: ALL, ..Spec::new(tokens, 4, 31) }
}

fn plan_of(library: &Library, spec: &Spec) -> Plan {
    library.plan(spec).unwrap()
}

#[test]
fn bad_operands_are_refused() {
    let noop = common::Noop::full();
    let memory = Memory::new(|| noop.buffer(1 << 16));
    let plan = plan_of(&noop.library, &full(70));
    let good = memory.operands(&plan, 70);
    assert!(plan.bind(&good).unwrap().dispatches() > 15);
    let error = |bad: Operands<'_>| plan.bind(&bad).unwrap_err().to_string();
    assert!(error(Operands { weights: None, ..good }).contains("weights: the specification asks for it"));
    assert!(error(Operands { blocks: None, ..good }).contains("blocks"));
    assert!(error(Operands { scratch: None, ..good }).contains("scratch"));
    let small = Matrix { cols: 100, ..good.scratch.unwrap() };
    assert!(error(Operands { scratch: Some(small), ..good }).contains("scratch: expected"));
    let [experts, counts, offsets, sorted, inverse] =
        [good.experts, good.counts, good.offsets, good.sorted, good.inverse];
    assert!(error(Operands { experts: Matrix { cols: 5, ..experts }, ..good }).contains("experts: expected 70 x 4"));
    assert!(error(Operands { counts: Matrix { cols: 32, ..counts }, ..good }).contains("counts: expected 1 x 31"));
    assert!(error(Operands { offsets: Matrix { cols: 31, ..offsets }, ..good }).contains("offsets: expected 1 x 32"));
    assert!(error(Operands { sorted: Matrix { cols: 280, ..sorted }, ..good }).contains("sorted: expected 1 x 752"));
    assert!(error(Operands { inverse: Matrix { rows: 69, ..inverse }, ..good }).contains("inverse: expected 70 x 4"));
    assert!(error(Operands { inverse: inverse.with_stride(3), ..good }).contains("inverse: rows of 4 columns"));
    assert!(error(Operands { experts: experts.at(1 << 20), ..good }).contains("experts: the window ends"));
    let plain = plan_of(&noop.library, &Spec::new(4096, 4, 31));
    let unasked = Operands { blocks: good.blocks, ..memory.operands(&plain, 70) };
    assert_eq!(plain.bind(&unasked).unwrap_err(), BindError::Unexpected { what: "blocks" });
    // Too many for 31 bits, and for one dispatch.
    let many = Operands { experts: Matrix { rows: 1 << 30, ..experts }, ..good };
    assert!(error(many).contains("fewer than 2^31"));
    let variant = Some("plan/one/w256".parse().unwrap());
    let one = plan_of(&noop.library, &Spec { variant, ..Spec::new(8, 4, 31) });
    let long = Memory::new(|| noop.buffer(1 << 22));
    let refused = one.bind(&long.operands(&one, 1 << 16)).unwrap_err().to_string();
    assert!(refused.contains("no longer than the variant takes"), "{refused}");
    assert_eq!(noop.errors(), Vec::<String>::new());
}

/// Whatever is written overlaps nothing else, in any two of the operands.
#[test]
fn aliases_are_refused() {
    let noop = common::Noop::full();
    let memory = Memory::new(|| noop.buffer(1 << 16));
    let plan = plan_of(&noop.library, &full(70));
    let names = [
        "experts",
        "counts",
        "offsets",
        "sorted",
        "inverse",
        "weights",
        "blocks",
        "dropped",
        "dropped_count",
        "arguments",
        "scratch",
    ];
    for a in 0..names.len() {
        for b in 0..a {
            let mut shared = Memory::new(|| noop.buffer(1 << 16));
            shared.buffers.clone_from_slice(&memory.buffers);
            shared.buffers[a] = memory.buffers[b].clone();
            let result = plan.bind(&shared.operands(&plan, 70));
            if (names[b], names[a]) == ("experts", "weights") {
                result.unwrap();
                continue;
            }
            let error = result.unwrap_err();
            let BindError::Overlap { what, other } = error else { panic!("{} {}: {error}", names[a], names[b]) };
            assert!([what, other].contains(&names[a]) && [what, other].contains(&names[b]), "{what} {other}");
        }
    }
    assert_eq!(noop.errors(), Vec::<String>::new());
}

#[test]
fn bad_specifications_are_refused() {
    let noop = common::Noop::full();
    let plain = Spec::new(70, 4, 31);
    let error = |spec: &Spec| noop.library.plan(spec).unwrap_err().to_string();
    assert!(error(&Spec { k: 0, ..plain.clone() }).contains("k must be from 1 to 128"));
    assert!(error(&Spec { k: 129, ..plain.clone() }).contains("not 129"));
    assert!(error(&Spec { experts: 0, ..plain.clone() }).contains("experts must be from 1 to 4096"));
    assert!(error(&Spec { experts: 4097, ..plain.clone() }).contains("not 4097"));
    assert!(error(&Spec { block: Some(0), ..plain.clone() }).contains("block must be at least 1"));
    let none = Outputs::default();
    let with = |outputs| Spec { outputs, ..plain.clone() };
    assert!(error(&with(Outputs { blocks: true, ..none })).contains("block must be given"));
    assert!(error(&with(Outputs { dropped: true, ..none })).contains("capacity must be given"));
    assert!(error(&with(Outputs { dropped_count: true, ..none })).contains("capacity must be given"));
    let arguments = Some(Arguments { rows_per_group: 0, y: 1 });
    assert!(error(&with(Outputs { arguments, ..none })).contains("rows_per_group must be at least 1"));
    let capacity = Some(Capacity { slots: 1, priority: Priority::KMajor });
    let variant = Some("plan/one/w256".parse().unwrap());
    assert!(error(&Spec { capacity, variant, ..plain.clone() }).contains("it has no capacities"));
    let strange = Some(Variant { width: 3, ..Variant::ALL[0] });
    assert!(error(&Spec { variant: strange, ..plain }).contains("Variant::ALL does not have it"));
    assert_eq!(noop.errors(), Vec::<String>::new());
}

/// Four storage buffers are enough for everything but one dispatch.
#[test]
fn four_buffers_are_enough() {
    let noop = common::Noop::new(wgpu::Features::empty(), wgpu::Limits::downlevel_defaults());
    let memory = Memory::new(|| noop.buffer(1 << 16));
    for variant in Variant::ALL {
        let spec = Spec { variant: Some(variant), ..full(70) };
        let Ok(plan) = noop.library.plan(&spec) else {
            assert!(variant.to_string().contains("/one/"), "{variant}");
            continue;
        };
        plan.bind(&memory.operands(&plan, 70)).unwrap();
    }
    assert_eq!(noop.errors(), Vec::<String>::new());
}

/// No tokens: all that has a size says so.
#[test]
fn no_tokens() {
    let gpu = common::gpu();
    for variant in Variant::ALL {
        let mut spec = Spec { variant: Some(variant), ..full(0) };
        if variant.to_string().contains("/one/") {
            spec = Spec { capacity: None, outputs: Outputs { dropped: false, dropped_count: false, ..ALL }, ..spec };
        }
        let plan = plan_of(&gpu.library, &spec);
        assert_eq!((plan.slots(0), plan.scratch_bytes(0)), (0, 0));
        let memory = Memory::new(|| gpu.upload(&[0xee; 4096]).unwrap());
        let bound = plan.bind(&memory.operands(&plan, 0)).unwrap();
        assert_eq!(bound.dispatches(), 1);
        gpu.run(&[&bound]).unwrap();
        let words =
            |i: usize| -> Vec<u32> { bytemuck::pod_collect_to_vec(&gpu.download(&memory.buffers[i], 4096).unwrap()) };
        assert_eq!((&words(1)[..31], words(1)[31]), (&[0; 31][..], 0xeeee_eeee));
        assert_eq!((&words(2)[..32], words(2)[32]), (&[0; 32][..], 0xeeee_eeee));
        assert_eq!((&words(9)[..93], words(9)[93]), (&[0, 2, 1].repeat(31)[..], 0xeeee_eeee));
        assert_eq!(words(8)[0], if spec.outputs.dropped_count { 0 } else { 0xeeee_eeee });
        for untouched in [0, 3, 4, 5, 6, 7, 10] {
            assert!(words(untouched).iter().all(|&w| w == 0xeeee_eeee), "{untouched}");
        }
    }
}

/// Windows of one buffer: the pooled forms of every dispatch. And a plan replays: other choices, the same `Bound`.
#[test]
fn one_buffer_for_everything() {
    let gpu = common::gpu();
    let (tokens, k, experts) = (301_u32, 4_u32, 31_u32);
    let area = 4096_u64;
    for variant in Variant::ALL {
        let mut spec = Spec { variant: Some(variant), tokens, ..full(tokens) };
        if variant.to_string().contains("/one/") {
            spec = Spec { capacity: None, outputs: Outputs { dropped: false, dropped_count: false, ..ALL }, ..spec };
        }
        let plan = plan_of(&gpu.library, &spec);
        let pool = gpu.allocate(area * 4 * 12 + plan.scratch_bytes(tokens)).unwrap();
        // Every other operand where rows do not begin at a multiple of four.
        for shift in [0, 3] {
            let memory = Memory { buffers: std::array::from_fn(|_| pool.clone()) };
            let all = memory.operands(&plan, tokens);
            let place = |m: Option<Matrix<'_>>, i: u64| m.map(|m| Matrix { buffer: &pool, ..m }.at(area * i + shift));
            let scratch = Matrix::new(&pool, 1, (plan.scratch_bytes(tokens) / 4) as u32).at(area * 11);
            let operands = Operands {
                weights: place(all.weights, 5),
                blocks: place(all.blocks, 6),
                dropped: place(all.dropped, 7),
                dropped_count: place(all.dropped_count, 8),
                arguments: place(all.arguments, 9),
                scratch: Some(scratch),
                ..Operands::new(
                    place(Some(all.experts), 0).unwrap(),
                    place(Some(all.counts), 1).unwrap(),
                    place(Some(all.offsets), 2).unwrap(),
                    place(Some(all.sorted), 3).unwrap(),
                    place(Some(all.inverse), 4).unwrap(),
                )
            };
            let bound = plan.bind(&operands).unwrap();
            for seed in [1_u32, 2] {
                let chosen: Vec<u32> = (0..tokens * k)
                    .map(|p| p.wrapping_mul(seed.wrapping_mul(2_654_435_761)) % 997 % (experts + 2))
                    .collect();
                let weights = common::logits(seed, chosen.len());
                gpu.queue.write_buffer(&pool, shift * 4, bytemuck::cast_slice(&chosen));
                gpu.queue.write_buffer(&pool, (area * 5 + shift) * 4, bytemuck::cast_slice(&weights));
                gpu.run(&[&bound]).unwrap();
                let after: Vec<u32> = bytemuck::pod_collect_to_vec(&gpu.download(&pool, pool.size()).unwrap());
                let problem = Problem {
                    block: spec.block,
                    capacity: spec.capacity,
                    ..problem(&chosen, k as usize, experts, &weights)
                };
                let want = problem.plan();
                let words = |i: u64, n: usize| &after[(area * i + shift) as usize..][..n];
                assert_eq!(words(0, chosen.len()), chosen);
                for (i, want) in
                    [(1, &want.counts), (2, &want.offsets), (3, &want.sorted), (4, &want.inverse), (6, &want.blocks)]
                {
                    assert_eq!(words(i, want.len()), *want, "{variant} {shift} {i}");
                }
                if spec.outputs.dropped {
                    assert_eq!(words(7, want.dropped.len()), want.dropped, "{variant}");
                    assert_eq!(words(8, 1)[0] as usize, want.dropped.len());
                }
            }
        }
    }
}
