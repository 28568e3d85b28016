//! Load statistics: states against the reference on every adapter, bad operands, batches that merge, losses at points where they
//! are known.

mod common;

use onesum::conformance::stats::compare;
use onesum::host::Gpu;
use onesum::reference::stats::{Batch, state};
use onesum::softmax::{Dtype, Shape};
use onesum::stats::{MAX_TOKENS, Operands, Scoring, Spec, State, Variant, words};
use onesum::{BindError, BuildError, Caps, Library, Matrix};

/// Every variant on every adapter counts what the reference counts.
#[test]
fn standard_profile() {
    common::standard_profile("stats", |_, report| assert!(report.executed >= 180, "{} cases", report.executed));
}

// ---- whole batches

/// Logits, chosen experts and weights of a batch.
struct Routed {
    experts: usize,
    choices: usize,
    logits: Vec<f32>,
    chosen: Vec<u32>,
    weights: Vec<f32>,
}

impl Routed {
    /// Plain logits; token t has the experts t, t + 1, ... modulo `experts`, each with a weight of 1 / K.
    fn new(tokens: usize, experts: usize, choices: usize) -> Self {
        Self {
            experts,
            choices,
            logits: common::logits(tokens as u32 + experts as u32, tokens * experts),
            chosen: (0..tokens).flat_map(|t| (t..t + choices).map(|e| (e % experts) as u32)).collect(),
            weights: vec![1.0 / choices as f32; tokens * choices],
        }
    }

    fn tokens(&self) -> usize {
        self.chosen.len() / self.choices
    }

    /// Tokens from `from` to `to`.
    fn part(&self, from: usize, to: usize) -> Self {
        let (e, k) = (self.experts, self.choices);
        Self {
            logits: self.logits[from * e..to * e].to_vec(),
            chosen: self.chosen[from * k..to * k].to_vec(),
            weights: self.weights[from * k..to * k].to_vec(),
            ..*self
        }
    }

    fn batch(&self, scoring: Scoring) -> Batch<'_> {
        Batch {
            logits: &self.logits,
            experts: &self.chosen,
            weights: &self.weights,
            cols: self.experts,
            choices: self.choices,
            scoring,
        }
    }

    fn spec(&self) -> Spec {
        Spec::new(Shape::new(self.tokens() as u32, self.experts as u32))
    }

    /// Runs it on a state, and gives its words.
    fn add_to(&self, gpu: &Gpu, state: &wgpu::Buffer, spec: &Spec) -> Vec<u32> {
        let (tokens, experts, choices) = (self.tokens() as u32, self.experts as u32, self.choices as u32);
        let src = common::upload(gpu, &self.logits);
        let chosen = gpu.upload(bytemuck::cast_slice(&self.chosen)).unwrap();
        let weights = common::upload(gpu, &self.weights);
        let operands = Operands {
            src: Matrix::new(&src, tokens, experts),
            experts: Matrix::new(&chosen, tokens, choices),
            weights: Matrix::new(&weights, tokens, choices),
            state: Matrix::new(state, 1, words(experts)),
        };
        gpu.run(&[&gpu.library.stats(spec).unwrap().bind(&operands).unwrap()]).unwrap();
        bytemuck::pod_collect_to_vec(&gpu.download(state, 4 * u64::from(words(experts))).unwrap())
    }

    fn words(&self, gpu: &Gpu) -> Vec<u32> {
        self.add_to(gpu, &self.buffer(gpu), &self.spec())
    }

    fn buffer(&self, gpu: &Gpu) -> wgpu::Buffer {
        gpu.allocate(4 * u64::from(words(self.experts as u32))).unwrap()
    }

    /// Runs it, checks it against the reference, and gives it.
    fn state(&self, gpu: &Gpu) -> State {
        let got = State::from_words(&self.words(gpu)).unwrap();
        let (want, errors) = state(&self.batch(Scoring::Softmax));
        compare(&got, &want, &errors).unwrap_or_else(|failure| panic!("{failure}"));
        got
    }
}

