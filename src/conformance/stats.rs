//! Cases of the load statistics: a whole state against the reference.

use std::fmt;
use std::str::FromStr;

use super::case::{name_of, terms};
use super::check::{Difference, Findings};
use super::data::{Random, encode, stored};
use super::guarded::Guarded;
use super::run::{Outcome, Trial, without};
use super::tape::{Bounds, Loose};
use super::{Failure, Profile};
use crate::accuracy::{f32_ulp, ulp_distance};
use crate::host::{Gpu, HostError};
use crate::reference::stats::{Batch, Errors, state};
use crate::softmax::{Dtype, Shape};
use crate::stats::{Operands, Scoring, Spec, State, Variant, words};
use crate::{BindError, BuildError, Matrix};

/// What logits, choices and weights are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fill {
    /// Logits of either sign; the choices are any, all different.
    Uniform,
    /// Choice e as often as 1 / (e + 1): few experts have most.
    Zipf,
    /// One expert's logit 50 above the rest: a probability of 1.
    OneHot,
    /// Every choice is the same expert, the last: one counter has all the traffic, and carries.
    AllToOne,
    /// Every choice is a sentinel: nothing counts.
    Sentinels,
    /// Every third token is padding; among the choices of the others are sentinels and numbers past the last expert.
    Padding,
    /// A NaN of either sign in every third token, +inf in every third.
    NotFinite,
    /// −inf, −10³⁰ and the lowest float among the logits; tokens of each alone.
    Masked,
    /// Negative weights, tiny and subnormal ones, NaN, infinities and huge ones.
    Weights,
    /// Logits from −1000 to 1000: probabilities of 0 and 1, log-sum-exps of 1000.
    Wide,
    /// All logits of a token equal: every probability is rounded alike.
    Equal,
    /// Logits about −100 and below: sigmoids that f32 does not have.
    VeryNegative,
    /// Logits of ±10⁵ and ±10³⁰: squares that are left out.
    Enormous,
}

impl Fill {
    /// All of them, with their names.
    pub const ALL: [(Self, &'static str); 13] = [
        (Self::Uniform, "uniform"),
        (Self::Zipf, "zipf"),
        (Self::OneHot, "one-hot"),
        (Self::AllToOne, "all-to-one"),
        (Self::Sentinels, "sentinels"),
        (Self::Padding, "padding"),
        (Self::NotFinite, "not-finite"),
        (Self::Masked, "masked"),
        (Self::Weights, "weights"),
        (Self::Wide, "wide"),
        (Self::Equal, "equal"),
        (Self::VeryNegative, "very-negative"),
        (Self::Enormous, "enormous"),
    ];
}

/// One thing to try: `stats/f32/w8l1/x4:tokens=70,experts=64,k=4,fill=zipf`, with `scoring=sigmoid`, and with `accumulate=1`: the
/// second half of the tokens after the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Case {
    /// What runs.
    pub variant: Variant,
    /// Tokens.
    pub tokens: u32,
    /// Experts.
    pub experts: u32,
    /// Choices of a token.
    pub choices: u32,
    /// What the operands are.
    pub fill: Fill,
    /// What probabilities are.
    pub scoring: Scoring,
    /// In two binds, the second of which adds to the state.
    pub accumulate: bool,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { variant, tokens, experts, choices, fill, scoring, accumulate } = *self;
        let fill = name_of(&Fill::ALL, fill);
        write!(f, "{variant}:tokens={tokens},experts={experts},k={choices},fill={fill}")?;
        if scoring != Scoring::Softmax {
            write!(f, ",scoring={}", name_of(&Scoring::ALL, scoring))?;
        }
        if accumulate {
            f.write_str(",accumulate=1")?;
        }
        Ok(())
    }
}

