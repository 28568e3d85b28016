// The bits of a score as f32: bf16 is the upper half of it.
fn score_bits(i: u32) -> u32 {
    return (scores[i / 2u] >> (i % 2u * 16u)) << 16u;
}
