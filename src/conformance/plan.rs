//! Cases of the plan of grouped matrix products: every word of every output is the reference's.

use std::fmt;
use std::str::FromStr;

use super::case::{name_of, terms};
use super::check::same_words;
use super::data::Random;
use super::guarded::Guarded;
use super::run::{Outcome, Trial, without};
use super::{Failure, Profile};
use crate::host::{Gpu, HostError};
use crate::plan::{Arguments, Capacity, NONE, Operands, Outputs, Priority, Schedule, Spec, Variant};
use crate::reference::plan::{Plan, Problem};
use crate::{BuildError, Matrix};

/// What tokens choose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fill {
    /// Any expert: about as many pairs each.
    Uniform,
    /// Expert e with a probability of about 1 / (e + 1): many experts without a pair.
    Zipf,
    /// The last expert first, then any: one long run, and the others.
    Hot,
    /// The same expert always: every rank is needed, and K times in a token.
    Single,
    /// None at all, by any index that is none.
    Nothing,
    /// Half of them none: indices from the number of experts on.
    Mixed,
    /// The same expert for all choices of a token.
    Duplicates,
    /// Expert by expert: every tile has one of its own.
    Ascending,
}

impl Fill {
    /// All of them, with their names.
    pub const ALL: [(Self, &'static str); 8] = [
        (Self::Uniform, "uniform"),
        (Self::Zipf, "zipf"),
        (Self::Hot, "hot"),
        (Self::Single, "single"),
        (Self::Nothing, "nothing"),
        (Self::Mixed, "mixed"),
        (Self::Duplicates, "duplicates"),
        (Self::Ascending, "ascending"),
    ];
}

pub(super) const PRIORITIES: [(Priority, &str); 2] =
    [(Priority::KMajor, "k-major"), (Priority::BatchPrioritised, "batch")];

/// One thing to try: `plan/serial/w8:tokens=70,experts=31,k=4,fill=zipf,block=16,capacity=9,priority=batch,extras=1,tight=1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Case {
    /// What runs.
    pub variant: Variant,
    /// Tokens.
    pub tokens: u32,
    /// Experts.
    pub experts: u32,
    /// Choices of a token.
    pub k: u32,
    /// What they are.
    pub fill: Fill,
    /// Slots of an expert are a multiple of it; 0 is none.
    pub block: u32,
    /// What an expert has room for.
    pub capacity: Option<Capacity>,
    /// All outputs that there can be, not only those that there always are.
    pub extras: bool,
    /// Choices and slots of a token follow those of the one before without a gap, so that they can be had four at a time.
    pub tight: bool,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fill = name_of(&Fill::ALL, self.fill);
        write!(f, "{}:tokens={},experts={},k={},fill={fill}", self.variant, self.tokens, self.experts, self.k)?;
        if self.block > 0 {
            write!(f, ",block={}", self.block)?;
        }
        if let Some(Capacity { slots, priority }) = self.capacity {
            write!(f, ",capacity={slots},priority={}", name_of(&PRIORITIES, priority))?;
        }
        for (used, name) in [(self.extras, ",extras=1"), (self.tight, ",tight=1")] {
            f.write_str(if used { name } else { "" })?;
        }
        Ok(())
    }
}

impl FromStr for Case {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let (variant, rest) = name.split_once(':').ok_or("a case is VARIANT:tokens=T,experts=E,...")?;
        let variant = variant.parse().map_err(|e: BuildError| e.to_string())?;
        let fill = Fill::Uniform;
        let mut case =
            Self { variant, tokens: 1, experts: 1, k: 1, fill, block: 0, capacity: None, extras: false, tight: false };
        for term in terms(rest) {
            let term = term?;
            let capacity = case.capacity.unwrap_or(Capacity { slots: 0, priority: Priority::KMajor });
            match term.key {
                "tokens" => case.tokens = term.number()?,
                "experts" => case.experts = term.number()?,
                "k" => case.k = term.number()?,
                "fill" => case.fill = term.of(&Fill::ALL)?,
                "block" => case.block = term.number()?,
                "capacity" => case.capacity = Some(Capacity { slots: term.number()?, ..capacity }),
                "priority" => {
                    let priority = term.of(&PRIORITIES)?;
                    case.capacity = Some(Capacity { priority, ..capacity });
                }
                "extras" => case.extras = term.number()? != 0,
                "tight" => case.tight = term.number()? != 0,
                _ => return Err(term.unknown("tokens, experts, k, fill, block, capacity, priority, extras, tight")),
            }
        }
        Ok(case)
    }
}

