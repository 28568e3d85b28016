//! Routing: cases on every adapter, real and odd shapes, the tables of docs/semantics.md, what must hold of any routing, the
//! distributions of noise, bad specifications and operands.

mod common;

use std::collections::BTreeSet;

use common::{Noop, chi_square, critical};
use onesum::accuracy::{Budget, route_budgets};
use onesum::exact::normal;
use onesum::host::{Gpu, HostError};
use onesum::noise::{Domain, Stream};
use onesum::reference::router::{Problem, Route};
use onesum::router::*;
use onesum::shader::Dialect;
use onesum::{BindError, BuildError, Caps, Library, Matrix};
use proptest::prelude::*;

/// Every variant on every adapter gives the bits of the reference.
#[test]
fn standard_profile() {
    common::standard_profile("router", |gpu, report| {
        let caps = gpu.library.caps();
        let eight = caps.max_storage_buffers >= 8;
        for (kind, floor, able) in [
            ("router/lane/baseline", if eight { 900 } else { 700 }, true),
            ("router/row/baseline", if eight { 1500 } else { 1200 }, caps.max_workgroup_bytes >= 32_768),
            ("router/row/shuffle", 200, caps.subgroup && caps.min_subgroup_size >= 8),
            ("router/row/subgroup", 200, caps.subgroup),
        ] {
            let executed = report.kinds.get(kind).map_or(0, |tally| tally.executed);
            assert!(!able || executed >= floor, "{kind}: {executed} cases");
        }
        assert!(report.executed >= 1500, "{} cases", report.executed);
    });
}

/// Experts and weights, as bits, of all tokens.
type Words = (Vec<u32>, Vec<u32>);

fn expected(problem: &Problem<'_>) -> Words {
    let routes: Vec<Route> = (0..problem.tokens()).map(|token| problem.route(token)).collect();
    let experts = routes.iter().flat_map(|r| &r.experts).copied();
    (experts.collect(), routes.iter().flat_map(|r| &r.weights).map(|w| w.to_bits()).collect())
}

/// Buffers for one routing, without gaps.
struct Memory {
    shape: [u32; 3],
    shared: u32,
    src: wgpu::Buffer,
    experts: wgpu::Buffer,
    weights: wgpu::Buffer,
    bias: wgpu::Buffer,
    deviations: wgpu::Buffer,
    seeds: wgpu::Buffer,
    map: wgpu::Buffer,
    valid: wgpu::Buffer,
}

impl Memory {
    fn of(device: &wgpu::Device, spec: &Spec) -> Self {
        let (tokens, experts, width) = (spec.shape.rows, spec.shape.cols, spec.width());
        let buffer = |rows: u32, cols: u32| {
            common::buffer(device, u64::from(rows.max(1)) * u64::from(cols.max(1)) * 4, common::USAGE)
        };
        Self {
            shape: [tokens, experts, width],
            shared: width - spec.choices,
            src: buffer(tokens, experts),
            experts: buffer(tokens, width),
            weights: buffer(tokens, width),
            bias: buffer(1, experts),
            deviations: buffer(tokens, experts),
            seeds: buffer(tokens, 4),
            map: buffer(1, experts + width - spec.choices),
            valid: buffer(1, 1),
        }
    }

    /// Those that the specification asks for.
    fn operands(&self, spec: &Spec) -> Operands<'_> {
        let ([tokens, experts, width], o) = (self.shape, &spec.options);
        Operands {
            bias: o.bias.map(|_| Matrix::new(&self.bias, 1, experts)),
            deviations: (o.noise == Some(Noise::Normal)).then(|| Matrix::new(&self.deviations, tokens, experts)),
            seeds: o.noise.map(|_| Matrix::new(&self.seeds, tokens, 4)),
            map: o.map.then(|| Matrix::new(&self.map, 1, experts + self.shared)),
            valid: o.valid.then(|| Matrix::new(&self.valid, 1, 1)),
            ..Operands::new(
                Matrix::new(&self.src, tokens, experts),
                Matrix::new(&self.experts, tokens, width),
                Matrix::new(&self.weights, tokens, width),
            )
        }
    }

    fn write(&self, gpu: &Gpu, problem: &Problem<'_>) {
        let write = |buffer, bytes: &[u8]| gpu.queue.write_buffer(buffer, 0, bytes);
        write(&self.src, bytemuck::cast_slice(problem.logits));
        write(&self.bias, bytemuck::cast_slice(problem.bias));
        write(&self.deviations, bytemuck::cast_slice(problem.deviations));
        let seeds: Vec<[u32; 4]> = problem.seeds.iter().map(Stream::words_of_seed).collect();
        write(&self.seeds, bytemuck::cast_slice(&seeds));
        write(&self.map, bytemuck::cast_slice(problem.map.unwrap_or(&[])));
        write(&self.valid, &problem.valid.unwrap_or(0).to_le_bytes());
    }

    fn read(&self, gpu: &Gpu) -> Words {
        let words = |buffer: &wgpu::Buffer| {
            let count = u64::from(self.shape[0]) * u64::from(self.shape[2]);
            bytemuck::pod_collect_to_vec(&gpu.download(buffer, count * 4).unwrap())
        };
        (words(&self.experts), words(&self.weights))
    }
}

/// Routes the problem by its specification, of which the shape is taken from the problem.
fn routed(gpu: &Gpu, problem: &Problem<'_>) -> Words {
    let quads = problem.spec.variant.map_or(problem.experts.is_multiple_of(4), |v| v.quads);
    let shape = Shape { rows: problem.tokens() as u32, cols: problem.experts as u32, quads };
    let spec = Spec { shape, ..problem.spec.clone() };
    let memory = Memory::of(&gpu.device, &spec);
    memory.write(gpu, problem);
    let kernel = gpu.library.router(&spec).unwrap_or_else(|e| panic!("{e}"));
    gpu.run(&[&kernel.bind(&memory.operands(&spec)).unwrap()]).unwrap();
    memory.read(gpu)
}

fn spec(experts: u32, choices: u32) -> Spec {
    Spec::new(Shape::new(1, experts), choices)
}

fn with(mut spec: Spec, options: Options) -> Spec {
    spec.options = options;
    spec
}

const NONE: Options =
    Options { soft_cap: None, bias: None, noise: None, groups: None, shared: None, map: false, valid: false };

fn streams(count: usize) -> Vec<Stream> {
    (0..count as u64).map(|i| Stream { seed: 42 + i % 3, position: i << 31 }).collect()
}

/// The routers of models, at some tokens and at one, by the variant that is chosen and by one of the other schedule.
#[test]
fn presets() {
    let gpu = common::gpu();
    for preset in Preset::ALL {
        assert_eq!(preset.to_string().parse::<Preset>(), Ok(preset));
        let plain = preset.spec(1);
        let experts = plain.shape.cols as usize;
        let bias = common::logits(3, experts).iter().map(|x| x * 0.05).collect::<Vec<_>>();
        let bias = if plain.options.bias.is_some() { &bias[..] } else { &[] };
        for variant in [None, Some("router/row/f32/baseline/w64l32/x4".parse().unwrap())] {
            let spec = Spec { variant, ..plain.clone() };
            for tokens in [1, 93] {
                let logits = common::logits(tokens, tokens as usize * experts);
                let problem = Problem { bias, ..Problem::new(&spec, &logits, experts) };
                assert_eq!(routed(gpu, &problem), expected(&problem), "{preset}, {tokens} tokens, {variant:?}");
            }
        }
    }
    assert!("mistral".parse::<Preset>().unwrap_err().contains("mixtral"));
}

