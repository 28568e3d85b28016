//! Expert choice: cases on every adapter, bad operands and specifications, special values, one buffer for everything.

mod common;

use onesum::expert_choice::{MAX_EXPERTS, NONE, Operands, Schedule, Spec, Variant};
use onesum::host::Gpu;
use onesum::reference::expert_choice::{Chosen, expert_choice};
use onesum::softmax::{Dtype, Shape};
use onesum::{BindError, BuildError, Caps, Library, Matrix};

/// Every output of every variant on every adapter is what the reference says.
#[test]
fn standard_profile() {
    common::standard_profile("expert_choice", |_, report| assert!(report.executed >= 150, "{} cases", report.executed));
}

/// Buffers for one routing, and what was read back.
struct Memory {
    scores: wgpu::Buffer,
    tokens: wgpu::Buffer,
    weights: wgpu::Buffer,
    offsets: wgpu::Buffer,
    choices: wgpu::Buffer,
    valid: wgpu::Buffer,
    scratch: wgpu::Buffer,
}

impl Memory {
    fn of(library: &Library, spec: &Spec) -> Self {
        let buffer = |words: u64| common::buffer(library.device(), words * 4, common::USAGE);
        let slots = u64::from(spec.experts) * u64::from(spec.capacity);
        let kernel = library.expert_choice(spec).unwrap();
        Self {
            scores: buffer(u64::from(spec.tokens) * u64::from(spec.experts) + 4),
            tokens: buffer(slots + 4),
            weights: buffer(slots + 4),
            offsets: buffer(u64::from(spec.tokens) + 1),
            choices: buffer(slots + 4),
            valid: buffer(1),
            scratch: buffer(kernel.scratch_bytes(spec.tokens, spec.experts) / 4 + 4),
        }
    }

    fn operands(&self, spec: &Spec) -> Operands<'_> {
        let &Spec { tokens, experts, capacity, .. } = spec;
        let slots = |buffer| Matrix::new(buffer, experts, capacity);
        Operands {
            offsets: spec.choices.then(|| Matrix::new(&self.offsets, 1, tokens + 1)),
            choices: spec.choices.then(|| Matrix::new(&self.choices, 1, experts * capacity)),
            valid: spec.valid.then(|| Matrix::new(&self.valid, 1, 1)),
            ..Operands::new(
                Matrix::new(&self.scores, tokens, experts),
                slots(&self.tokens),
                slots(&self.weights),
                Matrix::new(&self.scratch, 1, (self.scratch.size() / 4) as u32),
            )
        }
    }
}

fn words(gpu: &Gpu, buffer: &wgpu::Buffer, count: usize) -> Vec<u32> {
    bytemuck::pod_collect_to_vec(&gpu.download(buffer, count as u64 * 4).unwrap())
}

/// Runs it on f32 scores, with `valid` valid tokens where that is asked for.
fn chosen(gpu: &Gpu, spec: &Spec, scores: &[f32], valid: u32) -> Chosen {
    let memory = Memory::of(&gpu.library, spec);
    gpu.queue.write_buffer(&memory.scores, 0, bytemuck::cast_slice(scores));
    gpu.queue.write_buffer(&memory.valid, 0, &valid.to_le_bytes());
    let kernel = gpu.library.expert_choice(spec).unwrap();
    gpu.run(&[&kernel.bind(&memory.operands(spec)).unwrap()]).unwrap();
    let slots = (spec.experts * spec.capacity) as usize;
    let offsets = words(gpu, &memory.offsets, spec.tokens as usize + 1);
    let choices = words(gpu, &memory.choices, offsets[offsets.len() - 1] as usize);
    let weights = words(gpu, &memory.weights, slots).into_iter().map(f32::from_bits).collect();
    Chosen { tokens: words(gpu, &memory.tokens, slots), weights, offsets, choices }
}

fn variants() -> impl Iterator<Item = Variant> {
    Variant::all().filter(|v| v.input == Dtype::F32)
}