impl FromStr for Case {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let (variant, rest) = name.split_once(':').ok_or("a case is VARIANT:tokens=T,experts=E,...")?;
        let variant = variant.parse().map_err(|e: BuildError| e.to_string())?;
        let mut case = Self {
            variant,
            tokens: 1,
            experts: 4,
            choices: 1,
            fill: Fill::Uniform,
            scoring: Scoring::Softmax,
            accumulate: false,
        };
        for term in terms(rest) {
            let term = term?;
            match term.key {
                "tokens" => case.tokens = term.number()?,
                "experts" => case.experts = term.number()?,
                "k" => case.choices = term.number()?,
                "fill" => case.fill = term.of(&Fill::ALL)?,
                "scoring" => case.scoring = term.of(&Scoring::ALL)?,
                "accumulate" => case.accumulate = term.number()? != 0,
                _ => return Err(term.unknown("tokens, experts, k, fill, scoring, accumulate")),
            }
        }
        Ok(case)
    }
}

/// (tokens, experts, choices): on both sides of quads, tiles, the 256 counters and the workgroups' widths.
const SHAPES: [(u32, u32, u32); 18] = [
    (70, 64, 6),
    (0, 64, 2),
    (1, 1, 1),
    (7, 3, 2),
    (255, 31, 4),
    (513, 64, 8),
    (257, 71, 10),
    (64, 256, 8),
    (65, 257, 3),
    (33, 513, 10),
    (1, 64, 64),
    (130, 128, 1),
    (17, 2047, 7),
    (9, 2049, 2),
    (12, 4096, 64),
    (4097, 64, 6),
    (4097, 4, 1),
    (300, 8, 2),
];

/// The cases of a profile: every variant with every shape and fill in some combination. In the quick one, types other than f32 have
/// every third shape and one scoring, since only how logits are loaded depends on them; and wide workgroups, which are slow on
/// a CPU, have one long batch.
pub fn cases(profile: Profile) -> impl Iterator<Item = Case> {
    Variant::all().enumerate().flat_map(move |(n, variant)| {
        let (full, plain) = (profile == Profile::Full, variant.input == Dtype::F32);
        let rounds = match (full, plain) {
            (true, _) => 13,
            (false, true) => 2,
            (false, false) => 1,
        };
        (0..rounds).flat_map(move |round| {
            let shapes = SHAPES.into_iter().enumerate();
            let fits = move |(tokens, experts, _): (u32, u32, u32)| {
                let long = tokens > 1000 && variant.width > 8;
                (!variant.quads || experts.is_multiple_of(4))
                    && (full || !long || (plain && round == 0 && experts == 64))
            };
            let turn = move |i: usize| full || plain || (i + n).is_multiple_of(3);
            shapes.filter(move |(i, shape)| turn(*i) && fits(*shape)).map(move |(i, (tokens, experts, choices))| Case {
                variant,
                tokens,
                experts,
                choices,
                fill: Fill::ALL[(n * 5 + i + round * 4) % Fill::ALL.len()].0,
                scoring: Scoring::ALL[if full || plain { (n + i / 2 + round) % 2 } else { n / 2 % 2 }].0,
                accumulate: (n + i + round) % 3 == 1,
            })
        })
    })
}

/// The operands of a case: a function of its name.
struct Data {
    logits: Vec<f32>,
    experts: Vec<u32>,
    weights: Vec<f32>,
}

impl Data {
    fn of(case: &Case) -> Self {
        let mut random = Random::of(&case.to_string());
        let mut data = Self { logits: Vec::new(), experts: Vec::new(), weights: Vec::new() };
        for token in 0..case.tokens {
            let mut row: Vec<f32> = (0..case.experts).map(|e| logit(case, &mut random, token, e)).collect();
            spoil(case, &mut random, token, &mut row);
            data.logits.extend(row.into_iter().map(|x| stored(case.variant.input, x)));
            data.experts.extend(chosen(case, &mut random, token));
            data.weights.extend((0..case.choices).map(|_| weight(case, &mut random)));
        }
        data
    }

    fn batch<'a>(&'a self, case: &Case) -> Batch<'a> {
        Batch {
            logits: &self.logits,
            experts: &self.experts,
            weights: &self.weights,
            cols: case.experts as usize,
            choices: case.choices as usize,
            scoring: case.scoring,
        }
    }
}