/// The way without an engine, with a bias and without; what is not the shape is refused.
#[test]
fn host_convenience() {
    let gpu = common::gpu();
    for preset in [Preset::Mixtral, Preset::GptOss] {
        let spec = preset.spec(7);
        let experts = spec.shape.cols as usize;
        let logits = common::logits(1, 7 * experts);
        let bias = if spec.options.bias.is_some() { common::logits(2, experts) } else { Vec::new() };
        let (chosen, weights) = gpu.route(&spec, &logits, &bias).unwrap();
        let problem = Problem { bias: &bias, ..Problem::new(&spec, &logits, experts) };
        assert_eq!((chosen, weights.iter().map(|w| w.to_bits()).collect()), expected(&problem), "{preset}");
        for (logits, bias) in [(&logits[1..], &bias[..]), (&logits[..], &logits[..3])] {
            let error = gpu.route(&spec, logits, bias).unwrap_err();
            assert!(matches!(error, HostError::Length { .. }), "{error}");
        }
        let noisy = Spec { options: onesum::router::Options { valid: true, ..spec.options }, ..spec.clone() };
        assert!(gpu.route(&noisy, &logits, &bias).unwrap_err().to_string().contains("valid"));
    }
}

/// Numbers of experts that are no power of two, one, and about the most; as many choices as experts.
#[test]
fn odd_shapes() {
    let gpu = common::gpu();
    let shapes = [(1, 1), (3, 3), (31, 8), (40, 8), (71, 8), (160, 8), (257, 8), (385, 8), (513, 8), (2047, 8)];
    for (experts, choices) in shapes.into_iter().chain([(2048, 1), (17, 17), (64, 64), (16, 16), (65, 64), (2047, 64)])
    {
        let spec = spec(experts, choices);
        let logits = common::logits(experts, 9 * experts as usize);
        let problem = Problem::new(&spec, &logits, experts as usize);
        let got = routed(gpu, &problem);
        assert_eq!(got, expected(&problem), "{choices} of {experts}");
        if choices == experts {
            let all: BTreeSet<u32> = got.0[..experts as usize].iter().copied().collect();
            assert_eq!(all.len(), experts as usize);
        }
    }
}

/// 70,000 tokens: more than one dimension of a grid holds, where a workgroup takes one.
#[test]
fn many_tokens() {
    let gpu = common::gpu();
    for (experts, choices, variant) in
        [(8, 2, None), (64, 6, None), (8, 2, "router/row/f32/baseline/w8/x4".parse().ok())]
    {
        let spec = Spec { variant, ..spec(experts, choices) };
        let logits = common::logits(experts, 70_000 * experts as usize);
        let problem = Problem::new(&spec, &logits, experts as usize);
        assert!(routed(gpu, &problem) == expected(&problem), "{experts} experts, {variant:?}");
    }
}

/// What a row of the table in docs/semantics.md says: experts and weights of four choices.
struct Line {
    logits: [f32; 6],
    experts: [u32; 4],
    /// By softmax and sigmoid with a division; by softmax, sigmoid, √softplus and none without.
    weights: [[f32; 4]; 6],
}

/// Softmax of the exact numbers, to compare with.
fn shares(z: &[f32], among: &[f32]) -> Vec<f32> {
    let sum: f64 = among.iter().map(|&z| f64::from(z).exp()).sum();
    z.iter().map(|&z| (f64::from(z).exp() / sum) as f32).collect()
}

fn four(values: &[f32]) -> [f32; 4] {
    values.try_into().unwrap()
}

fn table() -> Vec<Line> {
    let (inf, nan) = (f32::INFINITY, f32::NAN);
    let sigmoid = |z: f32| 1.0 / (1.0 + (-z).exp());
    let root = |z: f32| z.exp().ln_1p().sqrt();
    // Of finite logits, with four of them chosen.
    let ordinary = |logits: [f32; 6], experts: [u32; 4]| {
        let z = experts.map(|e| logits[e as usize]);
        let scores = z.map(sigmoid);
        let sum: f32 = scores.iter().sum();
        let divided = scores.map(|s| s / sum.max(1e-20));
        let weights = [four(&shares(&z, &z)), divided, four(&shares(&z, &logits)), scores, z.map(root), z];
        Line { logits, experts, weights }
    };
    let tiny = 1e-40;
    let zeros = [0.0; 4];
    let everywhere = [nan; 4];
    let half = sigmoid(0.0);
    let ln2 = root(0.0);
    let huge = 2f32.powi(50);
    vec![
        // Ordinary ones; ties.
        ordinary([1.0, 3.0, -2.0, 2.0, 0.5, -1.0], [1, 3, 0, 4]),
        ordinary([1.0, 2.0, 1.0, 1.0, 2.0, 1.0], [1, 4, 0, 2]),
        // All equal.
        ordinary([0.5; 6], [0, 1, 2, 3]),
        // Zeros of either sign are equal.
        Line {
            logits: [-1.0, -0.0, 0.0, -0.0, 0.0, -1.0],
            experts: [1, 2, 3, 4],
            ..ordinary([-1.0, 0.0, 0.0, 0.0, 0.0, -1.0], [1, 2, 3, 4])
        },
        // Subnormal numbers in their order, with the weights of 0.
        Line {
            logits: [-tiny, tiny, -2.0 * tiny, 2.0 * tiny, 3.0 * tiny, -3.0 * tiny],
            experts: [4, 3, 1, 0],
            weights: [[0.25; 4], [0.25; 4], [1.0 / 6.0; 4], [half; 4], [ln2; 4], zeros],
        },
        // -inf has no share.
        Line {
            logits: [-inf, 1.0, -inf, 1.0, -inf, -inf],
            experts: [1, 3, 0, 2],
            weights: [
                [0.5, 0.5, 0.0, 0.0],
                [0.5, 0.5, 0.0, 0.0],
                [0.5, 0.5, 0.0, 0.0],
                [sigmoid(1.0), sigmoid(1.0), 0.0, 0.0],
                [root(1.0), root(1.0), 0.0, 0.0],
                [1.0, 1.0, -inf, -inf],
            ],
        },
        // Nothing but -inf.
        Line { logits: [-inf; 6], experts: [0, 1, 2, 3], weights: [zeros, zeros, zeros, zeros, zeros, [-inf; 4]] },
        // Masked by finite numbers: last, no share; where all are, as if equal.
        Line {
            logits: [-1e30, 1.0, f32::MIN, 1.0, -1e30, f32::MIN],
            experts: [1, 3, 0, 4],
            weights: [
                [0.5, 0.5, 0.0, 0.0],
                [0.5, 0.5, 0.0, 0.0],
                [0.5, 0.5, 0.0, 0.0],
                [sigmoid(1.0), sigmoid(1.0), 0.0, 0.0],
                [root(1.0), root(1.0), 0.0, 0.0],
                [1.0, 1.0, -1e30, -1e30],
            ],
        },
        Line {
            logits: [f32::MIN; 6],
            experts: [0, 1, 2, 3],
            weights: [[0.25; 4], zeros, [1.0 / 6.0; 4], zeros, zeros, [f32::MIN; 4]],
        },
        // More than 69 below the greatest.
        Line {
            logits: [-200.0, 100.0, 30.0, -70.0, 30.5, -200.0],
            experts: [1, 4, 2, 3],
            weights: [
                [1.0, 0.0, 0.0, 0.0],
                [1.0 / 3.0, 1.0 / 3.0, 1.0 / 3.0, 0.0],
                [1.0, 0.0, 0.0, 0.0],
                [1.0, 1.0, 1.0, 0.0],
                [10.0, 30.5f32.sqrt(), 30f32.sqrt(), 0.0],
                [100.0, 30.5, 30.0, -70.0],
            ],
        },
        // +inf is first and takes all.
        Line {
            logits: [1.0, 2.0, inf, -inf, inf, 3.0],
            experts: [2, 4, 5, 1],
            weights: [
                [0.5, 0.5, 0.0, 0.0],
                four(&[1.0, 1.0, sigmoid(3.0), sigmoid(2.0)].map(|s| s / (2.0 + sigmoid(3.0) + sigmoid(2.0)))),
                [0.5, 0.5, 0.0, 0.0],
                [1.0, 1.0, sigmoid(3.0), sigmoid(2.0)],
                [huge, huge, root(3.0), root(2.0)],
                [inf, inf, 3.0, 2.0],
            ],
        },
        // A NaN that is not chosen: shares of the row are NaN, nothing else is.
        {
            let line = ordinary([1.0, 3.0, -2.0, 2.0, 0.5, -9e9], [1, 3, 0, 4]);
            let mut weights = line.weights;
            weights[2] = everywhere;
            Line { logits: [1.0, 3.0, -2.0, 2.0, 0.5, -nan], weights, ..line }
        },
        // NaN that are chosen, after -inf, the lower column first.
        Line {
            logits: [nan, 0.0, nan, -inf, -nan, nan],
            experts: [1, 3, 0, 2],
            weights: [
                everywhere,
                everywhere,
                everywhere,
                [half, 0.0, nan, nan],
                [ln2, 0.0, nan, nan],
                [0.0, -inf, nan, nan],
            ],
        },
        Line { logits: [nan; 6], experts: [0, 1, 2, 3], weights: [everywhere; 6] },
    ]
}

