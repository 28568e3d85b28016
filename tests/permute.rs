//! Dispatch and combine: cases on every adapter, faults that the checks must find, bad operands, windows of one buffer, and the
//! two together.

mod common;

use onesum::conformance::permute::{Case, Fault, cases, run_case};
use onesum::conformance::{Difference, Failure, Outcome, Profile, run_cases};
use onesum::host::{Gpu, adapter};
use onesum::permute::{
    CombineOperands, CombineSpec, DispatchOperands, DispatchSpec, Kernel, MAX_CHOICES, Shape, Variant,
};
use onesum::reference::permute::{combine, dispatch};
use onesum::shader::Dialect;
use onesum::softmax::Dtype;
use onesum::{BindError, BuildError, Matrix};

/// Every geometry, type, size, option and kind of hole on every adapter.
#[test]
fn standard_profile() {
    common::standard_profile("permute", |_, report| assert!(report.executed >= 400, "{} cases", report.executed));
}

/// The baseline's limits and no feature: no 64-bit integers, four storage buffers.
#[test]
fn baseline_device() {
    let adapter = adapter(None).unwrap();
    let gpu = Gpu::with(&adapter, wgpu::Features::empty(), wgpu::Limits::downlevel_defaults()).unwrap();
    let report = run_cases(
        &gpu,
        cases(Profile::Standard).filter(|c| c.variant.width == 8 && c.variant.input == c.variant.output),
        |_, _| {},
    );
    println!("{report}");
    assert!(report.ok() && report.executed >= 100);
}

/// Each fault is found for what it is.
#[test]
fn planted_faults_are_found() {
    let gpu = common::gpu();
    let plain = "permute/dispatch/f16/w8/x1:tokens=7,choices=2,hidden=33,holes=some,fill=uniform";
    let weighed = "permute/dispatch/f32/w8/x4:tokens=7,choices=2,hidden=32,holes=some,fill=uniform,options=weights";
    let sum = "permute/combine/f32/w8/x4:tokens=7,choices=2,hidden=32,holes=none,fill=cancelling,options=weights";
    let stored = "permute/combine/f32-bf16/w8/x1:tokens=7,choices=3,hidden=33,holes=none,fill=uniform,options=both";
    let tiny = "permute/combine/f32/w8/x4:tokens=7,choices=2,hidden=32,holes=none,fill=tiny,options=weights";
    let mut found = 0;
    for name in [plain, weighed, sum, stored, tiny] {
        let case: Case = name.parse().unwrap();
        assert!(matches!(run_case(gpu, &case, None), Outcome::Passed(_)), "{name}");
        for fault in Fault::ALL {
            let possible = match fault {
                // Where everything is near 2^-126, so is the difference.
                Fault::SwappedWeights => name != plain && name != tiny,
                Fault::EmptySlotLeft => case.variant.kernel == Kernel::Dispatch,
                _ => true,
            };
            if !possible {
                continue;
            }
            let Outcome::Failed(failure) = run_case(gpu, &case, Some(fault)) else { panic!("{name}: {fault:?}") };
            let right = match fault {
                Fault::GuardTouched => matches!(failure, Failure::GuardTouched { what: "out", .. }),
                Fault::InputChanged => matches!(failure, Failure::InputChanged { .. }),
                Fault::NotRepeatable => matches!(failure, Failure::NotRepeatable { .. }),
                _ => failure.elements().first().is_some_and(|e| e.what == "out"),
            };
            assert!(right, "{name}: {fault:?}: {failure}");
            found += 1;
        }
    }
    assert_eq!(found, 5 * 8 - 2 - 3);
    // Where bits are not certain, the budget is what finds it.
    let case: Case = tiny.parse().unwrap();
    let beyond = run_case(gpu, &case, Some(Fault::OneUlpBeyond));
    let Outcome::Failed(failure) = &beyond else { panic!("{beyond:?}") };
    assert!(matches!(failure.elements()[0].difference, Difference::Float { .. }), "{beyond:?}");
}

