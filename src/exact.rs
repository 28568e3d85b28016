//! Elementary functions in f32, bit for bit as the shaders of the router compute them: sums and products in a stated order,
//! each rounded once, and nothing that a device may round otherwise. What is chosen by them is chosen alike everywhere.
//!
//! Results whose magnitude is below 2⁻¹²⁶ are 0, and exp(−|x|) is 0 from |x| > 69 on (1.1·10⁻³⁰): no subnormal number, which
//! some devices flush, takes part. The errors against the exact functions, in units of 2⁻²⁴ of the result, are derived in
//! `docs/accuracy.md` and tested here.

use crate::noise::{halfway, ln_1p, split};

/// exp(d) = (1 + p)·2ⁿ for |d| ≤ 88.
pub(crate) fn exponential(d: f32) -> (f32, i32) {
    // ln 2 in two parts of so few bits that n times either is exact for |n| < 2⁷.
    const HEAD: f32 = f32::from_bits(0x3f31_7200);
    const TAIL: f32 = f32::from_bits(0x35bf_be80);
    let y = d * std::f32::consts::LOG2_E;
    // Towards zero, after adding a half: to the nearest, halves away from zero.
    let n = (y + 0.5f32.copysign(y)) as i32;
    let e = n as f32;
    let t = (d - e * HEAD) - e * TAIL;
    let mut h = f32::from_bits(0x3ab5_6359) * t + f32::from_bits(0x3c09_1ef0);
    h = h * t + f32::from_bits(0x3d2a_ac2c);
    h = h * t + f32::from_bits(0x3e2a_aa46);
    h = h * t + f32::from_bits(0x3eff_fffe);
    ((t * t) * h + t, n)
}

/// x·2ⁿ, for x and the result between 2⁻¹²⁶ and 2¹²⁷ in magnitude.
pub(crate) fn raised(x: f32, n: i32) -> f32 {
    f32::from_bits(x.to_bits().wrapping_add_signed(n << 23))
}

/// What may be subnormal, as 0 where it is.
pub(crate) fn settled(x: f32) -> f32 {
    if x.abs().to_bits() < 0x0080_0000 { 0.0 } else { x }
}

/// exp(−|x|): within 3 units; 0 for |x| > 69, infinities and NaN.
///
/// ```
/// assert_eq!(onesum::exact::decay(0.0), 1.0);
/// assert_eq!(onesum::exact::decay(f32::INFINITY), 0.0);
/// ```
#[must_use]
pub fn decay(x: f32) -> f32 {
    if x.abs() <= 69.0 {
        let (p, n) = exponential(-x.abs());
        raised(1.0 + p, n)
    } else {
        0.0
    }
}

/// 1 / x for x between 2⁻¹⁰⁰ and 2¹⁰⁰: within 3 units, exact for powers of two.
#[must_use]
pub fn reciprocal(x: f32) -> f32 {
    let mut r = f32::from_bits(0x7ef3_11c7_u32.wrapping_sub(x.to_bits()));
    for _ in 0..2 {
        r *= 2.0 - x * r;
    }
    r + r * (1.0 - x * r)
}

/// √x for 0 and for x between 2⁻¹⁰⁰ and 2¹⁰⁰: within 4 units.
#[must_use]
pub fn root(x: f32) -> f32 {
    let half = x * 0.5;
    let mut r = f32::from_bits(0x5f37_59df_u32.wrapping_sub(x.to_bits() >> 1));
    for _ in 0..3 {
        r *= 1.5 - (half * r) * r;
    }
    x * r
}

/// 1 / (1 + e⁻ˣ): within 8 units; 0 for x < −69.
///
/// ```
/// use onesum::exact::sigmoid;
/// assert_eq!((sigmoid(f32::NEG_INFINITY), sigmoid(f32::INFINITY)), (0.0, 1.0));
/// assert!((sigmoid(2.0) - 0.880_797_1).abs() < 1e-6);
/// ```
#[must_use]
pub fn sigmoid(x: f32) -> f32 {
    if x.is_nan() {
        return f32::NAN;
    }
    let e = decay(x);
    let r = reciprocal(1.0 + e);
    if x.is_sign_negative() { e * r } else { r }
}

