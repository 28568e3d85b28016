// The bits of a score as f32, widened exactly by integer arithmetic. Never a float, so that no compiler changes a NaN or a
// subnormal.
fn score_bits(i: u32) -> u32 {
    let word = scores[i / 2u] >> (i % 2u * 16u);
    let exponent = (word >> 10u) & 31u;
    let fraction = word & 0x3ffu;
    var bits = ((exponent + 112u) << 23u) | (fraction << 13u);
    if (exponent == 31u) {
        bits = 0x7f800000u | (fraction << 13u);
    }
    if (exponent == 0u) {
        // fraction * 2^-24: its first bit becomes the implicit one.
        let first = firstLeadingBit(max(fraction, 1u));
        bits = ((first + 103u) << 23u) | ((fraction << (23u - first)) & 0x7fffffu);
        bits = select(bits, 0u, fraction == 0u);
    }
    return ((word & 0x8000u) << 16u) | bits;
}
