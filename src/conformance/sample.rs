//! Cases of sampling: choices are compared with the reference's exactly.

use std::fmt;
use std::str::FromStr;

use super::case::{name_of, terms};
use super::check::{Difference, Findings};
use super::data::{Random, encode, stored};
use super::run::{Outcome, Trial, without};
use super::tape::{Bounds, Freedom, Loose, loose};
use super::{Failure, Profile};
use crate::accuracy::{Budget, RowBudget};
use crate::host::{Gpu, HostError};
use crate::noise::Stream;
use crate::reference::{Problem, Shared, block_choice, choices};
use crate::sample::{Operands, Options, Schedule, Spec, Status, Variant};
use crate::softmax::{self, Dtype, MaskType, PerRow, RowMap, Shape};
use crate::{BuildError, Matrix};

/// Logits with a reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fill {
    /// Uniform in [-10, 10).
    Uniform,
    /// All equal: every bit of the noise that is wrong shows.
    Equal,
    /// One logit 20 above the rest: few columns can win.
    Peaked,
    /// Rising by 0.001: the best candidate changes often.
    Ascending,
    /// Multiples of 1e30: the noise vanishes against the logits, ties decide.
    Enormous,
    /// Every third logit is -inf, and every second row only that.
    Excluded,
    /// NaN, +inf and -inf in every second row.
    Special,
}

impl Fill {
    /// All of them, with their names.
    pub const ALL: [(Self, &'static str); 7] = [
        (Self::Uniform, "uniform"),
        (Self::Equal, "equal"),
        (Self::Peaked, "peaked"),
        (Self::Ascending, "ascending"),
        (Self::Enormous, "enormous"),
        (Self::Excluded, "excluded"),
        (Self::Special, "special"),
    ];
}

/// Which options are in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OptionSet {
    /// None.
    Plain,
    /// Temperatures, one a row; 0, tiny and great ones among them.
    Temperature,
    /// Ragged rows.
    Lengths,
    /// One bit a column.
    Bits,
    /// An f32 mask.
    Mask,
    /// All rows have one seed and position.
    OneSeed,
    /// A factor on the logits.
    Scale,
    /// Temperatures, and log-probabilities.
    Logprobs,
    /// Everything at once.
    All,
}

impl OptionSet {
    /// All of them, with their names.
    pub const ALL: [(Self, &'static str); 9] = [
        (Self::Plain, "plain"),
        (Self::Temperature, "temperature"),
        (Self::Lengths, "lengths"),
        (Self::Bits, "bits"),
        (Self::Mask, "mask"),
        (Self::OneSeed, "one-seed"),
        (Self::Scale, "scale"),
        (Self::Logprobs, "logprobs"),
        (Self::All, "all"),
    ];
}

/// One thing to try: `sample/split/f32/baseline/w8/x4:rows=3,cols=1000,fill=equal,options=bits`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Case {
    /// What runs.
    pub variant: Variant,
    /// Rows.
    pub rows: u32,
    /// Columns.
    pub cols: u32,
    /// Choices of a row.
    pub draws: u32,
    /// What the logits are.
    pub fill: Fill,
    /// What else is in use.
    pub options: OptionSet,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:rows={},cols={}", self.variant, self.rows, self.cols)?;
        if self.draws != 1 {
            write!(f, ",draws={}", self.draws)?;
        }
        write!(f, ",fill={}", name_of(&Fill::ALL, self.fill))?;
        if self.options != OptionSet::Plain {
            write!(f, ",options={}", name_of(&OptionSet::ALL, self.options))?;
        }
        Ok(())
    }
}

impl FromStr for Case {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let (variant, rest) = name.split_once(':').ok_or("a case is VARIANT:rows=R,cols=C,...")?;
        let variant = variant.parse().map_err(|e: BuildError| e.to_string())?;
        let mut case = Self { variant, rows: 1, cols: 4, draws: 1, fill: Fill::Uniform, options: OptionSet::Plain };
        for term in terms(rest) {
            let term = term?;
            match term.key {
                "rows" => case.rows = term.number()?,
                "cols" => case.cols = term.number()?,
                "draws" => case.draws = term.number()?,
                "fill" => case.fill = term.of(&Fill::ALL)?,
                "options" => case.options = term.of(&OptionSet::ALL)?,
                _ => return Err(term.unknown("rows, cols, draws, fill, options")),
            }
        }
        Ok(case)
    }
}