fn logit(case: &Case, random: &mut Random, token: u32, expert: u32) -> f32 {
    let usual = random.uniform(-10.0, 10.0);
    match case.fill {
        Fill::OneHot if expert == token % 3 % case.experts => usual + 60.0,
        Fill::Masked if random.below(4) == 0 => [f32::NEG_INFINITY, -1e30, f32::MIN][random.below(3) as usize],
        Fill::Wide => random.uniform(-1000.0, 1000.0),
        Fill::Equal => token as f32 * 0.37 - 20.0,
        Fill::VeryNegative => random.uniform(-130.0, -90.0),
        Fill::Enormous if token % 4 == 1 => usual + 1e5,
        Fill::Enormous if token % 4 == 2 => usual - 1e5,
        Fill::Enormous if token % 4 == 3 => usual * 1e30,
        _ => usual,
    }
}

/// What single logits and whole tokens a fill changes afterwards.
fn spoil(case: &Case, random: &mut Random, token: u32, row: &mut [f32]) {
    let mut put = |x: f32| row[random.below(case.experts) as usize] = x;
    match (case.fill, token % 3) {
        (Fill::NotFinite, 1) => put(f32::from_bits(if token.is_multiple_of(2) { 0x7fc0_0000 } else { 0xffc0_0001 })),
        (Fill::NotFinite, 2) => put(f32::INFINITY),
        (Fill::Masked, 1) => row.fill([f32::NEG_INFINITY, -1e30, f32::MIN][(token / 3 % 3) as usize]),
        _ => {}
    }
}

fn chosen(case: &Case, random: &mut Random, token: u32) -> Vec<u32> {
    let n = case.experts;
    let start = random.below(n);
    let choice = |random: &mut Random, k: u32| match case.fill {
        Fill::Zipf => ((f64::from(n) + 1.0).powf(f64::from(random.uniform(0.0, 1.0))) - 1.0) as u32 % n,
        Fill::OneHot => token % 3 % n,
        Fill::AllToOne => n - 1,
        Fill::Sentinels => u32::MAX - random.below(3),
        Fill::Padding if token.is_multiple_of(3) => u32::MAX,
        Fill::Padding if k != token % case.choices => {
            [random.below(n), u32::MAX, n, n + random.below(600)][random.below(4) as usize]
        }
        // All different, unless there are more choices than experts.
        _ => (start + k) % n,
    };
    (0..case.choices).map(|k| choice(random, k)).collect()
}

fn weight(case: &Case, random: &mut Random) -> f32 {
    let usual = random.uniform(0.0, 2.5);
    if case.fill != Fill::Weights {
        return usual;
    }
    match random.below(12) {
        0 => -usual,
        1 => f32::NAN,
        2 => f32::INFINITY,
        3 => -65_536.0,
        4 => 65_535.996,
        5 => -1e-3 * usual,
        6 => 1e-9 * usual,
        7 => f32::from_bits(random.below(1 << 23)),
        8 => f32::from_bits(0xffc0_1234),
        9 => -usual * 1000.0,
        _ => usual,
    }
}

impl Trial for Case {
    fn kind(&self) -> String {
        format!("stats/{}/w{}", name_of(&Scoring::ALL, self.scoring), self.variant.width)
    }

    fn measured(&self) -> bool {
        true
    }

    fn run(&self, gpu: &Gpu) -> Outcome {
        if let Err(reason) = self.variant.supported(gpu.library.caps()) {
            return Outcome::from(reason);
        }
        if let Some(outcome) = without(&[("experts", self.experts)]) {
            return outcome;
        }
        let data = Data::of(self);
        match execute(gpu, self, &data) {
            Ok(Ok(words)) => match check(self, &data, &words) {
                Ok(ulps) => Outcome::Passed(ulps),
                Err(failure) => Outcome::Failed(failure),
            },
            Ok(Err(failure)) => Outcome::Failed(failure),
            Err(error) => Outcome::from(error),
        }
    }
}