/// Two halves, merged on the host or by accumulating, are the whole to the bit; and a state goes on from there.
#[test]
fn states_merge_to_the_bit() {
    let gpu = common::gpu();
    for (tokens, experts, choices) in [(2, 1, 1), (1001, 31, 4), (600, 513, 10), (70_000, 16, 2)] {
        let whole = Routed::new(tokens, experts, choices);
        let (first, second) = (whole.part(0, tokens / 3), whole.part(tokens / 3, tokens));
        let all = whole.words(gpu);
        let buffer = whole.buffer(gpu);
        first.add_to(gpu, &buffer, &first.spec());
        let onto = Spec { accumulate: true, ..second.spec() };
        assert_eq!(second.add_to(gpu, &buffer, &onto), all, "{tokens} {experts}");

        let mut merged = first.state(gpu);
        merged.merge(&second.state(gpu)).unwrap();
        assert_eq!(merged, State::from_words(&all).unwrap(), "{tokens} {experts}");
        // Zeros are a state without tokens.
        assert_eq!(whole.add_to(gpu, &whole.buffer(gpu), &Spec { accumulate: true, ..whole.spec() }), all);
    }
    let (mut a, b) = (State::new(3), State::new(4));
    assert!(a.merge(&b).unwrap_err().to_string().contains("expected 3 experts, got 4 experts"));
}

/// Integers are the same from every variant, and so is what integers were made of: gates. Probabilities are within the budget of
/// each other, as conformance holds each to the reference.
#[test]
fn variants_agree() {
    let gpu = common::gpu();
    let batch = Routed::new(777, 68, 5);
    let want = State::from_words(&batch.words(gpu)).unwrap();
    let mut tried = 0;
    for variant in Variant::all().filter(|v| v.input == Dtype::F32 && v.supported(gpu.library.caps()).is_ok()) {
        let spec = Spec { variant: Some(variant), ..batch.spec() };
        let got = State::from_words(&batch.add_to(gpu, &batch.buffer(gpu), &spec)).unwrap();
        assert_eq!((got.tokens, &got.counts, &got.first, &got.gates), (777, &want.counts, &want.first, &want.gates));
        tried += 1;
    }
    assert_eq!(tried, 6);
}

/// Perfect balance: K, and nothing varies.
#[test]
fn losses_at_perfect_balance() {
    let gpu = common::gpu();
    for (experts, choices) in [(8, 1), (64, 6), (71, 10)] {
        let mut batch = Routed::new(experts * 4, experts, choices);
        batch.logits.fill(0.25);
        let s = batch.state(gpu);
        let near =
            |got: f64, want: f64| assert!((got - want).abs() < 1e-6 * want.max(1.0), "{experts}: {got}, not {want}");
        near(s.balance_loss(), choices as f64);
        near(s.max_over_mean(), 1.0);
        near(s.load_cv2(), 0.0);
        near(s.importance_cv2(), 0.0);
        near(s.entropy(), 1.0);
        near(s.unused(), 0.0);
        near(s.z_loss(), (0.25 + (experts as f64).ln()).powi(2));
        assert_eq!((s.pairs(), s.sentinels), ((experts * 4 * choices) as u64, 0));
    }
}

/// All tokens to the same K experts, which have all the probability.
#[test]
fn losses_at_collapse() {
    let gpu = common::gpu();
    for (experts, choices) in [(8_usize, 1_usize), (64, 4)] {
        let mut batch = Routed::new(100, experts, choices);
        let ratio = experts as f64 / choices as f64;
        for t in 0..100 {
            for e in 0..experts {
                batch.logits[t * experts + e] = if e < choices { 40.0 } else { -40.0 };
            }
            for k in 0..choices {
                batch.chosen[t * choices + k] = k as u32;
            }
        }
        let s = batch.state(gpu);
        let near = |got: f64, want: f64| assert!((got - want).abs() < 1e-6 * want.max(1.0), "{got}, not {want}");
        near(s.max_over_mean(), ratio);
        // f = 1 and P = 1 / K for each of K experts.
        near(s.balance_loss(), experts as f64);
        // K of E loads are E / K means: the mean square is E / K squared means.
        near(s.load_cv2(), ratio - 1.0);
        near(s.importance_cv2(), ratio - 1.0);
        near(s.entropy(), (choices as f64).ln() / (experts as f64).ln());
        near(s.unused(), 1.0 - 1.0 / ratio);
        near(s.mean_probabilities()[0], 1.0 / choices as f64);
        assert_eq!(s.fractions()[0], 1.0);
    }
}