/// The cases of a profile, for variants of any device: sizes on both sides of a quad, of what lanes cover at once, of a chunk and
/// of a part, each with some fill and some options; the full profile has every fill with every set of options.
pub fn cases(profile: Profile) -> impl Iterator<Item = Case> {
    Variant::all().enumerate().flat_map(move |(n, variant)| {
        let sizes = sizes(&variant);
        let rows = [1, 9, 3, variant.width / variant.lanes + 1];
        let count = match (profile, variant.input) {
            (Profile::Full, _) => 63,
            (_, Dtype::F32) => 4,
            // Element types differ in how quads are loaded, and in nothing else.
            _ => 1,
        };
        let some = (0..count).map(move |i| Case {
            variant,
            rows: rows[(n + i) % rows.len()],
            cols: sizes[(n * 3 + i) % sizes.len()],
            draws: if variant.schedule == Schedule::Split { [1, 3, 64, 1, 17][(n + i) % 5] } else { 1 },
            fill: Fill::ALL[(n + i) % 7].0,
            options: OptionSet::ALL[(n * 2 + i + i / 7) % 9].0,
        });
        // A bound on the noise that is too low costs a row in thirty its choice: a few rows do not show it.
        let plain = Case { variant, rows: 400, cols: 100, draws: 1, fill: Fill::Equal, options: OptionSet::Plain };
        let many = (variant.input == Dtype::F32 && variant.width == 8).then_some(plain);
        some.chain(many)
    })
}

fn sizes(v: &Variant) -> Vec<u32> {
    let once = v.lanes * 4;
    let part = v.parts(1, 1 << 20, 1).1 * 4;
    let tail = u32::from(!v.quads);
    [4, once, once * 4 - 4, once * 4 + 4, 1000, part + 8].map(|c| c.min(v.max_columns()).min(80_000) - tail).to_vec()
}

/// What to draw from, as plain slices.
#[derive(Clone, Debug, Default)]
pub struct Draws {
    /// Rows.
    pub rows: u32,
    /// Columns.
    pub cols: u32,
    /// Logits, row after row.
    pub src: Vec<f32>,
    /// Row r has entry r modulo their number.
    pub seeds: Vec<Stream>,
    /// One a row.
    pub temperature: Option<Vec<f32>>,
    /// As many as logits.
    pub mask: Option<Vec<f32>>,
    /// ⌈cols / 32⌉ words a row.
    pub allowed: Option<Vec<u32>>,
    /// One a row.
    pub lengths: Option<Vec<u32>>,
    /// Factor on the logits.
    pub scale: Option<f32>,
    /// Choices of a row; 0 is 1.
    pub draws: u32,
    /// Log-probabilities too.
    pub logprobs: bool,
}

impl Draws {
    fn of(case: &Case) -> Self {
        let mut random = Random::of(&case.to_string());
        let (rows, cols) = (case.rows, case.cols);
        let mut src = Vec::with_capacity(rows as usize * cols as usize);
        for row in 0..rows {
            src.extend((0..cols).map(|column| logit(case.fill, case.variant.input, cols, &mut random, row, column)));
        }
        for x in &mut src {
            *x = stored(case.variant.input, *x);
        }
        let has = |set| case.options == set || case.options == OptionSet::All;
        let mut seed = || Stream { seed: random.bits(), position: random.bits() };
        let seeds = (0..if has(OptionSet::OneSeed) { 1 } else { rows }).map(|_| seed()).collect();
        // The least normal one is the least whose reciprocal is finite.
        let temperatures = [0.7, 0.0, 1e-3, 1.3, 30.0, 1e20, -1.0, f32::MIN_POSITIVE];
        Self {
            rows,
            cols,
            seeds,
            scale: has(OptionSet::Scale).then_some(0.3),
            draws: case.draws,
            logprobs: has(OptionSet::Logprobs),
            temperature: (has(OptionSet::Temperature) || has(OptionSet::Logprobs))
                .then(|| (0..rows).map(|r| temperatures[r as usize % temperatures.len()]).collect()),
            mask: has(OptionSet::Mask).then(|| src.iter().map(|_| random.uniform(-5.0, 5.0)).collect()),
            allowed: has(OptionSet::Bits)
                .then(|| (0..rows * cols.div_ceil(32)).map(|_| (random.bits() >> 32) as u32).collect()),
            lengths: has(OptionSet::Lengths).then(|| (0..rows).map(|_| random.below(cols + 2)).collect()),
            src,
        }
    }