/// Numbers of experts: around the words of counters, the widths of workgroups and their shares, powers of two and not.
const EXPERTS: [u32; 14] = [1, 3, 8, 31, 40, 71, 128, 160, 255, 257, 385, 513, 2047, 4096];

/// (tokens, K): around a round of 256 pairs, around 8 and 64 tiles, and long ones.
const SHAPES: [(u32, u32); 16] = [
    (0, 2),
    (1, 1),
    (1, 64),
    (8, 2),
    (8, 10),
    (32, 8),
    (51, 5),
    (257, 1),
    (64, 4),
    (128, 6),
    (100, 3),
    (333, 7),
    (511, 2),
    (1000, 9),
    (65, 64),
    (2047, 4),
];

/// The cases of a profile.
pub fn cases(profile: Profile) -> impl Iterator<Item = Case> {
    let turns = if profile == Profile::Full { 40 } else { 5 };
    let small = Variant::ALL.into_iter().enumerate().flat_map(move |(v, variant)| {
        (0..SHAPES.len() * turns).map(move |n| {
            let (tokens, k) = SHAPES[n % SHAPES.len()];
            let turn = n / SHAPES.len();
            let experts = EXPERTS[(n * 3 + turn * 5 + v) % EXPERTS.len()];
            let fill = Fill::ALL[(n + turn + v) % Fill::ALL.len()].0;
            let block = [0, 4, 0, 16, 1, 2, 7, 128][(n / 2 + turn) % 8];
            let priority = if (n + turn) % 4 < 2 { Priority::KMajor } else { Priority::BatchPrioritised };
            let room = [0, 1, 3, 2 * (tokens * k).div_ceil(experts), 40, u32::MAX][(n + turn * 5) % 6];
            let capped = variant.schedule != Schedule::One && !(n / 3 + turn).is_multiple_of(3);
            let capacity = capped.then_some(Capacity { slots: room, priority });
            Case {
                variant,
                tokens,
                experts,
                k,
                fill,
                block,
                capacity,
                extras: !(n + turn).is_multiple_of(5),
                tight: !(n / 2 + v).is_multiple_of(3),
            }
        })
    });
    // What has many tiles, and whose counters two dispatches scan.
    let serial = Variant { schedule: Schedule::Serial, width: 8 };
    let group = Variant { schedule: Schedule::Group, width: 256 };
    let long = [
        (serial, 70_000, 257, 10, Fill::Zipf, 0, None),
        (serial, 70_000, 160, 3, Fill::Uniform, 64, Some((900, Priority::BatchPrioritised))),
        (serial, 20_000, 4096, 8, Fill::Mixed, 3, None),
        (serial, 70_000, 385, 2, Fill::Hot, 0, Some((2500, Priority::KMajor))),
        (serial, 70_000, 71, 1, Fill::Single, 0, Some((69_999, Priority::KMajor))),
        (group, 70_000, 71, 1, Fill::Zipf, 0, None),
        (group, 9_000, 160, 2, Fill::Mixed, 16, Some((250, Priority::BatchPrioritised))),
        // All blocks that there can be are used: nothing behind the last one may be.
        (serial, 64, 1, 1, Fill::Uniform, 16, None),
    ];
    let long = long.into_iter().map(|(variant, tokens, experts, k, fill, block, capacity)| {
        let capacity = capacity.map(|(slots, priority)| Capacity { slots, priority });
        Case { variant, tokens, experts, k, fill, block, capacity, extras: true, tight: true }
    });
    long.chain(small.filter(|case| case.variant.takes(&case.spec(), case.tokens)))
}

const ARGUMENTS: Arguments = Arguments { rows_per_group: 7, y: 3 };

impl Case {
    fn spec(&self) -> Spec {
        let outputs = Outputs {
            blocks: self.extras && self.block > 0,
            dropped: self.extras && self.capacity.is_some(),
            dropped_count: self.extras && self.capacity.is_some(),
            arguments: self.extras.then_some(ARGUMENTS),
        };
        Spec {
            block: (self.block > 0).then_some(self.block),
            capacity: self.capacity,
            outputs,
            variant: Some(self.variant),
            ..Spec::new(self.tokens, self.k, self.experts)
        }
    }
}

/// The operands of a case.
struct Data {
    experts: Vec<u32>,
    weights: Vec<f32>,
}