/// The worst distance of a probability sum in ULP, if all is within its budget.
fn check(case: &Case, data: &Data, got: &[u32]) -> Result<u32, Failure> {
    let broken = |e: BindError| Failure::Broken(e.to_string());
    let got = State::from_words(got).map_err(broken)?;
    let (want, errors) = state(&data.batch(case));
    compare(&got, &want, &errors)
}

/// Holds a device's state against the reference's: integers exactly, sums within their errors. Returns the worst distance of a
/// probability sum in ULP of f32.
///
/// # Errors
/// The first number that is wrong.
pub fn compare(got: &State, want: &State, errors: &Errors) -> Result<u32, Failure> {
    let mut findings = Findings::default();
    for (what, got, want) in [
        ("tokens", got.tokens, want.tokens),
        ("sentinels", got.sentinels, want.sentinels),
        ("tokens with NaN", got.nan_tokens, want.nan_tokens),
        ("masked tokens", got.masked_tokens, want.masked_tokens),
        ("measured tokens", got.measured_tokens, want.measured_tokens),
        ("bad weights", got.bad_weights, want.bad_weights),
        ("experts", got.experts() as u64, want.experts() as u64),
    ] {
        if got != want {
            findings.add(what, 0, 0, Difference::Word { got: got as u32, want: want as u32 });
        }
    }
    let narrow = |all: &[u64]| all.iter().map(|&n| n as u32).collect::<Vec<_>>();
    for (what, got, want) in [("counts", &got.counts, &want.counts), ("first", &got.first, &want.first)] {
        if got.len() == want.len() {
            findings.words(what, want.len(), &narrow(got), &narrow(want));
        } else {
            let (got, want) = (got.len() as u32, want.len() as u32);
            findings.add("experts", 0, 0, Difference::Word { got, want });
        }
    }
    let one = |x: f64| vec![x];
    let mut worst = 0;
    for (what, got, want, errors) in [
        ("gates", got.gates.clone(), want.gates.clone(), errors.gates.clone()),
        ("probabilities", got.probabilities.clone(), want.probabilities.clone(), errors.probabilities.clone()),
        ("squares", one(got.squares), one(want.squares), one(errors.squares)),
    ] {
        let off = |e: usize| (got[e] - want[e]).abs();
        let allowed = |e: usize| allowed(want[e], errors[e]);
        for e in (0..want.len().min(got.len())).filter(|&e| off(e).is_nan() || off(e) > allowed(e)) {
            let (allowed, got, want) = (allowed(e) / f32_ulp(want[e]), got[e] as f32, want[e]);
            findings.add(what, 0, e, Difference::Float { got, want, ulps: ulp_distance(got, want as f32), allowed });
        }
        if what == "probabilities" {
            // Of what is small, the unit of 2^-32 is many ULP.
            let large = (0..want.len().min(got.len())).filter(|&e| want[e] >= 1.0);
            worst = large.map(|e| ulp_distance(got[e] as f32, want[e] as f32)).max().unwrap_or(0);
        }
    }
    findings.verdict().map(|()| worst)
}

/// The reference's own sums are rounded, too.
fn allowed(want: f64, error: f64) -> f64 {
    error + 1e-12 * want.abs()
}

