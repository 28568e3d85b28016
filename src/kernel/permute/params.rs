//! The uniform block of dispatch and combine: `shaders/lib/permute_params.wgsl` has the truth, a test compares.

use bytemuck::{Pod, Zeroable};

/// What is fixed when operands are bound.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Pod, Zeroable)]
pub(crate) struct Params {
    pub rows: u32,
    pub cols: u32,
    pub quads: u32,
    pub grid_width: u32,
    pub rows_each: u32,
    pub parts: u32,
    pub part_quads: u32,
    pub choices: u32,
    pub count: u32,
    pub zero: u32,
    pub src_offset: u32,
    pub src_stride: u32,
    pub dst_offset: u32,
    pub dst_stride: u32,
    pub table_offset: u32,
    pub table_stride: u32,
    pub weights_offset: u32,
    pub weights_stride: u32,
    pub pad: [u32; 2],
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The shader is the truth: every field of its `Params`, by name and offset.
    #[test]
    fn layout_is_the_shaders() {
        let text = concat!(
            include_str!("../../../shaders/lib/permute_params.wgsl"),
            include_str!("../../../shaders/lib/lane.wgsl")
        );
        let module = naga::front::wgsl::parse_str(text).unwrap();
        let (_, ty) = module.types.iter().find(|(_, t)| t.name.as_deref() == Some("Params")).unwrap();
        let naga::TypeInner::Struct { members, .. } = &ty.inner else { panic!("Params is a struct") };
        let theirs: Vec<_> = members.iter().map(|m| (m.name.clone().unwrap(), m.offset)).collect();
        macro_rules! ours {
            ($($field:ident)*) => {
                vec![$((stringify!($field).to_string(), std::mem::offset_of!(Params, $field) as u32)),*]
            };
        }
        let ours = ours!(rows cols quads grid_width rows_each parts part_quads choices count zero src_offset src_stride
            dst_offset dst_stride table_offset table_stride weights_offset weights_stride);
        assert_eq!(theirs[..18], ours);
        assert!(theirs[18..].iter().all(|(name, _)| name.starts_with("pad")));
        assert_eq!(size_of::<Params>() % 16, 0);
    }
}
