// bfloat16: the upper half of an f32.
fn brain_value(word: u32) -> f32 {
    return bitcast<f32>(word << 16u);
}

fn brain_pair(word: u32) -> vec2<f32> {
    return vec2(bitcast<f32>(word << 16u), bitcast<f32>(word & 0xffff0000u));
}

// The bf16 nearest to a float, ties to even; NaN stays NaN.
fn brain_bits(a: f32) -> u32 {
    let bits = bitcast<u32>(a);
    if ((bits & 0x7fffffffu) > 0x7f800000u) {
        return (bits >> 16u) | 0x40u;
    }
    return (bits + 0x7fffu + ((bits >> 16u) & 1u)) >> 16u;
}