    /// The options that these operands need.
    #[must_use]
    pub fn options(&self) -> Options {
        Options {
            mask: self.mask.is_some().then_some(MaskType::F32),
            bits: self.allowed.is_some(),
            temperature: self.temperature.is_some(),
            lengths: self.lengths.is_some(),
            scale: self.scale,
            logprobs: self.logprobs,
        }
    }

    /// Choices of a row.
    fn count(&self) -> usize {
        self.draws.max(1) as usize
    }

    fn temperature(&self, row: usize) -> f32 {
        self.temperature.as_ref().map_or(1.0, |t| t[row])
    }

    fn seed(&self, row: usize) -> Stream {
        self.seeds[row % self.seeds.len()]
    }

    /// The logits of a row, scaled and masked.
    fn effective(&self, r: usize) -> Vec<f32> {
        let (cols, words) = (self.cols as usize, self.cols.div_ceil(32) as usize);
        let mut x = self.src[r * cols..][..cols].to_vec();
        for (c, x) in x.iter_mut().enumerate() {
            if let Some(scale) = self.scale {
                *x *= scale;
            }
            if let Some(mask) = &self.mask {
                *x += mask[r * cols + c];
            }
            let bit = self.allowed.as_ref().is_none_or(|a| (a[r * words + c / 32] >> (c % 32)) & 1 == 1);
            if !bit || self.lengths.as_ref().is_some_and(|l| c >= l[r] as usize) {
                *x = f32::NEG_INFINITY;
            }
        }
        x
    }

    /// What the reference draws: for the variants whose choice is the same everywhere.
    #[must_use]
    pub fn expected(&self) -> Vec<Status> {
        let row = |r| choices(&self.effective(r), self.temperature(r), self.seed(r), self.count());
        (0..self.rows as usize).flat_map(row).collect()
    }

    /// Whether a row's choices are the reference's, and if not, what they should be. Of sampling by blocks, a choice counts
    /// where the lead is within what f32 may be off.
    fn judged(&self, variant: Variant, r: usize, got: &[Status]) -> Result<(), (usize, Status)> {
        let x = self.effective(r);
        if variant.schedule.by_blocks() {
            let (want, close) = self.block(variant, r, &x);
            let possible =
                matches!(got[0], Status::Column(c) if x.get(c as usize).is_some_and(|x| *x > f32::NEG_INFINITY));
            return if got[0] == want || (close && possible) { Ok(()) } else { Err((0, want)) };
        }
        let want = choices(&x, self.temperature(r), self.seed(r), self.count());
        (0..got.len()).find(|&i| want[i] != got[i]).map_or(Ok(()), |i| Err((i, want[i])))
    }

    /// What a row draws by blocks, and whether the lead is within what f32 may be off.
    fn block(&self, variant: Variant, r: usize, x: &[f32]) -> (Status, bool) {
        let (_, part_quads) = variant.parts(self.rows, self.cols, 1);
        let (want, lead) = block_choice(x, self.temperature(r), self.seed(r), part_quads, variant.lanes);
        let most = x.iter().filter(|x| x.is_finite()).fold(0.0_f32, |m, x| m.max(x.abs()));
        (want, lead < 1e-4 + f64::from(most) / f64::from(self.temperature(r)) * 1e-6)
    }

    /// Whether a row's log-sum-exp and log-probabilities are within softmax's budget.
    fn scored(&self, r: usize, choices: &[Status], got: &[f32]) -> Result<(), String> {
        let budgets = self.score_budgets(r, choices);
        let wrong = budgets.iter().zip(got).position(|(budget, &got)| !budget.judge(got).ok);
        let Some(at) = wrong else { return Ok(()) };
        let what = at.checked_sub(1).map_or("log-sum-exp".into(), |i| format!("log-probability of {:?}", choices[i]));
        Err(format!("row {r}: {what} is {}, expected {}", got[at], budgets[at].want))
    }

