//! Adapters, and how long work on them takes.

use std::path::{Path, PathBuf};
use std::time::Instant;

use cpu_time::ProcessTime;
use onesum::Bound;
use onesum::host::{Gpu, HostError};
use onesum::tuning::Tuning;

use crate::bench::raw::{Raw, pipeline, raw};
use crate::failure::Failure;
use crate::terminal::{quietly, remark};

/// Opens the adapter of this name or number, or the one that wgpu programs take.
pub fn open(adapter: Option<&str>) -> Result<Gpu, Failure> {
    Ok(quietly(|| Gpu::open(adapter))?)
}

/// Which variants run where none is named.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct Choice {
    /// Choose variants by what `onesum tune` measured
    #[arg(long, value_name = "FILE")]
    pub tuning: Option<PathBuf>,
}

impl Choice {
    /// Reads the tuning, if there is one.
    pub fn read(&self) -> Result<Option<Tuning>, Failure> {
        self.tuning.as_deref().map(read_tuning).transpose()
    }

    /// Opens an adapter whose kernels are chosen so.
    pub fn open(&self, adapter: Option<&str>) -> Result<Gpu, Failure> {
        let tuning = self.read()?;
        let mut gpu = open(adapter)?;
        let Some(tuning) = tuning else { return Ok(gpu) };
        if !tuning.matches(&gpu.info) {
            let (name, driver) = (&tuning.adapter.name, &tuning.adapter.driver);
            remark(&format!("the tuning was measured on another adapter or driver: {name}, {driver}"));
        }
        gpu.library = gpu.library.with_tuning(tuning);
        Ok(gpu)
    }
}

fn read_tuning(path: &Path) -> Result<Tuning, Failure> {
    let failed = |what: &str| Failure::error(format!("{}: {what}", path.display()));
    let text = std::fs::read_to_string(path).map_err(|e| failed(&format!("cannot read: {e}")))?;
    Tuning::from_toml(&text).map_err(|e| failed(&format!("no tuning: {e}")))
}

/// What some work took, in seconds.
#[derive(Clone, Copy, Debug)]
pub struct Elapsed {
    /// By the GPU's own clock, or from submit to done.
    pub seconds: f64,
    /// From submit to done, in any case.
    pub wall: f64,
    /// Of this process, on all its threads.
    pub cpu: f64,
}

/// Work that goes into a compute pass.
pub trait Turn {
    /// Records it.
    fn record(&self, pass: &mut wgpu::ComputePass<'_>);
}

impl Turn for Bound {
    fn record(&self, pass: &mut wgpu::ComputePass<'_>) {
        Bound::record(self, pass);
    }
}

/// Measures work: by timestamps of the GPU where it offers them, else from submit to done.
pub struct Clock {
    queries: Option<(wgpu::QuerySet, wgpu::Buffer)>,
    /// Where work that does not depend on each other would overlap.
    fence: Option<Raw>,
}

/// A dispatch of one invocation that writes one word, always the same: wgpu puts a barrier between it and the one before, which
/// holds back all that comes later. In use each kernel waits for another; in a benchmark none would.
fn fence(gpu: &Gpu) -> Result<Raw, HostError> {
    let text = "@group(0) @binding(0) var<storage, read_write> word: u32;\n\
                @compute @workgroup_size(1)\nfn main() { word = 1u; }\n";
    Ok(raw(gpu, &pipeline(gpu, "onesum fence", text, &[]), &[&gpu.allocate(4)?], [1, 1]))
}

/// A CPU adapter's work is done by threads of this very process: the process's own clock sees it all, and its timestamps say no
/// more. Its dispatches do not overlap.
fn is_cpu(gpu: &Gpu) -> bool {
    gpu.info.device_type == wgpu::DeviceType::Cpu
}

fn has_stamps(gpu: &Gpu) -> bool {
    gpu.device.features().contains(wgpu::Features::TIMESTAMP_QUERY) && !is_cpu(gpu)
}

/// The bytes of two timestamps.
const TWO_STAMPS: u64 = 16;

impl Clock {
    /// The best clock for this device.
    ///
    /// # Errors
    /// Memory for one word is not to be had.
    pub fn new(gpu: &Gpu) -> Result<Self, HostError> {
        let fence = if is_cpu(gpu) { None } else { Some(fence(gpu)?) };
        Ok(Self { queries: has_stamps(gpu).then(|| Self::queries(gpu)), fence })
    }

