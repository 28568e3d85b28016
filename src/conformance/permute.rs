//! Cases of dispatch and combine: rows moved to the bit, sums to the bit where nothing is subnormal.

use std::fmt;
use std::str::FromStr;

use super::case::{name_of, terms};
use super::check::{Difference, Findings, same_words};
use super::data::{Random, decode, encode, stored};
use super::guarded::Guarded;
use super::run::{Outcome, Trial, without};
use super::tape::{Freedom, loose};
use super::{Failure, Profile};
use crate::BuildError;
use crate::accuracy::{Budget, bf16_ulp, f16_ulp, f32_ulp, ulp_distance};
use crate::host::{Gpu, HostError};
use crate::permute::{CombineOperands, CombineSpec, DispatchOperands, DispatchSpec, Kernel, Shape, Variant};
use crate::reference::permute::{Sum, combine, dispatch, dispatch_weighed};
use crate::softmax::Dtype;

/// Rows with a reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fill {
    /// Uniform in [-4, 4).
    Uniform,
    /// Bits of every class: NaN of both kinds with payloads, infinities, zeros of both signs, the greatest, subnormal ones.
    /// Weights too.
    Special,
    /// Either sign, magnitudes from 1 to 2^12, so that terms cancel: another order of the sum shows, and so does a product that
    /// was not rounded.
    Cancelling,
    /// Subnormal numbers and small ones; weights from 2^-100 to 1.
    Tiny,
    /// Zeros of both signs alone: 0 + -0 = 0.
    Zeros,
}

impl Fill {
    /// All of them, with their names.
    pub const ALL: [(Self, &'static str); 5] = [
        (Self::Uniform, "uniform"),
        (Self::Special, "special"),
        (Self::Cancelling, "cancelling"),
        (Self::Tiny, "tiny"),
        (Self::Zeros, "zeros"),
    ];
}

/// Where slots have no pair and pairs no slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Holes {
    /// Nowhere.
    None,
    /// Segments are padded to multiples of four, one pair in five is dropped.
    Some,
    /// Everywhere.
    All,
    /// There are no slots at all, or no tokens.
    Void,
}

impl Holes {
    /// All of them, with their names.
    pub const ALL: [(Self, &'static str); 4] =
        [(Self::None, "none"), (Self::Some, "some"), (Self::All, "all"), (Self::Void, "void")];
}

/// Which options are in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OptionSet {
    /// None.
    Plain,
    /// Weights.
    Weights,
    /// What the output holds is added to. Combine only.
    Accumulate,
    /// Both. Combine only.
    Both,
}

impl OptionSet {
    /// All of them, with their names.
    pub const ALL: [(Self, &'static str); 4] =
        [(Self::Plain, "plain"), (Self::Weights, "weights"), (Self::Accumulate, "accumulate"), (Self::Both, "both")];

    fn weights(self) -> bool {
        matches!(self, Self::Weights | Self::Both)
    }

    fn accumulate(self) -> bool {
        matches!(self, Self::Accumulate | Self::Both)
    }
}

/// One thing to try: `permute/combine/f32/w8/x4:tokens=7,choices=2,hidden=128,holes=some,fill=uniform,options=weights`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Case {
    /// What runs.
    pub variant: Variant,
    /// Tokens.
    pub tokens: u32,
    /// Choices of a token.
    pub choices: u32,
    /// Elements of a row.
    pub hidden: u32,
    /// What of the tables points nowhere.
    pub holes: Holes,
    /// What the rows are.
    pub fill: Fill,
    /// What else is in use.
    pub options: OptionSet,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { variant, tokens, choices, hidden, .. } = self;
        let (holes, fill) = (name_of(&Holes::ALL, self.holes), name_of(&Fill::ALL, self.fill));
        write!(f, "{variant}:tokens={tokens},choices={choices},hidden={hidden},holes={holes},fill={fill}")?;
        if self.options != OptionSet::Plain {
            write!(f, ",options={}", name_of(&OptionSet::ALL, self.options))?;
        }
        Ok(())
    }
}

impl FromStr for Case {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let (variant, rest) = name.split_once(':').ok_or("a case is VARIANT:tokens=T,choices=K,...")?;
        let variant = variant.parse().map_err(|e: BuildError| e.to_string())?;
        let mut case = Self {
            variant,
            tokens: 1,
            choices: 1,
            hidden: 4,
            holes: Holes::None,
            fill: Fill::Uniform,
            options: OptionSet::Plain,
        };
        for term in terms(rest) {
            let term = term?;
            match term.key {
                "tokens" => case.tokens = term.number()?,
                "choices" => case.choices = term.number()?,
                "hidden" => case.hidden = term.number()?,
                "holes" => case.holes = term.of(&Holes::ALL)?,
                "fill" => case.fill = term.of(&Fill::ALL)?,
                "options" => case.options = term.of(&OptionSet::ALL)?,
                _ => return Err(term.unknown("tokens, choices, hidden, holes, fill, options")),
            }
        }
        Ok(case)
    }
}

