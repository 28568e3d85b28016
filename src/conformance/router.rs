//! Cases of routing: experts and weights against the reference, to the bit, and weights against f64 within their budget.

use std::fmt;
use std::str::FromStr;

use super::case::{name_of, terms};
use super::check::{Difference, Findings, same_words};
use super::data::{Random, encode, stored};
use super::run::{Outcome, Trial, without};
use super::{Failure, Profile};
use crate::accuracy::route_budgets;
use crate::host::{Gpu, HostError};
use crate::noise::Stream;
use crate::reference::router::{Problem, Route};
use crate::router::{
    Bias, GroupScore, Groups, LEAST_SUM, NO_EXPERT, Noise, Operands, Options, Schedule, Scoring, Shape, Shared, Spec,
    Variant,
};
use crate::softmax::{Dtype, Tier};
use crate::{BindError, BuildError, Caps, Matrix};

/// Logits with a reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fill {
    /// Bell-shaped around 0: what a router gives.
    Normal,
    /// Five distinct values: the column decides.
    Ties,
    /// All equal.
    Equal,
    /// Neighbouring floats: the last bit decides.
    Neighbours,
    /// Numbers that differ in bits 8 to 12 of the mantissa only: where keys share a word with the column, they are cut off.
    Packed,
    /// Of either sign and equal but for the last three bits, the greatest of them last.
    Mirrored,
    /// Below −20: rows of only negative logits.
    Negative,
    /// All −inf.
    Lowest,
    /// Every third logit is −inf.
    SomeExcluded,
    /// Two finite logits, the rest −inf: −inf is chosen.
    Scarce,
    /// One NaN in every second row, of either sign.
    OneNan,
    /// More NaN than columns that are not chosen, and rows of nothing else.
    ManyNan,
    /// One +inf in every second row, several in every fourth.
    Infinite,
    /// NaN of either sign, infinities, zeros of either sign, subnormal and huge numbers.
    Special,
    /// Zeros of both signs.
    Zeros,
    /// Subnormal numbers of both signs, and both zeros.
    Subnormal,
    /// Every third logit is −1e30, as masks often are; in every second row nearly all.
    Masked,
    /// Every logit of every second row is the lowest float there is; elsewhere one in three.
    Floor,
    /// Multiples of 1e30, either sign.
    Huge,
    /// Spread over 400, the first four columns 100 below: exponentials below exp(−69) of the greatest.
    Wide,
    /// 69 below the greatest, and neighbouring floats: where an exponential begins to count.
    Edge,
    /// Few experts are wanted by many: −ln of the rank, and noise.
    Zipf,
    /// One expert 20 above the rest in every row.
    Hot,
    /// All rows alike.
    Alike,
    /// The better, the later the column: every column enters the list.
    Ascending,
    /// The better, the earlier the column: none but the first.
    Descending,
    /// Any bits at all, NaN made quiet.
    Bits,
}

