//! The uniform block of the plan's kernels, and where things lie in scratch memory: `shaders/lib/plan_params.wgsl` has the
//! truth, a test compares.

use bytemuck::{Pod, Zeroable};

use super::sources::{DIGITS, Order, Pass};
use super::{Schedule, Spec, Variant};

#[derive(Clone, Copy, Debug, Default, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct Params {
    pub tokens: u32,
    pub choices: u32,
    pub experts: u32,
    pub columns: u32,
    pub stride: u32,
    pub items: u32,
    pub tile: u32,
    pub tiles: u32,
    pub grid_width: u32,
    pub slots: u32,
    pub block: u32,
    pub blocks: u32,
    pub capacity: u32,
    pub rows_per_group: u32,
    pub groups_y: u32,
    pub share: u32,
    pub shift: u32,
    pub first_digit: u32,
    pub counters_offset: u32,
    pub totals_offset: u32,
    pub bases_offset: u32,
    pub keys_offset: u32,
    pub order_offset: u32,
    pub sorted_order_offset: u32,
    pub experts_offset: u32,
    pub experts_stride: u32,
    pub weights_offset: u32,
    pub weights_stride: u32,
    pub counts_offset: u32,
    pub offsets_offset: u32,
    pub sorted_offset: u32,
    pub inverse_offset: u32,
    pub inverse_stride: u32,
    pub blocks_offset: u32,
    pub dropped_offset: u32,
    pub dropped_count_offset: u32,
    pub arguments_offset: u32,
    pub arguments_stride: u32,
    pub pad: [u32; 2],
}

/// Where things lie in scratch memory, in words, each at a multiple of four.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Scratch {
    totals: u64,
    bases: u64,
    keys: u64,
    orders: [u64; 2],
    /// All of it.
    pub words: u64,
}

impl Scratch {
    pub fn of(spec: &Spec, variant: Variant, tokens: u32) -> Self {
        if variant.schedule == Schedule::One || tokens == 0 {
            return Self::default();
        }
        let passes = Pass::of(spec);
        let counters = passes.iter().map(|pass| {
            let (_, tiles) = pass.tiles(spec, variant, tokens);
            u64::from(tiles) * u64::from(pass.stride(spec))
        });
        let totals = counters.max().unwrap_or(0);
        let stride = passes.iter().map(|pass| u64::from(pass.stride(spec))).max().unwrap_or(0);
        let (bases, keys) = (totals + stride, totals + 2 * stride);
        let each = if spec.by_weight() { u64::from(tokens).next_multiple_of(4) } else { 0 };
        Self { totals, bases, keys, orders: [keys + each, keys + 2 * each], words: keys + 3 * each }
    }
}

impl Params {
    /// All but where operands lie. Offsets into scratch memory count from its beginning.
    pub fn of(spec: &Spec, variant: Variant, tokens: u32, pass: Pass) -> Self {
        let scratch = Scratch::of(spec, variant, tokens);
        let sorts_tokens = pass.order == Order::Digits;
        let (tile, tiles) = pass.tiles(spec, variant, tokens);
        let slots = spec.slots(tokens) as u32;
        let block = if sorts_tokens { 1 } else { spec.block.unwrap_or(1) };
        let arguments = spec.outputs.arguments;
        let digit = pass.digit as usize;
        // The digits' passes take turns; after an even number of them the order lies where the first one read.
        let [read, written] =
            if digit.is_multiple_of(2) { scratch.orders } else { [scratch.orders[1], scratch.orders[0]] };
        Self {
            tokens,
            choices: spec.k,
            experts: if sorts_tokens { DIGITS } else { spec.experts },
            columns: pass.columns(spec),
            stride: pass.stride(spec),
            items: pass.items(spec, tokens),
            tile,
            tiles,
            slots,
            block,
            blocks: if spec.outputs.blocks { slots / block } else { 0 },
            capacity: spec.capacity.map_or(u32::MAX, |c| c.slots),
            rows_per_group: arguments.map_or(1, |a| a.rows_per_group),
            groups_y: arguments.map_or(1, |a| a.y),
            share: if variant.width == 256 { 1 } else { 32 },
            shift: 8 * pass.digit,
            first_digit: u32::from(pass.digit == 0),
            totals_offset: scratch.totals as u32,
            bases_offset: scratch.bases as u32,
            keys_offset: scratch.keys as u32,
            order_offset: read as u32,
            sorted_order_offset: written as u32,
            ..Self::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The shader is the truth: every field of its `Params`, by name and offset.
    #[test]
    fn layout_is_the_shaders() {
        let module = naga::front::wgsl::parse_str(include_str!("../../../shaders/lib/plan_params.wgsl")).unwrap();
        let (_, ty) = module.types.iter().find(|(_, t)| t.name.as_deref() == Some("Params")).unwrap();
        let naga::TypeInner::Struct { members, span } = &ty.inner else { panic!("Params is a struct") };
        let theirs: Vec<_> = members
            .iter()
            .map(|m| (m.name.clone().unwrap(), m.offset))
            .filter(|(name, _)| !name.starts_with("pad"))
            .collect();
        macro_rules! ours {
            ($($field:ident)*) => {
                vec![$((stringify!($field).to_string(), std::mem::offset_of!(Params, $field) as u32)),*]
            };
        }
        assert_eq!(
            theirs,
            ours!(tokens choices experts columns stride items tile tiles grid_width slots block blocks capacity
                rows_per_group groups_y share shift first_digit counters_offset totals_offset bases_offset keys_offset
                order_offset sorted_order_offset experts_offset experts_stride weights_offset weights_stride
                counts_offset offsets_offset sorted_offset inverse_offset inverse_stride blocks_offset dropped_offset
                dropped_count_offset arguments_offset arguments_stride)
        );
        assert_eq!(*span as usize, size_of::<Params>());
        assert_eq!(size_of::<Params>() % 16, 0);
    }
}