/// Scoring and division of the table's columns.
fn scorings() -> [Spec; 6] {
    let spec = |scoring, renormalize| Spec { scoring, renormalize, ..spec(6, 4) };
    [
        spec(Scoring::Softmax, Some(LEAST_SUM)),
        spec(Scoring::Sigmoid, Some(LEAST_SUM)),
        spec(Scoring::Softmax, None),
        spec(Scoring::Sigmoid, None),
        spec(Scoring::SqrtSoftplus, None),
        spec(Scoring::Identity, None),
    ]
}

/// Every line of the table, on the reference and on a variant of each schedule.
#[test]
fn special_values() {
    let gpu = common::gpu();
    let table = table();
    let logits: Vec<f32> = table.iter().flat_map(|line| line.logits).collect();
    for (column, plain) in scorings().into_iter().enumerate() {
        let problem = Problem::new(&plain, &logits, 6);
        for (token, line) in table.iter().enumerate() {
            let route = problem.route(token);
            assert_eq!(route.experts, line.experts, "line {token}");
            for (got, want) in route.weights.iter().zip(line.weights[column]) {
                let near = (got - want).abs() <= 4e-6 * want.abs();
                let same = got.to_bits() == want.to_bits() || (want.is_nan() && got.to_bits() == 0x7fc0_0000);
                assert!(same || near, "line {token}, column {column}: {got} is not {want}");
            }
        }
        for name in
            ["router/lane/f32/baseline/w8/x1", "router/row/f32/baseline/w8/x1", "router/row/f32/baseline/w256/x1"]
        {
            let spec = Spec { variant: name.parse().ok(), ..plain.clone() };
            let problem = Problem { spec: &spec, ..problem };
            assert_eq!(routed(gpu, &problem), expected(&problem), "{name}, column {column}");
        }
    }
}

/// Lines of the second table: options.
#[test]
fn special_values_of_options() {
    let gpu = common::gpu();
    let (inf, nan) = (f32::INFINITY, f32::NAN);
    let identity = Spec { scoring: Scoring::Identity, renormalize: None, ..spec(4, 4) };
    let sigmoid = Spec { scoring: Scoring::Sigmoid, renormalize: None, ..spec(4, 4) };
    let route = |spec: &Spec, problem: Problem<'_>| {
        let problem = Problem { spec, ..problem };
        assert_eq!(routed(gpu, &problem), expected(&problem));
        problem.route(0)
    };
    // A cap makes infinities finite.
    let capped = with(identity.clone(), Options { soft_cap: Some(8.0), ..NONE });
    let got = route(&capped, Problem::new(&capped, &[-inf, inf, nan, 0.0], 4));
    assert_eq!((&got.experts[..], &got.weights[..3]), (&[1, 3, 0, 2][..], &[8.0, 0.0, -8.0][..]));
    assert!(got.weights[3].is_nan());
    // A bias of the logits: inf - inf is NaN; of the scores: the weight does not know of it.
    let biased = with(identity.clone(), Options { bias: Some(Bias::Logit), ..NONE });
    let bias = [-inf, inf, nan, 1.0];
    let got = route(&biased, Problem { bias: &bias, ..Problem::new(&biased, &[inf, 0.0, 2.0, 3.0], 4) });
    assert_eq!((&got.experts[..], &got.weights[..2]), (&[1, 3, 0, 2][..], &[inf, 4.0][..]));
    assert!(got.weights[2..].iter().all(|w| w.to_bits() == 0x7fc0_0000));
    let biased = with(sigmoid.clone(), Options { bias: Some(Bias::Score), ..NONE });
    let got = route(&biased, Problem { bias: &bias, ..Problem::new(&biased, &[0.0; 4], 4) });
    assert_eq!((&got.experts[..], &got.weights[..]), (&[1, 3, 0, 2][..], &[0.5; 4][..]));
    // A NaN logit has a NaN score, whatever is added: last, and NaN there alone.
    let got = route(&biased, Problem { bias: &[5.0; 4], ..Problem::new(&biased, &[nan, 0.0, -inf, inf], 4) });
    assert_eq!((&got.experts[..], &got.weights[..3]), (&[3, 1, 2, 0][..], &[1.0, 0.5, 0.0][..]));
    assert!(got.weights[3].is_nan());
    // Gumbel noise moves no infinity.
    let noisy = with(identity.clone(), Options { noise: Some(Noise::Gumbel), ..NONE });
    let logits = [-inf, nan, inf, 7.0];
    for seed in 0..20 {
        let seeds = [Stream { seed, position: 3 }];
        let problem = Problem { seeds: &seeds, ..Problem::new(&noisy, &logits, 4) };
        assert_eq!(problem.route(0).experts, [2, 3, 0, 1]);
    }
    // Deviations: NaN spoils, -inf leaves the least, +inf counts as 2^100.
    let noisy = with(identity.clone(), Options { noise: Some(Noise::Normal), ..NONE });
    let seeds = [Stream { seed: 5, position: 1 }];
    let noise: Vec<f32> = seeds[0].words(Domain::Normal, 0).iter().map(|&w| normal(w)).collect();
    let deviations = [nan, -inf, inf, -inf];
    let got = route(&noisy, Problem { deviations: &deviations, seeds: &seeds, ..Problem::new(&noisy, &[0.0; 4], 4) });
    let weight = |e: u32| got.weights[got.experts.iter().position(|&x| x == e).unwrap()];
    assert!(weight(0).is_nan() && got.experts[3] == 0);
    assert_eq!((weight(1), weight(3)), (noise[1] * LEAST_DEVIATION, noise[3] * LEAST_DEVIATION));
    assert_eq!(weight(2), noise[2] * 2f32.powi(100));
    // A factor of 0: 0, and the one NaN where an infinity is multiplied by it.
    let nothing = Spec { scale: 0.0, ..identity.clone() };
    let got = route(&nothing, Problem::new(&nothing, &[-inf, inf, -5.0, 5.0], 4));
    let bits: Vec<u32> = got.weights.iter().map(|w| w.to_bits()).collect();
    assert_eq!((&got.experts[..], &bits[..]), (&[1, 3, 2, 0][..], &[0x7fc0_0000, 0, 0, 0x7fc0_0000][..]));
    // What overflows is infinite, what is subnormal 0.
    let doubled = Spec { scale: 2.0, ..identity.clone() };
    let got = route(&doubled, Problem::new(&doubled, &[f32::MAX, f32::MIN, 1e-40, -1.5e-38], 4));
    assert_eq!((&got.experts[..], &got.weights[..]), (&[0, 2, 3, 1][..], &[inf, 0.0, -3e-38, -inf][..]));
    // The least sum.
    let least = Spec { scoring: Scoring::Sigmoid, renormalize: Some(1.0), ..spec(4, 1) };
    assert_eq!(route(&least, Problem::new(&least, &[-1.0, 0.0, -2.0, -3.0], 4)).weights, [0.5]);
}