impl Fill {
    /// All of them, with their names.
    pub const ALL: [(Self, &'static str); 27] = [
        (Self::Normal, "normal"),
        (Self::Ties, "ties"),
        (Self::Equal, "equal"),
        (Self::Neighbours, "neighbours"),
        (Self::Packed, "packed"),
        (Self::Mirrored, "mirrored"),
        (Self::Negative, "negative"),
        (Self::Lowest, "lowest"),
        (Self::SomeExcluded, "some-excluded"),
        (Self::Scarce, "scarce"),
        (Self::OneNan, "one-nan"),
        (Self::ManyNan, "many-nan"),
        (Self::Infinite, "infinite"),
        (Self::Special, "special"),
        (Self::Zeros, "zeros"),
        (Self::Subnormal, "subnormal"),
        (Self::Masked, "masked"),
        (Self::Floor, "floor"),
        (Self::Huge, "huge"),
        (Self::Wide, "wide"),
        (Self::Edge, "edge"),
        (Self::Zipf, "zipf"),
        (Self::Hot, "hot"),
        (Self::Alike, "alike"),
        (Self::Ascending, "ascending"),
        (Self::Descending, "descending"),
        (Self::Bits, "bits"),
    ];

    fn logit(self, random: &mut Random, dtype: Dtype, token: u32, column: u32, experts: u32) -> f32 {
        let bell = |random: &mut Random| (0..6).map(|_| random.uniform(-1.5, 1.5)).sum::<f32>();
        let sign = if random.below(2) == 0 { 1.0 } else { -1.0_f32 };
        // So many steps of the type above 1.
        let above_one = |steps: u32| {
            let shift = match dtype {
                Dtype::F32 => 0,
                Dtype::F16 => 13,
                Dtype::Bf16 => 16,
            };
            f32::from_bits(1.0_f32.to_bits() + (steps << shift))
        };
        let odd = token % 2 == 1;
        match self {
            Self::Ties => random.below(5) as f32 - 2.0,
            Self::Equal => 0.25,
            Self::Neighbours => above_one(random.below(6)) * if odd { -1.0 } else { 1.0 },
            Self::Packed => f32::from_bits(2.5_f32.to_bits() + (random.below(32) << 8)) * if odd { -1.0 } else { 1.0 },
            Self::Mirrored => above_one(if column + 1 == experts { 7 } else { random.below(7) }) * sign,
            Self::Negative => random.uniform(-30.0, -20.0),
            Self::Lowest => f32::NEG_INFINITY,
            Self::SomeExcluded if random.below(3) == 0 => f32::NEG_INFINITY,
            Self::Scarce if column != token % experts && column != experts - 1 => f32::NEG_INFINITY,
            Self::ManyNan if odd || random.below(8) > 0 => f32::NAN.copysign(sign),
            Self::Special => match random.below(10) {
                0 => f32::NAN.copysign(sign),
                1 => f32::INFINITY.copysign(sign),
                2 => 0.0 * sign,
                3 => f32::MAX * sign,
                4 => 1e-40 * sign,
                5 => f32::MIN_POSITIVE * sign,
                6 => 1e30 * sign,
                _ => bell(random),
            },
            Self::Zeros => 0.0 * sign,
            Self::Subnormal => match dtype {
                Dtype::F16 => random.below(1 << 10) as f32 * 2_f32.powi(-24) * sign,
                _ => f32::from_bits(random.below(1 << 23)) * sign,
            },
            Self::Masked if random.below(3) == 0 || (odd && column > 1) => -1e30,
            Self::Floor if odd || random.below(3) == 0 => f32::MIN,
            Self::Huge => (random.below(7) as f32 - 3.0) * 1e30,
            Self::Wide if column < 4 && odd => random.uniform(-300.0, -290.0),
            Self::Wide => random.uniform(-200.0, 200.0),
            Self::Edge if column == token % experts => 3.0,
            Self::Edge => f32::from_bits((3.0_f32 - 69.0).to_bits() + random.below(5) - 2),
            Self::Zipf => bell(random) * 0.7 - ((column * 7 % experts.max(1) + 1) as f32).ln() * 1.5,
            Self::Hot if column == experts / 2 => 22.0,
            Self::Hot => bell(random) * 0.5,
            Self::Alike => ((column * 37 % 101) as f32 - 50.0) / 16.0,
            Self::Ascending => column as f32 * 0.125 - 3.0,
            Self::Descending => 3.0 - column as f32 * 0.125,
            Self::Bits => {
                let x = f32::from_bits(random.bits() as u32);
                if x.is_nan() { f32::NAN.copysign(x) } else { x }
            }
            // Those that have something else at times have this for the rest.
            Self::Normal
            | Self::SomeExcluded
            | Self::Scarce
            | Self::OneNan
            | Self::ManyNan
            | Self::Infinite
            | Self::Masked
            | Self::Floor => bell(random),
        }
    }

    fn row(self, random: &mut Random, dtype: Dtype, token: u32, experts: u32) -> Vec<f32> {
        let mut row: Vec<f32> = (0..experts).map(|column| self.logit(random, dtype, token, column, experts)).collect();
        let mut put = |random: &mut Random, value: f32| row[random.below(experts) as usize] = value;
        match (self, token % 4) {
            (Self::OneNan, 1) => put(random, f32::NAN),
            (Self::OneNan, 3) => put(random, -f32::NAN),
            (Self::Infinite, 1) => put(random, f32::INFINITY),
            (Self::Infinite, 3) => (0..5).for_each(|_| put(random, f32::INFINITY)),
            _ => {}
        }
        row.into_iter().map(|x| if x.is_nan() { x } else { stored(dtype, x) }).collect()
    }

    /// Whether biases and deviations have special values, too.
    fn is_special(self) -> bool {
        matches!(self, Self::Special | Self::Bits)
    }
}

/// Which options are in use, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OptionSet {
    /// None.
    Plain,
    /// A factor of 2.5.
    Scaled,
    /// A negative factor.
    Negative,
    /// A factor of 0.
    NoScale,
    /// Sums below 1 count as 1.
    Least,
    /// A soft cap.
    Cap,
    /// A soft cap so low that many logits come out alike.
    TightCap,
    /// A bias of the logits.
    Biased,
    /// A bias of the scores.
    ScoreBiased,
    /// Gumbel noise.
    Gumbel,
    /// Normal noise.
    Noisy,
    /// Groups compete by their best.
    GroupMax,
    /// Groups compete by their two best.
    GroupTwo,
    /// Groups of one.
    Singles,
    /// Three groups, a bias of the scores.
    OddGroups,
    /// Two shared experts.
    Shared,
    /// A map, some experts of it on other shards.
    Mapped,
    /// A third of the tokens are padding.
    Valid,
    /// All of the tokens are.
    NoneValid,
    /// More valid tokens than there are.
    AllValid,
    /// What `DeepSeek`-V3 does: a bias of the scores, 4 of 8 groups by their two best, a factor.
    Deepseek,
    /// A cap and a bias of the logits.
    CapBiased,
    /// A bias of the logits and Gumbel noise.
    GumbelBiased,
    /// Groups compete after Gumbel noise.
    GumbelGroups,
    /// Groups compete by their two best after normal noise.
    NoisyGroups,
    /// A bias of the scores, shared experts, a map and padding.
    Serving,
    /// All that goes together.
    Everything,
}