/// What must hold of any result, whatever the scores: no token twice, none that is padding, and every slot with a token in the
/// list of exactly that token.
#[test]
fn both_directions_agree() {
    let gpu = common::gpu();
    for (tokens, experts, capacity, valid) in [(1000, 37, 90, 1000), (600, 20, 60, 41), (500, 100, 10, 0)] {
        let spec = Spec { choices: true, valid: true, ..Spec::new(tokens, experts, capacity) };
        let scores = common::logits(tokens, (tokens * experts) as usize);
        let result = chosen(gpu, &spec, &scores, valid);
        let mut listed = vec![0; (experts * capacity) as usize];
        for (token, range) in result.offsets.windows(2).enumerate() {
            let entries = &result.choices[range[0] as usize..range[1] as usize];
            assert!(entries.windows(2).all(|pair| pair[0] < pair[1]));
            for &entry in entries {
                assert_eq!(result.tokens[entry as usize], token as u32);
                listed[entry as usize] += 1;
            }
        }
        for (slot, &token) in result.tokens.iter().enumerate() {
            assert_eq!(listed[slot], u32::from(token != NONE), "{slot}");
            let score =
                if token == NONE { 0.0 } else { scores[token as usize * experts as usize + slot / capacity as usize] };
            assert_eq!(result.weights[slot], score);
        }
        let taken = experts * capacity.min(valid);
        assert_eq!(result.offsets[tokens as usize], taken);
        for row in result.tokens.chunks(capacity as usize) {
            let mut some: Vec<_> = row.iter().filter(|&&t| t != NONE).collect();
            assert_eq!(some.len(), capacity.min(valid) as usize);
            some.sort_unstable();
            some.dedup();
            assert_eq!(some.len(), capacity.min(valid) as usize);
            assert!(some.iter().all(|&&t| t < valid));
        }
    }
}

/// The table of docs/semantics.md.
#[test]
fn special_scores() {
    let gpu = common::gpu();
    let (nan, inf) = (f32::NAN, f32::INFINITY);
    // One expert, all tokens: the whole order.
    let column = [nan, -inf, -0.0, inf, 0.0, -nan, f32::MIN_POSITIVE / 4.0, -f32::MIN_POSITIVE / 4.0, 1.0, inf, -inf];
    let order = [3, 9, 8, 6, 2, 4, 7, 1, 10, 0, 5];
    for variant in variants() {
        let spec = Spec { choices: true, variant: Some(variant), ..Spec::new(11, 1, 11) };
        let result = chosen(gpu, &spec, &column, 0);
        assert_eq!(result.tokens, order, "{variant}");
        for (slot, &token) in order.iter().enumerate() {
            // Every bit: the sign of a zero and of a NaN, subnormals.
            assert_eq!(result.weights[slot].to_bits(), column[token as usize].to_bits(), "{variant} {token}");
        }
        assert_eq!(result.offsets, (0..=11).collect::<Vec<_>>());
        // Even a signalling NaN is only copied.
        let quiet =
            chosen(gpu, &Spec { variant: Some(variant), ..Spec::new(1, 1, 1) }, &[f32::from_bits(0xffa1_2345)], 0);
        assert_eq!(quiet.weights[0].to_bits(), 0xffa1_2345);
    }
}

/// Every f16 and every bf16 number, as one column and all of it taken: order and widening.
#[test]
fn every_16_bit_score() {
    let gpu = common::gpu();
    let all: Vec<u16> = (0..=u16::MAX).collect();
    for input in [Dtype::F16, Dtype::Bf16] {
        let widened: Vec<f32> = match input {
            Dtype::F16 => all.iter().map(|&b| half::f16::from_bits(b).to_f32()).collect(),
            _ => all.iter().map(|&b| half::bf16::from_bits(b).to_f32()).collect(),
        };
        let want = expert_choice(&widened, 1, 1 << 16, 1 << 16);
        let spec = Spec { input, ..Spec::new(1 << 16, 1, 1 << 16) };
        let memory = Memory::of(&gpu.library, &spec);
        gpu.queue.write_buffer(&memory.scores, 0, bytemuck::cast_slice(&all));
        let kernel = gpu.library.expert_choice(&spec).unwrap();
        gpu.run(&[&kernel.bind(&memory.operands(&spec)).unwrap()]).unwrap();
        assert_eq!(words(gpu, &memory.tokens, 1 << 16), want.tokens);
        for (slot, got) in words(gpu, &memory.weights, 1 << 16).into_iter().enumerate() {
            // A signalling NaN stays one here; half makes it quiet.
            let quiet = if f32::from_bits(got).is_nan() { got | 0x40_0000 } else { got };
            assert_eq!(quiet, want.weights[slot].to_bits(), "{input:?} {slot}");
        }
    }
}

