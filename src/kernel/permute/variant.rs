//! The variants of dispatch and combine: how rows are spread over the device.

use std::fmt;
use std::str::FromStr;

use super::Shape;
use crate::kernel::softmax::Dtype;
use crate::{BuildError, Caps};

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kernel {
    /// Rows of tokens to slots.
    Dispatch,
    /// Rows of slots back to tokens.
    Combine,
}

impl Kernel {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Dispatch, Self::Combine];

    fn name(self) -> &'static str {
        match self {
            Self::Dispatch => "dispatch",
            Self::Combine => "combine",
        }
    }
}

/// Everything that decides which machine code runs, options aside: `permute/dispatch/f32/w8/x4`,
/// `permute/combine/f16-f32/w256l32/x1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Variant {
    /// Which of the two.
    pub kernel: Kernel,
    /// The element type of what is read.
    pub input: Dtype,
    /// The element type of what is written: dispatch changes none.
    pub output: Dtype,
    /// Invocations of a workgroup.
    pub width: u32,
    /// Invocations that share a row.
    pub lanes: u32,
    /// Four elements per load and store.
    pub quads: bool,
}

/// (width, lanes). The small widths are for adapters that run on a CPU.
const GEOMETRIES: [(u32, u32); 4] = [(8, 1), (8, 8), (256, 32), (256, 256)];

/// Loop iterations of one invocation, at most: as for softmax.
const MAX_ITERATIONS: u32 = 60_000;

/// How the rows of an output are shared out: tasks of LANES invocations each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Division {
    /// Rows of a task.
    pub rows_each: u32,
    /// Tasks that share a row.
    pub parts: u32,
    /// Quads of a row that each of them has.
    pub part_quads: u32,
}

impl Variant {
    /// Every variant, on every device.
    pub fn all() -> impl Iterator<Item = Self> {
        GEOMETRIES.into_iter().flat_map(|(width, lanes)| {
            Kernel::ALL.into_iter().flat_map(move |kernel| {
                let pairs = Dtype::ALL.into_iter().flat_map(|input| Dtype::ALL.map(|output| (input, output)));
                pairs.filter(move |(input, output)| kernel == Kernel::Combine || input == output).flat_map(
                    move |(input, output)| {
                        [true, false].map(|quads| Self { kernel, input, output, width, lanes, quads })
                    },
                )
            })
        })
    }

    /// Whether a device with these capabilities can run it.
    ///
    /// # Errors
    /// What it lacks.
    pub fn supported(&self, caps: &Caps) -> Result<(), BuildError> {
        if !Self::all().any(|v| v == *self) {
            return Err(BuildError::Unsupported { variant: self.to_string(), why: "Variant::all does not have it" });
        }
        if self.width > caps.max_invocations {
            return Err(BuildError::LimitTooLow {
                variant: self.to_string(),
                limit: "max_compute_invocations_per_workgroup",
                needed: u64::from(self.width),
                available: u64::from(caps.max_invocations),
            });
        }
        Ok(())
    }

    /// The variant that should be fastest for `shape` on a device with these capabilities. Pure.
    #[must_use]
    pub fn select(caps: &Caps, kernel: Kernel, shape: &Shape, input: Dtype, output: Dtype) -> Self {
        // A single sum would leave seven of eight lanes without a row.
        let most = if kernel == Kernel::Combine && shape.tokens == 1 { 4096 } else { 8192 };
        // A lane that has a row to itself looks its table up once, eight that share one do so each; but they load from one row
        // at a time. The more there is to load of a row, the more that counts.
        let short = if caps.cpu { shape.row_bytes(kernel, input, output) < most } else { shape.hidden < 512 };
        let (width, lanes) = match (caps.cpu || caps.max_invocations < 256, short) {
            (true, true) => (8, 1),
            (true, false) => (8, 8),
            // Several quads of a long row to an invocation are several loads on their way at a time.
            (false, _) if kernel == Kernel::Combine && shape.hidden > 1024 => (256, 32),
            (false, true) if kernel == Kernel::Dispatch => (256, 32),
            (false, _) => (256, 256),
        };
        Self { kernel, input, output, width, lanes, quads: shape.quads }
    }

    /// Tasks of a row's length and of several rows, where rows are short and workgroups are dear; of a part of one, where they
    /// are long.
    pub(crate) fn division(&self, rows: u32, quads: u32, choices: u32) -> Division {
        let cpu = self.width <= 8;
        let goal = self.lanes * if cpu { 128 } else { 4 };
        let parts = quads.div_ceil(goal).max(1);
        let part_quads = quads.div_ceil(parts).next_multiple_of(self.lanes * 4);
        if !cpu || quads.saturating_mul(2) > goal {
            return Division { rows_each: 1, parts: quads.div_ceil(part_quads).max(1), part_quads };
        }
        // Look-ups, blocks of four, up to three single quads: all over for each choice.
        let iterations = (quads / (self.lanes * 4) + 5).saturating_mul(choices + 1) + 1;
        let most = (goal / quads.max(1)).min(MAX_ITERATIONS / iterations).max(1);
        // Enough workgroups for the cores of a large machine.
        let enough = rows.div_ceil(64 * (self.width / self.lanes));
        Division { rows_each: most.min(enough).max(1), parts: 1, part_quads }
    }
}