impl Data {
    fn of(case: &Case) -> Self {
        let mut random = Random::of(&case.to_string());
        let pairs = case.tokens * case.k;
        let experts = (0..pairs).map(|pair| chosen(case, &mut random, pair));
        let experts = experts.collect();
        // Few values: many tokens are equal, and stay in their order.
        let values = [0.5, -0.0, 0.0, f32::NAN, -f32::NAN, 1.0, f32::INFINITY, f32::NEG_INFINITY, -2.0, 1e-40, -1e-40];
        let weights = (0..pairs).map(|pair| match (random.below(4), pair / case.k % 16) {
            // Neighbours of 0, every gate of a token: the greatest of them is what counts.
            (_, 3) => -0.0,
            (_, 6) => -f32::from_bits(1),
            (_, 9) => f32::from_bits(1),
            (0, _) => random.uniform(-1.0, 1.0),
            _ => values[random.below(values.len() as u32) as usize],
        });
        Self { weights: weights.collect(), experts }
    }

    /// What a correct device gives.
    fn right(&self, case: &Case) -> Results {
        let spec = case.spec();
        let problem = Problem {
            experts: &self.experts,
            k: case.k as usize,
            count: case.experts,
            block: spec.block,
            capacity: spec.capacity,
            weights: &self.weights,
        };
        let Plan { counts, offsets, sorted, inverse, blocks, mut dropped } = problem.plan();
        let dropped_count = vec![dropped.len() as u32];
        dropped.resize(self.experts.len(), NONE);
        let rows = ARGUMENTS.rows_per_group;
        let arguments = counts.iter().flat_map(|&count| [count.div_ceil(rows), ARGUMENTS.y, 1]).collect();
        Results { counts, offsets, sorted, inverse, blocks, dropped, dropped_count, arguments }.asked(&spec)
    }
}

fn chosen(case: &Case, random: &mut Random, pair: u32) -> u32 {
    let experts = case.experts;
    match case.fill {
        Fill::Zipf => {
            // Uniform in the logarithm.
            let x = f64::from(random.below(1 << 20)) / f64::from(1 << 20);
            (f64::from(experts + 1).powf(x) as u32 - 1).min(experts - 1)
        }
        Fill::Hot if pair.is_multiple_of(case.k) => experts - 1,
        Fill::Single => experts / 2,
        Fill::Nothing => [NONE, experts, NONE - 1, 1 << 31][random.below(4) as usize],
        Fill::Mixed if random.below(2) == 0 => experts + random.below(3),
        Fill::Uniform | Fill::Hot | Fill::Mixed => random.below(experts),
        Fill::Duplicates => (pair / case.k).wrapping_mul(2_654_435_761) % experts,
        Fill::Ascending => (u64::from(pair) * u64::from(experts) / u64::from(case.tokens * case.k)) as u32,
    }
}

/// What a device gave for each output, rows without their gaps; empty where it was not asked for.
#[derive(Clone, Debug, Default, PartialEq)]
struct Results {
    counts: Vec<u32>,
    offsets: Vec<u32>,
    sorted: Vec<u32>,
    inverse: Vec<u32>,
    blocks: Vec<u32>,
    dropped: Vec<u32>,
    dropped_count: Vec<u32>,
    arguments: Vec<u32>,
}

impl Results {
    /// Without what the specification does not ask for.
    fn asked(mut self, spec: &Spec) -> Self {
        let Outputs { blocks, dropped, dropped_count, arguments } = spec.outputs;
        for (asked, list) in [
            (blocks, &mut self.blocks),
            (dropped, &mut self.dropped),
            (dropped_count, &mut self.dropped_count),
            (arguments.is_some(), &mut self.arguments),
        ] {
            if !asked {
                list.clear();
            }
        }
        self
    }

    fn check(&self, case: &Case, right: &Self) -> Result<(), Failure> {
        let k = case.k as usize;
        same_words("counts", usize::MAX, &self.counts, &right.counts)?;
        same_words("offsets", usize::MAX, &self.offsets, &right.offsets)?;
        same_words("sorted", usize::MAX, &self.sorted, &right.sorted)?;
        same_words("inverse", k, &self.inverse, &right.inverse)?;
        same_words("blocks", usize::MAX, &self.blocks, &right.blocks)?;
        same_words("dropped", usize::MAX, &self.dropped, &right.dropped)?;
        same_words("dropped_count", 1, &self.dropped_count, &right.dropped_count)?;
        same_words("arguments", 3, &self.arguments, &right.arguments)
    }
}

