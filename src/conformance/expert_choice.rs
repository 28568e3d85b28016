//! Cases of expert choice: every word of every output against the reference.

use std::fmt;
use std::str::FromStr;

use super::case::{name_of, terms};
use super::check::same_words;
use super::data::{Random, encode, stored};
use super::guarded::Guarded;
use super::run::{Outcome, Trial, without};
use super::tape::{Bounds, Loose};
use super::{Failure, Profile};
use crate::BuildError;
use crate::expert_choice::{Operands, Spec, Variant};
use crate::host::{Gpu, HostError};
use crate::reference::expert_choice::{Chosen, expert_choice};
use crate::softmax::Dtype;

/// Scores with a reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fill {
    /// Uniform in [-8, 8): logits.
    Logits,
    /// Probabilities over a wide range: their keys share the first bits.
    Probabilities,
    /// Five distinct values: what is taken is decided by the token.
    Ties,
    /// All equal.
    Equal,
    /// All −inf.
    Lowest,
    /// All NaN, of either sign.
    Nan,
    /// NaN of either sign, both infinities, both zeros, and few others.
    Special,
    /// Neighbouring numbers of the type: the last digit decides.
    Clustered,
    /// Subnormal numbers of both signs, and both zeros.
    Subnormal,
    /// The better, the later the token.
    Ascending,
    /// Any bits at all, NaN made quiet.
    Bits,
}

impl Fill {
    /// All of them, with their names.
    pub const ALL: [(Self, &'static str); 11] = [
        (Self::Logits, "logits"),
        (Self::Probabilities, "probabilities"),
        (Self::Ties, "ties"),
        (Self::Equal, "equal"),
        (Self::Lowest, "lowest"),
        (Self::Nan, "nan"),
        (Self::Special, "special"),
        (Self::Clustered, "clustered"),
        (Self::Subnormal, "subnormal"),
        (Self::Ascending, "ascending"),
        (Self::Bits, "bits"),
    ];

    /// A score as the type stores it.
    fn score(self, dtype: Dtype, random: &mut Random, token: u32) -> f32 {
        let bits = |from: u32| {
            // So many steps of the type above a number of it.
            let step = match dtype {
                Dtype::F32 => 0,
                Dtype::F16 => 13,
                Dtype::Bf16 => 16,
            };
            f32::from_bits(1.0_f32.to_bits() + (from << step))
        };
        let sign = if random.below(2) == 0 { 1.0 } else { -1.0_f32 };
        let nan = f32::NAN.copysign(sign);
        let x = match self {
            Self::Logits => random.uniform(-8.0, 8.0),
            Self::Probabilities => random.uniform(0.0, 1.0).powi(8),
            Self::Ties => random.below(5) as f32 - 2.0,
            Self::Equal => 0.25,
            Self::Lowest => f32::NEG_INFINITY,
            Self::Nan => nan,
            Self::Special => match random.below(8) {
                0 => nan,
                1 | 2 => 0.0 * sign,
                3 => f32::INFINITY * sign,
                4 => f32::MAX * sign,
                5 => 0.5 * sign,
                _ => f32::NEG_INFINITY,
            },
            Self::Clustered => bits(random.below(6)) * if token.is_multiple_of(2) { 1.0 } else { -1.0 },
            Self::Subnormal => match dtype {
                Dtype::F16 => random.below(1 << 10) as f32 * 2_f32.powi(-24) * sign,
                _ => f32::from_bits(random.below(1 << 23)) * sign,
            },
            Self::Ascending => token as f32 - 100.0,
            Self::Bits => f32::from_bits(random.bits() as u32),
        };
        if x.is_nan() { nan } else { stored(dtype, x) }
    }
}

/// What else is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OptionSet {
    /// Nothing.
    Plain,
    /// The other direction.
    Choices,
    /// All but some of the tokens are padding.
    Valid,
    /// Both, and fewer tokens than an expert may take.
    Few,
    /// Both, and no valid token at all.
    Nobody,
    /// Both, and more valid tokens than there are.
    More,
}