impl fmt::Display for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "permute/{}/{}", self.kernel.name(), self.input.name())?;
        if self.input != self.output {
            write!(f, "-{}", self.output.name())?;
        }
        write!(f, "/w{}", self.width)?;
        if self.lanes != self.width {
            write!(f, "l{}", self.lanes)?;
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
    use super::super::MAX_CHOICES;
    use super::*;

    #[test]
    fn names_round_trip() {
        for variant in Variant::all() {
            assert_eq!(variant.to_string().parse(), Ok(variant));
        }
        assert_eq!(Variant::all().count(), 96);
    }

    /// Every quad of every row is in exactly one task, and no invocation loops too often.
    #[test]
    fn divisions_cover_rows() {
        for variant in Variant::all() {
            for quads in [1, 2, 3, 8, 31, 32, 33, 64, 127, 128, 512, 513, 1024, 1025, 5000, 1 << 20] {
                for (rows, choices) in [(1, 1), (7, 8), (300, 2), (1 << 20, 1), (1 << 20, MAX_CHOICES)] {
                    let Division { rows_each, parts, part_quads } = variant.division(rows, quads, choices);
                    assert!(rows_each >= 1 && (parts == 1 || rows_each == 1), "{variant}");
                    assert!(parts * part_quads >= quads && (parts - 1) * part_quads < quads, "{variant} {quads}");
                    let blocks = part_quads.min(quads) / (4 * variant.lanes) + 4;
                    let iterations = u64::from(rows_each) * u64::from(1 + choices + blocks * (choices + 1));
                    assert!(iterations <= u64::from(MAX_ITERATIONS), "{variant} {quads} {rows} {choices}");
                }
            }
        }
    }

    #[test]
    fn what_is_selected_is_supported() {
        for caps in
            [Caps::baseline(), Caps { cpu: true, ..Caps::baseline() }, Caps { max_invocations: 64, ..Caps::baseline() }]
        {
            for hidden in [0, 1, 100, 2048, 1 << 20] {
                let shape = Shape::new(8, 2, hidden);
                let variant = Variant::select(&caps, Kernel::Combine, &shape, Dtype::F16, Dtype::F32);
                assert_eq!((variant.supported(&caps), variant.quads), (Ok(()), shape.quads));
            }
        }
    }

    /// On a CPU adapter it is the bytes of a row that count, those of each choice included.
    #[test]
    fn short_rows_have_a_lane_each() {
        let usual = Caps::baseline();
        let cpu = Caps { cpu: true, ..Caps::baseline() };
        let small = Caps { max_invocations: 64, ..Caps::baseline() };
        let lanes = |caps: &Caps, kernel, (choices, hidden), dtype| {
            Variant::select(caps, kernel, &Shape::new(64, choices, hidden), dtype, dtype).lanes
        };
        for (kernel, shape, dtype, expected) in [
            (Kernel::Combine, (8, 128), Dtype::F32, 1),
            (Kernel::Combine, (8, 256), Dtype::F32, 8),
            (Kernel::Combine, (2, 384), Dtype::F32, 1),
            (Kernel::Combine, (8, 256), Dtype::Bf16, 1),
            (Kernel::Combine, (2, 768), Dtype::Bf16, 1),
            (Kernel::Combine, (8, 2048), Dtype::Bf16, 8),
            (Kernel::Dispatch, (8, 512), Dtype::F32, 1),
            (Kernel::Dispatch, (8, 1024), Dtype::F32, 8),
            (Kernel::Dispatch, (8, 1024), Dtype::Bf16, 1),
        ] {
            assert_eq!(lanes(&cpu, kernel, shape, dtype), expected, "{kernel:?} {shape:?} {dtype:?}");
        }
        let single = Variant::select(&cpu, Kernel::Combine, &Shape::new(1, 8, 256), Dtype::Bf16, Dtype::Bf16);
        assert_eq!(single.lanes, 8);
        // Whoever is no CPU goes by elements.
        for (caps, short, long) in [(&small, 1, 8), (&usual, 32, 256)] {
            assert_eq!(lanes(caps, Kernel::Dispatch, (8, 511), Dtype::F32), short);
            assert_eq!(lanes(caps, Kernel::Dispatch, (1, 512), Dtype::Bf16), long);
        }
        // A GPU's combine wants several loads of an invocation on their way.
        let combine = |caps, hidden| lanes(caps, Kernel::Combine, (8, hidden), Dtype::F32);
        assert_eq!([combine(&usual, 256), combine(&usual, 1024), combine(&usual, 1028)], [256, 256, 32]);
        assert_eq!([combine(&small, 511), combine(&small, 512)], [1, 8]);
    }
}