/// Sizes on both sides of a quad, of a block of four quads of every geometry, and of what one task has; and those where the last of
/// a block's quads would be the first that is not there.
const HIDDEN: [u32; 15] = [1, 3, 4, 31, 33, 128, 257, 2048, 132, 16, 512, 4160, 12, 96, 6];

/// Choices: two programs a kernel, and one for those that are too many to keep.
const CHOICES: [u32; 6] = [2, 10, 3, 17, 1, 8];

const TOKENS: [u32; 6] = [7, 300, 33, 0, 1, 40];

/// The cases of a profile. Compiling takes longer than running: cases of one variant share a program or two.
pub fn cases(profile: Profile) -> impl Iterator<Item = Case> {
    let quick = |v: &Variant| (v.input, v.output) == (Dtype::F32, Dtype::F32) || (v.width, v.lanes) == (8, 8);
    let variants = Variant::all().filter(move |v| profile == Profile::Full || quick(v));
    variants.enumerate().flat_map(move |(n, variant)| {
        let hidden: Vec<u32> = HIDDEN.into_iter().filter(|h| !variant.quads || h.is_multiple_of(4)).collect();
        let programs = match profile {
            Profile::Full => 6,
            Profile::Quick | Profile::Standard => 1,
        };
        (0..programs * 12).map(move |i| {
            let program = n + i / 12;
            let choices = CHOICES[program % CHOICES.len()];
            let options = match variant.kernel {
                Kernel::Dispatch => OptionSet::ALL[(program / 2 + i / 6) % 2].0,
                Kernel::Combine => OptionSet::ALL[(program / 2) % 4].0,
            };
            let hidden = hidden[(n + i) % hidden.len()];
            let tokens = TOKENS[(n + i + i / 6) % TOKENS.len()];
            // Few are enough to see that nothing depends on how many there are.
            let most = (100_000 / (choices * hidden)).max(5);
            let holes =
                [Holes::Some, Holes::None, Holes::Some, Holes::All, Holes::Some, Holes::Void, Holes::Some][(n + i) % 7];
            let fill = Fill::ALL[(n + i * 3) % 5].0;
            Case { variant, tokens: tokens.min(most), choices, hidden, holes, fill, options }
        })
    })
}

/// A fault to plant: the checks are only worth something if they find it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Two rows of the output exchanged.
    SwappedRows,
    /// The last element of a row left as it was before.
    DroppedTail,
    /// The row of the last slot without a pair left as it was before. Dispatch only.
    EmptySlotLeft,
    /// One element one ULP beyond its budget.
    OneUlpBeyond,
    /// The weights of a token's first two choices exchanged.
    SwappedWeights,
    /// A word before the first row written.
    GuardTouched,
    /// A word of the input's buffer written.
    InputChanged,
    /// The second run differs in one bit.
    NotRepeatable,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::SwappedRows,
        Self::DroppedTail,
        Self::EmptySlotLeft,
        Self::OneUlpBeyond,
        Self::SwappedWeights,
        Self::GuardTouched,
        Self::InputChanged,
        Self::NotRepeatable,
    ];
}