/// Operands that fit 8 tokens of 2 choices and 64 elements, 20 slots.
struct Memory([wgpu::Buffer; 7]);

impl Memory {
    fn of(noop: &common::Noop) -> Self {
        Self([(); 7].map(|()| noop.buffer(1 << 16)))
    }

    fn dispatch(&self) -> DispatchOperands<'_> {
        let [x, sorted, weights, inputs, ..] = &self.0;
        DispatchOperands {
            x: Matrix::new(x, 8, 64),
            sorted: Matrix::new(sorted, 1, 20),
            weights: Some(Matrix::new(weights, 8, 2)),
            out: Matrix::new(inputs, 20, 64),
        }
    }

    fn combine(&self) -> CombineOperands<'_> {
        let [_, _, weights, _, y, inverse, out] = &self.0;
        CombineOperands {
            y: Matrix::new(y, 20, 64),
            inverse: Matrix::new(inverse, 8, 2),
            weights: Some(Matrix::new(weights, 8, 2)),
            out: Matrix::new(out, 8, 64),
        }
    }
}

#[test]
fn bad_operands_of_dispatch_are_refused() {
    let noop = common::Noop::full();
    let memory = Memory::of(&noop);
    let good = memory.dispatch();
    let spec = DispatchSpec { weights: true, ..DispatchSpec::new(Shape::new(8, 2, 64)) };
    let kernel = noop.library.dispatch(&spec).unwrap();
    assert_eq!(kernel.bind(&good).unwrap().dispatches(), 1);
    let error = |bad: DispatchOperands<'_>| kernel.bind(&bad).unwrap_err();
    let text = |bad| error(bad).to_string();
    assert_eq!(text(DispatchOperands { x: Matrix { cols: 60, ..good.x }, ..good }), "x: expected 8 x 64, got 8 x 60");
    let column = Matrix { rows: 20, cols: 1, ..good.sorted };
    assert_eq!(text(DispatchOperands { sorted: column, ..good }), "sorted: expected 1 x 20, got 20 x 1");
    let sorted = Matrix { cols: 19, ..good.sorted };
    assert_eq!(text(DispatchOperands { sorted, ..good }), "sorted: expected 1 x 20, got 1 x 19");
    let three = good.weights.map(|m| Matrix { cols: 3, stride: 3, ..m });
    assert_eq!(text(DispatchOperands { weights: three, ..good }), "weights: expected 8 x 2, got 8 x 3");
    assert_eq!(error(DispatchOperands { weights: None, ..good }), BindError::Missing { what: "weights" });
    let plain = noop.library.dispatch(&DispatchSpec { weights: false, ..spec.clone() }).unwrap();
    assert_eq!(plain.bind(&good).unwrap_err(), BindError::Unexpected { what: "weights" });
    for (bad, what) in [
        (DispatchOperands { x: good.x.at(2), ..good }, "x"),
        (DispatchOperands { x: good.x.with_stride(66), ..good }, "x"),
        (DispatchOperands { out: good.out.with_stride(66), ..good }, "out"),
        (DispatchOperands { x: Matrix { cols: 62, ..good.x }, out: Matrix { cols: 62, ..good.out }, ..good }, "x"),
    ] {
        let variant = kernel.variant().to_string();
        assert_eq!(error(bad), BindError::NotInQuads { what, variant });
    }
    let rows = Matrix { rows: 1 << 31, stride: 64, ..good.x };
    assert!(text(DispatchOperands { x: rows, ..good }).contains("tokens times choices must be below 2^32"));
    windows(&|x| kernel.bind(&DispatchOperands { x, ..good }).unwrap_err(), good.x, "x", &noop);
    windows(&|out| kernel.bind(&DispatchOperands { out, ..good }).unwrap_err(), good.out, "out", &noop);
    assert!(text(DispatchOperands { sorted: good.sorted.at(1 << 20), ..good }).contains("sorted: the window ends"));

    // What is written may overlap nothing.
    let overlap = |bad, other| assert_eq!(error(bad), BindError::Overlap { what: "out", other });
    overlap(DispatchOperands { out: Matrix { buffer: good.x.buffer, ..good.out }, ..good }, "x");
    overlap(DispatchOperands { out: Matrix { buffer: good.sorted.buffer, ..good.out }, ..good }, "sorted");
    overlap(
        DispatchOperands { weights: good.weights.map(|m| Matrix { buffer: good.out.buffer, ..m }), ..good },
        "weights",
    );
    // Two that are only read may, if their buffer is not written.
    assert!(kernel.bind(&DispatchOperands { sorted: Matrix { buffer: good.x.buffer, ..good.sorted }, ..good }).is_ok());
    let close = Matrix { buffer: good.x.buffer, ..good.out.at(8 * 64 + 8) };
    assert!(matches!(error(DispatchOperands { x: good.x.at(4), out: close, ..good }), BindError::TooClose { .. }));
    let far = Matrix { buffer: good.x.buffer, ..good.out.at(8 * 64) };
    assert!(kernel.bind(&DispatchOperands { out: far, ..good }).is_ok());
    assert_eq!(noop.errors(), Vec::<String>::new());
}

