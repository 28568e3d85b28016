//! `record`: makes no GPU object, cannot fail, and shares a pass with whatever the caller does there.

mod common;

use common::{Noop, USAGE, assert_probabilities, buffer, column, download, gpu, logits, upload};
use onesum::host::Gpu;
use onesum::reference::{Problem, Shared};
use onesum::softmax::{Operands, Options, PerRow, RowMap, Schedule, Shape, ShardSpec, Softmax, Spec, Variant};
use onesum::{Bound, Library, Matrix, gumbel, router};

const ROWS: u32 = 5;
const COLS: u32 = 12;

/// Every counter of wgpu-hal's, by name: `HalCounters` itself cannot be compared.
fn objects(device: &wgpu::Device) -> String {
    format!("{:?}", device.get_internal_counters().hal)
}

/// The noop backend counts nothing; the registries of wgpu-core above it do.
fn registered(instance: &wgpu::Instance) -> String {
    format!("{:?}", instance.generate_report().unwrap().hub)
}

/// Bounds of one, two, no, six and one dispatches, with and without further operands.
fn some_bounds(device: &wgpu::Device, library: &Library) -> Vec<Bound> {
    let plain = library.softmax(&Spec::new(Shape::new(ROWS, COLS))).unwrap();
    let split = library.softmax(&Spec { variant: Some(split()), ..plain.spec().clone() }).unwrap();
    let (src, dst) = (buffer(device, 4096, USAGE), buffer(device, 4096, USAGE));
    let scratch = buffer(device, 4096, USAGE);
    let (a, b) = (Matrix::new(&src, ROWS, COLS), Matrix::new(&dst, ROWS, COLS));
    let scratch = Some(Matrix::new(&scratch, 1, 1024));
    vec![
        plain.bind(a, b).unwrap(),
        split.bind_with(&Operands { scratch, ..Operands::new(a, b) }).unwrap(),
        plain.bind(Matrix::new(&src, 0, COLS), Matrix::new(&dst, 0, COLS)).unwrap(),
        straight_through(device, library),
        routed(device, library),
    ]
}

/// Routing with a bias and groups.
fn routed(device: &wgpu::Device, library: &Library) -> Bound {
    let [src, experts, weights, bias] = [(); 4].map(|()| buffer(device, 8192, USAGE));
    let operands = router::Operands {
        bias: Some(Matrix::new(&bias, 1, 256)),
        ..router::Operands::new(
            Matrix::new(&src, ROWS, 256),
            Matrix::new(&experts, ROWS, 8),
            Matrix::new(&weights, ROWS, 8),
        )
    };
    library.router(&router::Preset::DeepseekV3.spec(ROWS)).unwrap().bind(&operands).unwrap()
}

/// Every output of Gumbel-Softmax, rows split: two dispatches of sampling, two of softmax, perturbed logits, one-hot rows.
fn straight_through(device: &wgpu::Device, library: &Library) -> Bound {
    let outputs = gumbel::Outputs { soft: true, lse: true, index: true, hard: true, perturbed: true };
    let sample = "sample/split/f32/baseline/w8/x4".parse().ok();
    let spec = gumbel::Spec { outputs, sample, softmax: Some(split()), ..gumbel::Spec::new(Shape::new(ROWS, COLS)) };
    let [src, seeds, soft, lse, index, hard, perturbed, scratch] = [(); 8].map(|()| buffer(device, 4096, USAGE));
    let operands = gumbel::Operands {
        soft: Some(Matrix::new(&soft, ROWS, COLS)),
        lse: Some(column(&lse, ROWS)),
        index: Some(column(&index, ROWS)),
        hard: Some(Matrix::new(&hard, ROWS, COLS)),
        perturbed: Some(Matrix::new(&perturbed, ROWS, COLS)),
        scratch: Some(Matrix::new(&scratch, 1, 1024)),
        ..gumbel::Operands::new(Matrix::new(&src, ROWS, COLS), PerRow::each(Matrix::new(&seeds, ROWS, 4)))
    };
    library.gumbel(&spec).unwrap().bind(&operands).unwrap()
}

fn split() -> Variant {
    "softmax/split/f32/baseline/w8/x4".parse().unwrap()
}

/// Records many times; `count` must say the same before and after.
fn record_counts_nothing(device: &wgpu::Device, queue: &wgpu::Queue, bounds: &[Bound], count: impl Fn() -> String) {
    for _ in 0..2 {
        let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
        let before = count();
        for _ in 0..300 {
            for bound in bounds {
                bound.record(&mut pass);
            }
        }
        assert_eq!(count(), before);
        drop(pass);
        queue.submit([encoder.finish()]);
    }
}