/// A pipeline from softmax: probabilities on the device, chosen from there.
#[test]
fn probabilities_of_a_softmax() {
    let gpu = common::gpu();
    let (tokens, experts, capacity) = (513, 24, 40);
    let logits = common::upload(gpu, &common::logits(4, (tokens * experts) as usize));
    let softmax = gpu.library.softmax(&onesum::softmax::Spec::new(Shape::new(tokens, experts))).unwrap();
    let spec = Spec::new(tokens, experts, capacity);
    let memory = Memory::of(&gpu.library, &spec);
    let rows = Matrix::new(&memory.scores, tokens, experts);
    let first = softmax.bind(Matrix::new(&logits, tokens, experts), rows).unwrap();
    let second = gpu.library.expert_choice(&spec).unwrap().bind(&memory.operands(&spec)).unwrap();
    gpu.run(&[&first, &second]).unwrap();
    let scores = &common::download(gpu, &memory.scores)[..(tokens * experts) as usize];
    let want = expert_choice(scores, experts as usize, capacity as usize, tokens as usize);
    assert_eq!(words(gpu, &memory.tokens, want.tokens.len()), want.tokens);
}

/// One bound replays with other scores and another number of valid tokens.
#[test]
fn a_bound_replays() {
    let gpu = common::gpu();
    let spec = Spec { choices: true, valid: true, ..Spec::new(300, 12, 30) };
    let memory = Memory::of(&gpu.library, &spec);
    let bound = gpu.library.expert_choice(&spec).unwrap().bind(&memory.operands(&spec)).unwrap();
    for (seed, valid) in [(1, 300), (2, 10), (3, 299)] {
        let scores = common::logits(seed, 3600);
        gpu.queue.write_buffer(&memory.scores, 0, bytemuck::cast_slice(&scores));
        gpu.queue.write_buffer(&memory.valid, 0, &u32::to_le_bytes(valid));
        gpu.run(&[&bound]).unwrap();
        let want = expert_choice(&scores, 12, 30, valid as usize);
        assert_eq!(words(gpu, &memory.tokens, 360), want.tokens);
        assert_eq!(words(gpu, &memory.offsets, 301), want.offsets);
        assert_eq!(words(gpu, &memory.choices, want.choices.len()), want.choices);
    }
}

/// Windows of one buffer: the pooled forms of every dispatch, for every variant and type.
#[test]
fn one_buffer_for_everything() {
    let gpu = common::gpu();
    let (tokens, experts, capacity) = (100_u32, 40_u32, 10_u32);
    let scores = common::logits(6, (tokens * experts) as usize);
    let want = expert_choice(&scores, experts as usize, capacity as usize, 90);
    for variant in variants() {
        let spec = Spec { choices: true, valid: true, variant: Some(variant), ..Spec::new(tokens, experts, capacity) };
        let kernel = gpu.library.expert_choice(&spec).unwrap();
        let area = 8192_u32;
        assert!(kernel.scratch_bytes(tokens, experts) <= u64::from(area) * 4);
        let mut all = vec![0_u32; area as usize * 7];
        all[..scores.len()].copy_from_slice(bytemuck::cast_slice(&scores));
        all[area as usize * 5] = 90;
        let pool = gpu.upload(bytemuck::cast_slice(&all)).unwrap();
        let at = |place: u32, rows, cols| Matrix::new(&pool, rows, cols).at(u64::from(area * place));
        let operands = Operands {
            offsets: Some(at(3, 1, tokens + 1)),
            choices: Some(at(4, 1, experts * capacity)),
            valid: Some(at(5, 1, 1)),
            ..Operands::new(at(0, tokens, experts), at(1, experts, capacity), at(2, experts, capacity), at(6, 1, area))
        };
        gpu.run(&[&kernel.bind(&operands).unwrap()]).unwrap();
        let after = words(gpu, &pool, all.len());
        let read = |place: u32, count: usize| &after[(area * place) as usize..][..count];
        assert_eq!(read(0, scores.len()), &all[..scores.len()], "{variant}");
        assert_eq!(read(1, want.tokens.len()), want.tokens, "{variant}");
        assert_eq!(read(3, want.offsets.len()), want.offsets, "{variant}");
        assert_eq!(read(4, want.choices.len()), want.choices, "{variant}");
    }
}

