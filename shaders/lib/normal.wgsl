// Standard normal noise, from one word of the stream each: its lowest bit is the sign, U = (word + 1/2) 2^-32 without that bit
// the probability of as large a magnitude. With x = 1 - U and w = -ln(1 - x^2) it is x P(w), or x T(sqrt w) in the tail
// (after Giles, "Approximating the erfinv function", GPU Computing Gems 2012; the coefficients are fits of ours).

fn uniform_of(word: vec4<u32>) -> vec4<f32> {
    let v = vec4<f32>(word >> vec4(16u)) * 65536.0 + fenced(vec4<f32>(word & vec4(0xffffu)) + vec4(0.5));
    return fenced(v * 0x1p-32);
}

fn normal_centre(w: vec4<f32>) -> vec4<f32> {
    let y = fenced(w) - vec4(2.5);
    var p = fenced(0x1.df4a98p-22 * y) - vec4(0x1.2e5c34p-18);
    p = fenced(p * y) - vec4(0x1.849106p-18);
    p = fenced(p * y) + vec4(0x1.424a32p-12);
    p = fenced(p * y) - vec4(0x1.d12062p-10);
    p = fenced(p * y) - vec4(0x1.831048p-8);
    p = fenced(p * y) + vec4(0x1.652cc8p-2);
    return fenced(p * y) + vec4(0x1.0fc8bap+1);
}

fn normal_tail(w: vec4<f32>) -> vec4<f32> {
    let y = root(w) - vec4(3.5);
    var p = fenced(-0x1.f665aap-13 * y) + vec4(0x1.a29cf4p-11);
    p = fenced(p * y) - vec4(0x1.1f78c8p-10);
    p = fenced(p * y) + vec4(0x1.721a2ep-10);
    p = fenced(p * y) - vec4(0x1.7588e2p-9);
    p = fenced(p * y) + vec4(0x1.32025ap-8);
    p = fenced(p * y) + vec4(0x1.6cb44ep+0);
    return fenced(p * y) + vec4(0x1.2de4c4p+2);
}

fn normal(word: vec4<u32>) -> vec4<f32> {
    let even = word & vec4(0xfffffffeu);
    let x = uniform_of(~even);
    let s = split(uniform_of(even) * (vec4(1.0) + x));
    let w = -logarithm(s.exponent, s.fraction);
    let size = x * select(normal_tail(w), normal_centre(w), w < vec4(5.0));
    return bitcast<vec4<f32>>(bitcast<vec4<u32>>(size) ^ (word << vec4(31u)));
}