#[test]
fn makes_no_object_on_noop() {
    let (instance, noop) = Noop::with_instance();
    let unbound = registered(&instance);
    let bounds = some_bounds(&noop.device, &noop.library);
    assert_ne!(registered(&instance), unbound, "the registries do count");
    record_counts_nothing(&noop.device, &noop.queue, &bounds, || registered(&instance));
    assert_eq!(noop.errors(), Vec::<String>::new());
}

#[test]
fn makes_no_object_on_the_adapter() {
    // A device of its own: other tests make objects on the shared one.
    let gpu = Gpu::open(None).unwrap();
    let groups = || gpu.device.get_internal_counters().hal.bind_groups.read();
    let unbound = groups();
    let bounds = some_bounds(&gpu.device, &gpu.library);
    // Ten dispatches in all: the counters do count.
    assert_eq!(groups(), unbound + 10);
    record_counts_nothing(&gpu.device, &gpu.queue, &bounds, || objects(&gpu.device));
    gpu.wait().unwrap();
}

#[test]
fn a_clone_of_a_bound_makes_no_object_either() {
    let (instance, noop) = Noop::with_instance();
    let bounds = some_bounds(&noop.device, &noop.library);
    let before = registered(&instance);
    let clones = bounds.clone();
    assert_eq!(registered(&instance), before);
    let dispatches: Vec<_> = clones.iter().map(Bound::dispatches).collect();
    assert_eq!(dispatches, [1, 2, 0, 6, 1]);
}

/// `v[i] = factor * v[i]`: what a caller's own kernel may be.
struct Multiply {
    pipeline: wgpu::ComputePipeline,
    group: wgpu::BindGroup,
    words: u32,
}

impl Multiply {
    fn new(gpu: &Gpu, buffer: &wgpu::Buffer, factor: f32) -> Self {
        let text = format!(
            "@group(0) @binding(0) var<storage, read_write> v: array<f32>;
            @compute @workgroup_size(1) fn main(@builtin(workgroup_id) id: vec3<u32>) {{ v[id.x] *= {factor:?}; }}"
        );
        let module = gpu.device.create_shader_module(wgpu::ShaderModuleDescriptor {
            label: None,
            source: wgpu::ShaderSource::Wgsl(text.into()),
        });
        let pipeline = gpu.device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: None,
            layout: None,
            module: &module,
            entry_point: None,
            compilation_options: wgpu::PipelineCompilationOptions::default(),
            cache: None,
        });
        let group = gpu.device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: None,
            layout: &pipeline.get_bind_group_layout(0),
            entries: &[wgpu::BindGroupEntry { binding: 0, resource: buffer.as_entire_binding() }],
        });
        Self { pipeline, group, words: (buffer.size() / 4) as u32 }
    }

    fn record(&self, pass: &mut wgpu::ComputePass<'_>) {
        pass.set_pipeline(&self.pipeline);
        pass.set_bind_group(0, &self.group, &[]);
        pass.dispatch_workgroups(self.words, 1, 1);
    }
}