/// Padding, maps and shared experts.
#[test]
fn padding_maps_and_shared_experts() {
    let gpu = common::gpu();
    let shared = Some(Shared { count: 2, weight: -0.5 });
    let spec = Spec { scale: 2.5, ..with(spec(5, 2), Options { shared, map: true, valid: true, ..NONE }) };
    let logits = [1.0, 9.0, 2.0, 0.0, 9.0].repeat(4);
    let map = [7, NO_EXPERT, 9, 10, 3, NO_EXPERT, 77];
    for valid in [0, 3, 4, u32::MAX] {
        let problem = Problem { map: Some(&map), valid: Some(valid), ..Problem::new(&spec, &logits, 5) };
        let (experts, weights) = routed(gpu, &problem);
        assert_eq!((experts.clone(), weights.clone()), expected(&problem));
        for token in 0..4 {
            let (experts, weights) = (&experts[token * 4..][..4], &weights[token * 4..][..4]);
            if token < valid as usize {
                assert_eq!(experts, [NO_EXPERT, 3, NO_EXPERT, 77]);
                // The factor is not for shared experts; an expert of another shard keeps its weight.
                assert_eq!(weights, [1.25, 1.25, -0.5, -0.5].map(f32::to_bits));
            } else {
                assert_eq!((experts, weights), (&[NO_EXPERT; 4][..], &[0; 4][..]));
            }
        }
    }
}

/// Groups: the better one stays, by one or by two; NaN makes a group the last; of equal ones the first.
#[test]
fn groups_compete() {
    let gpu = common::gpu();
    let nan = f32::NAN;
    let groups = |score, kept| Options { groups: Some(Groups { count: 3, kept, score }), ..NONE };
    let identity = Spec { scoring: Scoring::Identity, renormalize: None, ..spec(12, 4) };
    let row = [9.0, 0.0, 0.0, 0.0, 5.0, 5.0, 1.0, 1.0, 8.0, 3.0, 2.0, 1.0];
    let with_nan = [9.0, nan, nan, nan, 1.0, 0.0, nan, nan, -5.0, -6.0, -7.0, -8.0];
    for (score, kept, logits, want) in [
        (GroupScore::Max, 1, row, [0, 1, 2, 3]),
        (GroupScore::TopTwo, 1, row, [8, 9, 10, 11]),
        (GroupScore::TopTwo, 2, row, [8, 4, 5, 9]),
        (GroupScore::Max, 3, row, [0, 8, 4, 5]),
        (GroupScore::Max, 1, with_nan, [0, 1, 2, 3]),
        (GroupScore::TopTwo, 1, with_nan, [4, 5, 6, 7]),
        (GroupScore::TopTwo, 2, with_nan, [4, 5, 8, 9]),
        (GroupScore::Max, 2, [1.0; 12], [0, 1, 2, 3]),
        (GroupScore::Max, 1, [nan; 12], [0, 1, 2, 3]),
    ] {
        for name in ["router/lane/f32/baseline/w8/x4", "router/row/f32/baseline/w8/x4"] {
            let spec = Spec { variant: name.parse().ok(), ..with(identity.clone(), groups(score, kept)) };
            let problem = Problem::new(&spec, &logits, 12);
            assert_eq!(problem.route(0).experts, want, "{score:?} {kept} {logits:?}");
            assert_eq!(routed(gpu, &problem), expected(&problem), "{name}");
        }
    }
}

/// What the reports of DeepSeek-V3 say of its router.
#[test]
fn deepseek_invariants() {
    let gpu = common::gpu();
    let spec = Preset::DeepseekV3.spec(1);
    let logits = common::logits(8, 200 * 256);
    let bias: Vec<f32> = common::logits(9, 256).iter().map(|x| x / 64.0).collect();
    let problem = Problem { bias: &bias, ..Problem::new(&spec, &logits, 256) };
    let (experts, weights) = routed(gpu, &problem);
    for (token, (experts, weights)) in experts.chunks(8).zip(weights.chunks(8)).enumerate() {
        let sum: f64 = weights.iter().map(|&w| f64::from(f32::from_bits(w))).sum();
        // Each weight is within its budget, the exact ones add up to the factor.
        let budgets = route_budgets(&problem, token, experts).unwrap();
        let allowed: f64 = budgets.iter().map(|b| b.absolute).sum();
        assert!((sum - 2.5).abs() <= allowed && allowed < 1e-5, "{sum}");
        // At most four groups of 32.
        assert!(experts.iter().map(|e| e / 32).collect::<BTreeSet<_>>().len() <= 4);
    }
    // A constant added to all biases changes no choice. Scores 0, 1/2 and 1 and biases in 64ths make every sum exact.
    let steps = [-200.0, 0.0, 200.0];
    let exact: Vec<f32> = logits.iter().map(|&x| steps[(x.abs() * 7.0) as usize % 3]).collect();
    let bias: Vec<f32> = bias.iter().map(|b| (b * 64.0).round() / 64.0).collect();
    let at = |added: f32| {
        let bias: Vec<f32> = bias.iter().map(|b| b + added).collect();
        expected(&Problem { bias: &bias, ..Problem::new(&spec, &exact, 256) })
    };
    let plain = at(0.0);
    for added in [4.0, -2.0, 0.25] {
        assert!(at(added) == plain, "{added}");
    }
    // All groups kept: as without groups.
    let all = Groups { count: 8, kept: 8, score: GroupScore::TopTwo };
    let kept = with(spec.clone(), Options { groups: Some(all), ..spec.options });
    let none = with(spec.clone(), Options { groups: None, ..spec.options });
    let of = |spec| expected(&Problem { spec, ..problem });
    assert!(of(&kept) == of(&none) && of(&kept) != of(&spec));
}

