// exp(d) = 2^n (1 + p) without the built-in exp, after Dukhan & Ablavatski, arXiv 2001.04438.
//
// n = round(d / ln 2), t = d - n ln 2, p = e^t - 1 with |t| <= 0.3467. ln 2 is split in two, the first with so few
// bits that n A is exact for |n| < 2^12 without fused multiply-add; d - n A is then exact too
// (docs/accuracy.md). The error of 1 + p is at most 0.95 of 2^-24 for |d| <= 1130, rounding of 1 + p not
// counted: it is never done.

const LOG2E = 0x1.715476p+0;
const LN2 = 0x1.62e43p-1;
const LN2_A = 0x1.62ep-1;
const LN2_B = 0x1.0bfbe8p-15;

// e^t = 1 + t + t^2 (H0 + t (H1 + ...)); relative error 3.2e-9 on |t| <= 0.3468 (docs/accuracy.md).
const H0 = 0x1.fffffcp-2;
const H1 = 0x1.55548cp-3;
const H2 = 0x1.555858p-5;
const H3 = 0x1.123dep-7;
const H4 = 0x1.6ac6b2p-10;

// 1.5 * 2^23: adding it rounds to an integer, which is then found in the low bits.
const ROUNDER = 12582912.0;

struct Exp {
    p: vec4<f32>,
    shift: vec4<u32>,   // (n + the rounder's integer) << 23: added to the bits of a float, it multiplies by 2^n
}

// What rounds to an integer: ROUNDER and some integer, so that the low bits hold n + that. Twice the same number, but no
// compiler knows, which keeps it from "simplifying" (d k + up) - down to d k.
struct Rounder {
    up: f32,
    down: f32,
}

fn rounder(offset: f32) -> Rounder {
    return Rounder(ROUNDER + offset, opaque(ROUNDER + offset));
}

// The greater one, for a `b` that is no NaN. The built-in max takes three operations on some CPUs.
fn at_least(a: vec4<f32>, b: f32) -> vec4<f32> {
    return select(vec4(b), a, a > vec4(b));
}

// `correction` is added to the reduced argument: exp(d + correction) for |correction| below 2^-20.
fn exp4(d: vec4<f32>, r: Rounder, correction: f32) -> Exp {
    let rounded = d * LOG2E + r.up;
    let n = rounded - r.down;
    let t = (d - n * LN2_A) - (n * LN2_B - correction);
    let h = H0 + t * (H1 + t * (H2 + t * (H3 + t * H4)));
    return Exp(t + (t * t) * h, bitcast<vec4<u32>>(rounded) << vec4(23u));
}

// 2^n for n <= 127; anything under 2^-126 is 0.
fn power_of_two(n: i32) -> f32 {
    return select(bitcast<f32>(u32(clamp(n, -126, 127) + 127) << 23u), 0.0, n < -126);
}

// The same number, but no compiler knows: Mesa simplifies (a + b) - a to b, as WGSL allows, and with it every
// error term to 0 (docs/accuracy.md).
fn opaque(x: f32) -> f32 {
    return bitcast<f32>(bitcast<u32>(x) | params.zero);
}

// a + b = sum + error, exactly (Knuth).
struct Two {
    sum: f32,
    error: f32,
}

fn two_sum(a: f32, b: f32) -> Two {
    let sum = opaque(a + b);
    let other = opaque(sum - a);
    return Two(sum, (a - (sum - other)) + (b - other));
}

// a * b = sum + error, exactly, without fused multiply-add (Dekker).
fn two_product(a: f32, b: f32) -> Two {
    let a_high = bitcast<f32>(bitcast<u32>(a) & 0xfffff000u);
    let b_high = bitcast<f32>(bitcast<u32>(b) & 0xfffff000u);
    let a_low = a - a_high;
    let b_low = b - b_high;
    let product = a * b;
    return Two(product, ((a_high * b_high - product) + a_high * b_low + a_low * b_high) + a_low * b_low);
}
