// Functions of the same bits on every device: nothing but correctly rounded sums and products, no product that a compiler
// could fuse with a sum, no sum of three that it could add up in another order, no subnormal number, NaN and infinities
// told by bits. `src/exact.rs` does the same on the CPU, `docs/accuracy.md` has the errors.

const MAGNITUDE = 0x7fffffffu;
const INFINITE = 0x7f800000u;

fn magnitude(x: vec4<f32>) -> vec4<u32> {
    return bitcast<vec4<u32>>(x) & vec4(MAGNITUDE);
}

fn is_nan(x: vec4<f32>) -> vec4<bool> {
    return magnitude(x) > vec4(INFINITE);
}

fn nan() -> f32 {
    return bitcast<f32>(params.zero | 0x7fc00000u);
}

// What may be subnormal, as 0 where it is: devices may or may not keep such numbers. Fenced.
fn settled(x: vec4<f32>) -> vec4<f32> {
    let bits = fenced(x);
    return select(bits, vec4(0.0), magnitude(bits) < vec4(0x00800000u));
}

// exp(d) = (1 + p) 2^n.
struct Exponential {
    p: vec4<f32>,
    n: vec4<i32>,
}

// ln 2 in two parts of so few bits that n times either is exact for |n| < 2^7.
const LN2_HEAD = 0x1.62e4p-1;
const LN2_TAIL = 0x1.7f7dp-20;

// For |d| <= 88.
fn exponential(d: vec4<f32>) -> Exponential {
    let y = fenced(d * 0x1.715476p+0);
    let half = bitcast<vec4<f32>>((bitcast<vec4<u32>>(y) & vec4(0x80000000u)) | vec4(0x3f000000u));
    let n = vec4<i32>(y + half);
    let e = vec4<f32>(n);
    let t = fenced(fenced(d - e * LN2_HEAD) - e * LN2_TAIL);    // unfenced: both products are exact
    var h = fenced(0x1.6ac6b2p-10 * t) + vec4(0x1.123dep-7);
    h = fenced(h * t) + vec4(0x1.555858p-5);
    h = fenced(h * t) + vec4(0x1.55548cp-3);
    h = fenced(h * t) + vec4(0x1.fffffcp-2);
    return Exponential(fenced(fenced(t * t) * h) + t, n);
}

// 1 + p.
fn mantissa(e: Exponential) -> vec4<f32> {
    return vec4(1.0) + fenced(e.p);
}

// x 2^n, for x and the result between 2^-126 and 2^127 in magnitude.
fn raised(x: vec4<f32>, n: vec4<i32>) -> vec4<f32> {
    return bitcast<vec4<f32>>(bitcast<vec4<i32>>(x) + (n << vec4(23u)));
}

// Bits of 69: what is smaller than exp(-69), 1.1e-30, counts as 0.
const FAINT = 0x428a0000u;

// exp(-|x|); 0 for |x| > 69, infinities and NaN.
fn decay(x: vec4<f32>) -> vec4<f32> {
    let bits = min(magnitude(x), vec4(FAINT));
    let e = exponential(bitcast<vec4<f32>>(bits | vec4(0x80000000u)));
    return select(vec4(0.0), raised(mantissa(e), e.n), magnitude(x) <= vec4(FAINT));
}

// 1 / x for x between 2^-100 and 2^100: three Newton steps from a guess that is off by an eighth at most, the last one a
// correction, so that powers of two have an exact reciprocal.
fn reciprocal(x: vec4<f32>) -> vec4<f32> {
    var r = bitcast<vec4<f32>>(vec4(0x7ef311c7u) - bitcast<vec4<u32>>(x));
    r = fenced(r * (vec4(2.0) - fenced(x * r)));
    r = fenced(r * (vec4(2.0) - fenced(x * r)));
    return r + fenced(r * (vec4(1.0) - fenced(x * r)));
}

// The square root of 0, or of x between 2^-100 and 2^100.
fn root(x: vec4<f32>) -> vec4<f32> {
    let half = x * 0.5;
    var r = bitcast<vec4<f32>>(vec4(0x5f3759dfu) - (bitcast<vec4<u32>>(x) >> vec4(1u)));
    r = fenced(r * (vec4(1.5) - fenced(fenced(half * r) * r)));
    r = fenced(r * (vec4(1.5) - fenced(fenced(half * r) * r)));
    r = fenced(r * (vec4(1.5) - fenced(fenced(half * r) * r)));
    return fenced(x * r);
}

fn is_negative(x: vec4<f32>) -> vec4<bool> {
    return bitcast<vec4<i32>>(x) < vec4(0);
}

// 1 / (1 + exp(-x)).
fn sigmoid(x: vec4<f32>) -> vec4<f32> {
    let e = decay(x);
    let r = reciprocal(vec4(1.0) + e);
    return select(fenced(select(r, e * r, is_negative(x))), vec4(nan()), is_nan(x));
}

// ln(1 + exp(x)), of +inf as of 2^100.
fn softplus(x: vec4<f32>) -> vec4<f32> {
    let e = decay(x);
    let high = e > vec4(0x1.a8279ap-2);
    let f = fenced(select(e, (e - vec4(1.0)) * 0.5, high));
    let low = fenced(logarithm(select(vec4(0), vec4(1), high), f));
    let above = bitcast<vec4<f32>>(min(select(bitcast<vec4<u32>>(x), vec4(0u), is_negative(x)), vec4(0x71800000u)));
    return select(above + low, vec4(nan()), is_nan(x));
}

// (1 - e) / (1 + e) with e = exp(-2 |x|), and the sign of x.
fn hyperbolic_tangent(x: vec4<f32>) -> vec4<f32> {
    let bits = min(magnitude(x), vec4(0x41200000u));    // from 10 on it is 1
    let e = exponential(bitcast<vec4<f32>>(bits | vec4(0x80000000u)) * 2.0);
    // exp(-2 |x|) - 1, precise near 0 too.
    let power = raised(vec4(1.0), e.n);
    let small = power * e.p + fenced(power - vec4(1.0));    // unfenced: the product is by a power of two
    let less = fenced(select(small, e.p, e.n == vec4(0)));
    let t = settled(-less * reciprocal(vec4(2.0) + less));
    let signed = bitcast<vec4<f32>>(bitcast<vec4<u32>>(t) | (bitcast<vec4<u32>>(x) & vec4(0x80000000u)));
    return select(signed, vec4(nan()), is_nan(x));
}
