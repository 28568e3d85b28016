//! The copy kernel: the speed that every figure is a fraction of.

use std::fmt;

use crate::kernel::place::{Operand, grid, place};
use crate::kernel::softmax::{Params, step};
use crate::library::{Access, Program};
use crate::shader::{Header, fragment};
use crate::{BindError, Bound, BuildError, Caps, Library, Matrix};

/// How wide the workgroups are, and how many quads each invocation copies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Variant {
    /// Invocations of a workgroup.
    pub width: u32,
    /// Quads that one invocation copies.
    pub quads: u32,
}

impl Variant {
    /// All of them: the fastest one on an adapter is its copy speed.
    pub const ALL: [Self; 4] = [
        Self { width: 8, quads: 128 },
        Self { width: 8, quads: 1024 },
        Self { width: 256, quads: 4 },
        Self { width: 256, quads: 1 },
    ];

    /// The one that should be fastest on a device with these capabilities.
    #[must_use]
    pub fn select(caps: &Caps) -> Self {
        if caps.cpu { Self::ALL[0] } else { Self::ALL[2] }
    }

    pub(crate) fn program(self) -> Program {
        Program {
            name: self.to_string(),
            header: Header::default(),
            fragments: vec![
                fragment!("lib/params"),
                fragment!("lib/lane"),
                fragment!("lib/entry_baseline"),
                fragment!("copy"),
                fragment!("lib/operand_src_read"),
                fragment!("lib/src_w32_x4"),
                fragment!("lib/operand_dst"),
                fragment!("lib/dst_w32_x4"),
            ],
            overrides: vec![("WIDTH", f64::from(self.width))],
            bindings: vec![(0, Access::Uniform), (1, Access::Read), (2, Access::ReadWrite)],
        }
    }
}

impl fmt::Display for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "copy/f32/baseline/w{}q{}/x4", self.width, self.quads)
    }
}

/// Copies f32 rows without gaps, four elements at a time.
#[derive(Clone, Debug)]
pub struct Copy {
    library: Library,
    variant: Variant,
}

impl Copy {
    pub(crate) fn new(library: &Library, variant: Variant) -> Result<Self, BuildError> {
        if !Variant::ALL.contains(&variant) {
            return Err(BuildError::Unsupported { variant: variant.to_string(), why: "Variant::ALL does not have it" });
        }
        if variant.width > library.caps().max_invocations {
            return Err(BuildError::LimitTooLow {
                variant: variant.to_string(),
                limit: "max_compute_invocations_per_workgroup",
                needed: u64::from(variant.width),
                available: u64::from(library.caps().max_invocations),
            });
        }
        library.built(&variant.program())?;
        Ok(Self { library: library.clone(), variant })
    }

    /// Binds two f32 matrices of one shape, contiguous and in quads.
    ///
    /// # Errors
    /// When they are not, or do not fit the device.
    pub fn bind(&self, src: Matrix<'_>, dst: Matrix<'_>) -> Result<Bound, BindError> {
        if (src.rows, src.cols) != (dst.rows, dst.cols) {
            let expected = format!("{} x {}", src.rows, src.cols);
            let got = format!("{} x {}", dst.rows, dst.cols);
            return Err(BindError::ShapeMismatch { what: "dst", expected, got });
        }
        for (what, m) in [("src", &src), ("dst", &dst)] {
            if !m.in_quads() || m.stride != m.cols {
                return Err(BindError::NotInQuads { what, variant: self.variant.to_string() });
            }
        }
        if src.is_empty() {
            return Ok(Bound::default());
        }
        let operand = |binding, what, matrix, writes| Operand { binding, what, matrix, element: 4, writes };
        let list = [operand(1, "src", src, false), operand(2, "dst", dst, true)];
        let placement = place(self.library.caps(), &list, None, false)?;
        if placement.write_all {
            return Err(BindError::Overlap { what: "dst", other: "src" });
        }
        let quads = src.extent() / 4;
        let groups = quads.div_ceil(u64::from(self.variant.width * self.variant.quads));
        let groups = grid(self.library.caps(), src.rows, groups)?;
        let params = Params {
            rows: src.rows,
            cols: src.cols,
            quads: src.cols / 4,
            grid_width: groups[0],
            part_quads: self.variant.quads,
            src_offset: placement.placed[0].offset / 4,
            dst_offset: placement.placed[1].offset / 4,
            ..Params::constants()
        };
        let built = self.library.built(&self.variant.program())?;
        Ok(Bound { steps: vec![step(self.library.device(), built, &placement, &params, groups)?] })
    }

    /// The variant that runs.
    #[must_use]
    pub fn variant(&self) -> Variant {
        self.variant
    }
}
