//! Cases of Gumbel-Softmax: all outputs of one bind, each against the reference and against each other.

use std::fmt;
use std::str::FromStr;

use super::case::{in_quick, is_long, name_of, shapes, terms};
use super::check::{Difference, Findings, Layout, PATTERN};
use super::data::{Random, decode, encode, stored};
use super::run::{Outcome, Trial, without};
use super::sample::{Fill, logit};
use super::tape::{Freedom, loose};
use super::{Failure, Profile};
use crate::accuracy::{Budget, RowBudget, ulp_distance};
use crate::gumbel::{Operands, Options, Outputs, Spec};
use crate::host::{Gpu, HostError};
use crate::noise::Stream;
use crate::reference::{Problem, Shared, choice, one_hot, perturbed};
use crate::sample::Status;
use crate::softmax::{Dtype, EmptyRow, MaskType, PerRow, RowMap, Schedule, Shape, Tier, Variant};
use crate::{BuildError, Matrix};

/// Which options are in use, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OptionSet {
    /// None.
    Plain,
    /// A factor.
    Scale,
    /// An f32 mask.
    Mask,
    /// An f16 mask.
    Mask16,
    /// Temperatures, one a row, 0 among them.
    Temperature,
    /// Ragged rows.
    Lengths,
    /// The relaxed sample replaces the logits, where types allow.
    InPlace,
    /// Everything at once, rows without mass become zeros.
    All,
}

impl OptionSet {
    /// All of them, with their names.
    pub const ALL: [(Self, &'static str); 8] = [
        (Self::Plain, "plain"),
        (Self::Scale, "scale"),
        (Self::Mask, "mask"),
        (Self::Mask16, "mask16"),
        (Self::Temperature, "temperature"),
        (Self::Lengths, "lengths"),
        (Self::InPlace, "in-place"),
        (Self::All, "all"),
    ];
}

/// One thing to try: `gumbel/stream/f32/baseline/w8/x4:rows=3,cols=100,fill=equal,options=scale`. The variant is that of the
/// softmax, whose geometry the other outputs have too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Case {
    /// What runs.
    pub variant: Variant,
    /// Rows.
    pub rows: u32,
    /// Columns.
    pub cols: u32,
    /// What the logits are.
    pub fill: Fill,
    /// What else is in use.
    pub options: OptionSet,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let variant = self.variant.to_string().replacen("softmax", "gumbel", 1);
        write!(f, "{variant}:rows={},cols={},fill={}", self.rows, self.cols, name_of(&Fill::ALL, self.fill))?;
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
        let variant = variant.strip_prefix("gumbel").ok_or("a case of Gumbel-Softmax begins with gumbel/")?;
        let variant = format!("softmax{variant}").parse().map_err(|e: BuildError| e.to_string())?;
        let mut case = Self { variant, rows: 1, cols: 4, fill: Fill::Uniform, options: OptionSet::Plain };
        for term in terms(rest) {
            let term = term?;
            match term.key {
                "rows" => case.rows = term.number()?,
                "cols" => case.cols = term.number()?,
                "fill" => case.fill = term.of(&Fill::ALL)?,
                "options" => case.options = term.of(&OptionSet::ALL)?,
                _ => return Err(term.unknown("rows, cols, fill, options")),
            }
        }
        Ok(case)
    }
}

/// The cases of a profile. Of a variant's tiers one stands for all, and in the quick profile one schedule for all as to element
/// types: only the softmax knows of them, which has cases of its own.
pub fn cases(profile: Profile) -> impl Iterator<Item = Case> {
    let one_tier = |v: &Variant| v.tier == Tier::Baseline || (v.keep > 0 && v.width == 8 && v.lanes == 8);
    let ours = Variant::all().filter(move |v| !v.schedule.is_rival() && one_tier(v));
    let plain = |v: &Variant| (v.input, v.output) == (Dtype::F32, Dtype::F32);
    let quick = move |v: &Variant| (plain(v) && !is_long(v)) || (in_quick(v) && v.schedule == Schedule::Stream);
    ours.filter(move |v| profile == Profile::Full || quick(v)).enumerate().flat_map(move |(n, variant)| {
        let shapes = shapes(&variant);
        let count = match profile {
            Profile::Full => 8,
            Profile::Quick | Profile::Standard => 1 + usize::from(plain(&variant)),
        };
        (0..count).map(move |i| {
            let (rows, cols) = shapes[(n * 5 + i * 3) % shapes.len()];
            let (fill, options) = (Fill::ALL[(n + i) % 7].0, OptionSet::ALL[(n * 3 + i) % 8].0);
            Case { variant, rows: rows + 2, cols: cols.min(20_000), fill, options }
        })
    })
}