/// The table of docs/semantics.md: what becomes of tokens that are no distribution.
#[test]
fn special_tokens() {
    let gpu = common::gpu();
    let (nan, inf) = (f32::NAN, f32::INFINITY);
    let none = u32::MAX;
    #[rustfmt::skip]
    let rows: [([f32; 4], [u32; 2], [f32; 2]); 9] = [
        ([0.0; 4],                 [0, 1],    [0.5, 0.25]),
        ([nan, 0.0, 0.0, 0.0],     [0, 1],    [nan, 0.25]),
        ([0.0, -nan, inf, 0.0],    [2, none], [inf, nan]),
        ([0.0, inf, 0.0, -inf],    [1, 4],    [0.5, nan]),
        ([-inf; 4],                [3, 2],    [65_536.0, -65_535.0]),
        ([-inf, -inf, 1.0, -inf],  [2, 3],    [1.0, -0.0]),
        ([1e30, 0.0, 0.0, 0.0],    [0, 3],    [1.0, 1.0]),
        ([nan; 4],                 [none, 7], [9.0, 9.0]),
        ([f32::MIN; 4],            [1, none], [1.0, 1.0]),
    ];
    for scoring in [Scoring::Softmax, Scoring::Sigmoid] {
        let batch = Routed {
            experts: 4,
            choices: 2,
            logits: rows.iter().flat_map(|r| r.0).collect(),
            chosen: rows.iter().flat_map(|r| r.1).collect(),
            weights: rows.iter().flat_map(|r| r.2).collect(),
        };
        let words = batch.add_to(gpu, &batch.buffer(gpu), &Spec { scoring, ..batch.spec() });
        let s = State::from_words(&words).unwrap();
        assert_eq!((s.tokens, s.sentinels, s.nan_tokens, s.masked_tokens, s.measured_tokens), (8, 3, 3, 1, 2));
        assert_eq!((s.counts, s.first), (vec![3, 4, 3, 3], vec![3, 2, 2, 1]));
        assert_eq!((s.gates, s.bad_weights), (vec![1.5, 2.0, -65_534.0, 1.0], 3));
        assert!((s.squares - (4f64.ln().powi(2) + 1.0)).abs() < 1e-6);
        // Of 1e30 beside zeros, softmax is 1 and 0, sigmoids are 1 and 1/2.
        let want = if scoring == Scoring::Softmax { [1.5, 0.5, 1.5, 0.5] } else { [0.9, 0.7, 1.7, 0.7] };
        assert!(s.probabilities.iter().zip(want).all(|(p, want)| (p - want).abs() < 1e-6), "{:?}", s.probabilities);
        assert_eq!(s.tokens - s.nan_tokens - s.masked_tokens, 4);
    }
}

/// Squares and gates that need their upper words.
#[test]
fn sums_carry() {
    let gpu = common::gpu();
    let mut batch = Routed::new(300, 1, 3);
    batch.chosen.fill(0);
    batch.logits.fill(65_535.0);
    batch.weights.fill(-65_535.996);
    let s = batch.state(gpu);
    assert_eq!(
        (s.squares, s.gates[0]),
        (300.0 * f64::from(65_535.0_f32 * 65_535.0), -900.0 * f64::from(65_535.996_f32))
    );
    assert_eq!((s.counts[0], s.first[0], s.measured_tokens), (900, 300, 300));
}

/// As many tokens as there may be; and one expert more than counters.
#[test]
fn the_largest_batch() {
    let gpu = common::gpu();
    let s = Routed::new(MAX_TOKENS as usize, 2, 1).state(gpu);
    assert_eq!((s.tokens, s.counts[0], s.measured_tokens), (1 << 20, 1 << 19, 1 << 20));
    let s = Routed::new(7, 4096, 64).state(gpu);
    assert_eq!((s.pairs(), s.counts[69], s.counts[70]), (7 * 64, 1, 0));
}