/// A fault to plant into what a device gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Two pairs of one expert exchanged: a sort that is not stable.
    ExchangedTokens,
    /// A pair of one expert exchanged with one of another.
    ExchangedExperts,
    /// A slot without a pair has one.
    LostSentinel,
    /// A block has the expert of its neighbour.
    WrongBlock,
    /// An offset one too high.
    OffsetByOne,
    /// A count one too low.
    CountByOne,
    /// The slots of two pairs exchanged, in `inverse` alone.
    WrongInverse,
    /// Two dropped pairs exchanged.
    DroppedInAnotherOrder,
    /// A dropped pair that stayed, not counted.
    WrongDroppedCount,
    /// A workgroup too few.
    WrongArguments,
    /// A word before `sorted` written.
    GuardTouched,
    /// A word of the chosen experts written.
    InputChanged,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::ExchangedTokens,
        Self::ExchangedExperts,
        Self::LostSentinel,
        Self::WrongBlock,
        Self::OffsetByOne,
        Self::CountByOne,
        Self::WrongInverse,
        Self::DroppedInAnotherOrder,
        Self::WrongDroppedCount,
        Self::WrongArguments,
        Self::GuardTouched,
        Self::InputChanged,
    ];

    /// Into results of a case in which the first two experts have two pairs and a slot without one each, and some are dropped.
    fn plant(self, r: &mut Results) {
        let second = r.offsets.get(1).map_or(0, |&o| o as usize);
        match self {
            Self::ExchangedTokens => {
                r.sorted.swap(0, 1);
                // Consistently: only the order is wrong.
                for (slot, pair) in [(0, r.sorted[0]), (1, r.sorted[1])] {
                    r.inverse[pair as usize] = slot;
                }
            }
            Self::ExchangedExperts => r.sorted.swap(0, second),
            Self::LostSentinel => r.sorted[second - 1] = 0,
            Self::WrongBlock => r.blocks[0] += 1,
            Self::OffsetByOne => r.offsets[1] += 1,
            Self::CountByOne => r.counts[0] -= 1,
            Self::WrongInverse => {
                let [a, b] = [r.sorted[0] as usize, r.sorted[1] as usize];
                r.inverse.swap(a, b);
            }
            Self::DroppedInAnotherOrder => r.dropped.swap(0, 1),
            Self::WrongDroppedCount => r.dropped_count[0] -= 1,
            Self::WrongArguments => r.arguments[0] -= 1,
            Self::GuardTouched | Self::InputChanged => {}
        }
    }
}

impl Trial for Case {
    fn kind(&self) -> String {
        self.variant.to_string()
    }

    fn measured(&self) -> bool {
        false
    }

    fn run(&self, gpu: &Gpu) -> Outcome {
        run_case(gpu, self, None)
    }
}

/// Runs one case; with a fault, plants it into the results, or into the device's buffers, before they are checked.
#[must_use]
pub fn run_case(gpu: &Gpu, case: &Case, fault: Option<Fault>) -> Outcome {
    if let Err(reason) = case.variant.supported(gpu.library.caps()) {
        return Outcome::from(reason);
    }
    if let Some(outcome) = without(&[("experts", case.experts), ("choices", case.k)]) {
        return outcome;
    }
    let data = Data::of(case);
    match execute(gpu, case, &data, fault) {
        Ok(Ok(mut results)) => {
            if let Some(fault) = fault {
                fault.plant(&mut results);
            }
            results.check(case, &data.right(case)).map_or_else(Outcome::Failed, |()| Outcome::Passed(0))
        }
        Ok(Err(failure)) => Outcome::Failed(failure),
        Err(error) => Outcome::from(error),
    }
}