/// The operands of a case, rows without gaps.
struct Data {
    /// Elements of `x` or `y`.
    src: Vec<u8>,
    slots: u32,
    sorted: Vec<u32>,
    inverse: Vec<u32>,
    weights: Vec<f32>,
    held: Vec<u8>,
}

impl Data {
    fn of(case: &Case) -> Self {
        let mut random = Random::of(&case.to_string());
        let pairs = case.tokens * case.choices;
        let (sorted, inverse) = tables(case, &mut random);
        let slots = sorted.len() as u32;
        let (input, output) = (case.variant.input, case.variant.output);
        let rows = if case.variant.kernel == Kernel::Dispatch { case.tokens } else { slots };
        let src = (0..rows).flat_map(|row| {
            // What no one may look at: a slot without a pair.
            let hole = case.variant.kernel == Kernel::Combine && sorted[row as usize] >= pairs;
            (0..case.hidden).flat_map(|_| element(case.fill, input, hole, &mut random)).collect::<Vec<_>>()
        });
        let src = src.collect();
        let weights = (0..pairs as usize).map(|pair| match inverse[pair] {
            slot if slot >= slots => f32::NAN,
            _ => weight(case.fill, &mut random),
        });
        let weights = weights.collect();
        let held =
            (0..case.tokens * case.hidden).flat_map(|_| element(case.fill, output, false, &mut random)).collect();
        Self { src, slots, sorted, inverse, weights, held }
    }

    fn held(&self, case: &Case) -> Option<Vec<f32>> {
        case.options.accumulate().then(|| decode(case.variant.output, &self.held))
    }
}

/// `sorted` and `inverse`: pairs by expert, in order within.
fn tables(case: &Case, random: &mut Random) -> (Vec<u32>, Vec<u32>) {
    const EXPERTS: u32 = 5;
    let (pairs, kernel) = (case.tokens * case.choices, case.variant.kernel);
    let nowhere = [u32::MAX, 0x8000_0000];
    if case.holes == Holes::Void {
        // Dispatch has no tokens then, or every slot is empty; combine has no slots.
        let slots = if kernel == Kernel::Dispatch { 6 } else { 0 };
        return (vec![u32::MAX; slots], vec![u32::MAX; pairs as usize]);
    }
    let mut segments = vec![Vec::new(); EXPERTS as usize];
    for pair in 0..pairs {
        let dropped = case.holes == Holes::All || (case.holes == Holes::Some && random.below(5) == 0);
        if !dropped {
            segments[random.below(EXPERTS) as usize].push(pair);
        }
    }
    if case.holes != Holes::None {
        for (i, segment) in segments.iter_mut().enumerate() {
            // The first entry that is no pair, and the last.
            let padding = [pairs, nowhere[0], nowhere[1]][i % 3];
            segment.resize((segment.len() + 1).next_multiple_of(4), padding);
        }
    }
    let sorted = segments.concat();
    let slots = sorted.len() as u32;
    let missing = |pair: u32| [slots, nowhere[0], nowhere[1]][pair as usize % 3];
    let mut inverse: Vec<u32> = (0..pairs).map(missing).collect();
    for (slot, &pair) in (0..).zip(&sorted) {
        if let Some(entry) = inverse.get_mut(pair as usize) {
            *entry = slot;
        }
    }
    (sorted, inverse)
}

