//! The elementary functions whose bits are the same everywhere: the shaders' against the CPU's on every adapter, and the CPU's
//! against f64.

use onesum::exact;
use onesum::host::{Gpu, adapters};
use wgpu::util::DeviceExt;

/// Of each argument, all functions.
const PROGRAM: &str = "
struct Params { zero: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4<f32>>;
struct Stream { seed: vec2<u32>, position: vec2<u32> }

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let a = x[id.x];
    y[id.x * 7u] = decay(a);
    y[id.x * 7u + 1u] = reciprocal(bitcast<vec4<f32>>((bitcast<vec4<u32>>(a) & vec4(0x7fffffu)) | vec4(0x3f800000u)));
    y[id.x * 7u + 2u] = root(bitcast<vec4<f32>>((bitcast<vec4<u32>>(a) & vec4(0xffffffu)) | vec4(0x3f000000u)));
    y[id.x * 7u + 3u] = sigmoid(a);
    y[id.x * 7u + 4u] = softplus(a);
    y[id.x * 7u + 5u] = hyperbolic_tangent(a);
    y[id.x * 7u + 6u] = normal(bitcast<vec4<u32>>(a));
}
";

const NAMES: [&str; 7] = ["decay", "reciprocal", "root", "sigmoid", "softplus", "hyperbolic_tangent", "normal"];

fn on_the_cpu(x: f32) -> [f32; 7] {
    [
        exact::decay(x),
        exact::reciprocal(mantissa(x)),
        exact::root(f32::from_bits((x.to_bits() & 0xff_ffff) | 0x3f00_0000)),
        exact::sigmoid(x),
        exact::softplus(x),
        exact::hyperbolic_tangent(x),
        exact::normal(x.to_bits()),
    ]
}

/// The same mantissa, between 1 and 2.
fn mantissa(x: f32) -> f32 {
    f32::from_bits((x.to_bits() & 0x7f_ffff) | 0x3f80_0000)
}

/// Special values, then all exponents and signs evenly, then what logits are.
fn arguments() -> Vec<f32> {
    let special =
        [0.0, 1.0, 2.0, 0.5, 69.0, 69.000_01, 10.0, 88.0, 1e30, f32::MAX, f32::INFINITY, f32::NAN, 1e-38, 1e-45];
    let mut all: Vec<f32> = special.iter().flat_map(|&x| [x, -x]).collect();
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut word = || {
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        (state >> 32) as u32
    };
    all.extend((0..50_000).map(|_| f32::from_bits(word())));
    all.extend((0..150_000).map(|_| (word() as f32 / 2f32.powi(32) - 0.5) * 2f32.powi((word() % 9) as i32)));
    all.resize(all.len().next_multiple_of(256), 1.0);
    all
}

#[test]
fn every_device_gives_the_bits_of_the_cpu() {
    let files = ["exact", "logarithm", "noise", "normal", "philox", "product_16"];
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/shaders/lib");
    let read = |name: &&str| std::fs::read_to_string(format!("{folder}/{name}.wgsl")).unwrap();
    let text = PROGRAM.to_string() + &files.iter().map(read).collect::<String>();
    let x = arguments();
    let want: Vec<[f32; 7]> = x.iter().map(|&x| on_the_cpu(x)).collect();
    for adapter in &adapters() {
        let gpu = Gpu::of(adapter).unwrap();
        let got = evaluated(&gpu, &text, &x);
        for (i, name) in NAMES.iter().enumerate() {
            let wrong: Vec<usize> =
                (0..x.len()).filter(|&n| !same(got[(n / 4 * 7 + i) * 4 + n % 4], want[n][i])).collect();
            if let Some(&n) = wrong.first() {
                let got = got[(n / 4 * 7 + i) * 4 + n % 4];
                panic!("{}: {name}({:e}) is {got:e}, not {:e}; {} such", gpu.info.name, x[n], want[n][i], wrong.len());
            }
        }
    }
}

fn same(a: f32, b: f32) -> bool {
    a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan())
}

fn evaluated(gpu: &Gpu, text: &str, x: &[f32]) -> Vec<f32> {
    let device = &gpu.device;
    let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
        label: None,
        source: wgpu::ShaderSource::Wgsl(text.into()),
    });
    let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
        label: None,
        layout: None,
        module: &module,
        entry_point: None,
        compilation_options: wgpu::PipelineCompilationOptions::default(),
        cache: None,
    });
    let zero = device.create_buffer_init(&wgpu::util::BufferInitDescriptor {
        label: None,
        contents: &[0; 16],
        usage: wgpu::BufferUsages::UNIFORM,
    });
    let src = gpu.upload(bytemuck::cast_slice(x)).unwrap();
    let dst = gpu.allocate(x.len() as u64 * 28).unwrap();
    let entries: Vec<_> = [&zero, &src, &dst]
        .into_iter()
        .enumerate()
        .map(|(i, b)| wgpu::BindGroupEntry { binding: i as u32, resource: b.as_entire_binding() })
        .collect();
    let group = device.create_bind_group(&wgpu::BindGroupDescriptor {
        label: None,
        layout: &pipeline.get_bind_group_layout(0),
        entries: &entries,
    });
    let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
    {
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
        pass.set_pipeline(&pipeline);
        pass.set_bind_group(0, &group, &[]);
        pass.dispatch_workgroups(x.len() as u32 / 256, 1, 1);
    }
    gpu.queue.submit([encoder.finish()]);
    bytemuck::pod_collect_to_vec(&gpu.download(&dst, dst.size()).unwrap())
}

/// The greatest error over `from`..`to`, in units of 2^-24 of the result.
fn worst(from: f64, to: f64, got: impl Fn(f32) -> f32, want: impl Fn(f64) -> f64) -> f64 {
    let steps = 400_000;
    let at = |i: i32| (from + (to - from) * (f64::from(i) + 0.5) / f64::from(steps)) as f32;
    let error = |x: f32| ((f64::from(got(x)) / want(f64::from(x))) - 1.0).abs() * 2f64.powi(24);
    (0..steps).map(|i| error(at(i))).fold(0.0, f64::max)
}

#[test]
fn errors_are_within_what_the_documentation_says() {
    let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
    let softplus = |x: f64| x.max(0.0) + (-x.abs()).exp().ln_1p();
    for (name, error, bound) in [
        ("decay", worst(0.0, 69.0, exact::decay, |x| (-x).exp()), 3.0),
        ("decay near 0", worst(0.0, 1.0, exact::decay, |x| (-x).exp()), 3.0),
        ("reciprocal", worst(1.0, 2.0, exact::reciprocal, |x| 1.0 / x), 3.0),
        ("root", worst(0.5, 2.0, exact::root, f64::sqrt), 4.0),
        ("sigmoid", worst(-69.0, 69.0, exact::sigmoid, sigmoid), 8.0),
        ("sigmoid near 0", worst(-4.0, 4.0, exact::sigmoid, sigmoid), 8.0),
        ("softplus", worst(-69.0, 69.0, exact::softplus, softplus), 8.0),
        ("softplus near 0", worst(-4.0, 4.0, exact::softplus, softplus), 8.0),
        ("tanh", worst(-12.0, 12.0, exact::hyperbolic_tangent, f64::tanh), 8.0),
        ("tanh near 0", worst(-0.5, 0.5, exact::hyperbolic_tangent, f64::tanh), 8.0),
        ("tanh at 0", worst(-1e-6, 1e-6, exact::hyperbolic_tangent, f64::tanh), 8.0),
    ] {
        println!("{name}: {error:.2} units of {bound}");
        assert!(error <= bound, "{name}: {error}");
    }
}
