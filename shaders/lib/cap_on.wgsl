// c tanh(x / c) with our own exp: tanh(z) = m / (m + 2), m = e^(2|z|) - 1. At 2|z| = 20 it is 1.
fn capped(x: vec4<f32>) -> vec4<f32> {
    let z = x * params.inverse_cap;
    let e = exp4(min(abs(z) * 2.0, vec4(20.0)), rounder(0.0), 0.0);
    let power = bitcast<vec4<f32>>(e.shift + vec4(0x3f800000u));
    let m = (power - 1.0) + power * e.p;
    let y = params.cap * (m / (m + 2.0));
    // The sign bit by hand, for -0; NaN by hand, because min() may lose it.
    let bits = bitcast<vec4<u32>>(x);
    let signed = bitcast<vec4<f32>>(bitcast<vec4<u32>>(y) | (bits & vec4(0x80000000u)));
    return select(signed, x, (bits & vec4(0x7fffffffu)) > vec4(0x7f800000u));
}