/// The bytes of one element.
fn element(fill: Fill, dtype: Dtype, hole: bool, random: &mut Random) -> Vec<u8> {
    let bytes = dtype.bytes() as usize;
    if hole {
        return vec![0xff; bytes];
    }
    let sign = if random.below(2) == 0 { 1.0 } else { -1.0 };
    let value = match fill {
        Fill::Uniform => random.uniform(-4.0, 4.0),
        Fill::Cancelling => sign * random.uniform(1.0, 2.0) * f32::from(1_u16 << random.below(13)),
        Fill::Tiny if dtype == Dtype::F16 => sign * random.uniform(0.0, 1.0) * 2_f32.powi(-14 - random.below(3) as i32),
        Fill::Tiny => sign * random.uniform(0.0, 1.0) * 2_f32.powi(-124 - random.below(6) as i32),
        Fill::Zeros => 0.0 * sign,
        Fill::Special => {
            let words: [u32; 12] = match dtype {
                Dtype::F32 => [
                    0x7fc1_2345,
                    0x7f80_0001,
                    0xffff_ffff,
                    0xff80_0001,
                    0x7f80_0000,
                    0xff80_0000,
                    0,
                    0x8000_0000,
                    0x7f7f_ffff,
                    1,
                    0x807f_ffff,
                    0x3f80_0000,
                ],
                Dtype::F16 => [0x7e12, 0x7c01, 0xffff, 0xfc01, 0x7c00, 0xfc00, 0, 0x8000, 0x7bff, 1, 0x83ff, 0x3c00],
                Dtype::Bf16 => [0x7fc1, 0x7f81, 0xffff, 0xff81, 0x7f80, 0xff80, 0, 0x8000, 0x7f7f, 1, 0x807f, 0x3f80],
            };
            // Mostly ordinary numbers, or every sum is NaN.
            match words.get(random.below(48) as usize) {
                Some(word) => return word.to_le_bytes()[..bytes].to_vec(),
                None => random.uniform(-4.0, 4.0),
            }
        }
    };
    encode(dtype, &[value])
}

fn weight(fill: Fill, random: &mut Random) -> f32 {
    match fill {
        Fill::Uniform | Fill::Cancelling | Fill::Zeros => random.uniform(0.01, 1.0),
        Fill::Tiny => random.uniform(0.5, 1.0) * 2_f32.powi(-(random.below(101) as i32)),
        Fill::Special => match random.below(12) {
            0 => 0.0,
            1 => -0.0,
            2 => -1.5,
            3 => f32::INFINITY,
            4 => f32::from_bits(0x7f80_0001),
            5 => 1e30,
            6 => f32::from_bits(77),
            _ => random.uniform(0.0, 1.0),
        },
    }
}

impl Trial for Case {
    fn kind(&self) -> String {
        let name = self.variant.to_string();
        name.split('/').take(2).collect::<Vec<_>>().join("/")
    }

    fn measured(&self) -> bool {
        self.variant.output == Dtype::F32
    }

    fn run(&self, gpu: &Gpu) -> Outcome {
        run_case(gpu, self, None)
    }
}

/// Runs one case; with a fault, plants it before the checks.
#[must_use]
pub fn run_case(gpu: &Gpu, case: &Case, fault: Option<Fault>) -> Outcome {
    if let Err(reason) = case.variant.supported(gpu.library.caps()) {
        return Outcome::from(reason);
    }
    if let Some(outcome) = without(&[("choices", case.choices)]) {
        return outcome;
    }
    let data = Data::of(case);
    match execute(gpu, case, &data, fault) {
        Ok(Ok(rows)) => match check(case, &data, &rows) {
            Ok(ulps) => Outcome::Passed(ulps),
            Err(failure) => Outcome::Failed(failure),
        },
        Ok(Err(failure)) => Outcome::Failed(failure),
        Err(error) => Outcome::from(error),
    }
}