impl OptionSet {
    /// All of them, with their names.
    pub const ALL: [(Self, &'static str); 27] = [
        (Self::Plain, "plain"),
        (Self::Scaled, "scaled"),
        (Self::Negative, "negative"),
        (Self::NoScale, "no-scale"),
        (Self::Least, "least"),
        (Self::Cap, "cap"),
        (Self::TightCap, "tight-cap"),
        (Self::Biased, "biased"),
        (Self::ScoreBiased, "score-biased"),
        (Self::Gumbel, "gumbel"),
        (Self::Noisy, "noisy"),
        (Self::GroupMax, "group-max"),
        (Self::GroupTwo, "group-two"),
        (Self::Singles, "singles"),
        (Self::OddGroups, "odd-groups"),
        (Self::Shared, "shared"),
        (Self::Mapped, "mapped"),
        (Self::Valid, "valid"),
        (Self::NoneValid, "none-valid"),
        (Self::AllValid, "all-valid"),
        (Self::Deepseek, "deepseek"),
        (Self::CapBiased, "cap-biased"),
        (Self::GumbelBiased, "gumbel-biased"),
        (Self::GumbelGroups, "gumbel-groups"),
        (Self::NoisyGroups, "noisy-groups"),
        (Self::Serving, "serving"),
        (Self::Everything, "everything"),
    ];

    fn options(self, choices: u32, experts: u32) -> Options {
        let none = Options::default();
        let groups = |count: u32, least: u32, score| {
            // As few as there are choices for, but at least so many.
            let kept = choices.div_ceil((experts / count).max(1)).max(least).min(count);
            Some(Groups { count, kept, score })
        };
        let (max, two) = (GroupScore::Max, GroupScore::TopTwo);
        let (bias, score_bias) = (Some(Bias::Logit), Some(Bias::Score));
        let (gumbel, normal) = (Some(Noise::Gumbel), Some(Noise::Normal));
        let shared = Some(Shared { count: 2, weight: 0.75 });
        match self {
            Self::Plain | Self::Scaled | Self::Negative | Self::NoScale | Self::Least => none,
            Self::Cap => Options { soft_cap: Some(30.0), ..none },
            Self::TightCap => Options { soft_cap: Some(0.007), ..none },
            Self::Biased => Options { bias, ..none },
            Self::ScoreBiased => Options { bias: score_bias, ..none },
            Self::Gumbel => Options { noise: gumbel, ..none },
            Self::Noisy => Options { noise: normal, ..none },
            Self::GroupMax => Options { groups: groups(4, 1, max), ..none },
            Self::GroupTwo => Options { groups: groups(4, 2, two), ..none },
            Self::Singles => Options { groups: groups(experts, 1, two), ..none },
            Self::OddGroups => Options { groups: groups(3, 2, two), bias: score_bias, ..none },
            Self::Shared => Options { shared, ..none },
            Self::Mapped => Options { map: true, ..none },
            Self::Valid | Self::NoneValid | Self::AllValid => Options { valid: true, ..none },
            Self::Deepseek => Options { bias: score_bias, groups: groups(8, 4, two), ..none },
            Self::CapBiased => Options { soft_cap: Some(8.0), bias, ..none },
            Self::GumbelBiased => Options { noise: gumbel, bias, ..none },
            Self::GumbelGroups => Options { noise: gumbel, groups: groups(4, 2, two), ..none },
            Self::NoisyGroups => Options { noise: normal, groups: groups(4, 2, two), ..none },
            Self::Serving => Options { bias: score_bias, shared, map: true, valid: true, ..none },
            Self::Everything => Options {
                soft_cap: Some(20.0),
                bias,
                noise: normal,
                groups: groups(4, 2, two),
                shared,
                map: true,
                valid: true,
            },
        }
    }

    fn scale(self) -> f32 {
        match self {
            Self::Scaled | Self::Deepseek | Self::Everything => 2.5,
            Self::Negative => -0.375,
            Self::NoScale => 0.0,
            _ => 1.0,
        }
    }
}

/// One thing to try: `router/lane/f32/baseline/w8/x4:tokens=70,experts=64,k=6,scoring=softmax,fill=ties,options=biased`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Case {
    /// What runs.
    pub variant: Variant,
    /// Tokens.
    pub tokens: u32,
    /// Experts.
    pub experts: u32,
    /// Experts that a token goes to.
    pub choices: u32,
    /// What logits become.
    pub scoring: Scoring,
    /// Whether the chosen scores are divided by their sum.
    pub renormalize: bool,
    /// What the logits are.
    pub fill: Fill,
    /// What else is asked for.
    pub options: OptionSet,
    /// Whether all operands are windows of one buffer.
    pub pooled: bool,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { variant, tokens, experts, choices, .. } = self;
        let fill = name_of(&Fill::ALL, self.fill);
        write!(f, "{variant}:tokens={tokens},experts={experts},k={choices},scoring={}", self.scoring.name())?;
        if !self.renormalize {
            f.write_str(",weights=raw")?;
        }
        write!(f, ",fill={fill}")?;
        if self.options != OptionSet::Plain {
            write!(f, ",options={}", name_of(&OptionSet::ALL, self.options))?;
        }
        if self.pooled {
            f.write_str(",memory=pooled")?;
        }
        Ok(())
    }
}

impl FromStr for Case {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let (variant, rest) = name.split_once(':').ok_or("a case is VARIANT:tokens=T,experts=E,k=K,...")?;
        let mut case = Self {
            variant: variant.parse().map_err(|e: BuildError| e.to_string())?,
            tokens: 1,
            experts: 4,
            choices: 1,
            scoring: Scoring::Softmax,
            renormalize: true,
            fill: Fill::Normal,
            options: OptionSet::Plain,
            pooled: false,
        };
        for term in terms(rest) {
            let term = term?;
            match term.key {
                "tokens" => case.tokens = term.number()?,
                "experts" => case.experts = term.number()?,
                "k" => case.choices = term.number()?,
                "scoring" => case.scoring = term.of(&Scoring::ALL.map(|s| (s, s.name())))?,
                "weights" => case.renormalize = term.of(&[(false, "raw")])?,
                "fill" => case.fill = term.of(&Fill::ALL)?,
                "options" => case.options = term.of(&OptionSet::ALL)?,
                "memory" => case.pooled = term.of(&[(true, "pooled")])?,
                _ => return Err(term.unknown("tokens, experts, k, scoring, weights, fill, options, memory")),
            }
        }
        Ok(case)
    }
}