fn execute(gpu: &Gpu, case: &Case, data: &Data, fault: Option<Fault>) -> Result<Result<Results, Failure>, HostError> {
    let (tokens, k, experts, spec) = (case.tokens, case.k, case.experts, case.spec());
    let plan = gpu.library.plan(&spec)?;
    let slots = plan.slots(tokens) as u32;
    let (input_place, inverse_place) = if case.tight { ([8, 0], [4, 0]) } else { ([5, 3], [2, 1]) };
    let input = |what, words: &[u8]| Guarded::input(gpu, what, words, [tokens, k], input_place);
    let chosen = input("experts", bytemuck::cast_slice(&data.experts))?;
    let weights = input("weights", bytemuck::cast_slice(&data.weights))?;
    let output = |what, rows, cols, place| Guarded::output(gpu, what, 4, [rows, cols], place);
    let counts = output("counts", 1, experts, [3, 0])?;
    let offsets = output("offsets", 1, experts + 1, [1, 0])?;
    let sorted = output("sorted", 1, slots, [7, 0])?;
    let inverse = output("inverse", tokens, k, inverse_place)?;
    let blocks = output("blocks", 1, slots / case.block.max(1), [6, 0])?;
    let dropped = output("dropped", 1, tokens * k, [9, 0])?;
    let dropped_count = output("dropped_count", 1, 1, [1, 0])?;
    let arguments = output("arguments", experts, 3, [4, 2])?;
    let scratch = gpu.allocate(plan.scratch_bytes(tokens).max(16))?;
    let o = &spec.outputs;
    let by_weight = case.capacity.is_some_and(|c| c.priority == Priority::BatchPrioritised);
    let bound = plan.bind(&Operands {
        weights: by_weight.then(|| weights.matrix()),
        blocks: o.blocks.then(|| blocks.matrix()),
        dropped: o.dropped.then(|| dropped.matrix()),
        dropped_count: o.dropped_count.then(|| dropped_count.matrix()),
        arguments: o.arguments.map(|_| arguments.matrix()),
        scratch: Some(Matrix::new(&scratch, 1, (scratch.size() / 4) as u32)),
        ..Operands::new(chosen.matrix(), counts.matrix(), offsets.matrix(), sorted.matrix(), inverse.matrix())
    })?;
    let outputs = [&counts, &offsets, &sorted, &inverse, &blocks, &dropped, &dropped_count, &arguments];
    let once = || -> Result<Result<Results, Failure>, HostError> {
        for output in outputs {
            output.reset(gpu);
        }
        gpu.run(&[&bound])?;
        match fault {
            Some(Fault::GuardTouched) => gpu.write(&sorted.buffer, 24, &[0; 4]),
            Some(Fault::InputChanged) => {
                gpu.write(&chosen.buffer, u64::from(input_place[0]) * 4, &[0xee; 4]);
            }
            _ => {}
        }
        let mut r = Results::default();
        let lists = [
            &mut r.counts,
            &mut r.offsets,
            &mut r.sorted,
            &mut r.inverse,
            &mut r.blocks,
            &mut r.dropped,
            &mut r.dropped_count,
            &mut r.arguments,
        ];
        for (output, list) in outputs.iter().zip(lists) {
            match output.words(gpu)? {
                Ok(words) => *list = words,
                Err(failure) => return Ok(Err(failure)),
            }
        }
        for input in [&chosen, &weights] {
            if let Err(failure) = input.unchanged(gpu)? {
                return Ok(Err(failure));
            }
        }
        Ok(Ok(r.asked(&spec)))
    };
    let (first, second) = (once()?, once()?);
    if let (Ok(first), Ok(second)) = (&first, &second)
        && first != second
    {
        return Ok(Err(Failure::NotRepeatable { index: 0 }));
    }
    Ok(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        let mut count = 0;
        for case in cases(Profile::Standard) {
            assert_eq!(case.to_string().parse::<Case>().as_ref(), Ok(&case));
            count += 1;
        }
        assert!(count >= 200, "{count}");
    }

    /// Every fill, number of experts and option comes up in the quick profile.
    #[test]
    fn everything_is_tried() {
        let all: Vec<_> = cases(Profile::Standard).collect();
        for variant in Variant::ALL {
            let ours = || all.iter().filter(move |case| case.variant == variant);
            for (fill, name) in Fill::ALL {
                assert!(ours().any(|case| case.fill == fill), "{variant} {name}");
            }
            for experts in EXPERTS.into_iter().filter(|&e| variant.takes(&Spec::new(1, 1, e), 1)) {
                assert!(ours().any(|case| case.experts == experts), "{variant} {experts}");
            }
            if variant.schedule != Schedule::One {
                for (priority, name) in PRIORITIES {
                    let drops = |case: &&Case| case.capacity.is_some_and(|c| c.priority == priority && c.slots == 3);
                    assert!(ours().filter(drops).count() >= 2, "{variant} {name}");
                    assert!(
                        ours().filter(|c| c.tight && (c.tokens * c.k).is_multiple_of(4)).filter(drops).count() >= 1,
                        "{variant} {name}"
                    );
                }
            }
        }
    }
}
