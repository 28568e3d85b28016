// Gumbel noise of a row's columns: -ln(-ln u), u = (word + 1/2) 2^-32, from one word of the stream each. The same
// bits on every device. `src/noise.rs` does the same on the CPU, `docs/accuracy.md` has the errors.

// What noise is for: `Domain` in src/noise.rs.
const COLUMN = 0u;
const BLOCK = 1u;
const PART = 2u;
const MEMBER = 3u;
const NORMAL = 4u;

// Of columns 4 quad to 4 quad + 3.
fn noise_words(stream: Stream, domain: u32, quad: u32) -> vec4<u32> {
    return philox(vec4(quad, stream.position, domain), stream.seed);
}

// ln u.
fn ln_uniform(word: vec4<u32>) -> vec4<f32> {
    // Above the root of 1/2, the distance from 1 counts.
    let near_one = word >= vec4(0xb504f334u);
    let n = select(word, ~word, near_one);
    // Both halves are exact as f32, and so is the product: rounded once, fused or not.
    let v = fenced(vec4<f32>(n >> vec4(16u)) * 65536.0 + fenced(vec4<f32>(n & vec4(0xffffu)) + vec4(0.5)));
    let s = split(v);
    let exponent = select(s.exponent - vec4(32), vec4(0), near_one);
    return logarithm(exponent, select(s.fraction, v * -0x1p-32, near_one));
}

fn gumbel(word: vec4<u32>) -> vec4<f32> {
    let e = split(-ln_uniform(word));
    return -logarithm(e.exponent, e.fraction);
}

// Not below the noise, and seldom more than 0.07 above: -ln(-ln u) <= -ln(1 - u), and log2(1 + m) >= m.
fn gumbel_bound(word: vec4<u32>) -> vec4<f32> {
    let below = vec4<f32>(vec4<i32>(~word >> vec4(8u)));
    return vec4(104.667) - vec4<f32>(bitcast<vec4<i32>>(below)) * 0x1.62e43p-24;    // unfenced: a bound with slack
}