impl OptionSet {
    /// All of them, with their names.
    pub const ALL: [(Self, &'static str); 6] = [
        (Self::Plain, "plain"),
        (Self::Choices, "choices"),
        (Self::Valid, "valid"),
        (Self::Few, "few"),
        (Self::Nobody, "nobody"),
        (Self::More, "more"),
    ];
}

/// One thing to try: `expert_choice/serial/f32/w8:tokens=257,experts=31,capacity=17,fill=ties,options=choices`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Case {
    /// What runs.
    pub variant: Variant,
    /// Tokens.
    pub tokens: u32,
    /// Experts.
    pub experts: u32,
    /// Tokens that an expert takes.
    pub capacity: u32,
    /// What the scores are.
    pub fill: Fill,
    /// What else is asked for.
    pub options: OptionSet,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { variant, tokens, experts, capacity, .. } = self;
        let fill = name_of(&Fill::ALL, self.fill);
        write!(f, "{variant}:tokens={tokens},experts={experts},capacity={capacity},fill={fill}")?;
        if self.options != OptionSet::Plain {
            write!(f, ",options={}", name_of(&OptionSet::ALL, self.options))?;
        }
        Ok(())
    }
}

impl FromStr for Case {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let (variant, rest) = name.split_once(':').ok_or("a case is VARIANT:tokens=T,experts=E,capacity=C,...")?;
        let variant = variant.parse().map_err(|e: BuildError| e.to_string())?;
        let (fill, options) = (Fill::Logits, OptionSet::Plain);
        let mut case = Self { variant, tokens: 1, experts: 1, capacity: 1, fill, options };
        for term in terms(rest) {
            let term = term?;
            match term.key {
                "tokens" => case.tokens = term.number()?,
                "experts" => case.experts = term.number()?,
                "capacity" => case.capacity = term.number()?,
                "fill" => case.fill = term.of(&Fill::ALL)?,
                "options" => case.options = term.of(&OptionSet::ALL)?,
                _ => return Err(term.unknown("tokens, experts, capacity, fill, options")),
            }
        }
        Ok(case)
    }
}

/// (tokens, experts, capacity): on both sides of a workgroup, of the 32 tokens that keys are padded to, of a word of marks, of
/// a tile; one token, one slot, all tokens; more tokens than one invocation reads.
const SHAPES: [(u32, u32, u32); 16] = [
    (1, 1, 1),
    (7, 3, 7),
    (255, 31, 17),
    (256, 71, 256),
    (257, 257, 3),
    (31, 513, 1),
    (32, 32, 31),
    (33, 8, 33),
    (257, 1, 129),
    (4097, 3, 515),
    (300, 33, 64),
    (7, 129, 5),
    (255, 33, 1),
    (1025, 9, 1025),
    (2049, 64, 65),
    (64, 65, 9),
];

/// More tokens than a word of 16 bits counts; several tiles.
const LARGE: [(u32, u32, u32); 3] = [(70_000, 3, 2049), (70_000, 1, 1), (4097, 40, 129)];

/// The cases of a profile: every geometry with every shape, fill and option in f32. The quick one has fewer of other types, of
/// which only reading and copying know.
pub fn cases(profile: Profile) -> impl Iterator<Item = Case> {
    let full = profile == Profile::Full;
    Variant::all().enumerate().flat_map(move |(n, variant)| {
        let thorough = full || variant.input == Dtype::F32;
        let count = match (full, thorough) {
            (true, _) => 11 * 16,
            (false, true) => 33,
            (false, false) => 8,
        };
        let case = move |(tokens, experts, capacity): (u32, u32, u32), i: usize| {
            // Wide workgroups are dear on adapters that run on a CPU.
            let again = i >= 16 && variant.width > 8;
            let experts = if full || (thorough && !again) { experts } else { experts.min(40) };
            let (fill, options) = (Fill::ALL[i % 11].0, OptionSet::ALL[(i + i / 11) % 6].0);
            Case { variant, tokens, experts, capacity, fill, options }
        };
        let small = (0..count).map(move |i| case(SHAPES[(i * 3 + n + i / 16) % 16], i));
        let large = LARGE.iter().filter(move |_| thorough).enumerate();
        small.chain(large.map(move |(i, &shape)| case(shape, n * 7 + i * 2 + 1)))
    })
}

