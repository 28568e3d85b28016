//! How tokens are spread over the device.

use std::fmt;
use std::str::FromStr;

use super::super::softmax::Tier;
use super::{Dtype, Groups, MAX_CHOICES, Options, Spec};
use crate::{BuildError, Caps};

/// How a token is spread over the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Schedule {
    /// A token is the work of one invocation, its best experts in registers: at most 16 choices, and groups of whole quads, at
    /// most 32, of which no more are kept than experts are chosen, rounded up to 4.
    Lane,
    /// A token is the work of some invocations of one workgroup, its keys in workgroup memory.
    Row,
}

impl Schedule {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Lane, Self::Row];

    fn name(self) -> &'static str {
        match self {
            Self::Lane => "lane",
            Self::Row => "row",
        }
    }
}

/// Everything that decides which machine code runs, the specification aside: `router/row/f32/shuffle/w256l32/x4`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Variant {
    /// How a token is spread.
    pub schedule: Schedule,
    /// The element type of the logits.
    pub input: Dtype,
    /// How invocations exchange candidates.
    pub tier: Tier,
    /// Invocations of a workgroup.
    pub width: u32,
    /// Invocations that share a token.
    pub lanes: u32,
    /// Four elements per load.
    pub quads: bool,
}

/// (schedule, width, lanes). The small widths are for adapters that run on a CPU.
const GEOMETRIES: &[(Schedule, u32, u32)] = &[
    (Schedule::Lane, 8, 1),
    (Schedule::Lane, 64, 1),
    (Schedule::Row, 8, 8),
    (Schedule::Row, 64, 32),
    (Schedule::Row, 256, 32),
    (Schedule::Row, 256, 256),
];

/// The most choices that one invocation keeps in registers.
const MOST_KEPT: u32 = 16;