    /// Of a row's log-sum-exp, then of the log-probability of each choice.
    fn score_budgets(&self, r: usize, choices: &[Status]) -> Vec<Budget> {
        let (x, temperature) = (self.effective(r), [self.temperature(r)]);
        let shared = Shared { values: &temperature[..], map: RowMap::one() };
        let row = Problem { temperature: Some(shared), ..Problem::new(&x, x.len()) }.row(0);
        let budget = RowBudget::new(&row, softmax::Schedule::Stream, Dtype::F32);
        let distribution = matches!(choices[0], Status::Column(_));
        let of_choice = |choice: &Status| match choice {
            Status::Column(c) if *c < self.cols => budget.log_probability(*c as usize),
            Status::Empty if distribution => Budget { want: f64::NEG_INFINITY, ulps: 0.0, absolute: 0.0 },
            _ => Budget { want: f64::NAN, ulps: 0.0, absolute: 0.0 },
        };
        [budget.lse()].into_iter().chain(choices.iter().map(of_choice)).collect()
    }

    /// What other devices may give.
    fn describe(&self, gpu: &Gpu, variant: Variant, dst: &wgpu::Buffer, logprobs: &wgpu::Buffer, choices: &[Status]) {
        let rows = 0..self.rows as usize;
        let count = self.count();
        let close = |r: usize| variant.schedule.by_blocks() && self.block(variant, r, &self.effective(r)).1;
        gpu.describe(dst, "dst", || {
            let word = |r| Loose { at: 4 * (1 + r * (count + 1)) as u64, bounds: Bounds::Words(1) };
            rows.clone().filter(|&r| close(r)).map(word).collect()
        });
        gpu.describe(logprobs, "logprobs", || {
            let of_row = |r: usize| {
                let budgets = self.score_budgets(r, &choices[r * count..][..count]);
                let mut row: Vec<_> = budgets.iter().map(|budget| Freedom::Within(budget.interval())).collect();
                if close(r) {
                    row[1..].fill(Freedom::Any);
                }
                row
            };
            loose(Dtype::F32, 0, rows.flat_map(of_row))
        });
    }

    /// What a device draws. A word lies between the choices of one row and the next; those must stay as they are, and a second run
    /// must draw the same.
    ///
    /// # Errors
    /// When the device cannot.
    pub fn drawn(&self, gpu: &Gpu, variant: Variant) -> Result<Vec<Status>, HostError> {
        self.drawn_and_scored(gpu, variant).map(|(choices, _)| choices)
    }