#[test]
fn bad_operands_of_combine_are_refused() {
    let noop = common::Noop::full();
    let memory = Memory::of(&noop);
    let good = memory.combine();
    let kernel = noop.library.combine(&CombineSpec::new(Shape::new(8, 2, 64))).unwrap();
    assert_eq!(kernel.bind(&good).unwrap().dispatches(), 1);
    let error = |bad: CombineOperands<'_>| kernel.bind(&bad).unwrap_err();
    let text = |bad| error(bad).to_string();
    assert_eq!(text(CombineOperands { y: Matrix { cols: 60, ..good.y }, ..good }), "y: expected 20 x 64, got 20 x 60");
    let inverse = Matrix { rows: 7, ..good.inverse };
    assert_eq!(text(CombineOperands { inverse, ..good }), "inverse: expected 8 x 2, got 7 x 2");
    let inverse = Matrix { cols: 3, stride: 3, ..good.inverse };
    assert_eq!(text(CombineOperands { inverse, ..good }), "inverse: expected 8 x 2, got 8 x 3");
    let seven = good.weights.map(|m| Matrix { rows: 7, ..m });
    assert_eq!(text(CombineOperands { weights: seven, ..good }), "weights: expected 8 x 2, got 7 x 2");
    assert_eq!(error(CombineOperands { weights: None, ..good }), BindError::Missing { what: "weights" });
    let spec = CombineSpec { weights: false, ..kernel.spec().clone() };
    let plain = noop.library.combine(&spec).unwrap();
    assert_eq!(plain.bind(&good).unwrap_err(), BindError::Unexpected { what: "weights" });
    for (bad, what) in [
        (CombineOperands { y: good.y.at(1), ..good }, "y"),
        (CombineOperands { out: good.out.at(6), ..good }, "out"),
        (CombineOperands { out: good.out.with_stride(65), ..good }, "out"),
    ] {
        assert_eq!(error(bad), BindError::NotInQuads { what, variant: kernel.variant().to_string() });
    }
    windows(&|y| kernel.bind(&CombineOperands { y, ..good }).unwrap_err(), good.y, "y", &noop);
    windows(&|out| kernel.bind(&CombineOperands { out, ..good }).unwrap_err(), good.out, "out", &noop);
    let overlap = |bad, other| assert_eq!(error(bad), BindError::Overlap { what: "out", other });
    overlap(CombineOperands { out: Matrix { buffer: good.y.buffer, ..good.out }, ..good }, "y");
    overlap(CombineOperands { out: Matrix { buffer: good.inverse.buffer, ..good.out }, ..good }, "inverse");
    overlap(
        CombineOperands { weights: good.weights.map(|m| Matrix { buffer: good.out.buffer, ..m }), ..good },
        "weights",
    );
    let close = Matrix { buffer: good.y.buffer, ..good.out.at(20 * 64 + 8) };
    assert!(matches!(error(CombineOperands { y: good.y.at(4), out: close, ..good }), BindError::TooClose { .. }));
    assert_eq!(noop.errors(), Vec::<String>::new());
}