/// The bytes of the output's rows, of two runs that gave the same.
fn execute(gpu: &Gpu, case: &Case, data: &Data, fault: Option<Fault>) -> Result<Result<Vec<u8>, Failure>, HostError> {
    let Case { variant, choices, hidden, .. } = *case;
    let tokens = if variant.kernel == Kernel::Dispatch && case.holes == Holes::Void { 0 } else { case.tokens };
    let wide = if variant.quads { [8, 4] } else { [3, 5] };
    let input_bytes = &data.src[..if tokens == 0 && variant.kernel == Kernel::Dispatch { 0 } else { data.src.len() }];
    let mut weights = data.weights[..(tokens * choices) as usize].to_vec();
    if fault == Some(Fault::SwappedWeights) {
        weights.swap(0, 1);
    }
    let (out_rows, in_rows) = match variant.kernel {
        Kernel::Dispatch => (data.slots, tokens),
        Kernel::Combine => (tokens, data.slots),
    };
    let src = Guarded::input(gpu, "src", input_bytes, [in_rows, hidden], wide)?;
    let weights = Guarded::input(gpu, "weights", bytemuck::cast_slice(&weights), [tokens, choices], [5, 1])?;
    let (table, shape) = match variant.kernel {
        Kernel::Dispatch => (&data.sorted, [1, data.slots]),
        Kernel::Combine => (&data.inverse, [tokens, choices]),
    };
    let table = Guarded::input(gpu, "table", bytemuck::cast_slice(table), shape, [3, 2])?;
    let out = if case.options.accumulate() {
        Guarded::input(gpu, "out", &data.held, [out_rows, hidden], wide)?
    } else {
        Guarded::output(gpu, "out", variant.output.bytes() as u32, [out_rows, hidden], wide)?
    };
    gpu.describe(&out.buffer, "out", || {
        let sums = sums(case, data).unwrap_or_default();
        let rows = sums.chunks(hidden.max(1) as usize).enumerate();
        let row = |(row, sums): (usize, &[Sum])| {
            loose(variant.output, out.at(row), sums.iter().map(|sum| freedom(sum, variant.output)))
        };
        rows.flat_map(row).collect()
    });
    let given = case.options.weights().then(|| weights.matrix());
    let shape = Shape { quads: variant.quads, ..Shape::new(tokens, choices, hidden) };
    let bound = match variant.kernel {
        Kernel::Dispatch => {
            let spec = DispatchSpec {
                dtype: variant.input,
                weights: given.is_some(),
                variant: Some(variant),
                ..DispatchSpec::new(shape)
            };
            gpu.library.dispatch(&spec)?.bind(&DispatchOperands {
                x: src.matrix(),
                sorted: table.matrix(),
                weights: given,
                out: out.matrix(),
            })?
        }
        Kernel::Combine => {
            let spec = CombineSpec {
                input: variant.input,
                output: variant.output,
                weights: given.is_some(),
                accumulate: case.options.accumulate(),
                variant: Some(variant),
                ..CombineSpec::new(shape)
            };
            gpu.library.combine(&spec)?.bind(&CombineOperands {
                y: src.matrix(),
                inverse: table.matrix(),
                weights: given,
                out: out.matrix(),
            })?
        }
    };
    gpu.run(&[&bound])?;
    if fault == Some(Fault::GuardTouched) {
        gpu.write(&out.buffer, 0, &[0; 4]);
    }
    let mut rows = match out.read(gpu)? {
        Ok(rows) => rows,
        Err(failure) => return Ok(Err(failure)),
    };
    out.reset(gpu);
    gpu.run(&[&bound])?;
    let mut second = match out.read(gpu)? {
        Ok(rows) => rows,
        Err(failure) => return Ok(Err(failure)),
    };
    if fault == Some(Fault::NotRepeatable) {
        second[0] ^= 1;
    }
    if let Some(index) = rows.iter().zip(&second).position(|(a, b)| a != b) {
        return Ok(Err(Failure::NotRepeatable { index }));
    }
    if fault == Some(Fault::InputChanged) {
        gpu.write(&src.buffer, 16, &[0; 4]);
    }
    for operand in [&src, &weights, &table] {
        if let Err(failure) = operand.unchanged(gpu)? {
            return Ok(Err(failure));
        }
    }
    if let Some(fault) = fault {
        plant(case, data, fault, &mut rows);
    }
    Ok(Ok(rows))
}

