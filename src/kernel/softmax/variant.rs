//! The variants of softmax: everything that decides which machine code runs.

use std::fmt;
use std::str::FromStr;

use super::{Dtype, Shape};
use crate::shader::{Fragment, fragment};
use crate::{BuildError, Caps};

/// How a row is spread over the device, and by which algorithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Schedule {
    /// Several short rows per workgroup, kept on chip: one global read.
    Rows,
    /// One row per workgroup, kept on chip: one global read.
    OnChip,
    /// One row per workgroup in two passes over memory.
    Stream,
    /// A row split over several workgroups, their partial sums merged: two dispatches.
    Split,
    /// The rival: running maximum and rescaled sum (Milakov & Gimelshein 2018), with the built-in exp.
    Online,
    /// The rival: three passes that compute each exponential twice, with the built-in exp.
    Recompute,
    /// The rival: three passes that store the exponentials and scale them in place, with the built-in exp.
    Reload,
}

impl Schedule {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Rows, Self::OnChip, Self::Stream, Self::Split, Self::Online, Self::Recompute, Self::Reload];

    /// Whether it is one of the algorithms that ours is compared with. Its results are as accurate as the
    /// device's own `exp` and `log` (docs/accuracy.md), and `select` never picks it.
    #[must_use]
    pub fn is_rival(self) -> bool {
        matches!(self, Self::Online | Self::Recompute | Self::Reload)
    }

    /// Global reads and writes of each element: the traffic that bounds its speed.
    #[must_use]
    pub fn traffic(self) -> (u32, u32) {
        match self {
            Self::Rows | Self::OnChip => (1, 1),
            Self::Stream | Self::Split | Self::Online => (2, 1),
            Self::Recompute => (3, 1),
            Self::Reload => (3, 2),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Rows => "rows",
            Self::OnChip => "onchip",
            Self::Stream => "stream",
            Self::Split => "split",
            Self::Online => "online",
            Self::Recompute => "recompute",
            Self::Reload => "reload",
        }
    }
}

/// How invocations exchange partial sums.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Tier {
    /// Through workgroup memory: any `WebGPU` device.
    Baseline,
    /// Through subgroup shuffles first, then through workgroup memory: needs `wgpu::Features::SUBGROUP`.
    Subgroup,
    /// Through subgroup shuffles alone: a row's invocations are of one subgroup. Needs `wgpu::Features::SUBGROUP`, and
    /// subgroups of at least [`Variant::lanes`].
    Shuffle,
}

impl Tier {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Baseline, Self::Subgroup, Self::Shuffle];

    /// `baseline`, `subgroup` or `shuffle`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Baseline => "baseline",
            Self::Subgroup => "subgroup",
            Self::Shuffle => "shuffle",
        }
    }

    /// Whether `lanes` invocations of a workgroup of `width` can exchange this way.
    pub(crate) fn fits(self, width: u32, lanes: u32) -> bool {
        match self {
            Self::Baseline => true,
            Self::Subgroup => lanes == width && lanes > SHUFFLED,
            Self::Shuffle => lanes > 1 && lanes <= SHUFFLED,
        }
    }

    /// Entry point and exchange of partial results, in a subgroup by `exchange`.
    pub(crate) fn fragments(self, exchange: Fragment) -> Vec<Fragment> {
        match self {
            Self::Baseline => vec![fragment!("lib/entry_baseline"), fragment!("lib/reduce_workgroup")],
            Self::Subgroup => {
                vec![fragment!("lib/entry_subgroup"), fragment!("lib/reduce_subgroup"), exchange]
            }
            Self::Shuffle => {
                vec![fragment!("lib/entry_shuffle"), fragment!("lib/reduce_shuffle"), exchange]
            }
        }
    }

    /// Whether a device with these capabilities can run a variant with workgroups of `width`, `lanes` a row.
    pub(crate) fn supported(self, caps: &Caps, variant: &str, width: u32, lanes: u32) -> Result<(), BuildError> {
        let low = |limit, needed, available| BuildError::LimitTooLow {
            variant: variant.into(),
            limit,
            needed: u64::from(needed),
            available: u64::from(available),
        };
        if self != Self::Baseline && !caps.subgroup {
            return Err(BuildError::MissingFeature { variant: variant.into(), feature: "SUBGROUP" });
        }
        if self == Self::Shuffle && lanes > caps.min_subgroup_size {
            return Err(low("subgroup_min_size", lanes, caps.min_subgroup_size));
        }
        if width > caps.max_invocations {
            return Err(low("max_compute_invocations_per_workgroup", width, caps.max_invocations));
        }
        let shelf = if self == Self::Shuffle { 0 } else { width * 16 };
        if shelf > caps.max_workgroup_bytes {
            return Err(low("max_compute_workgroup_storage_size", shelf, caps.max_workgroup_bytes));
        }
        Ok(())
    }

    /// The fastest that a device with these capabilities has.
    #[must_use]
    pub fn select(caps: &Caps, width: u32, lanes: u32) -> Self {
        let possible = |tier: &Self| caps.subgroup && tier.fits(width, lanes);
        match [Self::Shuffle, Self::Subgroup].into_iter().find(possible) {
            Some(Self::Shuffle) if lanes > caps.min_subgroup_size => Self::Baseline,
            Some(tier) => tier,
            None => Self::Baseline,
        }
    }
}

