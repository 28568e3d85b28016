//! Kernels that are not the library's: what only reads, what does nothing, rivals.

use onesum::host::Gpu;

use super::rounds::{Plan, Runner, fastest};
use crate::device::Turn;
use crate::failure::Failure;

/// Work that is not the library's: one pipeline, one bind group.
pub struct Raw {
    pipeline: wgpu::ComputePipeline,
    group: wgpu::BindGroup,
    groups: [u32; 2],
}

impl Turn for Raw {
    fn record(&self, pass: &mut wgpu::ComputePass<'_>) {
        pass.set_pipeline(&self.pipeline);
        pass.set_bind_group(0, &self.group, &[]);
        pass.dispatch_workgroups(self.groups[0], self.groups[1], 1);
    }
}

/// A dispatch of one workgroup that does nothing.
struct Empty(wgpu::ComputePipeline);

impl Turn for Empty {
    fn record(&self, pass: &mut wgpu::ComputePass<'_>) {
        pass.set_pipeline(&self.0);
        pass.dispatch_workgroups(1, 1, 1);
    }
}

/// What a dispatch costs, whatever it does; its bytes are those of what is compared with it.
pub fn empty(gpu: &Gpu, plan: &Plan, bytes: u64) -> Result<(String, Runner), Failure> {
    let text = "@compute @workgroup_size(1)\nfn main() {}\n";
    let runner = Runner::new(vec![Box::new(Empty(pipeline(gpu, "empty", text, &[])))], bytes);
    fastest(gpu, plan, vec![("empty dispatch".to_owned(), runner)])?
        .ok_or_else(|| Failure::error("nothing runs on this adapter"))
}

/// A pipeline of this text.
pub fn pipeline(gpu: &Gpu, label: &str, text: &'static str, constants: &[(&str, f64)]) -> wgpu::ComputePipeline {
    let module = gpu.device.create_shader_module(wgpu::ShaderModuleDescriptor {
        label: Some(label),
        source: wgpu::ShaderSource::Wgsl(text.into()),
    });
    gpu.device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
        label: Some(label),
        layout: None,
        module: &module,
        entry_point: None,
        compilation_options: wgpu::PipelineCompilationOptions { constants, ..Default::default() },
        cache: None,
    })
}

/// A dispatch of so many workgroups, with these buffers as bindings 0, 1, ...
pub fn raw(gpu: &Gpu, pipeline: &wgpu::ComputePipeline, buffers: &[&wgpu::Buffer], groups: [u32; 2]) -> Raw {
    let entries: Vec<_> = (0..)
        .zip(buffers)
        .map(|(binding, buffer)| wgpu::BindGroupEntry { binding, resource: buffer.as_entire_binding() })
        .collect();
    let layout = &pipeline.get_bind_group_layout(0);
    let group = gpu.device.create_bind_group(&wgpu::BindGroupDescriptor { label: None, layout, entries: &entries });
    Raw { pipeline: pipeline.clone(), group, groups }
}

/// Invocations of a workgroup, quads of an invocation, and whether they are read as 64-bit integers, as the library's kernels do
/// on the CPU.
const READS: [(u32, u32, bool); 6] =
    [(8, 128, false), (8, 1024, false), (256, 4, false), (256, 16, false), (8, 128, true), (8, 1024, true)];

/// The fastest of some kernels that only read, on these buffers of so many bytes each.
pub fn fastest_read(gpu: &Gpu, plan: &Plan, sources: &[wgpu::Buffer], bytes: u64) -> Result<(String, Runner), Failure> {
    let mut all = Vec::new();
    let caps = gpu.library.caps();
    for (width, quads, int64) in READS {
        if width > caps.max_invocations || (int64 && !(caps.int64 && caps.cpu)) {
            continue;
        }
        let constants = [("WIDTH", f64::from(width)), ("QUADS", f64::from(quads))];
        let text = if int64 {
            concat!(include_str!("read_int64.wgsl"), include_str!("read.wgsl"))
        } else {
            concat!(include_str!("read_f32.wgsl"), include_str!("read.wgsl"))
        };
        let pipeline = pipeline(gpu, "read", text, &constants);
        let groups = (bytes / 16).div_ceil(u64::from(width * quads)).max(1);
        let side = groups.min(65_535);
        let grid = [side as u32, groups.div_ceil(side) as u32];
        let dst = gpu.allocate(u64::from(grid[0]) * u64::from(grid[1]) * u64::from(width) * 4)?;
        let turns = sources.iter().map(|src| Box::new(raw(gpu, &pipeline, &[src, &dst], grid)) as Box<dyn Turn>);
        let wide = if int64 { "+wide" } else { "" };
        all.push((format!("read/f32/baseline/w{width}q{quads}/x4{wide}"), Runner::new(turns.collect(), bytes)));
    }
    fastest(gpu, plan, all)?.ok_or_else(|| Failure::error("no kernel reads on this adapter"))
}
