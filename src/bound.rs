//! Checked operands, ready to record.

use std::sync::Arc;

/// One dispatch of a [`Bound`].
#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub pipeline: Arc<wgpu::ComputePipeline>,
    pub bind_group: wgpu::BindGroup,
    pub groups: [u32; 2],
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