/// What is compiled for a pipeline, and numbers of experts that share it.
#[derive(Clone, Copy, Debug)]
struct Combination(u32, Scoring, bool, OptionSet, &'static [u32]);

/// Every option alone and in pairs that make sense, with every scoring; choices on both sides of each length of list; of experts,
/// as many as are chosen, odd numbers, those of models, the most.
const COMBINATIONS: [Combination; 37] = {
    use OptionSet as O;
    use Scoring::{Identity, Sigmoid, Softmax, SqrtSoftplus};
    [
        Combination(2, Softmax, true, O::Plain, &[8, 2, 3, 40, 57, 64]),
        Combination(1, Sigmoid, false, O::Plain, &[16, 1, 3, 31, 64]),
        Combination(8, Softmax, false, O::Plain, &[64, 8, 31, 9]),
        Combination(8, Softmax, true, O::Plain, &[128, 65, 71]),
        Combination(10, Softmax, true, O::Scaled, &[512, 257, 385]),
        Combination(8, Sigmoid, true, O::Deepseek, &[256, 160, 192]),
        Combination(4, Softmax, true, O::Biased, &[128, 71, 100]),
        Combination(8, Sigmoid, true, O::ScoreBiased, &[384, 257, 511]),
        Combination(6, Softmax, false, O::Cap, &[31, 6, 60]),
        Combination(3, SqrtSoftplus, true, O::Negative, &[33, 3, 5, 64]),
        Combination(5, Identity, false, O::Scaled, &[40, 5, 7, 64]),
        Combination(6, Identity, false, O::NoScale, &[31, 6, 64]),
        Combination(7, Softmax, true, O::Gumbel, &[63, 7, 8, 40]),
        Combination(4, Softmax, false, O::Noisy, &[17, 4, 64]),
        Combination(9, Softmax, false, O::ScoreBiased, &[31, 9, 64]),
        Combination(12, Softmax, true, O::ScoreBiased, &[40, 12, 63]),
        Combination(16, Softmax, true, O::NoScale, &[31, 16, 17, 64]),
        Combination(13, Softmax, false, O::GroupTwo, &[48, 16, 64]),
        Combination(4, Sigmoid, true, O::GroupMax, &[32, 16, 64]),
        Combination(2, SqrtSoftplus, true, O::Serving, &[31, 2, 64]),
        Combination(6, Softmax, true, O::Valid, &[64, 7, 40]),
        Combination(1, Softmax, false, O::Gumbel, &[8, 1, 5, 64]),
        Combination(4, Identity, false, O::GumbelBiased, &[40, 4, 57]),
        Combination(6, Softmax, true, O::Everything, &[32, 16, 64]),
        Combination(11, Identity, false, O::GroupTwo, &[48, 16, 32]),
        Combination(8, Softmax, true, O::GumbelGroups, &[32, 16, 64]),
        Combination(5, Sigmoid, false, O::NoisyGroups, &[48, 16, 64]),
        Combination(3, SqrtSoftplus, false, O::CapBiased, &[40, 3, 63]),
        Combination(15, Softmax, false, O::Shared, &[2047, 1025, 2048]),
        Combination(6, Sigmoid, true, O::Least, &[64, 6, 31]),
        Combination(2, Sigmoid, true, O::TightCap, &[31, 2, 64]),
        Combination(4, Softmax, true, O::Mapped, &[31, 4, 64]),
        Combination(64, Softmax, true, O::Plain, &[64, 64, 64]),
        Combination(33, Sigmoid, true, O::OddGroups, &[57, 51, 63, 36]),
        Combination(17, Softmax, false, O::Singles, &[31, 17, 64]),
        Combination(64, Identity, false, O::Biased, &[160, 255]),
        Combination(21, SqrtSoftplus, false, O::NoneValid, &[40, 21, 64]),
    ]
};

impl Combination {
    /// Some number of experts that the variant takes.
    fn experts(&self, variant: &Variant, i: usize) -> u32 {
        let &Self(choices, .., options, all) = self;
        let unit = if options == OptionSet::OddGroups { 12 } else { 4 };
        let experts = all[i % all.len()];
        if variant.quads { experts.next_multiple_of(unit).max(choices.next_multiple_of(unit)) } else { experts }
    }

    fn fits(&self, variant: &Variant) -> bool {
        let &Self(choices, .., options, _) = self;
        let odd = matches!(options, OptionSet::OddGroups | OptionSet::Singles);
        variant.schedule == Schedule::Row || (choices <= 16 && !odd)
    }
}

/// On both sides of a workgroup; one, and some.
fn tokens(variant: &Variant, i: usize) -> u32 {
    let once = variant.width / variant.lanes;
    let all = [1, once.max(2) - 1, once, once + 1, 2 * once + 3, 5];
    all[i % all.len()]
}

/// The cases of a profile. Each combination is a pipeline, which takes longer to build than all its cases to run: the quick
/// profile has each with some variants of either schedule, and one or two with variants of other element types and tiers, but
/// every fill with every pipeline.
pub fn cases(profile: Profile) -> impl Iterator<Item = Case> {
    let full = profile == Profile::Full;
    Variant::all().enumerate().flat_map(move |(n, variant)| {
        let all: Vec<_> = COMBINATIONS.into_iter().filter(|c| c.fits(&variant)).collect();
        // Which of the variants of one kind it is.
        let same = |v: &Variant| (v.schedule, v.input, v.tier) == (variant.schedule, variant.input, variant.tier);
        let turn = Variant::all().filter(same).position(|v| v == variant).unwrap_or(0);
        let every = match (variant.input, variant.tier, variant.schedule) {
            (Dtype::F32, Tier::Baseline, Schedule::Lane) => 4,
            (Dtype::F32, Tier::Baseline, Schedule::Row) => 8,
            (Dtype::F32, ..) => 11,
            _ => 27,
        };
        // With a step that is odd, combinations meet other variants in turn.
        let first = if variant.input == Dtype::F32 { turn } else { n * 5 };
        let taken = move |i: usize| full || (i + first).is_multiple_of(every);
        let taken = all.into_iter().enumerate().filter(move |(i, _)| taken(*i));
        taken.enumerate().flat_map(move |(j, (i, combination))| of(variant, combination, n + i, j % 3 == 2))
    })
}

fn of(variant: Variant, combination: Combination, n: usize, pooled: bool) -> impl Iterator<Item = Case> {
    let Combination(choices, scoring, renormalize, options, _) = combination;
    let case = move |i: usize| {
        let experts = combination.experts(&variant, i + i / 5);
        let tokens = tokens(&variant, i + n);
        // The reference takes its time, too.
        let tokens = if experts > 128 { tokens.min(9) } else { tokens };
        // One pipeline does with any number.
        let options = match (options, i % 3) {
            (OptionSet::Valid | OptionSet::NoneValid, 1) => OptionSet::AllValid,
            (OptionSet::Valid, 2) => OptionSet::NoneValid,
            (OptionSet::Plain, 2) => OptionSet::Shared,
            _ => options,
        };
        let fill = Fill::ALL[i % Fill::ALL.len()].0;
        Case { variant, tokens, experts, choices, scoring, renormalize, fill, options, pooled }
    };
    // An invocation of a narrow workgroup routes several tokens where there are many.
    let many = (variant.schedule == Schedule::Lane && variant.width == 8 && n.is_multiple_of(3)).then(|| {
        let experts = combination.experts(&variant, 1).min(16);
        Case { tokens: 1537, experts: experts.max(choices), ..case(0) }
    });
    let possible = |c: &Case| {
        let spec = c.spec();
        spec.check(c.experts).is_ok() && variant.fits(&Caps::baseline(), &spec, c.experts).is_ok()
    };
    let many = many.filter(|c| possible(c) && (!variant.quads || c.experts.is_multiple_of(4)));
    (0..Fill::ALL.len()).map(case).chain(many)
}

impl Case {
    /// How it routes.
    #[must_use]
    pub fn spec(&self) -> Spec {
        let least = if self.options == OptionSet::Least { 1.0 } else { LEAST_SUM };
        Spec {
            input: self.variant.input,
            scoring: self.scoring,
            renormalize: self.renormalize.then_some(least),
            scale: self.options.scale(),
            options: self.options.options(self.choices, self.experts),
            variant: Some(self.variant),
            ..Spec::new(Shape { rows: self.tokens, cols: self.experts, quads: self.variant.quads }, self.choices)
        }
    }

    fn valid(&self) -> u32 {
        match self.options {
            OptionSet::NoneValid => 0,
            OptionSet::AllValid => u32::MAX,
            _ => self.tokens - self.tokens / 3,
        }
    }
}

/// The values of a case's operands.
struct Data {
    logits: Vec<f32>,
    bias: Vec<f32>,
    deviations: Vec<f32>,
    seeds: Vec<Stream>,
    map: Vec<u32>,
}

impl Data {
    fn of(case: &Case) -> Self {
        let mut random = Random::of(&case.to_string());
        let (tokens, experts) = (case.tokens, case.experts);
        let special = case.fill.is_special();
        let logits = (0..tokens).flat_map(|t| case.fill.row(&mut random, case.variant.input, t, experts)).collect();
        let odd = [f32::NAN, f32::NEG_INFINITY, f32::INFINITY, -0.0, 1e-40, -100.0, f32::MAX, -1e30];
        let mut one = |from, to| match random.below(32) {
            n if special && n < 8 => odd[n as usize],
            // Few distinct values, so that sums tie.
            8..20 => (random.uniform(from, to) * 4.0).round() / 4.0,
            _ => random.uniform(from, to),
        };
        // Shares are about one in so many: biases that are much larger would decide alone.
        let shares = case.scoring == Scoring::Softmax && case.spec().options.bias == Some(Bias::Score);
        let most = if shares { 2.0 / experts as f32 } else { 1.0 };
        let bias = (0..experts).map(|_| one(-0.75, 0.75) * most).collect();
        let deviations = (0..tokens * experts).map(|_| one(-4.0, 4.0)).collect();
        let seeds = (0..tokens).map(|_| Stream { seed: random.bits(), position: random.bits() }).collect();
        let map = (0..experts + 2).map(|e| if e % 3 == 1 { NO_EXPERT } else { e / 3 * 2 + e % 3 / 2 }).collect();
        Self { logits, bias, deviations, seeds, map }
    }

    fn problem<'a>(&'a self, spec: &'a Spec, case: &Case) -> Problem<'a> {
        let o = &spec.options;
        Problem {
            bias: if o.bias.is_some() { &self.bias } else { &[] },
            deviations: if o.noise == Some(Noise::Normal) { &self.deviations } else { &[] },
            seeds: if o.noise.is_some() { &self.seeds } else { &[] },
            map: o.map.then_some(&self.map[..]),
            valid: o.valid.then(|| case.valid()),
            ..Problem::new(spec, &self.logits, case.experts as usize)
        }
    }
}

impl Trial for Case {
    fn kind(&self) -> String {
        format!("router/{:?}/{}", self.variant.schedule, self.variant.tier.name()).to_lowercase()
    }

    fn measured(&self) -> bool {
        false
    }

    fn run(&self, gpu: &Gpu) -> Outcome {
        if let Err(reason) = self.variant.supported(gpu.library.caps()) {
            return Outcome::from(reason);
        }
        if let Some(outcome) = without(&[("tokens", self.tokens), ("experts", self.experts)]) {
            return outcome;
        }
        let data = Data::of(self);
        match execute(gpu, self, &data) {
            Ok(Ok(results)) => match check(self, &data, &results) {
                Ok(()) => Outcome::Passed(0),
                Err(failure) => Outcome::Failed(failure),
            },
            Ok(Err(failure)) => Outcome::Failed(failure),
            Err(error) => Outcome::from(error),
        }
    }
}

/// What a device gave, rows without their gaps.
#[derive(Clone, Debug, Default, PartialEq)]
struct Results {
    experts: Vec<u32>,
    /// As bits.
    weights: Vec<u32>,
}

impl Results {
    fn of(routes: &[Route]) -> Self {
        Self {
            experts: routes.iter().flat_map(|r| &r.experts).copied().collect(),
            weights: routes.iter().flat_map(|r| &r.weights).map(|w| w.to_bits()).collect(),
        }
    }
}

/// Whether the results are the reference's to the bit, and by themselves what they should be.
fn check(case: &Case, data: &Data, results: &Results) -> Result<(), Failure> {
    let spec = case.spec();
    let problem = data.problem(&spec, case);
    let routes: Vec<Route> = (0..case.tokens as usize).map(|token| problem.route(token)).collect();
    let (want, width) = (Results::of(&routes), spec.width() as usize);
    same_words("experts", width, &results.experts, &want.experts)?;
    same_words("weights", width, &results.weights, &want.weights)?;
    // By their own numbers.
    let plain = Problem { map: None, valid: None, ..problem };
    let valid = problem.valid.unwrap_or(case.tokens).min(case.tokens);
    for (token, route) in routes.iter().enumerate().take(valid as usize) {
        let own = if spec.options.map { plain.route(token).experts } else { route.experts.clone() };
        let chosen = &own[..case.choices as usize];
        distinct(case, token, chosen)?;
        let weights = &results.weights[token * width..][..chosen.len()];
        within(&plain, token, chosen, weights)?;
    }
    Ok(())
}

/// As many as are asked for, none twice, all of them experts.
fn distinct(case: &Case, token: usize, chosen: &[u32]) -> Result<(), Failure> {
    let (mut seen, mut findings) = (vec![false; case.experts as usize], Findings::default());
    for (choice, &expert) in chosen.iter().enumerate() {
        match seen.get_mut(expert as usize) {
            Some(seen) if !*seen => *seen = true,
            _ => findings.add("experts", token, choice, Difference::Word { got: expert, want: NO_EXPERT }),
        }
    }
    findings.verdict()
}

/// Weights as near to the formulas as is derived.
fn within(problem: &Problem<'_>, token: usize, chosen: &[u32], weights: &[u32]) -> Result<(), Failure> {
    let Some(budgets) = route_budgets(problem, token, chosen) else { return Ok(()) };
    let mut findings = Findings::default();
    for (choice, (&budget, &weight)) in budgets.iter().zip(weights).enumerate() {
        findings.judge("weights", token, choice, f32::from_bits(weight), budget);
    }
    findings.verdict()
}

/// What lies around rows, and in outputs before they are written: as f32 a quiet NaN that no kernel makes.
const PATTERN: u8 = 0xa7;

/// A window, and the bytes of its buffer from its area's start to its area's end.
struct Area {
    what: &'static str,
    bytes: Vec<u8>,
    rows: usize,
    cols: usize,
    element: usize,
    /// Elements before the first row, and from row to row.
    offset: usize,
    stride: usize,
}

impl Area {
    /// Of rows without gaps; without values, an output.
    fn new(what: &'static str, values: &[u8], shape: [u32; 2], [offset, gap]: [usize; 2]) -> Self {
        let (rows, cols) = (shape[0] as usize, shape[1] as usize);
        let element = if values.is_empty() { 4 } else { values.len() / (rows * cols) };
        let stride = cols + gap;
        let mut bytes = vec![PATTERN; ((offset + rows * stride) * element + 20).next_multiple_of(4)];
        for (row, values) in values.chunks(cols * element).enumerate() {
            bytes[(offset + row * stride) * element..][..values.len()].copy_from_slice(values);
        }
        Self { what, bytes, rows, cols, element, offset, stride }
    }

    fn contains(&self, byte: usize) -> bool {
        let index = (byte / self.element).checked_sub(self.offset);
        index.is_some_and(|i| i / self.stride < self.rows && i % self.stride < self.cols)
    }

    /// The words of an output's rows, after a look around them.
    fn words(&self, after: &[u8]) -> Result<Vec<u32>, Failure> {
        if let Some(byte) = (0..after.len()).find(|&b| after[b] != self.bytes[b] && !self.contains(b)) {
            return Err(Failure::GuardTouched { what: self.what, index: byte / self.element });
        }
        let row = |r: usize| &after[(self.offset + r * self.stride) * 4..][..self.cols * 4];
        let rows: Vec<u8> = (0..self.rows).flat_map(row).copied().collect();
        Ok(bytemuck::pod_collect_to_vec(&rows))
    }
}

/// Areas in buffers of their own, or one after another in one.
struct Memory {
    areas: Vec<Area>,
    buffers: Vec<wgpu::Buffer>,
    /// The buffer and the byte that each starts at.
    starts: Vec<(usize, usize)>,
}

impl Memory {
    fn new(gpu: &Gpu, areas: Vec<Area>, pooled: bool) -> Result<Self, HostError> {
        if !pooled {
            let buffers = areas.iter().map(|a| gpu.upload(&a.bytes)).collect::<Result<Vec<_>, _>>()?;
            for (area, buffer) in areas.iter().zip(&buffers) {
                gpu.describe(buffer, area.what, Vec::new);
            }
            let starts = (0..areas.len()).map(|i| (i, 0)).collect();
            return Ok(Self { areas, buffers, starts });
        }
        let alignment = gpu.library.caps().binding_alignment.max(256) as usize;
        let (mut all, mut starts) = (Vec::new(), Vec::new());
        for area in &areas {
            all.resize(usize::next_multiple_of(all.len(), alignment), PATTERN);
            starts.push((0, all.len()));
            all.extend(&area.bytes);
        }
        let pool = gpu.upload(&all)?;
        gpu.describe(&pool, "pool", Vec::new);
        Ok(Self { buffers: vec![pool], areas, starts })
    }

    fn matrix(&self, what: &str) -> Option<Matrix<'_>> {
        let i = self.areas.iter().position(|a| a.what == what)?;
        let (area, (buffer, start)) = (&self.areas[i], self.starts[i]);
        let offset = (start / area.element + area.offset) as u64;
        let window = Matrix::new(&self.buffers[buffer], area.rows as u32, area.cols as u32);
        Some(window.at(offset).with_stride(area.stride as u32))
    }

    fn reset(&self, gpu: &Gpu) {
        for (area, &(buffer, start)) in self.areas.iter().zip(&self.starts) {
            gpu.write(&self.buffers[buffer], start as u64, &area.bytes);
        }
    }

    /// The outputs, and that nothing else has changed.
    fn results(&self, gpu: &Gpu) -> Result<Result<Results, Failure>, HostError> {
        let read = |buffer: &wgpu::Buffer| gpu.download(buffer, buffer.size());
        let after = self.buffers.iter().map(read).collect::<Result<Vec<_>, _>>()?;
        let mut results = Results::default();
        for (area, &(buffer, start)) in self.areas.iter().zip(&self.starts) {
            let after = &after[buffer][start..][..area.bytes.len()];
            let output = match area.what {
                "experts" => &mut results.experts,
                "weights" => &mut results.weights,
                _ => {
                    if let Some(byte) = after.iter().zip(&area.bytes).position(|(a, b)| a != b) {
                        return Ok(Err(Failure::InputChanged { index: byte / area.element }));
                    }
                    continue;
                }
            };
            match area.words(after) {
                Ok(words) => *output = words,
                Err(failure) => return Ok(Err(failure)),
            }
        }
        Ok(Ok(results))
    }
}

