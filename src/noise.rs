//! The crate's one random stream: Philox4x32-10, and Gumbel noise made from it, bit for bit as the shaders make it.
//!
//! A word of the stream belongs to a (seed, position, column, domain) and to nothing else: not to the row, the grid, the
//! variant or the device. `docs/semantics.md` fixes the layout for good.

/// What noise is for: different uses never share it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum Domain {
    /// One Gumbel variate per column: Gumbel-Softmax and Gumbel-max sampling.
    Column = 0,
    /// One variate per block of columns, in sampling by blocks; the quad is the block.
    Block = 1,
    /// One variate per part of a split row, in sampling by blocks; the quad is the part.
    Part = 2,
    /// One variate per column of the block that wins.
    Member = 3,
    /// One normal variate per expert: noisy routing.
    Normal = 4,
}

/// Philox4x32-10 (Salmon, Moraes, Dror & Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC11): four words from a
/// counter and a key.
///
/// ```
/// // A known answer of its authors' Random123 library.
/// let words = onesum::noise::philox4x32_10([0; 4], [0; 2]);
/// assert_eq!(words, [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
/// ```
#[must_use]
pub fn philox4x32_10(counter: [u32; 4], key: [u32; 2]) -> [u32; 4] {
    let [mut a, mut b, mut c, mut d] = counter;
    let [mut k, mut l] = key;
    for _ in 0..10 {
        let (left, right) = (u64::from(a) * 0xd251_1f53, u64::from(c) * 0xcd9e_8d57);
        (a, b, c, d) = ((right >> 32) as u32 ^ b ^ k, right as u32, (left >> 32) as u32 ^ d ^ l, left as u32);
        (k, l) = (k.wrapping_add(0x9e37_79b9), l.wrapping_add(0xbb67_ae85));
    }
    [a, b, c, d]
}

/// The noise of one row at one position.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Stream {
    /// Which stream: one a request, for example.
    pub seed: u64,
    /// Where in the stream: the token's position, for example.
    pub position: u64,
}

impl Stream {
    /// Seed and position as kernels read them: each its low word first.
    #[must_use]
    pub fn words_of_seed(&self) -> [u32; 4] {
        [self.seed as u32, (self.seed >> 32) as u32, self.position as u32, (self.position >> 32) as u32]
    }

    /// The words of columns 4·quad to 4·quad + 3.
    #[must_use]
    pub fn words(&self, domain: Domain, quad: u32) -> [u32; 4] {
        let [seed_low, seed_high, low, high] = self.words_of_seed();
        philox4x32_10([quad, low, high, domain as u32], [seed_low, seed_high])
    }

    /// The Gumbel variate of a column.
    #[must_use]
    pub fn gumbel(&self, column: u32) -> f32 {
        gumbel(self.words(Domain::Column, column / 4)[(column % 4) as usize])
    }
}

/// −ln(−ln u), u = (word + ½)·2⁻³², in f32: the bits that every device gets.
///
/// Between −3.14 and 22.88, never infinite. Its error is at most ERROR (`docs/accuracy.md`).
#[must_use]
pub fn gumbel(word: u32) -> f32 {
    -ln(-ln_uniform(word))
}

const SQRT_HALF: u32 = 0x3f35_04f3;
const LN_2: f32 = std::f32::consts::LN_2;

/// n + ½, rounded once.
pub(crate) fn halfway(n: u32) -> f32 {
    (n >> 16) as f32 * 65_536.0 + ((n & 0xffff) as f32 + 0.5)
}

/// ln((word + ½)·2⁻³²), with a relative error of a few 2⁻²⁴ also where it is close to 0.
fn ln_uniform(word: u32) -> f32 {
    // Above √½, the distance from 1 counts.
    let near_one = word >= 0xb504_f334;
    let n = if near_one { !word } else { word };
    let v = halfway(n);
    if near_one {
        return ln_1p(v * -f32::from_bits(0x2f80_0000));
    }
    let (exponent, f) = split(v);
    (exponent - 32) as f32 * LN_2 + ln_1p(f)
}

fn ln(x: f32) -> f32 {
    let (exponent, f) = split(x);
    exponent as f32 * LN_2 + ln_1p(f)
}

/// x = (1 + f)·2^exponent, 1 + f between √½ and √2.
pub(crate) fn split(x: f32) -> (i32, f32) {
    let bits = x.to_bits().wrapping_sub(SQRT_HALF);
    let f = f32::from_bits((bits & 0x007f_ffff) + SQRT_HALF) - 1.0;
    ((bits as i32) >> 23, f)
}

/// ln(1 + f), 1 + f between √½ and √2.
pub(crate) fn ln_1p(f: f32) -> f32 {
    let mut q = Q[8];
    for c in Q[..8].iter().rev() {
        q = q * f + c;
    }
    (f * f) * q + f
}

/// ln(1 + f) = f + f²·(Q0 + f·(Q1 + ...)), a minimax fit (`docs/accuracy.md`).
const Q: [f32; 9] = [
    f32::from_bits(0xbeff_fffc), // -0x1.fffff8p-2
    f32::from_bits(0x3eaa_aaa7), // 0x1.55554ep-2
    f32::from_bits(0xbe80_021c), // -0x1.000438p-2
    f32::from_bits(0x3e4c_d2a2), // 0x1.99a544p-3
    f32::from_bits(0xbe2a_127b), // -0x1.5424f6p-3
    f32::from_bits(0x3e11_2aca), // 0x1.225594p-3
    f32::from_bits(0xbe07_95a1), // -0x1.0f2b42p-3
    f32::from_bits(0x3e04_4d73), // 0x1.089ae6p-3
    f32::from_bits(0xbd9c_3959), // -0x1.3872b2p-4
];
