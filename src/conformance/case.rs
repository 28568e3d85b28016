//! Cases, their names, and which of them a profile has.

use std::fmt;
use std::str::FromStr;

use super::data::options;
use crate::softmax::{Dtype, Schedule, Tier, Variant};

/// Logits with a reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fill {
    /// Uniform in [-10, 10): what a network gives.
    Uniform,
    /// Uniform in [-1000, 1000): almost everything underflows, the exponent range of the pairs is used.
    Wide,
    /// Uniform in (90, 100): exp overflows f32.
    AboveOverflow,
    /// Uniform in (-110, -90): exp underflows f32, the row's shares do not.
    BelowUnderflow,
    /// All equal: every share is 1 / columns.
    Equal,
    /// One logit 50 above the rest: one share near 1, the others tiny.
    Peaked,
    /// Spread so that shares cross 2^-126, the edge of the normal numbers.
    EdgeOfNormal,
    /// Rising by 30 each column: every column moves the running maximum.
    Ascending,
    /// Falling by 30 each column.
    Descending,
    /// On both sides of 1024, where the anchor of the extended sum steps.
    AcrossAnchor,
    /// On both sides of -1024.
    AcrossNegativeAnchor,
    /// Integers around 2^24, where neighbouring floats are 2 apart: x - max must be exact.
    HugeIntegers,
    /// Multiples of 1e30, either sign: x times log2(e) is far from any integer that f32 holds.
    Enormous,
    /// Subnormal numbers of both signs, and zeros of both signs.
    Subnormal,
    /// Every third logit is -inf.
    SomeExcluded,
    /// Every second row is only -inf.
    RowsExcluded,
    /// Every third logit is -1e30, as masks often are.
    LargeNegative,
    /// Every logit of every second row is the lowest float there is; elsewhere one in three.
    Lowest,
    /// One NaN in every second row, of either sign.
    OneNan,
    /// One +inf in every second row.
    OneInfinity,
    /// NaN and +inf and -inf in one row.
    AllSpecial,
    /// Few distinct values: the maximum is shared.
    Ties,
}

impl Fill {
    /// All of them, with their names.
    pub const ALL: [(Self, &'static str); 22] = [
        (Self::Uniform, "uniform"),
        (Self::Wide, "wide"),
        (Self::AboveOverflow, "above-overflow"),
        (Self::BelowUnderflow, "below-underflow"),
        (Self::Equal, "equal"),
        (Self::Peaked, "peaked"),
        (Self::EdgeOfNormal, "edge-of-normal"),
        (Self::Ascending, "ascending"),
        (Self::Descending, "descending"),
        (Self::AcrossAnchor, "across-anchor"),
        (Self::AcrossNegativeAnchor, "across-negative-anchor"),
        (Self::HugeIntegers, "huge-integers"),
        (Self::Enormous, "enormous"),
        (Self::Subnormal, "subnormal"),
        (Self::SomeExcluded, "some-excluded"),
        (Self::RowsExcluded, "rows-excluded"),
        (Self::LargeNegative, "large-negative"),
        (Self::Lowest, "lowest"),
        (Self::OneNan, "one-nan"),
        (Self::OneInfinity, "one-infinity"),
        (Self::AllSpecial, "all-special"),
        (Self::Ties, "ties"),
    ];
}

/// How operands lie in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Memory {
    /// Two buffers.
    Separate,
    /// Two windows of one buffer.
    Pooled,
    /// Two windows of one buffer, closer than a binding's alignment.
    Close,
    /// One window.
    InPlace,
    /// Two buffers, and rows cut in two: the sums of either half, then its share.
    Sharded,
}

impl Memory {
    /// All of them, with their names.
    pub const ALL: [(Self, &'static str); 5] = [
        (Self::Separate, "separate"),
        (Self::Pooled, "pooled"),
        (Self::Close, "close"),
        (Self::InPlace, "in-place"),
        (Self::Sharded, "sharded"),
    ];

    /// Whether input and output are in one buffer.
    pub(super) fn is_one_buffer(self) -> bool {
        !matches!(self, Self::Separate | Self::Sharded)
    }
}

/// Which options are in use, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OptionSet {
    /// None.
    Plain,
    /// Log-probabilities.
    Log,
    /// The log-sum-exp too.
    Lse,
    /// Log-probabilities and log-sum-exp; rows without mass become zeros.
    LogLseZero,
    /// Rows without mass become zeros.
    Zero,
    /// A factor.
    Scale,
    /// A soft cap.
    Cap,
    /// Temperatures, one a row; every third is 0.
    Temperature,
    /// An f32 mask of every row.
    Mask,
    /// An f16 mask shared by rows, broadcast.
    Mask16,
    /// Causal, the diagonal inside.
    Causal,
    /// Linear biases.
    Alibi,
    /// Ragged rows.
    Lengths,
    /// A sink per row.
    Sinks,
    /// What attention does: scale, cap, mask, causal, sinks, log-sum-exp.
    Attention,
    /// What a sampler does: cap, temperature, lengths, log.
    Sampler,
    /// Gumbel-Softmax: noise, and temperatures, every third of them 0.
    Gumbel,
}