/// Nothing, and a state that says so.
#[test]
fn empty_batches() {
    let gpu = common::gpu();
    let empty = Routed::new(0, 5, 2);
    let buffer = gpu.upload(&[0xa7; 4 * 42]).unwrap();
    assert_eq!(empty.add_to(gpu, &buffer, &empty.spec()), [0; 42]);
    let s = State::from_words(&[0; 42]).unwrap();
    assert_eq!(s, State::new(5));
    assert_eq!((s.balance_loss(), s.z_loss(), s.importance_cv2(), s.load_cv2()), (0.0, 0.0, 0.0, 0.0));
    assert_eq!((s.max_over_mean(), s.entropy(), s.unused()), (1.0, 1.0, 1.0));
    assert_eq!((s.fractions(), s.mean_probabilities()), (vec![0.0; 5], vec![0.0; 5]));
    // One expert is always in balance.
    let one = Routed::new(9, 1, 1).state(gpu);
    assert_eq!((one.entropy(), one.max_over_mean(), one.unused(), one.load_cv2()), (1.0, 1.0, 0.0, 0.0));
    assert!((one.balance_loss() - 1.0).abs() < 1e-6);

    // Adding nothing records nothing.
    let noop = common::Noop::full();
    let memory = [(); 4].map(|()| noop.buffer(4096));
    let kernel = noop.library.stats(&Spec { accumulate: true, ..empty.spec() }).unwrap();
    assert_eq!(kernel.bind(&operands(&memory, 0, 5, 2)).unwrap().dispatches(), 0);
    assert_eq!(kernel.bind(&operands(&memory, 3, 5, 2)).unwrap().dispatches(), 1);
    assert_eq!(noop.library.stats(&empty.spec()).unwrap().bind(&operands(&memory, 3, 5, 2)).unwrap().dispatches(), 2);
}

/// Windows of one buffer: the pooled form.
#[test]
fn one_buffer_for_everything() {
    let gpu = common::gpu();
    let batch = Routed::new(40, 12, 3);
    let area = 1024_usize;
    let mut all = vec![0_u32; 4 * area];
    all[3..3 + 480].copy_from_slice(bytemuck::cast_slice(&batch.logits));
    all[area..area + 120].copy_from_slice(&batch.chosen);
    all[2 * area..2 * area + 120].copy_from_slice(bytemuck::cast_slice(&batch.weights));
    let pool = gpu.upload(bytemuck::cast_slice(&all)).unwrap();
    let at = |place: usize, rows, cols| Matrix::new(&pool, rows, cols).at((place * area) as u64);
    let spec = Spec { shape: Shape { rows: 40, cols: 12, quads: false }, ..batch.spec() };
    let operands =
        Operands { src: at(0, 40, 12).at(3), experts: at(1, 40, 3), weights: at(2, 40, 3), state: at(3, 1, words(12)) };
    gpu.run(&[&gpu.library.stats(&spec).unwrap().bind(&operands).unwrap()]).unwrap();
    let after: Vec<u32> = bytemuck::pod_collect_to_vec(&gpu.download(&pool, pool.size()).unwrap());
    assert_eq!(after[..3 * area], all[..3 * area]);
    let got = State::from_words(&after[3 * area..][..words(12) as usize]).unwrap();
    let (want, errors) = state(&batch.batch(Scoring::Softmax));
    compare(&got, &want, &errors).unwrap();
    assert!(after[3 * area + words(12) as usize..].iter().all(|&w| w == 0));
}

// ---- what is refused

fn operands(memory: &[wgpu::Buffer; 4], tokens: u32, experts: u32, choices: u32) -> Operands<'_> {
    let [src, chosen, weights, state] = memory;
    Operands {
        src: Matrix::new(src, tokens, experts),
        experts: Matrix::new(chosen, tokens, choices),
        weights: Matrix::new(weights, tokens, choices),
        state: Matrix::new(state, 1, words(experts)),
    }
}

