//! What the suites share: devices that tell of every error, uploads, and the comparison with the reference.
#![allow(dead_code)] // No suite uses all of it.

use std::sync::{Arc, Mutex, OnceLock};

use onesum::accuracy::RowBudget;
use onesum::host::{Gpu, adapter};
use onesum::reference::Problem;
use onesum::softmax::{Dtype, Schedule};
use onesum::{Library, Matrix};

/// The usage that buffers of an engine's pool have.
pub const USAGE: wgpu::BufferUsages =
    wgpu::BufferUsages::STORAGE.union(wgpu::BufferUsages::COPY_SRC).union(wgpu::BufferUsages::COPY_DST);

/// A value that no result is: guard words have it.
pub const GUARD: f32 = -7.25e11;

/// A device that computes nothing and collects wgpu's errors instead of panicking.
pub struct Noop {
    pub device: wgpu::Device,
    pub queue: wgpu::Queue,
    pub library: Library,
    errors: Arc<Mutex<Vec<String>>>,
}

impl Noop {
    pub fn new(features: wgpu::Features, limits: wgpu::Limits) -> Self {
        let (device, queue) = wgpu::Device::noop(&wgpu::DeviceDescriptor {
            required_features: features,
            required_limits: limits,
            ..wgpu::DeviceDescriptor::default()
        });
        Self::of(device, queue)
    }

    /// With the instance, which can tell what objects there are.
    pub fn with_instance() -> (wgpu::Instance, Self) {
        let mut descriptor = wgpu::InstanceDescriptor::new_without_display_handle();
        descriptor.backends = wgpu::Backends::NOOP;
        descriptor.backend_options.noop = wgpu::NoopBackendOptions::enabled();
        let instance = wgpu::Instance::new(descriptor);
        let (device, queue) = noop_device(&instance);
        (instance, Self::of(device, queue))
    }

    fn of(device: wgpu::Device, queue: wgpu::Queue) -> Self {
        let errors = Arc::new(Mutex::new(Vec::new()));
        let sink = errors.clone();
        device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| sink.lock().unwrap().push(error.to_string())));
        let library = Library::new(&device).unwrap();
        Self { device, queue, library, errors }
    }

    /// With every optional feature that a variant can use and wgpu's usual limits.
    pub fn full() -> Self {
        Self::new(onesum::Caps::useful_features(), wgpu::Limits::default())
    }

    pub fn buffer(&self, bytes: u64) -> wgpu::Buffer {
        buffer(&self.device, bytes, USAGE)
    }

    /// What wgpu has complained of since the last call.
    pub fn errors(&self) -> Vec<String> {
        std::mem::take(&mut self.errors.lock().unwrap())
    }
}

/// One more device of the same instance.
pub fn noop_device(instance: &wgpu::Instance) -> (wgpu::Device, wgpu::Queue) {
    let adapter = pollster::block_on(instance.request_adapter(&wgpu::RequestAdapterOptions::default())).unwrap();
    pollster::block_on(adapter.request_device(&wgpu::DeviceDescriptor::default())).unwrap()
}

pub fn buffer(device: &wgpu::Device, size: u64, usage: wgpu::BufferUsages) -> wgpu::Buffer {
    device.create_buffer(&wgpu::BufferDescriptor { label: None, size, usage, mapped_at_creation: false })
}

/// The adapter's device, with all that it offers: one for all tests of a suite, so that pipelines are built once.
pub fn gpu() -> &'static Gpu {
    static GPU: OnceLock<Gpu> = OnceLock::new();
    GPU.get_or_init(|| Gpu::open(None).expect("an adapter; tools/test installs one"))
}

/// Whether this is a CPU through GL that Vulkan reaches, too: the same code of the same compiler.
pub fn is_twin(adapter: &wgpu::Adapter, all: &[wgpu::Adapter]) -> bool {
    let is_gl = |a: &wgpu::Adapter| a.get_info().backend == wgpu::Backend::Gl;
    let name = |a: &wgpu::Adapter| a.get_info().name;
    is_gl(adapter) && all.iter().any(|other| !is_gl(other) && name(other) == name(adapter))
}