impl OptionSet {
    /// All of them, with their names.
    pub const ALL: [(Self, &'static str); 17] = [
        (Self::Plain, "plain"),
        (Self::Log, "log"),
        (Self::Lse, "lse"),
        (Self::LogLseZero, "log-lse-zero"),
        (Self::Zero, "zero"),
        (Self::Scale, "scale"),
        (Self::Cap, "cap"),
        (Self::Temperature, "temperature"),
        (Self::Mask, "mask"),
        (Self::Mask16, "mask16"),
        (Self::Causal, "causal"),
        (Self::Alibi, "alibi"),
        (Self::Lengths, "lengths"),
        (Self::Sinks, "sinks"),
        (Self::Attention, "attention"),
        (Self::Sampler, "sampler"),
        (Self::Gumbel, "gumbel"),
    ];
}

pub(super) fn name_of<T: PartialEq + Copy>(all: &[(T, &'static str)], value: T) -> &'static str {
    all.iter().find(|(v, _)| *v == value).map_or("?", |(_, name)| name)
}

/// One KEY=VALUE of a case's name.
pub(super) struct Term<'a> {
    pub key: &'a str,
    value: &'a str,
}

/// What stands behind the variant in a case's name.
pub(super) fn terms(rest: &str) -> impl Iterator<Item = Result<Term<'_>, String>> {
    rest.split(',').map(|pair| {
        let (key, value) = pair.split_once('=').ok_or_else(|| format!("{pair:?} is not KEY=VALUE"))?;
        Ok(Term { key, value })
    })
}

impl Term<'_> {
    pub fn number(&self) -> Result<u32, String> {
        self.value.parse().map_err(|e| format!("{}: {e}", self.key))
    }

    /// One of `all`, by its name.
    pub fn of<T: Copy>(&self, all: &[(T, &'static str)]) -> Result<T, String> {
        let found = all.iter().find(|(_, name)| *name == self.value);
        found.map(|(value, _)| *value).ok_or_else(|| {
            let names: Vec<_> = all.iter().map(|(_, name)| *name).collect();
            format!("no {} is called {:?}; there are {}", self.key, self.value, names.join(", "))
        })
    }

    /// The error for a key that is none of these.
    pub fn unknown(&self, known: &str) -> String {
        format!("{:?} is none of {known}", self.key)
    }
}

/// One thing to try.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Case {
    /// What runs.
    pub variant: Variant,
    /// Rows.
    pub rows: u32,
    /// Columns.
    pub cols: u32,
    /// Elements between rows, in and out.
    pub gap: u32,
    /// What the logits are.
    pub fill: Fill,
    /// What is fused in.
    pub options: OptionSet,
    /// How operands lie in memory.
    pub memory: Memory,
}

impl Case {
    /// Whether its rows may be cut: shards are of split rows, and no option may speak of columns of the whole row.
    pub(super) fn has_shards(&self) -> bool {
        let options = options(self);
        self.variant.schedule == Schedule::Split && options.positions.is_none() && !options.lengths
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:rows={},cols={},gap={}", self.variant, self.rows, self.cols, self.gap)?;
        write!(f, ",fill={}", name_of(&Fill::ALL, self.fill))?;
        if self.options != OptionSet::Plain {
            write!(f, ",options={}", name_of(&OptionSet::ALL, self.options))?;
        }
        if self.memory != Memory::Separate {
            write!(f, ",memory={}", name_of(&Memory::ALL, self.memory))?;
        }
        Ok(())
    }
}

impl FromStr for Case {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let (variant, rest) = name.split_once(':').ok_or("a case is VARIANT:rows=R,cols=C,...")?;
        let mut case = Self {
            variant: variant.parse().map_err(|e: crate::BuildError| e.to_string())?,
            rows: 1,
            cols: 4,
            gap: 0,
            fill: Fill::Uniform,
            options: OptionSet::Plain,
            memory: Memory::Separate,
        };
        for term in terms(rest) {
            let term = term?;
            match term.key {
                "rows" => case.rows = term.number()?,
                "cols" => case.cols = term.number()?,
                "gap" => case.gap = term.number()?,
                "fill" => case.fill = term.of(&Fill::ALL)?,
                "options" => case.options = term.of(&OptionSet::ALL)?,
                "memory" => case.memory = term.of(&Memory::ALL)?,
                _ => return Err(term.unknown("rows, cols, gap, fill, options, memory")),
            }
        }
        Ok(case)
    }
}

/// How many cases.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Profile {
    /// Of the standard profile's cases some that have everything, and of which each is needed: see [`super::Kernel::cases`].
    /// [`cases`], which has softmax's alone, does not choose: it gives the standard profile.
    Quick,
    /// What `cargo test` runs: every variant of f32; other element types on one geometry of each schedule,
    /// of rivals few cases; no options where programs take seconds to compile.
    #[default]
    Standard,
    /// Every variant with everything.
    Full,
}

