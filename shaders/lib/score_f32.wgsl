// The bits of a score as f32. Never a float, so that no compiler changes a NaN or a subnormal.
fn score_bits(i: u32) -> u32 {
    return scores[i];
}