    fn queries(gpu: &Gpu) -> (wgpu::QuerySet, wgpu::Buffer) {
        let set = gpu.device.create_query_set(&wgpu::QuerySetDescriptor {
            label: Some("onesum clock"),
            ty: wgpu::QueryType::Timestamp,
            count: 2,
        });
        let buffer = gpu.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("onesum clock"),
            size: TWO_STAMPS,
            usage: wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC,
            mapped_at_creation: false,
        });
        (set, buffer)
    }

    /// What it measures by on this device, for reports.
    pub fn method(gpu: &Gpu) -> &'static str {
        if has_stamps(gpu) { "GPU timestamps" } else { "submit to done" }
    }

    /// Runs the steps in one pass, one after another, and waits until they are done.
    pub fn time<'a, T: Turn + ?Sized + 'a>(
        &self,
        gpu: &Gpu,
        steps: impl Iterator<Item = &'a T>,
    ) -> Result<Elapsed, HostError> {
        let mut encoder = gpu.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        {
            let timestamp_writes = self.queries.as_ref().map(|(query_set, _)| wgpu::ComputePassTimestampWrites {
                query_set,
                beginning_of_pass_write_index: Some(0),
                end_of_pass_write_index: Some(1),
            });
            let mut pass =
                encoder.begin_compute_pass(&wgpu::ComputePassDescriptor { label: Some("onesum"), timestamp_writes });
            for step in steps {
                step.record(&mut pass);
                if let Some(fence) = &self.fence {
                    fence.record(&mut pass);
                }
            }
        }
        if let Some((set, buffer)) = &self.queries {
            encoder.resolve_query_set(set, 0..2, buffer, 0);
        }
        let commands = encoder.finish();
        let (wall, cpu) = (Instant::now(), ProcessTime::now());
        gpu.queue.submit([commands]);
        gpu.wait()?;
        let (wall, cpu) = (wall.elapsed().as_secs_f64(), cpu.elapsed().as_secs_f64());
        let seconds = match &self.queries {
            None => wall,
            Some((_, buffer)) => {
                let bytes = gpu.download(buffer, TWO_STAMPS)?;
                let stamp = |i: usize| bytes.as_chunks().0.get(i).map_or(0, |&b| u64::from_ne_bytes(b));
                // Some drivers leave the stamps at zero; then the wall clock must do.
                let ticks = stamp(1).saturating_sub(stamp(0));
                if ticks == 0 { wall } else { ticks as f64 * f64::from(gpu.queue.get_timestamp_period()) * 1e-9 }
            }
        };
        Ok(Elapsed { seconds, wall, cpu })
    }
}

#[cfg(test)]
mod tests {
    use onesum::Matrix;
    use onesum::softmax::{Shape, Spec};

    use super::*;

    /// The clock of GPUs, on whatever adapter there is: what it sees is a part of what passes from submit to done, and grows with
    /// the work.
    #[test]
    fn timestamps_measure_the_pass() {
        let gpu = Gpu::open(None).unwrap();
        assert!(gpu.device.features().contains(wgpu::Features::TIMESTAMP_QUERY));
        let clock = Clock { queries: Some(Clock::queries(&gpu)), fence: Some(fence(&gpu).unwrap()) };
        let (rows, cols) = (64, 4096);
        let buffers = [(); 2].map(|()| gpu.allocate(u64::from(rows * cols) * 4).unwrap());
        let [src, dst] = buffers.each_ref().map(|buffer| Matrix::new(buffer, rows, cols));
        let bound = gpu.library.softmax(&Spec::new(Shape::new(rows, cols))).unwrap().bind(src, dst).unwrap();
        let time = |count| {
            let elapsed = clock.time(&gpu, std::iter::repeat_n(&bound, count)).unwrap();
            assert!(elapsed.seconds > 0.0 && elapsed.seconds < elapsed.wall, "{elapsed:?}");
            elapsed.seconds
        };
        time(1);
        let least = |count| (0..5).map(|_| time(count)).fold(f64::INFINITY, f64::min);
        let (few, many) = (least(4), least(64));
        assert!(many > 4.0 * few, "{few} s, {many} s");
    }
}
