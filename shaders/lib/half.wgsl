// f16 in the low half of a word, widened exactly by integer arithmetic: unpack2x16float may flush subnormals.
fn half_value(word: u32) -> f32 {
    let sign = (word & 0x8000u) << 16u;
    let rest = (word & 0x7fffu) << 13u;
    let exponent = rest & 0x0f800000u;
    // Exponent bias 15 becomes 127; all ones stays all ones.
    var bits = rest + select(0x38000000u, 0x70000000u, exponent == 0x0f800000u);
    if (exponent == 0u) {
        // Subnormal: 2^-14 * fraction, by a subtraction that is exact.
        bits = bitcast<u32>(bitcast<f32>(rest + 0x38800000u) - 0x1p-14);
    }
    return bitcast<f32>(bits | sign);
}

fn half_pair(word: u32) -> vec2<f32> {
    return vec2(half_value(word), half_value(word >> 16u));
}

// The f16 nearest to a float, ties to even, by integer arithmetic: WGSL lets built-in conversions round either way.
fn half_bits(a: f32) -> u32 {
    let bits = bitcast<u32>(a);
    let sign = (bits >> 16u) & 0x8000u;
    let magnitude = bits & 0x7fffffffu;
    if (magnitude > 0x7f800000u) {
        return sign | 0x7e00u;
    }
    if (magnitude >= 0x477ff000u) {     // 65520 and above round to infinity
        return sign | 0x7c00u;
    }
    if (magnitude < 0x38800000u) {      // under 2^-14: a multiple of 2^-24, rounded by adding 1/2
        return sign | (bitcast<u32>(bitcast<f32>(magnitude) + 0.5) - 0x3f000000u);
    }
    let odd = (magnitude >> 13u) & 1u;
    return sign | ((magnitude - 0x38000000u + 0xfffu + odd) >> 13u);
}