/// What a device gave for each output, rows without their gaps.
#[derive(Clone, Debug, Default, PartialEq)]
struct Results {
    soft: Vec<f32>,
    hard: Vec<f32>,
    perturbed: Vec<f32>,
    lse: Vec<f32>,
    index: Vec<u32>,
}

/// The operands of a case.
struct Data {
    src: Vec<f32>,
    mask: Vec<f32>,
    temperature: Vec<f32>,
    lengths: Vec<u32>,
    seeds: Vec<Stream>,
}

impl Data {
    fn of(case: &Case) -> Self {
        let mut random = Random::of(&case.to_string());
        let (rows, cols) = (case.rows, case.cols);
        let count = rows as usize * cols as usize;
        let src = (0..rows).flat_map(|row| (0..cols).map(move |column| (row, column)));
        let src = src.map(|(row, column)| {
            let x = logit(case.fill, case.variant.input, cols, &mut random, row, column);
            stored(case.variant.input, x)
        });
        let temperatures = [0.7, 0.0, 1e-3, 1.3, 30.0, -1.0];
        Self {
            src: src.collect(),
            mask: (0..count).map(|_| stored(Dtype::F16, random.uniform(-5.0, 5.0))).collect(),
            temperature: (0..rows as usize).map(|r| temperatures[r % temperatures.len()]).collect(),
            lengths: (0..rows).map(|_| random.below(cols + 2)).collect(),
            seeds: (0..rows).map(|_| Stream { seed: random.bits(), position: random.bits() }).collect(),
        }
    }

    fn problem(&self, case: &Case) -> Problem<'_> {
        let options = options(case);
        Problem {
            scale: options.scale,
            mask: options.mask.map(|_| Shared { values: &self.mask[..], map: RowMap::each() }),
            temperature: options.temperature.then(|| Shared { values: &self.temperature[..], map: RowMap::each() }),
            lengths: options.lengths.then(|| Shared { values: &self.lengths[..], map: RowMap::each() }),
            seeds: Some(Shared { values: &self.seeds[..], map: RowMap::each() }),
            empty_row: empty_row(case),
            ..Problem::new(&self.src, case.cols as usize)
        }
    }

    /// The logits of a row, scaled and masked, each step rounded to f32.
    fn effective(&self, case: &Case, row: usize) -> Vec<f32> {
        let (o, cols) = (options(case), case.cols as usize);
        let limit = if o.lengths { self.lengths[row] as usize } else { cols };
        let x = self.src[row * cols..][..cols].iter().zip(&self.mask[row * cols..]).enumerate();
        x.map(|(column, (&x, &mask))| {
            let x = o.scale.map_or(x, |scale| x * scale);
            let x = if o.mask.is_some() { x + mask } else { x };
            if column < limit { x } else { f32::NEG_INFINITY }
        })
        .collect()
    }
}

fn options(case: &Case) -> Options {
    let none = Options::default();
    let all = Options { scale: Some(0.3), mask: Some(MaskType::F32), temperature: true, lengths: true };
    match case.options {
        OptionSet::Plain | OptionSet::InPlace => none,
        OptionSet::Scale => Options { scale: all.scale, ..none },
        OptionSet::Mask => Options { mask: all.mask, ..none },
        OptionSet::Mask16 => Options { mask: Some(MaskType::F16), ..none },
        OptionSet::Temperature => Options { temperature: true, ..none },
        OptionSet::Lengths => Options { lengths: true, ..none },
        OptionSet::All => all,
    }
}

fn empty_row(case: &Case) -> EmptyRow {
    if case.options == OptionSet::All { EmptyRow::Zero } else { EmptyRow::Nan }
}

impl Trial for Case {
    fn kind(&self) -> String {
        format!("gumbel/{:?}/{}", self.variant.schedule, self.variant.tier.name()).to_lowercase()
    }

    fn measured(&self) -> bool {
        self.options == OptionSet::Plain
    }

