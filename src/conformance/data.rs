//! The operands of a case: a function of its name, so that a name is enough to repeat it.

use half::{bf16, f16};

use super::{Case, Fill, OptionSet};
use crate::noise::Stream;
use crate::reference::{Problem, Shared};
use crate::softmax::{Causal, Dtype, EmptyRow, MaskType, Options, RowMap, Shape, Spec};

/// A small generator (`SplitMix64`, Steele, Lea & Flood 2014): the suite must not depend on another crate's stream.
pub(super) struct Random(u64);

impl Random {
    /// Seeded by a name (FNV-1a).
    pub fn of(name: &str) -> Self {
        Self(name.bytes().fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3)))
    }

    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn uniform(&mut self, from: f32, to: f32) -> f32 {
        from + (to - from) * ((self.bits() >> 40) as f32 / 16_777_216.0)
    }

    pub fn below(&mut self, n: u32) -> u32 {
        (((self.bits() >> 32) * u64::from(n.max(1))) >> 32) as u32
    }
}

/// The values of a case's operands, as the reference takes them.
pub(super) struct Data {
    pub src: Vec<f32>,
    pub mask: Vec<f32>,
    pub temperature: Vec<f32>,
    pub slopes: Vec<f32>,
    pub sinks: Vec<f32>,
    pub lengths: Vec<u32>,
    pub seeds: Vec<Stream>,
}

/// Rows of one sequence, and sequences that share a mask, in the cases that have such.
pub(super) const QUERIES: u32 = 4;
const HEADS: u32 = 2;

impl Data {
    pub fn of(case: &Case) -> Self {
        let mut random = Random::of(&case.to_string());
        let (rows, cols) = (case.rows as usize, case.cols as usize);
        let mut src = Vec::with_capacity(rows * cols);
        for row in 0..rows {
            for column in 0..cols {
                src.push(stored(case.variant.input, logit(case, &mut random, row, column)));
            }
            special(case, &mut random, row, &mut src[row * cols..]);
        }
        let entries = |n: usize, used: bool| if used { n } else { 0 };
        let options = options(case);
        let uses_sampler = options.temperature;
        Self {
            src,
            mask: (0..entries(rows * cols, options.mask.is_some()))
                .map(|_| match random.below(5) {
                    0 => f32::NEG_INFINITY,
                    1 => stored(Dtype::F16, -6e4),
                    _ => stored(Dtype::F16, random.uniform(-4.0, 4.0)),
                })
                .collect(),
            temperature: (0..entries(rows, uses_sampler))
                .map(|r| if r % 3 == 2 { 0.0 } else { random.uniform(0.3, 3.0) })
                .collect(),
            slopes: (0..entries(HEADS as usize, options.alibi)).map(|h| 0.5f32.powi(h as i32 + 1)).collect(),
            sinks: (0..entries(rows, options.sinks)).map(|_| random.uniform(-5.0, 5.0)).collect(),
            // Longer than the row, none at all, and everything between.
            lengths: (0..entries(rows, options.lengths)).map(|_| random.below(case.cols + 3)).collect(),
            seeds: (0..entries(rows, options.gumbel))
                .map(|_| Stream { seed: random.bits(), position: random.bits() })
                .collect(),
        }
    }

    pub fn problem<'a>(&'a self, case: &Case) -> Problem<'a> {
        let o = options(case);
        Problem {
            scale: o.scale,
            soft_cap: o.soft_cap,
            positions: o.positions,
            causal: o.causal,
            slopes: o.alibi.then(|| Shared { values: &self.slopes, map: slope_map() }),
            mask: o.mask.map(|_| Shared { values: &self.mask, map: mask_map(case) }),
            temperature: o.temperature.then(|| Shared { values: &self.temperature, map: RowMap::each() }),
            lengths: o.lengths.then(|| Shared { values: &self.lengths, map: RowMap::each() }),
            seeds: o.gumbel.then(|| Shared { values: &self.seeds, map: RowMap::each() }),
            sinks: o.sinks.then(|| Shared { values: &self.sinks, map: RowMap::each() }),
            empty_row: spec(case).empty_row,
            ..Problem::new(&self.src, case.cols as usize)
        }
    }
}

pub(super) fn slope_map() -> RowMap {
    RowMap { divide: QUERIES, modulo: HEADS, ..RowMap::one() }
}

/// Every row its own, or one entry for each query of a sequence.
pub(super) fn mask_map(case: &Case) -> RowMap {
    if case.options == OptionSet::Mask16 { RowMap { modulo: QUERIES, ..RowMap::one() } } else { RowMap::each() }
}

pub(super) fn options(case: &Case) -> Options {
    let none = Options::default();
    let positions = Some(Causal { queries: QUERIES, offset: case.cols as i32 / 2 - 2 });
    match case.options {
        OptionSet::Plain | OptionSet::Log | OptionSet::Lse | OptionSet::LogLseZero | OptionSet::Zero => none,
        OptionSet::Scale => Options { scale: Some(0.125), ..none },
        OptionSet::Cap => Options { soft_cap: Some(3.0), ..none },
        OptionSet::Temperature => Options { temperature: true, ..none },
        OptionSet::Mask => Options { mask: Some(MaskType::F32), ..none },
        OptionSet::Mask16 => Options { mask: Some(MaskType::F16), ..none },
        OptionSet::Causal => Options { positions, causal: true, ..none },
        OptionSet::Alibi => Options { positions, alibi: true, ..none },
        OptionSet::Lengths => Options { lengths: true, ..none },
        OptionSet::Sinks => Options { sinks: true, ..none },
        OptionSet::Attention => Options {
            scale: Some(0.088_388_35),
            soft_cap: Some(50.0),
            positions,
            causal: true,
            mask: Some(MaskType::F32),
            sinks: true,
            ..none
        },
        OptionSet::Gumbel => Options { gumbel: true, temperature: true, ..none },
        OptionSet::Sampler => Options { soft_cap: Some(30.0), temperature: true, lengths: true, ..none },
    }
}