impl Profile {
    /// All of them, with their names.
    pub const ALL: [(Self, &'static str); 3] =
        [(Self::Quick, "quick"), (Self::Standard, "standard"), (Self::Full, "full")];
}

/// The cases of a profile, for variants of any device.
pub fn cases(profile: Profile) -> impl Iterator<Item = Case> {
    let full = profile == Profile::Full;
    let variants = Variant::all().filter(move |v| full || in_quick(v)).enumerate();
    // How elements move and how lanes meet know nothing of each other.
    let meets = |v: &Variant| v.lanes == 1 || v.quads == (v.tier == Tier::Baseline);
    variants.filter(move |(_, v)| full || is_plain(v) || meets(v)).flat_map(move |(n, v)| {
        let few = !full && v.schedule.is_rival() && !is_plain(&v);
        let once = !full && is_long(&v);
        let all = of(v, n, profile).into_iter().take(if few { 2 } else { usize::MAX });
        all.filter(move |case| !once || (case.options, case.memory) == (OptionSet::Plain, Memory::Separate))
    })
}

/// Whose programs are the longest, a copy of all they do for each element that they keep: seconds to compile, each. Of those with
/// quads there are as many elements and a quarter of the copies.
pub(super) fn is_long(v: &Variant) -> bool {
    v.keep >= 16 && !v.quads
}

/// One small geometry of each schedule stands for the others where element types are concerned.
pub(super) fn in_quick(v: &Variant) -> bool {
    let small = match v.schedule {
        Schedule::Rows => (v.width, v.keep) == (8, 8),
        Schedule::OnChip => (v.width, v.keep) == (64, 4),
        _ => v.lanes == 8,
    };
    is_plain(v) || small
}

fn is_plain(v: &Variant) -> bool {
    v.input == Dtype::F32 && v.output == Dtype::F32
}

/// The cases of one variant: every shape with some fill, every fill with some shape, and every option set, for
/// f32. Which goes with which is rotated by `n`, so that variants of one kind share the pairs among them.
fn of(variant: Variant, n: usize, profile: Profile) -> Vec<Case> {
    let plain = Case {
        variant,
        rows: 1,
        cols: 4,
        gap: 0,
        fill: Fill::Uniform,
        options: OptionSet::Plain,
        memory: Memory::Separate,
    };
    let mut list = Vec::new();
    let shapes = shapes(&variant);
    for (i, &(rows, cols)) in shapes.iter().enumerate() {
        let fill = Fill::ALL[(i + n) % Fill::ALL.len()].0;
        let gap = [0, 4, 0, 12][(i + n) % 4] + if variant.quads { 0 } else { (i % 3) as u32 };
        list.push(Case { rows, cols, gap, fill, ..plain });
    }
    let f32_only = is_plain(&variant);
    for (i, (fill, _)) in Fill::ALL.into_iter().enumerate() {
        if f32_only || (i + n).is_multiple_of(4) {
            let (_, cols) = shapes[(i + n) % shapes.len()];
            list.push(Case { rows: 6, cols: cols.min(2048), fill, ..plain });
        }
    }
    for (i, (options, _)) in OptionSet::ALL.into_iter().enumerate().skip(1) {
        let reload_log = variant.schedule == Schedule::Reload
            && matches!(options, OptionSet::Log | OptionSet::LogLseZero | OptionSet::Sampler);
        // Options are the same code whatever the geometry: each variant takes some of them.
        // Each is a program, and what takes time is to compile. With 7 instead of 6, some schedules would lack some options.
        let every = match (f32_only, profile) {
            (true, Profile::Full) => 3,
            (true, _) => 6,
            (false, _) => 15,
        };
        if (i + n).is_multiple_of(every) && !reload_log {
            let (_, cols) = shapes[(i + n) % shapes.len()];
            let fill = [Fill::Uniform, Fill::SomeExcluded, Fill::RowsExcluded, Fill::Ties][(n + i / 3) % 4];
            list.push(Case { rows: 12, cols: cols.clamp(4, 1024), fill, options, ..plain });
        }
    }
    // A row of temperature 0 counts columns, and the last of those that are kept on chip must win once; and of negative logits,
    // the sum of nothing must not.
    if f32_only && (variant.keep > 4 || n.is_multiple_of(3)) {
        let fill = if variant.keep > 4 { Fill::Ascending } else { Fill::BelowUnderflow };
        let cols = variant.max_columns().min(1024);
        list.push(Case { rows: 6, cols, fill, options: OptionSet::Temperature, ..plain });
    }
    for (i, (memory, _)) in Memory::ALL.into_iter().enumerate().filter(|(_, (memory, _))| memory.is_one_buffer()) {
        let same = variant.input == variant.output;
        if same && (f32_only || (i + n).is_multiple_of(3)) {
            let (_, cols) = shapes[(i + n) % shapes.len()];
            list.push(Case { rows: 3, cols: cols.min(1024), gap: 4, memory, ..plain });
        }
    }
    if variant.schedule == Schedule::Split {
        let sharded = OptionSet::ALL.into_iter().enumerate().map(|(i, (options, _))| {
            let (_, cols) = shapes[(i * 3 + n) % shapes.len()];
            let fill = [Fill::Uniform, Fill::RowsExcluded, Fill::Ties, Fill::AboveOverflow][(n + i) % 4];
            (i, Case { rows: 7, cols, fill, options, memory: Memory::Sharded, ..plain })
        });
        let some = sharded.filter(|(i, case)| case.has_shards() && (f32_only || (i + n).is_multiple_of(12)));
        list.extend(some.map(|(_, case)| case));
    }
    list
}

/// Sizes on both sides of every boundary: a quad, what a group of lanes covers at once, a chunk of four quads, what
/// fits on chip, a part of a split row; workgroups full and not.
pub(super) fn shapes(v: &Variant) -> Vec<(u32, u32)> {
    let once = v.lanes * 4;
    let chunk = once * 4;
    let (rows_per_group, most) = (v.width / v.lanes, v.max_columns());
    let mut cols =
        vec![1, 3, 4, 5, once - 4, once - 1, once, once + 1, once + 4, chunk - 1, chunk, chunk + 1, chunk + 4];
    cols.extend([most - 1, most, 100, 1000].into_iter().filter(|&c| c <= 16_384));
    cols.sort_unstable();
    cols.dedup();
    cols.retain(|&c| c > 0 && c <= most && (!v.quads || c.is_multiple_of(4)));
    let rows = [1, 2, rows_per_group.max(2) - 1, rows_per_group, rows_per_group + 1, 5];
    let mut list: Vec<_> = cols.iter().enumerate().map(|(i, &c)| (rows[i % rows.len()].min(40), c)).collect();
    if v.schedule == Schedule::Split {
        // More than one part, the last one short.
        let part = v.parts(1 << 20).1 * 4;
        list.push((2, part + 4));
        list.push((1, part * 2 + if v.quads { 8 } else { 7 }));
    }
    if v.keep == 0 && v.width == 256 {
        list.push((2, 20_000));
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        for case in cases(Profile::Standard) {
            assert_eq!(case.to_string().parse::<Case>().as_ref(), Ok(&case));
        }
    }

    #[test]
    fn standard_and_full_have_everything() {
        for (profile, of) in [(Profile::Standard, "standard"), (Profile::Full, "full")] {
            let all: Vec<_> = cases(profile).collect();
            for (fill, name) in Fill::ALL {
                assert!(all.iter().any(|c| c.fill == fill), "{of}: {name}");
            }
            for (options, name) in OptionSet::ALL {
                for schedule in Schedule::ALL {
                    let log = matches!(options, OptionSet::Log | OptionSet::LogLseZero | OptionSet::Sampler);
                    let has = || all.iter().any(|c| c.options == options && c.variant.schedule == schedule);
                    assert!((schedule == Schedule::Reload && log) || has(), "{of}: {schedule:?} {name}");
                }
            }
            for (memory, name) in Memory::ALL {
                assert!(all.iter().any(|c| c.memory == memory), "{of}: {name}");
            }
            for v in Variant::all().filter(|v| profile == Profile::Full || is_plain(v)) {
                assert!(all.iter().any(|c| c.variant == v), "{of}: {v}");
            }
        }
    }
}
