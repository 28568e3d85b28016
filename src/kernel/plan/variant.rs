//! How the work is spread, and what fits which device.

use std::fmt;
use std::str::FromStr;

use super::Spec;
use super::sources::own_counters;
use crate::{BuildError, Caps};

/// How pairs are spread over the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Schedule {
    /// One workgroup does everything in one dispatch: for few pairs. It has no capacities.
    One,
    /// A tile of pairs is the work of one invocation, one pair after the other.
    Serial,
    /// A tile of pairs is the work of one workgroup.
    Group,
}

impl Schedule {
    fn name(self) -> &'static str {
        match self {
            Self::One => "one",
            Self::Serial => "serial",
            Self::Group => "group",
        }
    }
}

/// Everything that decides which machine code runs, options aside: `plan/serial/w8`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Variant {
    /// How pairs are spread.
    pub schedule: Schedule,
    /// Invocations of a workgroup.
    pub width: u32,
}

/// Loop iterations of one invocation, at most: as for softmax.
const MAX_ITERATIONS: u64 = 60_000;

/// Pairs and slots that one invocation of `plan/serial/…` looks after, at most; what is left of its iterations is for experts.
const SERIAL_WORK: u64 = 45_000;

/// Rounds of a workgroup over its tile, at most: its counters have 16 bits, and every round goes through the workgroup.
const MAX_ROUNDS: u32 = 200;

impl Variant {
    /// Every variant: narrow ones are for adapters that run on a CPU.
    pub const ALL: [Self; 4] = [
        Self { schedule: Schedule::One, width: 1 },
        Self { schedule: Schedule::One, width: 256 },
        Self { schedule: Schedule::Serial, width: 8 },
        Self { schedule: Schedule::Group, width: 256 },
    ];

    /// Whether a device with these capabilities can run it.
    ///
    /// # Errors
    /// What it lacks.
    pub fn supported(&self, caps: &Caps) -> Result<(), BuildError> {
        if !Self::ALL.contains(self) {
            return Err(BuildError::Unsupported { variant: self.to_string(), why: "Variant::ALL does not have it" });
        }
        let buffers = if self.schedule == Schedule::One { 5 } else { 4 };
        for (limit, needed, available) in [
            ("max_compute_invocations_per_workgroup", self.width, caps.max_invocations),
            (
                "max_compute_workgroup_storage_size",
                if self.width == 256 { 10_244 } else { 32 },
                caps.max_workgroup_bytes,
            ),
            ("max_storage_buffers_per_shader_stage", buffers, caps.max_storage_buffers),
        ] {
            if needed > available {
                let (needed, available) = (u64::from(needed), u64::from(available));
                return Err(BuildError::LimitTooLow { variant: self.to_string(), limit, needed, available });
            }
        }
        Ok(())
    }

    /// The variant that should be fastest for what `spec` says on a device with these capabilities. Pure.
    #[must_use]
    pub fn select(caps: &Caps, spec: &Spec) -> Self {
        let [one, one_wide, serial, group] = Self::ALL;
        let pairs = u64::from(spec.tokens) * u64::from(spec.k);
        let extras = u32::from(spec.outputs.blocks) + u32::from(spec.outputs.arguments.is_some());
        let alone = spec.capacity.is_none() && caps.max_storage_buffers >= 5 + extras;
        let wide = group.supported(caps).is_ok() && !caps.cpu;
        let few = |most| alone && pairs + spec.slots(spec.tokens) + 2 * u64::from(spec.experts) <= most;
        match wide {
            // Nobody to wait for, and next to nothing to do.
            true if few(1536) && spec.tokens == 1 && spec.experts <= 64 && one.takes(spec, spec.tokens) => one,
            true if spec.experts <= 16 && pairs <= 1024 && serial.takes(spec, spec.tokens) => serial,
            true if few(32_768) && pairs <= 256 && one_wide.takes(spec, spec.tokens) => one_wide,
            true => group,
            false if caps.cpu && few(1536) && one.takes(spec, spec.tokens) => one,
            false => serial,
        }
    }

    /// Whether it can take so many tokens: what stays under the bound on loop iterations.
    #[must_use]
    pub fn takes(&self, spec: &Spec, tokens: u32) -> bool {
        let pairs = u64::from(tokens).saturating_mul(u64::from(spec.k));
        let slots = spec.slots(tokens);
        match (self.schedule, self.width) {
            (Schedule::One, 1) => own_counters(spec.experts + 4).is_some() && 3 * pairs + slots <= MAX_ITERATIONS / 2,
            // Every round of pairs goes through the workgroup.
            (Schedule::One, width) => (pairs + slots).div_ceil(u64::from(width)) <= 128,
            (Schedule::Serial, _) => 2 * pairs + slots <= SERIAL_WORK * MAX_ITERATIONS,
            (Schedule::Group, _) => true,
        }
    }