/// Without experts: offsets, if asked for, and nothing else.
#[test]
fn no_experts() {
    let gpu = common::gpu();
    let spec = Spec { choices: true, ..Spec::new(200, 0, 3) };
    let memory = Memory::of(&gpu.library, &spec);
    gpu.queue.write_buffer(&memory.offsets, 0, &[7; 804]);
    let bound = gpu.library.expert_choice(&spec).unwrap().bind(&memory.operands(&spec)).unwrap();
    assert_eq!(bound.dispatches(), 1);
    gpu.run(&[&bound]).unwrap();
    assert_eq!(words(gpu, &memory.offsets, 201), [0; 201]);
    let spec = Spec { choices: false, ..spec };
    let bound = gpu.library.expert_choice(&spec).unwrap().bind(&memory.operands(&spec)).unwrap();
    assert_eq!(bound.dispatches(), 0);
}

/// The most experts, each with a single token, and one that everybody wants.
#[test]
fn most_experts() {
    let gpu = common::gpu();
    let experts = MAX_EXPERTS;
    let mut scores = vec![0.0; 3 * experts as usize];
    scores[experts as usize..2 * experts as usize].fill(1.0);
    for variant in variants() {
        let spec = Spec { choices: true, variant: Some(variant), ..Spec::new(3, experts, 1) };
        let result = chosen(gpu, &spec, &scores, 0);
        assert_eq!(result.tokens, vec![1; experts as usize], "{variant}");
        assert_eq!(result.offsets, [0, 0, experts, experts]);
        assert_eq!(result.choices, (0..experts).collect::<Vec<_>>());
    }
}

/// As many tokens as a variant takes: the bound on loop iterations holds, which some drivers enforce without a word.
#[test]
fn most_tokens() {
    let gpu = common::gpu();
    for (name, tokens, experts, capacity) in [
        ("expert_choice/serial/f32/w8", None, 9, 300),
        ("expert_choice/serial/f32/w8", Some(16_000), 2, 16_000),
        ("expert_choice/shared/f32/w8", None, 2, 1000),
        ("expert_choice/shared/f32/w8", Some(1 << 17), 1, 1 << 17),
        ("expert_choice/shared/f32/w256", Some(1 << 17), 1, 1 << 17),
        ("expert_choice/shared/f32/w256", Some((1 << 17) + 33), 3, 4095),
    ] {
        let variant: Variant = name.parse().unwrap();
        let max = variant.max_tokens(capacity);
        let tokens = tokens.unwrap_or(max);
        assert!(tokens <= max, "{name}: {max}");
        let spec = Spec { choices: true, variant: Some(variant), ..Spec::new(tokens, experts, capacity) };
        let scores = common::logits(tokens, (tokens * experts) as usize);
        let want = expert_choice(&scores, experts as usize, capacity as usize, tokens as usize);
        let got = chosen(gpu, &spec, &scores, 0);
        assert!(got == want, "{name}: {tokens} tokens");
    }
}

#[test]
fn bad_specifications_are_refused() {
    let noop = common::Noop::full();
    let plain = Spec::new(100, 8, 10);
    let error = |spec: Spec| noop.library.expert_choice(&spec).unwrap_err();
    let none = BuildError::BadOption { what: "capacity", expected: "at least 1", got: "0".into() };
    assert_eq!(error(Spec { capacity: 0, ..plain.clone() }), none);
    let f16 = Some("expert_choice/serial/f16/w8".parse().unwrap());
    assert!(error(Spec { variant: f16, ..plain.clone() }).to_string().contains("element type"));
    let odd = Some(Variant { schedule: Schedule::Serial, input: Dtype::F32, width: 64 });
    assert!(error(Spec { variant: odd, ..plain.clone() }).to_string().contains("Variant::all"));
    assert_eq!("plan".parse::<Variant>(), Err(BuildError::UnknownVariant("plan".into())));

    // Devices with less.
    let wide: Variant = "expert_choice/shared/f32/w256".parse().unwrap();
    let low = |caps: &Caps| match wide.supported(caps).unwrap_err() {
        BuildError::LimitTooLow { limit, .. } => limit,
        other => panic!("{other}"),
    };
    let base = Caps::baseline();
    assert_eq!(low(&Caps { max_invocations: 128, ..base.clone() }), "max_compute_invocations_per_workgroup");
    assert_eq!(low(&Caps { max_workgroup_bytes: 8192, ..base.clone() }), "max_compute_workgroup_storage_size");
    let few = Library::with_caps(&noop.device, Caps { max_storage_buffers: 3, ..base }, None).unwrap();
    assert!(few.expert_choice(&plain).is_ok());
    let error = few.expert_choice(&Spec { choices: true, ..plain }).unwrap_err();
    let operands = vec!["scores", "tokens", "weights", "scratch"];
    assert_eq!(error, BuildError::TooManyBuffers { operands, available: 3 });
    assert_eq!(noop.errors(), Vec::<String>::new());
}

