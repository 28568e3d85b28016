// Logits of a token, and what is known of it as a whole.

fn row_base(token: u32) -> u32 {
    return params.src_offset + token * params.src_stride;
}

// Four logits; -inf past the last expert.
fn logits(token: u32, quad: u32) -> vec4<f32> {
    let expert = vec4(quad * 4u) + vec4(0u, 1u, 2u, 3u);
    let x = load_quad(row_base(token), quad);
    return select(vec4(bitcast<f32>(params.excluded)), x, expert < vec4(params.cols));
}

fn scores(token: u32, quad: u32, by_scores: bool) -> vec4<f32> {
    let x = logits(token, quad);
    if (by_scores) {
        return score(x);
    }
    return x;
}

// One lane's share of the sum of exponentials of the logits, or of what probabilities are made of.
fn mass_of(token: u32, lane: u32, by_scores: bool) -> Partial {
    var sum = start();
    var q = lane;
    for (; q + 3u * LANES < params.quads; q += 4u * LANES) {
        let a = scores(token, q, by_scores);
        let b = scores(token, q + LANES, by_scores);
        let c = scores(token, q + 2u * LANES, by_scores);
        sum = add(sum, a, b, c, scores(token, q + 3u * LANES, by_scores));
    }
    for (; q < params.quads; q += LANES) {
        sum = add_one(sum, scores(token, q, by_scores));
    }
    return with_class(sum.partial, sum.seen);
}

// Whether the token has been given to any expert: those that have not are padding.
fn is_routed(token: u32) -> bool {
    for (var k = 0u; k < params.choices; k++) {
        if (expert_at(token, k) < params.cols) {
            return true;
        }
    }
    return false;
}