/// What is wrong with a window whatever the operand.
fn windows(error: &dyn Fn(Matrix<'_>) -> BindError, good: Matrix<'_>, what: &str, noop: &common::Noop) {
    assert!(error(good.at(1 << 20)).to_string().contains(&format!("{what}: the window ends")));
    assert!(matches!(error(good.with_stride(60)), BindError::RowsOverlap { stride: 60, .. }));
    let buffer = common::buffer(&noop.device, 1 << 16, wgpu::BufferUsages::COPY_DST);
    assert!(matches!(error(Matrix { buffer: &buffer, ..good }), BindError::NotStorage { .. }));
    let destroyed = noop.buffer(1 << 16);
    destroyed.destroy();
    assert!(matches!(error(Matrix { buffer: &destroyed, ..good }), BindError::Device { .. }));
}

#[test]
fn bad_specifications_are_refused() {
    let noop = common::Noop::full();
    let shape = Shape::new(8, 2, 64);
    let dispatch = |spec: &DispatchSpec| noop.library.dispatch(spec).unwrap_err();
    let combine = |spec: &CombineSpec| noop.library.combine(spec).unwrap_err();
    for choices in [0, MAX_CHOICES + 1] {
        let shape = Shape { choices, ..shape };
        let wanted = BuildError::BadOption { what: "choices", expected: "from 1 to 1024", got: choices.to_string() };
        assert_eq!(dispatch(&DispatchSpec::new(shape)), wanted);
        assert_eq!(combine(&CombineSpec::new(shape)), wanted);
    }
    assert!(noop.library.combine(&CombineSpec::new(Shape { choices: MAX_CHOICES, ..shape })).is_ok());
    let variant = |name: &str| Some(name.parse().unwrap());
    let of = |name| dispatch(&DispatchSpec { variant: variant(name), ..DispatchSpec::new(shape) }).to_string();
    assert!(of("permute/combine/f32/w8/x4").contains("the other kernel"));
    assert!(of("permute/dispatch/f16/w8/x4").contains("element types"));
    let of = |name| combine(&CombineSpec { variant: variant(name), ..CombineSpec::new(shape) }).to_string();
    assert!(of("permute/dispatch/f32/w8/x4").contains("the other kernel"));
    assert!(of("permute/combine/f32-f16/w8/x4").contains("element types"));
    let made_up = Variant { width: 16, ..noop.library.combine(&CombineSpec::new(shape)).unwrap().variant() };
    let spec = CombineSpec { variant: Some(made_up), ..CombineSpec::new(shape) };
    assert!(combine(&spec).to_string().contains("Variant::all"));
    assert!(matches!("permute/dispatch/f32-f16/w8/x4".parse::<Variant>(), Err(BuildError::UnknownVariant(_))));
    assert_eq!(noop.errors(), Vec::<String>::new());
}

#[test]
fn low_limits_are_respected() {
    let shape = Shape::new(8, 2, 64);
    let with = |change: &dyn Fn(&mut wgpu::Limits)| {
        let mut limits = wgpu::Limits::downlevel_defaults();
        change(&mut limits);
        common::Noop::new(wgpu::Features::empty(), limits)
    };
    let few = with(&|limits| limits.max_storage_buffers_per_shader_stage = 3);
    let operands = vec!["y", "out", "inverse", "weights"];
    let refused = BuildError::TooManyBuffers { operands, available: 3 };
    assert_eq!(few.library.combine(&CombineSpec::new(shape)).unwrap_err(), refused);
    assert!(few.library.dispatch(&DispatchSpec::new(shape)).is_ok());
    let weighed = DispatchSpec { weights: true, ..DispatchSpec::new(shape) };
    assert!(matches!(few.library.dispatch(&weighed), Err(BuildError::TooManyBuffers { .. })));

    let narrow = with(&|limits| limits.max_compute_invocations_per_workgroup = 64);
    let wide = CombineSpec { variant: "permute/combine/f32/w256/x4".parse().ok(), ..CombineSpec::new(shape) };
    assert!(matches!(narrow.library.combine(&wide), Err(BuildError::LimitTooLow { needed: 256, available: 64, .. })));
    assert!(narrow.library.combine(&CombineSpec::new(shape)).is_ok());

    let short = with(&|limits| limits.max_compute_workgroups_per_dimension = 3);
    let kernel = short.library.dispatch(&DispatchSpec::new(Shape::new(8, 2, 1024))).unwrap();
    let buffer = || short.buffer(1 << 20);
    let (x, sorted, out) = (buffer(), buffer(), buffer());
    let bind = |slots| {
        let sorted = Matrix::new(&sorted, 1, slots);
        let (x, out) = (Matrix::new(&x, 8, 1024), Matrix::new(&out, slots, 1024));
        kernel.bind(&DispatchOperands { x, sorted, weights: None, out })
    };
    assert!(bind(9).is_ok());
    assert_eq!(bind(10).unwrap_err(), BindError::TooManyRows { rows: 10, groups: 10, available: 9 });

    let small = with(&|limits| limits.max_storage_buffer_binding_size = 4096);
    let memory = Memory::of(&small);
    let spec = DispatchSpec { weights: true, ..DispatchSpec::new(shape) };
    let error = small.library.dispatch(&spec).unwrap().bind(&memory.dispatch()).unwrap_err();
    assert_eq!(error, BindError::WindowTooLarge { what: "out", needed: 20 * 64 * 4, available: 4096 });
    for noop in [few, narrow, short, small] {
        assert_eq!(noop.errors(), Vec::<String>::new());
    }
}

/// No slots, no tokens, no elements: nothing is recorded but for what must become zero.
#[test]
fn empty_shapes() {
    let noop = common::Noop::full();
    let memory = Memory::of(&noop);
    let (fill, sum) = (memory.dispatch(), memory.combine());
    let spec = DispatchSpec { weights: true, ..DispatchSpec::new(Shape::new(8, 2, 64)) };
    let dispatch = noop.library.dispatch(&spec).unwrap();
    let empty =
        DispatchOperands { sorted: Matrix { cols: 0, ..fill.sorted }, out: Matrix { rows: 0, ..fill.out }, ..fill };
    assert_eq!(dispatch.bind(&empty).unwrap().dispatches(), 0);
    let thin = DispatchOperands { x: Matrix { cols: 0, ..fill.x }, out: Matrix { cols: 0, ..fill.out }, ..fill };
    assert_eq!(dispatch.bind(&thin).unwrap().dispatches(), 0);
    let tokenless = DispatchOperands {
        x: Matrix { rows: 0, ..fill.x },
        weights: fill.weights.map(|m| Matrix { rows: 0, ..m }),
        ..fill
    };
    assert_eq!(dispatch.bind(&tokenless).unwrap().dispatches(), 1);

    for accumulate in [false, true] {
        let spec = CombineSpec { accumulate, ..CombineSpec::new(Shape::new(8, 2, 64)) };
        let combine = noop.library.combine(&spec).unwrap();
        let empty = CombineOperands {
            inverse: Matrix { rows: 0, ..sum.inverse },
            weights: sum.weights.map(|m| Matrix { rows: 0, ..m }),
            out: Matrix { rows: 0, ..sum.out },
            ..sum
        };
        assert_eq!(combine.bind(&empty).unwrap().dispatches(), 0);
        let slotless = CombineOperands { y: Matrix { rows: 0, ..sum.y }, ..sum };
        assert_eq!(combine.bind(&slotless).unwrap().dispatches(), usize::from(!accumulate));
    }
    assert_eq!(noop.errors(), Vec::<String>::new());
}

/// Experts by a rule, pairs sorted by expert, in order within: (sorted, inverse).
fn tables(tokens: u32, choices: u32, experts: u32) -> (Vec<u32>, Vec<u32>) {
    let expert = |pair: u32| pair.wrapping_mul(2_654_435_761) >> 16;
    let mut sorted: Vec<u32> = (0..tokens * choices).collect();
    sorted.sort_by_key(|&pair| expert(pair) % experts);
    let mut inverse = vec![0; sorted.len()];
    for (slot, &pair) in (0..).zip(&sorted) {
        inverse[pair as usize] = slot;
    }
    (sorted, inverse)
}

/// Dispatch, experts that change nothing, combine.
fn there_and_back(gpu: &Gpu, x: &[f32], weights: &[f32], tokens: u32, choices: u32) -> Vec<f32> {
    let hidden = x.len() as u32 / tokens;
    let slots = tokens * choices;
    let (sorted, inverse) = tables(tokens, choices, 5);
    let upload = |words: &[u32]| gpu.upload(bytemuck::cast_slice(words)).unwrap();
    let (sorted, inverse, x, weights) =
        (upload(&sorted), upload(&inverse), common::upload(gpu, x), common::upload(gpu, weights));
    let (rows, out) = (gpu.allocate(u64::from(slots * hidden) * 4).unwrap(), gpu.allocate(x.size()).unwrap());
    let shape = Shape::new(tokens, choices, hidden);
    let there = gpu.library.dispatch(&DispatchSpec::new(shape)).unwrap().bind(&DispatchOperands {
        x: Matrix::new(&x, tokens, hidden),
        sorted: Matrix::new(&sorted, 1, slots),
        weights: None,
        out: Matrix::new(&rows, slots, hidden),
    });
    let back = gpu.library.combine(&CombineSpec::new(shape)).unwrap().bind(&CombineOperands {
        y: Matrix::new(&rows, slots, hidden),
        inverse: Matrix::new(&inverse, tokens, choices),
        weights: Some(Matrix::new(&weights, tokens, choices)),
        out: Matrix::new(&out, tokens, hidden),
    });
    gpu.run(&[&there.unwrap(), &back.unwrap()]).unwrap();
    common::download(gpu, &out)
}

/// combine(dispatch(x)) = x Σ w, within the budget of a sum.
#[test]
fn there_and_back_is_the_sum_of_weights() {
    for (tokens, choices, hidden) in [(5, 1, 64), (33, 2, 130), (20, 8, 257), (7, 10, 2048)] {
        let x = common::logits(choices, (tokens * hidden) as usize);
        let weights: Vec<f32> = common::logits(9, (tokens * choices) as usize).iter().map(|w| w.abs()).collect();
        let y = there_and_back(common::gpu(), &x, &weights, tokens, choices);
        for (i, (&y, &x)) in y.iter().zip(&x).enumerate() {
            let row = &weights[i / hidden as usize * choices as usize..][..choices as usize];
            let total: f64 = row.iter().map(|&w| f64::from(w)).sum();
            let want = f64::from(x) * total;
            let budget = f64::from(choices + 1) / 16_777_216.0 * want.abs();
            assert!((f64::from(y) - want).abs() <= budget, "{y} {want}");
        }
    }
}

/// One choice, weights that are powers of two: nothing is rounded.
#[test]
fn there_and_back_by_powers_of_two_is_exact() {
    let (tokens, hidden) = (50, 96);
    let x = common::logits(4, (tokens * hidden) as usize);
    let weights: Vec<f32> = (0..tokens).map(|t| 2_f32.powi(t as i32 % 9 - 4)).collect();
    let y = there_and_back(common::gpu(), &x, &weights, tokens, 1);
    for (i, (&y, &x)) in y.iter().zip(&x).enumerate() {
        assert_eq!(y.to_bits(), (x * weights[i / hidden as usize]).to_bits());
    }
}

/// Weights before experts that change nothing, or after: the same sum of the same products.
#[test]
fn weights_on_either_side() {
    let gpu = common::gpu();
    let (tokens, choices, hidden) = (11, 3, 40);
    let slots = tokens * choices;
    let (sorted, inverse) = tables(tokens, choices, 4);
    let x = common::logits(1, (tokens * hidden) as usize);
    let w = common::logits(2, slots as usize);
    let after = there_and_back(gpu, &x, &w, tokens, choices);
    let upload = |words: &[u32]| gpu.upload(bytemuck::cast_slice(words)).unwrap();
    let (sorted, inverse, x, weights) =
        (upload(&sorted), upload(&inverse), common::upload(gpu, &x), common::upload(gpu, &w));
    let (rows, out) = (gpu.allocate(u64::from(slots * hidden) * 4).unwrap(), gpu.allocate(x.size()).unwrap());
    let shape = Shape::new(tokens, choices, hidden);
    let there = gpu.library.dispatch(&DispatchSpec { weights: true, ..DispatchSpec::new(shape) }).unwrap();
    let there = there.bind(&DispatchOperands {
        x: Matrix::new(&x, tokens, hidden),
        sorted: Matrix::new(&sorted, 1, slots),
        weights: Some(Matrix::new(&weights, tokens, choices)),
        out: Matrix::new(&rows, slots, hidden),
    });
    let back = gpu.library.combine(&CombineSpec { weights: false, ..CombineSpec::new(shape) }).unwrap();
    let back = back.bind(&CombineOperands {
        y: Matrix::new(&rows, slots, hidden),
        inverse: Matrix::new(&inverse, tokens, choices),
        weights: None,
        out: Matrix::new(&out, tokens, hidden),
    });
    gpu.run(&[&there.unwrap(), &back.unwrap()]).unwrap();
    let bits = |x: &[f32]| x.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
    assert_eq!(bits(&common::download(gpu, &out)), bits(&after));
}

/// Windows of one buffer, at aligned places: every binding is read-write. All types, in quads and not.
#[test]
fn one_buffer_for_everything() {
    let gpu = common::gpu();
    for dtype in Dtype::ALL {
        for (quads, hidden) in [(true, 36), (false, 37)] {
            one_buffer(gpu, dtype, quads, hidden);
        }
    }
}

fn one_buffer(gpu: &Gpu, dtype: Dtype, quads: bool, hidden: u32) {
    let (tokens, choices) = (6, 2);
    let slots = tokens * choices;
    let (sorted, inverse) = tables(tokens, choices, 3);
    let element = dtype.bytes() as usize;
    // Rows of small integers, exact in every type, and their sums too.
    let number = |i: usize| (i % 7) as f32;
    let encoded = |x: f32| match dtype {
        Dtype::F32 => x.to_le_bytes().to_vec(),
        Dtype::F16 => half::f16::from_f32(x).to_le_bytes().to_vec(),
        Dtype::Bf16 => half::bf16::from_f32(x).to_le_bytes().to_vec(),
    };
    let x: Vec<f32> = (0..(tokens * hidden) as usize).map(number).collect();
    let weights: Vec<f32> = (0..slots).map(|pair| (1 + pair % 3) as f32).collect();
    let area = 2048;
    let mut bytes = vec![0xa7_u8; area * 6];
    let mut put = |place: usize, data: &[u8]| bytes[area * place..][..data.len()].copy_from_slice(data);
    put(0, &x.iter().flat_map(|&x| encoded(x)).collect::<Vec<_>>());
    put(1, bytemuck::cast_slice(&sorted));
    put(2, bytemuck::cast_slice(&inverse));
    put(3, bytemuck::cast_slice(&weights));
    let before = bytes.clone();
    let pool = gpu.upload(&bytes).unwrap();
    let at = |place: usize, rows, cols, size: usize| Matrix::new(&pool, rows, cols).at((area * place / size) as u64);
    let shape = Shape { quads, ..Shape::new(tokens, choices, hidden) };
    let there = gpu.library.dispatch(&DispatchSpec { dtype, ..DispatchSpec::new(shape) }).unwrap();
    let spec = CombineSpec { input: dtype, output: dtype, ..CombineSpec::new(shape) };
    let back = gpu.library.combine(&spec).unwrap();
    assert_eq!((there.variant().quads, back.variant().quads), (quads, quads));
    let there = there.bind(&DispatchOperands {
        x: at(0, tokens, hidden, element),
        sorted: at(1, 1, slots, 4),
        weights: None,
        out: at(4, slots, hidden, element),
    });
    let back = back.bind(&CombineOperands {
        y: at(4, slots, hidden, element),
        inverse: at(2, tokens, choices, 4),
        weights: Some(at(3, tokens, choices, 4)),
        out: at(5, tokens, hidden, element),
    });
    gpu.run(&[&there.unwrap(), &back.unwrap()]).unwrap();
    let after = gpu.download(&pool, pool.size()).unwrap();
    assert_eq!(after[..area * 4], before[..area * 4]);
    let moved = dispatch(&x, hidden as usize, &sorted, choices as usize);
    let sums = combine(&moved, hidden as usize, &inverse, Some(&weights), choices as usize, None);
    let added: Vec<f32> = sums.iter().map(|sum| sum.rounded).collect();
    for (place, want) in [(4, moved), (5, added)] {
        let want: Vec<u8> = want.iter().flat_map(|&x| encoded(x)).collect();
        assert_eq!(after[area * place..][..want.len()], want, "{dtype:?} {place}");
        assert_eq!(
            after[area * place + want.len()..area * (place + 1)],
            before[area * place + want.len()..area * (place + 1)]
        );
    }
}

/// More rows than fit one dimension of the grid, and rows of several tasks.
#[test]
fn large_grids_and_long_rows() {
    let gpu = common::gpu();
    for (tokens, hidden, name) in
        [(140_000_u32, 4_u32, "w256"), (70_000, 1, "w8"), (3, 40_000, "w8"), (3, 40_000, "w256")]
    {
        let x: Vec<u32> = (0..tokens * hidden).map(|i| i.wrapping_mul(2_654_435_761)).collect();
        let sorted: Vec<u32> = (0..tokens).rev().collect();
        let upload = |words: &[u32]| gpu.upload(bytemuck::cast_slice(words)).unwrap();
        let (src, table, dst) = (upload(&x), upload(&sorted), gpu.allocate(x.len() as u64 * 4).unwrap());
        let shape = Shape::new(tokens, 1, hidden);
        let quads = if shape.quads { 4 } else { 1 };
        let variant = format!("permute/dispatch/f32/{name}/x{quads}").parse().ok();
        let kernel = gpu.library.dispatch(&DispatchSpec { variant, ..DispatchSpec::new(shape) }).unwrap();
        let bound = kernel.bind(&DispatchOperands {
            x: Matrix::new(&src, tokens, hidden),
            sorted: Matrix::new(&table, 1, tokens),
            weights: None,
            out: Matrix::new(&dst, tokens, hidden),
        });
        gpu.run(&[&bound.unwrap()]).unwrap();
        let got: Vec<u32> = bytemuck::pod_collect_to_vec(&gpu.download(&dst, dst.size()).unwrap());
        assert!(got == dispatch(&x, hidden as usize, &sorted, 1), "{tokens} {hidden} {name}");
    }
}

/// The text that runs can be had, and is the device's: 64-bit loads are for CPU adapters that have the integers.
#[test]
fn texts_are_the_devices() {
    for (features, int64) in [(wgpu::Features::empty(), false), (wgpu::Features::SHADER_INT64, true)] {
        let noop = common::Noop::new(features, wgpu::Limits::default());
        assert!(noop.library.caps().cpu);
        let shape = Shape::new(8, 2, 64);
        let dispatch = noop.library.dispatch(&DispatchSpec::new(shape)).unwrap().wgsl(Dialect::Naga);
        let combine = noop.library.combine(&CombineSpec::new(shape)).unwrap().wgsl(Dialect::Naga);
        assert!(dispatch.contains("fn fill_slot") && combine.contains("const CHOICES = 2u;"));
        assert_eq!((dispatch.contains("u64"), combine.contains("u64")), (int64, int64));
        assert_eq!(noop.errors(), Vec::<String>::new());
    }
}