/// Puts a fault into rows that are right.
fn plant(case: &Case, data: &Data, fault: Fault, rows: &mut [u8]) {
    const BEFORE: u8 = 0xa7;
    let element = case.variant.output.bytes() as usize;
    let row = case.hidden as usize * element;
    match fault {
        Fault::SwappedRows => {
            let (first, rest) = rows.split_at_mut(row);
            first.swap_with_slice(&mut rest[..row]);
        }
        Fault::DroppedTail => rows[row - element..row].fill(BEFORE),
        Fault::EmptySlotLeft => {
            let empty = data.sorted.iter().rposition(|&pair| pair >= case.tokens * case.choices);
            let from = empty.map_or(0, |slot| slot * row);
            rows[from..from + row].fill(BEFORE);
        }
        Fault::OneUlpBeyond => {
            let beyond = match sums(case, data).and_then(|sums| sums.first().copied()) {
                Some(sum) => sum.value + allowed(&sum, case.variant.output).copysign(sum.value),
                None => f64::from(decode(case.variant.output, &rows[..element])[0]),
            };
            let mut got = encode(case.variant.output, &[beyond as f32]);
            // Numbers of one sign are in the order of their bits: on to the next one away from zero.
            let word = got.iter().rev().fold(0_u32, |word, &byte| (word << 8) | u32::from(byte)) + 1;
            got.copy_from_slice(&word.to_le_bytes()[..element]);
            rows[..element].copy_from_slice(&got);
        }
        _ => {}
    }
}

/// What the reference gives, where it is arithmetic.
fn sums(case: &Case, data: &Data) -> Option<Vec<Sum>> {
    let (hidden, choices) = (case.hidden as usize, case.choices as usize);
    let src = decode(case.variant.input, &data.src);
    let weights = case.options.weights().then_some(&data.weights[..]);
    match (case.variant.kernel, weights) {
        (Kernel::Dispatch, None) => None,
        (Kernel::Dispatch, Some(weights)) => Some(dispatch_weighed(&src, hidden, &data.sorted, weights, choices)),
        (Kernel::Combine, weights) => {
            let held = data.held(case);
            Some(combine(&src, hidden, &data.inverse, weights, choices, held.as_deref()))
        }
    }
}

/// How far a stored result may be from the reference's value: the f32 result's budget, and half an ULP of a 16-bit type.
fn allowed(sum: &Sum, output: Dtype) -> f64 {
    let budget = sum.budget();
    let most = sum.value.abs() + budget;
    budget
        + match output {
            Dtype::F32 => 0.0,
            Dtype::F16 => 0.5 * f16_ulp(most),
            Dtype::Bf16 => 0.5 * bf16_ulp(most),
        }
}

/// What `check` lets an element be.
fn freedom(sum: &Sum, output: Dtype) -> Freedom {
    if sum.flushed == 0.0 {
        // NaN by its payload is the only freedom then.
        return if sum.rounded.is_nan() { Freedom::equal_to(f32::NAN) } else { Freedom::Exact };
    }
    if !sum.rounded.is_finite() || !sum.flushed.is_finite() {
        return Freedom::Any;
    }
    let [lo, hi] = Budget { want: sum.value, ulps: 0.0, absolute: allowed(sum, output) }.interval();
    // What is finite in f32 may be an infinity of the type.
    let want = stored(output, sum.rounded);
    Freedom::Within(if want.is_infinite() { [lo.min(want), hi.max(want)] } else { [lo, hi] })
}

/// The elements of a type, each in a word of its own.
fn words(dtype: Dtype, bytes: &[u8]) -> Vec<u32> {
    let element = dtype.bytes() as usize;
    let word = |b: &[u8]| b.iter().rev().fold(0, |word, &byte| (word << 8) | u32::from(byte));
    bytes.chunks_exact(element).map(word).collect()
}

