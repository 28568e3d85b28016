// Logarithms of the same bits on every device: nothing but correctly rounded sums and products, and no product that a
// compiler could fuse with a sum. `src/noise.rs` does the same on the CPU, `docs/accuracy.md` has the errors.

// The same numbers, but no compiler knows: keeps a product from being fused with the sum it goes into, and sums or products of
// three from being taken in another order. Not an exclusive or, which compilers cancel where one fence is within another.
fn fenced(x: vec4<f32>) -> vec4<f32> {
    return bitcast<vec4<f32>>(bitcast<vec4<u32>>(x) | vec4(params.zero));
}

// x = (1 + fraction) 2^exponent, 1 + fraction between the roots of 1/2 and 2.
struct Split {
    exponent: vec4<i32>,
    fraction: vec4<f32>,
}

const SQRT_HALF = 0x3f3504f3u;

fn split(x: vec4<f32>) -> Split {
    let bits = bitcast<vec4<u32>>(x) - vec4(SQRT_HALF);
    let mantissa = (bits & vec4(0x7fffffu)) + vec4(SQRT_HALF);
    return Split(bitcast<vec4<i32>>(bits) >> vec4(23u), fenced(bitcast<vec4<f32>>(mantissa) - vec4(1.0)));
}

// exponent ln 2 + ln(1 + f), the latter as f + f^2 q(f), q a minimax fit.
fn logarithm(exponent: vec4<i32>, f: vec4<f32>) -> vec4<f32> {
    var q = fenced(-0x1.3872b2p-4 * f) + vec4(0x1.089ae6p-3);
    q = fenced(q * f) - vec4(0x1.0f2b42p-3);
    q = fenced(q * f) + vec4(0x1.225594p-3);
    q = fenced(q * f) - vec4(0x1.5424f6p-3);
    q = fenced(q * f) + vec4(0x1.99a544p-3);
    q = fenced(q * f) - vec4(0x1.000438p-2);
    q = fenced(q * f) + vec4(0x1.55554ep-2);
    q = fenced(q * f) - vec4(0x1.fffff8p-2);
    let fraction = fenced(fenced(f * f) * q) + f;
    return fenced(vec4<f32>(exponent) * 0x1.62e43p-1) + fenced(fraction);
}