#[test]
fn bad_operands_are_refused() {
    let noop = common::Noop::full();
    let memory = [(); 4].map(|()| noop.buffer(1 << 16));
    let kernel = noop.library.stats(&Spec::new(Shape::new(100, 64))).unwrap();
    let good = operands(&memory, 100, 64, 6);
    assert_eq!(kernel.bind(&good).unwrap().dispatches(), 2);
    let error = |bad: Operands<'_>| kernel.bind(&bad).unwrap_err().to_string();
    for (bad, expected) in [
        (operands(&memory, MAX_TOKENS + 1, 4, 1), "tokens must be at most 1048576, not 1048577"),
        (operands(&memory, 100, 0, 6), "experts must be from 1 to 4096, not 0"),
        (operands(&memory, 1, 4100, 6), "experts must be from 1 to 4096, not 4100"),
        (operands(&memory, 100, 64, 0), "choices must be from 1 to 128, not 0"),
        (operands(&memory, 100, 64, 129), "choices must be from 1 to 128, not 129"),
        (Operands { experts: Matrix::new(&memory[1], 99, 6), ..good }, "experts: expected 100 x 6, got 99 x 6"),
        (Operands { weights: Matrix::new(&memory[2], 100, 5), ..good }, "weights: expected 100 x 6, got 100 x 5"),
        (Operands { weights: Matrix::new(&memory[2], 101, 6), ..good }, "weights: expected 100 x 6, got 101 x 6"),
        (Operands { state: Matrix::new(&memory[3], 1, 395), ..good }, "state: expected 1 x 396, got 1 x 395"),
        (Operands { state: Matrix::new(&memory[3], 2, 396), ..good }, "state: expected 1 x 396, got 2 x 396"),
        (Operands { src: good.src.at(2), ..good }, "x4 wants offset, columns and stride in multiples of 4"),
        (Operands { src: good.src.with_stride(66), ..good }, "x4 wants offset, columns and stride in multiples of 4"),
        (Operands { src: good.src.with_stride(60), ..good }, "src: rows of 64 columns, but only 60"),
        (Operands { src: good.src.at(1 << 14), ..good }, "src: the window ends"),
        (Operands { experts: good.experts.at(1 << 14), ..good }, "experts: the window ends"),
        (Operands { weights: good.weights.at(1 << 14), ..good }, "weights: the window ends"),
        (Operands { state: good.state.at(1 << 14), ..good }, "state: the window ends"),
        (Operands { weights: good.weights.with_stride(5), ..good }, "weights: rows of 6 columns, but only 5"),
    ] {
        assert!(error(bad).contains(expected), "{expected}: {}", error(bad));
    }
    let in_buffer = |b: usize, at| Operands { state: Matrix::new(&memory[b], 1, 396).at(at), ..good };
    for (b, other) in [(0, "src"), (1, "experts"), (2, "weights")] {
        let overlap = BindError::Overlap { what: "state", other };
        assert_eq!(kernel.bind(&in_buffer(b, 8)).unwrap_err(), overlap);
    }
    let close = kernel.bind(&in_buffer(1, 601)).unwrap_err();
    assert!(matches!(close, BindError::TooClose { what: "state", other: "experts", .. }), "{close}");
    assert_eq!(kernel.bind(&in_buffer(1, 1024)).unwrap().dispatches(), 2);
    // Two readers may share a window, unless the buffer is written, too.
    let shared = Operands { weights: Matrix { buffer: &memory[1], ..good.weights }, ..good };
    assert!(kernel.bind(&shared).is_ok());
    let all_in_one = Operands { state: Matrix::new(&memory[1], 1, 396).at(1024), ..shared };
    assert!(matches!(kernel.bind(&all_in_one), Err(BindError::TooClose { .. })));
    let plain = common::buffer(&noop.device, 1 << 16, wgpu::BufferUsages::COPY_DST);
    let bad = Operands { state: Matrix { buffer: &plain, ..good.state }, ..good };
    assert_eq!(kernel.bind(&bad).unwrap_err(), BindError::NotStorage { what: "state" });
    assert_eq!(noop.errors(), Vec::<String>::new());
    memory[2].destroy();
    let dead = kernel.bind(&good).unwrap_err();
    assert!(matches!(&dead, BindError::Device { message } if message.contains("destroyed")), "{dead}");
}