/// Invocations that share a row by shuffles alone, at most: what most GPUs have as a subgroup.
const SHUFFLED: u32 = 32;

/// Everything that decides which machine code runs, options aside.
///
/// Its `Display` is the pipeline's label, the cache key's beginning, the name in tests and benchmarks, and what
/// the command line takes: `softmax/onchip/f16-f32/subgroup/w256k4/x4` keeps one row per workgroup of 256 on
/// chip, four quads per invocation, reads f16, writes f32, merges by subgroup shuffles, and moves four elements
/// at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Variant {
    /// How a row is spread.
    pub schedule: Schedule,
    /// The element type of the input.
    pub input: Dtype,
    /// The element type of the output.
    pub output: Dtype,
    /// f16 elements have the device's own type (`SHADER_F16`); otherwise they are unpacked from u32 words.
    pub native_f16: bool,
    /// How invocations exchange partial sums.
    pub tier: Tier,
    /// Invocations of a workgroup: a power of two.
    pub width: u32,
    /// Invocations that share a row: a power of two, at most `width`.
    pub lanes: u32,
    /// Quads of the row that one invocation keeps on chip; 0 where none are kept.
    pub keep: u32,
    /// Four elements per load and store; wants offsets, columns and strides in multiples of four.
    pub quads: bool,
}

/// (schedule, width, lanes, keep). The small widths are for adapters that run on a CPU.
const GEOMETRIES: &[(Schedule, u32, u32, u32)] = &[
    (Schedule::Rows, 8, 1, 8),
    (Schedule::Rows, 8, 1, 16),
    (Schedule::Rows, 8, 1, 32),
    (Schedule::Rows, 64, 4, 4),
    (Schedule::Rows, 256, 8, 4),
    (Schedule::Rows, 256, 16, 4),
    (Schedule::Rows, 256, 32, 4),
    (Schedule::Rows, 256, 32, 8),
    (Schedule::Rows, 256, 64, 4),
    (Schedule::OnChip, 8, 8, 16),
    (Schedule::OnChip, 8, 8, 32),
    (Schedule::OnChip, 64, 64, 4),
    (Schedule::OnChip, 64, 64, 8),
    (Schedule::OnChip, 256, 256, 4),
    (Schedule::OnChip, 256, 256, 8),
    (Schedule::OnChip, 256, 256, 16),
    (Schedule::Stream, 8, 1, 0),
    (Schedule::Stream, 8, 8, 0),
    (Schedule::Stream, 64, 64, 0),
    (Schedule::Stream, 256, 256, 0),
    (Schedule::Split, 8, 8, 0),
    (Schedule::Split, 256, 256, 0),
    (Schedule::Online, 8, 1, 0),
    (Schedule::Online, 8, 8, 0),
    (Schedule::Online, 256, 256, 0),
    (Schedule::Recompute, 8, 1, 0),
    (Schedule::Recompute, 8, 8, 0),
    (Schedule::Recompute, 256, 256, 0),
    (Schedule::Reload, 8, 1, 0),
    (Schedule::Reload, 8, 8, 0),
    (Schedule::Reload, 256, 256, 0),
];

/// Loop iterations that one invocation may go through. Mesa 22.3.6's lavapipe silently ends all loops of an
/// invocation after 65,535.
const MAX_ITERATIONS: u32 = 60_000;

/// The most workgroups that one row is split over: every one of them reads all partial sums of the row.
const MAX_PARTS: u32 = 512;

impl Variant {
    /// Every variant, on every device.
    pub fn all() -> impl Iterator<Item = Self> {
        GEOMETRIES.iter().flat_map(|&geometry| {
            Dtype::ALL.into_iter().flat_map(move |input| {
                Dtype::ALL.into_iter().flat_map(move |output| Self::of_geometry(geometry, input, output))
            })
        })
    }

