//! The uniform block of the router: `shaders/lib/router_params.wgsl` has the truth, a test compares.

use bytemuck::{Pod, Zeroable};

#[derive(Clone, Copy, Debug, Default, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Params {
    pub rows: u32,
    pub cols: u32,
    pub quads: u32,
    pub grid_width: u32,
    pub src_offset: u32,
    pub src_stride: u32,
    pub deviations_offset: u32,
    pub deviations_stride: u32,
    pub experts_offset: u32,
    pub experts_stride: u32,
    pub weights_offset: u32,
    pub weights_stride: u32,
    pub bias_offset: u32,
    pub map_offset: u32,
    pub valid_offset: u32,
    pub seeds_offset: u32,
    pub seeds_stride: u32,
    pub rows_each: u32,
    pub shared_experts: u32,
    pub groups: u32,
    pub kept_groups: u32,
    pub group_cols: u32,
    pub index_mask: u32,
    pub zero: u32,
    pub cap: f32,
    pub inverse_cap: f32,
    pub scale: f32,
    pub least: f32,
    pub shared_weight: f32,
    pub least_deviation: f32,
    pub pad: [u32; 2],
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The shader is the truth: every field of its `Params`, by name and offset.
    #[test]
    fn layout_is_the_shaders() {
        let module = naga::front::wgsl::parse_str(include_str!("../../../shaders/lib/router_params.wgsl")).unwrap();
        let (_, ty) = module.types.iter().find(|(_, t)| t.name.as_deref() == Some("Params")).unwrap();
        let naga::TypeInner::Struct { members, span } = &ty.inner else { panic!("Params is a struct") };
        let theirs: Vec<_> = members.iter().map(|m| (m.name.clone().unwrap(), m.offset)).collect();
        macro_rules! ours {
            ($($field:ident)*) => {
                vec![$((stringify!($field).to_string(), std::mem::offset_of!(Params, $field) as u32)),*]
            };
        }
        let mut ours = ours!(rows cols quads grid_width src_offset src_stride deviations_offset deviations_stride
            experts_offset experts_stride weights_offset weights_stride bias_offset map_offset valid_offset seeds_offset
            seeds_stride rows_each shared_experts groups kept_groups group_cols index_mask zero cap inverse_cap scale least
            shared_weight least_deviation);
        let pad = std::mem::offset_of!(Params, pad) as u32;
        ours.extend([("pad0".to_string(), pad), ("pad1".to_string(), pad + 4)]);
        assert_eq!(theirs, ours);
        assert_eq!(*span as usize, size_of::<Params>());
    }
}
