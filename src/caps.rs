//! What a device offers, as plain data.

use crate::BuildError;

/// What a device offers, as far as the choice of a variant depends on it.
///
/// Plain data: it can be written down, compared and made up, so that [`Variant::select`] can be asked about
/// a device that is not at hand.
///
/// [`Variant::select`]: crate::softmax::Variant::select
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caps {
    /// The adapter runs on the CPU (lavapipe, `SwiftShader`, WARP): barriers are dear, dispatching a
    /// workgroup is dear, and a small workgroup is best.
    pub cpu: bool,
    /// Subgroup operations (`wgpu::Features::SUBGROUP`) are enabled on the device.
    pub subgroup: bool,
    /// The fewest invocations of a subgroup, as the adapter reports it.
    pub min_subgroup_size: u32,
    /// The f16 type (`wgpu::Features::SHADER_F16`) is enabled on the device.
    pub f16: bool,
    /// 64-bit integers (`wgpu::Features::SHADER_INT64`) are enabled on the device: the random stream multiplies by them, to
    /// the same bits.
    pub int64: bool,
    /// Invocations of one workgroup, at most.
    pub max_invocations: u32,
    /// Bytes of workgroup memory, at most.
    pub max_workgroup_bytes: u32,
    /// Storage buffers that one shader stage may bind, at most.
    pub max_storage_buffers: u32,
    /// Workgroups along one dimension of a dispatch, at most.
    pub max_workgroups: u32,
    /// Bytes of one storage buffer binding, at most.
    pub max_binding_bytes: u64,
    /// A binding must start at a multiple of so many bytes.
    pub binding_alignment: u32,
}

impl Caps {
    /// Whether one dispatch can have these operands, each in a storage buffer.
    pub(crate) fn check_buffers(&self, operands: Vec<&'static str>) -> Result<(), BuildError> {
        let available = self.max_storage_buffers;
        if operands.len() > available as usize {
            return Err(BuildError::TooManyBuffers { operands, available });
        }
        Ok(())
    }

    /// What `device` was created with: not all that its adapter could do.
    #[must_use]
    pub fn of(device: &wgpu::Device) -> Self {
        Self::from_parts(&device.adapter_info(), device.features(), &device.limits())
    }

    /// The same from an adapter's or a planned device's features and limits.
    #[must_use]
    pub fn from_parts(info: &wgpu::AdapterInfo, features: wgpu::Features, limits: &wgpu::Limits) -> Self {
        let cpu = info.device_type == wgpu::DeviceType::Cpu;
        Self::new(cpu, info.subgroup_min_size, features, limits)
    }

    fn new(cpu: bool, min_subgroup_size: u32, features: wgpu::Features, limits: &wgpu::Limits) -> Self {
        Self {
            cpu,
            subgroup: features.contains(wgpu::Features::SUBGROUP),
            min_subgroup_size,
            f16: features.contains(wgpu::Features::SHADER_F16),
            int64: features.contains(wgpu::Features::SHADER_INT64),
            max_invocations: limits.max_compute_invocations_per_workgroup.min(limits.max_compute_workgroup_size_x),
            max_workgroup_bytes: limits.max_compute_workgroup_storage_size,
            max_storage_buffers: limits.max_storage_buffers_per_shader_stage,
            max_workgroups: limits.max_compute_workgroups_per_dimension,
            max_binding_bytes: limits.max_storage_buffer_binding_size,
            binding_alignment: limits.min_storage_buffer_offset_alignment,
        }
    }

    /// The least that every `WebGPU` device offers (`wgpu::Limits::downlevel_defaults`, no feature).
    #[must_use]
    pub fn baseline() -> Self {
        let limits = wgpu::Limits::downlevel_defaults();
        Self::new(false, wgpu::MINIMUM_SUBGROUP_MIN_SIZE, wgpu::Features::empty(), &limits)
    }

    /// The features that some variant can use: enable those of them that the adapter has.
    #[must_use]
    pub fn useful_features() -> wgpu::Features {
        wgpu::Features::SUBGROUP | wgpu::Features::SHADER_F16 | wgpu::Features::SHADER_INT64
    }
}