/// Every operand that is in use, with gaps between rows and at odd places.
fn areas(case: &Case, spec: &Spec, data: &Data) -> Vec<Area> {
    let (tokens, experts, o) = (case.tokens, case.experts, &spec.options);
    let (width, shared) = (spec.width(), spec.width() - case.choices);
    let seeds: Vec<[u32; 4]> = data.seeds.iter().map(Stream::words_of_seed).collect();
    // Four at a time want offsets and strides in multiples of four.
    let place = if case.variant.quads { [8, 4] } else { [3, 5] };
    // Biases are loaded four at a time where they lie so: in buffers of their own they do.
    let bias_at = if case.variant.quads && !case.pooled { 8 } else { 7 };
    let bytes = |words: &[f32]| bytemuck::cast_slice(words).to_vec();
    let map = &data.map[..(experts + shared) as usize];
    let valid = case.valid().to_le_bytes();
    let used = [
        (true, Area::new("src", &encode(case.variant.input, &data.logits), [tokens, experts], place)),
        (true, Area::new("experts", &[], [tokens, width], [1, 3])),
        (true, Area::new("weights", &[], [tokens, width], [5, 2])),
        (o.bias.is_some(), Area::new("bias", &bytes(&data.bias), [1, experts], [bias_at, 0])),
        (o.noise == Some(Noise::Normal), Area::new("deviations", &bytes(&data.deviations), [tokens, experts], [3, 1])),
        (o.noise.is_some(), Area::new("seeds", bytemuck::cast_slice(&seeds), [tokens, 4], [1, 1])),
        (o.map, Area::new("map", bytemuck::cast_slice(map), [1, experts + shared], [2, 0])),
        (o.valid, Area::new("valid", &valid, [1, 1], [9, 0])),
    ];
    used.into_iter().filter(|(used, _)| *used).map(|(_, area)| area).collect()
}