#[test]
fn bad_operands_are_refused() {
    let noop = common::Noop::full();
    let spec = Spec { choices: true, valid: true, ..Spec::new(100, 8, 10) };
    let memory = Memory::of(&noop.library, &spec);
    let kernel = noop.library.expert_choice(&spec).unwrap();
    let good = memory.operands(&spec);
    assert_eq!(kernel.bind(&good).unwrap().dispatches(), 4);
    let error = |bad: Operands<'_>| kernel.bind(&bad).unwrap_err();

    // Given or not.
    assert_eq!(error(Operands { offsets: None, ..good }), BindError::Missing { what: "offsets" });
    assert_eq!(error(Operands { choices: None, ..good }), BindError::Missing { what: "choices" });
    assert_eq!(error(Operands { valid: None, ..good }), BindError::Missing { what: "valid" });
    let plain = noop.library.expert_choice(&Spec::new(100, 8, 10)).unwrap();
    let alone = Operands { offsets: None, choices: None, valid: None, ..good };
    assert_eq!(plain.bind(&alone).unwrap().dispatches(), 3);
    for (what, bad) in [
        ("offsets", Operands { offsets: good.offsets, ..alone }),
        ("choices", Operands { choices: good.choices, ..alone }),
        ("valid", Operands { valid: good.valid, ..alone }),
    ] {
        assert_eq!(plain.bind(&bad).unwrap_err(), BindError::Unexpected { what });
    }

    // Shapes.
    let shape = |bad: Operands<'_>, message: &str| assert_eq!(error(bad).to_string(), message);
    shape(
        Operands { scores: Matrix { rows: 9, ..good.scores }, ..good },
        "scores: expected at least 10 tokens, the capacity, got 9",
    );
    shape(
        Operands { scores: Matrix { rows: 0, ..good.scores }, ..good },
        "scores: expected at least 10 tokens, the capacity, got 0",
    );
    shape(Operands { tokens: Matrix { rows: 7, ..good.tokens }, ..good }, "tokens: expected 8 x 10, got 7 x 10");
    shape(Operands { weights: Matrix { cols: 9, ..good.weights }, ..good }, "weights: expected 8 x 10, got 8 x 9");
    let one = |buffer, cols| Some(Matrix::new(buffer, 1, cols));
    shape(Operands { offsets: one(&memory.offsets, 100), ..good }, "offsets: expected 1 x 101, got 1 x 100");
    shape(Operands { choices: one(&memory.choices, 79), ..good }, "choices: expected 1 x 80, got 1 x 79");
    let two = Some(Matrix::new(&memory.valid, 2, 1));
    shape(Operands { valid: two, ..good }, "valid: expected 1 x 1, got 2 x 1");
    let scores = Matrix { cols: MAX_EXPERTS + 1, ..good.scores };
    assert!(matches!(error(Operands { scores, ..good }), BindError::TooManyColumns { cols: 4097, max: 4096, .. }));
    let scores = Matrix { rows: u32::MAX, ..good.scores };
    assert!(error(Operands { scores, ..good }).to_string().contains("scores: expected at most"));
    let large = noop.library.expert_choice(&Spec::new(1 << 20, 4096, 1 << 20)).unwrap();
    let scores = Matrix { rows: 1 << 20, cols: 4096, ..good.scores };
    let message = "tokens: expected at most 2147483648 slots, got 4294967296";
    assert_eq!(large.bind(&Operands { scores, ..alone }).unwrap_err().to_string(), message);

    // Scratch memory: too little, crooked, absurd.
    let scratch = Matrix { cols: 100, stride: 100, ..good.scratch };
    assert!(error(Operands { scratch, ..good }).to_string().starts_with("scratch: expected 1"));
    let crooked = Operands { scratch: Matrix { cols: good.scratch.cols - 2, ..good.scratch }.at(2), ..good };
    assert!(error(crooked).to_string().contains("at a multiple of 4"));
    assert_eq!(kernel.scratch_bytes(u32::MAX, u32::MAX), u64::MAX);

    // Windows and buffers.
    assert!(matches!(
        error(Operands { scores: good.scores.at(8), ..good }),
        BindError::OutOfBuffer { what: "scores", .. }
    ));
    assert!(matches!(
        error(Operands { tokens: good.tokens.at(8), ..good }),
        BindError::OutOfBuffer { what: "tokens", .. }
    ));
    let squeezed = Operands { weights: good.weights.with_stride(9), ..good };
    assert_eq!(error(squeezed), BindError::RowsOverlap { what: "weights", cols: 10, stride: 9 });
    let bare = common::buffer(&noop.device, 4096, wgpu::BufferUsages::COPY_DST);
    let not_storage = Operands { offsets: one(&bare, 101), ..good };
    assert_eq!(error(not_storage), BindError::NotStorage { what: "offsets" });

    // What one dispatch writes, no other may find or lose.
    let overlap = |bad, what, other| assert_eq!(error(bad), BindError::Overlap { what, other });
    overlap(Operands { weights: good.tokens, ..good }, "weights", "tokens");
    overlap(Operands { tokens: Matrix { buffer: &memory.scores, ..good.tokens }, ..good }, "tokens", "scores");
    overlap(Operands { choices: one(&memory.tokens, 80), ..good }, "choices", "tokens");
    overlap(Operands { offsets: one(&memory.scores, 101), ..good }, "offsets", "scores");
    let scratch = Matrix::new(&memory.scores, 1, 804);
    let small = noop.library.expert_choice(&Spec::new(10, 8, 10)).unwrap();
    let ten = Operands { scores: Matrix { rows: 10, ..good.scores }, scratch, ..alone };
    assert_eq!(small.bind(&ten).unwrap_err(), BindError::Overlap { what: "scratch", other: "scores" });
    // Windows of one buffer that is written to have to keep the alignment of bindings.
    let near = common::buffer(&noop.device, 4096, common::USAGE);
    let (tokens, weights) = (Matrix::new(&near, 8, 10), Matrix::new(&near, 8, 10).at(80));
    assert!(matches!(error(Operands { tokens, weights, ..good }), BindError::TooClose { .. }));
    assert_eq!(noop.errors(), Vec::<String>::new());

    // A buffer that is gone.
    memory.tokens.destroy();
    assert!(matches!(error(good), BindError::Device { .. }));
}