/// Which words of a state `compare` lets be others, from byte `at` on: of each sum the low one, within what the sum may be, and the
/// high one if that decides it.
fn loose(at: u64, want: &State, errors: &Errors) -> Vec<Loose> {
    let n = want.experts() as u64;
    let word = |index: u64| at + 4 * index;
    let field = |field: u64| word(12 + field * n);
    let (squares, off) = (vec![want.squares], vec![errors.squares]);
    let mut list = Vec::new();
    for (low, high, want, errors, least) in [
        (word(5), word(6), &squares, &off, 0),
        (field(2), field(3), &want.gates, &errors.gates, i64::MIN),
        (field(4), field(5), &want.probabilities, &errors.probabilities, 0),
    ] {
        let ends = |(&want, &error): (&f64, &f64)| {
            let allowed = allowed(want, error);
            [(((want - allowed) * UNITS).ceil() as i64).max(least), ((want + allowed) * UNITS).floor() as i64]
        };
        let pairs: Vec<_> = want.iter().zip(errors).map(ends).collect();
        // Squares have 96 bits: beyond 63 nothing is said of two of their words.
        if pairs.iter().any(|pair| pair.contains(&i64::MAX)) {
            list.push(Loose { at: low, bounds: Bounds::Words(2) });
            continue;
        }
        for (e, [lo, hi]) in (0..).zip(&pairs) {
            if lo >> 32 != hi >> 32 {
                list.push(Loose { at: high + 4 * e, bounds: Bounds::Words(1) });
            }
        }
        list.push(Loose { at: low, bounds: Bounds::Sums { high, pairs } });
    }
    list
}

/// Sums are in units of 2^-32.
const UNITS: f64 = 4_294_967_296.0;