/// Softmax over the row, the K greatest, divided by their sum: the softmax of the K greatest.
#[test]
fn softmax_then_top_k_is_top_k_then_softmax() {
    let logits = common::logits(4, 100 * 60);
    for choices in [1, 2, 8, 60] {
        let spec = spec(60, choices);
        let problem = Problem::new(&spec, &logits, 60);
        for token in 0..100 {
            let row: Vec<f64> = logits[token * 60..][..60].iter().map(|&x| f64::from(x).exp()).collect();
            let sum: f64 = row.iter().sum();
            let mut shares: Vec<(usize, f64)> = row.iter().map(|e| e / sum).enumerate().collect();
            shares.sort_by(|a, b| b.1.total_cmp(&a.1));
            shares.truncate(choices as usize);
            let sum: f64 = shares.iter().map(|s| s.1).sum();
            let route = problem.route(token);
            let budgets = route_budgets(&problem, token, &route.experts).unwrap();
            let want = problem.weights(token, &route.experts);
            for (i, (e, share)) in shares.into_iter().enumerate() {
                assert_eq!(route.experts[i] as usize, e);
                assert!((share / sum - want[i]).abs() < 1e-14);
                assert!(budgets[i].judge(route.weights[i]).ok);
            }
        }
    }
}

/// With Gumbel noise the choices are drawn as from a softmax, without replacement: ordered pairs of six experts, 100,000 tokens,
/// α = 1e-6; the same as `Sample` draws.
#[test]
fn gumbel_routing_draws_from_a_softmax() {
    let x = [0.0, 1.0, -1.0, 0.5, 2.0, 0.25];
    let spec = with(spec(6, 2), Options { noise: Some(Noise::Gumbel), ..NONE });
    let draws = 100_000;
    let seeds: Vec<Stream> = (0..draws).map(|position| Stream { seed: 77, position }).collect();
    let logits = x.repeat(draws as usize);
    let problem = Problem { seeds: &seeds, ..Problem::new(&spec, &logits, 6) };
    let p: Vec<f64> = shares(&x, &x).into_iter().map(f64::from).collect();
    let (mut counts, mut expected) = (vec![0.0; 36], vec![0.0; 36]);
    for (cell, expected) in expected.iter_mut().enumerate() {
        let (i, j) = (cell / 6, cell % 6);
        *expected = if i == j { 0.0 } else { p[i] * p[j] / (1.0 - p[i]) };
    }
    for (token, &stream) in seeds.iter().enumerate() {
        let experts = problem.route(token).experts;
        counts[(experts[0] * 6 + experts[1]) as usize] += 1.0;
        if token % 50 == 0 {
            let drawn = onesum::reference::choices(&x, 1.0, stream, 2);
            assert_eq!(drawn.iter().map(|s| s.word()).collect::<Vec<_>>(), experts);
            assert_eq!(onesum::reference::choice(&x, 1.0, stream).word(), experts[0]);
        }
    }
    assert!((0..6).all(|i| counts[i * 7] == 0.0), "an expert was drawn twice");
    let (chi, k) = chi_square(&counts, &expected, draws as f64);
    assert!(chi < critical(k.min(29.0)), "{chi} with {k} degrees of freedom");
    // Planted: a factor of 1.1 on the logits.
    let warm: Vec<f32> = logits.iter().map(|x| x * 1.1).collect();
    let problem = Problem { logits: &warm, ..problem };
    counts.fill(0.0);
    for token in 0..seeds.len() {
        let experts = problem.route(token).experts;
        counts[(experts[0] * 6 + experts[1]) as usize] += 1.0;
    }
    assert!(chi_square(&counts, &expected, draws as f64).0 > critical(29.0));
}

/// erf for small x, by its series.
fn erf(x: f64) -> f64 {
    let (mut term, mut sum) = (x, x);
    for n in 1..100 {
        term *= -x * x / f64::from(n);
        sum += term / f64::from(2 * n + 1);
    }
    sum * std::f64::consts::FRAC_2_SQRT_PI
}

/// erfc for x from 1.5 on, by its continued fraction, from the end.
fn erfc(x: f64) -> f64 {
    let fraction = (1..=400).rev().fold(0.0, |f, n| f64::from(n) * 0.5 / (x + f));
    (-x * x).exp() / (x + fraction) * 0.5 * std::f64::consts::FRAC_2_SQRT_PI
}

/// The magnitude that a standard normal variate exceeds with probability U, by Newton's method.
fn quantile(word: u32) -> f64 {
    let even = f64::from(word & !1);
    let (above, below) = ((even + 0.5) / 4_294_967_296.0, (4_294_967_296.0 - even - 0.5) / 4_294_967_296.0);
    let root2 = std::f64::consts::SQRT_2;
    let mut x = 1.5_f64;
    for _ in 0..60 {
        let z = x / root2;
        // Whichever is small keeps its relative precision.
        let off = if z > 1.5 { erfc(z) - above } else { below - erf(z) };
        let slope = std::f64::consts::FRAC_2_SQRT_PI / root2 * (-z * z).exp();
        x = (x + (off / slope).clamp(-0.5, 0.5)).clamp(0.0, 9.0);
    }
    x
}

/// Normal noise is within 1.2e-6 of the exact quantile, at both ends and between.
#[test]
fn normal_noise_is_the_quantile() {
    assert!((erf(1.5) - (1.0 - erfc(1.5))).abs() < 1e-14 && (erfc(2.0) - 4.677_734_981_047_266e-3).abs() < 1e-14);
    let ends = (0..200).flat_map(|i| [2 * i, u32::MAX - 2 * i, 1 << 31 | i]);
    let powers = (0..32).flat_map(|i| [1_u32 << i, u32::MAX >> i]);
    let between = (0..30_000_u32).map(|i| i.wrapping_mul(2_654_435_761));
    let (mut worst, mut at) = (0.0_f64, 0);
    for word in ends.chain(powers).chain(between) {
        let (got, want) = (f64::from(normal(word)), quantile(word));
        assert_eq!(got.is_sign_negative(), word & 1 == 1, "{word:#x}");
        let error = (got.abs() / want - 1.0).abs();
        if error > worst {
            (worst, at) = (error, word);
        }
    }
    println!("worst relative error {worst:e} at {at:#x}");
    assert!(worst <= 1.2e-6, "{worst:e} at {at:#x}");
    assert!(normal(0) < 6.45 && normal(0) > 6.44 && normal(1) == -normal(0));
}

/// Kolmogorov-Smirnov of 2²⁰ variates against the normal distribution, α = 1e-6 (D·√n < 2.7); tails by counts, within 5 deviations;
/// and not the variates of Gumbel noise.
#[test]
fn normal_noise_has_the_normal_distribution() {
    let words = (0..1 << 18).flat_map(|position| Stream { seed: 11, position }.words(Domain::Normal, 3));
    let mut noise: Vec<f64> = words.map(|word| f64::from(normal(word))).collect();
    noise.sort_unstable_by(f64::total_cmp);
    let cdf = |x: f64| {
        let z = x.abs() / std::f64::consts::SQRT_2;
        let tail = 0.5 * if z > 1.5 { erfc(z) } else { 1.0 - erf(z) };
        if x < 0.0 { tail } else { 1.0 - tail }
    };
    let n = noise.len() as f64;
    // Every eighth: the gap grows by 7/n at most.
    let gap = |i: usize| (cdf(noise[i]) - i as f64 / n).abs();
    let distance = (0..noise.len()).step_by(8).map(gap).fold(0.0, f64::max) * n.sqrt();
    assert!(distance < 2.7, "{distance}");
    for x in [1.0, 2.0, 3.0, 4.0, -1.0, -2.0, -3.0, -4.0] {
        let beyond = if x > 0.0 { noise.iter().filter(|&&v| v > x).count() } else { noise.partition_point(|&v| v < x) };
        let expected = n * cdf(-f64::abs(x));
        assert!((beyond as f64 - expected).abs() < 5.0 * expected.sqrt(), "{beyond} beyond {x}, not {expected}");
    }
    let other = Stream { seed: 11, position: 0 };
    assert_ne!(other.words(Domain::Normal, 3), other.words(Domain::Column, 3));
}