    fn run(&self, gpu: &Gpu) -> Outcome {
        if let Err(reason) = self.variant.supported(gpu.library.caps()) {
            return Outcome::from(reason);
        }
        if let Some(outcome) = without(&[("rows", self.rows), ("columns", self.cols)]) {
            return outcome;
        }
        let data = Data::of(self);
        match execute(gpu, self, &data) {
            Ok(Ok(results)) => match check(self, &data, &results) {
                Ok(ulps) => Outcome::Passed(ulps),
                Err(failure) => Outcome::Failed(failure),
            },
            Ok(Err(failure)) => Outcome::Failed(failure),
            Err(error) => Outcome::from(error),
        }
    }
}

fn check(case: &Case, data: &Data, results: &Results) -> Result<u32, Failure> {
    let cols = case.cols as usize;
    let problem = data.problem(case);
    let empty = if empty_row(case) == EmptyRow::Zero { 0.0 } else { f32::NAN };
    let (mut worst, mut findings) = (0, Findings::default());
    for row in 0..case.rows as usize {
        let x = data.effective(case, row);
        let chosen = choice(&x, 1.0, data.seeds[row]);
        let got = Status::of(results.index[row]);
        if got != chosen {
            findings.add("index", row, 0, Difference::Choice { got, want: chosen });
        }
        let of_row = |all: &[f32]| all[row * cols..][..cols].to_vec();
        for (what, got, want) in [
            ("hard", of_row(&results.hard), one_hot(chosen, cols, empty)),
            ("perturbed", of_row(&results.perturbed), perturbed(&x, data.seeds[row])),
        ] {
            let same = |a: f32, b: f32| a == b || (a.is_nan() && b.is_nan());
            for column in (0..cols).filter(|&c| !same(got[c], want[c])) {
                let (got, want) = (got[column], want[column]);
                let ulps = ulp_distance(got, want);
                findings.add(what, row, column, Difference::Float { got, want: f64::from(want), ulps, allowed: 0.0 });
            }
        }
        let reference = problem.row(row);
        let budgets = RowBudget::new(&reference, case.variant.schedule, case.variant.output);
        let soft = of_row(&results.soft).into_iter().enumerate();
        let soft = soft.map(|(column, got)| ("soft", column, got, budgets.probability(column)));
        for (what, column, got, budget) in soft.chain([("lse", 0, results.lse[row], budgets.lse())]) {
            let verdict = findings.judge(what, row, column, got, budget);
            worst = worst.max(if budget.absolute == 0.0 { verdict.ulps } else { 0 });
        }
    }
    findings.verdict().map(|()| worst)
}

/// A buffer of rows with gaps between them, all of it a pattern.
struct Window {
    buffer: wgpu::Buffer,
    dtype: Dtype,
    layout: Layout,
    fresh: Vec<u8>,
}

impl Window {
    fn new(gpu: &Gpu, dtype: Dtype, case: &Case, rows_of: Option<&[f32]>) -> Result<Self, HostError> {
        let (rows, cols) = (case.rows as usize, case.cols as usize);
        let (offset, stride) = if case.variant.quads { (8, cols.next_multiple_of(4) + 4) } else { (3, cols + 3) };
        let mut values = vec![stored(dtype, PATTERN); (offset + rows * stride + 5).next_multiple_of(2)];
        for (r, row) in rows_of.into_iter().flat_map(|all| all.chunks(cols)).enumerate() {
            values[offset + r * stride..][..cols].copy_from_slice(row);
        }
        let fresh = encode(dtype, &values);
        Ok(Self { buffer: gpu.upload(&fresh)?, dtype, layout: Layout { offset, stride, rows, cols }, fresh })
    }

    fn matrix(&self) -> Matrix<'_> {
        let l = &self.layout;
        Matrix::new(&self.buffer, l.rows as u32, l.cols as u32).at(l.offset as u64).with_stride(l.stride as u32)
    }

    /// The byte that a row begins at.
    fn at(&self, row: usize) -> u64 {
        (self.layout.offset + row * self.layout.stride) as u64 * self.dtype.bytes()
    }

    /// The rows, if nothing outside of them was written.
    fn rows(&self, gpu: &Gpu, what: &'static str) -> Result<Result<Vec<f32>, Failure>, HostError> {
        let all = decode(self.dtype, &gpu.download(&self.buffer, self.buffer.size())?);
        let touched = |(i, &x): (usize, &f32)| !self.layout.contains(i) && x.to_bits() != PATTERN.to_bits();
        if let Some(index) = all.iter().enumerate().position(touched) {
            return Ok(Err(Failure::GuardTouched { what, index }));
        }
        let l = &self.layout;
        Ok(Ok((0..l.rows).flat_map(|r| &all[l.offset + r * l.stride..][..l.cols]).copied().collect()))
    }
}