impl Case {
    fn asks(&self) -> (bool, bool) {
        match self.options {
            OptionSet::Plain => (false, false),
            OptionSet::Choices => (true, false),
            OptionSet::Valid => (false, true),
            OptionSet::Few | OptionSet::Nobody | OptionSet::More => (true, true),
        }
    }

    /// What the operand `valid` says.
    fn valid(&self) -> u32 {
        match self.options {
            OptionSet::Plain | OptionSet::Choices => self.tokens,
            OptionSet::Valid => self.tokens - self.tokens / 3,
            OptionSet::Few => self.capacity / 2 + 1,
            OptionSet::Nobody => 0,
            OptionSet::More => u32::MAX,
        }
    }

    fn scores(&self) -> Vec<f32> {
        let mut random = Random::of(&self.to_string());
        let score = |i: u32| self.fill.score(self.variant.input, &mut random, i / self.experts.max(1));
        (0..self.tokens * self.experts).map(score).collect()
    }

    fn right(&self, scores: &[f32]) -> Chosen {
        expert_choice(scores, self.experts as usize, self.capacity as usize, self.valid() as usize)
    }
}

impl Trial for Case {
    fn kind(&self) -> String {
        format!("expert_choice/{:?}/w{}", self.variant.schedule, self.variant.width).to_lowercase()
    }

    fn measured(&self) -> bool {
        false
    }