/// More than a device's binding may be, and more workgroups than a dispatch has.
#[test]
fn limits_of_the_device_are_kept() {
    let noop = common::Noop::full();
    let caps = Caps { max_binding_bytes: 2048, ..Caps::baseline() };
    let library = Library::with_caps(&noop.device, caps, None).unwrap();
    let spec = Spec::new(100, 8, 10);
    let memory = Memory::of(&noop.library, &spec);
    let error = library.expert_choice(&spec).unwrap().bind(&memory.operands(&spec)).unwrap_err();
    assert!(matches!(error, BindError::WindowTooLarge { what: "scores", needed: 3200, available: 2048 }), "{error}");
    let caps = Caps { max_workgroups: 1, ..Caps::baseline() };
    let library = Library::with_caps(&noop.device, caps, None).unwrap();
    let error = library.expert_choice(&spec).unwrap().bind(&memory.operands(&spec)).unwrap_err();
    assert!(matches!(error, BindError::TooManyRows { available: 1, .. }), "{error}");
    assert_eq!(noop.errors(), Vec::<String>::new());
}

/// The texts of the dispatches, in order.
#[test]
fn texts() {
    let noop = common::Noop::full();
    let spec = Spec { choices: true, ..Spec::new(100, 8, 10) };
    let kernel = noop.library.expert_choice(&spec).unwrap();
    let texts = kernel.wgsl(onesum::shader::Dialect::Naga);
    assert_eq!(texts.len(), 4);
    assert!(texts[1].contains("shaders/expert_choice_select.wgsl"));
    assert_eq!((kernel.spec(), kernel.variant().input), (&spec, Dtype::F32));
}
