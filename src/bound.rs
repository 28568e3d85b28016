//! Checked operands, ready to record.

use std::sync::Arc;

#[cfg(feature = "conformance")]
use crate::kernel::place::Placement;
#[cfg(feature = "conformance")]
use crate::library::{Access, Program};

/// One dispatch of a [`Bound`].
#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub pipeline: Arc<wgpu::ComputePipeline>,
    pub bind_group: wgpu::BindGroup,
    pub groups: [u32; 2],
    #[cfg(feature = "conformance")]
    pub recipe: Arc<Recipe>,
}

/// What a step is made from, for another implementation to make it again.
#[cfg(feature = "conformance")]
#[derive(Debug)]
pub(crate) struct Recipe {
    pub program: Arc<Program>,
    /// Binding 0.
    pub params: Vec<u8>,
    pub windows: Vec<BoundWindow>,
}

/// What a binding covers.
#[cfg(feature = "conformance")]
#[derive(Debug)]
pub(crate) struct BoundWindow {
    pub binding: u32,
    pub access: Access,
    pub buffer: wgpu::Buffer,
    pub offset: u64,
    pub size: u64,
}

#[cfg(feature = "conformance")]
impl Recipe {
    pub fn new(program: Arc<Program>, params: &[u8], placement: &Placement<'_>) -> Self {
        let access = |binding| program.bindings.iter().find(|(b, _)| *b == binding).map(|(_, access)| *access);
        let windows = placement.bound().map(|placed| BoundWindow {
            binding: placed.binding,
            access: access(placed.binding).unwrap_or(Access::ReadWrite),
            buffer: placed.buffer.clone(),
            offset: placed.range.start,
            size: placed.range.end - placed.range.start,
        });
        let windows = windows.collect();
        Self { program, params: params.to_vec(), windows }
    }
}

/// Checked operands, ready to be recorded any number of times.
///
/// It holds its own references to the buffers. Everything that changes from step to step lives in the caller's
/// buffers, so one `Bound` can be recorded for every token.
#[derive(Clone, Debug, Default)]
pub struct Bound {
    pub(crate) steps: Vec<Step>,
}

impl Bound {
    /// Records the dispatches into a compute pass of the caller's.
    ///
    /// Makes no GPU object, allocates nothing and cannot fail. An empty shape records nothing. It sets the
    /// pass's pipeline and bind group 0 and leaves them set.
    pub fn record(&self, pass: &mut wgpu::ComputePass<'_>) {
        for step in &self.steps {
            pass.set_pipeline(&step.pipeline);
            pass.set_bind_group(0, &step.bind_group, &[]);
            pass.dispatch_workgroups(step.groups[0], step.groups[1], 1);
        }
    }

    /// How many dispatches it records.
    #[must_use]
    pub fn dispatches(&self) -> usize {
        self.steps.len()
    }
}