fn execute(gpu: &Gpu, case: &Case, data: &Data) -> Result<Result<Results, Failure>, HostError> {
    let (rows, cols, o, variant) = (case.rows, case.cols, options(case), case.variant);
    let spec = Spec {
        input: variant.input,
        output: variant.output,
        outputs: Outputs { soft: true, lse: true, index: true, hard: true, perturbed: true },
        empty_row: empty_row(case),
        options: o,
        softmax: Some(variant),
        ..Spec::new(Shape { rows, cols, quads: variant.quads })
    };
    let kernel = gpu.library.gumbel(&spec)?;
    let in_place = case.options == OptionSet::InPlace && variant.input == variant.output;
    let src = Window::new(gpu, variant.input, case, Some(&data.src))?;
    let window = |dtype| Window::new(gpu, dtype, case, None);
    let (soft, hard, perturbed) = (window(variant.output)?, window(variant.output)?, window(Dtype::F32)?);
    let mask_type = if o.mask == Some(MaskType::F16) { Dtype::F16 } else { Dtype::F32 };
    let mut padded = data.mask.clone();
    padded.resize(padded.len().next_multiple_of(2), 0.0);
    let mask = gpu.upload(&encode(mask_type, &padded))?;
    let temperature = gpu.upload(bytemuck::cast_slice(&data.temperature))?;
    let lengths = gpu.upload(bytemuck::cast_slice(&data.lengths))?;
    let seeds: Vec<[u32; 4]> = data.seeds.iter().map(Stream::words_of_seed).collect();
    let seeds = gpu.upload(bytemuck::cast_slice(&seeds))?;
    let (lse, index) = (gpu.allocate(u64::from(rows) * 4)?, gpu.allocate(u64::from(rows) * 4)?);
    let scratch = gpu.allocate(kernel.scratch_bytes(rows, cols).max(16))?;
    let column = |buffer| Matrix::new(buffer, rows, 1);
    let relaxed = if in_place { &src } else { &soft };
    let operands = Operands {
        soft: Some(relaxed.matrix()),
        lse: Some(column(&lse)),
        index: Some(column(&index)),
        hard: Some(hard.matrix()),
        perturbed: Some(perturbed.matrix()),
        mask: o.mask.map(|_| PerRow::each(Matrix::new(&mask, rows, cols))),
        temperature: o.temperature.then(|| PerRow::each(column(&temperature))),
        lengths: o.lengths.then(|| PerRow::each(column(&lengths))),
        scratch: Some(Matrix::new(&scratch, 1, (scratch.size() / 4) as u32)),
        ..Operands::new(src.matrix(), PerRow::each(Matrix::new(&seeds, rows, 4)))
    };
    let bound = kernel.bind(&operands)?;
    describe(gpu, case, data, [relaxed, &hard, &perturbed], [&lse, &index]);
    gpu.describe(&src.buffer, "src", Vec::new);
    let once = || -> Result<Result<Results, Failure>, HostError> {
        for window in [&src, &soft, &hard, &perturbed] {
            gpu.write(&window.buffer, 0, &window.fresh);
        }
        gpu.run(&[&bound])?;
        let mut results = Results {
            lse: bytemuck::pod_collect_to_vec(&gpu.download(&lse, lse.size())?),
            index: bytemuck::pod_collect_to_vec(&gpu.download(&index, index.size())?),
            ..Results::default()
        };
        let windows = [
            (relaxed, "soft", &mut results.soft),
            (&hard, "hard", &mut results.hard),
            (&perturbed, "perturbed", &mut results.perturbed),
        ];
        for (window, what, rows) in windows {
            match window.rows(gpu, what)? {
                Ok(values) => *rows = values,
                Err(failure) => return Ok(Err(failure)),
            }
        }
        if !in_place && gpu.download(&src.buffer, src.buffer.size())? != src.fresh {
            return Ok(Err(Failure::InputChanged { index: 0 }));
        }
        Ok(Ok(results))
    };
    let (first, second) = (once()?, once()?);
    if let (Ok(first), Ok(second)) = (&first, &second)
        && first.bits() != second.bits()
    {
        return Ok(Err(Failure::NotRepeatable { index: 0 }));
    }
    Ok(first)
}