    fn of_geometry(
        (schedule, width, lanes, keep): (Schedule, u32, u32, u32),
        input: Dtype,
        output: Dtype,
    ) -> impl Iterator<Item = Self> {
        let halves = if input == Dtype::F16 || output == Dtype::F16 { &[false, true][..] } else { &[false][..] };
        // The reload algorithm keeps its exponentials in the output, which must not round them.
        let possible = schedule != Schedule::Reload || output == Dtype::F32;
        halves
            .iter()
            .filter(move |_| possible)
            .flat_map(|&native_f16| Tier::ALL.map(|tier| (native_f16, tier)))
            .filter(move |(_, tier)| tier.fits(width, lanes))
            // A CPU that would have to wait at barriers is faster reading the row again.
            .filter(move |(_, tier)| (schedule, width, *tier) != (Schedule::OnChip, 8, Tier::Baseline))
            .flat_map(|(native_f16, tier)| [true, false].map(|quads| (native_f16, tier, quads)))
            .map(move |(native_f16, tier, quads)| Self {
                schedule,
                input,
                output,
                native_f16,
                tier,
                width,
                lanes,
                keep,
                quads,
            })
    }

    /// Whether a device with these capabilities can run it.
    ///
    /// # Errors
    /// What it lacks.
    pub fn supported(&self, caps: &Caps) -> Result<(), BuildError> {
        // The fields are public, but not every combination of them is a kernel.
        if !Self::all().any(|v| v == *self) {
            return Err(BuildError::Unsupported { variant: self.to_string(), why: "Variant::all does not have it" });
        }
        self.tier.supported(caps, &self.to_string(), self.width, self.lanes)?;
        if self.native_f16 && !caps.f16 {
            return Err(BuildError::MissingFeature { variant: self.to_string(), feature: "SHADER_F16" });
        }
        Ok(())
    }

    /// Columns it can take: what fits on chip, or what stays under the bound on loop iterations.
    #[must_use]
    pub fn max_columns(&self) -> u32 {
        // Iterations of one invocation per quad of its own: pass 1 takes four at a time, others one.
        let passes_in_quarters = match self.schedule {
            Schedule::Rows | Schedule::OnChip => return self.lanes.saturating_mul(self.keep).saturating_mul(4),
            Schedule::Stream | Schedule::Online => 5,
            Schedule::Recompute | Schedule::Reload => 12,
            Schedule::Split => return self.width.saturating_mul(MAX_ITERATIONS / 5 * 16).saturating_mul(MAX_PARTS),
        };
        self.lanes.saturating_mul(MAX_ITERATIONS / passes_in_quarters * 16)
    }

    /// (workgroups that one row is split over, quads that each covers).
    #[must_use]
    pub fn parts(&self, cols: u32) -> (u32, u32) {
        let quads = cols.div_ceil(4).max(1);
        if self.schedule != Schedule::Split {
            return (1, quads);
        }
        // Enough work for one workgroup to be worth its start: long loops for a CPU's narrow ones.
        let per_lane = if self.width <= 8 { 2048 } else { 8 };
        let width = self.width.clamp(1, 1024);
        let wanted = quads.div_ceil(per_lane * width).clamp(1, MAX_PARTS);
        let part = quads.div_ceil(wanted).next_multiple_of(width);
        (quads.div_ceil(part), part)
    }

    /// The variant that should be fastest for `shape` on a device with these capabilities. Pure: the same
    /// question has the same answer.
    #[must_use]
    pub fn select(caps: &Caps, shape: &Shape, input: Dtype, output: Dtype) -> Self {
        // 256 invocations, 16 bytes each: less is below WebGPU's least.
        let wide = caps.max_invocations >= 256 && caps.max_workgroup_bytes >= 4096;
        let (schedule, width, lanes, keep) = match (caps.cpu, wide) {
            (true, _) => for_cpu(caps, shape),
            (false, true) => for_gpu(caps, shape),
            (false, false) => for_small_gpu(shape),
        };
        Self {
            schedule,
            input,
            output,
            native_f16: caps.f16 && (input == Dtype::F16 || output == Dtype::F16),
            tier: match Tier::select(caps, width, lanes) {
                // Merging sums is long work, which is halved at each step of a tree in workgroup memory: 1.38 copies at 2048 x 4096
                // on an H200, by shuffles of all 1.70.
                Tier::Subgroup => Tier::Baseline,
                tier => tier,
            },
            width,
            lanes,
            keep,
            quads: shape.quads,
        }
    }
}