fn execute(gpu: &Gpu, case: &Case, data: &Data) -> Result<Result<Results, Failure>, HostError> {
    let spec = case.spec();
    let kernel = gpu.library.router(&spec)?;
    let memory = Memory::new(gpu, areas(case, &spec, data), case.pooled)?;
    let given = |what: &'static str| memory.matrix(what).ok_or(BindError::Missing { what });
    let bound = kernel.bind(&Operands {
        bias: memory.matrix("bias"),
        deviations: memory.matrix("deviations"),
        seeds: memory.matrix("seeds"),
        map: memory.matrix("map"),
        valid: memory.matrix("valid"),
        ..Operands::new(given("src")?, given("experts")?, given("weights")?)
    })?;
    let once = || -> Result<Result<Results, Failure>, HostError> {
        memory.reset(gpu);
        gpu.run(&[&bound])?;
        memory.results(gpu)
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
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_round_trip() {
        for profile in [Profile::Standard, Profile::Full] {
            let mut names = BTreeSet::new();
            let mut count = 0;
            for case in cases(profile) {
                assert_eq!(case.to_string().parse::<Case>().as_ref(), Ok(&case));
                names.insert(case.to_string());
                count += 1;
            }
            println!("{count} cases, {} names", names.len());
            assert!(names.len() >= 2000, "{}", names.len());
        }
        assert!("router/lane/f32/baseline/w8/x4".parse::<Case>().is_err());
        assert!("router/lane/f32/baseline/w8/x4:fill=none".parse::<Case>().is_err());
        assert!("router/lane/f32/baseline/w8/x4:rows=3".parse::<Case>().is_err());
        assert!("router/lane/f32/baseline/w8/x4:weights=divided".parse::<Case>().is_err());
    }

    /// Every case can be built, as far as no device is asked.
    #[test]
    fn specifications_are_good() {
        for case in cases(Profile::Full) {
            assert_eq!(case.spec().check(case.experts), Ok(()), "{case}");
        }
    }

    /// Every variant has cases; each schedule has every fill, option and combination.
    #[test]
    fn quick_has_everything() {
        let variants: BTreeSet<_> = cases(Profile::Standard).map(|c| c.variant.to_string()).collect();
        assert_eq!(variants.len(), Variant::all().count());
        let seen = |schedule: Schedule, what: fn(&Case) -> String| {
            cases(Profile::Standard)
                .filter(|c| c.variant.schedule == schedule)
                .map(|c| what(&c))
                .collect::<BTreeSet<_>>()
        };
        for (schedule, options, combinations) in [(Schedule::Lane, 25, 32), (Schedule::Row, 27, 37)] {
            assert_eq!(seen(schedule, |c| format!("{:?}", c.fill)).len(), Fill::ALL.len());
            let got = seen(schedule, |c| format!("{:?}", c.options));
            assert_eq!(got.len(), options, "{schedule:?}: {got:?}");
            let got = seen(schedule, |c| {
                let options = match c.options {
                    OptionSet::AllValid | OptionSet::NoneValid => OptionSet::Valid,
                    OptionSet::Shared if c.choices != 15 => OptionSet::Plain,
                    other => other,
                };
                format!("{} {:?} {} {options:?}", c.choices, c.scoring, c.renormalize)
            });
            assert_eq!(got.len(), combinations, "{schedule:?}: {got:?}");
            assert_eq!(seen(schedule, |c| c.pooled.to_string()).len(), 2);
        }
    }

    type Plant = fn(&mut Results);

    fn faults_are_found(name: &str, faults: &[(&str, Plant)]) {
        let case: Case = name.parse().unwrap();
        let data = Data::of(&case);
        let spec = case.spec();
        let problem = data.problem(&spec, &case);
        let routes: Vec<_> = (0..case.tokens as usize).map(|token| problem.route(token)).collect();
        let good = Results::of(&routes);
        assert_eq!(check(&case, &data, &good), Ok(()), "{name}");
        for (fault, plant) in faults {
            let mut bad = good.clone();
            plant(&mut bad);
            assert_ne!(bad, good, "{fault}");
            assert!(check(&case, &data, &bad).is_err(), "{fault}");
        }
    }

    /// The checks pass what is right and find what is not.
    #[test]
    fn planted_faults_are_found() {
        let name = "router/lane/f32/baseline/w8/x4:tokens=9,experts=64,k=6,scoring=softmax,fill=normal";
        faults_are_found(
            name,
            &[
                ("two tokens exchanged", |r| {
                    r.experts.rotate_left(6);
                    r.weights.rotate_left(6);
                }),
                ("two experts of a token exchanged", |r| r.experts.swap(7, 8)),
                ("two weights of a token exchanged", |r| r.weights.swap(12, 13)),
                ("two choices of a token exchanged", |r| {
                    r.experts.swap(7, 8);
                    r.weights.swap(7, 8);
                }),
                ("an expert twice", |r| r.experts[1] = r.experts[0]),
                ("no such expert", |r| r.experts[53] = 64),
                ("a weight 1 ULP off", |r| r.weights[20] += 1),
                ("a NaN", |r| r.weights[30] = f32::NAN.to_bits()),
                ("the last token dropped", |r| r.experts[48..].fill(0xa7a7_a7a7)),
                ("a choice missing", |r| _ = r.experts.pop()),
            ],
        );
        let name = "router/lane/f32/baseline/w8/x4:tokens=3,experts=32,k=4,scoring=sigmoid,weights=raw,fill=equal";
        faults_are_found(
            name,
            &[
                ("a tie broken upward", |r| r.experts[..4].copy_from_slice(&[31, 30, 29, 28])),
                ("a tie at the end broken upward", |r| r.experts[3] = 4),
                ("ties in another order", |r| r.experts.swap(0, 1)),
            ],
        );
        let name = "router/row/f32/baseline/w8/x4:tokens=9,experts=32,k=2,scoring=sigmoid,fill=normal,options=serving";
        faults_are_found(
            name,
            &[
                ("a sentinel 0", |r| *r.experts.last_mut().unwrap() = 0),
                ("a weight of padding", |r| *r.weights.last_mut().unwrap() = 1.0_f32.to_bits()),
                ("a shared expert's weight", |r| r.weights[3] = 1.0_f32.to_bits()),
                ("an expert of another shard here", |r| {
                    let other = r.experts.iter().position(|&e| e == NO_EXPERT).unwrap();
                    r.experts[other] = 1;
                }),
            ],
        );
        let name = "router/row/f32/baseline/w8/x4:tokens=4,experts=8,k=2,scoring=softmax,fill=many-nan";
        faults_are_found(
            name,
            &[("a NaN of another sort", |r| {
                let nan = r.weights.iter().position(|&w| f32::from_bits(w).is_nan()).unwrap();
                r.weights[nan] |= 1 << 31;
            })],
        );
    }

    /// A word written around a row, an input changed: on a device, through the windows that cases use.
    #[test]
    fn touched_guards_are_found() {
        let gpu = Gpu::open(None).unwrap();
        for pooled in [false, true] {
            let input = Area::new("src", &[0; 24], [2, 3], [3, 5]);
            let areas =
                vec![input, Area::new("experts", &[], [2, 3], [1, 2]), Area::new("weights", &[], [2, 3], [1, 2])];
            let memory = Memory::new(&gpu, areas, pooled).unwrap();
            assert!(memory.results(&gpu).unwrap().is_ok());
            let write = |area: usize, word: usize| {
                memory.reset(&gpu);
                let (buffer, start) = memory.starts[area];
                gpu.write(&memory.buffers[buffer], (start + word * 4) as u64, &7_u32.to_le_bytes());
                memory.results(&gpu).unwrap()
            };
            // Before, between and after the rows.
            for (word, inside) in [(0, false), (1, true), (3, true), (4, false), (5, false), (8, true), (9, false)] {
                let touched = Failure::GuardTouched { what: "weights", index: word };
                assert_eq!(write(2, word).err(), (!inside).then_some(touched), "{word}");
            }
            assert_eq!(write(0, 4), Err(Failure::InputChanged { index: 4 }));
        }
    }
}