impl Variant {
    /// Every variant, on every device.
    pub fn all() -> impl Iterator<Item = Self> {
        GEOMETRIES.iter().flat_map(|&(schedule, width, lanes)| {
            Dtype::ALL.into_iter().flat_map(move |input| {
                Tier::ALL.into_iter().filter(move |tier| tier.fits(width, lanes)).flat_map(move |tier| {
                    [true, false].map(|quads| Self { schedule, input, tier, width, lanes, quads })
                })
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
        self.tier.supported(caps, &self.to_string(), self.width, self.lanes)
    }

    /// Whether it takes this specification with so many experts.
    ///
    /// # Errors
    /// What is too much for it.
    pub fn fits(&self, caps: &Caps, spec: &Spec, experts: u32) -> Result<(), BuildError> {
        let unsupported = |why| Err(BuildError::Unsupported { variant: self.to_string(), why });
        if self.schedule == Schedule::Lane {
            if spec.choices > MOST_KEPT {
                return unsupported("it keeps at most 16 choices in registers: row variants take more");
            }
            let kept = spec.choices.next_multiple_of(4);
            let awkward =
                |g: &Groups| g.count > 32 || g.kept > kept || (g.count > 1 && !(experts / g.count).is_multiple_of(4));
            if spec.options.groups.as_ref().is_some_and(awkward) {
                let why = "it takes at most 32 groups of a multiple of 4 experts, and keeps no more than it chooses experts, \
                           rounded up to 4: row variants take others";
                return unsupported(why);
            }
            return Ok(());
        }
        let needed = u64::from(self.workgroup_bytes(&spec.options, spec.choices, experts));
        if needed > u64::from(caps.max_workgroup_bytes) {
            return Err(BuildError::LimitTooLow {
                variant: self.to_string(),
                limit: "max_compute_workgroup_storage_size",
                needed,
                available: u64::from(caps.max_workgroup_bytes),
            });
        }
        Ok(())
    }

    /// Rows of one workgroup at a time.
    fn rows(&self) -> u32 {
        self.width / self.lanes
    }

    /// Room for the keys of a row: a few sizes, so that not every number of experts is a pipeline.
    pub(super) fn columns(experts: u32) -> u32 {
        experts.max(64).next_power_of_two()
    }

    /// Room for the keys of a workgroup's groups.
    pub(super) fn group_keys(&self, options: &Options) -> u32 {
        options.groups.map_or(0, |g| self.rows() * g.count.max(1).next_power_of_two())
    }

    /// Room for the choices of a workgroup.
    pub(super) fn chosen(&self, choices: u32) -> u32 {
        self.rows() * choices.min(MAX_CHOICES).next_multiple_of(4)
    }

    fn workgroup_bytes(&self, options: &Options, choices: u32, experts: u32) -> u32 {
        let shelf = if self.tier == Tier::Shuffle { 0 } else { self.width * 16 };
        let keys = self.rows() * Self::columns(experts);
        4 * (keys + self.group_keys(options) + 2 * self.chosen(choices)) + shelf
    }

    /// Tokens that one invocation routes, one after another: a workgroup of little work is dear on a CPU.
    pub(super) fn rows_each(&self, experts: u32, tokens: u32) -> u32 {
        if self.schedule == Schedule::Row || self.width > 8 {
            return 1;
        }
        // Two workgroups a core leave no core idle, on the machines that adapters of this kind run on.
        (512 / experts.max(1)).min(tokens / (8 * 64)).max(1)
    }

    /// The variant that should be fastest for `spec` on a device with these capabilities. Pure.
    #[must_use]
    pub fn select(caps: &Caps, spec: &Spec) -> Self {
        let wide = caps.max_invocations >= 256 && caps.max_workgroup_bytes >= 16_352;
        let (tokens, experts) = (spec.shape.rows, spec.shape.cols);
        // Invocations that share a row take turns for each choice; one alone looks at all of the row once.
        let short = experts <= 64 || (experts <= 128 && spec.choices >= 6);
        let wanted: &[_] = match (caps.cpu, wide) {
            (true, _) => &[(Schedule::Lane, 8, 1), (Schedule::Row, 8, 8)],
            // A token to an invocation, as long as its row is short or there are enough tokens; few of them in small workgroups, for
            // more of the GPU.
            (false, true) if short && tokens <= 2048 => &[(Schedule::Lane, 8, 1), (Schedule::Row, 256, 32)],
            (false, true) if short || (experts <= 256 && tokens >= 8192) => {
                &[(Schedule::Lane, 64, 1), (Schedule::Row, 256, 32)]
            }
            (false, true) if experts <= 128 => &[(Schedule::Row, 256, 32), (Schedule::Row, 256, 256)],
            (false, true) if tokens <= 64 || experts > 1024 || (experts > 256 && tokens <= 512) => {
                &[(Schedule::Row, 256, 256)]
            }
            (false, true) if experts <= 256 => &[(Schedule::Row, 256, 32), (Schedule::Row, 256, 256)],
            (false, true) => &[(Schedule::Row, 64, 32), (Schedule::Row, 256, 256)],
            (false, false) => &[(Schedule::Row, 64, 32), (Schedule::Row, 8, 8)],
        };
        let of = |&(schedule, width, lanes): &(Schedule, u32, u32)| Self {
            schedule,
            input: spec.input,
            tier: Tier::select(caps, width, lanes),
            width,
            lanes,
            quads: spec.shape.quads,
        };
        let fits = |v: &Self| v.supported(caps).is_ok() && v.fits(caps, spec, experts).is_ok();
        let fallback = of(&(Schedule::Row, 8, 8));
        wanted.iter().map(of).find(fits).unwrap_or(fallback)
    }
}

impl fmt::Display for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (schedule, input, tier) = (self.schedule.name(), self.input.name(), self.tier.name());
        write!(f, "router/{schedule}/{input}/{tier}/w{}", self.width)?;
        if self.schedule == Schedule::Row && self.lanes != self.width {
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