/// Noise belongs to seed and position, wherever the token sits.
#[test]
fn the_slot_does_not_matter() {
    let gpu = common::gpu();
    let spec = with(spec(40, 4), Options { noise: Some(Noise::Normal), ..NONE });
    let (logits, deviations) = (vec![0.0; 40 * 30], vec![1.0; 40 * 30]);
    let at =
        |seeds: &[Stream]| routed(gpu, &Problem { deviations: &deviations, seeds, ..Problem::new(&spec, &logits, 40) });
    let same = at(&[Stream { seed: 9, position: 3 }; 30]);
    assert!(same.0.chunks(4).all(|row| row == &same.0[..4]) && same.1.chunks(4).all(|row| row == &same.1[..4]));
    let positions: Vec<Stream> = (0..30).map(|position| Stream { seed: 9, position }).collect();
    let seeds: Vec<Stream> = (0..30).map(|seed| Stream { seed, position: 3 }).collect();
    let distinct = |words: &Words| words.0.chunks(4).collect::<BTreeSet<_>>().len();
    assert!(distinct(&at(&positions)) > 25 && distinct(&at(&seeds)) > 25);
    assert_ne!(at(&positions), at(&seeds));
}

/// One bound replays with other logits, seeds and another number of valid tokens; other shapes can be bound than were announced.
#[test]
fn a_bound_replays() {
    let gpu = common::gpu();
    let options = Options { noise: Some(Noise::Gumbel), valid: true, ..NONE };
    let spec = with(Spec::new(Shape::new(50, 40), 4), options);
    let kernel = gpu.library.router(&spec).unwrap();
    let memory = Memory::of(&gpu.device, &spec);
    let bound = kernel.bind(&memory.operands(&spec)).unwrap();
    for (seed, valid) in [(1, 50), (2, 7), (3, 49)] {
        let (logits, seeds) = (common::logits(seed, 2000), streams(50 + seed as usize).split_off(seed as usize));
        let problem = Problem { seeds: &seeds, valid: Some(valid), ..Problem::new(&spec, &logits, 40) };
        memory.write(gpu, &problem);
        gpu.run(&[&bound]).unwrap();
        assert_eq!(memory.read(gpu), expected(&problem));
    }
    for variant in ["router/lane/f32/baseline/w8/x4", "router/row/f32/baseline/w8/x4"] {
        let spec = Spec { variant: variant.parse().ok(), ..Spec::new(Shape::new(5, 8), 4) };
        let kernel = gpu.library.router(&spec).unwrap();
        let other = Spec { shape: Shape::new(30, 200), ..spec.clone() };
        let memory = Memory::of(&gpu.device, &other);
        let logits = common::logits(5, 30 * 200);
        let problem = Problem::new(&other, &logits, 200);
        memory.write(gpu, &problem);
        gpu.run(&[&kernel.bind(&memory.operands(&other)).unwrap()]).unwrap();
        assert_eq!(memory.read(gpu), expected(&problem), "{variant}");
    }
}

#[test]
fn empty_shapes_record_nothing() {
    let noop = Noop::full();
    let spec = Spec::new(Shape::new(5, 8), 2);
    let kernel = noop.library.router(&spec).unwrap();
    assert!(noop.library.router(&Spec::new(Shape::new(5, 0), 2)).is_ok());
    let some = noop.buffer(64);
    let shape = |rows, cols| Matrix::new(&some, rows, cols);
    for (tokens, experts) in [(0, 8), (0, 0), (5, 0), (u32::MAX, 0)] {
        let operands = Operands::new(shape(tokens, experts), shape(tokens, 2), shape(tokens, 2));
        assert_eq!(kernel.bind(&operands).unwrap().dispatches(), 0, "{tokens} x {experts}");
    }
    assert_eq!(noop.errors(), Vec::<String>::new());
}

/// Numbers out of their domain, and options that make no sense together: all that docs/semantics.md lists.
#[test]
fn bad_specifications_are_refused() {
    let noop = Noop::full();
    let plain = spec(64, 4);
    let groups = |count, kept| Options { groups: Some(Groups { count, kept, score: GroupScore::Max }), ..NONE };
    let shared = |count, weight| Options { shared: Some(Shared { count, weight }), ..NONE };
    let cap = |cap| Options { soft_cap: Some(cap), ..NONE };
    let gumbel = Options { noise: Some(Noise::Gumbel), ..NONE };
    let raw = |scoring| Spec { scoring, renormalize: None, ..plain.clone() };
    let scale = |scale| Spec { scale, ..plain.clone() };
    let least = |least| Spec { renormalize: Some(least), ..plain.clone() };
    let option = |options| with(plain.clone(), options);
    let (inf, nan) = (f32::INFINITY, f32::NAN);
    let mut count = 0;
    for (what, specs) in [
        ("experts", vec![spec(2049, 4), spec(u32::MAX, 4)]),
        ("choices", vec![spec(64, 0), spec(128, 65), spec(3, 4)]),
        ("the least sum to renormalize by", [0.0, -1.0, 1.5, 1e-31, nan, inf].map(least).to_vec()),
        ("scale", [1e-7, 2e6, -1e-7, nan, inf, -inf, 1e-45].map(scale).to_vec()),
        ("soft_cap", [0.0, -30.0, 1e-7, 2e6, nan, inf].map(cap).map(option).to_vec()),
        ("shared experts", vec![option(shared(65, 1.0))]),
        ("the weight of shared experts", [nan, inf, -inf].map(|w| option(shared(1, w))).to_vec()),
        ("renormalize", vec![Spec { scoring: Scoring::Identity, ..plain.clone() }]),
        ("a bias of the scores", vec![option(Options { bias: Some(Bias::Score), ..gumbel })]),
        ("scoring", vec![with(raw(Scoring::Sigmoid), gumbel), with(raw(Scoring::SqrtSoftplus), gumbel)]),
        ("groups", vec![option(groups(0, 1)), option(groups(3, 1)), option(groups(1024, 512)), option(groups(128, 1))]),
        ("kept groups", vec![option(groups(8, 0)), option(groups(8, 9)), option(groups(32, 1))]),
    ] {
        for spec in specs {
            let error = noop.library.router(&spec).unwrap_err();
            assert!(matches!(&error, BuildError::BadOption { what: w, .. } if *w == what), "{what}: {error}, {spec:?}");
            assert_eq!(spec.check(spec.shape.cols).unwrap_err(), error);
            assert_eq!(supported(noop.library.caps(), &spec).unwrap_err(), error);
            count += 1;
        }
    }
    assert_eq!(count, 39);
    // The ends of the domains are in.
    let ends = [2f32.powi(-20), 2f32.powi(20)];
    let good = ends.map(scale).into_iter().chain(ends.map(|x| scale(-x))).chain([scale(0.0), least(2f32.powi(-100))]);
    for spec in
        good.chain([least(1.0), option(groups(16, 1)), option(shared(64, -0.0))]).chain(ends.map(cap).map(option))
    {
        assert_eq!(spec.check(64), Ok(()), "{spec:?}");
    }
    // Everything else goes together.
    for scoring in Scoring::ALL {
        for noise in [None, Some(Noise::Gumbel), Some(Noise::Normal)] {
            for bias in [None, Some(Bias::Logit), Some(Bias::Score)] {
                let all = Options { soft_cap: Some(1.0), bias, noise, map: true, valid: true, ..groups(4, 2) };
                let spec = with(raw(scoring), Options { shared: shared(3, 0.5).shared, ..all });
                let curved = matches!(scoring, Scoring::Sigmoid | Scoring::SqrtSoftplus);
                let refused = noise == Some(Noise::Gumbel) && (bias == Some(Bias::Score) || curved);
                assert_eq!(spec.check(64).is_err(), refused, "{spec:?}");
            }
        }
    }
    assert_eq!(noop.errors(), Vec::<String>::new());
}