/// What `check` lets the outputs be.
fn describe(gpu: &Gpu, case: &Case, data: &Data, windows: [&Window; 3], columns: [&wgpu::Buffer; 2]) {
    let (cols, empty) = (case.cols as usize, if empty_row(case) == EmptyRow::Zero { 0.0 } else { f32::NAN });
    let rows = 0..case.rows as usize;
    let problem = data.problem(case);
    let of_windows = |window: &Window, row_of: &dyn Fn(usize) -> Vec<Freedom>| {
        let rows = rows.clone().flat_map(|row| loose(window.dtype, window.at(row), row_of(row)));
        rows.collect::<Vec<_>>()
    };
    let within = |budget: Budget| Freedom::Within(budget.interval());
    let probabilities = |row: usize| {
        let reference = problem.row(row);
        let budgets = RowBudget::new(&reference, case.variant.schedule, case.variant.output);
        (0..cols).map(|column| within(budgets.probability(column))).collect()
    };
    let sum = |row| within(RowBudget::new(&problem.row(row), case.variant.schedule, case.variant.output).lse());
    let equal = |values: Vec<f32>| values.into_iter().map(Freedom::equal_to).collect();
    let [soft, hard, noisy] = windows;
    gpu.describe(&soft.buffer, "soft", || of_windows(soft, &probabilities));
    gpu.describe(&hard.buffer, "hard", || {
        let chosen = |row| choice(&data.effective(case, row), 1.0, data.seeds[row]);
        of_windows(hard, &|row| equal(one_hot(chosen(row), cols, empty)))
    });
    gpu.describe(&noisy.buffer, "perturbed", || {
        of_windows(noisy, &|row| equal(perturbed(&data.effective(case, row), data.seeds[row])))
    });
    let [lse, index] = columns;
    gpu.describe(lse, "lse", || loose(Dtype::F32, 0, rows.clone().map(sum)));
    gpu.describe(index, "index", Vec::new);
}

impl Results {
    fn bits(&self) -> Vec<u32> {
        let floats = [&self.soft, &self.hard, &self.perturbed, &self.lse];
        floats.into_iter().flatten().map(|x| x.to_bits()).chain(self.index.iter().copied()).collect()
    }
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
        assert!(count >= 100, "{count}");
    }

    /// What a correct device gives for a case.
    fn right(case: &Case, data: &Data) -> Results {
        let mut results = Results::default();
        let cols = case.cols as usize;
        for row in 0..case.rows as usize {
            let x = data.effective(case, row);
            let chosen = choice(&x, 1.0, data.seeds[row]);
            results.index.push(chosen.word());
            results.hard.extend(one_hot(chosen, cols, f32::NAN));
            let z = perturbed(&x, data.seeds[row]);
            let relaxed = Problem::new(&z, cols).row(0);
            results.soft.extend(relaxed.probabilities.iter().map(|&p| p as f32));
            results.lse.push(relaxed.lse as f32);
            results.perturbed.extend(z);
        }
        results
    }

    type Plant = fn(&mut Results);

    /// The checks pass what is right and find what is not.
    #[test]
    fn planted_faults_are_found() {
        let case: Case = "gumbel/stream/f32/baseline/w8/x4:rows=3,cols=64,fill=uniform".parse().unwrap();
        let data = Data::of(&case);
        let good = right(&case, &data);
        assert!(check(&case, &data, &good).is_ok());
        let faults: [(&str, Plant); 8] = [
            ("index + 1", |r| r.index[1] ^= 1),
            ("hard elsewhere", |r| r.hard[64..128].rotate_left(1)),
            ("hard not 1", |r| r.hard.iter_mut().for_each(|y| *y *= 0.999_999_94)),
            ("perturbed 1 ULP off", |r| r.perturbed[100] = r.perturbed[100].next_up()),
            ("rows exchanged", |r| r.soft.rotate_left(64)),
            ("soft of the logits alone", |r| r.soft.iter_mut().for_each(|y| *y = 1.0 / 64.0)),
            ("soft 1e-5 off", |r| r.soft[3] *= 1.000_01),
            ("lse 1e-4 off", |r| r.lse[2] += 1e-4),
        ];
        for (name, plant) in faults {
            let mut bad = good.clone();
            plant(&mut bad);
            assert!(check(&case, &data, &bad).is_err(), "{name}");
        }
    }
}