/// Runs the standard profile of a kernel on every adapter but twins. Every part of a variant's name (schedule, element type, tier,
/// width ...), every option, every class of special values has a case that runs, with every schedule and every tier, where the adapter
/// can run it; and nothing is wrong. The report is held against what it must have at least. Twins have a part of the quick profile, in
/// tests/conformance.rs.
#[cfg(feature = "conformance")]
pub fn standard_profile(kernel: &str, enough: impl Fn(&Gpu, &onesum::conformance::Report)) {
    use std::ops::ControlFlow;

    use onesum::conformance::{Filter, Kernel, Profile, devices, run_on};

    let filter = Filter { patterns: vec![kernel.parse().unwrap()], profile: Profile::Standard, ..Filter::default() };
    let all = onesum::host::adapters();
    assert!(!all.is_empty(), "no adapter: tools/test installs one");
    for adapter in all.iter().filter(|adapter| !is_twin(adapter, &all)) {
        let (gpus, info) = (devices(adapter).unwrap(), adapter.get_info());
        let report = run_on(&gpus, &filter, |_, _, _| ControlFlow::Continue(()));
        println!("{} ({:?}, {})\n{report}", info.name, info.backend, info.driver_info);
        assert!(report.ok());
        let mut missing = Kernel::of(kernel).unwrap().vocabulary();
        missing.retain(|term| !report.covered.contains(term) && !report.skipped_terms.contains(term));
        assert!(missing.is_empty(), "no case has {missing:?}");
        enough(&gpus[0], &report);
    }
}

/// A device of the same adapter with other limits.
pub fn gpu_with(change: impl FnOnce(&mut wgpu::Limits)) -> Gpu {
    let adapter = adapter(None).expect("an adapter; tools/test installs one");
    let mut limits = adapter.limits();
    change(&mut limits);
    let features = adapter.features() & onesum::Caps::useful_features();
    Gpu::with(&adapter, features, limits).unwrap()
}

pub fn upload(gpu: &Gpu, values: &[f32]) -> wgpu::Buffer {
    gpu.upload(bytemuck::cast_slice(values)).unwrap()
}

pub fn download(gpu: &Gpu, buffer: &wgpu::Buffer) -> Vec<f32> {
    bytemuck::pod_collect_to_vec(&gpu.download(buffer, buffer.size()).unwrap())
}

/// One column with an entry a row.
pub fn column(buffer: &wgpu::Buffer, rows: u32) -> Matrix<'_> {
    Matrix::new(buffer, rows, 1)
}

/// Plain logits of either sign that repeat for a seed.
pub fn logits(seed: u32, count: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(12_345);
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / 16_777_216.0 * 16.0 - 8.0
    };
    (0..count).map(|_| next()).collect()
}

/// Holds f32 probabilities, row after row without gaps, against the reference, by the budget of docs/accuracy.md.
pub fn assert_probabilities(problem: &Problem<'_>, schedule: Schedule, got: &[f32]) {
    assert_eq!(got.len(), problem.rows() * problem.cols);
    for r in 0..problem.rows() {
        let row = problem.row(r);
        let budget = RowBudget::new(&row, schedule, Dtype::F32);
        for c in 0..problem.cols {
            let (budget, got) = (budget.probability(c), got[r * problem.cols + c]);
            assert!(budget.judge(got).ok, "[{r}, {c}] is {got:e}, not {:e}", budget.want);
        }
    }
}

/// Pearson's chi-square over columns with at least 5 expected draws, the rest together, and its degrees of freedom.
pub fn chi_square(counts: &[f64], probabilities: &[f64], draws: f64) -> (f64, f64) {
    let (mut rest, mut sum, mut cells) = ((0.0, 0.0), 0.0, 0.0);
    for (&count, &p) in counts.iter().zip(probabilities) {
        let expected = p * draws;
        if expected < 5.0 {
            rest = (rest.0 + count, rest.1 + expected);
        } else {
            sum += (count - expected).powi(2) / expected;
            cells += 1.0;
        }
    }
    if rest.1 >= 5.0 {
        sum += (rest.0 - rest.1).powi(2) / rest.1;
        cells += 1.0;
    }
    (sum, cells - 1.0)
}

/// The value that chi-square with `k` degrees of freedom exceeds with probability 1e-6 (Wilson & Hilferty 1931).
pub fn critical(k: f64) -> f64 {
    let z = 4.753_424;
    k * (1.0 - 2.0 / (9.0 * k) + z * (2.0 / (9.0 * k)).sqrt()).powi(3)
}