#[test]
fn variants_that_cannot_are_refused() {
    let noop = Noop::full();
    let named = |name: &str, spec: Spec| Spec { variant: Some(name.parse().unwrap()), ..spec };
    let message = |spec: Spec| noop.library.router(&spec).unwrap_err().to_string();
    let lane = "router/lane/f32/baseline/w64/x4";
    let groups = |count| Options { groups: Some(Groups { count, kept: count, score: GroupScore::Max }), ..NONE };
    assert!(message(named(lane, spec(64, 17))).contains("at most 16 choices"));
    assert!(message(named(lane, with(spec(64, 4), groups(32)))).contains("at most 32 groups"));
    assert!(message(named(lane, with(spec(256, 4), groups(64)))).contains("at most 32 groups"));
    assert!(message(named("router/lane/f16/baseline/w64/x4", spec(64, 4))).contains("element type"));
    let odd = Variant { width: 16, ..lane.parse().unwrap() };
    assert!(message(Spec { variant: Some(odd), ..spec(64, 4) }).contains("Variant::all"));
    assert_eq!("router".parse::<Variant>(), Err(BuildError::UnknownVariant("router".into())));
    for variant in Variant::all() {
        assert_eq!(variant.to_string().parse(), Ok(variant));
    }

    // Devices with less.
    let base = Caps::baseline();
    let library = |caps| Library::with_caps(&noop.device, caps, None).unwrap();
    let few = library(Caps { max_storage_buffers: 4, ..base.clone() });
    let options = Options { noise: Some(Noise::Normal), ..NONE };
    let error = few.router(&with(spec(64, 4), options)).unwrap_err();
    let operands = vec!["src", "experts", "weights", "deviations", "seeds"];
    assert_eq!(error, BuildError::TooManyBuffers { operands, available: 4 });
    let error = library(base.clone()).router(&named("router/row/f32/baseline/w256l32/x4", spec(2048, 4))).unwrap_err();
    assert!(matches!(error, BuildError::LimitTooLow { limit: "max_compute_workgroup_storage_size", .. }), "{error}");
    // Whatever is in range has a variant on the least device, and on one that runs on a CPU.
    for cpu in [false, true] {
        let caps = Caps { cpu, ..base.clone() };
        for (experts, choices) in [(1, 1), (8, 2), (16, 16), (64, 64), (257, 17), (2047, 64), (2048, 64)] {
            for tokens in [1, 10_000] {
                let spec = Spec::new(Shape::new(tokens, experts), choices);
                let spec = with(spec, Options { groups: groups(experts.min(512)).groups, ..NONE });
                let spec = if experts.is_multiple_of(experts.min(512)) { spec } else { with(spec, NONE) };
                assert_eq!(supported(&caps, &spec), Ok(Variant::select(&caps, &spec)), "{choices} of {experts}");
            }
        }
    }
    assert_eq!(noop.errors(), Vec::<String>::new());
}

/// A specification that asks for every operand.
fn everything() -> Spec {
    let options = Options {
        bias: Some(Bias::Logit),
        noise: Some(Noise::Normal),
        shared: Some(Shared { count: 2, weight: 1.0 }),
        map: true,
        valid: true,
        ..NONE
    };
    with(Spec::new(Shape::new(10, 64), 4), options)
}

#[test]
fn bad_operands_are_refused() {
    let noop = Noop::full();
    let spec = everything();
    let memory = Memory::of(&noop.device, &spec);
    let kernel = noop.library.router(&spec).unwrap();
    let good = memory.operands(&spec);
    assert_eq!(kernel.bind(&good).unwrap().dispatches(), 1);
    let error = |bad: Operands<'_>| kernel.bind(&bad).unwrap_err();

    // Given or not.
    let plain = Spec::new(Shape::new(10, 64), 6);
    let plain = noop.library.router(&plain).unwrap();
    let alone = Operands::new(good.src, good.experts, good.weights);
    assert_eq!(plain.bind(&alone).unwrap().dispatches(), 1);
    for (what, without, only) in [
        ("bias", Operands { bias: None, ..good }, Operands { bias: good.bias, ..alone }),
        ("deviations", Operands { deviations: None, ..good }, Operands { deviations: good.deviations, ..alone }),
        ("seeds", Operands { seeds: None, ..good }, Operands { seeds: good.seeds, ..alone }),
        ("map", Operands { map: None, ..good }, Operands { map: good.map, ..alone }),
        ("valid", Operands { valid: None, ..good }, Operands { valid: good.valid, ..alone }),
    ] {
        assert_eq!(error(without), BindError::Missing { what });
        assert_eq!(plain.bind(&only).unwrap_err(), BindError::Unexpected { what });
    }

    // Shapes.
    let shape = |bad: Operands<'_>, message: &str| assert_eq!(error(bad).to_string(), message);
    shape(Operands { experts: Matrix { cols: 4, ..good.experts }, ..good }, "experts: expected 10 x 6, got 10 x 4");
    shape(Operands { weights: Matrix { rows: 9, ..good.weights }, ..good }, "weights: expected 10 x 6, got 9 x 6");
    shape(Operands { bias: Some(Matrix::new(&memory.bias, 1, 63)), ..good }, "bias: expected 1 x 64, got 1 x 63");
    let deviations = Some(Matrix::new(&memory.deviations, 1, 64));
    shape(Operands { deviations, ..good }, "deviations: expected 10 x 64, got 1 x 64");
    shape(Operands { seeds: Some(Matrix::new(&memory.seeds, 10, 2)), ..good }, "seeds: expected 10 x 4, got 10 x 2");
    shape(Operands { map: Some(Matrix::new(&memory.map, 1, 64)), ..good }, "map: expected 1 x 66, got 1 x 64");
    shape(Operands { valid: Some(Matrix::new(&memory.valid, 1, 2)), ..good }, "valid: expected 1 x 1, got 1 x 2");
    // Other experts than the specification allows.
    let three = Operands { src: Matrix { cols: 3, ..alone.src }, ..alone };
    assert!(matches!(plain.bind(&three).unwrap_err(), BindError::Build(BuildError::BadOption { what: "choices", .. })));
    let most = Operands { src: Matrix { cols: 4096, stride: 4096, ..alone.src }, ..alone };
    assert!(matches!(plain.bind(&most).unwrap_err(), BindError::Build(BuildError::BadOption { what: "experts", .. })));
    let odd = Operands { src: Matrix { cols: 63, ..alone.src }, ..alone };
    assert!(matches!(plain.bind(&odd).unwrap_err(), BindError::NotInQuads { what: "src", .. }));

    // Windows and buffers.
    let out = |bad, what| assert!(matches!(error(bad), BindError::OutOfBuffer { what: w, .. } if w == what), "{what}");
    out(Operands { src: good.src.at(4), ..good }, "src");
    out(Operands { experts: good.experts.at(1), ..good }, "experts");
    out(Operands { weights: good.weights.with_stride(7), ..good }, "weights");
    out(Operands { seeds: good.seeds.map(|m| m.at(u64::MAX)), ..good }, "seeds");
    let squeezed = Operands { weights: good.weights.with_stride(5), ..good };
    assert_eq!(error(squeezed), BindError::RowsOverlap { what: "weights", cols: 6, stride: 5 });
    let bare = common::buffer(&noop.device, 4096, wgpu::BufferUsages::COPY_DST);
    let not_storage = Operands { map: Some(Matrix::new(&bare, 1, 66)), ..good };
    assert_eq!(error(not_storage), BindError::NotStorage { what: "map" });
    let overlap = |bad, what, other| assert_eq!(error(bad), BindError::Overlap { what, other });
    overlap(Operands { weights: good.experts, ..good }, "weights", "experts");
    overlap(Operands { experts: Matrix { buffer: &memory.src, ..good.experts }, ..good }, "experts", "src");
    overlap(
        Operands { weights: Matrix { buffer: &memory.deviations, ..good.weights }, ..good },
        "weights",
        "deviations",
    );
    // Windows of one buffer that is written to have to keep the alignment of bindings.
    let near = common::buffer(&noop.device, 4096, common::USAGE);
    let (experts, weights) = (Matrix::new(&near, 10, 6), Matrix::new(&near, 10, 6).at(60));
    assert!(matches!(error(Operands { experts, weights, ..good }), BindError::TooClose { .. }));
    assert_eq!(noop.errors(), Vec::<String>::new());

    // A buffer that is gone.
    memory.experts.destroy();
    assert!(matches!(error(good), BindError::Device { .. }));
}