    /// (items of a tile, tiles) for so many items into so many columns, and so many slots to fill.
    pub(super) fn tiles(self, items: u32, columns: u32, slots: u64) -> (u32, u32) {
        let tile = match self.schedule {
            Schedule::One => items,
            Schedule::Serial => {
                // Enough to go round the lanes of a few cores, but fewer counters than items: each costs about as much.
                let wanted = (items / 2048).clamp(32, 128).min(items / (columns + 4)).next_multiple_of(8).max(8);
                let least = (2 * u64::from(items) + slots).div_ceil(SERIAL_WORK);
                items.div_ceil(wanted.max(least as u32)).next_multiple_of(4)
            }
            Schedule::Group => {
                // About a thousand workgroups, and no more counters than twice the items.
                let rounds = items.div_ceil(1024 * self.width).max(columns.div_ceil(2 * self.width));
                rounds.clamp(1, MAX_ROUNDS) * self.width
            }
        };
        (tile.max(1), items.div_ceil(tile.max(1)))
    }

    /// Whether one workgroup scans all counters.
    pub(super) fn scans_at_once(self, tiles: u32, stride: u32) -> bool {
        self.schedule == Schedule::Serial && u64::from(tiles) * u64::from(stride) <= 1 << 14
    }
}

impl fmt::Display for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "plan/{}/w{}", self.schedule.name(), self.width)
    }
}

impl FromStr for Variant {
    type Err = BuildError;

    fn from_str(name: &str) -> Result<Self, BuildError> {
        Self::ALL.into_iter().find(|v| v.to_string() == name).ok_or_else(|| BuildError::UnknownVariant(name.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::MAX_EXPERTS;

    /// No invocation goes round more often than a CPU driver lets it, and counters of 16 bits do not overflow.
    #[test]
    fn iterations_are_bounded() {
        let mut looked_at = 0;
        for variant in Variant::ALL {
            for experts in [1, 8, 128, MAX_EXPERTS] {
                for (tokens, k) in [(1, 1), (1, 128), (64, 8), (4096, 8), (70_000, 10), (1 << 20, 128), (1 << 26, 8)] {
                    for block in [None, Some(1), Some(128), Some(4096)] {
                        let spec = Spec { block, ..Spec::new(tokens, k, experts) };
                        let (items, slots) = (tokens * k, spec.slots(tokens));
                        if slots >= 1 << 31 || !variant.takes(&spec, tokens) {
                            continue;
                        }
                        looked_at += 1;
                        let (tile, tiles) = variant.tiles(items, experts + 1, slots);
                        let width = u64::from(variant.width);
                        let (walked, shares) = match variant.schedule {
                            // A rank is found by going through the workgroup.
                            Schedule::One => (u64::from(items) * 2, width),
                            Schedule::Serial => (u64::from(tile), u64::from(tiles)),
                            Schedule::Group => (u64::from(tile), u64::from(tiles) * width),
                        };
                        let filled = (slots + u64::from(items)).div_ceil(shares);
                        assert!(walked + filled + u64::from(experts) <= 65_534, "{variant} {spec:?}");
                        assert!(variant.schedule != Schedule::Serial || tiles <= 60_000, "{spec:?}: {tiles} tiles");
                        assert!(variant.schedule != Schedule::Group || tile < 1 << 16, "{spec:?}: a tile of {tile}");
                    }
                }
            }
        }
        assert!(looked_at > 200, "{looked_at}");
    }

    #[test]
    fn names_round_trip() {
        for variant in Variant::ALL {
            assert_eq!(variant.to_string().parse(), Ok(variant));
        }
    }

    /// Few pairs in one dispatch where there are buffers enough, and no capacity.
    #[test]
    fn selection() {
        let baseline = Caps::baseline();
        let usual = Caps { max_storage_buffers: 8, ..Caps::baseline() };
        let cpu = Caps { cpu: true, ..usual.clone() };
        let name = |caps: &Caps, spec: &Spec| Variant::select(caps, spec).to_string();
        let (few, many) = (Spec::new(8, 8, 128), Spec::new(4096, 8, 128));
        assert_eq!(name(&baseline, &few), "plan/group/w256");
        assert_eq!(name(&usual, &few), "plan/one/w256");
        assert_eq!(name(&cpu, &few), "plan/one/w1");
        assert_eq!(name(&usual, &many), "plan/group/w256");
        assert_eq!(name(&cpu, &many), "plan/serial/w8");
        assert_eq!(name(&Caps { max_invocations: 128, ..usual }, &many), "plan/serial/w8");
    }
}