    /// As [`Draws::drawn`], with log-sum-exp and log-probabilities if they are asked for.
    ///
    /// # Errors
    /// When the device cannot.
    pub fn drawn_and_scored(&self, gpu: &Gpu, variant: Variant) -> Result<(Vec<Status>, Vec<f32>), HostError> {
        const PATTERN: u32 = 0x5555_5555;
        let (rows, cols) = (self.rows, self.cols);
        let shape = Shape { rows, cols, quads: variant.quads };
        let (options, draws) = (self.options(), self.count() as u32);
        let spec = Spec { input: variant.input, draws, options, variant: Some(variant), ..Spec::new(shape) };
        let kernel = gpu.library.sample(&spec)?;
        let floats = |v: &Option<Vec<f32>>| gpu.upload(bytemuck::cast_slice(v.as_deref().unwrap_or(&[0.0])));
        let words = |v: &Option<Vec<u32>>| gpu.upload(bytemuck::cast_slice(v.as_deref().unwrap_or(&[0])));
        let seeds: Vec<[u32; 4]> = self.seeds.iter().map(Stream::words_of_seed).collect();
        let src = gpu.upload(&encode(variant.input, &self.src))?;
        let seeds = gpu.upload(bytemuck::cast_slice(&seeds))?;
        let (temperature, mask) = (floats(&self.temperature)?, floats(&self.mask)?);
        let (allowed, lengths) = (words(&self.allowed)?, words(&self.lengths)?);
        let dst = gpu.upload(bytemuck::cast_slice(&vec![PATTERN; rows as usize * (self.count() + 1) + 1]))?;
        let logprobs = gpu.allocate(u64::from(rows) * u64::from(draws + 1) * 4)?;
        let scratch = gpu.allocate(kernel.scratch_bytes(rows, cols).max(16))?;
        let column = |buffer| PerRow::each(Matrix::new(buffer, rows, 1));
        let entries = self.seeds.len() as u32;
        let map = RowMap { modulo: entries.max(1), ..RowMap::one() };
        let operands = Operands {
            logprobs: self.logprobs.then(|| Matrix::new(&logprobs, rows, draws + 1)),
            mask: self.mask.as_ref().map(|_| PerRow::each(Matrix::new(&mask, rows, cols))),
            bits: self.allowed.as_ref().map(|_| PerRow::each(Matrix::new(&allowed, rows, cols.div_ceil(32)))),
            temperature: self.temperature.as_ref().map(|_| column(&temperature)),
            lengths: self.lengths.as_ref().map(|_| column(&lengths)),
            scratch: Some(Matrix::new(&scratch, 1, (scratch.size() / 4) as u32)),
            ..Operands::new(
                Matrix::new(&src, rows, cols),
                Matrix::new(&dst, rows, draws).at(1).with_stride(draws + 1),
                PerRow { matrix: Matrix::new(&seeds, entries, 4), map },
            )
        };
        let bound = kernel.bind(&operands)?;
        let once = || -> Result<Vec<u32>, HostError> {
            gpu.run(&[&bound])?;
            Ok(bytemuck::pod_collect_to_vec(&gpu.download(&dst, dst.size())?))
        };
        let (first, second) = (once()?, once()?);
        if first != second || first.iter().step_by(self.count() + 1).any(|&w| w != PATTERN) {
            return Err(HostError::Device("a second run differs, or words outside of every row were written".into()));
        }
        let choices = first[1..].chunks(self.count() + 1).flat_map(|row| &row[..self.count()]);
        let choices: Vec<_> = choices.map(|&w| Status::of(w)).collect();
        self.describe(gpu, variant, &dst, &logprobs, &choices);
        let scores = if self.logprobs { gpu.download(&logprobs, logprobs.size())? } else { Vec::new() };
        Ok((choices, bytemuck::pod_collect_to_vec(&scores)))
    }
}

pub(super) fn logit(fill: Fill, input: Dtype, cols: u32, random: &mut Random, row: u32, column: u32) -> f32 {
    let usual = random.uniform(-10.0, 10.0);
    let third = random.below(3) == 0;
    let odd = row % 2 == 1;
    match fill {
        Fill::Equal => 0.5,
        Fill::Peaked if column == cols / 2 => 30.0,
        Fill::Ascending => column as f32 * 0.001,
        Fill::Enormous => (random.below(5) as f32 - 2.0) * if input == Dtype::F16 { 1e4 } else { 1e30 },
        Fill::Excluded if third || odd => f32::NEG_INFINITY,
        Fill::Special if odd && third => [f32::NAN, f32::INFINITY, f32::NEG_INFINITY][random.below(3) as usize],
        Fill::Uniform | Fill::Peaked | Fill::Excluded | Fill::Special => usual,
    }
}

impl Trial for Case {
    fn kind(&self) -> String {
        format!("sample/{:?}/{}", self.variant.schedule, self.variant.tier.name()).to_lowercase()
    }

    fn measured(&self) -> bool {
        false
    }

    fn run(&self, gpu: &Gpu) -> Outcome {
        if let Err(reason) = self.variant.supported(gpu.library.caps()) {
            return Outcome::from(reason);
        }
        if let Some(outcome) = without(&[("rows", self.rows), ("columns", self.cols)]) {
            return outcome;
        }
        let draws = Draws::of(self);
        let (got, scores) = match draws.drawn_and_scored(gpu, self.variant) {
            Ok(results) => results,
            Err(error) => return Outcome::from(error),
        };
        let count = draws.count();
        let mut findings = Findings::default();
        for r in 0..self.rows as usize {
            let got = &got[r * count..][..count];
            if let Err((draw, want)) = draws.judged(self.variant, r, got) {
                findings.add("index", r, draw, Difference::Choice { got: got[draw], want });
            }
        }
        if let Err(failure) = findings.verdict() {
            return Outcome::Failed(failure);
        }
        for (r, scores) in scores.chunks(count + 1).enumerate() {
            if let Err(message) = draws.scored(r, &got[r * count..][..count], scores) {
                return Outcome::Failed(Failure::Broken(message));
            }
        }
        Outcome::Passed(0)
    }
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
}