/// More than a device's binding may be, and more workgroups than a dispatch has.
#[test]
fn limits_of_the_device_are_kept() {
    let noop = Noop::full();
    let spec = Spec::new(Shape::new(100, 8), 2);
    let memory = Memory::of(&noop.device, &spec);
    let bind = |caps| {
        let library = Library::with_caps(&noop.device, caps, None).unwrap();
        library.router(&spec).unwrap().bind(&memory.operands(&spec)).unwrap_err()
    };
    let error = bind(Caps { max_binding_bytes: 2048, ..Caps::baseline() });
    assert!(matches!(error, BindError::WindowTooLarge { what: "src", needed: 3200, available: 2048 }), "{error}");
    let error = bind(Caps { max_workgroups: 1, ..Caps::baseline() });
    assert!(matches!(error, BindError::TooManyRows { available: 1, .. }), "{error}");
    assert_eq!(noop.errors(), Vec::<String>::new());
}

/// The text of the dispatch, with and without a device.
#[test]
fn texts() {
    let noop = Noop::full();
    for (name, file) in
        [("router/lane/f32/baseline/w8/x4", "router"), ("router/row/f32/baseline/w256/x4", "router_row")]
    {
        let spec = Spec { variant: name.parse().ok(), ..spec(64, 4) };
        let kernel = noop.library.router(&spec).unwrap();
        assert!(kernel.wgsl(Dialect::Naga).contains(&format!("shaders/{file}.wgsl")));
        assert!(wgsl(&spec, &kernel.variant(), Dialect::Browser).contains("@compute"));
        assert_eq!((kernel.spec(), kernel.variant().to_string()), (&spec, name.to_string()));
    }
}

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

/// A scoring, with or without a division, and K of E distinct logits (multiples of 1/64, shuffled), and another order of them.
fn distinct() -> impl Strategy<Value = (Spec, Vec<f32>, Vec<usize>)> {
    let shape = (1..40_usize).prop_flat_map(|experts| (Just(experts), 1..=experts, 0..7_usize));
    shape.prop_flat_map(|(experts, choices, which)| {
        let scoring = Scoring::ALL[which / 2];
        let renormalize = (which % 2 == 0 && scoring != Scoring::Identity).then_some(LEAST_SUM);
        let spec = Spec { scoring, renormalize, ..spec(experts as u32, choices as u32) };
        let values: Vec<i16> = (0..experts as i16).map(|i| i * 17 - 250).collect();
        let order: Vec<usize> = (0..experts).collect();
        let logits = Just(values).prop_shuffle().prop_map(|v| v.into_iter().map(|i| f32::from(i) / 64.0).collect());
        (Just(spec), logits, Just(order).prop_shuffle())
    })
}

proptest! {
    #![proptest_config(config(300))]

    /// Where nothing ties, experts in another order are the same experts with the same weights; shares of the row, too, to the bit,
    /// as long as the same logit leads the first four.
    #[test]
    fn permuting_experts_permutes_the_routing((spec, logits, order) in distinct()) {
        let moved: Vec<f32> = order.iter().map(|&i| logits[i]).collect();
        let (a, b) = (Problem::new(&spec, &logits, logits.len()), Problem::new(&spec, &moved, logits.len()));
        let (route, other) = (a.route(0), b.route(0));
        let back: Vec<u32> = other.experts.iter().map(|&e| order[e as usize] as u32).collect();
        prop_assert_eq!(&back, &route.experts);
        if spec.scoring == Scoring::Softmax && spec.renormalize.is_none() {
            let budgets = route_budgets(&b, 0, &other.experts).unwrap();
            let near = |(b, &w): (&Budget, &f32)| (f64::from(w) - b.want).abs() <= 2.0 * b.absolute;
            prop_assert!(budgets.iter().zip(&route.weights).all(near));
        } else {
            prop_assert_eq!(other.weights, route.weights);
        }
    }

    /// The better expert has the greater weight, or an equal one; of softmax, sigmoid and √softplus none is negative; what is
    /// divided adds up to 1.
    #[test]
    fn weights_fall((spec, logits, _) in distinct()) {
        let route = Problem::new(&spec, &logits, logits.len()).route(0);
        prop_assert!(route.weights.is_sorted_by(|a, b| a >= b), "{:?}", route.weights);
        if spec.scoring != Scoring::Identity {
            prop_assert!(route.weights.iter().all(|w| *w >= 0.0));
        }
        let sum: f32 = route.weights.iter().sum();
        prop_assert!(spec.renormalize.is_none() || (sum - 1.0).abs() < 1e-5, "{}", sum);
    }

    /// A greater logit never makes an expert's place worse, or its weight less.
    #[test]
    fn raising_a_logit_helps((spec, logits, order) in distinct(), by in 1..500_u16) {
        let expert = order[0];
        let mut raised = logits.clone();
        raised[expert] += f32::from(by) / 64.0;
        let place = |logits: &[f32]| {
            let route = Problem::new(&spec, logits, logits.len()).route(0);
            route.experts.iter().position(|&e| e as usize == expert).map(|i| (i, route.weights[i]))
        };
        if let Some((before, weight)) = place(&logits) {
            let (after, greater) = place(&raised).unwrap();
            prop_assert!(after <= before && greater >= weight * (1.0 - 1e-6 * weight.signum()), "{weight} {greater}");
        }
    }

    /// The first of more choices are those of fewer.
    #[test]
    fn fewer_choices_are_the_first((spec, logits, _) in distinct(), less in 0..40_u32) {
        let few = Spec { choices: (spec.choices - less.min(spec.choices - 1)), ..spec.clone() };
        let all = Problem::new(&spec, &logits, logits.len()).route(0);
        let first = Problem::new(&few, &logits, logits.len()).route(0);
        prop_assert_eq!(&all.experts[..first.experts.len()], &first.experts[..]);
        if spec.renormalize.is_none() {
            prop_assert_eq!(&all.weights[..first.weights.len()], &first.weights[..]);
        }
    }
}