/// More than the device lets one binding have.
#[test]
fn large_windows_are_refused() {
    let limits = wgpu::Limits { max_storage_buffer_binding_size: 1 << 16, ..wgpu::Limits::default() };
    let noop = common::Noop::new(wgpu::Features::empty(), limits);
    let memory = [(); 4].map(|()| noop.buffer(1 << 20));
    let kernel = noop.library.stats(&Spec::new(Shape::new(300, 64))).unwrap();
    assert!(kernel.bind(&operands(&memory, 256, 64, 6)).is_ok());
    let error = kernel.bind(&operands(&memory, 257, 64, 6)).unwrap_err();
    assert!(matches!(error, BindError::WindowTooLarge { what: "src", .. }), "{error}");
}

#[test]
fn bad_specifications_are_refused() {
    let noop = common::Noop::full();
    let plain = Spec::new(Shape::new(8, 64));
    let variant = |name: &str| name.parse::<Variant>().ok();
    let error = |library: &Library, spec: &Spec| library.stats(spec).unwrap_err();
    let other = Spec { variant: variant("stats/bf16/w256l16/x4"), ..plain.clone() };
    assert!(error(&noop.library, &other).to_string().contains("its element type is not that of the specification"));
    let made_up = variant("stats/f32/w256l16/x4").map(|v| Variant { lanes: 7, ..v });
    let error_of = error(&noop.library, &Spec { variant: made_up, ..plain.clone() });
    assert!(error_of.to_string().contains("Variant::all does not have it"));
    assert_eq!("stats/f32/w9".parse::<Variant>(), Err(BuildError::UnknownVariant("stats/f32/w9".into())));

    let with = |caps: Caps| Library::with_caps(&noop.device, caps, None).unwrap();
    let native = Spec { input: Dtype::F16, variant: variant("stats/f16n/w8l1/x4"), ..plain.clone() };
    let missing = error(&with(Caps { f16: false, ..noop.library.caps().clone() }), &native);
    assert!(matches!(missing, BuildError::MissingFeature { feature: "SHADER_F16", .. }));
    let wide = Spec { variant: variant("stats/f32/w256l16/x4"), ..plain.clone() };
    for (caps, what) in [
        (Caps { max_invocations: 128, ..Caps::baseline() }, "max_compute_invocations_per_workgroup"),
        (Caps { max_workgroup_bytes: 8192, ..Caps::baseline() }, "max_compute_workgroup_storage_size"),
    ] {
        assert!(matches!(error(&with(caps), &wide), BuildError::LimitTooLow { limit, .. } if limit == what));
    }
    let few = error(&with(Caps { max_storage_buffers: 3, ..Caps::baseline() }), &plain);
    let operands = vec!["src", "experts", "weights", "state"];
    assert_eq!(few, BuildError::TooManyBuffers { operands, available: 3 });
    assert_eq!(noop.errors(), Vec::<String>::new());
}

/// Every type builds; the choice follows the device; a baseline device takes the widest.
#[test]
fn variants_are_chosen_by_the_device() {
    let shape = Shape::new(100, 64);
    let select = |caps: &Caps, input| Variant::select(caps, &shape, input).to_string();
    let baseline = Caps::baseline();
    assert_eq!(select(&baseline, Dtype::F32), "stats/f32/w256l16/x4");
    assert_eq!(select(&Caps { cpu: true, ..baseline.clone() }, Dtype::Bf16), "stats/bf16/w8l1/x4");
    assert_eq!(select(&Caps { f16: true, ..baseline.clone() }, Dtype::F16), "stats/f16n/w256l16/x4");
    assert_eq!(select(&Caps { max_invocations: 128, ..baseline.clone() }, Dtype::F16), "stats/f16/w64l16/x4");
    assert_eq!(select(&Caps { max_invocations: 32, ..baseline.clone() }, Dtype::F32), "stats/f32/w8l1/x4");
    assert!(Variant::all().all(|v| v.supported(&Caps { f16: true, ..baseline.clone() }).is_ok()));
    let noop = common::Noop::full();
    for variant in Variant::all() {
        for (scoring, _) in Scoring::ALL {
            let spec = Spec { input: variant.input, scoring, variant: Some(variant), ..Spec::new(shape) };
            let kernel = noop.library.stats(&spec).unwrap();
            assert_eq!((kernel.variant(), kernel.spec()), (variant, &spec));
            assert_eq!(kernel.wgsl(onesum::shader::Dialect::Browser).len(), 2);
        }
    }
    assert_eq!(noop.errors(), Vec::<String>::new());
}