/// ln(1 + eˣ): within 8 units; 0 for x < −69, and of what is above 2¹⁰⁰ the value at 2¹⁰⁰.
#[must_use]
pub fn softplus(x: f32) -> f32 {
    if x.is_nan() {
        return f32::NAN;
    }
    let e = decay(x);
    let (exponent, f) = if e > f32::from_bits(0x3ed4_13cd) { (1.0, (e - 1.0) * 0.5) } else { (0.0, e) };
    let low = exponent * std::f32::consts::LN_2 + ln_1p(f);
    let above = if x.is_sign_negative() { 0.0 } else { x.min(f32::from_bits(0x7180_0000)) };
    above + low
}

/// tanh x: within 8 units, and 0 for |x| below 2⁻¹²⁶.
#[must_use]
pub fn hyperbolic_tangent(x: f32) -> f32 {
    if x.is_nan() {
        return f32::NAN;
    }
    let (p, n) = exponential(-x.abs().min(10.0) * 2.0);
    let power = raised(1.0, n);
    let less = if n == 0 { p } else { power * p + (power - 1.0) };
    settled(-less * reciprocal(2.0 + less)).copysign(x)
}

/// The standard normal variate of a word of the random stream: its lowest bit is the sign, U = (word + ½)·2⁻³² without that
/// bit the probability of as large a magnitude, which is at most 6.45. Relative error at most 1.2·10⁻⁶.
#[must_use]
pub fn normal(word: u32) -> f32 {
    let even = word & !1;
    let x = halfway(!even) * f32::from_bits(0x2f80_0000);
    let q = (halfway(even) * f32::from_bits(0x2f80_0000)) * (1.0 + x);
    let (exponent, f) = split(q);
    let w = -(exponent as f32 * std::f32::consts::LN_2 + ln_1p(f));
    let (y, coefficients) = if w < 5.0 { (w - 2.5, CENTRE) } else { (root(w) - 3.5, TAIL) };
    let mut p = coefficients[0];
    for c in &coefficients[1..] {
        p = p * y + c;
    }
    f32::from_bits((x * p).to_bits() ^ (word << 31))
}

/// x P(w) with w = −ln(1 − x²), around 2.5, highest power first (after Giles, "Approximating the erfinv function", 2012).
const CENTRE: [f32; 8] = [
    f32::from_bits(0x34ef_a54c), // 0x1.df4a98p-22
    f32::from_bits(0xb697_2e1a), // -0x1.2e5c34p-18
    f32::from_bits(0xb6c2_4883), // -0x1.849106p-18
    f32::from_bits(0x39a1_2519), // 0x1.424a32p-12
    f32::from_bits(0xbae8_9031), // -0x1.d12062p-10
    f32::from_bits(0xbbc1_8824), // -0x1.831048p-8
    f32::from_bits(0x3eb2_9664), // 0x1.652cc8p-2
    f32::from_bits(0x4007_e45d), // 0x1.0fc8bap+1
];

/// The same in √w, around 3.5, for w from 5 on.
const TAIL: [f32; 8] = [
    f32::from_bits(0xb97b_32d5), // -0x1.f665aap-13
    f32::from_bits(0x3a51_4e7a), // 0x1.a29cf4p-11
    f32::from_bits(0xba8f_bc64), // -0x1.1f78c8p-10
    f32::from_bits(0x3ab9_0d17), // 0x1.721a2ep-10
    f32::from_bits(0xbb3a_c471), // -0x1.7588e2p-9
    f32::from_bits(0x3b99_012d), // 0x1.32025ap-8
    f32::from_bits(0x3fb6_5a27), // 0x1.6cb44ep+0
    f32::from_bits(0x4096_f262), // 0x1.2de4c4p+2
];
