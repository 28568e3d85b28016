//! What `bind` and `record` cost the host, on a device that does nothing: goals are 20 µs and 2 µs.

use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use onesum::softmax::{Causal, MaskType, Operands, Options, PerRow, Shape, Softmax, Spec};
use onesum::{Bound, Caps, Library, Matrix, gumbel, sample};

const ROWS: u32 = 64;
const COLS: u32 = 1024;

struct Host {
    device: wgpu::Device,
    queue: wgpu::Queue,
    library: Library,
    memory: [wgpu::Buffer; 2],
}

impl Host {
    fn new() -> Self {
        let (device, queue) = wgpu::Device::noop(&wgpu::DeviceDescriptor {
            required_features: Caps::useful_features(),
            ..wgpu::DeviceDescriptor::default()
        });
        let library = Library::new(&device).expect("the noop device computes, if nothing");
        let memory = [(); 2].map(|()| {
            device.create_buffer(&wgpu::BufferDescriptor {
                label: None,
                size: 1 << 20,
                usage: wgpu::BufferUsages::STORAGE,
                mapped_at_creation: false,
            })
        });
        Self { device, queue, library, memory }
    }

    fn softmax(&self, spec: &Spec) -> Softmax {
        self.library.softmax(spec).expect("the noop device has every feature")
    }

    /// Rows in separate buffers; what is shared by rows comes after them.
    fn plain(&self) -> Operands<'_> {
        let [src, dst] = &self.memory;
        Operands::new(Matrix::new(src, ROWS, COLS), Matrix::new(dst, ROWS, COLS))
    }

    /// What a step of attention binds.
    fn attention(&self) -> Operands<'_> {
        let behind = |rows, cols, offset| Matrix::new(&self.memory[0], rows, cols).at(u64::from(ROWS * COLS) + offset);
        Operands {
            lse: Some(Matrix::new(&self.memory[1], ROWS, 1).at(u64::from(ROWS * COLS))),
            mask: Some(PerRow::one(behind(1, COLS, 0))),
            sinks: Some(PerRow::each(behind(ROWS, 1, 4096))),
            ..self.plain()
        }
    }

    /// Lets go of what was bound: wgpu keeps the uniforms' uploads until the next submission.
    fn clean(&self) {
        self.queue.submit([]);
        // Nothing is pending that could time out.
        let _ = self.device.poll(wgpu::PollType::wait_indefinitely());
    }

    /// Draws of one column a row, with a temperature.
    fn sample(&self) -> impl Fn() -> Option<Bound> {
        let options = sample::Options { temperature: true, ..sample::Options::default() };
        let variant = "sample/stream/f32/baseline/w256/x4".parse().ok();
        let spec = sample::Spec { options, variant, ..sample::Spec::new(Shape::new(ROWS, COLS)) };
        let kernel = self.library.sample(&spec).expect("the noop device has every feature");
        let column = |offset| PerRow::each(Matrix::new(&self.memory[0], ROWS, 1).at(u64::from(ROWS * COLS) + offset));
        let seeds = PerRow::each(Matrix::new(&self.memory[0], ROWS, 4).at(u64::from(ROWS * COLS) + 1024));
        move || {
            let (src, dst) = (Matrix::new(&self.memory[0], ROWS, COLS), Matrix::new(&self.memory[1], ROWS, 1));
            let operands = sample::Operands { temperature: Some(column(0)), ..sample::Operands::new(src, dst, seeds) };
            kernel.bind(&operands).ok()
        }
    }

    /// Relaxed and one-hot rows and their index: three dispatches.
    fn straight_through(&self) -> impl Fn() -> Option<Bound> {
        let outputs = gumbel::Outputs { soft: true, hard: true, index: true, ..gumbel::Outputs::default() };
        let sample = "sample/stream/f32/baseline/w256/x4".parse().ok();
        let spec = gumbel::Spec { outputs, sample, ..gumbel::Spec::new(Shape::new(ROWS, COLS)) };
        let kernel = self.library.gumbel(&spec).expect("the noop device has every feature");
        let seeds = PerRow::each(Matrix::new(&self.memory[0], ROWS, 4).at(u64::from(ROWS * COLS)));
        let wide = |place: u32| Matrix::new(&self.memory[1], ROWS, COLS).at(u64::from(ROWS * COLS * place));
        move || {
            let operands = gumbel::Operands {
                soft: Some(wide(0)),
                hard: Some(wide(1)),
                index: Some(Matrix { cols: 1, stride: 1, ..wide(2) }),
                ..gumbel::Operands::new(Matrix::new(&self.memory[0], ROWS, COLS), seeds)
            };
            kernel.bind(&operands).ok()
        }
    }

    /// The time of `count` binds, in portions that are dropped and cleaned up outside of it.
    fn time(&self, count: u64, bind: impl Fn() -> Option<Bound>) -> Duration {
        self.in_portions(count, |n| {
            let start = Instant::now();
            let bound: Vec<Bound> = (0..n).filter_map(|_| bind()).collect();
            let time = start.elapsed();
            assert_eq!(bound.len() as u64, n, "the operands fit");
            time
        })
    }

    /// The time of `count` records, taking turns, a portion to a pass of its own. Its end is counted too: there wgpu
    /// does the work that it put off.
    fn time_record(&self, bounds: &[Bound], count: u64) -> Duration {
        self.in_portions(count, |n| {
            let mut encoder = self.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
            let start = Instant::now();
            for bound in bounds.iter().cycle().take(n as usize) {
                bound.record(&mut pass);
            }
            drop(pass);
            start.elapsed()
        })
    }

    fn in_portions(&self, count: u64, run: impl Fn(u64) -> Duration) -> Duration {
        let mut time = Duration::ZERO;
        let mut left = count;
        while left > 0 {
            let n = left.min(200);
            time += run(n);
            self.clean();
            left -= n;
        }
        time
    }
}

fn host_cost(c: &mut Criterion) {
    let host = Host::new();
    let shape = Shape::new(ROWS, COLS);
    let options = Options {
        scale: Some(0.125),
        mask: Some(MaskType::F32),
        causal: true,
        positions: Some(Causal { queries: ROWS, offset: 0 }),
        sinks: true,
        ..Options::default()
    };
    let cases = [
        ("plain", Spec::new(shape), host.plain()),
        ("attention", Spec { lse: true, options, ..Spec::new(shape) }, host.attention()),
    ];
    let mut bounds = Vec::new();
    for (name, spec, operands) in cases {
        let softmax = host.softmax(&spec);
        bounds.push(softmax.bind_with(&operands).expect("the operands fit"));
        c.bench_function(&format!("bind/{name}"), |b| {
            b.iter_custom(|count| host.time(count, || softmax.bind_with(&operands).ok()));
        });
    }
    let (sample, straight_through) = (host.sample(), host.straight_through());
    c.bench_function("bind/sample", |b| b.iter_custom(|count| host.time(count, &sample)));
    c.bench_function("bind/gumbel", |b| b.iter_custom(|count| host.time(count, &straight_through)));
    c.bench_function("record/again", |b| b.iter_custom(|count| host.time_record(&bounds[..1], count)));
    c.bench_function("record/in turn", |b| b.iter_custom(|count| host.time_record(&bounds, count)));
}

criterion_group!(benches, host_cost);
criterion_main!(benches);
