//! The uniform block of the softmax kernels: `shaders/lib/params.wgsl` has the truth, a test compares.

use bytemuck::{Pod, Zeroable};

/// How a row finds its entry in an operand that several rows share: entry
/// `row / divide % modulo + row / group * modulo`.
///
/// For logits of shape `[batch, heads, queries, keys]` seen as rows of keys:
///
/// | operand | map |
/// |---|---|
/// | one entry per row | [`RowMap::each`] |
/// | one entry for all | [`RowMap::one`] |
/// | `[heads]` | `RowMap { divide: queries, modulo: heads, ..RowMap::one() }` |
/// | mask `[queries, keys]` | `RowMap { modulo: queries, ..RowMap::one() }` |
/// | mask `[batch, 1, queries, keys]` | `RowMap { modulo: queries, group: heads * queries, ..RowMap::one() }` |
/// | mask `[batch, 1, 1, keys]` | `RowMap { group: heads * queries, ..RowMap::one() }` |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowMap {
    /// Neighbouring rows that share an entry; at least 1.
    pub divide: u32,
    /// Entries after which a group of rows begins again with its first; at least 1.
    pub modulo: u32,
    /// Rows of a group; at least 1. The next group's entries follow this one's.
    pub group: u32,
}

impl RowMap {
    /// Entry `row` for each row.
    #[must_use]
    pub fn each() -> Self {
        Self { divide: 1, modulo: u32::MAX, group: u32::MAX }
    }

    /// Entry 0 for every row.
    #[must_use]
    pub fn one() -> Self {
        Self { divide: 1, modulo: 1, group: u32::MAX }
    }

    /// The entry of `row`.
    #[must_use]
    pub fn entry(&self, row: u32) -> u64 {
        u64::from(row / self.divide.max(1) % self.modulo.max(1))
            + u64::from(row / self.group.max(1)) * u64::from(self.modulo)
    }

    /// Entries that `rows` rows reach into: one more than the greatest index.
    pub(crate) fn entries(&self, rows: u32) -> u64 {
        let Some(last) = rows.checked_sub(1) else { return 0 };
        // The greatest entry within the last group, or, if that group is cut short, within the one before.
        let group = self.group.max(1);
        let full = last / group;
        let in_last = last - full * group;
        let reach = |first: u32, count: u32| {
            // Entries of rows first..=first + count.
            let (lo, hi) = (first / self.divide.max(1), (first + count) / self.divide.max(1));
            let m = self.modulo.max(1);
            if hi - lo >= m || lo % m > hi % m { m - 1 } else { hi % m }
        };
        let mut most = u64::from(reach(full * group, in_last)) + u64::from(full) * u64::from(self.modulo);
        if full > 0 {
            let before = u64::from(reach((full - 1) * group, group - 1)) + u64::from(full - 1) * u64::from(self.modulo);
            most = most.max(before);
        }
        most + 1
    }
}

/// A [`RowMap`] with where its operand lies.
#[derive(Clone, Copy, Debug, Default, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct MapParams {
    pub divide: u32,
    pub modulo: u32,
    pub group: u32,
    pub offset: u32,
    pub stride: u32,
    pub pad: [u32; 3],
}

impl MapParams {
    /// Of an operand that is not in use: entry 0 for every row.
    pub fn unused() -> Self {
        Self { divide: 1, modulo: 1, group: 1, ..Self::default() }
    }
}

#[derive(Clone, Copy, Debug, Default, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct Params {
    pub rows: u32,
    pub cols: u32,
    pub quads: u32,
    pub grid_width: u32,
    pub src_offset: u32,
    pub src_stride: u32,
    pub dst_offset: u32,
    pub dst_stride: u32,
    pub lse_offset: u32,
    pub lse_stride: u32,
    pub partials_offset: u32,
    pub partials_stride: u32,
    pub parts: u32,
    pub part_quads: u32,
    pub merged: u32,
    pub first_column: u32,
    pub zero: u32,
    pub excluded: u32,
    pub nan: u32,
    pub infinite: u32,
    pub empty: u32,
    pub scale: f32,
    pub cap: f32,
    pub inverse_cap: f32,
    pub queries: u32,
    pub diagonal: i32,
    pub draws: u32,
    pub pad: [u32; 1],
    pub mask: MapParams,
    pub temperature: MapParams,
    pub slopes: MapParams,
    pub sinks: MapParams,
    pub lengths: MapParams,
    pub seeds: MapParams,
    pub bits: MapParams,
}

impl Params {
    /// The constants that WGSL cannot write down.
    pub fn constants() -> Self {
        Self {
            excluded: f32::NEG_INFINITY.to_bits(),
            nan: 0x7fc0_0000,
            infinite: f32::INFINITY.to_bits(),
            parts: 1,
            draws: 1,
            merged: 1,
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
        let module = naga::front::wgsl::parse_str(include_str!("../../../shaders/lib/params.wgsl")).unwrap();
        let offsets = |name: &str| -> Vec<(String, u32)> {
            let (_, ty) = module.types.iter().find(|(_, t)| t.name.as_deref() == Some(name)).unwrap();
            let naga::TypeInner::Struct { members, .. } = &ty.inner else { panic!("{name} is a struct") };
            members.iter().map(|m| (m.name.clone().unwrap(), m.offset)).filter(|(n, _)| !n.starts_with("pad")).collect()
        };
        macro_rules! ours {
            ($ty:ty: $($field:ident)*) => {
                vec![$((stringify!($field).to_string(), std::mem::offset_of!($ty, $field) as u32)),*]
            };
        }
        assert_eq!(offsets("RowMap"), ours!(MapParams: divide modulo group offset stride));
        assert_eq!(
            offsets("Params"),
            ours!(Params: rows cols quads grid_width src_offset src_stride dst_offset dst_stride lse_offset lse_stride
                partials_offset partials_stride parts part_quads merged first_column zero excluded nan infinite empty
                scale cap inverse_cap queries diagonal draws mask temperature slopes sinks lengths seeds bits)
        );
        assert_eq!(size_of::<Params>() % 16, 0);
    }

    #[test]
    fn entries_are_one_more_than_the_greatest() {
        for divide in [1, 2, 3, 7] {
            for modulo in [1, 2, 5, u32::MAX] {
                for group in [1, 3, 10, u32::MAX] {
                    let map = RowMap { divide, modulo, group };
                    if modulo == u32::MAX && group != u32::MAX {
                        continue;
                    }
                    for rows in 1..40 {
                        let most = (0..rows).map(|r| map.entry(r)).max().unwrap();
                        assert_eq!(map.entries(rows), most + 1, "{map:?} {rows}");
                    }
                }
            }
        }
    }
}