pub(super) fn spec(case: &Case) -> Spec {
    let o = case.options;
    let zero = matches!(o, OptionSet::Zero | OptionSet::LogLseZero);
    Spec {
        shape: Shape { rows: case.rows, cols: case.cols, quads: case.variant.quads },
        input: case.variant.input,
        output: case.variant.output,
        log: matches!(o, OptionSet::Log | OptionSet::LogLseZero | OptionSet::Sampler),
        lse: matches!(o, OptionSet::Lse | OptionSet::LogLseZero | OptionSet::Attention),
        empty_row: if zero { EmptyRow::Zero } else { EmptyRow::Nan },
        options: options(case),
        variant: Some(case.variant),
    }
}

fn logit(case: &Case, random: &mut Random, row: usize, column: usize) -> f32 {
    let c = column as f32;
    let third = random.below(3) == 0;
    let usual = random.uniform(-10.0, 10.0);
    match case.fill {
        Fill::Uniform | Fill::RowsExcluded | Fill::OneNan | Fill::OneInfinity | Fill::AllSpecial => usual,
        Fill::Wide => random.uniform(-1000.0, 1000.0),
        Fill::AboveOverflow => random.uniform(90.0, 100.0),
        Fill::BelowUnderflow => random.uniform(-110.0, -90.0),
        Fill::Equal => 1.0 - row as f32 * 500.0,
        Fill::Peaked => {
            if column == case.cols as usize / 2 {
                50.0
            } else {
                random.uniform(-1.0, 1.0)
            }
        }
        Fill::EdgeOfNormal => {
            if column == 0 {
                0.0
            } else {
                random.uniform(-90.0, -85.0)
            }
        }
        Fill::Ascending => c * 30.0,
        Fill::Descending => c * -30.0,
        Fill::AcrossAnchor => 1024.0 * (1 + row % 3) as f32 + usual,
        Fill::AcrossNegativeAnchor => -1024.0 * (1 + row % 3) as f32 + usual,
        Fill::HugeIntegers => 16_777_216.0 + (random.below(40) * 2) as f32,
        Fill::Enormous => (random.below(9) as f32 - 4.0) * 1e30,
        Fill::Subnormal => f32::from_bits(random.below(1 << 23) | random.below(2) << 31),
        Fill::SomeExcluded => {
            if third {
                f32::NEG_INFINITY
            } else {
                usual
            }
        }
        Fill::LargeNegative => {
            if third {
                -1e30
            } else {
                usual
            }
        }
        Fill::Lowest => {
            if third || row % 2 == 1 {
                f32::MIN
            } else {
                usual
            }
        }
        Fill::Ties => random.below(3) as f32,
    }
}

/// What single elements and whole rows a fill changes afterwards.
fn special(case: &Case, random: &mut Random, row: usize, x: &mut [f32]) {
    let mut put = |value: f32| x[random.below(case.cols) as usize] = value;
    match (case.fill, row % 2) {
        (Fill::OneNan, 1) => put(if row % 4 == 1 { f32::NAN } else { f32::from_bits(0xffc0_0000) }),
        (Fill::OneInfinity, 1) => put(f32::INFINITY),
        (Fill::AllSpecial, 1) => {
            put(f32::INFINITY);
            put(f32::NEG_INFINITY);
            put(f32::NAN);
        }
        (Fill::RowsExcluded, 1) => x.fill(f32::NEG_INFINITY),
        _ => {}
    }
}

/// `x` as the type stores it.
pub(super) fn stored(dtype: Dtype, x: f32) -> f32 {
    match dtype {
        Dtype::F32 => x,
        Dtype::F16 => f16::from_f32(x).to_f32(),
        Dtype::Bf16 => bf16::from_f32(x).to_f32(),
    }
}

/// The bytes of values that `stored` has been through.
pub(super) fn encode(dtype: Dtype, values: &[f32]) -> Vec<u8> {
    match dtype {
        Dtype::F32 => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
        Dtype::F16 => values.iter().flat_map(|&v| f16::from_f32(v).to_le_bytes()).collect(),
        Dtype::Bf16 => values.iter().flat_map(|&v| bf16::from_f32(v).to_le_bytes()).collect(),
    }
}

/// Values from their bytes.
pub(super) fn decode(dtype: Dtype, bytes: &[u8]) -> Vec<f32> {
    let half = |b: &[u8]| [b[0], b[1]];
    match dtype {
        Dtype::F32 => bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect(),
        Dtype::F16 => bytes.chunks_exact(2).map(|b| f16::from_le_bytes(half(b)).to_f32()).collect(),
        Dtype::Bf16 => bytes.chunks_exact(2).map(|b| bf16::from_le_bytes(half(b)).to_f32()).collect(),
    }
}
