// A word that orders scores as an unsigned integer: greater is better. 0 is no token, 1 any NaN, both zeros are one.
fn key_of(bits: u32) -> u32 {
    let magnitude = bits & 0x7fffffffu;
    var key = select(bits | 0x80000000u, ~bits, bits >= 0x80000000u);
    key = select(key, 0x80000000u, magnitude == 0u);
    return select(key, 1u, magnitude > 0x7f800000u);
}

fn key_at(token: u32, expert: u32) -> u32 {
    if (token >= valid_tokens() || expert >= params.experts) {
        return 0u;
    }
    return key_of(score_bits(params.scores_offset + token * params.scores_stride + expert));
}

// This invocation's share of what has to be 0 before tokens are marked.
fn clear(invocation: u32) {
    if (invocation < params.threads) {
        for (var i = invocation; i < params.cleared; i += params.threads) {
            scratch[params.marks_offset + i] = 0u;
        }
    }
}