/// A CPU adapter runs a workgroup's subgroups one after another and pays for each barrier: without any, its eight
/// lanes take a row each, or one row together where they can shuffle.
fn for_cpu(caps: &Caps, shape: &Shape) -> (Schedule, u32, u32, u32) {
    let shuffles = Tier::select(caps, 8, 8) == Tier::Shuffle;
    // Rows for several workgroups of eight on every core.
    let many = shape.rows >= if shuffles { 256 } else { 16 };
    match shape.cols {
        0..=32 => (Schedule::Rows, 8, 1, 8),
        33..=64 => (Schedule::Rows, 8, 1, 16),
        // A row to a lane would leave seven of eight lanes without one.
        65..=128 if shape.rows == 1 && shuffles => (Schedule::Stream, 8, 8, 0),
        65..=128 => (Schedule::Rows, 8, 1, 32),
        257..=512 if shuffles => (Schedule::OnChip, 8, 8, 16),
        513..=1024 if shuffles => (Schedule::OnChip, 8, 8, 32),
        129..=4095 if many => (Schedule::Stream, 8, 1, 0),
        4096..=150_000 if many && !shuffles => (Schedule::Stream, 8, 1, 0),
        129..=65_535 => (Schedule::Stream, 8, 8, 0),
        65_536..=1_500_000 if shape.rows >= 4 => (Schedule::Stream, 8, 8, 0),
        _ => (Schedule::Split, 8, 8, 0),
    }
}

/// A GPU wants every row's loads wide, the row on chip while it fits, and enough workgroups to fill it.
fn for_gpu(caps: &Caps, shape: &Shape) -> (Schedule, u32, u32, u32) {
    let shuffles = caps.subgroup && caps.min_subgroup_size >= 32;
    match shape.cols {
        0..=64 => (Schedule::Rows, 64, 4, 4),
        65..=128 => (Schedule::Rows, 256, 8, 4),
        129..=256 => (Schedule::Rows, 256, 16, 4),
        257..=512 => (Schedule::Rows, 256, 32, 4),
        // One element at a time, a row on chip is too long for so few invocations.
        513..=1024 if !shape.quads && shape.rows < 512 => (Schedule::Stream, 256, 256, 0),
        513..=1024 if !shape.quads => (Schedule::Stream, 64, 64, 0),
        513..=1024 if shuffles => (Schedule::Rows, 256, 32, 8),
        513..=1024 => (Schedule::Rows, 256, 64, 4),
        // Many rows hide what few invocations wait for.
        1025..=2048 if shape.rows >= 128 => (Schedule::OnChip, 64, 64, 8),
        1025..=4096 => (Schedule::OnChip, 256, 256, 4),
        4097..=8192 => (Schedule::OnChip, 256, 256, 8),
        8193..=16_384 => (Schedule::OnChip, 256, 256, 16),
        _ if shape.rows >= 128 => (Schedule::Stream, 256, 256, 0),
        _ => (Schedule::Split, 256, 256, 0),
    }
}

/// The same where workgroups are of 64 invocations at most.
fn for_small_gpu(shape: &Shape) -> (Schedule, u32, u32, u32) {
    match shape.cols {
        0..=64 => (Schedule::Rows, 64, 4, 4),
        65..=1024 => (Schedule::OnChip, 64, 64, 4),
        1025..=12_000_000 => (Schedule::Stream, 64, 64, 0),
        _ => (Schedule::Split, 8, 8, 0),
    }
}

impl fmt::Display for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let storage = |dtype: Dtype| if dtype == Dtype::F16 && self.native_f16 { "f16n" } else { dtype.name() };
        write!(f, "softmax/{}/{}", self.schedule.name(), storage(self.input))?;
        if self.input != self.output {
            write!(f, "-{}", storage(self.output))?;
        }
        write!(f, "/{}/w{}", self.tier.name(), self.width)?;
        if self.lanes != self.width {
            write!(f, "l{}", self.lanes)?;
        }
        if self.keep > 0 {
            write!(f, "k{}", self.keep)?;
        }
        f.write_str(if self.quads { "/x4" } else { "/x1" })
    }
}

impl FromStr for Variant {
    type Err = BuildError;

    fn from_str(name: &str) -> Result<Self, BuildError> {
        Self::all().find(|v| v.to_string() == name).ok_or_else(|| BuildError::UnknownVariant(name.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// On a CPU adapter that shuffles, one row of 65 to 128 columns is shared by eight lanes; more are not.
    #[test]
    fn a_single_short_row_is_shared() {
        let lavapipe = Caps { cpu: true, subgroup: true, min_subgroup_size: 8, ..Caps::baseline() };
        let chosen = |caps: &Caps, rows, cols| {
            let variant = Variant::select(caps, &Shape::new(rows, cols), Dtype::F32, Dtype::F32);
            (variant.schedule, variant.lanes)
        };
        assert_eq!(chosen(&lavapipe, 1, 128), (Schedule::Stream, 8));
        assert_eq!(chosen(&lavapipe, 1, 68), (Schedule::Stream, 8));
        assert_eq!(chosen(&lavapipe, 1, 64), (Schedule::Rows, 1));
        assert_eq!(chosen(&lavapipe, 2, 128), (Schedule::Rows, 1));
        // Without shuffles they would wait at barriers.
        assert_eq!(chosen(&Caps { subgroup: false, ..lavapipe }, 1, 128), (Schedule::Rows, 1));
    }
}