    fn run(&self, gpu: &Gpu) -> Outcome {
        if let Err(reason) = self.variant.supported(gpu.library.caps()) {
            return Outcome::from(reason);
        }
        if let Some(outcome) = without(&[("experts", self.experts)]) {
            return outcome;
        }
        let scores = self.scores();
        match execute(gpu, self, &scores) {
            Ok(Ok(results)) => match check(self, &self.right(&scores), &results) {
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
    tokens: Vec<u32>,
    weights: Vec<u32>,
    /// Offsets and choices, where asked for; of choices those up to the last offset.
    listed: Option<(Vec<u32>, Vec<u32>)>,
}

impl Results {
    fn of(case: &Case, chosen: &Chosen) -> Self {
        Self {
            tokens: chosen.tokens.clone(),
            weights: chosen.weights.iter().map(|w| w.to_bits()).collect(),
            listed: case.asks().0.then(|| (chosen.offsets.clone(), chosen.choices.clone())),
        }
    }
}

fn check(case: &Case, right: &Chosen, results: &Results) -> Result<(), Failure> {
    let want = Results::of(case, right);
    let capacity = case.capacity as usize;
    same_words("tokens", capacity, &results.tokens, &want.tokens)?;
    same_words("weights", capacity, &results.weights, &want.weights)?;
    let Some(((offsets, choices), (want_offsets, want_choices))) = results.listed.as_ref().zip(want.listed.as_ref())
    else {
        return if results.listed.is_none() && want.listed.is_none() {
            Ok(())
        } else {
            Err(Failure::Broken("choices: given, or missing, against the case".into()))
        };
    };
    same_words("offsets", offsets.len(), offsets, want_offsets)?;
    same_words("choices", choices.len(), choices, want_choices)
}

fn execute(gpu: &Gpu, case: &Case, scores: &[f32]) -> Result<Result<Results, Failure>, HostError> {
    let &Case { variant, tokens, experts, capacity, .. } = case;
    let (choices, valid) = case.asks();
    let spec =
        Spec { input: variant.input, choices, valid, variant: Some(variant), ..Spec::new(tokens, experts, capacity) };
    let kernel = gpu.library.expert_choice(&spec)?;
    let slots = experts * capacity;
    let scratch_words = (kernel.scratch_bytes(tokens, experts) / 4) as u32;
    let src = Guarded::input(gpu, "scores", &encode(variant.input, scores), [tokens, experts], [3, 5])?;
    let count = Guarded::input(gpu, "valid", &case.valid().to_le_bytes(), [1, 1], [2, 0])?;
    let chosen = Guarded::output(gpu, "tokens", 4, [experts, capacity], [1, 3])?;
    let weights = Guarded::output(gpu, "weights", 4, [experts, capacity], [5, 2])?;
    let offsets = Guarded::output(gpu, "offsets", 4, [1, tokens + 1], [7, 0])?;
    let entries = Guarded::output(gpu, "choices", 4, [1, slots], [9, 0])?;
    let scratch = Guarded::output(gpu, "scratch", 4, [1, scratch_words], [4, 0])?;
    let unread = Loose { at: scratch.at(0), bounds: Bounds::Scratch(scratch_words.into()) };
    gpu.describe(&scratch.buffer, "scratch", || vec![unread]);
    let bound = kernel.bind(&Operands {
        offsets: choices.then(|| offsets.matrix()),
        choices: choices.then(|| entries.matrix()),
        valid: valid.then(|| count.matrix()),
        ..Operands::new(src.matrix(), chosen.matrix(), weights.matrix(), scratch.matrix())
    })?;
    let once = || -> Result<Result<Results, Failure>, HostError> {
        for output in [&chosen, &weights, &offsets, &entries] {
            output.reset(gpu);
        }
        gpu.run(&[&bound])?;
        let mut words = Vec::new();
        for output in [&chosen, &weights, &offsets, &entries, &scratch] {
            match output.words(gpu)? {
                Ok(rows) => words.push(rows),
                Err(failure) => return Ok(Err(failure)),
            }
        }
        let mut words = words.into_iter();
        let [tokens, weights, offsets, mut entries] = [(); 4].map(|()| words.next().unwrap_or_default());
        let used = offsets.last().map_or(0, |&n| n as usize).min(entries.len());
        if choices && entries[used..].iter().any(|&w| w != PATTERN) {
            return Ok(Err(Failure::GuardTouched { what: "choices", index: used }));
        }
        entries.truncate(used);
        Ok(Ok(Results { tokens, weights, listed: choices.then_some((offsets, entries)) }))
    };
    let (first, second) = (once()?, once()?);
    for input in [&src, &count] {
        if let Err(failure) = input.unchanged(gpu)? {
            return Ok(Err(failure));
        }
    }
    if let (Ok(first), Ok(second)) = (&first, &second)
        && first != second
    {
        return Ok(Err(Failure::NotRepeatable { index: 0 }));
    }
    Ok(first)
}

/// What an output holds before it is written.
const PATTERN: u32 = 0xa7a7_a7a7;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_round_trip() {
        for profile in [Profile::Standard, Profile::Full] {
            let mut names = BTreeSet::new();
            for case in cases(profile) {
                assert_eq!(case.to_string().parse::<Case>().as_ref(), Ok(&case));
                names.insert(case.to_string());
            }
            assert!(names.len() >= 150, "{}", names.len());
        }
        assert!("expert_choice/serial/f32/w8".parse::<Case>().is_err());
        assert!("expert_choice/serial/f32/w8:fill=none".parse::<Case>().is_err());
        assert!("expert_choice/serial/f32/w8:rows=3".parse::<Case>().is_err());
    }

    /// Every geometry gets every fill, every option and every shape.
    #[test]
    fn quick_has_everything() {
        let seen = |what: fn(&Case) -> String| {
            cases(Profile::Standard).map(|c| format!("{} {}", c.kind(), what(&c))).collect::<BTreeSet<_>>().len()
        };
        assert_eq!(seen(|c| format!("{:?}", c.fill)), 3 * Fill::ALL.len());
        assert_eq!(seen(|c| format!("{:?}", c.options)), 3 * OptionSet::ALL.len());
        for (tokens, experts, capacity) in SHAPES.into_iter().chain(LARGE) {
            let is = |c: &Case| (c.tokens, c.experts, c.capacity) == (tokens, experts, capacity);
            let kinds: BTreeSet<_> = cases(Profile::Standard).filter(is).map(|c| c.kind()).collect();
            assert_eq!(kinds.len(), 3, "{tokens} x {experts}, {capacity}: {kinds:?}");
        }
    }

    type Plant = fn(&mut Results);

    /// The checks pass what is right and find what is not.
    #[test]
    fn planted_faults_are_found() {
        let name = "expert_choice/serial/f32/w8:tokens=40,experts=6,capacity=30,fill=ties,options=choices";
        let case: Case = name.parse().unwrap();
        let right = case.right(&case.scores());
        let good = Results::of(&case, &right);
        assert_eq!(check(&case, &right, &good), Ok(()));
        let faults: [(&str, Plant); 11] = [
            ("two tokens of an expert exchanged", |r| r.tokens.swap(30, 31)),
            ("two weights of an expert exchanged", |r| {
                let last = (0..29).find(|&i| r.weights[i] != r.weights[i + 1]).unwrap();
                r.weights.swap(last, last + 1);
            }),
            ("rows of two experts exchanged", |r| r.tokens.rotate_left(30)),
            ("a tie broken upward", |r| r.tokens[..3].reverse()),
            ("another token of the same score", |r| r.tokens[7] += 1),
            ("the last slot dropped", |r| *r.tokens.last_mut().unwrap() = PATTERN),
            ("the last slot empty", |r| *r.tokens.last_mut().unwrap() = u32::MAX),
            ("a zero's sign lost", |r| {
                let zero = r.weights.iter().position(|&w| w == 0 || w == 1 << 31).unwrap();
                r.weights[zero] ^= 1 << 31;
            }),
            ("an offset one too many", |r| r.listed.as_mut().unwrap().0[20] += 1),
            ("two choices exchanged", |r| r.listed.as_mut().unwrap().1.swap(3, 4)),
            ("a choice dropped", |r| _ = r.listed.as_mut().unwrap().1.pop()),
        ];
        for (name, plant) in faults {
            let mut bad = good.clone();
            plant(&mut bad);
            assert!(check(&case, &right, &bad).is_err(), "{name}");
        }
        let unasked = Results { listed: None, ..good };
        assert!(check(&case, &right, &unasked).is_err());
    }

    /// A word written around a row, an input changed: on a device, through the windows that cases use.
    #[test]
    fn touched_guards_are_found() {
        let gpu = Gpu::open(None).unwrap();
        let window = Guarded::output(&gpu, "tokens", 4, [2, 3], [1, 2]).unwrap();
        assert!(window.read(&gpu).unwrap().is_ok());
        // Before, between and after the rows.
        for index in [0, 4, 5, 9] {
            window.reset(&gpu);
            gpu.write(&window.buffer, index * 4, &7_u32.to_le_bytes());
            let touched = Failure::GuardTouched { what: "tokens", index: index as usize };
            assert_eq!(window.words(&gpu).unwrap(), Err(touched));
        }
        let input = Guarded::input(&gpu, "scores", &[0; 24], [2, 3], [1, 2]).unwrap();
        gpu.write(&input.buffer, 4, &7_u32.to_le_bytes());
        assert_eq!(input.unchanged(&gpu).unwrap(), Err(Failure::InputChanged { index: 1 }));
    }
}