fn in_one_pass(gpu: &Gpu, record: impl FnOnce(&mut wgpu::ComputePass<'_>)) {
    let mut encoder = gpu.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
    let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
    record(&mut pass);
    drop(pass);
    gpu.queue.submit([encoder.finish()]);
    gpu.wait().unwrap();
}

fn plain(gpu: &Gpu) -> Softmax {
    gpu.library.softmax(&Spec::new(Shape::new(ROWS, COLS))).unwrap()
}

#[test]
fn shares_a_pass_with_the_callers_kernels() {
    let gpu = gpu();
    let x = logits(1, (ROWS * COLS) as usize);
    let (src, dst) = (upload(gpu, &x), gpu.allocate(x.len() as u64 * 4).unwrap());
    let softmax = plain(gpu).bind(Matrix::new(&src, ROWS, COLS), Matrix::new(&dst, ROWS, COLS)).unwrap();
    let (before, after) = (Multiply::new(gpu, &src, 2.0), Multiply::new(gpu, &dst, 4.0));
    in_one_pass(gpu, |pass| {
        before.record(pass);
        softmax.record(pass);
        after.record(pass);
    });
    let twice: Vec<f32> = x.iter().map(|x| x * 2.0).collect();
    // A factor of 4 is exact: dividing it out loses nothing.
    let got: Vec<f32> = download(gpu, &dst).iter().map(|y| y / 4.0).collect();
    let schedule = plain(gpu).variant().schedule;
    assert_probabilities(&Problem::new(&twice, COLS as usize), schedule, &got);
}

/// Each reads what the one before wrote: wgpu's barriers between dispatches of a pass must be enough.
#[test]
fn several_bounds_in_one_pass_follow_each_other() {
    let gpu = gpu();
    let x = logits(2, (ROWS * COLS) as usize);
    let bytes = x.len() as u64 * 4;
    let buffers = [upload(gpu, &x), gpu.allocate(bytes).unwrap(), gpu.allocate(bytes).unwrap()];
    let [a, b, c] = buffers.each_ref().map(|buffer| Matrix::new(buffer, ROWS, COLS));
    let split = gpu.library.softmax(&Spec { variant: Some(split()), ..plain(gpu).spec().clone() }).unwrap();
    let scratch = gpu.allocate(split.scratch_bytes(ROWS, COLS)).unwrap();
    let words = (scratch.size() / 4) as u32;
    let operands = Operands { scratch: Some(Matrix::new(&scratch, 1, words)), ..Operands::new(b, c) };
    let chain = [plain(gpu).bind(a, b).unwrap(), split.bind_with(&operands).unwrap(), plain(gpu).bind(c, c).unwrap()];
    in_one_pass(gpu, |pass| chain.iter().for_each(|bound| bound.record(pass)));

    let first = download(gpu, &buffers[1]);
    let schedule = plain(gpu).variant().schedule;
    assert_probabilities(&Problem::new(&x, COLS as usize), schedule, &first);
    let second: Vec<f32> = (0..ROWS as usize)
        .flat_map(|r| Problem::new(&first, COLS as usize).row(r).probabilities)
        .map(|p| p as f32)
        .collect();
    // The second one's own error, at most 4 ULP of 1/12, moves logits of the third by under 2^-24.
    let third: Vec<f64> =
        (0..ROWS as usize).flat_map(|r| Problem::new(&second, COLS as usize).row(r).probabilities).collect();
    for (got, want) in download(gpu, &buffers[2]).iter().zip(&third) {
        assert!((f64::from(*got) - want).abs() < 1e-7, "{got} {want}");
    }
}

/// One `Bound` for every token: the temperature changes in the caller's buffer.
#[test]
fn replays_with_what_the_buffers_hold_now() {
    let gpu = gpu();
    let options = Options { temperature: true, ..Options::default() };
    let softmax = gpu.library.softmax(&Spec { options, ..Spec::new(Shape::new(ROWS, COLS)) }).unwrap();
    let x = logits(3, (ROWS * COLS) as usize);
    let (src, dst) = (upload(gpu, &x), gpu.allocate(x.len() as u64 * 4).unwrap());
    let temperature = upload(gpu, &[1.0; ROWS as usize]);
    let operands = Operands {
        temperature: Some(PerRow::each(column(&temperature, ROWS))),
        ..Operands::new(Matrix::new(&src, ROWS, COLS), Matrix::new(&dst, ROWS, COLS))
    };
    let bound = softmax.bind_with(&operands).unwrap();
    for step in 0..4u8 {
        let values: Vec<f32> = (0..ROWS).map(|r| f32::from(step) * 0.5 + r as f32).collect();
        gpu.queue.write_buffer(&temperature, 0, bytemuck::cast_slice(&values));
        gpu.run(&[&bound]).unwrap();
        let problem = Problem {
            temperature: Some(Shared { values: &values, map: RowMap::each() }),
            ..Problem::new(&x, COLS as usize)
        };
        assert_probabilities(&problem, softmax.variant().schedule, &download(gpu, &dst));
    }
}

#[test]
fn empty_shapes_record_nothing() {
    let noop = Noop::full();
    let softmax = noop.library.softmax(&Spec::new(Shape::new(4, 4))).unwrap();
    let split = noop.library.softmax(&Spec { variant: Some(split()), ..softmax.spec().clone() }).unwrap();
    let some = noop.buffer(64);
    for (rows, cols) in [(0, 0), (0, 7), (7, 0), (u32::MAX, 0), (0, u32::MAX)] {
        for kernel in [&softmax, &split] {
            let m = Matrix::new(&some, rows, cols);
            let bound = kernel.bind(m, m).unwrap();
            assert_eq!(bound.dispatches(), 0, "{rows} x {cols}");
        }
    }
    let copy = noop.library.copy(onesum::copy::Variant::select(noop.library.caps())).unwrap();
    assert_eq!(copy.bind(Matrix::new(&some, 0, 4), Matrix::new(&some, 0, 4)).unwrap().dispatches(), 0);
    assert_eq!(noop.errors(), Vec::<String>::new());
}

/// A row without columns has no probabilities, but it has a log-sum-exp.
#[test]
fn rows_without_columns_have_a_log_sum_exp() {
    let gpu = gpu();
    let softmax = gpu.library.softmax(&Spec { lse: true, ..Spec::new(Shape::new(3, 4)) }).unwrap();
    let lse = upload(gpu, &[1.0; 8]);
    let nothing = gpu.allocate(4).unwrap();
    let m = Matrix::new(&nothing, 3, 0);
    let operands = Operands { lse: Some(column(&lse, 3).at(1).with_stride(2)), ..Operands::new(m, m) };
    let bound = softmax.bind_with(&operands).unwrap();
    assert_eq!(bound.dispatches(), 1);
    gpu.run(&[&bound]).unwrap();
    let none = f32::NEG_INFINITY;
    assert_eq!(download(gpu, &lse), [1.0, none, 1.0, none, 1.0, none, 1.0, 1.0]);
}

/// Nothing depends on the order in which workgroups or invocations come: partial sums of a split row, merged.
#[test]
fn two_runs_are_bit_identical() {
    let gpu = gpu();
    let cols = 200_000;
    let x = logits(4, cols as usize);
    let spec = Spec { variant: Some(split()), lse: true, ..Spec::new(Shape::new(1, cols)) };
    let softmax = gpu.library.softmax(&spec).unwrap();
    assert!(softmax.scratch_bytes(1, cols) > onesum::softmax::PARTIAL_BYTES, "more than one part");
    let run = || {
        let (src, dst) = (upload(gpu, &x), gpu.allocate(x.len() as u64 * 4).unwrap());
        let scratch = gpu.allocate(softmax.scratch_bytes(1, cols)).unwrap();
        let lse = gpu.allocate(4).unwrap();
        let words = (scratch.size() / 4) as u32;
        let operands = Operands {
            lse: Some(column(&lse, 1)),
            scratch: Some(Matrix::new(&scratch, 1, words)),
            ..Operands::new(Matrix::new(&src, 1, cols), Matrix::new(&dst, 1, cols))
        };
        gpu.run(&[&softmax.bind_with(&operands).unwrap()]).unwrap();
        let bits = |buffer| download(gpu, buffer).iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        (bits(&dst), bits(&lse), bits(&scratch))
    };
    let first = run();
    assert!(first == run());
    let got: Vec<f32> = first.0.iter().map(|&b| f32::from_bits(b)).collect();
    assert_probabilities(&Problem::new(&x, cols as usize), Schedule::Split, &got);
}

/// The same for the caller's own split into shards, in one pass: sums, merge, scale.
#[test]
fn shards_in_one_pass_are_bit_identical() {
    let gpu = gpu();
    let x = logits(5, 40);
    let spec = ShardSpec { spec: Spec::new(Shape::new(2, 20)), first_column: 0 };
    let (sum, scale) = (gpu.library.softmax_sum(&spec).unwrap(), gpu.library.softmax_scale(&spec).unwrap());
    let merge = gpu.library.softmax_merge().unwrap();
    assert_eq!(sum.partials(20), 1);
    let run = || {
        let (src, dst) = (upload(gpu, &x), gpu.allocate(160).unwrap());
        let [partials, merged, lse] = [32, 32, 8].map(|bytes| gpu.allocate(bytes).unwrap());
        let operands = Operands::new(Matrix::new(&src, 2, 20), Matrix::new(&dst, 2, 20));
        let partials = Matrix::new(&partials, 2, 4);
        let steps = [
            sum.bind(&operands, partials).unwrap(),
            merge.bind(partials, Matrix::new(&merged, 2, 4), column(&lse, 2)).unwrap(),
            scale.bind(&operands, Matrix::new(&merged, 2, 4)).unwrap(),
        ];
        in_one_pass(gpu, |pass| steps.iter().for_each(|step| step.record(pass)));
        download(gpu, &dst)
    };
    let first = run();
    assert_probabilities(&Problem::new(&x, 20), Schedule::Split, &first);
    assert_eq!(run(), first);
}