/// The worst distance in f32 ULP from the f64 reference, or what is wrong.
fn check(case: &Case, data: &Data, rows: &[u8]) -> Result<u32, Failure> {
    let (hidden, output) = (case.hidden as usize, case.variant.output);
    let got = words(output, rows);
    let Some(sums) = sums(case, data) else {
        let want = dispatch(&words(output, &data.src), hidden, &data.sorted, case.choices as usize);
        return same_words("out", hidden, &got, &want).map(|()| 0);
    };
    if got.len() != sums.len() {
        return Err(Failure::Broken(format!("out: {} elements, not {}", got.len(), sums.len())));
    }
    let values = decode(output, rows);
    let rounded: Vec<f32> = sums.iter().map(|sum| sum.rounded).collect();
    let want = words(output, &encode(output, &rounded));
    let (mut worst, mut findings) = (0, Findings::default());
    for (i, sum) in sums.iter().enumerate() {
        let (row, column) = (i / hidden, i % hidden);
        if sum.rounded.is_nan() && values[i].is_nan() {
            continue;
        }
        // Bits that are certain, infinities and NaN among them.
        if sum.flushed == 0.0 && got[i] != want[i] {
            findings.add("out", row, column, Difference::Word { got: got[i], want: want[i] });
            continue;
        }
        if !sum.rounded.is_finite() || sum.flushed.is_nan() || sum.flushed.is_infinite() {
            // A subnormal operand may count as zero, which makes another special value of an infinity.
            continue;
        }
        let ulps = ulp_distance(values[i], sum.value as f32);
        let allowed = allowed(sum, output);
        let stored_infinite = values[i].is_infinite() && got[i] == want[i];
        let within = (f64::from(values[i]) - sum.value).abs() <= allowed;
        if !stored_infinite && !within {
            let (got, want) = (values[i], sum.value);
            let allowed = allowed / f32_ulp(want);
            findings.add("out", row, column, Difference::Float { got, want, ulps, allowed });
            continue;
        }
        // Where terms cancel, ULP of the result say nothing.
        if sum.magnitude <= 2.0 * sum.value.abs() && sum.flushed == 0.0 {
            worst = worst.max(ulps);
        }
    }
    findings.verdict().map(|()| worst)
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
        assert!(count >= 400, "{count}");
        assert!("permute/combine/f32/w8/x4:tokens".parse::<Case>().is_err());
        assert!("permute/combine/f32/w8/x4:rows=3".parse::<Case>().is_err());
        assert!("permute/combine/f32/w9/x4:tokens=3".parse::<Case>().is_err());
    }

    /// Every size, fill, set of options and kind of hole, for both kernels.
    #[test]
    fn quick_has_everything() {
        for kernel in Kernel::ALL {
            let all: Vec<_> = cases(Profile::Standard).filter(|c| c.variant.kernel == kernel).collect();
            let has = |what: &dyn Fn(&Case) -> bool| all.iter().any(what);
            for hidden in HIDDEN {
                assert!(has(&|c| c.hidden == hidden), "{kernel:?} {hidden}");
            }
            for tokens in TOKENS {
                assert!(has(&|c| c.tokens == tokens), "{kernel:?} {tokens:?}");
            }
            for choices in CHOICES {
                assert!(has(&|c| c.choices == choices), "{kernel:?} {choices:?}");
            }
            for (fill, name) in Fill::ALL {
                assert!(has(&|c| c.fill == fill), "{kernel:?} {name}");
            }
            for (holes, name) in Holes::ALL {
                assert!(has(&|c| c.holes == holes && c.tokens > 0), "{kernel:?} {name}");
            }
            for (options, name) in OptionSet::ALL {
                assert!(
                    has(&|c| c.options == options) || (kernel == Kernel::Dispatch && options.accumulate()),
                    "{name}"
                );
            }
        }
    }

    /// The tables are what their names say.
    #[test]
    fn tables_are_inverse() {
        for case in cases(Profile::Standard) {
            let data = Data::of(&case);
            let pairs = case.tokens * case.choices;
            for (pair, &slot) in data.inverse.iter().enumerate() {
                assert!(slot >= data.slots || data.sorted[slot as usize] == pair as u32, "{case}");
            }
            let filled = data.sorted.iter().filter(|&&pair| pair < pairs).count();
            assert_eq!(filled, data.inverse.iter().filter(|&&slot| slot < data.slots).count(), "{case}");
        }
    }
}