/// The words of the state that a device makes.
fn execute(gpu: &Gpu, case: &Case, data: &Data) -> Result<Result<Vec<u32>, Failure>, HostError> {
    let Case { variant, tokens, experts, choices, scoring, .. } = *case;
    let place = if variant.quads { [8, 4] } else { [3, 5] };
    let logits = encode(variant.input, &data.logits);
    let src = Guarded::input(gpu, "src", &logits, [tokens, experts], place)?;
    let chosen = Guarded::input(gpu, "experts", bytemuck::cast_slice(&data.experts), [tokens, choices], [1, 3])?;
    let weights = Guarded::input(gpu, "weights", bytemuck::cast_slice(&data.weights), [tokens, choices], [5, 2])?;
    let out = Guarded::output(gpu, "state", 4, [1, words(experts)], [7, 0])?;
    gpu.describe(&out.buffer, "state", || {
        let (want, errors) = state(&data.batch(case));
        loose(out.at(0), &want, &errors)
    });
    let spec = |accumulate| Spec {
        input: variant.input,
        scoring,
        accumulate,
        variant: Some(variant),
        ..Spec::new(Shape { rows: tokens, cols: experts, quads: variant.quads })
    };
    let operands =
        Operands { src: src.matrix(), experts: chosen.matrix(), weights: weights.matrix(), state: out.matrix() };
    let all = [(false, 0, tokens)];
    let halves = [(false, 0, tokens / 2), (true, tokens / 2, tokens - tokens / 2)];
    let mut bounds = Vec::new();
    for &(accumulate, first, rows) in if case.accumulate { &halves[..] } else { &all } {
        let part = |m: Matrix<'_>| m.offset + u64::from(first) * u64::from(m.stride);
        let operands = Operands {
            src: Matrix { offset: part(operands.src), rows, ..operands.src },
            experts: Matrix { offset: part(operands.experts), rows, ..operands.experts },
            weights: Matrix { offset: part(operands.weights), rows, ..operands.weights },
            ..operands
        };
        bounds.push(gpu.library.stats(&spec(accumulate))?.bind(&operands)?);
    }
    let steps: Vec<_> = bounds.iter().collect();
    let once = || -> Result<Result<Vec<u32>, Failure>, HostError> {
        out.reset(gpu);
        gpu.run(&steps)?;
        out.words(gpu)
    };
    let (first, second) = (once()?, once()?);
    for input in [&src, &chosen, &weights] {
        if let Err(failure) = input.unchanged(gpu)? {
            return Ok(Err(failure));
        }
    }
    if let (Ok(first), Ok(second)) = (&first, &second)
        && let Some(word) = first.iter().zip(second).position(|(a, b)| a != b)
    {
        return Ok(Err(Failure::NotRepeatable { index: word * 4 }));
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

    /// The words of a state, as the documentation of `words` has them.
    fn encoded(s: &State) -> Vec<u32> {
        let units = |x: f64| (x * 4_294_967_296.0).round() as i128;
        let narrow = |all: &[u64]| all.iter().map(|&n| n as u32).collect::<Vec<_>>();
        let halves = |all: &[f64], shift: u32| all.iter().map(|&x| (units(x) >> shift) as u32).collect::<Vec<_>>();
        let z = units(s.squares);
        let head = [s.tokens, s.sentinels, s.nan_tokens, s.masked_tokens, s.measured_tokens];
        let squares = [z as u32, (z >> 32) as u32, (z >> 64) as u32, s.bad_weights as u32, 0, 0, 0];
        let (gates, probabilities) = (&s.gates, &s.probabilities);
        [
            narrow(&head),
            squares.to_vec(),
            narrow(&s.counts),
            narrow(&s.first),
            halves(gates, 0),
            halves(gates, 32),
            halves(probabilities, 0),
            halves(probabilities, 32),
        ]
        .concat()
    }

    type Plant = fn(&mut State, &Errors);

    /// The checks pass what is right, and what is just within its budget, and find what is not.
    #[test]
    fn planted_faults_are_found() {
        let case: Case = "stats/f32/w8l1/x4:tokens=300,experts=64,k=4,fill=padding".parse().unwrap();
        let data = Data::of(&case);
        let (want, errors) = state(&data.batch(&case));
        let check_of = |plant: Plant| {
            let mut bad = want.clone();
            plant(&mut bad, &errors);
            check(&case, &data, &encoded(&bad))
        };
        for good in [
            (|_, _| {}) as Plant,
            |s, errors| s.probabilities[5] += 0.99 * errors.probabilities[5],
            |s, errors| s.gates[5] -= 0.99 * errors.gates[5],
            |s, errors| s.squares += 0.99 * errors.squares,
        ] {
            assert!(check_of(good).is_ok());
        }
        let faults: [(&str, Plant); 14] = [
            ("a count off by one", |s, _| s.counts[7] += 1),
            ("a count moved", |s, _| (s.counts[7], s.counts[8]) = (s.counts[7] + 1, s.counts[8] - 1)),
            ("a first choice off by one", |s, _| s.first[63] += 1),
            ("gates of two experts exchanged", |s, _| s.gates.swap(3, 4)),
            ("probabilities of two experts exchanged", |s, _| s.probabilities.swap(3, 4)),
            ("probabilities of the last expert dropped", |s, _| s.probabilities[63] = 0.0),
            ("a padding token counted", |s, _| s.tokens += 1),
            ("a sentinel counted twice", |s, _| s.sentinels += 1),
            ("a token not measured", |s, _| s.measured_tokens -= 1),
            ("a token called NaN", |s, _| s.nan_tokens += 1),
            ("a weight called bad", |s, _| s.bad_weights += 1),
            ("a probability beyond its budget", |s, errors| {
                s.probabilities[5] += 1.01 * errors.probabilities[5] + 4e-10;
            }),
            ("a gate beyond its budget", |s, errors| s.gates[5] += 1.01 * errors.gates[5] + 4e-10),
            ("squares beyond their budget", |s, errors| s.squares -= 1.01 * errors.squares),
        ];
        for (name, plant) in faults {
            assert!(check_of(plant).is_err(), "{name}");
        }
        // A token of the batch left out, a token counted that is padding.
        let without = |token: usize| {
            let mut less = Data::of(&case);
            less.logits.drain(token * 64..(token + 1) * 64);
            less.experts.drain(token * 4..(token + 1) * 4);
            less.weights.drain(token * 4..(token + 1) * 4);
            state(&less.batch(&case)).0
        };
        assert!(check(&case, &data, &encoded(&without(0))).is_ok(), "token 0 is padding");
        assert!(check(&case, &data, &encoded(&without(1))).is_err(), "a dropped token");
        let mut counted = Data::of(&case);
        counted.experts[0] = 9;
        assert!(check(&case, &data, &encoded(&state(&counted.batch(&case)).0)).is_err(), "a padding row counted");
        assert!(check(&case, &data, &[0; 40]).is_err(), "too few words");
    }
}
